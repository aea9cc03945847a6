//! The internal API: who may call what, joining, status, and the operator's verbs.

use crate::support::{Cloud, FakeCluster, REGION, until};
use karri_clc::app::instance::State;
use karri_clc::store::StoreError;
use karri_proto::internal::admin::{AdminService, NewAccount, NewKey, NewPolicy, NewToken, NewUser};
use karri_proto::internal::clusters::{ClusterHello, ClusterService};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::join::{JoinRequest, JoinToken};
use karri_proto::internal::signers::SignerService;
use karri_proto::internal::story::StoryService;
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::pki::{certificate_request, certificate_request_for};
use karri_proto::runtime::tls::fingerprint;
use std::time::Duration;

on_both! {
    each_role_may_call_its_own_service_only
    a_cluster_is_told_how_addresses_are_named
    a_story_is_asked_of_the_image_store_too
    a_token_lets_one_node_in_once
    a_name_belongs_to_one_node_until_it_is_forgotten
    a_token_is_for_one_machine
    a_forgotten_nodes_certificates_are_told_as_refused
    the_operators_verbs_say_what_is_wrong
    the_last_administrator_cannot_be_deleted
    an_instance_that_only_the_database_knows_of_keeps_its_account
    an_ill_controller_names_what_is_wrong
    status_tells_controllers_capacity_and_instances
    keys_outlive_a_restart_and_are_not_readable_in_the_database
}

