//! Tables that change while they are written and read: what each ALTER does to schema and rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apache_avro::types::Value;
use serde_json::Value as Json;

use crate::stage::{Stage, connect, until};
use crate::topic::{raw, records, schema};

/// The type of a field in the newest value's schema.
fn newest(stage: &Stage, table: &str) -> BTreeMap<String, Json> {
    let all = raw(&stage.kafka, &stage.topic(table));
    let last = all.iter().filter_map(|record| record.value.as_ref()).next_back().unwrap();
    let id = u32::from_be_bytes(last[1..5].try_into().unwrap());
    let json: Json = serde_json::from_str(&schema(id)).unwrap();
    let fields = json["fields"].as_array().unwrap().iter();
    fields.map(|field| (field["name"].as_str().unwrap().to_owned(), field.clone())).collect()
}

fn base(field: &Json) -> String {
    let type_ = &field["type"];
    let bare = if type_.is_array() { &type_[1] } else { type_ };
    let name = bare["type"].as_str().unwrap_or_default();
    if type_.is_array() { format!("{name} or null") } else { name.to_owned() }
}

/// An ALTER, a field, and what it is afterwards; empty: gone.
const ALTERS: &[(&str, &str, &str)] = &[
    ("ALTER TABLE t ADD COLUMN a int", "a", "int or null"),
    ("ALTER TABLE t ADD COLUMN b text DEFAULT 'x'", "b", "string or null"),
    ("ALTER TABLE t ADD COLUMN c int NOT NULL DEFAULT 7", "c", "int"),
    ("ALTER TABLE t RENAME COLUMN a TO a2", "a2", "int or null"),
    ("ALTER TABLE t DROP COLUMN b", "b", ""),
    ("ALTER TABLE t ALTER COLUMN v TYPE varchar(40)", "v", "string or null"),
    ("ALTER TABLE t ALTER COLUMN v TYPE varchar(80)", "v", "string or null"),
    ("ALTER TABLE t ALTER COLUMN c TYPE bigint", "c", "long"),
    ("ALTER TABLE t ALTER COLUMN c DROP NOT NULL", "c", "long or null"),
    ("ALTER TYPE mood ADD VALUE 'glad'", "m", "string or null"),
    ("ALTER TYPE mood RENAME TO temper", "m", "string or null"),
    ("ALTER TYPE place ADD ATTRIBUTE zip text", "p", "record or null"),
    ("ALTER TABLE t ADD COLUMN at timestamptz NOT NULL DEFAULT now()", "at", "long or null"),
    ("ALTER TABLE t ALTER COLUMN v SET NOT NULL", "v", "string or null"),
    ("ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (ver * 2) STORED", "g", "int or null"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_alter_shows_in_the_schema_and_no_row_is_lost_or_sent_twice_over_it() {
    let stage = Stage::new("evolution");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE place AS (street text, n int);
             CREATE TABLE t (id int PRIMARY KEY, ver int NOT NULL, v text, m mood DEFAULT 'sad', p place);
             INSERT INTO t SELECT g, 0, 'v', 'sad', ROW('s', g)::place FROM generate_series(1, 300) g;
             CREATE TABLE other (id int PRIMARY KEY)",
        )
        .await
        .unwrap();
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (url, stop) = (stage.database.url.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let client = connect(&url).await;
                let mut at = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Ids of its own, so that what it wrote last is what there is.
                    at = (at + 1) % 100;
                    let update =
                        format!("UPDATE t SET ver = ver + 1, v = 'changed' WHERE id = {}", writer * 100 + at + 1);
                    client.batch_execute(&update).await.unwrap();
                    // The topic is read back whole after each ALTER.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    for (marker, (alter, field, expected)) in (1000..).zip(ALTERS) {
        client.batch_execute(alter).await.unwrap();
        client.batch_execute(&format!("INSERT INTO t (id, ver, v) VALUES ({marker}, 0, 'm')")).await.unwrap();
        until(alter, || records(&stage.kafka, &stage.topic("t")).iter().any(|record| record.long("id") == marker));
        let fields = newest(&stage, "t");
        assert_eq!(fields.get(*field).map(base).unwrap_or_default(), *expected, "{alter}");
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let last: BTreeMap<i64, i64> = client
        .query("SELECT id, ver FROM t", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get::<_, i32>(0).into(), row.get::<_, i32>(1).into()))
        .collect();
    let arrived = || records(&stage.kafka, &stage.topic("t"));
    until("every last version", || {
        let arrived: BTreeSet<(i64, i64)> =
            arrived().iter().map(|record| (record.long("id"), record.long("ver"))).collect();
        last.iter().all(|(id, ver)| arrived.contains(&(*id, *ver)))
    });
    // A rewrite gives every row a new version of the same content: another type, a length, a stored generated column.
    let rewrites = ["TYPE varchar", "TYPE bigint", "STORED"].len();
    let mut times: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for record in arrived() {
        *times.entry((record.long("id"), record.long("ver"))).or_default() += 1;
    }
    let most = times.values().max().copied().unwrap_or_default();
    assert!(most <= 1 + rewrites, "a version came {most} times");
    let log = running.stop().1;
    assert!(log.contains("in Avro every column may be null from now on"), "{log}");
    assert!(!log.contains("FAILED"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incompatible_change_fails_its_object_alone_with_the_registrys_reason() {
    let stage = Stage::new("incompatible");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, n bigint); INSERT INTO t VALUES (1, 1);
             CREATE TABLE k (a int PRIMARY KEY, b int NOT NULL); INSERT INTO k VALUES (1, 1);
             CREATE TABLE fine (id int PRIMARY KEY)",
        )
        .await
        .unwrap();
    stage.settle();
    let mut running = stage.run(&[]);
    running.await_log_of(3, "caught_up");
    client.batch_execute("ALTER TABLE t ALTER COLUMN n TYPE text; INSERT INTO t VALUES (2, 'two')").await.unwrap();
    client
        .batch_execute("ALTER TABLE k DROP CONSTRAINT k_pkey, ADD PRIMARY KEY (b); INSERT INTO k VALUES (2, 2)")
        .await
        .unwrap();
    let t = format!("the registry refuses the schema for subject {}-value", stage.topic("t"));
    let k = format!("the registry refuses the schema for subject {}-key", stage.topic("k"));
    running.await_log(&t);
    running.await_log(&k);
    client.batch_execute("INSERT INTO fine VALUES (9)").await.unwrap();
    until("another object's row", || {
        records(&stage.kafka, &stage.topic("fine")).iter().any(|record| record.long("id") == 9)
    });
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), 1, "nothing is encoded by another schema");
    let (code, log) = running.stop();
    assert_eq!(code, Some(1), "two objects failed: {log}");
    assert!(log.contains("HTTP 409") && log.contains("compatibility level"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_sent_again_with_a_default_where_that_is_asked_for() {
    for (asked, rows) in [("reload", 4), ("ignore", 2)] {
        let stage = Stage::new("defaulted");
        let client = stage.client().await;
        client.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)").await.unwrap();
        stage.configure(&format!("on_default_added = '{asked}'"));
        stage.run_once();
        client.batch_execute("ALTER TABLE t ADD COLUMN c text DEFAULT 'x'").await.unwrap();
        stage.run_once();
        // The second restart finds nothing new.
        stage.run_once();
        let all = records(&stage.kafka, &stage.topic("t"));
        assert_eq!(all.len(), rows, "{asked}: {all:?}");
        if asked == "reload" {
            assert!(all[2..].iter().all(|record| record.get("c") == Value::String("x".into())), "{all:?}");
        }
    }
}

/// A row's fields, each by its `id`.
type Fields = &'static [(&'static str, fn(i64) -> Value)];

