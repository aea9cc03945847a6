//! BundleInstance and the tasks that it makes.

use crate::api::cx::{Answer, Cx};
use crate::api::ec2::listing::{Shown, absent, filtered, named, tell, tell_time, time_of};
use crate::api::permit::not_dry;
use crate::app::bundle_task::{
    BundleError, BundleState, BundleTask, BundleWork, in_progress, machine, manifest_key, refused,
};
use crate::app::now_ms;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use karri_proto::aws::ec2::{
    self, BundleInstanceRequest, BundleInstanceResult, BundleTaskError, CancelBundleTaskRequest,
    CancelBundleTaskResult, DescribeBundleTasksRequest, DescribeBundleTasksResult, S3Storage, Storage,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{BundleTaskId, InstanceId};
use karri_proto::internal::exports::ExportTarget;
use karri_proto::internal::instance_bundles::{BundleTarget, SignedPolicy};
use karri_proto::internal::signers::SecretText;

/// Much longer than anybody's.
const POLICY_BYTES_MAX: usize = 20_000;

pub async fn bundle_instance(cx: Cx, request: BundleInstanceRequest) -> Answer<BundleInstanceResult> {
    let id: InstanceId = request.instance_id.parse()?;
    let found = cx.app.instances_named(cx.caller(), std::slice::from_ref(&id))?;
    let instance = found.first().ok_or_else(|| id.not_found())?;
    let machine = machine(instance)?;
    let target = target(&cx, &request)?;
    let caller = cx.app.caller(&cx.request_id);
    let inspected = cx.app.instance_bundles.instance_bundle_inspect(&caller, &target).await;
    inspected.map_err(|error| refused(&target, &error, &caller))?;
    let open = cx.app.store.bundle_task_list_open().await?;
    if open.iter().any(|task| task.instance_id == id) {
        return Err(in_progress(&id));
    }
    not_dry(&request)?;
    let now_ms = now_ms();
    let task = BundleTask {
        id: BundleTaskId::random(&mut rand::thread_rng()),
        account: cx.account().to_owned(),
        instance_id: id.clone(),
        state: BundleState::Pending,
        progress_percent: 0,
        work: BundleWork { target, machine },
        digest: None,
        error: None,
        started_ms: now_ms,
        updated_ms: now_ms,
        ended_ms: None,
        request_id: cx.request_id.to_string(),
    };
    if !cx.app.store.bundle_task_insert(&task).await? {
        return Err(in_progress(&id));
    }
    cx.app.images_pending.notify_one();
    tracing::info!(request_id = %cx.request_id, task_id = task.id.as_str(), instance_id = %id, "bundling accepted");
    Ok(BundleInstanceResult { bundle_task: Some(describe(&task)) })
}

/// Where the bundle goes, and by whose right.
fn target(cx: &Cx, request: &BundleInstanceRequest) -> Result<BundleTarget, Fault> {
    let missing = |name: &str| {
        let sentence = format!("The request must contain the parameter Storage.S3.{name}");
        Fault::new(FaultCode::MissingParameter, sentence)
    };
    let empty = S3Storage::default();
    let storage = request.storage.s3.as_ref().unwrap_or(&empty);
    let bucket = storage.bucket.clone().ok_or_else(|| missing("Bucket"))?;
    let prefix = storage.prefix.clone().ok_or_else(|| missing("Prefix"))?;
    let key = manifest_key(&bucket, &prefix)?;
    let policy = match (&storage.upload_policy, &storage.upload_policy_signature) {
        // Nobody's word: aws-cli makes one up wherever it is given none.
        (_, None) => None,
        (None, Some(_)) => return Err(missing("UploadPolicy")),
        (Some(policy), Some(signature)) => Some(SignedPolicy {
            text: SecretText(policy_text(policy)?),
            signature: SecretText(signature.clone()),
        }),
    };
    let own = &cx.signer.access_key_id;
    let (access_key_id, session_token) = match (&policy, &storage.aws_access_key_id) {
        (Some(_), None) => return Err(missing("AWSAccessKeyId")),
        (Some(_), Some(given)) => (given.clone(), None),
        (None, Some(given)) if given != own => {
            let sentence = "Storage.S3.AWSAccessKeyId is another's: its UploadPolicy must be given as well";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        (None, _) => (own.clone(), cx.signer.session_token().cloned()),
    };
    let manifest = ExportTarget { bucket, key, access_key_id, session_token, address: cx.client.address };
    Ok(BundleTarget { manifest, prefix, policy })
}

/// The policy as it was signed, which is in base64: so it stands in old clients' requests, and newer ones put
/// theirs into base64 whatever they are given.
fn policy_text(decoded: &[u8]) -> Result<String, Fault> {
    if decoded.len() > POLICY_BYTES_MAX {
        let sentence = format!("Storage.S3.UploadPolicy is longer than {POLICY_BYTES_MAX} bytes");
        return Err(Fault::invalid_parameter(sentence));
    }
    let text = std::str::from_utf8(decoded).unwrap_or_default().trim();
    let is_json = text.starts_with('{');
    Ok(if !is_json && BASE64_STANDARD.decode(text).is_ok() {
        text.to_owned()
    } else {
        BASE64_STANDARD.encode(decoded)
    })
}

fn describe(task: &BundleTask) -> ec2::BundleTask {
    let target = &task.work.target;
    let error = task.error.as_ref().map(|BundleError { code, message }| BundleTaskError {
        code: Some(code.clone()),
        message: Some(message.clone()),
    });
    let s3 = S3Storage {
        aws_access_key_id: target.policy.as_ref().map(|_| target.manifest.access_key_id.clone()),
        bucket: Some(target.manifest.bucket.clone()),
        prefix: Some(target.prefix.clone()),
        upload_policy: None,
        upload_policy_signature: None,
    };
    ec2::BundleTask {
        bundle_id: Some(task.id.as_str().to_owned()),
        bundle_task_error: error,
        instance_id: Some(task.instance_id.to_string()),
        progress: Some(format!("{}%", task.progress_percent)),
        start_time: Some(time_of(task.started_ms)),
        state: Some(task.state.as_str().to_owned()),
        storage: Some(Storage { s3: Some(s3) }),
        update_time: Some(time_of(task.updated_ms)),
    }
}

pub async fn describe_bundle_tasks(
    cx: Cx,
    request: DescribeBundleTasksRequest,
) -> Answer<DescribeBundleTasksResult> {
    for id in &request.bundle_ids {
        id.parse::<BundleTaskId>()?;
    }
    let tasks = cx.app.store.bundle_task_list(cx.account()).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidBundleIdNotFound, "bundle task ID", ids);
    let tasks = named(&request.bundle_ids, tasks, |task| task.id.as_str(), missing)?;
    let told = tasks.iter().map(describe).collect();
    Ok(DescribeBundleTasksResult { bundle_tasks: filtered(&request, told)? })
}

impl Filterable for Shown<ec2::BundleTask> {
    const FILTERS: &'static [&'static str] = &[
        "bundle-id",
        "error-code",
        "error-message",
        "instance-id",
        "progress",
        "s3-bucket",
        "s3-prefix",
        "start-time",
        "state",
        "update-time",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let task = &self.0;
        let error = task.bundle_task_error.as_ref();
        let s3 = task.storage.as_ref().and_then(|storage| storage.s3.as_ref());
        match name {
            "bundle-id" => tell(each, &task.bundle_id),
            "error-code" => tell(each, &error.and_then(|error| error.code.clone())),
            "error-message" => tell(each, &error.and_then(|error| error.message.clone())),
            "instance-id" => tell(each, &task.instance_id),
            "progress" => tell(each, &task.progress),
            "s3-bucket" => tell(each, &s3.and_then(|s3| s3.bucket.clone())),
            "s3-prefix" => tell(each, &s3.and_then(|s3| s3.prefix.clone())),
            "start-time" => tell_time(each, task.start_time),
            "state" => tell(each, &task.state),
            "update-time" => tell_time(each, task.update_time),
            _ => {}
        }
    }
}

