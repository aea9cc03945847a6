//! Images from registration to deregistration.

use crate::support::{Answer, Client, Cloud, IMAGE};
use karri_proto::instance::BlobFormat;
use karri_proto::internal::admin::AdminService as _;
use karri_proto::internal::blobs::Content;
use karri_proto::internal::error::ApiErrorKind;

on_both! {
    a_blob_becomes_an_image_and_goes_again
    a_location_that_is_no_blob_is_refused
    what_an_image_cannot_be_is_refused
    kernels_and_ramdisks_are_images_of_their_own
    an_image_that_is_not_what_it_says_is_refused
    private_images_of_others_do_not_exist_and_the_administrators_are_public
    images_are_filtered_named_and_paged
    an_image_is_told_attribute_by_attribute
    what_an_image_says_holds_for_its_instances
    an_accounts_images_keys_and_tags_go_with_it
}

const GIB: u64 = 1 << 30;
const UNKNOWN: &str = "ami-0123456789abcdef0";

async fn register(client: &Client, name: &str, location: &str, more: &[(&str, &str)]) -> Answer {
    let mut parameters = vec![("Name", name), ("ImageLocation", location)];
    parameters.extend_from_slice(more);
    client.ec2("RegisterImage", &parameters).await
}

async fn registered(client: &Client, name: &str, location: &str, more: &[(&str, &str)]) -> String {
    register(client, name, location, more).await.ok().one("imageId")
}

async fn a_blob_becomes_an_image_and_goes_again(cloud: Cloud) {
    let alice = cloud.owner().await;
    let location = cloud.walrus.put(1, BlobFormat::Qcow2, 3 * GIB / 2);
    let more = [
        ("Description", "a <b>disk</b>"),
        ("BootMode", "uefi"),
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "v"),
    ];
    let id = registered(&alice, "my disk", &location, &more).await;
    let shown = alice.ec2("DescribeImages", &[("ImageId.1", &id)]).await.ok();
    for (element, value) in [
        ("imageState", "available"),
        ("imageOwnerId", alice.account.as_str()),
        ("isPublic", "false"),
        ("description", "a &lt;b&gt;disk&lt;/b&gt;"),
        ("bootMode", "uefi"),
        ("rootDeviceName", "/dev/sda1"),
        ("volumeSize", "2"),
        ("architecture", "x86_64"),
        ("virtualizationType", "hvm"),
        ("imageLocation", location.as_str()),
        ("key", "k"),
    ] {
        assert_eq!(shown.one(element), value, "{element}");
    }
    register(&alice, "my disk", &location, &[]).await.refused(400, "InvalidAMIName.Duplicate");
    alice.ec2("DeregisterImage", &[("ImageId", &id)]).await.ok();
    alice.ec2("DescribeImages", &[("ImageId.1", &id)]).await.refused(400, "InvalidAMIID.NotFound");
    alice.ec2("DeregisterImage", &[("ImageId", &id)]).await.refused(400, "InvalidAMIID.NotFound");
    assert_eq!(alice.ec2("DescribeTags", &[]).await.ok().all("key"), Vec::<String>::new());
    assert_ne!(registered(&alice, "my disk", &location, &[]).await, id, "the name is free again");
}

async fn a_location_that_is_no_blob_is_refused(cloud: Cloud) {
    let alice = cloud.owner().await;
    let absent = format!("sha256:{}", "0".repeat(64));
    register(&alice, "bad", &absent, &[]).await.refused(400, "InvalidManifest");
    register(&alice, "bad", &format!("karri-kernel/{absent}"), &[]).await.refused(400, "InvalidManifest");
    for wrong in ["nonsense", "sha256:12", "sha256:../../etc/passwd"] {
        register(&alice, "bad", wrong, &[]).await.refused(400, "InvalidParameterValue");
    }
    alice.ec2("RegisterImage", &[("Name", "bad")]).await.refused(400, "MissingParameter");
    alice.ec2("RegisterImage", &[("ImageLocation", &absent)]).await.refused(400, "MissingParameter");
    let dry = [("Name", "dry"), ("ImageLocation", absent.as_str()), ("DryRun", "true")];
    alice.ec2("RegisterImage", &dry).await.refused(400, "InvalidManifest");
    assert_eq!(alice.ec2("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId").len(), 0);
}

