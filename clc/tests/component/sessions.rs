//! Temporary credentials: who is given them, what they let do, and when they end.

use crate::support::{Client, Cloud, until};
use karri_clc::app::now_ms;
use karri_clc::app::session::Grant;
use karri_clc::store::Sealer;
use karri_proto::internal::admin::{AdminService, NewKey};
use karri_proto::internal::signers::{SecretText, SessionAsked, SignerService};
use karri_proto::internal::{Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::sign::Secret;
use std::time::{Duration, SystemTime};

on_both! {
    a_session_may_what_its_user_may
    a_session_lasts_as_long_as_it_is_asked_to
    a_token_is_good_with_its_own_key_only
    a_session_that_is_over_is_told_so_by_each_service
    a_session_ends_with_the_key_that_it_was_asked_for_with
    a_session_begets_no_other
    nobody_is_told_that_a_device_was_checked
    a_federated_user_may_what_both_may
    who_federates_needs_the_permission_and_says_what_is_right
    walrus_is_told_whose_a_session_is
    objects_are_read_with_the_sessions_own_rights
}

type Parameters<'a> = &'a [(&'a str, &'a str)];

const SAM: &str = "arn:aws:sts::ACCOUNT:federated-user/sam";

async fn session(user: &Client) -> Client {
    user.with(&user.sts("GetSessionToken", &[]).await.ok())
}

fn walrus(cloud: &Cloud) -> (InternalClient, Caller) {
    let files = cloud.files(Role::Walrus, "", "walrus");
    let client = InternalClient::new(&cloud.endpoint.url, Role::Clc, &files).unwrap();
    (client, Caller { identity: Identity::new(Role::Walrus, "", "walrus"), request_id: "r".into() })
}

fn asked(client: &Client) -> SessionAsked {
    let session_token = SecretText(client.token.clone().unwrap());
    SessionAsked { access_key_id: client.id.clone(), session_token }
}

async fn a_session_may_what_its_user_may(cloud: Cloud) {
    let alice = cloud.owner().await;
    let reader = cloud.user("acme", "rita", &["ReadOnlyAccess"]).await;
    let (temporary, reading) = (session(&alice).await, session(&reader).await);
    assert!(temporary.id.starts_with("ASIA") && temporary.id.len() == 20, "{}", temporary.id);
    temporary.ec2("DescribeInstances", &[]).await.ok();
    temporary.ec2("CreateKeyPair", &[("KeyName", "k")]).await.ok();
    assert_eq!(alice.ec2("DescribeKeyPairs", &[]).await.ok().one("keyName"), "k");
    reading.ec2("DescribeKeyPairs", &[]).await.ok();
    let refused =
        reading.ec2("DeleteKeyPair", &[("KeyName", "k")]).await.refused(403, "UnauthorizedOperation");
    assert!(refused.message().contains(":user/rita is not authorized"), "{}", refused.message());
    let (own, same) =
        (alice.sts("GetCallerIdentity", &[]).await, temporary.sts("GetCallerIdentity", &[]).await);
    for name in ["Arn", "UserId", "Account"] {
        assert_eq!(same.one(name), own.one(name));
    }
    // In a query as well as in a form.
    let query = [("Action", "DescribeRegions"), ("Version", "2016-11-15")];
    temporary.get("ec2", "/", &query).await.ok();
    // A policy can tell: only temporary credentials say whether a device was asked.
    let deny = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny",
        "Action": "ec2:DescribeInstances", "Resource": "*", "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"},
        "DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}}}]}"#;
    let dora = cloud.user("acme", "dora", &[deny]).await;
    dora.ec2("DescribeInstances", &[]).await.ok();
    session(&dora).await.ec2("DescribeInstances", &[]).await.refused(403, "UnauthorizedOperation");
}

