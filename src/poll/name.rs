//! Names of tables, and the patterns that choose them.

use std::fmt;

/// A table by schema and name, as stored in the catalog: case counts, nothing is quoted. Or a query by its alias, which has
/// no schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The schema, as stored.
    pub schema: String,
    /// The table, as stored.
    pub name: String,
}

impl TableName {
    /// A name whose parts are taken as stored, case included.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        TableName { schema: schema.into(), name: name.into() }
    }

    /// A query's name.
    pub fn query(alias: impl Into<String>) -> Self {
        TableName::new("", alias)
    }

    /// Whether it is a query's.
    pub fn is_query(&self) -> bool {
        self.schema.is_empty()
    }

    /// Reads `schema.table`, or `table` in `default_schema`. A part that holds a dot, a quote or a space is quoted as in SQL.
    pub fn parse(text: &str, default_schema: &str) -> Result<Self, String> {
        let mut parts = split(text)?.into_iter().map(|part| part.text);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, _) => Ok(TableName::new(default_schema, name)),
            (Some(schema), Some(name), None) => Ok(TableName::new(schema, name)),
            _ => {
                Err(format!("`{text}` has more than a schema and a table; quote a name that holds a dot: \"my.table\""))
            }
        }
    }

    /// As SQL takes it: both parts quoted.
    pub fn quoted(&self) -> String {
        use postgres_protocol::escape::escape_identifier;
        format!("{}.{}", escape_identifier(&self.schema), escape_identifier(&self.name))
    }
}

/// `schema.table`, a part quoted only where it must be.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |name: &str| {
            if name.is_empty() || name.contains(['.', '"', ' ', '*', '?']) {
                format!("\"{}\"", name.replace('"', "\"\""))
            } else {
                name.to_owned()
            }
        };
        if self.is_query() {
            return f.write_str(&self.name);
        }
        write!(f, "{}.{}", part(&self.schema), part(&self.name))
    }
}

/// A pattern over `schema.table`: `*` any characters, `?` one; inside quotes both stand for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    schema: Vec<Glob>,
    name: Vec<Glob>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glob {
    One(char),
    Any,
    Many,
}

impl Pattern {
    /// Reads a pattern; without a dot it is about tables of `default_schema`.
    pub fn parse(text: &str, default_schema: &str) -> Result<Self, String> {
        let mut parts = split(text)?.into_iter();
        let (schema, name) = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, _) => (Part { text: default_schema.to_owned(), quoted: true }, name),
            (Some(schema), Some(name), None) => (schema, name),
            _ => {
                return Err(format!(
                    "`{text}` has more than a schema and a table; quote a name that holds a dot: \"my.table\""
                ));
            }
        };
        Ok(Pattern { text: text.to_owned(), schema: schema.globs(), name: name.globs() })
    }

    /// Whether the table is meant.
    pub fn matches(&self, table: &TableName) -> bool {
        matches(&self.schema, &table.schema) && matches(&self.name, &table.name)
    }

    /// The schema, if the pattern names exactly one.
    pub fn only_schema(&self) -> Option<String> {
        literal(&self.schema)
    }

    /// The table, if the pattern names exactly one.
    pub fn only_table(&self) -> Option<TableName> {
        Some(TableName { schema: literal(&self.schema)?, name: literal(&self.name)? })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn literal(globs: &[Glob]) -> Option<String> {
    globs.iter().map(|glob| if let Glob::One(one) = glob { Some(*one) } else { None }).collect()
}

/// Whether the whole text matches. On a mismatch only the last `*` is tried again one further, so time stays within
/// pattern × text.
fn matches(globs: &[Glob], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match globs.get(g) {
            Some(Glob::Many) => {
                star = Some((g, t));
                g += 1;
            }
            Some(Glob::Any) => {
                g += 1;
                t += 1;
            }
            Some(Glob::One(one)) if *one == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    g = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    globs[g..].iter().all(|glob| *glob == Glob::Many)
}

struct Part {
    text: String,
    quoted: bool,
}

impl Part {
    fn globs(&self) -> Vec<Glob> {
        self.text
            .chars()
            .map(|one| match one {
                '*' if !self.quoted => Glob::Many,
                '?' if !self.quoted => Glob::Any,
                one => Glob::One(one),
            })
            .collect()
    }
}

/// Splits at dots outside quotes; `""` inside quotes is a quote.
fn split(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        let mut part = Part { text: String::new(), quoted: rest.peek() == Some(&'"') };
        if part.quoted {
            rest.next();
            loop {
                match rest.next() {
                    Some('"') if rest.peek() == Some(&'"') => {
                        rest.next();
                        part.text.push('"');
                    }
                    Some('"') => break,
                    Some(one) => part.text.push(one),
                    None => return Err(format!("`{text}` has an opening quote and no closing one")),
                }
            }
        } else {
            while let Some(one) = rest.next_if(|one| *one != '.') {
                part.text.push(one);
            }
        }
        if part.text.is_empty() {
            return Err(format!("`{text}` has an empty part; write schema.table"));
        }
        parts.push(part);
        match rest.next() {
            None => return Ok(parts),
            Some('.') => {}
            Some(other) => {
                return Err(format!("`{text}` has `{other}` after a closing quote; only a dot may stand there"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(pattern: &str, schema: &str, name: &str) -> bool {
        Pattern::parse(pattern, "public").unwrap().matches(&TableName::new(schema, name))
    }

    #[test]
    fn patterns_match_whole_names_as_stored() {
        assert!(meant("public.*", "public", "orders"));
        assert!(!meant("public.*", "audit", "orders"));
        assert!(meant("*.order?", "audit", "orders"));
        assert!(!meant("public.order", "public", "orders"));
        assert!(!meant("public.Orders", "public", "orders"));
        assert!(meant("orders", "public", "orders"));
        assert!(meant("public.*_*_log", "public", "a_b_c_log"));
        assert!(!meant("public.*_log", "public", "a_log2"));
    }

    #[test]
    fn quotes_hold_dots_and_stars() {
        assert!(meant("public.\"a.b\"", "public", "a.b"));
        assert!(meant("public.\"a*\"", "public", "a*"));
        assert!(!meant("public.\"a*\"", "public", "ab"));
        assert_eq!(TableName::parse("\"we\"\"ird\".t", "public").unwrap(), TableName::new("we\"ird", "t"));
        assert_eq!(TableName::new("public", "a.b").to_string(), "public.\"a.b\"");
    }

    #[test]
    fn a_printed_name_reads_back() {
        for name in ["t", "a.b", "q\"q", "two words", "st*r"] {
            let table = TableName::new("public", name);
            assert_eq!(TableName::parse(&table.to_string(), "x").unwrap(), table);
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["", ".", "a.", "a.b.c", "\"a", "\"a\"b"] {
            assert!(Pattern::parse(text, "public").is_err(), "{text}");
        }
    }
}