async fn what_an_image_cannot_be_is_refused(cloud: Cloud) {
    let alice = cloud.owner().await;
    let disk = cloud.walrus.put(1, BlobFormat::Raw, 2 * GIB);
    let ebs = "BlockDeviceMapping.1.Ebs.VolumeSize";
    let device = ("BlockDeviceMapping.1.DeviceName", "/dev/sda1");
    let checks: &[(&[(&str, &str)], &str)] = &[
        (&[("Architecture", "arm64")], "Unsupported"),
        (&[("Architecture", "z80")], "InvalidParameterValue"),
        (&[("VirtualizationType", "magic")], "InvalidParameterValue"),
        (&[("RootDeviceName", "/dev/../sda")], "InvalidParameterValue"),
        (&[("KernelId", "aki-0123456789abcdef0")], "InvalidAMIID.NotFound"),
        (&[("KernelId", UNKNOWN)], "InvalidAMIID.Malformed"),
        (&[("RamdiskId", "ari-0123456789abcdef0")], "InvalidParameterCombination"),
        (&[("TpmSupport", "v2.0")], "Unsupported"),
        (&[("UefiData", "AAAA")], "Unsupported"),
        (&[device, (ebs, "1")], "InvalidBlockDeviceMapping"),
        (&[("BlockDeviceMapping.1.DeviceName", "/dev/sdb"), (ebs, "9")], "InvalidBlockDeviceMapping"),
        (&[device, ("BlockDeviceMapping.1.Ebs.SnapshotId", "snap-1")], "InvalidParameterCombination"),
        (&[device, ("BlockDeviceMapping.1.Ebs.Encrypted", "true")], "Unsupported"),
        (&[device, ("BlockDeviceMapping.1.VirtualName", "ephemeral0")], "Unsupported"),
        (&[("TagSpecification.1.ResourceType", "instance")], "InvalidParameterValue"),
        (&[("Colour", "blue")], "UnknownParameter"),
    ];
    for (more, code) in checks {
        let answer = register(&alice, "bad", &disk, more).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, *code), "{more:?} {}", answer.text);
    }
    for name in ["ab", "semi;colon", "über"] {
        register(&alice, name, &disk, &[]).await.refused(400, "InvalidAMIName.Malformed");
    }
    let larger = registered(&alice, "large", &disk, &[device, (ebs, "9")]).await;
    let shown = alice.ec2("DescribeImages", &[("ImageId.1", &larger)]).await.ok();
    assert_eq!(shown.one("volumeSize"), "9");
}

async fn kernels_and_ramdisks_are_images_of_their_own(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (kernel, ramdisk) =
        (cloud.walrus.put_content(1, Content::Kernel), cloud.walrus.put_content(2, Content::Ramdisk));
    let root = cloud.walrus.put_content(3, Content::FileSystem);
    let aki = registered(&alice, "kernel", &format!("karri-kernel/{kernel}"), &[]).await;
    let ari = registered(&alice, "ramdisk", &format!("karri-ramdisk/{ramdisk}"), &[]).await;
    assert!(aki.starts_with("aki-") && ari.starts_with("ari-"));
    let parts = [("KernelId", aki.as_str()), ("RamdiskId", ari.as_str())];
    let ami = registered(&alice, "root", &root, &parts).await;
    let shown = alice.ec2("DescribeImages", &[("ImageId.1", &ami)]).await.ok();
    assert_eq!((shown.one("kernelId"), shown.one("ramdiskId")), (aki.clone(), ari));
    for (kind, count) in [("kernel", 1), ("ramdisk", 1), ("machine", 1), ("floppy", 0)] {
        let filter = [("Filter.1.Name", "image-type"), ("Filter.1.Value.1", kind)];
        assert_eq!(alice.ec2("DescribeImages", &filter).await.ok().all("imageId").len(), count, "{kind}");
    }
    let disk = cloud.walrus.put(4, BlobFormat::Qcow2, GIB);
    let disk = format!("karri-kernel/{disk}");
    register(&alice, "no kernel", &disk, &[]).await.refused(400, "InvalidManifest");
    let uefi = [("KernelId", aki.as_str()), ("BootMode", "uefi")];
    register(&alice, "both", &root, &uefi).await.refused(400, "InvalidParameterCombination");
    let wrong = [("RamdiskId", aki.as_str()), ("KernelId", aki.as_str())];
    register(&alice, "wrong", &root, &wrong).await.refused(400, "InvalidAMIID.Malformed");
}

