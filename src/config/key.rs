//! Every key that may be configured: one table, from which settings are read, refused and explained.

use std::time::Duration;

use super::nearest::nearest;
use super::polling::MODES;

/// A key and what it takes.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted; a part in `<>` stands for any name.
    pub name: &'static str,
    /// What its value must be.
    pub takes: Takes,
    /// As it would be written after `--set`; none: the key has no value unless it is set.
    pub default: Option<&'static str>,
    /// One line for people.
    pub doc: &'static str,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A TCP port, or several with commas between them.
    Ports,
    /// Texts: a list, or one text with commas between them.
    List,
    /// True or false.
    Flag,
    /// An integer within these bounds.
    Integer(i64, i64),
    /// An integer from 1 to this bound, or -1 for the broker's default.
    OrBroker(i64),
    /// A time with its unit, at least this long.
    Time(Duration),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any single value, handed on as text.
    Any,
}

/// What would be right, for a report.
impl std::fmt::Display for Takes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Takes::Text | Takes::Secret => f.write_str("a text in quotes"),
            Takes::Ports => f.write_str("a port from 1 to 65535"),
            Takes::List => f.write_str("a list of texts: [\"a\", \"b\"]"),
            Takes::Flag => f.write_str("true or false"),
            Takes::Integer(least, most) => write!(f, "an integer from {least} to {most}"),
            Takes::OrBroker(most) => write!(f, "an integer from 1 to {most}, or -1 for the broker's default"),
            Takes::Time(least) if least.is_zero() => f.write_str("a time with its unit, such as \"5s\" or \"10m\""),
            Takes::Time(least) => {
                write!(f, "a time with its unit, such as \"5s\", at least {}", humantime::format_duration(*least))
            }
            Takes::OneOf(words) => {
                for (position, word) in words.iter().enumerate() {
                    let before = match position {
                        0 => "",
                        last if last + 1 == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}{word}")?;
                }
                Ok(())
            }
            Takes::Any => f.write_str("one value: a text, a number, true or false"),
        }
    }
}

/// The modes of TLS in words.
pub(super) fn sslmodes() -> String {
    Takes::OneOf(SSLMODES).to_string()
}

const fn key(name: &'static str, takes: Takes, default: Option<&'static str>, doc: &'static str) -> Key {
    Key { name, takes, default, doc }
}

const fn millis(least: u64) -> Takes {
    Takes::Time(Duration::from_millis(least))
}

