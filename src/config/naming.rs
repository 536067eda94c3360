//! How topics are named, and which headers their records carry.

use regex::Regex;

use super::reader::Reader;
use crate::poll::TableName;

/// From a table to its topic.
#[derive(Clone, Debug)]
pub struct Naming {
    format: String,
    route: Option<Route>,
}

/// Kafka Connect's RegexRouter: a name that matches as a whole is replaced.
#[derive(Clone, Debug)]
struct Route {
    regex: Regex,
    replacement: String,
}

/// A header of a record, named `strandline.<word>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `schema.table`.
    Table,
    /// The query mode.
    Mode,
    /// The id of the transaction that wrote the row version, 32 bits as the row carries it.
    Xid,
    /// `true` in a historical load, else `false`.
    Snapshot,
    /// When the chunk was read: milliseconds since 1970.
    TsMs,
}

const HEADERS: [(&str, Header); 5] = [
    ("table", Header::Table),
    ("mode", Header::Mode),
    ("xid", Header::Xid),
    ("snapshot", Header::Snapshot),
    ("ts_ms", Header::TsMs),
];

impl Header {
    /// Its name in a record.
    pub fn name(self) -> &'static str {
        match self {
            Header::Table => "strandline.table",
            Header::Mode => "strandline.mode",
            Header::Xid => "strandline.xid",
            Header::Snapshot => "strandline.snapshot",
            Header::TsMs => "strandline.ts_ms",
        }
    }
}

impl Naming {
    /// The topic of a table; a character that Kafka refuses becomes `_`.
    pub fn topic(&self, prefix: &str, table: &TableName) -> String {
        let legal = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '_' | '-');
        let scrub = |name: &str| -> String { name.chars().map(|one| if legal(one) { one } else { '_' }).collect() };
        let mut name = String::new();
        // A query has no schema.
        let mut rest = if table.is_query() { "${prefix}.${table}" } else { self.format.as_str() };
        // In one pass: a table that is called ${prefix} is not replaced again.
        while let Some((before, after)) = rest.split_once("${") {
            name.push_str(before);
            let (variable, after) = after.split_once('}').unwrap_or((after, ""));
            match variable {
                "prefix" => name.push_str(prefix),
                "schema" => name.push_str(&scrub(&table.schema)),
                _ => name.push_str(&scrub(&table.name)),
            }
            rest = after;
        }
        name.push_str(rest);
        match &self.route {
            Some(route) => scrub(&route.apply(&name)),
            None => name,
        }
    }
}

impl Route {
    fn apply(&self, name: &str) -> String {
        match self.regex.find(name) {
            Some(found) if found.len() == name.len() => self.regex.replace(name, &self.replacement).into_owned(),
            _ => name.to_owned(),
        }
    }
}

/// Java writes `$1x` for what we write `${1}x`; its `\\$` is a dollar.
fn replacement(java: &str) -> String {
    let mut ours = String::new();
    let mut rest = java.chars().peekable();
    while let Some(one) = rest.next() {
        match (one, rest.peek()) {
            ('\\', Some(escaped)) => {
                ours.push_str(if *escaped == '$' { "$$" } else { "" });
                if *escaped != '$' {
                    ours.push(*escaped);
                }
                rest.next();
            }
            ('$', Some(digit)) if digit.is_ascii_digit() => {
                ours.push_str("${");
                ours.push(*digit);
                ours.push('}');
                rest.next();
            }
            (other, _) => ours.push(other),
        }
    }
    ours
}

