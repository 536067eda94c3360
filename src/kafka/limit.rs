//! How large a record may be: what the producer is allowed, and what the topic takes.

use super::topics::Admin;
use crate::Result;
use crate::config::Kafka;

/// Where neither `message.max.bytes` nor the broker says otherwise.
const UNLESS_SET: usize = 30_000_000;
/// What a record batch of one record and the record's own lengths may come to, beside key, value and headers.
const OVERHEAD: usize = 160;

/// The largest record that the configuration allows, in bytes of key, value and headers.
fn allowed(kafka: &Kafka) -> usize {
    kafka.property("message.max.bytes").and_then(|text| text.parse().ok()).unwrap_or(UNLESS_SET)
}

impl Admin {
    /// The largest record for a topic, in bytes of key, value and headers, before compression: the smaller of
    /// `message.max.bytes` and the topic's `max.message.bytes`, as far as the broker tells that.
    pub fn largest(&self, kafka: &Kafka, topic: &str) -> Result<usize> {
        let allowed = allowed(kafka);
        let told = self.setting(topic, "max.message.bytes")?.and_then(|text| text.parse().ok());
        Ok(told.map_or(allowed, |told: usize| allowed.min(told.saturating_sub(OVERHEAD))))
    }
}
