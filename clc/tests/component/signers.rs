//! What Walrus is told: whose a key is, what accounts are called, who signs bundles, and when any of it changed.

use crate::support::Cloud;
use karri_proto::internal::admin::{AdminService, NewAccount, NewCertificate};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::signers::{AccountName, SignerService, canonical_id};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::rsa_pair::RsaPair;
use std::time::{Duration, Instant};

on_both! {
    only_walrus_hears_secrets
    a_key_leads_to_its_user
    accounts_are_found_by_what_s3_calls_them
    a_change_is_heard_at_once
    certificates_are_kept_for_their_users
}

const WAIT: Duration = Duration::from_secs(10);
/// Sooner than a wait would end by itself.
const AT_ONCE: Duration = Duration::from_secs(5);

fn walrus(cloud: &Cloud) -> (InternalClient, Caller) {
    let files = cloud.files(Role::Walrus, "", "walrus");
    let client = InternalClient::new(&cloud.endpoint.url, Role::Clc, &files).unwrap();
    (client, Caller { identity: Identity::new(Role::Walrus, "", "walrus"), request_id: "r".into() })
}

fn kind<T: std::fmt::Debug>(result: Result<T, ApiError>) -> ApiErrorKind {
    result.unwrap_err().kind
}

async fn only_walrus_hears_secrets(cloud: Cloud) {
    let alice = cloud.owner().await;
    for (role, cluster) in [(Role::Admin, ""), (Role::Clc, ""), (Role::Cc, "zone-a"), (Role::Nc, "zone-a")] {
        let client =
            InternalClient::new(&cloud.endpoint.url, Role::Clc, &cloud.files(role, cluster, "x")).unwrap();
        let caller = Caller { identity: Identity::new(role, cluster, "x"), request_id: "r".into() };
        assert_eq!(kind(client.signer(&caller, &alice.id).await), ApiErrorKind::Forbidden);
        let version = client.signers_version(&caller, 0, Duration::ZERO).await;
        assert_eq!(kind(version), ApiErrorKind::Forbidden);
    }
    let (client, caller) = walrus(&cloud);
    assert_eq!(kind(client.account_list(&caller).await), ApiErrorKind::Forbidden, "no way round");
    assert!(!format!("{:?}", client.signer(&caller, &alice.id).await.unwrap()).contains(&alice.secret));
}

async fn a_key_leads_to_its_user(cloud: Cloud) {
    let alice = cloud.owner().await;
    let reader = cloud.user("acme", "rita", &["ReadOnlyAccess"]).await;
    let operator = cloud.user("admin", "admin", &["AdministratorAccess"]).await;
    let (client, caller) = walrus(&cloud);
    let told = client.signer(&caller, &alice.id).await.unwrap().found.unwrap();
    assert_eq!((&told.access_key_id, &told.secret_access_key.0), (&alice.id, &alice.secret));
    assert_eq!((told.session, told.policies.len()), (None, 1));
    let account = told.who.account.id.clone();
    assert_eq!((told.who.user.as_str(), told.who.account.name.as_str()), ("alice", "acme"));
    assert_eq!(told.who.arn, format!("arn:aws:iam::{account}:user/alice"));
    assert_eq!(told.who.account.canonical_id, canonical_id(&account));
    assert!(told.who.user_id.starts_with("AIDA") && told.who.root && !told.who.administrator);
    let told = client.signer(&caller, &reader.id).await.unwrap().found.unwrap();
    assert!(!told.who.root && told.who.account.id == account);
    let told = client.signer(&caller, &operator.id).await.unwrap().found.unwrap();
    assert!(told.who.root && told.who.administrator);
    let unknown = client.signer(&caller, "AKIANOBODYNOBODY").await.unwrap();
    assert!(unknown.found.is_none() && unknown.version > 0);
}

