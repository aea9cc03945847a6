//! The kinds of values that a manifest's elements hold.

use super::super::xml::{Cursor, ManifestError, Parsed};
use super::Sha1Digest;
use crate::app::shown;

pub(super) const TEXT_BYTES_MAX: usize = 255;
pub(super) const HEX_BYTES_MAX: usize = 4096;
const NUMBER_BYTES_MAX: usize = 20;

pub(super) fn required<T>(parent: &str, name: &str, value: Option<T>) -> Parsed<T> {
    value.ok_or_else(|| ManifestError::new(format!("{parent}/{name}"), "is missing"))
}

/// A text turned into a value; `make` says in its error what it expects.
pub(super) fn parsed<T>(
    cx: &mut Cursor<'_>,
    bytes_max: usize,
    make: impl FnOnce(&str) -> Result<T, String>,
) -> Parsed<T> {
    let path = cx.path();
    let text = cx.text(bytes_max)?;
    make(&text).map_err(|expectation| {
        ManifestError::new(path, format!("is {}: {expectation}", shown(text.as_bytes())))
    })
}

pub(super) fn read_text(cx: &mut Cursor<'_>) -> Parsed<String> {
    cx.text(TEXT_BYTES_MAX)
}

pub(super) fn read_name(cx: &mut Cursor<'_>) -> Parsed<String> {
    parsed(cx, TEXT_BYTES_MAX, |text| {
        if text.is_empty() { Err("expecting a text".to_owned()) } else { Ok(text.to_owned()) }
    })
}

/// The elements of a list, which may be empty.
pub(super) fn several<T>(
    cx: &mut Cursor<'_>,
    names: &[&str],
    count_max: usize,
    read: impl Fn(&mut Cursor<'_>) -> Parsed<T>,
) -> Parsed<Vec<T>> {
    let mut list = Vec::new();
    while let Some(name) = cx.child()? {
        if !names.contains(&name.as_str()) {
            cx.skip()?;
            continue;
        }
        if list.len() >= count_max {
            return cx.error(format!("is one too many: {count_max} are allowed"));
        }
        cx.call(format!("{name}[{}]", list.len()));
        list.push(read(cx)?);
    }
    Ok(list)
}

pub(super) fn read_number(cx: &mut Cursor<'_>) -> Parsed<u64> {
    parsed(cx, NUMBER_BYTES_MAX, |text| {
        let digits = text.bytes().all(|b| b.is_ascii_digit()); // not "+1"
        let number = text.parse().ok().filter(|_| digits);
        number.ok_or_else(|| "expecting a number of bytes".to_owned())
    })
}

pub(super) fn read_digest(cx: &mut Cursor<'_>) -> Parsed<Sha1Digest> {
    algorithm(cx, "SHA1")?;
    parsed(cx, HEX_BYTES_MAX, |text| {
        let mut digest = Sha1Digest::default();
        let decoded = hex::decode_to_slice(text, &mut digest);
        decoded.map(|()| digest).map_err(|_| "expecting a SHA-1 digest of 40 hex digits".to_owned())
    })
}

pub(super) fn read_key(cx: &mut Cursor<'_>) -> Parsed<Vec<u8>> {
    algorithm(cx, "AES-128-CBC")?;
    read_hex(cx)
}

/// It may be empty.
pub(super) fn read_hex(cx: &mut Cursor<'_>) -> Parsed<Vec<u8>> {
    parsed(cx, HEX_BYTES_MAX, |text| hex::decode(text).map_err(|_| "expecting hex digits".to_owned()))
}

pub(super) fn algorithm(cx: &Cursor<'_>, expected: &str) -> Parsed<()> {
    match cx.attribute("algorithm")? {
        Some(found) if found == expected => Ok(()),
        Some(found) => {
            let found = shown(found.as_bytes());
            cx.error(format!("has the algorithm {found}: expecting {expected}"))
        }
        None => cx.error(format!("has no attribute algorithm: expecting {expected}")),
    }
}