/// Reads `topic.name.format` and `topic.route.*`.
pub(super) fn naming(reader: &mut Reader<'_>) -> Naming {
    const FORMAT: &str = "topic.name.format";
    const REGEX: &str = "topic.route.regex";
    const REPLACEMENT: &str = "topic.route.replacement";
    let format = reader.text(FORMAT).unwrap_or_default();
    if let Some(needs) = refuse_format(&format) {
        reader.refuse(FORMAT, needs);
    }
    let (regex, new_name) = (reader.text(REGEX), reader.text(REPLACEMENT));
    let route = match (regex, new_name) {
        (None, None) => None,
        (Some(_), None) => {
            reader.refuse(REPLACEMENT, "the new name of the topics that topic.route.regex matches, such as \"$1\"");
            None
        }
        (None, Some(_)) => {
            reader.refuse(REGEX, "the names that topic.route.replacement renames, such as \"shop\\.public\\.(.*)\"");
            None
        }
        (Some(regex), Some(new_name)) => match Regex::new(&regex) {
            Ok(regex) => Some(Route { regex, replacement: replacement(&new_name) }),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                reader.refuse(REGEX, format!("a regular expression; {why}"));
                None
            }
        },
    };
    Naming { format, route }
}

fn refuse_format(format: &str) -> Option<String> {
    let mut rest = format;
    let mut has_table = false;
    let mut fixed = String::new();
    while let Some((before, after)) = rest.split_once("${") {
        fixed.push_str(before);
        match after.split_once('}') {
            Some(("table", after)) => {
                has_table = true;
                rest = after;
            }
            Some(("prefix" | "schema", after)) => rest = after,
            _ => return Some("${prefix}, ${schema} and ${table}; no other variable is known".to_owned()),
        }
    }
    fixed.push_str(rest);
    if !has_table {
        return Some("a name with ${table} in it: each table has a topic of its own".to_owned());
    }
    let legal = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '_' | '-');
    (!fixed.chars().all(legal)).then(|| "variables and characters of a-z A-Z 0-9 . _ -".to_owned())
}

/// Reads `topic.headers`.
pub(super) fn headers(reader: &mut Reader<'_>) -> Vec<Header> {
    const KEY: &str = "topic.headers";
    let mut headers = Vec::new();
    for word in reader.list(KEY) {
        match HEADERS.iter().find(|(name, _)| *name == word) {
            Some((_, header)) if !headers.contains(header) => headers.push(*header),
            Some(_) => reader.refuse(KEY, format!("each header once; {word} comes twice")),
            None => reader.refuse(KEY, format!("table, mode, xid, snapshot or ts_ms, not {word:?}")),
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(format: &str, route: Option<(&str, &str)>) -> Naming {
        let route =
            route.map(|(regex, new)| Route { regex: Regex::new(regex).unwrap(), replacement: replacement(new) });
        Naming { format: format.to_owned(), route }
    }

    #[test]
    fn a_topic_is_named_by_the_format_with_only_what_kafka_takes() {
        let table = TableName::new("public", "Order Lines");
        for (format, topic) in [
            ("${prefix}.${schema}.${table}", "shop.public.Order_Lines"),
            ("${table}", "Order_Lines"),
            ("db-${schema}_${table}.v1", "db-public_Order_Lines.v1"),
        ] {
            assert_eq!(naming(format, None).topic("shop", &table), topic);
            assert_eq!(refuse_format(format), None);
        }
        let odd = TableName::new("public", "${prefix}");
        assert_eq!(naming("${table}", None).topic("shop", &odd), "__prefix_");
        for format in ["", "${schema}", "${tabel}", "${table", "a b${table}"] {
            assert!(refuse_format(format).is_some(), "{format}");
        }
    }

    #[test]
    fn routes_are_those_of_kafka_connect() {
        let table = TableName::new("public", "orders_2024");
        for (regex, new, topic) in [
            (r"shop\.public\.(.*)", "$1", "orders_2024"),
            (r"(.*)\.(\w+)_\d+", "$1.$2s", "shop.public.orderss"),
            // Only a match of the whole name counts.
            ("public", "private", "shop.public.orders_2024"),
            ("nothing", "x", "shop.public.orders_2024"),
            (".*", r"a\$b", "a_b"),
        ] {
            assert_eq!(
                naming("${prefix}.${schema}.${table}", Some((regex, new))).topic("shop", &table),
                topic,
                "{regex}"
            );
        }
    }
}
