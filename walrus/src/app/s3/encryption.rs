//! Server-side encryption as requests ask for it: with a key of ours (SSE-S3), with one of ours that has a name
//! (SSE-KMS), or the client's (SSE-C).

use super::bucket_settings as settings;
use crate::store::keeper::seal::{CustomerKey, SealWith};
use crate::store::objects::Bucket;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use karri_proto::aws::s3::{S3Code, S3Fault, ServerSideEncryptionConfiguration};
use karri_proto::checksum::{Algorithm, Hasher};

pub const AES256: &str = "AES256";
pub const KMS: &str = "aws:kms";
/// As AWS limits an id, an alias or an ARN.
const KEY_NAME_BYTES_MAX: usize = 2048;
const KEY_BYTES: usize = 32;

/// What an object's `sse` fact says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sse {
    Master,
    /// The key's name.
    Kms(String),
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

/// The members of a request that name the client's key.
macro_rules! client_key {
    ($request:expr) => {
        $crate::app::s3::encryption::ClientKeyHeaders {
            algorithm: $request.sse_customer_algorithm.as_deref(),
            key: $request.sse_customer_key.as_deref(),
            md5: $request.sse_customer_key_md5.as_deref(),
        }
    };
}
pub(crate) use client_key;

/// Whether what is written is encrypted, and how.
#[derive(Clone, PartialEq, Eq)]
pub enum Wanted {
    Plain,
    Master,
    Kms(String),
    Customer(ClientKey),
}

impl Sse {
    pub fn to_text(&self) -> String {
        match self {
            Sse::Master => AES256.to_owned(),
            Sse::Kms(name) => format!("K {name}"),
            Sse::Customer(md5) => format!("C {md5}"),
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some(("C", md5)) => Some(Sse::Customer(md5.to_owned())),
            Some(("K", name)) => Some(Sse::Kms(name.to_owned())),
            Some(_) => None,
            None => (text == AES256).then_some(Sse::Master),
        }
    }
}

impl Wanted {
    pub fn sse(&self) -> Option<Sse> {
        match self {
            Wanted::Plain => None,
            Wanted::Master => Some(Sse::Master),
            Wanted::Kms(name) => Some(Sse::Kms(name.clone())),
            Wanted::Customer(key) => Some(Sse::Customer(key.md5.clone())),
        }
    }

    pub fn seal_with(&self) -> SealWith {
        match self {
            Wanted::Plain => SealWith::Plain,
            Wanted::Master => SealWith::Master,
            Wanted::Kms(name) => SealWith::Named(name.as_str().into()),
            Wanted::Customer(key) => SealWith::Customer(CustomerKey::new(key.key)),
        }
    }

