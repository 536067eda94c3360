//! The configuration as a user meets it: files in, a configuration or a report out.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::key::KEYS;
use super::*;
use crate::poll::TableName;

/// Enough to be right; every mistake below is added to it.
const RIGHT: &str = r#""kafka.bootstrap.servers" = "localhost:9092"
"schema_registry.url" = "http://localhost:8081"
"#;

struct Case {
    directory: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("s.toml");
        std::fs::write(&file, text).unwrap();
        Case { directory, sources: Sources { file, ..Sources::default() } }
    }

    fn environment(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.sources.set.push((key.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Config, Problems> {
        load(&self.sources)
    }

    /// The report, with the file's directory cut off.
    fn report(&self) -> String {
        let report = self.load().map(|_| String::new()).unwrap_or_else(|problems| problems.to_string());
        report.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

/// A file that is right apart from `text`, which stands on its first line; on its fifth if it begins a table, since a
/// table ends only with the file.
fn file(text: &str) -> Case {
    let database = if text.contains("database") { "" } else { "database.url = 'postgres://db/shop'\n" };
    let right = if text.starts_with("schema_registry = ") { &RIGHT[..RIGHT.find('\n').unwrap() + 1] } else { RIGHT };
    let name = if text.starts_with("name") { "" } else { "name = 'shop'\n" };
    match text.starts_with('[') {
        true => Case::new(&format!("{right}{database}{name}{text}")),
        false => Case::new(&format!("{text}\n{right}{database}{name}")),
    }
}

#[test]
fn every_mistake_is_answered_with_its_place_what_was_found_and_what_would_be_right() {
    let table: &[(&str, &str)] = &[
        ("tasks.mx = 2", "s.toml:1:7: tasks.mx|a key that is not known|a known key; the nearest is tasks.max"),
        ("tasks.max = 0", "s.toml:1:7: tasks.max|0|an integer from 1 to 64"),
        ("tasks.max = 'many'", "s.toml:1:7: tasks.max|\"many\"|an integer from 1 to 64"),
        ("tasks.max = 2.5", "s.toml:1:7: tasks.max|2.5|an integer from 1 to 64"),
        ("  tasks = 2", "s.toml:1:3: tasks|a key that is not known|a table: tasks.max"),
        ("poll.interval = 5", "s.toml:1:6: poll.interval|5|a time with its unit, such as \"5s\", at least 10ms"),
        ("poll.interval = '5'", "s.toml:1:6: poll.interval|\"5\"|a time with its unit, such as \"5s\", at least 10ms"),
        (
            "poll.interval = '1ms'",
            "s.toml:1:6: poll.interval|\"1ms\"|a time with its unit, such as \"5s\", at least 10ms",
        ),
        (
            "poll.interval.ms = 5",
            "s.toml:1:15: poll.interval.ms|a key that is not known|poll.interval, which is its name here",
        ),
        ("failover.lag = 'soon'", "s.toml:1:10: failover.lag|\"soon\"|a time with its unit, such as \"5s\" or \"10m\""),
        ("exactly.once.support = 'yes'", "s.toml:1:14: exactly.once.support|\"yes\"|required, requested or disabled"),
        ("topic.creation.enable = 'no'", "s.toml:1:16: topic.creation.enable|\"no\"|true or false"),
        (
            "topic.creation.default.partitions = 0",
            "s.toml:1:24: topic.creation.default.partitions|0|an integer from 1 to 100000, or -1 for the broker's default",
        ),
        (
            "topic.creation.default.'cleanup.policy' = [[1]]",
            "s.toml:1:24: topic.creation.default.cleanup.policy|a list|one value: a text, a number, true or false",
        ),
        (
            "topic.prefix = 'a b'",
            "s.toml:1:7: topic.prefix|\"a b\"|1 to 249 characters of a-z A-Z 0-9 . _ - (and not . or .. alone)",
        ),
        (
            "offset.storage.topic = '..'",
            "s.toml:1:16: offset.storage.topic|\"..\"|1 to 249 characters of a-z A-Z 0-9 . _ - (and not . or .. alone)",
        ),
        ("name = ''", "s.toml:1:1: name|\"\"|a text that is not empty"),
        ("name = 7", "s.toml:1:1: name|7|a text in quotes"),
        (
            "name = 'my shop'",
            "s.toml: topic.prefix|nothing|a first part for topics, of a-z A-Z 0-9 . _ - (the connector's name has others)",
        ),
        (
            "tables.mode = 'wal'",
            "s.toml:1:8: tables.mode|\"wal\"|xmin, bulk, incrementing, timestamp or timestamp+incrementing",
        ),
        ("tables.mode = 'timestamp'", "s.toml: tables.timestamp_column|nothing|the column that mode timestamp goes by"),
        (
            "tables.incrementing_column = 'id'",
            "s.toml:1:8: tables.incrementing_column|\"id\"|nothing: mode xmin knows no such column",
        ),
        (
            "objects.a = { query = 'SELECT 1; SELECT 2', mode = 'bulk' }",
            "s.toml:1:15: objects.a.query|\"SELECT 1; SELECT 2\"|one statement; a semicolon stands between two",
        ),
        (
            "objects.a = { query = 'DELETE FROM t', mode = 'bulk' }",
            "s.toml:1:15: objects.a.query|\"DELETE FROM t\"|a SELECT (or WITH, VALUES, TABLE); this one begins with `DELETE`",
        ),
        (
            "objects.a = { query_file = '/nowhere/a.sql', mode = 'bulk' }",
            "s.toml:1:15: objects.a.query_file|\"/nowhere/a.sql\"|a file that can be read: No such file or directory (os error 2)",
        ),
        (
            "objects.a = { table = 't', query = 'SELECT 1' }",
            "s.toml:1:28: objects.a.query|\"SELECT 1\"|one of table, query and query_file; another is set too",
        ),
        (
            "objects.a = { query = 'SELECT 1', mode = 'xmin' }",
            "s.toml:1:35: objects.a.mode|\"xmin\"|bulk, incrementing, timestamp or timestamp+incrementing: a query's rows have no transaction id",
        ),
        (
            "objects.a = { table = 't', poll.cron = '61 * * * *' }",
            "s.toml:1:33: objects.a.poll.cron|\"61 * * * *\"|minute, hour, day of month, month and day of week, such as \"0 6 * * 1-5\", with a next time",
        ),
        (
            "poll.cron = '0 6 * * *'\npoll.timezone = 'Mars/Olympus'",
            "s.toml:2:6: poll.timezone|\"Mars/Olympus\"|a time zone such as Europe/Berlin or UTC",
        ),
        (
            "objects.a = { table = 't', where = \"at > now() AND d < CURRENT_DATE\" }",
            "s.toml:1:28: objects.a.where|\"at > now() AND d < CURRENT_DATE\"|a condition on the row alone; rows that enter it later by `current_date` would never be seen",
        ),
        (
            "message.key.columns = 'orders'",
            "s.toml:1:13: message.key.columns|\"orders\"|schema.table:column,column with ; between tables, such as \"public.orders:id,line\"",
        ),
        (
            "objects.a = { table = 't', columns.cast = ['price:float'] }",
            "s.toml:1:36: objects.a.columns.cast|a list|column:mode with a mode of text, string, json, precise, double, micros, connect, isostring, adaptive, bytes, base64, hex, array, map, numeric, uuid, such as \"price:string\"",
        ),
        (
            "objects.a = { table = 't', columns.mask = ['email'] }",
            "s.toml:1:36: objects.a.columns.mask|a list|column:rule with the rule redact, sha256 or truncate:4, such as \"email:sha256\"",
        ),
        (
            "objects.a = { table = 't', columns = { include = ['a'], exclude = ['b'] } }",
            "s.toml:1:57: objects.a.columns.exclude|a list|one of the two: objects.a.columns.include is set too",
        ),
        (
            "objects.a = { table = 't', poll.intervall = '5s' }",
            "s.toml:1:33: objects.a.poll.intervall|a key that is not known|a known key; the nearest is objects.a.poll.interval",
        ),
        (
            "tables.include = ['a.b.c']",
            "s.toml:1:8: tables.include|a list|patterns such as \"public.*\"; `a.b.c` has more than a schema and a table; quote a name that holds a dot: \"my.table\"",
        ),
        ("tables.exclude = [1]", "s.toml:1:8: tables.exclude|a list|a list of texts: [\"a\", \"b\"]"),
        (
            "objects.a.topic = 't'",
            "s.toml: objects.a.table|nothing|schema.table; or objects.<alias>.query, or query_file",
        ),
        (
            "objects = {a = {table = 't'}, b = {table = 'public.t'}}",
            "s.toml:1:36: objects.b.table|\"public.t\"|a table of its own; objects.a.table names the same",
        ),
        (
            "kafka.'lingr.ms' = 5",
            "s.toml:1:7: kafka.lingr.ms|a value that is not shown|a property of librdkafka; the nearest is linger.ms",
        ),
        (
            "kafka.'linger.ms' = 'x'",
            "s.toml:1:7: kafka.linger.ms|\"x\"|what librdkafka takes; it says: Invalid value for configuration property \"queue.buffering.max.ms\"",
        ),
        ("kafka.acks = 1", "s.toml:1:7: kafka.acks|1|no such line: Strandline always waits for all in-sync replicas"),
        ("kafka.'group.id' = 'g'", "s.toml:1:7: kafka.group.id|\"g\"|the key group.id, outside [kafka]"),
        (
            "kafka.'transactional.id' = 'x'",
            "s.toml:1:7: kafka.transactional.id|\"x\"|no such line: Strandline builds it from group.id, name and the offsets partition",
        ),
        (
            "kafka.'sasl.jaas.config' = 'hunter2'",
            "s.toml:1:7: kafka.sasl.jaas.config|a value that is not shown|sasl.username and sasl.password (librdkafka has no JAAS)",
        ),
        (
            "kafka.'ssl.truststore.location' = '/x.jks'",
            "s.toml:1:7: kafka.ssl.truststore.location|\"/x.jks\"|ssl.ca.location, a PEM file (keytool and openssl convert it)",
        ),
        (
            "schema_registry.user = '${env:NOBODY}'",
            "s.toml:1:17: schema_registry.user|\"${env:NOBODY}\"|the environment variable NOBODY, which is not set",
        ),
        (
            "schema_registry = { user = 'u', url = 'k:hunter2@registry' }",
            "s.toml:1:33: schema_registry.url|\"[hidden]\"|an address that begins with http:// or https://",
        ),
        (
            "schema_registry.password = 'p'",
            "s.toml: schema_registry.user|nothing|the user that schema_registry.password belongs to",
        ),
        (
            "database.url = 'mysql://u:hunter2@db/x'",
            "s.toml:1:10: database.url|a value that is not shown|postgres://user:password@host:5432/dbname, or host=… dbname=… pairs",
        ),
        (
            "database.url = 'postgres://u:hunter2@db'",
            "s.toml:1:10: database.url|a value that is not shown|the name of the database (1014)",
        ),
        (
            "database.url = 'postgres://u:hunter2@db/x?ssl=true'",
            "s.toml:1:10: database.url|a value that is not shown|sslmode=require (instead of the parameter ssl)",
        ),
        (
            "database.url = '${env:DATABASE_URL}'",
            "s.toml:1:10: database.url|a value that is not shown|the environment variable DATABASE_URL, which is not set",
        ),
        ("database.hostname = 'db'", "s.toml: database.dbname|nothing|the name of the database (1014)"),
        (
            "database = { hostname = 'db', port = 70000, dbname = 'x' }",
            "s.toml:1:31: database.port|70000|a port from 1 to 65535",
        ),
        (
            "database = { hostname = 'db', dbname = 'x', password = 12345 }",
            "s.toml:1:45: database.password|a value that is not shown|a text in quotes",
        ),
        (
            "database = { url = 'postgres://db/x', sslmode = 'full' }",
            "s.toml:1:39: database.sslmode|\"full\"|disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            "database = { url = 'postgres://db/x', pasword = 'hunter2' }",
            "s.toml:1:39: database.pasword|a key that is not known|a known key; the nearest is database.password",
        ),
        (
            "[[objects]]\ntable = 't'",
            "s.toml:5:3: objects|a key that is not known|a table: objects.<alias>.table, objects.<alias>.query, objects.<alias>.query_file, objects.<alias>.mode, objects.<alias>.timestamp_column, objects.<alias>.incrementing_column, objects.<alias>.poll.interval, objects.<alias>.poll.cron, objects.<alias>.poll.timezone, objects.<alias>.sweep.interval, objects.<alias>.cursor.lookback, objects.<alias>.cursor.lookback_ids, objects.<alias>.cursor.timezone, objects.<alias>.where, objects.<alias>.columns.include, objects.<alias>.columns.exclude, objects.<alias>.columns.mask, objects.<alias>.columns.cast, objects.<alias>.message.key.columns, objects.<alias>.on_change, objects.<alias>.on_default_added, objects.<alias>.oversize, objects.<alias>.oversize.truncate.columns, objects.<alias>.topic",
        ),
        (
            "topic.name.format = '${prefix}.all'",
            "s.toml:1:12: topic.name.format|\"${prefix}.all\"|a name with ${table} in it: each table has a topic of its own",
        ),
        (
            "topic.name.format = '${table}.${db}'",
            "s.toml:1:12: topic.name.format|\"${table}.${db}\"|${prefix}, ${schema} and ${table}; no other variable is known",
        ),
        (
            "topic.route.regex = 'a(b'\ntopic.route.replacement = 'c'",
            "s.toml:1:13: topic.route.regex|\"a(b\"|a regular expression; unclosed group",
        ),
        (
            "topic.route.regex = 'a(.*)'",
            "s.toml: topic.route.replacement|nothing|the new name of the topics that topic.route.regex matches, such as \"$1\"",
        ),
        (
            "topic.headers = ['table', 'xmin']",
            "s.toml:1:7: topic.headers|a list|table, mode, xid, snapshot or ts_ms, not \"xmin\"",
        ),
        (
            "transforms.route.regex = 'x'",
            "s.toml:1:18: transforms.route.regex|a key that is not known|topic.route.regex, which is its name here",
        ),
        ("tasks.max = '1__0'", "s.toml:1:7: tasks.max|\"1__0\"|an integer from 1 to 64"),
        ("tasks.max = '6_5'", "s.toml:1:7: tasks.max|\"6_5\"|an integer from 1 to 64"),
        (
            "errors.tolerance = 'all'",
            "s.toml: errors.deadletterqueue.topic.name|nothing|the topic for rows that errors.tolerance lets pass: none is skipped without a trace",
        ),
        ("oversize = 'truncate'", "s.toml:1:1: oversize|\"truncate\"|fail or skip"),
        (
            "objects.a = { table = 't', oversize = 'truncate' }",
            "s.toml: objects.a.oversize.truncate.columns|nothing|the columns that are cut when a row is too large: [\"notes\"]",
        ),
        (
            "objects.a = { table = 't', \"oversize.truncate.columns\" = ['x'] }",
            "s.toml:1:28: objects.a.oversize.truncate.columns|a list|nothing, unless objects.a.oversize = \"truncate\"",
        ),
        (
            "[pol]",
            "s.toml:5:2: pol|a key that is not known|a known key; they begin with name, group, tasks, exactly, source, failover, database, ssh, tables, objects, poll, cursor, sweep, on_change, on_default_added, columns, message, schema, profile, decimal, time, binary, array, hstore, interval, uuid, json, infinity, nan, oversize, errors, topic, kafka, schema_registry, offset",
        ),
    ];
    let mut wrong = String::new();
    for (text, expected) in table {
        let mut lines = expected.split('|');
        let expected = format!(
            "{}\n  found: {}\n  needs: {}",
            lines.next().unwrap(),
            lines.next().unwrap(),
            lines.next().unwrap()
        );
        let report = file(text).report();
        if report != expected || report.contains("hunter2") {
            wrong += &format!("{text}\nreported: {report}\nexpected: {expected}\n\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The same mistake in the other syntaxes, at its own place.
#[test]
fn yaml_and_json_tell_line_and_column_too() {
    for (name, text, expected) in [
        ("s.yaml", "tasks:\n  mx: 2\n", "s.yaml:2:3: tasks.mx"),
        ("s.yaml", "poll: {interval: 5}\n", "s.yaml:1:8: poll.interval"),
        ("s.yaml", "tables:\n  include:\n  - 1\n", "s.yaml:2:3: tables.include"),
        ("s.yml", "name: shop\nname: other\n", "s.yml:2:1: name"),
        ("s.yaml", "database:\n\tpassword: hunter2\n", "s.yaml:2:2: YAML syntax"),
        ("s.yaml", "database.password: \"hunter2\n", "s.yaml:1:20: YAML syntax"),
        ("s.yaml", "database.password: 012345\n", "s.yaml:1:1: database.password"),
        ("s.json", "{\n  \"tasks.max\": \"many\"\n}", "s.json:2:3: tasks.max"),
        ("s.json", "{\"name\": \"shop\",}", "s.json:1:17: JSON syntax"),
        ("s.json", "{'password': 'hunter2'}", "s.json:1:2: JSON syntax"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        let report = load(&Sources { file, ..Sources::default() }).unwrap_err().to_string();
        let report = report.replace(&format!("{}/", directory.path().display()), "");
        assert!(report.lines().any(|line| line == expected), "{text}\n{report}");
        assert!(!report.contains("hunter2") && !report.contains("012345"), "{report}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let case = Case::new("tasks.max = 99\npoll.interval = 5\n[tables]\nmode = 'x'\n")
        .environment("STRANDLINE_SOURCE__STALL", "5")
        .set("failover.lag", "?");
    let heads: Vec<String> = case.report().lines().filter(|line| !line.starts_with(' ')).map(str::to_owned).collect();
    assert_eq!(
        heads,
        [
            "s.toml:1:7: tasks.max",
            "s.toml:2:6: poll.interval",
            "s.toml:4:1: tables.mode",
            "s.toml: database.hostname",
            "s.toml: kafka.bootstrap.servers",
            "s.toml: name",
            "s.toml: schema_registry.url",
            "$STRANDLINE_SOURCE__STALL: source.stall",
            "--set failover.lag: failover.lag",
        ]
    );
}

#[test]
fn a_missing_file_and_a_broken_one_are_the_only_problem() {
    let problems = load(&Sources { file: PathBuf::from("/nowhere/s.toml"), ..Sources::default() }).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/nowhere/s.toml: configuration file\n  found: No such file or directory (os error 2)\n  needs: a TOML, YAML or JSON file, or a directory of them; --config or STRANDLINE_CONFIG names another"
    );
    let report = Case::new("name = 'shop'\ntasks.max = ").report();
    assert!(report.starts_with("s.toml:2:"), "{report}");
    assert_eq!(report.lines().count(), 3, "{report}");
}

#[test]
fn the_url_and_the_parts_exclude_each_other_across_sources() {
    let case = file("database.user = 'u'").environment("STRANDLINE_DATABASE__URL", "postgres://db/x");
    assert_eq!(
        case.report(),
        "s.toml:1:10: database.user\n  found: \"u\"\n  needs: no such line beside database.url ($STRANDLINE_DATABASE__URL): keep one of the two"
    );
}

#[test]
fn later_sources_win_and_lists_are_replaced() {
    let config = file("tables.include = ['a.*', 'b.*']\npoll.interval = '1s'\ntasks.max = 2\nfailover.lag = '1m'")
        .environment("STRANDLINE_TASKS__MAX", "3")
        .environment("STRANDLINE_POLL__INTERVAL", "2s")
        .environment("STRANDLINE_KAFKA__BOOTSTRAP_SERVERS", "other:9092")
        .set("poll.interval", "3s")
        .set("tables.include", "c.*, d.*")
        .load()
        .unwrap();
    assert_eq!(config.failover_lag, Duration::from_secs(60));
    assert_eq!(config.tasks_max, 3);
    assert_eq!(config.shortest_interval(), Duration::from_secs(3));
    assert_eq!(config.kafka.properties["bootstrap.servers"].reveal(), "other:9092");
    let include: Vec<String> = config.tables.include.iter().map(ToString::to_string).collect();
    assert_eq!(include, ["c.*", "d.*"]);
}

#[test]
fn placeholders_are_replaced_at_once_but_those_of_the_database() {
    let config = file("database = { hostname = '${env:HOST}', dbname = 'x', password_file = '/dev/null' }\nkafka.'sasl.password' = 'x${env:PW}'")
        .environment("HOST", "db")
        .environment("PW", "secret")
        .load()
        .unwrap();
    assert_eq!(config.kafka.properties["sasl.password"].reveal(), "xsecret");
    assert_eq!(config.database.hostname.as_deref(), Some("${env:HOST}"));
    assert_eq!(config.database.password.as_ref().unwrap().reveal(), "${file:/dev/null}");
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
}

#[test]
fn user_and_password_leave_the_registrys_address() {
    let config = file("schema_registry.password_file = '/dev/null'")
        .set("schema_registry.url", "https://k%40y:@registry/api/, http://second:8081")
        .load()
        .unwrap_err();
    assert!(config.to_string().contains("schema_registry"));
    let config =
        file("").set("schema_registry.url", "https://k%40y:s3cret@registry/api/, http://second:8081").load().unwrap();
    assert_eq!(config.schema_registry.urls, ["https://registry/api", "http://second:8081"]);
    assert_eq!(config.schema_registry.user.as_deref(), Some("k@y"));
    assert_eq!(config.schema_registry.password, Some(Secret::new("s3cret")));
}

#[test]
fn without_patterns_every_table_of_the_schema_is_meant() {
    let config = file("").set("database.schema", "Odd.name").load().unwrap();
    assert!(config.tables.include[0].matches(&TableName::new("Odd.name", "t")));
    assert!(!config.tables.include[0].matches(&TableName::new("public", "t")));
}

/// `#key = value` lines of the example are settings, `# text` is prose.
fn uncommented(example: &str) -> String {
    example
        .lines()
        .map(|line| {
            line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']) && !rest.is_empty()).unwrap_or(line)
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_example_has_every_key_with_its_default_in_the_order_of_the_table() {
    let example = include_str!("../../config/strandline.toml");
    let mut problems = Vec::new();
    let layer = layer::Layer::file("strandline.toml".as_ref(), &uncommented(example), &mut problems).unwrap();
    assert_eq!(problems, []);
    let mut shown = BTreeSet::new();
    for (name, value) in layer.settings() {
        let key = key::find(name).unwrap_or_else(|| panic!("{name} is no key"));
        shown.insert(key.name);
        if let Some(default) = key.default {
            let value = value.as_str().map(str::to_owned).unwrap_or_else(|| match value.to_bool_lossy() {
                Some(flag) if value.to_i128().is_none() => flag.to_string(),
                _ => value.to_i128().unwrap().to_string(),
            });
            assert!(value == default || name == "name", "{name} is {value} in the example and {default} in the table");
        }
    }
    assert_eq!(shown, KEYS.iter().map(|key| key.name).collect());
}

#[test]
fn the_examples_for_services_load_as_they_are() {
    let environment = [
        ("DATABASE_URL", "postgres://reader:p@db.example.com/shop"),
        ("PGPASSWORD", "p"),
        ("CONFLUENT_API_KEY", "k"),
        ("CONFLUENT_API_SECRET", "s"),
        ("CONFLUENT_REGISTRY_KEY", "k"),
        ("CONFLUENT_REGISTRY_SECRET", "s"),
        ("REDPANDA_PASSWORD", "p"),
        ("KAFKA_USER", "u"),
        ("KAFKA_PASSWORD", "p"),
        ("MSK_USER", "u"),
        ("MSK_PASSWORD", "p"),
    ];
    for example in [
        "heroku.toml",
        "rds.toml",
        "cloud-sql.toml",
        "supabase.toml",
        "bastion.toml",
        "confluent-cloud.toml",
        "redpanda.toml",
        "msk.toml",
        "strimzi.toml",
    ] {
        let sources = Sources {
            file: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(example),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            // Its bundle is downloaded by whoever uses it.
            set: match example {
                "rds.toml" => vec![("database.sslrootcert".to_owned(), "system".to_owned())],
                _ => Vec::new(),
            },
        };
        load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn the_examples_load_as_they_are() {
    for example in ["strandline.toml", "quickstart.toml", "quickstart.yaml", "quickstart.json"] {
        let sources = Sources {
            file: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(example),
            environment: vec![("DATABASE_URL".to_owned(), "postgres://reader:p@localhost/shop".to_owned())],
            set: Vec::new(),
        };
        let config = load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.name, "shop");
        assert_eq!(config.topic.prefix, "shop");
        assert!(config.exactly_once && config.topic.create);
        assert_eq!((config.offset_storage.partitions, config.offset_storage.replication_factor), (8, -1));
        assert_eq!(config.database.connect_timeout, Duration::from_secs(10));
    }
}
