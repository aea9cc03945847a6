//! Examples and properties of ranges.

use super::*;
use crate::store::vpc::VpcRange;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const MOST: usize = 5;

fn vpc(ranges: &[&str]) -> Vpc {
    let (first, more) = ranges.split_first().unwrap();
    let more = more.iter().map(|cidr| VpcRange { association_id: String::new(), cidr: (*cidr).to_owned() });
    Vpc { more_ranges: more.collect(), ..Vpc::plain("vpc-00000001", "000000000001", first) }
}

fn subnet(cidr: &str) -> Subnet {
    Subnet {
        id: "subnet-00000001".into(),
        account: "000000000001".into(),
        vpc_id: "vpc-00000001".into(),
        zone: "zone-a".into(),
        cidr: cidr.into(),
        gateway: Ipv4Addr::UNSPECIFIED,
        is_default: false,
        tag: 1,
        map_public_ip: false,
    }
}

fn check(found: Result<Cidr, Fault>, expected: Result<&str, &str>, what: &str) {
    let found = found.map(|range| range.to_string()).map_err(|fault| fault.code());
    assert_eq!(found.as_deref().map_err(|code| *code), expected, "{what}");
}

#[test]
fn a_vpc_has_a_range_of_sixteen_to_twenty_eight_bits() {
    for (text, expected) in [
        ("10.0.0.0/16", Ok("10.0.0.0/16")),
        ("10.0.0.0/28", Ok("10.0.0.0/28")),
        ("10.1.2.3/20", Ok("10.1.0.0/20")),
        ("203.0.113.0/24", Ok("203.0.113.0/24")),
        ("100.64.0.0/16", Ok("100.64.0.0/16")),
        ("10.0.0.0/15", Err("InvalidVpc.Range")),
        ("10.0.0.0/8", Err("InvalidVpc.Range")),
        ("0.0.0.0/0", Err("InvalidVpc.Range")),
        ("10.0.0.0/29", Err("InvalidVpc.Range")),
        ("10.0.0.0/32", Err("InvalidVpc.Range")),
        ("127.0.0.0/16", Err("InvalidVpc.Range")),
        ("169.254.128.0/20", Err("InvalidVpc.Range")),
        ("224.0.0.0/24", Err("InvalidVpc.Range")),
        ("255.255.0.0/16", Err("InvalidVpc.Range")),
        ("0.1.0.0/16", Err("InvalidVpc.Range")),
        ("", Err("InvalidParameterValue")),
        ("10.0.0.0", Err("InvalidParameterValue")),
        ("10.0.0/16", Err("InvalidParameterValue")),
        ("10.0.0.0/33", Err("InvalidParameterValue")),
        ("10.0.0.0/016", Err("InvalidParameterValue")),
        ("10.0.0.256/16", Err("InvalidParameterValue")),
        ("2001:db8::/32", Err("InvalidParameterValue")),
    ] {
        check(of_vpc(text), expected, text);
    }
    assert_eq!(of_vpc("10.0.0.0/8").unwrap_err().message(), "The CIDR '10.0.0.0/8' is invalid.");
    let sentence = "Value (x) for parameter cidrBlock is invalid. This is not a valid CIDR block.";
    assert_eq!(of_vpc("x").unwrap_err().message(), sentence);
}

#[test]
fn a_further_range_is_elsewhere_and_of_the_same_kin() {
    let wrong = Err("InvalidVpc.Range");
    for (own, text, expected) in [
        (&["10.0.0.0/16"][..], "10.1.0.0/16", Ok("10.1.0.0/16")),
        (&["10.0.0.0/16"], "100.64.0.0/16", Ok("100.64.0.0/16")),
        (&["10.0.0.0/16"], "203.0.113.0/24", Ok("203.0.113.0/24")),
        (&["10.0.0.0/16"], "10.0.128.0/20", wrong),
        (&["10.0.0.0/16", "10.1.0.0/16"], "10.1.0.0/28", wrong),
        (&["10.0.0.0/24"], "10.0.0.0/16", wrong),
        (&["10.0.0.0/16"], "172.16.0.0/16", wrong),
        (&["10.0.0.0/16"], "192.168.0.0/16", wrong),
        (&["10.0.0.0/16"], "198.19.0.0/16", wrong),
        (&["172.16.0.0/16"], "10.0.0.0/16", wrong),
        (&["192.168.0.0/24"], "192.168.1.0/24", Ok("192.168.1.0/24")),
        (&["100.64.0.0/16"], "10.0.0.0/16", wrong),
        (&["100.64.0.0/16"], "100.65.0.0/16", Ok("100.65.0.0/16")),
    ] {
        check(more_of_vpc(&vpc(own), text, MOST), expected, &format!("{own:?} and {text}"));
    }
    let full = vpc(&["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"]);
    let fault = more_of_vpc(&full, "10.5.0.0/16", MOST).unwrap_err();
    assert_eq!(fault.code(), "CidrLimitExceeded");
    let sentence = "This network 'vpc-00000001' has met its maximum number of allowed CIDRs: 5";
    assert_eq!(fault.message(), sentence);
}

