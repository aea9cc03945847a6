//! Which bucket and key a request names: by its path, or by its `Host` if that is one of ours with a
//! bucket's name before it.
//!
//! Clients of Eucalyptus send `/services/objectstorage/…` or `/services/Walrus/…`; the prefix is signed
//! but names nothing.

use karri_proto::aws::s3::{S3Code, S3Fault};
use percent_encoding::percent_decode_str;

const PREFIXES: [&str; 2] = ["/services/objectstorage", "/services/Walrus"];
pub const KEY_BYTES_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    pub bucket: Option<String>,
    /// Never empty.
    pub key: Option<String>,
    /// The bucket's name stands in the `Host` header.
    pub by_host: bool,
    /// The host is one of those that serve websites.
    pub website: bool,
}

/// The host names that a bucket's name may stand before.
#[derive(Debug, Clone, Copy)]
pub struct Hosts<'a> {
    pub api: &'a [String],
    pub website: &'a [String],
}

/// `path` is raw, as on the request line.
pub fn address(host: &str, path: &str, hosts: Hosts<'_>) -> Result<Address, S3Fault> {
    let host = without_port(host);
    let site = bucket_of_host(host, hosts.website);
    let website = site.is_some();
    let named = site.or_else(|| bucket_of_host(host, hosts.api));
    let by_host = named.is_some();
    let path = without_prefix(path);
    let path = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = match named {
        Some(bucket) => (Some(bucket), path),
        None => match path.split_once('/') {
            Some((bucket, key)) => (decoded(bucket)?, key),
            None => (decoded(path)?, ""),
        },
    };
    Ok(Address { bucket, key: checked_key(decoded(key)?)?, by_host, website })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn bucket_of_host(host: &str, hosts: &[String]) -> Option<String> {
    let ends = |known: &&String| {
        let at = host.len().checked_sub(known.len() + 1)?;
        let (bucket, rest) = host.split_at_checked(at)?;
        let rest = rest.strip_prefix('.')?;
        (!bucket.is_empty() && rest.eq_ignore_ascii_case(known)).then(|| bucket.to_ascii_lowercase())
    };
    hosts.iter().find_map(|known| ends(&known))
}

fn without_prefix(path: &str) -> &str {
    let rest = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix));
    rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path)
}

fn decoded(text: &str) -> Result<Option<String>, S3Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.contains('%') {
        return Ok(Some(text.to_owned()));
    }
    if !percent_is_whole(text.as_bytes()) {
        return Err(S3Fault::new(S3Code::InvalidUri).with("URI", text));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| S3Fault::new(S3Code::InvalidUri).with("URI", text))?;
    Ok(Some(decoded.into_owned()))
}

fn percent_is_whole(text: &[u8]) -> bool {
    let hex = |at: usize| text.get(at).is_some_and(u8::is_ascii_hexdigit);
    text.iter().enumerate().all(|(at, byte)| *byte != b'%' || hex(at + 1) && hex(at + 2))
}

/// # Errors
/// `KeyTooLongError`
pub fn checked_key(key: Option<String>) -> Result<Option<String>, S3Fault> {
    match key {
        Some(key) if key.len() > KEY_BYTES_MAX => Err(S3Fault::new(S3Code::KeyTooLong)
            .with("Size", key.len().to_string())
            .with("MaxSizeAllowed", KEY_BYTES_MAX.to_string())),
        key => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, path: &str, bucket: Option<&str>, key: Option<&str>) {
        let (api, website) = (["s3.example.com".to_owned()], ["web.example.com".to_owned()]);
        let hosts = Hosts { api: &api, website: &website };
        let address = address(host, path, hosts).unwrap();
        assert_eq!((address.bucket.as_deref(), address.key.as_deref()), (bucket, key), "{host} {path}");
    }

    #[test]
    fn buckets_and_keys_are_told_apart() {
        check("127.0.0.1:80", "/", None, None);
        check("127.0.0.1:80", "/b", Some("b"), None);
        check("s3.example.com", "/b/", Some("b"), None);
        check("s3.example.com", "/b/k/l//m", Some("b"), Some("k/l//m"));
        check("s3.example.com", "/b/%E2%82%ac%2F+", Some("b"), Some("€/+"));
        check("B.S3.example.com:8773", "/k", Some("b"), Some("k"));
        check("a.b.s3.example.com", "/", Some("a.b"), None);
        check("b.web.example.com", "/x/", Some("b"), Some("x/"));
        check("h", "/services/objectstorage/b/k", Some("b"), Some("k"));
        check("h", "/services/Walrus", None, None);
        check("h", "/services/Walrusses/x", Some("services"), Some("Walrusses/x"));
        check("h", "/b//k", Some("b"), Some("/k"));
        check("h", "/b/../c", Some("b"), Some("../c"));
    }

    #[test]
    fn what_is_no_text_or_too_long_is_refused() {
        let hosts = Hosts { api: &[], website: &[] };
        let code = |path: &str| address("h", path, hosts).unwrap_err().code();
        for path in ["/b/%ff", "/b/%", "/b/%zz", "/%c3/k"] {
            assert_eq!(code(path), S3Code::InvalidUri, "{path}");
        }
        assert_eq!(code(&format!("/b/{}", "k".repeat(1025))), S3Code::KeyTooLong);
        assert!(address("h", &format!("/b/{}", "k".repeat(1024)), hosts).is_ok());
    }
}
