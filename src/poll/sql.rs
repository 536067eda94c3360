//! Every statement that is sent to PostgreSQL, as text. Nothing is written; the strongest lock is ACCESS SHARE.
//!
//! All go through the simple protocol: one round trip for several statements, no prepared statement that a pooler could
//! hand to somebody else, and settings that last for the transaction only.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::name::TableName;
use super::window::{Window, raw};

mod cursor;
mod letter;

pub use letter::{at_key, at_places, query_rows, row_text, versions};

pub use cursor::{Clock, Highest, QueryCursor, clock_micros, highest, query_conditions, running};

/// The columns of a [`super::Moment`]. The position in the log is read after the snapshot that the statement uses, so
/// everything the snapshot sees ended before it. `pg_walfile_name` knows a promotion at once, `pg_control_checkpoint` late.
const MOMENT: &str = "\
    pg_catalog.pg_current_snapshot()::pg_catalog.text AS snapshot, \
    CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END AS lsn, \
    CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END AS flushed, \
    pg_catalog.pg_last_wal_replay_lsn() AS replayed, \
    (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS system, \
    (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AS database, \
    CASE WHEN r THEN (SELECT pg_catalog.to_hex(timeline_id) FROM pg_catalog.pg_control_checkpoint()) \
         ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END AS timeline, \
    r AS in_recovery, \
    (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8 AS started, \
    coalesce((extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) * 1000000)::pg_catalog.int8, 0) AS stats_reset";

/// Where `MOMENT`'s `r` comes from.
const FROM_RECOVERY: &str = "FROM pg_catalog.pg_is_in_recovery() AS r";

/// How long to queue for a lock: others queue behind us meanwhile.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '3s';";

/// What a transaction is pinned to, so that no setting of server, database or role changes a value.
const PINNED: &str = "\
    SET LOCAL search_path = ''; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'iso_8601'; \
    SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'; SET LOCAL xmloption = 'content'; \
    SET LOCAL row_security = off; SET LOCAL jit = off; SET LOCAL statement_timeout = 0; \
    SET LOCAL idle_in_transaction_session_timeout = '60s';";

/// One look at the server, in a transaction of its own.
pub fn moment() -> String {
    format!("SELECT {MOMENT} {FROM_RECOVERY}")
}

/// What the session is: version, fraction digits of `money`, who we are, and the address that the server sees.
pub fn session() -> &'static str {
    "SELECT pg_catalog.current_setting('server_version_num') AS version, \
     pg_catalog.scale(('0'::pg_catalog.money)::pg_catalog.numeric) AS money_scale, \
     pg_catalog.current_setting('lc_monetary') AS lc_monetary, \
     CURRENT_USER AS role, coalesce(pg_catalog.host(pg_catalog.inet_client_addr()), '') AS address"
}

/// What the server's clock shows, in milliseconds since 1970.
pub fn clock() -> &'static str {
    "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::pg_catalog.int8 AS clock"
}

/// How far the log is on disk.
pub fn flushed() -> &'static str {
    "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
     ELSE pg_catalog.pg_current_wal_flush_lsn() END AS flushed"
}

/// The first of these functions, by name, that is known and has no immutable form. (Time zone and formats are pinned, so one
/// immutable form is enough.)
pub fn changing(functions: &[String]) -> String {
    let names: Vec<String> = functions.iter().map(|name| escape_literal(name)).collect();
    format!(
        "SELECT (SELECT min(p.proname) FROM pg_catalog.pg_proc p WHERE p.proname IN ({names}) AND NOT EXISTS (\
         SELECT FROM pg_catalog.pg_proc i WHERE i.proname = p.proname AND i.provolatile = 'i')) AS changing",
        names = names.join(", ")
    )
}

/// Whether a valid index begins with this column.
pub fn has_index(table: u32, column: i16) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = {table} AND i.indisvalid AND i.indpred IS NULL \
         AND (i.indkey::pg_catalog.int2[])[0] = {column}) AS found"
    )
}

