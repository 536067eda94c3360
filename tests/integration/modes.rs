//! Every way of reading but xmin: bulk, cursors, queries, views; and what is read ahead of the settled window.

use std::time::Duration;

use strandline_testbed::{Kafka, Postgres, PostgresOptions};

use crate::letters::set;
use crate::stage::{Stage, connect, until};
use crate::topic::{committed, raw, records};

/// The values of one column in a topic, sorted.
fn column(stage: &Stage, topic: &str, column: &str) -> Vec<i64> {
    let mut values: Vec<i64> = records(&stage.kafka, topic).iter().map(|record| record.long(column)).collect();
    values.sort_unstable();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_delivers_everything_in_each_pass() {
    let stage = Stage::new("bulk");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 500);
             CREATE TABLE p (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
             CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
             INSERT INTO p SELECT i, i % 2 FROM generate_series(1, 100) i;
             CREATE VIEW v AS SELECT id * 10 AS id FROM t WHERE id <= 3",
        )
        .await
        .unwrap();
    stage.configure(
        "tables.mode = 'bulk'\ntables.include = ['public.*', 'public.v']\n\
         objects.daily = { query = 'SELECT count(*) AS n, max(id) AS top FROM t;', mode = 'bulk' }",
    );
    stage.run_once();
    client.batch_execute("DELETE FROM t WHERE id > 400; UPDATE p SET part = 1 - part").await.unwrap();
    stage.run_once();
    let twice = |ids: std::ops::RangeInclusive<i64>| ids.flat_map(|id| [id, id]).collect::<Vec<_>>();
    let mut t = twice(1..=400);
    t.extend(401..=500);
    assert_eq!(column(&stage, &stage.topic("t"), "id"), t);
    assert_eq!(column(&stage, &stage.topic("p"), "id"), twice(1..=100));
    assert_eq!(column(&stage, &stage.topic("v"), "id"), [10, 10, 20, 20, 30, 30]);
    assert_eq!(column(&stage, &format!("{}.daily", stage.name), "n"), [400, 500]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_finds_by_its_index_what_is_new_and_the_sweep_what_it_cannot_show() {
    let stage = Stage::new("cursor");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), note int NOT NULL DEFAULT 0);
             CREATE INDEX ON t (at);
             INSERT INTO t (id) SELECT generate_series(1, 1000)",
        )
        .await
        .unwrap();
    stage.configure("tables.mode = 'timestamp'\ntables.timestamp_column = 'at'\nsweep.interval = '1h'");
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let delivered = |least: usize| {
        until("rows", || records(&stage.kafka, &stage.topic("t")).len() >= least);
    };
    // Until its values are believed.
    let deadline = std::time::Instant::now() + Duration::from_secs(180);
    let mut last = 1000_i64;
    while !running.log().contains("stream=Index") {
        assert!(std::time::Instant::now() < deadline, "no bound comes:\n{}", running.log());
        last += 1;
        client.execute(&format!("INSERT INTO t (id) VALUES ({last})"), &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    // Written by an application whose clock is a day late: no cursor shows it.
    client.batch_execute("INSERT INTO t (id, at) VALUES (200000, now() - interval '1 day')").await.unwrap();
    last += 1;
    client.batch_execute(&format!("INSERT INTO t (id) VALUES ({last})")).await.unwrap();
    delivered(usize::try_from(last).unwrap());
    let (_, log) = running.stop();
    assert!(!column(&stage, &stage.topic("t"), "id").contains(&200_000), "{log}");
    stage.configure("tables.mode = 'timestamp'\ntables.timestamp_column = 'at'\nsweep.interval = '100ms'");
    stage.run_once();
    let mut all: Vec<i64> = (1..=last).collect();
    all.push(200_000);
    assert_eq!(column(&stage, &stage.topic("t"), "id"), all);
}

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

#[tokio::test(flavor = "multi_thread")]
async fn every_row_that_is_there_throughout_arrives_in_every_pass_of_bulk_whatever_moves() {
    let stage = Stage::alone("passes");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE p (id int, part int, pad text DEFAULT repeat('x', 300)) PARTITION BY LIST (part);
             CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
             INSERT INTO p (id, part) SELECT i, i % 2 FROM generate_series(1, 3000) i",
        )
        .await
        .unwrap();
    stage.configure("tables.mode = 'bulk'");
    let stranger = stage.client().await;
    stranger.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let mut running = stage.run(&["--set", "poll.interval=10ms"]);
    let deadline = std::time::Instant::now() + Duration::from_secs(180);
    while running.log().matches("caught_up").count() < 8 {
        assert!(std::time::Instant::now() < deadline, "passes do not come:\n{}", running.log());
        // Rows change their block and their partition all the time.
        client.batch_execute("UPDATE p SET part = 1 - part WHERE id % 5 = (random() * 4)::int").await.unwrap();
    }
    running.await_log("caught_up");
    let (_, log) = running.stop();
    let passes = log.matches("caught_up").count();
    let ids = column(&stage, &stage.topic("p"), "id");
    for id in 1..=3000 {
        let times = ids.partition_point(|one| *one <= id) - ids.partition_point(|one| *one < id);
        assert!(times >= passes, "{id} came {times} times in {passes} passes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_timestamp_is_long_before_its_transactions_id_comes_without_a_sweep() {
    let stage = Stage::new("patient");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); CREATE INDEX ON t (at);
             INSERT INTO t (id) SELECT generate_series(1, 10)",
        )
        .await
        .unwrap();
    stage.configure("tables.mode = 'timestamp'\ntables.timestamp_column = 'at'\nsweep.interval = '1h'");
    // Pairs are spaced by the 360th part of the sweep's interval.
    let mut running = stage.run(&["--set", "sweep.interval=10m"]);
    running.await_log("caught_up");
    let mut next = 11;
    let deadline = std::time::Instant::now() + Duration::from_secs(180);
    while !running.log().contains("stream=Index") {
        assert!(std::time::Instant::now() < deadline, "no bound comes:\n{}", running.log());
        client.batch_execute(&format!("INSERT INTO t (id) VALUES ({next})")).await.unwrap();
        next += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // 1. A transaction fixes its now() and writes nothing yet; no snapshot shows it. 2. Others commit, and the bound would rise
    // beyond that now(). 3. It writes, with an id above all of theirs, and commits.
    let patient = stage.client().await;
    patient.batch_execute("BEGIN; SELECT now()").await.unwrap();
    for id in next..next + 40 {
        client.batch_execute(&format!("INSERT INTO t (id) VALUES ({id})")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    patient.batch_execute("INSERT INTO t (id) VALUES (1000); COMMIT").await.unwrap();
    until("the row", || column(&stage, &stage.topic("t"), "id").contains(&1000));
    let (_, log) = running.stop();
    assert!(!log.contains("stream=Sweep"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_and_rows_are_chosen_and_another_choice_loads_again() {
    let stage = Stage::new("shape");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, region text, email text, note text);
             INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'EU' ELSE 'US' END, 'a@b.c', 'n' FROM generate_series(1, 10) i",
        )
        .await
        .unwrap();
    let shape = "objects.t.table = 't'\nobjects.t.where = \"region = 'EU'\"\nobjects.t.columns.exclude = ['note']\n\
                 objects.t.columns.mask = ['email:sha256', 'region:truncate:1']\ncolumns.mask.salt = 'pepper'";
    stage.configure(shape);
    stage.run_once();
    let first = records(&stage.kafka, &stage.topic("t"));
    assert_eq!(column(&stage, &stage.topic("t"), "id"), [2, 4, 6, 8, 10]);
    let row: String = client.query_one("SELECT encode(sha256('peppera@b.c'), 'hex')", &[]).await.unwrap().get(0);
    assert_eq!(format!("{:?}", first[0].get("email")), format!("String({row:?})"));
    assert_eq!(format!("{:?}", first[0].get("region")), "String(\"E\")");
    assert!(!format!("{:?}", first[0].value).contains("note"));
    stage.configure(&format!(
        "on_change = 'continue'\n{}",
        shape.replace("'note'", "'note', 'email'").replace("'email:sha256', ", "")
    ));
    client.batch_execute("UPDATE t SET note = 'm' WHERE id = 2").await.unwrap();
    stage.run_once();
    assert_eq!(column(&stage, &stage.topic("t"), "id"), [2, 2, 4, 6, 8, 10]);
    stage.configure("objects.t.table = 't'");
    let log = stage.run_once();
    assert!(log.contains("its choice of columns or rows is another than before: it is loaded anew"), "{log}");
    assert_eq!(column(&stage, &stage.topic("t"), "id").len(), 16);
    stage.configure("objects.t.table = 't'\nobjects.t.where = 'note < to_char(now(), $$YYYY$$)'");
    let refused = stage.try_once(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("its where calls now()"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_of_any_type_and_keys_of_ones_own_choice() {
    let stage = Stage::new("kinds");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE by_uuid (id uuid PRIMARY KEY, n int); CREATE TABLE by_ulid (id text PRIMARY KEY, n int);
             CREATE TABLE by_date (id int, day date NOT NULL, n int); CREATE INDEX ON by_date (day);
             CREATE TABLE by_number (id numeric NOT NULL, n int);
             CREATE MATERIALIZED VIEW seen AS SELECT 7 AS n;
             INSERT INTO by_uuid SELECT lpad(to_hex(i), 32, '0')::uuid, i FROM generate_series(1, 50) i;
             INSERT INTO by_ulid SELECT '01ARZ3' || lpad(i::text, 20, '0'), i FROM generate_series(1, 50) i;
             INSERT INTO by_date SELECT i, current_date, i FROM generate_series(1, 50) i;
             INSERT INTO by_number SELECT i + 0.5, i FROM generate_series(1, 50) i",
        )
        .await
        .unwrap();
    stage.configure(
        "objects.u = { table = 'by_uuid', mode = 'incrementing', incrementing_column = 'id' }\n\
         objects.l = { table = 'by_ulid', mode = 'incrementing', incrementing_column = 'id' }\n\
         objects.d = { table = 'by_date', mode = 'timestamp', timestamp_column = 'day' }\n\
         objects.n = { table = 'by_number', mode = 'incrementing', incrementing_column = 'id' }\n\
         objects.m = { table = 'seen', mode = 'bulk', poll.interval = '1h' }\n\
         objects.q = { query = 'SELECT n % 2 AS odd, n, id FROM by_uuid', mode = 'incrementing', incrementing_column = 'id', message.key.columns = ['n', 'odd'] }",
    );
    let check = stage.strandline(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{said}");
    assert!(said.contains("warning index: public.by_number: no index begins with id"), "{said}");
    let mut running = stage.run(&["--set", "sweep.interval=10m"]);
    for table in ["by_uuid", "by_ulid", "by_date", "by_number"] {
        running.await_log(&format!("caught_up object=public.{table}"));
    }
    let tables = ["by_uuid", "by_ulid", "by_date", "by_number"];
    let by_index = |log: &str, table: &str| {
        let object = format!("object=public.{table} ");
        log.lines().any(|line| line.contains("stream=Index") && line.contains(&object))
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(180);
    let mut last = 50;
    while !tables.iter().all(|table| by_index(&running.log(), table)) {
        assert!(std::time::Instant::now() < deadline, "not all come by their cursors:\n{}", running.log());
        last += 1;
        client
            .batch_execute(&format!(
                "INSERT INTO by_uuid VALUES (lpad(to_hex({last}), 32, '0')::uuid, {last}); INSERT INTO by_date VALUES ({last}, current_date, {last});
                 INSERT INTO by_ulid VALUES ('01ARZ3' || lpad('{last}', 20, '0'), {last}); INSERT INTO by_number VALUES ({last}.5, {last})"
            ))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let rows = usize::try_from(last).unwrap();
    let all: Vec<i64> = (1..=last).collect();
    let topics = tables.map(|table| stage.topic(table));
    for topic in topics.iter().chain([&format!("{}.q", stage.name)]) {
        until("every row", || records(&stage.kafka, topic).len() >= rows);
        assert_eq!(column(&stage, topic, "n"), all, "{topic}");
    }
    running.stop();
    assert_eq!(column(&stage, &stage.topic("seen"), "n"), [7], "an interval of an hour has one pass");
    let key = format!("{:?}", records(&stage.kafka, &format!("{}.q", stage.name))[0].key);
    assert!(key.find("\"n\"").unwrap() < key.find("\"odd\"").unwrap() && !key.contains("\"id\""), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_of_bulk_that_is_killed_goes_on_at_its_place() {
    let stage = Stage::new("bulkkill");
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 3000000)").await.unwrap();
    stage.configure("tables.mode = 'bulk'");
    stage.settle();
    let mut running = stage.run(&["--set", "poll.interval=1h"]);
    // A transaction is committed after a second.
    running.await_log("committed partition");
    let log = running.kill();
    assert!(!log.contains("caught_up"), "the pass was over already:\n{log}");
    let log = stage.run_once();
    let found = log.lines().find(|line| line.contains("object found")).unwrap();
    assert!(found.contains("stored=true") && !found.contains("rows=0 "), "nothing was committed before: {found}");
    let ids = column(&stage, &stage.topic("t"), "id");
    assert!(ids.iter().copied().eq(1..=3_000_000), "{} records, not one of each row", ids.len());
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

/// The look at its highest cursor failed again and again, and with it every table of the task.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_column_that_is_renamed_fails_its_own_table_alone() {
    let stage = Stage::new("renamed");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE a (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); CREATE INDEX ON a (at);
             CREATE TABLE b (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); CREATE INDEX ON b (at);
             INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)",
        )
        .await
        .unwrap();
    stage.configure("tables.mode = 'timestamp'\ntables.timestamp_column = 'at'\n\"tasks.max\" = 1");
    let mut running = stage.run(&[]);
    running.await_log_of(2, "caught_up");
    client.batch_execute("ALTER TABLE a RENAME COLUMN at TO changed_at; INSERT INTO b VALUES (2)").await.unwrap();
    until("the other's row", || column(&stage, &stage.topic("b"), "id") == [1, 2]);
    running.await_log("object failed object=public.a");
    client.batch_execute("INSERT INTO b VALUES (3)").await.unwrap();
    until("another row", || column(&stage, &stage.topic("b"), "id") == [1, 2, 3]);
    let (_, log) = running.stop();
    assert_eq!(log.matches("object failed").count(), 1, "{log}");
}

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

/// What an object has stored, with changes, as `strandline offsets set` takes it.
fn set_offset(stage: &Stage, object: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let listed = stage.strandline(&["offsets", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let mut offset = listed["offsets"][0]["offset"].clone();
    change(&mut offset);
    let set = stage.strandline(&["offsets", "set", object, &offset.to_string(), "--yes"]);
    assert!(set.status.success(), "{set:?}");
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
    set_offset(&stage, "p", |offset| {
        let to = offset["xmax"].as_u64().unwrap();
        offset["again"] = format!("{oid} {to} {file} (1,0)").into();
    });
    client.batch_execute("DROP TABLE p2; INSERT INTO p VALUES (3, now(), 1)").await.unwrap();
    stage.run_once();
    assert_eq!(column(&stage, &stage.topic("p"), "id"), [1, 1, 2, 2, 3]);
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
    set_offset(&stage, "q", |offset| offset["pass_at"] = (offset["pass_at"].as_i64().unwrap() - 7200).into());
    let mut running = stage.run(&["--set=poll.interval=1h", "--set=kafka.transaction.timeout.ms=1000"]);
    running.await_log_of(2, "committed partition");
    let log = running.kill();
    assert!(!log.contains("caught_up"), "the pass was over already:\n{log}");
    let mut running = stage.run(&["--set=poll.interval=1h"]);
    running.await_log("caught_up");
    let (_, log) = running.stop();
    let rows = committed(&stage.kafka, &topic);
    assert!(rows as usize > 2 * ROWS, "{rows} records after two passes and a part of one:\n{log}");
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

/// What had been read of tables before it was in transactions that timed out meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_long_lets_no_other_transaction_time_out() {
    let stage = Stage::new("lasting");
    let client = stage.client().await;
    let tables = (0..6).map(|at| format!("CREATE TABLE t{at} (id int); INSERT INTO t{at} VALUES (1);"));
    client.batch_execute(&tables.collect::<String>()).await.unwrap();
    stage.configure("objects.q = { query = 'SELECT 1 AS id FROM pg_sleep(5)', mode = 'bulk' }\n\"tasks.max\" = 1");
    stage.settle();
    let mut running = stage.run(&["--set=kafka.transaction.timeout.ms=2000"]);
    running.await_log("caught_up object=q");
    for at in 0..6 {
        client.batch_execute(&format!("INSERT INTO t{at} VALUES (2)")).await.unwrap();
    }
    running.await_log_of(2, "caught_up object=q");
    until("the rows", || (0..6).all(|at| column(&stage, &stage.topic(&format!("t{at}")), "id") == [1, 2]));
    let (code, log) = running.stop();
    assert!(code == Some(0) && !log.contains("interrupted"), "{log}");
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

/// What it had found before was in a transaction that timed out while it went on.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_finds_nothing_for_long_loses_nothing_of_what_it_found_before() {
    let stage = Stage::new("quiet");
    stage.configure(
        "objects.q = { query = 'SELECT i AS id FROM generate_series(1, 60000) i UNION ALL SELECT 0 FROM pg_sleep(6)', mode = 'bulk' }",
    );
    let mut running = stage.run(&["--set=kafka.transaction.timeout.ms=2000", "--set=poll.interval=1h"]);
    running.await_log("caught_up object=q");
    let (code, log) = running.stop();
    assert!(code == Some(0) && !log.contains("interrupted"), "{log}");
    assert!(column(&stage, &format!("{}.q", stage.name), "id").into_iter().eq(0..=60_000), "each row once");
}
