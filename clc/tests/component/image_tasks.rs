//! Imports and exports of images: tasks from their request to their end.

use crate::support::bundles::made;
use crate::support::{Answer, Client, Cloud, until};
use karri_proto::internal::ApiError;
use karri_proto::internal::blobs::Content;
use karri_proto::internal::bundles::{BundleProgress, SourceKind};
use karri_proto::internal::exports::{ExportFormat, ExportProgress};

on_both! {
    an_import_goes_from_pending_through_its_progress_to_an_image
    an_import_that_cannot_be_done_says_why
    what_cannot_be_imported_is_refused_and_named
    a_cancelled_import_is_given_up_and_makes_no_image
    a_repeated_import_is_one_import
    imports_are_listed_by_state_by_id_and_in_pages
    an_account_has_so_many_imports_at_once
    an_export_writes_where_the_caller_may
    what_cannot_be_exported_is_refused_and_named
    a_cancelled_export_is_given_up
}

const OBJECT: &str = "bucket/disks/web.vmdk";
const URL: (&str, &str) = ("DiskContainer.1.Url", "s3://bucket/disks/web.vmdk");

async fn import(client: &Client, more: &[(&str, &str)]) -> Answer {
    client.ec2("ImportImage", &[&[URL], more].concat()).await
}

async fn import_told(client: &Client, id: &str) -> Answer {
    client.ec2("DescribeImportImageTasks", &[("ImportTaskId.1", id)]).await.ok()
}

async fn export_told(client: &Client, id: &str) -> Answer {
    client.ec2("DescribeExportImageTasks", &[("ExportImageTaskId.1", id)]).await.ok()
}

/// What is told of a task once that is right.
async fn once(ask: impl AsyncFn() -> Answer, right: impl Fn(&Answer) -> bool) -> Answer {
    until("the task is told as it should be", async || Some(ask().await).filter(&right)).await
}

/// The disk's state stands before the task's.
fn state(answer: &Answer) -> String {
    answer.all("status").pop().unwrap_or_default()
}

async fn an_import_goes_from_pending_through_its_progress_to_an_image(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects_disk(OBJECT, "vmdk");
    bundles.makes(OBJECT, Ok(BundleProgress::Making { done: 2, all: 5 }));
    let said = [
        ("Description", "a web server"),
        ("Platform", "Linux"),
        ("BootMode", "uefi"),
        ("DiskContainer.1.Format", "VMDK"),
        ("DiskContainer.1.Description", "its disk"),
        ("TagSpecification.1.ResourceType", "import-image-task"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "v"),
    ];
    let answer = import(&alice, &said).await.ok();
    let id = answer.one("importTaskId");
    assert!(id.starts_with("import-ami-"), "{id}");
    let request = answer.one("requestId");
    until("the image store works for the request", async || {
        bundles.requests.lock().unwrap().contains(&request).then_some(())
    })
    .await;
    assert_eq!((state(&answer), answer.one("statusMessage")), ("active".into(), "pending".into()));
    let told = once(
        async || import_told(&alice, &id).await,
        |told| told.all("progress") == ["40"] && told.one("statusMessage") == "converting",
    )
    .await;
    for (element, value) in [
        ("description", "its disk"), // the disk's stands first
        ("format", "VMDK"),
        ("url", URL.1),
        ("platform", "Linux"),
        ("architecture", "x86_64"),
        ("bootMode", "uefi"),
        ("key", "k"),
        ("value", "v"),
    ] {
        assert!(told.all(element).contains(&value.to_owned()), "{element}: {}", told.text);
    }
    assert_eq!(told.all("imageId").len() + told.all("snapshotId").len(), 0, "{}", told.text);
    bundles.makes(OBJECT, Ok(made(9, Content::Disk)));
    let told = once(async || import_told(&alice, &id).await, |told| state(told) == "completed").await;
    assert_eq!(told.all("progress").len() + told.all("statusMessage").len(), 0, "{}", told.text);
    let image_id = told.one("imageId");
    let image = alice.ec2("DescribeImages", &[("ImageId.1", &image_id)]).await.ok();
    for (element, value) in [
        ("name", id.as_str()),
        ("imageState", "available"),
        ("description", "a web server"),
        ("imageLocation", OBJECT),
        ("bootMode", "uefi"),
        ("isPublic", "false"),
    ] {
        assert_eq!(image.one(element), value, "{element}");
    }
    let asked = bundles.to_make.lock().unwrap().last().cloned().unwrap();
    assert_eq!((asked.kind, asked.account), (SourceKind::Disk, alice.account.clone()));
    let launch =
        [("ImageId", image_id.as_str()), ("InstanceType", "t2.nano"), ("MinCount", "1"), ("MaxCount", "1")];
    alice.ec2("RunInstances", &launch).await.ok();
    alice.ec2("CancelImportTask", &[("ImportTaskId", &id)]).await.refused(400, "IncorrectState");
    let store = cloud.store().await;
    alice.ec2("DeregisterImage", &[("ImageId", &image_id)]).await.ok();
    let gone = store.image_list_to_release(i64::MAX).await.unwrap();
    assert_eq!(gone.len(), 1, "the image store is told when the image is gone");
}

