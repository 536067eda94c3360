//! Random values of each type, made by PostgreSQL, through the transcoder; PostgreSQL's own text or arithmetic says what each
//! has to be. `STRANDLINE_VALUES` is how many of each type, 5,000 unless told.

use apache_avro::types::Value;
use futures_util::TryStreamExt;
use strandline::avro::{Encoder, RecordNames, Settings};
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
    for (at, oracle) in ORACLES.iter().enumerate() {
        values += compare(&client, &format!("v{at}"), oracle, many).await;
    }
    eprintln!("{values} values of {} types", ORACLES.len());
    assert_eq!(values, many * ORACLES.len());
}

async fn compare(client: &Client, table: &str, oracle: &Oracle, many: usize) -> usize {
    let random = oracle.random.replace("RANDOM_V6", RANDOM_V6);
    let made = format!(
        "CREATE TABLE {table} (id int PRIMARY KEY, v {}); INSERT INTO {table} SELECT g, {random} FROM generate_series(1, {many}) g",
        oracle.type_
    );
    client.batch_execute(&made).await.unwrap_or_else(|error| panic!("{made}: {error:?}"));
    let expected = format!("SELECT {} FROM {table} ORDER BY id", oracle.expected);
    let expected: Vec<String> = client
        .query(&expected, &[])
        .await
        .unwrap_or_else(|error| panic!("{expected}: {error:?}"))
        .iter()
        .map(|row| row.get(0))
        .collect();
    let oid: u32 = client.query_one("SELECT $1::text::regclass::oid", &[&table]).await.unwrap().get(0);
    let json: String = client
        .query_one(&format!("SELECT description::text FROM ({}) d", sql::describe(oid)), &[])
        .await
        .unwrap()
        .get(0);
    let names = RecordNames::new("p", &TableName::new("public", table), Default::default());
    let mut encoder = Encoder::new(&names, &Description::from_json(&json).unwrap(), &Settings::default()).unwrap();
    let copy = format!("COPY (SELECT {} FROM {table} ORDER BY id) TO STDOUT (FORMAT binary)", encoder.select_list());
    let copied: Vec<bytes::Bytes> = client.copy_out(&copy).await.unwrap().try_collect().await.unwrap();
    let copied = copied.concat();
    let schema = apache_avro::Schema::parse_str(encoder.value_schema()).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
    // Signature, flags, length of an extension.
    let mut rest = &copied[19..];
    let mut seen = 0;
    while rest[..2] != [0xff, 0xff] {
        let tuple = &rest[..tuple_length(rest)];
        rest = &rest[tuple.len()..];
        let (mut key, mut value) = (Vec::new(), Vec::new());
        encoder.encode(tuple, &mut key, &mut value).unwrap();
        let Value::Record(fields) = reader.read_value(&mut &value[5..]).unwrap() else { panic!() };
        let arrived = printed(oracle.type_, &fields[1].1);
        assert!(same(oracle.type_, &arrived, &expected[seen]), "{}: {arrived} is not {}", oracle.type_, expected[seen]);
        seen += 1;
    }
    seen
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
        // Its offset is checked by the table of literals.
        "timetz" => arrived.starts_with(expected.trim_end_matches('|')),
        _ => arrived == expected,
    }
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
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| printed(type_, item)).collect();
            format!("{{{}}}", items.join(","))
        }
        other => panic!("{other:?}"),
    }
}
