//! botocore judges every wire type, in both directions: `cargo test -p karri-proto --features judge`.
//!
//! The Python side asks, this side answers over a pair of pipes; the verdict is Python's exit status.

use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn botocore_agrees_with_every_field_of_every_action() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let python = std::env::var_os("KARRI_TEST_PYTHON")
        .map_or_else(|| root.join("target/test-venv/bin/python"), Into::into);
    let mut judge = Command::new(&python)
        .arg(root.join("tests/clients/botocore_judge.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{}: {error}; it needs a Python with botocore (KARRI_TEST_PYTHON)", python.display())
        });
    let (questions, answers) = (judge.stdout.take().unwrap(), judge.stdin.take().unwrap());
    // A judge that stops early shows in its exit status, so a broken pipe is not an error of its own.
    let served = karri_proto::aws::judge::serve(BufReader::new(questions), answers);
    let verdict = judge.wait().unwrap();
    assert!(verdict.success(), "botocore does not agree ({verdict}, pipe: {served:?}); see above");
}
