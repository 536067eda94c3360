//! From settings to a [`Config`], section by section, with the rules that hold between keys.

use std::collections::BTreeMap;

use super::reader::Reader;
use super::secret::Secret;
use super::{
    Config, Kafka, Object, OffsetStorage, SchemaRegistry, Source, Tables, Topic, database, errors, key, librdkafka,
    naming, polling, query, unit, url,
};
use crate::avro::Adjustment;
use crate::poll::{Mode, Pattern, TableName};
use crate::registry::Strategy;

/// Kafka's bound on a topic's name.
const LONGEST_TOPIC: usize = 249;

/// Reads everything; the reader holds what is wrong.
pub(super) fn config(reader: &mut Reader<'_>) -> Config {
    let name = name(reader);
    let schema = reader.text("database.schema").unwrap_or_default();
    Config {
        database: database::read(reader),
        tables: tables(reader, &schema),
        objects: objects(reader, &schema),
        polling: polling::polling(reader, ""),
        handling: super::handling::handling(reader),
        adjustment: match reader.word("schema.name.adjustment.mode") {
            Some("avro_unicode") => Adjustment::AvroUnicode,
            _ => Adjustment::Avro,
        },
        topic: topic(reader, &name),
        errors: errors::errors(reader),
        kafka: kafka(reader),
        schema_registry: schema_registry(reader),
        offset_storage: OffsetStorage {
            topic: topic_name(reader, "offset.storage.topic").unwrap_or_default(),
            partitions: reader.integer("offset.storage.partitions"),
            replication_factor: reader.integer("offset.storage.replication.factor"),
        },
        tasks_max: reader.integer("tasks.max"),
        exactly_once: reader.word("exactly.once.support") != Some("disabled"),
        group_id: reader.required("group.id"),
        source_connections: reader.integer("source.connections"),
        source_stall: reader.time("source.stall"),
        failover_lag: reader.time("failover.lag"),
        name,
    }
}

fn name(reader: &mut Reader<'_>) -> String {
    let name = reader.required("name");
    if name.chars().count() > 255 || name.contains(char::is_control) {
        reader.refuse("name", "1 to 255 characters, none of them a control character");
    }
    name
}

fn tables(reader: &mut Reader<'_>, schema: &str) -> Tables {
    let include = match reader.is_set("tables.include") {
        true => patterns(reader, "tables.include", schema),
        // The schema's own dots and stars are meant as they are.
        false => Pattern::parse(&format!("\"{}\".*", schema.replace('"', "\"\"")), schema).into_iter().collect(),
    };
    if schema.is_empty() {
        reader.refuse("database.schema", "a text that is not empty");
    }
    Tables {
        schema: schema.to_owned(),
        include,
        exclude: patterns(reader, "tables.exclude", schema),
        key_columns: key_columns(reader, schema),
        refresh_interval: reader.time("tables.refresh_interval"),
    }
}

/// Debezium's form: `schema.table:a,b;schema.table:c`.
fn key_columns(reader: &mut Reader<'_>, schema: &str) -> Vec<(Pattern, Vec<String>)> {
    let key = "message.key.columns";
    let text = reader.text(key).unwrap_or_default();
    let mut all = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let parsed = part.rsplit_once(':').and_then(|(pattern, columns)| {
            let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_owned()).collect();
            let whole = !columns.iter().any(String::is_empty);
            Some((Pattern::parse(pattern.trim(), schema).ok()?, columns)).filter(|_| whole)
        });
        match parsed {
            Some(parsed) => all.push(parsed),
            None => reader
                .refuse(key, "schema.table:column,column with ; between tables, such as \"public.orders:id,line\""),
        }
    }
    all
}

fn patterns(reader: &mut Reader<'_>, key: &str, schema: &str) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for text in reader.list(key) {
        match Pattern::parse(&text, schema) {
            Ok(pattern) => patterns.push(pattern),
            Err(problem) => reader.refuse(key, format!("patterns such as \"public.*\"; {problem}")),
        }
    }
    patterns
}

fn objects(reader: &mut Reader<'_>, schema: &str) -> BTreeMap<String, Object> {
    let rests = reader.below("objects.");
    let aliases: std::collections::BTreeSet<String> =
        rests.iter().filter_map(|rest| key::alias(rest)).map(str::to_owned).collect();
    let mut objects: BTreeMap<String, Object> = BTreeMap::new();
    for alias in aliases {
        let topic_key = format!("objects.{alias}.topic");
        let topic = topic_name(reader, &topic_key);
        let polling = polling::polling(reader, &alias);
        let Some(source) = source(reader, schema, &alias, &polling.mode) else { continue };
        for (other, object) in &objects {
            if matches!((&object.source, &source), (Source::Table(a), Source::Table(b)) if a == b) {
                let needs = format!("a table of its own; objects.{other}.table names the same");
                reader.refuse(&format!("objects.{alias}.table"), needs);
            }
            if topic.is_some() && object.topic == topic {
                reader.refuse(&topic_key, format!("a topic of its own; objects.{other}.topic names the same"));
            }
        }
        objects.insert(alias, Object { source, topic, polling });
    }
    objects
}

