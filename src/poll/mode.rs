//! How an object's changes are found.

use std::fmt;

use postgres_protocol::escape::escape_identifier;

use super::sql::Clock;
use crate::postgres::Description;
use crate::{Error, Kind, Result};

/// How an object's changes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the ids of the transactions that wrote its rows.
    Xmin,
    /// Everything, each time.
    Bulk,
    /// By columns that grow.
    Cursor(Cursor),
}

/// The columns that grow with every change. At least one is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Written with the time of the change.
    pub timestamp: Option<String>,
    /// Grows with every new row.
    pub incrementing: Option<String>,
}

impl Mode {
    /// The words for all modes, as the configuration takes them.
    pub const NAMES: &'static [&'static str] = &["xmin", "bulk", "incrementing", "timestamp", "timestamp+incrementing"];

    /// As the configuration names it.
    pub fn name(&self) -> &'static str {
        match self {
            Mode::Xmin => "xmin",
            Mode::Bulk => "bulk",
            Mode::Cursor(Cursor { timestamp: None, .. }) => "incrementing",
            Mode::Cursor(Cursor { incrementing: None, .. }) => "timestamp",
            Mode::Cursor(_) => "timestamp+incrementing",
        }
    }

    /// Whether the columns that the mode goes by are there, and can do what it asks of them.
    pub fn check(&self, is_query: bool, description: &Description) -> Result<()> {
        let Some(cursor) = self.cursor() else { return Ok(()) };
        let mode = self.name();
        for name in cursor.columns() {
            let Some(column) = description.columns.iter().find(|column| column.name == *name) else {
                return Err(Error::new(
                    Kind::Denied,
                    format!("it has no column \"{name}\", which mode {mode} goes by"),
                )
                .hint(
                    "names match as stored; give the object a mode of its own in [objects], or leave the table out",
                ));
            };
            let is_timestamp = cursor.timestamp.as_deref() == Some(name);
            if is_timestamp && Clock::of(&column.type_.name) == Clock::None {
                return Err(Error::new(
                    Kind::Denied,
                    format!("column \"{name}\" is {}, not a date or timestamp", column.declared),
                )
                .hint("mode incrementing goes by any column that can be ordered"));
            }
            // A query's columns never say it; rows without a cursor are found when they come.
            let may_be_null = is_timestamp && cursor.incrementing.is_some();
            if !column.not_null && !may_be_null && !is_query {
                let hint = if is_timestamp {
                    "ALTER TABLE … SET NOT NULL, or mode timestamp+incrementing, which finds such rows by their id"
                } else {
                    "ALTER TABLE … SET NOT NULL, or another mode"
                };
                return Err(Error::new(
                    Kind::Denied,
                    format!("column \"{name}\" may be NULL, and such rows would never be newer than any cursor"),
                )
                .hint(hint));
            }
        }
        Ok(())
    }

    /// The cursor's columns, if it has any.
    pub fn cursor(&self) -> Option<&Cursor> {
        match self {
            Mode::Cursor(cursor) => Some(cursor),
            Mode::Xmin | Mode::Bulk => None,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Cursor {
    /// Its columns, the timestamp first.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.timestamp.iter().chain(&self.incrementing).map(String::as_str)
    }

    /// The timestamp's column as SQL takes it.
    pub fn timestamp_sql(&self) -> Option<String> {
        self.timestamp.as_deref().map(escape_identifier)
    }

    /// The incrementing column as SQL takes it.
    pub fn incrementing_sql(&self) -> Option<String> {
        self.incrementing.as_deref().map(escape_identifier)
    }
}

/// `updated_at`, `id`, or `updated_at, id`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.columns().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{Column, Type};

    fn description(columns: &[(&str, &str, bool)]) -> Description {
        let column = |(name, type_, not_null): &(&str, &str, bool)| Column {
            attnum: 1,
            name: (*name).to_owned(),
            not_null: *not_null,
            declared: (*type_).to_owned(),
            type_: Type::built_in(0, type_),
            typmod: -1,
            default: None,
            expression: None,
            cast: None,
        };
        Description { columns: columns.iter().map(column).collect(), key: Vec::new() }
    }

    #[test]
    fn a_cursor_that_cannot_do_what_its_mode_asks_is_refused_with_the_reason() {
        let cursor = |timestamp: Option<&str>, incrementing: Option<&str>| {
            let own = |name: &str| name.to_owned();
            Mode::Cursor(Cursor { timestamp: timestamp.map(own), incrementing: incrementing.map(own) })
        };
        let columns = [
            ("id", "int8", true),
            ("at", "timestamptz", true),
            ("changed", "timestamp", false),
            ("name", "text", false),
        ];
        let table = description(&columns);
        for (mode, said) in [
            (cursor(None, Some("ID")), "it has no column \"ID\", which mode incrementing goes by"),
            (cursor(Some("id"), None), "column \"id\" is int8, not a date or timestamp"),
            (cursor(Some("changed"), None), "column \"changed\" may be NULL"),
            (cursor(None, Some("name")), "column \"name\" may be NULL"),
        ] {
            let error = mode.check(false, &table).unwrap_err();
            assert!(error.to_string().contains(said) && error.hint_text().is_some(), "{error}");
        }
        for mode in [Mode::Xmin, cursor(Some("at"), None), cursor(Some("changed"), Some("id"))] {
            assert!(mode.check(false, &table).is_ok(), "{mode}");
        }
        assert!(cursor(Some("changed"), None).check(true, &table).is_ok(), "a query never says what may be NULL");
    }

    #[test]
    fn a_mode_is_named_as_the_jdbc_source_names_it() {
        let cursor = |timestamp: Option<&str>, incrementing: Option<&str>| {
            Mode::Cursor(Cursor {
                timestamp: timestamp.map(str::to_owned),
                incrementing: incrementing.map(str::to_owned),
            })
        };
        let all = [
            Mode::Xmin,
            Mode::Bulk,
            cursor(None, Some("id")),
            cursor(Some("at"), None),
            cursor(Some("at"), Some("id")),
        ];
        assert_eq!(all.each_ref().map(Mode::name).as_slice(), Mode::NAMES);
        assert_eq!(all[4].cursor().unwrap().to_string(), "at, id");
    }
}
