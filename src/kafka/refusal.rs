//! What Kafka's refusals mean: which pass, which last, which say that another instance has taken over.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::{Error, Kind};

/// Whether the call may be made again: its outcome is unknown, or it did not get to its end.
pub(super) fn is_unfinished(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort(),
        KafkaError::Flush(code) => *code == Code::OperationTimedOut,
        _ => false,
    }
}

pub(super) fn fenced(cause: String) -> Error {
    Error::new(Kind::Fenced, "a newer instance has taken over").because(cause)
}

pub(super) fn is_fencing(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::TransactionCoordinatorFenced
    )
}

/// Refusals that trying again does not mend.
pub(super) fn is_lasting(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::MessageSizeTooLarge
            | Code::InvalidTopic
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::UnsupportedCompressionType
    )
}

pub(super) fn lasting_hint(code: Code) -> &'static str {
    match code {
        Code::TopicAuthorizationFailed => "grant the principal WRITE and DESCRIBE on the topic",
        Code::MessageSizeTooLarge => "raise the topic's max.message.bytes",
        Code::InvalidRecord => {
            "a compacted topic takes no record without a key: change the topic's cleanup.policy, or give the table a key"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition => "create the topic again, and restart",
        _ => "see the cause",
    }
}
