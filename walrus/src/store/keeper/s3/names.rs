//! Which object is which blob. Below the prefix the names are those of the local engine's files, so that any
//! program that copies a directory into a bucket, or back, moves a store from one to the other.

use super::super::BlobId;

/// 4,096 names share what is a directory on a disk.
const NAMES_LOG2: u32 = 12;
/// What tells whose objects these are.
const CLAIM: &str = "karri-walrus-store";

#[derive(Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Grows with the blob's name, as a listing does.
    pub fn key(&self, id: BlobId) -> String {
        format!("{}{:013x}/{id}", self.prefix, id.0 >> NAMES_LOG2)
    }

    pub fn claim(&self) -> String {
        format!("{}{CLAIM}", self.prefix)
    }

    /// Nothing for what is no blob of ours.
    pub fn parse(&self, key: &str) -> Option<BlobId> {
        let (_, name) = key.rsplit_once('/')?;
        BlobId::parse(name).filter(|id| self.key(*id) == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_nothing_else_does() {
        for prefix in ["", "a/b/"] {
            let names = Names::new(prefix);
            for id in [0, 1, 4095, 4096, 1 << 40, u64::MAX].map(BlobId) {
                assert_eq!(names.parse(&names.key(id)), Some(id));
            }
            assert_eq!(names.parse(&names.claim()), None);
        }
        let names = Names::new("a/");
        assert_eq!(names.key(BlobId(0x1234)), "a/0000000000001/0000000000001234");
        for other in [
            "0000000000001/0000000000001234",
            "a/0000000000002/0000000000001234",
            "a/0000000000001/0000000000001234x",
            "a/0000000000001/0000000000001234/",
            "a/b/0000000000001/0000000000001234",
        ] {
            assert_eq!(names.parse(other), None, "{other}");
        }
    }

    #[test]
    fn keys_sort_as_names_do() {
        let names = Names::new("p/");
        let ids = [0, 1, 0xfff, 0x1000, 0xffff_ffff, 1 << 32, (1 << 32) + 5, 1 << 60];
        assert!(ids.map(|id| names.key(BlobId(id))).is_sorted());
    }
}