async fn a_session_lasts_as_long_as_it_is_asked_to(cloud: Cloud) {
    let alice = cloud.owner().await;
    for (asked, seconds) in [(None, 43_200), (Some("900"), 900), (Some("129600"), 129_600)] {
        let parameters: Vec<(&str, &str)> = asked.iter().map(|text| ("DurationSeconds", *text)).collect();
        let before = now_ms() / 1000;
        let answer = alice.sts("GetSessionToken", &parameters).await.ok();
        let format = &time::format_description::well_known::Rfc3339;
        let until = time::OffsetDateTime::parse(&answer.one("Expiration"), format).unwrap().unix_timestamp();
        assert!((before + seconds..=now_ms() / 1000 + seconds).contains(&until), "{}", answer.text);
        alice.with(&answer).ec2("DescribeRegions", &[]).await.ok();
    }
    for wrong in ["899", "129601", "-1", "soon"] {
        let answer = alice.sts("GetSessionToken", &[("DurationSeconds", wrong)]).await;
        assert!(answer.refused(400, "ValidationError").message().contains("urationSeconds"), "{wrong}");
    }
    let long = alice.sts("GetSessionToken", &[("MinimumSessionTokenSize", "4096")]).await.ok();
    let size = long.one("SessionToken").len();
    assert_eq!((size, long.one("SessionTokenSize")), (4096, size.to_string()));
    alice.with(&long).ec2("DescribeRegions", &[]).await.ok();
}

async fn a_token_is_good_with_its_own_key_only(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (one, two) = (session(&alice).await, session(&alice).await);
    let altered = one.token.as_ref().map(|token| {
        let last = if token.ends_with("AAAA") { "BBBB" } else { "AAAA" };
        format!("{}{last}", &token[..token.len() - 4])
    });
    let wrong = [
        ("a key without its token", Client { token: None, ..one.clone() }),
        ("another key's token", Client { token: two.token.clone(), ..one.clone() }),
        ("a long-term key with a token", Client { token: one.token.clone(), ..alice.clone() }),
        ("a token that was changed", Client { token: altered, ..one.clone() }),
        ("a token that is none", Client { token: Some("FwoGZXIvYXdzEXAMPLE".into()), ..one.clone() }),
        ("a token of one's own make", Client { id: "ASIA2345672345672345".into(), ..one.clone() }),
    ];
    for round in ["never seen", "known"] {
        for (what, client) in &wrong {
            let refused = client.ec2("DescribeRegions", &[]).await.refused(401, "AuthFailure");
            let sentence = "AWS was not able to validate the provided access credentials";
            assert_eq!(refused.message(), sentence, "{what}, {round}");
            let refused = client.sts("GetCallerIdentity", &[]).await.refused(403, "InvalidClientTokenId");
            assert_eq!(refused.message(), "The security token included in the request is invalid.", "{what}");
        }
        for right in [&alice, &one, &two] {
            right.ec2("DescribeRegions", &[]).await.ok();
        }
    }
    let other = Client { secret: two.secret.clone(), ..one.clone() };
    other.ec2("DescribeRegions", &[]).await.refused(401, "AuthFailure");
    other.sts("GetCallerIdentity", &[]).await.refused(403, "SignatureDoesNotMatch");
    let late = Client { at: Some(SystemTime::now() - Duration::from_secs(16 * 60)), ..one.clone() };
    late.ec2("DescribeRegions", &[]).await.refused(400, "RequestExpired");
}

/// As the controller would have sealed it.
async fn sealed(cloud: &Cloud, user: &Client, id: &str, expires_ms: i64) -> Client {
    let sealer = Sealer::load_or_create(&cloud.config.secrets.key_file).unwrap();
    let store = cloud.store().await;
    let identity = store.identity_fetch(&user.id).await.unwrap().unwrap();
    store.close().await;
    let grant = Grant {
        key: user.id.clone(),
        key_mark: Secret::new(user.secret.as_str()).mark(),
        user_id: identity.user_id,
        secret: "s".repeat(40),
        issued_ms: expires_ms - 900_000,
        expires_ms,
        federation: None,
    };
    let token = Some(grant.seal(&sealer, id, 0));
    Client { id: id.into(), secret: grant.secret, token, ..user.clone() }
}

