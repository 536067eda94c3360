//! What may be configured. [`load`] reads it: `layer` knows where settings come from, `key` what each may be, `reader`
//! joins the two and collects what is wrong, `section` builds the structs below.

mod database;
mod document;
mod effective;
mod errors;
mod handling;
mod key;
mod layer;
mod libpq;
mod librdkafka;
mod load;
mod naming;
mod nearest;
mod parameter;
mod placeholder;
mod polling;
mod problem;
mod query;
mod reader;
#[cfg(test)]
mod reference;
mod secret;
mod section;
mod several;
mod ssh;
mod target;
mod toml;
mod unit;
mod url;
mod yaml;

#[cfg(test)]
mod tests;

pub use effective::{Effective, effective};
pub use errors::{Errors, Oversize};
pub use librdkafka::{is_for_tokens, without_effect};
pub use load::{Sources, load};
pub use naming::{Header, Naming};
pub use polling::{OnChange, OnDefaultAdded, Polling, Schedule};
pub use problem::{Origin, Problem, Problems};
pub use query::blank as blank_literals;
pub use secret::{Secret, redact};
pub use several::{files, load_all};
pub use ssh::Ssh;
pub use target::{ClientCertificate, Endpoint, Load, SessionAttrs, Target, TlsVersion};

use std::collections::BTreeMap;
use std::time::Duration;

/// One connector, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `name`: 1 to 255 characters, unique in the Kafka cluster; part of every key in the offsets topic.
    pub name: String,
    /// `[database]`: the source.
    pub database: Database,
    /// `[tables]`: which of its tables become objects.
    pub tables: Tables,
    /// `[objects.<alias>]`: objects set apart from the others, by alias.
    pub objects: BTreeMap<String, Object>,
    /// How objects are read that say nothing else.
    pub polling: Polling,
    /// What types become that have several counterparts in Avro.
    pub handling: crate::avro::Handling,
    /// `schema.name.adjustment.mode`: how names become ones that Avro takes.
    pub adjustment: crate::avro::Adjustment,
    /// `[topic]`: how topics are named and created.
    pub topic: Topic,
    /// `errors.*`: what becomes of rows that cannot be encoded, and where the dead letters go.
    pub errors: Errors,
    /// `[kafka]`: the connection to Kafka.
    pub kafka: Kafka,
    /// `[schema_registry]`: the connection to the Schema Registry.
    pub schema_registry: SchemaRegistry,
    /// `[offset.storage]`: the topic that holds the progress.
    pub offset_storage: OffsetStorage,
    /// `tasks.max`: how many threads (and PostgreSQL connections) share the objects.
    pub tasks_max: u16,
    /// `exactly.once.support`: rows and watermark in one Kafka transaction unless `disabled`.
    pub exactly_once: bool,
    /// `group.id`: the first part of every transactional id, as in Kafka Connect's distributed worker.
    pub group_id: String,
    /// `source.connections`: how many of a task read one large table side by side.
    pub source_connections: u16,
    /// `source.stall`: how long PostgreSQL may be kept waiting in COPY by Kafka.
    pub source_stall: Duration,
    /// `failover.lag`: the most that a promoted standby may have lagged behind (DESIGN §3.4).
    pub failover_lag: Duration,
}

impl Config {
    /// The shortest interval of any object; a schedule by the clock is looked at every second.
    pub fn shortest_interval(&self) -> Duration {
        let all = self.objects.values().map(|object| &object.polling).chain([&self.polling]);
        let interval = |polling: &Polling| match polling.schedule {
            Schedule::Every(interval) => interval,
            Schedule::Cron(..) => Duration::from_secs(1),
        };
        all.map(interval).min().unwrap_or(Duration::from_secs(1))
    }

    /// The id by which Kafka fences: one per connector and partition of the offsets topic, whatever task has it.
    pub fn transactional_id(&self, partition: i32) -> String {
        format!("{}-{}-{partition}", self.group_id, self.name)
    }
}

/// `[database]`: the raw texts, `${env:…}` and `${file:…}` not yet replaced, since they are read again at every
/// connection: [`Database::resolve`].
#[derive(Clone, Debug)]
pub struct Database {
    /// `database.url`: `postgres://…` or `key=value` pairs; excludes the parts that follow.
    pub url: Option<Secret>,
    /// `database.hostname`: a name, an address or a socket's directory; several with commas are tried in turn.
    pub hostname: Option<String>,
    /// `database.port`: one for all hosts, or one for each.
    pub port: Option<String>,
    /// `database.user`: the role; the process's user unless set, as in libpq.
    pub user: Option<String>,
    /// `database.password`, or `database.password_file` as a `${file:…}`.
    pub password: Option<Secret>,
    /// `database.dbname`.
    pub dbname: Option<String>,
    /// `database.options`, `target_session_attrs` and their like, by libpq's names; they go before the URL's.
    pub parameters: Vec<(&'static str, String)>,
    /// `database.sslmode`; goes before the URL's.
    pub sslmode: Option<SslMode>,
    /// `database.sslrootcert`: PEM, every certificate in it is trusted; `system`: the machine's own.
    pub sslrootcert: Option<std::path::PathBuf>,
    /// `database.sslrootcert_load`: how many of its certificates are trusted.
    pub sslrootcert_load: Load,
    /// `database.sslcert`, `sslkey` and `sslpassword`.
    pub client_certificate: ClientCertificate,
    /// `[ssh]`: a bastion on the way.
    pub ssh: Option<Ssh>,
    /// `database.connect_timeout`: name, TCP, TLS and authentication together.
    pub connect_timeout: Duration,
}

/// How far TLS goes, with libpq's meanings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS only where the server refuses a connection without; nobody is verified.
    Allow,
    /// TLS if the server offers it; nobody is verified unless `sslrootcert` is set.
    #[default]
    Prefer,
    /// TLS, or no connection; nobody is verified unless `sslrootcert` is set.
    Require,
    /// The server's certificate comes from a trusted authority.
    VerifyCa,
    /// And it is made out to the host's name.
    VerifyFull,
}

