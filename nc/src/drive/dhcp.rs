//! Hears what the site's DHCP servers give to guests.
//!
//! One packet socket sees what leaves this host's interfaces, the taps of guests among them, and of that only answers
//! of DHCP: the kernel filters. Only what leaves is heard, for a frame that a guest has forged to look like an answer
//! leaves by no interface: it is dropped in the bridge's tables, which come later than what a socket hears of arrivals.

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::mpsc;

/// All protocols, in network order: of one protocol alone a socket hears only what arrives.
const EVERY_PROTOCOL: i32 = 0x0300;
const HEAR_FOR: Duration = Duration::from_millis(500);
const FRAME_BYTES_MAX: usize = 2048;
const QUEUE_MAX: usize = 1024;

const ETHERNET_BYTES: usize = 14;
const UDP_BYTES: usize = 8;
/// From the beginning of a DHCP message.
const YOUR_ADDRESS_AT: usize = 16;
const HARDWARE_AT: usize = 28;
const MAGIC_AT: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const REPLY: u8 = 2;
const MESSAGE_TYPE: u8 = 53;
const ACK: u8 = 5;

/// A server's word that an address is a client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Lower-case, colon-separated.
    pub mac: String,
    pub address: Ipv4Addr,
}

/// IPv4 over UDP from port 67 to port 68, no fragment, on its way out.
fn filter() -> Vec<SockFilter> {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_HALF_AFTER_HEADER: u16 = 0x48;
    const HEADER_LENGTH: u16 = 0xb1;
    const IF_EQUAL: u16 = 0x15;
    const IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const PACKET_TYPE: u32 = 0xffff_f004; // of the socket buffer, not of the frame
    const OUTGOING: u32 = 4;
    let step = SockFilter::new;
    vec![
        step(LOAD_BYTE, 0, 0, PACKET_TYPE),
        step(IF_EQUAL, 0, 11, OUTGOING),
        step(LOAD_HALF, 0, 0, 12),
        step(IF_EQUAL, 0, 9, 0x0800),
        step(LOAD_BYTE, 0, 0, 23),
        step(IF_EQUAL, 0, 7, 17),
        step(LOAD_HALF, 0, 0, 20),
        step(IF_ANY_BIT, 5, 0, 0x1fff),
        step(HEADER_LENGTH, 0, 0, 14),
        step(LOAD_HALF_AFTER_HEADER, 0, 0, 14),
        step(IF_EQUAL, 0, 2, 67),
        step(LOAD_HALF_AFTER_HEADER, 0, 0, 16),
        step(IF_EQUAL, 1, 0, 68),
        step(RETURN, 0, 0, 0),
        step(RETURN, 0, 0, u32::MAX),
    ]
}

/// Hears until nobody listens any more.
pub fn hear() -> std::io::Result<mpsc::Receiver<Given>> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERY_PROTOCOL)))?;
    socket.attach_filter(&filter())?;
    socket.set_read_timeout(Some(HEAR_FOR))?;
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    std::thread::Builder::new().name("dhcp".to_owned()).spawn(move || pass_on(socket, &sender))?;
    Ok(receiver)
}

fn pass_on(mut socket: Socket, sender: &mpsc::Sender<Given>) {
    let mut frame = [0u8; FRAME_BYTES_MAX];
    while !sender.is_closed() {
        match socket.read(&mut frame) {
            // One too many is given again: clients ask anew when half of their time is over.
            Ok(length) => _ = given(&frame[..length]).map(|given| sender.try_send(given)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "addresses that the site gives are not heard of");
                return;
            }
        }
    }
}

/// What an answer gives; none: it gives nothing, or is no answer.
pub fn given(frame: &[u8]) -> Option<Given> {
    let header = usize::from(frame.get(ETHERNET_BYTES)? & 0x0f) * 4;
    let message = frame.get(ETHERNET_BYTES + header + UDP_BYTES..)?;
    let ethernet = [1, 6]; // the kind of hardware, and the bytes of its addresses
    let is_reply = *message.first()? == REPLY && message.get(1..3)? == ethernet;
    if !is_reply || message.get(MAGIC_AT..MAGIC_AT + MAGIC.len())? != MAGIC {
        return None;
    }
    if option(message.get(MAGIC_AT + MAGIC.len()..)?, MESSAGE_TYPE)? != [ACK] {
        return None;
    }
    let address: [u8; 4] = message.get(YOUR_ADDRESS_AT..YOUR_ADDRESS_AT + 4)?.try_into().ok()?;
    let address = Ipv4Addr::from(address);
    let no_hosts = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    if no_hosts || address.is_broadcast() {
        return None;
    }
    let mac = message.get(HARDWARE_AT..HARDWARE_AT + 6)?;
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Given { mac: mac.join(":"), address })
}

fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    const PAD: u8 = 0;
    const END: u8 = 255;
    loop {
        let (code, rest) = options.split_first()?;
        match *code {
            PAD => options = rest,
            END => return None,
            code => {
                let (length, rest) = rest.split_first()?;
                let value = rest.get(..usize::from(*length))?;
                if code == wanted {
                    return Some(value);
                }
                options = &rest[value.len()..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u8) -> Vec<u8> {
        let mut frame = vec![0u8; ETHERNET_BYTES + 20 + UDP_BYTES];
        frame[ETHERNET_BYTES] = 0x45;
        let mut message = vec![0u8; MAGIC_AT];
        message[..3].copy_from_slice(&[REPLY, 1, 6]);
        message[YOUR_ADDRESS_AT..YOUR_ADDRESS_AT + 4].copy_from_slice(&[192, 0, 2, 9]);
        message[HARDWARE_AT..HARDWARE_AT + 6].copy_from_slice(&[2, 0x6b, 0, 0, 0xab, 1]);
        message.extend(MAGIC);
        message.extend([0, 54, 4, 192, 0, 2, 1, MESSAGE_TYPE, 1, kind, 255]);
        frame.extend(message);
        frame
    }

    #[test]
    fn an_acknowledgement_gives_an_address_and_an_offer_does_not() {
        let expected = Given { mac: "02:6b:00:00:ab:01".to_owned(), address: Ipv4Addr::new(192, 0, 2, 9) };
        assert_eq!(given(&answer(ACK)), Some(expected));
        assert_eq!(given(&answer(2)), None);
        assert_eq!(given(&answer(6)), None);
    }

    #[test]
    fn what_is_cut_off_anywhere_gives_nothing() {
        let whole = answer(ACK);
        let enough = whole.len() - 1; // its last byte only ends it
        assert!((0..enough).all(|length| given(&whole[..length]).is_none()));
        let mut other = whole.clone();
        other[ETHERNET_BYTES + 20 + UDP_BYTES] = 1; // a question
        assert_eq!(given(&other), None);
        let at = ETHERNET_BYTES + 20 + UDP_BYTES + YOUR_ADDRESS_AT;
        for nobody in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            let mut other = whole.clone();
            other[at..at + 4].copy_from_slice(&nobody);
            assert_eq!(given(&other), None, "{nobody:?}");
        }
    }
}