/// The modes of libpq.
pub(super) const SSLMODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The table. The example `config/strandline.toml` has the same keys in the same order.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("name", Takes::Text, None, "the connector's name, unique in the Kafka cluster; part of every stored offset's key"),
    key("group.id", Takes::Text, Some("strandline"), "the first part of every transactional id"),
    key("tasks.max", Takes::Integer(1, 64), Some("1"), "threads, each with a PostgreSQL connection, that share the objects"),
    key("exactly.once.support", Takes::OneOf(&["required", "requested", "disabled"]), Some("required"), "rows and progress in one Kafka transaction; disabled: at least once"),
    key("source.connections", Takes::Integer(1, 16), Some("1"), "connections of a task that read one large table (over 1 MiB, with the right to lock it) side by side, in one snapshot: quicker where PostgreSQL has idle cores or slow disks, and up to tasks.max times as many are open"),
    key("source.stall", millis(100), Some("5s"), "how long Kafka may keep PostgreSQL waiting before the read is given up and repeated"),
    key("failover.lag", millis(0), Some("10m"), "the most that a promoted standby may have lagged behind"),
    key("database.url", Takes::Secret, None, "postgres://… or key=value pairs; instead of the parts below"),
    key("database.hostname", Takes::Text, None, "the server's host, or the directory of its socket"),
    key("database.port", Takes::Ports, None, "the server's port; 5432 unless set"),
    key("database.user", Takes::Text, None, "the role to log in as"),
    key("database.password", Takes::Secret, None, "its password"),
    key("database.password_file", Takes::Text, None, "a file that holds the password, read again at every connection"),
    key("database.dbname", Takes::Text, None, "the database"),
    key("database.schema", Takes::Text, Some("public"), "the schema of table names and patterns that name none"),
    key("database.options", Takes::Text, None, "settings of the session, such as \"-c statement_timeout=60000\""),
    key("database.target_session_attrs", Takes::OneOf(&["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]), None, "which of several servers will do, as in libpq; any unless it or the URL says otherwise"),
    key("database.load_balance_hosts", Takes::OneOf(&["disable", "random"]), None, "random: several servers in any order, as in libpq"),
    key("database.sslmode", Takes::OneOf(SSLMODES), None, "as in libpq; prefer unless it or the URL says otherwise"),
    key("database.sslrootcert", Takes::Text, None, "file of the authorities to trust: PEM, or one in DER; `system` for the machine's own"),
    key("database.sslrootcert_load", Takes::OneOf(&["all", "first"]), Some("all"), "whether all certificates in it are trusted"),
    key("database.sslcert", Takes::Text, None, "file of our own certificate: PEM or DER"),
    key("database.sslkey", Takes::Text, None, "file of its private key: PEM or DER, encrypted or not"),
    key("database.sslpassword", Takes::Secret, None, "the key's password"),
    key("database.sslpassword_file", Takes::Text, None, "a file that holds it"),
    key("database.sslnegotiation", Takes::OneOf(&["postgres", "direct"]), None, "direct: TLS from the first byte, as PostgreSQL 17 and later take it"),
    key("database.channel_binding", Takes::OneOf(&["disable", "prefer", "require"]), None, "require: log in only where the password's proof is bound to the server's certificate"),
    key("database.connect_timeout", millis(100), Some("10s"), "name, TCP, TLS and login together, of all hosts"),
    key("ssh.host", Takes::Text, None, "a bastion through which the database is reached, by the machine's ssh: a name, or a Host of ~/.ssh/config"),
    key("ssh.port", Takes::Integer(1, 65535), None, "its port; 22 unless set here or there"),
    key("ssh.user", Takes::Text, None, "the user to log in as"),
    key("ssh.password", Takes::Secret, None, "its password"),
    key("ssh.password_file", Takes::Text, None, "a file that holds it"),
    key("ssh.key_file", Takes::Text, None, "private key, in any form that ssh reads; else those of the agent and of ~/.ssh"),
    key("ssh.key_passphrase", Takes::Secret, None, "the key's passphrase"),
    key("ssh.key_passphrase_file", Takes::Text, None, "a file that holds it"),
    key("ssh.known_hosts", Takes::Text, None, "instead of ~/.ssh/known_hosts"),
    key("ssh.fingerprint", Takes::Text, None, "the bastion's key, SHA256:…, instead of known hosts"),
    key("tables.include", Takes::List, None, "patterns schema.table with * and ?; every table of database.schema unless set"),
    key("tables.exclude", Takes::List, None, "patterns that are left out again"),
    key("tables.mode", MODES, Some("xmin"), "how changes are found"),
    key("tables.timestamp_column", Takes::Text, None, "the column that a timestamp mode goes by, in every table"),
    key("tables.incrementing_column", Takes::Text, None, "the column that an incrementing mode goes by, in every table"),
    key("tables.refresh_interval", millis(10), Some("60s"), "how often tables created later are looked for"),
    key("objects.<alias>.table", Takes::Text, None, "schema.table of an object set apart from the others"),
    key("objects.<alias>.query", Takes::Text, None, "instead of a table: one SELECT; bulk or a cursor mode reads it"),
    key("objects.<alias>.query_file", Takes::Text, None, "a file that holds the SELECT"),
    key("objects.<alias>.mode", MODES, None, "how its changes are found, instead of tables.mode"),
    key("objects.<alias>.timestamp_column", Takes::Text, None, "the column that a timestamp mode goes by"),
    key("objects.<alias>.incrementing_column", Takes::Text, None, "the column that an incrementing mode goes by"),
    key("objects.<alias>.poll.interval", millis(10), None, "instead of poll.interval"),
    key("objects.<alias>.poll.cron", Takes::Text, None, "instead of an interval: times of the clock"),
    key("objects.<alias>.poll.timezone", Takes::Text, None, "the time zone of its poll.cron"),
    key("objects.<alias>.sweep.interval", millis(100), None, "instead of sweep.interval"),
    key("objects.<alias>.cursor.lookback", millis(0), None, "instead of cursor.lookback"),
    key("objects.<alias>.cursor.lookback_ids", Takes::Integer(0, i64::MAX), None, "instead of cursor.lookback_ids"),
    key("objects.<alias>.cursor.timezone", Takes::Text, None, "instead of cursor.timezone"),
    key("objects.<alias>.where", Takes::Text, None, "a condition on the row alone, as after WHERE: only such rows are delivered"),
    key("objects.<alias>.columns.include", Takes::List, None, "the only columns that are delivered"),
    key("objects.<alias>.columns.exclude", Takes::List, None, "columns that are left out"),
    key("objects.<alias>.columns.mask", Takes::List, None, "column:rule; rules are redact, sha256 and truncate:<characters>"),
    key("objects.<alias>.columns.cast", Takes::List, None, "column:mode; the mode is one of the column's own *.handling.mode, or text for PostgreSQL's text"),
    key("objects.<alias>.message.key.columns", Takes::List, None, "the key's columns, in this order, instead of the primary key"),
    key("objects.<alias>.on_change", Takes::OneOf(&["reload", "continue"]), None, "instead of on_change"),
    key("objects.<alias>.on_default_added", Takes::OneOf(&["ignore", "reload"]), None, "instead of on_default_added"),
    key("objects.<alias>.oversize", Takes::OneOf(&["fail", "skip", "truncate"]), None, "instead of oversize; truncate: columns are cut until the row fits, which a header of the record tells"),
    key("objects.<alias>.oversize.truncate.columns", Takes::List, None, "the columns that are cut, texts or bytea"),
    key("objects.<alias>.topic", Takes::Text, None, "its topic, instead of <topic.prefix>.<schema>.<table>"),
    key("poll.interval", millis(10), Some("5s"), "from the start of one poll to the start of the next"),
    key("poll.cron", Takes::Text, None, "instead of an interval: times of the clock, such as \"0 6 * * 1-5\""),
    key("poll.timezone", Takes::Text, Some("UTC"), "the time zone of poll.cron"),
    key("cursor.timezone", Takes::Text, None, "the zone in which the server's clock writes timestamp columns that have none"),
    key("cursor.lookback", millis(0), Some("60s"), "how far back a query with a timestamp looks again, and a standby's cursors stay"),
    key("cursor.lookback_ids", Takes::Integer(0, i64::MAX), Some("1000"), "how many ids back a query with an incrementing column alone looks again"),
    key("sweep.interval", millis(100), Some("1h"), "in cursor modes: how often rows are swept that no cursor shows"),
    key("on_change", Takes::OneOf(&["reload", "continue"]), Some("reload"), "what follows when columns, masks or a where are others than before"),
    key("on_default_added", Takes::OneOf(&["ignore", "reload"]), Some("ignore"), "what follows when a column is added with a default, which rows sent before lack: nothing, or the rows are sent again"),
    key("columns.mask.salt", Takes::Secret, None, "what sha256 masks are salted with"),
    key("columns.mask.salt_file", Takes::Text, None, "a file that holds it"),
    key("message.key.columns", Takes::Text, None, "the key's columns by table, as in Debezium: public.orders:id,line;public.*_log:at"),
    key("schema.name.adjustment.mode", Takes::OneOf(&["avro", "avro_unicode"]), Some("avro"), "how names become ones that Avro takes: replaced, or by the characters' numbers, which can be turned back"),
    key("profile", Takes::OneOf(&["strandline", "connect-jdbc", "debezium"]), Some("strandline"), "whose consumers are served: types as that connector has them; the settings below count for more"),
    key("decimal.handling.mode", Takes::OneOf(&["precise", "string", "double"]), Some("precise"), "what numeric and money become"),
    key("time.precision.mode", Takes::OneOf(&["micros", "connect", "isostring", "adaptive"]), Some("micros"), "what date, time and timestamps become: microseconds, Connect's milliseconds, text, or as Debezium adapts them"),
    key("binary.handling.mode", Takes::OneOf(&["bytes", "base64", "hex"]), Some("bytes"), "what bytea becomes"),
    key("array.handling.mode", Takes::OneOf(&["array", "json", "string"]), Some("array"), "what arrays become: Avro's, nested as declared, a JSON text, or PostgreSQL's text"),
    key("hstore.handling.mode", Takes::OneOf(&["map", "json"]), Some("map"), "what hstore becomes"),
    key("interval.handling.mode", Takes::OneOf(&["string", "numeric"]), Some("string"), "what interval becomes: ISO 8601 text, or microseconds with months of 30.4375 days"),
    key("uuid.handling.mode", Takes::OneOf(&["uuid", "string", "bytes"]), Some("uuid"), "what uuid becomes: text of the logical type, plain text, or 16 bytes"),
    key("json.handling.mode", Takes::OneOf(&["json", "string"]), Some("json"), "what json and jsonb become: text with a semantic name, or without"),
    key("infinity.handling.mode", Takes::OneOf(&["extreme", "null", "error"]), Some("extreme"), "what infinite dates and timestamps become: the least or greatest number, null, or a failed object"),
    key("nan.handling.mode", Takes::OneOf(&["error", "null"]), Some("error"), "what NaN and infinities become where a decimal is wanted"),
    key("oversize", Takes::OneOf(&["fail", "skip"]), Some("fail"), "what becomes of a row that is larger than its topic takes: its object is FAILED, or the row goes to the dead-letter topic"),
    key("errors.tolerance", Takes::OneOf(&["none", "all"]), Some("none"), "all: a row that cannot be encoded goes to the dead-letter topic; none: its object is FAILED"),
    key("errors.deadletterqueue.topic.name", Takes::Text, None, "the dead-letter topic, made when it is missing; its records hold the rows' values as text"),
    key("errors.deadletterqueue.context.headers.enable", Takes::Flag, Some("false"), "whether dead letters have Kafka Connect's headers __connect.errors.*"),
    key("errors.log.enable", Takes::Flag, Some("false"), "whether the log has a line for each dead letter, besides the count of each chunk"),
    key("topic.prefix", Takes::Text, None, "the first part of every topic's name; the connector's name unless set"),
    key("topic.name.format", Takes::Text, Some("${prefix}.${schema}.${table}"), "how a topic is named: ${prefix}, ${schema} and ${table} stand for their names"),
    key("topic.route.regex", Takes::Text, None, "topics whose whole name matches it are renamed, as Kafka Connect's RegexRouter does"),
    key("topic.route.replacement", Takes::Text, None, "the new name, with $1 for what the first parentheses matched"),
    key("topic.headers", Takes::List, None, "record headers: any of table, mode, xid, snapshot, ts_ms"),
    key("topic.creation.enable", Takes::Flag, Some("true"), "whether missing topics are created"),
    key("topic.creation.default.partitions", Takes::OrBroker(100_000), Some("-1"), "partitions of a created topic"),
    key("topic.creation.default.replication.factor", Takes::OrBroker(32_767), Some("-1"), "replicas of a created topic"),
    key("topic.creation.default.<setting>", Takes::Any, None, "any other setting of a created topic"),
    key("kafka.<property>", Takes::Any, None, "any librdkafka property that Strandline does not set itself"),
    key("schema_registry.url", Takes::List, None, "the Schema Registry; several are tried in turn"),
    key("schema_registry.user", Takes::Text, None, "user, or API key, for the registry"),
    key("schema_registry.password", Takes::Secret, None, "its password, or API secret"),
    key("schema_registry.password_file", Takes::Text, None, "a file that holds the password"),
    key("schema_registry.token", Takes::Secret, None, "a bearer token, instead of user and password"),
    key("schema_registry.token_file", Takes::Text, None, "a file that holds it"),
    key("schema_registry.auto.register.schemas", Takes::Flag, Some("true"), "whether schemas that are new are registered; else they have to be there"),
    key("schema_registry.use.latest.version", Takes::Flag, Some("false"), "with auto.register.schemas = false: the latest version is used where it means the same as ours"),
    key("schema_registry.normalize.schemas", Takes::Flag, Some("false"), "whether the registry compares schemas by their meaning"),
    key("schema_registry.subject.name.strategy", Takes::OneOf(&["topic", "record", "topic-record"]), Some("topic"), "how schemas are named, by Confluent's strategies"),
    key("schema_registry.ssl.ca.location", Takes::Text, None, "PEM file of authorities to trust beside the machine's own"),
    key("schema_registry.ssl.certificate.location", Takes::Text, None, "PEM file with our certificate"),
    key("schema_registry.ssl.key.location", Takes::Text, None, "PEM file with its key, encrypted or not"),
    key("schema_registry.ssl.key.password", Takes::Secret, None, "the key's password"),
    key("schema_registry.ssl.key.password_file", Takes::Text, None, "a file that holds it"),
    key("offset.storage.topic", Takes::Text, Some("strandline-offsets"), "the compacted topic that holds the progress"),
    key("offset.storage.partitions", Takes::Integer(1, 1_024), Some("8"), "its partitions, when Strandline creates it"),
    key("offset.storage.replication.factor", Takes::OrBroker(32_767), Some("-1"), "its replicas, when Strandline creates it"),
];

/// What other connectors call a key of ours.
const ELSEWHERE: &[(&str, &str)] = &[
    ("connection.url", "database.url"),
    ("connection.user", "database.user"),
    ("connection.password", "database.password"),
    ("database.host", "database.hostname"),
    ("database.username", "database.user"),
    ("database.name", "database.dbname"),
    ("database.server.name", "topic.prefix"),
    ("schema.include.list", "tables.include"),
    ("schema.exclude.list", "tables.exclude"),
    ("table.include.list", "tables.include"),
    ("table.exclude.list", "tables.exclude"),
    ("table.whitelist", "tables.include"),
    ("table.blacklist", "tables.exclude"),
    ("table.poll.interval.ms", "tables.refresh_interval"),
    ("mode", "tables.mode"),
    ("query", "objects.<alias>.query"),
    ("incrementing.column.name", "tables.incrementing_column"),
    ("timestamp.column.name", "tables.timestamp_column"),
    ("timestamp.delay.interval.ms", "cursor.lookback"),
    ("db.timezone", "cursor.timezone"),
    ("poll.interval.ms", "poll.interval"),
    ("transforms.route.regex", "topic.route.regex"),
    ("transforms.route.replacement", "topic.route.replacement"),
    ("table.name.format", "topic.name.format"),
    ("topic.name.pattern", "topic.name.format"),
    ("bootstrap.servers", "kafka.bootstrap.servers"),
    ("schema.registry.url", "schema_registry.url"),
    ("value.converter.schema.registry.url", "schema_registry.url"),
    ("basic.auth.user.info", "schema_registry.user and schema_registry.password"),
    ("schema_registry.basic.auth.user.info", "schema_registry.user and schema_registry.password"),
    ("schema.registry.basic.auth.user.info", "schema_registry.user and schema_registry.password"),
    ("value.converter.basic.auth.user.info", "schema_registry.user and schema_registry.password"),
    ("schema_registry.bearer.auth.token", "schema_registry.token"),
    ("schema_registry.username", "schema_registry.user"),
    ("schema_registry.ssl.truststore.location", "schema_registry.ssl.ca.location, a PEM file"),
    (
        "schema_registry.ssl.keystore.location",
        "schema_registry.ssl.certificate.location and schema_registry.ssl.key.location, PEM files",
    ),
    ("use.latest.version", "schema_registry.use.latest.version"),
    ("value.converter.use.latest.version", "schema_registry.use.latest.version"),
    ("auto.register.schemas", "schema_registry.auto.register.schemas"),
    ("normalize.schemas", "schema_registry.normalize.schemas"),
    ("value.converter.auto.register.schemas", "schema_registry.auto.register.schemas"),
    ("value.converter.value.subject.name.strategy", "schema_registry.subject.name.strategy"),
    ("offset.storage.file.filename", "offset.storage.topic"),
];

impl Key {
    /// The name chosen for the part in `<>`, if `name` is an instance of this key. Empty for a key without such a part.
    fn instance<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self.name.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1))) {
            None => (self.name == name).then_some(""),
            Some((head, tail)) => name.strip_prefix(head)?.strip_suffix(tail).filter(|chosen| !chosen.is_empty()),
        }
    }
}

