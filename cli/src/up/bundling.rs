//! What the operator bundles images with: a certificate and key of its own, and the cloud's certificate, as files
//! beside the credentials.

use super::account::{ACCOUNT, USER};
use crate::cloud::Cloud;
use crate::credentials::Bundling;
use anyhow::Context;
use karri_proto::internal::admin::{AdminService, NewCertificate};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::runtime::endpoint::write_durably;
use karri_proto::runtime::rsa_pair::RsaPair;

/// Makes what is missing. Nothing: the cloud serves no S3, or the operator's user has other certificates.
pub async fn establish(cloud: &Cloud) -> anyhow::Result<Option<Bundling>> {
    let home = cloud.home();
    let Ok(theirs) = std::fs::read(home.cloud_certificate_made()) else { return Ok(None) };
    if std::fs::read(home.cloud_certificate()).ok().as_ref() != Some(&theirs) {
        write_durably(&home.cloud_certificate(), &theirs)?;
    }
    let (key, certificate) = (home.user_key(), home.user_certificate());
    let name = format!("{USER} of {ACCOUNT}");
    let made = tokio::task::spawn_blocking(move || RsaPair::load_or_create(&key, &certificate, &name));
    let pem = made.await??.certificate_pem;
    let (clc, caller) = (cloud.clc()?, cloud.caller());
    let new = NewCertificate { account: ACCOUNT.to_owned(), user: USER.to_owned(), pem };
    let account = match clc.certificate_create(caller, new).await {
        Ok(certificate) => certificate.account,
        Err(error) if error.kind == ApiErrorKind::Conflict => {
            eprintln!("  note: {} is not used: {error}", home.user_certificate().display());
            return Ok(None);
        }
        Err(error) => return Err(error).context("the operator's signing certificate"),
    };
    let path = |path: std::path::PathBuf| path.display().to_string();
    Ok(Some(Bundling {
        account,
        user_certificate: path(home.user_certificate()),
        user_key: path(home.user_key()),
        cloud_certificate: path(home.cloud_certificate()),
    }))
}
