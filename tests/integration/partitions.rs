//! Partitioned tables whose partitions come and go while they are read.

use std::time::Duration;

use crate::modes::column;
use crate::stage::{Stage, connect, until};

/// Each new partition's load put the sweep off by its interval.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_keep_being_created_do_not_put_the_sweep_off() {
    let stage = Stage::new("putoff");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE p (id int, at timestamptz NOT NULL DEFAULT now()) PARTITION BY RANGE (id);
             CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (1000); CREATE INDEX ON p (at); INSERT INTO p VALUES (1)",
        )
        .await
        .unwrap();
    stage.configure(
        "tables.include = ['public.p']\ntables.mode = 'timestamp'\ntables.timestamp_column = 'at'\nsweep.interval = '10s'",
    );
    let mut running = stage.run(&["--set=tables.refresh_interval=500ms"]);
    running.await_log("caught_up");
    let mut written = false;
    let began = std::time::Instant::now();
    for at in 1.. {
        client
            .batch_execute(&format!(
                "CREATE TABLE p{at} PARTITION OF p FOR VALUES FROM ({at}000) TO ({at}999); INSERT INTO p VALUES ({at}001)"
            ))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        // By then its values are believed.
        if !written && running.log().contains("stream=Index") {
            client.batch_execute("INSERT INTO p VALUES (2, now() - interval '1 day')").await.unwrap();
            written = true;
        }
        if column(&stage, &stage.topic("p"), "id").contains(&2) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "written: {written}\n{}", running.log());
    }
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// The closing of a pass began where the unread partition was: at nothing, and so read nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_dropped_in_mid_pass_costs_no_row_of_another() {
    const ROWS: i64 = 2_000_000;
    let stage = Stage::new("dropped_leaf");
    let client = stage.client().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE p (id int, part int, v int DEFAULT 0) PARTITION BY LIST (part);
             CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
             CREATE TABLE p3 PARTITION OF p FOR VALUES IN (3);
             INSERT INTO p SELECT i, 1 FROM generate_series(11, {ROWS}) i; INSERT INTO p SELECT i, 2 FROM generate_series(1, 10) i;
             INSERT INTO p VALUES (0, 3)"
        ))
        .await
        .unwrap();
    stage.configure("tables.include = ['public.p']\ntables.mode = 'bulk'");
    stage.settle();
    let mut running = stage.run(&["--set", "poll.interval=1h", "--set=tables.refresh_interval=100ms"]);
    running.await_log("committed partition");
    client.batch_execute("UPDATE p SET v = 1 WHERE part = 2; DROP TABLE p3").await.unwrap();
    running.await_log("caught_up");
    let (_, log) = running.stop();
    let ids = column(&stage, &stage.topic("p"), "id");
    for id in 1..=10 {
        assert!(ids.contains(&id), "{id} is missing of {} rows:\n{log}", ids.len());
    }
}

/// A sweep that a dropped partition had under way was waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_a_partition_that_is_gone_is_not_waited_for() {
    let stage = Stage::new("gone_leaf");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE p (id int, at timestamptz NOT NULL DEFAULT now(), part int) PARTITION BY LIST (part);
             CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); CREATE INDEX ON p (at);
             INSERT INTO p VALUES (1, now(), 1), (2, now(), 2)",
        )
        .await
        .unwrap();
    stage.configure("tables.include = ['public.p']\ntables.mode = 'timestamp'\ntables.timestamp_column = 'at'");
    stage.run_once();
    let leaf = client.query_one("SELECT oid, pg_relation_filenode(oid) FROM pg_class WHERE relname = 'p2'", &[]).await;
    let (oid, file): (u32, u32) = leaf.map(|row| (row.get(0), row.get(1))).unwrap();
    // As if it had been stopped in the middle.
    client.batch_execute("UPDATE p SET at = now()").await.unwrap();
    stage.run_once();
    stage.set_offset("p", |offset| {
        let to = offset["xmax"].as_u64().unwrap();
        offset["again"] = format!("{oid} {to} {file} (1,0)").into();
    });
    client.batch_execute("DROP TABLE p2; INSERT INTO p VALUES (3, now(), 1)").await.unwrap();
    stage.run_once();
    assert_eq!(column(&stage, &stage.topic("p"), "id"), [1, 1, 2, 2, 3]);
}

/// The constraints of partitions are part of what is asked for where only their root is granted. They were up to a minute old.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_detached_hides_no_row_of_the_default_one() {
    let stage = Stage::new("default_leaf");
    let client = stage.client().await;
    let role = format!("reader_{}", std::process::id());
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; CREATE TABLE p (id int) PARTITION BY RANGE (id);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE pd PARTITION OF p DEFAULT;
             INSERT INTO p VALUES (1), (200); GRANT SELECT ON p TO {role}"
        ))
        .await
        .unwrap();
    stage.configure("tables.include = ['public.p']");
    let url = stage.database.url.replacen("postgres@", &format!("{role}@"), 1);
    assert!(url.contains(&role), "{url}");
    let url = format!("database.url={url}");
    let mut running = stage.run(&["--set", &url]);
    running.await_log("caught_up");
    client.batch_execute("ALTER TABLE p DETACH PARTITION p1; INSERT INTO p VALUES (50)").await.unwrap();
    client.batch_execute("INSERT INTO p VALUES (500)").await.unwrap();
    until("the last row", || column(&stage, &stage.topic("p"), "id").contains(&500));
    running.stop();
    let log = stage.try_once(&["--set", &url]);
    assert_eq!(column(&stage, &stage.topic("p"), "id"), [1, 50, 200, 500], "{log:?}");
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// It is no partition any more, and was found for one again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_being_detached_holds_nobody_up() {
    let stage = Stage::alone("detaching");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE ROLE reader LOGIN; CREATE TABLE p (id int) PARTITION BY RANGE (id);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200);
             CREATE TABLE other (id int PRIMARY KEY); INSERT INTO p VALUES (1), (101); GRANT SELECT ON p, other TO reader",
        )
        .await
        .unwrap();
    stage.configure("tables.include = ['public.p', 'public.other']\n\"tasks.max\" = 1");
    let url = format!("database.url={}", stage.database.url.replacen("postgres@", "reader@", 1));
    let mut running = stage.run(&["--set", &url, "--set=tables.refresh_interval=200ms"]);
    running.await_log_of(2, "caught_up");
    let reader = stage.client().await;
    reader.batch_execute("BEGIN; SELECT FROM p").await.unwrap();
    let url = stage.database.url.clone();
    let detaching = tokio::spawn(async move {
        connect(&url).await.batch_execute("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY").await.unwrap()
    });
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    let began = std::time::Instant::now();
    while client.query_one(pending, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is detached");
    }
    client.batch_execute("INSERT INTO p VALUES (102); INSERT INTO other VALUES (1)").await.unwrap();
    until("their rows", || {
        column(&stage, &stage.topic("p"), "id") == [1, 101, 102] && column(&stage, &stage.topic("other"), "id") == [1]
    });
    assert!(!detaching.is_finished());
    reader.batch_execute("COMMIT").await.unwrap();
    detaching.await.unwrap();
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.matches("interrupted").count() <= 1, "{log}");
}
