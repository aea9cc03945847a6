//! Entries of a prefix list, and what a request makes of them. Pure.

use crate::app::security_group::terms::{net4, net6};
use crate::app::text::is_plain;
use karri_proto::fault::{Fault, FaultCode};
use std::collections::{HashMap, HashSet};

/// A list has entries of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

const DESCRIPTION_CHARS_MAX: usize = 255;

/// A range, in its one form once it is kept, with what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub cidr: String,
    pub description: Option<String>,
}

impl Family {
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        [Family::Ipv4, Family::Ipv6].into_iter().find(|family| family.as_str() == name)
    }

    fn cidr(self, text: &str) -> Result<String, Fault> {
        match self {
            Family::Ipv4 => net4(text).map(|net| net.to_string()),
            Family::Ipv6 => net6(text).map(|net| net.to_string()),
        }
    }
}

/// What leads from one version's entries to the next's. Both sides may have a range: then its description changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub ended: Vec<String>,
    pub begun: Vec<Entry>,
}

impl Change {
    pub fn of(family: Family, now: &[Entry], add: &[Entry], remove: &[String]) -> Result<Self, Fault> {
        let there: HashSet<&str> = now.iter().map(|entry| entry.cidr.as_str()).collect();
        let begun = added(family, now, add)?;
        let mut ended = Vec::with_capacity(remove.len());
        for text in remove {
            let cidr = family.cidr(text)?;
            if begun.iter().any(|entry| entry.cidr == cidr) {
                return Err(Fault::invalid_parameter(format!(
                    "Request cannot contain Cidr {cidr} in both AddPrefixListEntries and RemovePrefixListEntries"
                )));
            }
            if ended.contains(&cidr) {
                return Err(twice(&cidr));
            }
            if !there.contains(cidr.as_str()) {
                let sentence = format!("The entry with the CIDR ({cidr}) does not exist.");
                return Err(Fault::new(FaultCode::InvalidPrefixListModification, sentence));
            }
            ended.push(cidr);
        }
        let redescribed = begun.iter().filter(|entry| there.contains(entry.cidr.as_str()));
        ended.extend(redescribed.map(|entry| entry.cidr.clone()));
        Ok(Self { ended, begun })
    }

    pub fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.begun.is_empty()
    }
}

fn twice(cidr: &str) -> Fault {
    Fault::invalid_parameter(format!("Request cannot contain Cidr {cidr} more than once"))
}

fn check_description(text: &str) -> Result<(), Fault> {
    if text.chars().count() <= DESCRIPTION_CHARS_MAX && is_plain(text) {
        return Ok(());
    }
    Err(Fault::invalid_parameter(format!(
        "Invalid value for parameter Description of an entry. A description has at most {DESCRIPTION_CHARS_MAX} \
         characters, none of them control characters."
    )))
}

