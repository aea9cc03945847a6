//! Temporary credentials: a token with its own key, and no further than the session's policies let.

use crate::bundles::{Walrus, caller};
use crate::harness::{Answer, REGION, Server, User, server_of, users};
use async_trait::async_trait;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::exports::{ExportService as _, ExportTarget};
use karri_proto::internal::signers::SecretText;
use karri_proto::policy::{Kind, Policy};
use karri_walrus::api::s3::S3Options;
use karri_walrus::drive::signers::{
    AccountFacts, AccountName, AuthFault, Authenticator, Fixed, Session, Signer, UserCertificate,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

const TEMPORARY: &str = "ASIAANN0000000000000";
/// A federated user, sam, whom Ann lets read.
const FEDERATED: &str = "ASIASAM0000000000000";
const TOKEN: &str = "tok/en+=";
const READS: &str = r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}"#;
const SAM: &str = "arn:aws:sts::111111111111:federated-user/sam";

/// Ann's temporary credentials beside the users'. Past its time is every token but one.
struct Sessions {
    users: Arc<Fixed>,
}

#[async_trait]
impl Authenticator for Sessions {
    async fn signer(&self, key: &str, session_token: Option<&str>) -> Result<Arc<Signer>, AuthFault> {
        let Some(token) = session_token else { return self.users.signer(key, None).await };
        let ann = self.users.signer(User::Ann.key(), None).await?;
        match (key, token) {
            (TEMPORARY | FEDERATED, "over") => Err(AuthFault::ExpiredToken),
            (TEMPORARY, TOKEN) => Ok(Arc::new(temporary(&ann, key, None))),
            (FEDERATED, TOKEN) => Ok(Arc::new(temporary(&ann, key, Some(READS)))),
            _ => Err(AuthFault::BadToken),
        }
    }

    async fn account(&self, name: &AccountName) -> Result<Option<Arc<AccountFacts>>, AuthFault> {
        self.users.account(name).await
    }

    async fn has_user(&self, account: &str, user: &str) -> Result<bool, AuthFault> {
        self.users.has_user(account, user).await
    }

    async fn certificates(&self, account: &str) -> Result<Arc<Vec<UserCertificate>>, AuthFault> {
        self.users.certificates(account).await
    }
}

fn temporary(ann: &Signer, key: &str, narrowed: Option<&str>) -> Signer {
    let mut signer = Signer { access_key_id: key.to_owned(), ..ann.clone() };
    let now = OffsetDateTime::now_utc();
    let policies = narrowed.map(|text| vec![Policy::parse(text, Kind::Identity).unwrap()]);
    if policies.is_some() {
        (signer.who.arn, signer.who.root) = (SAM.to_owned(), false);
    }
    let (issued, expires) = (now, now + Duration::HOUR);
    signer.session = Some(Session { issued, expires, federated: policies.is_some(), policies });
    signer
}

async fn server() -> Server {
    let options = S3Options { region: REGION.into(), ..S3Options::default() };
    server_of(options, BTreeMap::new(), Arc::new(Sessions { users: users() })).await
}

async fn with(server: &Server, key: &str, token: &str) -> Answer {
    server.call("GET", "/b-1/k").with_token(key, token).send().await
}

