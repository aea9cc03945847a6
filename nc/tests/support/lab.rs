//! Lab hosts (`deploy/images/labhost.sh`): two emulated machines with Debian's kernel on one cable, for what this
//! machine's kernel cannot do.
#![allow(dead_code)] // each suite uses its own part

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

const SECONDS: u64 = 60;

pub struct Lab {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// One of them.
#[derive(Clone)]
pub struct Host {
    lab: Arc<Mutex<Lab>>,
    number: usize,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// So many hosts with this test binary in them, as `/programs/node`, and what plays guests.
pub fn hosts<const COUNT: usize>() -> [Host; COUNT] {
    let (root, images) = (root(), root().join("target/images"));
    if !images.join("labhost.manifest").exists() {
        let built = Command::new(root.join("deploy/images/labhost.sh")).arg(&images).status().unwrap();
        assert!(built.success(), "deploy/images/labhost.sh has failed");
    }
    let mut command = Command::new("python3");
    command.arg(root.join("deploy/images/labhost/labhost.py")).arg("serve").arg(images);
    command.arg(COUNT.to_string()).arg(format!("+node={}", std::env::current_exe().unwrap().display()));
    command.arg(format!("/programs/guest.py={}", root.join("nc/tests/support/guest.py").display()));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut lab = Lab { input: child.stdin.take(), child, output };
    let ready = lab.hear();
    assert!(ready.get("ready").is_some(), "{ready}");
    let lab = Arc::new(Mutex::new(lab));
    std::array::from_fn(|number| Host { lab: lab.clone(), number })
}

impl Lab {
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the lab has ended");
        serde_json::from_str(&line).unwrap()
    }

    fn ask(&mut self, asked: &Value) -> Value {
        writeln!(self.input.as_ref().unwrap(), "{asked}").unwrap();
        self.hear()
    }
}

impl Drop for Lab {
    /// With its input it ends by itself, and takes the hosts along.
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

impl Host {
    fn ask(&self, mut asked: Value) -> Value {
        asked["host"] = json!(self.number);
        self.lab.lock().unwrap().ask(&asked)
    }

    /// What a shell in it prints.
    #[track_caller]
    pub fn must(&self, command: &str) -> String {
        let done = self.ask(json!({ "do": "run", "command": command, "seconds": SECONDS }));
        assert_eq!(done["code"], 0, "host {}: {command}: {done}", self.number);
        done["out"].as_str().unwrap().to_owned()
    }

    /// A program that answers lines, under that name.
    #[track_caller]
    pub fn start(&self, name: &str, command: &[&str], environment: &[(&str, &str)]) {
        let environment: BTreeMap<_, _> = environment.iter().copied().collect();
        let asked = json!({ "do": "start", "name": name, "command": command, "environment": environment });
        let done = self.ask(asked);
        assert!(done.get("pid").is_some(), "{command:?}: {done}");
    }

    #[track_caller]
    pub fn tell(&self, name: &str, line: &Value) -> Value {
        let answer = self.ask(json!({ "do": "ask", "name": name, "line": line }));
        answer.get("answer").unwrap_or_else(|| panic!("{name}: {line}: {answer}")).clone()
    }

    /// How many frames went over the cable with which tags (of 802.1Q, outer ones first), and how many with these
    /// bytes in them.
    pub fn on_the_cable(&self, marker: &str) -> (BTreeMap<String, u64>, u64) {
        let answer = self.lab.lock().unwrap().ask(&json!({ "marker": marker }));
        (serde_json::from_value(answer["tags"].clone()).unwrap(), answer["marked"].as_u64().unwrap())
    }
}