/// Entries to be, in their one form; none of them is there as it is.
pub fn added(family: Family, now: &[Entry], add: &[Entry]) -> Result<Vec<Entry>, Fault> {
    let mut seen = HashSet::new();
    let mut entries = Vec::with_capacity(add.len());
    for new in add {
        let cidr = family.cidr(&new.cidr)?;
        let description = new.description.clone().filter(|text| !text.is_empty());
        description.as_deref().map_or(Ok(()), check_description)?;
        let entry = Entry { cidr, description };
        if !seen.insert(entry.cidr.clone()) {
            return Err(twice(&entry.cidr));
        }
        if now.contains(&entry) {
            let said = entry.description.as_deref().unwrap_or_default();
            let sentence =
                format!("An entry with the CIDR ({}) and description ({said}) already exists.", entry.cidr);
            return Err(Fault::new(FaultCode::InvalidPrefixListModification, sentence));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// From one version's entries to another's.
pub fn leading_to(now: &[Entry], then: &[Entry]) -> Change {
    fn by_cidr(these: &[Entry]) -> HashMap<&str, &Entry> {
        these.iter().map(|entry| (entry.cidr.as_str(), entry)).collect()
    }
    let (had, wanted) = (by_cidr(now), by_cidr(then));
    let ended = now.iter().filter(|entry| wanted.get(entry.cidr.as_str()) != Some(entry));
    let begun = then.iter().filter(|entry| had.get(entry.cidr.as_str()) != Some(entry));
    Change { ended: ended.map(|entry| entry.cidr.clone()).collect(), begun: begun.cloned().collect() }
}

pub fn check_room(count: usize, max_entries: i32) -> Result<(), Fault> {
    if usize::try_from(max_entries).is_ok_and(|most| count <= most) {
        return Ok(());
    }
    let sentence =
        format!("You've reached the maximum number of entries for the prefix list ({max_entries}).");
    Err(Fault::new(FaultCode::PrefixListMaxEntriesExceeded, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cidr: &str, description: &str) -> Entry {
        let description = Some(description.to_owned()).filter(|text| !text.is_empty());
        Entry { cidr: cidr.to_owned(), description }
    }

    #[test]
    fn a_change_takes_away_and_adds_and_describes_anew() {
        let now = [entry("10.0.0.0/8", "a"), entry("192.0.2.0/24", "")];
        let add = [entry("198.51.100.7/24", "c"), entry("10.0.0.0/8", "b")];
        let change = Change::of(Family::Ipv4, &now, &add, &["192.0.2.0/24".to_owned()]).unwrap();
        assert_eq!(change.ended, ["192.0.2.0/24", "10.0.0.0/8"]);
        assert_eq!(change.begun, [entry("198.51.100.0/24", "c"), entry("10.0.0.0/8", "b")]);
    }

    #[test]
    fn what_cannot_be_is_refused_in_ec2s_words() {
        let now = [entry("10.0.0.0/8", "a")];
        let check = |add: &[Entry], remove: &[&str], code: &str, message: &str| {
            let remove: Vec<String> = remove.iter().map(|text| (*text).to_owned()).collect();
            let fault = Change::of(Family::Ipv4, &now, add, &remove).unwrap_err();
            assert_eq!((fault.code(), fault.message()), (code, message));
        };
        let modification = "InvalidPrefixListModification";
        check(
            &[entry("10.0.0.0/8", "a")],
            &[],
            modification,
            "An entry with the CIDR (10.0.0.0/8) and description (a) already exists.",
        );
        check(&[], &["10.1.0.0/16"], modification, "The entry with the CIDR (10.1.0.0/16) does not exist.");
        let both =
            "Request cannot contain Cidr 10.0.0.0/8 in both AddPrefixListEntries and RemovePrefixListEntries";
        check(&[entry("10.0.0.0/8", "b")], &["10.0.0.0/8"], "InvalidParameterValue", both);
        let twice = "Request cannot contain Cidr 10.2.0.0/16 more than once";
        let same = [entry("10.2.0.0/16", ""), entry("10.2.0.1/16", "")];
        check(&same, &[], "InvalidParameterValue", twice);
        check(&[entry("::/0", "")], &[], "InvalidParameterValue", "CIDR block ::/0 is malformed");
        assert_eq!(check_room(2, 1).unwrap_err().code(), "PrefixListMaxEntriesExceeded");
        check_room(1, 1).unwrap();
    }

    #[test]
    fn an_older_version_comes_back_with_its_descriptions() {
        let now = [entry("10.0.0.0/8", "new"), entry("10.1.0.0/16", ""), entry("10.2.0.0/16", "")];
        let then = [entry("10.0.0.0/8", "old"), entry("10.1.0.0/16", ""), entry("10.3.0.0/16", "")];
        let change = leading_to(&now, &then);
        assert_eq!(change.ended, ["10.0.0.0/8", "10.2.0.0/16"]);
        assert_eq!(change.begun, [entry("10.0.0.0/8", "old"), entry("10.3.0.0/16", "")]);
        assert!(leading_to(&now, &now).is_empty());
    }
}
