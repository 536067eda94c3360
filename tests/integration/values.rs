//! Random values of each type, made by PostgreSQL, through the transcoder; PostgreSQL's own text or arithmetic says what each
//! has to be. `STRANDLINE_VALUES` is how many of each type, 5,000 unless told.

use std::collections::HashMap;

use apache_avro::types::Value;
use futures_util::TryStreamExt;
use strandline::avro::{Encoder, Profile, RecordNames, Settings};
use strandline::poll::{TableName, sql};
use strandline::postgres::Description;
use strandline_testbed::Postgres;
use tokio_postgres::Client;

use crate::stage::connect;

/// A type, an expression that makes one at random, and what it has to arrive as, of the value `v`.
struct Oracle {
    type_: &'static str,
    random: &'static str,
    expected: &'static str,
}

const fn of(type_: &'static str, random: &'static str, expected: &'static str) -> Oracle {
    Oracle { type_, random, expected }
}

const TEXT: &str = "format('%s', v)";

const ORACLES: &[Oracle] = &[
    of("bool", "random() < 0.5", "v::text"),
    of("int2", "(random() * 65535 - 32768)::int", TEXT),
    of("int4", "((random() - 0.5) * 2 ^ (random() * 31))::int", TEXT),
    of("int8", "((random() - 0.5) * 2 ^ (random() * 63))::int8", TEXT),
    of("oid", "(random() * 4294967295)::int8::oid", TEXT),
    of("float4", "((random() - 0.5) * 10 ^ (random() * 60 - 30))::float4", "v::float8::text"),
    of("float8", "(random() - 0.5) * 10 ^ (random() * 500 - 250)", TEXT),
    of(
        "numeric",
        "round((random() - 0.5)::numeric * power(10::numeric, (random() * 60 - 20)::int), (random() * 30)::int - 5)",
        TEXT,
    ),
    of(
        "numeric(38,9)",
        "(random() - 0.5)::numeric * power(10::numeric, (random() * 28)::int)",
        "trunc(v * 1000000000)::text",
    ),
    of("numeric(6,6)", "random()::numeric(6,6) * 0.999999", "trunc(v * 1000000)::text"),
    of("money", "((random() - 0.5) * 10 ^ (random() * 15))::numeric::money", "trunc(v::numeric * 100)::text"),
    of("text", "left(repeat(chr(1 + (random() * 50000)::int), (random() * 300)::int), 300)", TEXT),
    of("bpchar", "chr(65 + (random() * 50)::int)", TEXT),
    of("bytea", "decode(repeat(md5(random()::text), (random() * 10)::int), 'hex')", "encode(v, 'hex')"),
    of("date", "date '4713-01-01 BC' + (random() * 3000000)::int", "(v - date '1970-01-01')::text"),
    of("time", "time '00:00' + random() * interval '24 h'", "(extract(epoch FROM v) * 1000000)::int8::text"),
    of("timestamp", RANDOM_TIMESTAMP, "(extract(epoch FROM v) * 1000000)::int8::text"),
    of("timestamptz", RANDOM_TIMESTAMP, "(extract(epoch FROM v) * 1000000)::int8::text"),
    of(
        "timetz",
        "(time '00:00' + random() * interval '24 h' || to_char((random() * 28)::int - 14, 'SG09') || ':30')::timetz",
        "replace(rtrim(to_char(v::time, 'HH24:MI:SS.US'), '0') || '|', '.|', '|')",
    ),
    of(
        "interval",
        "make_interval(months => (random() * 4000 - 2000)::int, days => (random() * 4000 - 2000)::int, secs => random() * 2e7 - 1e7)",
        TEXT,
    ),
    of("uuid", "md5(random()::text)::uuid", TEXT),
    of("json", "json_build_array(random(), md5(random()::text))", TEXT),
    of("jsonb", "jsonb_build_object('a', random(), 'b', chr(32 + (random() * 3000)::int))", TEXT),
    of("bit(11)", "(random() * 2047)::int::bit(11)", "v::int::text"),
    of("varbit", "left(((random() * 2e9)::int::bit(32))::text, (random() * 32)::int)::varbit", TEXT),
    of(
        "inet",
        "(inet '0.0.0.0' + (random() * 4294967295)::int8) & netmask(set_masklen('0.0.0.0'::inet, 8 + (random() * 24)::int))",
        TEXT,
    ),
    of("inet", RANDOM_V6, TEXT),
    of("cidr", "network(set_masklen((inet '0.0.0.0' + (random() * 4294967295)::int8), (random() * 32)::int))", TEXT),
    of("cidr", "network(set_masklen((RANDOM_V6), (random() * 128)::int))", TEXT),
    of("macaddr", "left(md5(random()::text), 12)::macaddr", TEXT),
    of("macaddr8", "left(md5(random()::text), 16)::macaddr8", TEXT),
    of("pg_lsn", "pg_lsn '0/0' + (random() * 1e18)::numeric(20,0)", TEXT),
    of("xid8", "(random() * 1e18)::int8::text::xid8", TEXT),
    of("tid", "format('(%s,%s)', (random() * 4e9)::int8, (random() * 65535)::int)::tid", TEXT),
    of("int4[]", "ARRAY[(random() * 9)::int, NULL, (random() * 9)::int]", TEXT),
    of("int4range", "int4range((random() * 99)::int, 100 + (random() * 99)::int)", TEXT),
    of("tsvector", "to_tsvector('simple', md5(random()::text) || ' b')", TEXT),
    of("path", "path(polygon(3 + (random() * 5)::int, circle(point(random(), random()), random())))", TEXT),
];

