//! DHCP and DNS for one network: dnsmasq's files, and its process.
//!
//! The process outlives us: guests renew their leases while no controller runs. The next life finds it by its
//! pid file, checked against its command line, and keeps it if it would start the very same.

use super::router::namespace;
use super::{DriveError, Host};
use karri_net::Namespace;
use karri_proto::runtime::files::write_readable;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

pub const LEASE_TIME: &str = "12h";
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
const POLL_EVERY: Duration = Duration::from_millis(20);
const START_TIMEOUT: Duration = Duration::from_secs(3);
const PROGRAM: &str = "dnsmasq";

/// What is read again when it is told to.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    hosts: String,
    names: String,
}

#[derive(Debug)]
pub struct Dnsmasq {
    arguments: Vec<String>,
    directory: PathBuf,
    /// The name of the namespace that it is in; none: ours.
    inside: Option<String>,
    /// Ours to reap, when this life started it.
    child: Option<Child>,
    /// Of the one that was last found to be right.
    serving: Option<Pid>,
    written: Option<Files>,
    must_restart: bool,
    /// None serves this directory that the pid file does not name.
    alone: bool,
}

/// A process, and its command line.
struct Found {
    pid: Pid,
    words: Vec<String>,
}

impl Dnsmasq {
    /// `arguments`: beside those that name its files in `directory`, which it shares with nobody.
    pub fn new(directory: &Path, inside: Option<&str>, arguments: Vec<String>) -> Self {
        let mut all = arguments_for(directory);
        all.extend(arguments);
        Self {
            arguments: all,
            directory: directory.to_owned(),
            inside: inside.map(str::to_owned),
            child: None,
            serving: None,
            written: None,
            must_restart: false,
            alone: false,
        }
    }

    /// Whether it would be started with these.
    pub fn has(&self, arguments: &[String]) -> bool {
        self.arguments.ends_with(arguments)
            && self.arguments.len() == arguments.len() + arguments_for(&self.directory).len()
    }

    /// Serves by other arguments from now on.
    pub fn become_another(&mut self, other: Self) {
        self.arguments = other.arguments;
        self.written = None;
    }

