//! Trials: whatever breaks between the connector and its servers, and whenever it is killed, it goes on by itself, and at the
//! end no version is missing, none came twice, and those of a key are in order.
//!
//! `STRANDLINE_TRIALS=1000 cargo test --release --test integration trials -- --nocapture` is the long run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio_postgres::NoTls;

use crate::faults::{FAULTS, Fault, READ_AGAIN, Servers, befall};
use crate::loss::{CURSORS, SCHEMA, count, delivered, held};
use crate::stage::{Running, Stage};
use crate::topic::raw;
use crate::writers::{Writers, commit_prepared};

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

/// The objects of a stage: `t`, `k`, `p`, and `m` as the mark of progress.
pub const OBJECTS: usize = 4;

fn trials() -> usize {
    std::env::var("STRANDLINE_TRIALS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// A connection, as soon as the server takes one.
pub async fn client(stage: &Stage) -> tokio_postgres::Client {
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

pub fn start(stage: &Stage, random: &mut StdRng) -> Running {
    let tasks = format!("tasks.max={}", random.random_range(1..=4));
    stage.run(&["--set", "database.connect_timeout=3s", "--set", &tasks])
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
        let writers = Writers::at(&stage.database.url, seed, Duration::from_millis(20));
        let mut running = start(&stage, &mut random);
        running.await_log("object found");
        let mut log = String::new();
        let (mut most_memory, mut most_files) = (0, 0);
        // First those after which nothing may come twice.
        let exact = each - (each / 8).max(1);
        for trial in 0..each {
            if trial == exact {
                let (_, twice, disorder) = count(&held(&client(&stage).await).await, &delivered(&stage));
                assert_eq!((twice, disorder), (0, 0), "{mode}, seed {seed}: nothing explains that:\n{}", running.log());
            }
            // Every kind in turn, then at random.
            let (kinds, turn) = if trial < exact {
                (FAULTS, at * exact + trial)
            } else {
                (READ_AGAIN, at * (each - exact) + trial - exact)
            };
            let fault = kinds.get(turn).copied().unwrap_or_else(|| *kinds.choose(&mut random).unwrap());
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
        writers.stop().await;
        let client = client(&stage).await;
        commit_prepared(&client).await;
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
        // After a crash what is not known to have survived is read again, after a rewrite what was under way; it is said.
        let fell_back = log.contains("history changed") || log.contains("the table was rewritten");
        assert!(missing == 0 && (fell_back || (twice, disorder) == (0, 0)), "{mode}, seed {seed}:\n{log}");
        assert!(most_files < 200, "{most_files} files are open");
    }
    for (fault, tally) in tallies {
        eprintln!("{:24} {:4} trials, back after {:?} at most", format!("{fault:?}"), tally.trials, tally.slowest);
    }
}
