//! Queries and views: how far they look back, what becomes of a poll that lasts or is broken off.

use strandline_testbed::{Kafka, Postgres, PostgresOptions};

use crate::modes::column;
use crate::stage::{Stage, connect, until};
use crate::topic::{committed, records};

#[tokio::test(flavor = "multi_thread")]
async fn a_query_with_a_cursor_looks_back_for_late_commits_and_delivers_no_row_twice() {
    look_back(&Stage::new("lookback")).await;
}

/// An interval of so many microseconds is out of range there.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_looks_back_on_the_oldest_version_too() {
    let postgres = Postgres::start(PostgresOptions { major: Some(14), ..PostgresOptions::default() });
    look_back(&Stage::on("oldest", postgres.create_database("oldest"), Kafka::shared().bootstrap())).await;
}

async fn look_back(stage: &Stage) {
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE o (id int PRIMARY KEY, at timestamptz, total numeric(8,2), c int);
             CREATE TABLE c (id int PRIMARY KEY, name text);
             INSERT INTO c SELECT i, 'c' || i FROM generate_series(1, 10) i;
             INSERT INTO o SELECT i, '2024-01-01 00:00:00+00'::timestamptz + i / 100 * interval '1 s', i, i % 10 + 1 FROM generate_series(1, 3000) i;
             CREATE VIEW v AS SELECT o.id, o.at, c.name FROM o JOIN c ON c.id = o.c",
        )
        .await
        .unwrap();
    stage.configure(
        "objects.joined.query = 'SELECT o.id, o.at, c.name FROM o JOIN c ON c.id = o.c -- a join'\n\
         objects.joined.mode = 'timestamp+incrementing'\nobjects.joined.timestamp_column = 'at'\nobjects.joined.incrementing_column = 'id'\n\
         objects.v = { table = 'public.v', mode = 'incrementing', incrementing_column = 'id', cursor.lookback_ids = 100 }\n\
         tables.exclude = ['public.o', 'public.c']",
    );
    stage.run_once();
    let joined = format!("{}.joined", stage.name);
    let all: Vec<i64> = (1..=3000).collect();
    assert_eq!((column(stage, &joined, "id"), column(stage, &stage.topic("v"), "id")), (all.clone(), all.clone()));
    // Late: within the lookback of a minute, a tie with rows sent; without a timestamp; ids below the highest.
    client
        .batch_execute(
            "INSERT INTO o VALUES (4000, '2024-01-01 00:00:30+00', 1, 1), (4001, '2024-01-01 00:00:15+00', 1, 1), (4002, NULL, 1, 1);
             DELETE FROM o WHERE id = 2990; INSERT INTO o VALUES (2990, '2024-01-01 00:00:29+00', 1, 2)",
        )
        .await
        .unwrap();
    stage.run_once();
    stage.run_once();
    let more = |topic: &str| {
        let ids: Vec<i64> = records(&stage.kafka, topic).iter().map(|record| record.long("id")).collect();
        let mut late = ids.get(3000..).unwrap_or_default().to_vec();
        late.sort_unstable();
        late
    };
    assert_eq!(more(&joined), [2990, 4000, 4001, 4002]);
    assert_eq!(more(&stage.topic("v")), [2990, 4000, 4001, 4002]);
}

