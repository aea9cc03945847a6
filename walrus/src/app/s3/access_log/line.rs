//! One line of a log: 26 fields, in S3's order, a dash for what there is nothing to say of.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::fmt::Write as _;
use time::OffsetDateTime;
use time::macros::format_description;

/// What would end a field, or a field in quotes.
const FIELD: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'[').add(b']').add(b'%');
const QUOTED: &AsciiSet = &CONTROLS.add(b'"');

/// A request that has been answered. An empty text is nothing to say.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub bucket_owner: String,
    pub bucket: String,
    pub time: Option<OffsetDateTime>,
    pub peer: String,
    pub requester: String,
    pub request_id: String,
    pub operation: String,
    pub key: String,
    /// `GET /b/k HTTP/1.1`
    pub request: String,
    pub status: u16,
    pub error: String,
    pub sent_bytes: Option<u64>,
    pub object_bytes: Option<u64>,
    /// Until the answer's head was ready.
    pub took_ms: u64,
    pub referer: String,
    pub user_agent: String,
    pub version: String,
    pub host_id: String,
    /// `SigV4`, `SigV2`
    pub signature: &'static str,
    /// `AuthHeader`, `QueryString`
    pub authentication: &'static str,
    pub host: String,
    /// Only a list of access control let the request in.
    pub by_acl: bool,
}

impl Record {
    /// Ends with a line's end.
    pub fn line(&self) -> String {
        let time = format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
        let time = self.time.and_then(|at| at.format(time).ok()).unwrap_or_default();
        let mut line = String::with_capacity(512);
        let mut plain = |text: &str| field(&mut line, text);
        plain(&self.bucket_owner);
        plain(&self.bucket);
        let _ = write!(line, "[{time}] ");
        let mut plain = |text: &str| field(&mut line, text);
        plain(&self.peer);
        plain(&self.requester);
        plain(&self.request_id);
        plain(&self.operation);
        plain(&self.key);
        quoted(&mut line, &self.request);
        field(&mut line, &self.status.to_string());
        field(&mut line, &self.error);
        number(&mut line, self.sent_bytes);
        number(&mut line, self.object_bytes);
        number(&mut line, Some(self.took_ms));
        number(&mut line, Some(self.took_ms));
        quoted(&mut line, &self.referer);
        quoted(&mut line, &self.user_agent);
        let mut plain = |text: &str| field(&mut line, text);
        plain(&self.version);
        plain(&self.host_id);
        plain(self.signature);
        // No TLS ends here: neither a cipher suite nor a version, and no access point.
        plain("");
        plain(self.authentication);
        plain(&self.host);
        plain("");
        plain("");
        line.push_str(if self.by_acl { "Yes\n" } else { "-\n" });
        line
    }
}

fn field(line: &mut String, text: &str) {
    match text {
        "" => line.push('-'),
        text => line.extend(utf8_percent_encode(text, FIELD)),
    }
    line.push(' ');
}

fn quoted(line: &mut String, text: &str) {
    line.push('"');
    match text {
        "" => line.push('-'),
        text => line.extend(utf8_percent_encode(text, QUOTED)),
    }
    line.push_str("\" ");
}

fn number(line: &mut String, number: Option<u64>) {
    match number {
        Some(number) => drop(write!(line, "{number} ")),
        None => line.push_str("- "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_line_has_26_fields_whatever_a_client_sends() {
        let record = Record {
            bucket_owner: "owner".into(),
            bucket: "b-1".into(),
            time: Some(datetime!(2026-02-06 00:00:38 UTC)),
            peer: "192.0.2.3".into(),
            request_id: "3E57427F3".into(),
            operation: "REST.PUT.OBJECT".into(),
            key: "a b\"[c]%\n".into(),
            request: "PUT /b-1/a%20b?x=\"y\" HTTP/1.1".into(),
            status: 200,
            object_bytes: Some(7),
            took_ms: 3,
            user_agent: "curl\" \"x\ny".into(),
            signature: "SigV4",
            authentication: "AuthHeader",
            host: "s3.example.org".into(),
            ..Record::default()
        };
        let expected = "owner b-1 [06/Feb/2026:00:00:38 +0000] 192.0.2.3 - 3E57427F3 REST.PUT.OBJECT \
             a%20b%22%5Bc%5D%25%0A \"PUT /b-1/a%20b?x=%22y%22 HTTP/1.1\" 200 - - 7 3 3 \"-\" \
             \"curl%22 %22x%0Ay\" - - SigV4 - AuthHeader s3.example.org - - -\n";
        assert_eq!(record.line(), expected);
    }
}
