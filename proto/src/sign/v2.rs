//! Signature Version 2, which boto 2, libcloud and old euca2ools still send to EC2: the signature
//! is one parameter among the others, over the rest of them sorted.
//!
//! Must not: be offered to S3, whose Version 2 is another scheme.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::claim::{Claim, Proof, V2Mac, V2Proof, V2Valid};
use super::encode::{encode_component, param};
use super::fault::SignFault;
use super::key::{Secret, hmac_sha256};
use super::stamp::parse_extended;
use super::view::RequestView;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// `query` are the query's parameters; a POST form adds its own.
pub(super) fn parse(view: &RequestView<'_>, query: Pairs) -> Result<Claim, SignFault> {
    let mut pairs = query;
    pairs.extend(view.body_pairs());
    let field = |name| param(&pairs, name);
    let Some(key) = field("AWSAccessKeyId") else { return Err(SignFault::Missing) };
    let signature = field("Signature").ok_or(SignFault::MissingParameter("Signature"))?;
    match field("SignatureVersion").ok_or(SignFault::MissingParameter("SignatureVersion"))? {
        "2" => {}
        other => return Err(bad("SignatureVersion", other)),
    }
    let mac = match field("SignatureMethod").ok_or(SignFault::MissingParameter("SignatureMethod"))? {
        "HmacSHA256" => V2Mac::Sha256,
        "HmacSHA1" => V2Mac::Sha1,
        other => return Err(bad("SignatureMethod", other)),
    };
    let valid = validity(field("Timestamp"), field("Expires"))?;
    let signed_at = match valid {
        V2Valid::Around(at) => Some(at),
        V2Valid::Until(_) => None,
    };
    // Not base64 cannot match: an empty signature never equals a MAC.
    let signature = BASE64_STANDARD.decode(signature).unwrap_or_default();
    let session_token = field("SecurityToken").map(str::to_owned);
    let proof = Proof::V2(V2Proof { mac, valid, signature });
    Ok(Claim { access_key_id: key.to_owned(), session_token, signed_at, proof })
}

fn bad(name: &'static str, value: &str) -> SignFault {
    SignFault::BadParameter { name, value: value.to_owned() }
}

fn validity(timestamp: Option<&str>, expires: Option<&str>) -> Result<V2Valid, SignFault> {
    let parse = |text: &str| parse_extended(text).ok_or_else(|| SignFault::BadDate(text.to_owned()));
    match (timestamp, expires) {
        (_, Some(text)) => Ok(V2Valid::Until(parse(text)?)),
        (Some(text), None) => Ok(V2Valid::Around(parse(text)?)),
        (None, None) => Err(SignFault::MissingParameter("Timestamp")),
    }
}

/// Whether the signature is right for one of the two ways in which clients write the host.
pub(super) fn matches(view: &RequestView<'_>, proof: &V2Proof, secret: &Secret) -> bool {
    // Version 2 covers parameters, not bodies: one that is no form could be anybody's.
    if !view.is_form_post() && !view.payload.bytes().is_empty() {
        return false;
    }
    let host = view.header("host").unwrap_or_default().to_ascii_lowercase();
    let params = canonical_params(view);
    let right = |host: &str| {
        let text = format!(
            "{}\n{host}\n{}\n{params}",
            view.method,
            if view.path.is_empty() { "/" } else { view.path }
        );
        bool::from(mac(proof.mac, secret, text.as_bytes()).ct_eq(&proof.signature))
    };
    // libcloud and euca2ools sign the Host header as they send it; boto 2 sends the port and
    // signs the name without it.
    let bare = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    right(&host) || bare.is_some_and(|(name, _)| right(name))
}

fn canonical_params(view: &RequestView<'_>) -> String {
    let mut pairs = super::form_pairs(view.query.as_bytes());
    pairs.extend(view.body_pairs());
    pairs.retain(|(name, _)| name != b"Signature");
    pairs.sort_unstable();
    let pairs = pairs.iter().map(|(n, v)| format!("{}={}", encode_component(n), encode_component(v)));
    pairs.collect::<Vec<_>>().join("&")
}

fn mac(kind: V2Mac, secret: &Secret, data: &[u8]) -> Vec<u8> {
    match kind {
        V2Mac::Sha256 => hmac_sha256(secret.bytes(), data).to_vec(),
        V2Mac::Sha1 => {
            let mac = Hmac::<Sha1>::new_from_slice(secret.bytes());
            mac.expect("HMAC takes keys of any length").chain_update(data).finalize().into_bytes().to_vec()
        }
    }
}
