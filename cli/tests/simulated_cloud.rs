//! The real programs as an operator runs them, over simulated nodes: `up`, the verbs, crashes, `down`.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test
mod cloud;

use cloud::{Cloud, alive, eventually};
use karri_cli::ec2::Ec2;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

async fn launch(ec2: &Ec2, image: &str) -> String {
    launch_many(ec2, image, "1").await.instances.remove(0)
}

/// Of one request: its id, and the instances that it launched.
struct Launched {
    request_id: String,
    instances: Vec<String>,
}

async fn launch_many(ec2: &Ec2, image: &str, count: &str) -> Launched {
    let parameters =
        [("ImageId", image), ("MinCount", count), ("MaxCount", count), ("InstanceType", "t3.micro")];
    let answer = ec2.call("RunInstances", &parameters).await.unwrap();
    let instances = answer.items("instancesSet").map(|one| one.text("instanceId").unwrap().to_owned());
    Launched { request_id: answer.text("requestId").unwrap().to_owned(), instances: instances.collect() }
}

/// The lines of a story: the three controllers on the way of a launch tell their parts, none is missing.
fn told_by_all(story: &Value, request_id: &str) -> Vec<Value> {
    told_by(&["clc ", "cc ", "nc "], story, request_id)
}

fn told_by(roles: &[&str], story: &Value, request_id: &str) -> Vec<Value> {
    let lines = story.as_array().unwrap().clone();
    for role in roles {
        let tells = |line: &Value| {
            line["who"].as_str().unwrap().starts_with(role) && line["fields"]["request_id"] == request_id
        };
        assert!(lines.iter().any(tells), "{role} tells of {request_id} in {story:#}");
    }
    let silent = |line: &&Value| line["message"].as_str().unwrap().contains("missing");
    assert_eq!(lines.iter().find(silent), None);
    lines
}

/// Its request is known to the image store, which took the bytes, and to the cloud, where they were registered.
fn the_import_has_a_story(cloud: &Cloud) {
    let log = std::fs::read_to_string(cloud.root().join("walrus/log.jsonl")).unwrap();
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let imported = lines.rfind(|line| line["fields"]["message"] == "image imported").unwrap();
    let request_id = imported["fields"]["request_id"].as_str().unwrap().to_owned();
    assert!(request_id.starts_with("cli-"), "{request_id}");
    let told = told_by(&["walrus "], &cloud.json(&["why", &request_id]), &request_id);
    assert!(told.iter().any(|line| line["message"] == "image imported"), "{told:#?}");
}

/// Each says over plain HTTP that it is well, and tells Prometheus of itself, a node of what it has done.
fn every_controller_is_measured(cloud: &Cloud, started: usize) {
    let facts = std::fs::read(cloud.root().join("cloud.json")).unwrap();
    let facts: Value = serde_json::from_slice(&facts).unwrap();
    let zone = &facts["zones"][0];
    for (name, ports) in
        [("clc", &facts["clc"]), ("walrus", &facts["walrus"]), ("cc", &zone["cc"]), ("nc", &zone["nc"])]
    {
        let place = format!("http://127.0.0.1:{}", ports["observe"]);
        let health = cloud.http_get(&place, "/healthz");
        assert!(health.starts_with("HTTP/1.1 200 "), "{name}: {health}");
        let told = cloud.http_get(&place, "/metrics");
        assert!(told.starts_with("HTTP/1.1 200 "), "{name}: {told}");
        let value = |series: &str| {
            let line = told
                .lines()
                .find_map(|line| line.strip_prefix(series))
                .unwrap_or_else(|| panic!("{series}: {told}"));
            line.trim().parse::<f64>().unwrap()
        };
        assert!(value("karri_certificate_expiry_seconds") > 0.0, "{name}");
        if name == "nc" {
            let guests = value("karri_nc_step_seconds_count{step=\"guest started\"}");
            assert!(guests >= started as f64, "{guests} of {started}: {told}");
        }
    }
}

async fn state(ec2: &Ec2, instance: &str) -> String {
    let answer = ec2.call("DescribeInstances", &[("InstanceId.1", instance)]).await.unwrap();
    let reservation = answer.items("reservationSet").next().unwrap();
    let instance = reservation.items("instancesSet").next().unwrap();
    instance.at(&["instanceState", "name"]).unwrap().content.clone()
}

