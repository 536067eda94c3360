//! Fields too large to be read at all (pure). A row of a COPY is held in memory as a whole, so a field beyond the guard comes as
//! NULL, or cut where that is asked for, and what leads the row says how large its wide columns are.

use postgres_protocol::escape::escape_identifier;

use crate::postgres::{Class, Column, Description};

/// Which fields are guarded, from which size on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Expressions of the columns, as [`crate::avro::Encoder::selects`] has them, guarded.
    pub columns: String,
    /// What leads a row: NULL, or if any field is too large the sizes of all wide columns, an array's text.
    pub marker: String,
    /// The positions of those columns.
    pub wide: Vec<usize>,
}

/// A field of this size is read in any case: it costs a few times as much memory, for a moment.
const LEAST: usize = 16 << 20;
/// A table needs no guard if its fields cannot be larger than this, in bytes.
const HARMLESS: usize = 64 << 20;
/// The most that PostgreSQL's compressions make of a byte: pglz 87, lz4 255.
const RATIO: usize = 256;
/// A text of an array or a row may be so much longer than its Avro is.
const TEXT_OVER_AVRO: usize = 4;

impl Guard {
    /// Whether a table whose large fields take so many bytes on disk, compressed or not, could have one that is too large.
    pub fn is_needed(toast: u64, largest: usize) -> bool {
        toast > u64::try_from(largest.max(HARMLESS) / RATIO).unwrap_or(u64::MAX)
    }

    /// Guards the wide columns; `None`: there is none. `largest`: the largest record that is taken. `cut`: columns that are cut
    /// instead of left out.
    pub fn new(description: &Description, selects: &[String], largest: usize, cut: &[String]) -> Option<Guard> {
        let limit = largest.max(LEAST);
        let (mut columns, mut wide, mut too_large, mut sizes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, (column, select)) in description.columns.iter().zip(selects).enumerate() {
            let Some((is_large, size)) = measure(column, limit) else {
                columns.push(select.clone());
                continue;
            };
            columns.push(match cut.contains(&column.name) {
                true => {
                    let identifier = escape_identifier(&column.name);
                    format!("CASE WHEN {is_large} THEN pg_catalog.substr({identifier}, 1, {limit}) ELSE {select} END")
                }
                false => format!("CASE WHEN {is_large} THEN NULL ELSE {select} END"),
            });
            wide.push(at);
            too_large.push(is_large);
            sizes.push(size);
        }
        (!wide.is_empty()).then(|| Guard {
            columns: columns.join(", "),
            marker: format!(
                "CASE WHEN {} THEN ARRAY[{}]::pg_catalog.text END",
                too_large.join(" OR "),
                sizes.join(", ")
            ),
            wide,
        })
    }

    /// The sizes that a marker tells, by the columns' positions; NULL has none.
    pub fn sizes(&self, marker: &str) -> Option<Vec<(usize, usize)>> {
        let texts = marker.strip_prefix('{')?.strip_suffix('}')?.split(',');
        let sized = self.wide.iter().zip(texts).filter_map(|(at, text)| match text {
            "NULL" => None,
            text => Some(text.parse().ok().map(|size| (*at, size))),
        });
        sized.collect()
    }

    /// Whether a field of this size is not read, where it is not cut.
    pub fn is_beyond(largest: usize, size: usize) -> bool {
        size > largest.max(LEAST)
    }
}

/// Whether a column's values can be cut: a text, or bytes.
pub fn is_cuttable(column: &Column) -> bool {
    column.expression.is_none() && (is_text(column) || is_of(column, "bytea"))
}

fn is_of(column: &Column, name: &str) -> bool {
    column.type_.class == Class::Base && column.type_.schema == "pg_catalog" && column.type_.name == name
}

fn is_text(column: &Column) -> bool {
    ["text", "varchar", "bpchar"].iter().any(|name| is_of(column, name))
}

