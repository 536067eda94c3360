//! Every type on its way through a real table and a real topic: "SQL literal → Avro value", and for what travels as text,
//! PostgreSQL's own text.

use apache_avro::types::Value;
use strandline_testbed::{Kafka, Postgres, PostgresOptions};
use tokio_postgres::SimpleQueryMessage;

use crate::stage::Stage;
use crate::topic::records;

mod debezium;
mod keys;
mod literals;
mod sinks;

use literals::{AS_TEXT, SINCE, TABLE, TYPES};

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
        let without: Vec<&str> = SINCE.iter().filter(|(_, since)| *since > major).map(|(type_, _)| *type_).collect();
        every_type(&stage, &without).await;
        let client = stage.client().await;
        // Whatever type of the system's a column can have, but for the array of each.
        let types = "SELECT oid, pg_catalog.format_type(oid, NULL) FROM pg_catalog.pg_type \
             WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') \
               AND NOT (typelem <> 0 AND typsubscript = 'array_subscript_handler'::regproc AND typname LIKE '\\_%')";
        let mut tested = std::collections::BTreeSet::new();
        for name in TABLE.iter().map(|(type_, _)| type_).chain(AS_TEXT.iter().map(|(type_, _)| type_)) {
            // Without its modifier: before 15 some are none.
            let bare = name.split('(').next().unwrap();
            let oid = client.query_one("SELECT pg_catalog.to_regtype($1)::oid", &[&bare]).await.unwrap();
            tested.extend(oid.get::<_, Option<u32>>(0));
        }
        for row in client.query(types, &[]).await.unwrap() {
            let type_: String = row.get(1);
            let named = ["| {} |", "| {}("].iter().any(|cell| page.contains(&cell.replace("{}", &type_)));
            assert!(named, "docs/type-mapping.md has no {type_} of PostgreSQL {major}");
            assert!(tested.contains(&row.get::<_, u32>(0)), "no literal is tested of {type_} of PostgreSQL {major}");
        }
    }
}

