//! The offsets topic was given more partitions: an object's progress belongs elsewhere now, and moves there.
//!
//! An object is stored in partition murmur2(key) mod N. Before any task starts, the claims say under which N the connector
//! last ran. If it is another one, every id that a predecessor may use is fenced first, whatever its N was; then all
//! partitions are read; then one transaction writes each object's progress to its new place and a tombstone to the old one.
//! A crash in between leaves all of it or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Result;
use crate::kafka::{self, Claim, OffsetRecord, Producer, Stored, murmur2_partition};
use crate::owner::PATIENCE;
use crate::worker::Shared;

/// Moves progress that was stored under another number of partitions. Blocks; to be called before any owner starts.
pub fn migrate(shared: &Arc<Shared>) -> Result<()> {
    let partitions = shared.offsets.partitions;
    let glance = shared.offsets.glance(&shared.config.name)?;
    let Some(before) = former(&glance, partitions) else { return Ok(()) };
    tracing::warn!(
        topic = %shared.offsets.name, was = before, now = partitions,
        "the offsets topic has another number of partitions than before: stored progress moves to its new places"
    );
    let mut producer = fence(shared, before.max(partitions))?;
    // Read again, as the glance may have missed what stood behind a stranger's open transaction.
    let mut stored = BTreeMap::new();
    for partition in 0..partitions {
        stored.insert(partition, shared.read_offsets(partition)?);
    }
    let moved = moves(&stored, partitions);
    let objects = moved.iter().filter(|record| record.value.is_some()).count();
    let claims = (0..partitions).map(|partition| OffsetRecord {
        partition,
        key: Claim::key(&shared.config.name, partition),
        value: Some(shared.claim().to_json()),
    });
    let records: Vec<OffsetRecord> = moved.into_iter().chain(claims).collect();
    producer.begin()?;
    producer.commit(&shared.offsets, &records, PATIENCE)?;
    tracing::info!(objects, "stored progress moved");
    Ok(())
}

/// The number of partitions that some claim of ours was made under, if it is not the present one.
fn former(stored: &BTreeMap<i32, Stored>, partitions: i32) -> Option<i32> {
    let claims = stored.values().filter_map(|stored| stored.claim.as_ref());
    claims.map(|claim| claim.partitions).find(|before| *before != partitions)
}

/// Fences every id; the producer of the last one goes on.
fn fence(shared: &Arc<Shared>, ids: i32) -> Result<Producer> {
    let config = &shared.config;
    if !config.exactly_once {
        return Producer::of(config, 0);
    }
    let one = |partition| -> Result<Producer> {
        let mut producer = Producer::of(config, partition)?;
        producer.init(PATIENCE)?;
        Ok(producer)
    };
    for partition in 1..ids {
        one(partition)?;
    }
    one(0)
}

/// What to write: new places first, as without transactions the order is what keeps progress from being lost. A key that is
/// in its place already was written there under the present number; what stands elsewhere is older.
fn moves(stored: &BTreeMap<i32, Stored>, partitions: i32) -> Vec<OffsetRecord> {
    let mut puts = Vec::new();
    let mut tombstones = Vec::new();
    for (from, stored_here) in stored {
        for (key, value) in &stored_here.offsets {
            // What a query has delivered stays beside its progress.
            let object = kafka::bucket_of(key);
            let to = murmur2_partition(object.as_ref().map_or(key, |(object, ..)| object), partitions);
            if to == *from {
                continue;
            }
            let in_place = stored.get(&to).is_some_and(|there| there.offsets.contains_key(key));
            if !in_place {
                puts.push(OffsetRecord { partition: to, key: key.clone(), value: Some(value.clone()) });
            }
            tombstones.push(OffsetRecord { partition: *from, key: key.clone(), value: None });
        }
    }
    puts.append(&mut tombstones);
    puts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka;

    fn key(table: &str) -> Vec<u8> {
        kafka::key("shop", &crate::poll::TableName::parse(table, "public").unwrap())
    }

    fn stored(claimed: Option<i32>, tables: &[&str]) -> Stored {
        let claim = claimed.map(|partitions| Claim {
            worker: "a:1".into(),
            started: String::new(),
            partitions,
            stopped: None,
            failed: None,
        });
        Stored { claim, offsets: tables.iter().map(|table| (key(table), table.as_bytes().to_vec())).collect() }
    }

    #[test]
    fn every_key_ends_in_its_place_and_nowhere_else() {
        let tables: Vec<String> = (0..40).map(|at| format!("public.t{at}")).collect();
        let mut places: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
        for table in &tables {
            places.entry(murmur2_partition(&key(table), 3)).or_default().push(table);
        }
        let before: BTreeMap<i32, Stored> =
            (0..7).map(|at| (at, stored(Some(3), places.get(&at).map_or(&[][..], |tables| tables)))).collect();
        let mut after: BTreeMap<i32, BTreeMap<Vec<u8>, Vec<u8>>> =
            before.iter().map(|(at, stored)| (*at, stored.offsets.clone())).collect();
        for record in moves(&before, 7) {
            let there = after.get_mut(&record.partition).unwrap();
            match record.value {
                Some(value) => there.insert(record.key, value),
                None => there.remove(&record.key),
            };
        }
        for table in &tables {
            let holders: Vec<i32> =
                after.iter().filter(|(_, there)| there.contains_key(&key(table))).map(|(at, _)| *at).collect();
            assert_eq!(holders, [murmur2_partition(&key(table), 7)], "{table}");
        }
    }

    #[test]
    fn what_is_in_its_place_is_newer_than_what_is_elsewhere() {
        let place = murmur2_partition(&key("public.a"), 4);
        let other = (place + 1) % 4;
        let both = BTreeMap::from([(place, stored(None, &["public.a"])), (other, stored(None, &["public.a"]))]);
        let moved = moves(&both, 4);
        assert_eq!(moved, [OffsetRecord { partition: other, key: key("public.a"), value: None }]);
    }

    #[test]
    fn a_claim_under_the_present_number_or_none_means_nothing_to_do() {
        assert_eq!(former(&BTreeMap::from([(0, stored(Some(4), &[])), (1, stored(None, &[]))]), 4), None);
        assert_eq!(former(&BTreeMap::from([(0, stored(Some(2), &[])), (3, stored(None, &[]))]), 4), Some(2));
    }
}