/// The same with Debezium's profile, where that is another value.
const DEBEZIUM: &[Oracle] = &[
    of(
        "numeric",
        "round((random() - 0.5)::numeric * power(10::numeric, (random() * 60 - 20)::int), (random() * 30)::int - 5)",
        "format('{%s,%s}', scale(trim_scale(v)), trunc(v * power(10::numeric, scale(trim_scale(v)))))",
    ),
    of("timestamptz", AFTER_CHRIST, "to_char(v, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"),
    of(
        "timestamptz(2)",
        AFTER_CHRIST,
        "rtrim(to_char(v, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS'), '0123456789') || to_char(v, 'MS')::char(2) || 'Z'",
    ),
    of("timestamp(3)", AFTER_CHRIST, "(extract(epoch FROM v) * 1000)::int8::text"),
    of(
        "timetz",
        "(time '00:00' + random() * interval '24 h' || to_char((random() * 28)::int - 14, 'SG09') || ':30')::timetz",
        "replace(format('%s', v AT TIME ZONE 'UTC'), '+00', 'Z')",
    ),
    of("bit(27)", "(random() * 2 ^ (random() * 27 - 1))::int::bit(27)", "v::int::text"),
    of(
        "bit varying",
        "left(((random() * 2e9)::int::bit(32))::text, (random() * 32)::int)::varbit",
        "lpad(v::text, 64, '0')::bit(64)::int8::text",
    ),
    of("box", "box(point(random(), -random()), point(random() * 1e9, random()))", TEXT),
    of("lseg", "lseg(point(random(), -random()), point(random() * 1e9, random()))", TEXT),
    of("path", "path(polygon(3 + (random() * 5)::int, circle(point(random(), random()), random())))", TEXT),
    of("polygon", "polygon(3 + (random() * 5)::int, circle(point(random(), random()), random()))", TEXT),
    of("circle", "circle(point(random(), -random()), random() * 1e9)", TEXT),
    of("line", "line(point(random(), -random()), point(random() * 1e9, random()))", TEXT),
];

const AFTER_CHRIST: &str = "timestamp '0001-01-01' + random() * interval '9000 years'";

