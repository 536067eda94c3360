//! Client settings: the user's `[kafka]` over our defaults, under what Strandline owns. Logs of the client go to ours.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::Kafka;
use crate::{Error, Kind};

/// Settings that any client shares.
pub fn settings(kafka: &Kafka, connector: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("client.id", format!("strandline-{connector}"));
    settings.set("connections.max.idle.ms", "540000");
    settings.set("socket.keepalive.enable", "true");
    settings.set_log_level(RDKafkaLogLevel::Warning);
    for (name, value) in &kafka.properties {
        settings.set(name, value.reveal());
    }
    settings
}

/// The client's log and errors, as ours; the same text at most once in a while, as a broker that is away is told of at
/// every attempt, and each error comes twice.
#[derive(Default)]
pub struct Context {
    last: Mutex<Option<(String, Instant)>>,
}

impl Context {
    const SILENCE: Duration = Duration::from_secs(30);

    fn is_news(&self, text: &str) -> bool {
        // A broker's text carries a count of milliseconds that differs each time.
        let text: String = text.chars().filter(|one| !one.is_ascii_digit()).collect();
        let Ok(mut last) = self.last.lock() else { return true };
        let old = last.as_ref().is_some_and(|(before, at)| *before == text && at.elapsed() < Self::SILENCE);
        if !old {
            *last = Some((text, Instant::now()));
        }
        !old
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Producer settings given to a consumer are told as a warning each time; they are meant for the producer.
        if facility == "CONFWARN" || !self.is_news(message) {
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "kafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "kafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is news to nobody.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) && self.is_news(reason) {
            tracing::debug!(target: "kafka", error = %error, "{reason}");
        }
    }
}

impl ConsumerContext for Context {}

/// A client that cannot be built: a property's value is wrong.
pub fn unbuildable(error: KafkaError) -> Error {
    Error::new(Kind::Config, "a Kafka client cannot be built from [kafka]")
        .because(error)
        .hint("check the properties under [kafka]")
}

/// Kafka does not answer.
pub fn unreachable(what: impl Into<String>, error: KafkaError) -> Error {
    Error::new(Kind::Kafka, what).because(error).hint("check kafka.\"bootstrap.servers\" and that the brokers are up")
}