fn hello(zone: &str) -> ClusterHello {
    ClusterHello {
        zone: zone.into(),
        url: "https://127.0.0.1:1".into(),
        subnet_cidr: "172.31.0.0/20".into(),
        gateway: "172.31.0.1".parse().unwrap(),
        mode: Default::default(),
        extends: false,
        tunnels: None,
        vlans: None,
        version: "0".into(),
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, ApiError>) -> ApiErrorKind {
    result.unwrap_err().kind
}

async fn each_role_may_call_its_own_service_only(cloud: Cloud) {
    let client = |role, cluster: &str, name: &str| {
        let files = cloud.files(role, cluster, name);
        InternalClient::new(&cloud.endpoint.url, Role::Clc, &files).unwrap()
    };
    let caller = Caller { identity: Identity::new(Role::Nc, "", ""), request_id: "r".into() };
    let cc = client(Role::Cc, "zone-a", "zone-a");
    let nc = client(Role::Nc, "zone-a", "node-1");
    let admin = client(Role::Admin, "", "operator");
    cc.cluster_hello(&caller, hello("zone-a")).await.unwrap();
    for stranger in [&nc, &admin] {
        assert_eq!(kind(stranger.cluster_hello(&caller, hello("zone-a")).await), ApiErrorKind::Forbidden);
    }
    admin.account_list(&caller).await.unwrap();
    admin.story(&caller, "i-12345678").await.unwrap();
    for stranger in [&nc, &cc] {
        assert_eq!(kind(stranger.account_list(&caller).await), ApiErrorKind::Forbidden);
        assert_eq!(kind(stranger.story(&caller, "i-12345678").await), ApiErrorKind::Forbidden);
    }
    let other = client(Role::Cc, "zone-b", "zone-b");
    assert_eq!(kind(other.cluster_hello(&caller, hello("zone-a")).await), ApiErrorKind::Conflict);
    let nonsense = ClusterHello { subnet_cidr: "everything".into(), ..hello("zone-b") };
    assert_eq!(kind(other.cluster_hello(&caller, nonsense).await), ApiErrorKind::Invalid);
}

async fn a_cluster_is_told_how_addresses_are_named(cloud: Cloud) {
    let files = cloud.files(Role::Cc, "zone-a", "zone-a");
    let cc = InternalClient::new(&cloud.endpoint.url, Role::Clc, &files).unwrap();
    let caller = Caller { identity: Identity::new(Role::Cc, "", ""), request_id: "r".into() };
    let names = cc.cluster_hello(&caller, hello("zone-a")).await.unwrap().names.unwrap();
    let domain = format!("{REGION}.compute.internal");
    assert_eq!((names.domain, names.public_domain), (domain.clone(), domain));
    let [range] = names.public.as_slice() else { panic!("{:?}", names.public) };
    assert_eq!((range.first.octets(), range.last.octets()), ([198, 18, 0, 1], [198, 18, 0, 14]));
}

async fn a_story_is_asked_of_the_image_store_too(cloud: Cloud) {
    let (admin, caller) = cloud.admin();
    let about = "cli-0123456789abcdef";
    let lines = admin.story(&caller, about).await.unwrap();
    let walrus = lines.iter().find(|line| line.who.starts_with("walrus")).expect("its line");
    assert_eq!(walrus.message, format!("told of {about}"));
    cloud.walrus.goes_away();
    let missing = until("its part is missing", async || {
        let lines = admin.story(&caller, about).await.unwrap();
        lines.into_iter().find(|line| line.who == "walrus")
    });
    let missing = missing.await;
    assert!(missing.level == "WARN" && missing.message.starts_with("its lines are missing: "), "{missing:?}");
}

async fn a_token_lets_one_node_in_once(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let (admin, caller) = cloud.admin();
    let new = NewToken { cluster: "zone-a".into(), valid_secs: 60, replace: false };
    let token = admin.token_create(&caller, new).await.unwrap();
    let token = JoinToken::decode(&token.token).unwrap();
    let ca_pem = std::fs::read_to_string(cloud.path().join("ca/ca.pem")).unwrap();
    assert_eq!(token.ca_fingerprint, fingerprint(&ca_pem).unwrap());
    assert_eq!(token.clc_url, cloud.endpoint.url);

    let (_, csr_pem) = certificate_request().unwrap();
    let join = async |secret: &str, name: &str, csr: &str| {
        let request = JoinRequest { secret: secret.into(), name: name.into(), csr_pem: csr.into() };
        admin.post::<karri_proto::internal::join::JoinAnswer>("/v1/join", "r", &request).await
    };
    let answer = join(&token.secret, "node-9", &csr_pem).await.unwrap();
    assert_eq!(answer.identity, Identity::new(Role::Nc, "zone-a", "node-9"));
    assert_eq!(answer.cc_url, cluster.url);
    assert!(answer.certificate_pem.contains("BEGIN CERTIFICATE"));
    join(&token.secret, "node-9", &csr_pem).await.expect("its first answer may have been lost");
    assert_eq!(kind(join(&token.secret, "node-10", &csr_pem).await), ApiErrorKind::Forbidden);
    assert_eq!(kind(join("guessed", "node-10", &csr_pem).await), ApiErrorKind::Forbidden);
    assert_eq!(kind(join(&token.secret, "node:10", &csr_pem).await), ApiErrorKind::Invalid);
    assert_eq!(kind(join(&token.secret, "node-9", "rubbish").await), ApiErrorKind::Invalid);
    for (cluster, valid_secs, expected) in
        [("nowhere", 60, ApiErrorKind::NotFound), ("zone-a", 0, ApiErrorKind::Invalid)]
    {
        let new = NewToken { cluster: cluster.into(), valid_secs, replace: false };
        assert_eq!(kind(admin.token_create(&caller, new).await), expected);
    }
}

async fn a_name_belongs_to_one_node_until_it_is_forgotten(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (admin, caller) = cloud.admin();
    let join = async |replace: bool, name: &str| {
        let new = NewToken { cluster: "zone-a".into(), valid_secs: 60, replace };
        let token = admin.token_create(&caller, new).await.unwrap();
        let secret = JoinToken::decode(&token.token).unwrap().secret;
        let request = JoinRequest { secret, name: name.into(), csr_pem: certificate_request().unwrap().1 };
        let answer = admin.post::<karri_proto::internal::join::JoinAnswer>("/v1/join", "r", &request).await;
        answer.map(|answer| answer.identity.name)
    };
    join(false, "debian").await.unwrap();
    let refused = join(false, "debian").await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    assert!(refused.message.contains("--replace"), "{refused}");
    assert_eq!(join(true, "debian").await.unwrap(), "debian", "the operator says so");
    // The supervisor's own node has joined with no token.
    assert_eq!(kind(join(false, "zone-a-node-1").await), ApiErrorKind::Conflict);
    admin.node_forget(&caller, "zone-a", "debian", false).await.unwrap();
    assert_eq!(kind(admin.node_forget(&caller, "zone-a", "debian", false).await), ApiErrorKind::NotFound);
    join(false, "debian").await.unwrap();
    admin.node_forget(&caller, "zone-a", "zone-a-node-1", false).await.unwrap();
    join(false, "zone-a-node-1").await.unwrap();
}

/// Joins under a name; what comes back is the certificate.
async fn join(cloud: &Cloud, token: &JoinToken, name: &str, csr_pem: &str) -> Result<String, ApiError> {
    let (admin, _) = cloud.admin();
    let request = JoinRequest { secret: token.secret.clone(), name: name.into(), csr_pem: csr_pem.into() };
    let answer = admin.post::<karri_proto::internal::join::JoinAnswer>("/v1/join", "r", &request).await;
    answer.map(|answer| answer.certificate_pem)
}

async fn token(cloud: &Cloud, replace: bool) -> JoinToken {
    let (admin, caller) = cloud.admin();
    let new = NewToken { cluster: "zone-a".into(), valid_secs: 60, replace };
    JoinToken::decode(&admin.token_create(&caller, new).await.unwrap().token).unwrap()
}

async fn a_token_is_for_one_machine(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (key, first) = certificate_request().unwrap();
    let (_, second) = certificate_request().unwrap();
    for replace in [false, true] {
        let one = token(&cloud, replace).await;
        join(&cloud, &one, "debian", &first).await.unwrap();
        let again = certificate_request_for(&key).unwrap();
        join(&cloud, &one, "debian", &again).await.expect("the same key is the same machine");
        let refused = join(&cloud, &one, "debian", &second).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Forbidden);
        assert!(refused.message.contains("karri node forget debian"), "{refused}");
        assert!(refused.message.contains("\"debian\" of zone-a"), "{refused}");
    }
    let other = token(&cloud, false).await;
    assert_eq!(kind(join(&cloud, &other, "debian", &second).await), ApiErrorKind::Conflict);
    join(&cloud, &other, "debian", &first).await.expect("the same machine with another token");
    let (admin, caller) = cloud.admin();
    admin.node_forget(&caller, "zone-a", "debian", false).await.unwrap();
    join(&cloud, &token(&cloud, false).await, "debian", &second).await.unwrap();
}