/// Types of which values differ that PostgreSQL holds equal, and expressions that make such ones.
const EQUALS: &[(&str, &str)] = &[
    ("numeric", "round(round((random() * 9)::numeric / 4, (random() * 2)::int), (random() * 5)::int)"),
    (
        "numeric",
        "(ARRAY['NaN', 'Infinity', '0', '0.00', '1e3', '1000.0', '-0.1', '-0.10'])[1 + (random() * 7)::int]::numeric",
    ),
    ("numeric(8,4)", "round((random() * 9)::numeric / 4, (random() * 2)::int)"),
    ("float4", "(ARRAY['-0', '0', 'NaN', '-Infinity', '1.5', '1e-45'])[1 + (random() * 5)::int]::float4"),
    ("float8", "(ARRAY['-0', '0', 'NaN', '-Infinity', '1.5', '5e-324'])[1 + (random() * 5)::int]::float8"),
    ("interval", SMALL_INTERVAL),
    ("bpchar", "repeat(' a', (random() * 2)::int) || repeat(' ', (random() * 3)::int)"),
    ("char(5)", "repeat('a', (random() * 2)::int) || repeat(' ', (random() * 3)::int)"),
    ("varchar", "repeat('a', (random() * 2)::int) || repeat(' ', (random() * 3)::int)"),
    (
        "timetz",
        "(time '00:00' + (random() * 23)::int * interval '1 h' || to_char((random() * 4)::int - 2, 'SG09'))::timetz",
    ),
    ("numeric[]", "ARRAY[round((random() * 3)::int::numeric, (random() * 3)::int), NULL, 0.0]"),
    ("float8[]", "ARRAY[(ARRAY['-0', '0', 'NaN', '1.5'])[1 + (random() * 3)::int]::float8]"),
    ("interval[]", "ARRAY[SMALL_INTERVAL]"),
    ("amount", "ROW(SMALL_INTERVAL, round((random() * 3)::int::numeric, (random() * 3)::int))::amount"),
    ("amount[]", "ARRAY[ROW(interval '24 h', round((random() * 3)::int::numeric, (random() * 3)::int))::amount, NULL]"),
    ("bytea", "decode(left('0001', 2 * (random() * 2)::int), 'hex')"),
    ("varbit", "left('0010', (random() * 4)::int)::varbit"),
    ("inet", "(ARRAY['10.0.0.1', '10.0.0.1/32', '10.0.0.1/8', '::1'])[1 + (random() * 3)::int]::inet"),
];

const SMALL_INTERVAL: &str = "make_interval(months => (random() * 2)::int - 1, days => 15 * ((random() * 8)::int - 4), \
     hours => 12 * ((random() * 8)::int - 4))";

const RANDOM_TIMESTAMP: &str =
    "timestamp '4713-01-01 BC' + random() * 9e13 * interval '1 ms' + random() * interval '1 s'";
const RANDOM_V6: &str = "(SELECT string_agg(CASE WHEN random() < 0.5 THEN '0' ELSE to_hex((random() * 65535)::int) END, ':') \
     FROM generate_series(1, 8 + 0 * g))::inet";

#[tokio::test(flavor = "multi_thread")]
async fn random_values_of_each_type_arrive_as_postgresql_has_them() {
    let many = std::env::var("STRANDLINE_VALUES").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let database = Postgres::shared().create_database("values");
    let client = connect(&database.url).await;
    client
        .batch_execute("SET TimeZone = 'UTC'; SET IntervalStyle = iso_8601; SET extra_float_digits = 3")
        .await
        .unwrap();
    let mut values = 0;
    for (profile, oracles) in [(Profile::Strandline, ORACLES), (Profile::Debezium, DEBEZIUM)] {
        for (at, oracle) in oracles.iter().enumerate() {
            values += compare(&client, &format!("v{at}_{profile:?}"), profile, oracle, many).await;
        }
    }
    let types = ORACLES.len() + DEBEZIUM.len();
    eprintln!("{values} values of {types} types");
    assert_eq!(values, many * types);
}

