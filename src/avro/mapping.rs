//! The one table: PostgreSQL type → Avro type and transcoder. What is not in it travels as PostgreSQL's own text, so that
//! no column is dropped.

use postgres_protocol::escape::escape_identifier;
use serde_json::{Map, Value, json};

use super::handling::{Binary, Decimals, Handling, Times};
use super::transcode::Transcoder;
use crate::postgres::{Class, Column, Type};

/// What the session says that changes types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Fraction digits of `money`, from the server's `lc_monetary`.
    pub money_scale: u8,
    /// What the configuration chooses.
    pub handling: Handling,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { money_scale: 2, handling: Handling::default() }
    }
}

/// How a column travels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mapped {
    /// The bare Avro type with its attributes.
    pub schema: Map<String, Value>,
    pub transcoder: Transcoder,
    /// How it is selected.
    pub select: String,
}

const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";

/// How this column travels.
pub(super) fn map(column: &Column, settings: &Settings) -> Mapped {
    let identifier = column.expression.clone().unwrap_or_else(|| escape_identifier(&column.name));
    let mapped = match &column.type_.class {
        Class::Array(element) => of(element, column.typmod, settings).map(|(items, transcoder)| {
            let mut schema = avro("array", None);
            schema.insert("items".into(), json!(["null", items]));
            (schema, Transcoder::Array { element: Box::new(transcoder) })
        }),
        _ => of(&column.type_, column.typmod, settings),
    };
    let (mut schema, transcoder, select) = match mapped {
        Some((schema, transcoder)) => (schema, transcoder, identifier),
        // Not a cast to text, which differs from the output function for some types; and not IS NULL, which is true for a
        // row of nulls.
        None => (
            avro("string", as_text(&column.type_)),
            Transcoder::Text,
            format!("CASE WHEN {identifier} IS DISTINCT FROM NULL THEN pg_catalog.format('%s', {identifier}) END"),
        ),
    };
    insert_before(&mut schema, "connect.name", "strandline.type", column.declared.as_str().into());
    Mapped { schema, transcoder, select }
}

/// The semantic names of types that travel as text.
fn as_text(type_: &Type) -> Option<&'static str> {
    match (type_.schema.as_str(), type_.name.as_str()) {
        ("pg_catalog", "xml") => Some("io.debezium.data.Xml"),
        ("pg_catalog", "tsvector") => Some("io.debezium.data.Tsvector"),
        (_, "ltree") => Some("io.debezium.data.Ltree"),
        _ => None,
    }
}

/// The table itself. `None`: as text.
fn of(type_: &Type, typmod: i32, settings: &Settings) -> Option<(Map<String, Value>, Transcoder)> {
    if let Class::Enum(labels) = &type_.class {
        let mut schema = avro("string", Some("io.debezium.data.Enum"));
        let allowed = json!({ "allowed": labels.join(",") });
        insert_before(&mut schema, "connect.name", "connect.parameters", allowed);
        return Some((schema, Transcoder::Text));
    }
    let name = match (type_.schema.as_str(), type_.name.as_str()) {
        ("pg_catalog", name) => name,
        (_, "citext") => "text",
        _ => return None,
    };
    Some(match name {
        "bool" => (avro("boolean", None), Transcoder::Bool),
        "int2" => {
            let mut schema = avro("int", None);
            schema.insert("connect.type".into(), "int16".into());
            (schema, Transcoder::Int2)
        }
        "int4" => (avro("int", None), Transcoder::Int4),
        "int8" => (avro("long", None), Transcoder::Int8),
        "oid" | "xid" => (avro("long", None), Transcoder::Oid),
        "float4" => (avro("float", None), Transcoder::Float4),
        "float8" => (avro("double", None), Transcoder::Float8),
        "numeric" => match (settings.handling.decimals, decimal_of(typmod)) {
            (Decimals::String, _) => (avro("string", None), Transcoder::Numeric),
            (Decimals::Double, _) => (avro("double", None), Transcoder::NumericDouble),
            (Decimals::Precise, Some((precision, scale))) => (decimal(precision, scale), Transcoder::Decimal { scale }),
            (Decimals::Precise, None) => (avro("string", None), Transcoder::Numeric),
        },
        "money" if settings.handling.decimals == Decimals::String => {
            (avro("string", None), Transcoder::MoneyText { scale: settings.money_scale })
        }
        "money" if settings.handling.decimals == Decimals::Double => {
            (avro("double", None), Transcoder::MoneyDouble { scale: settings.money_scale })
        }
        "money" => (decimal(19, u16::from(settings.money_scale)), Transcoder::Money),
        "text" | "varchar" | "bpchar" | "name" => (avro("string", None), Transcoder::Text),
        "char" => (avro("string", None), Transcoder::Char),
        "bytea" if settings.handling.binary == Binary::Base64 => (avro("string", None), Transcoder::Base64),
        "bytea" if settings.handling.binary == Binary::Hex => (avro("string", None), Transcoder::Hex),
        "bytea" => (avro("bytes", None), Transcoder::Bytes),
        "date" | "time" | "timestamp" | "timestamptz" if settings.handling.times != Times::Micros => {
            time(name, settings.handling.times)
        }
        "date" => (logical("int", "org.apache.kafka.connect.data.Date", "date"), Transcoder::Date),
        "time" => (logical("long", "io.debezium.time.MicroTime", "time-micros"), Transcoder::Time),
        "timestamp" | "timestamptz" => {
            (logical("long", "io.debezium.time.MicroTimestamp", "timestamp-micros"), Transcoder::Timestamp)
        }
        "timetz" => (avro("string", Some("io.debezium.time.ZonedTime")), Transcoder::TimeTz),
        "interval" => (avro("string", Some("io.debezium.time.Interval")), Transcoder::Interval),
        "uuid" => (logical("string", "io.debezium.data.Uuid", "uuid"), Transcoder::Uuid),
        "json" => (avro("string", Some("io.debezium.data.Json")), Transcoder::Text),
        "jsonb" => (avro("string", Some("io.debezium.data.Json")), Transcoder::Jsonb),
        _ => return None,
    })
}

