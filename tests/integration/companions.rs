//! `source.connections`: several connections read one table side by side, in one snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strandline::Kind;
use strandline::config::{self, Secret};
use strandline::poll::sql::Source;
use strandline::poll::{Chunk, TableName, Tid, Window};
use strandline::postgres::Connection;

use strandline_testbed::{Database, Kafka, Pooler, Postgres, PostgresOptions};

use crate::stage::{Stage, connect};
use crate::topic::{committed, records};

const MANY: &str = "--set=source.connections=4";

/// About 9,000 blocks.
fn table(rows: u32) -> String {
    format!(
        "CREATE TABLE big (id int PRIMARY KEY, v int NOT NULL, pad text NOT NULL) WITH (fillfactor = 60); \
         INSERT INTO big SELECT i, 0, repeat('x', 80) FROM generate_series(1, {rows}) i; ANALYZE big"
    )
}

/// What the writers have in common with those of an application: updates that move a row to another part, and inserts.
async fn write(url: String, writer: i32, stop: Arc<AtomicBool>) {
    let client = connect(&url).await;
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let id = (turn * 7919 + writer * 104_729).rem_euclid(300_000) + 1;
        let new = 1_000_000 + writer * 100_000 + turn;
        let sql =
            format!("UPDATE big SET v = v + 1 WHERE id = {id}; INSERT INTO big VALUES ({new}, 0, repeat('y', 80))");
        client.batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_chunk_lose_nothing_and_deliver_nothing_twice_while_rows_move_between_them() {
    let stage = Stage::new("parts");
    let client = stage.client().await;
    client.batch_execute(&table(300_000)).await.unwrap();
    stage.settle();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..3).map(|writer| tokio::spawn(write(stage.database.url.clone(), writer, Arc::clone(&stop)))).collect();
    let running = stage.run(&[MANY]);
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'strandline%' AND datname = current_database()";
    let mut most = 0;
    while committed(&stage.kafka, &stage.topic("big")) == 0 {
        most = most.max(client.query_one(connections, &[]).await.unwrap().get::<_, i64>(0));
    }
    running.kill();
    let mut running = stage.run(&[MANY]);
    running.await_log("caught_up object=public.big");
    most = most.max(client.query_one(connections, &[]).await.unwrap().get::<_, i64>(0));
    assert_eq!(most, 4, "{}", running.log());
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let (status, log) = running.stop();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("connections=4") && !log.contains("not as many"), "{log}");
    stage.run_once();

    let mut delivered: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for record in records(&stage.kafka, &stage.topic("big")) {
        delivered.entry(record.long("id")).or_default().push(record.long("v"));
    }
    let unordered = delivered.iter().filter(|(_, versions)| !versions.is_sorted_by(|one, next| one < next)).count();
    assert_eq!(unordered, 0, "versions come twice or out of order");
    let last: BTreeSet<(i64, i64)> =
        delivered.iter().filter_map(|(id, versions)| Some((*id, *versions.last()?))).collect();
    let held = client.query("SELECT id::int8, v::int8 FROM big", &[]).await.unwrap();
    let held: BTreeSet<(i64, i64)> = held.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(held.symmetric_difference(&last).count(), 0, "the last versions are not what the table holds");
}

