//! Reading a topic's partitions to their end: what is committed, and nothing of what was aborted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError as Code};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::RecordBatchDecoder;

use super::client::{Answer, Client, Found};
use super::cluster::Cluster;
use super::connection::Version;
use crate::{Error, Kind, Result};

/// From version 13 on topics have numbers for names.
const FETCH: Version = Version::of(ApiKey::Fetch, 4, 12);
const LIST: Version = Version::of(ApiKey::ListOffsets, 2, 7);
/// ListOffsets' words for the end and the beginning.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// As much as one fetch brings.
const BYTES: i32 = 8 << 20;

/// Which end is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Behind everything that was written.
    Uncommitted = 0,
    /// Before the first transaction that is still open.
    Committed = 1,
}

/// A topic, for those who read it. Its calls block, from any thread.
pub struct Log {
    topic: String,
    client: Arc<Client>,
}

impl Log {
    /// A topic of the cluster that the client asks.
    pub fn new(client: Arc<Client>, topic: &str) -> Log {
        Log { topic: topic.to_owned(), client }
    }

    /// The topic; `None`: it is not there.
    pub fn find(&self) -> Result<Option<Found>> {
        self.client.topic(&self.topic)
    }

    /// The ends of these partitions.
    pub fn ends(&self, partitions: &[i32], isolation: Isolation) -> Result<BTreeMap<i32, i64>> {
        self.offsets(partitions, LATEST, isolation)
    }

    fn offsets(&self, partitions: &[i32], which: i64, isolation: Isolation) -> Result<BTreeMap<i32, i64>> {
        self.client.ask(&self.topic, async |cluster| {
            let mut found = BTreeMap::new();
            for (leader, partitions) in self.by_leader(cluster, partitions).await? {
                let each = |partition: &i32| {
                    ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(which)
                };
                let topic = ListOffsetsTopic::default()
                    .with_name(self.name())
                    .with_partitions(partitions.iter().map(each).collect());
                let request = ListOffsetsRequest::default()
                    .with_replica_id((-1).into())
                    .with_isolation_level(isolation as i8)
                    .with_topics(vec![topic]);
                let answer: ListOffsetsResponse = cluster.ask(leader, LIST, |_| request).await?;
                for one in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                    if let Some(code) = one.error_code.err() {
                        return Ok(Answer::Again(code));
                    }
                    found.insert(one.partition_index, one.offset);
                }
            }
            Ok(match partitions.iter().all(|partition| found.contains_key(partition)) {
                true => Answer::Done(found),
                false => Answer::Again(Code::LeaderNotAvailable),
            })
        })
    }

    /// Gives `each` offset, key and value of every committed record from the beginning to `end`, in their order.
    pub fn read(
        &self,
        partition: i32,
        end: i64,
        mut each: impl FnMut(i64, Option<&[u8]>, Option<&[u8]>) + Send,
    ) -> Result<()> {
        if end == 0 {
            return Ok(());
        }
        let begin = self.offsets(&[partition], EARLIEST, Isolation::Uncommitted)?;
        let mut position = begin.get(&partition).copied().unwrap_or_default();
        while position < end {
            let data = self.client.ask(&self.topic, async |cluster| self.fetch(cluster, partition, position).await)?;
            let (records, next) = committed(&data).map_err(|why| {
                Error::new(
                    Kind::Offsets,
                    format!("{}, partition {partition}, cannot be read at {position}", self.topic),
                )
                .because(why)
                .hint("check the topic with kafka-dump-log.sh")
            })?;
            records.iter().for_each(|record| each(record.0, record.1.as_deref(), record.2.as_deref()));
            position = next.unwrap_or(position).max(position);
        }
        Ok(())
    }

    async fn fetch(&self, cluster: &mut Cluster, partition: i32, position: i64) -> Result<Answer<PartitionData>> {
        const PATIENCE_MS: i32 = 100;
        let leaders = self.by_leader(cluster, &[partition]).await?;
        let Some(leader) = leaders.keys().next() else { return Ok(Answer::Again(Code::LeaderNotAvailable)) };
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(position)
            .with_partition_max_bytes(BYTES);
        let request = FetchRequest::default()
            .with_max_wait_ms(PATIENCE_MS)
            .with_min_bytes(1)
            .with_max_bytes(BYTES)
            .with_isolation_level(Isolation::Committed as i8)
            .with_topics(vec![FetchTopic::default().with_topic(self.name()).with_partitions(vec![wanted])]);
        let answer: FetchResponse = cluster.ask(*leader, FETCH, |_| request).await?;
        if let Some(code) = answer.error_code.err() {
            return Ok(Answer::Again(code));
        }
        let data = answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .find(|one| one.partition_index == partition);
        Ok(match data {
            None => Answer::Again(Code::UnknownTopicOrPartition),
            Some(data) => match data.error_code.err() {
                Some(code) => Answer::Again(code),
                // Nothing there yet, although the end is behind it: the broker's view lags.
                None if data.records.as_ref().is_none_or(Bytes::is_empty) => Answer::Again(Code::OffsetNotAvailable),
                None => Answer::Done(data),
            },
        })
    }

    async fn by_leader(&self, cluster: &mut Cluster, partitions: &[i32]) -> Result<BTreeMap<i32, Vec<i32>>> {
        if partitions.iter().any(|partition| cluster.leader(&self.topic, *partition).is_none()) {
            cluster.refresh(std::slice::from_ref(&self.topic)).await?;
        }
        let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            if let Some(leader) = cluster.leader(&self.topic, *partition) {
                leaders.entry(leader).or_default().push(*partition);
            }
        }
        Ok(leaders)
    }

    fn name(&self) -> TopicName {
        TopicName(StrBytes::from_string(self.topic.clone()))
    }
}