/// Dates and times otherwise than by default.
fn time(name: &str, times: Times) -> (Map<String, Value>, Transcoder) {
    let zoned = name == "timestamptz";
    match (name, times) {
        ("date", Times::IsoString) => (avro("string", Some("io.debezium.time.IsoDate")), Transcoder::IsoDate),
        ("time", Times::IsoString) => (avro("string", Some("io.debezium.time.IsoTime")), Transcoder::IsoTime),
        (_, Times::IsoString) => {
            let name = if zoned { "io.debezium.time.ZonedTimestamp" } else { "io.debezium.time.IsoTimestamp" };
            (avro("string", Some(name)), Transcoder::IsoTimestamp { zoned })
        }
        ("date", _) => (logical("int", "org.apache.kafka.connect.data.Date", "date"), Transcoder::Date),
        ("time", _) => (logical("int", "org.apache.kafka.connect.data.Time", "time-millis"), Transcoder::TimeMillis),
        _ => (
            logical("long", "org.apache.kafka.connect.data.Timestamp", "timestamp-millis"),
            Transcoder::TimestampMillis,
        ),
    }
}

/// Precision and scale of a numeric's modifier as Avro takes them: PostgreSQL 15 and later allow a scale below 0, which
/// stands for so many zeros more, and one above the precision.
fn decimal_of(typmod: i32) -> Option<(u16, u16)> {
    let bits = typmod.checked_sub(4).filter(|bits| *bits >= 0)?;
    let precision = (bits >> 16) & 0xffff;
    let scale = ((bits & 0x7ff) ^ 1024) - 1024;
    let (precision, scale) = if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
    Some((u16::try_from(precision).ok()?, u16::try_from(scale).ok()?))
}

/// An Avro type with the attributes of a Connect schema name.
fn avro(type_: &str, connect_name: Option<&str>) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".into(), type_.into());
    if let Some(name) = connect_name {
        schema.insert("connect.version".into(), 1.into());
        schema.insert("connect.name".into(), name.into());
    }
    schema
}

fn logical(type_: &str, connect_name: &str, logical: &str) -> Map<String, Value> {
    let mut schema = avro(type_, Some(connect_name));
    schema.insert("logicalType".into(), logical.into());
    schema
}

fn decimal(precision: u16, scale: u16) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".into(), "bytes".into());
    schema.insert("scale".into(), scale.into());
    schema.insert("precision".into(), precision.into());
    schema.insert("connect.version".into(), 1.into());
    let parameters = json!({ "scale": scale.to_string(), "connect.decimal.precision": precision.to_string() });
    schema.insert("connect.parameters".into(), parameters);
    schema.insert("connect.name".into(), DECIMAL.into());
    schema.insert("logicalType".into(), "decimal".into());
    schema
}

