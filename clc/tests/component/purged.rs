//! What is left of an instance that nobody is shown any more.

use crate::support::{Client, Cloud, Database, until};
use karri_clc::config::Limits;

async fn purged(client: &Client, id: &str) {
    until("purged", || async {
        let gone = client.ec2("DescribeInstances", &[("InstanceId.1", id)]).await;
        (gone.code() == "InvalidInstanceID.NotFound").then_some(())
    })
    .await;
}

async fn soon_purged(engine: Database) -> Cloud {
    Cloud::start_with(engine, Limits { terminated_visible_secs: 1, ..Limits::default() }).await
}

async fn a_token_answers_with_what_is_purged(engine: Database) {
    let mut cloud = soon_purged(engine).await;
    let _cluster = cloud.cluster("zone-a", 2).await;
    let mut alice = cloud.owner().await;
    let token = [("ClientToken", "again"), ("UserData", "aGVsbG8=")];
    let ids = alice.run(2, &token).await.ok().instances();
    for id in &ids {
        alice.wait_for(id, "running").await;
    }
    let told = async |client: &Client| {
        let again = client.run(2, &token).await.ok();
        (again.instances(), again.states())
    };
    alice.ec2("TerminateInstances", &[("InstanceId.1", &ids[0])]).await.ok();
    purged(&alice, &ids[0]).await;
    assert_eq!(told(&alice).await, (ids.clone(), vec!["terminated".into(), "running".into()]));
    alice.ec2("TerminateInstances", &[("InstanceId.1", &ids[1])]).await.ok();
    purged(&alice, &ids[1]).await;
    assert_eq!(told(&alice).await, (ids.clone(), vec!["terminated".into(), "terminated".into()]));
    alice.run(1, &token).await.refused(400, "IdempotentParameterMismatch");
    cloud.stop().await;
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    assert_eq!(told(&alice).await.0, ids, "a restarted controller knows it too");

    assert!(alice.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());
    for action in ["StartInstances", "TerminateInstances"] {
        alice.ec2(action, &[("InstanceId.1", &ids[0])]).await.refused(400, "InvalidInstanceID.NotFound");
    }
    let tag = [("ResourceId.1", ids[0].as_str()), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
    alice.ec2("CreateTags", &tag).await.refused(400, "InvalidInstanceID.NotFound");

    // A day later.
    let store = cloud.store().await;
    let now_ms = karri_clc::app::now_ms();
    assert_eq!(store.reservations_purge(now_ms + 23 * 3600 * 1000).await.unwrap(), []);
    let free = store.reservations_purge(now_ms + 25 * 3600 * 1000).await.unwrap();
    assert_eq!(free, [(alice.account.clone(), "again".to_owned())]);
    assert_eq!(store.client_tokens().await.unwrap(), []);
    store.close().await;
}

async fn an_account_has_so_many_client_tokens_at_most(engine: Database) {
    let limits = Limits { client_tokens_per_account: 2, terminated_visible_secs: 1, ..Limits::default() };
    let mut cloud = Cloud::start_with(engine, limits).await;
    let _cluster = cloud.cluster("zone-a", 2).await;
    let (mut alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let first = alice.run(1, &[("ClientToken", "first")]).await.ok().one("instanceId");
    alice.run(1, &[("ClientToken", "second")]).await.ok();
    let refused = alice.run(1, &[("ClientToken", "third")]).await.refused(400, "ResourceLimitExceeded");
    assert!(refused.message().contains("2 client tokens in use"), "{}", refused.text);
    assert_eq!(alice.run(1, &[("ClientToken", "first")]).await.ok().one("instanceId"), first);
    alice.run(1, &[]).await.ok();
    bob.run(1, &[("ClientToken", "third")]).await.ok();

    alice.ec2("TerminateInstances", &[("InstanceId.1", &first)]).await.ok();
    purged(&alice, &first).await;
    alice.run(1, &[("ClientToken", "third")]).await.refused(400, "ResourceLimitExceeded");
    cloud.stop().await;
    let store = cloud.store().await;
    let a_day_later = karri_clc::app::now_ms() + 25 * 3600 * 1000;
    assert_eq!(store.reservations_purge(a_day_later).await.unwrap().len(), 1);
    store.close().await;
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    alice.run(1, &[("ClientToken", "third")]).await.ok();
    alice.run(1, &[("ClientToken", "fourth")]).await.refused(400, "ResourceLimitExceeded");
}

mod an_account_has_so_many_client_tokens_at_most {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::an_account_has_so_many_client_tokens_at_most(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::an_account_has_so_many_client_tokens_at_most(Database::Postgres).await;
    }
}

mod a_token_answers_with_what_is_purged {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::a_token_answers_with_what_is_purged(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::a_token_answers_with_what_is_purged(Database::Postgres).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_does_not_reconcile_forgets_what_is_purged() {
    let cloud = soon_purged(Database::Postgres).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (second, stopper) = cloud.second().await;
    let there = Client { url: second.public_url.clone().unwrap(), ..alice.clone() };
    let id = there.run(1, &[]).await.ok().one("instanceId");
    there.wait_for(&id, "running").await;
    there.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    purged(&alice, &id).await;
    purged(&there, &id).await;
    stopper.stop().await;
}
