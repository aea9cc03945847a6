//! What a signed request says about itself, before anything is believed.
//!
//! Must not: hold a secret or the result of a check.

use time::OffsetDateTime;

use super::fault::{ScopeFault, SignFault};

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `Authorization: AWS4-HMAC-SHA256 …`
    V4Header,
    /// `X-Amz-Signature=…` in the query.
    V4Presigned,
    /// `SignatureVersion=2` in the query or in a POST form.
    V2Query,
    /// S3's `Authorization: AWS KEY:SIGNATURE`
    V2Header,
    /// S3's `AWSAccessKeyId=…&Expires=…&Signature=…` in the query.
    V2Presigned,
    /// A POST form's policy, `x-amz-signature`.
    V4Form,
    /// A POST form's policy, `signature`.
    V2Form,
}

/// The unverified content of a signature.
#[derive(Debug, Clone)]
pub struct Claim {
    pub access_key_id: String,
    /// Present with temporary credentials; the caller checks that it belongs to the key.
    pub session_token: Option<String>,
    /// When it was signed. Version 2's `Expires` requests do not say.
    pub signed_at: Option<OffsetDateTime>,
    pub(super) proof: Proof,
}

#[derive(Debug, Clone)]
pub(super) enum Proof {
    V4(V4Proof),
    V2(V2Proof),
    S3V2(S3V2Proof),
    Form(FormProof),
}

#[derive(Debug, Clone)]
pub(super) struct V4Proof {
    pub presigned: bool,
    pub scope: Scope,
    pub signed_at: OffsetDateTime,
    pub signed_headers: Vec<String>,
    /// Seconds that a presigned request lives; `None` in a header.
    pub expires_s: Option<u32>,
    /// Hex, as sent.
    pub signature: String,
}

#[derive(Debug, Clone)]
pub(super) struct V2Proof {
    pub mac: V2Mac,
    pub valid: V2Valid,
    /// Raw bytes, decoded from base64.
    pub signature: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct S3V2Proof {
    pub presigned: bool,
    pub valid: V2Valid,
    /// Base64, as sent.
    pub signature: String,
}

#[derive(Debug, Clone)]
pub(super) struct FormProof {
    /// Version 2 has none.
    pub scope: Option<Scope>,
    /// Hex or base64, as sent.
    pub signature: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum V2Mac {
    Sha1,
    Sha256,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum V2Valid {
    Around(OffsetDateTime),
    Until(OffsetDateTime),
}

/// Version 4's credential scope: what the signing key was derived for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`
    pub date: String,
    /// As sent; compare without regard to case.
    pub region: String,
    pub service: String,
}

impl Scope {
    pub(super) fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

impl Claim {
    pub fn scheme(&self) -> Scheme {
        match &self.proof {
            Proof::V4(v4) if v4.presigned => Scheme::V4Presigned,
            Proof::V4(_) => Scheme::V4Header,
            Proof::V2(_) => Scheme::V2Query,
            Proof::S3V2(v2) if v2.presigned => Scheme::V2Presigned,
            Proof::S3V2(_) => Scheme::V2Header,
            Proof::Form(form) if form.scope.is_some() => Scheme::V4Form,
            Proof::Form(_) => Scheme::V2Form,
        }
    }

    /// How many seconds a presigned request lives.
    pub(super) fn lives_s(&self) -> Option<u32> {
        match &self.proof {
            Proof::V4(v4) => v4.expires_s,
            Proof::V2(_) | Proof::S3V2(_) | Proof::Form(_) => None,
        }
    }

    /// Version 4's scope; Version 2 has none.
    pub fn scope(&self) -> Option<&Scope> {
        match &self.proof {
            Proof::V4(v4) => Some(&v4.scope),
            Proof::Form(form) => form.scope.as_ref(),
            Proof::V2(_) | Proof::S3V2(_) => None,
        }
    }

    /// The headers that the signature covers, lower-case; empty for Version 2.
    pub fn signed_headers(&self) -> &[String] {
        match &self.proof {
            Proof::V4(v4) => &v4.signed_headers,
            Proof::V2(_) | Proof::S3V2(_) | Proof::Form(_) => &[],
        }
    }

    /// Checks that the signature was made for one of these regions, or for none, and for this service.
    /// Regions compare without regard to case. Version 2 names neither, so it passes.
    ///
    /// # Errors
    /// [`SignFault::Scope`] with every mismatch, worded as AWS does.
    pub fn expect_scope(&self, regions: &[&str], service: &str) -> Result<(), SignFault> {
        let Some(scope) = self.scope() else { return Ok(()) };
        let mut faults = Vec::new();
        let ours = regions.iter().any(|r| r.eq_ignore_ascii_case(&scope.region));
        if !ours && !names_no_region(&scope.region) {
            let want = regions.first().copied().unwrap_or_default().to_owned();
            faults.push(ScopeFault::Region { got: scope.region.clone(), want });
        }
        if scope.service != service {
            faults.push(ScopeFault::Service { got: scope.service.clone(), want: service.to_owned() });
        }
        if faults.is_empty() { Ok(()) } else { Err(SignFault::Scope(faults)) }
    }
}

/// euca2ools that know an endpoint and no region sign for `undefined-PID`: a cloud of Eucalyptus does not mind.
fn names_no_region(region: &str) -> bool {
    let process = region.strip_prefix("undefined-").unwrap_or_default();
    !process.is_empty() && process.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_euca2ools_word_for_no_region_names_none() {
        assert!(names_no_region("undefined-4711"));
        for region in ["undefined", "undefined-", "undefined-4a", "undefined-4711 ", "us-east-1", ""] {
            assert!(!names_no_region(region), "{region}");
        }
    }
}
