//! Every type on its way through a real table and a real topic: "SQL literal → Avro value", and for what travels as text,
//! PostgreSQL's own text.

use apache_avro::types::Value;
use strandline_testbed::{Kafka, Postgres, PostgresOptions};
use tokio_postgres::SimpleQueryMessage;

use crate::stage::Stage;
use crate::topic::records;

/// A declared type, and literals with what they become. Infinities are PostgreSQL's own extremes.
const TABLE: &[(&str, &[(&str, &str)])] = &[
    ("bool", &[("true", "true"), ("false", "false")]),
    ("int2", &[("-32768", "int -32768"), ("32767", "int 32767")]),
    ("int4", &[("-2147483648", "int -2147483648"), ("0", "int 0"), ("2147483647", "int 2147483647")]),
    (
        "int8",
        &[("-9223372036854775808", "long -9223372036854775808"), ("9223372036854775807", "long 9223372036854775807")],
    ),
    ("oid", &[("0", "long 0"), ("4294967295", "long 4294967295")]),
    (
        "float4",
        &[
            ("'-0'", "float -0"),
            ("1.5", "float 1.5"),
            ("'NaN'", "float NaN"),
            ("'Infinity'", "float inf"),
            ("'1e-45'", "float 1e-45"),
        ],
    ),
    (
        "float8",
        &[
            ("0.1", "double 0.1"),
            ("'-Infinity'", "double -inf"),
            ("'5e-324'", "double 5e-324"),
            ("1.7976931348623157e308", "double 1.7976931348623157e308"),
        ],
    ),
    (
        "numeric(12,2)",
        &[
            ("0", "decimal 00"),
            ("1.5", "decimal 0096"),
            ("-0.01", "decimal ff"),
            ("9999999999.99", "decimal 00e8d4a50fff"),
            ("-9999999999.99", "decimal ff172b5af001"),
        ],
    ),
    ("numeric(40,0)", &[("1e39", "decimal 02f050fe938943acc45f65568000000000")]),
    ("numeric(3,-2)", &[("12345", "decimal 300c")]),
    ("numeric(2,4)", &[("0.0012", "decimal 0c")]),
    (
        "numeric",
        &[
            ("0", "\"0\""),
            ("1.50", "\"1.50\""),
            ("'NaN'", "\"NaN\""),
            ("'-Infinity'", "\"-Infinity\""),
            ("-1e-20", "\"-0.00000000000000000001\""),
            ("123456789012345678901234567890.5", "\"123456789012345678901234567890.5\""),
        ],
    ),
    ("money", &[("'-92233720368547758.08'", "decimal 8000000000000000"), ("12.34", "decimal 04d2")]),
    ("text", &[("''", "\"\""), ("'größe ☃'", "\"größe ☃\"")]),
    ("varchar(3)", &[("'abc'", "\"abc\"")]),
    ("char(4)", &[("'ab'", "\"ab  \"")]),
    ("name", &[("'pg_class'", "\"pg_class\"")]),
    ("\"char\"", &[("'x'", "\"x\""), ("''", "\"\"")]),
    ("bytea", &[("''", "bytes "), ("'\\x00ff'", "bytes 00ff")]),
    (
        "date",
        &[
            ("'1970-01-01'", "date 0"),
            ("'4713-01-01 BC'", "date -2440550"),
            ("'5874897-12-31'", "date 2145042905"),
            ("'infinity'", "date 2147483647"),
            ("'-infinity'", "date -2147483648"),
        ],
    ),
    ("time", &[("'00:00'", "time 0"), ("'24:00'", "time 86400000000"), ("'12:34:56.000001'", "time 45296000001")]),
    (
        "timestamp",
        &[
            ("'2000-01-01 00:00:00.000001'", "timestamp 946684800000001"),
            ("'infinity'", "timestamp 9223372036854775807"),
            ("'-infinity'", "timestamp -9223372036854775808"),
            ("'4713-01-01 BC'", "timestamp -210863520000000000"),
        ],
    ),
    (
        "timestamptz",
        &[("'1970-01-01 01:00+01'", "timestamp 0"), ("'2026-07-01 12:00 Europe/Berlin'", "timestamp 1782900000000000")],
    ),
    ("timetz", &[("'12:34:56.5+02'", "\"12:34:56.5+02:00\""), ("'24:00-15:59:59'", "\"24:00:00-15:59:59\"")]),
    (
        "interval",
        &[("'1 year 2 mons 3 days 04:05:06.5'", "\"P1Y2M3DT4H5M6.5S\""), ("'0'", "\"PT0S\""), ("'-1 day'", "\"P-1D\"")],
    ),
    ("uuid", &[("'00000000-0000-0000-0000-00000000000f'", "uuid 00000000-0000-0000-0000-00000000000f")]),
    ("json", &[("'{ \"a\":  1 }'", "\"{ \"a\":  1 }\"")]),
    ("jsonb", &[("'{ \"a\":  1 }'", "\"{\"a\": 1}\"")]),
    ("mood", &[("'so-so'", "\"so-so\""), ("'größe'", "\"größe\"")]),
    ("int4[]", &[("'{}'", "[]"), ("'{1,NULL,-1}'", "[int 1, null, int -1]"), ("'[5:6]={7,8}'", "[int 7, int 8]")]),
    ("text[]", &[("ARRAY['a', NULL, '']", "[\"a\", null, \"\"]")]),
    ("numeric(5,1)[]", &[("ARRAY[1.5, NULL]", "[decimal 0f, null]")]),
    ("timestamptz[]", &[("ARRAY['infinity'::timestamptz]", "[timestamp 9223372036854775807]")]),
    ("mood[]", &[("ARRAY['so-so'::mood]", "[\"so-so\"]")]),
    ("int2vector", &[("'1 2'", "[int 1, int 2]")]),
    ("oidvector", &[("'1 2'", "[long 1, long 2]")]),
    ("int4[][]", &[("'{{1,2},{NULL,4}}'", "[[int 1, int 2], [null, int 4]]"), ("'{}'", "[]")]),
    ("text[][][]", &[("'{{{a}}}'", "[[[\"a\"]]]")]),
    ("bit", &[("B'1'", "true"), ("B'0'", "false")]),
    ("bit(10)", &[("B'1000000001'", "bytes 0102"), ("B'0000000000'", "bytes 0000")]),
    ("varbit", &[("B''", "\"\""), ("B'0110'", "\"0110\"")]),
    ("varbit(5)", &[("B'01100'", "\"01100\"")]),
    ("bit(2)[]", &[("ARRAY[B'10']", "[bytes 02]")]),
    ("xid", &[("'4294967295'", "long 4294967295")]),
    ("cid", &[("'7'", "long 7")]),
    ("xid8", &[("'18446744073709551615'", "\"18446744073709551615\"")]),
    ("tid", &[("'(4294967295,65535)'", "\"(4294967295,65535)\"")]),
    ("pg_lsn", &[("'16/B374D848'", "\"16/B374D848\""), ("'0/0'", "\"0/0\"")]),
    (
        "inet",
        &[
            ("'10.0.0.1/8'", "\"10.0.0.1/8\""),
            ("'10.0.0.1'", "\"10.0.0.1\""),
            ("'::ffff:1.2.3.4/128'", "\"::ffff:1.2.3.4\""),
        ],
    ),
    ("cidr", &[("'10.0.0.0/8'", "\"10.0.0.0/8\""), ("'::1'", "\"::1/128\"")]),
    ("inet[]", &[("'{::1,NULL}'", "[\"::1\", null]")]),
    ("macaddr", &[("'08:00:2b:01:02:03'", "\"08:00:2b:01:02:03\"")]),
    ("macaddr8", &[("'08:00:2b:01:02:03:04:05'", "\"08:00:2b:01:02:03:04:05\"")]),
    ("xml", &[("'<a>ö</a>'", "\"<a>ö</a>\"")]),
    ("xml[]", &[("ARRAY['<a/>'::xml]", "[\"<a/>\"]")]),
    ("jsonpath", &[("'$.a[*]'", "\"$.\"a\"[*]\"")]),
    ("refcursor", &[("'c'", "\"c\"")]),
    ("point", &[("'(1.5,-2)'", "{x: double 1.5, y: double -2}")]),
    ("point[]", &[("ARRAY['(1,2)'::point]", "[{x: double 1, y: double 2}]")]),
    ("int4range[]", &[("ARRAY['[1,5)'::int4range, NULL, 'empty']", "[\"[1,5)\", null, \"empty\"]")]),
    ("box[]", &[("ARRAY['(1,1),(0,0)'::box]", "[\"(1,1),(0,0)\"]")]),
    ("pair", &[("ROW(1, 'a,\"b')", "{a: int 1, b: \"a,\"b\"}"), ("ROW(NULL, NULL)", "{a: null, b: null}")]),
    ("pair[]", &[("ARRAY[ROW(1, 'x')::pair, NULL]", "[{a: int 1, b: \"x\"}, null]")]),
    (
        "nest",
        &[(
            "ROW(ROW(1, NULL), 2.50, '{so-so}', '{{1}}')",
            "{so_so: {a: int 1, b: null}, so_so_2: decimal 00fa, moods: [\"so-so\"], deep: [[int 1]]}",
        )],
    ),
    ("mixed", &[("ROW(1, '[1,2)')", "\"(1,\"[1,2)\")\"")]),
    ("hollow", &[("ROW()", "\"()\"")]),
    ("positive", &[("7", "int 7")]),
    ("square", &[("'{{1},{2}}'", "[[int 1], [int 2]]")]),
    ("prices", &[("'{1.25}'", "[decimal 7d]")]),
];

