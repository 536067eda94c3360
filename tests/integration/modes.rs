//! Every way of reading but xmin: bulk, cursors, queries, views.

use std::time::Duration;

use crate::stage::{Stage, until};
use crate::topic::records;

/// Whether a cursor's values are believed by now, and rows found by its index.
pub fn is_believed(log: &str) -> bool {
    log.contains("stream=Index")
}

/// The values of one column in a topic, sorted.
pub fn column(stage: &Stage, topic: &str, column: &str) -> Vec<i64> {
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
    let insert = |id| format!("INSERT INTO t (id) VALUES ({id})");
    let mut last = running.write_until(is_believed, &client, 1000, insert).await;
    // Written by an application whose clock is a day late: no cursor shows it.
    client.batch_execute("INSERT INTO t (id, at) VALUES (200000, now() - interval '1 day')").await.unwrap();
    last += 1;
    client.batch_execute(&insert(last)).await.unwrap();
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
    let insert = |id| format!("INSERT INTO t (id) VALUES ({id})");
    let next = running.write_until(is_believed, &client, 10, insert).await + 1;
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
        log.lines().any(|line| is_believed(line) && line.contains(&object))
    };
    let insert = |last| {
        format!(
                "INSERT INTO by_uuid VALUES (lpad(to_hex({last}), 32, '0')::uuid, {last}); INSERT INTO by_date VALUES ({last}, current_date, {last});
                 INSERT INTO by_ulid VALUES ('01ARZ3' || lpad('{last}', 20, '0'), {last}); INSERT INTO by_number VALUES ({last}.5, {last})"
            )
    };
    let all_are = |log: &str| tables.iter().all(|table| by_index(log, table));
    let last = running.write_until(all_are, &client, 50, insert).await;
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
    let running = stage.run(&["--set", "poll.interval=1h"]);
    // A transaction is committed after a second.
    running.kill_before("caught_up", 1);
    let log = stage.run_once();
    let found = log.lines().find(|line| line.contains("object found")).unwrap();
    assert!(found.contains("stored=true") && !found.contains("rows=0 "), "nothing was committed before: {found}");
    let ids = column(&stage, &stage.topic("t"), "id");
    assert!(ids.iter().copied().eq(1..=3_000_000), "{} records, not one of each row", ids.len());
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