/// The tables of the schemas that are not the system's, a row each, and of a partitioned one a row for each leaf. Read
/// from the catalog alone: `pg_partition_tree` would queue for locks behind an ALTER TABLE.
pub fn discover() -> &'static str {
    "WITH RECURSIVE root AS (\
       SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relam, \
              pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS granted \
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE c.relkind IN ('r','p','v','m','f') AND NOT c.relispartition \
         AND n.nspname NOT IN ('pg_catalog','information_schema') AND n.nspname !~ '^pg_(toast|temp)'\
     ), tree AS (\
       SELECT oid AS root, oid FROM root WHERE relkind = 'p' \
       UNION ALL \
       SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending\
     ) \
     SELECT r.oid, r.nspname, r.relname, r.relkind, r.relpersistence, r.granted, \
            l.oid AS leaf, ln.nspname AS leaf_schema, l.relname AS leaf_name, l.relkind AS leaf_kind, \
            coalesce(a.amname, '') AS leaf_access_method, \
            pg_catalog.has_schema_privilege(ln.oid, 'USAGE') AND pg_catalog.has_table_privilege(l.oid, 'SELECT') AS leaf_granted, \
            CASE WHEN r.relkind = 'p' THEN pg_catalog.pg_get_partition_constraintdef(l.oid) END AS leaf_constraint \
     FROM root r \
     LEFT JOIN tree t ON t.root = r.oid AND NOT EXISTS (SELECT FROM pg_catalog.pg_class p WHERE p.oid = t.oid AND p.relkind = 'p') \
     LEFT JOIN pg_catalog.pg_class l ON l.oid = CASE WHEN r.relkind = 'p' THEN t.oid ELSE r.oid END \
     LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid = l.relnamespace \
     LEFT JOIN pg_catalog.pg_am a ON a.oid = l.relam \
     ORDER BY r.nspname, r.relname, l.oid"
}

/// The oldest transaction that has written and still runs, anywhere in the cluster, prepared ones too. An ordinary role
/// sees pid, database, user and id of all of them.
pub fn holder() -> &'static str {
    "SELECT * FROM (\
       SELECT pid::pg_catalog.text AS who, datname, usename, backend_xid AS xid, pg_catalog.age(backend_xid) AS age \
       FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL \
       UNION ALL \
       SELECT 'prepared ' || pg_catalog.quote_literal(gid), database, owner, transaction, pg_catalog.age(transaction) \
       FROM pg_catalog.pg_prepared_xacts\
     ) AS running ORDER BY age DESC LIMIT 1"
}

/// How often rows of these tables were inserted, updated or deleted: a hint only, as the counters lag (facts: xmin.md §2.4).
pub fn changes(leaves: &[u32]) -> String {
    let leaves: Vec<String> = leaves.iter().map(u32::to_string).collect();
    format!(
        "SELECT oid, pg_catalog.pg_stat_get_tuples_inserted(oid) + pg_catalog.pg_stat_get_tuples_updated(oid) \
         + pg_catalog.pg_stat_get_tuples_deleted(oid) AS changes \
         FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) AS t (oid)",
        leaves.join(",")
    )
}

/// How many bytes these tables' rows take on disk.
pub fn size(leaves: &[u32]) -> String {
    let leaves: Vec<String> = leaves.iter().map(u32::to_string).collect();
    format!(
        "SELECT coalesce(pg_catalog.sum(coalesce(pg_catalog.pg_relation_size(oid), 0)), 0) AS size \
         FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) AS t (oid)",
        leaves.join(",")
    )
}

