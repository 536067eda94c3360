//! Statements about single rows: those that go to the dead-letter topic, and come back from there.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::Source;
use crate::poll::Tid;
use crate::postgres::Column;

/// A row as one JSON text: `row`, each column's value as PostgreSQL prints it, and `left_out`, the sizes of the values that
/// are longer than `most` bytes, which are null in `row`. A masked column is its mask.
pub fn row_text(columns: &[Column], most: usize) -> String {
    let names: Vec<String> = columns.iter().map(|column| escape_literal(&column.name)).collect();
    let value = |column: &Column| column.expression.clone().unwrap_or_else(|| escape_identifier(&column.name));
    let text = |column: &Column| {
        let value = value(column);
        // What is large on disk is not printed to find out.
        format!(
            "CASE WHEN {value} IS DISTINCT FROM NULL AND pg_catalog.pg_column_size({value}) <= {most} THEN \
             CASE WHEN pg_catalog.octet_length(pg_catalog.format('%s', {value})) <= {most} THEN pg_catalog.format('%s', {value}) END END"
        )
    };
    let left_out = |column: &Column| {
        let value = value(column);
        format!(
            "CASE WHEN {value} IS DISTINCT FROM NULL AND ({}) IS NULL THEN {} END",
            text(column),
            size(column, &value)
        )
    };
    let list = |each: &dyn Fn(&Column) -> String| columns.iter().map(each).collect::<Vec<_>>().join(", ");
    let names = format!("ARRAY[{}]::pg_catalog.text[]", names.join(", "));
    format!(
        "pg_catalog.json_build_object('row', pg_catalog.json_object({names}, ARRAY[{}]::pg_catalog.text[]), \
         'left_out', pg_catalog.json_strip_nulls(pg_catalog.json_object({names}, ARRAY[{}]::pg_catalog.text[])))::pg_catalog.text",
        list(&text),
        list(&left_out)
    )
}

/// How large a value is, without printing it: of a text or bytea its length, of others what it takes on disk.
fn size(column: &Column, value: &str) -> String {
    let own = column.type_.schema == "pg_catalog"
        && matches!(column.type_.name.as_str(), "text" | "varchar" | "bpchar" | "bytea");
    let function = if own { "octet_length" } else { "pg_column_size" };
    format!("pg_catalog.{function}({value})::pg_catalog.text")
}

/// The rows of one table at these places: its OID, place and text.
pub fn at_places(source: &Source, leaf: u32, row: &str, places: &[Tid]) -> String {
    let places: Vec<String> = places.iter().map(|place| format!("\"{place}\"")).collect();
    let (from, condition) = super::rows_of(source);
    let of_leaf = if source.tree { format!("tableoid = {leaf}::pg_catalog.oid AND ") } else { condition };
    format!(
        "SELECT tableoid, ctid, {row} AS row FROM {from} WHERE {of_leaf}ctid = ANY ('{{{}}}'::pg_catalog.tid[])",
        places.join(",")
    )
}

/// The transactions that wrote the rows which meet a condition.
pub fn versions(source: &Source, condition: &str) -> String {
    let (from, leaf) = super::rows_of(source);
    format!("SELECT xmin FROM {from} WHERE {leaf}{condition}")
}

/// The rows of a query with a key, as text, two at most; of those alone that its cursor's `conditions` leave.
pub fn query_rows(query: &str, row: &str, conditions: &str, key: &str) -> String {
    format!(
        "SELECT {row} AS row FROM (SELECT * FROM (SELECT * FROM (\n{query}\n) AS \"query\"{conditions} OFFSET 0) AS \"query\" \
         WHERE {key} LIMIT 2) AS \"query\""
    )
}

/// The condition on the row with this key: each column with its value as PostgreSQL prints it.
pub fn at_key<'a>(key: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let each = |(name, text): (&str, &str)| format!("{} = {}", escape_identifier(name), escape_literal(text));
    key.into_iter().map(each).collect::<Vec<_>>().join(" AND ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::TableName;
    use crate::postgres::Type;

    #[test]
    fn a_masked_value_is_told_as_its_mask() {
        let column = Column {
            attnum: 1,
            name: "e'mail".into(),
            not_null: false,
            declared: "text".into(),
            type_: Type::built_in(25, "text"),
            typmod: -1,
            default: None,
            expression: Some("'****'".into()),
            cast: None,
        };
        let sql = row_text(&[column], 1000);
        assert!(sql.contains("ARRAY['e''mail']") && sql.contains("format('%s', '****')"), "{sql}");
        assert!(!sql.contains("\"e'mail\""), "{sql}");
    }

    #[test]
    fn a_querys_rows_of_a_key_are_those_that_its_cursor_shows() {
        assert_eq!(
            query_rows("SELECT 1 AS id", "'{}'", " WHERE id > 7 ORDER BY id", "id = '9'"),
            "SELECT '{}' AS row FROM (SELECT * FROM (SELECT * FROM (\nSELECT 1 AS id\n) AS \"query\" WHERE id > 7 ORDER BY id OFFSET 0) \
             AS \"query\" WHERE id = '9' LIMIT 2) AS \"query\""
        );
    }

    #[test]
    fn rows_are_found_by_their_places_or_by_their_key() {
        let name = TableName::new("s", "t");
        let source = Source {
            root: 7,
            root_name: name.clone(),
            leaf: 7,
            leaf_name: name,
            through_root: false,
            constraint: None,
            tree: false,
            lock: true,
        };
        let places = [Tid { block: 0, offset: 1 }, Tid { block: 9, offset: 2 }];
        assert_eq!(
            at_places(&source, 7, "'{}'", &places),
            "SELECT tableoid, ctid, '{}' AS row FROM ONLY \"s\".\"t\" WHERE ctid = ANY ('{\"(0,1)\",\"(9,2)\"}'::pg_catalog.tid[])"
        );
        let tree = Source { tree: true, ..source };
        assert!(at_places(&tree, 9, "''", &places).contains("FROM \"s\".\"t\" WHERE tableoid = 9::pg_catalog.oid AND"));
        assert_eq!(at_key([("id", "7"), ("o'k", "a'b")]), "\"id\" = '7' AND \"o'k\" = 'a''b'");
    }
}
