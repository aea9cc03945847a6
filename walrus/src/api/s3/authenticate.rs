//! Who asks: the signature of a request, held against the cloud's credentials.

use super::S3;
use super::cx::Caller;
use crate::drive::signers::{AuthFault, Signer};
use http::{HeaderMap, HeaderName, HeaderValue};
use karri_proto::aws::rest::Query;
use karri_proto::aws::s3::{S3Code, S3Fault};
use karri_proto::sign::{
    Claim, Payload, PayloadSeal, RequestView, Scheme, SignFault, Verifier, anonymous_payload, header_list,
    parse_s3,
};
use std::sync::Arc;
use time::OffsetDateTime;

/// No key id is longer, and longer ones are not looked up.
const KEY_ID_CHARS_MAX: usize = 128;

pub struct Identity {
    pub caller: Caller,
    pub scheme: Option<Scheme>,
    pub seal: PayloadSeal,
}

/// The head of a request, as it was sent.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    /// The bucket's name, when it stands in `Host`.
    pub host_bucket: Option<&'a str>,
    pub now: OffsetDateTime,
}

pub async fn authenticate(s3: &S3, verifier: &Verifier, head: Head<'_>) -> Result<Identity, S3Fault> {
    let headers = header_list(head.headers);
    let view = RequestView {
        method: head.method,
        path: head.path,
        query: head.query,
        headers: &headers,
        payload: Payload::Unread,
    };
    let Some(claim) = parse_s3(&view)? else {
        return Ok(Identity { caller: Caller::Anonymous, scheme: None, seal: anonymous_payload(&view)? });
    };
    expect_scope(s3, &claim)?;
    let signer = signer(s3, &claim).await?;
    let verified = verifier.verify_s3(&claim, &signer.secret, &view, head.host_bucket, head.now)?;
    Ok(Identity { caller: Caller::User(signer), scheme: Some(verified.scheme), seal: verified.payload })
}

pub fn expect_scope(s3: &S3, claim: &Claim) -> Result<(), S3Fault> {
    let own = [s3.options.region.as_str()];
    if claim.expect_s3_scope(&own).is_ok() {
        return Ok(());
    }
    let others = s3.options.regions.iter().map(String::as_str);
    let regions: Vec<&str> = own.into_iter().chain(others).collect();
    Ok(claim.expect_s3_scope(&regions)?)
}

pub async fn signer(s3: &S3, claim: &Claim) -> Result<Arc<Signer>, S3Fault> {
    if claim.access_key_id.len() > KEY_ID_CHARS_MAX {
        return Err(claim.refuse(&SignFault::UnknownKey).into());
    }
    let signer = s3.authenticator.signer(&claim.access_key_id, claim.session_token.as_deref()).await;
    signer.map_err(|fault| match fault {
        AuthFault::UnknownKey => claim.refuse(&SignFault::UnknownKey).into(),
        AuthFault::BadToken => claim.refuse(&SignFault::BadToken).into(),
        AuthFault::ExpiredToken => claim.refuse(&SignFault::ExpiredToken).into(),
        AuthFault::Unavailable(why) => S3Fault::new(S3Code::ServiceUnavailable).because(why),
    })
}

/// A presigned URL carries headers as parameters: `x-amz-acl`, `x-amz-security-token` and their like.
pub fn adopt_parameters(headers: &mut HeaderMap, query: &str) -> Result<(), S3Fault> {
    let query = Query::parse(query)?;
    for (name, value) in query.pairs() {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") || is_of_signature(&name) || headers.contains_key(&name) {
            continue;
        }
        match (HeaderName::try_from(&*name), HeaderValue::from_bytes(value.as_bytes())) {
            (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
            _ => return Err(S3Fault::invalid_argument(&name, value, "The parameter cannot be a header")),
        }
    }
    Ok(())
}

fn is_of_signature(name: &str) -> bool {
    ["algorithm", "credential", "date", "expires", "signedheaders", "signature", "content-sha256"]
        .iter()
        .any(|part| name.strip_prefix("x-amz-") == Some(part))
}

impl Identity {
    /// For what carries its own proof, or needs none.
    pub fn nobody() -> Self {
        Self { caller: Caller::Anonymous, scheme: None, seal: PayloadSeal::Unsigned }
    }
}