/// By PostgreSQL's own comparison, both ways, but where a form of Avro's has none of the difference.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_the_same_bytes_exactly_where_postgresql_holds_them_equal() {
    let database = Postgres::shared().create_database("equals");
    let client = connect(&database.url).await;
    client.batch_execute("CREATE TYPE amount AS (per interval, n numeric)").await.unwrap();
    for (at, (type_, random)) in EQUALS.iter().enumerate() {
        let table = format!("e{at}");
        make(&client, &table, type_, random, 500).await;
        let ranks =
            asked(&client, &format!("SELECT (dense_rank() OVER (ORDER BY v))::text FROM {table} ORDER BY id")).await;
        for profile in [Profile::Strandline, Profile::ConnectJdbc, Profile::Debezium] {
            let mut bytes_of = HashMap::new();
            let mut rank_of = HashMap::new();
            let (mut encoder, tuples) = copied(&client, &table, profile, vec![1]).await;
            for (tuple, rank) in tuples.iter().zip(&ranks) {
                let (mut key, mut value) = (Vec::new(), Vec::new());
                match encoder.encode(tuple, &mut key, &mut value) {
                    Ok(()) => {}
                    // NaN, where Debezium's record of a number has none.
                    Err(error) if profile == Profile::Debezium && *type_ == "numeric" => {
                        assert!(error.report().contains("NaN"), "{error:?}");
                        continue;
                    }
                    Err(error) => panic!("{type_}: {error:?}"),
                }
                let first = bytes_of.entry(rank).or_insert_with(|| key.clone());
                assert_eq!(*first, key, "{random} as {type_}, equal values with {profile:?}");
                // In milliseconds of a day there are no zones; bytes without those that are zero have no length.
                let loses = (profile == Profile::ConnectJdbc && *type_ == "timetz")
                    || (profile == Profile::Debezium && *type_ == "varbit");
                let first = rank_of.entry(key).or_insert(rank);
                assert!(loses || *first == rank, "{random} as {type_}, unequal values with {profile:?}");
            }
            assert!(bytes_of.len() > 1, "{type_}");
        }
    }
}

async fn make(client: &Client, table: &str, type_: &str, random: &str, many: usize) {
    let random = random.replace("RANDOM_V6", RANDOM_V6).replace("SMALL_INTERVAL", SMALL_INTERVAL);
    let made = format!(
        "CREATE TABLE {table} (id int PRIMARY KEY, v {type_}); INSERT INTO {table} SELECT g, {random} FROM generate_series(1, {many}) g"
    );
    client.batch_execute(&made).await.unwrap_or_else(|error| panic!("{made}: {error:?}"));
}

async fn asked(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// The table's encoder with these columns for a key, none for its own, and its rows in the order of `id`.
async fn copied(client: &Client, table: &str, profile: Profile, key: Vec<usize>) -> (Encoder, Vec<Vec<u8>>) {
    let oid: u32 = client.query_one("SELECT $1::text::regclass::oid", &[&table]).await.unwrap().get(0);
    let description = asked(client, &format!("SELECT description::text FROM ({}) d", sql::describe(oid))).await;
    let mut description = Description::from_json(&description[0]).unwrap();
    description.key = key;
    let names = RecordNames::new("p", &TableName::new("public", table), Default::default());
    let settings = Settings { handling: profile.handling(), ..Settings::default() };
    let encoder = Encoder::new(&names, &description, &settings).unwrap();
    let copy = format!("COPY (SELECT {} FROM {table} ORDER BY id) TO STDOUT (FORMAT binary)", encoder.select_list());
    let copied: Vec<bytes::Bytes> = client.copy_out(&copy).await.unwrap().try_collect().await.unwrap();
    let copied = copied.concat();
    // Signature, flags, length of an extension.
    let mut rest = &copied[19..];
    let mut tuples = Vec::new();
    while rest[..2] != [0xff, 0xff] {
        let (tuple, tail) = rest.split_at(tuple_length(rest));
        tuples.push(tuple.to_vec());
        rest = tail;
    }
    (encoder, tuples)
}

async fn compare(client: &Client, table: &str, profile: Profile, oracle: &Oracle, many: usize) -> usize {
    make(client, table, oracle.type_, oracle.random, many).await;
    let expected = asked(client, &format!("SELECT {} FROM {table} ORDER BY id", oracle.expected)).await;
    let (mut encoder, tuples) = copied(client, table, profile, vec![0]).await;
    let schema = apache_avro::Schema::parse_str(encoder.value_schema()).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
    for (tuple, expected) in tuples.iter().zip(&expected) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        encoder.encode(tuple, &mut key, &mut value).unwrap();
        let Value::Record(fields) = reader.read_value(&mut &value[5..]).unwrap() else { panic!() };
        let arrived = printed(oracle.type_, &fields[1].1);
        assert!(same(oracle.type_, &arrived, expected), "{}: {arrived} is not {expected}", oracle.type_);
    }
    tuples.len()
}

