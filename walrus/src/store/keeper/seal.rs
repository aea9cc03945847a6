//! Encryption at rest: AES-256-GCM, each block on its own, under a random data key of its blob. The data
//! key lies in the blob, wrapped by a key that does not: a master key (SSE-S3), which is a file outside the
//! data directory; a key with a name (SSE-KMS), which is derived from the master key and that name and lies
//! nowhere; or the customer's (SSE-C), which is nowhere but in the request.
//!
//! A data key encrypts one blob once, so the number of a block is nonce enough. Must not: log or print a key.

use super::format::{Sealed, TAG_BYTES, WRAPPED_KEY_BYTES};
use karri_proto::runtime::pki::write_secret;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub const KEY_BYTES: usize = 32;
/// What encryption adds to bytes that lie in a row.
pub const SMALL_OVERHEAD_BYTES: usize = 4 + WRAPPED_KEY_BYTES + TAG_BYTES;
const MASTER_KEYS_MAX: usize = 1_000;
/// Keeps what is derived for a name apart from whatever else may be derived from a master key.
const NAMED_KEY_LABEL: &[u8] = b"karri named key 1\0";
const CHECK_VALUE_LABEL: &[u8] = b"karri check value 1\0";

/// How the bytes of an object lie on disk. Which of the cloud's keys it was, the object's facts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    Plain,
    Master,
    Customer,
}

/// How bytes are to be written.
#[derive(Debug, Clone)]
pub enum SealWith {
    Plain,
    Master,
    /// With the cloud's key of that name.
    Named(Arc<str>),
    Customer(CustomerKey),
}

impl SealWith {
    pub fn seal(&self) -> Seal {
        match self {
            SealWith::Plain => Seal::Plain,
            SealWith::Master | SealWith::Named(_) => Seal::Master,
            SealWith::Customer(_) => Seal::Customer,
        }
    }
}

/// The key is not the one that the bytes were encrypted with, or they were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("does not open with this key")]
pub struct WrongKey;

/// A key that wraps data keys.
#[derive(Clone)]
pub struct WrappingKey {
    number: u32,
    key: Arc<LessSafeKey>,
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappingKey({})", self.number)
    }
}

impl WrappingKey {
    fn new(number: u32, key: &[u8; KEY_BYTES]) -> Self {
        Self { number, key: Arc::new(cipher(key)) }
    }
}

/// A key that came with a request.
#[derive(Debug, Clone)]
pub struct CustomerKey(WrappingKey);

impl CustomerKey {
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(WrappingKey::new(0, &key))
    }

    pub(crate) fn wrapping(&self) -> &WrappingKey {
        &self.0
    }
}

/// The cloud's keys by number; the greatest encrypts what is new, all of them open what is old.
#[derive(Debug, Clone, Default)]
pub struct MasterKeys(BTreeMap<u32, Master>);

#[derive(Clone)]
struct Master {
    wrapping: WrappingKey,
    /// Makes the keys with names.
    deriving: hmac::Key,
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wrapping.fmt(f)
    }
}

impl Master {
    fn new(number: u32, key: &[u8; KEY_BYTES]) -> Self {
        let deriving = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { wrapping: WrappingKey::new(number, key), deriving }
    }

    fn of(&self, name: Option<&str>) -> WrappingKey {
        name.map_or_else(|| self.wrapping.clone(), |name| self.named(name))
    }

    /// Tells the key from others, and nothing of it.
    fn check_value(&self) -> i64 {
        let tag = hmac::sign(&self.deriving, CHECK_VALUE_LABEL);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&tag.as_ref()[..8]);
        i64::from_le_bytes(bytes)
    }

    fn named(&self, name: &str) -> WrappingKey {
        let mut context = hmac::Context::with_key(&self.deriving);
        context.update(NAMED_KEY_LABEL);
        context.update(name.as_bytes());
        let tag = context.sign();
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(tag.as_ref());
        WrappingKey::new(self.wrapping.number, &key)
    }
}

impl MasterKeys {
    pub fn of(keys: &[(u32, [u8; KEY_BYTES])]) -> Self {
        Self(keys.iter().map(|(number, key)| (*number, Master::new(*number, key))).collect())
    }