/// By id and by name; what was started from the image is named and goes on.
fn images_are_deleted(cloud: &Cloud, image: &str, instances: &[String]) {
    let deleted = cloud.json(&["image", "delete", image]);
    let mut named: Vec<&str> =
        deleted["instances"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let mut instances: Vec<&str> = instances.iter().map(String::as_str).collect();
    named.sort_unstable();
    instances.sort_unstable();
    assert_eq!((deleted["name"].as_str().unwrap(), named), ("small", instances));
    assert!(!cloud.text(&["image", "list"]).contains(image));
    for name in ["small", image] {
        let refused = cloud.karri(&["image", "delete", name]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        assert!(
            refused.stderr.contains("there is no image") && refused.stderr.contains(name),
            "{}",
            refused.stderr
        );
    }
    let unused = cloud.file("unused.raw", &vec![8u8; 1 << 20]);
    cloud.text(&["image", "import", &unused, "--name", "unused"]);
    assert!(cloud.text(&["image", "delete", "unused"]).contains("removed within minutes"));
}

/// What of a directory's content another user can read or list. What lies in a directory that he cannot enter
/// he cannot reach.
fn exposed(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let Ok(facts) = path.symlink_metadata() else { continue }; // it is gone meanwhile
        let others = facts.permissions().mode() & 0o077;
        if facts.is_dir() {
            if others & 0o001 != 0 {
                found.extend(exposed(&path));
            }
            found.extend((others & 0o066 != 0).then_some(path));
        } else {
            found.extend((others != 0).then_some(path));
        }
    }
    found
}

async fn until_running(ec2: &Ec2, instance: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while state(ec2, instance).await != "running" {
        assert!(tokio::time::Instant::now() < deadline, "{instance} never runs");
        tokio::time::sleep(Duration::from_millis(50)).await; // a poll with a deadline
    }
}

/// S3 answers where `up`, `status`, `env` and s3cmd's file say, and what images are bundled with is there.
fn s3_is_there(cloud: &Cloud, ready: &Value) {
    let url = ready["s3_endpoint"].as_str().unwrap();
    let answer = cloud.http_get(url, "/no-such-bucket/key");
    assert!(answer.contains("application/xml") && answer.contains("<Error>"), "{answer}");
    let status = cloud.json(&["status"]);
    assert_eq!(
        (&status["endpoints"]["s3"], &status["endpoints"]["ec2"]),
        (&ready["s3_endpoint"], &ready["endpoint"])
    );
    assert!(cloud.text(&["status"]).contains(&format!("S3 {url}")));
    let env = cloud.json(&["env"]);
    assert_eq!((&env["AWS_ENDPOINT_URL_S3"], &env["S3_URL"]), (&Value::from(url), &Value::from(url)));
    let s3cfg = std::fs::read_to_string(env["S3CMD_CONFIG"].as_str().unwrap()).unwrap();
    assert!(s3cfg.contains(&format!("host_base = {}\n", url.trim_start_matches("http://"))), "{s3cfg}");
    let account = &cloud.json(&["account", "list"])[0];
    assert_eq!(env["EC2_USER_ID"], account["id"]);
    for (variable, first, mode) in [
        ("EC2_CERT", "-----BEGIN CERTIFICATE-----", None),
        ("EUCALYPTUS_CERT", "-----BEGIN CERTIFICATE-----", None),
        ("EC2_PRIVATE_KEY", "-----BEGIN PRIVATE KEY-----", Some(0o600)),
    ] {
        let path = Path::new(env[variable].as_str().unwrap());
        assert!(std::fs::read_to_string(path).unwrap().starts_with(first), "{variable}");
        let found = path.metadata().unwrap().permissions().mode() & 0o777;
        assert!(mode.is_none_or(|mode| mode == found), "{variable}: {found:o}");
    }
    let certificates = cloud.json(&["cert", "list"]);
    assert_eq!(certificates.as_array().unwrap().len(), 1, "the operator's: {certificates}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_comes_up_is_used_stops_comes_back_and_goes_away() {
    let cloud = Cloud::new();
    let mut up = cloud.up(&["--sim", "3", "--port-base", "0"]);
    let ready = up.ready();
    assert_eq!(ready["zones"], serde_json::json!(["karri-1a"]));
    assert!(ready["ready_after_secs"].as_f64().unwrap() < 20.0, "{ready}");

    s3_is_there(&cloud, &ready);
    let second = cloud.karri(&["up", "--sim", "3"]);
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains(&format!("pid {}", up.pid())), "{}", second.stderr);

    let status = cloud.json(&["status"]);
    let roles: Vec<&str> =
        status["controllers"].as_array().unwrap().iter().map(|c| c["role"].as_str().unwrap()).collect();
    for role in ["clc", "cc", "walrus"] {
        assert!(roles.contains(&role), "{roles:?}");
    }
    assert_eq!(status["zones"][0]["resources"]["nodes"].as_array().unwrap().len(), 3);
    let micro = status["zones"][0]["slots"].as_array().unwrap().iter();
    let micro = micro.filter(|slot| slot["instance_type"] == "t3.micro").collect::<Vec<&Value>>()[0].clone();
    assert!(micro["free"].as_u64().unwrap() > 0 && micro["free"] == micro["total"], "{micro}");
    assert!(cloud.text(&["status"]).contains("Instances: none"));

    let disk = vec![7u8; 1 << 20];
    let file = cloud.file("small.raw", &disk);
    let imported = cloud.json(&["image", "import", &file, "--name", "small"]);
    assert_eq!(imported["digest"], format!("sha256:{}", hex::encode(Sha256::digest(&disk))));
    assert_eq!(imported["virtual_bytes"], 1 << 20);
    let image = imported["image_id"].as_str().unwrap();
    assert!(cloud.text(&["image", "list"]).contains(image));
    the_import_has_a_story(&cloud);
    let refused = cloud.karri(&["image", "import", "/etc/passwd", "--name", "passwords"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("plain text"), "{}", refused.stderr);
    let refused = cloud.karri(&["image", "import", &file, "--name", "booted", "--kernel", &file]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("does not look like a kernel"), "{}", refused.stderr);
    assert!(!cloud.text(&["image", "list"]).contains("booted"));

    let ec2 = cloud.ec2();
    let instance = launch(&ec2, image).await;
    until_running(&ec2, &instance).await;
    let many = launch_many(&ec2, image, "6").await;
    for one in &many.instances {
        until_running(&ec2, one).await;
    }
    every_controller_is_measured(&cloud, 1 + many.instances.len());
    assert_eq!(exposed(&cloud.root()), Vec::<PathBuf>::new(), "nothing here is for others to read");
    let second = cloud.controller("karri-nc", "nc-karri-1a", &[], &[]);
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("another controller runs there"), "{}", second.stderr);
    let told = told_by_all(&cloud.json(&["why", &many.instances[5]]), &many.request_id);
    assert!(told.iter().any(|line| line["message"] == "running"), "{told:#?}");
    let told = told_by_all(&cloud.json(&["why", &many.request_id]), &many.request_id);
    let accepted = told.iter().filter(|line| line["message"] == "intent accepted").count();
    assert_eq!(accepted, 6, "nodes that share a process tell each line once");
    for format in ["text", "json"] {
        let nothing = cloud.karri(&["why", "i-0fffffffffffffff0", "--output", format]);
        assert_eq!((nothing.code, nothing.stdout.as_str()), (1, ""), "{}", nothing.stderr);
        let nonsense = cloud.karri(&["why", "foo", "--output", format]);
        assert_eq!((nonsense.code, nonsense.stdout.as_str()), (2, ""), "{}", nonsense.stderr);
    }

    images_are_deleted(&cloud, image, &[&many.instances[..], std::slice::from_ref(&instance)].concat());

    up.interrupt();
    assert_eq!(up.ended(), Some(0));
    assert!(cloud.controllers().iter().all(|pid| !alive(*pid)));

    let certificate = std::fs::read(cloud.root().join("euca-user-cert.pem")).unwrap();
    let mut again = cloud.up(&["--sim", "3"]);
    let known = again.ready();
    s3_is_there(&cloud, &ready);
    assert_eq!(std::fs::read(cloud.root().join("euca-user-cert.pem")).unwrap(), certificate);
    assert_eq!((&known["endpoint"], &known["image_id"]), (&ready["endpoint"], &ready["image_id"]));
    assert_eq!(known["access_key_id"], ready["access_key_id"]);
    until_running(&ec2, &instance).await;

    assert_eq!(cloud.karri(&["down"]).code, 0);
    assert_eq!(again.ended(), Some(0));
    let refused = cloud.karri(&["down", "--terminate"]);
    assert_eq!(refused.code, 2, "without a terminal it cannot ask: {}", refused.stderr);
    assert!(cloud.root().exists());
    assert_eq!(cloud.karri(&["down", "--terminate", "--yes"]).code, 0);
    assert!(!cloud.root().exists(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_root_has_a_simulated_cloud() {
    let cloud = Cloud::without_root();
    let mut up = cloud.up(&["--sim", "1", "--port-base", "0"]);
    let ready = up.ready();
    for pid in cloud.controllers() {
        assert_ne!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(), 0, "{pid} is root's");
    }
    let ec2 = cloud.ec2();
    let instance = launch(&ec2, ready["image_id"].as_str().unwrap()).await;
    until_running(&ec2, &instance).await;
    up.interrupt();
    assert_eq!(up.ended(), Some(0));
    let gone = cloud.karri(&["down", "--terminate", "--yes"]);
    assert_eq!(gone.code, 0, "{}", gone.stderr);
    assert!(!cloud.root().exists(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_killed_comes_back_and_a_killed_supervisor_is_succeeded() {
    let cloud = Cloud::new();
    let mut up = cloud.up(&["--sim", "2", "--port-base", "0", "--zones", "north,south"]);
    let ready = up.ready();
    let image = ready["image_id"].as_str().unwrap().to_owned();
    let zones = cloud.json(&["status"]);
    assert_eq!(zones["zones"].as_array().unwrap().len(), 2);

    let before = cloud.pid_of("cc-north");
    cloud.kill(before);
    eventually("another karri-cc", || cloud.pid_now("cc-north").is_some_and(|pid| pid != before));
    let ec2 = cloud.ec2();
    let instance = launch(&ec2, &image).await;
    until_running(&ec2, &instance).await;

    up.kill();
    let orphans = cloud.controllers();
    assert!(orphans.iter().all(|pid| alive(*pid)), "controllers outlive their supervisor");
    let mut next = cloud.up(&[]);
    next.ready();
    assert!(orphans.iter().all(|pid| !alive(*pid)), "and are stopped by the next one");
    until_running(&ec2, &instance).await;
    next.interrupt();
    assert_eq!(next.ended(), Some(0));
}

/// Ada of the account physics bundles images.
fn bundlers_get_certificates(cloud: &Cloud) {
    let directory = cloud.root().with_file_name("ada");
    let place = directory.to_str().unwrap();
    let create = |user| ["cert", "create", "--account", "physics", "--user", user, "--directory", place];
    assert_eq!(cloud.karri(&create("nobody")).code, 1);
    assert!(!directory.join("euca-user-pk.pem").exists(), "what nobody knows is not left");
    let made = cloud.json(&create("ada"));
    assert_eq!(cloud.karri(&create("ada")).code, 1, "a key is not written over");
    let key = directory.join("euca-user-pk.pem");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let theirs = std::fs::read(directory.join("cloud-cert.pem")).unwrap();
    assert_eq!(theirs, std::fs::read(cloud.root().join("cloud-cert.pem")).unwrap());
    let listed = cloud.json(&["cert", "list", "--account", "physics"]);
    assert_eq!((&listed[0]["id"], &listed[0]["user"]), (&made["id"], &Value::from("ada")));
    assert_eq!(listed[0]["pem"], std::fs::read_to_string(directory.join("euca-user-cert.pem")).unwrap());
    assert_eq!(cloud.karri(&["cert", "delete", made["id"].as_str().unwrap()]).code, 0);
    assert_eq!(cloud.json(&["cert", "list", "--account", "physics"]), serde_json::json!([]));
}

/// The commands of the operator guide's `## ` sections, in their order.
fn commands_of_the_guide(sections: &[&str]) -> Vec<String> {
    let guide = include_str!("../../docs/operator-guide.md");
    let mut here = false;
    let mut commands = Vec::new();
    for line in guide.lines() {
        if let Some(section) = line.strip_prefix("## ") {
            here = sections.contains(&section);
        } else if let Some(command) = line.strip_prefix("    karri ").filter(|_| here) {
            commands.push(command.to_owned());
        }
    }
    commands
}

/// What the guide says can be typed as it stands, with its placeholders filled in by what was printed before.
fn the_guides_commands_work(cloud: &Cloud) {
    let policy = br#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}}"#;
    let policy = cloud.file("read-only.json", policy);
    let keys = cloud.file("ada-keys", b"");
    std::fs::remove_file(&keys).unwrap();
    let commands = commands_of_the_guide(&["Accounts", "Certificates for image bundles"]);
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        let words = command.split_whitespace().map(|word| match word {
            "read-only.json" => policy.clone(),
            "ada-keys" => keys.clone(),
            "ID" => {
                let listed = cloud.json(&["cert", "list", "--account", "physics"]);
                listed[0]["id"].as_str().unwrap().to_owned()
            }
            other => other.to_owned(),
        });
        let words: Vec<String> = words.collect();
        cloud.text(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// While the cloud runs its store is copied, not checked; the copy can be.
fn the_store_is_backed_up(cloud: &Cloud) {
    let copy = cloud.root().with_file_name("copy");
    let place = copy.to_str().unwrap();
    let told = cloud.json(&["walrus", "backup", place]);
    assert_eq!((&told["state"], &told["directory"]), (&Value::from("done"), &Value::from(place)));
    assert_eq!(cloud.json(&["walrus", "check", place])["consistent"], true);
    let again = cloud.karri(&["walrus", "backup", place]);
    assert!(again.code == 1 && again.stderr.contains("not empty"), "{}", again.stderr);
    let running = cloud.karri(&["walrus", "check"]);
    assert!(running.code == 1 && running.stderr.contains("a walrus uses it"), "{}", running.stderr);
}

#[test]
fn accounts_users_keys_and_nodes_are_an_operators_verbs() {
    let cloud = Cloud::new();
    let mut up = cloud.up(&["--sim", "1", "--port-base", "0"]);
    up.ready();

    let account = cloud.json(&["account", "create", "physics", "--email", "Physics@example.org"]);
    assert_eq!(
        (&account["name"], &account["email"]),
        (&Value::from("physics"), &Value::from("physics@example.org"))
    );
    assert_eq!(cloud.karri(&["account", "create", "physics"]).code, 1, "a name is taken once");
    let policy = cloud.file(
        "looks-only.json",
        br#"{"Statement": {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}}"#,
    );
    let user = cloud.json(&["user", "create", "ada", "--account", "physics", "--policy", &policy]);
    assert_eq!(user["policies"][0][0], "looks-only");
    assert!(user["arn"].as_str().unwrap().ends_with(":user/ada"));
    let key = cloud.json(&["key", "create", "--account", "physics", "--user", "ada"]);
    let id = key["access_key_id"].as_str().unwrap();
    assert!(key["secret_access_key"].as_str().unwrap().len() >= 40);
    let keys = cloud.json(&["key", "list", "--account", "physics"]);
    assert_eq!((&keys[0]["access_key_id"], &keys[0]["secret_access_key"]), (&Value::from(id), &Value::Null));
    assert_eq!(cloud.karri(&["key", "delete", id]).code, 0);
    assert_eq!(cloud.json(&["key", "list", "--account", "physics"]), serde_json::json!([]));
    bundlers_get_certificates(&cloud);
    assert_eq!(cloud.karri(&["user", "delete", "ada", "--account", "physics"]).code, 0);
    assert_eq!(cloud.karri(&["account", "delete", "physics"]).code, 0);
    assert_eq!(cloud.json(&["account", "list"]).as_array().unwrap().len(), 1);
    the_guides_commands_work(&cloud);
    assert_eq!(cloud.karri(&["account", "delete", "physics"]).code, 0);
    for last in [vec!["user", "delete", "admin"], vec!["account", "delete", "admin", "--force"]] {
        let refused = cloud.karri(&last);
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("last administrator"), "{}", refused.stderr);
    }

    let token = cloud.json(&["node", "token"]);
    let token = token["token"].as_str().unwrap();
    let elsewhere = Cloud::new();
    let join = ["node", "join", token, "--sim", "--name", "attic", "--port", "0"];
    let joined = elsewhere.json(&join);
    assert_eq!((&joined["name"], &joined["zone"]), (&Value::from("attic"), &Value::from("karri-1a")));
    let reused = Cloud::new().karri(&["node", "join", token, "--sim", "--name", "cellar"]);
    assert_eq!(reused.code, 1, "a token is good for one node: {}", reused.stderr);
    let other = Cloud::new();
    let twin = other.karri(&join);
    assert_eq!(twin.code, 1, "a token is good for one machine");
    assert!(twin.stderr.contains("karri node forget attic"), "{}", twin.stderr);
    assert!(!other.root().exists(), "a refusal leaves nothing");
    assert_eq!(elsewhere.json(&join), joined, "which may ask again");
    let node = elsewhere.start(joined["start"].as_str().unwrap());
    let attic = || {
        let nodes = cloud.json(&["node", "list"]);
        nodes.as_array().unwrap().iter().find(|n| n["name"] == "attic-0").map(|n| n["alive"].clone())
    };
    eventually("the new node in the list", || attic() == Some(Value::Bool(true)));
    let status = cloud.text(&["status"]);
    for name in ["sim", "attic-0"] {
        assert!(status.contains(&format!("nc          {name} ")), "{status}");
    }
    let alive = cloud.karri(&["node", "forget", "attic-0", "--force"]);
    assert_eq!(alive.code, 1);
    assert!(alive.stderr.contains("still answers"), "{}", alive.stderr);
    drop(node);
    eventually("the node silent", || attic() == Some(Value::Bool(false)));
    assert_eq!(cloud.karri(&["status"]).code, 1, "a node is missing");
    assert_eq!(cloud.text(&["node", "forget", "attic-0"]), "");
    assert_eq!(attic(), None);
    assert_eq!(cloud.karri(&["node", "forget", "attic-0"]).code, 1, "there is none");
    eventually("all is well", || cloud.karri(&["status"]).code == 0 && attic().is_none());
    // The certificate is not the simulated node's but that of the process that plays it.
    assert_eq!(cloud.text(&["node", "forget", "attic", "--zone", "karri-1a"]), "");
    let heard = || cloud.logs_say("cc-karri-1a", "other certificates are refused from now on");
    eventually("the cluster has heard of it", heard);
    let returned = elsewhere.start(joined["start"].as_str().unwrap());
    eventually("the certificate refused", || elsewhere.logs_say("", "certificate is revoked"));
    assert_eq!(attic(), None);
    drop(returned);
    the_store_is_backed_up(&cloud);
    up.interrupt();
    assert_eq!(up.ended(), Some(0));
    assert_eq!(cloud.json(&["walrus", "check"])["consistent"], true);
}

#[test]
fn a_controller_names_what_its_configuration_cannot_mean() {
    let cloud = Cloud::new();
    let mut up = cloud.up(&["--sim", "1", "--port-base", "0"]);
    up.ready();
    up.interrupt();
    assert_eq!(up.ended(), Some(0));
    let broken = cloud.file("broken.toml", b"[t3]\nsizes = 5\n");
    let types = "KARRI_CLC_CATALOGUE__INSTANCE_TYPES";
    for (program, name, variable, value, named) in [
        (
            "karri-clc",
            "clc",
            types,
            "/nonexistent.toml",
            "catalogue.instance_types: /nonexistent.toml: No such",
        ),
        ("karri-clc", "clc", types, &broken, "catalogue.instance_types: [t3]"),
        ("karri-clc", "clc", "KARRI_CLC_LIMITS__PENDING_SECS", "0", "limits.pending_secs = 0"),
        ("karri-clc", "clc", "KARRI_CLC_API__BODY_BYTES_MAX", "0", "api.body_bytes_max = 0"),
        ("karri-clc", "clc", "KARRI_CLC_CONTROLLER__LOG", "bog=us=1", "controller.log = \"bog=us=1\""),
        ("karri-cc", "cc-karri-1a", "KARRI_CC_CONTROLLER__LOG", "bog=us=1", "controller.log"),
        ("karri-nc", "nc-karri-1a", "KARRI_NC_GUEST__PREPARE_SECS_MAX", "0", "guest.prepare_secs_max = 0"),
        (
            "karri-nc",
            "nc-karri-1a",
            "KARRI_NC_CONTROLLER__TLS__KEY",
            "/none.pem",
            "controller.tls: /none.pem",
        ),
        ("karri-walrus", "walrus", "KARRI_WALRUS_BLOBS__MAX_GIB", "0", "blobs.max_gib = 0"),
        ("karri-walrus", "walrus", "KARRI_WALRUS_S3__REGION", "a/b", "s3.region = \"a/b\""),
    ] {
        let right = cloud.controller(program, name, &["--check-config"], &[]);
        assert_eq!(right.code, 0, "{}", right.stderr);
        let wrong = cloud.controller(program, name, &["--check-config"], &[(variable, value)]);
        assert_eq!(wrong.code, 1, "{variable}={value}: {}", wrong.stdout);
        assert!(wrong.stderr.contains(named), "{}", wrong.stderr);
        assert!(wrong.stderr.matches(named).count() == 1, "said once: {}", wrong.stderr);
    }
    let database = cloud.root().with_file_name("fresh.sqlite");
    let url = format!("sqlite://{}", database.display());
    let changed = [(types, "/nonexistent.toml"), ("KARRI_CLC_DATABASE__URL", url.as_str())];
    let started = cloud.controller("karri-clc", "clc", &[], &changed);
    assert_eq!((started.code, started.stderr.matches("No such file").count()), (1, 1), "{}", started.stderr);
    assert!(!database.exists(), "it is refused before anything is made");
}
