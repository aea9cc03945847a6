//! Network namespaces. A socket belongs to the namespace of the thread that made it, whoever uses it later; so what
//! is to be inside is made by a thread that has gone there, and ends there.

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one without a name: it is there as long as this value, or a socket that was made in it.
    pub fn new() -> io::Result<Self> {
        apart(|| {
            leave()?;
            File::open(OF_THIS_THREAD)
        })?
        .map(|file| Self { file })
    }

    /// One that has a name, such as `ip netns add` makes below /run/netns.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(|file| Self { file })
    }

    /// Does `work` in it. Blocking.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        apart(|| {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })?
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[expect(unsafe_code, reason = "the call has no other form")]
fn leave() -> io::Result<()> {
    // SAFETY: to leave a network namespace is unsafe in no way; to share file descriptors no more would be.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// On a thread that ends with it.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, work)?;
        thread.join().map_err(|_| io::Error::other("the work in a namespace has panicked"))
    })
}
