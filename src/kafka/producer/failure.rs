//! What Kafka's refusals mean: which pass, which last, which say that another instance has taken over.

use kafka_protocol::error::ResponseError as Code;

use crate::{Error, Kind};

/// Why what was queued will not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another instance has this transactional id.
    Fenced(String),
    /// The transaction took longer than its timeout, or another instance has its id: who signed for the partition tells.
    Outlived(String),
    /// The transaction must be aborted; what was read is read and sent again.
    Abort(String),
    /// A topic takes no records, for a reason that lasts.
    Topic(String, Code),
    /// A topic is not there, although it was.
    Gone(String),
    /// The principal may not do this, or the configuration forbids it.
    Denied(String, &'static str),
}

impl Failure {
    /// Whether nothing that is queued for this topic is worth sending any more.
    pub fn spoils(&self, topic: &str) -> bool {
        match self {
            Failure::Topic(failed, _) | Failure::Gone(failed) => failed == topic,
            Failure::Fenced(_) | Failure::Outlived(_) | Failure::Abort(_) | Failure::Denied(..) => true,
        }
    }

    /// As whoever called is told.
    pub fn error(&self) -> Error {
        match self {
            Failure::Fenced(cause) => {
                Error::new(Kind::Fenced, "a newer instance has taken over").because(cause.as_str())
            }
            Failure::Outlived(cause) => {
                Error::new(Kind::Outlived, "the transaction took longer than kafka.\"transaction.timeout.ms\"")
                    .because(cause.as_str())
                    .hint("nothing: its rows are read and sent again; raise the timeout if it happens often")
            }
            Failure::Abort(cause) => Error::new(Kind::Transaction, "the transaction cannot be committed")
                .because(cause.as_str())
                .hint("nothing: its rows are read and sent again"),
            Failure::Topic(topic, code) => Error::new(Kind::Topic, format!("Kafka refuses records for topic {topic}"))
                .because(said(*code))
                .hint(hint(*code)),
            Failure::Gone(topic) => Error::new(Kind::Kafka, format!("topic {topic} is not there any more"))
                .hint("nothing: it is made anew, unless topic.creation.enable is false"),
            Failure::Denied(cause, hint) => {
                Error::new(Kind::Topic, "Kafka refuses the producer").because(cause.as_str()).hint(*hint)
            }
        }
    }
}

/// A code by Kafka's own name and number.
pub fn said(code: Code) -> String {
    format!("{code:?} ({}): {code}", code.code())
}

/// What is done about an answer to a produce request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written.
    Written,
    /// Send it again; the leader may be another now.
    Again,
    /// Send it again if something before it was refused; else the stream has a hole.
    OutOfOrder,
    /// Somebody raised the epoch: a successor, or the coordinator after a timeout.
    Overtaken,
    /// The topic is not there, at least not yet.
    Missing,
    /// This topic takes none, and will not.
    Lasting,
    /// The transaction is lost.
    Lost,
}

/// The one place that decides it.
pub fn verdict(code: Option<Code>) -> Verdict {
    let Some(code) = code else { return Verdict::Written };
    match code {
        // It was written before, and only the answer was lost.
        Code::DuplicateSequenceNumber => Verdict::Written,
        Code::OutOfOrderSequenceNumber => Verdict::OutOfOrder,
        Code::InvalidProducerEpoch | Code::ProducerFenced => Verdict::Overtaken,
        Code::UnknownTopicOrPartition | Code::UnknownTopicId | Code::InconsistentTopicId => Verdict::Missing,
        Code::TopicAuthorizationFailed
        | Code::MessageTooLarge
        | Code::RecordListTooLarge
        | Code::InvalidTopicException
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat => Verdict::Lasting,
        code if code.is_retriable() && code != Code::CorruptMessage => Verdict::Again,
        // Its meanings are mixed: damaged on the way, or without a key for a compacted topic (Kafka before 2.4).
        Code::CorruptMessage => Verdict::Lost,
        _ => Verdict::Lost,
    }
}

/// What is done about the transaction coordinator's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Ask again in a moment, the same one.
    Soon,
    /// Ask again, whoever is the coordinator then.
    Elsewhere,
    /// Somebody raised the epoch.
    Overtaken,
    /// It will not be otherwise: what to do.
    Denied(&'static str),
    /// The transaction is lost.
    Lost,
}

/// The one place that decides it.
pub fn word(code: Code) -> Word {
    match code {
        Code::ConcurrentTransactions => Word::Soon,
        Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable | Code::NotCoordinator => Word::Elsewhere,
        Code::InvalidProducerEpoch | Code::ProducerFenced | Code::TransactionCoordinatorFenced => Word::Overtaken,
        Code::TransactionalIdAuthorizationFailed | Code::ClusterAuthorizationFailed => Word::Denied(
            "grant the principal WRITE and DESCRIBE on the transactional ids that begin with group.id and the connector's name",
        ),
        Code::InvalidTransactionTimeout => {
            Word::Denied("lower kafka.\"transaction.timeout.ms\", or raise the brokers' transaction.max.timeout.ms")
        }
        code if code.is_retriable() => Word::Elsewhere,
        _ => Word::Lost,
    }
}

fn hint(code: Code) -> &'static str {
    match code {
        Code::TopicAuthorizationFailed => "grant the principal WRITE and DESCRIBE on the topic",
        Code::MessageTooLarge | Code::RecordListTooLarge => "raise the topic's max.message.bytes",
        Code::InvalidRecord => {
            "a compacted topic takes no record without a key: change the topic's cleanup.policy, or give the table a key"
        }
        Code::InvalidTimestamp => {
            "raise the topic's message.timestamp.before.max.ms and after.max.ms, or set the clock right"
        }
        _ => "see the cause",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_is_written_and_a_hole_is_lost() {
        assert_eq!(verdict(None), Verdict::Written);
        assert_eq!(verdict(Some(Code::DuplicateSequenceNumber)), Verdict::Written);
        assert_eq!(verdict(Some(Code::NotLeaderOrFollower)), Verdict::Again);
        assert_eq!(verdict(Some(Code::NotEnoughReplicas)), Verdict::Again);
        assert_eq!(verdict(Some(Code::UnknownProducerId)), Verdict::Lost);
        assert_eq!(verdict(Some(Code::MessageTooLarge)), Verdict::Lasting);
        assert_eq!(verdict(Some(Code::Unknown(999))), Verdict::Lost);
    }

    #[test]
    fn rights_are_told_with_what_to_grant_and_fencing_is_not_a_failure_of_kafka() {
        assert!(matches!(word(Code::TransactionalIdAuthorizationFailed), Word::Denied(hint) if hint.contains("WRITE")));
        assert_eq!(word(Code::ProducerFenced), Word::Overtaken);
        assert_eq!(word(Code::InvalidTxnState), Word::Lost);
        assert_eq!(Failure::Fenced(String::new()).error().kind(), Kind::Fenced);
        let error = Failure::Topic("t".to_owned(), Code::MessageTooLarge).error();
        assert!(error.causes().starts_with("MessageTooLarge (10): "), "{error:?}");
    }
}
