//! Tells the service manager how far `up` is, where one started it and wants to know (`Type=notify` of systemd).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// systemd's name for the address that it listens at.
const VARIABLE: &str = "NOTIFY_SOCKET";

pub const READY: &str = "READY=1";
pub const STOPPING: &str = "STOPPING=1";

/// Should the word not arrive, the cloud is up all the same: it is told to who reads the log, and no failure.
pub fn tell(word: &str) {
    let Ok(address) = std::env::var(VARIABLE) else { return };
    if let Err(error) = tell_at(&address, word) {
        eprintln!("karri: the service manager ({address}) cannot be told {word}: {error}");
    }
}

/// A path, or after an `@` one of the kernel's abstract names.
fn tell_at(address: &str, word: &str) -> std::io::Result<()> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(address: &str, listener: &UnixDatagram) -> String {
        tell_at(address, READY).unwrap();
        let mut word = [0; 64];
        let length = listener.recv(&mut word).unwrap();
        String::from_utf8_lossy(&word[..length]).into_owned()
    }

    #[test]
    fn both_kinds_of_address_hear_the_word() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        assert_eq!(heard(path.to_str().unwrap(), &listener), "READY=1");

        let name = format!("karri-notify-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        assert_eq!(heard(&format!("@{name}"), &listener), "READY=1");
    }

    #[test]
    fn where_nobody_listens_is_an_error_and_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        assert!(tell_at(directory.path().join("absent").to_str().unwrap(), READY).is_err());
        assert!(tell_at("", READY).is_err());
        assert!(tell_at(&"x".repeat(200), READY).is_err());
    }
}
