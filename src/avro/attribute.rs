//! Avro types with the attributes that Confluent's AvroConverter gives them, in its order.

use serde_json::{Map, Value, json};

/// An Avro type as JSON.
pub(super) type Schema = Map<String, Value>;

const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";

/// An Avro type with the attributes of a Connect schema name.
pub(super) fn avro(type_: &str, connect_name: Option<&str>) -> Schema {
    let mut schema = Map::new();
    schema.insert("type".into(), type_.into());
    if let Some(name) = connect_name {
        schema.insert("connect.version".into(), 1.into());
        schema.insert("connect.name".into(), name.into());
    }
    schema
}

pub(super) fn logical(type_: &str, connect_name: &str, logical: &str) -> Schema {
    let mut schema = avro(type_, Some(connect_name));
    schema.insert("logicalType".into(), logical.into());
    schema
}

pub(super) fn decimal(precision: u16, scale: u16) -> Schema {
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
pub(super) fn insert_before(schema: &mut Schema, before: &str, key: &str, value: Value) {
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

/// A semantic type with a parameter.
pub(super) fn with_parameter(type_: &str, connect_name: &str, parameter: &str, value: String) -> Schema {
    let mut schema = avro(type_, Some(connect_name));
    insert_before(&mut schema, "connect.name", "connect.parameters", json!({ parameter: value }));
    schema
}

/// Itself, or null.
pub(super) fn or_null(schema: Schema) -> Value {
    json!(["null", schema])
}

/// A record of a fixed meaning, such as Debezium's, of this version.
pub(super) fn semantic_record(connect_name: &str, version: u8, fields: &[(&str, Value)]) -> Schema {
    let (namespace, name) = connect_name.rsplit_once('.').unwrap_or(("", connect_name));
    let fields: Vec<Value> = fields
        .iter()
        .map(|(name, type_)| match type_.is_array() {
            true => json!({ "name": name, "type": type_, "default": null }),
            false => json!({ "name": name, "type": type_ }),
        })
        .collect();
    let mut schema = Schema::new();
    schema.insert("type".into(), "record".into());
    schema.insert("name".into(), name.into());
    schema.insert("namespace".into(), namespace.into());
    schema.insert("fields".into(), fields.into());
    schema.insert("connect.version".into(), version.into());
    schema.insert("connect.name".into(), connect_name.into());
    schema
}