async fn an_image_that_is_not_what_it_says_is_refused(cloud: Cloud) {
    use Content::{Disk, FileSystem, Kernel, Ramdisk, Text, Unknown};
    let alice = cloud.owner().await;
    for (prefix, suited) in [
        ("", vec![Disk, FileSystem, Unknown]),
        ("karri-kernel/", vec![Kernel]),
        ("karri-ramdisk/", vec![Ramdisk]),
    ] {
        for (seed, content) in (1..).zip([Kernel, Ramdisk, Disk, FileSystem, Text, Unknown]) {
            let location = format!("{prefix}{}", cloud.walrus.put_content(seed, content));
            let name = format!("{}x{seed}", prefix.trim_end_matches('/'));
            let answer = register(&alice, &format!("is {name}"), &location, &[]).await;
            if suited.contains(&content) {
                answer.ok();
            } else {
                let refused = answer.refused(400, "InvalidManifest");
                assert!(refused.message().contains(&format!("is {}, not ", content.phrase())));
            }
        }
    }
    assert_eq!(alice.ec2("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId").len(), 5);
}

async fn private_images_of_others_do_not_exist_and_the_administrators_are_public(cloud: Cloud) {
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let admin = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let location = cloud.walrus.put(1, BlobFormat::Raw, GIB);
    let hers = registered(&alice, "hers", &location, &[]).await;
    let ours = registered(&admin, "ours", &location, &[]).await;
    for action in ["DeregisterImage", "DescribeImageAttribute"] {
        let mut parameters = vec![("ImageId", hers.as_str())];
        parameters.extend((action == "DescribeImageAttribute").then_some(("Attribute", "description")));
        bob.ec2(action, &parameters).await.refused(400, "InvalidAMIID.NotFound");
    }
    bob.ec2("DescribeImages", &[("ImageId.1", &hers)]).await.refused(400, "InvalidAMIID.NotFound");
    let seen = |answer: Answer| answer.ok().all("imageId");
    assert_eq!(seen(bob.ec2("DescribeImages", &[]).await), [ours.as_str()]);
    assert_eq!(seen(bob.ec2("DescribeImages", &[("Owner.1", "self")]).await), Vec::<String>::new());
    assert_eq!(seen(bob.ec2("DescribeImages", &[("Owner.1", "amazon")]).await), [ours.as_str()]);
    assert_eq!(seen(bob.ec2("DescribeImages", &[("ExecutableBy.1", "all")]).await), [ours.as_str()]);
    assert_eq!(seen(bob.ec2("DescribeImages", &[("Owner.1", &alice.account)]).await), Vec::<String>::new());
    assert_eq!(seen(admin.ec2("DescribeImages", &[("Owner.1", &alice.account)]).await), [hers.as_str()]);
    assert_eq!(seen(admin.ec2("DescribeImages", &[]).await), [ours.as_str()], "only when asked for");
    bob.ec2("DeregisterImage", &[("ImageId", &ours)]).await.refused(401, "AuthFailure");
    let steal = [("ResourceId.1", hers.as_str()), ("Tag.1.Key", "k")];
    bob.ec2("CreateTags", &steal).await.refused(400, "InvalidAMIID.NotFound");
    let kernel = [("KernelId", "aki-0123456789abcdef0")];
    register(&bob, "with kernel", &location, &kernel).await.refused(400, "InvalidAMIID.NotFound");
    admin.ec2("DeregisterImage", &[("ImageId", &hers)]).await.ok();
}