/// Types without a counterpart of their own: nothing is dropped, PostgreSQL's text arrives.
const AS_TEXT: &[(&str, &[&str])] = &[
    ("box", &["'(1,1),(0,0)'"]),
    ("int4range", &["'empty'", "'[1,5)'", "'(,)'"]),
    ("int4multirange", &["'{[1,2),[5,)}'"]),
    ("tsvector", &["'a:1 b:2A'"]),
    ("tsquery", &["'a & !b'"]),
    ("regclass", &["'pg_catalog.pg_class'"]),
    ("lseg", &["'[(1,1),(0,0.1)]'"]),
    ("line", &["'{1,2,3}'"]),
    ("path", &["'[(1,1),(2,2)]'"]),
    ("polygon", &["'((1,1),(2,2),(3,0))'"]),
    ("circle", &["'<(1,1),2>'"]),
    ("tstzrange", &["'[2024-01-01 00:00+00,infinity)'"]),
    ("pg_snapshot", &["'10:20:10,14'"]),
];

const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('so-so', 'größe');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN cents AS numeric(8,2);
    CREATE TYPE nest AS (\"so-so\" pair, \"so so\" cents, moods mood[], deep int[][]);
    CREATE TYPE mixed AS (a int, r int4range);
    CREATE TYPE hollow AS ();
    CREATE DOMAIN square AS int[][];
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN prices AS numeric(6,2)[];
";

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_what_it_is() {
    let stage = Stage::new("types");
    every_type(&stage, &[]).await;
}

/// The oldest, one in the middle and the newest; the machine's own is in the test above.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_from_old_and_new_versions_and_the_page_names_all_they_have() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/type-mapping.md")).unwrap();
    for major in [14, 16, 18] {
        let postgres = Postgres::start(PostgresOptions { major: Some(major), ..PostgresOptions::default() });
        let stage = Stage::on("versions", postgres.create_database("types"), Kafka::shared().bootstrap());
        // A scale outside of the precision came with 15.
        let without: &[&str] = if major < 15 { &["numeric(3,-2)", "numeric(2,4)"] } else { &[] };
        every_type(&stage, without).await;
        let client = stage.client().await;
        let types = "SELECT pg_catalog.format_type(oid, NULL) FROM pg_catalog.pg_type \
             WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') \
               AND NOT (typelem <> 0 AND typsubscript = 'array_subscript_handler'::regproc AND typname LIKE '\\_%')";
        for row in client.query(types, &[]).await.unwrap() {
            let type_: String = row.get(0);
            let named = ["| {} |", "| {}("].iter().any(|cell| page.contains(&cell.replace("{}", &type_)));
            assert!(named, "docs/type-mapping.md has no {type_} of PostgreSQL {major}");
        }
    }
}

