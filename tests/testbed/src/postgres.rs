//! PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::fetch;
use crate::process::{Process, children, cpu_time, free_port};

/// A server.
pub struct Postgres {
    /// `None`: somebody else's, named by the environment.
    own: Option<Own>,
    /// Without the database.
    url: String,
}

pub(crate) struct Own {
    bin: PathBuf,
    pub(crate) data: PathBuf,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Process>,
}

/// How to start one.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// For crash tests: without it a crash loses more than a real one would.
    pub fsync: bool,
    /// Lines of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// The major version, where it matters.
    pub major: Option<u32>,
}

/// A database of one test.
#[derive(Clone, Debug)]
pub struct Database {
    pub name: String,
    pub url: String,
}

impl Postgres {
    /// The one that tests share.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("STRANDLINE_TEST_POSTGRES") {
            Ok(url) => {
                eprintln!("testbed: PostgreSQL of STRANDLINE_TEST_POSTGRES");
                Postgres { own: None, url: url.trim_end_matches('/').to_owned() }
            }
            Err(_) => {
                let major = std::env::var("STRANDLINE_TEST_POSTGRES_MAJOR").ok();
                let major = major.map(|text| text.parse().expect("STRANDLINE_TEST_POSTGRES_MAJOR is a number"));
                Postgres::start(PostgresOptions { major, ..PostgresOptions::default() })
            }
        })
    }

    /// One of its own.
    pub fn start(options: PostgresOptions) -> Postgres {
        let bin = options.major.map_or_else(fetch::postgres, fetch::postgres_of);
        let data = data_dir();
        let PostgresOptions { fsync, mut settings, .. } = options;
        settings.push(("fsync".into(), if fsync { "on" } else { "off" }.into()));
        run_as(
            Command::new(bin.join("initdb"))
                .args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
                .arg(&data),
        );
        let port = free_port();
        let mut postgres = Postgres {
            own: Some(Own { bin: bin.clone(), data, port, settings, process: None }),
            url: format!("postgres://postgres@127.0.0.1:{port}"),
        };
        postgres.restart();
        eprintln!("testbed: PostgreSQL from {}", bin.display());
        postgres
    }

    /// The address of a database, as the superuser.
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.url)
    }

    /// A database of its own for one test.
    pub fn create_database(&self, prefix: &str) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        execute(&self.url("postgres"), &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Database { url: self.url(&name), name }
    }

    /// What the server and its backends have cost so far.
    pub fn cpu_time(&self) -> Duration {
        self.own
            .as_ref()
            .and_then(|own| own.process.as_ref())
            .map(|process| cpu_time(process.pid()))
            .unwrap_or_default()
    }

    /// Kills the postmaster and, as they see it die, its children; the data stays.
    pub fn crash(&mut self) {
        let own = self.own_mut();
        let children = children(own.process.as_ref().map_or(0, Process::pid));
        if let Some(mut process) = own.process.take() {
            process.kill();
        }
        for child in &children {
            // SAFETY: a signal to a process that was our server's child.
            unsafe { libc::kill(child.cast_signed(), libc::SIGKILL) };
        }
        while children.iter().any(|child| Path::new(&format!("/proc/{child}")).exists()) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A clean stop.
    pub fn stop_fast(&mut self) {
        if let Some(mut process) = self.own_mut().process.take() {
            process.signal(libc::SIGINT);
            process.wait();
        }
    }

    /// A setting from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.own_mut().settings.push((name.into(), value.into()));
    }

    /// Starts again on the same port and data.
    pub fn restart(&mut self) {
        let url = self.url("postgres");
        let own = self.own_mut();
        let mut command = Command::new(own.bin.join("postgres"));
        command.arg("-D").arg(&own.data).args(["-p", &own.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        let given = [("max_connections", "100"), ("max_prepared_transactions", "50"), ("wal_level", "replica")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in given.iter().chain(&own.settings) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let mut process = Process::spawn(command, user(), &own.data.with_extension("log"));
        process.await_ready("PostgreSQL", Duration::from_secs(60), || try_execute(&url, "SELECT 1").is_ok());
        own.process = Some(process);
    }

    /// A server on a copied data directory that follows this one.
    pub(crate) fn following(&self, data: PathBuf) -> Postgres {
        let own = self.own.as_ref().expect("a server of our own");
        let port = free_port();
        let primary = format!("host=127.0.0.1 port={} user=postgres", own.port);
        let mut settings = own.settings.clone();
        settings.push(("primary_conninfo".into(), primary));
        let following = Own { bin: own.bin.clone(), data, port, settings, process: None };
        let mut standby = Postgres { own: Some(following), url: format!("postgres://postgres@127.0.0.1:{port}") };
        standby.restart();
        standby
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.own.as_ref().expect("a server of our own").port
    }

    pub(crate) fn own_mut(&mut self) -> &mut Own {
        self.own.as_mut().expect("a server of our own")
    }

    pub fn pid(&self) -> u32 {
        self.own.as_ref().and_then(|own| own.process.as_ref()).map_or(0, Process::pid)
    }

    pub fn data_dir(&self) -> &Path {
        &self.own.as_ref().expect("a server of our own").data
    }

    /// A cluster whose next transaction id is just below 2^32. `prepare` fills it while ids are low; what it leaves is frozen.
    pub fn near_wraparound(prepare: impl FnOnce(&str)) -> Postgres {
        let mut postgres = Postgres::start(PostgresOptions::default());
        prepare(&postgres.url("postgres"));
        execute(&postgres.url("postgres"), "ALTER DATABASE template0 WITH ALLOW_CONNECTIONS true");
        for xid in [1_900_000_000_u64, 3_800_000_000, 4_294_967_000] {
            for database in ["template0", "template1", "postgres"] {
                execute(&postgres.url(database), "VACUUM FREEZE");
            }
            execute(&postgres.url("postgres"), "CHECKPOINT");
            postgres.stop_fast();
            let own = postgres.own_mut();
            // The commit log's page of that id does not exist yet.
            let segment = own.data.join(format!("pg_xact/{:04X}", xid / 1_048_576));
            std::fs::write(&segment, vec![0; 256 * 1024]).expect("a commit log segment");
            give(&segment);
            run_as(Command::new(own.bin.join("pg_resetwal")).args(["-x", &xid.to_string(), "-D"]).arg(&own.data));
            postgres.restart();
        }
        postgres
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            own.process = None;
            let _ = std::fs::remove_dir_all(&own.data);
            let _ = std::fs::remove_file(own.data.with_extension("log"));
        }
    }
}
/// PostgreSQL refuses to run as root: as `postgres` then, or as nobody.
pub(crate) fn user() -> Option<(u32, u32)> {
    // SAFETY: it only tells.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let postgres = users.lines().find(|line| line.starts_with("postgres:")).and_then(|line| {
        let mut fields = line.split(':').skip(2).map(str::parse::<u32>);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    });
    postgres.or(Some((65_534, 65_534)))
}

