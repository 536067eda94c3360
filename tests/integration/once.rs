//! Nothing comes twice, whatever becomes of an object on its way.

use std::collections::BTreeMap;

use crate::modes::{column, is_believed};
use crate::stage::{Stage, until};
use crate::topic::{raw, records};

/// The ids that came more than once, and how often each came; panics unless there are `expected` different ones.
fn twice(stage: &Stage, topic: &str, expected: usize) -> Vec<(i64, usize)> {
    let mut times: BTreeMap<i64, usize> = BTreeMap::new();
    for record in records(&stage.kafka, topic) {
        *times.entry(record.long("id")).or_default() += 1;
    }
    assert_eq!(times.len(), expected, "different rows in {topic}");
    times.into_iter().filter(|(_, count)| *count > 1).take(5).collect()
}

/// Its second chunk had a bad row before anything of it was sent: the first was committed without its watermark.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_object_delivered_before_it_failed_does_not_come_again_once_it_is_mended() {
    const ROWS: i64 = 3000;
    let stage = Stage::new("mended");
    let client = stage.client().await;
    // The first chunk ends where block 16 begins.
    let fill = format!("INSERT INTO t (id, n) SELECT i, i FROM generate_series(1, {ROWS}) i");
    client
        .batch_execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, n numeric(8,2), pad text DEFAULT repeat('x', 100)); {fill}"
        ))
        .await
        .unwrap();
    let first: i32 = client.query_one("SELECT id FROM t WHERE ctid = '(16,1)'", &[]).await.unwrap().get(0);
    client
        .batch_execute(&format!(
            "TRUNCATE t; {}",
            fill.replace("i, i FROM", &format!("i, CASE WHEN i = {first} THEN 'NaN'::numeric ELSE i END FROM"))
        ))
        .await
        .unwrap();
    let output = stage.try_once(&[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let before = raw(&stage.kafka, &stage.topic("t")).len();
    assert!(before > 100 && before < ROWS as usize, "{before} rows before it failed");
    client.batch_execute(&format!("UPDATE t SET n = 1 WHERE id = {first}")).await.unwrap();
    stage.run_once();
    assert_eq!(twice(&stage, &stage.topic("t"), ROWS as usize), [], "{before} rows had come before it failed");
}

/// Renamed away and back: it was taken for as far as it was when the process began.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_for_a_moment_goes_on_where_it_was() {
    const ROWS: usize = 150_000;
    let stage = Stage::new("gone");
    let client = stage.client().await;
    client
        .batch_execute(&format!(
            "CREATE SCHEMA elsewhere; CREATE TABLE other (id int);
             CREATE TABLE t (id int PRIMARY KEY, pad text DEFAULT repeat('x', 300));
             INSERT INTO t SELECT generate_series(1, {ROWS})"
        ))
        .await
        .unwrap();
    stage.configure("tables.include = ['public.*']\n\"offset.storage.partitions\" = 1");
    stage.settle();
    let mut running = stage.run(&["--set=tables.refresh_interval=50ms", "--set=kafka.transaction.timeout.ms=4000"]);
    // In mid-load and after it.
    running.await_log("committed partition");
    for time in 1..=3 {
        let before = |text: &str| running.log().matches(text).count();
        let (gone, found) = (before("the table is gone"), before("object found object=public.t"));
        client.batch_execute("ALTER TABLE t SET SCHEMA elsewhere").await.unwrap();
        running.await_log_of(gone + 1, "the table is gone");
        client.batch_execute("ALTER TABLE elsewhere.t SET SCHEMA public").await.unwrap();
        running.await_log_of(found + 1, "object found object=public.t");
        if time > 1 {
            let id = ROWS + time - 1;
            client.batch_execute(&format!("INSERT INTO t VALUES ({id})")).await.unwrap();
            until("the new row", || {
                records(&stage.kafka, &stage.topic("t")).iter().any(|record| record.long("id") == id as i64)
            });
        }
    }
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(twice(&stage, &stage.topic("t"), ROWS + 2), [], "{log}");
}

