//! How large a record may be: what the producer is allowed, and what the topic takes.

use rdkafka::config::ClientConfig;

use super::topics::Admin;
use crate::Result;
use crate::config::Kafka;

/// Unless `message.max.bytes` says otherwise: what fits into the producer's queue.
const UNLESS_SET: usize = 30_000_000;
/// The queue, unless it has to hold a larger record.
const QUEUE_KBYTES: usize = 32_768;
/// What a record batch of one record and the record's own lengths may come to, beside key, value and headers.
const OVERHEAD: usize = 160;

/// The largest record that the configuration allows, in bytes of key, value and headers: it has to fit into the queue.
fn allowed(kafka: &Kafka) -> usize {
    let set = |name: &str| kafka.properties.get(name).and_then(|value| value.reveal().parse::<usize>().ok());
    let queue = set("queue.buffering.max.kbytes").map_or(usize::MAX, |kbytes| kbytes.saturating_mul(1024));
    set("message.max.bytes").unwrap_or(UNLESS_SET).min(queue)
}

/// A queue that can hold the largest record, and a producer that takes what topics do.
pub(super) fn apply(config: &mut ClientConfig) {
    let set = config.get("message.max.bytes").and_then(|text| text.parse().ok());
    let most: usize = set.unwrap_or(UNLESS_SET);
    config.set("message.max.bytes", most.to_string());
    if config.get("queue.buffering.max.kbytes").is_none() {
        config.set("queue.buffering.max.kbytes", QUEUE_KBYTES.max(most / 1024 + 1024).to_string());
    }
}

impl Admin {
    /// The largest record for a topic, in bytes of key, value and headers, before compression: the smaller of
    /// `message.max.bytes` and the topic's `max.message.bytes`, as far as the broker tells that.
    pub async fn largest(&self, kafka: &Kafka, topic: &str) -> Result<usize> {
        let allowed = allowed(kafka);
        let told = self.setting(topic, "max.message.bytes").await?.and_then(|text| text.parse().ok());
        Ok(told.map_or(allowed, |told: usize| allowed.min(told.saturating_sub(OVERHEAD))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_can_hold_the_largest_record() {
        let mut config = ClientConfig::new();
        apply(&mut config);
        assert_eq!(config.get("queue.buffering.max.kbytes"), Some("32768"));
        assert_eq!(config.get("message.max.bytes"), Some("30000000"));
        let mut config = ClientConfig::new();
        config.set("message.max.bytes", "209715200");
        apply(&mut config);
        assert_eq!(config.get("queue.buffering.max.kbytes"), Some("205824"));
        let mut config = ClientConfig::new();
        config.set("queue.buffering.max.kbytes", "1000");
        apply(&mut config);
        assert_eq!(config.get("queue.buffering.max.kbytes"), Some("1000"), "what the user set counts");
    }
}