async fn a_session_that_is_over_is_told_so_by_each_service(cloud: Cloud) {
    let alice = cloud.owner().await;
    let over = sealed(&cloud, &alice, "ASIA7654327654327654", now_ms() - 1000).await;
    let refused = over.ec2("DescribeRegions", &[]).await.refused(400, "RequestExpired");
    assert_eq!(refused.message(), "Request has expired.");
    let refused = over.sts("GetCallerIdentity", &[]).await.refused(403, "ExpiredToken");
    assert_eq!(refused.message(), "The security token included in the request is expired");
    // One that ends while it is used: it is remembered, and ends all the same.
    let ending = sealed(&cloud, &alice, "ASIA7654327654327655", now_ms() + 1500).await;
    ending.ec2("DescribeRegions", &[]).await.ok();
    until("it is over", || async {
        let answer = ending.ec2("DescribeRegions", &[]).await;
        (answer.code() == "RequestExpired").then_some(())
    })
    .await;
}

async fn a_session_ends_with_the_key_that_it_was_asked_for_with(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (admin, caller) = cloud.admin();
    let new = |id: &str, secret: &str| NewKey {
        account: "acme".into(),
        user: "alice".into(),
        access_key_id: Some(id.into()),
        secret_access_key: Some(secret.into()),
    };
    let id = "AKIAALICEALICEALICE0";
    admin.key_create(&caller, new(id, "first")).await.unwrap();
    let second = Client { id: id.into(), secret: "first".into(), ..alice.clone() };
    let (kept, temporary) = (session(&alice).await, session(&second).await);
    temporary.ec2("DescribeRegions", &[]).await.ok();
    admin.key_create(&caller, new(id, "first")).await.unwrap(); // brought again, it is the same
    temporary.ec2("DescribeRegions", &[]).await.ok();
    admin.key_create(&caller, new(id, "second")).await.unwrap();
    temporary.ec2("DescribeRegions", &[]).await.refused(401, "AuthFailure");
    let second = Client { secret: "second".into(), ..second };
    let temporary = session(&second).await;
    admin.key_delete(&caller, id).await.unwrap();
    temporary.ec2("DescribeRegions", &[]).await.refused(401, "AuthFailure");
    temporary.sts("GetCallerIdentity", &[]).await.refused(403, "InvalidClientTokenId");
    kept.ec2("DescribeRegions", &[]).await.ok();

    // A user of the same name with a key of the same id is another one.
    let (rita, temporary) = {
        let rita = cloud.user("acme", "rita", &["ReadOnlyAccess"]).await;
        let temporary = session(&rita).await;
        (rita, temporary)
    };
    admin.user_delete(&caller, "acme", "rita").await.unwrap();
    temporary.ec2("DescribeRegions", &[]).await.refused(401, "AuthFailure");
    cloud.user("acme", "rita", &["AdministratorAccess"]).await;
    let again = NewKey { user: "rita".into(), ..new(&rita.id, &rita.secret) };
    admin.key_create(&caller, again).await.unwrap();
    rita.ec2("DescribeRegions", &[]).await.ok();
    temporary.ec2("DescribeRegions", &[]).await.refused(401, "AuthFailure");
}

async fn a_session_begets_no_other(cloud: Cloud) {
    let alice = cloud.owner().await;
    let everything = ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/AdministratorAccess");
    let federated = alice.sts("GetFederationToken", &[("Name", "sam"), everything]).await.ok();
    for temporary in [session(&alice).await, alice.with(&federated)] {
        for (action, parameters) in [("GetSessionToken", &[][..]), ("GetFederationToken", &[("Name", "sam")])]
        {
            let refused = temporary.sts(action, parameters).await.refused(403, "AccessDenied");
            assert_eq!(refused.message(), format!("Cannot call {action} with session credentials"));
        }
        temporary.sts("GetCallerIdentity", &[]).await.ok();
    }
}

