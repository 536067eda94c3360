//! TOML with the place of every key.

use figment::value::{Dict, Value};
use toml_edit::{Document, Item, TableLike};

use super::document::{Entry, Mistake, Node};

/// The tree of a TOML text.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Mistake> {
    match Document::parse(text) {
        Ok(document) => Ok(entries(text, document.as_table())),
        // Its Display quotes the line, which may hold a password; its message does not.
        Err(error) => Err(Mistake {
            place: place(text, error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', " "),
        }),
    }
}

fn entries(text: &str, table: &dyn TableLike) -> Vec<Entry> {
    let entry = |(name, item): (&str, &Item)| {
        let span = table.get_key_value(name).and_then(|(key, _)| key.span()).or_else(|| item.span());
        let node = match item.as_table_like() {
            Some(table) => Node::Table(entries(text, table)),
            None => Node::Value(value(item)),
        };
        Entry { name: name.to_owned(), place: place(text, span.map_or(0, |span| span.start)), node }
    };
    table.iter().map(entry).collect()
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// What figment carries. Tables stand only where a value should, and are refused later by their key.
fn value(item: &Item) -> Value {
    match item {
        Item::Value(single) => scalar(single),
        Item::ArrayOfTables(_) => Value::from(vec![Dict::new()]),
        Item::Table(_) | Item::None => Value::from(Dict::new()),
    }
}

fn scalar(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        toml_edit::Value::Float(number) => (*number.value()).into(),
        toml_edit::Value::Boolean(flag) => (*flag.value()).into(),
        toml_edit::Value::Datetime(time) => time.value().to_string().into(),
        toml_edit::Value::Array(list) => list.iter().map(scalar).collect::<Vec<_>>().into(),
        toml_edit::Value::InlineTable(_) => Value::from(Dict::new()),
    }
}
