//! Server-side encryption as requests ask for it: with a key of ours (SSE-S3), or the client's (SSE-C).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use karri_proto::aws::s3::{S3Code, S3Fault};
use karri_proto::checksum::{Algorithm, Hasher};

pub const AES256: &str = "AES256";
const KEY_BYTES: usize = 32;

/// What an object's `sse` fact says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sse {
    Master,
    /// The MD5 of the client's key, in base64.
    Customer(String),
}

/// A client's key, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey {
    pub key: [u8; KEY_BYTES],
    pub md5: String,
}

#[derive(Debug, Clone, Copy)]
pub struct ClientKeyHeaders<'a> {
    pub algorithm: Option<&'a str>,
    pub key: Option<&'a str>,
    pub md5: Option<&'a str>,
}

/// Whether what is written is encrypted, and how.
#[derive(Clone, PartialEq, Eq)]
pub enum Wanted {
    Plain,
    Master,
    Customer(ClientKey),
}

impl Sse {
    pub fn to_text(&self) -> String {
        match self {
            Sse::Master => AES256.to_owned(),
            Sse::Customer(md5) => format!("C {md5}"),
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        match text.strip_prefix("C ") {
            Some(md5) => Some(Sse::Customer(md5.to_owned())),
            None => (text == AES256).then_some(Sse::Master),
        }
    }
}

impl Wanted {
    pub fn sse(&self) -> Option<Sse> {
        match self {
            Wanted::Plain => None,
            Wanted::Master => Some(Sse::Master),
            Wanted::Customer(key) => Some(Sse::Customer(key.md5.clone())),
        }
    }
}

impl ClientKeyHeaders<'_> {
    /// # Errors
    /// `InvalidArgument`, `InvalidEncryptionAlgorithmError`
    pub fn read(&self) -> Result<Option<ClientKey>, S3Fault> {
        const SUBJECT: &str =
            "Requests specifying Server Side Encryption with Customer provided keys must provide";
        let wrong = |name: &str, value: &str, text: String| Err(S3Fault::invalid_argument(name, value, text));
        const ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
        const KEY: &str = "x-amz-server-side-encryption-customer-key";
        const MD5: &str = "x-amz-server-side-encryption-customer-key-MD5";
        if self.algorithm.is_none() && self.key.is_none() && self.md5.is_none() {
            return Ok(None);
        }
        let Some(algorithm) = self.algorithm else {
            return wrong(ALGORITHM, "null", format!("{SUBJECT} a valid encryption algorithm."));
        };
        if algorithm != AES256 {
            let text = "The requested encryption algorithm is not valid, must be AES256.";
            let fault = S3Fault::saying(S3Code::InvalidEncryptionAlgorithm, text);
            return Err(fault.about_argument(ALGORITHM, algorithm));
        }
        let Some(text) = self.key else {
            return wrong(KEY, "null", format!("{SUBJECT} an appropriate secret key."));
        };
        let bytes =
            BASE64_STANDARD.decode(text).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        let Some(key) = bytes else {
            return wrong(KEY, "", "The secret key was invalid for the specified algorithm.".to_owned());
        };
        let Some(md5) = self.md5 else {
            return wrong(MD5, "null", format!("{SUBJECT} the client calculated MD5 of the secret key."));
        };
        if Hasher::digest(Algorithm::Md5, &key).to_base64() != md5 {
            let text = "The calculated MD5 hash of the key did not match the hash that was provided.";
            return wrong(MD5, md5, text.to_owned());
        }
        Ok(Some(ClientKey { key, md5: md5.to_owned() }))
    }
}

