//! What is known of an object besides its key, size, ETag and owner; and its compact form in a row:
//! a version byte, then fields of a tag byte, a length and that many bytes. Absent fields take no room.

use super::wire::{Reader, Writer};

/// Milliseconds since 1970.
pub type UnixMs = i64;
pub type Pairs = Vec<(String, String)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// By the numbers that they have in rows, from 1.
pub const CHECKSUM_ALGORITHMS: [ChecksumAlgorithm; 5] = [
    ChecksumAlgorithm::Crc32,
    ChecksumAlgorithm::Crc32c,
    ChecksumAlgorithm::Crc64Nvme,
    ChecksumAlgorithm::Sha1,
    ChecksumAlgorithm::Sha256,
];

impl ChecksumAlgorithm {
    /// S3's name.
    pub fn as_str(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "CRC32",
            ChecksumAlgorithm::Crc32c => "CRC32C",
            ChecksumAlgorithm::Crc64Nvme => "CRC64NVME",
            ChecksumAlgorithm::Sha1 => "SHA1",
            ChecksumAlgorithm::Sha256 => "SHA256",
        }
    }

    pub(super) fn number(self) -> u8 {
        match self {
            ChecksumAlgorithm::Crc32 => 1,
            ChecksumAlgorithm::Crc32c => 2,
            ChecksumAlgorithm::Crc64Nvme => 3,
            ChecksumAlgorithm::Sha1 => 4,
            ChecksumAlgorithm::Sha256 => 5,
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        CHECKSUM_ALGORITHMS.get(usize::from(number).checked_sub(1)?).copied()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumType {
    FullObject,
    Composite,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: ChecksumAlgorithm,
    pub kind: ChecksumType,
    /// Not encoded; a composite one without its number of parts.
    pub value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    Governance,
    Compliance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub mode: LockMode,
    pub until: UnixMs,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<String>,
    pub website_redirect: Option<String>,
    /// `x-amz-meta-*`, names without that.
    pub metadata: Pairs,
    pub checksums: Vec<Checksum>,
    pub tags: Pairs,
    /// The edge's document; none is private to the owner.
    pub acl: Option<String>,
    pub retention: Option<Retention>,
    pub legal_hold: bool,
    /// The edge's document: what it said of the encryption.
    pub sse: Option<String>,
    /// Which of the cloud's keys with names its bytes are encrypted under; as they were written, and never
    /// to be changed afterwards.
    pub key_name: Option<String>,
    /// None is STANDARD.
    pub storage_class: Option<String>,
    pub restore: Option<String>,
    /// For what has no field yet.
    pub extra: Pairs,
}

const VERSION: u8 = 1;
const METADATA: u8 = 8;
const CHECKSUM: u8 = 9;
const TAG: u8 = 10;
const RETENTION: u8 = 12;
const LEGAL_HOLD: u8 = 13;
const EXTRA: u8 = 16;

impl Facts {
    fn texts(&self) -> [(u8, &Option<String>); 11] {
        [
            (1, &self.content_type),
            (2, &self.cache_control),
            (3, &self.content_disposition),
            (4, &self.content_encoding),
            (5, &self.content_language),
            (6, &self.expires),
            (7, &self.website_redirect),
            (11, &self.acl),
            (14, &self.sse),
            (15, &self.restore),
            (17, &self.key_name),
        ]
    }

    fn text_mut(&mut self, tag: u8) -> Option<&mut Option<String>> {
        Some(match tag {
            1 => &mut self.content_type,
            2 => &mut self.cache_control,
            3 => &mut self.content_disposition,
            4 => &mut self.content_encoding,
            5 => &mut self.content_language,
            6 => &mut self.expires,
            7 => &mut self.website_redirect,
            11 => &mut self.acl,
            14 => &mut self.sse,
            15 => &mut self.restore,
            17 => &mut self.key_name,
            _ => return None,
        })
    }

    /// All but the storage class, which has a column.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION);
        for (tag, text) in self.texts() {
            if let Some(text) = text {
                out.field(tag, |field| field.raw(text.as_bytes()));
            }
        }
        for (tag, pairs) in [(METADATA, &self.metadata), (TAG, &self.tags), (EXTRA, &self.extra)] {
            for (name, value) in pairs {
                out.field(tag, |field| {
                    field.bytes(name.as_bytes());
                    field.raw(value.as_bytes());
                });
            }
        }
        for checksum in &self.checksums {
            out.field(CHECKSUM, |field| checksum.write(field));
        }
        if let Some(retention) = self.retention {
            out.field(RETENTION, |field| {
                field.byte(u8::from(retention.mode == LockMode::Compliance));
                field.number(retention.until.max(0) as u64);
            });
        }
        if self.legal_hold {
            out.field(LEGAL_HOLD, |_| ());
        }
        out.done()
    }

    /// Nothing when the bytes are not what `encode` writes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut facts = Facts::default();
        let mut fields = Reader::new(bytes, VERSION)?;
        while let Some((tag, mut field)) = fields.field()? {
            match tag {
                METADATA => facts.metadata.push(field.pair()?),
                TAG => facts.tags.push(field.pair()?),
                EXTRA => facts.extra.push(field.pair()?),
                CHECKSUM => facts.checksums.push(Checksum::read(&mut field)?),
                RETENTION => {
                    let compliance = field.byte()? == 1;
                    let mode = if compliance { LockMode::Compliance } else { LockMode::Governance };
                    facts.retention = Some(Retention { mode, until: field.number()? as UnixMs });
                }
                LEGAL_HOLD => facts.legal_hold = true,
                text => *facts.text_mut(text)? = Some(field.text()?),
            }
        }
        Some(facts)
    }

    /// About what it takes in memory.
    pub(super) fn weight(&self) -> usize {
        let texts: usize = self.texts().iter().map(|(_, text)| text.as_ref().map_or(0, String::len)).sum();
        let pairs = self.metadata.iter().chain(&self.tags).chain(&self.extra);
        texts + pairs.map(|(name, value)| name.len() + value.len() + 64).sum::<usize>()
    }
}

