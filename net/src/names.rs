//! What the links of a segment are called, by the cluster's bridge and the segment's tag. Every controller of a host
//! finds the same names, and so the same links.

use sha2::{Digest, Sha256};

/// What a segment's frames are known by between hosts: a VXLAN's VNI.
pub type Tag = u32;

pub const TAG_MAX: Tag = 0xff_ffff;

/// The kernel takes 15 characters; a tag has six digits, and something stands before it.
const BASE_CHARACTERS_MAX: usize = 8;
const HASH_DIGITS: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    base: String,
}

impl Names {
    pub fn new(bridge: &str) -> Self {
        let base = if bridge.len() <= BASE_CHARACTERS_MAX {
            bridge.to_owned()
        } else {
            let start: String = bridge.chars().take(BASE_CHARACTERS_MAX - HASH_DIGITS).collect();
            start + &hex::encode(Sha256::digest(bridge))[..HASH_DIGITS]
        };
        Self { base }
    }

    pub fn bridge(&self, tag: Tag) -> String {
        format!("{}.{tag:x}", self.base)
    }

    pub fn device(&self, tag: Tag) -> String {
        format!("{}x{tag:x}", self.base)
    }

    /// As iptables means all bridges of segments.
    pub fn bridges(&self) -> String {
        format!("{}.+", self.base)
    }

    pub fn tag_of_bridge(&self, name: &str) -> Option<Tag> {
        self.tag_after('.', name)
    }

    pub fn tag_of_device(&self, name: &str) -> Option<Tag> {
        self.tag_after('x', name)
    }

    fn tag_after(&self, between: char, name: &str) -> Option<Tag> {
        let digits = name.strip_prefix(&self.base)?.strip_prefix(between)?;
        let tag = Tag::from_str_radix(digits, 16).ok()?;
        // Only the one form that is given out: no sign, no zeros before it.
        (format!("{tag:x}") == digits && (1..=TAG_MAX).contains(&tag)).then_some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_fit_and_are_read_back(bridge in "[a-z0-9.-]{1,15}", tag in 1..=TAG_MAX) {
            let names = Names::new(&bridge);
            let (bridge, device) = (names.bridge(tag), names.device(tag));
            prop_assert!(bridge.len() <= 15 && device.len() <= 15, "{} {}", bridge, device);
            prop_assert_eq!(names.tag_of_bridge(&bridge), Some(tag));
            prop_assert_eq!(names.tag_of_device(&device), Some(tag));
            prop_assert!(bridge.starts_with(names.bridges().trim_end_matches('+')));
        }
    }

    #[test]
    fn they_say_whose_they_are() {
        let names = Names::new("karri0");
        assert_eq!(
            (names.bridge(0x1001), names.device(0x1001)),
            ("karri0.1001".into(), "karri0x1001".into())
        );
        for other in ["karri0", "karri0.", "karri0.0", "karri0.01", "karri0.+1", "karri0.1000000", "karri1.5"]
        {
            assert_eq!(names.tag_of_bridge(other), None, "{other}");
        }
        assert_ne!(Names::new("a-long-bridge1").bridge(1), Names::new("a-long-bridge2").bridge(1));
    }
}
