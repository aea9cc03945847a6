//! The signature of a request to the engine, by AWS's own crate. The body's SHA-256 is part of it, so that the
//! engine takes no byte that was changed on the way.

use super::engine::EngineKeys;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use std::time::SystemTime;

#[derive(Debug)]
pub struct Signer {
    region: String,
    keys: Credentials,
}

impl Signer {
    pub fn new(region: &str, keys: &EngineKeys) -> Self {
        let (id, secret) = (keys.access_key_id.as_str(), keys.secret_access_key.as_str());
        Self {
            region: region.to_owned(),
            keys: Credentials::new(id, secret, None, None, "store.credentials_file"),
        }
    }

    /// The headers to add.
    ///
    /// # Errors
    /// A header or a URL that cannot be signed.
    pub fn sign(
        &self,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        sha256: &str,
    ) -> Result<Vec<(String, String)>, String> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = self.keys.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let signable =
            SignableRequest::new(method, url, headers, SignableBody::Precomputed(sha256.to_owned()));
        let signed = sign(signable.map_err(|error| error.to_string())?, &parameters);
        let (added, _) = signed.map_err(|error| error.to_string())?.into_parts();
        let (headers, _) = added.into_parts();
        Ok(headers.iter().map(|header| (header.name().to_owned(), header.value().to_owned())).collect())
    }
}
