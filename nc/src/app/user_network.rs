//! A guest behind QEMU's user networking: what QEMU is told, for libvirt knows no ports that are led to a guest.
//!
//! Its own network is all of 169.254.0.0/16, for within a guest's network alone QEMU answers for 169.254.169.254. What
//! connects there is led to a program, one for each connection, which passes it on to this controller and says whose
//! it is. Pure.

use karri_proto::ids::NetworkInterfaceId;
use karri_proto::network::ForwardedPort;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const NETWORK: &str = "169.254.0.0/16";
/// As on EC2.
const NAME_SERVER: &str = "169.254.169.253";
const METADATA: &str = "169.254.169.254:80";
/// What libvirt numbers begins at the other end of the bus.
const SLOT_FIRST: u32 = 0x1e;
/// The first argument of the program that passes metadata on.
pub const PIPE: &str = "metadata-pipe";

/// What of this host takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserNetwork {
    /// Runs QEMU so that it may start the other.
    pub emulator: PathBuf,
    pub program: PathBuf,
    /// Where this controller takes what the program passes on.
    pub socket: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPort {
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub forwarded: Vec<ForwardedPort>,
    /// A command line, in a shell's words.
    pub metadata: String,
}

impl UserNetwork {
    pub fn metadata_command(&self, port: &NetworkInterfaceId) -> String {
        let word = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
        format!("{} {PIPE} {} {port}", word(&self.program), word(&self.socket))
    }
}

/// `number` counts the guest's ports.
pub fn qemu_arguments(number: u32, mac: &str, port: &UserPort) -> Vec<String> {
    let id = format!("karri{number}");
    let rule = |text: String| json!({ "str": text });
    let forwarded = port.forwarded.iter().map(|one| {
        let (host, guest) = (one.host, one.guest);
        rule(format!("tcp:{}:{}-{}:{guest}", host.ip(), host.port(), port.address))
    });
    let netdev = json!({
        "type": "user",
        "id": id,
        "net": NETWORK,
        "host": port.gateway,
        "dns": NAME_SERVER,
        "dhcpstart": port.address,
        "ipv6": false,
        "hostfwd": forwarded.collect::<Vec<Value>>(),
        "guestfwd": [rule(format!("tcp:{METADATA}-cmd:{}", port.metadata))],
    });
    let slot = SLOT_FIRST.saturating_sub(number);
    let device = format!("virtio-net-pci,netdev={id},mac={mac},romfile=,addr={slot:#x}");
    vec!["-netdev".to_owned(), netdev.to_string(), "-device".to_owned(), device]
}

/// A script that runs QEMU as libvirt wants it, but lets it start programs: libvirt's sandbox forbids it that, and
/// nothing else of the sandbox is given up.
pub fn emulator_script(qemu: &Path) -> String {
    let qemu = qemu.to_string_lossy().replace('\'', r"'\''");
    format!(
        r#"#!/bin/sh
# Written by karri-nc. libvirt starts its guests through this in network mode "user": QEMU is to start the program by which
# a guest comes to its metadata, and libvirt's sandbox would not let it.
for word; do
    shift
    case $word in
        on,*spawn=deny*) word=${{word%%spawn=deny*}}spawn=allow${{word#*spawn=deny}} ;;
    esac
    set -- "$@" "$word"
done
exec '{qemu}' "$@"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::network::forwarded;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    fn network() -> UserNetwork {
        UserNetwork {
            emulator: "/state/qemu".into(),
            program: "/usr/bin/karri-nc".into(),
            socket: "/home/o'neil/nc/metadata.sock".into(),
        }
    }

    #[test]
    fn a_path_stays_one_word_of_the_command() {
        let id = "eni-0123456789abcdef0".parse().unwrap();
        let output = Command::new("sh")
            .args(["-c", &format!("printf '%s\\n' {}", network().metadata_command(&id))])
            .output()
            .unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        let expected = ["/usr/bin/karri-nc", PIPE, "/home/o'neil/nc/metadata.sock", "eni-0123456789abcdef0"];
        assert_eq!(words.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn qemu_is_told_of_ports_and_of_metadata() {
        let address = Ipv4Addr::new(169, 254, 64, 5);
        let port = UserPort {
            address,
            gateway: Ipv4Addr::new(169, 254, 64, 1),
            forwarded: forwarded(address, &[22, 8080]),
            metadata: "a, b".to_owned(),
        };
        let arguments = qemu_arguments(0, "02:6b:a9:fe:40:05", &port);
        let netdev: Value = serde_json::from_str(&arguments[1]).unwrap();
        assert_eq!(netdev["hostfwd"][0]["str"], "tcp:127.254.64.5:2022-169.254.64.5:22");
        assert_eq!(netdev["hostfwd"][1]["str"], "tcp:127.254.64.5:8080-169.254.64.5:8080");
        assert_eq!(netdev["guestfwd"][0]["str"], "tcp:169.254.169.254:80-cmd:a, b");
        assert_eq!((&netdev["dhcpstart"], &netdev["host"]), (&json!("169.254.64.5"), &json!("169.254.64.1")));
        assert_eq!(arguments[3], "virtio-net-pci,netdev=karri0,mac=02:6b:a9:fe:40:05,romfile=,addr=0x1e");
    }

    #[test]
    fn of_libvirts_sandbox_only_the_starting_of_programs_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("qemu");
        std::fs::write(&script, emulator_script(Path::new("/usr/bin/printf"))).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
        let output = Command::new("sh")
            .arg(&script)
            .args(["%s\\n", "-name", "a 'b' spawn=deny", "-sandbox", sandbox, "-x", ""])
            .output()
            .unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        let allowed = "on,obsolete=deny,elevateprivileges=deny,spawn=allow,resourcecontrol=deny";
        assert_eq!(
            words.lines().collect::<Vec<_>>(),
            ["-name", "a 'b' spawn=deny", "-sandbox", allowed, "-x", ""]
        );
    }
}
