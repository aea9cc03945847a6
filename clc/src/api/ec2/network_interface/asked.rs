//! What requests say of an interface that is to be made: CreateNetworkInterface and RunInstances alike.

use crate::app::network_interface::{DESCRIPTION_CHARS_MAX, Secondary};
use crate::app::text::is_plain;
use karri_proto::aws::ec2::PrivateIpAddressSpecification;
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::network::ADDRESSES_PER_PORT_MAX;
use std::collections::HashSet;
use std::net::Ipv4Addr;

pub fn parse_ip(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| Fault::invalid_parameter(format!("Invalid IPv4 address: {}", shown(text))))
}

fn combination(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::InvalidParameterCombination, sentence)
}

/// The first address and the others: each of them by itself, in a list with one that is the first, or so many.
pub fn addresses(
    first: Option<&str>,
    list: &[PrivateIpAddressSpecification],
    count: Option<i32>,
) -> Result<(Option<Ipv4Addr>, Secondary), Fault> {
    let mut firsts: Vec<Ipv4Addr> = first.map(parse_ip).transpose()?.into_iter().collect();
    let mut others = Vec::new();
    for one in list {
        let text = one.private_ip_address.as_deref().unwrap_or_default();
        let place = if one.primary == Some(true) { &mut firsts } else { &mut others };
        place.push(parse_ip(text)?);
    }
    // As EC2 counts: the address by itself may be the list's first once more.
    firsts.dedup();
    if firsts.len() > 1 {
        let sentence = "Only one primary private IP address can be specified.";
        return Err(Fault::invalid_parameter(sentence));
    }
    if !others.is_empty() && count.is_some() {
        let sentence =
            "secondaryPrivateIpAddressCount cannot be specified with secondary private IP addresses";
        return Err(combination(sentence));
    }
    Ok((firsts.pop(), secondary(others, count)?))
}

/// Either of the two; neither: none.
pub fn secondary(addresses: Vec<Ipv4Addr>, count: Option<i32>) -> Result<Secondary, Fault> {
    let mut seen = HashSet::new();
    if let Some(twice) = addresses.iter().find(|address| !seen.insert(**address)) {
        return Err(Fault::invalid_parameter(format!("The address {twice} is specified more than once.")));
    }
    let Some(count) = count else { return Ok(Secondary::These(addresses)) };
    let count = usize::try_from(count).ok().filter(|count| *count <= ADDRESSES_PER_PORT_MAX);
    let wrong = || {
        let sentence = format!(
            "Invalid number of secondary addresses: expecting one from 0 to {ADDRESSES_PER_PORT_MAX}."
        );
        Fault::invalid_parameter(sentence)
    };
    count.map(Secondary::Some).ok_or_else(wrong)
}

pub fn description(text: Option<&str>) -> Result<String, Fault> {
    let text = text.unwrap_or_default();
    if text.chars().count() > DESCRIPTION_CHARS_MAX || !is_plain(text) {
        let sentence = format!(
            "The description of a network interface has at most {DESCRIPTION_CHARS_MAX} characters, none of \
             them control characters"
        );
        return Err(Fault::invalid_parameter(sentence));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(address: &str, primary: bool) -> PrivateIpAddressSpecification {
        PrivateIpAddressSpecification { primary: Some(primary), private_ip_address: Some(address.into()) }
    }

    #[test]
    fn the_first_address_comes_by_itself_or_in_the_list() {
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let (first, more) = (ip("10.0.0.5"), vec![ip("10.0.0.6")]);
        let list = [one("10.0.0.5", true), one("10.0.0.6", false)];
        assert_eq!(addresses(None, &list, None), Ok((Some(first), Secondary::These(more.clone()))));
        assert_eq!(addresses(Some("10.0.0.5"), &list, None), Ok((Some(first), Secondary::These(more))));
        assert_eq!(addresses(None, &[], Some(3)), Ok((None, Secondary::Some(3))));
        assert_eq!(addresses(None, &[], None), Ok((None, Secondary::These(Vec::new()))));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let check = |first: Option<&str>, list: &[PrivateIpAddressSpecification], count, code: &str| {
            assert_eq!(
                addresses(first, list, count).unwrap_err().code(),
                code,
                "{first:?} {list:?} {count:?}"
            );
        };
        check(Some("10.0.0.5"), &[one("10.0.0.6", true)], None, "InvalidParameterValue");
        check(None, &[one("10.0.0.6", false)], Some(1), "InvalidParameterCombination");
        check(None, &[one("10.0.0.6", false), one("10.0.0.6", false)], None, "InvalidParameterValue");
        check(None, &[one("nowhere", false)], None, "InvalidParameterValue");
        check(None, &[], Some(-1), "InvalidParameterValue");
        check(None, &[], Some(100_000), "InvalidParameterValue");
    }
}