async fn images_are_filtered_named_and_paged(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let location = cloud.walrus.put(1, BlobFormat::Raw, GIB);
    let mut own = Vec::new();
    for number in 0..7 {
        own.push(registered(&alice, &format!("image {number}"), &location, &[]).await);
    }
    let filter = |name, value| [("Filter.1.Name", name), ("Filter.1.Value.1", value), ("Owner.1", "self")];
    for (name, value, count) in [
        ("name", "image ?", 7),
        ("name", "image 3", 1),
        ("manifest-location", "sha256:*", 7),
        ("block-device-mapping.volume-size", "1", 7),
        ("root-device-type", "ebs", 7),
        ("is-public", "true", 0),
        ("state", "available", 7),
        ("tag-key", "*", 0),
    ] {
        let answer = alice.ec2("DescribeImages", &filter(name, value)).await.ok();
        assert_eq!(answer.all("imageId").len(), count, "{name}={value}");
    }
    alice.ec2("DescribeImages", &filter("colour", "blue")).await.refused(400, "InvalidParameterValue");

    let first = alice.ec2("DescribeImages", &[("Owner.1", "self"), ("MaxResults", "5")]).await.ok();
    let token = first.one("nextToken");
    let rest = [("Owner.1", "self"), ("MaxResults", "5"), ("NextToken", token.as_str())];
    let mut seen = first.all("imageId");
    seen.extend(alice.ec2("DescribeImages", &rest).await.ok().all("imageId"));
    own.sort();
    assert_eq!(seen, own);

    let two = [("ImageId.1", own[5].as_str()), ("ImageId.2", own[2].as_str())];
    let named = alice.ec2("DescribeImages", &two).await.ok().all("imageId");
    assert_eq!(named, [own[5].clone(), own[2].clone()], "in the order they were named");
    let some = [("ImageId.1", IMAGE), ("ImageId.2", UNKNOWN)];
    assert!(
        alice
            .ec2("DescribeImages", &some)
            .await
            .refused(400, "InvalidAMIID.NotFound")
            .message()
            .contains(UNKNOWN)
    );
    alice.ec2("DescribeImages", &[("ImageId.1", "ami-x")]).await.refused(400, "InvalidAMIID.Malformed");
    let both = [("ImageId.1", IMAGE), ("MaxResults", "5")];
    alice.ec2("DescribeImages", &both).await.refused(400, "InvalidParameterCombination");
}

async fn an_image_is_told_attribute_by_attribute(cloud: Cloud) {
    let admin = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let location = cloud.walrus.put(1, BlobFormat::Raw, GIB);
    let more = [("Description", "words"), ("ImdsSupport", "v2.0"), ("BootMode", "legacy-bios")];
    let id = registered(&admin, "disk", &location, &more).await;
    for (attribute, part) in [
        ("description", "<description><value>words</value></description>"),
        ("bootMode", "<bootMode><value>legacy-bios</value></bootMode>"),
        ("imdsSupport", "<imdsSupport><value>v2.0</value></imdsSupport>"),
        ("launchPermission", "<launchPermission><item><group>all</group></item></launchPermission>"),
        ("blockDeviceMapping", "<volumeSize>1</volumeSize>"),
        ("kernel", "<kernel></kernel>"),
        ("productCodes", "<productCodes/>"),
    ] {
        let asked = [("ImageId", id.as_str()), ("Attribute", attribute)];
        let told = admin.ec2("DescribeImageAttribute", &asked).await.ok();
        assert!(told.text.contains(part), "{attribute}: {}", told.text);
    }
    let asked = [("ImageId", id.as_str()), ("Attribute", "colour")];
    admin.ec2("DescribeImageAttribute", &asked).await.refused(400, "InvalidParameterValue");
}