async fn a_forgotten_nodes_certificates_are_told_as_refused(cloud: Cloud) {
    let a = cloud.cluster("zone-a", 1).await;
    let b = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let client = |role, name: &str| {
        let cluster = if role == Role::Cc { name } else { "" };
        InternalClient::new(&cloud.endpoint.url, Role::Clc, &cloud.files(role, cluster, name)).unwrap()
    };
    let told_cluster = async |cluster: &FakeCluster| {
        let (_, caller) = cloud.admin();
        let (url, subnet_cidr) = (cluster.url.clone(), cluster.subnet_cidr.clone());
        let greeting = ClusterHello { url, subnet_cidr, ..hello(&cluster.zone) };
        let welcome = client(Role::Cc, &cluster.zone).cluster_hello(&caller, greeting).await.unwrap();
        welcome.revoked.unwrap()
    };
    let told_walrus = async || {
        let (_, caller) = cloud.admin();
        let news = client(Role::Walrus, "walrus").signers_version(&caller, -1, Duration::ZERO).await;
        let news = news.unwrap();
        (news.version, news.revoked.unwrap())
    };
    let requests = [(); 3].map(|()| certificate_request().unwrap());
    let joined = token(&cloud, false).await;
    let lost = join(&cloud, &joined, "gone", &requests[0].1).await.unwrap();
    let used = join(&cloud, &joined, "gone", &requests[0].1).await.unwrap();
    let stays = join(&cloud, &token(&cloud, false).await, "stays", &requests[1].1).await.unwrap();
    assert_eq!((told_cluster(&a).await, told_walrus().await.1), (Vec::new(), Vec::new()));

    let before = told_walrus().await.0;
    let (admin, caller) = cloud.admin();
    admin.node_forget(&caller, "zone-a", "gone", false).await.unwrap();
    let mut refused = [&lost, &used].map(|pem| fingerprint(pem).unwrap()).to_vec();
    refused.sort();
    assert_eq!((told_cluster(&a).await, told_walrus().await.1), (refused.clone(), refused.clone()));
    assert!(told_cluster(&b).await.is_empty(), "its nodes are not another cluster's");
    assert!(told_walrus().await.0 > before, "who waits for news hears of it at once");

    // The same machine with a new token has a certificate that is good; one whose place is taken has none.
    join(&cloud, &token(&cloud, false).await, "gone", &requests[0].1).await.unwrap();
    assert_eq!(told_cluster(&a).await, refused);
    join(&cloud, &token(&cloud, true).await, "stays", &requests[2].1).await.unwrap();
    refused.push(fingerprint(&stays).unwrap());
    refused.sort();
    assert_eq!(told_cluster(&a).await, refused);
}