/// Inserts an attribute before another, or at the end where that is not: the order of attributes is Confluent's.
fn insert_before(schema: &mut Map<String, Value>, before: &str, key: &str, value: Value) {
    let mut inserted = Some((key.to_owned(), value));
    let mut ordered = Map::new();
    for (name, old) in std::mem::take(schema) {
        if name == before
            && let Some((key, value)) = inserted.take()
        {
            ordered.insert(key, value);
        }
        ordered.insert(name, old);
    }
    if let Some((key, value)) = inserted {
        ordered.insert(key, value);
    }
    *schema = ordered;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, typmod: i32, declared: &str) -> Column {
        Column {
            attnum: 1,
            name: "c".into(),
            not_null: true,
            declared: declared.into(),
            type_: Type { oid: 0, schema: "pg_catalog".into(), name: name.into(), class: Class::Base },
            typmod,
            expression: None,
        }
    }

    fn schema(column: &Column) -> String {
        Value::Object(map(column, &Settings::default()).schema).to_string()
    }

    #[test]
    fn types_become_what_was_asked_for() {
        let handling = Handling { decimals: Decimals::String, times: Times::IsoString, binary: Binary::Hex };
        let chosen = Settings { handling, ..Settings::default() };
        let connect = Handling { decimals: Decimals::Double, times: Times::Connect, binary: Binary::Base64 };
        let connect = Settings { handling: connect, ..Settings::default() };
        for (type_, by_text, by_connect) in [
            ("numeric", Transcoder::Numeric, Transcoder::NumericDouble),
            ("money", Transcoder::MoneyText { scale: 2 }, Transcoder::MoneyDouble { scale: 2 }),
            ("date", Transcoder::IsoDate, Transcoder::Date),
            ("time", Transcoder::IsoTime, Transcoder::TimeMillis),
            ("timestamp", Transcoder::IsoTimestamp { zoned: false }, Transcoder::TimestampMillis),
            ("timestamptz", Transcoder::IsoTimestamp { zoned: true }, Transcoder::TimestampMillis),
            ("bytea", Transcoder::Hex, Transcoder::Base64),
        ] {
            let column = column(type_, (12 << 16 | 2) + 4, type_);
            assert_eq!(map(&column, &chosen).transcoder, by_text, "{type_}");
            assert_eq!(map(&column, &connect).transcoder, by_connect, "{type_}");
            let schema = Value::Object(map(&column, &connect).schema).to_string();
            assert!(!schema.contains("micros"), "{schema}");
        }
    }

    #[test]
    fn a_decimal_is_written_as_confluent_writes_it() {
        assert_eq!(
            schema(&column("numeric", ((12 << 16) | 2) + 4, "numeric(12,2)")),
            concat!(
                r#"{"type":"bytes","scale":2,"precision":12,"connect.version":1,"#,
                r#""connect.parameters":{"scale":"2","connect.decimal.precision":"12"},"strandline.type":"numeric(12,2)","#,
                r#""connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}"#
            )
        );
    }

    #[test]
    fn scales_outside_the_precision_become_ones_that_avro_takes() {
        let typmod = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        assert_eq!(decimal_of(typmod(12, 2)), Some((12, 2)));
        assert_eq!(decimal_of(typmod(3, -4)), Some((7, 0)));
        assert_eq!(decimal_of(typmod(3, 5)), Some((5, 5)));
        assert_eq!(decimal_of(typmod(1000, 1000)), Some((1000, 1000)));
        assert_eq!(decimal_of(-1), None);
    }

    #[test]
    fn an_unknown_type_travels_as_text() {
        let inet = map(&column("inet", -1, "inet"), &Settings::default());
        assert_eq!(inet.transcoder, Transcoder::Text);
        assert_eq!(inet.select, r#"CASE WHEN "c" IS DISTINCT FROM NULL THEN pg_catalog.format('%s', "c") END"#);
        assert_eq!(Value::Object(inet.schema).to_string(), r#"{"type":"string","strandline.type":"inet"}"#);
    }

    #[test]
    fn an_enum_lists_its_labels() {
        let mut mood = column("mood", -1, "public.mood");
        mood.type_.schema = "public".into();
        mood.type_.class = Class::Enum(vec!["sad".into(), "ok".into()]);
        assert!(schema(&mood).contains(r#""connect.parameters":{"allowed":"sad,ok"}"#), "{}", schema(&mood));
    }

    #[test]
    fn a_type_of_ones_own_with_a_known_name_is_not_taken_for_the_known_one() {
        let mut own = column("int4", -1, "app.int4");
        own.type_.schema = "app".into();
        assert_eq!(map(&own, &Settings::default()).transcoder, Transcoder::Text);
    }
}