impl Checksum {
    pub(super) fn write(&self, out: &mut Writer) {
        out.byte(self.algorithm.number() << 1 | u8::from(self.kind == ChecksumType::Composite));
        out.raw(&self.value);
    }

    pub(super) fn read(field: &mut Reader<'_>) -> Option<Self> {
        let byte = field.byte()?;
        let kind = if byte & 1 == 1 { ChecksumType::Composite } else { ChecksumType::FullObject };
        let algorithm = ChecksumAlgorithm::of_number(byte >> 1)?;
        Some(Self { algorithm, kind, value: field.rest().to_vec() })
    }
}

/// Checksums of a part, in its row.
pub(super) fn encode_checksums(checksums: &[Checksum]) -> Vec<u8> {
    Facts { checksums: checksums.to_vec(), ..Facts::default() }.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs() -> impl Strategy<Value = Pairs> {
        prop::collection::vec((".{0,20}", ".{0,300}"), 0..4)
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        prop::option::of(".{0,200}")
    }

    prop_compose! {
        pub fn facts()(
            texts in prop::array::uniform11(text()),
            (metadata, tags, extra) in (pairs(), pairs(), pairs()),
            checksums in prop::collection::vec((0..5usize, any::<bool>(), prop::collection::vec(any::<u8>(), 0..33)), 0..3),
            retention in prop::option::of((any::<bool>(), 0..i64::MAX)),
            legal_hold: bool,
        ) -> Facts {
            let mut facts = Facts { metadata, tags, extra, legal_hold, ..Facts::default() };
            for (tag, text) in [1, 2, 3, 4, 5, 6, 7, 11, 14, 15, 17].into_iter().zip(texts) {
                *facts.text_mut(tag).unwrap() = text;
            }
            facts.checksums = checksums.into_iter().map(|(n, composite, value)| Checksum {
                algorithm: CHECKSUM_ALGORITHMS[n],
                kind: if composite { ChecksumType::Composite } else { ChecksumType::FullObject },
                value,
            }).collect();
            facts.retention = retention.map(|(compliance, until)| Retention {
                mode: if compliance { LockMode::Compliance } else { LockMode::Governance },
                until,
            });
            facts
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn facts_read_back(facts in facts()) {
            prop_assert_eq!(Facts::decode(&facts.encode()), Some(facts));
        }

        #[test]
        fn nonsense_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Facts::decode(&bytes);
        }
    }

    #[test]
    fn facts_that_say_nothing_take_one_byte() {
        assert_eq!(Facts::default().encode(), [VERSION]);
        assert_eq!(Facts::decode(&[]), None);
        assert_eq!(Facts::decode(&[9]), None, "a version that nobody knows");
    }
}
