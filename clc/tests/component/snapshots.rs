//! Snapshots: imported, registered on, booted from, deleted when nothing is on them any more.

use crate::support::bundles::made;
use crate::support::{Answer, Client, Cloud, until};
use karri_proto::instance::{BlobFormat, Digest};
use karri_proto::internal::ApiError;
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::blobs::Content;
use karri_proto::internal::bundles::BundleProgress;
use karri_proto::internal::error::ApiErrorKind;

on_both! {
    an_import_goes_through_its_progress_to_a_snapshot
    what_cannot_be_imported_as_a_snapshot_is_refused_and_named
    an_import_that_cannot_be_done_makes_no_snapshot
    a_cancelled_import_makes_no_snapshot
    an_image_is_registered_on_a_snapshot_and_boots
    a_snapshot_is_registered_on_by_its_owner_alone_and_as_it_is_asked
    a_snapshot_that_is_in_use_is_not_deleted
    a_deregistered_image_may_take_its_snapshot_along
    snapshots_are_listed_by_owner_by_id_by_filter_and_in_pages
    snapshots_are_tagged_and_policies_know_them
    an_account_with_snapshots_is_not_deleted_unless_forced
}

const OBJECT: &str = "bucket/disks/web.vmdk";
const URL: (&str, &str) = ("DiskContainer.Url", "s3://bucket/disks/web.vmdk");
const NONE: &str = "snap-0123456789abcdef0";

async fn import(client: &Client, more: &[(&str, &str)]) -> Answer {
    client.ec2("ImportSnapshot", &[&[URL], more].concat()).await
}

async fn told(client: &Client, id: &str) -> Answer {
    client.ec2("DescribeImportSnapshotTasks", &[("ImportTaskId.1", id)]).await.ok()
}

/// What is told of a task once its disk is in that state.
async fn once(client: &Client, id: &str, state: &str) -> Answer {
    let right = |answer: &Answer| answer.one("status") == state;
    until("the task is told as it should be", async || Some(told(client, id).await).filter(right)).await
}

/// A snapshot of the disk that stands for that seed: five gibibytes.
async fn snapshot(cloud: &Cloud, client: &Client, seed: u8) -> String {
    let bundles = &cloud.walrus.bundles;
    bundles.inspects_disk(OBJECT, "vmdk");
    cloud.walrus.put(seed, BlobFormat::Raw, 5 << 30);
    bundles.makes(OBJECT, Ok(made(seed, Content::Disk)));
    let task = import(client, &[]).await.ok().one("importTaskId");
    once(client, &task, "completed").await.one("snapshotId")
}

async fn register(client: &Client, snapshot: &str, more: &[(&str, &str)]) -> Answer {
    let name = more.iter().find(|(name, _)| *name == "Name").map_or("on a snapshot", |(_, name)| *name);
    let more: Vec<(&str, &str)> = more.iter().copied().filter(|(name, _)| *name != "Name").collect();
    let root = [
        ("Name", name),
        ("RootDeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", snapshot),
    ];
    client.ec2("RegisterImage", &[&root[..], &more[..]].concat()).await
}

async fn listed(client: &Client, parameters: &[(&str, &str)]) -> Vec<String> {
    client.ec2("DescribeSnapshots", parameters).await.ok().all("snapshotId")
}

