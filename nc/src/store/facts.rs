//! The facts that a node was told, in one file: `state_dir/facts`.
//!
//! A line is a digest and a JSON value; the first tells everything, each other one what one page changed. A
//! crash leaves at most a last line that is not whole: nobody was told that it was taken, so it is dropped.
//! When the changes outgrow what they change, the file is replaced by one line.

use karri_proto::internal::facts::FactsAt;
use karri_proto::network::{FactChange, FactTable};
use karri_proto::runtime::files::write_secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILE: &str = "facts";
const DAMAGED: &str = "facts.damaged";
const DIGEST_DIGITS: usize = 16;
/// Changes that are kept, whatever they change.
const CHANGES_BYTES_MIN: u64 = 256 * 1024;

#[derive(Debug)]
pub struct FactsFile {
    path: PathBuf,
    /// Bytes of the first line, and of all that is good.
    first: u64,
    good: u64,
    /// Something could not be written: what the file says is old, and only the whole of it can be replaced.
    behind: bool,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    at: FactsAt,
    changes: Cow<'a, [FactChange]>,
}

impl FactsFile {
    pub fn open(directory: &Path) -> io::Result<(Self, FactsAt, FactTable)> {
        let path = directory.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let mut file = Self { path, first: 0, good: 0, behind: false };
        match file.read(&bytes) {
            Ok((at, table)) => {
                if file.good < bytes.len() as u64 {
                    File::options().write(true).open(&file.path)?.set_len(file.good)?;
                }
                Ok((file, at, table))
            }
            Err(what) => {
                let aside = directory.join(DAMAGED);
                tracing::warn!(file = %file.path.display(), set_aside = %aside.display(), what,
                    "the facts about networks are damaged: they are asked for anew");
                std::fs::rename(&file.path, &aside)?;
                (file.first, file.good) = (0, 0);
                Ok((file, FactsAt::default(), FactTable::default()))
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(FactsAt, FactTable), String> {
        let (mut at, mut table) = (FactsAt::default(), FactTable::default());
        let mut rest = bytes;
        for number in 1.. {
            if rest.is_empty() {
                break;
            }
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
            let (line, after) = rest.split_at(end);
            match decode(line) {
                Some(line) => {
                    at = line.at;
                    line.changes.into_owned().into_iter().for_each(|change| drop(table.apply(change)));
                }
                // The first line came with a file that was whole when it got its name.
                None if after.is_empty() && number > 1 => break,
                None => return Err(format!("line {number}")),
            }
            self.good += line.len() as u64;
            if number == 1 {
                self.first = self.good;
            }
            rest = after;
        }
        Ok((at, table))
    }

    /// `before` is the table without these changes.
    pub fn append(
        &mut self,
        at: FactsAt,
        changes: &[FactChange],
        before: impl FnOnce() -> Arc<FactTable>,
    ) -> io::Result<()> {
        let line = encode(at, changes)?;
        let changed = self.good - self.first + line.len() as u64;
        if self.behind || self.first == 0 || changed > self.first.max(CHANGES_BYTES_MIN) {
            let mut table = before().as_ref().clone();
            changes.iter().for_each(|change| drop(table.apply(change.clone())));
            return self.replace(at, &table);
        }
        if let Err(error) = self.write(&line) {
            self.behind = true;
            // Half a line is dropped when it is read, if this fails as well.
            let _ = File::options().write(true).open(&self.path).and_then(|file| file.set_len(self.good));
            return Err(error);
        }
        self.good += line.len() as u64;
        Ok(())
    }

    /// What the file says is older than what was to be written.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut file = File::options().append(true).open(&self.path)?;
        file.write_all(line)?;
        file.sync_data()
    }

    pub fn replace(&mut self, at: FactsAt, table: &FactTable) -> io::Result<()> {
        let changes: Vec<FactChange> = table.facts().map(FactChange::Put).collect();
        let line = encode(at, &changes)?;
        self.behind = true;
        write_secret(&self.path, &line)?;
        (self.first, self.good, self.behind) = (line.len() as u64, line.len() as u64, false);
        Ok(())
    }
}

fn digest(json: &[u8]) -> String {
    hex::encode(Sha256::digest(json))[..DIGEST_DIGITS].to_owned()
}

fn encode(at: FactsAt, changes: &[FactChange]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(&Line { at, changes: changes.into() }).map_err(io::Error::other)?;
    Ok([digest(&json).as_bytes(), b" ", &json, b"\n"].concat())
}

fn decode(line: &[u8]) -> Option<Line<'static>> {
    let line = line.strip_suffix(b"\n")?;
    let (told, json) = line.split_at_checked(DIGEST_DIGITS)?;
    let json = json.strip_prefix(b" ")?;
    if told != digest(json).as_bytes() {
        return None;
    }
    serde_json::from_slice::<Line<'static>>(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::network::{Fact, PortFact};

    fn put(number: u32) -> FactChange {
        FactChange::Put(Fact::Port(PortFact {
            id: format!("eni-{number:08x}").parse().unwrap(),
            vpc: "vpc-00000001".parse().unwrap(),
            addresses: vec![number.into()],
            groups: vec!["sg-00000001".parse().unwrap()],
        }))
    }

    fn gone(number: u32) -> FactChange {
        FactChange::Gone(put(number).key())
    }

    const fn at(at: u64) -> FactsAt {
        FactsAt { epoch: 7, at }
    }

    /// As the node does it.
    struct Kept {
        directory: tempfile::TempDir,
        file: FactsFile,
        table: FactTable,
    }

    impl Kept {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let (mut file, nowhere, mut table) = FactsFile::open(directory.path()).unwrap();
            assert_eq!((nowhere, table.is_empty()), (FactsAt::default(), true));
            (1..=3).for_each(|number| drop(table.apply(put(number))));
            file.replace(at(1), &table).unwrap();
            Self { directory, file, table }
        }

        fn append(&mut self, to: u64, changes: &[FactChange]) {
            let before = Arc::new(self.table.clone());
            self.file.append(at(to), changes, || before).unwrap();
            changes.iter().for_each(|change| drop(self.table.apply(change.clone())));
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join(FILE)
        }

        fn again(&self) -> (FactsFile, FactsAt, FactTable) {
            FactsFile::open(self.directory.path()).unwrap()
        }
    }

