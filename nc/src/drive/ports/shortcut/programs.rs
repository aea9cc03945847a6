//! The two programs of the shortcut. What they have in common is `flows`, a map from what a packet looks like to where such
//! packets go.
//!
//! ```text
//!             key, 32 bytes                            value, 24 bytes
//!    0        MACs, bytes 0 to 7 of the frame     0    when the rules let it through, ns
//!    8        the two addresses                   8    the link it went to
//!   16        MACs, bytes 8 to 11                12    the generation in which it came in
//!   20        the two ports                      16    its bytes, 0 of many packets in one
//!   24        the link it came in by             20    1: the other side is there, and says something
//!   28        protocol
//! ```
//!
//! *Ingress* looks a packet up. What was let through less than [`FRESH`] ago, in this generation, and is no longer than what
//! was let through, goes where it went; everything else goes on to bridge and rules, with the generation as its note. *Egress*
//! sees what bridge and rules have let through to its link, and writes down what has a note.
//!
//! What has no note is not written down, be it what took the shortcut, or what this host says itself. A note is from before
//! the rules looked at the packet, so a packet that they let through just before they changed opens nothing after.

use karri_net::bpf::Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use karri_net::bpf::Size::{Eight, Four, One, Two};
use karri_net::bpf::Test::{CommonBit, Different, Equal, Greater, Less};
use karri_net::bpf::skb::{
    DATA, DATA_END, INGRESS_LINK, LENGTH, LINK, MAP_LOOKUP, MAP_UPDATE, NO_ANSWER, NOTE, NOW, PROTOCOL, PULL,
    REDIRECT, SEGMENT_BYTES, VLAN_PRESENT, nanoseconds,
};
use karri_net::bpf::{Assembler, Map};
use std::io::Result;
use std::time::Duration;

/// After that the rules are asked again, and the kernel's connection tracking hears of the flow.
pub const FRESH: Duration = Duration::from_secs(1);
/// So long ago the other side may have said something last: less than what any connection is remembered by the kernel.
pub const ANSWERED: Duration = Duration::from_secs(30);
pub const KEY_BYTES: u32 = 32;
pub const VALUE_BYTES: u32 = 24;

/// On the program's own memory, from its end.
const KEY: i16 = -32;
const REVERSE: i16 = -64;
const VALUE: i16 = -88;

const MACS: i16 = 0;
const ADDRESSES: i16 = 8;
const MACS_REST: i16 = 16;
const PORTS: i16 = 20;
const CAME_IN_BY: i16 = 24;
const KIND: i16 = 28;

const SEEN: i16 = 0;
const WENT_TO: i16 = 8;
const GENERATION: i16 = 12;
const BYTES: i16 = 16;
const IS_ANSWERED: i16 = 20;

const IPV4: u16 = 0x0800;
/// Version 4, and a head of five words: no options.
const PLAIN_HEAD: i32 = 0x45;
const MORE_OR_LATER_FRAGMENT: i32 = 0x3fff;
const TCP: i32 = 6;
const UDP: i32 = 17;
const FIN_SYN_RST: i32 = 0x07;
const FRAME_HEAD: i16 = 14;
/// A frame's head, IPv4's and UDP's.
const LEAST: i16 = FRAME_HEAD + 28;
/// Up to the flags of TCP.
const TCP_LEAST: i16 = FRAME_HEAD + 34;

/// The number of the generation is the only value of `generation`.
pub fn ingress(flows: &Map, generation: &Map) -> Result<Vec<u8>> {
    let mut a = Assembler::default();
    a.copy(R6, R1);
    a.set(R1, 0);
    a.store(Four, R6, NOTE, R1); // whatever it came with
    key(&mut a, LINK);
    a.value_of(R1, generation);
    a.load(Four, R9, R1, 0);
    a.map(R1, flows);
    a.copy(R2, R10);
    a.add(R2, KEY.into());
    a.call(MAP_LOOKUP);
    a.jump_if(R0, Equal, 0, "by the rules");
    a.copy(R7, R0);
    a.load(Four, R1, R7, IS_ANSWERED);
    a.jump_if(R1, Equal, 0, "by the rules");
    a.load(Four, R1, R7, GENERATION);
    a.jump_if_registers(R1, Different, R9, "by the rules");
    // The bridge lets through what is many packets in one, and what is not longer than its ports carry.
    a.load(Four, R1, R6, SEGMENT_BYTES);
    a.jump_if(R1, Different, 0, "not too long");
    a.load(Four, R1, R6, LENGTH);
    a.load(Four, R2, R7, BYTES);
    a.jump_if_registers(R1, Greater, R2, "by the rules");
    a.label("not too long");
    a.call(NOW);
    a.load(Eight, R1, R7, SEEN);
    a.subtract(R0, R1);
    a.jump_if(R0, Greater, immediate(FRESH), "by the rules");
    a.load(Four, R1, R7, WENT_TO);
    a.set(R2, 0);
    a.call(REDIRECT);
    a.exit();
    a.label("by the rules");
    a.store(Four, R6, NOTE, R9);
    a.label("not ours");
    a.set(R0, NO_ANSWER);
    a.exit();
    a.finish()
}

