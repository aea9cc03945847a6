//! What each part runs.

use super::process::{self, Outcome};
use super::times::Times;
use super::{Part, Report, fuzz, lanes, parse};
use crate::cargo::cargo;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Builds on a machine with few cores and nothing built yet.
const BUILD_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// One test executable, one Python suite, one image.
const SUITE_TIME_MAX: Duration = Duration::from_secs(15 * 60);
// `--locked`: what is tested is what the lock file says, and no test run changes it.
const CLIPPY: [&str; 7] = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
const BUILD: [&str; 6] =
    ["build", "--workspace", "--all-targets", "--locked", "--message-format", "json-render-diagnostics"];
const FUZZ_SECONDS: u64 = 5;
const IMAGES: &str = "target/images";
const IMAGE_SCRIPTS: &str = "deploy/images";
/// Each is built by the script of its name, which writes `NAME.manifest` last, and tried by `test-NAME.sh`
/// where there is one.
const IMAGE_NAMES: [&str; 3] = ["tiny", "debian", "labhost"];
const PYTHON: &str = "target/test-venv/bin/python";
/// Tests of the whole in Python, which start guests.
const GUESTS: &str = "tests/system";
const GUESTS_OF_NODES: [&str; 2] = ["nc test libvirt_guest", "nc test vlan"];
/// The crate whose tests are of the whole, and start none.
const SYSTEM_CRATE: &str = "tests";
/// Suites that do next to nothing but wait: many of their tests run at a time.
const WAITING: [&str; 1] = ["cc test cluster"];
const WAITING_AT_ONCE: &str = "--test-threads=8";

pub struct Context {
    root: PathBuf,
    logs: PathBuf,
    /// What the one build gave; `None` inside when it failed, which has been told.
    built: Option<Option<Vec<Executable>>>,
    times: Times,
}

/// A test executable that cargo has built.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Executable {
    /// The member's folder.
    member: PathBuf,
    target: String,
    path: PathBuf,
}

impl Executable {
    fn name(&self) -> String {
        format!("{} {}", self.folder(), self.target)
    }

