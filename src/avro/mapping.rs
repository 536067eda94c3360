//! The one table: PostgreSQL type → Avro type and transcoder. What is not in it travels as PostgreSQL's own text, so that
//! no column is dropped.

use postgres_protocol::escape::escape_identifier;
use serde_json::{Value, json};

use super::attribute::{Schema, avro, decimal, insert_before, logical, or_null, semantic_record, with_parameter};
use super::handling::{
    Arrays, Binary, Decimals, Handling, Hstore, Infinity, Intervals, Json, Nan, Profile, Times, Uuids,
};
use super::name::Records;
use super::schema::is_record;
use super::transcode::{Step, Transcoder, Void};
use crate::postgres::{Attribute, Class, Column, Type};
use crate::{Error, Kind, Result};

/// What the session says that changes types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Fraction digits of `money`, from the server's `lc_monetary`.
    pub money_scale: u8,
    /// What the configuration chooses.
    pub handling: Handling,
    /// Whether every column of a value may be null in Avro, whatever PostgreSQL says: where a registry takes nothing else.
    pub all_nullable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { money_scale: 2, handling: Handling::default(), all_nullable: false }
    }
}

/// How a column travels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mapped {
    /// The bare Avro type with its attributes.
    pub schema: Schema,
    pub transcoder: Transcoder,
    /// How it is selected.
    pub select: String,
}

impl Mapped {
    /// Whether a value that is not NULL may become null.
    pub(super) fn voids(&self) -> bool {
        matches!(self.transcoder, Transcoder::Unless { .. })
    }
}

/// How this column travels.
pub(super) fn map(column: &Column, settings: &Settings, records: &mut Records) -> Result<Mapped> {
    let identifier = column.expression.clone().unwrap_or_else(|| escape_identifier(&column.name));
    let mut settings = *settings;
    if let Some(cast) = column.cast {
        let known = modes(&column.type_);
        if cast.word() != "text" && !known.contains(&cast.word()) {
            let known: Vec<&str> = known.iter().chain(&["text"]).copied().collect();
            let what = format!(
                "columns.cast makes column \"{}\" `{}`, which {} does not know",
                column.name,
                cast.word(),
                column.declared
            );
            return Err(Error::new(Kind::Denied, what).hint(format!("it knows {}", known.join(", "))));
        }
        settings.handling = settings.handling.cast(cast);
    }
    let mut asked = Asked { settings, records, path: vec![column.name.as_str()] };
    let as_text = column.cast.is_some_and(|cast| cast.word() == "text");
    let mapped = if as_text { None } else { asked.column(column, &identifier) };
    // Not a cast to text, which differs from the output function for some types; and not IS NULL, which is true for a row of
    // nulls.
    let (mut schema, transcoder, select) = mapped.unwrap_or_else(|| {
        let name = if as_text { None } else { asked.settings.semantic(&column.type_) };
        let select =
            format!("CASE WHEN {identifier} IS DISTINCT FROM NULL THEN pg_catalog.format('%s', {identifier}) END");
        (avro("string", name), Transcoder::Text, select)
    });
    if !is_record(&schema) {
        insert_before(&mut schema, "connect.name", "strandline.type", column.declared.as_str().into());
    }
    Ok(Mapped { schema, transcoder, select })
}

/// The words of `columns.cast` that a type answers to, beside `text`.
fn modes(type_: &Type) -> &'static [&'static str] {
    match &type_.class {
        Class::Array { .. } => &["array", "json", "string"],
        Class::Composite(_) => &["json"],
        Class::Base => match (type_.schema.as_str(), type_.name.as_str()) {
            ("pg_catalog", "numeric" | "money") => &["precise", "string", "double"],
            ("pg_catalog", "date" | "time" | "timestamp" | "timestamptz") => {
                &["micros", "connect", "isostring", "adaptive"]
            }
            ("pg_catalog", "bytea") => &["bytes", "base64", "hex"],
            ("pg_catalog", "interval") => &["string", "numeric"],
            ("pg_catalog", "uuid") => &["uuid", "string", "bytes"],
            ("pg_catalog", "json" | "jsonb") => &["json", "string"],
            (_, "hstore") => &["map", "json"],
            _ => &[],
        },
        _ => &[],
    }
}