#[tokio::test]
async fn a_token_is_good_with_its_own_key_and_for_its_time() {
    let server = server().await;
    server.bucket("b-1").await;
    server.call("PUT", "/b-1/k").with_token(TEMPORARY, TOKEN).body(b"bytes").expect(200).await;
    assert_eq!(with(&server, TEMPORARY, TOKEN).await.body, b"bytes");
    let invalid = "The provided token is malformed or otherwise invalid.";
    for (what, key, token, status, code, message) in [
        ("another token", TEMPORARY, "other", 400, "InvalidToken", invalid),
        ("a long-term key", User::Ann.key(), TOKEN, 400, "InvalidToken", invalid),
        ("a session that is over", TEMPORARY, "over", 400, "ExpiredToken", "The provided token has expired."),
    ] {
        let refused = with(&server, key, token).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{what}");
        assert_eq!(
            (refused.element("Message").as_str(), refused.element("Token-0").as_str()),
            (message, token)
        );
    }
    let head = server.call("HEAD", "/b-1/k").with_token(TEMPORARY, "over").send().await;
    assert_eq!((head.status, head.body.len()), (400, 0));
    let bare = server.call("GET", "/b-1/k").with_key(TEMPORARY).send().await;
    assert_eq!((bare.status, bare.code().as_str()), (403, "InvalidAccessKeyId"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_in_a_sessions_name_is_judged_by_its_own_rights() {
    let walrus = Walrus::around(server().await);
    walrus.server.bucket("b-1").await;
    let desk = walrus.exports();
    let asked = async |key: &str, token: Option<&str>| {
        let target = ExportTarget {
            bucket: "b-1".into(),
            key: "out".into(),
            access_key_id: key.into(),
            session_token: token.map(|token| SecretText(token.into())),
            address: None,
        };
        desk.export_inspect(&caller(), &target).await
    };
    asked(TEMPORARY, Some(TOKEN)).await.unwrap();
    for (key, token, words) in [
        (FEDERATED, Some(TOKEN), "no session policy allows the s3:PutObject action"),
        (TEMPORARY, Some("over"), "the session is over"),
        (TEMPORARY, None, "the access key id is not known"),
        (User::Ann.key(), Some(TOKEN), "the session token does not belong to the key"),
    ] {
        let refused = asked(key, token).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Forbidden, "{refused:?}");
        assert!(refused.message.contains(words), "{}", refused.message);
    }
}

#[tokio::test]
async fn a_federated_user_may_what_the_session_allows_or_the_bucket_gives_it() {
    let server = server().await;
    server.bucket("b-1").await;
    server.put("/b-1/k", b"bytes").await;
    let put = || server.call("PUT", "/b-1/new").with_token(FEDERATED, TOKEN).body(b"sam's");
    assert_eq!(with(&server, FEDERATED, TOKEN).await.body, b"bytes");
    let refused = put().expect(403).await;
    let sentence = format!(
        "User: {SAM} is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::b-1/new\" because no \
         session policy allows the s3:PutObject action"
    );
    assert_eq!(refused.element("Message").replace("&quot;", "\""), sentence);
    assert_eq!(server.call("GET", "/").with_token(FEDERATED, TOKEN).send().await.code(), "AccessDenied");

    let policy = |statement: &str| {
        format!(r#"{{"Version":"2012-10-17","Statement":[{{{statement},"Resource":"arn:aws:s3:::b-1/*"}}]}}"#)
    };
    let gives = policy(&format!(r#""Effect":"Allow","Action":"s3:PutObject","Principal":{{"AWS":"{SAM}"}}"#));
    server.call("PUT", "/b-1?policy").body(gives.as_bytes()).expect(204).await;
    put().expect(200).await;
    // What is denied to Ann is denied to whom she lets in.
    let ann = "arn:aws:iam::111111111111:user/ann";
    let denies = policy(&format!(r#""Effect":"Deny","Action":"s3:GetObject","Principal":{{"AWS":"{ann}"}}"#));
    server.call("PUT", "/b-1?policy").body(denies.as_bytes()).expect(204).await;
    assert_eq!(with(&server, FEDERATED, TOKEN).await.code(), "AccessDenied");
    let kind = policy(
        r#""Effect":"Deny","Action":"s3:GetObject","Principal":"*","Condition":{"Null":{"aws:TokenIssueTime":"false"}}"#,
    );
    server.call("PUT", "/b-1?policy").body(kind.as_bytes()).expect(204).await;
    assert_eq!(with(&server, TEMPORARY, TOKEN).await.code(), "AccessDenied");
    assert_eq!(server.get("/b-1/k").await.body, b"bytes");
}
