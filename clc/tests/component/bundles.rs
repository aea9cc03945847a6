//! Images that are registered on bundles: pending, then available or failed.

use crate::support::bundles::{facts, made};
use crate::support::{Answer, Client, Cloud};
use karri_proto::instance::Digest;
use karri_proto::internal::ApiError;
use karri_proto::internal::blobs::{BlobPurpose, Content};
use karri_proto::internal::bundles::SourceKind;
use std::time::{Duration, Instant};

on_both! {
    an_image_is_pending_until_its_bundle_is_made
    an_image_that_cannot_be_made_fails_and_says_why
    a_manifest_that_cannot_be_used_is_refused_in_ec2s_words
    a_manifest_says_what_the_request_does_not
    a_pending_image_survives_a_restart
    an_image_that_is_gone_lets_its_blob_go
    an_object_that_is_a_disk_is_registered_without_a_bundle
    nothing_is_registered_on_a_blob_that_is_being_let_go
}

const MANIFEST: &str = "bucket/a/disk.manifest.xml";
const PATIENCE: Duration = Duration::from_secs(20);

async fn register(client: &Client, name: &str, more: &[(&str, &str)]) -> Answer {
    let mut parameters = vec![("Name", name), ("ImageLocation", MANIFEST)];
    parameters.extend_from_slice(more);
    client.ec2("RegisterImage", &parameters).await
}

async fn shown(client: &Client, id: &str) -> Answer {
    client.ec2("DescribeImages", &[("ImageId.1", id)]).await.ok()
}

/// The image once it is no longer pending.
async fn settled(client: &Client, id: &str) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = shown(client, id).await;
        if answer.one("imageState") != "pending" {
            return answer;
        }
        assert!(Instant::now() < deadline, "still pending");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn an_image_is_pending_until_its_bundle_is_made(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects(MANIFEST, Ok(facts(BlobPurpose::Disk)));
    let dry = register(&alice, "bundled", &[("DryRun", "true")]).await;
    assert_eq!(dry.code(), "DryRunOperation");
    let id = register(&alice, "bundled", &[]).await.ok().one("imageId");
    assert!(id.starts_with("ami-"));
    assert_eq!(bundles.asked.lock().unwrap().last().unwrap().access_key_id, alice.id);
    let pending = shown(&alice, &id).await;
    for (element, value) in [("imageState", "pending"), ("imageLocation", MANIFEST), ("volumeSize", "5")] {
        assert_eq!(pending.one(element), value, "{element}");
    }
    let launch =
        [("ImageId", id.as_str()), ("InstanceType", "t2.nano"), ("MinCount", "1"), ("MaxCount", "1")];
    alice.ec2("RunInstances", &launch).await.refused(400, "InvalidAMIID.Unavailable");
    register(&alice, "bundled", &[]).await.refused(400, "InvalidAMIName.Duplicate");
    let tag = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
    alice.ec2("CreateTags", &tag).await.ok();
    bundles.makes(MANIFEST, Ok(made(9, Content::Disk)));
    let made = settled(&alice, &id).await;
    assert_eq!((made.one("imageState"), made.one("key")), ("available".to_owned(), "k".to_owned()));
    alice.ec2("RunInstances", &launch).await.ok();
}

async fn an_image_that_cannot_be_made_fails_and_says_why(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects(MANIFEST, Ok(facts(BlobPurpose::Kernel)));
    for (outcome, reason) in [
        (Err(ApiError::invalid("part 3 is damaged")), "part 3 is damaged"),
        (Err(ApiError::full("no room")), "no room"),
        (Ok(made(9, Content::Disk)), "is a disk, not a kernel"),
    ] {
        bundles.makes(MANIFEST, outcome);
        let id = register(&alice, "bundled", &[]).await.ok().one("imageId");
        assert!(id.starts_with("aki-"));
        let failed = settled(&alice, &id).await;
        assert_eq!(failed.one("imageState"), "failed");
        assert!(failed.one("message").contains(reason), "{}", failed.text);
        alice.ec2("DeregisterImage", &[("ImageId", &id)]).await.ok();
        alice.ec2("DescribeImages", &[("ImageId.1", &id)]).await.refused(400, "InvalidAMIID.NotFound");
    }
}