async fn accounts_are_found_by_what_s3_calls_them(cloud: Cloud) {
    let (admin, operator) = cloud.admin();
    let new = |name: &str, email: &str| NewAccount {
        name: name.into(),
        administrator: false,
        email: Some(email.into()),
    };
    let made = admin.account_create(&operator, new("physics", "Ada@Example.org")).await.unwrap();
    assert_eq!(made.email.as_deref(), Some("ada@example.org"));
    for (name, email, expected) in [
        ("other", "ADA@example.org", ApiErrorKind::Conflict),
        ("other", "nobody", ApiErrorKind::Invalid),
        ("other", "a b@example.org", ApiErrorKind::Invalid),
        ("other", "@", ApiErrorKind::Invalid),
    ] {
        assert_eq!(kind(admin.account_create(&operator, new(name, email)).await), expected, "{email}");
    }
    let (client, caller) = walrus(&cloud);
    for name in [
        AccountName::Id(made.id.clone()),
        AccountName::Canonical(canonical_id(&made.id)),
        AccountName::Email("ada@EXAMPLE.org".into()),
    ] {
        let found = client.signer_account(&caller, &name).await.unwrap().found.unwrap();
        assert_eq!((&found.id, found.name.as_str()), (&made.id, "physics"), "{name:?}");
    }
    for name in [
        AccountName::Id("physics".into()),
        AccountName::Canonical(canonical_id("000000000000")),
        AccountName::Email("eve@example.org".into()),
    ] {
        assert_eq!(client.signer_account(&caller, &name).await.unwrap().found, None, "{name:?}");
    }
}

async fn a_change_is_heard_at_once(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (client, caller) = walrus(&cloud);
    let (admin, operator) = cloud.admin();
    let known = client.signers_version(&caller, 0, Duration::ZERO).await.unwrap().version;
    let same = client.signers_version(&caller, known, Duration::from_millis(50)).await.unwrap().version;
    assert_eq!(same, known, "nothing has changed");
    let began = Instant::now();
    let waiting = tokio::spawn({
        let (client, caller) = (client.clone(), caller.clone());
        async move { client.signers_version(&caller, known, WAIT).await.unwrap().version }
    });
    admin.key_delete(&operator, &alice.id).await.unwrap();
    let next = waiting.await.unwrap();
    assert!(next != known && began.elapsed() < AT_ONCE, "heard after {:?}", began.elapsed());
    let told = client.signer(&caller, &alice.id).await.unwrap();
    assert!(told.found.is_none() && told.version >= next);
}

async fn certificates_are_kept_for_their_users(cloud: Cloud) {
    let alice = cloud.owner().await;
    let _rita = cloud.user("acme", "rita", &["ReadOnlyAccess"]).await;
    let (admin, operator) = cloud.admin();
    let (client, caller) = walrus(&cloud);
    let account = client.signer(&caller, &alice.id).await.unwrap().found.unwrap().who.account.id;
    let pem = |name: &'static str| async move {
        tokio::task::spawn_blocking(|| RsaPair::generate(name).unwrap().certificate_pem).await.unwrap()
    };
    let (first, second, third) = tokio::join!(pem("one"), pem("two"), pem("three"));
    let new =
        |user: &str, pem: &str| NewCertificate { account: "acme".into(), user: user.into(), pem: pem.into() };
    let made = admin.certificate_create(&operator, new("alice", &first)).await.unwrap();
    assert_eq!((made.account.as_str(), made.user.as_str(), &made.pem), (account.as_str(), "alice", &first));
    let again = admin.certificate_create(&operator, new("alice", &first)).await.unwrap();
    assert_eq!(again, made, "up brings its certificate again");
    for (user, pem, expected) in [
        ("rita", first.as_str(), ApiErrorKind::Conflict),
        ("nobody", second.as_str(), ApiErrorKind::NotFound),
        ("alice", "rubbish", ApiErrorKind::Invalid),
    ] {
        assert_eq!(kind(admin.certificate_create(&operator, new(user, pem)).await), expected, "{user}");
    }
    admin.certificate_create(&operator, new("alice", &second)).await.unwrap();
    assert_eq!(kind(admin.certificate_create(&operator, new("alice", &third)).await), ApiErrorKind::Conflict);
    admin.certificate_create(&operator, new("rita", &third)).await.unwrap();

    let told = client.signer_certificates(&caller, &account).await.unwrap().found.unwrap();
    let users: Vec<&str> = told.iter().map(|one| one.user.as_str()).collect();
    assert_eq!(users, ["alice", "alice", "rita"]);
    assert!(told.iter().any(|one| one.pem == first && one.id == made.id));
    admin.certificate_delete(&operator, &made.id).await.unwrap();
    assert_eq!(kind(admin.certificate_delete(&operator, &made.id).await), ApiErrorKind::NotFound);
    assert_eq!(admin.certificate_list(&operator, "acme").await.unwrap().len(), 2);
    admin.user_delete(&operator, "acme", "rita").await.unwrap();
    assert_eq!(client.signer_certificates(&caller, &account).await.unwrap().found.unwrap().len(), 1);
    assert_eq!(client.signer_certificates(&caller, "000000000000").await.unwrap().found, None);
}
