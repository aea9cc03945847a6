//! The front door: signatures, versions, actions, permissions, and how a refusal is worded.

use crate::support::client::form;
use crate::support::{Cloud, IMAGE, until};
use karri_clc::store::counter_next_in_txn;
use std::time::{Duration, SystemTime};

on_both! {
    what_a_client_says_is_not_told_back_without_end
    a_wrong_signature_is_not_told_back_without_end
    a_request_that_is_not_signed_right_is_refused
    a_request_that_names_no_action_is_refused
    any_path_and_both_methods_are_served
    whom_it_knows_it_knows_without_the_database
    users_may_do_what_their_policies_say
    dry_run_says_what_would_have_been
    sts_tells_who_asks
    what_a_client_that_hung_up_asked_for_is_done_and_told
    what_names_too_much_is_refused_before_it_is_looked_up
}

async fn a_request_that_is_not_signed_right_is_refused(cloud: Cloud) {
    let alice = cloud.owner().await;
    alice.ec2("DescribeInstances", &[]).await.ok();

    let unsigned = alice.unsigned("Action=DescribeInstances&Version=2016-11-15").await;
    let unsigned = unsigned.refused(400, "MissingParameter");
    assert_eq!(unsigned.message(), "The request must contain the parameter AWSAccessKeyId");

    let mut other = alice.clone();
    other.secret = "wrong".into();
    let wrong = other.ec2("DescribeInstances", &[]).await.refused(401, "AuthFailure");
    assert_eq!(wrong.message(), "AWS was not able to validate the provided access credentials");

    let mut other = alice.clone();
    other.id = "AKIAAAAAAAAAAAAAAAAA".into();
    other.ec2("DescribeInstances", &[]).await.refused(401, "AuthFailure");
    other.id = "A".repeat(10_000);
    other.ec2("DescribeInstances", &[]).await.refused(401, "AuthFailure");

    let mut other = alice.clone();
    other.region = "mars-1".into();
    other.ec2("DescribeInstances", &[]).await.refused(401, "AuthFailure");

    let mut other = alice.clone();
    other.at = Some(SystemTime::now() - Duration::from_secs(16 * 60));
    other.ec2("DescribeInstances", &[]).await.refused(400, "RequestExpired");

    let (admin, caller) = cloud.admin();
    use karri_proto::internal::admin::AdminService;
    admin.key_delete(&caller, &alice.id).await.unwrap();
    alice.ec2("DescribeInstances", &[]).await.refused(401, "AuthFailure");
}

/// As much as a form may have where a signature's parts belong, and ten megabytes, with what markup and XML itself
/// cannot carry.
async fn a_wrong_signature_is_not_told_back_without_end(cloud: Cloud) {
    let client = cloud.owner().await;
    let odd = |count: usize| "<&\u{1}ü]]>".repeat(count);
    let (long, huge) = (odd(40_000), odd(3 << 19));
    assert!(huge.len() > 10 << 20);
    let right = [
        ("Action", "DescribeInstances"),
        ("Version", "2016-11-15"),
        ("AWSAccessKeyId", "AKIAAAAAAAAAAAAAAAAA"),
        ("Signature", "c2lnbmF0dXJl"),
        ("SignatureVersion", "2"),
        ("SignatureMethod", "HmacSHA256"),
        ("Timestamp", "2016-01-01T00:00:00Z"),
    ];
    for (name, code) in [
        ("AWSAccessKeyId", "AuthFailure"),
        ("Signature", "AuthFailure"),
        ("SignatureVersion", "InvalidParameterValue"),
        ("SignatureMethod", "InvalidParameterValue"),
        ("Timestamp", "IncompleteSignature"),
    ] {
        for (text, code) in [(&long, code), (&huge, "RequestEntityTooLarge")] {
            let wrong =
                right.map(|(known, value)| (known, if known == name { text.as_str() } else { value }));
            let request = client.http.post(&client.url).body(form(&wrong));
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let answer = client.send(request).await;
            assert_eq!(answer.code(), code, "{name} {:.500}", answer.text);
            assert!(answer.text.len() < 10_000, "{name} {} bytes", answer.text.len());
            let plain = |c: char| c == '\n' || !c.is_control();
            assert!(
                answer.text.chars().all(plain) && quick_xml_reads(&answer.text),
                "{name} {}",
                answer.text
            );
        }
    }
}

