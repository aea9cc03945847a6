//! Event notifications: the configuration, and what a change is to tell.

use super::authorise::{self, Grant};
use super::cx::Cx;
use super::settings::{self, of};
use crate::app::s3::notification::{Cause, Created, checked, tell, test_event};
use crate::store::objects::{Bucket, Tell};
use karri_proto::aws::s3::{
    GetBucketNotificationConfigurationRequest, NotificationConfiguration,
    PutBucketNotificationConfigurationRequest, S3Fault,
};

pub async fn get_bucket_notification_configuration(
    cx: Cx,
    request: GetBucketNotificationConfigurationRequest,
) -> Result<NotificationConfiguration, S3Fault> {
    let of = of!(request, settings::NOTIFICATION);
    let action = "s3:GetBucketNotification";
    let bucket = authorise::bucket_for(&cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
    Ok(settings::notification(&bucket)?.map(|found| (*found).clone()).unwrap_or_default())
}

pub async fn put_bucket_notification_configuration(
    cx: Cx,
    request: PutBucketNotificationConfigurationRequest,
) -> Result<(), S3Fault> {
    let of = of!(request, settings::NOTIFICATION);
    let action = "s3:PutBucketNotification";
    let bucket = authorise::bucket_for(&cx, of.bucket, of.expected_owner, action, Grant::Nobody).await?;
    if request.notification_configuration == NotificationConfiguration::default() {
        return settings::drop_kind(&cx, &bucket, of.kind).await;
    }
    let mut count = 0u32;
    let name = || {
        count += 1;
        format!("{}-{count}", cx.request_id)
    };
    let hooks = &cx.s3.webhooks;
    let (configuration, named) =
        checked(request.notification_configuration, |hook| hooks.is_known(hook), name)?;
    if request.skip_destination_validation != Some(true) {
        for hook in &named {
            validate(&cx, &bucket, hook).await?;
        }
    }
    settings::keep(&cx, &bucket, of.kind, settings::to_text(&configuration)).await
}

/// A webhook that does not hear now is not taken, as S3 takes no destination that it cannot reach.
async fn validate(cx: &Cx, bucket: &Bucket, hook: &str) -> Result<(), S3Fault> {
    let body = test_event(&bucket.name, &cause(cx, None), cx.now_ms());
    cx.s3.webhooks.send(hook, body).await.map_err(|error| {
        let text = "Unable to validate the following destination configurations";
        S3Fault::invalid_argument(hook, &error.to_string(), text)
    })
}

/// None where nobody wants to hear anything.
pub fn tell_of(cx: &Cx, bucket: &Bucket, created: Option<Created>) -> Option<Tell> {
    bucket.setting(settings::NOTIFICATION)?;
    Some(tell(cause(cx, created)))
}

fn cause(cx: &Cx, created: Option<Created>) -> Cause {
    let principal = match cx.signer() {
        Some(signer) => format!("AWS:{}", signer.who.user_id),
        None => "Anonymous".to_owned(),
    };
    Cause {
        region: cx.s3.options.region.clone(),
        principal,
        peer: cx.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        request_id: cx.request_id.clone(),
        host_id: cx.host_id.clone(),
        created,
    }
}
