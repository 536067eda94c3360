//! Loads, deltas, resumes.

use crate::stage::{Stage, until};
use crate::topic::{committed, raw, records};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_loaded_and_then_only_what_changed_comes() {
    let stage = Stage::new("basics");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, note text, total numeric(12,2), at timestamptz NOT NULL DEFAULT now());
             INSERT INTO orders SELECT i, 'n' || i, i * 1.5 FROM generate_series(1, 1000) i;
             CREATE TABLE nothing (id int PRIMARY KEY); CREATE TABLE no_key (a int); INSERT INTO no_key VALUES (1), (1);",
        )
        .await
        .unwrap();
    stage.run_once();
    let loaded = records(&stage.kafka, &stage.topic("orders"));
    assert_eq!(loaded.len(), 1000);
    assert_eq!(records(&stage.kafka, &stage.topic("no_key")).len(), 2);

    stage.run_once();
    assert_eq!(records(&stage.kafka, &stage.topic("orders")).len(), 1000, "nothing changed, nothing comes");

    client
        .batch_execute("UPDATE orders SET note = 'changed' WHERE id = 7; INSERT INTO orders VALUES (1001, NULL, NULL)")
        .await
        .unwrap();
    stage.run_once();
    let all = records(&stage.kafka, &stage.topic("orders"));
    let news: Vec<i64> = all[1000..].iter().map(|record| record.long("id")).collect();
    assert_eq!(all.len(), 1002);
    assert!(news.contains(&7) && news.contains(&1001), "{news:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_connector_follows_and_a_table_created_later_is_picked_up() {
    let stage = Stage::new("follow");
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x')").await.unwrap();
    let mut running = stage.run(&["--set", "tables.refresh_interval=200ms"]);
    running.await_log("caught_up");
    client.batch_execute("INSERT INTO a VALUES (2, 'y')").await.unwrap();
    until("the new row", || raw(&stage.kafka, &stage.topic("a")).len() == 2);
    client.batch_execute("CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (5)").await.unwrap();
    until("the new table", || raw(&stage.kafka, &stage.topic("b")).len() == 1);
    client.batch_execute("ALTER TABLE a ADD COLUMN more int; INSERT INTO a VALUES (3, 'z', 9)").await.unwrap();
    until("the new column", || records(&stage.kafka, &stage.topic("a")).len() == 3);
    assert_eq!(records(&stage.kafka, &stage.topic("a"))[2].long("more"), 9);
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_one_object_and_an_attached_one_is_loaded_in_full() {
    let stage = Stage::new("parts");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE p (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
             INSERT INTO p SELECT i, 'a' FROM generate_series(0, 99) i;
             CREATE TABLE p2 (v text, id int NOT NULL); INSERT INTO p2 SELECT 'old', i FROM generate_series(100, 149) i;
             CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (extra int) INHERITS (parent);
             INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);
             CREATE UNLOGGED TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1);",
        )
        .await
        .unwrap();
    stage.run_once();
    assert_eq!(raw(&stage.kafka, &stage.topic("p")).len(), 100);
    assert!(raw(&stage.kafka, &stage.topic("p1")).is_empty(), "a partition is not an object");
    assert_eq!(raw(&stage.kafka, &stage.topic("parent")).len(), 1, "inheritance children are apart");
    assert_eq!(raw(&stage.kafka, &stage.topic("child")).len(), 1);
    assert_eq!(raw(&stage.kafka, &stage.topic("u")).len(), 1);
    client.batch_execute("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200)").await.unwrap();
    stage.run_once();
    let ids: Vec<i64> = records(&stage.kafka, &stage.topic("p")).iter().map(|record| record.long("id")).collect();
    assert_eq!(ids.len(), 150);
    assert!((0..150).all(|id| ids.contains(&id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_resumes_at_its_place_and_delivers_each_row_once() {
    let rows: i64 =
        std::env::var("STRANDLINE_TEST_LOAD_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let stage = Stage::new("resume");
    let client = stage.client().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE big (id bigint PRIMARY KEY, v text); INSERT INTO big SELECT i, repeat('x', 40) FROM generate_series(1, {rows}) i"
        ))
        .await
        .unwrap();
    stage.settle();
    let mut kills = 0;
    for _ in 0..3 {
        let before = committed(&stage.kafka, &stage.topic("big"));
        let running = stage.run(&[]);
        until("more rows", || committed(&stage.kafka, &stage.topic("big")) > before);
        running.kill();
        kills += 1;
    }
    assert_eq!(kills, 3);
    stage.run_once();
    let mut ids: Vec<i64> = records(&stage.kafka, &stage.topic("big")).iter().map(|record| record.long("id")).collect();
    assert_eq!(ids.len() as i64, rows, "each row once");
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(1..=rows));
}