/// What a chunk reads: a table, or a leaf of a partitioned one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The table that is described and whose key counts: the partitioned one for a leaf.
    pub root: u32,
    /// The object's table.
    pub root_name: TableName,
    /// The OID of the table that holds the rows.
    pub leaf: u32,
    /// Its name.
    pub leaf_name: TableName,
    /// Read through the root, as only that is granted.
    pub through_root: bool,
    /// What makes rows those of the leaf then, as SQL: the partition's constraint, which makes it that leaf's TID range scan.
    /// None: only that they lie there.
    pub constraint: Option<String>,
    /// All leaves of a partitioned table in one statement, read through its root.
    pub tree: bool,
    /// Whether LOCK TABLE is granted; without it (column grants) the file is looked at again after the COPY.
    pub lock: bool,
}

/// The head of a chunk's transaction: the lock comes before the first SELECT, which takes the snapshot. The other way
/// round: we take a snapshot; another session truncates and fills the table with COPY FREEZE and commits; we get the lock
/// and see an empty or half-new table.
pub fn head(source: &Source, window: Window) -> String {
    let lock = lock(source).map(|lock| format!("{lock};")).unwrap_or_default();
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LOCK_TIMEOUT} {PINNED} {lock} \
         SELECT {MOMENT}, {ages}, {place}, {defaulted}, {toast} {FROM_RECOVERY}; \
         {describe}",
        ages = ages(window),
        place = place(source),
        defaulted = defaulted(source),
        toast = toast(source),
        describe = describe(source.root),
    )
}

/// What keeps the table as it is, where that is granted.
fn lock(source: &Source) -> Option<String> {
    let table = match source.through_root || source.tree {
        false => format!("ONLY {}", source.leaf_name.quoted()),
        true => source.root_name.quoted(),
    };
    source.lock.then(|| format!("LOCK TABLE {table} IN ACCESS SHARE MODE"))
}

/// The window's bounds as ages. Each transaction counts them from the id that is next when it first asks, so they hold in
/// no other, be it of the same snapshot.
fn ages(window: Window) -> String {
    format!(
        "{from} AS age_from, pg_catalog.age('{to}'::pg_catalog.xid) AS age_to",
        // A load has no lower bound, and 0 is no id to take the age of.
        from = if window.is_load() {
            "0".to_owned()
        } else {
            format!("pg_catalog.age('{}'::pg_catalog.xid)", raw(window.from))
        },
        to = raw(if window.is_open() { window.from } else { window.to }),
    )
}

/// Lets others into this transaction's snapshot, as long as it lasts.
pub fn export_snapshot() -> &'static str {
    "SELECT pg_catalog.pg_export_snapshot() AS exported"
}

/// The head of a transaction that reads a part of a chunk in the snapshot of the one that opened it.
///
/// It must not queue for the lock: an ALTER TABLE waits for the opener's lock; we queue behind the ALTER; the opener waits for
/// us, and PostgreSQL sees no cycle in that.
pub fn join(exported: &str, source: &Source, window: Window) -> String {
    let lock = lock(source).map(|lock| format!("{lock} NOWAIT;")).unwrap_or_default();
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {exported}; {LOCK_TIMEOUT} {PINNED} {lock} \
         SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text AS snapshot, {ages}",
        exported = escape_literal(exported),
        ages = ages(window),
    )
}

/// Where the rows lie now: file, size in blocks, and the OID behind the name (a rename swaps tables).
///
/// A leaf that is read through its root has to be a partition of that still, and by its name; and its constraint is what it is
/// now: a row that went to the default partition, as its own had just been detached, lies in no range known before.
fn place(source: &Source) -> String {
    let (within, constraint) = match source.through_root {
        false => (String::new(), "NULL".to_owned()),
        true => (
            format!(
                " AND pg_catalog.to_regclass({name})::pg_catalog.oid = {root} \
                  AND EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) AS a WHERE a.relid = {root}::pg_catalog.oid)",
                name = escape_literal(&source.root_name.quoted()),
                root = source.root,
            ),
            format!("pg_catalog.pg_get_partition_constraintdef({})", source.leaf),
        ),
    };
    format!(
        "coalesce(pg_catalog.pg_relation_filenode({leaf}), 0) AS filenode, \
         coalesce(pg_catalog.pg_relation_size({leaf}), 0) / pg_catalog.current_setting('block_size')::pg_catalog.int8 AS blocks, \
         coalesce((SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = {schema} AND c.relname = {name}{within}), 0) AS oid, \
         {constraint} AS leaf_constraint",
        leaf = source.leaf,
        schema = escape_literal(&source.leaf_name.schema),
        name = escape_literal(&source.leaf_name.name),
    )
}