async fn an_import_that_cannot_be_done_says_why(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects_disk(OBJECT, "vmdk");
    for (outcome, reason) in [
        (Err(ApiError::invalid("it is torn")), "ClientError: Disk validation failed [it is torn]"),
        (Err(ApiError::full("no room")), "ServerError: no room"),
        (Ok(made(9, Content::Kernel)), "is a kernel, not a disk"),
    ] {
        bundles.makes(OBJECT, outcome);
        let id = import(&alice, &[]).await.ok().one("importTaskId");
        let told = once(async || import_told(&alice, &id).await, |told| state(told) == "deleted").await;
        assert!(told.one("statusMessage").contains(reason), "{}", told.text);
    }
    assert_eq!(alice.ec2("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId").len(), 0);
}

async fn what_cannot_be_imported_is_refused_and_named(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    let refused = async |request: &[(&str, &str)], code: &str, words: &str| {
        let answer = alice.ec2("ImportImage", request).await.refused(400, code);
        assert!(answer.message().contains(words), "{request:?} {}", answer.text);
    };
    refused(&[], "MissingParameter", "diskContainers").await;
    refused(&[URL], "InvalidParameter", "Invalid S3 source location").await;
    bundles.inspects(OBJECT, Err(ApiError::forbidden("x")));
    refused(&[URL], "InvalidParameter", "does not have access to the S3 object.(bucket/disks/web.vmdk)")
        .await;
    bundles.inspects(OBJECT, Err(ApiError::invalid("this qcow2 file has a backing file")));
    refused(&[URL], "InvalidParameter", "backing file").await;
    bundles.inspects_disk(OBJECT, "vmdk");
    for (name, value, code, words) in [
        ("DiskContainer.1.Format", "RAW", "InvalidParameterValue", "diskContainer.format"),
        ("DiskContainer.1.Format", "OVA", "InvalidParameterValue", "diskContainer.format"),
        ("DiskContainer.2.Url", "s3://bucket/more", "Unsupported", "one disk container"),
        ("DiskContainer.1.UserBucket.S3Bucket", "bucket", "InvalidParameterCombination", "not both"),
        ("DiskContainer.1.SnapshotId", "snap-0123456789abcdef0", "Unsupported", "RegisterImage"),
        ("DiskContainer.1.DeviceName", "/dev/../x", "InvalidParameterValue", "rootDeviceName"),
        ("Platform", "Plan9", "InvalidParameterValue", "platform"),
        ("Architecture", "arm64", "Unsupported", "arm64"),
        ("Architecture", "sparc", "InvalidParameterValue", "architecture"),
        ("LicenseType", "GPL", "InvalidParameterValue", "licenseType"),
        ("Hypervisor", "kvm", "InvalidParameterValue", "hypervisor"),
        ("Encrypted", "true", "Unsupported", "Encrypted"),
        ("BootMode", "coreboot", "InvalidParameterValue", "ootMode"),
        ("Description", "a\u{7}b", "InvalidParameterValue", "description"),
        ("UsageOperation", "RunInstances:0002", "Unsupported", "UsageOperation"),
        ("TagSpecification.1.ResourceType", "image", "InvalidParameterValue", "image"),
    ] {
        refused(&[URL, (name, value)], code, words).await;
    }
    bundles.inspects(
        "bucket/a.manifest.xml",
        Ok(crate::support::bundles::facts(karri_proto::internal::blobs::BlobPurpose::Disk)),
    );
    let manifest = [
        ("DiskContainer.1.UserBucket.S3Bucket", "bucket"),
        ("DiskContainer.1.UserBucket.S3Key", "a.manifest.xml"),
    ];
    refused(&manifest, "InvalidParameterValue", "RegisterImage").await;
    let all = alice.ec2("DescribeImportImageTasks", &[]).await.ok();
    assert_eq!(all.all("importTaskId").len(), 0, "{}", all.text);
}