/// Of each type all literals, a NULL, an array of them with a NULL, and an empty one.
async fn every_type(stage: &Stage, without: &[&str]) {
    let client = stage.client().await;
    client.batch_execute(TYPES).await.unwrap();
    stage.configure("tables.include = ['public.own', 'public.printed', 'public.arrays', 'public.printed_arrays']");
    let tested: Vec<_> = TABLE.iter().copied().filter(|(type_, _)| !without.contains(type_)).collect();
    let own = forms(&tested);
    let printed = texts();
    let arrays: Vec<_> = own.iter().filter(|(type_, _)| has_array(type_)).map(array_of).collect();
    let mut without_array = std::collections::BTreeSet::new();
    for (type_, _) in &printed {
        let asked = "SELECT typarray = 0 FROM pg_catalog.pg_type WHERE oid = pg_catalog.to_regtype($1)";
        if client.query_one(asked, &[type_]).await.unwrap().get(0) {
            without_array.insert(type_.clone());
        }
    }
    let printed_arrays: Vec<_> =
        printed.iter().filter(|(type_, _)| !without_array.contains(type_)).map(array_of).collect();
    for (name, types) in
        [("own", &own), ("printed", &printed), ("arrays", &arrays), ("printed_arrays", &printed_arrays)]
    {
        let made = table(name, types);
        client.batch_execute(&made).await.unwrap_or_else(|error| panic!("{error:?}: {made}"));
    }
    stage.run_once();
    let arrived = columns(stage, "own", own.len());
    for ((type_, cases), arrived) in tested.iter().zip(arrived) {
        let expected = std::iter::once("null".to_owned()).chain(cases.iter().map(|case| case.1.to_owned()));
        let arrived: Vec<String> = arrived.into_iter().take(cases.len() + 1).collect();
        assert_eq!(arrived, expected.collect::<Vec<_>>(), "{type_}");
    }
    let mut elements = columns(stage, "arrays", arrays.len()).into_iter();
    for (type_, cases) in tested.iter().filter(|(type_, _)| has_array(type_)) {
        let all: Vec<&str> = std::iter::once("null").chain(cases.iter().map(|case| case.1)).collect();
        let expected = ["null".to_owned(), format!("[{}]", all.join(", ")), "[]".to_owned()];
        assert_eq!(elements.next().unwrap(), expected, "{type_}[]");
    }
    let arrived = columns(stage, "printed", printed.len());
    let mut elements = columns(stage, "printed_arrays", printed_arrays.len()).into_iter();
    for (at, ((type_, literals), arrived)) in printed.iter().zip(arrived).enumerate() {
        // A row of nulls is a value all the same: IS NULL would drop it.
        let sql = format!(
            "SET search_path = ''; SET TimeZone = 'UTC'; \
             SELECT CASE WHEN v{at} IS DISTINCT FROM NULL THEN format('%s', v{at}) END FROM public.printed ORDER BY id"
        );
        let answer = client.simple_query(&sql).await.unwrap();
        let printed = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map_or("null".to_owned(), |text| format!("\"{text}\""))),
            _ => None,
        });
        let printed: Vec<String> = printed.collect();
        assert_eq!(arrived, printed, "{type_}");
        assert!(literals.is_empty() || printed[literals.len()] != "null", "{type_} has a value");
        if without_array.contains(type_) {
            continue;
        }
        let expected = ["null".to_owned(), format!("[{}]", printed[..=literals.len()].join(", ")), "[]".to_owned()];
        assert_eq!(elements.next().unwrap(), expected, "{type_}[]");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_debeziums_for_its_consumers() {
    let stage = Stage::new("debezium");
    let client = stage.client().await;
    stage.configure("profile = 'debezium'");
    let mut tested = debezium::TABLE.to_vec();
    for (extension, type_, cases) in debezium::EXTENSIONS {
        match client.batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS {extension}")).await {
            Ok(()) => tested.push((type_, cases)),
            Err(error) => eprintln!("not tested, as this PostgreSQL has no extension {extension}: {error}"),
        }
    }
    let types = forms(&tested);
    let arrays: Vec<_> = types.iter().map(array_of).collect();
    client.batch_execute(&(table("t", &types) + &table("arrays", &arrays))).await.unwrap();
    stage.run_once();
    let arrived = columns(&stage, "t", types.len()).into_iter().zip(columns(&stage, "arrays", types.len()));
    for ((type_, cases), (values, array)) in tested.iter().zip(arrived) {
        let expected: Vec<&str> = std::iter::once("null").chain(cases.iter().map(|case| case.1)).collect();
        assert_eq!(values[..expected.len()], expected, "{type_}");
        assert_eq!(array, ["null".to_owned(), format!("[{}]", expected.join(", ")), "[]".to_owned()], "{type_}[]");
    }
    for (at, (type_, literal, remedy)) in debezium::REFUSED.iter().enumerate() {
        client
            .batch_execute(&format!("CREATE TABLE r{at} (c {type_}); INSERT INTO r{at} VALUES ({literal})"))
            .await
            .unwrap();
        stage.configure(&format!("profile = 'debezium'\ntables.include = ['public.r{at}']"));
        let run = stage.try_once(&[]);
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && said.contains(remedy), "{literal} as {type_}: {said}");
    }
}

/// The types of such a table, each with its literals alone.
fn forms(table: &[(&str, &[(&str, &str)])]) -> Vec<(String, Vec<String>)> {
    let literals = |cases: &[(&str, &str)]| cases.iter().map(|case| case.0.to_owned()).collect();
    table.iter().map(|(type_, cases)| ((*type_).to_owned(), literals(cases))).collect()
}

/// The same of what travels as text.
fn texts() -> Vec<(String, Vec<String>)> {
    let owned = |literals: &[&str]| literals.iter().map(|text| (*text).to_owned()).collect();
    AS_TEXT.iter().map(|(type_, literals)| ((*type_).to_owned(), owned(literals))).collect()
}

