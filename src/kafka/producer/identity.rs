//! Who a producer is to Kafka: producer id and epoch, by which it fences and is fenced, and the transaction it has open.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kafka_protocol::error::{ParseResponseErrorCode, ResponseError as Code};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, InitProducerIdResponse, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::Place;
use super::failure::{Failure, Verdict, Word, said, verdict, word};
use super::records::Stamp;
use crate::kafka::wire::{Cluster, Version};
use crate::{Error, Result};

/// From version 3 on a producer can raise its own epoch (KIP-360).
const INIT: Version = Version::of(ApiKey::InitProducerId, 0, 4);
const OWN_EPOCH: i16 = 3;
const JOIN: Version = Version::of(ApiKey::AddPartitionsToTxn, 0, 3);
/// Version 5 would raise the epoch with each transaction.
const END: Version = Version::of(ApiKey::EndTxn, 0, 4);

/// What became of a question.
#[derive(Debug)]
pub enum Step {
    /// It is done.
    Done,
    /// Ask again in a moment.
    Soon,
    /// Kafka is not there, or not ready: why.
    Later(Error),
    /// It cannot be done.
    Failed(Failure),
}

/// A producer's identity.
pub struct Identity {
    transactional_id: Option<String>,
    timeout: Duration,
    id: i64,
    epoch: i16,
    coordinator: Option<i32>,
    /// The partitions that belong to the open transaction.
    joined: BTreeSet<Place>,
    /// Since when the coordinator may have a transaction open: from the first question on, as its answer may be lost.
    open: Option<Instant>,
    /// Since when the coordinator does not know a topic that the brokers know.
    missing: Option<Instant>,
}

/// How long a topic may be unknown: one that was just made has to spread among the brokers.
pub const UNKNOWN: Duration = Duration::from_secs(10);

impl Identity {
    /// Not known to Kafka yet.
    pub fn new(transactional_id: Option<String>, timeout: Duration) -> Identity {
        Identity {
            transactional_id,
            timeout,
            id: -1,
            epoch: -1,
            coordinator: None,
            joined: BTreeSet::new(),
            open: None,
            missing: None,
        }
    }

    /// Whether it has an id.
    pub fn is_known(&self) -> bool {
        self.id >= 0
    }

    /// What a batch carries.
    pub fn stamp(&self, sequence: i32) -> Stamp {
        Stamp { id: self.id, epoch: self.epoch, sequence, transactional: self.transactional_id.is_some() }
    }

    /// Under which id transactions are made.
    pub fn transactional_id(&self) -> Option<&str> {
        self.transactional_id.as_deref()
    }

    /// Takes an id and a new epoch: the predecessor is fenced, its open transaction aborted.
    pub async fn take(&mut self, cluster: &mut Cluster) -> Step {
        self.init(cluster, -1, -1).await
    }

    /// Raises its own epoch, if nobody else has taken the id meanwhile: sequence numbers begin anew.
    pub async fn renew(&mut self, cluster: &mut Cluster) -> Step {
        if self.transactional_id.is_none() {
            return self.init(cluster, -1, -1).await;
        }
        self.init(cluster, self.id, self.epoch).await
    }

    /// After a refusal that names the epoch. A successor has raised it; or the coordinator has, as the transaction took longer
    /// than its timeout: which of both, not every broker tells, so the time does, and then who signed for the partition.
    pub fn overtaken(&self, cause: Code) -> Failure {
        match self.open {
            Some(since) if since.elapsed() >= self.timeout => Failure::Outlived(said(cause)),
            _ => Failure::Fenced(said(cause)),
        }
    }

    fn closed(&mut self) {
        self.joined.clear();
        (self.open, self.missing) = (None, None);
    }

    async fn init(&mut self, cluster: &mut Cluster, id: i64, epoch: i16) -> Step {
        let broker = match self.coordinator(cluster).await {
            Ok(broker) => broker,
            Err(step) => return step,
        };
        let timeout = i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX);
        let name = self.transactional_id.clone();
        let mut knows_epochs = true;
        let answer: Result<InitProducerIdResponse> = cluster
            .ask(broker, INIT, |version| {
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(name.map(|name| TransactionalId(StrBytes::from_string(name))))
                    .with_transaction_timeout_ms(timeout);
                knows_epochs = version >= OWN_EPOCH;
                match knows_epochs {
                    true => request.with_producer_id(ProducerId(id)).with_producer_epoch(epoch),
                    false => request,
                }
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.lost_sight(error),
        };
        match answer.error_code.err() {
            None if id >= 0 && !knows_epochs => {
                // Taken anew, not renewed: whoever took it meanwhile is fenced by that. The start sequence sorts it out.
                (self.id, self.epoch) = (answer.producer_id.0, answer.producer_epoch);
                Step::Failed(Failure::Abort("the broker cannot raise a producer's own epoch".to_owned()))
            }
            None => {
                (self.id, self.epoch) = (answer.producer_id.0, answer.producer_epoch);
                self.closed();
                Step::Done
            }
            Some(Code::InvalidProducerEpoch | Code::ProducerFenced) if id >= 0 => {
                Step::Failed(Failure::Fenced("a newer epoch of the transactional id is in use".to_owned()))
            }
            Some(code) => self.step(code),
        }
    }

