//! Keys of many types.

use apache_avro::types::Value;

use super::literals::TYPES;
use super::text;
use crate::stage::Stage;
use crate::topic::{raw, records};

/// A column of a key, a literal, and where PostgreSQL holds another form of it equal: that, and what both are in a key.
type OfKey = (&'static str, &'static str, Option<(&'static str, &'static str)>);

const KEYS: &[(&str, &[OfKey])] = &[
    ("k1", &[("a uuid", "md5('x')::uuid", None)]),
    ("k2", &[("a text", "'ä'", None), ("b numeric(10,2)", "1.5", None)]),
    ("k3", &[("a timestamptz", "'infinity'", None), ("b date", "'-infinity'", None)]),
    ("k4", &[("a bytea", "'\\x00'", None), ("b bool", "true", None), ("c \"char\"", "'x'", None)]),
    ("k5", &[("a int[]", "'{1,NULL}'", None), ("b mood", "'so-so'", None)]),
    (
        "k6",
        &[
            ("a inet", "'::1'", None),
            ("b int4range", "'[1,2)'", Some(("'[1,1]'", "\"[1,2)\""))),
            ("c numeric", "1.50", Some(("1.5", "\"1.5\""))),
        ],
    ),
    (
        "k7",
        &[
            ("a interval", "'1 day'", Some(("'24:00'", "\"P1D\""))),
            ("b timetz", "'01:00+01'", None),
            ("c positive", "1", None),
        ],
    ),
    (
        "k8",
        &[
            ("a float8", "'-0'", Some(("0", "double 0"))),
            ("b name", "'n'", None),
            ("c money", "1", None),
            ("d macaddr", "'ff:ff:ff:ff:ff:ff'", None),
        ],
    ),
    (
        "k9",
        &[
            ("a jsonb", "'{\"b\": 1, \"a\": 1.0}'", None),
            ("b pair", "ROW(1, NULL)", None),
            ("c bit(3)", "B'101'", None),
        ],
    ),
    (
        "k10",
        &[
            ("a bpchar", "'x '", Some(("'x'", "\"x\""))),
            ("b float4[]", "'{-0,NULL}'", Some(("'{0,NULL}'", "[float 0, null]"))),
            ("c amount", "ROW('1 mon', 10.00)", Some(("ROW('30 days', 10)", "{per: \"P1M\", n: \"10\"}"))),
            ("d char(3)", "'x'", Some(("'x  '", "\"x  \""))),
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_be_of_any_types_and_is_the_same_where_postgresql_holds_it_equal() {
    let stage = Stage::new("keys");
    let client = stage.client().await;
    client.batch_execute(TYPES).await.unwrap();
    client.batch_execute("CREATE TYPE amount AS (per interval, n numeric)").await.unwrap();
    for (table, columns) in KEYS {
        let declared: Vec<&str> = columns.iter().map(|column| column.0).collect();
        let values: Vec<&str> = columns.iter().map(|column| column.1).collect();
        let names: Vec<&str> = declared.iter().filter_map(|column| column.split(' ').next()).collect();
        // The key's order is the index's, not the table's.
        let reversed: Vec<&str> = names.iter().rev().copied().collect();
        let sql = format!(
            "CREATE TABLE {table} (other text, {}, PRIMARY KEY ({})); INSERT INTO {table} VALUES ('o', {})",
            declared.join(", "),
            reversed.join(", "),
            values.join(", ")
        );
        client.batch_execute(&sql).await.unwrap();
    }
    stage.run_once();
    for (table, columns) in KEYS {
        let arrived = records(&stage.kafka, &stage.topic(table));
        let [record] = &arrived[..] else { panic!("{table}: {arrived:?}") };
        let Some(Value::Record(key)) = &record.key else { panic!("{table}: {record:?}") };
        let names: Vec<&str> = columns.iter().rev().filter_map(|column| column.0.split(' ').next()).collect();
        assert_eq!(key.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names, "{table}");
        for ((name, value), (_, _, equal)) in key.iter().zip(columns.iter().rev()) {
            let expected = equal.map_or_else(|| text(&record.get(name)), |(_, key)| key.to_owned());
            assert_eq!(text(value), expected, "{table}.{name}");
        }
    }
    // Another version of the row, with another form of what is equal, has the same bytes as its key.
    let bytes = |table: &str| raw(&stage.kafka, &stage.topic(table)).into_iter().map(|record| record.key.unwrap());
    for (table, columns) in KEYS {
        let equal = columns.iter().filter_map(|(declared, _, equal)| {
            Some(format!(", {} = {}", declared.split(' ').next()?, equal.as_ref()?.0))
        });
        let sql = format!("UPDATE {table} SET other = 'another'{}", equal.collect::<String>());
        client.batch_execute(&sql).await.unwrap();
    }
    stage.run_once();
    for (table, _) in KEYS {
        let all: Vec<_> = bytes(table).collect();
        assert!(all.len() == 2 && all[0] == all[1], "{table}: {all:?}");
    }
    // The value is what the row holds, in either form.
    let numerics = records(&stage.kafka, &stage.topic("k6"));
    let numerics: Vec<String> = numerics.iter().map(|record| text(&record.get("c"))).collect();
    assert_eq!(numerics, ["\"1.50\"", "\"1.5\""]);
}
