//! Nothing comes twice, whatever becomes of an object on its way.

use std::collections::BTreeMap;
use std::time::Duration;

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
    const ROWS: usize = 60_000;
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
    let mut running = stage.run(&["--set=tables.refresh_interval=50ms", "--set=kafka.transaction.timeout.ms=1000"]);
    // In mid-load and after it.
    running.await_log("committed partition");
    for time in 1..=3 {
        client.batch_execute("ALTER TABLE t SET SCHEMA elsewhere").await.unwrap();
        running.await_log_of(time, "the table is gone");
        client.batch_execute("ALTER TABLE elsewhere.t SET SCHEMA public").await.unwrap();
        running.await_log_of(time + 1, "object found object=public.t");
        if time > 1 {
            let id = ROWS + time - 1;
            client.batch_execute(&format!("INSERT INTO t VALUES ({id})")).await.unwrap();
            until("the new row", Duration::from_secs(30), || {
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
    let mut running = stage.run(&["--set=kafka.transaction.timeout.ms=1000"]);
    running.await_log_of(2, "committed partition");
    let log = running.kill();
    assert!(!log.contains("caught_up"), "the poll was over already:\n{log}");
    stage.run_once();
    assert_eq!(twice(&stage, &format!("{}.q", stage.name), ROWS), [], "{log}");
}