    /// For the store.
    pub fn key_name(&self) -> Option<&str> {
        match self {
            Wanted::Kms(name) => Some(name),
            Wanted::Plain | Wanted::Master | Wanted::Customer(_) => None,
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

/// The name of a key, from a request or a bucket's default. There is no key management service that keeps an
/// account's own key, so a name must be said.
///
/// # Errors
/// `InvalidArgument`
pub fn key_name(name: Option<&str>) -> Result<String, S3Fault> {
    const NAME: &str = "x-amz-server-side-encryption-aws-kms-key-id";
    let wrong = |value: &str, text: &'static str| Err(S3Fault::invalid_argument(NAME, value, text));
    match name {
        None | Some("") => wrong("null", "aws:kms needs the name of a key: there is no default one."),
        Some(name) if name.len() > KEY_NAME_BYTES_MAX || !name.bytes().all(|b| b.is_ascii_graphic()) => {
            wrong("", "The name of a key has up to 2048 visible ASCII characters.")
        }
        Some(name) => Ok(name.to_owned()),
    }
}

/// `asked` is `x-amz-server-side-encryption`, `default` what the bucket says.
///
/// # Errors
/// As [`ClientKeyHeaders::read`] and [`key_name`]; both kinds at once; encryption in two layers.
pub fn wanted(
    asked: Option<&str>,
    kms_key: Option<&str>,
    client: ClientKeyHeaders<'_>,
    default: Option<Sse>,
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
        Some(KMS) => {
            let default = match &default {
                Some(Sse::Kms(name)) => Some(name.as_str()),
                _ => None,
            };
            key_name(kms_key.or(default)).map(Wanted::Kms)
        }
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
        None => Ok(match default {
            Some(Sse::Master) => Wanted::Master,
            Some(Sse::Kms(name)) => Wanted::Kms(name),
            // A bucket cannot know a client's key.
            Some(Sse::Customer(_)) | None => Wanted::Plain,
        }),
    }
}

/// What the bucket says of what is written without saying anything.
pub fn default_sse(bucket: &Bucket) -> Result<Option<Sse>, S3Fault> {
    let configuration = settings::read::<ServerSideEncryptionConfiguration>(
        bucket,
        settings::ENCRYPTION,
        "ServerSideEncryptionConfiguration",
    )?;
    let rules = configuration.iter().flat_map(|configuration| &configuration.rules);
    let default = rules.filter_map(|rule| rule.apply_server_side_encryption_by_default.as_ref()).next();
    match default.map(|default| (default.sse_algorithm.as_str(), default.kms_master_key_id.as_deref())) {
        Some((AES256, _)) => Ok(Some(Sse::Master)),
        Some((KMS, name)) => key_name(name).map(Sse::Kms).map(Some),
        Some((other, _)) => Err(S3Fault::internal(format!("the stored encryption: {other}"))),
        None => Ok(None),
    }
}

/// How bytes are written that no request speaks of.
pub fn default_wanted(bucket: &Bucket) -> Result<Wanted, S3Fault> {
    let none = ClientKeyHeaders { algorithm: None, key: None, md5: None };
    wanted(None, None, none, default_sse(bucket)?)
}

/// Puts into an answer how bytes are encrypted: the answers of writes and reads say it in the same members.
macro_rules! show_sse {
    ($output:expr, $sse:expr) => {
        match $sse {
            Some($crate::app::s3::encryption::Sse::Master) => {
                $output.server_side_encryption = Some($crate::app::s3::encryption::AES256.to_owned());
            }
            Some($crate::app::s3::encryption::Sse::Kms(name)) => {
                $output.server_side_encryption = Some($crate::app::s3::encryption::KMS.to_owned());
                $output.sse_kms_key_id = Some(name);
            }
            Some($crate::app::s3::encryption::Sse::Customer(md5)) => {
                $output.sse_customer_algorithm = Some($crate::app::s3::encryption::AES256.to_owned());
                $output.sse_customer_key_md5 = Some(md5);
            }
            None => {}
        }
    };
}
pub(crate) use show_sse;

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
        let named = |name: &str| Wanted::Kms(name.to_owned());
        let default = || Some(Sse::Kms("b".to_owned()));
        assert!(wanted(None, None, NONE, None).unwrap() == Wanted::Plain);
        assert!(wanted(None, None, NONE, Some(Sse::Master)).unwrap() == Wanted::Master);
        assert!(wanted(None, None, NONE, default()).unwrap() == named("b"));
        assert!(wanted(Some(AES256), None, NONE, default()).unwrap() == Wanted::Master);
        assert!(wanted(Some(KMS), Some("a"), NONE, default()).unwrap() == named("a"));
        assert!(wanted(Some(KMS), None, NONE, default()).unwrap() == named("b"));
        let status = |asked, key| wanted(asked, key, NONE, None).err().map(|fault| fault.status());
        assert_eq!(status(Some(KMS), None), Some(400));
        assert_eq!(status(Some(KMS), Some("a b")), Some(400));
        assert_eq!(status(None, Some("a")), Some(400));
        assert_eq!(status(Some("aws:kms:dsse"), Some("a")), Some(501));
        assert_eq!(status(Some("rot13"), None), Some(400));
    }

    #[test]
    fn what_was_said_of_the_encryption_reads_back() {
        for sse in
            [Sse::Master, Sse::Kms("arn:aws:kms:x:1:key/a".to_owned()), Sse::Customer("m==".to_owned())]
        {
            assert_eq!(Sse::from_text(&sse.to_text()), Some(sse));
        }
        assert_eq!(Sse::from_text("X y"), None);
    }
}
