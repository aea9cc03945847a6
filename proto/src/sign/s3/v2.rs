//! S3's Signature Version 2: `Authorization: AWS KEY:SIGNATURE`, or the same in the query with a time after
//! which it is void. Old clients speak nothing else, and s3cmd and boto on request.
//!
//! What is signed is the method, three headers, every `x-amz-*` header, and the resource: the path as it
//! was sent, with the bucket in front of it when that came in the host name, and those parameters that
//! choose a sub-resource or override the answer's headers. A prefix such as `/services/Walrus` is part of
//! the path like any other. Other parameters, other headers and the body are not covered.
//!
//! Must not: be offered to any other service.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::super::canonical::is_amz_header;
use super::super::claim::{Claim, Proof, S3V2Proof, V2Valid};
use super::super::encode::decode_path;
use super::super::fault::SignFault;
use super::super::key::Secret;
use super::super::stamp::{parse_extended, parse_http};
use super::super::view::RequestView;

/// A parameter of the query; `?acl` and `?acl=` are not signed alike. `+` stands for itself: Version 2's
/// signers leave it alone.
pub(super) struct Param {
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Param {
    /// Such a one would be signed as other lines than it is.
    fn has_control(&self) -> bool {
        let value = self.value.as_deref().unwrap_or_default();
        self.name.iter().chain(value).any(u8::is_ascii_control)
    }
}

fn is_amz(param: &Param) -> bool {
    std::str::from_utf8(&param.name).is_ok_and(is_amz_header)
}

pub(super) fn params(query: &str) -> Vec<Param> {
    let parts = query.as_bytes().split(|b| *b == b'&').filter(|part| !part.is_empty());
    let read = |part: &[u8]| {
        let cut = part.iter().position(|b| *b == b'=');
        Param {
            name: decode_path(&part[..cut.unwrap_or(part.len())]),
            value: cut.map(|at| decode_path(&part[at + 1..])),
        }
    };
    parts.map(read).collect()
}

fn param<'a>(params: &'a [Param], name: &str) -> Option<&'a str> {
    let found = params.iter().find(|param| param.name == name.as_bytes())?;
    std::str::from_utf8(found.value.as_deref().unwrap_or_default()).ok()
}

const TOKEN: &str = "x-amz-security-token";

/// What clients sign of the query, sorted.
const SUB_RESOURCES: [&str; 35] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Sub-resources that came when Version 2 was old. Some clients sign them and some do not: a header's
/// signature is right either way. One in a URL must cover them, since it is given to others, who could
/// turn leave to write an object into leave to lock it.
const LATE_SUB_RESOURCES: [&str; 8] = [
    "attributes",
    "encryption",
    "intelligent-tiering",
    "legal-hold",
    "ownershipControls",
    "policyStatus",
    "publicAccessBlock",
    "retention",
];

/// Whether the query carries any part of a Version 2 signature. `Expires` alone does not make one.
pub(super) fn is_presigned(pairs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    ["AWSAccessKeyId", "Signature"].iter().any(|name| pairs.iter().any(|(n, _)| n == name.as_bytes()))
}

/// `credential` is what follows `AWS `: nothing when it is not `KEY:SIGNATURE`.
pub(super) fn parse_header(view: &RequestView<'_>, credential: &str) -> Option<Result<Claim, SignFault>> {
    let (key, signature) = credential.trim().split_once(':')?;
    if key.is_empty() || signature.is_empty() {
        return None;
    }
    let date = view.header("x-amz-date").or_else(|| view.header("date")).unwrap_or_default();
    let Some(signed_at) = parse_http(&date).or_else(|| parse_extended(&date)) else {
        return Some(Err(SignFault::BadDate(date.into_owned())));
    };
    let valid = V2Valid::Around(signed_at);
    let proof = S3V2Proof { presigned: false, valid, signature: signature.to_owned() };
    Some(Ok(Claim {
        access_key_id: key.to_owned(),
        session_token: view.header(TOKEN).map(std::borrow::Cow::into_owned),
        signed_at: Some(signed_at),
        proof: Proof::S3V2(proof),
    }))
}

pub(super) fn parse_presigned(view: &RequestView<'_>, params: &[Param]) -> Result<Claim, SignFault> {
    let field = |name| param(params, name).filter(|value| !value.is_empty());
    let (Some(key), Some(signature), Some(expires)) =
        (field("AWSAccessKeyId"), field("Signature"), field("Expires"))
    else {
        return Err(SignFault::MissingParameter("Signature"));
    };
    let bad = || SignFault::BadParameter { name: "Expires", value: expires.to_owned() };
    if let Some(broken) = params.iter().find(|param| is_amz(param) && param.has_control()) {
        let value = String::from_utf8_lossy(broken.value.as_deref().unwrap_or_default()).into_owned();
        return Err(SignFault::BadParameter { name: "x-amz-*", value });
    }
    let seconds: u32 = expires.parse().map_err(|_| bad())?;
    let until = OffsetDateTime::from_unix_timestamp(seconds.into()).map_err(|_| bad())?;
    let token = view.header(TOKEN).map(std::borrow::Cow::into_owned);
    let proof = S3V2Proof { presigned: true, valid: V2Valid::Until(until), signature: signature.to_owned() };
    Ok(Claim {
        access_key_id: key.to_owned(),
        session_token: token.or_else(|| param(params, TOKEN).map(str::to_owned)),
        signed_at: None,
        proof: Proof::S3V2(proof),
    })
}