async fn a_cancelled_import_is_given_up_and_makes_no_image(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects_disk(OBJECT, "vmdk");
    let id = import(&alice, &[]).await.ok().one("importTaskId");
    let cancel = [("ImportTaskId", id.as_str()), ("CancelReason", "wrong disk")];
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    stranger.ec2("CancelImportTask", &cancel).await.refused(400, "InvalidConversionTaskId");
    let by_id = [("ImportTaskId.1", id.as_str())];
    stranger.ec2("DescribeImportImageTasks", &by_id).await.refused(400, "InvalidConversionTaskId");
    let answer = alice.ec2("CancelImportTask", &cancel).await.ok();
    assert_eq!((answer.one("previousState"), answer.one("state")), ("active".into(), "deleting".into()));
    let told = once(async || import_told(&alice, &id).await, |told| state(told) == "deleted").await;
    assert_eq!(told.one("statusMessage"), "wrong disk");
    assert_eq!(bundles.abandoned.lock().unwrap().last().unwrap().key, "disks/web.vmdk");
    bundles.makes(OBJECT, Ok(made(9, Content::Disk)));
    alice.ec2("CancelImportTask", &cancel).await.refused(400, "IncorrectState");
    assert_eq!(alice.ec2("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId").len(), 0);
    alice.ec2("CancelImportTask", &[]).await.refused(400, "MissingParameter");
    let wrong = [("ImportTaskId", "import-ami-x")];
    alice.ec2("CancelImportTask", &wrong).await.refused(400, "InvalidConversionTaskId.Malformed");
}

async fn a_repeated_import_is_one_import(cloud: Cloud) {
    let alice = cloud.owner().await;
    cloud.walrus.bundles.inspects_disk(OBJECT, "vmdk");
    let token = ("ClientToken", "once");
    let id = import(&alice, &[token]).await.ok().one("importTaskId");
    cloud.walrus.bundles.inspects(OBJECT, Err(ApiError::not_found("it is gone by now")));
    assert_eq!(import(&alice, &[token]).await.ok().one("importTaskId"), id);
    let other = [token, ("Description", "other words")];
    import(&alice, &other).await.refused(400, "IdempotentParameterMismatch");
    let bob = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    cloud.walrus.bundles.inspects_disk(OBJECT, "vmdk");
    assert_ne!(import(&bob, &[token]).await.ok().one("importTaskId"), id, "a token is its account's");
}

