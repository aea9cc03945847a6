//! What others may do: policies, lists of access control, blocks.

use crate::harness::{Server, User, open_server, server};

async fn with_object(server: &Server) {
    server.bucket("b-1").await;
    server.put("/b-1/k", b"x").await;
}

async fn status(server: &Server, user: User) -> u16 {
    server.call("GET", "/b-1/k").by(user).send().await.status
}

#[tokio::test]
async fn a_policy_lets_others_in_and_shuts_them_out() {
    let server = open_server().await;
    with_object(&server).await;
    let policy = |effect: &str, principal: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Principal":{principal},
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::b-1/*"}}]}}"#
        )
    };
    let bob = r#"{"AWS":"arn:aws:iam::222222222222:root"}"#;
    let put = |text: String| server.call("PUT", "/b-1?policy").body(text.as_bytes()).expect(204);
    put(policy("Allow", bob)).await;
    assert_eq!((status(&server, User::Bob).await, status(&server, User::Nobody).await), (200, 403));
    put(policy("Allow", "\"*\"")).await;
    assert_eq!((status(&server, User::Bob).await, status(&server, User::Nobody).await), (200, 200));
    assert_eq!(server.get("/b-1?policyStatus").await.element("IsPublic"), "true");
    put(policy("Deny", "\"*\"")).await;
    assert_eq!((status(&server, User::Ann).await, status(&server, User::Nobody).await), (403, 403));
    server.call("DELETE", "/b-1?policy").expect(204).await;
    assert_eq!(status(&server, User::Ann).await, 200);
    for wrong in ["x", "{}", &policy("Allow", r#"{"AWS":"333333333333"}"#)] {
        let answer = server.call("PUT", "/b-1?policy").body(wrong.as_bytes()).send().await;
        assert_eq!(answer.code(), "MalformedPolicy", "{wrong}");
    }
}

#[tokio::test]
async fn a_list_lets_others_in_where_lists_are_taken() {
    let server = open_server().await;
    with_object(&server).await;
    assert_eq!(status(&server, User::Nobody).await, 403);
    server.call("PUT", "/b-1/k?acl").header("x-amz-acl", "public-read").expect(200).await;
    assert_eq!(status(&server, User::Nobody).await, 200);
    let block = b"<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls>\
                  </PublicAccessBlockConfiguration>";
    server.call("PUT", "/b-1?publicAccessBlock").body(block).expect(200).await;
    assert_eq!(status(&server, User::Nobody).await, 403);
    server
        .call("PUT", "/b-1/k?acl")
        .header("x-amz-grant-read", "emailAddress=\"bob@example.org\"")
        .expect(200)
        .await;
    assert_eq!(status(&server, User::Bob).await, 200);
}

#[tokio::test]
async fn a_list_may_be_sent_as_a_document_and_is_told_as_one() {
    let server = open_server().await;
    with_object(&server).await;
    let bob = server.call("GET", "/").by(User::Bob).expect(200).await.element("ID");
    for (path, permission, asked) in [("/b-1/k?acl", "READ", "/b-1/k"), ("/b-1?acl", "READ_ACP", "/b-1?acl")]
    {
        let own = server.get(path).await.text();
        assert_eq!(own.matches("<Grant>").count(), 1, "{own}");
        let grant = format!(
            "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"><ID>{bob}\
             </ID></Grantee><Permission>{permission}</Permission></Grant></AccessControlList>"
        );
        let shared = own.replace("</AccessControlList>", &grant);
        let by_bob = || server.call("GET", asked).by(User::Bob).send();
        assert_eq!(by_bob().await.status, 403, "{asked}");
        server.call("PUT", path).body(shared.as_bytes()).expect(200).await;
        assert_eq!(by_bob().await.status, 200, "{asked}");
        let told = server.get(path).await.text();
        assert!(told.contains(&bob) && told.contains(&format!("<Permission>{permission}<")), "{told}");
        let both =
            server.call("PUT", path).header("x-amz-acl", "private").body(shared.as_bytes()).send().await;
        assert_eq!(both.status, 400, "{}", both.text());
        let stranger = shared.replace(&bob, &"0".repeat(64));
        assert_eq!(server.call("PUT", path).body(stranger.as_bytes()).send().await.code(), "InvalidArgument");
    }
}

#[tokio::test]
async fn where_lists_are_off_only_the_owners_own_rights_may_be_said() {
    let server = server().await;
    with_object(&server).await;
    for path in ["/b-1?acl", "/b-1/k?acl"] {
        for canned in ["private", "public-read"] {
            let put = server.call("PUT", path).header("x-amz-acl", canned).send().await;
            assert_eq!((put.status, &*put.code()), (400, "AccessControlListNotSupported"), "{path} {canned}");
        }
        server.call("PUT", path).header("x-amz-acl", "bucket-owner-full-control").expect(200).await;
        let document = server.get(path).await.body;
        server.call("PUT", path).body(&document).expect(200).await;
    }
}

#[tokio::test]
async fn new_buckets_are_private_and_stay_so() {
    let server = server().await;
    with_object(&server).await;
    let acl = server.call("PUT", "/b-1?acl").header("x-amz-acl", "public-read").send().await;
    assert_eq!(acl.code(), "AccessControlListNotSupported");
    let policy = br#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
        "Action":"s3:GetObject","Resource":"arn:aws:s3:::b-1/*"}]}"#;
    assert_eq!(server.call("PUT", "/b-1?policy").body(policy).send().await.code(), "AccessDenied");
}

#[tokio::test]
async fn where_the_requester_pays_others_say_that_they_will() {
    let server = open_server().await;
    with_object(&server).await;
    let policy = br#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
        "Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::b-1","arn:aws:s3:::b-1/*"]}]}"#;
    server.call("PUT", "/b-1?policy").body(policy).expect(204).await;
    let pays = |payer: &str| {
        let document =
            format!("<RequestPaymentConfiguration><Payer>{payer}</Payer></RequestPaymentConfiguration>");
        server.call("PUT", "/b-1?requestPayment").body(document.as_bytes()).expect(200)
    };
    pays("Requester").await;
    for path in ["/b-1/k", "/b-1"] {
        let get = |user| server.call("GET", path).by(user);
        let willing = |user| get(user).header("x-amz-request-payer", "requester").send();
        assert_eq!(get(User::Bob).send().await.code(), "AccessDenied", "{path}");
        let charged = willing(User::Bob).await;
        assert_eq!((charged.status, charged.header("x-amz-request-charged")), (200, "requester"), "{path}");
        assert_eq!(willing(User::Nobody).await.code(), "AccessDenied", "{path}: nobody can be charged");
        let own = get(User::Ann).send().await;
        assert_eq!((own.status, own.header("x-amz-request-charged")), (200, ""), "{path}");
    }
    pays("BucketOwner").await;
    assert_eq!(status(&server, User::Nobody).await, 200);
}
