//! Public keys as clients bring them: OpenSSH's line, RFC 4716's block, SubjectPublicKeyInfo.

use super::{KeyKind, colons};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karri_proto::fault::{Fault, FaultCode};
use md5::Digest as _;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPublicKey};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

/// The largest text that is looked at; an RSA key of 4096 bits takes 800 bytes.
const MATERIAL_BYTES_MAX: usize = 16 << 10;
const RSA_BITS: [usize; 3] = [1024, 2048, 4096];
const RFC4716_BEGIN: &str = "---- BEGIN SSH2 PUBLIC KEY ----";
const RFC4716_END: &str = "---- END SSH2 PUBLIC KEY ----";
const SPKI_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";

/// A public key that somebody brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub kind: KeyKind,
    pub fingerprint: String,
    /// Without a comment.
    pub openssh: String,
}

pub fn import(material: &[u8]) -> Result<Imported, Fault> {
    let text = std::str::from_utf8(material).ok().map(str::trim).filter(|text| !text.is_empty());
    let text = text.filter(|text| text.len() <= MATERIAL_BYTES_MAX);
    let text = text.ok_or_else(|| refused("Key is not in valid OpenSSH public key format"))?;
    if text.contains("PRIVATE KEY") {
        return Err(refused(
            "This is a private key. Import its public half, and consider the private one known.",
        ));
    }
    if text.starts_with(SPKI_BEGIN) {
        return imported_rsa(RsaPublicKey::from_public_key_pem(text).ok());
    }
    if text.starts_with(RFC4716_BEGIN) {
        return imported(rfc4716_blob(text).and_then(|blob| PublicKey::from_bytes(&blob).ok()));
    }
    if !text.contains(' ') {
        let bare: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        if let Ok(der) = STANDARD.decode(bare) {
            return imported_rsa(RsaPublicKey::from_public_key_der(&der).ok());
        }
    }
    if text.contains('\n') {
        return Err(refused("Key is not in valid OpenSSH public key format"));
    }
    imported(PublicKey::from_openssh(text).ok())
}

fn imported(key: Option<PublicKey>) -> Result<Imported, Fault> {
    let key = key.ok_or_else(|| refused("Key is not in valid OpenSSH public key format"))?;
    match key.key_data() {
        KeyData::Rsa(rsa) => imported_rsa(from_openssh(rsa)),
        KeyData::Ed25519(_) => Ok(Imported {
            kind: KeyKind::Ed25519,
            fingerprint: openssh_fingerprint(&key),
            openssh: openssh_line(&key)?,
        }),
        _ => Err(refused("Only RSA and ED25519 keys are supported")),
    }
}

/// From its numbers: ssh-key's own conversion refuses 1024 bits, which EC2 takes.
fn from_openssh(key: &ssh_key::public::RsaPublicKey) -> Option<RsaPublicKey> {
    let number = |number: &ssh_key::Mpint| number.as_positive_bytes().map(BigUint::from_bytes_be);
    RsaPublicKey::new(number(&key.n)?, number(&key.e)?).ok()
}

fn imported_rsa(key: Option<RsaPublicKey>) -> Result<Imported, Fault> {
    let key = key.ok_or_else(|| refused("Key is not in valid OpenSSH public key format"))?;
    let bits = key.n().bits();
    if !RSA_BITS.contains(&bits) {
        let sentence = format!("RSA keys must have 1024, 2048 or 4096 bits; this one has {bits}");
        return Err(Fault::new(FaultCode::InvalidKeyFormat, sentence));
    }
    let der = key.to_public_key_der().map_err(Fault::internal)?;
    Ok(Imported {
        kind: KeyKind::Rsa,
        fingerprint: colons(&md5::Md5::digest(der.as_bytes())),
        openssh: rsa_openssh(&key)?,
    })
}

fn refused(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::InvalidKeyFormat, sentence)
}

/// The block's base64, without its headers and their continuation lines.
fn rfc4716_blob(text: &str) -> Option<Vec<u8>> {
    let body = text.strip_prefix(RFC4716_BEGIN)?.strip_suffix(RFC4716_END)?;
    let mut base64 = String::new();
    let mut continued = false;
    for line in body.lines().map(str::trim) {
        let header = continued || line.contains(':');
        continued = header && line.ends_with('\\');
        if !header {
            base64.push_str(line);
        }
    }
    STANDARD.decode(base64).ok()
}

pub(super) fn rsa_openssh(key: &RsaPublicKey) -> Result<String, Fault> {
    let key = ssh_key::public::RsaPublicKey::try_from(key).map_err(Fault::internal)?;
    openssh_line(&PublicKey::new(KeyData::Rsa(key), ""))
}

/// `ssh-ed25519 AAAA…`, without the comment.
pub(super) fn openssh_line(key: &PublicKey) -> Result<String, Fault> {
    let bare = PublicKey::new(key.key_data().clone(), "");
    Ok(bare.to_openssh().map_err(Fault::internal)?.trim_end().to_owned())
}

/// What EC2 shows for ED25519: OpenSSH's digest, padded and without its `SHA256:`.
pub(super) fn openssh_fingerprint(key: &PublicKey) -> String {
    STANDARD.encode(key.fingerprint(HashAlg::Sha256).as_bytes())
}