/// Whether arrays of the type are tested beside it: an array of arrays is one of more dimensions, and one of composites without
/// a form of their own is one text; the table has both.
fn has_array(type_: &str) -> bool {
    !type_.ends_with(']') && !["mixed", "hollow"].contains(&type_)
}

/// The type of arrays of this one; all of its literals in one, and none.
fn array_of((type_, literals): &(String, Vec<String>)) -> (String, Vec<String>) {
    let all: Vec<String> = literals.iter().map(|literal| format!("CAST({literal} AS {type_})")).collect();
    let all = format!("ARRAY[{}]::{type_}[]", [&["NULL".to_owned()][..], &all].concat().join(", "));
    (format!("{type_}[]"), vec![all, format!("'{{}}'::{type_}[]")])
}

/// A table with a column of each type: a row of NULLs first, then the literals in their order, NULL where there is none.
fn table(name: &str, types: &[(String, Vec<String>)]) -> String {
    let columns: Vec<String> = types.iter().enumerate().map(|(at, (type_, _))| format!("v{at} {type_}")).collect();
    let most = types.iter().map(|(_, literals)| literals.len()).max().unwrap_or_default();
    let rows: Vec<String> = (0..=most)
        .map(|row| {
            let literal = |(_, literals): &(String, Vec<String>)| {
                row.checked_sub(1).and_then(|at| literals.get(at)).map_or("NULL".to_owned(), Clone::clone)
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
    let types = forms(&there);
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

/// The same of the other settings: as JSON, numbers and plain texts; as texts, maps and bytes.
const OTHERS: &[(&str, &str, &str, &str)] = &[
    ("int4[]", "'{1,NULL}'", "\"[1,null]\"", "\"{1,NULL}\""),
    ("int4[]", "'[5:6]={7,8}'", "\"[7,8]\"", "\"[5:6]={7,8}\""),
    ("text[]", "'{{a},{NULL}}'", "\"[[\"a\"],[null]]\"", "\"{{a},{NULL}}\""),
    ("interval", "'1 mon 1 day'", "long 2716200000000", "\"P1M1D\""),
    (
        "uuid",
        "'00000000-0000-0000-0000-00000000000f'",
        "\"00000000-0000-0000-0000-00000000000f\"",
        "bytes 0000000000000000000000000000000f",
    ),
    ("jsonb", "'[1]'", "\"[1]\"", "\"[1]\""),
    ("hstore", "'a=>1,b=>NULL'", "\"{\"a\":\"1\",\"b\":null}\"", "{a: \"1\", b: null}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn arrays_intervals_uuids_and_maps_become_what_was_asked_for() {
    for (modes, first) in
        [(["json", "numeric", "string", "string", "json"], true), (["string", "string", "bytes", "json", "map"], false)]
    {
        let stage = Stage::new("others");
        let client = stage.client().await;
        let has_hstore = client.batch_execute("CREATE EXTENSION hstore").await.is_ok();
        let cases: Vec<_> = OTHERS.iter().filter(|case| has_hstore || case.0 != "hstore").collect();
        let columns: Vec<String> = cases.iter().enumerate().map(|(at, case)| format!("c{at} {}", case.0)).collect();
        let values: Vec<&str> = cases.iter().map(|case| case.1).collect();
        let sql = format!("CREATE TABLE t ({}); INSERT INTO t VALUES ({})", columns.join(", "), values.join(", "));
        client.batch_execute(&sql).await.unwrap();
        let settings = ["array", "interval", "uuid", "json", "hstore"].iter().zip(modes);
        let settings = settings.map(|(type_, mode)| format!("{type_}.handling.mode = '{mode}'\n"));
        stage.configure(&settings.collect::<String>());
        stage.run_once();
        let record = &records(&stage.kafka, &stage.topic("t"))[0];
        for (at, (type_, literal, one, other)) in cases.iter().enumerate() {
            let expected = if first { one } else { other };
            assert_eq!(text(&record.get(&format!("c{at}"))), **expected, "{literal} as {type_} with {modes:?}");
        }
    }
}
