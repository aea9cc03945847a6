//! Says on a link where an address is, unasked: whoever has had it elsewhere sends to us from then on.

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SendFlags, SocketType, sendto, socket};
use std::io;
use std::net::Ipv4Addr;

const EVERYBODY: [u8; 6] = [0xff; 6];
const ARP: u16 = 0x0806;
/// Ethernet and IPv4, with addresses of six and four bytes; a question.
const ANNOUNCEMENT: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];

/// The kernel's `sockaddr_ll`: whom a frame is for, and on which link.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    link: i32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

#[expect(unsafe_code, reason = "rustix knows no addresses of links")]
// SAFETY: the structure is what the kernel expects for the family that it names, and lives while `f` runs.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        let length = SocketAddrLen::try_from(size_of::<Self>()).unwrap_or_default();
        f(std::ptr::from_ref(self).cast(), length)
    }
}

/// `mac`: whose the address is, which is the link's own or that of a guest behind a bridge. Blocking, for the time that a
/// frame takes.
pub fn announce(link: u32, mac: [u8; 6], address: Ipv4Addr) -> io::Result<()> {
    let socket = socket(AddressFamily::PACKET, SocketType::RAW, None)?; // which hears nothing
    let mut to = LinkAddress {
        family: AddressFamily::PACKET.as_raw(),
        protocol: ARP.to_be(),
        link: i32::try_from(link).map_err(io::Error::other)?,
        hardware: 0,
        kind: 0,
        length: 6,
        address: [0; 8],
    };
    to.address[..6].copy_from_slice(&EVERYBODY);
    sendto(&socket, &frame(mac, address), SendFlags::empty(), &to)?;
    Ok(())
}

/// A question of the address for itself, as RFC 5227 has it.
fn frame(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let (nobody, address) = ([0; 6], address.octets());
    let parts: [&[u8]; 8] =
        [&EVERYBODY, &mac, &ARP.to_be_bytes(), &ANNOUNCEMENT, &mac, &address, &nobody, &address];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_asks_for_its_own_address() {
        let frame = frame([2, 0, 0, 0, 0, 7], Ipv4Addr::new(203, 0, 113, 5));
        let expected =
            "ffffffffffff 020000000007 0806 0001080006040001 020000000007 cb007105 000000000000 cb007105";
        assert_eq!(hex::encode(frame), expected.replace(' ', ""));
    }
}
