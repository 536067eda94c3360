//! Servers that stop, instances that hang, history that is lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use strandline_testbed::{Kafka, Postgres, PostgresOptions, Weather};

use crate::faults::{Server, Servers};
use crate::letters::set;
use crate::stage::{Stage, connect, until};
use crate::topic::{raw, records};

/// A hung instance with an open transaction, a successor with another number of tasks; the old one wakes and commits.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_instance_that_wakes_is_refused_and_told_who_took_over() {
    let stage = Stage::new("fence");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) i",
        )
        .await
        .unwrap();
    let mut first = stage.run(&[]);
    first.await_log("caught_up");
    until("the load", || raw(&stage.kafka, &stage.topic("t")).len() == 100);
    first.signal(libc::SIGSTOP);
    client.batch_execute("UPDATE t SET v = 1").await.unwrap();
    let mut second = stage.run(&["--set", "tasks.max=3"]);
    second.await_log("took over");
    until("the update", || raw(&stage.kafka, &stage.topic("t")).len() == 200);
    first.signal(libc::SIGCONT);
    client.batch_execute("UPDATE t SET v = 2").await.unwrap();
    // The time that it hung counts as time spent reading, so it may rest for twenty times as long before it looks again.
    assert_eq!(first.wait(Duration::from_secs(120)), Some(3), "{}", first.log());
    assert!(first.log().contains("was taken over") && first.log().contains("running since"), "{}", first.log());
    until("the second update", || raw(&stage.kafka, &stage.topic("t")).len() == 300);
    let (code, log) = second.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), 300, "nothing twice");
}

/// It tried again for ever, and whoever waited for its end with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_once_ends_when_the_offsets_topic_refuses_what_it_stores() {
    let stage = Stage::new("offsetsrefused");
    stage.client().await.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    stage.run_once();
    let offsets = format!("{}-offsets", stage.name);
    set(&stage, &offsets, &[("cleanup.policy", "compact"), ("max.message.bytes", "100")]).await;
    let mut running = stage.run(&["--once"]);
    assert_eq!(running.wait(Duration::from_secs(30)), Some(1), "{}", running.log());
    let log = running.log();
    assert!(
        log.contains(&format!("Kafka refuses records for topic {offsets}")) && log.contains("max.message.bytes"),
        "{log}"
    );
    set(&stage, &offsets, &[("cleanup.policy", "compact")]).await;
    stage.run_once();
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), 1, "nothing twice");
}

/// Found by the trials: tasks were waited for in their order, and the first, with nothing to write, never learned of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_nothing_to_write_does_not_keep_a_fenced_one_from_ending_the_connector() {
    let stage = Stage::new("idle_fence");
    let client = stage.client().await;
    let tables: Vec<String> = (0..8).map(|at| format!("CREATE TABLE t{at} (id int PRIMARY KEY);")).collect();
    client.batch_execute(&tables.concat()).await.unwrap();
    let mut first = stage.run(&["--set", "tasks.max=8"]);
    first.await_log("caught_up");
    let mut second = stage.run(&["--set", "tasks.max=1"]);
    second.await_log("caught_up");
    let began = Instant::now();
    // Whichever task has it, most others have nothing.
    client.batch_execute("INSERT INTO t7 VALUES (1)").await.unwrap();
    assert_eq!(first.wait(Duration::from_secs(40)), Some(3), "{}", first.log());
    // Empty windows are stored after a minute, and it would learn of it then.
    assert!(began.elapsed() < Duration::from_secs(40));
    let (code, log) = second.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// Another connector's open transaction stands in the shared offsets topic: it is waited for, and what follows is not stale.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_of_a_stranger_in_the_offsets_topic_is_waited_for() {
    let stage = Stage::new("stranger");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50)")
        .await
        .unwrap();
    stage.run_once();
    let stranger: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &stage.kafka)
        .set("transactional.id", format!("{}-stranger", stage.name))
        .create()
        .unwrap();
    stranger.init_transactions(Duration::from_secs(10)).unwrap();
    stranger.begin_transaction().unwrap();
    let offsets = format!("{}-offsets", stage.name);
    for partition in 0..8 {
        let record = BaseRecord::<str, str>::to(&offsets)
            .partition(partition)
            .key("[\"other\",{\"table\":\"x.y\"}]")
            .payload("{}");
        stranger.send(record).map_err(|(error, _)| error).unwrap();
    }
    stranger.flush(Duration::from_secs(10)).unwrap();
    let mut running = stage.run(&[]);
    running.await_log("another transaction is open");
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), 50);
    stranger.commit_transaction(Duration::from_secs(10)).unwrap();
    running.await_log("object found");
    client.batch_execute("INSERT INTO t VALUES (51)").await.unwrap();
    until("the new row", || raw(&stage.kafka, &stage.topic("t")).len() >= 51);
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), 51, "nothing stale, nothing twice");
}

