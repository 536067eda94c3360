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
        until(alter, Duration::from_secs(30), || {
            records(&stage.kafka, &stage.topic("t")).iter().any(|record| record.long("id") == marker)
        });
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
    until("every last version", Duration::from_secs(30), || {
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
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
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
    until("another object's row", Duration::from_secs(20), || {
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
