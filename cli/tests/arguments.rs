//! The command as it is typed: help, usage errors, exit codes, and what it says without a cloud.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test
use std::path::Path;
use std::process::{Command, Output};

fn karri(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_karri"));
    command
        .env_clear()
        .env("HOME", home)
        .env("XDG_DATA_HOME", home)
        .env("KARRI_STATE_DIR", home.join("cloud"));
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const VERBS: [&str; 34] = [
    "",
    "up",
    "down",
    "env",
    "status",
    "why",
    "image",
    "image import",
    "image list",
    "image delete",
    "account",
    "account create",
    "account list",
    "account delete",
    "user",
    "user create",
    "user list",
    "user delete",
    "key",
    "key create",
    "key list",
    "key delete",
    "cert",
    "cert create",
    "cert list",
    "cert delete",
    "node",
    "node token",
    "node join",
    "node list",
    "node forget",
    "walrus",
    "walrus check",
    "walrus backup",
];

#[test]
fn every_verb_has_help_with_what_it_takes() {
    let home = tempfile::tempdir().unwrap();
    for verb in VERBS {
        let words: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
        let output = karri(home.path(), &words);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        let help = text(&output.stdout);
        assert!(help.contains("Usage: karri"), "{verb}: {help}");
        assert!(help.contains("--output"), "{verb} tells how data is printed");
    }
    for verb in ["up", "down", "image import", "why", "node join", "env", "walrus check", "walrus backup"] {
        let words: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
        let help = text(&karri(home.path(), &words).stdout);
        assert!(help.contains("Example"), "{verb} shows an example: {help}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 13] = [
        (&[], "Usage"),
        (&["fly"], "fly"),
        (&["why"], "<ID>"),
        (&["status", "--output", "yaml"], "yaml"),
        (&["up", "--sim", "0"], "0"),
        (&["up", "--sim", "many"], "many"),
        (&["up", "--sim", "2", "--region", "Not A Region"], "Not A Region"),
        (&["up", "--sim", "2", "--zones", "a,a"], "two zones"),
        (&["up", "--sim", "2", "--address", "here"], "here"),
        (&["down", "--yes"], "--terminate"),
        (&["image", "import", "x.img", "--ramdisk", "r"], "--kernel"),
        (&["node", "token", "--valid", "0"], "0"),
        (&["why", "foo"], "foo"),
    ];
    for (arguments, named) in cases {
        let output = karri(home.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}

#[test]
fn without_a_cloud_a_verb_fails_and_names_the_place_and_the_remedy() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("cloud").display().to_string();
    for verb in ["env", "status", "why i-12345678", "image list", "down", "account list"] {
        let words: Vec<&str> = verb.split_whitespace().collect();
        let output = karri(home.path(), &words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {said}");
        assert!(said.contains(&place) && said.contains("karri up"), "{verb}: {said}");
        assert!(output.stdout.is_empty(), "{verb} prints no data");
    }
    assert!(!home.path().join("cloud").exists(), "asking makes nothing");
}

#[test]
fn a_token_that_is_none_is_refused_before_anything_is_made() {
    let home = tempfile::tempdir().unwrap();
    let output = karri(home.path(), &["node", "join", "nonsense", "--sim"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not a join token"), "{}", text(&output.stderr));
    assert!(!home.path().join("cloud").exists());
}

#[test]
fn env_quotes_what_a_shell_would_read_otherwise() {
    let home = tempfile::tempdir().unwrap();
    let cloud = home.path().join("cloud");
    std::fs::create_dir(&cloud).unwrap();
    let secret = r"a'b $(id) \ c";
    let quoted = secret.replace('\'', r"'\''");
    let file = format!(
        "export AWS_ACCESS_KEY_ID='AKIA1'\nexport AWS_SECRET_ACCESS_KEY='{quoted}'\n\
         export AWS_DEFAULT_REGION='karri-1'\nexport AWS_ENDPOINT_URL='http://127.0.0.1:1'\n"
    );
    std::fs::write(cloud.join("credentials"), file).unwrap();
    let shell = text(&karri(home.path(), &["env"]).stdout);
    let script = format!("{shell}printf %s \"$AWS_SECRET_ACCESS_KEY|$EC2_URL\"");
    let read = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(text(&read.stdout), format!("{secret}|http://127.0.0.1:1"));
    let json = karri(home.path(), &["env", "--output", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["AWS_SECRET_ACCESS_KEY"], secret);
    assert_eq!(json["AWS_ENDPOINT_URL"], "http://127.0.0.1:1");
}

#[test]
fn a_check_without_a_store_fails_and_names_the_place() {
    let home = tempfile::tempdir().unwrap();
    let output = karri(home.path(), &["walrus", "check"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cloud/walrus: there is no store of objects"), "{said}");
    assert!(!home.path().join("cloud").exists(), "asking makes nothing");
}