/// Kafka stops in mid-COPY while an ALTER TABLE waits for our lock and the application's reads wait for the ALTER TABLE.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_kafka_does_not_make_the_application_wait() {
    let kafka = Kafka::start();
    let mut stage = Stage::on("stall", Postgres::shared().create_database("stall"), kafka.bootstrap());
    // Full in the middle of a chunk, not between two.
    stage.below.0 = "\"queue.buffering.max.kbytes\" = \"2048\"\n".into();
    stage.configure("");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE big (id int PRIMARY KEY, v text); INSERT INTO big SELECT i, repeat(md5(i::text), 40) FROM generate_series(1, 200000) i")
        .await
        .unwrap();
    stage.settle();
    let mut running = stage.run(&["--set", "source.stall=2s"]);
    until("some rows", || running.log().contains("planned"));
    kafka.pause();
    // A chunk that lasts: its backend waits for its reader, or is done and only we are not.
    let copying = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'strandline%' \
                   AND datname = current_database() AND now() - xact_start > '1 s'";
    let deadline = Instant::now() + Duration::from_secs(90);
    while client.query_one(copying, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "no chunk was ever held up:\n{}", running.log());
    }
    let url = stage.database.url.clone();
    let alter =
        tokio::spawn(async move { connect(&url).await.batch_execute("ALTER TABLE big ADD COLUMN more int").await });
    let queued = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'big'::regclass";
    while !alter.is_finished() && client.query_one(queued, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
    let asked = client.query_one("SELECT count(*) FROM big WHERE id = 7", &[]);
    let answered = tokio::time::timeout(Duration::from_secs(4), asked).await;
    assert!(answered.is_ok(), "the application waits");
    alter.await.unwrap().unwrap();
    kafka.resume();
    running.await_log("caught_up");
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(raw(&stage.kafka, &stage.topic("big")).len(), 200_000, "each row once");
}

/// A crash loses ids that were given out and never flushed; they are given out again, below a floor that looked settled.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_loses_nothing() {
    crash("crash", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_loses_nothing_in_a_cursor_mode() {
    crash("crashat", "tables.mode = 'timestamp'\ntables.timestamp_column = 'at'\nsweep.interval = '3s'").await;
}

async fn crash(name: &str, settings: &str) {
    let mut postgres = Postgres::start(PostgresOptions {
        fsync: true,
        settings: vec![("wal_writer_delay".into(), "10s".into())],
        ..PostgresOptions::default()
    });
    let stage = Stage::on(name, postgres.create_database(name), Kafka::shared().bootstrap());
    stage.configure(settings);
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); CREATE INDEX ON t (at)",
        )
        .await
        .unwrap();
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let mut id = 0;
    for round in 0..3 {
        let client = stage.client().await;
        let before = raw(&stage.kafka, &stage.topic("t")).len();
        client.batch_execute("SET synchronous_commit = off").await.unwrap();
        for _ in 0..30 {
            id += 1;
            let _ = client.batch_execute(&format!("INSERT INTO t VALUES ({id})")).await;
            let _ = client.batch_execute("BEGIN; SAVEPOINT a; INSERT INTO t VALUES (-1); ROLLBACK").await;
        }
        // Delivered, and not on disk: the crash takes them back.
        until(&format!("the rows of round {round}"), || raw(&stage.kafka, &stage.topic("t")).len() > before);
        postgres.crash();
        postgres.restart();
        let client = stage.client().await;
        // These get the lost ids again.
        for _ in 0..40 {
            id += 1;
            client.batch_execute(&format!("INSERT INTO t VALUES ({id})")).await.unwrap();
        }
    }
    let client = stage.client().await;
    let held: Vec<i32> = client.query("SELECT id FROM t", &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    until("every row", || {
        let delivered: Vec<i64> =
            records(&stage.kafka, &stage.topic("t")).iter().map(|record| record.long("id")).collect();
        held.iter().all(|id| delivered.contains(&i64::from(*id)))
    });
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("history changed") || log.contains("history confirmed"), "{log}");
}