async fn the_operators_verbs_say_what_is_wrong(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (admin, caller) = cloud.admin();
    let alice = cloud.owner().await;
    let account = NewAccount { name: "acme".into(), administrator: false, email: None };
    assert_eq!(kind(admin.account_create(&caller, account).await), ApiErrorKind::Conflict);
    let user = |account: &str, name: &str, policy: &str| NewUser {
        account: account.into(),
        name: name.into(),
        policies: vec![NewPolicy::from(policy)],
    };
    assert_eq!(
        kind(admin.user_create(&caller, user("nobody", "x", "ReadOnlyAccess")).await),
        ApiErrorKind::NotFound
    );
    assert_eq!(
        kind(admin.user_create(&caller, user("acme", "a b", "ReadOnlyAccess")).await),
        ApiErrorKind::Invalid
    );
    assert_eq!(
        kind(admin.user_create(&caller, user("acme", "x", "NoSuchPolicy")).await),
        ApiErrorKind::Invalid
    );
    assert_eq!(
        kind(admin.user_create(&caller, user("acme", "x", "{\"Version\"}")).await),
        ApiErrorKind::Invalid
    );
    assert_eq!(
        kind(admin.user_create(&caller, user("acme", "alice", "ReadOnlyAccess")).await),
        ApiErrorKind::Conflict
    );
    let named = |name: &str| NewPolicy {
        name: Some(name.into()),
        policy: r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#.into(),
    };
    for policies in [vec![named("a"), named("a")], vec![named("a b")]] {
        let new = NewUser { policies, ..user("acme", "x", "") };
        assert_eq!(kind(admin.user_create(&caller, new).await), ApiErrorKind::Invalid);
    }
    admin.user_create(&caller, user("acme", "x", "ReadOnlyAccess")).await.unwrap();
    let key = NewKey {
        account: "acme".into(),
        user: "x".into(),
        access_key_id: Some("AKIAEXAMPLEEXAMPLE00".into()),
        secret_access_key: Some("secret".into()),
    };
    for _ in 0..2 {
        let made = admin.key_create(&caller, key.clone()).await.expect("up brings its keys again");
        assert_eq!(made.secret_access_key.as_deref(), Some("secret"));
    }
    let listed = admin.key_list(&caller, "acme").await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|key| key.secret_access_key.is_none()));
    admin.user_delete(&caller, "acme", "x").await.unwrap();
    assert_eq!(admin.key_list(&caller, "acme").await.unwrap().len(), 1);
    assert_eq!(kind(admin.user_delete(&caller, "acme", "x").await), ApiErrorKind::NotFound);
    assert_eq!(kind(admin.key_delete(&caller, "AKIANOBODYNOBODY").await), ApiErrorKind::NotFound);

    let id = alice.run(1, &[]).await.ok().one("instanceId");
    assert_eq!(kind(admin.account_delete(&caller, "acme", true).await), ApiErrorKind::Conflict);
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    admin.account_delete(&caller, "acme", false).await.unwrap();
    alice.ec2("DescribeInstances", &[]).await.refused(401, "AuthFailure");
}