/// ALTERs that rewrite no row, and what a row's fields are afterwards.
const IN_MID_LOAD: &[(&str, Fields)] = &[
    ("", &[("id", int), ("v", text_of), ("n", twice)]),
    ("ALTER TABLE t ADD COLUMN a int", &[("id", int), ("v", text_of), ("n", twice), ("a", null)]),
    ("ALTER TABLE t RENAME COLUMN v TO w", &[("id", int), ("w", text_of), ("n", twice), ("a", null)]),
    ("ALTER TABLE t DROP COLUMN a", &[("id", int), ("w", text_of), ("n", twice)]),
    ("ALTER TABLE t ADD COLUMN a real DEFAULT 1.5", &[("id", int), ("w", text_of), ("n", twice), ("a", fixed)]),
    ("ALTER TABLE t ALTER COLUMN w TYPE varchar(99)", &[("id", int), ("w", text_of), ("n", twice), ("a", fixed)]),
    ("ALTER TABLE t ALTER COLUMN n DROP NOT NULL", &[("id", int), ("w", text_of), ("n", twice), ("a", fixed)]),
    ("ALTER TABLE t DROP COLUMN n", &[("id", int), ("w", text_of), ("a", fixed)]),
];

fn int(id: i64) -> Value {
    Value::Int(id.try_into().unwrap())
}