/// A record's offset, key and value.
type Read = (i64, Option<Bytes>, Option<Bytes>);

/// The committed records of what one fetch brought, and where the next goes on. The broker sends what was aborted too, with
/// a list of the transactions it belongs to; each ends with a mark, which is a record of its own sort.
fn committed(data: &PartitionData) -> Result<(Vec<Read>, Option<i64>), String> {
    let mut aborted: Vec<(i64, i64)> =
        data.aborted_transactions.iter().flatten().map(|one| (one.first_offset, one.producer_id.0)).collect();
    aborted.sort_unstable_by(|one, other| other.cmp(one));
    let mut open: HashSet<i64> = HashSet::new();
    let mut rest = data.records.clone().unwrap_or_default();
    let mut found = Vec::new();
    let mut next = None;
    while let Some((mut batch, last)) = split(&mut rest) {
        while aborted.last().is_some_and(|(first, _)| *first <= last) {
            open.extend(aborted.pop().map(|(_, producer)| producer));
        }
        let set = RecordBatchDecoder::decode(&mut batch).map_err(|error| error.to_string())?;
        for record in set.records {
            if record.control {
                if is_abort(record.key.as_ref()) {
                    open.remove(&record.producer_id);
                }
            } else if !record.transactional || !open.contains(&record.producer_id) {
                found.push((record.offset, record.key, record.value));
            }
        }
        next = Some(last + 1);
    }
    Ok((found, next))
}

/// The next whole batch, and the offset of its last record; a fetch may end in the middle of one.
fn split(rest: &mut Bytes) -> Option<(Bytes, i64)> {
    const BEFORE: usize = 12;
    const LAST: std::ops::Range<usize> = 23..27;
    let first = i64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
    let length = i32::from_be_bytes(rest.get(8..BEFORE)?.try_into().ok()?);
    let whole = BEFORE + usize::try_from(length).ok()?;
    let last = i64::from(i32::from_be_bytes(rest.get(LAST)?.try_into().ok()?));
    (rest.len() >= whole).then(|| (rest.split_to(whole), first + last))
}

/// A mark's key is a version and what it says: 0 is an abort.
fn is_abort(key: Option<&Bytes>) -> bool {
    key.is_some_and(|key| key.get(2..4).is_some_and(|mut word| word.get_i16() == 0))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::fetch_response::AbortedTransaction;
    use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

    use super::*;

    /// A batch of one record, or of a transaction's end.
    fn batch(offset: i64, producer_id: i64, key: &[u8], transactional: bool, control: bool) -> Vec<u8> {
        let record = Record {
            transactional,
            control,
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: 0,
            timestamp: 0,
            key: Some(Bytes::copy_from_slice(key)),
            value: None,
            headers: Default::default(),
        };
        let mut out = bytes::BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::Lz4 };
        RecordBatchEncoder::encode(&mut out, [&record], &options).unwrap();
        out.to_vec()
    }

    const ABORT: &[u8] = &[0, 0, 0, 0];
    const COMMIT: &[u8] = &[0, 0, 0, 1];

    fn read(batches: &[Vec<u8>], aborted: &[(i64, i64)]) -> (Vec<String>, Option<i64>) {
        let aborted = aborted.iter().map(|(producer, first)| {
            AbortedTransaction::default().with_producer_id((*producer).into()).with_first_offset(*first)
        });
        let data = PartitionData::default()
            .with_records(Some(batches.concat().into()))
            .with_aborted_transactions(Some(aborted.collect()));
        let (records, next) = committed(&data).unwrap();
        (records.iter().map(|(_, key, _)| String::from_utf8_lossy(key.as_ref().unwrap()).into_owned()).collect(), next)
    }

    #[test]
    fn what_was_aborted_and_the_marks_are_left_out() {
        let batches = [
            batch(0, 1, b"aborted", true, false),
            batch(1, 2, b"committed", true, false),
            batch(2, 1, ABORT, true, true),
            batch(3, 1, b"next of the same producer", true, false),
            batch(4, -1, b"without transaction", false, false),
            batch(5, 2, COMMIT, true, true),
            batch(6, 1, COMMIT, true, true),
            batch(7, 1, b"aborted again", true, false),
        ];
        let (keys, next) = read(&batches, &[(1, 7), (1, 0)]);
        assert_eq!(keys, ["committed", "next of the same producer", "without transaction"]);
        assert_eq!(next, Some(8));
    }

    #[test]
    fn a_fetch_that_ends_within_a_batch_goes_on_behind_the_last_whole_one() {
        let mut cut = batch(5, -1, b"cut", false, false);
        cut.pop();
        assert_eq!(read(&[batch(4, -1, b"whole", false, false), cut], &[]), (vec!["whole".to_owned()], Some(5)));
        assert_eq!(read(&[vec![0; 11]], &[]), (vec![], None));
        assert_eq!(read(&[], &[]), (vec![], None));
    }

    #[test]
    fn garbage_is_an_error() {
        let mut damaged = batch(0, -1, b"k", false, false);
        damaged[20] ^= 1;
        let data = PartitionData::default().with_records(Some(damaged.into()));
        assert!(committed(&data).is_err());
    }
}
