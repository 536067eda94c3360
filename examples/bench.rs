//! From table to topic, on real servers started for it: `cargo run --release --example bench`.
//!
//! Each table is read twice in each run: by our own bare `COPY … (FORMAT binary)` reader, which throws the rows away, and by
//! Strandline with exactly-once transactions. Only the ratio of the two lasts from one machine to another.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a benchmark that cannot set its stage ends

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use strandline::config::{Database, Secret};
use strandline::postgres::Connection;
use strandline_testbed::{Kafka, Postgres, PostgresOptions, Registry, cpu_time};
use tokio_postgres::{Client, NoTls};

#[derive(Parser)]
struct Args {
    /// Rows of the narrow table
    #[arg(long, default_value_t = 5_000_000)]
    narrow: u64,
    /// Rows of the wide table
    #[arg(long, default_value_t = 500_000)]
    wide: u64,
    /// How often each is read
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Seconds of doing nothing
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Further settings for Strandline
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

const NARROW: &str =
    "id bigint PRIMARY KEY, n int NOT NULL, amount numeric(12,2) NOT NULL, note text NOT NULL, at timestamptz NOT NULL";
const NARROW_ROW: &str = "i, (i * 7919 % 1000000)::int, (i % 1000000)::numeric / 100, 'note ' || i % 1000, timestamptz '2026-01-01' + i * interval '1 second'";

/// What one reading cost.
struct Reading {
    seconds: f64,
    cpu: f64,
    postgres: f64,
    broker: f64,
    peak_mib: f64,
}

fn main() -> ExitCode {
    // The process under measurement is this program again, as the command line would run it.
    if let Some(arguments) = std::env::var_os("STRANDLINE_BENCH_RUN") {
        let arguments = arguments.into_string().unwrap();
        return strandline::cli::main(strandline::cli::Args::parse_from(arguments.split('\n')));
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(bench(&args));
    ExitCode::SUCCESS
}

async fn bench(args: &Args) {
    let settings = [
        ("shared_buffers", "2GB"),
        ("max_wal_size", "8GB"),
        ("checkpoint_timeout", "1h"),
        ("autovacuum", "off"),
        ("synchronous_commit", "off"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let stage = Stage {
        postgres: Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }),
        kafka: Kafka::start(),
        registry: Registry::start(),
        dir: tempfile::tempdir().unwrap(),
        more: args.set.clone(),
    };
    let client = stage.client().await;
    let wide = wide_table();
    println!("\n| table | run | reader | rows/s | of COPY | CPU-µs a row | PostgreSQL | broker | peak MiB |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (table, rows, columns, row) in
        [("narrow", args.narrow, NARROW, NARROW_ROW), ("wide", args.wide, &wide.0, &wide.1)]
    {
        if rows == 0 {
            continue;
        }
        let make = format!(
            "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({columns}); INSERT INTO {table} SELECT {row} FROM generate_series(1::bigint, {rows}) i"
        );
        client.batch_execute(&make).await.unwrap();
        // Sets the hint bits, freezes, and warms the cache: the first reader does not pay for the writer.
        client.batch_execute(&format!("VACUUM ANALYZE {table}")).await.unwrap();
        for run in 1..=args.runs {
            let copy = stage.copy(table, rows).await;
            copy.print(table, run, "bare COPY", rows, copy.seconds);
            stage.strandline(table, run).print(table, run, "Strandline", rows, copy.seconds);
        }
    }
    if args.idle > 0 {
        stage.idle("narrow", Duration::from_secs(args.idle));
    }
}

struct Stage {
    postgres: Postgres,
    kafka: Kafka,
    registry: Registry,
    dir: tempfile::TempDir,
    more: Vec<String>,
}

impl Stage {
    async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.postgres.url("postgres"), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn copy(&self, table: &str, rows: u64) -> Reading {
        let url = Some(Secret::new(self.postgres.url("postgres")));
        let connection = Connection::open(&Database { url, ..Database::default() }, "bench").await.unwrap();
        let before = (own_cpu(), self.servers());
        let started = Instant::now();
        let mut tuples = connection.copy(&format!("COPY {table} TO STDOUT (FORMAT binary)")).await.unwrap();
        let (mut read, mut bytes) = (0, 0);
        while let Some(tuple) = tuples.next().await.unwrap() {
            read += 1;
            bytes += tuple.len();
        }
        assert!(read == rows && bytes > 0, "COPY gave {read} of {rows} rows");
        let seconds = started.elapsed().as_secs_f64();
        let after = self.servers();
        Reading {
            seconds,
            cpu: own_cpu() - before.0,
            postgres: after.0 - before.1.0,
            broker: after.1 - before.1.1,
            peak_mib: 0.0,
        }
    }

    fn strandline(&self, table: &str, run: u32) -> Reading {
        let before = self.servers();
        let log = self.dir.path().join(format!("{table}-{run}.log"));
        let child = self.spawn(table, run, &["run", "--once"], &log);
        let (status, cpu, peak_mib) = wait(child);
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(status, 0, "{log}");
        let after = self.servers();
        Reading { seconds: load_seconds(&log), cpu, postgres: after.0 - before.0, broker: after.1 - before.1, peak_mib }
    }

    fn idle(&self, table: &str, time: Duration) {
        let log = self.dir.path().join("idle.log");
        let started = Instant::now();
        // Its load is done: the last run's progress is stored.
        let mut child = self.spawn(table, 1, &["run", "--set", "poll.interval=5s"], &log);
        while !std::fs::read_to_string(&log).unwrap().contains("object found") {
            assert!(child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(&log).unwrap());
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("\nfirst look after {:.2} s", started.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_secs(5));
        let before = cpu_time(child.id());
        std::thread::sleep(time);
        let cpu = (cpu_time(child.id()) - before).as_secs_f64();
        println!("idle, poll every 5 s: {:.3} CPU-s a minute", cpu * 60.0 / time.as_secs_f64());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn spawn(&self, table: &str, run: u32, command: &[&str], log: &Path) -> Child {
        let config = self.dir.path().join(format!("{table}-{run}.toml"));
        let text = format!(
            "name = \"bench-{table}-{run}\"\n[database]\nurl = \"{}\"\n[tables]\ninclude = [\"public.{table}\"]\n\
             [kafka]\n\"bootstrap.servers\" = \"{}\"\n[topic.creation.default]\npartitions = 1\n\
             [schema_registry]\nurl = \"{}\"\n",
            self.postgres.url("postgres"),
            self.kafka.bootstrap(),
            self.registry.url()
        );
        std::fs::write(&config, text).unwrap();
        let mut arguments = vec!["strandline".to_owned()];
        arguments.extend(command.iter().map(|&word| word.to_owned()));
        arguments.extend(["--config".to_owned(), config.display().to_string()]);
        arguments.extend(self.more.iter().map(|set| format!("--set={set}")));
        Command::new(std::env::current_exe().unwrap())
            .env("STRANDLINE_BENCH_RUN", arguments.join("\n"))
            .stderr(std::fs::File::create(log).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// CPU-seconds of PostgreSQL and of the broker so far.
    fn servers(&self) -> (f64, f64) {
        (self.postgres.cpu_time().as_secs_f64(), self.kafka.cpu_time().as_secs_f64())
    }
}

impl Reading {
    fn print(&self, table: &str, run: u32, reader: &str, rows: u64, copy: f64) {
        let rows = rows as f64;
        println!(
            "| {table} | {run} | {reader} | {:.0} | {:.2} | {:.3} | {:.3} | {:.3} | {:.0} |",
            rows / self.seconds,
            copy / self.seconds,
            self.cpu * 1e6 / rows,
            self.postgres * 1e6 / rows,
            self.broker * 1e6 / rows,
            self.peak_mib
        );
    }
}

/// Thirty columns of many types, about a kilobyte a row.
fn wide_table() -> (String, String) {
    let mut columns = "id bigint PRIMARY KEY".to_owned();
    let mut row = "i".to_owned();
    for at in 1..=29 {
        let (type_, value) = match at % 8 {
            0 => ("int", format!("(i * {at} % 100000)::int")),
            1 => ("bigint", format!("i * {at}000001")),
            2 => ("numeric(18,4)", format!("(i * {at} % 100000000)::numeric / 10000")),
            3 => ("text", format!("CASE WHEN i % 5 > 0 THEN repeat(md5((i * {at})::text), 6) END")),
            4 => ("timestamptz", format!("timestamptz '2026-01-01' + i * interval '{at} seconds'")),
            5 => ("uuid", format!("md5((i + {at})::text)::uuid")),
            6 => ("double precision", format!("i::float8 / {at}")),
            _ => ("text[]", format!("ARRAY['tag ' || i % {at}, NULL, 'x']")),
        };
        write!(columns, ", c{at} {type_}").unwrap();
        write!(row, ", {value}").unwrap();
    }
    (columns, row)
}

/// How long the load took, as its log says.
fn load_seconds(log: &str) -> f64 {
    let line = log.lines().find(|line| line.contains("caught_up")).unwrap_or_else(|| panic!("no load in:\n{log}"));
    let seconds = line.split("seconds=").nth(1).and_then(|rest| rest.split(' ').next());
    seconds.and_then(|text| text.parse().ok()).unwrap()
}

/// Exit status, CPU-seconds and peak memory of a child.
fn wait(child: Child) -> (i32, f64, f64) {
    let mut status = 0;
    // SAFETY: the child is ours and nobody else waits for it; both pointers are to live variables.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert!(libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) > 0);
        usage
    };
    (libc::WEXITSTATUS(status), cpu_seconds(&usage), usage.ru_maxrss as f64 / 1024.0)
}

fn own_cpu() -> f64 {
    // SAFETY: the pointer is to a live variable.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    cpu_seconds(&usage)
}

fn cpu_seconds(usage: &libc::rusage) -> f64 {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
