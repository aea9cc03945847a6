//! The smaller settings of a bucket: encryption, payment, acceleration, replication.

use super::authorise::{self, Grant};
use super::cx::Cx;
use super::settings::{self, of, set};
use crate::app::s3::encryption::{AES256, KMS, key_name};
use karri_proto::aws::s3::{
    AccelerateConfiguration, DeleteBucketEncryptionRequest, DeleteBucketReplicationRequest,
    GetBucketAccelerateConfigurationOutput, GetBucketAccelerateConfigurationRequest,
    GetBucketEncryptionOutput, GetBucketEncryptionRequest, GetBucketReplicationOutput,
    GetBucketReplicationRequest, GetBucketRequestPaymentOutput, GetBucketRequestPaymentRequest,
    PutBucketAccelerateConfigurationRequest, PutBucketEncryptionRequest, PutBucketReplicationRequest,
    PutBucketRequestPaymentRequest, ReplicationConfiguration, RequestPaymentConfiguration, S3Code, S3Fault,
    ServerSideEncryptionConfiguration,
};
use std::sync::Arc;

pub async fn get_bucket_encryption(
    cx: Cx,
    request: GetBucketEncryptionRequest,
) -> Result<GetBucketEncryptionOutput, S3Fault> {
    let of = of!(request, settings::ENCRYPTION);
    let (action, root) = ("s3:GetEncryptionConfiguration", "ServerSideEncryptionConfiguration");
    let found: Option<Arc<ServerSideEncryptionConfiguration>> =
        settings::fetch(&cx, of, action, root).await?;
    let found = set(found, S3Code::ServerSideEncryptionConfigurationNotFound, of.bucket)?;
    Ok(GetBucketEncryptionOutput { server_side_encryption_configuration: (*found).clone() })
}

pub async fn put_bucket_encryption(cx: Cx, request: PutBucketEncryptionRequest) -> Result<(), S3Fault> {
    let of = of!(request, settings::ENCRYPTION);
    let configuration = request.server_side_encryption_configuration.clone();
    let [rule] = configuration.rules.as_slice() else { return Err(S3Fault::new(S3Code::MalformedXml)) };
    if let Some(default) = &rule.apply_server_side_encryption_by_default {
        match default.sse_algorithm.as_str() {
            AES256 if default.kms_master_key_id.is_some() => {
                let text = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse";
                return Err(S3Fault::saying(S3Code::InvalidArgument, text));
            }
            AES256 => {}
            KMS => drop(key_name(default.kms_master_key_id.as_deref())?),
            // Encryption in two layers: a promise that could not be kept is not taken.
            _ => return Err(S3Fault::not_implemented("SSEAlgorithm")),
        }
    }
    let output = GetBucketEncryptionOutput { server_side_encryption_configuration: configuration };
    settings::put(&cx, of, "s3:PutEncryptionConfiguration", &output).await
}

pub async fn delete_bucket_encryption(cx: Cx, request: DeleteBucketEncryptionRequest) -> Result<(), S3Fault> {
    settings::delete(&cx, of!(request, settings::ENCRYPTION), "s3:PutEncryptionConfiguration").await
}

pub async fn get_bucket_request_payment(
    cx: Cx,
    request: GetBucketRequestPaymentRequest,
) -> Result<GetBucketRequestPaymentOutput, S3Fault> {
    let of = of!(request, settings::PAYMENT);
    let found: Option<Arc<RequestPaymentConfiguration>> =
        settings::fetch(&cx, of, "s3:GetBucketRequestPayment", "RequestPaymentConfiguration").await?;
    let payer = found.map_or_else(|| "BucketOwner".to_owned(), |found| found.payer.clone());
    Ok(GetBucketRequestPaymentOutput { payer: Some(payer) })
}

pub async fn put_bucket_request_payment(
    cx: Cx,
    request: PutBucketRequestPaymentRequest,
) -> Result<(), S3Fault> {
    let of = of!(request, settings::PAYMENT);
    let payer = Some(request.request_payment_configuration.payer.clone());
    settings::put(&cx, of, "s3:PutBucketRequestPayment", &GetBucketRequestPaymentOutput { payer }).await
}

pub async fn get_bucket_accelerate_configuration(
    cx: Cx,
    request: GetBucketAccelerateConfigurationRequest,
) -> Result<GetBucketAccelerateConfigurationOutput, S3Fault> {
    let of = of!(request, settings::ACCELERATE);
    let found: Option<Arc<AccelerateConfiguration>> =
        settings::fetch(&cx, of, "s3:GetAccelerateConfiguration", "AccelerateConfiguration").await?;
    let status = found.and_then(|found| found.status.clone());
    Ok(GetBucketAccelerateConfigurationOutput { status, request_charged: None })
}

pub async fn put_bucket_accelerate_configuration(
    cx: Cx,
    request: PutBucketAccelerateConfigurationRequest,
) -> Result<(), S3Fault> {
    let of = of!(request, settings::ACCELERATE);
    let status = request.accelerate_configuration.status.clone();
    if status.is_none() {
        return Err(S3Fault::new(S3Code::MalformedXml));
    }
    if of.bucket.contains('.') {
        let text = "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names";
        return Err(S3Fault::saying(S3Code::InvalidRequest, text));
    }
    let output = GetBucketAccelerateConfigurationOutput { status, request_charged: None };
    settings::put(&cx, of, "s3:PutAccelerateConfiguration", &output).await
}

pub async fn get_bucket_replication(
    cx: Cx,
    request: GetBucketReplicationRequest,
) -> Result<GetBucketReplicationOutput, S3Fault> {
    let of = of!(request, settings::REPLICATION);
    let (action, root) = ("s3:GetReplicationConfiguration", "ReplicationConfiguration");
    let found: Option<Arc<ReplicationConfiguration>> = settings::fetch(&cx, of, action, root).await?;
    let found = set(found, S3Code::ReplicationConfigurationNotFound, of.bucket)?;
    Ok(GetBucketReplicationOutput { replication_configuration: (*found).clone() })
}

/// Nothing replicates.
pub async fn put_bucket_replication(cx: Cx, request: PutBucketReplicationRequest) -> Result<(), S3Fault> {
    let of = of!(request, settings::REPLICATION);
    let action = "s3:PutReplicationConfiguration";
    authorise::bucket_for(&cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
    Err(S3Fault::not_implemented("ReplicationConfiguration"))
}

pub async fn delete_bucket_replication(
    cx: Cx,
    request: DeleteBucketReplicationRequest,
) -> Result<(), S3Fault> {
    settings::delete(&cx, of!(request, settings::REPLICATION), "s3:PutReplicationConfiguration").await
}
