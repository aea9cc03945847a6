//! A guest's network device as libvirt has it: in the whole document, by itself when it comes to a running guest, and read
//! again from what libvirt tells of that.

use super::domain_xml::{GuestPort, Xml, empty, within};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer};
use std::io;

pub(super) fn write_interface(xml: &mut Xml, port: &GuestPort, is_xen: bool) -> io::Result<()> {
    within(xml, "interface", &[("type", "bridge")], |xml| {
        empty(xml, "mac", &[("address", &port.mac)])?;
        empty(xml, "source", &[("bridge", &port.bridge)])?;
        empty(xml, "target", &[("dev", &port.tap)])?;
        if let Some(mtu) = port.mtu {
            empty(xml, "mtu", &[("size", &mtu.to_string())])?;
        }
        if is_xen {
            return Ok(());
        }
        empty(xml, "model", &[("type", "virtio")])?;
        empty(xml, "rom", &[("enabled", "no")]) // no network boot: it only takes time
    })
}

pub fn interface(port: &GuestPort, is_xen: bool) -> String {
    let mut xml = Writer::new(Vec::new());
    write_interface(&mut xml, port, is_xen).expect("writing to memory cannot fail");
    String::from_utf8(xml.into_inner()).expect("only text was written")
}

/// Those of a domain's document. One that is not as `interface` writes it is left out.
pub fn interfaces(domain: &str) -> Vec<GuestPort> {
    let (mut reader, mut found, mut open) = (Reader::from_str(domain), Vec::new(), None);
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) if start.name().as_ref() == "interface" => {
                open = Some(Parts::default());
            }
            Ok(Event::Start(start) | Event::Empty(start)) => {
                if let Some(parts) = &mut open {
                    parts.take(&start);
                }
            }
            Ok(Event::End(end)) if end.name().as_ref() == "interface" => {
                found.extend(open.take().and_then(Parts::whole));
            }
            Ok(Event::Eof) | Err(_) => return found,
            Ok(_) => {}
        }
    }
}

#[derive(Default)]
struct Parts {
    mac: Option<String>,
    bridge: Option<String>,
    tap: Option<String>,
    mtu: Option<u32>,
}

impl Parts {
    fn take(&mut self, element: &BytesStart<'_>) {
        let value = |name: &str| {
            let found = element.try_get_attribute(name).ok()??;
            Some(found.value.into_owned())
        };
        match element.name().as_ref() {
            "mac" => self.mac = value("address"),
            "source" => self.bridge = value("bridge"),
            "target" => self.tap = value("dev"),
            "mtu" => self.mtu = value("size").and_then(|size| size.parse().ok()),
            _ => {}
        }
    }

    fn whole(self) -> Option<GuestPort> {
        let Self { mac, bridge, tap, mtu } = self;
        Some(GuestPort { tap: tap?, mac: mac?, bridge: bridge?, mtu, user: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u8) -> GuestPort {
        GuestPort {
            tap: format!("k0123000000000{number}"),
            mac: format!("02:6b:0a:00:00:0{number}"),
            bridge: "karri0.1001".to_owned(),
            mtu: Some(1450),
            user: None,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let plain = GuestPort { mtu: None, bridge: "karri0".to_owned(), ..port(2) };
        let text = [port(1), plain.clone()].map(|port| interface(&port, false)).concat();
        let domain = format!("<domain><name>x</name><devices><target dev='vda'/>{text}</devices></domain>");
        assert_eq!(interfaces(&domain), [port(1), plain]);
        assert_eq!(interfaces(&interface(&port(3), true)), [port(3)]);
    }

    #[test]
    fn devices_of_other_kinds_are_left_out() {
        let user = "<domain><interface type='user'><mac address='02:00:00:00:00:01'/></interface></domain>";
        assert_eq!(interfaces(user), []);
        assert_eq!(interfaces("<domain><interface"), []);
    }
}