/// Whether the signature is right; if not, the text that it should have been over.
pub(super) fn check(
    view: &RequestView<'_>,
    proof: &S3V2Proof,
    secret: &Secret,
    host_bucket: Option<&str>,
) -> Result<(), Vec<u8>> {
    let params = &params(view.query);
    let head = head(view, params, proof, host_bucket);
    let signed = |slash: bool, late: bool| {
        let mut text = head.clone();
        text.extend_from_slice(if slash { b"/" } else { b"" });
        write_sub_resources(&mut text, params, late);
        text
    };
    let text = signed(false, true);
    if is_right(&text, proof, secret) {
        return Ok(());
    }
    // A bucket is the same thing with a slash behind it, and botocore signs it so but sends it without.
    let bucket_only = host_bucket.is_none() && view.path.rfind('/') == Some(0) && view.path.len() > 1;
    let is_late = |name: &[u8]| LATE_SUB_RESOURCES.iter().any(|late| late.as_bytes() == name);
    let may_leave_out = !proof.presigned && params.iter().any(|param| is_late(&param.name));
    let others = [
        (bucket_only, true, true),
        (may_leave_out, false, false),
        (bucket_only && may_leave_out, true, false),
    ];
    let right =
        others.iter().any(|(try_it, slash, late)| *try_it && is_right(&signed(*slash, *late), proof, secret));
    if right { Ok(()) } else { Err(text) }
}

fn is_right(text: &[u8], proof: &S3V2Proof, secret: &Secret) -> bool {
    bool::from(mac_sha1(secret, text).as_slice().ct_eq(&signature_bytes(&proof.signature)))
}

/// What is not base64 cannot match: an empty signature never equals a MAC.
pub(super) fn signature_bytes(signature: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(signature).unwrap_or_default()
}

pub(super) fn mac_sha1(secret: &Secret, text: &[u8]) -> [u8; 20] {
    let mac = Hmac::<Sha1>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(text).finalize().into_bytes().into()
}

/// All but the sub-resources.
fn head(view: &RequestView<'_>, params: &[Param], proof: &S3V2Proof, host_bucket: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + view.path.len());
    let mut line = |text: &str| {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    };
    line(view.method);
    // In a URL a header that was signed may stand as a parameter, for whoever uses it to send along.
    let header = |name: &str| {
        let in_query = || proof.presigned.then(|| param(params, name)).flatten().map(str::trim);
        view.header(name).or_else(|| in_query().map(Into::into)).unwrap_or_default()
    };
    line(&header("content-md5"));
    line(&header("content-type"));
    match proof.valid {
        V2Valid::Until(until) => line(&until.unix_timestamp().to_string()),
        V2Valid::Around(_) if view.header("x-amz-date").is_some() => line(""),
        V2Valid::Around(_) => line(&view.header("date").unwrap_or_default()),
    }
    write_amz_headers(&mut out, view, if proof.presigned { params } else { &[] });
    if let Some(bucket) = host_bucket {
        out.push(b'/');
        out.extend_from_slice(bucket.as_bytes());
    }
    out.extend_from_slice(if view.path.is_empty() { b"/" } else { view.path.as_bytes() });
    out
}

/// `name:value,value`, sorted by name; lines of the same name joined in order.
fn write_amz_headers(out: &mut Vec<u8>, view: &RequestView<'_>, params: &[Param]) {
    let in_header = view.headers.iter().filter(|(name, _)| is_amz_header(name));
    let mut lines: Vec<(String, &[u8])> =
        in_header.map(|(name, value)| (name.to_ascii_lowercase(), value.trim_ascii())).collect();
    let in_query = params.iter().filter_map(|param| {
        let name = std::str::from_utf8(&param.name).ok()?;
        let sent_too = view.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = param.value.as_deref().unwrap_or_default().trim_ascii();
        (is_amz_header(name) && !sent_too).then(|| (name.to_ascii_lowercase(), value))
    });
    lines.extend(in_query);
    lines.sort_by(|a, b| a.0.cmp(&b.0)); // stable: values of one name keep their order
    let mut last = None;
    for (name, value) in &lines {
        if last == Some(name) {
            out.pop();
            out.push(b',');
        } else {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
        }
        out.extend_from_slice(value);
        out.push(b'\n');
        last = Some(name);
    }
}

/// `?name=value&name`, sorted by name, decoded.
fn write_sub_resources(out: &mut Vec<u8>, params: &[Param], late: bool) {
    let is_signed = |name: &[u8]| {
        let known = |list: &[&str]| list.iter().any(|known| known.as_bytes() == name);
        known(&SUB_RESOURCES) || late && known(&LATE_SUB_RESOURCES)
    };
    let mut signed: Vec<&Param> = params.iter().filter(|param| is_signed(&param.name)).collect();
    signed.sort_by(|a, b| a.name.cmp(&b.name));
    for (at, param) in signed.into_iter().enumerate() {
        out.push(if at == 0 { b'?' } else { b'&' });
        out.extend_from_slice(&param.name);
        if let Some(value) = &param.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}
