//! The dead-letter topic, read back: what is committed, from its beginning to its end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Context, settings, unbuildable, unreachable};
use super::topics::Admin;
use crate::config::Kafka;
use crate::{Error, Kind, Result};

/// A record as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; a tombstone has none.
    pub value: Option<&'a [u8]>,
}

/// How long a silence may last.
const SILENCE: Duration = Duration::from_secs(30);

/// Hands every committed record of a topic over, each partition's in its order. Whether there is such a topic. Blocks.
pub fn read_to_end(
    kafka: &Kafka,
    connector: &str,
    admin: &Admin,
    topic: &str,
    mut each: impl FnMut(Found<'_>),
) -> Result<bool> {
    let Some(partitions) = admin.partitions(topic)? else { return Ok(false) };
    let unreadable = |error: KafkaError| unreachable(format!("{topic} cannot be read"), error);
    let mut config = settings(kafka, connector);
    config.set("group.id", format!("strandline-{connector}")).set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
    config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "10");
    config.set("queued.max.messages.kbytes", "8192");
    let consumer: BaseConsumer<Context> = config.create_with_context(Context::of(kafka)).map_err(unbuildable)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).map_err(unreadable)?;
    }
    consumer.assign(&assignment).map_err(unreadable)?;
    let mut open: BTreeSet<i32> = (0..partitions).collect();
    let mut heard = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(20)) {
            Some(Ok(record)) => {
                heard = Instant::now();
                each(Found {
                    partition: record.partition(),
                    offset: record.offset(),
                    key: record.key(),
                    value: record.payload(),
                });
            }
            Some(Err(KafkaError::PartitionEOF(ended))) => drop(open.remove(&ended)),
            Some(Err(error)) if heard.elapsed() >= SILENCE => return Err(unreadable(error)),
            Some(Err(_)) | None => {}
        }
        if heard.elapsed() >= SILENCE {
            return Err(Error::new(Kind::Kafka, format!("{topic} cannot be read to its end"))
                .hint("are the brokers up, and may the principal READ the topic?"));
        }
    }
    Ok(true)
}