/// A bundle that is written already stays, and its task is complete.
pub async fn cancel_bundle_task(cx: Cx, request: CancelBundleTaskRequest) -> Answer<CancelBundleTaskResult> {
    let id: BundleTaskId = request.bundle_id.parse()?;
    let task = cx.app.store.bundle_task_fetch(&id).await?;
    let task = task.filter(|task| cx.may_touch(&task.account)).ok_or_else(|| id.not_found())?;
    if task.state.is_over() {
        let sentence = format!("The bundle task {id} cannot be cancelled: it is {}", task.state.as_str());
        return Err(Fault::new(FaultCode::IncorrectState, sentence));
    }
    not_dry(&request)?;
    let cancelled = task.moved(BundleState::Cancelling, now_ms());
    if !cx.app.store.bundle_task_cancel(&cancelled).await? {
        let sentence = format!("The bundle task {id} cannot be cancelled: it has just ended");
        return Err(Fault::new(FaultCode::IncorrectState, sentence));
    }
    cx.app.images_pending.notify_one();
    tracing::info!(request_id = %cx.request_id, task_id = id.as_str(), "bundling cancelled");
    Ok(CancelBundleTaskResult { bundle_task: Some(describe(&cancelled)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_what_was_signed_however_often_it_was_encoded() {
        let policy = br#"{"expiration": "2099-01-01T00:00:00Z", "conditions": []}"#;
        let signed = BASE64_STANDARD.encode(policy);
        assert_eq!(policy_text(policy).unwrap(), signed, "decoded once, by the wire");
        assert_eq!(policy_text(signed.as_bytes()).unwrap(), signed, "encoded twice, by its client");
        assert_eq!(policy_text(&[0; POLICY_BYTES_MAX + 1]).unwrap_err().code(), "InvalidParameterValue");
    }
}