/// What it had committed of its first poll was not stored: it had not completed a pass yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_poll_of_a_query_that_is_killed_goes_on_at_its_place() {
    const ROWS: usize = 1_000_000;
    let stage = Stage::new("querykill");
    let client = stage.client().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE o (id int PRIMARY KEY, v text); INSERT INTO o SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i"
        ))
        .await
        .unwrap();
    stage.configure(
        "objects.q = { query = 'SELECT id, v FROM o', mode = 'incrementing', incrementing_column = 'id' }\n\
         tables.exclude = ['public.o']",
    );
    let running = stage.run(&["--set=kafka.transaction.timeout.ms=1000"]);
    let log = running.kill_before("caught_up", 2);
    stage.run_once();
    assert_eq!(twice(&stage, &format!("{}.q", stage.name), ROWS), [], "{log}");
}

/// One table took another's name, which was let go: what was given up took back that it is another table now.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_anothers_name_is_loaded_once() {
    let stage = Stage::new("swapped");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10);
             CREATE TABLE t_new (id int PRIMARY KEY); INSERT INTO t_new SELECT generate_series(101, 110)",
        )
        .await
        .unwrap();
    stage.configure("tables.exclude = ['public.t_old']\n\"offset.storage.partitions\" = 1");
    let mut running = stage.run(&["--set=tables.refresh_interval=50ms"]);
    running.await_log_of(2, "caught_up");
    client.batch_execute("BEGIN; ALTER TABLE t RENAME TO t_old; ALTER TABLE t_new RENAME TO t; COMMIT").await.unwrap();
    let topic = stage.topic("t");
    until("the other table", || column(&stage, &topic, "id").len() >= 20);
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("another table than before").count(), 1, "{log}");
    let log = stage.run_once();
    assert!(!log.contains("another table than before"), "{log}");
    assert_eq!(column(&stage, &topic, "id"), (1..=10).chain(101..=110).collect::<Vec<_>>());
}

/// A load began anew, as other rows were asked for; its first transaction was given up, and with it that it had begun anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_begins_anew_does_so_again_after_its_transaction_was_given_up() {
    let stage = Stage::new("anew");
    let client = stage.client().await;
    // The bad row is in the first chunk, behind a batch.
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, n numeric(8,2));
             INSERT INTO t SELECT i, CASE i WHEN 2000 THEN 'NaN'::numeric ELSE i END FROM generate_series(1, 3000) i",
        )
        .await
        .unwrap();
    let dead = format!("{}-dead", stage.name);
    let tolerant =
        format!("errors.tolerance = 'all'\nerrors.deadletterqueue.topic.name = '{dead}'\nobjects.t.table = 't'\n");
    stage.configure(&format!("{tolerant}objects.t.where = 'id <= 100'"));
    stage.run_once();
    assert_eq!(column(&stage, &stage.topic("t"), "id").len(), 100);
    stage.configure(&tolerant);
    let log = stage.run_once();
    assert!(log.contains("is loaded anew"), "{log}");
    let mut expected: Vec<i64> = (1..=100).chain(1..=3000).filter(|id| *id != 2000).collect();
    expected.sort_unstable();
    assert!(
        column(&stage, &stage.topic("t"), "id") == expected,
        "{} rows: {log}",
        column(&stage, &stage.topic("t"), "id").len()
    );
    assert_eq!(raw(&stage.kafka, &dead).len(), 1);
}