async fn imports_are_listed_by_state_by_id_and_in_pages(cloud: Cloud) {
    let alice = cloud.owner().await;
    cloud.walrus.bundles.inspects_disk(OBJECT, "vmdk");
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(import(&alice, &[]).await.ok().one("importTaskId"));
    }
    alice.ec2("CancelImportTask", &[("ImportTaskId", &ids[0])]).await.ok();
    once(async || import_told(&alice, &ids[0]).await, |told| state(told) == "deleted").await;
    let active = [("Filters.1.Name", "task-state"), ("Filters.1.Value.1", "active")];
    let found = alice.ec2("DescribeImportImageTasks", &active).await.ok().all("importTaskId");
    assert!(found.len() == 6 && !found.contains(&ids[0]), "{found:?}");
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = [("MaxResults", "5"), ("NextToken", token.as_str())];
        let page = if token.is_empty() { &page[..1] } else { &page[..] };
        let answer = alice.ec2("DescribeImportImageTasks", page).await.ok();
        seen.extend(answer.all("importTaskId"));
        match answer.all("nextToken").pop() {
            Some(next) if !next.is_empty() => token = next,
            _ => break,
        }
    }
    ids.sort();
    assert_eq!(seen, ids);
    let absent = [("ImportTaskId.1", "import-ami-0123456789abcdef0")];
    alice.ec2("DescribeImportImageTasks", &absent).await.refused(400, "InvalidConversionTaskId");
    let nonsense = [("Filters.1.Name", "nonsense"), ("Filters.1.Value.1", "x")];
    alice.ec2("DescribeImportImageTasks", &nonsense).await.refused(400, "InvalidParameterValue");
}

async fn an_account_has_so_many_imports_at_once(cloud: Cloud) {
    let alice = cloud.owner().await;
    cloud.walrus.bundles.inspects_disk(OBJECT, "vmdk");
    for _ in 0..karri_clc::app::image::task::ACTIVE_MAX {
        import(&alice, &[]).await.ok();
    }
    import(&alice, &[]).await.refused(400, "ResourceLimitExceeded");
    let bob = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    let id = import(&bob, &[]).await.ok().one("importTaskId");
    cloud.walrus.bundles.makes(OBJECT, Ok(made(9, Content::Disk)));
    once(async || import_told(&bob, &id).await, |told| state(told) == "completed").await;
}

const TO: (&str, &str) = ("S3ExportLocation.S3Bucket", "exports");

async fn image(cloud: &Cloud, client: &Client) -> String {
    let blob = cloud.walrus.put_content(5, Content::Disk);
    let request = [("Name", "to export"), ("ImageLocation", blob.as_str())];
    client.ec2("RegisterImage", &request).await.ok().one("imageId")
}

async fn an_export_writes_where_the_caller_may(cloud: Cloud) {
    let alice = cloud.owner().await;
    let image = image(&cloud, &alice).await;
    let request = [
        ("ImageId", image.as_str()),
        ("DiskImageFormat", "VMDK"),
        TO,
        ("S3ExportLocation.S3Prefix", "out/"),
        ("Description", "for elsewhere"),
    ];
    let answer = alice.ec2("ExportImage", &request).await.ok();
    let id = answer.one("exportImageTaskId");
    assert!(id.starts_with("export-ami-"), "{id}");
    assert_eq!((state(&answer), answer.one("diskImageFormat")), ("active".into(), "VMDK".into()));
    let told = once(async || export_told(&alice, &id).await, |told| told.all("progress") == ["25"]).await;
    for (element, value) in [
        ("imageId", image.as_str()),
        ("s3Bucket", "exports"),
        ("s3Prefix", "out/"),
        ("description", "for elsewhere"),
    ] {
        assert_eq!(told.one(element), value, "{element}");
    }
    let exports = &cloud.walrus.exports;
    let asked = exports.asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!((asked.format, asked.target.key), (ExportFormat::Vmdk, format!("out/{id}.vmdk")));
    assert_eq!(asked.target.access_key_id, alice.id);
    *exports.outcome.lock().unwrap() = Some(Ok(ExportProgress::Exported { bytes: 9, etag: "e".into() }));
    once(async || export_told(&alice, &id).await, |told| state(told) == "completed").await;
    let completed = [("Filter.1.Name", "task-state"), ("Filter.1.Value.1", "completed")];
    let found = alice.ec2("DescribeExportImageTasks", &completed).await.ok();
    assert_eq!(found.one("exportImageTaskId"), id);
    *exports.outcome.lock().unwrap() = Some(Err(ApiError::forbidden("not any more")));
    let id = alice.ec2("ExportImage", &request).await.ok().one("exportImageTaskId");
    let told = once(async || export_told(&alice, &id).await, |told| state(told) == "deleted").await;
    assert_eq!(told.one("statusMessage"), "ClientError: not any more");
}

