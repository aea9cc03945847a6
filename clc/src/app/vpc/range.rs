//! Which ranges VPCs and subnets may have: EC2's rules and words. Pure.

use crate::app::address::Cidr;
use crate::app::security_group::terms::net4;
use crate::store::subnet::Subnet;
use crate::store::vpc::Vpc;
use karri_proto::fault::{Fault, FaultCode, shown};

/// From the largest to the smallest.
const PREFIXES: std::ops::RangeInclusive<u32> = 16..=28;
/// Nobody's: this network, loopback, link-local, and from multicast on.
const NOBODYS: [&str; 4] = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"];
/// A VPC has ranges of one of these, and of none other of them.
const APART: [&[&str]; 4] = [&["10.0.0.0/8"], &["172.16.0.0/12"], &["192.168.0.0/16"], &["198.19.0.0/16"]];

fn malformed(text: &str) -> Fault {
    let sentence = format!(
        "Value ({}) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
        shown(text)
    );
    Fault::invalid_parameter(sentence)
}

/// With the bits behind the prefix taken off, as EC2 does. `code` is that of a range which nothing may have.
fn block(text: &str, code: FaultCode) -> Result<Cidr, Fault> {
    let net = net4(text).map_err(|_| malformed(text))?;
    let range = Cidr::of(net).filter(|range| PREFIXES.contains(&range.prefix()));
    range.ok_or_else(|| invalid(text, code))
}

fn invalid(text: &str, code: FaultCode) -> Fault {
    Fault::new(code, format!("The CIDR '{}' is invalid.", shown(text)))
}

/// A VPC's first range.
pub fn of_vpc(text: &str) -> Result<Cidr, Fault> {
    let range = block(text, FaultCode::InvalidVpcRange)?;
    match overlaps_any(&range, NOBODYS) {
        true => Err(invalid(text, FaultCode::InvalidVpcRange)),
        false => Ok(range),
    }
}

fn overlaps_any<'a>(range: &Cidr, others: impl IntoIterator<Item = &'a str>) -> bool {
    others.into_iter().filter_map(Cidr::parse_any).any(|other| other.overlaps(range))
}

/// Which of those that are kept apart it is in.
fn kin(range: &Cidr) -> Option<usize> {
    APART.iter().position(|ranges| overlaps_any(range, ranges.iter().copied()))
}

/// A further range of a VPC.
pub fn more_of_vpc(vpc: &Vpc, text: &str, most: usize) -> Result<Cidr, Fault> {
    let range = of_vpc(text)?;
    let own: Vec<Cidr> = vpc.ranges().filter_map(Cidr::parse).collect();
    if own.iter().any(|own| own.overlaps(&range)) {
        let sentence =
            format!("The CIDR '{range}' conflicts with another CIDR block of the VPC '{}'.", vpc.id);
        return Err(Fault::new(FaultCode::InvalidVpcRange, sentence));
    }
    if own.len() >= most {
        let sentence =
            format!("This network '{}' has met its maximum number of allowed CIDRs: {most}", vpc.id);
        return Err(Fault::new(FaultCode::CidrLimitExceeded, sentence));
    }
    // Beside any range there may be one that is in none of those.
    let first = own.first().and_then(kin);
    if kin(&range).is_some_and(|kin| first != Some(kin)) {
        let sentence = format!(
            "The CIDR '{range}' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, \
             or use a publicly-routable CIDR."
        );
        return Err(Fault::new(FaultCode::InvalidVpcRange, sentence));
    }
    Ok(range)
}

/// A subnet's range, among the VPC's other subnets.
pub fn of_subnet(vpc: &Vpc, others: &[Subnet], text: &str) -> Result<Cidr, Fault> {
    let range = block(text, FaultCode::InvalidSubnetRange)?;
    if !vpc.ranges().filter_map(Cidr::parse).any(|whole| whole.covers(&range)) {
        return Err(invalid(text, FaultCode::InvalidSubnetRange));
    }
    if others.iter().filter_map(|other| Cidr::parse(&other.cidr)).any(|other| other.overlaps(&range)) {
        let sentence = format!("The CIDR '{}' conflicts with another subnet", shown(text));
        return Err(Fault::new(FaultCode::InvalidSubnetConflict, sentence));
    }
    Ok(range)
}

#[cfg(test)]
mod tests;
