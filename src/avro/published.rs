//! The mapping as published: `docs/type-mapping.md`, and the schemas of a table with a column of each type under `schemas/`.
//! Both come out of the mapping itself and are compared; `STRANDLINE_WRITE=1 cargo test avro::published` writes them.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::encoder::Encoder;
use super::handling::Profile;
use super::mapping::{Settings, map};
use super::name::{Adjustment, RecordNames, Records};
use crate::poll::TableName;
use crate::postgres::{Attribute, Class, Column, Description, Type};

mod connectors;

use connectors::{OF_CONNECT_JDBC, OF_DEBEZIUM};

/// Declared type, what it resolves to, and its modifier. The order is the page's.
fn samples() -> Vec<Column> {
    let numeric = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
    let built_in: &[(&str, &str, i32)] = &[
        ("boolean", "bool", -1),
        ("smallint", "int2", -1),
        ("integer", "int4", -1),
        ("bigint", "int8", -1),
        ("real", "float4", -1),
        ("double precision", "float8", -1),
        ("numeric(12,2)", "numeric", numeric(12, 2)),
        ("numeric(3,-2)", "numeric", numeric(3, -2)),
        ("numeric(2,4)", "numeric", numeric(2, 4)),
        ("numeric", "numeric", -1),
        ("money", "money", -1),
        ("text", "text", -1),
        ("character varying(20)", "varchar", 24),
        ("character(4)", "bpchar", 8),
        ("\"char\"", "char", -1),
        ("name", "name", -1),
        ("bytea", "bytea", -1),
        ("date", "date", -1),
        ("time(3) without time zone", "time", 3),
        ("time without time zone", "time", -1),
        ("time with time zone", "timetz", -1),
        ("timestamp(3) without time zone", "timestamp", 3),
        ("timestamp without time zone", "timestamp", -1),
        ("timestamp with time zone", "timestamptz", -1),
        ("interval", "interval", -1),
        ("uuid", "uuid", -1),
        ("json", "json", -1),
        ("jsonb", "jsonb", -1),
        ("jsonpath", "jsonpath", -1),
        ("xml", "xml", -1),
        ("bit(1)", "bit", 1),
        ("bit(8)", "bit", 8),
        ("bit(10)", "bit", 10),
        ("bit varying(1)", "varbit", 1),
        ("bit varying(10)", "varbit", 10),
        ("bit varying", "varbit", -1),
        ("inet", "inet", -1),
        ("cidr", "cidr", -1),
        ("macaddr", "macaddr", -1),
        ("macaddr8", "macaddr8", -1),
        ("point", "point", -1),
        ("line", "line", -1),
        ("lseg", "lseg", -1),
        ("box", "box", -1),
        ("path", "path", -1),
        ("polygon", "polygon", -1),
        ("circle", "circle", -1),
        ("oid", "oid", -1),
        ("xid", "xid", -1),
        ("cid", "cid", -1),
        ("xid8", "xid8", -1),
        ("tid", "tid", -1),
        ("pg_lsn", "pg_lsn", -1),
        ("refcursor", "refcursor", -1),
    ];
    // By PostgreSQL's own text.
    let as_text = [
        "tsvector",
        "tsquery",
        "gtsvector",
        "pg_snapshot",
        "txid_snapshot",
        "regclass",
        "regcollation",
        "regconfig",
        "regdatabase",
        "regdictionary",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
        "aclitem",
        "pg_node_tree",
        "pg_ndistinct",
        "pg_dependencies",
        "pg_mcv_list",
        "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary",
    ];
    let ranges = [
        "int4range",
        "int8range",
        "numrange",
        "tsrange",
        "tstzrange",
        "daterange",
        "int4multirange",
        "int8multirange",
        "nummultirange",
        "tsmultirange",
        "tstzmultirange",
        "datemultirange",
    ];
    let of_extension = |extension: &str, name: &str| Type {
        schema: "public".to_owned(),
        extension: Some(extension.to_owned()),
        ..Type::built_in(0, name)
    };
    let own = |name: &str, class: Class| Type { schema: "public".to_owned(), class, ..Type::built_in(0, name) };
    let array = |element: Type, dimensions: u16| {
        let name = format!("_{}", element.name);
        Type { class: Class::Array { element: Box::new(element), dimensions }, ..Type::built_in(0, &name) }
    };
    let int4 = || Type::built_in(23, "int4");
    let attribute = |name: &str, type_: Type| Attribute { name: name.to_owned(), oid: type_.oid, type_, typmod: -1 };
    let place = vec![attribute("street", Type::built_in(25, "text")), attribute("number", int4())];

    let mut samples: Vec<(String, Type, i32)> = Vec::new();
    let named =
        built_in.iter().map(|(declared, name, typmod)| ((*declared).to_owned(), Type::built_in(0, name), *typmod));
    samples.extend(named);
    samples.push(("an enum".to_owned(), own("mood", Class::Enum(vec!["sad".to_owned(), "ok".to_owned()])), -1));
    samples.push(("a composite".to_owned(), own("place", Class::Composite(place)), -1));
    samples.push(("integer[]".to_owned(), array(int4(), 1), -1));
    samples.push(("integer[][]".to_owned(), array(int4(), 2), -1));
    samples.push(("int2vector".to_owned(), array(Type::built_in(21, "int2"), 1), -1));
    samples.push(("oidvector".to_owned(), array(Type::built_in(26, "oid"), 1), -1));
    let range = |name: &str| Type { class: Class::Other, ..Type::built_in(0, name) };
    samples.extend(ranges.iter().map(|name| ((*name).to_owned(), range(name), -1)));
    samples.push(("int4range[]".to_owned(), array(range("int4range"), 1), -1));
    samples.extend(as_text.iter().map(|name| ((*name).to_owned(), Type::built_in(0, name), -1)));
    for (extension, name) in [
        ("citext", "citext"),
        ("hstore", "hstore"),
        ("ltree", "ltree"),
        ("vector", "vector"),
        ("vector", "halfvec"),
        ("vector", "sparsevec"),
        ("postgis", "geometry"),
        ("postgis", "geography"),
    ] {
        samples.push((format!("{name} ({extension})"), of_extension(extension, name), -1));
    }
    samples.push(("anything else".to_owned(), own("unknown", Class::Base), -1));
    let column = |(at, (declared, type_, typmod)): (usize, (String, Type, i32))| Column {
        attnum: i16::try_from(at + 1).unwrap(),
        name: declared.clone(),
        not_null: true,
        declared,
        type_,
        typmod,
        default: None,
        expression: None,
        cast: None,
    };
    samples.into_iter().enumerate().map(column).collect()
}