async fn what_cannot_be_exported_is_refused_and_named(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let own = image(&cloud, &alice).await;
    let kernel = format!("karri-kernel/{}", cloud.walrus.put_content(6, Content::Kernel));
    let kernel = [("Name", "kernel"), ("ImageLocation", kernel.as_str())];
    let kernel = alice.ec2("RegisterImage", &kernel).await.ok().one("imageId");
    let raw = ("DiskImageFormat", "RAW");
    for (request, code, words) in [
        (vec![("ImageId", own.as_str()), TO], "MissingParameter", "iskImageFormat"),
        (
            vec![("ImageId", own.as_str()), TO, ("DiskImageFormat", "OVA")],
            "InvalidParameterValue",
            "iskImageFormat",
        ),
        (vec![("ImageId", own.as_str()), raw], "MissingParameter", "S3ExportLocation"),
        (
            vec![("ImageId", own.as_str()), raw, ("S3ExportLocation.S3Bucket", "b")],
            "InvalidParameterValue",
            "s3Bucket",
        ),
        (vec![("ImageId", "ami-nonsense"), raw, TO], "InvalidAMIID.Malformed", "ami-nonsense"),
        (vec![("ImageId", "ami-0123456789abcdef0"), raw, TO], "InvalidAMIID.NotFound", "does not exist"),
        (vec![("ImageId", kernel.as_str()), raw, TO], "UnsupportedOperation", "machine images"),
    ] {
        let answer = alice.ec2("ExportImage", &request).await.refused(400, code);
        assert!(answer.message().contains(words), "{request:?} {}", answer.text);
    }
    let public = [("ImageId", crate::support::IMAGE), raw, TO];
    assert_eq!(alice.ec2("ExportImage", &public).await.code(), "AuthFailure", "the cloud's own");
    for (error, words) in [
        (ApiError::forbidden("x"), "does not have access to the S3 object.(exports/export-ami-"),
        (ApiError::not_found("x"), "there is no bucket exports"),
    ] {
        *cloud.walrus.exports.refused.lock().unwrap() = Some(error);
        let request = [("ImageId", own.as_str()), raw, TO];
        let answer = alice.ec2("ExportImage", &request).await.refused(400, "InvalidParameter");
        assert!(answer.message().contains(words), "{}", answer.text);
    }
    assert_eq!(alice.ec2("DescribeExportImageTasks", &[]).await.ok().all("exportImageTaskId").len(), 0);
}

async fn a_cancelled_export_is_given_up(cloud: Cloud) {
    let alice = cloud.owner().await;
    let image = image(&cloud, &alice).await;
    let request = [("ImageId", image.as_str()), ("DiskImageFormat", "RAW"), TO];
    let id = alice.ec2("ExportImage", &request).await.ok().one("exportImageTaskId");
    let cancel = [("ExportTaskId", id.as_str())];
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    stranger.ec2("CancelExportTask", &cancel).await.refused(400, "InvalidExportTaskID.NotFound");
    alice.ec2("CancelExportTask", &cancel).await.ok();
    once(async || export_told(&alice, &id).await, |told| state(told) == "deleted").await;
    assert_eq!(cloud.walrus.exports.abandoned.lock().unwrap().len(), 1);
    alice.ec2("CancelExportTask", &cancel).await.refused(400, "IncorrectState");
    let wrong = [("ExportTaskId", "export-i-x")];
    alice.ec2("CancelExportTask", &wrong).await.refused(400, "InvalidExportTaskID.Malformed");
}
