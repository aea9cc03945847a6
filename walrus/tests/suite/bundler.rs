//! A bundler: from an image to parts and a manifest, with a hand on every step, so that each can go wrong.

use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockEncryptMut, KeyIvInit};
use flate2::Compression;
use flate2::write::GzEncoder;
use karri_walrus::app::bundle::{PartError, PartSource, PartStream};
use rsa::pkcs8::DecodePrivateKey;
use rsa::{Pkcs1v15Encrypt, Pkcs1v15Sign, RsaPrivateKey};
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const USER: &str = "123456789012";
const KEY: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
const IV: [u8; 16] = *b"\x0f\x1e\x2d\x3c\x4b\x5a\x69\x78\x87\x96\xa5\xb4\xc3\xd2\xe1\xf0";

/// A file of the golden vector.
pub fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/bundle").join(name)
}

pub fn vector_text(name: &str) -> String {
    std::fs::read_to_string(vector(name)).unwrap()
}

pub fn private_key(name: &str) -> RsaPrivateKey {
    RsaPrivateKey::from_pkcs8_pem(&vector_text(name)).unwrap()
}

/// What a bundle will be made of. A test changes what it wants to be wrong, then seals it.
#[derive(Debug, Clone)]
pub struct Draft {
    pub tar: Vec<u8>,
    pub gzip: Vec<u8>,
    pub bytes: u64,
    pub digest: String,
    pub part_bytes: usize,
    pub kind: &'static str,
    pub kernel: Option<&'static str>,
    pub ramdisk: Option<&'static str>,
    pub cloud: RsaPrivateKey,
    pub signed: bool,
}

#[derive(Debug, Clone)]
pub struct Bundle {
    pub manifest: String,
    pub parts: BTreeMap<String, Vec<u8>>,
}

impl Draft {
    pub fn of(image: &[u8]) -> Self {
        Self::of_tar(tar(&header("disk.img", image.len() as u64, b'0'), image), image.len())
    }

    pub fn of_tar(tar: Vec<u8>, image_bytes: usize) -> Self {
        Self {
            gzip: gzip(&tar),
            digest: hex::encode(Sha1::digest(&tar)),
            tar,
            bytes: image_bytes as u64,
            part_bytes: 65_536,
            kind: "machine",
            kernel: None,
            ramdisk: None,
            cloud: private_key("cloud-pk.pem"),
            signed: true,
        }
    }

    pub fn seal(&self) -> Bundle {
        let padding = 16 - self.gzip.len() % 16;
        let mut plain = self.gzip.clone();
        plain.extend(vec![padding as u8; padding]);
        self.seal_plain(plain)
    }

    /// From whole blocks, padded or not.
    pub fn seal_plain(&self, mut plain: Vec<u8>) -> Bundle {
        let bytes = plain.len();
        let cipher = cbc::Encryptor::<Aes128>::new(&KEY.into(), &IV.into());
        cipher.encrypt_padded_mut::<NoPadding>(&mut plain, bytes).unwrap();
        self.seal_ciphertext(plain)
    }

    pub fn seal_ciphertext(&self, ciphertext: Vec<u8>) -> Bundle {
        let mut pieces: Vec<&[u8]> = ciphertext.chunks(self.part_bytes).collect();
        if ciphertext.len().is_multiple_of(self.part_bytes) {
            pieces.push(&[]);
        }
        let name = |number| format!("disk.img.part.{number:02}");
        let parts = pieces.into_iter().enumerate().map(|(n, part)| (name(n), part.to_vec())).collect();
        self.describe(parts)
    }

