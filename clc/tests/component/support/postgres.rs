//! A private PostgreSQL for the test process: made by `initdb` in a temporary directory as an ordinary
//! user, reached by a socket in that directory only, gone with the process.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Starts the server and ends it, with its files, when standard input closes: whatever becomes of us. Who asks all of us to
/// stop does not stop that. The server's files are all in its directory, also what its processes share, and few are for
/// a crash of which nobody hears.
const KEEPER: &str = r#"
    trap '' TERM INT HUP
    "$BIN/initdb" -D "$DIR/data" -U karri --auth=trust -E UTF8 --locale=C --no-sync >/dev/null || exit 1
    "$BIN/postgres" -D "$DIR/data" -k "$DIR" -c listen_addresses= -c fsync=off -c max_connections=200 \
        -c shared_buffers=32MB -c autovacuum=off -c dynamic_shared_memory_type=mmap \
        -c wal_level=minimal -c max_wal_senders=0 -c min_wal_size=32MB -c max_wal_size=128MB </dev/null >"$DIR/log" 2>&1 &
    cat >/dev/null
    kill -INT $!; wait $!; rm -rf "$DIR"
"#;

static SERVER: OnceLock<Server> = OnceLock::new();

struct Server {
    directory: PathBuf,
    binaries: PathBuf,
    _keeper: Child,
    /// To a client that does what it is told, one after another, while nobody waits for it.
    later: OnceLock<Mutex<ChildStdin>>,
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
    let server = Server { directory, binaries, _keeper: keeper, later: OnceLock::new() };
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

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command
            .args(["-h", path(&self.directory), "-U", "karri"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        self.client(program).args(arguments).status().unwrap().success()
    }

    /// Tests do not wait for it.
    fn say_later(&self, statement: &str) {
        let later = self.later.get_or_init(|| {
            let psql = self.client("psql").args(["-q", "-d", "postgres"]).stdin(Stdio::piped()).spawn();
            Mutex::new(psql.unwrap().stdin.unwrap()) // it ends with us
        });
        writeln!(later.lock().unwrap(), "{statement};").unwrap();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An empty database at first; it goes when this does, whoever still uses it: hundreds of them at a time would fill the memory.
pub struct NewDatabase {
    pub url: String,
    name: String,
}

impl Drop for NewDatabase {
    fn drop(&mut self) {
        if let Some(server) = SERVER.get() {
            server.say_later(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}

pub async fn new_database() -> NewDatabase {
    create(None).await
}

/// Of one that nobody has open.
pub async fn copy_of(template: &NewDatabase) -> NewDatabase {
    create(Some(template.name.clone())).await
}

async fn create(template: Option<String>) -> NewDatabase {
    tokio::task::spawn_blocking(move || {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let server = SERVER.get_or_init(start);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        // Files that are copied cost half of what rows do that are logged, and have what connections look up first (PostgreSQL 15).
        let mut arguments = vec!["--strategy=file_copy", name.as_str()];
        arguments.extend(template.iter().flat_map(|template| ["-T", template]));
        assert!(server.run("createdb", &arguments), "createdb: {}", server.log());
        let url = format!("postgres://karri@localhost/{name}?host={}", server.directory.display());
        NewDatabase { url, name }
    })
    .await
    .unwrap()
}