async fn what_an_image_says_holds_for_its_instances(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let kernel = cloud.walrus.put_content(1, Content::Kernel);
    let root = cloud.walrus.put_content(2, Content::FileSystem);
    let aki = registered(&alice, "kernel", &format!("karri-kernel/{kernel}"), &[]).await;
    let more = [
        ("KernelId", aki.as_str()),
        ("ImdsSupport", "v2.0"),
        ("RootDeviceName", "/dev/vda"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/vda"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "12"),
    ];
    let ami = registered(&alice, "root", &root, &more).await;
    let run = |more: &'static [(&'static str, &'static str)]| {
        let (alice, ami) = (alice.clone(), ami.clone());
        async move {
            let mut parameters = vec![("ImageId", ami.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
            parameters.push(("InstanceType", "t3.micro"));
            parameters.extend_from_slice(more);
            alice.ec2("RunInstances", &parameters).await.ok().one("instanceId")
        }
    };
    let plain = run(&[]).await;
    alice.wait_for(&plain, "running").await;
    let spec = cluster.intent(&plain).unwrap().spec;
    assert_eq!(spec.boot.kernel.unwrap().digest.as_str(), kernel);
    assert_eq!(spec.boot.root.digest.as_str(), root);
    assert_eq!((spec.need.disk_gib, spec.root_device_name.as_str()), (12, "/dev/vda"));
    assert!(spec.metadata.tokens_required);
    assert_eq!(spec.metadata.hop_limit, 2);
    let (name, value) = ("Filter.1.Name", "Filter.1.Value.1");
    for (kind, count) in [("paravirtual", 1), ("hvm", 0)] {
        let found =
            alice.ec2("DescribeInstances", &[(name, "virtualization-type"), (value, kind)]).await.ok();
        assert_eq!(found.all("virtualizationType"), vec![kind; count]);
    }
    let near = run(&[("MetadataOptions.HttpPutResponseHopLimit", "1")]).await;
    alice.wait_for(&near, "running").await;
    let metadata = cluster.intent(&near).unwrap().spec.metadata;
    assert_eq!((metadata.tokens_required, metadata.hop_limit), (true, 1));
    let said = run(&[("MetadataOptions.HttpTokens", "optional")]).await;
    alice.wait_for(&said, "running").await;
    assert!(!cluster.intent(&said).unwrap().spec.metadata.tokens_required);

    alice.ec2("DeregisterImage", &[("ImageId", &ami)]).await.ok();
    alice.ec2("DeregisterImage", &[("ImageId", &aki)]).await.ok();
    for verb in ["StopInstances", "StartInstances"] {
        alice.ec2(verb, &[("InstanceId.1", &plain)]).await.ok();
        let state = if verb == "StopInstances" { "stopped" } else { "running" };
        alice.wait_for(&plain, state).await;
    }
    assert_eq!(alice.ec2("DescribeInstances", &[("InstanceId.1", &plain)]).await.ok().one("imageId"), ami);
}

async fn an_accounts_images_keys_and_tags_go_with_it(cloud: Cloud) {
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let alice = cloud.owner().await;
    let location = cloud.walrus.put(1, BlobFormat::Raw, GIB);
    let tagged = [
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "v"),
    ];
    let id = registered(&alice, "hers", &location, &tagged).await;
    alice.ec2("CreateKeyPair", &[("KeyName", "k"), ("KeyType", "ed25519")]).await.ok();
    root.ec2("DescribeImages", &[("ImageId.1", &id)]).await.ok();
    let (admin, caller) = cloud.admin();
    let refused = admin.account_delete(&caller, &alice.account, false).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    assert!(refused.message.contains(&format!("1 images ({id}) and 1 key pairs (k)")), "{refused}");
    alice.ec2("DescribeImages", &[("ImageId.1", &id)]).await.ok();
    let owns = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        *cloud.walrus.buckets.lock().unwrap() = Some([(alice.account.clone(), names)].into());
    };
    for force in [false, true] {
        owns(&["theses", "photos"]);
        let refused = admin.account_delete(&caller, &alice.account, force).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Conflict);
        assert!(refused.message.contains("still owns buckets (theses, photos)"), "{refused}");
        *cloud.walrus.buckets.lock().unwrap() = None;
        let refused = admin.account_delete(&caller, &alice.account, force).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Unreachable);
        assert!(refused.message.contains("does not say whether it owns buckets"), "{refused}");
    }
    owns(&[]);
    admin.account_delete(&caller, &alice.account, true).await.unwrap();
    alice.ec2("DescribeImages", &[]).await.refused(401, "AuthFailure");
    root.ec2("DescribeImages", &[("ImageId.1", &id)]).await.refused(400, "InvalidAMIID.NotFound");
    let store = cloud.store().await;
    assert!(store.key_pair_list(&alice.account).await.unwrap().is_empty());
    assert!(store.tag_list(&alice.account).await.unwrap().is_empty());
}
