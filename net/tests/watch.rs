//! What the kernel tells of changes, in a namespace of the test's own.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use karri_net::{Heard, Namespace, Watch};
use std::process::Command;

#[track_caller]
fn must(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_change_is_told_once_whoever_makes_it() {
    let inside = Namespace::new().unwrap();
    inside
        .run(|| {
            let watch = Watch::open().unwrap();
            let after = |command: &str| {
                must(command);
                let heard = watch.heard();
                assert_eq!(watch.heard(), Heard::default(), "{command}: told twice");
                heard
            };
            assert!(after("true").is_nothing());
            let made = after("ip link add one type bridge; ip link add two type bridge");
            assert!(made.links.contains("one") && made.links.contains("two"), "{made:?}");
            assert!(!made.everything && made.addresses.is_empty(), "{made:?}");
            must("ip link set lo up; ip link set one up");
            watch.heard();
            let given = after("ip address add 192.0.2.1/24 dev one");
            assert_eq!((given.addresses.len(), given.routes), (1, true), "{given:?}");
            let routed = after("ip route add blackhole 198.51.100.0/24");
            assert_eq!(routed, Heard { routes: true, ..Heard::default() });
            assert!(after("ip rule add iif one lookup 100").others);
            let forwarding = "/proc/sys/net/ipv4/ip_forward";
            assert!(after(&format!("echo $((1 - $(cat {forwarding}))) > {forwarding}")).others);
            let gone = after("ip link delete one");
            assert!(gone.links.contains("one") && !gone.everything, "{gone:?}");
        })
        .unwrap();
}

#[test]
fn more_than_the_kernel_keeps_is_taken_for_everything() {
    let inside = Namespace::new().unwrap();
    inside
        .run(|| {
            let watch = Watch::open().unwrap();
            must(
                "for i in $(seq 3000); do echo route add blackhole 10.0.$((i / 250)).$((i % 250)); done \
                 | ip -batch -",
            );
            let heard = watch.heard();
            assert!(heard.everything, "{heard:?}");
            assert!(watch.heard().is_nothing());
        })
        .unwrap();
}
