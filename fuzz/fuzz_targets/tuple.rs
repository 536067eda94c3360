//! What is fuzzed: the first byte chooses a type, the rest is a field of it. `cargo test` runs the corpus through it.

use strandline::avro::{Encoder, Profile, RecordNames, Settings};
use strandline::poll::TableName;
use strandline::postgres::{Attribute, Class, Column, Description, Type};

const BUILT_IN: &[(&str, i32)] = &[
    ("bool", -1),
    ("int2", -1),
    ("int4", -1),
    ("int8", -1),
    ("oid", -1),
    ("float4", -1),
    ("float8", -1),
    ("numeric", -1),
    ("numeric", (12 << 16 | 2) + 4),
    ("money", -1),
    ("text", -1),
    ("char", -1),
    ("bytea", -1),
    ("date", -1),
    ("time", -1),
    ("timetz", -1),
    ("timestamp", -1),
    ("timestamptz", -1),
    ("interval", -1),
    ("uuid", -1),
    ("json", -1),
    ("jsonb", -1),
    ("bit", 1),
    ("bit", 9),
    ("varbit", -1),
    ("inet", -1),
    ("macaddr8", -1),
    ("point", -1),
    ("xid8", -1),
    ("tid", -1),
    ("pg_lsn", -1),
];

fn types() -> Vec<(Type, i32)> {
    let mut types: Vec<_> = BUILT_IN.iter().map(|(name, typmod)| (Type::built_in(0, name), *typmod)).collect();
    let array = |element: &Type, dimensions: u16| Type {
        class: Class::Array { element: Box::new(element.clone()), dimensions },
        ..Type::built_in(0, "_array")
    };
    let int4 = Type::built_in(23, "int4");
    let attribute =
        |name: &str, type_: &Type| Attribute { name: name.into(), oid: 23, type_: type_.clone(), typmod: -1 };
    let fields = vec![attribute("a", &int4), attribute("b", &array(&int4, 1))];
    let composite = Type { class: Class::Composite(fields), ..Type::built_in(0, "place") };
    let range = Type { class: Class::Other, ..Type::built_in(0, "int4range") };
    let of = |extension: &str, name: &str| Type {
        schema: "public".into(),
        extension: Some(extension.into()),
        ..Type::built_in(0, name)
    };
    let more = [
        array(&int4, 1),
        array(&int4, 3),
        array(&Type::built_in(0, "text"), 1),
        array(&composite, 1),
        array(&range, 2),
        composite,
        of("hstore", "hstore"),
        of("vector", "vector"),
        of("vector", "halfvec"),
        of("postgis", "geometry"),
    ];
    types.extend(more.map(|type_| (type_, -1)));
    // The corpus chooses by these places: what is new comes last.
    let built_in = |name: &str, typmod: i32| (Type::built_in(0, name), typmod);
    let array_of = |name: &str| (array(&Type::built_in(0, name), 1), -1);
    types.extend(["box", "lseg", "path", "polygon", "circle", "line"].map(|name| built_in(name, -1)));
    types.push((of("vector", "sparsevec"), -1));
    types.extend([built_in("varbit", 1), built_in("varbit", 9)]);
    types.extend([built_in("timestamp", 3), built_in("timestamptz", 3), built_in("bpchar", -1)]);
    types.extend(["float4", "float8", "numeric", "interval", "box"].map(array_of));
    types
}

/// One field of the chosen type, framed as a tuple, and the same bytes as a tuple of their own.
pub fn encode(data: &[u8]) {
    let Some((choice, field)) = data.split_first() else { return };
    let types = types();
    let (type_, typmod) = types[usize::from(*choice) % types.len()].clone();
    let column = Column {
        attnum: 1,
        name: "c".into(),
        not_null: choice & 0x80 != 0,
        declared: type_.name.clone(),
        type_,
        typmod,
        default: None,
        expression: None,
        cast: None,
    };
    let description = Description { columns: vec![column], key: vec![0] };
    let names = RecordNames::new("p", &TableName::new("s", "t"), Default::default());
    let mut tuple = vec![0, 1];
    tuple.extend_from_slice(&(field.len() as u32).to_be_bytes());
    tuple.extend_from_slice(field);
    for profile in [Profile::Strandline, Profile::ConnectJdbc, Profile::Debezium] {
        let settings = Settings { handling: profile.handling(), ..Settings::default() };
        let Ok(mut encoder) = Encoder::new(&names, &description, &settings) else { continue };
        for bytes in [&tuple[..], field] {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            if encoder.encode(bytes, &mut key, &mut value).is_ok() {
                // A small field must not become a large value, but a numeric's digits: what lies about its length is refused.
                assert!(value.len() <= 150_000 + 64 * bytes.len(), "{} bytes of {}", value.len(), bytes.len());
            }
        }
    }
}
