//! What the kernel shows of a packet to a program at a link's ingress or egress (`struct __sk_buff`), and what such a program
//! may call and answer. These are parts of the kernel's interface: they do not change.

use std::time::Duration;

/// Bytes of the frame, its head included.
pub const LENGTH: i16 = 0;
/// In the network's order.
pub const PROTOCOL: i16 = 16;
/// Not 0: a tag was taken off the frame.
pub const VLAN_PRESENT: i16 = 20;
/// The link that it last came in by.
pub const INGRESS_LINK: i16 = 36;
/// The link whose ingress or egress this is.
pub const LINK: i16 = 40;
/// 16 bits that go with a packet through this host; they mean nothing but to whoever writes them.
pub const NOTE: i16 = 44;
/// The frame's first byte, and what is behind its last that is at hand.
pub const DATA: i16 = 76;
pub const DATA_END: i16 = 80;
/// Not 0: it is many packets in one, each of so many bytes.
pub const SEGMENT_BYTES: i16 = 176;

/// `value = function(map, key)`, 0 if there is none.
pub const MAP_LOOKUP: i32 = 1;
/// `function(map, key, value, 0)`
pub const MAP_UPDATE: i32 = 2;
/// `answer = function(link, 0)`
pub const REDIRECT: i32 = 23;
/// `function(packet, bytes)` brings them at hand.
pub const PULL: i32 = 39;
/// Nanoseconds since the host began, as of the last tick.
pub const NOW: i32 = 160;

/// A program's answer: it has nothing to say, whoever is next may.
pub const NO_ANSWER: i32 = -1;

/// As an instruction takes it.
pub const fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}
