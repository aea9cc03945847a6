//! What answers tell of lifecycle rules.

use crate::harness::server;

#[tokio::test]
async fn an_answer_says_when_a_rule_ends_the_object() {
    let server = server().await;
    server.bucket("b-1").await;
    let rules = b"<LifecycleConfiguration><Rule><ID>r1</ID><Filter><Prefix>d/</Prefix></Filter>\
        <Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
    server.call("PUT", "/b-1?lifecycle").body(rules).expect(200).await;
    let put = server.put("/b-1/d/k", b"x").await;
    let expiration = put.header("x-amz-expiration").to_owned();
    assert!(
        expiration.starts_with("expiry-date=\"") && expiration.ends_with(" 00:00:00 GMT\", rule-id=\"r1\"")
    );
    for method in ["GET", "HEAD"] {
        let answer = server.call(method, "/b-1/d/k").expect(200).await;
        assert_eq!(answer.header("x-amz-expiration"), expiration, "{method}");
    }
    server.put("/b-1/k", b"x").await;
    assert_eq!(server.call("HEAD", "/b-1/k").expect(200).await.header("x-amz-expiration"), "");
}
