//! The heads around a form: the request's `Content-Type` and each part's `Content-Disposition`.
//!
//! Must not: understand escapes in quoted strings but `\"`. Browsers write a file's name with all its
//! backslashes, and a quotation mark in it as `%22`.

use crate::refusal::S3Refusal;

/// As RFC 2046 has it.
const BOUNDARY_BYTES_MAX: usize = 70;

/// What separates the parts, from the request's `Content-Type`.
///
/// # Errors
/// `PreconditionFailed` when this is no form, `MalformedPOSTRequest` when it has no boundary.
pub fn boundary(content_type: &str) -> Result<String, S3Refusal> {
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        let text = "At least one of the pre-conditions you specified did not hold";
        return Err(S3Refusal::new(412, "PreconditionFailed", text)
            .with("Condition", "Bucket POST must be of the enclosure-type multipart/form-data"));
    }
    let boundary = parameter(parameters, "boundary").ok_or_else(malformed)?;
    let printable = boundary.bytes().all(|b| (b' '..=b'~').contains(&b));
    if !printable || boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
        return Err(malformed());
    }
    Ok(boundary)
}

pub(super) fn malformed() -> S3Refusal {
    let text = "The body of your POST request is not well-formed multipart/form-data.";
    S3Refusal::new(400, "MalformedPOSTRequest", text)
}

/// The headers of a part, as far as they matter.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PartHead {
    pub name: Option<String>,
    pub filename: Option<String>,
    pub content_type: Option<String>,
}

impl PartHead {
    /// Takes one more line; unknown headers do not matter.
    pub(super) fn read(&mut self, line: &str) -> Result<(), S3Refusal> {
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        if name.trim().eq_ignore_ascii_case("content-type") {
            self.content_type = Some(value.trim().to_owned());
        } else if name.trim().eq_ignore_ascii_case("content-disposition") {
            let (kind, parameters) = value.split_once(';').ok_or_else(malformed)?;
            if !kind.trim().eq_ignore_ascii_case("form-data") {
                return Err(malformed());
            }
            self.name = parameter(parameters, "name");
            self.filename = parameter(parameters, "filename");
        }
        Ok(())
    }
}

/// The value of `name="value"` or `name=value` in a list with semicolons.
fn parameter(list: &str, wanted: &str) -> Option<String> {
    let mut rest = list;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, tail) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let (value, tail) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), tail)
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = tail.trim_start().strip_prefix(';').unwrap_or(tail);
    }
}

/// What stands before the closing quotation mark, and what follows it.
fn quoted_value(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let at = rest.find('"')?;
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        match before.strip_suffix('\\') {
            // A name that ends in a backslash is closed by the mark that nothing but `;` can follow.
            Some(escaped) if !after.trim_start().starts_with(';') && !after.trim().is_empty() => {
                value.push_str(escaped);
                value.push('"');
            }
            _ => {
                value.push_str(before);
                return Some((value, after));
            }
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries() {
        let check = |text: &str, want: &str| assert_eq!(boundary(text).as_deref(), Ok(want), "{text}");
        check("multipart/form-data; boundary=----WebKitFormBoundary7MA4", "----WebKitFormBoundary7MA4");
        check("Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b;c=d\"", "a b;c=d");
        for (text, code) in [
            ("", "PreconditionFailed"),
            ("application/x-www-form-urlencoded", "PreconditionFailed"),
            ("multipart/form-data", "MalformedPOSTRequest"),
            ("multipart/form-data; boundary=", "MalformedPOSTRequest"),
            ("multipart/form-data; boundary=\"", "MalformedPOSTRequest"),
            ("multipart/form-data; boundary=\"a\rb\"", "MalformedPOSTRequest"),
        ] {
            assert_eq!(boundary(text).unwrap_err().code, code, "{text}");
        }
        boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))).unwrap_err();
    }

    #[test]
    fn names_of_parts() {
        let check = |line: &str, name: &str, filename: Option<&str>| {
            let mut head = PartHead::default();
            head.read(line).unwrap();
            assert_eq!((head.name.as_deref(), head.filename.as_deref()), (Some(name), filename), "{line}");
        };
        check("Content-Disposition: form-data; name=\"key\"", "key", None);
        check("content-disposition:form-data;name=key;filename=x", "key", Some("x"));
        check(
            "Content-Disposition: form-data; filename=\"name=x;.txt\"; name=\"file\"",
            "file",
            Some("name=x;.txt"),
        );
        check(r#"Content-Disposition: form-data; name="file"; filename="C:\Dir\""#, "file", Some(r"C:\Dir\"));
        check(
            r#"Content-Disposition: form-data; name="file"; filename="a\"b.txt""#,
            "file",
            Some("a\"b.txt"),
        );
        for bad in ["", "Content-Disposition", "Content-Disposition: attachment; name=x"] {
            PartHead::default().read(bad).unwrap_err();
        }
    }
}
