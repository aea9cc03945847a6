//! Which names a bucket may have.

use karri_proto::aws::s3::{S3Code, S3Fault};

const PREFIXES: [&str; 4] = ["xn--", "sthree-", "amzn-s3-demo-", "-"];
const SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// # Errors
/// `InvalidBucketName`
pub fn check_bucket_name(name: &str) -> Result<(), S3Fault> {
    if is_bucket_name(name) {
        return Ok(());
    }
    Err(S3Fault::new(S3Code::InvalidBucketName).with("BucketName", name))
}

fn is_bucket_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [bytes.first(), bytes.last()];
    (3..=63).contains(&name.len())
        && bytes.iter().all(|b| plain(b) || *b == b'-' || *b == b'.')
        && ends.iter().all(|end| end.is_some_and(plain))
        && !name.contains("..")
        && !name.contains(".-")
        && !name.contains("-.")
        && !is_ipv4(name)
        && !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn is_ipv4(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    parts.len() == 4
        && parts.iter().all(|p| !p.is_empty() && p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_dns() {
        for good in ["abc", "a.b-c", "0ab", &"a".repeat(63), "1.2.3", "256.1.1.1.1"] {
            assert!(is_bucket_name(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "ab",
            &long,
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "a.-b",
            "a-.b",
            "192.168.5.123",
            "xn--a",
            "a-s3alias",
            "aé",
        ] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }
}
