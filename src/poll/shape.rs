//! Which columns and rows of an object are delivered, and which columns are its key, where the configuration says so.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use sha2::{Digest, Sha256};

use crate::avro::Cast;
use crate::postgres::{Column, Description, Type};
use crate::{Error, Kind, Result};

/// What the configuration makes of an object's columns and rows. Nothing, mostly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// `columns.include`: only these; empty: all.
    pub include: Vec<String>,
    /// `columns.exclude`: all but these.
    pub exclude: Vec<String>,
    /// `columns.mask`: these are delivered as something else.
    pub mask: Vec<(String, Mask)>,
    /// `columns.cast`: these travel otherwise than their type does by default.
    pub cast: Vec<(String, Cast)>,
    /// `where`: only rows that meet it.
    pub filter: Option<String>,
    /// `message.key.columns`: the key, in this order, instead of the table's own.
    pub key: Vec<String>,
}

/// What a value is delivered as. All become texts; NULL stays NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// `redact`: four stars.
    Redact,
    /// `sha256`: the SHA-256 of salt and text, in hexadecimal digits: equal values stay equal.
    Sha256(String),
    /// `truncate:4`: the first characters of its text.
    Truncate(u32),
}

impl Mask {
    /// Reads `redact`, `sha256` or `truncate:4`.
    pub fn parse(text: &str, salt: &str) -> Option<Mask> {
        match text.split_once(':') {
            None if text == "redact" => Some(Mask::Redact),
            None if text == "sha256" => Some(Mask::Sha256(salt.to_owned())),
            Some(("truncate", length)) => length.parse().ok().map(Mask::Truncate),
            _ => None,
        }
    }

    fn expression(&self, column: &str) -> String {
        match self {
            Mask::Redact => format!("CASE WHEN {column} IS DISTINCT FROM NULL THEN '****' END"),
            Mask::Sha256(salt) => format!(
                "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({} || {column}::pg_catalog.text, 'UTF8')), 'hex')",
                escape_literal(salt)
            ),
            Mask::Truncate(length) => format!("pg_catalog.left({column}::pg_catalog.text, {length})"),
        }
    }
}

impl Shape {
    /// Whether everything is as PostgreSQL has it.
    pub fn is_plain(&self) -> bool {
        *self == Shape::default()
    }