/// A new directory that this user can reach. Under the system's temporary directory, as the way to `target` may be closed.
pub(crate) fn data_dir() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let base = std::env::temp_dir();
    sweep(&base);
    let dir = base.join(format!("strandline-pg-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&dir).expect("a data directory");
    give(&dir);
    dir
}

/// Removes what killed test runs left.
fn sweep(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("strandline-pg-").and_then(|rest| rest.split('-').next()) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

pub(crate) fn give(path: &Path) {
    if let Some((uid, gid)) = user() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("a directory can be given away");
    }
}

fn run_as(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    if let Some((uid, gid)) = user() {
        command.uid(uid).gid(gid);
    }
    let output = command.current_dir("/").output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a statement on a connection of its own.
pub(crate) fn execute(url: &str, sql: &str) {
    try_execute(url, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

fn try_execute(url: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    let sql = sql.to_owned();
    connected(url, async move |client| client.batch_execute(&sql).await)
}

/// The first value of an answer, as text.
pub(crate) async fn one_value(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let value = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    value.unwrap_or_else(|| panic!("no row from {sql}"))
}

/// Does something with a connection of its own.
pub(crate) fn connected<T: Send>(
    url: &str,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error> + Send,
) -> Result<T, tokio_postgres::Error> {
    // On a thread of its own, as the caller may be inside a runtime.
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
            let driver = tokio::spawn(connection);
            let done = work(&client).await;
            drop(client);
            let _ = driver.await;
            done
        })
    };
    std::thread::scope(|scope| scope.spawn(body).join().expect("a thread"))
}
