//! A bundle's manifest: the XML that names the parts of an image and carries its keys and digests.
//!
//! Parsing is the check: what is in a [`Manifest`] is complete, of the right form and free of contradictions.
//! Whether its signature is good, and whether the parts hold what it says, is found out elsewhere. What a
//! manifest says beyond what is known here is passed over, as other bundlers add elements of their own.
//! Pure functions of bytes.

mod fields;
mod image;
mod machine;
#[cfg(test)]
mod tests;
pub mod write;

use super::xml::{Cursor, ManifestError, Parsed};
use fields::{HEX_BYTES_MAX, TEXT_BYTES_MAX, parsed, read_text, required};
pub use image::PARTS_MAX;
use image::read_image;
use machine::{decide_kind, read_machine};
use std::ops::Range;

pub const MANIFEST_BYTES_MAX: usize = 8 << 20;
const VERSION: &str = "2007-10-10";
const UNSIGNED: &str = "UNSIGNED";

pub type Sha1Digest = [u8; 20];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub bundler: Bundler,
    pub machine: Machine,
    pub image: Image,
    pub signature: Signature,
    /// `machine_configuration` and `image` as they stand in the text: what is signed, without what is between.
    pub signed: [Range<usize>; 2],
}

/// Who made it, in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundler {
    pub name: String,
    pub version: String,
    pub release: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub architecture: String,
    pub mappings: Vec<Mapping>,
    pub product_codes: Vec<String>,
    /// Of a machine that does not boot by itself.
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
}

/// A name of EC2's for a disk (`ami`, `root`, `ephemeral0`) and the device that it becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    pub virtual_name: String,
    pub device: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Machine,
    Kernel,
    Ramdisk,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    /// The account, as its bundler wrote it.
    pub user: String,
    pub kind: Kind,
    /// Of the whole tar stream.
    pub digest: Sha1Digest,
    /// Of the raw image.
    pub bytes: u64,
    /// Of all parts together.
    pub bundled_bytes: u64,
    /// For the cloud.
    pub cloud_key: Wrapped,
    /// For the user; nothing where it was bundled without the user's certificate.
    pub user_key: Option<Wrapped>,
    pub parts: Vec<Part>,
}

/// A key and an IV, each encrypted for somebody's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    pub key: Vec<u8>,
    pub iv: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub filename: String,
    /// Of what is stored: the ciphertext.
    pub digest: Sha1Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    Unsigned,
    Signed(Vec<u8>),
}

/// How a machine image boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot<'a> {
    /// A root file system that this kernel starts.
    Kernel { kernel: &'a str, ramdisk: Option<&'a str> },
    /// A disk with a boot loader.
    Itself,
}

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Parsed<Self> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::new("it", format!("is longer than {MANIFEST_BYTES_MAX} bytes")));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ManifestError::new("it", format!("is not UTF-8 text: {error}")))?;
        let mut cursor = Cursor::new(text);
        let manifest = match cursor.child()?.as_deref() {
            Some("manifest") => manifest(&mut cursor)?,
            Some(_) => return cursor.error("stands where manifest is expected"),
            None => return cursor.error("is empty"),
        };
        match cursor.child()? {
            None => Ok(manifest),
            Some(_) => cursor.error("follows the manifest"),
        }
    }

    /// The bytes that the signature is made over. `text` is what was parsed.
    pub fn signed_bytes<'a>(&self, text: &'a [u8]) -> [&'a [u8]; 2] {
        self.signed.each_ref().map(|range| text.get(range.clone()).unwrap_or_default())
    }

    pub fn boot(&self) -> Boot<'_> {
        match &self.machine.kernel_id {
            Some(kernel) => Boot::Kernel { kernel, ramdisk: self.machine.ramdisk_id.as_deref() },
            None => Boot::Itself,
        }
    }
}

fn manifest(cx: &mut Cursor<'_>) -> Parsed<Manifest> {
    const AT: &str = "manifest";
    let (mut version, mut bundler, mut machine, mut image, mut signature) = (None, None, None, None, None);
    while let Some(name) = cx.child()? {
        match name.as_str() {
            "version" => cx.once(&mut version, read_version)?,
            "bundler" => cx.once(&mut bundler, read_bundler)?,
            "machine_configuration" => cx.once(&mut machine, |cx| cx.spanned(read_machine))?,
            "image" => cx.once(&mut image, |cx| cx.spanned(read_image))?,
            "signature" => cx.once(&mut signature, read_signature)?,
            _ => cx.skip()?,
        }
    }
    required(AT, "version", version)?;
    let ((mut machine, kinds), machine_at) = required(AT, "machine_configuration", machine)?;
    let (mut image, image_at) = required(AT, "image", image)?;
    image.kind = decide_kind(image.kind, kinds, &mut machine)?;
    Ok(Manifest {
        bundler: bundler.unwrap_or_default(),
        machine,
        image,
        signature: required(AT, "signature", signature)?,
        signed: [machine_at, image_at],
    })
}

fn read_version(cx: &mut Cursor<'_>) -> Parsed<()> {
    parsed(
        cx,
        TEXT_BYTES_MAX,
        |text| if text == VERSION { Ok(()) } else { Err(format!("expecting {VERSION}")) },
    )
}

fn read_bundler(cx: &mut Cursor<'_>) -> Parsed<Bundler> {
    let mut bundler = Bundler::default();
    while let Some(name) = cx.child()? {
        match name.as_str() {
            "name" => bundler.name = read_text(cx)?,
            "version" => bundler.version = read_text(cx)?,
            "release" => bundler.release = read_text(cx)?,
            _ => cx.skip()?,
        }
    }
    Ok(bundler)
}

fn read_signature(cx: &mut Cursor<'_>) -> Parsed<Signature> {
    parsed(cx, HEX_BYTES_MAX, |text| match text {
        UNSIGNED => Ok(Signature::Unsigned),
        "" => Err("expecting a signature, or UNSIGNED".to_owned()),
        _ => hex::decode(text)
            .map(Signature::Signed)
            .map_err(|_| "expecting hex digits, or UNSIGNED".to_owned()),
    })
}