    /// Tells it from another one; empty: plain. The key's columns change no progress.
    pub fn fingerprint(&self) -> String {
        /// Of SHA-256's 32 bytes: enough to tell a change.
        const BYTES: usize = 8;
        let rows = Shape { key: Vec::new(), ..self.clone() };
        if rows.is_plain() {
            return String::new();
        }
        let digest = Sha256::digest(format!("{rows:?}").as_bytes());
        digest.iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The description as it is delivered. An error names the column that is not there, or may not be left out.
    pub fn apply(&self, mut description: Description) -> Result<Description> {
        if self.is_plain() {
            return Ok(description);
        }
        let absent = |key: &str, name: &String| {
            Error::new(Kind::Denied, format!("{key} names \"{name}\", and it has no such column"))
                .hint("names match as stored, case included")
        };
        let cast: Vec<String> = self.cast.iter().map(|(name, _)| name.clone()).collect();
        let masked: Vec<String> = self.mask.iter().map(|(name, _)| name.clone()).collect();
        for (setting, names) in [
            ("columns.include", &self.include),
            ("columns.exclude", &self.exclude),
            ("columns.mask", &masked),
            ("columns.cast", &cast),
            ("message.key.columns", &self.key),
        ] {
            if let Some(name) =
                names.iter().find(|name| !description.columns.iter().any(|column| column.name == **name))
            {
                return Err(absent(setting, name));
            }
        }
        let key: Vec<String> = match self.key.is_empty() {
            true => description.key.iter().filter_map(|at| Some(description.columns.get(*at)?.name.clone())).collect(),
            false => self.key.clone(),
        };
        description.columns.retain(|column| {
            (self.include.is_empty() || self.include.contains(&column.name)) && !self.exclude.contains(&column.name)
        });
        for column in &mut description.columns {
            if let Some((_, cast)) = self.cast.iter().find(|(name, _)| *name == column.name) {
                column.cast = Some(*cast);
            }
            if let Some((_, mask)) = self.mask.iter().find(|(name, _)| *name == column.name) {
                *column = masked_column(column, mask);
            }
        }
        let position = |name: &String| {
            description.columns.iter().position(|column| column.name == *name).ok_or_else(|| {
                Error::new(
                    Kind::Denied,
                    format!("its key column \"{name}\" is left out by columns.include or columns.exclude"),
                )
                .hint("set message.key.columns to other columns, or keep it")
            })
        };
        description.key = key.iter().map(position).collect::<Result<_>>()?;
        Ok(description)
    }
}

fn masked_column(column: &Column, mask: &Mask) -> Column {
    Column {
        declared: "text".to_owned(),
        type_: Type::built_in(25, "text"),
        typmod: -1,
        default: None,
        expression: Some(mask.expression(&escape_identifier(&column.name))),
        cast: None,
        ..column.clone()
    }
}

/// Words in a filter whose value depends on more than the row, as far as they can be told without the server; and the names
/// of functions it calls, for the server to judge.
pub fn filter_words(filter: &str) -> (Vec<String>, Vec<String>) {
    const CHANGING: &[&str] = &[
        "select",
        "current_timestamp",
        "current_date",
        "current_time",
        "localtime",
        "localtimestamp",
        "current_user",
        "session_user",
        "user",
        "current_role",
        "current_schema",
        "current_catalog",
    ];
    let (mut changing, mut functions) = (Vec::new(), Vec::new());
    let blank = crate::config::blank_literals(filter);
    let mut rest = blank.as_str();
    while let Some(start) = rest.find(|one: char| one.is_alphabetic() || one == '_') {
        rest = rest.get(start..).unwrap_or_default();
        let end = rest.find(|one: char| !(one.is_alphanumeric() || one == '_')).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let word = word.to_ascii_lowercase();
        if CHANGING.contains(&word.as_str()) {
            changing.push(word);
        } else if after.trim_start().starts_with('(') {
            functions.push(word);
        }
        rest = after;
    }
    (changing, functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(attnum: i16, name: &str) -> Column {
        let type_ = Type::built_in(23, "int4");
        Column {
            attnum,
            name: name.into(),
            not_null: true,
            declared: "integer".into(),
            type_,
            typmod: -1,
            default: None,
            expression: None,
            cast: None,
        }
    }

    fn description() -> Description {
        Description { columns: vec![column(1, "id"), column(2, "email"), column(3, "note")], key: vec![0] }
    }

    fn names(description: &Description) -> Vec<&str> {
        description.columns.iter().map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn columns_are_left_out_and_the_key_stays_the_key() {
        let shape = Shape { exclude: vec!["email".into()], ..Shape::default() };
        let shaped = shape.apply(description()).unwrap();
        assert_eq!((names(&shaped), shaped.key.clone()), (vec!["id", "note"], vec![0]));
        let shape =
            Shape { include: vec!["note".into(), "email".into()], key: vec!["note".into()], ..Shape::default() };
        let shaped = shape.apply(description()).unwrap();
        assert_eq!((names(&shaped), shaped.key.clone()), (vec!["email", "note"], vec![1]));
    }

    #[test]
    fn a_key_that_is_left_out_and_a_column_that_is_not_there_are_refused_by_name() {
        for (shape, said) in [
            (Shape { exclude: vec!["id".into()], ..Shape::default() }, "\"id\" is left out"),
            (Shape { exclude: vec!["nope".into()], ..Shape::default() }, "columns.exclude names \"nope\""),
            (Shape { key: vec!["ID".into()], ..Shape::default() }, "message.key.columns names \"ID\""),
        ] {
            assert!(shape.apply(description()).unwrap_err().to_string().contains(said), "{said}");
        }
    }

    #[test]
    fn a_masked_column_is_a_text_that_the_server_makes() {
        let shape = Shape { mask: vec![("email".into(), Mask::parse("sha256", "it's").unwrap())], ..Shape::default() };
        let shaped = shape.apply(description()).unwrap();
        let masked = &shaped.columns[1];
        assert_eq!((masked.type_.name.as_str(), masked.not_null), ("text", true));
        assert!(masked.expression.as_deref().unwrap().contains("'it''s' || \"email\"::pg_catalog.text"));
        assert_eq!(Mask::parse("truncate:4", ""), Some(Mask::Truncate(4)));
        for wrong in ["", "md5", "truncate", "truncate:x", "truncate:-1"] {
            assert_eq!(Mask::parse(wrong, ""), None, "{wrong}");
        }
    }

    #[test]
    fn another_key_is_no_other_rows() {
        assert_eq!(Shape { key: vec!["a".into()], ..Shape::default() }.fingerprint(), "");
        let filtered = |text: &str| Shape { filter: Some(text.into()), ..Shape::default() }.fingerprint();
        assert_ne!(filtered("a"), filtered("b"));
    }

    #[test]
    fn a_filter_that_changes_with_the_time_is_told_by_its_words() {
        let words =
            filter_words("created > Now() - interval '1 day' AND lower (name) <> 'select' AND id IN (SELECT 1)");
        assert_eq!(words.0, ["select"]);
        assert_eq!(words.1, ["now", "lower", "in"]);
        assert_eq!(filter_words("at < CURRENT_DATE").0, ["current_date"]);
    }
}