/// The table or the query of an object: exactly one of three keys says it.
fn source(reader: &mut Reader<'_>, schema: &str, alias: &str, mode: &Mode) -> Option<Source> {
    let [table, query, file] = ["table", "query", "query_file"].map(|key| format!("objects.{alias}.{key}"));
    let set: Vec<&String> = [&table, &query, &file].into_iter().filter(|key| reader.is_set(key)).collect();
    match set[..] {
        [] => {
            reader.refuse(&table, "schema.table; or objects.<alias>.query, or query_file");
            None
        }
        [key] if *key == table => match TableName::parse(&reader.required(key), schema) {
            Ok(table) => Some(Source::Table(table)),
            Err(problem) => {
                if !reader.refused(key) {
                    reader.refuse(key, format!("schema.table; {problem}"));
                }
                None
            }
        },
        [key] => {
            let text = if *key == query { reader.required(key) } else { file_text(reader, key)? };
            if *mode == Mode::Xmin {
                let needs =
                    "bulk, incrementing, timestamp or timestamp+incrementing: a query's rows have no transaction id";
                reader.refuse(&format!("objects.{alias}.mode"), needs);
            }
            match query::tidy(&text) {
                Ok(text) => Some(Source::Query(text)),
                Err(needs) => {
                    if !reader.refused(key) {
                        reader.refuse(key, needs);
                    }
                    None
                }
            }
        }
        [_, second, ..] => {
            reader.refuse(second, "one of table, query and query_file; another is set too");
            None
        }
    }
}

fn file_text(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let path = reader.required(key);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            reader.refuse(key, format!("a file that can be read: {error}"));
            None
        }
    }
}

fn topic(reader: &mut Reader<'_>, name: &str) -> Topic {
    let prefix = match reader.is_set("topic.prefix") {
        true => topic_name(reader, "topic.prefix").unwrap_or_default(),
        false => {
            if !name.is_empty() && !is_legal_topic(name) {
                let needs = "a first part for topics, of a-z A-Z 0-9 . _ - (the connector's name has others)";
                reader.refuse("topic.prefix", needs);
            }
            name.to_owned()
        }
    };
    let mut settings = BTreeMap::new();
    for setting in reader.below("topic.creation.default.") {
        if !matches!(setting.as_str(), "partitions" | "replication.factor")
            && let Some(value) = reader.text(&format!("topic.creation.default.{setting}"))
        {
            let value = unit::property(&setting, &value);
            settings.insert(setting, value);
        }
    }
    Topic {
        prefix,
        naming: naming::naming(reader),
        headers: naming::headers(reader),
        create: reader.flag("topic.creation.enable"),
        partitions: reader.integer("topic.creation.default.partitions"),
        replication_factor: reader.integer("topic.creation.default.replication.factor"),
        settings,
    }
}

pub(super) fn topic_name(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let topic = reader.text(key)?;
    if !is_legal_topic(&topic) {
        reader.refuse(key, "1 to 249 characters of a-z A-Z 0-9 . _ - (and not . or .. alone)");
    }
    Some(topic)
}

/// Kafka's rule for topics.
fn is_legal_topic(topic: &str) -> bool {
    let legal = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '_' | '-');
    !matches!(topic, "" | "." | "..") && topic.len() <= LONGEST_TOPIC && topic.chars().all(legal)
}

fn kafka(reader: &mut Reader<'_>) -> Kafka {
    let mut properties = BTreeMap::new();
    for property in reader.below("kafka.") {
        let key = format!("kafka.{property}");
        let Some(value) = reader.text(&key) else { continue };
        let value = unit::property(&property, &value);
        match librdkafka::check(&property, &value) {
            Ok(()) => {
                properties.insert(property, Secret::new(value));
            }
            Err(needs) => reader.refuse(&key, needs),
        }
    }
    // librdkafka takes either name.
    let servers = ["bootstrap.servers", "metadata.broker.list"];
    let named = servers.iter().any(|name| reader.is_set(&format!("kafka.{name}")));
    if !named || servers.iter().filter_map(|name| properties.get(*name)).any(|value| value.reveal().trim().is_empty()) {
        reader.refuse("kafka.bootstrap.servers", "Kafka's brokers, host:port with commas between them");
    }
    let said = |name: &str| properties.get(name).map(|value: &Secret| value.reveal().to_owned());
    let mechanism = said("sasl.mechanism").or_else(|| said("sasl.mechanisms"));
    let protocol = said("security.protocol");
    for (property, needs) in
        librdkafka::missing(|name| reader.is_set(&format!("kafka.{name}")), protocol.as_deref(), mechanism.as_deref())
    {
        reader.refuse(&format!("kafka.{property}"), needs);
    }
    Kafka { properties }
}

