//! Key pairs over the API. What is in them is checked beside `app::key_pair`.

use crate::support::{Client, Cloud};

on_both! {
    a_made_key_is_told_once_and_its_public_half_kept
    a_brought_key_is_described_and_launches
    names_are_the_accounts_own
    deleting_is_by_name_or_id_and_can_be_repeated
    key_pairs_are_filtered
}

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB me@here";

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

async fn bring(client: &Client, name: &str) -> String {
    let material = base64(ED25519);
    let parameters = [("KeyName", name), ("PublicKeyMaterial", material.as_str())];
    client.ec2("ImportKeyPair", &parameters).await.ok().one("keyPairId")
}

async fn a_made_key_is_told_once_and_its_public_half_kept(cloud: Cloud) {
    let alice = cloud.owner().await;
    let made = alice.ec2("CreateKeyPair", &[("KeyName", "a <key>"), ("KeyType", "ed25519")]).await.ok();
    assert!(made.one("keyMaterial").starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
    let plain = alice.ec2("DescribeKeyPairs", &[]).await.ok();
    assert_eq!(plain.one("keyFingerprint"), made.one("keyFingerprint"));
    assert!(!plain.text.contains("keyMaterial") && !plain.text.contains("publicKey"));
    let full = alice.ec2("DescribeKeyPairs", &[("IncludePublicKey", "true")]).await.ok();
    assert!(full.one("publicKey").starts_with("ssh-ed25519 AAAA"));
    assert!(full.one("publicKey").ends_with(" a &lt;key&gt;"));
    let rsa = alice.ec2("CreateKeyPair", &[("KeyName", "rsa")]).await.ok();
    assert!(rsa.one("keyMaterial").starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    assert_eq!(rsa.one("keyFingerprint").len(), 59);
    alice.ec2("CreateKeyPair", &[("KeyName", "p"), ("KeyFormat", "ppk")]).await.refused(400, "Unsupported");
    let wrong = [("KeyName", "w"), ("KeyType", "dsa")];
    alice.ec2("CreateKeyPair", &wrong).await.refused(400, "InvalidParameterValue");
    let dry = [("KeyName", "dry"), ("DryRun", "true")];
    alice.ec2("CreateKeyPair", &dry).await.refused(412, "DryRunOperation");
}

async fn a_brought_key_is_described_and_launches(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    bring(&alice, "brought").await;
    let id = alice.run(1, &[("KeyName", "brought")]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    let key = cluster.intent(&id).unwrap().spec.key.unwrap();
    assert_eq!((key.name.as_str(), key.openssh.ends_with(" brought")), ("brought", true));
    let nonsense = base64("nonsense");
    let parameters = [("KeyName", "bad"), ("PublicKeyMaterial", nonsense.as_str())];
    alice.ec2("ImportKeyPair", &parameters).await.refused(400, "InvalidKey.Format");
}

async fn names_are_the_accounts_own(cloud: Cloud) {
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let id = bring(&alice, "key").await;
    bring(&bob, "key").await;
    let again = [("KeyName", "key"), ("PublicKeyMaterial", &base64(ED25519))];
    for (action, again) in [("ImportKeyPair", &again[..]), ("CreateKeyPair", &again[..1])] {
        let there = alice.ec2(action, again).await.refused(400, "InvalidKeyPair.Duplicate");
        assert_eq!(there.message(), "The keypair 'key' already exists.", "{action}");
    }
    bob.ec2("DescribeKeyPairs", &[("KeyPairId.1", &id)]).await.refused(400, "InvalidKeyPair.NotFound");
    bob.ec2("DeleteKeyPair", &[("KeyPairId", &id)]).await.ok();
    assert_eq!(alice.ec2("DescribeKeyPairs", &[]).await.ok().all("keyPairId"), [id]);
    let twice = [("KeyName", "twice"), ("KeyType", "ed25519")];
    let (one, other) = tokio::join!(alice.ec2("CreateKeyPair", &twice), alice.ec2("CreateKeyPair", &twice));
    let mut codes = [one.code(), other.code()];
    codes.sort();
    assert_eq!(codes, ["", "InvalidKeyPair.Duplicate"], "only one of two at the same time");
}

async fn deleting_is_by_name_or_id_and_can_be_repeated(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (first, second) = (bring(&alice, "first").await, bring(&alice, "second").await);
    let gone = alice.ec2("DeleteKeyPair", &[("KeyName", "first")]).await.ok();
    assert_eq!((gone.one("keyPairId"), gone.one("return")), (first, "true".to_owned()));
    let gone = alice.ec2("DeleteKeyPair", &[("KeyName", "first")]).await.ok();
    assert_eq!((gone.all("keyPairId").len(), gone.one("return")), (0, "true".to_owned()));
    alice.ec2("DeleteKeyPair", &[("KeyPairId", &second)]).await.ok();
    assert!(alice.ec2("DescribeKeyPairs", &[]).await.ok().all("keyName").is_empty());
    alice.ec2("DeleteKeyPair", &[]).await.refused(400, "MissingParameter");
}

async fn key_pairs_are_filtered(cloud: Cloud) {
    let alice = cloud.owner().await;
    let id = bring(&alice, "web-1").await;
    bring(&alice, "db-1").await;
    alice
        .ec2("CreateTags", &[("ResourceId.1", &id), ("Tag.1.Key", "role"), ("Tag.1.Value", "web")])
        .await
        .ok();
    for (name, value, expected) in [
        ("key-name", "web-*", vec!["web-1"]),
        ("key-pair-id", id.as_str(), vec!["web-1"]),
        ("tag:role", "web", vec!["web-1"]),
        ("tag-key", "nothing", vec![]),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = alice.ec2("DescribeKeyPairs", &filter).await.ok().all("keyName");
        assert_eq!(found, expected, "{name}");
    }
    let unknown = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "blue")];
    alice.ec2("DescribeKeyPairs", &unknown).await.refused(400, "InvalidParameterValue");
    alice.ec2("DescribeKeyPairs", &[("KeyName.1", "none")]).await.refused(400, "InvalidKeyPair.NotFound");
}
