//! A private PostgreSQL for the test process: made by `initdb` in a temporary directory as an ordinary
//! user, reached by a socket in that directory only, gone with the process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Starts the server and ends it, with its files, when standard input closes: whatever becomes of us.
const KEEPER: &str = r#"
    "$BIN/initdb" -D "$DIR/data" -U karri --auth=trust -E UTF8 --locale=C --no-sync >/dev/null || exit 1
    "$BIN/postgres" -D "$DIR/data" -k "$DIR" -c listen_addresses= -c fsync=off -c max_connections=200 \
        -c shared_buffers=32MB -c autovacuum=off </dev/null >"$DIR/log" 2>&1 &
    cat >/dev/null
    kill -INT $!; wait $!; rm -rf "$DIR"
"#;

struct Server {
    directory: PathBuf,
    binaries: PathBuf,
    _keeper: Child,
}

fn binaries() -> PathBuf {
    if let Some(path) = std::env::var_os("KARRI_PG_BIN") {
        return path.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
    found.sort();
    found.pop().expect("PostgreSQL is installed")
}

fn start() -> Server {
    let directory = super::memory::directory("karri-pg-").keep();
    let binaries = binaries();
    let as_root = rustix::process::getuid().is_root();
    let mut command = if as_root {
        // PostgreSQL refuses to run as root: as nobody, then.
        std::os::unix::fs::chown(&directory, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", KEEPER]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER]);
        command
    };
    let command = command.env("BIN", &binaries).env("DIR", &directory).current_dir(&directory);
    // Its own process group: Ctrl-C is for the test, the keeper sees the pipe close.
    std::os::unix::process::CommandExt::process_group(command, 0);
    let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let server = Server { directory, binaries, _keeper: keeper };
    server.wait_until_ready();
    server
}

impl Server {
    fn wait_until_ready(&self) {
        let start = Instant::now();
        while !self.run("pg_isready", &[]) {
            assert!(start.elapsed() < READY_TIMEOUT, "PostgreSQL does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(50)); // the pause between two looks
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new(self.binaries.join(program));
        let command = command.args(["-h", path(&self.directory), "-U", "karri"]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The URL of a new, empty database.
pub async fn new_database() -> String {
    tokio::task::spawn_blocking(|| {
        static SERVER: OnceLock<Server> = OnceLock::new();
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let server = SERVER.get_or_init(start);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        assert!(server.run("createdb", &[&name]), "createdb: {}", server.log());
        format!("postgres://karri@localhost/{name}?host={}", server.directory.display())
    })
    .await
    .unwrap()
}