/// What happens without NOWAIT:
/// 1. the task's connection holds its lock;
/// 2. ALTER TABLE queues for its own;
/// 3. a companion queues behind that, and the task waits for the companion.
#[tokio::test(flavor = "multi_thread")]
async fn an_alter_table_that_queues_during_a_load_by_many_does_not_stop_it() {
    let stage = Stage::new("queueing");
    let client = stage.client().await;
    client.batch_execute(&table(300_000)).await.unwrap();
    stage.settle();
    let mut running = stage.run(&[MANY]);
    let alter = async {
        for column in 0..20 {
            client.batch_execute(&format!("ALTER TABLE big ADD COLUMN c{column} int")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), alter).await.expect("the application waits for the load");
    running.await_log("caught_up object=public.big");
    let (status, log) = running.stop();
    assert_eq!(status, Some(0), "{log}");
    assert!(!log.contains("put off") && !log.contains("interrupted") && !log.contains("not as many"), "{log}");
    assert_eq!(records(&stage.kafka, &stage.topic("big")).len(), 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_no_connection_left_is_read_with_those_there_are() {
    let stage = Stage::new("few");
    let client = stage.client().await;
    client.batch_execute(&table(100_000)).await.unwrap();
    client.batch_execute("CREATE ROLE few LOGIN CONNECTION LIMIT 2; GRANT SELECT ON big TO few").await.unwrap();
    let url = stage.database.url.replace("postgres@", "few@");
    stage.settle();
    let log = stage.with_env(&["run", "--once", MANY], &[("STRANDLINE_DATABASE__URL", &url)]);
    let log = String::from_utf8_lossy(&log.stderr).into_owned();
    assert!(log.contains("not as many as source.connections"), "{log}");
    assert!(log.contains("too many connections for role"), "{log}");
    assert_eq!(records(&stage.kafka, &stage.topic("big")).len(), 100_000);
    client.batch_execute("DROP OWNED BY few; DROP ROLE few").await.unwrap();
}

/// The source of table `t`, and two connections.
async fn pair(stage: &Stage) -> (Source, Connection, Connection) {
    let client = stage.client().await;
    let oid: u32 = client.query_one("SELECT 't'::regclass::oid", &[]).await.unwrap().get(0);
    let url = Some(Secret::new(stage.database.url.clone()));
    let database = config::Database { url, ..config::Database::default() };
    let name = TableName::new("public", "t");
    let source = Source {
        root: oid,
        root_name: name.clone(),
        leaf: oid,
        leaf_name: name,
        through_root: false,
        constraint: None,
        tree: false,
        lock: true,
    };
    let open = || Connection::open(&database, "pair");
    (source, open().await.unwrap(), open().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_companion_does_not_queue_behind_an_alter_table_that_waits_for_the_opener() {
    let stage = Stage::new("behind");
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE t (id int)").await.unwrap();
    let (source, leader, companion) = pair(&stage).await;
    let window = Window { from: 0, to: leader.moment().await.unwrap().snapshot.xmin };
    let head = leader.open_chunk(&source, window).await.unwrap();
    let exported = leader.export_snapshot().await.unwrap();
    let alter = tokio::spawn(async move { client.batch_execute("ALTER TABLE t ADD COLUMN v int").await });
    let watcher = stage.client().await;
    let queued = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass";
    while watcher.query_one(queued, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    let error = companion.join_chunk(&exported, &source, window, &head).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Locked, "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "it queued for {:?}", began.elapsed());
    leader.commit().await.unwrap();
    alter.await.unwrap().unwrap();
}

/// What happens:
/// 1. the opener has the pooler's only server, and its lock;
/// 2. the companion's head waits in the pooler for a server;
/// 3. the opener would wait for the companion.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_with_one_server_is_read_by_one() {
    let postgres = Postgres::start(PostgresOptions::default());
    let own = postgres.create_database("one");
    let pooler = Pooler::start(&postgres, "transaction", "default_pool_size = 1");
    let client = connect(&own.url).await;
    client.batch_execute(&table(100_000)).await.unwrap();
    let pooled = Database { url: pooler.url(&own.name), name: own.name.clone() };
    let stage = Stage::on("one", pooled, Kafka::shared().bootstrap());
    let mut running = stage.run(&["--once", MANY]);
    assert_eq!(running.wait(Duration::from_secs(40)), Some(0), "{}", running.log());
    let log = running.log();
    assert_eq!(log.matches("not as many as source.connections").count(), 1, "{log}");
    assert_eq!(records(&stage.kafka, &stage.topic("big")).len(), 100_000);
}

/// `age()` counts from the id that was next when a transaction first asked: another transaction's ages are others, even in the
/// same snapshot. A companion that went by the opener's would take the window's newest rows for newer ones, and lose them.
#[tokio::test(flavor = "multi_thread")]
async fn a_companion_counts_the_windows_ages_for_itself() {
    let stage = Stage::new("ages");
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
    stage.settle();
    let (source, leader, companion) = pair(&stage).await;
    let snapshot = leader.moment().await.unwrap().snapshot;
    let window = Window { from: 0, to: snapshot.xmin };
    let head = leader.open_chunk(&source, window).await.unwrap();
    for id in 2..=11 {
        client.batch_execute(&format!("INSERT INTO t VALUES ({id})")).await.unwrap();
    }
    let exported = leader.export_snapshot().await.unwrap();
    let ages = companion.join_chunk(&exported, &source, window, &head).await.unwrap();
    // Others take ids, too.
    assert!(ages.to >= head.ages.to + 10, "{ages:?} {:?}", head.ages);
    let whole = Chunk { from: Tid::default(), to: Tid { block: 100, offset: 0 } };
    for (connection, ages) in [(&leader, head.ages), (&companion, ages)] {
        let sql =
            strandline::poll::sql::copy(&source, "id", &format!("{} AND {}", whole.filter(), window.filter(ages)));
        let mut rows = connection.copy(&sql).await.unwrap();
        let mut read = Vec::new();
        while let Some(tuple) = rows.next().await.unwrap() {
            read.push(tuple.to_vec());
        }
        assert_eq!(read, [[0, 1, 0, 0, 0, 4, 0, 0, 0, 1]], "the row of the snapshot, and none of the later ones");
    }
    companion.rollback().await.unwrap();
    let error = companion.join_chunk("0-0-0", &source, window, &head).await.unwrap_err();
    assert_eq!(error.message(), "the server does not know another connection's snapshot");
}
