//! The offsets topic, in Kafka Connect's own format: key `["connector",{"table":"public.orders"}]`, value a flat JSON
//! object, a tombstone resets (facts: connect.md §4.1).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::claim::Claim;
use super::murmur2;
use super::topics::{Admin, Wanted};
use super::wire::{Isolation, Log};
use crate::config::OffsetStorage;
use crate::poll::TableName;
use crate::{Error, Kind, Result};

/// The topic, how many partitions it has, and the clients that read it: made once, as each takes a while to connect.
pub struct OffsetsTopic {
    /// The topic's name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    log: Log,
}

/// What a partition holds of one connector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The last value of each key; what was reset is not there.
    pub offsets: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Who signed for the partition last.
    pub claim: Option<Claim>,
}

/// A transaction of somebody else stands before the end that we must read to.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Up to here it can be read.
    pub offset: i64,
    /// Up to here it must be.
    pub end: i64,
}

/// How often it is said that we wait.
const TELL: Duration = Duration::from_secs(10);

/// An object's key, byte for byte as Connect's JSON converter writes it.
pub fn key(connector: &str, object: &TableName) -> Vec<u8> {
    encode_key(connector, name_field(object))
}

fn name_field(object: &TableName) -> Map<String, Value> {
    let field = if object.is_query() { "query" } else { "table" };
    Map::from_iter([(field.to_owned(), object.to_string().into())])
}

/// The key of a bucket of rows that a query has delivered, beside the query's own.
pub fn bucket_key(connector: &str, object: &TableName, stream: usize, number: u64) -> Vec<u8> {
    let mut field = name_field(object);
    field.insert("bucket".into(), format!("{stream}-{number}").into());
    encode_key(connector, field)
}

/// Stream and number, if the key is a bucket's, and the key of the object it belongs to: both are stored in one partition.
pub fn bucket_of(key: &[u8]) -> Option<(Vec<u8>, usize, u64)> {
    let Ok(Value::Array(parts)) = serde_json::from_slice(key) else { return None };
    let [Value::String(connector), Value::Object(fields)] = &parts[..] else { return None };
    let (stream, number) = fields.get("bucket")?.as_str()?.split_once('-')?;
    let mut field = fields.clone();
    field.remove("bucket");
    Some((encode_key(connector, field), stream.parse().ok()?, number.parse().ok()?))
}

/// The buckets of an object among what is stored: stream, number, JSON.
pub fn buckets(stored: &BTreeMap<Vec<u8>, Vec<u8>>, object: &[u8]) -> Vec<(usize, u64, Vec<u8>)> {
    let bucket = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let (of, stream, number) = bucket_of(key)?;
        (of == object).then(|| (stream, number, value.clone()))
    };
    stored.iter().filter_map(bucket).collect()
}

pub(super) fn encode_key(connector: &str, partition: Map<String, Value>) -> Vec<u8> {
    Value::Array(vec![connector.into(), Value::Object(partition)]).to_string().into_bytes()
}

/// Whether a key is of this connector.
fn is_ours(key: &[u8], connector: &str) -> bool {
    match serde_json::from_slice(key) {
        Ok(Value::Array(parts)) => matches!(&parts[..], [Value::String(name), Value::Object(_)] if name == connector),
        _ => false,
    }
}

impl OffsetsTopic {
    /// Finds the topic, or makes it, compacted. One that is not compacted would forget: refused.
    pub async fn ensure(admin: &Admin, storage: &OffsetStorage) -> Result<OffsetsTopic> {
        let partitions = Self::find_or_create(admin, storage).await?;
        Ok(Self::open(admin, storage, partitions))
    }

    /// The topic if it is there already: for those who only look.
    pub fn find(admin: &Admin, storage: &OffsetStorage) -> Result<Option<OffsetsTopic>> {
        let partitions = admin.partitions(&storage.topic)?;
        Ok(partitions.map(|partitions| Self::open(admin, storage, partitions)))
    }

    fn open(admin: &Admin, storage: &OffsetStorage, partitions: i32) -> OffsetsTopic {
        OffsetsTopic { name: storage.topic.clone(), partitions, log: Log::new(admin.client(), &storage.topic) }
    }

    /// The number of its partitions, if it is there; one that is not compacted would forget: refused.
    pub fn look_at(admin: &Admin, storage: &OffsetStorage) -> Result<Option<i32>> {
        let name = &storage.topic;
        let Some(partitions) = admin.partitions(name)? else { return Ok(None) };
        let policy = admin.setting(name, "cleanup.policy")?;
        match policy.filter(|policy| policy != "compact") {
            None => Ok(Some(partitions)),
            Some(policy) => Err(Error::new(
                Kind::Config,
                format!("the offsets topic {name} has cleanup.policy `{policy}`: progress would be deleted"),
            )
            .hint(format!(
                "kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=compact, \
                 or set offset.storage.topic to another"
            ))),
        }
    }

    async fn find_or_create(admin: &Admin, storage: &OffsetStorage) -> Result<i32> {
        if let Some(partitions) = Self::look_at(admin, storage)? {
            return Ok(partitions);
        }
        let name = &storage.topic;
        let wanted = Wanted {
            name,
            partitions: storage.partitions,
            replication_factor: storage.replication_factor,
            settings: vec![("cleanup.policy", "compact")],
        };
        let partitions = admin.create(&wanted).await?;
        tracing::info!(topic = %name, partitions, "offsets topic created");
        Ok(partitions)
    }