fn quick_xml_reads(text: &str) -> bool {
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

async fn what_a_client_that_hung_up_asked_for_is_done_and_told(cloud: Cloud) {
    let alice = cloud.owner().await;
    let mut hasty = alice.clone();
    hasty.http = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(300)).build().unwrap();
    alice.ec2("DescribeKeyPairs", &[]).await.ok(); // whom it knows it need not look up
    let store = cloud.store().await;
    let mut tx = store.begin().await.unwrap();
    counter_next_in_txn(&mut tx, "instances").await.unwrap(); // nobody else can write tags meanwhile
    let group = alice.ec2("DescribeSecurityGroups", &[]).await.ok().first("groupId").unwrap();
    let tag = [("ResourceId.1", group.as_str()), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
    let asked = hasty.try_ec2("CreateTags", &tag).await;
    assert!(asked.unwrap_err().is_timeout());
    tx.commit().await.unwrap();

    let (admin, _) = cloud.admin();
    let line = "karri_clc_api_seconds_count{action=\"CreateTags\",code=\"ok\"} 1";
    until("the audit tells of it", || async {
        let metrics = admin.get_stream("/metrics", "r", 0).await.unwrap().text().await.unwrap();
        metrics.contains(line).then_some(())
    })
    .await;
    assert_eq!(alice.ec2("DescribeTags", &[]).await.ok().one("resourceId"), group);
    store.close().await;
}

async fn what_names_too_much_is_refused_before_it_is_looked_up(cloud: Cloud) {
    let nobody = cloud.user("acme", "nick", &[]).await;
    let names = |parameter: &str| -> Vec<(String, String)> {
        (0..1001).map(|n| (format!("{parameter}.{}", n + 1), format!("i-{n:017x}"))).collect()
    };
    for (action, parameter) in [("TerminateInstances", "InstanceId"), ("DeleteTags", "ResourceId")] {
        let names = names(parameter);
        let names: Vec<(&str, &str)> = names.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
        let refused = nobody.ec2(action, &names).await.refused(400, "InvalidParameterValue");
        assert_eq!(refused.message(), "At most 1000 resources can be named in one request");
        nobody.ec2(action, &names[1..]).await.refused(403, "UnauthorizedOperation");
    }
}

async fn a_request_that_names_no_action_is_refused(cloud: Cloud) {
    let alice = cloud.owner().await;
    alice.post("ec2", "/", "Version=2016-11-15").await.refused(400, "MissingAction");
    alice.post("ec2", "/", "").await.refused(400, "MissingAction");

    let unknown = alice.ec2("BuyTheMoon", &[]).await.refused(400, "InvalidAction");
    assert_eq!(unknown.message(), "The action BuyTheMoon is not valid for this web service.");
    assert_eq!(unknown.one("RequestID"), unknown.request_id);

    alice.call("ec2", "1999-01-01", "DescribeInstances", &[]).await.refused(400, "NoSuchVersion");
    alice.post("ec2", "/", "Action=DescribeInstances").await.refused(400, "MissingParameter");
    alice.ec2("DescribeInstances", &[("Colour", "red")]).await.refused(400, "UnknownParameter");
    alice.post("ec2", "/", "Action=%").await.refused(404, "MalformedQueryString");
    let huge = format!("Action=DescribeInstances&Version=2016-11-15&X={}", "x".repeat(10 << 20));
    alice.post("ec2", "/", &huge).await.refused(413, "RequestEntityTooLarge");
    alice.ec2("DescribeInstances", &[]).await.ok();
}

async fn any_path_and_both_methods_are_served(cloud: Cloud) {
    let alice = cloud.owner().await;
    for (path, version) in
        [("/", "2016-11-15"), ("/services/compute", "2015-10-01"), ("/services/Eucalyptus/", "2014-10-01")]
    {
        let parameters = [("Action", "DescribeInstances"), ("Version", version)];
        let namespace = format!("xmlns=\"http://ec2.amazonaws.com/doc/{version}/\"");
        let posted = alice.post("ec2", path, &form(&parameters)).await.ok();
        assert!(posted.text.contains(&namespace), "{}", posted.text);
        assert_eq!(posted.one("requestId"), posted.request_id);
        let got = alice.get("ec2", path, &parameters).await.ok();
        assert!(got.text.contains("<reservationSet/>"), "{}", got.text);
    }
}

async fn whom_it_knows_it_knows_without_the_database(cloud: Cloud) {
    let (alice, rita) = (cloud.owner().await, cloud.user("acme", "rita", &["ReadOnlyAccess"]).await);
    let mut other = alice.clone();
    other.secret = "wrong".into();
    let session = alice.with(&alice.sts("GetSessionToken", &[]).await.ok());
    let pool = sqlx::AnyPool::connect(&cloud.config.database.url).await.unwrap();
    // With several controllers on one database, each hears a little later that users have changed, and forgets
    // once whom it knew. That may fall between what follows, so it is tried again.
    for attempt in 1.. {
        alice.ec2("DescribeInstances", &[]).await.ok();
        session.ec2("DescribeInstances", &[]).await.ok();
        hide_identities(&pool, true).await; // from now on a look at them is an error
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(alice.ec2("DescribeInstances", &[]).await.status);
            statuses.push(other.ec2("DescribeInstances", &[]).await.status);
            statuses.push(session.ec2("DescribeInstances", &[]).await.status);
        }
        if statuses == [[200, 401, 200]; 3].concat() {
            break;
        }
        assert!(attempt < 3 && statuses.contains(&500), "{statuses:?}");
        hide_identities(&pool, false).await;
    }
    rita.ec2("DescribeInstances", &[]).await.refused(500, "InternalError"); // it has to look her up
    pool.close().await;
}

