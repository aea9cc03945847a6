//! Frames as a guest that is its own master makes them.
#![allow(dead_code)] // each suite uses its own part

use super::guarded::{GATEWAY, Guest};
use serde_json::json;
use std::net::Ipv4Addr;

pub const BROADCAST: &str = "ffffffffffff";
/// In every frame that a liar sends: by it the others count what reaches them.
pub const MARK: &str = "6c6965732e6c6965732e6c6965732e";

pub fn mac(number: u8) -> String {
    format!("0200000000{number:02x}")
}

pub fn ip4(address: Ipv4Addr) -> String {
    format!("{:08x}", u32::from(address))
}

/// Over UDP, without a checksum.
pub fn datagram(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16)) -> String {
    let length = 8 + MARK.len() / 2;
    let udp = format!("{:04x}{:04x}{length:04x}0000{MARK}", ports.0, ports.1);
    let head = format!("4500{:04x}00000000401100 00{}{}", 20 + length, ip4(source), ip4(destination))
        .replace(' ', "");
    let words = (0..10).map(|at| u32::from_str_radix(&head[at * 4..at * 4 + 4], 16).unwrap());
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) & 0xffff;
    format!("{}{sum:04x}{}{udp}", &head[..20], &head[24..])
}

pub fn arp(answer: bool, from: &str, address: Ipv4Addr, asked: Ipv4Addr) -> String {
    let operation = if answer { 2 } else { 1 };
    format!("000108000604{operation:04x}{from}{}000000000000{}{MARK}", ip4(address), ip4(asked))
}

pub fn frame(to: &str, from: &str, kind: &str, body: &str) -> String {
    format!("{to}{from}{kind}{body}")
}

/// What guest 5 must not send, to the guest of this number among others.
fn lies(a: Ipv4Addr, number: u8, b: Ipv4Addr) -> Vec<(&'static str, String)> {
    let (own, its) = (mac(5), mac(number));
    let everybody = Ipv4Addr::BROADCAST;
    vec![
        ("another MAC", frame(BROADCAST, &mac(9), "0800", &datagram(a, b, (4000, 3000)))),
        (
            "another address",
            frame(&its, &own, "0800", &datagram(Ipv4Addr::new(172, 31, 0, 9), b, (4000, 3000))),
        ),
        ("the gateway's address", frame(&its, &own, "0800", &datagram(GATEWAY, b, (4000, 3000)))),
        ("an answer for another's address", frame(BROADCAST, &own, "0806", &arp(true, &own, GATEWAY, b))),
        ("a question in another's name", frame(BROADCAST, &own, "0806", &arp(false, &own, b, GATEWAY))),
        ("an answer in another's MAC", frame(BROADCAST, &own, "0806", &arp(true, &mac(9), a, b))),
        ("a DHCP offer", frame(BROADCAST, &own, "0800", &datagram(a, everybody, (67, 68)))),
        ("a DHCP offer to one", frame(&its, &own, "0800", &datagram(a, b, (67, 68)))),
        ("a tag", frame(&its, &own, "81000064", &format!("0800{}", datagram(a, b, (4000, 3000))))),
        ("a tag of none", frame(&its, &own, "81000000", &format!("0800{}", datagram(a, b, (4000, 3000))))),
        ("two tags", frame(&its, &own, "88a800648100", &format!("00c80800{}", datagram(a, b, (4000, 3000))))),
        (
            "two tags of one kind",
            frame(&its, &own, "810000648100", &format!("00c80800{}", datagram(a, b, (4000, 3000)))),
        ),
        ("a tagged question", frame(BROADCAST, &own, "81000064", &format!("0806{}", arp(false, &own, a, b)))),
        ("IPv6", frame("333300000001", &own, "86dd", &format!("6000000000003aff{}{MARK}", "00".repeat(32)))),
        ("a protocol of its own", frame(BROADCAST, &own, "88b5", MARK)),
        ("a spanning tree", frame("0180c2000000", &own, "0026", &format!("424203{MARK}{}", "00".repeat(30)))),
    ]
}

/// Guest 5 lies, and neither `hearer`, whose number this is, nor any of the others hears of it.
pub fn nobody_hears_lies(liar: &mut Guest, (number, hearer): (u8, &mut Guest), mut others: Vec<&mut Guest>) {
    let (a, b) = (liar.address, hearer.address);
    hearer.ask(json!({ "do": "watch" }));
    for guest in &mut others {
        guest.ask(json!({ "do": "watch" }));
    }
    let honest = frame(&mac(number), &mac(5), "0800", &datagram(a, b, (4000, 3000)));
    for (what, lie) in &lies(a, number, b) {
        liar.ask(json!({ "do": "send", "hexes": [lie, lie, lie] }));
        // It comes after the lies, so when it is there they would be.
        let truth = "7472757468".repeat(3);
        let honest = honest.replace(MARK, &truth);
        let before = hearer.ask(json!({ "do": "seen", "hex": truth })).as_u64().unwrap();
        liar.ask(json!({ "do": "send", "hexes": [honest] }));
        let heard = hearer.ask(json!({ "do": "seen", "hex": truth, "wait": 5.0, "more_than": before }));
        assert!(heard.as_u64().unwrap() > before, "{what}: the truth is not heard");
        for guest in std::iter::once(&mut *hearer).chain(others.iter_mut().map(|guest| &mut **guest)) {
            let heard = guest.ask(json!({ "do": "seen", "hex": MARK }));
            assert_eq!(heard, json!(0), "{what}, to {}", guest.address);
        }
    }
    // The same frame without a lie: what the others count is what reaches them.
    liar.ask(json!({ "do": "send", "hexes": [honest] }));
    assert!(hearer.ask(json!({ "do": "seen", "hex": MARK, "wait": 5.0 })).as_u64() >= Some(1));
}
