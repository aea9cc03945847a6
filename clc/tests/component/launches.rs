//! Launches look up images, key pairs, networks and client tokens, and remember them: never longer than
//! they are true.

use crate::support::{Cloud, IMAGE};
use std::net::Ipv4Addr;

on_both! {
    a_launch_knows_what_was_changed_since_the_last
    a_token_that_was_used_is_known_when_nothing_else_is
    a_zone_without_a_subnet_holds_nothing
    what_is_written_behind_the_controllers_back_is_respected
}

async fn a_launch_knows_what_was_changed_since_the_last(cloud: Cloud) {
    let here = cloud.cluster("zone-a", 4).await;
    let alice = cloud.owner().await;
    let admin = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let named = [("KeyName", "mine")];
    alice.run(1, &named).await.refused(400, "InvalidKeyPair.NotFound");
    alice.ec2("CreateKeyPair", &named).await.ok();
    let first = alice.run(1, &named).await.ok().one("instanceId");

    alice.ec2("DeleteKeyPair", &named).await.ok();
    alice.run(1, &named).await.refused(400, "InvalidKeyPair.NotFound");
    alice.ec2("CreateKeyPair", &named).await.ok();
    let second = alice.run(1, &named).await.ok().one("instanceId");
    let key = |id: &str| here.intent(id).unwrap().spec.key.unwrap().openssh;
    for id in [&first, &second] {
        alice.wait_for(id, "running").await;
    }
    assert_ne!(key(&first), key(&second));

    // A zone that comes gives every account a subnet, also one whose network was looked up before.
    let zone = [("Placement.AvailabilityZone", "zone-b")];
    alice.run(1, &zone).await.refused(400, "InvalidParameterValue");
    let _there = cloud.cluster("zone-b", 4).await;
    let third = alice.run(1, &zone).await.ok();
    assert_eq!(third.one("availabilityZone"), "zone-b");

    admin.ec2("DeregisterImage", &[("ImageId", IMAGE)]).await.ok();
    alice.run(1, &[]).await.refused(400, "InvalidAMIID.Unavailable");
}

async fn a_token_that_was_used_is_known_when_nothing_else_is(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let bob = cloud.user("bobs", "bob", &["AdministratorAccess"]).await;
    let admin = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let token = [("ClientToken", "again")];
    let first = alice.run(1, &token).await.ok().one("instanceId");
    let others = bob.run(1, &token).await.ok().one("instanceId");
    assert_ne!(first, others, "a token is its account's own");
    alice.run(1, &[]).await.refused(500, "InsufficientInstanceCapacity");
    admin.ec2("DeregisterImage", &[("ImageId", IMAGE)]).await.ok();
    // Neither the room nor the image is there any more; the instance is.
    assert_eq!(alice.run(1, &token).await.ok().one("instanceId"), first);
    alice.run(1, &[("ClientToken", "another")]).await.refused(400, "InvalidAMIID.Unavailable");
}

/// As if the zone had come after the launch had looked up its account's network.
async fn a_zone_without_a_subnet_holds_nothing(cloud: Cloud) {
    let _old = cloud.cluster("zone-a", 1).await;
    let _new = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let (alice, bob) = (cloud.owner().await, cloud.user("bobs", "bob", &["AdministratorAccess"]).await);
    let store = cloud.store().await;
    let mut tx = store.begin().await.unwrap();
    let statement = "DELETE FROM subnets WHERE zone = 'zone-b' AND account = $1";
    let gone = sqlx::query(statement).bind(&alice.account).execute(&mut *tx).await.unwrap();
    assert_eq!(gone.rows_affected(), 1);
    tx.commit().await.unwrap();
    store.close().await;
    // Each zone has room for two.
    alice.run(3, &[]).await.refused(400, "InsufficientFreeAddressesInSubnet");
    let some = [("ImageId", IMAGE), ("MinCount", "1"), ("MaxCount", "4"), ("InstanceType", "t3.micro")];
    let launched = alice.ec2("RunInstances", &some).await.ok();
    let zones = launched.all("availabilityZone");
    assert!(launched.instances().len() == 2 && zones.iter().all(|zone| zone == "zone-a"), "{zones:?}");
    bob.run(2, &[("Placement.AvailabilityZone", "zone-b")]).await.ok();
}

async fn what_is_written_behind_the_controllers_back_is_respected(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 4).await;
    let alice = cloud.owner().await;
    let answer = alice.run(1, &[]).await.ok();
    let (first, address) = (answer.one("instanceId"), answer.first("privateIpAddress").unwrap());
    let next = Ipv4Addr::from(u32::from(address.parse::<Ipv4Addr>().unwrap()) + 1).to_string();
    let store = cloud.store().await;
    let mut tx = store.begin().await.unwrap();
    let port = "INSERT INTO ports (id, cluster, network, private_ip, instance_id) \
         SELECT 'eni-00000000000000001', cluster, network, $1, instance_id FROM ports WHERE instance_id = $2";
    let query = sqlx::query(port).bind(&next).bind(&first);
    assert_eq!(query.execute(&mut *tx).await.unwrap().rows_affected(), 1);
    let reservation = "INSERT INTO reservations (id, account, client_token, request_digest, created_at) \
         SELECT 'r-00000000000000001', account, 'theirs', 'of another request', created_at FROM reservations";
    assert_eq!(sqlx::query(reservation).execute(&mut *tx).await.unwrap().rows_affected(), 1);
    tx.commit().await.unwrap();
    store.close().await;

    let tags = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "second"),
    ];
    let second = alice.run(1, &tags).await.ok();
    assert!(![address, next].contains(&second.first("privateIpAddress").unwrap()), "{second:?}");
    assert_eq!(second.first("value").as_deref(), Some("second"));
    let theirs = alice.run(1, &[("ClientToken", "theirs")]).await;
    theirs.refused(400, "IdempotentParameterMismatch");
    assert_eq!(alice.ec2("DescribeInstances", &[]).await.ok().instances().len(), 2);
}
