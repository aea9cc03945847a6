//! Says on its network where an address is that a port has gained: whoever knew it of another port, a neighbour or the
//! router, would go on sending there for as long as it remembers. The guest need not know of the address yet.

use super::Port;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A word may be lost, and a kernel takes none within a second of the last.
const TIMES: u8 = 3;

/// What is to be said yet, by the address and the tap that has it.
#[derive(Debug, Default)]
pub struct Announcing {
    left: BTreeMap<(Ipv4Addr, String), u8>,
}

/// One to be said now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub tap: String,
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
}

impl Announcing {
    /// Notes what `now` has beside what it had. What a site gives is the site's to say.
    pub fn gained(&mut self, before: Option<&Port>, now: &Port) {
        let had = |address: &Ipv4Addr| before.is_some_and(|port| port.addresses().any(|one| one == *address));
        for address in now.addresses().filter(|address| !now.of_site && !had(address)) {
            self.left.insert((address, now.tap.clone()), TIMES);
        }
    }

    /// What is to be said of `ports`, by their taps: an address that is not a port's any more is not said to be there.
    /// Unless `again`, what was said once waits for who asks so, every few seconds: ports may come in a burst.
    pub fn words(&mut self, ports: &BTreeMap<String, Port>, again: bool) -> Vec<Word> {
        let mut words = Vec::new();
        self.left.retain(|(address, tap), left| {
            if *left < TIMES && !again {
                return true;
            }
            let port = ports.get(tap).filter(|port| port.addresses().any(|one| one == *address));
            let Some(mac) = port.and_then(|port| parse_mac(&port.mac)) else { return false };
            words.push(Word { tap: tap.clone(), mac, address: *address });
            *left -= 1;
            *left > 0
        });
        words
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
    const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    fn port(secondary: &[Ipv4Addr]) -> Port {
        Port {
            id: "eni-00000000000000001".parse().unwrap(),
            tap: "k00010000000001".to_owned(),
            mac: "02:00:00:00:00:07".to_owned(),
            address: FIRST,
            secondary: secondary.to_vec(),
            source_dest_check: true,
            of_site: false,
            segment: 7,
            subnet_cidr: "10.0.0.0/24".to_owned(),
            gateway: Ipv4Addr::new(10, 0, 0, 1),
        }
    }

    fn plugged(port: &Port) -> BTreeMap<String, Port> {
        BTreeMap::from([(port.tap.clone(), port.clone())])
    }

    #[test]
    fn what_is_new_is_said_a_few_times_and_what_was_there_is_not() {
        let (before, now) = (port(&[]), port(&[SECOND]));
        let mut announcing = Announcing::default();
        announcing.gained(Some(&before), &now);
        let word = Word { tap: now.tap.clone(), mac: [2, 0, 0, 0, 0, 7], address: SECOND };
        for _ in 0..TIMES {
            assert_eq!(announcing.words(&plugged(&now), true), std::slice::from_ref(&word));
        }
        assert_eq!(announcing.words(&plugged(&now), true), []);
    }

    #[test]
    fn a_burst_of_other_ports_takes_none_of_the_times() {
        let (now, mut announcing) = (port(&[]), Announcing::default());
        announcing.gained(None, &now);
        let said = |announcing: &mut Announcing, again| announcing.words(&plugged(&now), again).len();
        assert_eq!(said(&mut announcing, false), 1);
        assert_eq!([false; 5].map(|again| said(&mut announcing, again)), [0; 5]);
        assert_eq!([true, false, true, true].map(|again| said(&mut announcing, again)), [1, 0, 1, 0]);
    }

    #[test]
    fn what_went_on_to_another_port_is_not_said_of_this_one() {
        let (before, now) = (port(&[]), port(&[SECOND]));
        let mut announcing = Announcing::default();
        announcing.gained(Some(&before), &now);
        assert_eq!(announcing.words(&plugged(&before), true), []);
        assert_eq!(announcing.words(&plugged(&now), true), [], "it was given up");
        announcing.gained(None, &now);
        assert_eq!(announcing.words(&BTreeMap::new(), true), [], "the port is gone");
    }

    #[test]
    fn all_of_a_new_port_is_said_but_not_what_a_site_gives() {
        let now = port(&[SECOND]);
        let mut announcing = Announcing::default();
        announcing.gained(None, &Port { of_site: true, ..now.clone() });
        assert_eq!(announcing.words(&plugged(&now), true), []);
        announcing.gained(None, &now);
        let said: Vec<Ipv4Addr> =
            announcing.words(&plugged(&now), true).iter().map(|word| word.address).collect();
        assert_eq!(said, [FIRST, SECOND]);
    }

    #[test]
    fn a_mac_is_six_bytes() {
        assert_eq!(parse_mac("02:0a:ff:00:00:07"), Some([2, 10, 255, 0, 0, 7]));
        for bad in ["", "02:0a:ff:00:00", "02:0a:ff:00:00:07:08", "02:0a:ff:00:00:0g"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }
}