    fn folder(&self) -> &str {
        self.member.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// The parts of one stage.
pub fn run(context: &mut Context, stage: &[Part]) -> Result<Report> {
    match stage {
        [Part::Fmt] => context.cargo("fmt", &["fmt", "--all", "--check"]),
        [Part::Clippy] => context.cargo("clippy", &CLIPPY),
        [Part::Tidy] => tidy(context),
        [Part::Build] => context.build().map(|_| Report::passed(1)),
        [Part::Images] => images(context),
        _ => {
            // Guests take longest, and are the last part: they begin first.
            let (mut all, mut told) = (Vec::new(), Report::default());
            for part in stage.iter().rev() {
                match suites(context, *part) {
                    Ok(suites) => all.extend(suites),
                    Err(error) => told.add(Report::failed(part.name(), format!("{error:#}"))),
                }
            }
            told.add(every_one(context, all));
            Ok(told)
        }
    }
}

/// What a part consists of that is run.
fn suites(context: &mut Context, part: Part) -> Result<Vec<Suite>> {
    match part {
        Part::Fuzz => {
            context.build()?;
            Ok(vec![Suite::Fuzz])
        }
        Part::Clients => {
            context.build()?;
            python(context, "tests/clients")
        }
        Part::System => {
            prepare_host(context)?;
            let mut suites = python(context, GUESTS)?;
            suites.extend(executables(context, |exe| exe.folder() == SYSTEM_CRATE, &["--test-threads=1"])?);
            Ok(suites)
        }
        _ => {
            prepare_host(context)?;
            all_are_there(&context.build()?)?;
            executables(context, |exe| exe.folder() != SYSTEM_CRATE, &[])
        }
    }
}

/// One of another name would lose, without a word, what is said of it here.
fn all_are_there(built: &[Executable]) -> Result<()> {
    let built: Vec<String> = built.iter().map(Executable::name).collect();
    for name in GUESTS_OF_NODES.iter().chain(&WAITING) {
        if !built.iter().any(|built| built == name) {
            bail!(
                "there is no test executable {name:?}: what is said of it in {} is of another one now",
                file!()
            );
        }
    }
    Ok(())
}

impl Context {
    pub fn new(root: &Path) -> Result<Self> {
        let logs = root.join("target/test-logs");
        std::fs::create_dir_all(&logs)?;
        let times = Times::after(&logs);
        Ok(Self { root: root.to_owned(), logs, built: None, times })
    }

    fn run(&self, command: &mut Command, name: &str, time_max: Duration) -> Result<Outcome> {
        let began = Instant::now();
        let outcome = process::run(command, &self.logs, name, time_max);
        self.times.took(name, began.elapsed());
        outcome
    }

    pub fn write_times(&self) -> Result<()> {
        self.times.write(&self.logs)
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.root);
        command
    }

    /// One cargo command that passes or fails as a whole.
    fn cargo(&self, name: &str, arguments: &[&str]) -> Result<Report> {
        let outcome = self.run(cargo().current_dir(&self.root).args(arguments), name, BUILD_TIME_MAX)?;
        Ok(if outcome.success() { Report::passed(1) } else { Report::failed(name, outcome.tail()) })
    }

    /// Builds once, everything, in the one way that all parts use.
    fn build(&mut self) -> Result<Vec<Executable>> {
        if let Some(built) = &self.built {
            return built.clone().context("not run: the build failed");
        }
        self.built = Some(None);
        let mut command = cargo();
        command.current_dir(&self.root).args(BUILD);
        let outcome = self.run(&mut command, "build", BUILD_TIME_MAX)?;
        if !outcome.success() {
            bail!("{}\n({})", process::last_lines(&outcome.stderr), outcome.end());
        }
        let built: Vec<Executable> = outcome.stdout.lines().filter_map(executable).collect();
        self.built = Some(Some(built.clone()));
        Ok(built)
    }
}

/// A line of cargo's JSON, when it tells of a test executable.
fn executable(line: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    Some(Executable {
        member: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
        target: format!("{} {}", message["target"]["kind"][0].as_str()?, message["target"]["name"].as_str()?),
        path: message["executable"].as_str()?.into(),
    })
}

fn tidy(context: &Context) -> Result<Report> {
    let problems = crate::tidy::problems(&context.root)?;
    if problems.is_empty() {
        return Ok(Report::passed(1));
    }
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Ok(Report::failed("tidy", lines.join("\n")))
}

/// Builds and tries the guest images that are absent or are of other sources.
fn images(context: &Context) -> Result<Report> {
    let mut all = Report::default();
    for name in IMAGE_NAMES {
        let sources = image_sources(&context.root.join(IMAGE_SCRIPTS), name)?;
        let images = context.root.join(IMAGES);
        let good = images.join(format!("{name}.sources"));
        let unchanged = std::fs::read_to_string(&good).is_ok_and(|then| then == sources);
        if unchanged && images.join(format!("{name}.manifest")).exists() {
            all.add(Report::passed(1));
            continue;
        }
        let report = image(context, name)?;
        if report.failed == 0 {
            std::fs::write(&good, sources)?;
        }
        all.add(report);
    }
    Ok(all)
}

/// Builds one image; it is good when it passes its trial.
fn image(context: &Context, name: &str) -> Result<Report> {
    for script in [format!("{name}.sh"), format!("test-{name}.sh")] {
        let script = Path::new(IMAGE_SCRIPTS).join(script);
        if !context.root.join(&script).exists() {
            continue;
        }
        let log = script.display().to_string();
        let outcome = context.run(context.command(&script).arg(IMAGES), &log, SUITE_TIME_MAX)?;
        if !outcome.success() {
            return Ok(Report::failed(log, outcome.tail()));
        }
    }
    Ok(Report::passed(1))
}

/// A line per file that an image is built from or tried by: its name and digest.
fn image_sources(scripts: &Path, name: &str) -> Result<String> {
    let mut files = vec![scripts.join(format!("{name}.sh"))];
    files.extend(Some(scripts.join(format!("test-{name}.sh"))).filter(|script| script.exists()));
    if let Ok(folder) = std::fs::read_dir(scripts.join(name)) {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut lines = String::new();
    for file in files {
        let content = std::fs::read(&file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(scripts)?.display();
        lines.push_str(&format!("{name} {}\n", hex::encode(Sha256::digest(content))));
    }
    Ok(lines)
}

/// What is run and counted as one: a test executable, or a file of Python tests.
enum Suite {
    Executable(Executable, &'static [&'static str]),
    Python(String),
    Fuzz,
}

impl Suite {
    fn name(&self) -> String {
        match self {
            Self::Executable(exe, _) => exe.name(),
            Self::Python(path) => path.clone(),
            Self::Fuzz => "fuzz".to_owned(),
        }
    }

    fn has_guests(&self) -> bool {
        match self {
            Self::Executable(exe, _) => GUESTS_OF_NODES.contains(&exe.name().as_str()),
            Self::Python(path) => path.starts_with(GUESTS),
            Self::Fuzz => false,
        }
    }

    /// What it cannot be run for is its own failure: the others run all the same.
    fn run(&self, context: &Context) -> Report {
        self.outcome(context).unwrap_or_else(|error| Report::failed(self.name(), format!("{error:#}")))
    }

    fn outcome(&self, context: &Context) -> Result<Report> {
        let name = self.name();
        match self {
            Self::Executable(exe, arguments) => {
                let mut command = Command::new(&exe.path);
                command.args(*arguments).args(WAITING.contains(&name.as_str()).then_some(WAITING_AT_ONCE));
                command.current_dir(&exe.member).env("CARGO_MANIFEST_DIR", &exe.member);
                let outcome = context.run(&mut command, &name, SUITE_TIME_MAX)?;
                Ok(parse::libtest(&name, &outcome))
            }
            Self::Python(path) => {
                let mut command = context.command(context.root.join(PYTHON));
                let outcome = context.run(command.arg("-u").arg(path), &name, SUITE_TIME_MAX)?;
                Ok(parse::unittest(&name, &outcome))
            }
            Self::Fuzz => {
                let mut command = context.command(context.root.join(fuzz::EXECUTABLE));
                command.args(["--seconds", &FUZZ_SECONDS.to_string()]);
                let outcome = context.run(&mut command, &name, SUITE_TIME_MAX)?;
                Ok(parse::libtest(&name, &outcome))
            }
        }
    }
}

fn executables(
    context: &mut Context,
    wanted: impl Fn(&Executable) -> bool,
    arguments: &'static [&'static str],
) -> Result<Vec<Suite>> {
    let built = context.build()?.into_iter();
    Ok(built.filter(|exe| wanted(exe)).map(|exe| Suite::Executable(exe, arguments)).collect())
}

/// Every `*_test.py` of a folder, those with the most in them first: before anybody knows, they are who takes longest.
fn python(context: &Context, folder: &str) -> Result<Vec<Suite>> {
    if !context.root.join(PYTHON).exists() {
        bail!("{PYTHON} is missing: deploy/install.sh test makes it");
    }
    let entries = std::fs::read_dir(context.root.join(folder)).with_context(|| folder.to_owned())?;
    let files = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.len(), entry.file_name().into_string().ok()?)));
    let mut suites: Vec<(u64, String)> = files.filter(|(_, name)| name.ends_with("_test.py")).collect();
    suites.sort_by(|a, b| b.cmp(a));
    Ok(suites.into_iter().map(|(_, name)| Suite::Python(format!("{folder}/{name}"))).collect())
}