/// Until a second value of its cursor came, the poll had no place, and what it had delivered was not stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_poll_of_a_query_whose_rows_share_a_moment_is_known_to_the_next_process() {
    const ROWS: usize = 400_000;
    let stage = Stage::new("moment");
    let client = stage.client().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE o (id int PRIMARY KEY, at timestamptz NOT NULL);
             INSERT INTO o SELECT i, '2024-01-01 00:00:00+00' FROM generate_series(1, {ROWS}) i"
        ))
        .await
        .unwrap();
    stage.configure(
        "objects.q = { query = 'SELECT id, at FROM o', mode = 'timestamp', timestamp_column = 'at' }\n\
         tables.exclude = ['public.o']",
    );
    let topic = format!("{}.q", stage.name);
    let running = stage.run(&["--set=kafka.transaction.timeout.ms=1000"]);
    let log = running.kill_before("caught_up", 2);
    // Killed, and stopped in good order.
    stage.run_once();
    stage.run_once();
    assert_eq!(twice(&stage, &topic, ROWS), [], "{log}");
}

/// It came back with the place of now and the rows of then: those of the lookback came again.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_gone_for_a_moment_goes_on_where_it_was() {
    let stage = Stage::new("away");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE o (id int PRIMARY KEY); INSERT INTO o SELECT generate_series(1, 500); CREATE VIEW v AS SELECT id FROM o",
        )
        .await
        .unwrap();
    stage.configure(
        "objects.v = { table = 'public.v', mode = 'incrementing', incrementing_column = 'id' }\ntables.exclude = ['public.o', 'public.w']",
    );
    let mut running = stage.run(&["--set=tables.refresh_interval=50ms"]);
    running.await_log("caught_up");
    client.batch_execute("ALTER VIEW v RENAME TO w").await.unwrap();
    running.await_log("the table is gone");
    client.batch_execute("ALTER VIEW w RENAME TO v").await.unwrap();
    running.await_log_of(2, "object found object=public.v");
    client.batch_execute("INSERT INTO o VALUES (501)").await.unwrap();
    until("the new row", || column(&stage, &stage.topic("v"), "id").contains(&501));
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(twice(&stage, &stage.topic("v"), 501), [], "{log}");
}

/// A row was known again by its record, which is another with each id of a schema.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_query_are_known_again_under_another_schema() {
    let stage = Stage::new("labels");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE o (id int PRIMARY KEY, mood mood DEFAULT 'good');
             INSERT INTO o SELECT generate_series(1, 10)",
        )
        .await
        .unwrap();
    stage.configure(
        "objects.q = { query = 'SELECT id, mood FROM o', mode = 'incrementing', incrementing_column = 'id' }\ntables.exclude = ['public.o']",
    );
    stage.run_once();
    client.batch_execute("ALTER TYPE mood ADD VALUE 'bad'; INSERT INTO o VALUES (11, 'good')").await.unwrap();
    client.batch_execute("INSERT INTO o VALUES (12, 'bad')").await.unwrap();
    stage.run_once();
    assert_eq!(column(&stage, &format!("{}.q", stage.name), "id"), (1..=12).collect::<Vec<_>>());
}

/// What was too much for one statement by the index was read in chunks, and by the index again after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_cursor_reads_in_chunks_goes_on_at_its_chunk_after_a_kill() {
    const MORE: usize = 300_000;
    let stage = Stage::new("chunks");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT generate_series(1, 10)")
        .await
        .unwrap();
    stage.configure("tables.mode = 'incrementing'\ntables.incrementing_column = 'id'");
    let mut running = stage.run(&["--set=sweep.interval=10m"]);
    running.await_log("caught_up");
    let insert = |id| format!("INSERT INTO t VALUES ({id})");
    let rows = running.write_until(is_believed, &client, 10, insert).await;
    running.stop();
    client
        .batch_execute(&format!("INSERT INTO t SELECT {rows} + i, md5(i::text) FROM generate_series(1, {MORE}) i"))
        .await
        .unwrap();
    stage.settle();
    let mut running = stage.run(&["--set=sweep.interval=10m", "--set=kafka.transaction.timeout.ms=1000"]);
    running.await_log("too much for one transaction");
    let log = running.kill_before("delta object", 2);
    stage.run_once();
    assert_eq!(twice(&stage, &stage.topic("t"), usize::try_from(rows).unwrap() + MORE), [], "{log}");
}
