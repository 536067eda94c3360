//! How an object's changes are found.

use std::fmt;

use postgres_protocol::escape::escape_identifier;

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
