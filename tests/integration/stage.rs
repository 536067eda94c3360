//! What every test stands on: a database, a topic prefix, a configuration, the binary.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use strandline_testbed::{Database, Kafka, Postgres, PostgresOptions, Registry};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// How long a test waits for what has to come, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// The same where it should come by itself: tables are looked for again, and empty windows stored, after a minute, which would
/// hide that something is not.
const SOON: Duration = Duration::from_secs(55);

/// A test's own database, connector name and configuration.
pub struct Stage {
    pub database: Database,
    pub name: String,
    dir: TempDir,
    pub kafka: String,
    pub registry: String,
    /// Lines below `[kafka]` and below `[schema_registry]`.
    pub below: (String, String),
    /// A server of its own.
    _postgres: Option<Postgres>,
}

/// A running connector; killed when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Stage {
    /// On the shared servers.
    pub fn new(name: &str) -> Stage {
        Stage::on(name, Postgres::shared().create_database(name), Kafka::shared().bootstrap())
    }

    /// With a PostgreSQL of its own: for tests that hold a transaction open, which holds everybody's window back.
    pub fn alone(name: &str) -> Stage {
        let postgres = Postgres::start(PostgresOptions::default());
        let stage = Stage::on(name, postgres.create_database(name), Kafka::shared().bootstrap());
        Stage { _postgres: Some(postgres), ..stage }
    }

    /// On these.
    pub fn on(name: &str, database: Database, kafka: &str) -> Stage {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let registry = Registry::shared().url().to_owned();
        let stage = Stage {
            database,
            name,
            dir: TempDir::new().unwrap(),
            kafka: kafka.to_owned(),
            registry,
            below: Default::default(),
            _postgres: None,
        };
        stage.configure("");
        stage
    }

    /// Writes the configuration, with more lines at its top level first.
    pub fn configure(&self, more: &str) {
        let text = format!(
            "{more}\nname = \"{name}\"\n\
             \"offset.storage.topic\" = \"{name}-offsets\"\n\
             [database]\nurl = \"{url}\"\n\
             [kafka]\n\"bootstrap.servers\" = \"{kafka}\"\n{below_kafka}\n\
             [schema_registry]\nurl = \"{registry}\"\n{below_registry}\n",
            below_kafka = self.below.0,
            below_registry = self.below.1,
            name = self.name,
            url = self.database.url,
            kafka = self.kafka,
            registry = self.registry,
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("strandline.toml")
    }

    pub fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strandline"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env("STRANDLINE_LOG", "debug")
            .current_dir(self.dir.path());
        command
    }

    /// Runs a command to its end.
    pub fn strandline(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The same with environment variables.
    pub fn with_env(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(arguments).envs(variables.iter().copied()).output().unwrap()
    }

    /// Waits until everything committed so far is settled: the cluster is shared, and another test's open transaction holds
    /// the window back, as a stranger's would.
    pub fn settle(&self) {
        let settled = async {
            let client = connect(&self.database.url).await;
            let now: String = one(&client, "SELECT pg_current_xact_id()::text").await;
            let reached = format!("SELECT pg_snapshot_xmin(pg_current_snapshot()) > '{now}'::xid8");
            let started = Instant::now();
            while one(&client, &reached).await != "t" {
                assert!(started.elapsed() < PATIENCE, "a transaction older than {now} is still open");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(settled));
    }

    /// `run --once`, which has to succeed; its log.
    pub fn run_once(&self) -> String {
        self.settle();
        let mut running = self.run(&["--once"]);
        let code = running.wait(Duration::from_secs(150));
        let log = running.log();
        assert_eq!(code, Some(0), "run --once:\n{log}");
        log
    }

    /// The same, whatever comes of it, with more arguments.
    pub fn try_once(&self, more: &[&str]) -> Output {
        self.settle();
        self.strandline(&[&["run", "--once"], more].concat())
    }

    /// Starts `run`.
    pub fn run(&self, more: &[&str]) -> Running {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let log = self.dir.path().join(format!("run-{}.log", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let output = std::fs::File::create(&log).unwrap();
        let mut command = self.command(&["run", "--set", "poll.interval=100ms"]);
        let child = command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().unwrap();
        Running { child, log }
    }

    /// Stores an object's progress with a change, as `strandline offsets set` takes it; it is the only one.
    pub fn set_offset(&self, object: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let listed = self.strandline(&["offsets", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        let mut offset = listed["offsets"][0]["offset"].clone();
        change(&mut offset);
        let set = self.strandline(&["offsets", "set", object, &offset.to_string(), "--yes"]);
        assert!(set.status.success(), "{set:?}");
    }

    /// A connection to the database, as its owner.
    pub async fn client(&self) -> Client {
        connect(&self.database.url).await
    }
}

/// The one value of an answer.
async fn one(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
        _ => None,
    });
    row.unwrap_or_else(|| panic!("no row from {sql}"))
}

/// A connection; its driver ends with it.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Running {
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child is ours and has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    /// SIGKILL.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log()
    }

    /// SIGKILL once it has committed so often; the log must not tell of the end of what it was at.
    pub fn kill_before(mut self, end: &str, commits: usize) -> String {
        self.await_log_of(commits, "committed partition");
        let log = self.kill();
        assert!(!log.contains(end), "it was over already:\n{log}");
        log
    }

    /// Writes a row after the other, each by its number behind `last`, until the log is as it is waited for; the last one's.
    pub async fn write_until(
        &self,
        has_come: impl Fn(&str) -> bool,
        client: &Client,
        mut last: i64,
        insert: impl Fn(i64) -> String,
    ) -> i64 {
        let started = Instant::now();
        while !has_come(&self.log()) {
            assert!(started.elapsed() < PATIENCE, "it does not come:\n{}", self.log());
            last += 1;
            client.batch_execute(&insert(last)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        last
    }

    /// SIGTERM, and its exit code.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal(libc::SIGTERM);
        let code = self.wait(Duration::from_secs(20));
        (code, self.log())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its resident memory in KiB and its open files.
    pub fn size(&self) -> (usize, usize) {
        let pid = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let memory =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        (memory.unwrap_or_default(), std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count))
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < deadline, "the connector did not end within {deadline:?}:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Waits until its log holds a text.
    pub fn await_log(&mut self, text: &str) {
        self.await_log_of(1, text);
    }

    /// Waits until the log has so many of these.
    pub fn await_log_of(&mut self, count: usize, text: &str) {
        let started = Instant::now();
        while self.log().matches(text).count() < count {
            // What it wrote last counts.
            let ended = !self.is_running() && self.log().matches(text).count() < count;
            assert!(!ended, "it ended without `{text}`:\n{}", self.log());
            assert!(started.elapsed() < PATIENCE, "`{text}` did not come:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Waits for an event.
pub fn until(what: &str, mut event: impl FnMut() -> bool) {
    let started = Instant::now();
    while !event() {
        assert!(started.elapsed() < SOON, "{what} did not come within {SOON:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