async fn an_import_goes_through_its_progress_to_a_snapshot(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects_disk(OBJECT, "vmdk");
    bundles.makes(OBJECT, Ok(BundleProgress::Making { done: 2, all: 5 }));
    let said = [
        ("Description", "a web server"),
        ("DiskContainer.Format", "VMDK"),
        ("DiskContainer.Description", "its disk"),
        ("ClientToken", "once"),
        ("TagSpecification.1.ResourceType", "import-snapshot-task"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "v"),
    ];
    let answer = import(&alice, &said).await.ok();
    let id = answer.one("importTaskId");
    assert!(id.starts_with("import-snap-"), "{id}");
    assert_eq!((answer.one("status"), answer.one("statusMessage")), ("active".into(), "pending".into()));
    let right = |told: &Answer| told.all("progress") == ["40"];
    let told = until("it is worked at", async || Some(told(&alice, &id).await).filter(right)).await;
    assert_eq!(told.all("description"), ["a web server", "its disk"]);
    for (element, value) in
        [("format", "VMDK"), ("url", URL.1), ("encrypted", "false"), ("key", "k"), ("value", "v")]
    {
        assert_eq!(told.one(element), value, "{element}");
    }
    assert_eq!(told.all("snapshotId").len() + listed(&alice, &[]).await.len(), 0);
    bundles.makes(OBJECT, Ok(made(9, Content::Disk)));
    let told = once(&alice, &id, "completed").await;
    assert_eq!(told.all("progress").len() + told.all("statusMessage").len(), 0, "{}", told.text);
    let snapshot_id = told.one("snapshotId");
    let shown = alice.ec2("DescribeSnapshots", &[("SnapshotId.1", &snapshot_id)]).await.ok();
    for (element, value) in [
        ("status", "completed"),
        ("progress", "100%"),
        ("description", "a web server"),
        ("volumeSize", "5"),
        ("volumeId", "vol-ffffffff"),
        ("ownerId", alice.account.as_str()),
        ("encrypted", "false"),
        ("storageTier", "standard"),
    ] {
        assert_eq!(shown.one(element), value, "{element}");
    }
    assert_eq!(alice.ec2("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId").len(), 0);
    // Told again, it is no second import; the image's imports are others.
    assert_eq!(import(&alice, &said).await.ok().one("importTaskId"), id);
    let others = alice.ec2("DescribeImportImageTasks", &[]).await.ok();
    assert_eq!(others.all("importTaskId").len(), 0, "{}", others.text);
    alice.ec2("CancelImportTask", &[("ImportTaskId", &id)]).await.refused(400, "IncorrectState");
}

async fn what_cannot_be_imported_as_a_snapshot_is_refused_and_named(cloud: Cloud) {
    let alice = cloud.owner().await;
    let refused = async |request: &[(&str, &str)], code: &str, words: &str| {
        let answer = alice.ec2("ImportSnapshot", request).await.refused(400, code);
        assert!(answer.message().contains(words), "{request:?} {}", answer.text);
    };
    refused(&[], "MissingParameter", "diskContainer").await;
    refused(&[URL], "InvalidParameter", "Invalid S3 source location").await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects(OBJECT, Err(ApiError::forbidden("x")));
    refused(&[URL], "InvalidParameter", "does not have access to the S3 object.(bucket/disks/web.vmdk)")
        .await;
    bundles.inspects_disk(OBJECT, "vmdk");
    for (name, value, code, words) in [
        ("DiskContainer.Format", "RAW", "InvalidParameterValue", "diskContainer.format"),
        ("DiskContainer.UserBucket.S3Bucket", "bucket", "InvalidParameterCombination", "not both"),
        ("Encrypted", "true", "Unsupported", "Encrypted"),
        ("Description", "a\u{7}b", "InvalidParameterValue", "description"),
        ("TagSpecification.1.ResourceType", "snapshot", "InvalidParameterValue", "snapshot"),
    ] {
        refused(&[URL, (name, value)], code, words).await;
    }
    let none = alice.ec2("DescribeImportSnapshotTasks", &[]).await.ok();
    assert_eq!(none.all("importTaskId").len(), 0, "{}", none.text);
    let absent = [("ImportTaskId.1", "import-snap-0123456789abcdef0")];
    alice.ec2("DescribeImportSnapshotTasks", &absent).await.refused(400, "InvalidConversionTaskId");
}

async fn an_import_that_cannot_be_done_makes_no_snapshot(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects_disk(OBJECT, "vmdk");
    for (outcome, reason) in [
        (Err(ApiError::invalid("it is torn")), "ClientError: Disk validation failed [it is torn]"),
        (Ok(made(9, Content::Kernel)), "is a kernel, not a disk"),
    ] {
        bundles.makes(OBJECT, outcome);
        let id = import(&alice, &[]).await.ok().one("importTaskId");
        let told = once(&alice, &id, "deleted").await;
        assert!(told.one("statusMessage").contains(reason), "{}", told.text);
    }
    let deleted = [("Filters.1.Name", "task-state"), ("Filters.1.Value.1", "deleted")];
    let found = alice.ec2("DescribeImportSnapshotTasks", &deleted).await.ok();
    assert_eq!(found.all("importTaskId").len(), 2);
    assert_eq!(listed(&alice, &[]).await.len(), 0);
}