/// A cluster just below 2^32 streams across the wrap; rows frozen long ago come with the load.
#[tokio::test(flavor = "multi_thread")]
async fn the_wrap_of_transaction_ids_is_crossed() {
    let postgres = tokio::task::spawn_blocking(|| {
        Postgres::near_wraparound(|url| {
            let url = url.to_owned();
            let fill = async move {
                let client = connect(&url).await;
                client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 600) i").await.unwrap();
            };
            tokio::runtime::Handle::current().block_on(fill);
        })
    })
    .await
    .unwrap();
    let database = strandline_testbed::Database { name: "postgres".into(), url: postgres.url("postgres") };
    let stage = Stage::on("wrap", database, Kafka::shared().bootstrap());
    let client = stage.client().await;
    let before: i64 =
        client.query_one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint", &[]).await.unwrap().get(0);
    assert!(before < 1 << 32, "{before}");
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    until("the frozen rows", || raw(&stage.kafka, &stage.topic("t")).len() == 600);
    for id in 1..=600 {
        client.batch_execute(&format!("UPDATE t SET v = 1 WHERE id = {id}")).await.unwrap();
    }
    let after: i64 =
        client.query_one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint", &[]).await.unwrap().get(0);
    assert!(after > 1 << 32, "{after}");
    until("every update", || {
        let updated = records(&stage.kafka, &stage.topic("t")).iter().filter(|record| record.long("v") == 1).count();
        updated == 600
    });
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), 1200, "nothing twice");
}

/// What happens:
/// 1. a transaction is being committed, which takes its time, and the next rows are read meanwhile;
/// 2. among them is one that fails its object, so what was sent of the open transaction is taken back.
///
/// The one before is Kafka's to decide: to go back behind it too would send its rows twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_fails_while_a_commit_is_under_way_takes_back_nothing_that_is_committed() {
    const ROWS: i64 = 40_000;
    const BAD: i64 = 5;
    let servers = Servers::start();
    let stage = Stage::on("behind", servers.postgres.create_database("behind"), servers.kafka.bootstrap());
    // One transaction for all, of a quarter of a second.
    servers.configure(&stage, "offset.storage.partitions = 1");
    let client = stage.client().await;
    // The later, the longer.
    let bad = (1..=BAD).map(|at| {
        let last = at * 15_000;
        format!(
            "CREATE TABLE bad{at} (id int PRIMARY KEY, n numeric(8,2)); INSERT INTO bad{at} \
             SELECT i, CASE WHEN i < {last} THEN i ELSE 'NaN'::numeric END FROM generate_series(1, {last}) i;"
        )
    });
    let bad: String = bad.collect();
    client
        .batch_execute(&format!(
            "CREATE TABLE good (id int PRIMARY KEY, v text); \
             INSERT INTO good SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, {ROWS}) i; {bad}"
        ))
        .await
        .unwrap();
    servers.proxy(Server::Kafka).set(Weather::Slow(4_000_000));
    let mut running = stage.run(&[
        "--set=kafka.transaction.timeout.ms=1000",
        "--set=kafka.compression.type=none",
        "--set=kafka.queue.buffering.max.kbytes=256",
        // A look waits for what is being committed.
        "--set=poll.interval=5s",
    ]);
    running.await_log("caught_up object=public.good");
    until("the failures", || running.log().matches("object failed").count() >= BAD as usize);
    let (_, log) = running.stop();
    let ids: Vec<i64> = records(&stage.kafka, &stage.topic("good")).iter().map(|record| record.long("id")).collect();
    let each: BTreeSet<i64> = ids.iter().copied().collect();
    assert_eq!((ids.len(), each.len()), (ROWS as usize, ROWS as usize), "{log}");
    let meanwhile = log.split("committing").filter_map(|commit| commit.split_once("committed"));
    let failed = meanwhile.filter(|(meanwhile, _)| meanwhile.contains("object failed")).count();
    assert!(failed > 0, "no row failed while a commit was under way:\n{log}");
}
