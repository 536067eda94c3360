//! Schemas as text, exactly as Java's Avro prints them: compact, `name` and `namespace` apart, attributes after `fields`.
//! The text is what is registered; parsing and printing it again would lose attributes.

use serde_json::{Map, Value, json};

use super::mapping::Mapped;
use crate::postgres::Column;
use crate::{Error, Kind, Result};

/// One field of a record.
pub(super) struct Field<'a> {
    pub name: &'a str,
    pub column: &'a Column,
    pub mapped: &'a Mapped,
    pub nullable: bool,
}

/// The text of a record's schema, checked by the Avro library.
pub(super) fn record(namespace: &str, name: &str, fields: &[Field<'_>]) -> Result<String> {
    let fields: Vec<Value> = fields.iter().map(field).collect();
    let schema = json!({
        "type": "record",
        "name": name,
        "namespace": namespace,
        "fields": fields,
        "connect.name": format!("{namespace}.{name}"),
    })
    .to_string();
    match apache_avro::Schema::parse_str(&schema) {
        Ok(_) => Ok(schema),
        Err(error) => {
            Err(Error::new(Kind::Schema, format!("its schema {namespace}.{name} is not valid Avro")).because(error))
        }
    }
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
    }
    if field.name != field.column.name {
        json.insert("strandline.column".into(), field.column.name.as_str().into());
    }
    Value::Object(json)
}