    #[test]
    fn what_was_told_is_there_again_and_nobody_elses_to_read() {
        use std::os::unix::fs::PermissionsExt;
        let mut kept = Kept::new();
        kept.append(2, &[put(4), gone(1)]);
        kept.append(3, &[gone(2)]);
        let (_, stands, table) = kept.again();
        assert_eq!((stands, table), (at(3), kept.table.clone()));
        assert_eq!(std::fs::metadata(kept.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_crash_at_any_byte_of_an_append_leaves_what_was_before() {
        let mut kept = Kept::new();
        kept.append(2, &[put(4)]);
        let (before, table) = (std::fs::read(kept.path()).unwrap(), kept.table.clone());
        kept.append(3, &[gone(4), put(5)]);
        let after = std::fs::read(kept.path()).unwrap();
        for length in before.len()..after.len() {
            std::fs::write(kept.path(), &after[..length]).unwrap();
            let (mut file, stands, found) = kept.again();
            assert_eq!((stands, &found), (at(2), &table), "{length}");
            // What is told next is not lost behind the half of a line.
            file.append(at(3), &[put(9)], || Arc::new(found.clone())).unwrap();
            assert_eq!(kept.again().1, at(3), "{length}");
        }
    }

    #[test]
    fn any_damaged_byte_is_noticed_and_the_file_is_kept_for_a_look() {
        let mut kept = Kept::new();
        kept.append(2, &[put(4)]);
        let whole = std::fs::read(kept.path()).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap();
        for place in (0..=first).step_by(9) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x04;
            std::fs::write(kept.path(), &damaged).unwrap();
            let (mut file, stands, table) = kept.again();
            assert_eq!((stands, table.is_empty()), (FactsAt::default(), true), "{place}");
            assert_eq!(std::fs::read(kept.directory.path().join(DAMAGED)).unwrap(), damaged, "{place}");
            file.replace(at(1), &kept.table).unwrap();
            assert_eq!(kept.again().2, kept.table);
        }
    }

    #[test]
    fn a_file_does_not_grow_without_end() {
        let mut kept = Kept::new();
        for number in 0..100 {
            let changes: Vec<FactChange> = (10..60).flat_map(|port| [put(port), gone(port)]).collect();
            kept.append(number + 2, &changes);
        }
        assert!(std::fs::metadata(kept.path()).unwrap().len() < 2 * CHANGES_BYTES_MIN);
        let (_, stands, table) = kept.again();
        assert_eq!((stands, table), (at(101), kept.table.clone()));
    }

    #[test]
    fn what_could_not_be_written_is_not_remembered_later() {
        let mut kept = Kept::new();
        std::fs::remove_file(kept.path()).unwrap();
        std::fs::create_dir(kept.path()).unwrap(); // nothing can be appended to it, nor cut off
        assert!(kept.file.append(at(2), &[put(4)], Arc::default).is_err());
        std::fs::remove_dir(kept.path()).unwrap();
        kept.append(2, &[put(5)]);
        assert_eq!(kept.again().2, kept.table);
    }
}
