//! Names of schemas in the registry, by Confluent's three strategies.

use crate::avro::RecordNames;

/// How a schema is named (`schema_registry.subject.name.strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// By the topic: `shop.public.orders-value`.
    #[default]
    Topic,
    /// By the record: `shop.public.orders.Value`, whatever topic it is in.
    Record,
    /// By both: `shop.public.orders-shop.public.orders.Value`.
    TopicRecord,
}

impl Strategy {
    /// The subject of a topic's keys.
    pub fn key(self, topic: &str, names: &RecordNames) -> String {
        self.subject(topic, names, "key", "Key")
    }

    /// The subject of a topic's values.
    pub fn value(self, topic: &str, names: &RecordNames) -> String {
        self.subject(topic, names, "value", "Value")
    }

    fn subject(self, topic: &str, names: &RecordNames, suffix: &str, record: &str) -> String {
        match self {
            Strategy::Topic => format!("{topic}-{suffix}"),
            Strategy::Record => names.full(record),
            Strategy::TopicRecord => format!("{topic}-{}", names.full(record)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::TableName;

    #[test]
    fn subjects_are_named_as_confluents_serializers_name_them() {
        let names = RecordNames::new("shop", &TableName::new("public", "orders"), Default::default());
        assert_eq!(Strategy::Topic.key("t", &names), "t-key");
        assert_eq!(Strategy::Record.value("t", &names), "shop.public.orders.Value");
        assert_eq!(Strategy::TopicRecord.key("t", &names), "t-shop.public.orders.Key");
    }
}
