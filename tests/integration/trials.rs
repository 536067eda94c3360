//! Trials: whatever breaks between the connector and its servers, and whenever it is killed, it goes on by itself, and at the
//! end no version is missing, none came twice, and those of a key are in order.
//!
//! `STRANDLINE_TRIALS=1000 cargo test --release --test integration trials -- --nocapture` is the long run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use strandline_testbed::{Chaos, Kafka, Postgres, PostgresOptions, Registry, Weather, free_port};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

use crate::loss::{CURSORS, SCHEMA, act, count, delivered, held};
use crate::stage::{Running, Stage};
use crate::topic::raw;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    Postgres,
    Kafka,
    Registry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Cut(Server),
    HalfClose(Server),
    Stall(Server),
    Slow(Server),
    Refuse(Server),
    Reset(Server),
    /// SIGKILL, and a start with another number of tasks.
    Kill,
    /// SIGTERM, likewise.
    Stop,
    /// SIGSTOP; a successor starts; SIGCONT.
    Zombie,
    /// `pg_terminate_backend` of our sessions.
    Terminate,
    /// A clean restart of PostgreSQL.
    Restart,
    /// A crash of PostgreSQL.
    Crash,
    /// Kafka's process stands still.
    Pause,
}

const FAULTS: &[Fault] = &[
    Fault::Cut(Server::Postgres),
    Fault::Cut(Server::Kafka),
    Fault::Cut(Server::Registry),
    Fault::HalfClose(Server::Postgres),
    Fault::HalfClose(Server::Kafka),
    Fault::Stall(Server::Postgres),
    Fault::Stall(Server::Kafka),
    Fault::Stall(Server::Registry),
    Fault::Slow(Server::Postgres),
    Fault::Slow(Server::Kafka),
    Fault::Refuse(Server::Postgres),
    Fault::Refuse(Server::Kafka),
    Fault::Refuse(Server::Registry),
    Fault::Reset(Server::Postgres),
    Fault::Reset(Server::Kafka),
    Fault::Reset(Server::Registry),
    Fault::Kill,
    Fault::Stop,
    Fault::Zombie,
    Fault::Terminate,
    Fault::Restart,
    Fault::Crash,
    Fault::Pause,
];

/// Each with what it needs in the configuration.
const MODES: &[(&str, &str)] = &[
    ("xmin", ""),
    ("timestamp", "tables.mode = 'timestamp'\ntables.timestamp_column = 'local'\nsweep.interval = '2s'"),
    ("incrementing", "tables.mode = 'incrementing'\ntables.incrementing_column = 'n'\nsweep.interval = '2s'"),
    (
        "timestamp+incrementing",
        "tables.mode = 'timestamp+incrementing'\ntables.timestamp_column = 'at'\ntables.incrementing_column = 'n'\nsweep.interval = '2s'",
    ),
];

/// The servers, each behind its proxy.
pub struct Servers {
    pub postgres: Postgres,
    pub kafka: Kafka,
    proxies: [Chaos; 3],
}

impl Servers {
    pub fn start() -> Servers {
        let postgres = Postgres::start(PostgresOptions::default());
        let listener = free_port();
        let before_kafka = Chaos::before(listener);
        let kafka = Kafka::start_behind(listener, before_kafka.port());
        let before_postgres = Chaos::before(port(&postgres.url("x")));
        let before_registry = Chaos::before(port(Registry::shared().url()));
        Servers { postgres, kafka, proxies: [before_postgres, before_kafka, before_registry] }
    }

    /// Good weather everywhere.
    pub fn clear(&self) {
        self.proxies.iter().for_each(|proxy| proxy.set(Weather::Clear));
    }

    pub fn proxy(&self, server: Server) -> &Chaos {
        &self.proxies[server as usize]
    }