/// One column's mapping under way.
struct Asked<'a> {
    settings: Settings,
    records: &'a mut Records,
    /// The column, and the fields of composites down to the type at hand.
    path: Vec<&'a str>,
}

type Chosen = Option<(Schema, Transcoder)>;

impl<'a> Asked<'a> {
    /// With what is selected.
    fn column(&mut self, column: &'a Column, identifier: &str) -> Option<(Schema, Transcoder, String)> {
        let as_json = |named: bool| {
            let schema = avro("string", named.then_some("io.debezium.data.Json"));
            Some((schema, Transcoder::Text, format!("pg_catalog.to_json({identifier})::pg_catalog.text")))
        };
        let named = self.settings.handling.profile != Profile::ConnectJdbc;
        match (&column.type_.class, self.settings.handling.arrays) {
            (Class::Array { .. }, Arrays::Json) => return as_json(named),
            (Class::Array { .. }, Arrays::String) => return None,
            (Class::Composite(_), _) if column.cast.is_some() => return as_json(named),
            _ => {}
        }
        if let Some((schema, transcoder)) = self.of(&column.type_, column.typmod) {
            return Some((schema, transcoder, identifier.to_owned()));
        }
        // Elements without a transcoder: JSON has each one's own text.
        let Class::Array { element, dimensions } = &column.type_.class else { return None };
        if matches!(element.class, Class::Composite(_)) {
            return None;
        }
        let mut schema = avro("array", None);
        schema.insert("items".into(), or_null(avro("string", self.settings.semantic(element))));
        let transcoder = Transcoder::Texts { dimensions: *dimensions };
        let select = format!("pg_catalog.to_json({identifier})::pg_catalog.text");
        Some((nested(schema, *dimensions), transcoder, select))
    }

    /// The table itself. `None`: there is no transcoder.
    fn of(&mut self, type_: &'a Type, typmod: i32) -> Chosen {
        match &type_.class {
            Class::Array { element, dimensions } => {
                let (items, element) = self.of(element, typmod)?;
                let mut schema = avro("array", None);
                schema.insert("items".into(), or_null(items));
                let transcoder = Transcoder::Array { element: Box::new(element), dimensions: *dimensions };
                Some((nested(schema, *dimensions), transcoder))
            }
            Class::Composite(attributes) => self.composite(attributes),
            Class::Enum(_) if self.settings.handling.profile == Profile::ConnectJdbc => {
                Some((avro("string", None), Transcoder::Text))
            }
            Class::Enum(labels) => {
                let schema = with_parameter("string", "io.debezium.data.Enum", "allowed", labels.join(","));
                Some((schema, Transcoder::Text))
            }
            Class::Other => None,
            Class::Base if type_.schema == "pg_catalog" => self.settings.built_in(&type_.name, typmod),
            Class::Base => self.settings.of_extension(type_.extension.as_deref()?, &type_.name),
        }
    }

    fn composite(&mut self, attributes: &'a [Attribute]) -> Chosen {
        if attributes.is_empty() {
            return None;
        }
        let full = self.records.record(&self.path);
        let names: Vec<&str> = attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        let names = super::name::distinct(&names, self.records.adjustment);
        let (mut fields, mut steps) = (Vec::new(), Vec::new());
        for (attribute, name) in attributes.iter().zip(names) {
            self.path.push(&attribute.name);
            let mapped = self.of(&attribute.type_, attribute.typmod);
            self.path.pop();
            let (schema, transcoder) = mapped?;
            fields.push(super::schema::optional(&name, &attribute.name, schema));
            steps.push(Step { oid: attribute.oid, transcoder });
        }
        let mut schema = Schema::new();
        let (namespace, name) = full.rsplit_once('.').unwrap_or(("", &full));
        schema.insert("type".into(), "record".into());
        schema.insert("name".into(), name.into());
        if !namespace.is_empty() {
            schema.insert("namespace".into(), namespace.into());
        }
        schema.insert("fields".into(), fields.into());
        schema.insert("connect.name".into(), full.clone().into());
        Some((schema, Transcoder::Composite { fields: steps }))
    }
}

/// An array's schema, as deep as it is declared.
fn nested(innermost: Schema, dimensions: u16) -> Schema {
    (1..dimensions).fold(innermost, |items, _| {
        let mut outer = avro("array", None);
        outer.insert("items".into(), Value::Object(items));
        outer
    })
}

