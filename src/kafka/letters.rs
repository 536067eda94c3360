//! The dead-letter topic, read back: what is committed, from its beginning to its end.

use std::time::{Duration, Instant};

use super::topics::Admin;
use super::wire::{Isolation, Log};
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

/// Hands every committed record of a topic over, each partition's in its order. Whether there is such a topic. Blocks.
pub fn read_to_end(admin: &Admin, topic: &str, mut each: impl FnMut(Found<'_>) + Send) -> Result<bool> {
    let Some(partitions) = admin.partitions(topic)? else { return Ok(false) };
    let log = Log::new(admin.client(), topic);
    let ends = log.ends(&(0..partitions).collect::<Vec<_>>(), Isolation::Committed)?;
    for (partition, end) in ends {
        log.read(partition, end, |offset, key, value| each(Found { partition, offset, key, value }))?;
    }
    Ok(true)
}

/// Waits until all that a topic holds now can be read: what stands behind somebody's open transaction cannot. Blocks.
pub fn await_end(admin: &Admin, topic: &str, patience: Duration) -> Result<()> {
    let Some(partitions) = admin.partitions(topic)? else { return Ok(()) };
    let partitions: Vec<i32> = (0..partitions).collect();
    let log = Log::new(admin.client(), topic);
    let ends = log.ends(&partitions, Isolation::Uncommitted)?;
    let started = Instant::now();
    loop {
        let readable = log.ends(&partitions, Isolation::Committed)?;
        let behind =
            ends.iter().find(|(partition, end)| readable.get(*partition).is_none_or(|readable| readable < *end));
        let Some((partition, _)) = behind else { return Ok(()) };
        if started.elapsed() >= patience {
            return Err(Error::new(
                Kind::Kafka,
                format!(
                    "a transaction of somebody else has been open in {topic}, partition {partition}, for {patience:.0?}"
                ),
            )
            .hint("try again once it has ended; kafka-transactions.sh find-hanging finds it"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