fn text_of(id: i64) -> Value {
    Value::String(format!("v{id}"))
}

fn twice(id: i64) -> Value {
    Value::Int((2 * id).try_into().unwrap())
}

fn fixed(_: i64) -> Value {
    Value::Float(1.5)
}

fn null(_: i64) -> Value {
    Value::Null
}

/// Who waits for a COPY of ours.
const BLOCKED: &str = "SELECT count(*) FROM pg_stat_activity w CROSS JOIN unnest(pg_blocking_pids(w.pid)) b \
     JOIN pg_stat_activity s ON s.pid = b WHERE w.query LIKE 'ALTER TABLE t%' AND s.query LIKE '%COPY%' \
     AND s.application_name LIKE 'strandline%' AND w.datname = current_database()";

/// What happens, seven times:
/// 1. a chunk has described the table, and its COPY is under way;
/// 2. an ALTER TABLE waits for its lock;
/// 3. the chunk commits, and the ALTER TABLE comes between it and the next, which queues behind it.
#[tokio::test(flavor = "multi_thread")]
async fn an_alter_in_mid_load_waits_for_the_chunk_and_the_next_chunk_reads_what_it_left() {
    const ROWS: i64 = 40_000;
    let stage = Stage::new("mid_load");
    let client = stage.client().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, v varchar(9), n int NOT NULL) WITH (fillfactor = 10);
             INSERT INTO t SELECT g, 'v' || g, 2 * g FROM generate_series(1, {ROWS}) g;
             CREATE FUNCTION slow(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN IF NOT EXISTS (SELECT FROM public.hurry) THEN PERFORM pg_sleep(0.0005); END IF; RETURN true; END $$;
             CREATE TABLE hurry (id int)"
        ))
        .await
        .unwrap();
    stage.configure("objects.t = { table = 't', where = 'public.slow(id)' }\ntables.exclude = ['public.hurry']");
    stage.settle();
    let mut running = stage.run(&[]);
    let topic = stage.topic("t");
    let (watcher, alterer) = (stage.client().await, Arc::new(stage.client().await));
    let mut waited = 0;
    for (alter, _) in IN_MID_LOAD.iter().filter(|(alter, _)| !alter.is_empty()) {
        let before = raw(&stage.kafka, &topic).len();
        until("more rows", || raw(&stage.kafka, &topic).len() > before);
        let copying = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'strandline%' \
             AND query LIKE '%COPY%' AND state = 'active' AND datname = current_database()";
        await_one(&watcher, copying, &mut running).await;
        let altering = {
            let (alterer, alter) = (Arc::clone(&alterer), *alter);
            tokio::spawn(async move { alterer.batch_execute(alter).await.unwrap() })
        };
        // Or it came between two chunks.
        while !altering.is_finished() {
            if watcher.query_one(BLOCKED, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                waited += 1;
                break;
            }
        }
        altering.await.unwrap();
        assert!(i64::try_from(raw(&stage.kafka, &topic).len()).unwrap() < ROWS, "the load was over before {alter}");
    }
    assert!(waited >= 5, "{waited} of the ALTERs waited for a chunk");
    watcher.batch_execute("INSERT INTO hurry VALUES (1)").await.unwrap();
    until("the end of the load", || {
        assert!(!running.log().contains("object failed"), "{}", running.log());
        running.log().contains("caught_up")
    });
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("object failed") && !log.contains("rewritten"), "{log}");
    let all = records(&stage.kafka, &topic);
    let ids: BTreeSet<i64> = all.iter().map(|record| record.long("id")).collect();
    assert_eq!((all.len(), ids.len()), (ROWS as usize, ROWS as usize), "each row once");
    // Each record has the fields of one moment, and their values; the moments come in their order, and none is left out.
    let mut seen = vec![0];
    for record in &all {
        let Some(Value::Record(fields)) = &record.value else { panic!("{record:?}") };
        let id = record.long("id");
        let is_of = |at: &usize| {
            let (_, wanted) = IN_MID_LOAD[*at];
            fields.len() == wanted.len()
                && fields
                    .iter()
                    .zip(wanted)
                    .all(|((name, _), (column, value))| name == column && record.get(name) == value(id))
        };
        let at = (*seen.last().unwrap()..IN_MID_LOAD.len()).find(is_of);
        seen.push(at.unwrap_or_else(|| panic!("after {:?}: {record:?}", seen.last())));
    }
    let moments: BTreeSet<usize> = seen.into_iter().collect();
    // Another length is the same to Avro, and so is a column that may be null only from the next on.
    assert!(moments.len() >= 6, "{moments:?}");
}

