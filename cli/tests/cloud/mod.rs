//! A state directory of a test's own and the programs that work in it. Dropping it stops what it started.

use karri_cli::credentials::Credentials;
use karri_cli::ec2::Ec2;
use karri_proto::runtime::endpoint::Endpoint;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(90);
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Who may do nothing on a Debian.
const NOBODY: u32 = 65_534;
const PROGRAMS: [&str; 5] = ["karri", "karri-clc", "karri-cc", "karri-nc", "karri-walrus"];

pub struct Cloud {
    directory: tempfile::TempDir,
    program: PathBuf,
    /// Root runs them as another user.
    runs_as: Option<u32>,
}

pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A running `karri up`, or a node.
pub struct Running {
    child: Child,
}

/// The four controllers beside `karri`: cargo builds only this package's program by itself. The command is
/// the one of `cargo xtask test`, where it finds everything built; another choice of packages would mean
/// other features of the dependencies, and building them all again. So would what this test's own cargo says of its package.
fn build_controllers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--workspace", "--all-targets"]);
        let of_ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars().filter(|(name, _)| of_ours(name)) {
            cargo.env_remove(name);
        }
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the controllers do not build");
    });
}

impl Cloud {
    pub fn new() -> Self {
        build_controllers();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_karri"));
        Self { directory: tempfile::tempdir().unwrap(), program, runs_as: None }
    }

    /// Of a user without any rights: of `nobody` where the tests are root's.
    pub fn without_root() -> Self {
        let mut cloud = Self::new();
        if !rustix::process::geteuid().is_root() {
            return cloud;
        }
        let place = cloud.directory.path();
        std::os::unix::fs::chown(place, Some(NOBODY), Some(NOBODY)).unwrap();
        // Those that were built may lie where that user cannot go.
        for name in PROGRAMS {
            let (built, here) = (cloud.program.with_file_name(name), place.join(name));
            std::fs::hard_link(&built, &here).or_else(|_| std::fs::copy(&built, &here).map(drop)).unwrap();
        }
        (cloud.program, cloud.runs_as) = (place.join(PROGRAMS[0]), Some(NOBODY));
        cloud
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("cloud")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.runs_as {
            None => Command::new(&self.program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
                command.arg(&self.program);
                command
            }
        };
        command.env("KARRI_STATE_DIR", self.root()).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn karri(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap())
    }

    pub fn text(&self, arguments: &[&str]) -> String {
        let done = self.karri(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}", done.stderr);
        done.stdout
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    pub fn up(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(&[&["up", "--output", "json"], arguments].concat());
        Running { child: command.stdout(Stdio::piped()).spawn().unwrap() }
    }

    /// A controller's program over the configuration that `up` wrote for it, in a changed environment.
    pub fn controller(&self, program: &str, name: &str, more: &[&str], changed: &[(&str, &str)]) -> Done {
        let program = Path::new(env!("CARGO_BIN_EXE_karri")).with_file_name(program);
        let mut command = Command::new(program);
        let config = self.root().join("config").join(name).with_extension("toml");
        command.arg("--config").arg(config).args(more).envs(changed.iter().copied()).stdin(Stdio::null());
        Done::of(command.output().unwrap())
    }

    /// The whole answer to a plain request.
    pub fn http_get(&self, url: &str, path: &str) -> String {
        let host = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A command line as `karri` printed it.
    pub fn start(&self, line: &str) -> Running {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        Running { child: command.args(words).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap() }
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    /// Whether a controller that lives there has logged that.
    pub fn logs_say(&self, under: &str, words: &str) -> bool {
        let mut directories = vec![self.root().join(under)];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => directories.push(path),
                    false if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(words)) => {
                        return true;
                    }
                    false => {}
                }
            }
        }
        false
    }

    pub fn ec2(&self) -> Ec2 {
        Ec2::new(Credentials::read(&self.root().join("credentials")).unwrap().unwrap()).unwrap()
    }

    fn children(&self) -> Vec<(String, u32)> {
        let bytes = std::fs::read(self.root().join("run/children.json")).unwrap_or_default();
        let all: Vec<Value> = serde_json::from_slice(&bytes).unwrap_or_default();
        let one = |v: &Value| (v["name"].as_str().unwrap().to_owned(), v["pid"].as_u64().unwrap() as u32);
        all.iter().map(one).collect()
    }

    pub fn controllers(&self) -> Vec<u32> {
        self.children().into_iter().map(|(_, pid)| pid).collect()
    }

    pub fn pid_of(&self, name: &str) -> u32 {
        self.children().into_iter().find(|(known, _)| known == name).unwrap().1
    }

    /// The pid that is ready to serve.
    pub fn pid_now(&self, name: &str) -> Option<u32> {
        Endpoint::read(&self.root().join(name)).map(|endpoint| endpoint.pid)
    }

    pub fn kill(&self, pid: u32) {
        signal(pid, rustix::process::Signal::KILL);
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `up --output json` prints when all is ready.
    pub fn ready(&mut self) -> Value {
        let stdout = self.child.stdout.take().unwrap();
        let (told, hear) = channel();
        std::thread::spawn(move || {
            let mut values = serde_json::Deserializer::from_reader(stdout);
            let _ = told.send(serde::Deserialize::deserialize(&mut values));
        });
        hear.recv_timeout(READY_WITHIN).unwrap().unwrap()
    }

    pub fn interrupt(&self) {
        signal(self.child.id(), rustix::process::Signal::INT);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit code, once it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + ENDS_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(20)); // a poll with a deadline
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        for pid in self.controllers().into_iter().filter(|pid| alive(*pid)) {
            signal(pid, rustix::process::Signal::KILL);
        }
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether a process lives; a zombie does not.
pub fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}

pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50)); // a poll with a deadline
    }
}