async fn every_type(stage: &Stage, without: &[&str]) {
    let client = stage.client().await;
    client.batch_execute(TYPES).await.unwrap();
    let literals = |cases: &[(&'static str, &str)]| cases.iter().map(|case| case.0).collect::<Vec<_>>();
    let tested: Vec<_> = TABLE.iter().filter(|(type_, _)| !without.contains(type_)).collect();
    let own: Vec<_> = tested.iter().map(|(type_, cases)| (*type_, literals(cases))).collect();
    let printed: Vec<_> = AS_TEXT.iter().map(|(type_, literals)| (*type_, literals.to_vec())).collect();
    client.batch_execute(&table("own", &own)).await.unwrap();
    client.batch_execute(&table("printed", &printed)).await.unwrap();
    stage.run_once();
    let arrived = columns(stage, "own", own.len());
    for ((type_, cases), arrived) in tested.iter().zip(arrived) {
        let expected = std::iter::once("null".to_owned()).chain(cases.iter().map(|case| case.1.to_owned()));
        assert_eq!(
            arrived.into_iter().take(cases.len() + 1).collect::<Vec<_>>(),
            expected.collect::<Vec<_>>(),
            "{type_}"
        );
    }
    let arrived = columns(stage, "printed", printed.len());
    for (at, ((type_, _), arrived)) in printed.iter().zip(arrived).enumerate() {
        // A row of nulls is a value all the same: IS NULL would drop it.
        let sql = format!(
            "SET search_path = ''; SELECT CASE WHEN v{at} IS DISTINCT FROM NULL THEN format('%s', v{at}) END FROM public.printed ORDER BY id"
        );
        let answer = client.simple_query(&sql).await.unwrap();
        let printed = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map_or("null".to_owned(), |text| format!("\"{text}\""))),
            _ => None,
        });
        assert_eq!(arrived, printed.collect::<Vec<_>>(), "{type_}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_be_of_any_types_and_holds_what_the_row_holds() {
    let stage = Stage::new("keys");
    let client = stage.client().await;
    client.batch_execute(TYPES).await.unwrap();
    let keys: &[(&str, &[(&str, &str)])] = &[
        ("k1", &[("a uuid", "md5('x')::uuid")]),
        ("k2", &[("a text", "'ä'"), ("b numeric(10,2)", "1.5")]),
        ("k3", &[("a timestamptz", "'infinity'"), ("b date", "'-infinity'")]),
        ("k4", &[("a bytea", "'\\x00'"), ("b bool", "true"), ("c \"char\"", "'x'")]),
        ("k5", &[("a int[]", "'{1,NULL}'"), ("b mood", "'so-so'")]),
        ("k6", &[("a inet", "'::1'"), ("b int4range", "'[1,2)'"), ("c numeric", "1.50")]),
        ("k7", &[("a interval", "'1 day'"), ("b timetz", "'01:00+01'"), ("c positive", "1")]),
    ];
    for (table, columns) in keys {
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
    for (table, columns) in keys {
        let arrived = records(&stage.kafka, &stage.topic(table));
        let [record] = &arrived[..] else { panic!("{table}: {arrived:?}") };
        let Some(Value::Record(key)) = &record.key else { panic!("{table}: {record:?}") };
        let names: Vec<&str> = columns.iter().rev().filter_map(|column| column.0.split(' ').next()).collect();
        assert_eq!(key.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names, "{table}");
        for (name, value) in key {
            assert_eq!(text(value), text(&record.get(name)), "{table}.{name}");
        }
    }
}

/// A table with a column of each type: a row of NULLs first, then the literals in their order, NULL where there is none.
fn table(name: &str, types: &[(&str, Vec<&str>)]) -> String {
    let columns: Vec<String> = types.iter().enumerate().map(|(at, (type_, _))| format!("v{at} {type_}")).collect();
    let most = types.iter().map(|(_, literals)| literals.len()).max().unwrap_or_default();
    let rows: Vec<String> = (0..=most)
        .map(|row| {
            let literal = |(_, literals): &(_, Vec<&str>)| {
                row.checked_sub(1).and_then(|at| literals.get(at)).map_or("NULL".to_owned(), |text| (*text).to_owned())
            };
            format!("INSERT INTO {name} VALUES ({row}, {});", types.iter().map(literal).collect::<Vec<_>>().join(", "))
        })
        .collect();
    format!("CREATE TABLE {name} (id int PRIMARY KEY, {}); {}", columns.join(", "), rows.concat())
}

/// The values of each column as they arrived, in the order of `id`.
fn columns(stage: &Stage, table: &str, count: usize) -> Vec<Vec<String>> {
    let mut rows = records(&stage.kafka, &stage.topic(table));
    rows.sort_by_key(|row| row.long("id"));
    (0..count).map(|at| rows.iter().map(|row| text(&row.get(&format!("v{at}")))).collect()).collect()
}

/// A value as the table above writes it.
fn text(value: &Value) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(bool) => bool.to_string(),
        Value::Int(int) => format!("int {int}"),
        Value::Long(long) => format!("long {long}"),
        Value::Float(float) => format!("float {}", shortest(format!("{float}"), format!("{float:e}"))),
        Value::Double(double) => format!("double {}", shortest(format!("{double}"), format!("{double:e}"))),
        Value::String(string) => format!("\"{string}\""),
        Value::Bytes(bytes) => format!("bytes {}", hex(bytes)),
        Value::Decimal(decimal) => format!("decimal {}", hex(&Vec::<u8>::try_from(decimal).unwrap())),
        Value::Date(days) => format!("date {days}"),
        Value::TimeMicros(micros) => format!("time {micros}"),
        Value::TimestampMicros(micros) => format!("timestamp {micros}"),
        Value::TimeMillis(millis) => format!("time-millis {millis}"),
        Value::TimestampMillis(millis) => format!("timestamp-millis {millis}"),
        Value::Uuid(uuid) => format!("uuid {uuid}"),
        Value::Union(_, value) => text(value),
        Value::Array(values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(", ")),
        Value::Record(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Map(entries) => {
            let sorted: std::collections::BTreeMap<_, _> = entries.iter().collect();
            let entries: Vec<String> = sorted.iter().map(|(key, value)| format!("{key}: {}", text(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => panic!("no column becomes {other:?}"),
    }
}

fn shortest(plain: String, scientific: String) -> String {
    if plain.len() <= scientific.len() { plain } else { scientific }
}

/// A declared type, a literal, what it becomes as text (string, isostring, hex) and as Kafka Connect's (double, connect, base64).
const CHOSEN: &[(&str, &str, &str, &str)] = &[
    ("numeric(8,2)", "-12.50", "\"-12.50\"", "double -12.5"),
    ("numeric", "'NaN'", "\"NaN\"", "double NaN"),
    ("money", "'-12.30'", "\"-12.30\"", "double -12.3"),
    ("date", "'0044-03-15 BC'", "\"-0043-03-15\"", "date -735160"),
    ("date", "'infinity'", "\"infinity\"", "date 2147483647"),
    ("time", "'12:34:56.789012'", "\"12:34:56.789012\"", "time-millis 45296789"),
    ("timestamp", "'1969-12-31 23:59:59.9995'", "\"1969-12-31T23:59:59.9995\"", "timestamp-millis -1"),
    ("timestamptz", "'2024-02-29 12:00+02'", "\"2024-02-29T10:00:00Z\"", "timestamp-millis 1709200800000"),
    ("timestamptz", "'-infinity'", "\"-infinity\"", "timestamp-millis -9223372036854775808"),
    ("bytea", "'\\x00ff'", "\"00ff\"", "\"AP8=\""),
    ("numeric(5,1)[]", "'{1.5,NULL}'", "[\"1.5\", null]", "[double 1.5, null]"),
];

/// An extension, a type of it, and literals with what they become.
type OfExtension = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const EXTENSIONS: &[OfExtension] = &[
    ("citext", "citext", &[("'Äa'", "\"Äa\"")]),
    ("citext", "citext[]", &[("'{a,NULL}'", "[\"a\", null]")]),
    ("hstore", "hstore", &[("'a=>1,b=>NULL'", "{a: \"1\", b: null}"), ("''", "{}")]),
    ("hstore", "hstore[]", &[("ARRAY['a=>1'::hstore]", "[{a: \"1\"}]")]),
    ("ltree", "ltree", &[("'Top.Science'", "\"Top.Science\"")]),
    ("ltree", "ltree[]", &[("'{Top.Science}'", "[\"Top.Science\"]")]),
    ("cube", "cube", &[("'(1,2)'", "\"(1, 2)\"")]),
    ("isn", "isbn", &[("'978-0-393-04002-9'", "\"0-393-04002-X\"")]),
];

#[tokio::test(flavor = "multi_thread")]
async fn types_of_extensions_arrive_as_what_they_are() {
    let stage = Stage::new("extensions");
    let client = stage.client().await;
    let mut there = Vec::new();
    for case in EXTENSIONS {
        match client.batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS {}", case.0)).await {
            Ok(()) => there.push((case.1, case.2)),
            Err(error) => eprintln!("not tested, as this PostgreSQL has no extension {}: {error}", case.0),
        }
    }
    let literals = |cases: &[(&'static str, &str)]| cases.iter().map(|case| case.0).collect::<Vec<_>>();
    let types: Vec<_> = there.iter().map(|(type_, cases)| (*type_, literals(cases))).collect();
    client.batch_execute(&table("t", &types)).await.unwrap();
    stage.run_once();
    for ((type_, cases), arrived) in there.iter().zip(columns(&stage, "t", types.len())) {
        for (at, (_, expected)) in cases.iter().enumerate() {
            assert_eq!(arrived[at + 1], *expected, "{type_}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_with_several_counterparts_become_what_was_asked_for() {
    for (modes, as_text_modes) in [(["string", "isostring", "hex"], true), (["double", "connect", "base64"], false)] {
        let stage = Stage::new("handling");
        let client = stage.client().await;
        let columns: Vec<String> = CHOSEN.iter().enumerate().map(|(at, row)| format!("c{at} {}", row.0)).collect();
        let values: Vec<&str> = CHOSEN.iter().map(|row| row.1).collect();
        let sql = format!("CREATE TABLE t ({}); INSERT INTO t VALUES ({})", columns.join(", "), values.join(", "));
        client.batch_execute(&sql).await.unwrap();
        stage.configure(&format!(
            "decimal.handling.mode = '{}'\ntime.precision.mode = '{}'\nbinary.handling.mode = '{}'",
            modes[0], modes[1], modes[2]
        ));
        stage.run_once();
        let record = &records(&stage.kafka, &stage.topic("t"))[0];
        for (at, (type_, literal, as_text, as_connect)) in CHOSEN.iter().enumerate() {
            let expected = if as_text_modes { as_text } else { as_connect };
            assert_eq!(text(&record.get(&format!("c{at}"))), *expected, "{literal} as {type_} with {modes:?}");
        }
    }
}