/// The columns, by the root's numbers, that were added with a default without a rewrite: rows older than that have the
/// default, and no new version tells of it.
fn defaulted(source: &Source) -> String {
    format!(
        "coalesce((SELECT pg_catalog.string_agg(r.attnum::pg_catalog.text, ',' ORDER BY r.attnum) \
                   FROM pg_catalog.pg_attribute l JOIN pg_catalog.pg_attribute r ON r.attrelid = {} AND r.attname = l.attname \
                   WHERE l.attrelid = {} AND l.atthasmissing AND l.attnum > 0 AND NOT l.attisdropped), '') AS defaulted",
        source.root, source.leaf
    )
}

/// How many bytes the fields take that were put aside for their size.
fn toast(source: &Source) -> String {
    format!(
        "coalesce((SELECT pg_catalog.pg_relation_size(c.reltoastrelid) FROM pg_catalog.pg_class c \
                   WHERE c.oid = {} AND c.reltoastrelid <> 0), 0) AS toast",
        source.leaf
    )
}

/// The head of a transaction that reads a query. Names without a schema are looked for in the connector's.
pub fn query_head(schema: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LOCK_TIMEOUT} {PINNED} SET LOCAL search_path = {}; \
         SELECT {MOMENT} {FROM_RECOVERY}",
        escape_identifier(schema)
    )
}

/// A query as a derived table. The line breaks end a comment that it may end with.
pub fn wrapped(query: &str) -> String {
    format!("SELECT * FROM (\n{query}\n) AS \"query\"")
}

/// The rows of a query, in the order and above the bounds of its cursor, if it has one.
pub fn copy_query(query: &str, columns: &str, conditions: &str) -> String {
    format!("COPY (SELECT {columns} FROM (\n{query}\n) AS \"query\"{conditions}) TO STDOUT (FORMAT binary)")
}

/// The same where columns are used more than once: each is computed once for each row.
pub fn copy_query_once(query: &str, columns: &str, conditions: &str) -> String {
    format!(
        "COPY (SELECT {columns} FROM (SELECT * FROM (\n{query}\n) AS \"query\"{conditions} OFFSET 0) AS \"query\") \
         TO STDOUT (FORMAT binary)"
    )
}

/// Looks at the place again, after a COPY without a lock of ours: COPY's own lasts to COMMIT.
pub fn place_again(source: &Source) -> String {
    format!("SELECT {}", place(source))
}

/// The rows that meet all conditions. `columns` is the encoder's select list.
pub fn copy(source: &Source, columns: &str, conditions: &str) -> String {
    let (from, leaf) = rows_of(source);
    format!("COPY (SELECT {columns} FROM {from} WHERE {leaf}{conditions}) TO STDOUT (FORMAT binary)")
}

/// Where a source's rows are selected from, and the beginning of the condition that makes them its own.
fn rows_of(source: &Source) -> (String, String) {
    if source.through_root {
        let constraint = source.constraint.as_deref().unwrap_or("true");
        return (
            source.root_name.quoted(),
            format!("tableoid = {}::pg_catalog.oid AND ({constraint}) AND ", source.leaf),
        );
    }
    match source.tree {
        true => (source.root_name.quoted(), String::new()),
        false => (format!("ONLY {}", source.leaf_name.quoted()), String::new()),
    }
}