#[test]
fn a_subnet_is_within_a_range_of_its_vpc_and_apart_from_other_subnets() {
    let vpc = vpc(&["10.0.0.0/16", "100.64.0.0/24"]);
    let others = [subnet("10.0.0.0/24"), subnet("10.0.4.0/22")];
    for (text, expected) in [
        ("10.0.1.0/24", Ok("10.0.1.0/24")),
        ("10.0.1.7/24", Ok("10.0.1.0/24")),
        ("100.64.0.0/24", Ok("100.64.0.0/24")),
        ("10.0.255.240/28", Ok("10.0.255.240/28")),
        ("10.0.0.0/24", Err("InvalidSubnet.Conflict")),
        ("10.0.0.128/28", Err("InvalidSubnet.Conflict")),
        ("10.0.0.0/16", Err("InvalidSubnet.Conflict")),
        ("10.0.6.0/24", Err("InvalidSubnet.Conflict")),
        ("10.1.0.0/24", Err("InvalidSubnet.Range")),
        ("10.0.0.0/15", Err("InvalidSubnet.Range")),
        ("100.64.0.0/23", Err("InvalidSubnet.Range")),
        ("10.0.1.0/29", Err("InvalidSubnet.Range")),
        ("nonsense", Err("InvalidParameterValue")),
    ] {
        check(of_subnet(&vpc, &others, text), expected, text);
    }
    let fault = of_subnet(&vpc, &others, "10.0.0.0/24").unwrap_err();
    assert_eq!(fault.message(), "The CIDR '10.0.0.0/24' conflicts with another subnet");
}

fn cidrs() -> impl Strategy<Value = (u32, u32)> {
    // Few addresses, so that they meet.
    (0..1024u32, 14..30u32).prop_map(|(low, prefix)| (0x0a00_0000 | low << 6, prefix))
}

/// One address after the other: slow, and plain.
fn addresses((address, prefix): (u32, u32)) -> std::ops::RangeInclusive<u32> {
    let hosts = u32::MAX >> prefix;
    address & !hosts..=address | hosts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn subnets_that_are_taken_never_meet_and_lie_within_their_vpc(whole in cidrs(), asked in prop::collection::vec(cidrs(), 1..20)) {
        let text = |(address, prefix): (u32, u32)| format!("{}/{prefix}", Ipv4Addr::from(address));
        let Ok(range) = of_vpc(&text(whole)) else {
            prop_assert!(!(16..=28).contains(&whole.1));
            return Ok(());
        };
        prop_assert_eq!(*addresses(whole).start() + 1, u32::from(range.gateway()));
        let vpc = vpc(&[&range.to_string()]);
        let mut taken: Vec<(u32, u32)> = Vec::new();
        let mut rows = Vec::new();
        for one in asked {
            let (inner, outer) = (addresses(one), addresses(whole));
            let within = outer.contains(inner.start()) && outer.contains(inner.end());
            let meets = |other: &(u32, u32)| {
                let other = addresses(*other);
                other.contains(inner.start()) || inner.contains(other.start())
            };
            let code = match of_subnet(&vpc, &rows, &text(one)) {
                Ok(range) => {
                    rows.push(subnet(&range.to_string()));
                    let size = u64::from(*inner.end()) - u64::from(*inner.start()) + 1;
                    prop_assert_eq!(u64::from(range.size()), size - 5);
                    None
                }
                Err(fault) => Some(fault.code()),
            };
            let expected = if !(16..=28).contains(&one.1) || !within {
                Some("InvalidSubnet.Range")
            } else if taken.iter().any(meets) {
                Some("InvalidSubnet.Conflict")
            } else {
                taken.push(one);
                None
            };
            prop_assert_eq!(code, expected, "{:?} of {:?}", one, whole);
        }
    }
}