impl Settings {
    /// The semantic names of types that travel as text.
    fn semantic(&self, type_: &Type) -> Option<&'static str> {
        match (type_.schema.as_str(), type_.name.as_str(), type_.extension.as_deref()) {
            _ if self.handling.profile == Profile::ConnectJdbc => None,
            ("pg_catalog", "tsvector", _) => Some("io.debezium.data.Tsvector"),
            (_, "ltree", Some("ltree")) => Some("io.debezium.data.Ltree"),
            _ => None,
        }
    }

    fn built_in(&self, name: &str, typmod: i32) -> Chosen {
        let Settings { money_scale, handling, .. } = *self;
        let (profile, plain) = (handling.profile, handling.profile == Profile::ConnectJdbc);
        let text = |name: &'static str| avro("string", (!plain).then_some(name));
        Some(match name {
            "bool" => (avro("boolean", None), Transcoder::Bool),
            "int2" => {
                let mut schema = avro("int", None);
                schema.insert("connect.type".into(), "int16".into());
                (schema, Transcoder::Int2)
            }
            "int4" => (avro("int", None), Transcoder::Int4),
            "int8" => (avro("long", None), Transcoder::Int8),
            "oid" | "xid" | "cid" => (avro("long", None), Transcoder::Oid),
            "xid8" => (avro("string", None), Transcoder::Xid8),
            "tid" => (avro("string", None), Transcoder::Tid),
            "float4" => (avro("float", None), Transcoder::Float4),
            "float8" => (avro("double", None), Transcoder::Float8),
            "numeric" => match (handling.decimals, decimal_of(typmod)) {
                (Decimals::String, _) => (avro("string", None), Transcoder::Numeric),
                (Decimals::Double, _) => (avro("double", None), Transcoder::NumericDouble),
                (Decimals::Precise, Some((precision, scale))) => {
                    (decimal(precision, scale), self.unless_nan(Transcoder::Decimal { scale }))
                }
                (Decimals::Precise, None) if profile == Profile::Debezium => {
                    let fields = [("scale", json!("int")), ("value", json!("bytes"))];
                    let schema = semantic_record("io.debezium.data.VariableScaleDecimal", &fields);
                    (schema, self.unless_nan(Transcoder::VariableScale))
                }
                (Decimals::Precise, None) => (avro("string", None), Transcoder::Numeric),
            },
            "money" => match handling.decimals {
                Decimals::String => (avro("string", None), Transcoder::MoneyText { scale: money_scale }),
                Decimals::Precise if !plain => (decimal(19, u16::from(money_scale)), Transcoder::Money),
                _ => (avro("double", None), Transcoder::MoneyDouble { scale: money_scale }),
            },
            "text" | "varchar" | "bpchar" | "name" | "refcursor" => (avro("string", None), Transcoder::Text),
            "char" => (avro("string", None), Transcoder::Char),
            "xml" => (text("io.debezium.data.Xml"), Transcoder::Text),
            "bytea" => match handling.binary {
                Binary::Bytes => (avro("bytes", None), Transcoder::Bytes),
                Binary::Base64 => (avro("string", None), Transcoder::Base64),
                Binary::Hex => (avro("string", None), Transcoder::Hex),
            },
            "date" | "time" | "timestamp" | "timestamptz" => {
                let (schema, transcoder) = time(name, typmod, handling.times);
                (schema, self.unless_infinite(name, transcoder))
            }
            "timetz" if plain => {
                (logical("int", "org.apache.kafka.connect.data.Time", "time-millis"), Transcoder::TimeTzMillis)
            }
            "timetz" => (avro("string", Some("io.debezium.time.ZonedTime")), Transcoder::TimeTz),
            "interval" => match handling.intervals {
                Intervals::String => (avro("string", Some("io.debezium.time.Interval")), Transcoder::Interval),
                Intervals::Numeric => (avro("long", Some("io.debezium.time.MicroDuration")), Transcoder::MicroDuration),
            },
            "uuid" => match handling.uuids {
                Uuids::Uuid if profile == Profile::Debezium => (text("io.debezium.data.Uuid"), Transcoder::Uuid),
                Uuids::Uuid => (logical("string", "io.debezium.data.Uuid", "uuid"), Transcoder::Uuid),
                Uuids::String => (avro("string", None), Transcoder::Uuid),
                Uuids::Bytes => (avro("bytes", None), Transcoder::Bytes),
            },
            "json" | "jsonb" => {
                let named = (handling.json == Json::Json).then_some("io.debezium.data.Json");
                (avro("string", named), if name == "json" { Transcoder::Text } else { Transcoder::Jsonb })
            }
            "jsonpath" => (avro("string", None), Transcoder::Jsonb),
            "bit" if typmod == 1 => (avro("boolean", None), Transcoder::Bit),
            // A driver's byte, and its bytes without a name.
            "bit" if plain && (2..=8).contains(&typmod) => {
                let mut schema = avro("int", None);
                schema.insert("connect.type".into(), "int8".into());
                (schema, Transcoder::BitByte)
            }
            "bit" if plain && typmod > 8 => (avro("bytes", None), Transcoder::Bits),
            "bit" if typmod > 1 => (bits(typmod), Transcoder::Bits),
            "varbit" if typmod > 0 && profile == Profile::Debezium => (bits(typmod), Transcoder::Bits),
            "varbit" | "bit" => (avro("string", None), Transcoder::BitText),
            "inet" | "cidr" => (avro("string", None), Transcoder::Inet),
            "macaddr" | "macaddr8" => (avro("string", None), Transcoder::Mac),
            "pg_lsn" => (avro("string", None), Transcoder::Lsn),
            "point" if profile == Profile::Debezium => {
                let (wkb, srid) = (json!(["null", "bytes"]), json!(["null", "int"]));
                let fields = [("x", json!("double")), ("y", json!("double")), ("wkb", wkb), ("srid", srid)];
                (semantic_record("io.debezium.data.geometry.Point", &fields), Transcoder::PointWkb)
            }
            "point" => {
                let fields = [("x", json!("double")), ("y", json!("double"))];
                (semantic_record("io.debezium.data.geometry.Point", &fields), Transcoder::Point)
            }
            _ => return None,
        })
    }

    /// Extensions, by their own names: a type of one's own may be called anything.
    fn of_extension(&self, extension: &str, name: &str) -> Chosen {
        Some(match (extension, name) {
            ("citext", "citext") => (avro("string", None), Transcoder::Text),
            ("hstore", "hstore") if self.handling.hstore == Hstore::Json => {
                (avro("string", Some("io.debezium.data.Json")), Transcoder::HstoreJson)
            }
            ("hstore", "hstore") => {
                let mut schema = avro("map", None);
                schema.insert("values".into(), json!(["null", "string"]));
                (schema, Transcoder::Hstore)
            }
            ("vector", "vector" | "halfvec") => {
                let double = self.handling.profile == Profile::Debezium && name == "vector";
                let items = if double { "double" } else { "float" };
                let connect_name =
                    if double { "io.debezium.data.DoubleVector" } else { "io.debezium.data.FloatVector" };
                let mut schema = avro("array", Some(connect_name));
                insert_before(&mut schema, "connect.version", "items", items.into());
                (schema, if name == "vector" { Transcoder::Vector { double } } else { Transcoder::HalfVector })
            }
            ("postgis", "geometry" | "geography") => {
                let connect_name = match name {
                    "geometry" => "io.debezium.data.geometry.Geometry",
                    _ => "io.debezium.data.geometry.Geography",
                };
                let fields = [("wkb", json!("bytes")), ("srid", json!(["null", "int"]))];
                (semantic_record(connect_name, &fields), Transcoder::Ewkb)
            }
            _ => return None,
        })
    }

    fn unless_infinite(&self, name: &str, transcoder: Transcoder) -> Transcoder {
        let void = match (self.handling.infinity, name) {
            (Infinity::Extreme, _) | (_, "time") => return transcoder,
            (_, "date") => Void::InfiniteDate,
            _ => Void::InfiniteTimestamp,
        };
        let inner = Box::new(transcoder);
        match self.handling.infinity {
            Infinity::Error => Transcoder::Refusing { void, inner },
            _ => Transcoder::Unless { void, inner },
        }
    }

    fn unless_nan(&self, transcoder: Transcoder) -> Transcoder {
        match self.handling.nan {
            Nan::Error => transcoder,
            Nan::Null => Transcoder::Unless { void: Void::NotFinite, inner: Box::new(transcoder) },
        }
    }
}