async fn a_cancelled_import_makes_no_snapshot(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bundles = &cloud.walrus.bundles;
    bundles.inspects_disk(OBJECT, "vmdk");
    let id = import(&alice, &[]).await.ok().one("importTaskId");
    let cancel = [("ImportTaskId", id.as_str()), ("CancelReason", "wrong disk")];
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    stranger.ec2("CancelImportTask", &cancel).await.refused(400, "InvalidConversionTaskId");
    let answer = alice.ec2("CancelImportTask", &cancel).await.ok();
    assert_eq!((answer.one("previousState"), answer.one("state")), ("active".into(), "deleting".into()));
    let told = once(&alice, &id, "deleted").await;
    assert_eq!(told.one("statusMessage"), "wrong disk");
    assert_eq!(bundles.abandoned.lock().unwrap().last().unwrap().key, "disks/web.vmdk");
    assert_eq!(listed(&alice, &[]).await.len(), 0);
    let wrong = [("ImportTaskId", "import-snap-x")];
    alice.ec2("CancelImportTask", &wrong).await.refused(400, "InvalidConversionTaskId.Malformed");
}

async fn an_image_is_registered_on_a_snapshot_and_boots(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let snapshot = snapshot(&cloud, &alice, 9).await;
    let bigger = [("BlockDeviceMapping.1.Ebs.VolumeSize", "7"), ("BootMode", "uefi")];
    let id = register(&alice, &snapshot, &bigger).await.ok().one("imageId");
    let image = alice.ec2("DescribeImages", &[("ImageId.1", &id)]).await.ok();
    let location = format!("{}/on a snapshot", alice.account);
    for (element, value) in [
        ("imageState", "available"),
        ("snapshotId", snapshot.as_str()),
        ("rootDeviceName", "/dev/xvda"),
        ("volumeSize", "7"),
        ("imageLocation", &location),
        ("bootMode", "uefi"),
    ] {
        assert_eq!(image.one(element), value, "{element}");
    }
    let by_snapshot =
        |value| [("Filter.1.Name", "block-device-mapping.snapshot-id"), ("Filter.1.Value.1", value)];
    let found = alice.ec2("DescribeImages", &by_snapshot(&snapshot)).await.ok();
    assert_eq!(found.one("imageId"), id);
    assert_eq!(alice.ec2("DescribeImages", &by_snapshot(NONE)).await.ok().all("imageId").len(), 0);
    let launch =
        [("ImageId", id.as_str()), ("InstanceType", "t2.nano"), ("MinCount", "1"), ("MaxCount", "1")];
    let instance = alice.ec2("RunInstances", &launch).await.ok().one("instanceId");
    alice.wait_for(&instance, "running").await;
}

async fn a_snapshot_is_registered_on_by_its_owner_alone_and_as_it_is_asked(cloud: Cloud) {
    let alice = cloud.owner().await;
    let snapshot = snapshot(&cloud, &alice, 9).await;
    let refused = async |client: &Client, id: &str, more: &[(&str, &str)], code: &str| {
        register(client, id, more).await.refused(400, code);
    };
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    refused(&stranger, &snapshot, &[], "InvalidSnapshot.NotFound").await;
    refused(&alice, NONE, &[], "InvalidSnapshot.NotFound").await;
    refused(&alice, "snap-1", &[], "InvalidSnapshotID.Malformed").await;
    refused(&alice, &snapshot, &[("ImageLocation", OBJECT)], "InvalidParameterCombination").await;
    let small = ("BlockDeviceMapping.1.Ebs.VolumeSize", "4");
    refused(&alice, &snapshot, &[small], "InvalidBlockDeviceMapping").await;
    let second = [
        ("BlockDeviceMapping.2.DeviceName", "/dev/xvdb"),
        ("BlockDeviceMapping.2.Ebs.SnapshotId", snapshot.as_str()),
    ];
    refused(&alice, &snapshot, &second, "InvalidBlockDeviceMapping").await;
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    register(&root, &snapshot, &[]).await.ok();
}

