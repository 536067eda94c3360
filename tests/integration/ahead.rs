//! What is read ahead of the settled window, while somebody's transaction holds it back.

use strandline_testbed::{Kafka, Postgres, PostgresOptions};

use crate::letters::set;
use crate::modes::column;
use crate::stage::{Stage, until};
use crate::topic::raw;

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_of_a_stranger_holds_nobody_elses_rows_back() {
    let stage = Stage::alone("eager");
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let stranger = stage.client().await;
    stranger.batch_execute("BEGIN; INSERT INTO t VALUES (100)").await.unwrap();
    for id in 2..=5 {
        client.batch_execute(&format!("INSERT INTO t VALUES ({id})")).await.unwrap();
        until("the row", || column(&stage, &stage.topic("t"), "id").contains(&id));
    }
    let log = running.kill();
    let mut running = stage.run(&[]);
    running.await_log("object found");
    client.batch_execute("INSERT INTO t VALUES (6)").await.unwrap();
    until("the row", || column(&stage, &stage.topic("t"), "id").contains(&6));
    stranger.batch_execute("COMMIT").await.unwrap();
    until("the stranger's row", || column(&stage, &stage.topic("t"), "id").contains(&100));
    running.stop();
    stage.run_once();
    assert_eq!(column(&stage, &stage.topic("t"), "id"), [1, 2, 3, 4, 5, 6, 100], "{log}");
}

/// What was new was forgotten by the time that a table was due which was not when it was written: while somebody held the window
/// back, its row waited for whatever was written next.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_comes_although_its_table_was_not_due_when_it_was_written() {
    let postgres = Postgres::start(PostgresOptions::default());
    let stage = Stage::on("notdue", postgres.create_database("notdue"), Kafka::shared().bootstrap());
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE slow (id int PRIMARY KEY)").await.unwrap();
    stage.configure("objects.slow = { table = 'public.slow', poll.interval = '2s' }");
    let mut running = stage.run(&[]);
    running.await_log_of(2, "caught_up");
    let stranger = stage.client().await;
    stranger.batch_execute("BEGIN; INSERT INTO t VALUES (0)").await.unwrap();
    for id in 1..=3 {
        client.batch_execute(&format!("INSERT INTO slow VALUES ({id})")).await.unwrap();
        until("the row", || column(&stage, &stage.topic("slow"), "id").contains(&id));
    }
    stranger.batch_execute("COMMIT").await.unwrap();
    until("the stranger's row", || column(&stage, &stage.topic("t"), "id") == [0]);
    let (code, log) = running.stop();
    assert_eq!((code, column(&stage, &stage.topic("slow"), "id")), (Some(0), vec![1, 2, 3]), "{log}");
}

/// What had been written by then was read ahead whole, however many transactions wrote it: their ids made the object's record
/// larger than Kafka takes, and nothing moved any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_table_of_more_transactions_than_are_remembered_waits_for_the_settled_window() {
    const ROWS: i64 = 100_000;
    let postgres = Postgres::start(PostgresOptions::default());
    let stage = Stage::on("manyahead", postgres.create_database("manyahead"), Kafka::shared().bootstrap());
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE t (id int); CREATE TABLE other (id int PRIMARY KEY)").await.unwrap();
    stage.configure("\"offset.storage.partitions\" = 1");
    stage.run_once();
    // One record per object, of at most 64 KB (DESIGN §5).
    let limits = [("cleanup.policy", "compact"), ("max.message.bytes", "65536")];
    set(&stage, &format!("{}-offsets", stage.name), &limits).await;
    let stranger = stage.client().await;
    stranger.batch_execute("BEGIN; INSERT INTO t VALUES (0)").await.unwrap();
    // Every row has an id of its own, as if each had been committed by itself.
    client
        .batch_execute(&format!(
            "DO $$ BEGIN FOR i IN 1..{ROWS} LOOP
                 BEGIN INSERT INTO t VALUES (i); EXCEPTION WHEN division_by_zero THEN END;
             END LOOP; END $$; INSERT INTO other VALUES (1)"
        ))
        .await
        .unwrap();
    let mut running = stage.run(&[]);
    running.await_log_of(2, "object found");
    for id in 1..=3 {
        client.batch_execute(&format!("INSERT INTO other VALUES ({id}) ON CONFLICT DO NOTHING")).await.unwrap();
        until("the other table's row", || {
            let log = running.log();
            assert!(!log.contains("interrupted"), "{log}");
            raw(&stage.kafka, &stage.topic("other")).len() == id
        });
    }
    assert!(raw(&stage.kafka, &stage.topic("t")).is_empty(), "they wait");
    stranger.batch_execute("COMMIT").await.unwrap();
    until("its rows", || raw(&stage.kafka, &stage.topic("t")).len() > ROWS as usize);
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    stage.run_once();
    assert_eq!(column(&stage, &stage.topic("t"), "id"), (0..=ROWS).collect::<Vec<_>>());
    assert_eq!(column(&stage, &stage.topic("other"), "id"), [1, 2, 3]);
    assert!(!log.contains("object failed") && !log.contains("interrupted"), "{log}");
    assert!(log.contains("more transactions than are remembered"), "{log}");
}