    /// The stage's configuration, by way of the proxies.
    pub fn configure(&self, stage: &Stage, settings: &str) {
        // Short limits, so that a trial ends within seconds.
        stage.configure(&format!("{settings}\nsource.stall = '2s'"));
        let text = std::fs::read_to_string(stage.config()).unwrap();
        let through = |text: &str, address: &str, server: Server| {
            let through = address.replace(&port(address).to_string(), &self.proxy(server).port().to_string());
            text.replace(address, &through)
        };
        let text = through(&text, &stage.database.url, Server::Postgres);
        let text = text.replace(self.kafka.bootstrap(), &format!("127.0.0.1:{}", self.proxy(Server::Kafka).port()));
        let text = through(&text, Registry::shared().url(), Server::Registry);
        std::fs::write(stage.config(), text).unwrap();
    }
}

fn port(address: &str) -> u16 {
    let after = address.rsplit_once(':').unwrap().1;
    after.split('/').next().unwrap().parse().unwrap()
}

fn trials() -> usize {
    std::env::var("STRANDLINE_TRIALS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// Writers that come back when the server does.
fn writers(stage: &Stage, seed: u64, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let writer = |number: usize| {
        let (url, stop) = (stage.database.url.clone(), Arc::clone(stop));
        let mut random = StdRng::seed_from_u64(seed + number as u64);
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                tokio::spawn(connection);
                // What a writer has prepared when the server crashes keeps its locks until the end.
                let _ = client.batch_execute("SET deadlock_timeout = '50ms'; SET lock_timeout = '1s'").await;
                while !stop.load(Ordering::Relaxed) && !client.is_closed() {
                    if act(&client, number, &mut random).await.is_err() {
                        let _ = client.batch_execute("ROLLBACK").await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        })
    };
    (0..4).map(writer).collect()
}

/// A connection, as soon as the server takes one.
async fn client(stage: &Stage) -> tokio_postgres::Client {
    let began = Instant::now();
    loop {
        match tokio_postgres::connect(&stage.database.url, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return client;
            }
            Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn start(stage: &Stage, random: &mut StdRng) -> Running {
    let tasks = format!("tasks.max={}", random.random_range(1..=4));
    stage.run(&["--set", "database.connect_timeout=3s", "--set", &tasks])
}

/// Lets it happen. What ran before comes back, or another that took its place.
async fn befall(
    fault: Fault,
    servers: &mut Servers,
    stage: &Stage,
    mut running: Running,
    random: &mut StdRng,
    log: &mut String,
) -> Running {
    let pause = Duration::from_millis(random.random_range(200..1500));
    let under = |servers: &Servers, server: Server, weather: Weather| servers.proxy(server).set(weather);
    match fault {
        Fault::Cut(server) => servers.proxy(server).cut(),
        Fault::HalfClose(server) => servers.proxy(server).half_close(),
        Fault::Stall(server) => under(servers, server, Weather::Stall),
        Fault::Slow(server) => under(servers, server, Weather::Slow(random.random_range(20_000..200_000))),
        Fault::Refuse(server) => {
            under(servers, server, Weather::Refuse);
            servers.proxy(server).cut();
        }
        Fault::Reset(server) => under(servers, server, Weather::ResetAfter(random.random_range(0..50_000))),
        Fault::Kill => {
            *log += &running.kill();
            running = start(stage, random);
        }
        Fault::Stop => {
            let (code, said) = running.stop();
            assert_eq!(code, Some(0), "{said}");
            *log += &said;
            running = start(stage, random);
        }
        Fault::Zombie => {
            running.signal(libc::SIGSTOP);
            let mut successor = start(stage, random);
            successor.await_log("object found");
            running.signal(libc::SIGCONT);
            let code = running.wait(Duration::from_secs(60));
            let said = running.log();
            assert_eq!(code, Some(3), "the zombie did not see its successor:\n{said}");
            *log += &said;
            running = successor;
        }
        Fault::Terminate => {
            let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name LIKE 'strandline%'";
            client(stage).await.batch_execute(terminate).await.unwrap();
        }
        Fault::Restart => {
            servers.postgres.stop_fast();
            servers.postgres.restart();
        }
        Fault::Crash => {
            servers.postgres.crash();
            servers.postgres.restart();
        }
        Fault::Pause => {
            servers.kafka.pause();
            tokio::time::sleep(pause).await;
            servers.kafka.resume();
        }
    }
    tokio::time::sleep(pause).await;
    servers.clear();
    running
}

/// What a fault cost.
#[derive(Default)]
struct Tally {
    trials: usize,
    slowest: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_no_version_is_lost_and_none_comes_twice() {
    let seed: u64 = std::env::var("STRANDLINE_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    eprintln!("STRANDLINE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut servers = Servers::start();
    let mut tallies: BTreeMap<Fault, Tally> = BTreeMap::new();
    let each = trials().div_ceil(MODES.len());
    for (at, (mode, settings)) in MODES.iter().enumerate() {
        let stage = Stage::on("trials", servers.postgres.create_database("trials"), servers.kafka.bootstrap());
        servers.configure(&stage, settings);
        client(&stage).await.batch_execute(&format!("{SCHEMA}{CURSORS}")).await.unwrap();
        // Read by xmin in every mode: what was committed last arrives last.
        client(&stage)
            .await
            .batch_execute(
                "CREATE TABLE m (id int, local timestamp DEFAULT localtimestamp NOT NULL, n int, at timestamp)",
            )
            .await
            .unwrap();
        let text = std::fs::read_to_string(stage.config()).unwrap();
        std::fs::write(stage.config(), format!("{text}[objects.m]\ntable = 'm'\nmode = 'xmin'\n")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writers = writers(&stage, seed, &stop);
        let mut running = start(&stage, &mut random);
        running.await_log("object found");
        let mut log = String::new();
        let (mut most_memory, mut most_files) = (0, 0);
        for trial in 0..each {
            // Every kind in turn, then at random.
            let fault = FAULTS.get(at * each + trial).copied().unwrap_or_else(|| *FAULTS.choose(&mut random).unwrap());
            if trial % 3 == 2 {
                // The registry is asked again only when a table changes.
                let _ = client(&stage).await.batch_execute(&format!("ALTER TABLE m ADD c{trial} int")).await;
            }
            eprintln!("{mode}: trial {trial}: {fault:?}");
            running = befall(fault, &mut servers, &stage, running, &mut random, &mut log).await;
            let began = Instant::now();
            client(&stage).await.batch_execute(&format!("INSERT INTO m (id) VALUES ({trial})")).await.unwrap();
            while raw(servers.kafka.bootstrap(), &stage.topic("m")).len() <= trial {
                let waited = began.elapsed();
                assert!(
                    waited < Duration::from_secs(90) && running.is_running(),
                    "{mode}: trial {trial}, {fault:?}, seed {seed}: no progress after {waited:?}:\n{}",
                    running.log()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let tally = tallies.entry(fault).or_default();
            tally.trials += 1;
            tally.slowest = tally.slowest.max(began.elapsed());
            let (memory, files) = running.size();
            (most_memory, most_files) = (most_memory.max(memory), most_files.max(files));
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        let client = client(&stage).await;
        for row in
            client.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", &[]).await.unwrap()
        {
            client.batch_execute(&format!("COMMIT PREPARED '{}'", row.get::<_, String>(0))).await.unwrap();
        }
        let (code, said) = running.stop();
        log += &said;
        assert_eq!(code, Some(0), "{mode}, seed {seed}: {said}");
        // What no cursor shows comes with the next sweep, which may not be due yet.
        let deadline = Instant::now() + Duration::from_secs(60);
        let (delivered, (missing, twice, disorder)) = loop {
            log += &stage.run_once();
            let delivered = delivered(&stage);
            let counted = count(&held(&client).await, &delivered);
            if counted.0 == 0 || Instant::now() > deadline {
                break (delivered, counted);
            }
        };
        let versions: usize = delivered.values().map(Vec::len).sum();
        eprintln!(
            "{mode}: {each} trials, {versions} versions: {missing} missing, {twice} twice, {disorder} out of order; {most_memory} KiB, {most_files} files at most"
        );
        // After a crash of the server what is not known to have survived is read again, and said.
        let fell_back = log.contains("history changed");
        assert!(missing == 0 && (fell_back || (twice, disorder) == (0, 0)), "{mode}, seed {seed}:\n{log}");
        assert!(most_files < 200, "{most_files} files are open");
    }
    for (fault, tally) in tallies {
        eprintln!("{:24} {:4} trials, back after {:?} at most", format!("{fault:?}"), tally.trials, tally.slowest);
    }
}
