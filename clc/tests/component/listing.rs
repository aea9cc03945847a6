//! Long listings, which are kept between requests: true after every change, whoever asks.

use crate::support::{Answer, Client, Cloud, until};

on_both! {
    a_long_listing_is_true_after_every_change
    listings_of_others_and_of_everyone_follow_too
}

/// What a listing says, without its envelope: kept from the request before, or not.
fn body(answer: &Answer) -> &str {
    answer.text.split_once("</requestId>").map_or("", |(_, rest)| rest)
}

async fn listed(client: &Client, more: &[(&str, &str)]) -> Answer {
    client.ec2("DescribeInstances", more).await.ok()
}

/// The same instances, asked for by id: such answers are never kept.
async fn named(client: &Client, ids: &[String]) -> Answer {
    let names: Vec<String> = (1..=ids.len()).map(|n| format!("InstanceId.{n}")).collect();
    let pairs: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(ids.iter().map(String::as_str)).collect();
    listed(client, &pairs).await
}

async fn all_run(client: &Client, count: usize) {
    let running = || async {
        let states = listed(client, &[]).await.states();
        (states.len() == count && states.iter().all(|state| state == "running")).then_some(())
    };
    until("all run", running).await;
}

async fn a_long_listing_is_true_after_every_change(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 60).await;
    let alice = cloud.owner().await;
    for count in [1, 70, 30] {
        alice.run(count, &[]).await.ok();
    }
    all_run(&alice, 101).await;
    let own = listed(&alice, &[]).await.instances();
    assert_eq!(body(&listed(&alice, &[]).await), body(&named(&alice, &own).await));

    for id in own.iter().step_by(25) {
        alice.ec2("StopInstances", &[("InstanceId.1", id)]).await.ok();
        let stopping = listed(&alice, &[]).await;
        assert_eq!(stopping.states().iter().filter(|state| *state == "running").count(), own.len() - 1);
        alice.wait_for(id, "stopped").await;
        assert_eq!(body(&listed(&alice, &[]).await), body(&named(&alice, &own).await));
        let stopped = [("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "stopped")];
        assert_eq!(listed(&alice, &stopped).await.instances(), [id.as_str()]);
        alice.ec2("StartInstances", &[("InstanceId.1", id)]).await.ok();
        alice.wait_for(id, "running").await;
    }
    let tag = [("ResourceId.1", own[40].as_str()), ("Tag.1.Key", "role"), ("Tag.1.Value", "<db>")];
    alice.ec2("CreateTags", &tag).await.ok();
    assert_eq!(listed(&alice, &[]).await.all("value"), ["&lt;db&gt;"]);

    // Pages, each cut within reservations, come to the whole.
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = listed(&alice, &[("MaxResults", "7"), ("NextToken", &token)]).await;
        seen.extend(page.instances());
        match page.first("nextToken") {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(seen, own);
}

async fn listings_of_others_and_of_everyone_follow_too(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 20).await;
    let alice = cloud.owner().await;
    let bob = cloud.user("bobs", "bob", &["AdministratorAccess"]).await;
    let admin = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    alice.run(12, &[]).await.ok();
    let of_bob = bob.run(3, &[]).await.ok().instances();
    all_run(&alice, 12).await;
    all_run(&bob, 3).await;
    let verbose = [("InstanceId.1", "verbose")];
    assert_eq!(listed(&admin, &verbose).await.states().len(), 15);
    assert_eq!(listed(&bob, &verbose).await.instances().len(), 3, "only an administrator sees everyone's");

    let before = listed(&alice, &[]).await;
    bob.ec2("TerminateInstances", &[("InstanceId.1", &of_bob[0])]).await.ok();
    bob.wait_for(&of_bob[0], "terminated").await;
    assert_eq!(listed(&bob, &[]).await.states().iter().filter(|state| *state == "terminated").count(), 1);
    let everyone = listed(&admin, &verbose).await.states();
    assert_eq!(everyone.iter().filter(|state| *state == "terminated").count(), 1);
    assert_eq!(body(&listed(&alice, &[]).await), body(&before));
}