    /// Its sockets no longer serve.
    pub fn restart_next(&mut self) {
        self.must_restart = true;
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A quick look: whether the one that was last found to be right still lives.
    pub fn is_serving(&mut self) -> bool {
        let Some(pid) = self.serving.filter(|_| !self.must_restart) else { return false };
        match &mut self.child {
            Some(child) => child.try_wait().is_ok_and(|ended| ended.is_none()),
            None => command_line(pid).is_some(),
        }
    }

    /// It runs and serves exactly `hosts`, and `names` beside what its arguments say.
    pub async fn apply(&mut self, hosts: &[Host], names: String) -> Result<(), DriveError> {
        self.serving = None;
        let files = Files { hosts: hosts_file(hosts), names };
        let changed = self.written.as_ref() != Some(&files);
        self.alone |= !self.file("hosts").exists(); // nobody has been here before
        if changed {
            self.write_if_other("hosts", &files.hosts)?;
            self.write_if_other("names", &files.names)?;
        }
        let stale = if changed { self.leases_without_conflicts(hosts) } else { None };
        let running = self.running();
        self.alone |= running.is_some();
        match running {
            Some(found) if self.is_ours(&found) && stale.is_none() && !self.must_restart => {
                if changed {
                    signal(found.pid, Signal::HUP);
                }
                self.serving = Some(found.pid);
            }
            running => {
                if let Some(Found { pid, .. }) = running {
                    self.stop(pid).await?;
                }
                self.stop_unfound().await?;
                self.alone = false;
                if let Some(leases) = stale {
                    write_file(&self.file("leases"), &leases)?;
                }
                self.serving = Some(self.start().await?);
                (self.alone, self.must_restart) = (true, false);
            }
        }
        self.written = Some(files);
        Ok(())
    }

    fn write_if_other(&self, name: &str, text: &str) -> Result<(), DriveError> {
        match std::fs::read_to_string(self.file(name)) {
            Ok(present) if present == text => Ok(()),
            _ => write_file(&self.file(name), text),
        }
    }

    /// Stops it and removes its files.
    pub async fn remove(&mut self) -> Result<(), DriveError> {
        match self.running_pid() {
            Some(pid) => self.stop(pid).await?,
            None => self.stop_unfound().await?,
        }
        self.written = None;
        for name in ["hosts", "names", "leases", "dnsmasq.pid", "dnsmasq.log"] {
            match std::fs::remove_file(self.file(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(DriveError::new(format!("{}", self.file(name).display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn running_pid(&mut self) -> Option<Pid> {
        self.running().map(|found| found.pid)
    }

    /// The process that our pid file names, if it is a dnsmasq of ours: a pid alone may be anyone's by now.
    fn running(&mut self) -> Option<Found> {
        if let Some(child) = &mut self.child
            && child.try_wait().is_ok_and(|ended| ended.is_some())
        {
            self.child = None;
        }
        let text = std::fs::read_to_string(self.file("dnsmasq.pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        let words = command_line(pid)?;
        words.contains(&self.pid_file_argument()).then_some(Found { pid, words })
    }

    fn pid_file_argument(&self) -> String {
        format!("--pid-file={}", self.file("dnsmasq.pid").display())
    }

    /// All that were started for this directory, whether or not a pid file names them. A container's are others', though
    /// its paths may be the same.
    fn unfound(&self) -> Vec<Pid> {
        let (argument, own) = (self.pid_file_argument(), pid_namespace("self"));
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &Pid| {
            command_line(*pid).is_some_and(|words| words.contains(&argument))
                && own.is_some()
                && pid_namespace(&pid.as_raw_nonzero().to_string()) == own
        };
        numbers.filter_map(Pid::from_raw).filter(is_ours).collect()
    }

    /// Another life may have ended, or a start have taken too long, before there was a pid file. All processes are looked
    /// at, which is not done where there can be none.
    async fn stop_unfound(&mut self) -> Result<(), DriveError> {
        if self.alone {
            return Ok(());
        }
        for pid in self.unfound() {
            self.stop(pid).await?;
        }
        Ok(())
    }

    /// It is what we would start, and where.
    fn is_ours(&self, found: &Found) -> bool {
        let is_there = self.inside.as_deref().is_none_or(|name| {
            let there = namespace::number_of_process(found.pid.as_raw_nonzero().get());
            there.is_some() && there == namespace::number(name)
        });
        is_there && found.words.get(1..) == Some(&self.arguments[..])
    }

    async fn stop(&mut self, pid: Pid) -> Result<(), DriveError> {
        for wanted in [Signal::TERM, Signal::KILL] {
            signal(pid, wanted);
            // Not the pid file nor the command line: they go before the sockets do.
            let ended = async {
                while is_there(pid) {
                    tokio::time::sleep(POLL_EVERY).await;
                }
            };
            if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_ok() {
                self.running_pid(); // reaps it
                return Ok(());
            }
        }
        Err(DriveError::new(PROGRAM, format!("process {} does not end", pid.as_raw_nonzero())))
    }

    /// Done when it listens: it writes its pid file then.
    async fn start(&mut self) -> Result<Pid, DriveError> {
        let failed = |cause: std::io::Error| DriveError::new(PROGRAM, cause);
        let _ = std::fs::remove_file(self.file("dnsmasq.pid"));
        let log = File::create(self.file("dnsmasq.log")).map_err(failed)?;
        let mut command = Command::new(PROGRAM);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0) // Ctrl-C at our terminal is not meant for it
            .kill_on_drop(false);
        let child = match &self.inside {
            None => command.spawn(),
            Some(name) => spawn_inside(&namespace::open(name)?, &mut command),
        };
        self.child = Some(child.map_err(failed)?);
        let listening = async {
            while self.child.is_some() && self.running_pid().is_none() {
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(START_TIMEOUT, listening).await;
        match self.running_pid() {
            Some(pid) => {
                tracing::info!(pid = pid.as_raw_nonzero().get(), "dnsmasq started");
                Ok(pid)
            }
            None => {
                let said = std::fs::read_to_string(self.file("dnsmasq.log")).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it says nothing").to_owned();
                Err(DriveError::new(PROGRAM, last))
            }
        }
    }

    fn leases_without_conflicts(&self, hosts: &[Host]) -> Option<String> {
        without_conflicts(&std::fs::read_to_string(self.file("leases")).ok()?, hosts)
    }
}

/// `None`: no dnsmasq lives under this number; one that ended and was not reaped has no command line.
fn command_line(pid: Pid) -> Option<Vec<String>> {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let words = bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut words: Vec<String> = words.collect();
    words.pop(); // after the last zero
    let program = Path::new(words.first()?).file_name()?.to_str()?.to_owned();
    (program == PROGRAM).then_some(words)
}

fn pid_namespace(process: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/pid")).ok()
}

/// Still has what it had open. One that ended and was not reaped has not.
fn is_there(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    holds_on(&stat)
}

/// A line of `stat` is `pid (name) state …`.
fn holds_on(stat: &str) -> bool {
    let after = stat.split_once(' ').and_then(|(_, after)| after.strip_prefix(&format!("({PROGRAM}) ")));
    after.is_some_and(|after| !after.starts_with(['Z', 'X']))
}

fn signal(pid: Pid, signal: Signal) {
    // It may have ended meanwhile, which the next look will see.
    let _ = kill_process(pid, signal);
}

fn write_file(path: &Path, text: &str) -> Result<(), DriveError> {
    write_readable(path, text.as_bytes()).map_err(|cause| DriveError::new(path.display().to_string(), cause))
}

/// A child is in the namespace of the thread that starts it.
pub fn spawn_inside(namespace: &Namespace, command: &mut Command) -> std::io::Result<Child> {
    let runtime = tokio::runtime::Handle::current();
    namespace.run(|| {
        let _entered = runtime.enter();
        command.spawn()
    })?
}

fn arguments_for(directory: &Path) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    vec![
        "--keep-in-foreground".to_owned(),
        "--conf-file=/dev/null".to_owned(),
        "--log-facility=-".to_owned(),
        "--quiet-dhcp".to_owned(),
        format!("--pid-file={}", file("dnsmasq.pid")),
        "--bind-interfaces".to_owned(),
        "--except-interface=lo".to_owned(),
        "--no-hosts".to_owned(),
        "--domain-needed".to_owned(),
        "--dhcp-authoritative".to_owned(),
        "--no-ping".to_owned(),
        "--dhcp-lease-max=65536".to_owned(),
        format!("--dhcp-hostsfile={}", file("hosts")),
        format!("--addn-hosts={}", file("names")),
        format!("--dhcp-leasefile={}", file("leases")),
    ]
}

/// A line per host. What could be taken for more than one field is left out.
fn hosts_file(hosts: &[Host]) -> String {
    let mut text = String::new();
    for host in hosts.iter().filter(|host| is_mac(&host.mac)) {
        let _ = write!(text, "{},{}", host.mac, host.address);
        if is_label(&host.hostname) {
            let _ = write!(text, ",{}", host.hostname);
        }
        text.push('\n');
    }
    text
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// dnsmasq refuses an address that it has leased to another MAC: such leases must go before it is given to
/// a new instance. `None`: there are none. Lease lines are `expiry mac address name client-id`.
fn without_conflicts(leases: &str, hosts: &[Host]) -> Option<String> {
    let owners: std::collections::HashMap<String, &str> =
        hosts.iter().map(|host| (host.address.to_string(), host.mac.as_str())).collect();
    let conflicts = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let (Some(mac), Some(address)) = (words.next(), words.next()) else { return false };
        owners.get(address).is_some_and(|owner| !owner.eq_ignore_ascii_case(mac))
    };
    leases.lines().any(|line| conflicts(&line)).then(|| {
        let kept = leases.lines().filter(|line| !conflicts(line));
        kept.map(|line| format!("{line}\n")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(mac: &str, last: u8, hostname: &str) -> Host {
        Host { mac: mac.into(), address: [172, 31, 0, last].into(), hostname: hostname.into() }
    }

    #[test]
    fn hosts_that_could_break_out_of_their_line_are_left_out() {
        let hosts = [
            host("02:00:00:00:00:01", 4, "ip-172-31-0-4"),
            host("02:00:00:00:00:02", 5, "a,b\nset:x"),
            host("02:00:00:00:00:03,ignore", 6, "c"),
        ];
        let text = hosts_file(&hosts);
        assert_eq!(text, "02:00:00:00:00:01,172.31.0.4,ip-172-31-0-4\n02:00:00:00:00:02,172.31.0.5\n");
    }

    #[test]
    fn one_that_is_ending_holds_its_sockets_until_it_waits_to_be_reaped() {
        assert!(holds_on("77 (dnsmasq) S 1 77") && holds_on("77 (dnsmasq) R 1 77"));
        for gone in ["77 (dnsmasq) Z 1 77", "77 (dnsmasq) X 1 77", "77 (sh) S 1 77", ""] {
            assert!(!holds_on(gone), "{gone}");
        }
    }

    #[test]
    fn only_leases_of_addresses_given_to_another_are_dropped() {
        let leases = "1 02:00:00:00:00:01 172.31.0.4 a *\n1 02:00:00:00:00:09 172.31.0.5 b *\nduid x\n";
        let hosts = [host("02:00:00:00:00:01", 4, "a"), host("02:00:00:00:00:02", 5, "b")];
        let kept = without_conflicts(leases, &hosts).unwrap();
        assert_eq!(kept, "1 02:00:00:00:00:01 172.31.0.4 a *\nduid x\n");
        assert_eq!(without_conflicts(&kept, &hosts), None);
    }
}
