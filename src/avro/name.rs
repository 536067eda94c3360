//! Names that Avro takes, made from names that PostgreSQL takes.

use std::collections::HashSet;

use crate::poll::TableName;
use crate::postgres::Column;

/// The names of a table's records: `<prefix>.<schema>.<table>.Value` and `.Key`, each part scrubbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordNames {
    /// The namespace of both.
    pub(super) namespace: String,
    /// The table, for errors.
    pub(super) table: String,
    /// How names are made Avro's, those of fields too.
    pub(super) adjustment: Adjustment,
}

/// `schema.name.adjustment.mode`: how names become ones that Avro takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adjustment {
    /// What Avro refuses is replaced, as Confluent's AvroData does with `scrub.invalid.names`; names may come to be equal.
    #[default]
    Avro,
    /// Debezium's: the character's number stands for it, `_u00e4`, and for `_` itself, so that it can be turned back.
    AvroUnicode,
}

impl Adjustment {
    fn adjust(self, name: &str) -> String {
        match self {
            Adjustment::Avro => scrub(name),
            Adjustment::AvroUnicode => escape(name),
        }
    }
}

impl RecordNames {
    /// The names of a table's records under a topic prefix.
    pub fn new(prefix: &str, table: &TableName, adjustment: Adjustment) -> Self {
        // A prefix may have parts of its own; schema and table are one each, whatever they hold.
        let parts =
            prefix.split('.').chain([table.schema.as_str(), table.name.as_str()]).filter(|part| !part.is_empty());
        let namespace: Vec<String> = parts.map(|part| adjustment.adjust(part)).collect();
        RecordNames { namespace: namespace.join("."), table: table.to_string(), adjustment }
    }
}

impl RecordNames {
    /// A record's full name.
    pub fn full(&self, record: &str) -> String {
        if self.namespace.is_empty() { record.to_owned() } else { format!("{}.{record}", self.namespace) }
    }
}

/// As Confluent's AvroData does with `scrub.invalid.names`: form-encoding, then `_` for what Avro still refuses; a leading
/// digit gets an `x` before it.
pub(super) fn scrub(name: &str) -> String {
    let mut scrubbed = String::with_capacity(name.len());
    for one in name.chars() {
        match one {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => scrubbed.push(one),
            ' ' | '-' | '.' | '*' => scrubbed.push('_'),
            other => {
                let mut bytes = [0; 4];
                for byte in other.encode_utf8(&mut bytes).bytes() {
                    scrubbed.push_str(&format!("_{byte:02X}"));
                }
            }
        }
    }
    if scrubbed.starts_with(|first: char| first.is_ascii_digit()) {
        scrubbed.insert(0, 'x');
    }
    scrubbed
}

/// UTF-16's numbers, as in Java; a leading digit is replaced too.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    let mut units = [0; 2];
    for (at, one) in name.chars().enumerate() {
        if one.is_ascii_alphabetic() || (one.is_ascii_digit() && at > 0) {
            escaped.push(one);
            continue;
        }
        for unit in one.encode_utf16(&mut units) {
            escaped.push_str(&format!("_u{unit:04x}"));
        }
    }
    escaped
}

/// The columns' field names, and a warning for each that had to be told apart by its number.
pub(super) fn fields(columns: &[Column], adjustment: Adjustment) -> (Vec<String>, Vec<String>) {
    let mut taken = HashSet::new();
    let mut warnings = Vec::new();
    let names = columns.iter().map(|column| {
        let wanted = adjustment.adjust(&column.name);
        let name = free(&wanted, &column.attnum.to_string(), &mut taken);
        if name != wanted {
            let column = &column.name;
            warnings.push(format!("column \"{column}\" is field {name}, as {wanted} is the field of another column"));
        }
        name
    });
    (names.collect(), warnings)
}

/// The field names of a composite type: those that collide are told apart by their position.
pub(super) fn distinct(names: &[&str], adjustment: Adjustment) -> Vec<String> {
    let mut taken = HashSet::new();
    let numbered = names.iter().enumerate();
    numbered.map(|(at, name)| free(&adjustment.adjust(name), &(at + 1).to_string(), &mut taken)).collect()
}

/// The name itself, or with a suffix where it is taken.
fn free(wanted: &str, suffix: &str, taken: &mut HashSet<String>) -> String {
    let mut name = wanted.to_owned();
    while !taken.insert(name.clone()) {
        name = format!("{name}_{suffix}");
    }
    name
}

/// The records of one schema beside its own: those of composite columns, named after table and column. One for the key and
/// one for the value, since the same column has the same name in both.
#[derive(Debug)]
pub(super) struct Records {
    namespace: String,
    pub(super) adjustment: Adjustment,
    taken: HashSet<String>,
}

impl Records {
    pub(super) fn new(namespace: &str, adjustment: Adjustment) -> Records {
        Records {
            namespace: namespace.to_owned(),
            adjustment,
            taken: HashSet::from(["Key".to_owned(), "Value".to_owned()]),
        }
    }

    /// The full name of the record of a column, or of a field of it.
    pub(super) fn record(&mut self, path: &[&str]) -> String {
        let scrubbed: Vec<String> = path.iter().map(|part| self.adjustment.adjust(part)).collect();
        let name = free(&scrubbed.join("_"), "2", &mut self.taken);
        if self.namespace.is_empty() { name } else { format!("{}.{name}", self.namespace) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Type;

    #[test]
    fn names_are_scrubbed_as_confluent_does() {
        for (name, scrubbed) in [
            ("plain_1", "plain_1"),
            ("a b", "a_b"),
            ("a-b.c*d", "a_b_c_d"),
            ("ä", "_C3_A4"),
            ("1st", "x1st"),
            ("%", "_25"),
            ("a+b", "a_2Bb"),
        ] {
            assert_eq!(scrub(name), scrubbed, "{name}");
        }
        let names = RecordNames::new("shop.eu", &TableName::new("public", "order.lines"), Adjustment::Avro);
        assert_eq!(names.namespace, "shop.eu.public.order_lines");
    }

    #[test]
    fn names_can_be_told_back_where_that_is_asked_for() {
        for (name, escaped) in
            [("ab1", "ab1"), ("a_b", "a_u005fb"), ("1a", "_u0031a"), ("ä", "_u00e4"), ("😀", "_ud83d_ude00")]
        {
            assert_eq!(escape(name), escaped, "{name}");
        }
    }

    #[test]
    fn columns_that_collide_are_told_apart_with_a_warning() {
        let column = |attnum, name: &str| Column {
            attnum,
            name: name.into(),
            not_null: false,
            declared: "integer".into(),
            type_: Type::built_in(23, "int4"),
            typmod: -1,
            default: None,
            expression: None,
            cast: None,
        };
        let (names, warnings) = fields(&[column(1, "a b"), column(2, "a-b"), column(4, "c")], Adjustment::Avro);
        assert_eq!(names, ["a_b", "a_b_2", "c"]);
        assert_eq!(warnings.len(), 1);
    }
}