async fn the_last_administrator_cannot_be_deleted(cloud: Cloud) {
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let _reader = cloud.user("admin", "auditor", &["ReadOnlyAccess"]).await;
    let _owner = cloud.owner().await; // of an ordinary account: administers nothing but that
    let (admin, caller) = cloud.admin();
    let refused = |refused: ApiError| {
        assert_eq!(refused.kind, ApiErrorKind::Conflict);
        assert!(refused.message.contains("last administrator"), "{refused}");
    };
    refused(admin.key_delete(&caller, &root.id).await.unwrap_err());
    refused(admin.user_delete(&caller, "admin", "root").await.unwrap_err());
    refused(admin.account_delete(&caller, "admin", true).await.unwrap_err());
    let to_the_reader = NewKey {
        account: "admin".into(),
        user: "auditor".into(),
        access_key_id: Some(root.id.clone()),
        secret_access_key: Some(root.secret.clone()),
    };
    refused(admin.key_create(&caller, to_the_reader.clone()).await.unwrap_err());
    let once_more = NewKey { user: "root".into(), ..to_the_reader };
    admin.key_create(&caller, once_more).await.expect("it stays with its user");
    root.ec2("DescribeInstances", &[]).await.ok();

    let second = cloud.user("admin", "second", &["AdministratorAccess"]).await;
    admin.user_delete(&caller, "admin", "root").await.unwrap();
    root.ec2("DescribeInstances", &[]).await.refused(401, "AuthFailure");
    refused(admin.key_delete(&caller, &second.id).await.unwrap_err());
    admin.user_delete(&caller, "admin", "auditor").await.unwrap();
}

async fn an_instance_that_only_the_database_knows_of_keeps_its_account(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    let store = cloud.store().await;
    until("nothing more is heard of it", || async {
        let rows = store.instances_changed_after(0).await.unwrap();
        rows.iter().all(|row| row.forgotten).then_some(())
    })
    .await;
    let id = id.parse().unwrap();
    let changed = store.instances_change(std::slice::from_ref(&id), |instances| {
        instances.iter_mut().for_each(|instance| instance.state = State::Running);
        Ok::<_, StoreError>(vec![true; instances.len()])
    });
    assert_eq!(changed.await.unwrap().len(), 1);
    store.close().await;
    let (admin, caller) = cloud.admin();
    let refused = admin.account_delete(&caller, "acme", true).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    assert_eq!(refused.message, "account acme still has 1 instances");
}

async fn an_ill_controller_names_what_is_wrong(cloud: Cloud) {
    let (admin, caller) = cloud.admin();
    let health = async || admin.get_stream("/healthz", "r", 0).await.map(drop).map_err(|error| error.message);
    health().await.unwrap();
    let store = cloud.store().await;
    let rename = async |from: &str, to: &str| {
        let mut tx = store.begin().await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"));
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    rename("counters", "mislaid").await;
    let wrong = until("it notices", async || health().await.err()).await;
    assert!(wrong.contains("503") && wrong.contains("database: "), "{wrong}");
    let status = admin.cloud_status(&caller).await.unwrap();
    assert!(
        !status.controllers[0].healthy && status.controllers[0].detail.contains("database"),
        "{status:?}"
    );
    rename("mislaid", "counters").await;
    until("it is well again", async || health().await.ok()).await;
    store.close().await;
}

async fn status_tells_controllers_capacity_and_instances(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let (admin, caller) = cloud.admin();
    let alice = cloud.owner().await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    let status = admin.cloud_status(&caller).await.unwrap();
    let roles: Vec<&str> = status.controllers.iter().map(|one| one.role.as_str()).collect();
    assert_eq!(roles, ["clc", "cc", "nc", "nc"]);
    assert!(status.controllers.iter().all(|one| one.healthy));
    assert_eq!(status.instances["running"], 1);
    let slots = status.zones[0].slots.iter().find(|slots| slots.instance_type == "t3.micro").unwrap();
    assert_eq!((slots.free, slots.total), (3, 4));
}

async fn keys_outlive_a_restart_and_are_not_readable_in_the_database(mut cloud: Cloud) {
    let mut alice = cloud.owner().await;
    cloud.stop().await;
    let store = cloud.store().await;
    let record = store.identity_fetch(&alice.id).await.unwrap().unwrap();
    assert!(!record.key.sealed_secret.contains(&alice.secret));
    store.close().await;
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    alice.ec2("DescribeInstances", &[]).await.ok();
}