/// A table's columns, types and key as one JSON text. Domains are followed to what they stand for, arrays to their element.
/// A NOT NULL that is not validated (PostgreSQL 18) does not count; nor does that of a domain, which a column may break.
pub fn describe(table: u32) -> String {
    let columns = format!(
        "SELECT a.attnum, a.attname, a.atttypid, a.atttypmod, a.attndims, \
                a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k \
                WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND NOT k.convalidated AND a.attnum = ANY (k.conkey)) AS not_null, \
                CASE WHEN a.attgenerated = '' THEN (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d \
                     WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END AS default_sql \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped"
    );
    let key = format!(
        "SELECT (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1] FROM pg_catalog.pg_index i \
         WHERE i.indrelid = {table} AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
           AND (i.indisprimary OR (i.indimmediate AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = {table} AND NOT a.attnotnull AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])))) \
         ORDER BY i.indisprimary DESC, i.indisreplident DESC, i.indnkeyatts, i.indexrelid LIMIT 1"
    );
    description(&columns, &key)
}

/// The same of a statement's columns: name, type and modifier of each, as the server described them. It does not tell which
/// of them may be NULL, nor is there a key.
pub fn describe_columns<'a>(columns: impl IntoIterator<Item = (&'a str, u32, i32)>) -> String {
    let rows: Vec<String> = columns
        .into_iter()
        .enumerate()
        .map(|(at, (name, oid, typmod))| format!("({}, {}, {oid}, {typmod}, 0, false)", at + 1, escape_literal(name)))
        .collect();
    if rows.is_empty() {
        return "SELECT '{\"columns\":[],\"key\":null}' AS description".to_owned();
    }
    let columns = format!(
        "SELECT attnum::pg_catalog.int2, attname::pg_catalog.name, atttypid::pg_catalog.oid, atttypmod, \
                attndims::pg_catalog.int2, not_null, NULL::pg_catalog.text AS default_sql \
         FROM (VALUES {}) AS v (attnum, attname, atttypid, atttypmod, attndims, not_null)",
        rows.join(", ")
    );
    description(&columns, "SELECT NULL::pg_catalog.int2[]")
}

/// Each column's type as a tree, by paths: a domain's base and an array's element are 0 below it, a composite's fields are
/// their numbers.
fn description(columns: &str, key: &str) -> String {
    const IS_ARRAY: &str =
        "t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc AND t.typelem <> 0";
    const EXTENSION: &str = "(SELECT x.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid \
         WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e' \
           AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass)";
    format!(
        "WITH RECURSIVE attribute AS ({columns}), node AS (\
           SELECT a.attnum, '{{}}'::pg_catalog.int2[] AS path, NULL::pg_catalog.name AS field, a.atttypid AS oid, \
                  a.atttypmod AS typmod, a.attndims::pg_catalog.int4 AS dimensions FROM attribute a \
           UNION ALL \
           SELECT n.attnum, n.path || s.at, s.field, s.oid, s.typmod, s.dimensions \
           FROM node n JOIN pg_catalog.pg_type t ON t.oid = n.oid CROSS JOIN LATERAL (\
             SELECT 0::pg_catalog.int2 AS at, NULL::pg_catalog.name AS field, t.typbasetype AS oid, t.typtypmod AS typmod, \
                    t.typndims AS dimensions WHERE t.typtype = 'd' \
             UNION ALL SELECT 0::pg_catalog.int2, NULL, t.typelem, n.typmod, 0 WHERE {IS_ARRAY} \
             UNION ALL SELECT f.attnum, f.attname, f.atttypid, f.atttypmod, f.attndims FROM pg_catalog.pg_attribute f \
               WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped) s \
         ) \
         SELECT pg_catalog.json_build_object(\
           'columns', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(\
             'attnum', a.attnum, 'name', a.attname, 'not_null', a.not_null, 'default', a.default_sql, \
             'declared', pg_catalog.format_type(a.atttypid, a.atttypmod), \
             'types', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('path', n.path, 'field', n.field, \
                'oid', n.oid::pg_catalog.int8, 'schema', s.nspname, 'name', t.typname, 'kind', t.typtype, 'array', {IS_ARRAY}, \
                'dimensions', n.dimensions, 'typmod', n.typmod, 'extension', {EXTENSION}, \
                'labels', CASE WHEN t.typtype = 'e' THEN (SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder) \
                   FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) END) ORDER BY n.path) \
                FROM node n JOIN pg_catalog.pg_type t ON t.oid = n.oid JOIN pg_catalog.pg_namespace s ON s.oid = t.typnamespace \
                WHERE n.attnum = a.attnum)) ORDER BY a.attnum), '[]') \
             FROM attribute a), 'key', ({key})) AS description"
    )
}