    /// Makes these partitions part of the transaction; those that are already cost nothing.
    pub async fn join(&mut self, cluster: &mut Cluster, places: &[Place]) -> Step {
        let Some(name) = self.transactional_id.clone() else { return Step::Done };
        let new: Vec<&Place> = places.iter().filter(|place| !self.joined.contains(*place)).collect();
        if new.is_empty() {
            return Step::Done;
        }
        let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
        for (topic, partition) in &new {
            match topics.iter_mut().find(|one| one.name.as_str() == &**topic) {
                Some(one) => one.partitions.push(*partition),
                None => topics.push(
                    AddPartitionsToTxnTopic::default()
                        .with_name(TopicName(StrBytes::from_string(topic.to_string())))
                        .with_partitions(vec![*partition]),
                ),
            }
        }
        let broker = match self.coordinator(cluster).await {
            Ok(broker) => broker,
            Err(step) => return step,
        };
        self.open.get_or_insert_with(Instant::now);
        let (id, epoch) = (self.id, self.epoch);
        let answer: Result<AddPartitionsToTxnResponse> = cluster
            .ask(broker, JOIN, |_| {
                AddPartitionsToTxnRequest::default()
                    .with_v3_and_below_transactional_id(TransactionalId(StrBytes::from_string(name)))
                    .with_v3_and_below_producer_id(ProducerId(id))
                    .with_v3_and_below_producer_epoch(epoch)
                    .with_v3_and_below_topics(topics)
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.lost_sight(error),
        };
        let mut refused = None;
        for topic in &answer.results_by_topic_v3_and_below {
            for partition in &topic.results_by_partition {
                match partition.partition_error_code.err() {
                    // Said of those that others kept from being tried.
                    None | Some(Code::OperationNotAttempted) => {}
                    Some(code) => refused = Some((topic.name.to_string(), code)),
                }
            }
        }
        match refused {
            None => {
                self.joined.extend(new.into_iter().cloned());
                self.missing = None;
                Step::Done
            }
            Some((topic, code)) => match verdict(Some(code)) {
                Verdict::Overtaken => Step::Failed(self.overtaken(code)),
                Verdict::Missing if self.missing.get_or_insert_with(Instant::now).elapsed() < UNKNOWN => Step::Soon,
                Verdict::Missing => Step::Failed(Failure::Gone(topic)),
                Verdict::Lasting => Step::Failed(Failure::Topic(topic, code)),
                _ => self.step(code),
            },
        }
    }

    /// Ends the transaction, if anything belongs to it. A question whose answer was lost is asked again: the coordinator
    /// knows what it has done.
    pub async fn end(&mut self, cluster: &mut Cluster, committed: bool) -> Step {
        let Some(name) = self.transactional_id.clone() else { return Step::Done };
        if self.open.is_none() {
            return Step::Done;
        }
        let broker = match self.coordinator(cluster).await {
            Ok(broker) => broker,
            Err(step) => return step,
        };
        let (id, epoch) = (self.id, self.epoch);
        let answer: Result<EndTxnResponse> = cluster
            .ask(broker, END, |_| {
                EndTxnRequest::default()
                    .with_transactional_id(TransactionalId(StrBytes::from_string(name)))
                    .with_producer_id(ProducerId(id))
                    .with_producer_epoch(epoch)
                    .with_committed(committed)
            })
            .await;
        match answer.map(|answer| answer.error_code.err()) {
            Err(error) => self.lost_sight(error),
            Ok(None) => {
                self.closed();
                Step::Done
            }
            // The question that would have opened it did not get there.
            Ok(Some(Code::InvalidTxnState)) if !committed && self.joined.is_empty() => {
                self.closed();
                Step::Done
            }
            Ok(Some(code)) => self.step(code),
        }
    }

    async fn coordinator(&mut self, cluster: &mut Cluster) -> std::result::Result<i32, Step> {
        if let Some(known) = self.coordinator {
            return Ok(known);
        }
        let found = match &self.transactional_id {
            Some(name) => cluster.coordinator(name).await,
            // Any broker gives an id to those without transactions.
            None => cluster.any_broker().await.map(Ok),
        };
        match found {
            Ok(Ok(broker)) => {
                self.coordinator = Some(broker);
                Ok(broker)
            }
            Ok(Err(code)) => Err(self.step(code)),
            Err(error) => Err(Step::Later(error)),
        }
    }

    fn lost_sight(&mut self, error: Error) -> Step {
        self.coordinator = None;
        Step::Later(error)
    }

    fn step(&mut self, code: Code) -> Step {
        match word(code) {
            Word::Soon => Step::Soon,
            Word::Elsewhere => {
                self.coordinator = None;
                Step::Later(
                    Error::new(crate::Kind::Kafka, "the transaction coordinator is not ready").because(said(code)),
                )
            }
            Word::Overtaken => Step::Failed(self.overtaken(code)),
            Word::Denied(hint) => Step::Failed(Failure::Denied(said(code), hint)),
            Word::Lost => Step::Failed(Failure::Abort(said(code))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by reading: which of both it is was asked of the coordinator, and most brokers answer that question wrongly; and
    /// what belonged to the transaction was forgotten before the answer, so that a commit that was refused looked done.
    #[test]
    fn a_raised_epoch_is_a_successors_unless_the_transaction_has_outlived_its_timeout() {
        let mut identity = Identity::new(Some("shop-1".to_owned()), Duration::from_secs(60));
        assert!(matches!(identity.overtaken(Code::ProducerFenced), Failure::Fenced(_)), "nothing was open");
        identity.joined.insert(("t".into(), 0));
        identity.open = Some(Instant::now());
        assert!(matches!(identity.overtaken(Code::ProducerFenced), Failure::Fenced(_)));
        identity.timeout = Duration::ZERO;
        assert!(matches!(identity.overtaken(Code::InvalidProducerEpoch), Failure::Outlived(_)));
        assert!(identity.open.is_some() && !identity.joined.is_empty(), "it is not ended by that");
    }
}