async fn a_snapshot_that_is_in_use_is_not_deleted(cloud: Cloud) {
    let alice = cloud.owner().await;
    let snapshot = snapshot(&cloud, &alice, 9).await;
    let image = register(&alice, &snapshot, &[]).await.ok().one("imageId");
    let delete = [("SnapshotId", snapshot.as_str())];
    for more in [&[][..], &[("DryRun", "true")]] {
        let refused = alice.ec2("DeleteSnapshot", &[&delete, more].concat()).await;
        let sentence = format!("The snapshot {snapshot} is currently in use by {image}");
        assert_eq!(refused.refused(400, "InvalidSnapshot.InUse").message(), sentence);
    }
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    stranger.ec2("DeleteSnapshot", &delete).await.refused(400, "InvalidSnapshot.NotFound");
    let store = cloud.store().await;
    let digest = Digest::from_sha256([9; 32]);
    alice.ec2("DeregisterImage", &[("ImageId", &image)]).await.ok();
    assert!(store.blob_is_used(&digest).await.unwrap(), "the snapshot keeps the disk");
    alice.ec2("DeleteSnapshot", &delete).await.ok();
    assert!(!store.blob_is_used(&digest).await.unwrap());
    alice.ec2("DeleteSnapshot", &delete).await.refused(400, "InvalidSnapshot.NotFound");
    register(&alice, &snapshot, &[("Name", "too late")]).await.refused(400, "InvalidSnapshot.NotFound");
    assert_eq!(listed(&alice, &[]).await.len(), 0);
    let gone = store.snapshot_list_to_release(i64::MAX).await.unwrap();
    assert_eq!(gone.len(), 1, "the image store is told that the snapshot is gone");
    store.snapshot_released(&snapshot).await.unwrap();
    assert_eq!(store.snapshot_list_to_release(i64::MAX).await.unwrap().len(), 0);
    store.close().await;
}

async fn a_deregistered_image_may_take_its_snapshot_along(cloud: Cloud) {
    let alice = cloud.owner().await;
    let snapshot = snapshot(&cloud, &alice, 9).await;
    let one = register(&alice, &snapshot, &[]).await.ok().one("imageId");
    let two = register(&alice, &snapshot, &[("Name", "another")]).await.ok().one("imageId");
    for (image, code, left) in [(one, "skipped", 1), (two, "success", 0)] {
        let along = [("ImageId", image.as_str()), ("DeleteAssociatedSnapshots", "true")];
        let answer = alice.ec2("DeregisterImage", &along).await.ok();
        assert_eq!((answer.one("returnCode").as_str(), answer.one("snapshotId")), (code, snapshot.clone()));
        assert_eq!(listed(&alice, &[]).await.len(), left);
    }
    // The operator is told that the disk stays.
    let snapshot = self::snapshot(&cloud, &alice, 7).await;
    let image = register(&alice, &snapshot, &[]).await.ok().one("imageId");
    let (admin, caller) = cloud.admin();
    let deleted = admin.image_delete(&caller, &image).await.unwrap();
    assert_eq!(deleted.snapshots_on_its_blob, [snapshot.as_str()]);
    alice.ec2("DeleteSnapshot", &[("SnapshotId", &snapshot)]).await.ok();
    // Who may not delete it, does not.
    let keeps = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "ec2:DeleteSnapshot", "Resource": "arn:aws:ec2:*::snapshot/*"}]}"#;
    let keeper = cloud.user("acme", "kay", &[keeps]).await;
    let snapshot = self::snapshot(&cloud, &keeper, 8).await;
    let image = register(&keeper, &snapshot, &[]).await.ok().one("imageId");
    let along = [("ImageId", image.as_str()), ("DeleteAssociatedSnapshots", "true")];
    let answer = keeper.ec2("DeregisterImage", &along).await.ok();
    assert_eq!(answer.one("returnCode"), "missing-permissions");
    let delete = [("SnapshotId", snapshot.as_str())];
    keeper.ec2("DeleteSnapshot", &delete).await.refused(403, "UnauthorizedOperation");
    alice.ec2("DeleteSnapshot", &delete).await.ok();
}

