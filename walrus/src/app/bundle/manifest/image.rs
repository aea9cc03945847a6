//! `image`: sizes, digests, keys and parts.

use super::super::xml::{Cursor, ManifestError, Parsed};
use super::fields::{
    TEXT_BYTES_MAX, parsed, read_digest, read_hex, read_key, read_name, read_number, read_text, required,
};
use super::{Image, Kind, Part, Sha1Digest, Wrapped};

pub const PARTS_MAX: usize = 65_536;
const CIPHER_BLOCK_BYTES: u64 = 16;

#[derive(Default)]
struct ImageFields {
    name: Option<String>,
    user: Option<String>,
    kind: Option<Kind>,
    digest: Option<Sha1Digest>,
    bytes: Option<u64>,
    bundled_bytes: Option<u64>,
    cloud_key: Option<Vec<u8>>,
    cloud_iv: Option<Vec<u8>>,
    user_key: Option<Vec<u8>>,
    user_iv: Option<Vec<u8>>,
    parts: Option<Vec<Part>>,
}

pub(super) fn read_image(cx: &mut Cursor<'_>) -> Parsed<Image> {
    let mut fields = ImageFields::default();
    while let Some(name) = cx.child()? {
        match name.as_str() {
            "name" => cx.once(&mut fields.name, read_name)?,
            "user" => cx.once(&mut fields.user, read_text)?,
            "type" => cx.once(&mut fields.kind, read_kind)?,
            "digest" => cx.once(&mut fields.digest, read_digest)?,
            "size" => cx.once(&mut fields.bytes, read_number)?,
            "bundled_size" => cx.once(&mut fields.bundled_bytes, read_number)?,
            "ec2_encrypted_key" => cx.once(&mut fields.cloud_key, read_key)?,
            "ec2_encrypted_iv" => cx.once(&mut fields.cloud_iv, read_hex)?,
            "user_encrypted_key" => cx.once(&mut fields.user_key, read_key)?,
            "user_encrypted_iv" => cx.once(&mut fields.user_iv, read_hex)?,
            "parts" => cx.once(&mut fields.parts, read_parts)?,
            _ => cx.skip()?,
        }
    }
    complete(fields)
}

fn complete(fields: ImageFields) -> Parsed<Image> {
    const AT: &str = "manifest/image";
    let error = |name: &str, problem: &str| Err(ManifestError::new(format!("{AT}/{name}"), problem));
    let wrapped = Wrapped {
        key: required(AT, "ec2_encrypted_key", fields.cloud_key)?,
        iv: required(AT, "ec2_encrypted_iv", fields.cloud_iv)?,
    };
    if wrapped.key.is_empty() {
        return error("ec2_encrypted_key", "is empty");
    }
    if wrapped.iv.is_empty() {
        return error("ec2_encrypted_iv", "is empty");
    }
    let users = (fields.user_key.unwrap_or_default(), fields.user_iv.unwrap_or_default());
    let user_key = match users {
        (key, iv) if key.is_empty() && iv.is_empty() => None,
        (_, iv) if iv.is_empty() => {
            return error("user_encrypted_iv", "is empty, and user_encrypted_key is not");
        }
        (key, _) if key.is_empty() => {
            return error("user_encrypted_key", "is empty, and user_encrypted_iv is not");
        }
        (key, iv) => Some(Wrapped { key, iv }),
    };
    let bytes = required(AT, "size", fields.bytes)?;
    if bytes == 0 {
        return error("size", "is 0: the image is empty");
    }
    let bundled_bytes = required(AT, "bundled_size", fields.bundled_bytes)?;
    if bundled_bytes == 0 || !bundled_bytes.is_multiple_of(CIPHER_BLOCK_BYTES) {
        return error("bundled_size", "is not a whole number of cipher blocks of 16 bytes");
    }
    Ok(Image {
        name: required(AT, "name", fields.name)?,
        user: required(AT, "user", fields.user)?,
        kind: required(AT, "type", fields.kind)?,
        digest: required(AT, "digest", fields.digest)?,
        bytes,
        bundled_bytes,
        cloud_key: wrapped,
        user_key,
        parts: required(AT, "parts", fields.parts)?,
    })
}

fn read_kind(cx: &mut Cursor<'_>) -> Parsed<Kind> {
    parsed(cx, TEXT_BYTES_MAX, |text| match text {
        "machine" => Ok(Kind::Machine),
        "kernel" => Ok(Kind::Kernel),
        "ramdisk" => Ok(Kind::Ramdisk),
        _ => Err("expecting machine, kernel or ramdisk".to_owned()),
    })
}

fn read_parts(cx: &mut Cursor<'_>) -> Parsed<Vec<Part>> {
    let path = cx.path();
    let count = match cx.attribute("count")?.map(|text| text.parse::<usize>()) {
        Some(Ok(count)) if (1..=PARTS_MAX).contains(&count) => count,
        _ => return cx.error(format!("has no attribute count from 1 to {PARTS_MAX}")),
    };
    let mut parts: Vec<Option<Part>> = Vec::new();
    let mut found = 0;
    while let Some(name) = cx.child()? {
        if name != "part" {
            return cx.error("stands where part is expected");
        }
        let index = match cx.attribute("index")?.map(|text| text.parse::<usize>()) {
            Some(Ok(index)) if index < count => index,
            Some(Ok(index)) => {
                return cx.error(format!("has the index {index}, and there are {count} parts"));
            }
            _ => return cx.error("has no attribute index that is a number"),
        };
        cx.call(format!("part[{index}]"));
        if parts.len() <= index {
            parts.resize(index + 1, None);
        }
        if parts[index].is_some() {
            return cx.error("is there twice");
        }
        parts[index] = Some(read_part(cx)?);
        found += 1;
    }
    if found != count {
        return Err(ManifestError::new(path, format!("has the count {count}, and holds {found} parts")));
    }
    let parts: Vec<Part> = parts.into_iter().flatten().collect();
    let mut names: Vec<&str> = parts.iter().map(|part| part.filename.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ManifestError::new(path, format!("names the file {} twice", pair[0]))),
        None => Ok(parts),
    }
}

fn read_part(cx: &mut Cursor<'_>) -> Parsed<Part> {
    let path = cx.path();
    let (mut filename, mut digest) = (None, None);
    while let Some(name) = cx.child()? {
        match name.as_str() {
            "filename" => cx.once(&mut filename, read_filename)?,
            "digest" => cx.once(&mut digest, read_digest)?,
            _ => cx.skip()?,
        }
    }
    Ok(Part { filename: required(&path, "filename", filename)?, digest: required(&path, "digest", digest)? })
}

/// Parts lie beside their manifest: a name that leads elsewhere is none.
fn read_filename(cx: &mut Cursor<'_>) -> Parsed<String> {
    parsed(cx, TEXT_BYTES_MAX, |text| {
        let leads_elsewhere = text.contains(['/', '\\']) || matches!(text, "" | "." | "..");
        if leads_elsewhere {
            Err("expecting the name of a file beside the manifest".to_owned())
        } else {
            Ok(text.to_owned())
        }
    })
}
