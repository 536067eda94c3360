//! What may be configured (pure). Where it comes from stands in [`load`]; what is wrong with it in [`problem`].

mod load;
mod problem;
mod secret;

pub use load::{Sources, load};
pub use problem::{Problem, Problems};
pub use secret::Secret;

use std::collections::BTreeMap;
use std::time::Duration;

/// One connector, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `name`: 1 to 255 characters, unique in the Kafka cluster; part of every key in the offsets topic.
    pub name: String,
    pub database: Database,
    pub tables: Tables,
    /// `[objects.<alias>]`: objects set apart from the others, by alias.
    pub objects: BTreeMap<String, Object>,
    /// `poll.interval`: from the start of one poll to the start of the next.
    pub poll_interval: Duration,
    pub topic: Topic,
    pub kafka: Kafka,
    pub schema_registry: SchemaRegistry,
    pub offset_storage: OffsetStorage,
    /// `tasks.max`: how many threads (and PostgreSQL connections) share the objects.
    pub tasks_max: u16,
    /// `exactly.once.support`: rows and watermark in one Kafka transaction unless `disabled`.
    pub exactly_once: bool,
    /// `group.id`: the first part of every transactional id, as in Kafka Connect's distributed worker.
    pub group_id: String,
    /// `source.stall`: how long PostgreSQL may be kept waiting in COPY by Kafka.
    pub source_stall: Duration,
    /// `failover.lag`: the most that a promoted standby may have lagged behind (DESIGN §3.4).
    pub failover_lag: Duration,
}

/// `[database]`: the raw texts, `${env:…}` and `${file:…}` not yet replaced, since they are read again at every reconnect.
#[derive(Clone, Debug)]
pub struct Database {
    /// `database.url` = `postgres://…`; excludes the parts.
    pub url: Option<Secret>,
    pub hostname: Option<String>,
    pub port: Option<String>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub dbname: Option<String>,
    pub sslmode: SslMode,
    /// `database.sslrootcert`: PEM, every certificate in it is trusted.
    pub sslrootcert: Option<std::path::PathBuf>,
    /// `database.connect_timeout`: name, TCP, TLS and authentication together.
    pub connect_timeout: Duration,
}

/// libpq's meanings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// `[tables]`: which tables become objects.
#[derive(Clone, Debug)]
pub struct Tables {
    pub include: Vec<crate::poll::Pattern>,
    pub exclude: Vec<crate::poll::Pattern>,
    /// `tables.include_new`: whether tables created later are picked up.
    pub refresh_interval: Duration,
}

/// `[objects.<alias>]`.
#[derive(Clone, Debug)]
pub struct Object {
    /// `table`: `schema.table` as stored, quoted as in SQL where a part holds a dot.
    pub table: crate::poll::TableName,
    /// `topic`: instead of `<topic.prefix>.<schema>.<table>`.
    pub topic: Option<String>,
}

/// `[topic]`.
#[derive(Clone, Debug)]
pub struct Topic {
    /// `topic.prefix`; the connector's name unless set.
    pub prefix: String,
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
    pub properties: BTreeMap<String, Secret>,
}

/// `[schema_registry]`.
#[derive(Clone, Debug)]
pub struct SchemaRegistry {
    /// Base URLs, tried in this order.
    pub urls: Vec<String>,
    pub user: Option<String>,
    pub password: Option<Secret>,
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
impl Database {
    pub fn resolve(&self) -> crate::Result<tokio_postgres::Config> {
        Err(crate::Error::new(crate::Kind::Config, "x"))
    }
}
