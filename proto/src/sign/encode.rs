//! Percent-encoding as AWS signs it: RFC 3986, only unreserved characters left bare, hex digits
//! in upper case. Bytes, not text: a signature is over bytes, and clients send any.
//!
//! Must not: fail. A stray `%` stands for itself, as in every form decoder.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Decodes `%XX` and, as forms do, `+` into a space.
pub fn decode_component(raw: &[u8]) -> Vec<u8> {
    decode(raw, true)
}

/// Decodes `%XX` only: in a path, `+` is a plus.
pub(super) fn decode_path(raw: &[u8]) -> Vec<u8> {
    decode(raw, false)
}

fn decode(raw: &[u8], plus_is_space: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, hex_pair(tail)) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = &tail[2..];
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let high = char::from(*bytes.first()?).to_digit(16)?;
    let low = char::from(*bytes.get(1)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// Encodes everything but unreserved characters.
pub fn encode_component(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    encode_into(&mut out, bytes, false);
    String::from_utf8(out).expect("what was encoded is ASCII")
}

/// As [`encode_component`], into a buffer, and with slashes left alone if asked.
pub(super) fn encode_into(out: &mut Vec<u8>, bytes: &[u8], bare_slash: bool) {
    for &byte in bytes {
        if is_unreserved(byte) || bare_slash && byte == b'/' {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// The decoded `name=value` pairs of a query string or form; a bare `name` has an empty value.
pub fn form_pairs(raw: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    raw.split(|b| *b == b'&').filter(|part| !part.is_empty()).map(form_pair).collect()
}

fn form_pair(part: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let cut = part.iter().position(|b| *b == b'=');
    let (name, value) = cut.map_or((part, &b""[..]), |at| (&part[..at], &part[at + 1..]));
    (decode_component(name), decode_component(value))
}

/// The value of the first parameter of that exact name, as text.
pub(super) fn param<'a>(pairs: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a str> {
    let (_, value) = pairs.iter().find(|(n, _)| n == name.as_bytes())?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreserved_stays_and_the_rest_is_encoded_in_upper_case() {
        assert_eq!(encode_component(b"aZ09-_.~ /+*\xc3\xa9"), "aZ09-_.~%20%2F%2B%2A%C3%A9");
        let mut out = Vec::new();
        encode_into(&mut out, b"/a b/", true);
        assert_eq!(out, b"/a%20b/");
    }

    #[test]
    fn broken_escapes_stand_for_themselves() {
        assert_eq!(decode_component(b"a%zz%4%41+%"), b"a%zz%4A %");
        assert_eq!(decode_path(b"a+%2B"), b"a++");
    }

    #[test]
    fn pairs_without_value_and_empty_parts() {
        let pairs = form_pairs(b"a&&b=&c=1=2");
        let want: Vec<(Vec<u8>, Vec<u8>)> =
            [("a", ""), ("b", ""), ("c", "1=2")].map(|(n, v)| (n.into(), v.into())).into();
        assert_eq!(pairs, want);
    }
}