const PROFILES: [(&str, Profile); 3] =
    [("strandline", Profile::Strandline), ("connect-jdbc", Profile::ConnectJdbc), ("debezium", Profile::Debezium)];

fn settings(profile: Profile) -> Settings {
    Settings { handling: profile.handling(), ..Settings::default() }
}

/// A schema in a few words.
fn summary(schema: &Value) -> String {
    let Some(object) = schema.as_object() else {
        return match schema.as_array() {
            Some(branches) => format!("{} or null", branches.last().map(summary).unwrap_or_default()),
            None => schema.as_str().unwrap_or_default().to_owned(),
        };
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let mut words = match text("type").unwrap_or_default() {
        "array" => format!("array of {}", summary(&object["items"])),
        "map" => format!("map of {}", summary(&object["values"])),
        "record" => {
            let fields = object["fields"].as_array().unwrap().iter();
            let fields = fields.map(|field| format!("{} {}", field["name"].as_str().unwrap(), summary(&field["type"])));
            format!("record ({})", fields.collect::<Vec<_>>().join(", "))
        }
        "int" if text("connect.type").is_some() => format!("int ({})", text("connect.type").unwrap_or_default()),
        other => other.to_owned(),
    };
    match text("logicalType") {
        Some("decimal") => {
            let _ = write!(words, " decimal({},{})", object["precision"], object["scale"]);
        }
        Some(logical) => {
            let _ = write!(words, " `{logical}`");
        }
        None => {}
    }
    if let Some(name) = text("connect.name").filter(|name| !name.contains("Decimal") || name.contains("Variable")) {
        let _ = write!(words, " *{}*", name.rsplit('.').next().unwrap());
    }
    words
}

const AFTER_THE_TABLE: &str = r#"
## With `profile = "debezium"`

Values are what Debezium's connector (3.7) gives with its default settings, not types alone:

- **box, lseg, path, polygon**: well-known binary, little-endian, without an SRID: a line for lseg and path, else a polygon of one ring that
  ends where it begins. `extensions` has `type` with the type's name, of a path also `closed` with `true` or `false`. PostGIS's geometry is the
  same record with null for them; geography has none. *Geometry* is a union with null even where the column is NOT NULL.
- **bit, varbit**: one declared bit is a boolean, more are `Bits` without the bytes at the high end that have no bit set: none of zeros. Without
  a declared length the parameter `length` is 2147483647. An empty varbit(1) is no boolean: the row is refused.
- **sparsevec**: indices from one. More than 32,767 dimensions have no form there, where Debezium fails too: the row is refused. A vector's
  doubles are the numbers that pgvector prints, 0.1 and not the float widened to 0.10000000149011612.
- **numeric** without a scale: no zeros at the end, and no scale below zero.
- **timestamptz**: in UTC, with as many digits after the point as the column is declared with (six where it is not), or `infinity`, `-infinity`.
- **timetz**: in UTC, as `10:34:56.5Z`; the offset that it was given is not told.
- Infinite **timestamps**: 9223372036825200000 and -9223372036832400000; in milliseconds a thousandth of that. Infinite **dates** overflow in
  Debezium to days that mean nothing; they are the extremes of int here.

What is refused travels with `columns.cast = ["column:text"]`.

## In keys

What PostgreSQL holds equal has the same bytes in a key, so that all versions of a row are in one partition and compaction keeps the last. The value
has what the row holds. In a key

- a numeric that travels as text has no zeros at the end of its fraction: `1.50` is `1.5`;
- minus zero is zero, and every NaN the same;
- an interval is carried into months of 30 days and days of 24 hours, as PostgreSQL compares it: `24:00:00` is `P1D`; as
  Debezium's microseconds a month counts 30 days;
- an infinite date or timestamp is the extreme, whatever `infinity.handling.mode` says, and timetz keeps its offset;
- a bpchar without a length has no blanks at its end,

also as an element of an array or a field of a composite. PostgreSQL holds two timetz of one moment with different offsets unequal: they stay so.

Not told as equal are citext, texts under a nondeterministic collation, numbers within jsonb (`1.0` and `1.00`), the zeros with a sign in
pgvector's types, what `columns.mask` hashes, and what travels as text or JSON: numrange and ranges of floats or intervals, composites with such a field, whatever
`columns.cast` or `array.handling.mode` make text. Such a key should not be written in several forms.

Unequal keys are the same bytes where the form chosen loses the difference, which the log warns of where it can tell: doubles for long numerics
and money, milliseconds, timetz with `profile = "connect-jdbc"`, varbit of other lengths with `"debezium"`; beside them the bounds of an array and what
`columns.mask` cuts or hides. `columns.cast` keeps it.
"#;

fn markdown() -> String {
    let mut text = String::from(
        "# What PostgreSQL's types become\n\n\
         Generated from the program's own mapping. The first column is the type as PostgreSQL names it, the others are the Avro type by\n\
         [`profile`](configuration.md): in *italics* the last part of `connect.name`, in `code` the logical type. A column that may be NULL\n\
         is a union with null, and its default is null. Settings named `*.handling.mode`, `time.precision.mode` and\n\
         `objects.<alias>.columns.cast` choose otherwise. The same as schemas: `schemas/type-mapping/`.\n\n\
         What the profiles share with the connectors whose names they have are the types of fields. Where a connector drops a column, or\n\
         cuts a value, ours delivers it as by default: JDBC's arrays, intervals and unconstrained numerics, Debezium's composites.\n\
         A domain is what it stands for. Arrays are as deep as declared; a value of another depth fails the object, and names the\n\
         column and `columns.cast`. Elements and fields that have no form of their own travel as text too. A composite of which a field\n\
         has none travels as one text.\n\n\
         | PostgreSQL | strandline | connect-jdbc | debezium |\n|---|---|---|---|\n",
    );
    for column in samples() {
        let _ = write!(text, "| {} |", column.declared);
        let mut before = String::new();
        for (_, profile) in PROFILES {
            let mapped = map(&column, &settings(profile), &mut Records::new("ns", Adjustment::Avro)).unwrap();
            let words = summary(&Value::Object(mapped.schema));
            let _ = write!(text, " {} |", if words == before { "〃" } else { words.as_str() });
            before = words;
        }
        text.push('\n');
    }
    text + AFTER_THE_TABLE
}

#[test]
fn the_profiles_have_the_types_of_those_connectors() {
    let samples = samples();
    for (profile, table) in [(Profile::ConnectJdbc, OF_CONNECT_JDBC), (Profile::Debezium, OF_DEBEZIUM)] {
        for (declared, expected) in table {
            let column = samples.iter().find(|column| column.declared == *declared).unwrap();
            let mapped = map(column, &settings(profile), &mut Records::new("ns", Adjustment::Avro)).unwrap();
            assert_eq!(summary(&Value::Object(mapped.schema)), *expected, "{declared} with {profile:?}");
        }
    }
}

/// Compares a file of the repository with what it should be, or writes it.
fn same(file: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("STRANDLINE_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{file} is not what the mapping says: STRANDLINE_WRITE=1 cargo test avro::published");
}

#[test]
fn the_page_is_the_mapping() {
    same("docs/type-mapping.md", &markdown());
}

/// A change of these is a change of every consumer's schema: it belongs into the changelog.
#[test]
fn the_schemas_are_the_mapping() {
    for (name, profile) in PROFILES {
        let names = RecordNames::new("shop", &TableName::new("public", "every_type"), Adjustment::Avro);
        let description = Description { columns: samples(), key: vec![3] };
        let encoder = Encoder::new(&names, &description, &settings(profile)).unwrap();
        let schema: Value = serde_json::from_str(encoder.value_schema()).unwrap();
        let pretty = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        same(&format!("schemas/type-mapping/{name}.avsc"), &pretty);
    }
}
