//! What dnsmasq answers about names that say an address: its arguments, and a file of those that lead elsewhere than
//! they say. Addresses move, and with them the file alone, which is read again while it serves.

use crate::app::router::Naming;
use karri_proto::network::{AddressRange, RegionNames};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// What is asked of the domains is answered here or by nobody.
pub fn arguments(naming: &Naming) -> Vec<String> {
    let Some(RegionNames { domain, public_domain, public }) = region(naming) else { return Vec::new() };
    // The domain of names that it knows by leases, too: else an address with a lease is called by half its name.
    let mut arguments = vec![format!("--local=/{domain}/"), format!("--domain={domain}")];
    arguments.extend((public_domain != domain).then(|| format!("--local=/{public_domain}/")));
    arguments.extend(naming.ranges.iter().map(|range| format!("--synth-domain={domain},{range},ip-")));
    arguments.extend(public.iter().map(|AddressRange { first, last }| match first == last {
        true => format!("--synth-domain={public_domain},{first}/32,ec2-"),
        false => format!("--synth-domain={public_domain},{first},{last},ec2-"),
    }));
    arguments
}

/// In which guests look for names without a dot, where nothing else is said.
pub fn domain(naming: &Naming) -> Option<&str> {
    region(naming).map(|region| region.domain.as_str())
}

/// A line per address. The name that comes first is what the address is called.
pub fn file(naming: &Naming) -> String {
    let mut text = String::new();
    let Some(region) = region(naming) else { return text };
    for (public, private) in &naming.inside {
        let (ip, ec2) = (dashed(*private), dashed(*public));
        let _ = writeln!(text, "{private} ip-{ip}.{} ec2-{ec2}.{}", region.domain, region.public_domain);
    }
    text
}

fn dashed(address: Ipv4Addr) -> String {
    address.to_string().replace('.', "-")
}

/// Whatever else is in a name could be taken for more than a name.
fn region(naming: &Naming) -> Option<&RegionNames> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let is_domain = |text: &str| !text.is_empty() && text.bytes().all(plain);
    naming.region.as_deref().filter(|region| is_domain(&region.domain) && is_domain(&region.public_domain))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use karri_proto::network::Net4;
    use std::sync::Arc;

    pub fn naming(domain: &str, public_domain: &str) -> Naming {
        let range = |first: [u8; 4], last: [u8; 4]| AddressRange { first: first.into(), last: last.into() };
        Naming {
            region: Some(Arc::new(RegionNames {
                domain: domain.to_owned(),
                public_domain: public_domain.to_owned(),
                public: vec![
                    range([198, 18, 0, 1], [198, 18, 0, 254]),
                    range([203, 0, 113, 8], [203, 0, 113, 8]),
                ],
            })),
            ranges: [Net4 { address: [10, 0, 0, 0].into(), prefix: 16 }].into(),
            inside: [([198, 18, 0, 5].into(), [10, 0, 0, 4].into())].into(),
        }
    }

    #[test]
    fn every_address_has_its_name_and_moved_ones_are_in_the_file_alone() {
        let usual = naming("ec2.internal", "compute-1.internal");
        let served = [
            "--local=/ec2.internal/",
            "--domain=ec2.internal",
            "--local=/compute-1.internal/",
            "--synth-domain=ec2.internal,10.0.0.0/16,ip-",
            "--synth-domain=compute-1.internal,198.18.0.1,198.18.0.254,ec2-",
            "--synth-domain=compute-1.internal,203.0.113.8/32,ec2-",
        ];
        assert_eq!(arguments(&usual), served);
        assert_eq!(file(&usual), "10.0.0.4 ip-10-0-0-4.ec2.internal ec2-198-18-0-5.compute-1.internal\n");
        let moved = Naming { inside: [([198, 18, 0, 5].into(), [10, 0, 0, 9].into())].into(), ..usual };
        assert_eq!(arguments(&moved), served, "nothing starts anew");
        assert_eq!(file(&moved), "10.0.0.9 ip-10-0-0-9.ec2.internal ec2-198-18-0-5.compute-1.internal\n");
    }

    #[test]
    fn where_both_kinds_are_in_one_domain_it_is_said_once() {
        let one = arguments(&naming("karri-1.compute.internal", "karri-1.compute.internal"));
        assert_eq!(one.iter().filter(|argument| argument.starts_with("--local=")).count(), 1, "{one:?}");
    }

    #[test]
    fn nothing_is_named_of_which_nothing_is_known_or_which_is_more_than_a_name() {
        for unusual in
            [Naming::default(), naming("ec2.internal,x", "y"), naming("x", "y\n1.2.3.4 z"), naming("", "y")]
        {
            assert_eq!(
                (arguments(&unusual), file(&unusual), domain(&unusual)),
                (Vec::new(), String::new(), None)
            );
        }
    }
}