async fn hide_identities(pool: &sqlx::AnyPool, hide: bool) {
    for table in ["access_keys", "users", "user_policies", "accounts"] {
        let hidden = format!("hidden_{table}");
        let (from, to) = if hide { (table, hidden.as_str()) } else { (hidden.as_str(), table) };
        let rename = format!("ALTER TABLE {from} RENAME TO {to}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(rename)).execute(pool).await.unwrap();
    }
}

async fn users_may_do_what_their_policies_say(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let reader = cloud.user("acme", "rita", &["ReadOnlyAccess"]).await;
    let nobody = cloud.user("acme", "nick", &[]).await;
    let only_micro = format!(
        r#"{{"Version": "2012-10-17", "Statement": [
            {{"Effect": "Allow", "Action": ["ec2:RunInstances", "ec2:Describe*"], "Resource": "*"}},
            {{"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:image/{IMAGE}"}}]}}"#
    );
    let fussy = cloud.user("acme", "fred", &[&only_micro]).await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");

    assert_eq!(reader.ec2("DescribeInstances", &[]).await.ok().instances(), [id.as_str()]);
    let refused = reader.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await;
    let refused = refused.refused(403, "UnauthorizedOperation");
    let words = "user/rita is not authorized to perform: ec2:TerminateInstances";
    assert!(refused.message().contains(words), "{}", refused.message());
    reader.run(1, &[]).await.refused(403, "UnauthorizedOperation");
    nobody.ec2("DescribeInstances", &[]).await.refused(403, "UnauthorizedOperation");
    fussy.run(1, &[]).await.refused(403, "UnauthorizedOperation");
    fussy.ec2("DescribeInstances", &[]).await.ok();
    alice.wait_for(&id, "running").await;
}

