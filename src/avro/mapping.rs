//! The one table: PostgreSQL type → Avro type and transcoder. What is not in it travels as PostgreSQL's own text, so that
//! no column is dropped.

use postgres_protocol::escape::escape_identifier;
use serde_json::Value;

use super::attribute::{Schema, avro, insert_before, or_null, with_parameter};
use super::handling::{Arrays, Handling, Profile};
use super::name::Records;
use super::schema::is_record;
use super::transcode::{Step, Transcoder};
use crate::postgres::{Attribute, Class, Column, Type};
use crate::{Error, Kind, Result};

mod built_in;
mod extension;
mod time;

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
    /// Whether Avro has a union with null even if PostgreSQL lets no NULL in: a value may become null, or Debezium's schema
    /// is optional by itself, as that of its `Geometry` is.
    pub(super) fn is_optional(&self) -> bool {
        use Transcoder::{Ewkb, Shape, Unless};
        matches!(self.transcoder, Unless { .. } | Shape(_) | Ewkb { extensions: true })
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::handling::{Binary, Decimals, Times};

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