/// The alias in an object's key: what stands before the longest ending that is known, or before the first dot.
pub(super) fn alias(rest: &str) -> Option<&str> {
    let known = KEYS.iter().filter_map(|key| rest.strip_suffix(key.name.strip_prefix("objects.<alias>")?));
    known.filter(|alias| !alias.is_empty()).min_by_key(|alias| alias.len()).or_else(|| Some(rest.split_once('.')?.0))
}

/// The key that `name` is, or is an instance of.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.instance(name).is_some())
}

/// Whether `name` is a section: some key lies below it.
pub(super) fn is_section(name: &str) -> bool {
    if let Some((_, below)) = name.strip_prefix("objects.").and_then(|rest| rest.split_once('.'))
        && KEYS.iter().any(|key| {
            key.name
                .strip_prefix("objects.<alias>.")
                .and_then(|rest| rest.strip_prefix(below))
                .is_some_and(|rest| rest.starts_with('.'))
        })
    {
        return true;
    }
    let mut parts = name.split('.');
    matches!((parts.next(), parts.next(), parts.next()), (Some("objects"), Some(_), None))
        || KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// What to say of a name that is no key.
pub(super) fn instead_of(name: &str) -> String {
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == name) {
        return format!("{ours}, which is its name here");
    }
    if is_section(name) {
        return format!("a table: {}", below(name));
    }
    // `objects.orders.tabel`: the alias is the user's own, only the rest can be wrong.
    let named: Vec<String> = KEYS
        .iter()
        .filter_map(|key| match key.name.split_once("<alias>") {
            None => Some(key.name.to_owned()),
            Some((head, tail)) => {
                let alias = name.strip_prefix(head)?.split_once('.')?.0;
                Some(format!("{head}{alias}{tail}"))
            }
        })
        .collect();
    if let Some(near) = nearest(name, named.iter().map(String::as_str)) {
        return format!("a known key; the nearest is {near}");
    }
    let section = name.split('.').next().unwrap_or_default();
    if section != name && is_section(section) {
        return format!("a known key: {}", below(section));
    }
    let mut sections: Vec<&str> = Vec::new();
    for key in KEYS {
        let section = key.name.split('.').next().unwrap_or_default();
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    format!("a known key; they begin with {}", sections.join(", "))
}

fn below(section: &str) -> String {
    let objects = section.starts_with("objects");
    let keys = KEYS.iter().filter(|key| match objects {
        true => key.name.starts_with("objects."),
        false => key.name.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')),
    });
    keys.map(|key| key.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_free_part_match_any_name_there() {
        assert_eq!(find("objects.a.b.table").unwrap().name, "objects.<alias>.table");
        assert_eq!(find("kafka.linger.ms").unwrap().name, "kafka.<property>");
        assert_eq!(find("topic.creation.default.partitions").unwrap().name, "topic.creation.default.partitions");
        assert_eq!(find("topic.creation.default.cleanup.policy").unwrap().name, "topic.creation.default.<setting>");
        for unknown in ["", "kafka.", "kafka", "objects..table", "objects.a", "names", "<alias>"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn what_is_unknown_is_answered_with_what_was_meant() {
        for (name, answer) in [
            ("tasks.mx", "a known key; the nearest is tasks.max"),
            ("objects.orders.tabel", "a known key; the nearest is objects.orders.table"),
            ("connection.url", "database.url, which is its name here"),
            (
                "tables",
                "a table: tables.include, tables.exclude, tables.mode, tables.timestamp_column, tables.incrementing_column, tables.refresh_interval",
            ),
            (
                "slot",
                "a known key; they begin with name, group, tasks, exactly, source, failover, database, ssh, tables, objects, poll, cursor, sweep, on_change, on_default_added, columns, message, schema, profile, decimal, time, binary, array, hstore, interval, uuid, json, infinity, nan, oversize, errors, topic, kafka, schema_registry, offset",
            ),
            ("poll.how_often_to_look", "a known key: poll.interval, poll.cron, poll.timezone"),
        ] {
            assert_eq!(instead_of(name), answer, "{name}");
        }
        assert!(instead_of("objects.orders").starts_with("a table: objects.<alias>.table, objects.<alias>.query,"));
        assert!(instead_of("slot.name").starts_with("a known key; they begin with name, group, tasks,"));
    }

    #[test]
    fn every_default_and_every_choice_is_said_in_words() {
        assert_eq!(millis(10).to_string(), "a time with its unit, such as \"5s\", at least 10ms");
        assert_eq!(Takes::OneOf(&["a", "b", "c"]).to_string(), "a, b or c");
        assert_eq!(Takes::OneOf(&["xmin"]).to_string(), "xmin");
        for key in KEYS {
            assert!(!key.doc.is_empty() && !key.takes.to_string().is_empty(), "{}", key.name);
        }
    }
}