async fn dry_run_says_what_would_have_been(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let nobody = cloud.user("acme", "nick", &[]).await;
    let tried = alice.run(1, &[("DryRun", "true")]).await.refused(412, "DryRunOperation");
    assert_eq!(tried.message(), "Request would have succeeded, but DryRun flag is set.");
    nobody.run(1, &[("DryRun", "true")]).await.refused(403, "UnauthorizedOperation");
    assert!(alice.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());
}

async fn sts_tells_who_asks(cloud: Cloud) {
    let nobody = cloud.user("acme", "nick", &[]).await;
    let told = nobody.call("sts", "2011-06-15", "GetCallerIdentity", &[]).await.ok();
    assert_eq!(told.one("Account"), nobody.account);
    assert_eq!(told.one("Arn"), format!("arn:aws:iam::{}:user/nick", nobody.account));
    assert!(told.one("UserId").starts_with("AIDA"));
    assert_eq!(told.one("RequestId"), told.request_id);

    let mut other = nobody.clone();
    other.secret = "wrong".into();
    let wrong = other.call("sts", "2011-06-15", "GetCallerIdentity", &[]).await;
    let wrong = wrong.refused(403, "SignatureDoesNotMatch");
    assert!(wrong.text.contains("<ErrorResponse"), "{}", wrong.text);
    assert_eq!(wrong.one("Type"), "Sender");
    for (version, action) in [("2011-06-15", "DescribeInstances"), ("2000-01-01", "GetCallerIdentity")] {
        let unknown = nobody.call("sts", version, action, &[]).await.refused(400, "InvalidAction");
        assert_eq!(unknown.message(), format!("Could not find operation {action} for version {version}"));
    }
    nobody.call("ec2", "2016-11-15", "GetCallerIdentity", &[]).await.refused(400, "InvalidAction");
}

async fn what_a_client_says_is_not_told_back_without_end(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let nobody = cloud.user("acme", "nick", &[]).await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    let long = "x".repeat(100_000);
    let long = long.as_str();
    for name in [
        "InstanceType",
        "KeyName",
        "Placement.AvailabilityZone",
        "SubnetId",
        "SecurityGroup.1",
        "PrivateIpAddress",
    ] {
        let answer = alice.run(1, &[(name, long)]).await;
        assert!(answer.status == 400 && answer.text.len() < 1000, "{name} {} bytes", answer.text.len());
    }
    let named = ("InstanceId", id.as_str());
    let calls: &[(&str, &[(&str, &str)])] = &[
        ("StartInstances", &[("InstanceId.1", long)]),
        ("CreateTags", &[("ResourceId.1", long), ("Tag.1.Key", "k")]),
        ("CreateTags", &[("ResourceId.1", id.as_str()), ("Tag.1.Key", long)]),
        ("DescribeKeyPairs", &[("KeyName.1", long)]),
        ("DescribeVpcs", &[("VpcId.1", long)]),
        ("DescribeVolumes", &[("VolumeId.1", long)]),
        ("DescribeSecurityGroups", &[("GroupName.1", long)]),
        ("DescribeAddresses", &[("PublicIp.1", long)]),
        ("DescribeImages", &[("ImageId.1", long)]),
        ("DescribeInstanceTypes", &[("InstanceType.1", long)]),
        ("DescribeAvailabilityZones", &[("ZoneName.1", long)]),
        ("DescribeInstances", &[("Filter.1.Name", long), ("Filter.1.Value.1", "x")]),
        ("DescribeInstances", &[("NextToken", long)]),
        ("DescribeImageAttribute", &[("ImageId", IMAGE), ("Attribute", long)]),
        ("ModifyInstanceAttribute", &[named, ("InstanceType.Value", long)]),
        ("ModifyInstanceAttribute", &[named, ("Attribute", long), ("Value", "x")]),
        ("RegisterImage", &[("Name", "bad"), ("ImageLocation", long)]),
        (long, &[]),
    ];
    for (action, request) in calls {
        for client in [&alice, &nobody] {
            let answer = client.ec2(action, request).await;
            let name = &action[..action.len().min(30)];
            assert!(answer.status >= 400 && answer.text.len() < 1000, "{name} {} bytes", answer.text.len());
        }
    }
}