/// `[tables]`: which tables become objects.
#[derive(Clone, Debug)]
pub struct Tables {
    /// `database.schema`: of names that name none.
    pub schema: String,
    /// `tables.include`: every table of `database.schema` unless set.
    pub include: Vec<crate::poll::Pattern>,
    /// `tables.exclude`: left out again.
    pub exclude: Vec<crate::poll::Pattern>,
    /// `message.key.columns`: the key's columns of the tables that match.
    pub key_columns: Vec<(crate::poll::Pattern, Vec<String>)>,
    /// `tables.refresh_interval`: how often tables created later are looked for when nothing else makes us look.
    pub refresh_interval: Duration,
}

/// `[objects.<alias>]`.
#[derive(Clone, Debug)]
pub struct Object {
    /// What is read.
    pub source: Source,
    /// `topic`: instead of `<topic.prefix>.<schema>.<table>`.
    pub topic: Option<String>,
    /// How it is read.
    pub polling: Polling,
}

/// What an object set apart reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `table`: `schema.table` as stored, quoted as in SQL where a part holds a dot.
    Table(crate::poll::TableName),
    /// `query` or `query_file`: one SELECT, without a semicolon at its end.
    Query(String),
}

/// `[topic]`.
#[derive(Clone, Debug)]
pub struct Topic {
    /// `topic.prefix`; the connector's name unless set.
    pub prefix: String,
    /// `topic.name.format` and `topic.route.*`.
    pub naming: Naming,
    /// `topic.headers`: what each record tells of its origin.
    pub headers: Vec<Header>,
    /// `topic.creation.enable` (KIP-158).
    pub create: bool,
    /// `topic.creation.default.partitions`; -1: the broker's default.
    pub partitions: i32,
    /// `topic.creation.default.replication.factor`; -1: the broker's default.
    pub replication_factor: i32,
    /// Every other `topic.creation.default.*`: topic settings such as `cleanup.policy`.
    pub settings: BTreeMap<String, String>,
}

/// `[kafka]`: librdkafka's properties by their own names. Values are secrets until proven otherwise.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// By librdkafka's names, each known to it and none that Strandline sets itself.
    pub properties: BTreeMap<String, Secret>,
}

impl Kafka {
    /// A property's value; an empty one counts as none.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(Secret::reveal).filter(|value| !value.is_empty())
    }

    /// A property that is a time in milliseconds, or what it is where it is not set.
    pub fn millis(&self, name: &str, usual: u64) -> Duration {
        Duration::from_millis(self.property(name).and_then(|text| text.parse().ok()).unwrap_or(usual))
    }

    /// With these properties.
    #[cfg(test)]
    pub fn with(properties: &[(&str, &str)]) -> Kafka {
        let each = properties.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value)));
        Kafka { properties: each.collect() }
    }
}

/// `[schema_registry]`.
#[derive(Clone, Debug)]
pub struct SchemaRegistry {
    /// Base URLs, tried in this order; without user, password and closing slash.
    pub urls: Vec<String>,
    /// `schema_registry.user`, or the URL's.
    pub user: Option<String>,
    /// `schema_registry.password`, `password_file`, or the URL's.
    pub password: Option<Secret>,
    /// `schema_registry.token`, `token_file`: a bearer token instead of user and password.
    pub token: Option<Secret>,
    /// `schema_registry.auto.register.schemas`: whether schemas that are new are registered.
    pub auto_register: bool,
    /// `schema_registry.use.latest.version`: whether the subject's latest version is used if it means the same as ours.
    pub use_latest: bool,
    /// `schema_registry.normalize.schemas`: whether the registry compares schemas by their meaning.
    pub normalize: bool,
    /// `schema_registry.subject.name.strategy`.
    pub strategy: crate::registry::Strategy,
    /// `schema_registry.ssl.ca.location`: PEM; these authorities are trusted beside the machine's own.
    pub ca: Option<std::path::PathBuf>,
    /// `schema_registry.ssl.certificate.location` and `ssl.key.location`: PEM.
    pub certificate: Option<(std::path::PathBuf, std::path::PathBuf)>,
    /// `schema_registry.ssl.key.password`, `ssl.key.password_file`: of an encrypted key.
    pub key_password: Option<Secret>,
}

/// `offset.storage.*`, as in Kafka Connect.
#[derive(Clone, Debug)]
pub struct OffsetStorage {
    /// `offset.storage.topic`.
    pub topic: String,
    /// `offset.storage.partitions`: of a topic that Strandline creates.
    pub partitions: i32,
    /// `offset.storage.replication.factor`; -1: the broker's default.
    pub replication_factor: i32,
}
