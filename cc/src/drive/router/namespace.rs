//! Namespaces with names, where `ip netns` looks for them: a file in a directory of the host's, on which the
//! namespace is mounted. It stays while the mount does, whoever made it.

use crate::drive::DriveError;
use karri_net::Namespace;
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use std::fs::{File, create_dir_all, remove_file};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/run/netns";
/// What the kernel calls the file system that namespaces are files of.
const NAMESPACE_MAGIC: u64 = 0x6e73_6673;

/// Put when a namespace is made and kept so. What forwards comes first: it changes others.
const SETTINGS: [(&str, &str); 10] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"), // a table for each way in: there is no one way back
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/arp_ignore", "1"), // no address of one link is answered on another
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/all/accept_source_route", "0"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn failed(name: &str) -> impl Fn(std::io::Error) -> DriveError + '_ {
    move |cause| DriveError::new(format!("namespace {name}"), cause)
}

/// What tells it from every other namespace of its time. `None`: there is none of that name.
pub fn number(name: &str) -> Option<u64> {
    let path = path_of(name);
    let system = rustix::fs::statfs(&path).ok()?;
    #[allow(clippy::useless_conversion, clippy::cast_sign_loss, reason = "its type differs by architecture")]
    let is_namespace = system.f_type as u64 == NAMESPACE_MAGIC;
    is_namespace.then(|| std::fs::metadata(&path).ok().map(|file| file.ino())).flatten()
}

/// Which one a process is in.
pub fn number_of_process(pid: i32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|file| file.ino())
}

pub fn open(name: &str) -> Result<Namespace, DriveError> {
    Namespace::open(&path_of(name)).map_err(failed(name))
}

/// It is there. `true`: it was not.
pub fn ensure(name: &str) -> Result<bool, DriveError> {
    if number(name).is_some() {
        return Ok(false);
    }
    share_directory().map_err(failed(name))?;
    let namespace = Namespace::new().map_err(failed(name))?;
    let path = path_of(name);
    File::create(&path).map_err(failed(name))?;
    let own = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
    mount_bind(own, &path).map_err(|error| failed(name)(error.into()))?;
    Ok(true)
}

/// As `ip netns add` leaves it, so that it does not lay its own over what is there.
fn share_directory() -> std::io::Result<()> {
    create_dir_all(DIRECTORY)?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    if mount_change(DIRECTORY, shared).is_err() {
        mount_bind_recursive(DIRECTORY, DIRECTORY)?;
        mount_change(DIRECTORY, shared)?;
    }
    Ok(())
}

/// Gone, or never there. Its links go with it once nobody is in it.
pub fn remove(name: &str) -> Result<(), DriveError> {
    let path = path_of(name);
    if number(name).is_some() {
        unmount(&path, UnmountFlags::DETACH).map_err(|error| failed(name)(error.into()))?;
    }
    match remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(name)(error)),
        _ => Ok(()),
    }
}

/// Names that begin with `prefix`.
pub fn names(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// Called inside. `true`: something had to be put right. A kernel without IPv6 lacks its settings, which is as good.
pub fn settings_put() -> Result<bool, DriveError> {
    let mut changed = false;
    for (name, value) in SETTINGS {
        let path = format!("/proc/sys/net/{name}");
        match std::fs::read_to_string(&path) {
            Ok(present) if present.trim() == value => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(_) => {
                std::fs::write(&path, value).map_err(|cause| DriveError::new(path, cause))?;
                changed = true;
            }
            Err(cause) => return Err(DriveError::new(path, cause)),
        }
    }
    Ok(changed)
}
