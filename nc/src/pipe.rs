//! `karri-nc metadata-pipe SOCKET PORT`: passes one connection of a guest on to its node's controller.
//!
//! QEMU starts it for each connection of a guest behind user networking to 169.254.169.254, with the connection as
//! standard input and output, and with what the controller has written down for that guest. So the first line, which
//! says whose connection it is, comes from nothing that the guest could send.

use crate::app::user_network::PIPE;
use std::io::{Read, Write, copy};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// None: something else is asked of the program.
pub fn asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != PIPE) {
        return None;
    }
    let (Some(socket), Some(port), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("karri-nc {PIPE}: a socket and a port are expected");
        return Some(ExitCode::FAILURE);
    };
    let passed = UnixStream::connect(socket).and_then(|stream| pass(stream, &port.to_string_lossy()));
    Some(match passed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("karri-nc {PIPE}: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Until the controller has said all.
fn pass(mut stream: UnixStream, port: &str) -> std::io::Result<()> {
    stream.write_all(format!("{port}\n").as_bytes())?;
    let mut asks = stream.try_clone()?;
    std::thread::spawn(move || {
        let _ = relay(&mut std::io::stdin().lock(), &mut asks);
        let _ = asks.shutdown(Shutdown::Write);
    });
    relay(&mut stream, &mut std::io::stdout().lock())
}

fn relay(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    copy(from, to)?;
    to.flush()
}
