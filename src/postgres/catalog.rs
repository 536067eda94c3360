//! What the server says of tables: which there are, their columns, types and key.

use serde::Deserialize;

use crate::avro::Cast;
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
    /// Its DEFAULT as SQL; none for a generated column.
    pub default: Option<String>,
    /// What is selected instead of the column itself, as SQL.
    pub expression: Option<String>,
    /// `columns.cast`: how it travels, when otherwise than its type does by default.
    pub cast: Option<Cast>,
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
    /// The extension that it belongs to; None: built in, or somebody's own.
    pub extension: Option<String>,
    /// What sort of type it is.
    pub class: Class,
}

impl Type {
    /// A base type of PostgreSQL's own.
    pub fn built_in(oid: u32, name: &str) -> Type {
        Type { oid, schema: "pg_catalog".to_owned(), name: name.to_owned(), extension: None, class: Class::Base }
    }
}

/// What sort of type it is, as far as encoding cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// A base type, built in or of an extension.
    Base,
    /// An enum, its labels in `enumsortorder`.
    Enum(Vec<String>),
    /// A true array (`typsubscript = array_subscript_handler`).
    Array {
        /// Its elements' type, domains resolved.
        element: Box<Type>,
        /// As many as are declared, at least one. PostgreSQL does not enforce them.
        dimensions: u16,
    },
    /// A row type: a composite, or a table's.
    Composite(Vec<Attribute>),
    /// Range, multirange, pseudo.
    Other,
}

/// A field of a composite type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, as stored.
    pub name: String,
    /// The OID of its type as declared, which `record_send` writes before each value.
    pub oid: u32,
    /// Its type, domains resolved.
    pub type_: Type,
    /// Its type's modifier, domains resolved; -1: none.
    pub typmod: i32,
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
    #[serde(default)]
    default: Option<String>,
    types: Option<Vec<RawType>>,
}

#[derive(Deserialize)]
struct RawType {
    path: Vec<i16>,
    field: Option<String>,
    oid: u32,
    schema: String,
    name: String,
    kind: String,
    array: bool,
    dimensions: i32,
    typmod: i32,
    extension: Option<String>,
    labels: Option<Vec<String>>,
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
        let (type_, typmod) = resolve(&self.types?, &[], 0)?;
        Some(Column {
            attnum: self.attnum,
            name: self.name,
            not_null: self.not_null,
            declared: self.declared,
            type_,
            typmod,
            default: self.default,
            expression: None,
            cast: None,
        })
    }
}

/// The type at a path with its modifier. Domains are passed through, and what is declared of one without dimensions of its
/// own counts.
fn resolve(types: &[RawType], path: &[i16], declared: i32) -> Option<(Type, i32)> {
    let raw = types.iter().find(|raw| raw.path == path)?;
    let dimensions = if raw.dimensions > 0 { raw.dimensions } else { declared };
    let below = |number: i16| [path, &[number]].concat();
    if raw.kind == "d" {
        return resolve(types, &below(0), dimensions);
    }
    let mut typmod = raw.typmod;
    let class = match (raw.array, raw.kind.as_str()) {
        (true, _) => {
            let (element, of_element) = resolve(types, &below(0), 0)?;
            typmod = of_element;
            Class::Array { element: Box::new(element), dimensions: u16::try_from(dimensions.max(1)).ok()? }
        }
        (_, "e") => Class::Enum(raw.labels.clone().unwrap_or_default()),
        (_, "b") => Class::Base,
        (_, "c") => {
            let fields = types.iter().filter(|raw| raw.path.split_last().is_some_and(|(_, parent)| parent == path));
            let attribute = |raw: &RawType| {
                let (type_, typmod) = resolve(types, &raw.path, 0)?;
                Some(Attribute { name: raw.field.clone()?, oid: raw.oid, type_, typmod })
            };
            Class::Composite(fields.map(attribute).collect::<Option<_>>()?)
        }
        _ => Class::Other,
    };
    let type_ = Type {
        oid: raw.oid,
        schema: raw.schema.clone(),
        name: raw.name.clone(),
        extension: raw.extension.clone(),
        class,
    };
    Some((type_, typmod))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(types: &str) -> Column {
        let json = format!(
            r#"{{"columns":[{{"attnum":2,"name":"a","not_null":false,"declared":"x","types":[{types}]}}],"key":[2]}}"#
        );
        Description::from_json(&json).unwrap().columns.remove(0)
    }

    fn raw(path: &str, field: &str, oid: u32, name: &str, kind: &str, typmod: i32) -> String {
        let array = name.starts_with('_');
        format!(
            r#"{{"path":{path},"field":{field},"oid":{oid},"schema":"public","name":"{name}","kind":"{kind}","array":{array},"dimensions":0,"typmod":{typmod},"extension":null,"labels":null}}"#
        )
    }

    #[test]
    fn an_array_of_a_domain_resolves_to_its_element_and_modifier() {
        let types = [
            raw("[]", "null", 90, "_price", "b", -1),
            raw("[0]", "null", 91, "price", "d", -1),
            raw("[0,0]", "null", 1700, "numeric", "b", 786438),
        ];
        let column = described(&types.join(","));
        assert_eq!(column.typmod, 786438);
        assert!(
            matches!(&column.type_.class, Class::Array { element, dimensions: 1 } if element.oid == 1700),
            "{column:?}"
        );
    }

    #[test]
    fn a_composites_fields_keep_their_declared_types_beside_what_these_stand_for() {
        let types = [
            raw("[]", "null", 80, "place", "c", -1),
            raw("[1]", "\"price\"", 91, "price", "d", -1),
            raw("[1,0]", "null", 1700, "numeric", "b", 786438),
            raw("[3]", "\"tags\"", 1009, "_text", "b", -1),
            raw("[3,0]", "null", 25, "text", "b", -1),
        ];
        let Class::Composite(fields) = described(&types.join(",")).type_.class else { panic!() };
        assert_eq!(fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["price", "tags"]);
        assert_eq!((fields[0].oid, fields[0].type_.oid, fields[0].typmod), (91, 1700, 786438));
        assert!(matches!(fields[1].type_.class, Class::Array { .. }));
    }

    #[test]
    fn a_description_that_cannot_be_is_refused() {
        for json in [
            "",
            "{}",
            r#"{"columns":[],"key":[1]}"#,
            r#"{"columns":[{"attnum":1,"name":"a","not_null":true,"declared":"x","types":null}],"key":null}"#,
            r#"{"columns":[{"attnum":1,"name":"a","not_null":true,"declared":"x","types":[]}],"key":null}"#,
        ] {
            assert!(Description::from_json(json).is_err(), "{json}");
        }
    }
}