    /// The partition in which a key's progress is stored.
    pub fn partition(&self, key: &[u8]) -> i32 {
        murmur2::partition(key, self.partitions)
    }

    /// Reads a partition to the end that it has now, open transactions of others included: they are waited for, and
    /// `waiting` is called now and then. To be called after the predecessor was fenced. Blocks.
    pub fn read(
        &self,
        connector: &str,
        partition: i32,
        patience: Duration,
        waiting: &mut dyn FnMut(&Waiting),
    ) -> Result<Stored> {
        let end = self.end(partition, Isolation::Uncommitted)?;
        let started = Instant::now();
        let mut told = None::<Instant>;
        loop {
            let readable = self.end(partition, Isolation::Committed)?;
            if readable >= end {
                break;
            }
            if started.elapsed() >= patience {
                return Err(Error::new(
                    Kind::Kafka,
                    format!("a transaction of somebody else has been open in {}, partition {partition}, for {:.0?}", self.name, started.elapsed()),
                )
                .hint("find it with kafka-transactions.sh find-hanging, or give the connector an offset.storage.topic of its own"));
            }
            if told.is_none_or(|at| at.elapsed() >= TELL) && started.elapsed() > Duration::from_secs(1) {
                waiting(&Waiting { offset: readable, end });
                told = Some(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(self.read_to_end(connector, &[partition])?.remove(&partition).unwrap_or_default())
    }

    /// What can be read of all partitions now, in one go; nobody's open transaction is waited for. Blocks.
    pub fn glance(&self, connector: &str) -> Result<BTreeMap<i32, Stored>> {
        self.read_to_end(connector, &(0..self.partitions).collect::<Vec<_>>())
    }

    fn read_to_end(&self, connector: &str, partitions: &[i32]) -> Result<BTreeMap<i32, Stored>> {
        let ends = self.log.ends(partitions, Isolation::Committed)?;
        let mut found = BTreeMap::new();
        for (partition, end) in ends {
            let mut last: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
            self.log.read(partition, end, |_, key, value| {
                if let Some(key) = key.filter(|key| is_ours(key, connector)) {
                    last.insert(key.to_vec(), value.map(<[u8]>::to_vec));
                }
            })?;
            found.insert(partition, stored(last, connector, partition));
        }
        Ok(found)
    }

    /// The partition's end; what was read before it is all there is.
    fn end(&self, partition: i32, isolation: Isolation) -> Result<i64> {
        match self.log.ends(&[partition], isolation) {
            Ok(ends) => Ok(ends.get(&partition).copied().unwrap_or_default()),
            Err(error) => self.look_for().and(Err(error)),
        }
    }

    /// Fails if the topic is not there any more, or was made anew with fewer partitions. One that was just made is not known
    /// to every broker at once, so it is looked for more than once; whether Kafka answers at all is not judged here. Blocks.
    pub fn look_for(&self) -> Result<()> {
        const LOOKS: usize = 4;
        let is_missing =
            || self.log.find().is_ok_and(|found| found.is_none_or(|found| found.partitions < self.partitions));
        for _ in 0..LOOKS {
            if !is_missing() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Err(Error::new(
            Kind::Forgotten,
            format!(
                "the offsets topic {} is not there any more: how far each object was delivered is not known",
                self.name
            ),
        )
        .hint("put it back with its records, or start again: it is made anew, and every object is loaded again"))
    }
}

/// Parts the claim from the offsets, and leaves out what was reset.
fn stored(mut last: BTreeMap<Vec<u8>, Option<Vec<u8>>>, connector: &str, partition: i32) -> Stored {
    let claim = last.remove(&Claim::key(connector, partition)).flatten();
    Stored {
        claim: claim.and_then(|json| Claim::from_json(&json)),
        offsets: last.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_beside_its_objects_own_record() {
        for object in [TableName::new("public", "v"), TableName::query("daily")] {
            let bucket = bucket_key("shop", &object, 1, 7);
            assert_eq!(bucket_of(&bucket), Some((key("shop", &object), 1, 7)));
            assert_eq!(bucket_of(&key("shop", &object)), None);
        }
    }

    #[test]
    fn keys_are_written_as_connect_writes_them() {
        assert_eq!(key("shop", &TableName::new("public", "orders")), br#"["shop",{"table":"public.orders"}]"#);
        assert_eq!(key("a\"b", &TableName::new("public", "größe")), r#"["a\"b",{"table":"public.größe"}]"#.as_bytes());
        assert_eq!(Claim::key("shop", 3), br#"["shop",{"partition":"3"}]"#);
    }

    #[test]
    fn only_keys_of_the_connector_are_ours() {
        assert!(is_ours(&key("shop", &TableName::new("public", "orders")), "shop"));
        for other in
            [&b"[\"shop2\",{\"table\":\"a.b\"}]"[..], b"[\"shop\"]", b"\"shop\"", b"", b"[\"shop\",{},1]", b"\xff"]
        {
            assert!(!is_ours(other, "shop"), "{other:?}");
        }
    }
}