/// The index that a cursor wants, for people.
pub fn create_index(table: &TableName, column: &str) -> String {
    format!("CREATE INDEX CONCURRENTLY ON {} ({})", table.quoted(), escape_identifier(column))
}

/// What a role needs to read a table, for people.
pub fn grant(table: &TableName, role: &str) -> String {
    let (schema, role) = (escape_identifier(&table.schema), escape_identifier(role));
    format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {} TO {role}; \
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role};",
        table.quoted()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        let name = TableName::new("public", "or\"ders");
        Source {
            root: 7,
            root_name: name.clone(),
            leaf: 7,
            leaf_name: name,
            through_root: false,
            constraint: None,
            tree: false,
            lock: true,
        }
    }

    #[test]
    fn the_lock_comes_before_the_first_select() {
        let head = head(&source(), Window { from: 700, to: 813 });
        assert!(head.starts_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '3s';"));
        let lock = head.find("LOCK TABLE ONLY \"public\".\"or\"\"ders\" IN ACCESS SHARE MODE").unwrap();
        assert!(lock < head.find("SELECT").unwrap());
    }

    #[test]
    fn a_copy_reads_one_table_by_its_conditions() {
        assert_eq!(
            copy(&source(), "\"id\"", "ctid < '(32,0)'::pg_catalog.tid"),
            "COPY (SELECT \"id\" FROM ONLY \"public\".\"or\"\"ders\" WHERE ctid < '(32,0)'::pg_catalog.tid) TO STDOUT (FORMAT binary)"
        );
    }

    #[test]
    fn a_whole_partitioned_table_is_read_and_locked_with_its_leaves() {
        let tree = Source { tree: true, ..source() };
        assert!(copy(&tree, "1", "true").contains("FROM \"public\".\"or\"\"ders\" WHERE true"));
        let window = Window { from: 700, to: Window::OPEN };
        assert!(head(&tree, window).contains("LOCK TABLE \"public\".\"or\"\"ders\" IN ACCESS SHARE MODE"));
    }

    #[test]
    fn a_leaf_that_is_not_granted_is_read_through_its_root() {
        let leaf = Source {
            leaf: 9,
            leaf_name: TableName::new("public", "orders_1"),
            through_root: true,
            constraint: Some("(id IS NOT NULL) AND (id < 10)".into()),
            ..source()
        };
        let sql = copy(&leaf, "\"id\"", "true");
        assert!(sql.contains("FROM \"public\".\"or\"\"ders\" WHERE tableoid = 9::pg_catalog.oid AND ((id IS NOT NULL) AND (id < 10)) AND true"));
        assert!(
            head(&leaf, Window { from: 0, to: 813 })
                .contains("LOCK TABLE \"public\".\"or\"\"ders\" IN ACCESS SHARE MODE")
        );
    }

    #[test]
    fn the_load_takes_no_age_of_zero() {
        assert!(!head(&source(), Window { from: 0, to: 813 }).contains("age('0'"));
    }
}
