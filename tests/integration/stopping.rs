//! SIGTERM: a clean stop, whatever is going on.

use std::time::{Duration, Instant};

use strandline_testbed::Weather;

use crate::faults::{Server, Servers};
use crate::stage::{Running, Stage, until};

/// What was committed stays, what was not is read again: there is no reason to wait for a server that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_takes_less_than_ten_seconds_in_every_state() {
    let servers = Servers::start();
    let stage = Stage::on("stopping", servers.postgres.create_database("stopping"), servers.kafka.bootstrap());
    servers.configure(&stage, "");
    let [postgres, kafka, registry] = [Server::Postgres, Server::Kafka, Server::Registry].map(|of| servers.proxy(of));
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text); CREATE TABLE c (id int PRIMARY KEY);
             INSERT INTO a SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 100000) i;
             INSERT INTO b SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 100000) i",
        )
        .await
        .unwrap();
    let mut states = Vec::new();
    let mut stopped = |state: &'static str, mut running: Running| {
        let started = Instant::now();
        running.signal(libc::SIGTERM);
        let code = running.wait(Duration::from_secs(90));
        servers.clear();
        states.push((state, started.elapsed(), code));
        eprintln!("{state}: {:.1?}, {code:?}", started.elapsed());
        if started.elapsed() > Duration::from_secs(10) || code != Some(0) {
            eprintln!("{}", running.log());
        }
    };
    let run = || stage.run(&["--set", "tasks.max=4"]);

    registry.set(Weather::Stall);
    let running = run();
    until("plans", || running.log().contains("object found"));
    stopped("the registry stalled", running);

    let mut running = run();
    running.await_log("planned");
    stopped("in load", running);

    let mut running = run();
    running.await_log("object found");
    kafka.set(Weather::Stall);
    until("records that are held back", || kafka.holds_back());
    stopped("in load, Kafka stalled", running);

    let mut running = run();
    running.await_log("object found");
    postgres.set(Weather::Stall);
    until("rows that are held back", || postgres.holds_back());
    stopped("in load, PostgreSQL stalled", running);

    for (state, door, weather) in [
        ("at the start, Kafka stalled", kafka, Weather::Stall),
        ("at the start, Kafka gone", kafka, Weather::Refuse),
        ("at the start, PostgreSQL stalled", postgres, Weather::Stall),
        ("at the start, PostgreSQL gone", postgres, Weather::Refuse),
    ] {
        door.set(weather);
        let mut running = run();
        running.await_log("started");
        stopped(state, running);
    }

    stage.run_once();
    let running = run();
    until("every object", || running.log().matches("object found").count() >= 3);
    stopped("idle", running);

    for (state, door) in [("idle, Kafka stalled", kafka), ("idle, PostgreSQL stalled", postgres)] {
        let running = run();
        until("every object", || running.log().matches("object found").count() >= 3);
        door.set(Weather::Stall);
        client.batch_execute("INSERT INTO c SELECT coalesce(max(id), 0) + 1 FROM c").await.unwrap();
        until("something that is held back", || door.holds_back());
        stopped(state, running);
    }
    let late: Vec<_> =
        states.iter().filter(|(_, took, code)| *took > Duration::from_secs(10) || *code != Some(0)).collect();
    assert!(late.is_empty(), "{late:?}");
}
