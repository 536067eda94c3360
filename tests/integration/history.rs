//! Servers whose history changes: standbys, promotions, copies that are put back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::Rng;
use strandline_testbed::{Kafka, Postgres, PostgresOptions};
use tokio_postgres::Client;

use crate::loss::{SCHEMA, count, delivered, held};
use crate::stage::{Stage, connect, until};
use crate::topic::{raw, records};
use crate::writers::{Writers, commit_prepared};

/// Crashes have to cost what they cost.
fn durable() -> Postgres {
    Postgres::start(PostgresOptions { fsync: true, ..PostgresOptions::default() })
}

fn writers(url: &str) -> Writers {
    let seed = rand::rng().random();
    eprintln!("seed {seed}");
    Writers::at(url, seed, Duration::ZERO)
}

/// Versions that are held and were not delivered, once that cannot change any more.
async fn missing(client: &Client, stage: &Stage) -> usize {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let missing = count(&held(client).await, &delivered(stage)).0;
        if missing == 0 || Instant::now() > deadline {
            return missing;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_streamed_exactly_and_so_is_what_becomes_of_it() {
    let primary = durable();
    let database = primary.create_database("followed");
    connect(&database.url).await.batch_execute(SCHEMA).await.unwrap();
    let mut standby = primary.standby();
    let mut stage = Stage::on("followed", database.clone(), Kafka::shared().bootstrap());
    stage.database.url = standby.url(&database.name);
    stage.configure("");

    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let sessions = writers(&database.url);
    tokio::time::sleep(Duration::from_secs(4)).await;
    running.kill();
    let mut running = stage.run(&["--set", "tasks.max=3"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    sessions.stop().await;
    let client = connect(&database.url).await;
    commit_prepared(&client).await;
    standby.await_replay(&primary);
    assert_eq!(missing(&client, &stage).await, 0, "{}", running.log());
    let (_, twice, disorder) = count(&held(&client).await, &delivered(&stage));
    assert_eq!((twice, disorder), (0, 0), "on a standby");
    drop(client);
    drop(primary);

    standby.promote();
    let sessions = writers(&stage.database.url);
    tokio::time::sleep(Duration::from_secs(3)).await;
    running.await_log("a standby was promoted");
    sessions.stop().await;
    standby.crash();
    standby.restart();
    let sessions = writers(&stage.database.url);
    tokio::time::sleep(Duration::from_secs(3)).await;
    sessions.stop().await;
    let client = connect(&stage.database.url).await;
    commit_prepared(&client).await;
    assert_eq!(missing(&client, &stage).await, 0, "after promotion and crash:\n{}", running.log());
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// Two hosts, of which the first is seconds behind the second: whoever answers, what it lacks is not taken as delivered.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_behind_each_other_lose_nothing() {
    let primary = durable();
    let database = primary.create_database("hosts");
    connect(&database.url).await.batch_execute(SCHEMA).await.unwrap();
    let mut late = primary.standby();
    late.set("recovery_min_apply_delay", "2s");
    late.stop_fast();
    late.restart();
    let mut stage = Stage::on("hosts", database.clone(), Kafka::shared().bootstrap());
    let host = |server: &Postgres| server.url("").split('@').nth(1).unwrap().trim_end_matches('/').to_owned();
    stage.database.url = format!("postgres://postgres@{},{}/{}", host(&late), host(&primary), database.name);
    stage.configure("");
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let sessions = writers(&database.url);
    let client = connect(&database.url).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    late.stop_fast();
    running.await_log("a primary answers where its standby did");
    tokio::time::sleep(Duration::from_secs(2)).await;
    late.restart();
    let ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'strandline%'";
    client.batch_execute(ours).await.unwrap();
    running.await_log("a standby answers where a primary did");
    sessions.stop().await;
    commit_prepared(&client).await;
    assert_eq!(missing(&client, &stage).await, 0, "{}", running.log());
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("the table is loaded again"), "what both have is not read again:\n{log}");
}

/// Each row that a server holds, by what makes it unlike every other.
async fn rows(client: &Client) -> BTreeSet<String> {
    client.query("SELECT v FROM t", &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

fn arrived(stage: &Stage) -> BTreeSet<String> {
    let text = |value| match value {
        apache_avro::types::Value::String(text) => text,
        other => panic!("{other:?}"),
    };
    records(&stage.kafka, &stage.topic("t")).iter().map(|record| text(record.get("v"))).collect()
}

async fn insert(client: &Client, what: &str, count: u32) {
    for at in 0..count {
        client.batch_execute(&format!("INSERT INTO t (v) VALUES ('{what} {at}')")).await.unwrap();
    }
}

const TABLE: &str = "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text NOT NULL)";

/// An older copy is put back; what is written from then on gets ids that were delivered for other rows already.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_put_back_while_we_stream_loses_nothing_of_what_follows() {
    let mut postgres = durable();
    let stage = Stage::on("putback", postgres.create_database("putback"), Kafka::shared().bootstrap());
    let client = stage.client().await;
    client.batch_execute(TABLE).await.unwrap();
    insert(&client, "first", 20).await;
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let copy = postgres.copy();
    insert(&client, "forgotten", 50).await;
    until("what will be forgotten", || raw(&stage.kafka, &stage.topic("t")).len() == 70);
    postgres.put_back(copy);
    let client = stage.client().await;
    insert(&client, "later", 30).await;
    let held = rows(&client).await;
    assert_eq!(held.len(), 50);
    until("every row that is held", || held.is_subset(&arrived(&stage)));
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("an older copy was put back"), "{log}");
}

/// The same while nobody looks, and it runs on beyond all that was delivered: neither its log nor its ids are short.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_put_back_and_runs_on_while_we_are_away_loses_nothing() {
    let mut postgres = durable();
    let stage = Stage::on("ranon", postgres.create_database("ranon"), Kafka::shared().bootstrap());
    let client = stage.client().await;
    client.batch_execute(TABLE).await.unwrap();
    insert(&client, "first", 20).await;
    let copy = postgres.copy();
    insert(&client, "forgotten", 50).await;
    stage.run_once();
    stage.run_once();
    postgres.put_back(copy);
    let client = stage.client().await;
    insert(&client, "later", 400).await;
    client.batch_execute("SELECT pg_switch_wal()").await.unwrap();
    let log = stage.run_once();
    let lost: Vec<String> = rows(&client).await.difference(&arrived(&stage)).cloned().collect();
    assert!(lost.is_empty(), "{} rows are lost, {:?} …:\n{log}", lost.len(), lost.first());
    assert!(log.contains("an older copy was put back"), "{log}");
}

/// A dump restored elsewhere, or an address that leads to another server: nothing that was stored says anything about it.
#[tokio::test(flavor = "multi_thread")]
async fn another_server_behind_the_address_is_said_and_loaded() {
    let (one, other) = (durable(), durable());
    let database = one.create_database("moved");
    let mut stage = Stage::on("moved", database, Kafka::shared().bootstrap());
    let client = stage.client().await;
    client.batch_execute(TABLE).await.unwrap();
    insert(&client, "here", 50).await;
    stage.run_once();
    stage.database.url = other.create_database("moved").url;
    stage.configure("");
    let client = stage.client().await;
    client.batch_execute(TABLE).await.unwrap();
    insert(&client, "there", 5).await;
    let log = stage.run_once();
    assert!(rows(&client).await.is_subset(&arrived(&stage)), "{log}");
    assert!(log.contains("another server or database answers"), "{log}");
}