async fn nobody_is_told_that_a_device_was_checked(cloud: Cloud) {
    let alice = cloud.owner().await;
    let serial = format!("arn:aws:iam::{}:mfa/alice", alice.account);
    let device = [("SerialNumber", serial.as_str()), ("TokenCode", "123456")];
    for given in [&device[..], &device[..1], &device[1..]] {
        let refused = alice.sts("GetSessionToken", given).await.refused(403, "AccessDenied");
        assert!(refused.message().starts_with("MultiFactorAuthentication failed"), "{}", refused.message());
    }
}

async fn a_federated_user_may_what_both_may(cloud: Cloud) {
    let alice = cloud.owner().await;
    let reads = r#"{"Statement": {"Effect": "Allow", "Action": "ec2:DescribeKeyPairs", "Resource": "*"}}"#;
    let given = alice.sts("GetFederationToken", &[("Name", "sam"), ("Policy", reads)]).await.ok();
    let arn = SAM.replace("ACCOUNT", &alice.account);
    assert_eq!(given.one("Arn"), arn);
    assert_eq!(given.one("FederatedUserId"), format!("{}:sam", alice.account));
    let sam = alice.with(&given);
    let who = sam.sts("GetCallerIdentity", &[]).await.ok();
    assert_eq!((who.one("Arn"), who.one("UserId")), (arn.clone(), format!("{}:sam", alice.account)));
    sam.ec2("DescribeKeyPairs", &[]).await.ok();
    let refused = sam.ec2("DescribeInstances", &[]).await.refused(403, "UnauthorizedOperation");
    let sentence = format!(
        "You are not authorized to perform this operation. User: {arn} is not authorized to perform: \
         ec2:DescribeInstances because no session policy allows the ec2:DescribeInstances action"
    );
    assert_eq!(refused.message(), sentence);

    let never = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "ec2:DescribeInstances", "Resource": "*"}]}"#;
    let sam = alice.with(&alice.sts("GetFederationToken", &[("Name", "sam"), ("Policy", never)]).await.ok());
    sam.ec2("DescribeRegions", &[]).await.ok();
    let refused = sam.ec2("DescribeInstances", &[]).await.refused(403, "UnauthorizedOperation");
    assert!(
        refused.message().ends_with("with an explicit deny in a session policy"),
        "{}",
        refused.message()
    );

    // Without any policy nothing is allowed, and no session allows more than its user may.
    let nobody = alice.with(&alice.sts("GetFederationToken", &[("Name", "sam")]).await.ok());
    nobody.ec2("DescribeRegions", &[]).await.refused(403, "UnauthorizedOperation");
    let federates = r#"{"Statement": {"Effect": "Allow", "Resource": "*",
        "Action": ["sts:GetFederationToken", "ec2:DescribeRegions"]}}"#;
    let rita = cloud.user("acme", "rita", &[federates]).await;
    let everything = "arn:aws:iam::aws:policy/AdministratorAccess";
    let given =
        rita.sts("GetFederationToken", &[("Name", "sam"), ("PolicyArns.member.1.arn", everything)]).await;
    let sam = rita.with(&given.ok());
    sam.ec2("DescribeRegions", &[]).await.ok();
    let refused = sam.ec2("DescribeInstances", &[]).await.refused(403, "UnauthorizedOperation");
    assert!(refused.message().contains("no identity-based policy allows"), "{}", refused.message());
}