async fn a_manifest_that_cannot_be_used_is_refused_in_ec2s_words(cloud: Cloud) {
    let alice = cloud.owner().await;
    for (error, code, words) in [
        (
            ApiError::not_found("x"),
            "InvalidManifest",
            "HTTP 404 (Not Found) response for URL s3://bucket/a/disk",
        ),
        (ApiError::forbidden("x"), "InvalidManifest", "HTTP 403 (Forbidden)"),
        (ApiError::invalid("part 0 is not there"), "InvalidManifest", "part 0 is not there"),
        (ApiError::unreachable("x"), "Unavailable", "Try again later"),
    ] {
        cloud.walrus.bundles.inspects(MANIFEST, Err(error));
        let answer = register(&alice, "bundled", &[]).await;
        assert_eq!(answer.code(), code, "{}", answer.text);
        assert!(answer.message().contains(words), "{}", answer.text);
    }
    assert_eq!(alice.ec2("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId").len(), 0);
}

async fn a_manifest_says_what_the_request_does_not(cloud: Cloud) {
    let alice = cloud.owner().await;
    let mut said = facts(BlobPurpose::Disk);
    said.kernel_id = Some("eki-12345678".into());
    cloud.walrus.bundles.inspects(MANIFEST, Ok(said.clone()));
    let missing = register(&alice, "bundled", &[]).await.refused(400, "InvalidAMIID.NotFound");
    assert!(missing.message().contains("aki-12345678"));
    said.kernel_id = Some("true?".into());
    cloud.walrus.bundles.inspects(MANIFEST, Ok(said.clone()));
    register(&alice, "bundled", &[]).await.refused(400, "InvalidAMIID.Malformed");
    let kernel = format!("karri-kernel/{}", cloud.walrus.put_content(1, Content::Kernel));
    let kernel = [("Name", "kernel"), ("ImageLocation", kernel.as_str())];
    let aki = alice.ec2("RegisterImage", &kernel).await.ok().one("imageId");
    said.kernel_id = Some(aki.replacen("aki-", "eki-", 1));
    (said.architecture, said.root_device) = ("i386".into(), Some("sda2".into()));
    cloud.walrus.bundles.inspects(MANIFEST, Ok(said));
    let id = register(&alice, "bundled", &[]).await.ok().one("imageId");
    let shown = shown(&alice, &id).await;
    for (element, value) in
        [("kernelId", aki.as_str()), ("architecture", "i386"), ("rootDeviceName", "/dev/sda2")]
    {
        assert_eq!(shown.one(element), value, "{element}");
    }
}

async fn a_pending_image_survives_a_restart(mut cloud: Cloud) {
    let mut alice = cloud.owner().await;
    cloud.walrus.bundles.inspects(MANIFEST, Ok(facts(BlobPurpose::Disk)));
    let id = register(&alice, "bundled", &[]).await.ok().one("imageId");
    cloud.stop().await;
    cloud.walrus.bundles.makes(MANIFEST, Ok(made(9, Content::Disk)));
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    assert_eq!(settled(&alice, &id).await.one("imageState"), "available");
}

