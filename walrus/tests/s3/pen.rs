//! Signatures that no crate makes for us: of chunks, of forms, of URLs, and those of Version 2. Written from AWS's
//! description and apart from the verifier: each is a check of the other.

use crate::harness::{Answer, REGION, Server, User};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

pub const SECRET: &str = "secret";
pub const KEY: &str = "AKIAANN0000000000000";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub fn quoted(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Version 2's signature, as a header, a URL and a form have it.
pub fn version_2(secret: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn digest(text: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(text))
}

/// Ann's, with the time on it.
pub struct Pen {
    pub stamp: String,
    pub scope: String,
    key: Vec<u8>,
}

impl Pen {
    pub fn now() -> Self {
        Self::at(OffsetDateTime::now_utc())
    }

    pub fn at(at: OffsetDateTime) -> Self {
        let day = format!("{:04}{:02}{:02}", at.year(), u8::from(at.month()), at.day());
        let stamp = format!("{day}T{:02}{:02}{:02}Z", at.hour(), at.minute(), at.second());
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let root = format!("AWS4{SECRET}").into_bytes();
        let key = scope.split('/').fold(root, |key, part| mac(&key, part));
        Self { stamp, scope, key }
    }

    /// Of a text that is signed as it stands: a form's policy.
    pub fn sign(&self, text: &str) -> String {
        hex::encode(mac(&self.key, text))
    }

    fn sign_as(&self, kind: &str, rest: &str) -> String {
        self.sign(&format!("{kind}\n{}\n{}\n{rest}", self.stamp, self.scope))
    }

    /// A URL that is good for so long; `extra` are further parameters, as they are meant.
    pub fn url(&self, method: &str, host: &str, path: &str, extra: &[(&str, &str)], seconds: u32) -> String {
        let (credential, seconds) = (format!("{KEY}/{}", self.scope), seconds.to_string());
        let mut pairs = vec![
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &self.stamp),
            ("X-Amz-Expires", &seconds),
            ("X-Amz-SignedHeaders", "host"),
        ];
        pairs.extend_from_slice(extra);
        pairs.sort_unstable();
        let query: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", quoted(name), quoted(value))).collect();
        let query = query.join("&");
        let canonical = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let signature = self.sign_as("AWS4-HMAC-SHA256", &digest(canonical));
        format!("{path}?{query}&X-Amz-Signature={signature}")
    }
}

/// A body in frames, and the head that goes with it.
pub struct Framed<'a> {
    /// What `x-amz-content-sha256` says.
    pub seal: &'a str,
    pub data: &'a [u8],
    pub trailer: Option<(&'a str, &'a str)>,
}

/// All but the last frame have at least 8 KiB.
const FRAME_BYTES: usize = 64 << 10;

impl Framed<'_> {
    /// Sends it; `change` may spoil what is sent.
    pub async fn put(
        &self,
        server: &Server,
        path: &str,
        more: &[(&str, &str)],
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Answer {
        let pen = Pen::now();
        let host = server.url.trim_start_matches("http://").to_owned();
        let length = self.data.len().to_string();
        let mut headers = vec![
            ("host", host.as_str()),
            ("x-amz-content-sha256", self.seal),
            ("x-amz-date", &pen.stamp),
            ("x-amz-decoded-content-length", &length),
        ];
        headers.extend_from_slice(more);
        headers.extend(self.trailer.map(|(name, _)| ("x-amz-trailer", name)));
        headers.sort_unstable();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let (target, query) = path.split_once('?').unwrap_or((path, ""));
        let canonical = format!("PUT\n{target}\n{query}\n{lines}\n{names}\n{}", self.seal);
        let seed = pen.sign_as("AWS4-HMAC-SHA256", &digest(canonical));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={KEY}/{}, SignedHeaders={names}, Signature={seed}",
            pen.scope
        );
        let mut body = self.body(&pen, seed);
        change(&mut body);
        let call =
            server.call("PUT", path).by(User::Nobody).header("authorization", &authorization).body(&body);
        let headers = headers.iter().filter(|(name, _)| *name != "host");
        headers.fold(call, |call, (name, value)| call.header(name, value)).send().await
    }

    fn body(&self, pen: &Pen, seed: String) -> Vec<u8> {
        let (mut out, mut previous) = (Vec::new(), seed);
        let signed = self.seal.starts_with("STREAMING-AWS4");
        for frame in self.data.chunks(FRAME_BYTES).chain([&[][..]]) {
            out.extend_from_slice(format!("{:x}", frame.len()).as_bytes());
            if signed {
                let rest = format!("{previous}\n{EMPTY}\n{}", digest(frame));
                previous = pen.sign_as("AWS4-HMAC-SHA256-PAYLOAD", &rest);
                out.extend_from_slice(format!(";chunk-signature={previous}").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(frame);
            out.extend_from_slice(if frame.is_empty() { b"" } else { b"\r\n" });
        }
        if let Some((name, value)) = self.trailer {
            out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
            if signed {
                let rest = format!("{previous}\n{}", digest(format!("{name}:{value}\n")));
                let signature = pen.sign_as("AWS4-HMAC-SHA256-TRAILER", &rest);
                out.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}
