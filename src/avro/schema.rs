//! Schemas as text, exactly as Java's Avro prints them: compact, `name` and `namespace` apart, attributes after `fields`.
//! The text is what is registered; parsing and printing it again would lose attributes.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::attribute::{Schema, or_null};
use super::default::default;
use super::mapping::Mapped;
use crate::postgres::Column;
use crate::{Error, Kind, Result};

/// One field of a record.
pub(super) struct Field<'a> {
    pub name: &'a str,
    pub column: &'a Column,
    pub mapped: &'a Mapped,
    pub nullable: bool,
    /// Whether a column's default is told; a key has none.
    pub defaults: bool,
}

/// The text of a record's schema, checked by the Avro library.
pub(super) fn record(namespace: &str, name: &str, fields: &[Field<'_>]) -> Result<String> {
    let fields: Vec<Value> = fields.iter().map(field).collect();
    let mut schema = json!({
        "type": "record",
        "name": name,
        "namespace": namespace,
        "fields": fields,
        "connect.name": format!("{namespace}.{name}"),
    });
    // The outermost record shares its namespace with nothing: an empty one is not printed.
    print_as_java(&mut schema, "", &mut HashSet::new());
    let schema = schema.to_string();
    match apache_avro::Schema::parse_str(&schema) {
        Ok(_) => Ok(schema),
        Err(error) => {
            Err(Error::new(Kind::Schema, format!("its schema {namespace}.{name} is not valid Avro")).because(error))
        }
    }
}

/// A record is told of by its name where it stands again, so what tells of one column stands at the field.
pub(super) fn is_record(schema: &Schema) -> bool {
    schema.get("type").is_some_and(|type_| type_ == "record")
}

/// As Java prints it: each name is defined once and referred to from then on, without the namespace that it shares with what
/// it stands in; a type without attributes is its bare name.
fn print_as_java(schema: &mut Value, space: &str, defined: &mut HashSet<String>) {
    match schema {
        Value::Array(branches) => branches.iter_mut().for_each(|branch| print_as_java(branch, space, defined)),
        Value::Object(object) if is_record(object) => {
            let part = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (own, name) = (part("namespace"), part("name"));
            let full = format!("{own}.{name}");
            if !defined.insert(full.clone()) {
                *schema = if own == space { name.into() } else { full.into() };
                return;
            }
            if own == space {
                object.shift_remove("namespace");
            }
            let fields = object.get_mut("fields").and_then(Value::as_array_mut);
            for field in fields.into_iter().flatten() {
                if let Some(type_) = field.get_mut("type") {
                    print_as_java(type_, &own, defined);
                }
            }
        }
        Value::Object(object) => {
            for inside in ["items", "values"] {
                if let Some(type_) = object.get_mut(inside) {
                    print_as_java(type_, space, defined);
                }
            }
            if object.len() == 1
                && let Some(bare) = object.get_mut("type")
            {
                *schema = bare.take();
            }
        }
        _ => {}
    }
}

/// A field that may be null, of a type inside another: of a composite.
pub(super) fn optional(name: &str, original: &str, schema: Schema) -> Value {
    let mut json = Map::new();
    json.insert("name".into(), name.into());
    json.insert("type".into(), or_null(schema));
    json.insert("default".into(), Value::Null);
    if name != original {
        json.insert("strandline.column".into(), original.into());
    }
    Value::Object(json)
}

fn field(field: &Field<'_>) -> Value {
    let mut json = Map::new();
    json.insert("name".into(), field.name.into());
    let bare = Value::Object(field.mapped.schema.clone());
    if field.nullable {
        json.insert("type".into(), json!(["null", bare]));
        json.insert("default".into(), Value::Null);
    } else {
        json.insert("type".into(), bare);
        let expression = if field.defaults { field.column.default.as_deref() } else { None };
        if let Some(default) =
            expression.and_then(|expression| default(expression, &field.mapped.schema, &field.mapped.transcoder))
        {
            json.insert("default".into(), default);
        }
    }
    if is_record(&field.mapped.schema) {
        json.insert("strandline.type".into(), field.column.declared.as_str().into());
    }
    if field.name != field.column.name {
        json.insert("strandline.column".into(), field.column.name.as_str().into());
    }
    Value::Object(json)
}
