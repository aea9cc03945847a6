//! Images that the operator deletes, and what becomes of their blobs.

use crate::support::{Client, Cloud, until};
use karri_proto::instance::BlobFormat;
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::blobs::Content;
use karri_proto::internal::error::ApiErrorKind;
use sqlx::{AnyPool, Executor as _};

on_both! {
    a_deleted_images_blob_goes_when_nothing_needs_it
    an_image_that_others_boot_with_is_deleted_and_they_are_named
    what_is_no_image_is_not_deleted
}

async fn register(client: &Client, name: &str, location: &str, more: &[(&str, &str)]) -> String {
    let named = [("Name", name), ("ImageLocation", location)];
    client.ec2("RegisterImage", &[&named, more].concat()).await.ok().one("imageId")
}

/// Everything that was deleted was so long ago, and the controller looks again.
async fn a_while_later(cloud: &mut Cloud, client: &mut Client) {
    cloud.stop().await;
    let pool = AnyPool::connect(&cloud.config.database.url).await.unwrap();
    let earlier = "UPDATE images SET deregistered_at = 1 WHERE deregistered_at IS NOT NULL";
    pool.execute(earlier).await.unwrap();
    pool.close().await;
    cloud.start_again().await;
    client.url = cloud.endpoint.public_url.clone().unwrap();
}

async fn a_deleted_images_blob_goes_when_nothing_needs_it(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let mut alice = cloud.owner().await;
    let blob = cloud.walrus.put(1, BlobFormat::Raw, 1 << 30);
    let first = register(&alice, "first", &blob, &[]).await;
    let second = register(&alice, "second", &blob, &[]).await;
    let run =
        [("ImageId", first.as_str()), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t3.micro")];
    let instance = alice.ec2("RunInstances", &run).await.ok().one("instanceId");
    alice.wait_for(&instance, "running").await;

    let (admin, caller) = cloud.admin();
    let deleted = admin.image_delete(&caller, &first).await.unwrap();
    assert_eq!(
        (&deleted.image_id, deleted.name.as_str(), &deleted.account),
        (&first, "first", &alice.account)
    );
    assert_eq!(deleted.digest.unwrap().as_str(), blob);
    assert_eq!(
        (deleted.instances, deleted.images_on_its_blob),
        (vec![instance.clone()], vec![second.clone()])
    );
    alice.ec2("DescribeImages", &[("ImageId.1", &first)]).await.refused(400, "InvalidAMIID.NotFound");
    alice.ec2("RunInstances", &run).await.refused(400, "InvalidAMIID.Unavailable");

    // Neither the other image nor the instance may lose its disk; nor may what was deregistered only a moment ago.
    a_while_later(&mut cloud, &mut alice).await;
    let store = cloud.store().await;
    let waiting = async |before| {
        let waiting = store.image_list_to_drop(before).await.unwrap();
        waiting.into_iter().map(|image| image.id).collect::<Vec<_>>()
    };
    cluster.hello(&cloud).await;
    let (admin, caller) = cloud.admin();
    admin.image_delete(&caller, &second).await.unwrap();
    assert_eq!(waiting(i64::MAX).await.len(), 2);
    assert!(cloud.walrus.has(&blob).await);
    alice.ec2("TerminateInstances", &[("InstanceId.1", &instance)]).await.ok();
    alice.wait_for(&instance, "terminated").await;
    a_while_later(&mut cloud, &mut alice).await;
    until("the blob is gone", || async { (!cloud.walrus.has(&blob).await).then_some(()) }).await;
    until("and is done with", || async { waiting(i64::MAX).await.is_empty().then_some(()) }).await;
    store.close().await;
}

async fn an_image_that_others_boot_with_is_deleted_and_they_are_named(mut cloud: Cloud) {
    let mut alice = cloud.owner().await;
    let kernel = cloud.walrus.put_content(1, Content::Kernel);
    let root = cloud.walrus.put_content(2, Content::FileSystem);
    let aki = register(&alice, "kernel", &format!("karri-kernel/{kernel}"), &[]).await;
    let ami = register(&alice, "root", &root, &[("KernelId", &aki)]).await;
    let (admin, caller) = cloud.admin();
    let deleted = admin.image_delete(&caller, &aki).await.unwrap();
    assert_eq!((deleted.images_it_booted, deleted.images_on_its_blob), (vec![ami.clone()], Vec::new()));
    // What is only deregistered keeps its blob: users know its digest.
    alice.ec2("DeregisterImage", &[("ImageId", &ami)]).await.ok();
    a_while_later(&mut cloud, &mut alice).await;
    until("the kernel is gone", || async { (!cloud.walrus.has(&kernel).await).then_some(()) }).await;
    assert!(cloud.walrus.has(&root).await);
}

async fn what_is_no_image_is_not_deleted(cloud: Cloud) {
    let (admin, caller) = cloud.admin();
    for (id, kind, words) in [
        ("ami-0123456789abcdef0", ApiErrorKind::NotFound, "there is no image ami-0123456789abcdef0"),
        ("ami-x", ApiErrorKind::Invalid, "ami-x"),
        ("i-0123456789abcdef0", ApiErrorKind::Invalid, "i-0123456789abcdef0"),
        ("../accounts", ApiErrorKind::Invalid, "../accounts"),
    ] {
        let refused = admin.image_delete(&caller, id).await.unwrap_err();
        assert_eq!(refused.kind, kind, "{id}: {refused}");
        assert!(refused.message.contains(words), "{refused}");
    }
}