fn schema_registry(reader: &mut Reader<'_>) -> SchemaRegistry {
    const URL: &str = "schema_registry.url";
    let mut user = reader.text("schema_registry.user");
    let mut password =
        reader.raw_secret("schema_registry.password").and_then(|raw| reader.replaced("schema_registry.password", raw));
    let mut urls = Vec::new();
    if !reader.is_set(URL) {
        reader.refuse(URL, "the Schema Registry's address, such as \"http://localhost:8081\"");
    }
    for text in reader.list(URL) {
        let Ok(mut address) = reqwest::Url::parse(&text) else {
            reader.refuse(URL, "an address such as \"http://localhost:8081\"");
            continue;
        };
        if !matches!(address.scheme(), "http" | "https") || !address.has_host() {
            reader.refuse(URL, "an address that begins with http:// or https://");
            continue;
        }
        // User and password leave the address, so that it may be shown and none is sent twice.
        if !address.username().is_empty() || address.password().is_some() {
            let Some((by_url, secret)) = take_userinfo(&mut address) else {
                reader.refuse(URL, "user and password with two hexadecimal digits after every %");
                continue;
            };
            let other_user = user.as_ref().is_some_and(|user| *user != by_url);
            if other_user || (password.is_some() && password != secret) {
                reader.refuse(URL, "one user and password for all addresses, here or in schema_registry.user");
            }
            user = Some(by_url);
            password = secret.or(password);
        }
        urls.push(address.as_str().trim_end_matches('/').to_owned());
    }
    if reader.is_set(URL) && urls.is_empty() && !reader.refused(URL) {
        reader.refuse(URL, "an address such as \"http://localhost:8081\"");
    }
    if user.is_none() && password.is_some() {
        reader.refuse("schema_registry.user", "the user that schema_registry.password belongs to");
    }
    let token =
        reader.raw_secret("schema_registry.token").and_then(|raw| reader.replaced("schema_registry.token", raw));
    if token.is_some() && user.is_some() {
        reader.refuse("schema_registry.token", "one of the two: a user is set too");
    }
    let [certificate, key] = ["schema_registry.ssl.certificate.location", "schema_registry.ssl.key.location"]
        .map(|key| (key, reader.text(key)));
    let certificate = match (certificate, key) {
        ((_, Some(certificate)), (_, Some(key))) => Some((certificate.into(), key.into())),
        ((_, None), (_, None)) => None,
        ((missing, None), _) | (_, (missing, None)) => {
            reader.refuse(missing, "a PEM file: certificate and key belong together");
            None
        }
    };
    let latest = "schema_registry.use.latest.version";
    let use_latest = reader.flag(latest);
    if use_latest && reader.flag("schema_registry.auto.register.schemas") {
        reader.refuse(
            latest,
            "schema_registry.auto.register.schemas = false beside it: a schema of ours would be registered",
        );
    }
    SchemaRegistry {
        urls,
        user,
        password,
        token,
        auto_register: reader.flag("schema_registry.auto.register.schemas"),
        use_latest,
        normalize: reader.flag("schema_registry.normalize.schemas"),
        strategy: match reader.word("schema_registry.subject.name.strategy") {
            Some("record") => Strategy::Record,
            Some("topic-record") => Strategy::TopicRecord,
            _ => Strategy::Topic,
        },
        ca: reader.text("schema_registry.ssl.ca.location").map(Into::into),
        certificate,
        key_password: reader
            .raw_secret("schema_registry.ssl.key.password")
            .and_then(|raw| reader.replaced("schema_registry.ssl.key.password", raw)),
    }
}

/// User and password of an address, which loses them. None: they are not percent-encoded text.
fn take_userinfo(address: &mut reqwest::Url) -> Option<(String, Option<Secret>)> {
    let user = url::decode(address.username()).ok()?;
    let password = address.password().map(url::decode).transpose().ok()?;
    address.set_username("").ok()?;
    address.set_password(None).ok()?;
    Some((user, password.map(Secret::new)))
}