async fn snapshots_are_listed_by_owner_by_id_by_filter_and_in_pages(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bob = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let mut own = Vec::new();
    for seed in 1..=6 {
        own.push(snapshot(&cloud, &alice, seed).await);
    }
    own.sort();
    let foreign = snapshot(&cloud, &bob, 9).await;
    for all in [&[][..], &[("Owner.1", "self")], &[("RestorableBy.1", "self")]] {
        assert_eq!(listed(&alice, all).await, own, "{all:?}");
    }
    assert_eq!(listed(&alice, &[("Owner.1", &bob.account)]).await.len(), 0);
    assert_eq!(listed(&alice, &[("RestorableBy.1", "all")]).await.len(), 0);
    assert_eq!(listed(&root, &[]).await.len(), 0);
    assert_eq!(listed(&root, &[("Owner.1", &bob.account)]).await, [foreign.as_str()]);
    assert_eq!(listed(&root, &[("SnapshotId.1", &own[0])]).await, own[..1]);
    for (id, code) in
        [(foreign.as_str(), "InvalidSnapshot.NotFound"), ("snap-x", "InvalidSnapshotID.Malformed")]
    {
        alice.ec2("DescribeSnapshots", &[("SnapshotId.1", id)]).await.refused(400, code);
    }
    let filter = |name, value| [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
    for (name, value, count) in [
        ("status", "completed", 6),
        ("status", "pending", 0),
        ("volume-size", "5", 6),
        ("snapshot-id", own[3].as_str(), 1),
        ("description", "Created by ImportSnapshot *", 6),
        ("owner-id", alice.account.as_str(), 6),
    ] {
        assert_eq!(listed(&alice, &filter(name, value)).await.len(), count, "{name} {value}");
    }
    alice.ec2("DescribeSnapshots", &filter("nonsense", "x")).await.refused(400, "InvalidParameterValue");
    let page = alice.ec2("DescribeSnapshots", &[("MaxResults", "5")]).await.ok();
    let (mut seen, token) = (page.all("snapshotId"), page.one("nextToken"));
    seen.extend(listed(&alice, &[("MaxResults", "5"), ("NextToken", &token)]).await);
    assert_eq!(seen, own);
    let attribute = |id, name| [("SnapshotId", id), ("Attribute", name)];
    let asked = attribute(own[0].as_str(), "createVolumePermission");
    let told = alice.ec2("DescribeSnapshotAttribute", &asked).await.ok();
    assert_eq!(told.one("snapshotId"), own[0]);
    let foreign = attribute(foreign.as_str(), "createVolumePermission");
    alice.ec2("DescribeSnapshotAttribute", &foreign).await.refused(400, "InvalidSnapshot.NotFound");
}

async fn snapshots_are_tagged_and_policies_know_them(cloud: Cloud) {
    let alice = cloud.owner().await;
    let snapshot = snapshot(&cloud, &alice, 9).await;
    let tag = [("ResourceId.1", snapshot.as_str()), ("Tag.1.Key", "keep"), ("Tag.1.Value", "yes")];
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    stranger.ec2("CreateTags", &tag).await.refused(400, "InvalidSnapshot.NotFound");
    alice.ec2("CreateTags", &tag).await.ok();
    let kept = [("Filter.1.Name", "tag:keep"), ("Filter.1.Value.1", "yes")];
    assert_eq!(listed(&alice, &kept).await, [snapshot.as_str()]);
    assert_eq!(alice.ec2("DescribeTags", &[]).await.ok().one("resourceType"), "snapshot");
    let keeps = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny",
        "Action": ["ec2:DeleteSnapshot", "ec2:RegisterImage"], "Resource": "arn:aws:ec2:*::snapshot/*",
        "Condition": {"StringEquals": {"aws:ResourceTag/keep": "yes"}}}]}"#;
    let keeper = cloud.user("acme", "kay", &[keeps]).await;
    let delete = [("SnapshotId", snapshot.as_str())];
    keeper.ec2("DeleteSnapshot", &delete).await.refused(403, "UnauthorizedOperation");
    register(&keeper, &snapshot, &[]).await.refused(403, "UnauthorizedOperation");
    keeper.ec2("DeleteTags", &tag).await.ok();
    register(&keeper, &snapshot, &[]).await.ok();
}

async fn an_account_with_snapshots_is_not_deleted_unless_forced(cloud: Cloud) {
    let alice = cloud.owner().await;
    let snapshot = snapshot(&cloud, &alice, 9).await;
    let (admin, caller) = cloud.admin();
    let refused = admin.account_delete(&caller, "acme", false).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    assert!(refused.message.contains(&format!("1 snapshots ({snapshot})")), "{}", refused.message);
    admin.account_delete(&caller, "acme", true).await.unwrap();
    let store = cloud.store().await;
    assert_eq!(store.snapshot_list_to_release(1).await.unwrap().len(), 1);
    store.close().await;
}