    pub fn describe(&self, parts: BTreeMap<String, Vec<u8>>) -> Bundle {
        let id = |name, id: Option<&str>| id.map_or(String::new(), |id| format!("<{name}>{id}</{name}>"));
        let machine = format!(
            "<machine_configuration><architecture>x86_64</architecture>{}{}</machine_configuration>",
            id("kernel_id", self.kernel),
            id("ramdisk_id", self.ramdisk)
        );
        let list: String =
            parts.iter().enumerate().map(|(number, (name, part))| part_text(number, name, part)).collect();
        let bundled: usize = parts.values().map(Vec::len).sum();
        let [key, iv] = [KEY, IV].map(|value| self.wrap(&value));
        let image = format!(
            "<image><name>disk.img</name><user>{USER}</user><type>{}</type>\
             <digest algorithm=\"SHA1\">{}</digest><size>{}</size><bundled_size>{bundled}</bundled_size>\
             <ec2_encrypted_key algorithm=\"AES-128-CBC\">{key}</ec2_encrypted_key>\
             <user_encrypted_key algorithm=\"AES-128-CBC\"/><ec2_encrypted_iv>{iv}</ec2_encrypted_iv>\
             <user_encrypted_iv></user_encrypted_iv><parts count=\"{}\">{list}</parts></image>",
            self.kind,
            self.digest,
            self.bytes,
            parts.len()
        );
        let signature = if self.signed { sign(&[&machine, &image]) } else { "UNSIGNED".to_owned() };
        let manifest = format!(
            "<?xml version='1.0' encoding='ASCII'?>\n<manifest><version>2007-10-10</version><bundler>\
             <name>karri-tests</name><version>1</version><release>0</release></bundler>{machine}{image}\
             <signature>{signature}</signature></manifest>"
        );
        Bundle { manifest, parts }
    }

    fn wrap(&self, value: &[u8; 16]) -> String {
        let public = self.cloud.to_public_key();
        let wrapped = public.encrypt(&mut rand::rngs::OsRng, Pkcs1v15Encrypt, hex::encode(value).as_bytes());
        hex::encode(wrapped.unwrap())
    }
}

fn part_text(number: usize, name: &str, part: &[u8]) -> String {
    let digest = hex::encode(Sha1::digest(part));
    format!(
        "<part index=\"{number}\"><filename>{name}</filename><digest algorithm=\"SHA1\">{digest}</digest></part>"
    )
}

pub fn sign(texts: &[&str]) -> String {
    let digest = Sha1::digest(texts.concat());
    hex::encode(private_key("user-pk.pem").sign(Pkcs1v15Sign::new::<Sha1>(), &digest).unwrap())
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive of one member, filled up to records of 10,240 bytes.
pub fn tar(header: &[u8; 512], data: &[u8]) -> Vec<u8> {
    let mut tar = header.to_vec();
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar.resize(tar.len().next_multiple_of(10_240), 0);
    tar
}

pub fn header(name: &str, bytes: u64, kind: u8) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{bytes:011o}\0").as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Parts in memory or in a directory, given out in pieces; counts how often it was asked.
#[derive(Debug, Default)]
pub struct Source {
    pub parts: BTreeMap<String, Vec<u8>>,
    pub piece_bytes: usize,
    pub asked: AtomicUsize,
}

impl Source {
    pub fn of(bundle: &Bundle) -> Arc<Self> {
        Arc::new(Self { parts: bundle.parts.clone(), piece_bytes: 10_000, ..Self::default() })
    }

    pub fn of_directory(directory: &Path) -> Arc<Self> {
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let parts = files.filter(|path| named(path).contains(".part."));
        let parts = parts.map(|path| (named(&path), std::fs::read(&path).unwrap())).collect();
        Arc::new(Self { parts, piece_bytes: 10_000, ..Self::default() })
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl PartSource for Source {
    async fn part(&self, filename: &str) -> Result<PartStream, PartError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let part = self.parts.get(filename).ok_or(PartError::Missing)?;
        let pieces: Vec<_> = part.chunks(self.piece_bytes).map(|piece| Ok(piece.to_vec().into())).collect();
        Ok(Box::pin(futures_util::stream::iter(pieces)))
    }
}