fn every_one(context: &Context, mut suites: Vec<Suite>) -> Report {
    context.times.longest_first(&mut suites, Suite::name);
    let lanes = (lanes::lanes(), lanes::lanes_with_guests());
    Report::sum(lanes::side_by_side(lanes, &suites, Suite::has_guests, |suite| suite.run(context)))
}

/// What starts guests and makes bridges needs a libvirt that answers.
fn prepare_host(context: &Context) -> Result<()> {
    let libvirt = context.run(&mut context.command("deploy/start-libvirt.sh"), "libvirt", SUITE_TIME_MAX)?;
    if !libvirt.success() {
        bail!("deploy/start-libvirt.sh: {}", libvirt.tail());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_other_sources_once_any_of_its_files_changed() {
        let scripts = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(scripts.path().join(name), text).unwrap();
        std::fs::create_dir(scripts.path().join("tiny")).unwrap();
        write("tiny.sh", "one");
        write("tiny/rc", "two");
        write("debian.sh", "three");
        let sources = |name| image_sources(scripts.path(), name).unwrap();
        let (tiny, debian) = (sources("tiny"), sources("debian"));
        assert_eq!((tiny.lines().count(), debian.lines().count()), (2, 1));
        write("tiny/rc", "other");
        assert_ne!(sources("tiny"), tiny);
        let tiny = sources("tiny");
        write("test-tiny.sh", "a trial");
        assert_ne!(sources("tiny"), tiny);
        assert_eq!(sources("debian"), debian);
        assert!(image_sources(scripts.path(), "absent").is_err());
    }

    #[test]
    fn a_test_run_never_changes_the_lock_file() {
        for arguments in [CLIPPY.as_slice(), &BUILD, &fuzz::BUILD] {
            let own = arguments.split(|argument| *argument == "--").next().unwrap();
            assert!(own.contains(&"--locked"), "{arguments:?}");
        }
    }

    #[test]
    fn a_suite_that_cannot_be_run_fails_alone() {
        let root = tempfile::tempdir().unwrap();
        let context = Context::new(root.path()).unwrap();
        let suite = |target: &str, path: &str| {
            let exe = Executable { member: root.path().into(), target: target.into(), path: path.into() };
            Suite::Executable(exe, &[])
        };
        let report = every_one(&context, vec![suite("gone", "/nowhere"), suite("there", "/bin/false")]);
        let names: Vec<&str> = report.failures.iter().map(|failure| failure.name.as_str()).collect();
        assert_eq!((report.failed, names.len()), (2, 2), "{names:?}");
        assert!(names[0].ends_with(" gone") && names[1].ends_with(" there"), "{names:?}");
    }

    #[test]
    fn what_is_said_of_an_executable_that_is_not_there_is_told() {
        let named = |name: &str| {
            let (folder, target) = name.split_once(' ').unwrap();
            Executable { member: Path::new("/x").join(folder), target: target.into(), path: "/x".into() }
        };
        let mut built: Vec<_> = GUESTS_OF_NODES.into_iter().chain(WAITING).map(named).collect();
        all_are_there(&built).unwrap();
        let gone = built.pop().unwrap().name();
        assert!(all_are_there(&built).unwrap_err().to_string().contains(&gone));
    }

    #[test]
    fn only_test_executables_are_taken_from_cargos_messages() {
        let artifact = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/x/walrus/Cargo.toml","executable":{executable},
                "target":{{"kind":["test"],"name":"suite"}},"profile":{{"test":{test}}}}}"#
            )
        };
        let found = executable(&artifact(true, r#""/x/target/debug/deps/suite-1""#)).unwrap();
        assert_eq!(
            (found.name().as_str(), found.member.as_path()),
            ("walrus test suite", Path::new("/x/walrus"))
        );
        assert_eq!(executable(&artifact(false, r#""/x/target/debug/karri-walrus""#)), None);
        assert_eq!(executable(&artifact(true, "null")), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(executable("warning: not JSON"), None);
    }
}