    /// Reads the key file: lines of a number from 1 and 64 hex digits. Nothing where there is none, or an
    /// empty one: a first start was cut short between making the file and filling it.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) if !text.is_empty() => text,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(path, &error.to_string())),
        };
        let keys: Option<BTreeMap<_, _>> = text.lines().take(MASTER_KEYS_MAX).map(key_line).collect();
        let keys = keys.ok_or_else(|| named(path, "expecting lines of a number and 64 hex digits"))?;
        Ok(Some(Self(keys)))
    }

    /// Makes the key file, with one key.
    pub fn create(path: &Path) -> io::Result<Self> {
        create_key_file(path)?;
        Self::load(path)?.ok_or_else(|| named(path, "is empty although it was written"))
    }

    /// By a key's number what tells it from others.
    pub(crate) fn check_values(&self) -> BTreeMap<u32, i64> {
        self.0.iter().map(|(number, key)| (*number, key.check_value())).collect()
    }

    /// What encrypts, under a name or without.
    pub(crate) fn current(&self, name: Option<&str>) -> Option<WrappingKey> {
        self.0.last_key_value().map(|(_, key)| key.of(name))
    }

    /// What opens.
    pub(crate) fn get(&self, number: u32, name: Option<&str>) -> Option<WrappingKey> {
        self.0.get(&number).map(|key| key.of(name))
    }
}

fn named(path: &Path, cause: &str) -> io::Error {
    io::Error::other(format!("{}: {cause}", path.display()))
}

fn key_line(line: &str) -> Option<(u32, Master)> {
    let (number, hex) = line.trim().split_once(' ')?;
    let number = number.parse().ok().filter(|number| *number > 0)?;
    let mut key = [0; KEY_BYTES];
    hex::decode_to_slice(hex.trim(), &mut key).ok()?;
    Some((number, Master::new(number, &key)))
}

fn create_key_file(path: &Path) -> io::Result<()> {
    let text = format!("1 {}\n", hex::encode(random::<KEY_BYTES>()?));
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    write_secret(path, text.as_bytes())
}

fn cipher(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the length of the algorithm"))
}

pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

/// Encrypts the blocks of one blob.
pub(super) struct BlockCipher(LessSafeKey);

impl BlockCipher {
    /// A new data key, and how it is to be kept.
    pub fn create(wrapping: &WrappingKey) -> io::Result<(Self, Sealed)> {
        let key = random::<KEY_BYTES>()?;
        let nonce = random::<NONCE_LEN>()?;
        let mut wrapped = [0; WRAPPED_KEY_BYTES];
        wrapped[..NONCE_LEN].copy_from_slice(&nonce);
        wrapped[NONCE_LEN..NONCE_LEN + KEY_BYTES].copy_from_slice(&key);
        let body = &mut wrapped[NONCE_LEN..NONCE_LEN + KEY_BYTES];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = wrapping.key.seal_in_place_separate_tag(nonce, Aad::empty(), body);
        let tag = tag.map_err(|_| io::Error::other("a data key cannot be wrapped"))?;
        wrapped[NONCE_LEN + KEY_BYTES..].copy_from_slice(tag.as_ref());
        Ok((Self(cipher(&key)), Sealed { master: wrapping.number, wrapped }))
    }

    pub fn open(wrapping: &WrappingKey, sealed: &Sealed) -> Result<Self, WrongKey> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&sealed.wrapped[..NONCE_LEN]);
        let mut body = sealed.wrapped;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let key = wrapping.key.open_in_place(nonce, Aad::empty(), &mut body[NONCE_LEN..]);
        let key: &[u8] = key.map_err(|_| WrongKey)?;
        Ok(Self(cipher(key.try_into().map_err(|_| WrongKey)?)))
    }

    pub fn seal_block(&self, block: u64, bytes: &mut [u8]) -> io::Result<[u8; TAG_BYTES]> {
        let tag = self.0.seal_in_place_separate_tag(block_nonce(block), Aad::empty(), bytes);
        let tag = tag.map_err(|_| io::Error::other("a block cannot be encrypted"))?;
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
    }

    pub fn open_block(&self, block: u64, bytes: &mut [u8], tag: [u8; TAG_BYTES]) -> Result<(), WrongKey> {
        let opened =
            self.0.open_in_place_separate_tag(block_nonce(block), Aad::empty(), Tag::from(tag), bytes, 0..);
        opened.map(drop).map_err(|_| WrongKey)
    }
}

