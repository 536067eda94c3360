//! Names of schemas in the registry, by TopicNameStrategy.

/// The subject of a topic's keys.
pub fn key(topic: &str) -> String {
    format!("{topic}-key")
}

/// The subject of a topic's values.
pub fn value(topic: &str) -> String {
    format!("{topic}-value")
}
