//! A server whose larger objects lie with another one, as its clients see it.

use crate::harness::*;
use karri_walrus::api::s3::S3Options;
use karri_walrus::store::keeper::s3::{EngineKeys, EngineOptions, S3Keeper};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const LARGE: usize = 9 << 20;

fn body(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| ((n + seed) * 31 + n / 251) as u8).collect()
}

async fn server_before(engine: &Server) -> Server {
    engine.bucket("engine").await;
    let keys = EngineKeys { access_key_id: User::Ann.key().into(), secret_access_key: "secret".into() };
    let options = EngineOptions {
        endpoint: engine.url.clone(),
        region: REGION.into(),
        bucket: "engine".into(),
        prefix: String::new(),
        path_style: true,
        keys,
        ca: None,
        timeout: Duration::from_secs(20),
    };
    let ours = S3Options { region: REGION.into(), ..S3Options::default() };
    server_over(ours, BTreeMap::new(), |dir| {
        Arc::new(S3Keeper::open(options, &dir.join("incoming"), Arc::default()).unwrap())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_another_engine_are_objects_like_others() {
    let engine = server().await;
    let front = server_before(&engine).await;
    front.bucket("bkt").await;
    let (small, middle, large) = (body(1, 1000), body(2, 1 << 20), body(3, LARGE));
    for (key, bytes) in [("small", &small), ("middle", &middle), ("large", &large)] {
        front.put(&format!("/bkt/{key}"), bytes).await;
        assert!(front.get(&format!("/bkt/{key}")).await.body == *bytes, "{key}");
    }
    let range = format!("bytes={}-{}", LARGE - 70_000, LARGE - 1);
    let part = front.call("GET", "/bkt/large").header("range", &range).expect(206).await;
    assert!(part.body == large[LARGE - 70_000..]);
    front.call("PUT", "/bkt/copy").header("x-amz-copy-source", "/bkt/large").expect(200).await;
    front.call("DELETE", "/bkt/large").expect(204).await;
    assert!(front.get("/bkt/copy").await.body == large);
    let upload = front.call("POST", "/bkt/parts?uploads").expect(200).await.element("UploadId");
    let mut etags = Vec::new();
    for (number, bytes) in [(1, &large), (2, &middle)] {
        let path = format!("/bkt/parts?partNumber={number}&uploadId={upload}");
        let etag = front.call("PUT", &path).body(bytes).expect(200).await.header("etag").to_owned();
        etags.push(etag);
    }
    let document = listed(&[(1, &etags[0]), (2, &etags[1])]);
    front.call("POST", &format!("/bkt/parts?uploadId={upload}")).body(&document).expect(200).await;
    assert!(front.get("/bkt/parts").await.body == [large, middle].concat());
}

#[tokio::test]
async fn an_engine_that_is_away_is_a_503_in_s3s_form_for_its_objects_only() {
    let engine = server().await;
    let front = server_before(&engine).await;
    front.bucket("bkt").await;
    front.put("/bkt/small", b"small").await;
    front.put("/bkt/large", &body(1, 100_000)).await;
    engine.stop().await;
    for (method, sent) in [("GET", Vec::new()), ("PUT", body(2, 100_000))] {
        let answer = front.call(method, "/bkt/large").body(&sent).expect(503).await;
        assert_eq!(
            (answer.code(), answer.header("content-type")),
            ("ServiceUnavailable".to_owned(), "application/xml")
        );
    }
    front.call("HEAD", "/bkt/large").expect(200).await;
    assert_eq!(front.get("/bkt/small").await.body, b"small");
    front.put("/bkt/small", b"other").await;
    let list = front.get("/bkt?list-type=2").await;
    assert!(list.status == 200 && list.text().contains("<Key>large</Key><"), "{}", list.text());
    front.call("DELETE", "/bkt/large").expect(204).await;
}
