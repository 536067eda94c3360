//! Topics: found, or created with the settings of KIP-158.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::{Context, settings, unbuildable};
use super::wire::Client;
use crate::config::{Kafka, Topic};
use crate::{Error, Kind, Result};

/// How long one question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for topics and makes them.
pub struct Admin {
    kafka: Kafka,
    connector: String,
    client: Arc<Client>,
    /// Made when the first topic is to be made.
    maker: OnceLock<AdminClient<Context>>,
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

/// Whether Kafka may well create the topic a little later.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::RequestTimedOut
            | Code::OperationTimedOut
            | Code::NotController
            | Code::LeaderNotAvailable
            | Code::BrokerNotAvailable
            | Code::NetworkException
            | Code::ThrottlingQuotaExceeded
    )
}

impl Admin {
    /// Nobody is asked yet.
    pub fn new(kafka: &Kafka, connector: &str) -> Result<Admin> {
        Ok(Admin {
            kafka: kafka.clone(),
            connector: connector.to_owned(),
            client: Arc::new(Client::new(kafka, connector)?),
            maker: OnceLock::new(),
        })
    }

    /// Who asks the cluster, for those who read topics.
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// How many brokers answer.
    pub fn reach(&self) -> Result<usize> {
        self.client.brokers().map_err(|error| {
            let told =
                Error::new(error.kind(), "Kafka does not answer").because(format!("{error}: {}", error.causes()));
            match error.hint_text() {
                Some(hint) => told.hint(hint),
                None => told,
            }
        })
    }

    fn maker(&self) -> Result<&AdminClient<Context>> {
        if let Some(maker) = self.maker.get() {
            return Ok(maker);
        }
        let made = settings(&self.kafka, &self.connector).create_with_context(Context::of(&self.kafka));
        let made = made.map_err(unbuildable)?;
        Ok(self.maker.get_or_init(|| made))
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
        Ok(self.client.topic(name)?.filter(|found| found.led).map(|found| found.partitions))
    }

    /// A topic as it is, for those who only look; `None`: there is no such topic.
    pub fn look_at(&self, name: &str) -> Result<Option<Seen>> {
        let Some(partitions) = self.partitions(name)? else { return Ok(None) };
        let mut settings = self.client.settings(name)?;
        let policy = settings.remove("cleanup.policy").unwrap_or_default();
        let retention = settings.remove("retention.ms").and_then(|text| text.parse().ok());
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
        let maker = self.maker()?;
        let (client, context) = (maker.inner(), maker.inner().context());
        context.log_in(client);
        let answers = maker.create_topics(&[topic], &options).await;
        let away = |error| context.unreachable(format!("topic {name} could not be created"), error);
        let answers = answers.map_err(away)?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                // The brokers are at something else: it is tried again.
                Err((_, code)) if passes(code) => {
                    return Err(Error::new(Kind::Busy, format!("topic {name} could not be created yet"))
                        .because(code.to_string())
                        .hint("are the brokers up, and do they have a controller?"));
                }
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
                return Err(Error::new(Kind::Busy, format!("topic {name} was created and has no leader yet"))
                    .hint("are there enough brokers for its replication factor?"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A topic's setting, if the broker tells.
    pub(super) fn setting(&self, topic: &str, name: &str) -> Result<Option<String>> {
        self.client.settings(topic).map(|mut settings| settings.remove(name))
    }
}