async fn an_image_that_is_gone_lets_its_blob_go(cloud: Cloud) {
    let store = cloud.store().await;
    let alice = cloud.owner().await;
    cloud.walrus.bundles.inspects(MANIFEST, Ok(facts(BlobPurpose::Disk)));
    let id = register(&alice, "bundled", &[]).await.ok().one("imageId");
    let digest = Digest::from_sha256([9; 32]);
    assert!(!store.blob_is_used(&digest).await.unwrap());
    cloud.walrus.bundles.makes(MANIFEST, Ok(made(9, Content::Disk)));
    settled(&alice, &id).await;
    assert!(store.blob_is_used(&digest).await.unwrap());
    alice.ec2("DeregisterImage", &[("ImageId", &id)]).await.ok();
    assert!(!store.blob_is_used(&digest).await.unwrap());
    assert_eq!(store.image_list_to_release(0).await.unwrap().len(), 0, "not before launches are settled");
    let to_release = store.image_list_to_release(i64::MAX).await.unwrap();
    assert_eq!(to_release.iter().map(|image| image.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    store.image_released(&id).await.unwrap();
    assert_eq!(store.image_list_to_release(i64::MAX).await.unwrap().len(), 0);
}

async fn an_object_that_is_a_disk_is_registered_without_a_bundle(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects_disk("bucket/disk.qcow2", "qcow2");
    let registered = [("Name", "disk"), ("ImageLocation", "bucket/disk.qcow2"), ("BootMode", "uefi")];
    let small = [
        &registered[..],
        &[("BlockDeviceMapping.1.DeviceName", "/dev/sda1"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "4")],
    ]
    .concat();
    let refused = alice.ec2("RegisterImage", &small).await.refused(400, "InvalidBlockDeviceMapping");
    assert!(refused.message().contains("&gt;= 5GB"), "{}", refused.text);
    let id = alice.ec2("RegisterImage", &registered).await.ok().one("imageId");
    let pending = shown(&alice, &id).await;
    for (element, value) in [
        ("imageState", "pending"),
        ("imageLocation", "bucket/disk.qcow2"),
        ("volumeSize", "5"),
        ("bootMode", "uefi"),
        ("imageType", "machine"),
    ] {
        assert_eq!(pending.one(element), value, "{element}");
    }
    bundles.makes("bucket/disk.qcow2", Ok(made(9, Content::Disk)));
    assert_eq!(settled(&alice, &id).await.one("imageState"), "available");
    let asked = bundles.to_make.lock().unwrap().last().cloned().unwrap();
    assert_eq!(
        (asked.kind, asked.etag.as_str(), asked.account),
        (SourceKind::Disk, "etag", alice.account.clone())
    );
    let launch =
        [("ImageId", id.as_str()), ("InstanceType", "t2.nano"), ("MinCount", "1"), ("MaxCount", "1")];
    alice.ec2("RunInstances", &launch).await.ok();
}

async fn nothing_is_registered_on_a_blob_that_is_being_let_go(cloud: Cloud) {
    let (store, alice) = (cloud.store().await, cloud.owner().await);
    let location = cloud.walrus.put_content(9, Content::Disk);
    let digest: Digest = location.parse().unwrap();
    let request = [("Name", "by digest"), ("ImageLocation", location.as_str())];
    let refused = async || {
        let answer = alice.ec2("RegisterImage", &request).await.refused(400, "InvalidManifest");
        assert!(answer.message().contains("There is no image blob"), "{}", answer.text);
        assert_eq!(alice.ec2("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId").len(), 0);
    };
    // While the image store is told.
    assert!(store.blob_release_begin(&digest).await.unwrap());
    refused().await;
    store.blob_release_end(&digest).await.unwrap();
    // After it was told, and before the image is written.
    cloud.walrus.lose(&location);
    refused().await;
    // Who is first keeps it.
    cloud.walrus.put_content(9, Content::Disk);
    let id = alice.ec2("RegisterImage", &request).await.ok().one("imageId");
    assert!(!store.blob_release_begin(&digest).await.unwrap());
    assert_eq!(store.blob_release_list().await.unwrap(), []);
    alice.ec2("DeregisterImage", &[("ImageId", &id)]).await.ok();
    assert!(store.blob_release_begin(&digest).await.unwrap());
    assert_eq!(store.blob_release_list().await.unwrap(), [digest], "a controller that dies leaves this");
}
