//! Tags: how many, how long, and how they travel in a header.

use karri_proto::aws::s3::{S3Code, S3Fault, Tag};
use karri_proto::sign::form_pairs;

const OBJECT_TAGS_MAX: usize = 10;
const BUCKET_TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

pub type Tags = Vec<(String, String)>;

/// From `x-amz-tagging`.
///
/// # Errors
/// `InvalidArgument`, `InvalidTag`, `BadRequest`
pub fn from_header(text: &str) -> Result<Tags, S3Fault> {
    let wrong = || {
        S3Fault::invalid_argument(
            "x-amz-tagging",
            text,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without \
             tag name duplicates.",
        )
    };
    let mut tags = Tags::new();
    for (key, value) in form_pairs(text.as_bytes()) {
        let key = String::from_utf8(key).map_err(|_| wrong())?;
        let value = String::from_utf8(value).map_err(|_| wrong())?;
        if tags.iter().any(|(known, _)| *known == key) {
            return Err(wrong());
        }
        tags.push((key, value));
    }
    check(&tags, OBJECT_TAGS_MAX, "Object")?;
    tags.sort();
    Ok(tags)
}

pub fn of_object(tags: Vec<Tag>) -> Result<Tags, S3Fault> {
    from_document(tags, OBJECT_TAGS_MAX, "Object")
}

pub fn of_bucket(tags: Vec<Tag>) -> Result<Tags, S3Fault> {
    from_document(tags, BUCKET_TAGS_MAX, "Bucket")
}

fn from_document(tags: Vec<Tag>, max: usize, what: &str) -> Result<Tags, S3Fault> {
    let tags: Tags = tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
    let twice =
        tags.iter().enumerate().find(|(at, (key, _))| tags[..*at].iter().any(|(other, _)| other == key));
    if let Some((_, (key, _))) = twice {
        let text = "Cannot provide multiple Tags with the same key";
        return Err(S3Fault::saying(S3Code::InvalidTag, text).with("TagKey", key));
    }
    check(&tags, max, what)?;
    Ok(tags)
}

fn check(tags: &Tags, max: usize, what: &str) -> Result<(), S3Fault> {
    if tags.len() > max {
        let text = format!("{what} tags cannot be greater than {max}");
        return Err(S3Fault::saying(S3Code::BadRequest, text));
    }
    for (key, value) in tags {
        let wrong = |text: &'static str| {
            Err(S3Fault::saying(S3Code::InvalidTag, text).with("TagKey", key).with("TagValue", value))
        };
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX || !key.chars().all(is_tag_char) {
            return wrong("The TagKey you have provided is invalid");
        }
        if value.chars().count() > VALUE_CHARS_MAX || !value.chars().all(is_tag_char) {
            return wrong("The TagValue you have provided is invalid");
        }
        if key.starts_with("aws:") {
            return wrong("System tags cannot be added/updated by requester");
        }
    }
    Ok(())
}

fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c)
}

pub fn to_document(tags: &[(String, String)]) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_query_of_distinct_names() {
        assert_eq!(from_header("a=b&c=%20d&e").unwrap().len(), 3);
        assert_eq!(from_header("").unwrap(), []);
        for (bad, code) in [
            ("a=1&a=2", S3Code::InvalidArgument),
            ("a=%ff", S3Code::InvalidArgument),
            ("aws:x=1", S3Code::InvalidTag),
            ("=1", S3Code::InvalidTag),
            ("a=%26", S3Code::InvalidTag),
            ("a&b&c&d&e&f&g&h&i&j&k", S3Code::BadRequest),
        ] {
            assert_eq!(from_header(bad).unwrap_err().code(), code, "{bad}");
        }
    }
}
