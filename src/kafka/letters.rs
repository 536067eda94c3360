//! The dead-letter topic, read back: what is committed, from its beginning to its end.

use super::topics::Admin;
use super::wire::{Isolation, Log};
use crate::Result;

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