fn bits(length: i32) -> Schema {
    with_parameter("bytes", "io.debezium.data.Bits", "length", length.to_string())
}

/// Dates and times.
fn time(name: &str, typmod: i32, times: Times) -> (Schema, Transcoder) {
    const DATE: &str = "org.apache.kafka.connect.data.Date";
    let zoned = name == "timestamptz";
    // Without a modifier six digits are kept.
    let millis = (0..=3).contains(&typmod);
    match (name, times) {
        ("date", Times::IsoString) => (avro("string", Some("io.debezium.time.IsoDate")), Transcoder::IsoDate),
        ("date", Times::Adaptive) => (avro("int", Some("io.debezium.time.Date")), Transcoder::Date),
        ("date", _) => (logical("int", DATE, "date"), Transcoder::Date),
        ("time", Times::IsoString) => (avro("string", Some("io.debezium.time.IsoTime")), Transcoder::IsoTime),
        ("time", Times::Connect) => {
            (logical("int", "org.apache.kafka.connect.data.Time", "time-millis"), Transcoder::TimeMillis)
        }
        ("time", Times::Adaptive) if millis => (avro("int", Some("io.debezium.time.Time")), Transcoder::TimeMillis),
        ("time", Times::Adaptive) => (avro("long", Some("io.debezium.time.MicroTime")), Transcoder::Time),
        ("time", Times::Micros) => (logical("long", "io.debezium.time.MicroTime", "time-micros"), Transcoder::Time),
        (_, Times::IsoString | Times::Adaptive) if zoned => {
            (avro("string", Some("io.debezium.time.ZonedTimestamp")), Transcoder::IsoTimestamp { zoned })
        }
        (_, Times::IsoString) => {
            (avro("string", Some("io.debezium.time.IsoTimestamp")), Transcoder::IsoTimestamp { zoned })
        }
        (_, Times::Connect) => {
            let schema = logical("long", "org.apache.kafka.connect.data.Timestamp", "timestamp-millis");
            (schema, Transcoder::TimestampMillis)
        }
        (_, Times::Adaptive) if millis => {
            (avro("long", Some("io.debezium.time.Timestamp")), Transcoder::TimestampMillis)
        }
        (_, Times::Adaptive) => (avro("long", Some("io.debezium.time.MicroTimestamp")), Transcoder::Timestamp),
        (_, Times::Micros) => {
            (logical("long", "io.debezium.time.MicroTimestamp", "timestamp-micros"), Transcoder::Timestamp)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, typmod: i32, declared: &str) -> Column {
        Column {
            attnum: 1,
            name: "c".into(),
            not_null: true,
            declared: declared.into(),
            type_: Type::built_in(0, name),
            typmod,
            default: None,
            expression: None,
            cast: None,
        }
    }

    fn mapped(column: &Column, settings: &Settings) -> Mapped {
        map(column, settings, &mut Records::new("shop.public.t", Default::default())).unwrap()
    }

    fn schema(column: &Column) -> String {
        Value::Object(mapped(column, &Settings::default()).schema).to_string()
    }

    #[test]
    fn types_become_what_was_asked_for() {
        let handling = Handling {
            decimals: Decimals::String,
            times: Times::IsoString,
            binary: Binary::Hex,
            ..Handling::default()
        };
        let chosen = Settings { handling, ..Settings::default() };
        let connect = Handling {
            decimals: Decimals::Double,
            times: Times::Connect,
            binary: Binary::Base64,
            ..Handling::default()
        };
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
            assert_eq!(mapped(&column, &chosen).transcoder, by_text, "{type_}");
            assert_eq!(mapped(&column, &connect).transcoder, by_connect, "{type_}");
            let schema = Value::Object(mapped(&column, &connect).schema).to_string();
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
        let text = mapped(&column("box", -1, "box"), &Settings::default());
        assert_eq!(text.transcoder, Transcoder::Text);
        assert_eq!(text.select, r#"CASE WHEN "c" IS DISTINCT FROM NULL THEN pg_catalog.format('%s', "c") END"#);
        assert_eq!(Value::Object(text.schema).to_string(), r#"{"type":"string","strandline.type":"box"}"#);
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
        assert_eq!(mapped(&own, &Settings::default()).transcoder, Transcoder::Text);
    }
}