fn tuple_length(tuple: &[u8]) -> usize {
    let count = u16::from_be_bytes([tuple[0], tuple[1]]);
    (0..count).fold(2, |at, _| {
        let length = i32::from_be_bytes(tuple[at..at + 4].try_into().unwrap());
        at + 4 + usize::try_from(length).unwrap_or(0)
    })
}

fn same(type_: &str, arrived: &str, expected: &str) -> bool {
    match type_ {
        // The digits may be others; the number may not.
        "float4" | "float8" => arrived.parse::<f64>().unwrap() == expected.parse::<f64>().unwrap(),
        "box" | "lseg" | "path" | "polygon" | "circle" | "line" if !arrived.contains('(') => {
            numbers(arrived) == numbers(expected)
        }
        // Its offset is checked by the table of literals.
        "timetz" if expected.ends_with('|') => arrived.starts_with(expected.trim_end_matches('|')),
        _ => arrived == expected,
    }
}

fn numbers(text: &str) -> Vec<f64> {
    let parts = text.split(|one: char| !(one.is_ascii_digit() || "+-.e".contains(one)));
    parts.filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
}

/// The numbers of well-known binary, as PostgreSQL has them of that type.
fn well_known(type_: &str, wkb: &[u8]) -> String {
    let header = if ["box", "polygon"].contains(&type_) { 13 } else { 9 };
    let points: Vec<&[u8]> = wkb[header..].chunks(16).collect();
    let points = match type_ {
        "box" => vec![points[0], points[2]],
        "polygon" => points[..points.len() - 1].to_vec(),
        _ => points,
    };
    let numbers = points.concat();
    let numbers = numbers.chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()).to_string());
    numbers.collect::<Vec<_>>().join(" ")
}

fn printed(type_: &str, value: &Value) -> String {
    match value {
        Value::Union(_, value) => printed(type_, value),
        Value::Null => "NULL".to_owned(),
        Value::Boolean(bool) => bool.to_string(),
        Value::Int(int) | Value::Date(int) => int.to_string(),
        Value::Long(long) | Value::TimeMicros(long) | Value::TimestampMicros(long) => long.to_string(),
        Value::Float(float) => f64::from(*float).to_string(),
        Value::Double(double) => double.to_string(),
        Value::String(text) => text.clone(),
        Value::Uuid(uuid) => uuid.to_string(),
        Value::Decimal(decimal) => {
            let bytes = Vec::<u8>::try_from(decimal).unwrap();
            num_bigint::BigInt::from_signed_bytes_be(&bytes).to_string()
        }
        Value::Bytes(bytes) if type_.starts_with("bit") => {
            bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).to_string()
        }
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Value::Record(fields) if fields[0].0 == "wkb" => {
            let Value::Bytes(wkb) = &fields[0].1 else { panic!("{value:?}") };
            well_known(type_, wkb)
        }
        Value::Record(fields) if fields[0].0 == "scale" => {
            let Value::Bytes(unscaled) = &fields[1].1 else { panic!("{value:?}") };
            let unscaled = num_bigint::BigInt::from_signed_bytes_be(unscaled);
            format!("{{{},{unscaled}}}", printed(type_, &fields[0].1))
        }
        Value::Record(fields) => {
            let fields = fields.iter().filter(|(name, _)| !["wkb", "srid"].contains(&name.as_str()));
            fields.map(|(_, value)| printed(type_, value)).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| printed(type_, item)).collect();
            format!("{{{}}}", items.join(","))
        }
        other => panic!("{other:?}"),
    }
}
