//! Event notifications, heard by a webhook.

use crate::harness::{REGION, Server, server_with_webhooks};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use karri_proto::runtime::server::shutdown_pair;
use karri_walrus::api::s3::S3Options;
use karri_walrus::drive::webhooks::WebhookConfig;
use karri_walrus::reconcile::events::{self, Sender};
use karri_walrus::store::objects::now_unix_ms;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

const WAIT: Duration = Duration::from_secs(20);

/// Hears, unless it is told not to.
struct Hook {
    deaf: AtomicBool,
    asked: watch::Sender<usize>,
    heard: Mutex<Vec<Value>>,
}

impl Hook {
    async fn start() -> (Arc<Self>, String) {
        let hook = Arc::new(Self {
            deaf: AtomicBool::new(false),
            asked: watch::Sender::new(0),
            heard: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(hear)).with_state(hook.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (hook, url)
    }

    async fn asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let wait = asked.wait_for(|count| *count >= times);
        drop(tokio::time::timeout(WAIT, wait).await.expect("nobody asks").unwrap());
    }

    /// The records of events, when there are so many.
    async fn records(&self, count: usize) -> Vec<Value> {
        let mut asked = self.asked.subscribe();
        loop {
            let heard: Vec<Value> = {
                let heard = self.heard.lock().unwrap();
                heard.iter().filter_map(|event| event["Records"].get(0).cloned()).collect()
            };
            if heard.len() >= count {
                return heard;
            }
            tokio::time::timeout(WAIT, asked.changed()).await.expect("too few events").unwrap();
        }
    }
}

async fn hear(State(hook): State<Arc<Hook>>, body: String) -> StatusCode {
    let deaf = hook.deaf.load(Ordering::SeqCst);
    if !deaf {
        hook.heard.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    }
    hook.asked.send_modify(|count| *count += 1);
    if deaf { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
}

async fn with_hook() -> (Server, Arc<Hook>) {
    let (hook, url) = Hook::start().await;
    let options = S3Options { region: REGION.into(), ..S3Options::default() };
    let config = WebhookConfig { url, ca: None, authorization: None };
    let server = server_with_webhooks(options, BTreeMap::from([("audit".to_owned(), config)])).await;
    server.bucket("b-1").await;
    (server, hook)
}

fn sender(server: &Server) -> Sender {
    let s3 = &server.s3;
    let sender = Sender::new(s3.objects.clone(), s3.webhooks.clone(), Arc::default(), now_unix_ms);
    Sender { pause_min: Duration::from_millis(5), ..sender }
}

fn configuration(events: &[&str], filter: &str) -> String {
    let events: String = events.iter().map(|event| format!("<Event>{event}</Event>")).collect();
    format!(
        "<NotificationConfiguration><TopicConfiguration><Id>c1</Id>\
         <Topic>arn:aws:sns:{REGION}:111111111111:audit</Topic>{events}{filter}</TopicConfiguration>\
         </NotificationConfiguration>"
    )
}

async fn configure(server: &Server, text: &str) {
    server.call("PUT", "/b-1?notification").body(text.as_bytes()).expect(200).await;
}

const ALL: [&str; 2] = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"];

#[tokio::test]
async fn changes_are_told_in_order_as_s3_tells_them() {
    let (server, hook) = with_hook().await;
    configure(&server, &configuration(&ALL, "")).await;
    assert_eq!(hook.heard.lock().unwrap()[0]["Event"], "s3:TestEvent");
    let (_trigger, shutdown) = shutdown_pair();
    let running = tokio::spawn(events::run(sender(&server), shutdown));
    let put = server.put("/b-1/a%20b%2Fc", b"hello").await;
    server.call("PUT", "/b-1/k").header("x-amz-copy-source", "/b-1/a%20b/c").expect(200).await;
    server.call("DELETE", "/b-1/k").expect(204).await;
    server.call("DELETE", "/b-1/not-there").expect(204).await;
    server.keep_versions("b-1").await;
    let marker = server.call("DELETE", "/b-1/a%20b/c").expect(204).await;
    let records = hook.records(4).await;
    let names: Vec<&str> = records.iter().map(|record| record["eventName"].as_str().unwrap()).collect();
    let expected = [
        "ObjectCreated:Put",
        "ObjectCreated:Copy",
        "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
    ];
    assert_eq!(names, expected);
    let first = &records[0];
    assert_eq!((&first["eventSource"], &first["awsRegion"]), (&"aws:s3".into(), &REGION.into()));
    let s3 = &first["s3"];
    assert_eq!((&s3["configurationId"], &s3["bucket"]["name"]), (&"c1".into(), &"b-1".into()));
    assert_eq!((&s3["object"]["key"], &s3["object"]["size"]), (&"a+b%2Fc".into(), &5.into()));
    assert_eq!(format!("{}", s3["object"]["eTag"]), put.header("etag"));
    let request_id = first["responseElements"]["x-amz-request-id"].as_str().unwrap();
    assert_eq!(request_id, put.header("x-amz-request-id"));
    assert_eq!(records[3]["s3"]["object"]["versionId"], marker.header("x-amz-version-id"));
    let order: Vec<&str> =
        records.iter().map(|record| record["s3"]["object"]["sequencer"].as_str().unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
    running.abort();
}

#[tokio::test]
async fn a_filter_and_the_events_choose_what_is_told() {
    let (server, hook) = with_hook().await;
    let filter = "<Filter><S3Key><FilterRule><Name>prefix</Name><Value>img/</Value></FilterRule>\
        <FilterRule><Name>suffix</Name><Value>.png</Value></FilterRule></S3Key></Filter>";
    configure(&server, &configuration(&["s3:ObjectCreated:Put"], filter)).await;
    for key in ["img/a.jpg", "a.png", "img/a.png"] {
        server.put(&format!("/b-1/{key}"), b"x").await;
        server.call("DELETE", &format!("/b-1/{key}")).expect(204).await;
    }
    server.call("PUT", "/b-1?notification").body(b"<NotificationConfiguration/>").expect(200).await;
    server.put("/b-1/img/b.png", b"x").await;
    let waiting = server.s3.objects.event_list("audit", 10).await.unwrap();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].body.contains("img%2Fa.png"), "{waiting:?}");
    assert_eq!(hook.heard.lock().unwrap().len(), 1, "the test event");
}

#[tokio::test]
async fn what_is_not_heard_is_told_again_also_by_another_run() {
    let (server, hook) = with_hook().await;
    configure(&server, &configuration(&ALL, "")).await;
    hook.deaf.store(true, Ordering::SeqCst);
    server.put("/b-1/k", b"1").await;
    server.put("/b-1/l", b"2").await;
    let (trigger, shutdown) = shutdown_pair();
    let running = tokio::spawn(events::run(sender(&server), shutdown));
    hook.asked(4).await;
    trigger.fire();
    running.await.unwrap();
    assert_eq!(server.s3.objects.event_list("audit", 10).await.unwrap().len(), 2);
    hook.deaf.store(false, Ordering::SeqCst);
    let (_trigger, shutdown) = shutdown_pair();
    let running = tokio::spawn(events::run(sender(&server), shutdown));
    let records = hook.records(2).await;
    let keys: Vec<&Value> = records.iter().map(|record| &record["s3"]["object"]["key"]).collect();
    assert_eq!(keys, ["k", "l"]);
    running.abort();
}

#[tokio::test]
async fn a_destination_that_is_not_there_or_does_not_hear_is_refused() {
    let (server, hook) = with_hook().await;
    let code = async |text: String| {
        server.call("PUT", "/b-1?notification").body(text.as_bytes()).send().await.code()
    };
    let good = configuration(&ALL, "");
    assert_eq!(code(good.replace(":audit", ":other")).await, "InvalidArgument");
    assert_eq!(code(configuration(&["s3:ObjectTagging:Put"], "")).await, "NotImplemented");
    assert_eq!(code(configuration(&["s3:Nonsense"], "")).await, "InvalidArgument");
    hook.deaf.store(true, Ordering::SeqCst);
    assert_eq!(code(good.clone()).await, "InvalidArgument");
    assert!(!server.get("/b-1?notification").await.text().contains("audit"));
    let skipped = server.call("PUT", "/b-1?notification").header("x-amz-skip-destination-validation", "true");
    skipped.body(good.as_bytes()).expect(200).await;
    assert_eq!(server.get("/b-1?notification").await.element("Id"), "c1");
}
