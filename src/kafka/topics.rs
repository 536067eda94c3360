//! Topics: found, or created with the settings of KIP-158.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;

use super::client::{Context, ask, settings, unbuildable, unreachable};
use crate::config::{Kafka, Topic};
use crate::{Error, Kind, Result};

/// How long one question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for topics and makes them.
pub struct Admin {
    client: AdminClient<Context>,
    /// Asks for metadata. A consumer, since a producer's question for a topic makes it where the broker allows that: with
    /// the broker's settings, not compacted, before we could.
    metadata: BaseConsumer<Context>,
}

/// A topic to be made.
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub partitions: i32,
    pub replication_factor: i32,
    pub settings: Vec<(&'a str, &'a str)>,
}

/// What a topic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many partitions it has.
    pub partitions: i32,
    /// `cleanup.policy`; empty where the broker does not tell.
    pub policy: String,
    /// After how long records are deleted, if they are.
    pub retention: Option<Duration>,
}

impl Admin {
    /// A client that asks and creates; it connects with its first question.
    pub fn new(kafka: &Kafka, connector: &str) -> Result<Admin> {
        let mut asking = settings(kafka, connector);
        asking.set("group.id", format!("strandline-{connector}")).set("allow.auto.create.topics", "false");
        Ok(Admin {
            client: settings(kafka, connector).create_with_context(Context::of(kafka)).map_err(unbuildable)?,
            metadata: asking.create_with_context(Context::of(kafka)).map_err(unbuildable)?,
        })
    }

    /// How many brokers answer.
    pub fn reach(&self) -> Result<usize> {
        self.metadata(None, || "Kafka does not answer".to_owned()).map(|metadata| metadata.brokers().len())
    }

    fn log_in(&self) {
        let client = self.client.inner();
        client.context().log_in(client);
    }

    fn away(&self, what: String, error: KafkaError) -> Error {
        self.client.inner().context().unreachable(what, error)
    }

    fn metadata(&self, topic: Option<&str>, what: impl Fn() -> String) -> Result<Metadata> {
        ask(&self.metadata, TIMEOUT, what, |consumer, slice| {
            // Nothing is assigned: it serves events alone, a token's renewal among them.
            drop(consumer.poll(Duration::ZERO));
            consumer.fetch_metadata(topic, slice)
        })
    }

    /// Makes sure that a table's topic is there; whether it had to be made.
    pub async fn ensure(&self, topic: &Topic, name: &str) -> Result<bool> {
        if self.partitions(name)?.is_some() {
            return Ok(false);
        }
        if !topic.create {
            return Err(Error::new(
                Kind::Topic,
                format!("the topic {name} does not exist, and topic.creation.enable is false"),
            )
            .hint(format!("create it: kafka-topics.sh --create --topic {name} …")));
        }
        let wanted = Wanted {
            name,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            settings: topic.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        };
        let partitions = self.create(&wanted).await?;
        tracing::info!(topic = name, partitions, "topic created");
        Ok(true)
    }

    /// The number of partitions of a topic whose partitions all have a leader; `None`: there is no such topic.
    pub(super) fn partitions(&self, name: &str) -> Result<Option<i32>> {
        let metadata = self.metadata(Some(name), || format!("Kafka does not say whether topic {name} exists"))?;
        let Some(topic) = metadata.topics().first() else { return Ok(None) };
        match topic.error().map(Code::from) {
            None => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
            Some(Code::LeaderNotAvailable) => return Ok(None),
            Some(Code::TopicAuthorizationFailed) => {
                return Err(Error::new(Kind::Topic, format!("the Kafka principal may not see topic {name}"))
                    .hint("grant it DESCRIBE, WRITE and CREATE on the topic"));
            }
            Some(code) => {
                return Err(unreachable(format!("topic {name} is not available"), KafkaError::MetadataFetch(code)));
            }
        }
        let ready =
            !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0);
        Ok(ready.then(|| i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)))
    }

    /// A topic as it is, for those who only look; `None`: there is no such topic.
    pub async fn look_at(&self, name: &str) -> Result<Option<Seen>> {
        let Some(partitions) = self.partitions(name)? else { return Ok(None) };
        let policy = self.setting(name, "cleanup.policy").await?.unwrap_or_default();
        let retention = self.setting(name, "retention.ms").await?.and_then(|text| text.parse().ok());
        Ok(Some(Seen {
            partitions,
            policy,
            retention: retention
                .filter(|millis: &i64| *millis >= 0)
                .map(|millis| Duration::from_millis(millis.unsigned_abs())),
        }))
    }

    /// Makes a topic and waits until its partitions have leaders. One that somebody else made meanwhile is as good.
    pub(super) async fn create(&self, wanted: &Wanted<'_>) -> Result<i32> {
        let Wanted { name, partitions, replication_factor, .. } = *wanted;
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication_factor));
        for (key, value) in &wanted.settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        self.log_in();
        let answers = self.client.create_topics(&[topic], &options).await;
        let answers = answers.map_err(|error| self.away(format!("topic {name} could not be created"), error))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => {
                    return Err(Error::new(Kind::Topic, format!("Kafka refuses to create topic {name}"))
                        .because(code.to_string())
                        .hint("check topic.creation.default.*, and that the principal may CREATE topics; or create it by hand"));
                }
            }
        }
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(partitions) = self.partitions(name)? {
                return Ok(partitions);
            }
            if Instant::now() >= deadline {
                return Err(Error::new(Kind::Kafka, format!("topic {name} was created and has no leader yet")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A topic's setting, if the broker tells.
    pub(super) async fn setting(&self, topic: &str, name: &str) -> Result<Option<String>> {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        self.log_in();
        let answers = self.client.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
        let answers =
            answers.map_err(|error| self.away(format!("the settings of topic {topic} are not told"), error))?;
        // Without the right to see settings we go on: the topic was made by somebody who had it.
        let found =
            answers.into_iter().flatten().find_map(|resource| resource.get(name).and_then(|entry| entry.value.clone()));
        Ok(found)
    }
}
