//! Names of addresses: what users are told, and what clusters serve of it. Pure.

use crate::store::vpc::Vpc;
use karri_proto::network::{AddressRange, RegionNames};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// Of names of private addresses, as EC2 has them.
pub fn private_domain(region: &str) -> String {
    match region {
        "us-east-1" => "ec2.internal".to_owned(),
        _ => format!("{region}.compute.internal"),
    }
}

fn public_domain(region: &str) -> String {
    match region {
        "us-east-1" => "compute-1.internal".to_owned(),
        _ => format!("{region}.compute.internal"),
    }
}

/// `ip-172-31-0-4.REGION.compute.internal`
pub fn private_dns_name(address: Ipv4Addr, region: &str) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}.{}", private_domain(region))
}

/// `ec2-198-18-0-5.REGION.compute.internal`, where the VPC gives its instances such names.
pub fn public_dns_name(ip: Ipv4Addr, region: &str, vpc: &Vpc) -> Option<String> {
    let [a, b, c, d] = ip.octets();
    (vpc.dns_support && vpc.dns_hostnames).then(|| format!("ec2-{a}-{b}-{c}-{d}.{}", public_domain(region)))
}

/// What clusters serve.
pub fn region_names(region: &str, public: &[RangeInclusive<u32>]) -> RegionNames {
    let range = |range: &RangeInclusive<u32>| AddressRange {
        first: Ipv4Addr::from(*range.start()),
        last: Ipv4Addr::from(*range.end()),
    };
    RegionNames {
        domain: private_domain(region),
        public_domain: public_domain(region),
        public: public.iter().map(range).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a user is told of an address is what guests can ask for.
    #[test]
    fn what_is_told_is_in_a_domain_that_is_served() {
        let vpc = Vpc { dns_hostnames: true, ..Vpc::plain("vpc-00000001", "000000000001", "10.0.0.0/16") };
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 1));
        for (region, domain, public_domain) in [
            ("us-east-1", "ec2.internal", "compute-1.internal"),
            ("karri-1", "karri-1.compute.internal", "karri-1.compute.internal"),
        ] {
            let names = region_names(region, &[first..=first + 253]);
            assert_eq!((names.domain.as_str(), names.public_domain.as_str()), (domain, public_domain));
            let range = AddressRange { first: [198, 18, 0, 1].into(), last: [198, 18, 0, 254].into() };
            assert_eq!(names.public, [range]);
            let told = public_dns_name([198, 18, 0, 5].into(), region, &vpc);
            assert_eq!(told, Some(format!("ec2-198-18-0-5.{public_domain}")));
            assert_eq!(private_dns_name([10, 0, 0, 4].into(), region), format!("ip-10-0-0-4.{domain}"));
        }
        for (dns_support, dns_hostnames) in [(true, false), (false, true)] {
            let vpc = Vpc { dns_support, dns_hostnames, ..vpc.clone() };
            assert_eq!(public_dns_name([198, 18, 0, 5].into(), "karri-1", &vpc), None);
        }
    }
}