fn block_nonce(block: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&block.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Encrypts bytes that lie in a row: the number of the master key, the wrapped key, the tag, the bytes.
pub(crate) fn seal_small(wrapping: &WrappingKey, plain: &[u8]) -> io::Result<Vec<u8>> {
    let (cipher, sealed) = BlockCipher::create(wrapping)?;
    let mut bytes = Vec::with_capacity(SMALL_OVERHEAD_BYTES + plain.len());
    bytes.extend_from_slice(&sealed.master.to_le_bytes());
    bytes.extend_from_slice(&sealed.wrapped);
    bytes.extend_from_slice(&[0; TAG_BYTES]);
    bytes.extend_from_slice(plain);
    let tag = cipher.seal_block(0, &mut bytes[SMALL_OVERHEAD_BYTES..])?;
    bytes[4 + WRAPPED_KEY_BYTES..SMALL_OVERHEAD_BYTES].copy_from_slice(&tag);
    Ok(bytes)
}

/// The other way; `key` finds the wrapping key by its number.
pub(crate) fn open_small(
    key: impl FnOnce(u32) -> Option<WrappingKey>,
    bytes: &[u8],
) -> Result<Vec<u8>, WrongKey> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(WrongKey)?;
    let (wrapped, rest) = rest.split_first_chunk::<WRAPPED_KEY_BYTES>().ok_or(WrongKey)?;
    let (tag, body) = rest.split_first_chunk::<TAG_BYTES>().ok_or(WrongKey)?;
    let sealed = Sealed { master: u32::from_le_bytes(*number), wrapped: *wrapped };
    let cipher = BlockCipher::open(&key(sealed.master).ok_or(WrongKey)?, &sealed)?;
    let mut plain = body.to_vec();
    cipher.open_block(0, &mut plain, *tag)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_opens_with_its_key_in_its_place_only() {
        let wrapping = WrappingKey::new(1, &[1; KEY_BYTES]);
        let (cipher, sealed) = BlockCipher::create(&wrapping).unwrap();
        let mut bytes = *b"a secret";
        let tag = cipher.seal_block(5, &mut bytes).unwrap();
        assert_ne!(&bytes, b"a secret");
        let again = BlockCipher::open(&wrapping, &sealed).unwrap();
        assert!(again.open_block(4, &mut bytes.clone(), tag).is_err());
        again.open_block(5, &mut bytes, tag).unwrap();
        assert_eq!(&bytes, b"a secret");
        assert!(BlockCipher::open(&WrappingKey::new(1, &[2; KEY_BYTES]), &sealed).is_err());
    }

    #[test]
    fn small_bytes_open_with_the_key_of_their_number() {
        let old = MasterKeys::of(&[(1, [1; KEY_BYTES])]);
        let both = MasterKeys::of(&[(1, [1; KEY_BYTES]), (2, [2; KEY_BYTES])]);
        let sealed = seal_small(&old.current(None).unwrap(), b"small").unwrap();
        assert_eq!(sealed.len(), SMALL_OVERHEAD_BYTES + 5);
        assert_eq!(open_small(|number| both.get(number, None), &sealed).unwrap(), b"small");
        assert_eq!(both.current(None).unwrap().number, 2);
        assert!(open_small(|_| both.get(2, None), &sealed).is_err());
        assert!(open_small(|number| both.get(number, None), b"short").is_err());
        assert!(!format!("{both:?}").contains("02, 02"));
    }

    #[test]
    fn what_a_named_key_closed_opens_under_its_name_only() {
        let keys = MasterKeys::of(&[(1, [1; KEY_BYTES])]);
        let more = MasterKeys::of(&[(1, [1; KEY_BYTES]), (2, [2; KEY_BYTES])]);
        let sealed = seal_small(&keys.current(Some("a")).unwrap(), b"x").unwrap();
        assert_eq!(open_small(|number| more.get(number, Some("a")), &sealed).unwrap(), b"x");
        for name in [None, Some("b"), Some("")] {
            assert!(open_small(|number| more.get(number, name), &sealed).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_key_file_is_made_once_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/master.keys");
        assert!(MasterKeys::load(&path).unwrap().is_none());
        let made = MasterKeys::create(&path).unwrap();
        let sealed = seal_small(&made.current(None).unwrap(), b"x").unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(&format!("2 {}\n", hex::encode([7; KEY_BYTES])));
        std::fs::write(&path, text).unwrap();
        let keys = MasterKeys::load(&path).unwrap().unwrap();
        assert_eq!(keys.check_values()[&1], made.check_values()[&1]);
        assert_ne!(keys.check_values()[&1], keys.check_values()[&2]);
        assert_eq!(open_small(|number| keys.get(number, None), &sealed).unwrap(), b"x");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(MasterKeys::load(&path).unwrap_err().to_string().contains("master.keys"));
    }
}