/// A day's rows may commit after midnight, when rows of the next day have been delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_looks_back_a_day_where_its_cursor_is_a_date() {
    let stage = Stage::new("dates");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE o (id int PRIMARY KEY, day date NOT NULL); INSERT INTO o VALUES (1, current_date)")
        .await
        .unwrap();
    stage.configure(
        "objects.q = { query = 'SELECT id, day FROM o', mode = 'timestamp', timestamp_column = 'day' }\ntables.exclude = ['public.o']",
    );
    stage.run_once();
    client.batch_execute("INSERT INTO o VALUES (2, current_date - 1), (3, current_date)").await.unwrap();
    stage.run_once();
    assert_eq!(column(&stage, &format!("{}.q", stage.name), "id"), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_on_where_it_was_after_the_server_restarted() {
    let mut postgres = strandline_testbed::Postgres::start(strandline_testbed::PostgresOptions::default());
    let database = postgres.create_database("restarted");
    let client = connect(&database.url).await;
    client.batch_execute("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 100)").await.unwrap();
    let url = database.url.clone();
    let stage = Stage::on("restarted", database, strandline_testbed::Kafka::shared().bootstrap());
    stage.configure(
        "objects.q = { query = 'SELECT id FROM t', mode = 'incrementing', incrementing_column = 'id' }\ntables.exclude = ['public.t']",
    );
    stage.run_once();
    postgres.stop_fast();
    postgres.restart();
    connect(&url).await.batch_execute("INSERT INTO t VALUES (101)").await.unwrap();
    let log = stage.run_once();
    assert_eq!(column(&stage, &format!("{}.q", stage.name), "id"), (1..=101).collect::<Vec<_>>(), "{log}");
}

/// When it began was stored with what it had committed: a pass that was broken off waited for the next interval.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_of_a_query_that_is_killed_is_read_again_at_once() {
    const ROWS: usize = 1_000_000;
    let stage = Stage::new("brokenpass");
    let client = stage.client().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE o (id int, v text); INSERT INTO o SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i"
        ))
        .await
        .unwrap();
    stage.configure("objects.q = { query = 'SELECT id, v FROM o', mode = 'bulk' }\ntables.exclude = ['public.o']");
    let topic = format!("{}.q", stage.name);
    stage.run_once();
    // The next one is due.
    stage.set_offset("q", |offset| offset["pass_at"] = (offset["pass_at"].as_i64().unwrap() - 7200).into());
    let running = stage.run(&["--set=poll.interval=1h", "--set=kafka.transaction.timeout.ms=1000"]);
    running.kill_before("caught_up", 2);
    let mut running = stage.run(&["--set=poll.interval=1h"]);
    running.await_log("caught_up");
    let (_, log) = running.stop();
    let rows = committed(&stage.kafka, &topic);
    assert!(rows as usize > 2 * ROWS, "{rows} records after two passes and a part of one:\n{log}");
}

/// What had been read of tables before it was in transactions that timed out meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_long_lets_no_other_transaction_time_out() {
    let stage = Stage::new("lasting");
    let client = stage.client().await;
    // So large that they are on their way before they are committed.
    let rows = |at: usize, ids: &str| {
        format!(
            "INSERT INTO t{at} SELECT g, (SELECT string_agg(md5((i + g)::text), '') FROM generate_series(1, 4000) i) FROM generate_series({ids}) g;"
        )
    };
    let tables = (0..6).map(|at| format!("CREATE TABLE t{at} (id int, v text); {}", rows(at, "1, 10")));
    client.batch_execute(&tables.collect::<String>()).await.unwrap();
    stage.configure("objects.q = { query = 'SELECT 1 AS id FROM pg_sleep(9)', mode = 'bulk' }\n\"tasks.max\" = 1");
    stage.settle();
    let mut running = stage.run(&["--set=kafka.transaction.timeout.ms=5000"]);
    running.await_log("caught_up object=q");
    for at in 0..6 {
        client.batch_execute(&rows(at, "11, 20")).await.unwrap();
    }
    running.await_log_of(2, "caught_up object=q");
    until("the rows", || (0..6).all(|at| column(&stage, &stage.topic(&format!("t{at}")), "id").into_iter().eq(1..=20)));
    let (code, log) = running.stop();
    assert!(code == Some(0) && !log.contains("interrupted"), "{log}");
}

/// What it had found before was in a transaction that timed out while it went on.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_finds_nothing_for_long_loses_nothing_of_what_it_found_before() {
    let stage = Stage::new("quiet");
    stage.configure(
        "objects.q = { query = 'SELECT i AS id FROM generate_series(1, 60000) i UNION ALL SELECT 0 FROM pg_sleep(10)', mode = 'bulk' }",
    );
    let mut running = stage.run(&["--set=kafka.transaction.timeout.ms=5000", "--set=poll.interval=1h"]);
    running.await_log("caught_up object=q");
    let (code, log) = running.stop();
    assert!(code == Some(0) && !log.contains("interrupted"), "{log}");
    assert!(column(&stage, &format!("{}.q", stage.name), "id").into_iter().eq(0..=60_000), "each row once");
}