async fn await_one(client: &tokio_postgres::Client, sql: &str, running: &mut crate::stage::Running) {
    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(std::time::Instant::now() < deadline && running.is_running(), "{sql}\n{}", running.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_is_attached_and_another_key_come_through_while_rows_are_written() {
    let stage = Stage::new("attached");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE p (id int NOT NULL, ver int NOT NULL, v text) PARTITION BY RANGE (id);
             CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (100);
             INSERT INTO p SELECT g, 0 FROM generate_series(0, 99) g;
             CREATE TABLE p1 (v text, ver int NOT NULL, id int NOT NULL);
             INSERT INTO p1 SELECT 'before', 0, g FROM generate_series(100, 199) g;
             CREATE TABLE k (id int PRIMARY KEY, ver int NOT NULL, code int NOT NULL);
             INSERT INTO k SELECT g, 0, 1000 + g FROM generate_series(0, 99) g",
        )
        .await
        .unwrap();
    stage.configure("tables.include = ['public.p', 'public.k']");
    let mut running = stage.run(&["--set", "tables.refresh_interval=1s"]);
    running.await_log_of(2, "caught_up");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (url, stop) = (stage.database.url.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let client = connect(&url).await;
            let mut at = 0;
            while !stop.load(Ordering::Relaxed) {
                at = (at + 1) % 100;
                let update = format!(
                    "UPDATE p SET ver = ver + 1 WHERE id % 100 = {at}; UPDATE k SET ver = ver + 1 WHERE id = {at}"
                );
                client.batch_execute(&update).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let subject = format!("{}-key", stage.topic("k"));
    // Another key is never compatible: whoever wants it lets the subject begin anew.
    crate::topic::ask("DELETE", &format!("/subjects/{subject}"), "");
    client.batch_execute("ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (100) TO (200)").await.unwrap();
    client.batch_execute("ALTER TABLE k DROP CONSTRAINT k_pkey, ADD PRIMARY KEY (code)").await.unwrap();
    let key = |record: &crate::topic::Record| match &record.key {
        Some(Value::Record(fields)) => fields[0].clone(),
        other => panic!("{other:?}"),
    };
    until("the attached leaf", || {
        records(&stage.kafka, &stage.topic("p")).iter().any(|record| record.long("id") >= 100)
    });
    until("the other key", || {
        assert!(!running.log().contains("object failed"), "{}", running.log());
        records(&stage.kafka, &stage.topic("k")).iter().any(|record| key(record).0 == "code")
    });
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    for table in ["p", "k"] {
        let last: BTreeSet<(i64, i64)> = client
            .query(&format!("SELECT id, ver FROM {table}"), &[])
            .await
            .unwrap()
            .iter()
            .map(|row| (row.get::<_, i32>(0).into(), row.get::<_, i32>(1).into()))
            .collect();
        let versions =
            || records(&stage.kafka, &stage.topic(table)).into_iter().map(|one| (one.long("id"), one.long("ver")));
        until("every last version", || last.is_subset(&versions().collect()));
        let all: Vec<_> = versions().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a version of {table} came twice");
    }
    for record in records(&stage.kafka, &stage.topic("k")) {
        let (name, value) = key(&record);
        let expected = if name == "code" { record.long("code") } else { record.long("id") };
        assert_eq!(value, int(expected), "{record:?}");
    }
    let (code, log) = running.stop();
    assert!(code == Some(0) && !log.contains("object failed"), "{log}");
}