/// How it is told that a value is too large, and how large it is; `None`: it cannot be.
fn measure(column: &Column, limit: usize) -> Option<(String, String)> {
    /// What no value exceeds a few hundred kilobytes of.
    const NARROW: &[&str] = &[
        "bool",
        "int2",
        "int4",
        "int8",
        "oid",
        "xid",
        "cid",
        "xid8",
        "tid",
        "float4",
        "float8",
        "numeric",
        "money",
        "char",
        "name",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "timetz",
        "interval",
        "uuid",
        "macaddr",
        "macaddr8",
        "inet",
        "cidr",
        "pg_lsn",
        "point",
        "line",
        "lseg",
        "box",
        "circle",
    ];
    /// A text of so many characters is never too large.
    const SHORT: i32 = 1 << 20;
    if column.expression.is_some() || matches!(column.type_.class, Class::Enum(_)) {
        return None;
    }
    let built_in = column.type_.class == Class::Base && column.type_.schema == "pg_catalog";
    let declared = matches!(column.type_.name.as_str(), "varchar" | "bpchar" | "bit" | "varbit");
    if built_in && (NARROW.contains(&column.type_.name.as_str()) || declared && (0..SHORT).contains(&column.typmod)) {
        return None;
    }
    let identifier = escape_identifier(&column.name);
    if is_text(column) || is_of(column, "bytea") {
        // Told by what points to it: the value itself is not read.
        let size = format!("pg_catalog.octet_length({identifier})");
        return Some((format!("{size} > {limit}"), size));
    }
    // Only what could have it by its size on disk is made a text of, to know.
    let stored = limit / RATIO;
    let is_json = built_in && matches!(column.type_.name.as_str(), "json" | "jsonb" | "xml");
    let most = if is_json { limit } else { limit.saturating_mul(TEXT_OVER_AVRO) };
    let size = format!(
        "CASE WHEN pg_catalog.pg_column_size({identifier}) > {stored} THEN pg_catalog.octet_length(pg_catalog.format('%s', {identifier})) END"
    );
    Some((format!("({size}) > {most}"), size))
}

#[cfg(test)]
#[rustfmt::skip]
mod tests {
    use super::*;
    use crate::postgres::Type;

    fn column(name: &str, type_: &str, typmod: i32) -> Column {
        Column { attnum: 1, name: name.into(), not_null: false, declared: type_.into(), type_: Type::built_in(0, type_),
            typmod, default: None, expression: None, cast: None }
    }

    fn guard(columns: Vec<Column>, cut: &[String]) -> Option<Guard> {
        let selects: Vec<String> = columns.iter().map(|column| escape_identifier(&column.name)).collect();
        Guard::new(&Description { columns, key: vec![0] }, &selects, 1_000_000, cut)
    }

    #[test]
    fn a_table_of_narrow_columns_keeps_its_sql() {
        let columns = vec![column("id", "int8", -1), column("n", "numeric", -1), column("v", "varchar", 54), column("at", "timestamptz", -1)];
        assert_eq!(guard(columns, &[]), None);
    }

    #[test]
    fn wide_columns_are_measured_without_being_read_where_that_can_be() {
        let guard = guard(vec![column("id", "int8", -1), column("t", "text", -1), column("b", "bytea", -1)], &["b".into()]).unwrap();
        assert_eq!(guard.columns, "\"id\", CASE WHEN pg_catalog.octet_length(\"t\") > 16777216 THEN NULL ELSE \"t\" END, \
            CASE WHEN pg_catalog.octet_length(\"b\") > 16777216 THEN pg_catalog.substr(\"b\", 1, 16777216) ELSE \"b\" END");
        assert_eq!(guard.marker, "CASE WHEN pg_catalog.octet_length(\"t\") > 16777216 OR pg_catalog.octet_length(\"b\") > 16777216 \
            THEN ARRAY[pg_catalog.octet_length(\"t\"), pg_catalog.octet_length(\"b\")]::pg_catalog.text END");
        assert_eq!(guard.sizes("{NULL,314572800}"), Some(vec![(2, 314_572_800)]));
        for malformed in ["", "{", "{x,1}"] {
            assert_eq!(guard.sizes(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn what_has_no_size_of_its_own_is_made_a_text_of_only_where_it_could_be_large() {
        let guard = guard(vec![column("j", "jsonb", -1)], &[]).unwrap();
        assert!(guard.marker.contains("pg_column_size(\"j\") > 65536 THEN pg_catalog.octet_length(pg_catalog.format('%s', \"j\")) END) > 16777216"), "{}", guard.marker);
    }

    #[test]
    fn a_masked_column_is_as_large_as_its_mask() {
        let masked = Column { expression: Some("'****'".into()), ..column("t", "text", -1) };
        assert!(!is_cuttable(&masked));
        assert_eq!(guard(vec![masked], &[]), None);
    }

    #[test]
    fn a_table_with_little_on_the_side_needs_no_guard() {
        assert!(!Guard::is_needed(200 << 10, 1_000_000));
        assert!(Guard::is_needed(300 << 10, 1_000_000));
        assert!(!Guard::is_needed(300 << 10, 200 << 20), "a field of 75 MB goes where 200 MB do");
    }
}
