//! Tables of every shape and name.

use std::collections::BTreeMap;

use apache_avro::types::Value;

use strandline_testbed::{Kafka, Postgres, PostgresOptions};

use crate::stage::Stage;
use crate::topic::{Record, raw, records, schema};

fn all(stage: &Stage, topic: &str) -> Vec<Record> {
    records(&stage.kafka, &format!("{}.public.{topic}", stage.name))
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_no_column_and_of_as_many_as_there_can_be_arrive() {
    let stage = Stage::new("widths");
    let client = stage.client().await;
    let columns: Vec<String> = (1..=1600).map(|at| format!("c{at} bool")).collect();
    let wide = format!("CREATE TABLE wide ({}); INSERT INTO wide (c1, c1600) VALUES (true, false)", columns.join(", "));
    client.batch_execute(&wide).await.unwrap();
    client.batch_execute("CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES").await.unwrap();
    client
        .batch_execute(
            "CREATE TABLE dropped (a int, b int); INSERT INTO dropped VALUES (1, 2); ALTER TABLE dropped DROP COLUMN a",
        )
        .await
        .unwrap();
    stage.run_once();
    let wide = &all(&stage, "wide")[0];
    assert_eq!(
        (wide.get("c1"), wide.get("c2"), wide.get("c1600")),
        (Value::Boolean(true), Value::Null, Value::Boolean(false))
    );
    let [nothing] = &all(&stage, "nothing")[..] else { panic!() };
    assert_eq!(nothing.value, Some(Value::Record(vec![])));
    assert_eq!(all(&stage, "dropped")[0].long("b"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_characters_arrive_with_the_original_beside_them() {
    let stage = Stage::new("names");
    let client = stage.client().await;
    let long = "ü".repeat(31);
    client
        .batch_execute(&format!(
            "CREATE TABLE \"Größe 1\" (\"a b\" int, \"a-b\" int, \"1st\" int, \"select\" int, \"Ä\" int, \"{long}\" int);
             INSERT INTO \"Größe 1\" VALUES (1, 2, 3, 4, 5, 6)"
        ))
        .await
        .unwrap();
    stage.run_once();
    let topic = format!("{}.public.Gr__e_1", stage.name);
    let found = raw(&stage.kafka, &topic);
    let value = found.first().unwrap_or_else(|| panic!("nothing in {topic}")).value.clone().unwrap();
    let schema = schema(u32::from_be_bytes(value[1..5].try_into().unwrap()));
    let json: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let originals: BTreeMap<&str, Option<&str>> = json["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field["name"].as_str().unwrap(), field["strandline.column"].as_str()))
        .collect();
    let record = &records(&stage.kafka, &topic)[0];
    for (field, original, value) in [
        ("a_b", Some("a b"), 1),
        ("a_b_2", Some("a-b"), 2),
        ("x1st", Some("1st"), 3),
        ("select", None, 4),
        ("_C3_84", Some("Ä"), 5),
        ("_C3_BC".repeat(31).as_str(), Some(long.as_str()), 6),
    ] {
        assert_eq!((originals[field], record.long(field)), (original, value), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_can_be_told_back_and_keys_be_chosen_by_table() {
    let stage = Stage::new("adjusted");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE a_log (id int PRIMARY KEY, \"at-h\" int NOT NULL); INSERT INTO a_log VALUES (1, 2);
             CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (3);
             CREATE TABLE c (id int NOT NULL, u int UNIQUE NOT NULL); INSERT INTO c VALUES (5, 6);
             CREATE TABLE d (x int NOT NULL UNIQUE, y int NOT NULL UNIQUE); INSERT INTO d VALUES (7, 8);
             ALTER TABLE d REPLICA IDENTITY USING INDEX d_y_key",
        )
        .await
        .unwrap();
    stage.configure("schema.name.adjustment.mode = 'avro_unicode'\nmessage.key.columns = 'public.*_log:at-h,id'");
    stage.run_once();
    let key = |table: &str| {
        let record = all(&stage, table).remove(0);
        let Some(Value::Record(key)) = record.key else { panic!("{record:?}") };
        key.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(key("a_log"), "at_u002dh=Int(2) id=Int(1)");
    assert_eq!(key("b"), "id=Int(3)");
    assert_eq!(key("c"), "u=Int(6)", "a unique index over NOT NULL columns is a key too");
    assert_eq!(key("d"), "y=Int(8)", "the replica identity comes before another unique index");
}

#[tokio::test(flavor = "multi_thread")]
async fn inheritance_and_leaves_with_another_order_of_columns_keep_values_in_their_columns() {
    let stage = Stage::new("leaves");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE p (id int, a text, b text) PARTITION BY RANGE (id);
             CREATE TABLE p1 (b text, junk int, id int, a text);
             ALTER TABLE p1 DROP COLUMN junk;
             ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10);
             INSERT INTO p VALUES (1, 'a', 'b');
             CREATE TABLE parent (id int, v text); CREATE TABLE child (extra int) INHERITS (parent);
             INSERT INTO parent VALUES (1, 'of parent'); INSERT INTO child VALUES (2, 'of child', 3)",
        )
        .await
        .unwrap();
    stage.run_once();
    let p = all(&stage, "p");
    assert_eq!((p.len(), p[0].get("a"), p[0].get("b")), (1, Value::String("a".into()), Value::String("b".into())));
    assert_eq!(all(&stage, "parent").iter().map(|record| record.long("id")).collect::<Vec<_>>(), [1]);
    assert_eq!(all(&stage, "child").iter().map(|record| record.long("extra")).collect::<Vec<_>>(), [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_travel_as_their_cast_says_and_a_cast_that_the_type_does_not_know_is_told() {
    let stage = Stage::new("casts");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TYPE pair AS (a int, b text);
             CREATE TABLE t (id int PRIMARY KEY, n numeric(8,2), tags text[], p pair, at timestamptz, r int4range, m int[]);
             INSERT INTO t VALUES (1, 1.50, '{x,NULL}', ROW(1, 'b'), '2024-01-01 00:00+00', '[1,5)', '{{1},{2}}')",
        )
        .await
        .unwrap();
    let casts = "'n:string', 'tags:json', 'p:json', 'at:isostring', 'r:text', 'm:json'";
    stage.configure(&format!("objects.t = {{ table = 't', columns.cast = [{casts}] }}"));
    stage.run_once();
    let record = &all(&stage, "t")[0];
    for (column, expected) in [
        ("n", "1.50"),
        ("tags", "[\"x\",null]"),
        ("p", "{\"a\":1,\"b\":\"b\"}"),
        ("at", "2024-01-01T00:00:00Z"),
        ("r", "[1,5)"),
        ("m", "[[1],[2]]"),
    ] {
        assert_eq!(record.get(column), Value::String(expected.into()), "{column}");
    }
    stage.configure("objects.t = { table = 't', columns.cast = ['n:hex'] }");
    let output = stage.strandline(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("columns.cast makes column \"n\" `hex`, which numeric(8,2) does not know"), "{text}");
    assert!(text.contains("it knows precise, string, double, text"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_has_no_counterpart_is_null_or_fails_its_object_by_name_as_was_asked_for() {
    let stage = Stage::new("voids");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (d date PRIMARY KEY, at timestamp NOT NULL, n numeric(8,2) NOT NULL);
             INSERT INTO t VALUES ('infinity', '-infinity', 'NaN')",
        )
        .await
        .unwrap();
    let output = stage.try_once(&[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED public.t: column \"n\": a value is NaN or infinite"), "{text}");
    assert!(text.contains("set nan.handling.mode = \"null\", or columns.cast = [\"n:string\"]"), "{text}");
    stage.configure("nan.handling.mode = 'null'\ninfinity.handling.mode = 'null'");
    stage.run_once();
    let record = &all(&stage, "t")[0];
    assert_eq!((record.get("d"), record.get("at"), record.get("n")), (Value::Null, Value::Null, Value::Null));
    let Some(Value::Record(key)) = &record.key else { panic!("{record:?}") };
    assert_eq!(key[0].1, Value::Date(i32::MAX), "in a key infinity is the extreme");
}

/// A virtual column is computed when it is read, from 18 on.
#[tokio::test(flavor = "multi_thread")]
async fn identity_and_generated_columns_arrive_as_what_they_are_when_they_are_read() {
    let postgres = Postgres::start(PostgresOptions { major: Some(18), ..PostgresOptions::default() });
    let stage = Stage::on("generated", postgres.create_database("generated"), Kafka::shared().bootstrap());
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE g (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int NOT NULL,
                             stored int GENERATED ALWAYS AS (a * 2) STORED, computed int GENERATED ALWAYS AS (a * 3) VIRTUAL);
             INSERT INTO g (a) VALUES (5), (6)",
        )
        .await
        .unwrap();
    stage.run_once();
    let fields = ["id", "a", "stored", "computed"];
    let rows = || -> Vec<Vec<i64>> {
        all(&stage, "g").iter().map(|record| fields.iter().map(|field| record.long(field)).collect()).collect()
    };
    assert_eq!(rows(), [[1, 5, 10, 15], [2, 6, 12, 18]]);
    // Another expression is no new version of any row: it shows as rows change.
    client
        .batch_execute("ALTER TABLE g ALTER COLUMN computed SET EXPRESSION AS (a * 4); UPDATE g SET a = 7 WHERE id = 2")
        .await
        .unwrap();
    stage.run_once();
    assert_eq!(rows()[2..], [[2, 7, 14, 28]]);
}
