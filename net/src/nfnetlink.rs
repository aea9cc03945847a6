//! The kernel's netfilter over netlink: who is connected to whom, and whether rules have changed. Blocking.

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use std::io::{Error, ErrorKind, Result};

const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const IS_ERROR: u16 = 2;
const IS_END: u16 = 3;
const IPV4: u8 = 2;
const UNSPECIFIED: u8 = 0;
const CONNTRACK: u16 = 1 << 8;
const CONNTRACK_GET: u16 = CONNTRACK | 1;
const CONNTRACK_DELETE: u16 = CONNTRACK | 2;
const TABLES_GENERATION_GET: u16 = (10 << 8) | 16;
const GENERATION_ID: u16 = 1;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const NOT_FOUND: i32 = 2;

/// One attribute of a message: its type, and what it holds.
pub type Attribute<'a> = (u16, &'a [u8]);

fn broken() -> Error {
    Error::new(ErrorKind::InvalidData, "a netlink message that is cut short")
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    let two = bytes.get(at..at + 2).ok_or_else(broken)?;
    Ok(u16::from_ne_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..at + 4).ok_or_else(broken)?;
    Ok(u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

pub fn attributes(mut bytes: &[u8]) -> Result<Vec<Attribute<'_>>> {
    let mut all = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length).ok_or_else(broken)?;
        all.push((u16_at(bytes, 2)? & TYPE_MASK, value));
        bytes = bytes.get(aligned(length)..).unwrap_or(&[]);
    }
    Ok(all)
}

pub fn find<'a>(attributes: &[Attribute<'a>], kind: u16) -> Option<&'a [u8]> {
    attributes.iter().find(|(of, _)| *of == kind).map(|(_, value)| *value)
}

pub fn attribute_put(message: &mut Vec<u8>, kind: u16, value: &[u8], nested: bool) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX); // the kernel refuses one that is cut
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&(if nested { kind | NESTED } else { kind }).to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(aligned(message.len()), 0);
}

/// Whether a program of this host that makes rules stands on nf_tables, which counts changes of them. Blocking.
pub fn is_counted(program: &str) -> Result<bool> {
    let told = std::process::Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&told.stdout).contains("nf_tables"))
}

#[derive(Debug)]
pub struct Nfnetlink {
    socket: Socket,
}

impl Nfnetlink {
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// `each` is given what every answer holds after its two headers.
    fn ask(
        &self,
        kind: u16,
        flags: u16,
        family: u8,
        body: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let length = u32::try_from(HEADER + FAMILY_HEADER + body.len()).map_err(|_| broken())?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        message.extend_from_slice(&[0; 8]); // sequence and sender
        message.extend_from_slice(&[family, 0, 0, 0]);
        message.extend_from_slice(body);
        self.socket.send(&message, 0)?;
        loop {
            let (answers, _) = self.socket.recv_from_full()?;
            let mut rest = answers.as_slice();
            while rest.len() >= HEADER {
                let length = u32_at(rest, 0)? as usize;
                let answer = rest.get(..length).filter(|_| length >= HEADER).ok_or_else(broken)?;
                match u16_at(rest, 4)? {
                    IS_END => return Ok(()),
                    IS_ERROR => {
                        return match u32_at(answer, HEADER)?.cast_signed() {
                            0 => Ok(()),
                            code => Err(Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => each(answer.get(HEADER + FAMILY_HEADER..).ok_or_else(broken)?)?,
                }
                if flags & (DUMP | ACKNOWLEDGE) == 0 {
                    return Ok(());
                }
                rest = rest.get(aligned(length)..).unwrap_or(&[]);
            }
        }
    }

    /// Every flow over IPv4 that the kernel keeps.
    pub fn flows(&self, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.ask(CONNTRACK_GET, DUMP, IPV4, &[], each)
    }

    /// One that is gone already is no error.
    pub fn flow_delete(&self, key: &[u8]) -> Result<()> {
        match self.ask(CONNTRACK_DELETE, ACKNOWLEDGE, IPV4, key, |_| Ok(())) {
            Err(error) if error.raw_os_error() == Some(NOT_FOUND) => Ok(()),
            other => other,
        }
    }

    /// A number that is another after every change of rules, whoever makes it.
    pub fn tables_generation(&self) -> Result<u32> {
        let mut generation = None;
        self.ask(TABLES_GENERATION_GET, 0, UNSPECIFIED, &[], |answer| {
            let id = find(&attributes(answer)?, GENERATION_ID).and_then(|id| id.try_into().ok());
            generation = id.map(u32::from_be_bytes);
            Ok(())
        })?;
        generation.ok_or_else(broken)
    }
}
