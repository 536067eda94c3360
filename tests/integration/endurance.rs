//! A long life under load: what the process holds stays the same.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::faults::{Server, Servers};
use crate::loss::{SCHEMA, count, delivered, held};
use crate::stage::Stage;
use crate::trials::client;
use crate::writers::{Writers, commit_prepared};

/// How long; twenty minutes are worth a look at the table that is printed.
fn budget() -> Duration {
    let seconds = std::env::var("STRANDLINE_TEST_ENDURANCE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

/// Every few seconds a server is restarted or every connection to one is cut, while sessions write as fast as they can.
#[tokio::test(flavor = "multi_thread")]
async fn memory_and_files_stay_the_same_however_often_servers_restart() {
    let mut random = StdRng::from_os_rng();
    let mut servers = Servers::start();
    let stage = Stage::on("endurance", servers.postgres.create_database("endurance"), servers.kafka.bootstrap());
    servers.configure(&stage, "");
    client(&stage).await.batch_execute(SCHEMA).await.unwrap();
    let writers = Writers::at(&stage.database.url, random.random(), Duration::ZERO);
    let mut running = stage.run(&["--set", "tasks.max=2"]);
    running.await_log("caught_up");
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut restarts = 0;
    while began.elapsed() < budget() {
        tokio::time::sleep(Duration::from_secs(3)).await;
        match random.random_range(0..3) {
            0 => {
                servers.postgres.stop_fast();
                servers.postgres.restart();
            }
            1 => servers.proxy(Server::Postgres).cut(),
            _ => servers.proxy(Server::Kafka).cut(),
        }
        restarts += 1;
        assert!(running.is_running(), "{}", running.log());
        samples.push(running.size());
    }
    let load = writers.stop().await;
    let client = client(&stage).await;
    commit_prepared(&client).await;
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    stage.run_once();
    let delivered = delivered(&stage);
    let (missing, ..) = count(&held(&client).await, &delivered);
    let versions: usize = delivered.values().map(Vec::len).sum();
    eprintln!(
        "{restarts} restarts in {:.0?}, {load} transactions, {versions} versions, {missing} missing",
        began.elapsed()
    );
    // A table of ten lines: the most of each tenth.
    let tenths: Vec<(usize, usize)> = samples
        .chunks(samples.len().div_ceil(10))
        .map(|tenth| (tenth.iter().map(|size| size.0).max().unwrap(), tenth.iter().map(|size| size.1).max().unwrap()))
        .collect();
    for (at, (memory, files)) in tenths.iter().enumerate() {
        eprintln!("tenth {:2}: {memory:6} KiB, {files:3} files", at + 1);
    }
    assert_eq!(missing, 0);
    let most = |tenths: &[(usize, usize)]| {
        (tenths.iter().map(|tenth| tenth.0).max().unwrap(), tenths.iter().map(|tenth| tenth.1).max().unwrap())
    };
    let (early, late) = (most(&tenths[..tenths.len() / 2]), most(&tenths[tenths.len() / 2..]));
    assert!(late.0 < early.0 * 5 / 4 && late.1 < early.1 + 30, "it grows: {tenths:?}");
}

/// Many tables, few rows each: what is kept of an object is small. `STRANDLINE_TEST_TABLES=1000` is worth a look.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_over_many_tables() {
    let tables: usize = std::env::var("STRANDLINE_TEST_TABLES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let stage = Stage::new("many");
    let sql: String = (0..tables)
        .map(|at| format!("CREATE TABLE t{at} (id int PRIMARY KEY); INSERT INTO t{at} SELECT generate_series(1, 5);"))
        .collect();
    stage.client().await.batch_execute(&sql).await.unwrap();
    stage.configure("topic.creation.default.partitions = 1");
    stage.settle();
    let began = Instant::now();
    let mut running = stage.run(&["--once", "--set", "tasks.max=2"]);
    let mut most = 0;
    while running.is_running() {
        most = most.max(running.size().0);
        assert!(began.elapsed() < Duration::from_secs(30 + tables as u64 / 2), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("{tables} tables: {most} KiB at most, {:.1?}", began.elapsed());
    let told = stage.strandline(&["objects", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let objects = told["objects"].as_array().unwrap();
    assert_eq!(objects.len(), tables);
    assert!(objects.iter().all(|object| object["rows"] == 5), "{told}");
    assert!(most < 100 << 10, "{most} KiB for {tables} tables of 5 rows");
}
