//! The smaller settings of a bucket: encryption, website, logging, notification, payment, acceleration,
//! replication.

use super::authorise::{self, Grant};
use super::cx::Cx;
use super::settings::{self, of, set};
use crate::app::s3::encryption::{AES256, KMS, key_name};
use karri_proto::aws::s3::{
    AccelerateConfiguration, BucketLoggingStatus, DeleteBucketEncryptionRequest,
    DeleteBucketReplicationRequest, DeleteBucketWebsiteRequest, GetBucketAccelerateConfigurationOutput,
    GetBucketAccelerateConfigurationRequest, GetBucketEncryptionOutput, GetBucketEncryptionRequest,
    GetBucketLoggingOutput, GetBucketLoggingRequest, GetBucketNotificationConfigurationRequest,
    GetBucketReplicationOutput, GetBucketReplicationRequest, GetBucketRequestPaymentOutput,
    GetBucketRequestPaymentRequest, GetBucketWebsiteOutput, GetBucketWebsiteRequest,
    NotificationConfiguration, PutBucketAccelerateConfigurationRequest, PutBucketEncryptionRequest,
    PutBucketLoggingRequest, PutBucketNotificationConfigurationRequest, PutBucketReplicationRequest,
    PutBucketRequestPaymentRequest, PutBucketWebsiteRequest, ReplicationConfiguration,
    RequestPaymentConfiguration, S3Code, S3Fault, ServerSideEncryptionConfiguration, WebsiteConfiguration,
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

pub async fn get_bucket_website(
    cx: Cx,
    request: GetBucketWebsiteRequest,
) -> Result<GetBucketWebsiteOutput, S3Fault> {
    let of = of!(request, settings::WEBSITE);
    let found: Option<Arc<WebsiteConfiguration>> =
        settings::fetch(&cx, of, "s3:GetBucketWebsite", "WebsiteConfiguration").await?;
    let found = (*set(found, S3Code::NoSuchWebsiteConfiguration, of.bucket)?).clone();
    Ok(GetBucketWebsiteOutput {
        error_document: found.error_document,
        index_document: found.index_document,
        redirect_all_requests_to: found.redirect_all_requests_to,
        routing_rules: found.routing_rules,
    })
}

pub async fn put_bucket_website(cx: Cx, request: PutBucketWebsiteRequest) -> Result<(), S3Fault> {
    let of = of!(request, settings::WEBSITE);
    let asked = request.website_configuration.clone();
    let wrong = |text: &'static str| Err(S3Fault::saying(S3Code::InvalidArgument, text));
    match (&asked.redirect_all_requests_to, &asked.index_document) {
        (Some(_), Some(_)) => {
            return wrong(
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
            );
        }
        (None, None) => {
            return wrong(
                "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            );
        }
        (None, Some(index)) if index.suffix.is_empty() || index.suffix.contains('/') => {
            return wrong("The IndexDocument Suffix is not well formed");
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    let output = GetBucketWebsiteOutput {
        error_document: asked.error_document,
        index_document: asked.index_document,
        redirect_all_requests_to: asked.redirect_all_requests_to,
        routing_rules: asked.routing_rules,
    };
    settings::put(&cx, of, "s3:PutBucketWebsite", &output).await
}

pub async fn delete_bucket_website(cx: Cx, request: DeleteBucketWebsiteRequest) -> Result<(), S3Fault> {
    settings::delete(&cx, of!(request, settings::WEBSITE), "s3:DeleteBucketWebsite").await
}

pub async fn get_bucket_logging(
    cx: Cx,
    request: GetBucketLoggingRequest,
) -> Result<GetBucketLoggingOutput, S3Fault> {
    let of = of!(request, settings::LOGGING);
    let found: Option<Arc<BucketLoggingStatus>> =
        settings::fetch(&cx, of, "s3:GetBucketLogging", "BucketLoggingStatus").await?;
    Ok(GetBucketLoggingOutput { logging_enabled: found.and_then(|found| found.logging_enabled.clone()) })
}

/// Nothing writes the logs yet: a promise that is not kept is not taken, but taking one back is.
pub async fn put_bucket_logging(cx: Cx, request: PutBucketLoggingRequest) -> Result<(), S3Fault> {
    let of = of!(request, settings::LOGGING);
    if request.bucket_logging_status.logging_enabled.is_some() {
        authorise::bucket_for(&cx, of.bucket, of.expected_owner, "s3:PutBucketLogging", Grant::Nobody)
            .await?;
        return Err(S3Fault::not_implemented("LoggingEnabled"));
    }
    settings::delete(&cx, of, "s3:PutBucketLogging").await
}

pub async fn get_bucket_notification_configuration(
    cx: Cx,
    request: GetBucketNotificationConfigurationRequest,
) -> Result<NotificationConfiguration, S3Fault> {
    let of = of!(request, settings::NOTIFICATION);
    let found: Option<Arc<NotificationConfiguration>> =
        settings::fetch(&cx, of, "s3:GetBucketNotification", "NotificationConfiguration").await?;
    Ok(found.map(|found| (*found).clone()).unwrap_or_default())
}

/// Nothing sends notifications yet.
pub async fn put_bucket_notification_configuration(
    cx: Cx,
    request: PutBucketNotificationConfigurationRequest,
) -> Result<(), S3Fault> {
    let of = of!(request, settings::NOTIFICATION);
    if request.notification_configuration != NotificationConfiguration::default() {
        let action = "s3:PutBucketNotification";
        authorise::bucket_for(&cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
        return Err(S3Fault::not_implemented("NotificationConfiguration"));
    }
    settings::delete(&cx, of, "s3:PutBucketNotification").await
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