async fn who_federates_needs_the_permission_and_says_what_is_right(cloud: Cloud) {
    let alice = cloud.owner().await;
    let only_sam = format!(
        r#"{{"Statement": {{"Effect": "Allow", "Action": "sts:GetFederationToken", "Resource": "{}"}}}}"#,
        SAM.replace("ACCOUNT", "*")
    );
    let rita = cloud.user("acme", "rita", &[&only_sam]).await;
    rita.sts("GetFederationToken", &[("Name", "sam")]).await.ok();
    let refused = rita.sts("GetFederationToken", &[("Name", "tom")]).await.refused(403, "AccessDenied");
    assert!(refused.message().contains(":federated-user/tom"), "{}", refused.message());
    // For oneself no permission is asked for.
    rita.sts("GetSessionToken", &[]).await.ok();

    let long = format!(r#"{{"Statement": {{"Sid": "{}"}}}}"#, "x".repeat(2048));
    let unknown = r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:SorceIp": "x"}}}}"#;
    let checks: [(Parameters<'_>, &str, &str); 9] = [
        (&[("Name", "s")], "ValidationError", "Name"),
        (&[("Name", "sam smith")], "ValidationError", "Name"),
        (&[], "ValidationError", "Name"),
        (&[("Name", "sam"), ("DurationSeconds", "100")], "ValidationError", "urationSeconds"),
        (&[("Name", "sam"), ("Policy", "{")], "MalformedPolicyDocument", "Syntax errors in policy"),
        (&[("Name", "sam"), ("Policy", unknown)], "MalformedPolicyDocument", "aws:SorceIp"),
        (&[("Name", "sam"), ("Policy", &long)], "ValidationError", "Policy"),
        (
            &[("Name", "sam"), ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/Nobody")],
            "MalformedPolicyDocument",
            "arn:aws:iam::aws:policy/Nobody",
        ),
        (
            &[("Name", "sam"), ("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")],
            "ValidationError",
            "Tags",
        ),
    ];
    for (parameters, code, words) in checks {
        let refused = alice.sts("GetFederationToken", parameters).await.refused(400, code);
        assert!(refused.message().contains(words), "{}", refused.message());
    }
}

async fn walrus_is_told_whose_a_session_is(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (client, caller) = walrus(&cloud);
    let temporary = session(&alice).await;
    let told = client.signer_session(&caller, &asked(&temporary)).await.unwrap().found.unwrap();
    assert_eq!((&told.access_key_id, &told.secret_access_key.0), (&temporary.id, &temporary.secret));
    let facts = told.session.clone().unwrap();
    assert!(told.who.root && !facts.federated && facts.policies.is_none() && told.policies.len() == 1);
    assert!(facts.expires_unix_ms > now_ms() && facts.issued_unix_ms <= now_ms());
    let printed = format!("{told:?} {:?}", asked(&temporary));
    assert!(!printed.contains(&temporary.secret) && !printed.contains(temporary.token.as_ref().unwrap()));

    let reads = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let parameters = [("Name", "sam"), ("PolicyArns.member.1.arn", reads)];
    let sam = alice.with(&alice.sts("GetFederationToken", &parameters).await.ok());
    let told = client.signer_session(&caller, &asked(&sam)).await.unwrap().found.unwrap();
    let facts = told.session.unwrap();
    assert_eq!(told.who.arn, SAM.replace("ACCOUNT", &alice.account));
    assert!(!told.who.root && facts.federated && told.who.user == "alice");
    assert!(facts.policies.unwrap()[0].contains("s3:Get*"));

    let mixed = SessionAsked { access_key_id: sam.id.clone(), ..asked(&temporary) };
    assert!(client.signer_session(&caller, &mixed).await.unwrap().found.is_none());
    let (admin, operator) = cloud.admin();
    admin.key_delete(&operator, &alice.id).await.unwrap();
    assert!(client.signer_session(&caller, &asked(&temporary)).await.unwrap().found.is_none());
}

async fn objects_are_read_with_the_sessions_own_rights(cloud: Cloud) {
    let alice = cloud.owner().await;
    let temporary = session(&alice).await;
    cloud.walrus.bundles.inspects_disk("bucket/disk.img", "raw");
    let location = [("Name", "disk"), ("ImageLocation", "bucket/disk.img")];
    temporary.ec2("RegisterImage", &location).await.ok();
    let told = cloud.walrus.bundles.asked.lock().unwrap().last().cloned().unwrap();
    let token = told.session_token.map(|token| token.0);
    assert_eq!((told.access_key_id, token), (temporary.id.clone(), temporary.token.clone()));
}
