//! What the server says of tables: which there are, their columns, types and key.

use serde::Deserialize;

use crate::poll::TableName;
use crate::{Error, Kind, Result};

/// A table's columns and key as one statement saw them. Two that are equal encode alike: a difference re-plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Live columns (not dropped) in the order of `attnum`, generated and identity columns included.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the key's columns, in the index's order; empty: no key.
    pub key: Vec<usize>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `pg_attribute.attnum`, from 1.
    pub attnum: i16,
    /// Its name, as stored.
    pub name: String,
    /// `NOT NULL`, validated.
    pub not_null: bool,
    /// As `format_type` prints it, for people and the `strandline.type` attribute: `numeric(12,2)`, `public.mood[]`.
    pub declared: String,
    /// The type with domains resolved to what they stand for.
    pub type_: Type,
    /// The type modifier with domains resolved; -1: none.
    pub typmod: i32,
    /// What is selected instead of the column itself, as SQL.
    pub expression: Option<String>,
}

/// A type, domains resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name, as stored.
    pub name: String,
    /// What sort of type it is.
    pub class: Class,
}

/// What sort of type it is, as far as encoding cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// A base type, built in or of an extension.
    Base,
    /// An enum, its labels in `enumsortorder`.
    Enum(Vec<String>),
    /// A true array (`typsubscript = array_subscript_handler`), with the element type, domains resolved.
    Array(Box<Type>),
    /// Composite, range, multirange, pseudo.
    Other,
}

/// A table or something like one, as found in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTable {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// `pg_class.relkind`: r, p, v, m, f.
    pub kind: char,
    /// Whether we may select from it.
    pub granted: bool,
    /// The tables that hold its rows: itself, or the leaves of a partitioned one.
    pub leaves: Vec<FoundLeaf>,
    /// The SELECT of an object that is none of the catalog's.
    pub query: Option<String>,
}

/// A table that holds rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLeaf {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// `pg_class.relkind`.
    pub kind: char,
    /// `heap`, or another access method, whose rows have no `ctid` and `xmin` of the same meaning.
    pub access_method: String,
    /// Whether we may select from it by itself.
    pub granted: bool,
    /// The partition's constraint, as SQL.
    pub constraint: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    columns: Vec<RawColumn>,
    key: Option<Vec<i16>>,
}

#[derive(Deserialize)]
struct RawColumn {
    attnum: i16,
    name: String,
    not_null: bool,
    declared: String,
    types: Option<Vec<RawType>>,
}

#[derive(Deserialize)]
struct RawType {
    oid: u32,
    schema: String,
    name: String,
    kind: String,
    array: bool,
    labels: Option<Vec<String>>,
    typmod: i32,
}

impl Description {
    /// Reads the JSON that [`crate::poll::sql::describe`] asks for.
    pub fn from_json(json: &str) -> Result<Self> {
        let unreadable =
            |what: String| Error::new(Kind::Changed, format!("the catalog's description of the table is {what}"));
        let raw: Raw = serde_json::from_str(json).map_err(|error| unreadable("unreadable".into()).because(error))?;
        let columns = raw.columns.into_iter().map(RawColumn::column).collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| unreadable("without a type for some column".into()))?;
        let position = |attnum: &i16| columns.iter().position(|column| column.attnum == *attnum);
        let key = raw.key.unwrap_or_default().iter().map(position).collect::<Option<Vec<_>>>();
        let key = key.ok_or_else(|| unreadable("of a key over a column that it does not name".into()))?;
        Ok(Description { columns, key })
    }
}

impl RawColumn {
    fn column(self) -> Option<Column> {
        let mut types = self.types?.into_iter();
        let first = types.next()?;
        let typmod = if first.array {
            types.as_slice().first().map_or(first.typmod, |element| element.typmod)
        } else {
            first.typmod
        };
        let type_ = first.resolve(&mut types)?;
        Some(Column {
            attnum: self.attnum,
            name: self.name,
            not_null: self.not_null,
            declared: self.declared,
            type_,
            typmod,
            expression: None,
        })
    }
}

impl RawType {
    fn resolve(self, rest: &mut std::vec::IntoIter<RawType>) -> Option<Type> {
        let class = match (self.array, self.kind.as_str(), self.labels) {
            (true, ..) => Class::Array(Box::new(rest.next()?.resolve(rest)?)),
            (_, "e", labels) => Class::Enum(labels.unwrap_or_default()),
            (_, "b", _) => Class::Base,
            _ => Class::Other,
        };
        Some(Type { oid: self.oid, schema: self.schema, name: self.name, class })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_of_a_domain_resolves_to_its_element_and_modifier() {
        let json = r#"{"columns":[{"attnum":2,"name":"a","not_null":false,"declared":"price[]","types":[
            {"oid":90,"schema":"public","name":"_price","kind":"b","array":true,"labels":null,"typmod":-1},
            {"oid":1700,"schema":"pg_catalog","name":"numeric","kind":"b","array":false,"labels":null,"typmod":786438}]}],"key":[2]}"#;
        let description = Description::from_json(json).unwrap();
        let column = &description.columns[0];
        assert_eq!(column.typmod, 786438);
        assert!(matches!(&column.type_.class, Class::Array(element) if element.oid == 1700));
        assert_eq!(description.key, [0]);
    }

    #[test]
    fn a_description_that_cannot_be_is_refused() {
        for json in [
            "",
            "{}",
            r#"{"columns":[],"key":[1]}"#,
            r#"{"columns":[{"attnum":1,"name":"a","not_null":true,"declared":"x","types":null}],"key":null}"#,
        ] {
            assert!(Description::from_json(json).is_err(), "{json}");
        }
    }
}
