//! Network interfaces between their being taken from an instance and being nobody's.

use crate::network_interfaces::{attached, interface, made, running, wait_attached};
use crate::support::vpc::{Routed, routed};
use crate::support::{Client, Cloud, until};

on_both! {
    an_interface_is_detaching_until_its_cluster_knows
}

pub async fn wait_available(client: &Client, port: &str) {
    until(&format!("{port} is nobody's"), || async {
        (interface(client, port).await.all("status") == ["available"]).then_some(())
    })
    .await;
}

async fn an_interface_is_detaching_until_its_cluster_knows(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { subnet, .. } = routed(&alice).await;
    let (instance, first) = running(&alice, &subnet).await;
    let (other, _) = running(&alice, &subnet).await;
    let port = made(&alice, &subnet, &[]).await.one("networkInterfaceId");
    let seen = async || interface(&alice, &port).await;
    let to_other = [("NetworkInterfaceId", port.as_str()), ("InstanceId", &other), ("DeviceIndex", "1")];
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let launch = [("NetworkInterface.1.DeviceIndex", "0"), ("NetworkInterface.1.NetworkInterfaceId", &port)];
    for force in [false, true] {
        let attachment = attached(&alice, &port, &instance, "1").await;
        wait_attached(&alice, &port).await;
        cluster.cut(true);
        let detach = [("AttachmentId", attachment.as_str())];
        alice.ec2("DetachNetworkInterface", &detach).await.ok();
        let told = alice.ec2("DescribeInstances", &[("InstanceId.1", &instance)]).await.ok();
        assert_eq!(told.all("networkInterfaceId"), [first.as_str()]);
        let told = seen().await;
        assert_eq!(told.all("status"), ["detaching", "in-use"]);
        assert_eq!(
            (told.one("attachmentId"), told.one("instanceId")),
            (attachment.clone(), instance.clone())
        );
        assert_eq!((told.one("deviceIndex"), told.one("deleteOnTermination")), ("1".into(), "false".into()));
        let words = [("NetworkInterfaceId", port.as_str()), ("Attribute", "attachment")];
        let told = alice.ec2("DescribeNetworkInterfaceAttribute", &words).await.ok();
        assert_eq!(told.one("status"), "detaching");
        let filter = [("Filter.1.Name", "attachment.status"), ("Filter.1.Value.1", "detaching")];
        let found = alice.ec2("DescribeNetworkInterfaces", &filter).await.ok();
        assert_eq!(found.all("networkInterfaceId"), [port.as_str()]);
        alice.ec2("AttachNetworkInterface", &to_other).await.refused(400, "InvalidNetworkInterface.InUse");
        alice.run(1, &launch).await.refused(400, "InvalidNetworkInterface.InUse");
        let delete = alice.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &port)]).await;
        delete.refused(400, "InvalidParameterValue");
        alice.ec2("DetachNetworkInterface", &detach).await.ok();
        assert_eq!(seen().await.all("status"), ["detaching", "in-use"], "said twice");
        let forced = [("AttachmentId", attachment.as_str()), ("Force", "true")];
        bob.ec2("DetachNetworkInterface", &forced).await.refused(400, "InvalidAttachmentID.NotFound");
        let dry = [&forced[..], &[("DryRun", "true")]].concat();
        alice.ec2("DetachNetworkInterface", &dry).await.refused(412, "DryRunOperation");
        assert_eq!(seen().await.all("status"), ["detaching", "in-use"], "only asked");
        match force {
            true => drop(alice.ec2("DetachNetworkInterface", &forced).await.ok()),
            false => cluster.cut(false),
        }
        wait_available(&alice, &port).await;
        cluster.cut(false);
        alice.ec2("DetachNetworkInterface", &forced).await.refused(400, "InvalidAttachmentID.NotFound");
    }
    alice.ec2("AttachNetworkInterface", &to_other).await.ok();
    wait_attached(&alice, &port).await;
}