/// `asked` is `x-amz-server-side-encryption`, `default` what the bucket says.
///
/// # Errors
/// As [`ClientKeyHeaders::read`]; both kinds at once; a key management service, which there is none of.
pub fn wanted(
    asked: Option<&str>,
    kms_key: Option<&str>,
    client: ClientKeyHeaders<'_>,
    default: bool,
) -> Result<Wanted, S3Fault> {
    const NAME: &str = "x-amz-server-side-encryption";
    if let Some(key) = client.read()? {
        if let Some(asked) = asked {
            let text = "Server Side Encryption with Customer provided key is incompatible with the encryption \
                        method specified";
            return Err(S3Fault::invalid_argument(NAME, asked, text));
        }
        return Ok(Wanted::Customer(key));
    }
    match asked {
        Some(AES256) if kms_key.is_some() => {
            let text = "Server Side Encryption with AWS KMS managed key requires HTTP header \
                        x-amz-server-side-encryption : aws:kms";
            Err(S3Fault::invalid_argument(NAME, AES256, text))
        }
        Some(AES256) => Ok(Wanted::Master),
        Some(kms) if kms.starts_with("aws:") => Err(S3Fault::not_implemented(NAME)),
        Some(other) => {
            let text = "The encryption method specified is not supported";
            Err(S3Fault::invalid_argument(NAME, other, text))
        }
        None if kms_key.is_some() => {
            let text = "Server Side Encryption with AWS KMS managed key requires HTTP header \
                        x-amz-server-side-encryption : aws:kms";
            Err(S3Fault::invalid_argument(NAME, "null", text))
        }
        None => Ok(if default { Wanted::Master } else { Wanted::Plain }),
    }
}

/// The key to read an object with that was written as `sse` says.
///
/// # Errors
/// It needs a key and none was sent, or the other way round, or it is another one.
pub fn key_to_read(sse: Option<&str>, client: ClientKeyHeaders<'_>) -> Result<Option<ClientKey>, S3Fault> {
    let key = client.read()?;
    match (sse.and_then(Sse::from_text), key) {
        (Some(Sse::Customer(_)), None) => Err(S3Fault::saying(
            S3Code::InvalidRequest,
            "The object was stored using a form of Server Side Encryption. The correct parameters must be \
             provided to retrieve the object.",
        )),
        (Some(Sse::Customer(md5)), Some(key)) if md5 != key.md5 => Err(S3Fault::new(S3Code::AccessDenied)),
        (Some(Sse::Customer(_)), key) => Ok(key),
        (_, Some(_)) => Err(S3Fault::saying(
            S3Code::InvalidRequest,
            "The encryption parameters are not applicable to this object.",
        )),
        (_, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ClientKeyHeaders<'_> = ClientKeyHeaders { algorithm: None, key: None, md5: None };

    #[test]
    fn a_clients_key_is_checked_in_s3s_order() {
        let key = BASE64_STANDARD.encode([7; 32]);
        let md5 = Hasher::digest(Algorithm::Md5, &[7; 32]).to_base64();
        let read = |algorithm, key, md5| ClientKeyHeaders { algorithm, key, md5 }.read();
        assert!(read(Some(AES256), Some(&key), Some(&md5)).unwrap().is_some());
        assert!(NONE.read().unwrap().is_none());
        for (algorithm, key, md5, code) in [
            (None, Some(&*key), Some(&*md5), S3Code::InvalidArgument),
            (Some("AES"), Some(&*key), Some(&*md5), S3Code::InvalidEncryptionAlgorithm),
            (Some(AES256), None, Some(&*md5), S3Code::InvalidArgument),
            (Some(AES256), Some("AAAA"), Some(&*md5), S3Code::InvalidArgument),
            (Some(AES256), Some(&*key), None, S3Code::InvalidArgument),
            (Some(AES256), Some(&*key), Some("AAAA"), S3Code::InvalidArgument),
        ] {
            assert_eq!(read(algorithm, key, md5).err().map(|fault| fault.code()), Some(code));
        }
    }

    #[test]
    fn what_is_wanted_follows_headers_and_then_the_bucket() {
        assert!(wanted(None, None, NONE, false).unwrap() == Wanted::Plain);
        assert!(wanted(None, None, NONE, true).unwrap() == Wanted::Master);
        assert!(wanted(Some(AES256), None, NONE, false).unwrap() == Wanted::Master);
        assert_eq!(wanted(Some("aws:kms"), None, NONE, false).err().map(|f| f.status()), Some(501));
        assert_eq!(wanted(Some("rot13"), None, NONE, false).err().map(|f| f.status()), Some(400));
    }
}