pub fn egress(flows: &Map) -> Result<Vec<u8>> {
    let mut a = Assembler::default();
    a.copy(R6, R1);
    a.load(Four, R9, R6, NOTE);
    a.jump_if(R9, Equal, 0, "not ours");
    a.set(R1, 0);
    a.store(Four, R6, NOTE, R1); // it is nothing to whoever is next
    key(&mut a, INGRESS_LINK);
    reverse(&mut a);
    a.call(NOW);
    a.copy(R8, R0);
    a.store(Eight, R10, VALUE + SEEN, R8);
    a.move_bytes(Four, (R10, VALUE + WENT_TO), (R6, LINK), R1);
    a.store(Four, R10, VALUE + GENERATION, R9);
    a.set(R1, 0);
    a.store(Four, R10, VALUE + IS_ANSWERED, R1);
    a.load(Four, R2, R6, SEGMENT_BYTES);
    a.jump_if(R2, Different, 0, "many in one");
    a.load(Four, R1, R6, LENGTH);
    a.label("many in one");
    a.store(Four, R10, VALUE + BYTES, R1);
    // Whether the other side is behind this link, and what it says comes to the first one unchanged: else the bridge may have
    // sent this one to all its ports, or somebody has translated it on the way.
    a.map(R1, flows);
    a.copy(R2, R10);
    a.add(R2, REVERSE.into());
    a.call(MAP_LOOKUP);
    a.jump_if(R0, Equal, 0, "write down");
    a.load(Eight, R1, R0, SEEN);
    a.subtract(R8, R1);
    a.set_wide(R1, nanoseconds(ANSWERED));
    a.jump_if_registers(R8, Greater, R1, "write down");
    a.load(Four, R1, R0, WENT_TO);
    a.load(Four, R2, R6, INGRESS_LINK);
    a.jump_if_registers(R1, Different, R2, "write down");
    a.set(R1, 1);
    a.store(Four, R10, VALUE + IS_ANSWERED, R1);
    a.label("write down");
    a.map(R1, flows);
    a.copy(R2, R10);
    a.add(R2, KEY.into());
    a.copy(R3, R10);
    a.add(R3, VALUE.into());
    a.set(R4, 0);
    a.call(MAP_UPDATE);
    a.label("not ours");
    a.set(R0, NO_ANSWER);
    a.exit();
    a.finish()
}

/// Makes the key of the packet in R6, which came in by the link that is told at `link`. R7 is then the frame. A packet that
/// is none of TCP or UDP within an open connection is `not ours`.
fn key(a: &mut Assembler, link: i16) {
    a.load(Four, R1, R6, PROTOCOL);
    a.jump_if(R1, Different, i32::from(IPV4.to_be()), "not ours");
    a.load(Four, R1, R6, VLAN_PRESENT);
    a.jump_if(R1, Different, 0, "not ours");
    at_hand(a);
    a.load(One, R1, R7, FRAME_HEAD);
    a.jump_if(R1, Different, PLAIN_HEAD, "not ours");
    a.load(Two, R1, R7, FRAME_HEAD + 6);
    a.swap_two(R1);
    a.jump_if(R1, CommonBit, MORE_OR_LATER_FRAGMENT, "not ours");
    // A packet that says of itself to be longer than it is, or too short for its ports.
    a.load(Two, R1, R7, FRAME_HEAD + 2);
    a.swap_two(R1);
    a.jump_if(R1, Less, i32::from(LEAST - FRAME_HEAD), "not ours");
    a.add(R1, FRAME_HEAD.into());
    a.load(Four, R2, R6, LENGTH);
    a.jump_if_registers(R1, Greater, R2, "not ours");
    a.load(One, R5, R7, FRAME_HEAD + 9);
    a.jump_if(R5, Equal, UDP, "ours");
    a.jump_if(R5, Different, TCP, "not ours");
    // What opens and ends a connection is for connection tracking to see.
    a.copy(R1, R7);
    a.add(R1, TCP_LEAST.into());
    a.jump_if_registers(R1, Greater, R8, "not ours");
    a.load(One, R1, R7, TCP_LEAST - 1);
    a.jump_if(R1, CommonBit, FIN_SYN_RST, "not ours");
    a.label("ours");
    for (size, to, from) in
        [(Eight, MACS, 0), (Four, MACS_REST, 8), (Eight, ADDRESSES, 26), (Four, PORTS, 34)]
    {
        a.move_bytes(size, (R10, KEY + to), (R7, from), R1);
    }
    a.move_bytes(Four, (R10, KEY + CAME_IN_BY), (R6, link), R1);
    a.store(Four, R10, KEY + KIND, R5);
}

/// R7: the frame, R8: its end, with the heads before it, wherever the kernel has the rest.
fn at_hand(a: &mut Assembler) {
    let place = |a: &mut Assembler| {
        a.load(Four, R7, R6, DATA);
        a.load(Four, R8, R6, DATA_END);
        a.copy(R1, R7);
    };
    place(a);
    a.add(R1, TCP_LEAST.into());
    a.jump_if_registers(R8, Greater, R1, "at hand");
    a.load(Four, R2, R6, LENGTH);
    a.jump_if(R2, Less, TCP_LEAST.into(), "short");
    a.copy(R1, R6);
    a.set(R2, TCP_LEAST.into());
    a.call(PULL);
    a.label("short");
    place(a);
    a.add(R1, LEAST.into());
    a.jump_if_registers(R1, Greater, R8, "not ours");
    a.label("at hand");
}

/// The key of the answer, which comes in by the link that this one goes out by.
fn reverse(a: &mut Assembler) {
    for (size, to, from) in [
        (Four, MACS, 6),
        (Two, MACS + 4, 10),
        (Two, MACS + 6, 0),
        (Four, MACS_REST, 2),
        (Four, ADDRESSES, 30),
        (Four, ADDRESSES + 4, 26),
        (Two, PORTS, 36),
        (Two, PORTS + 2, 34),
    ] {
        a.move_bytes(size, (R10, REVERSE + to), (R7, from), R1);
    }
    a.move_bytes(Four, (R10, REVERSE + CAME_IN_BY), (R6, LINK), R1);
    a.store(Four, R10, REVERSE + KIND, R5);
}

fn immediate(time: Duration) -> i32 {
    i32::try_from(nanoseconds(time)).unwrap_or(i32::MAX)
}
