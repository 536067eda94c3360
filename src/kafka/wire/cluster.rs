//! The brokers: who leads which partition, who coordinates a transactional id, and the connections to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::connection::{Connection, Version};
use super::dial::Dial;
use crate::config::Kafka;
use crate::{Error, Kind, Result};

const METADATA: Version = Version::of(ApiKey::Metadata, 4, 12);
const COORDINATOR: Version = Version::of(ApiKey::FindCoordinator, 1, 3);
/// FindCoordinator's word for a transactional id.
const TRANSACTION: i8 = 1;

/// A cluster, as far as it was asked for.
pub struct Cluster {
    dial: Dial,
    bootstrap: Vec<(String, u16)>,
    brokers: BTreeMap<i32, (String, u16)>,
    /// Open connections, by `host:port`: the one to a bootstrap address serves its broker too.
    connections: HashMap<(String, u16), Arc<Connection>>,
    /// The leaders of a topic's partitions; a partition without one is missing.
    topics: HashMap<String, Topic>,
    /// How long one request may take.
    patience: Duration,
}

#[derive(Default)]
struct Topic {
    partitions: i32,
    leaders: BTreeMap<i32, i32>,
}

impl Cluster {
    /// Nobody is asked yet.
    pub fn new(kafka: &Kafka, connector: &str) -> Result<Cluster> {
        let said = kafka.property("bootstrap.servers").or_else(|| kafka.property("metadata.broker.list"));
        Ok(Cluster {
            dial: Dial::of(kafka, connector)?,
            bootstrap: said.unwrap_or_default().split(',').filter_map(|one| address(one.trim())).collect(),
            brokers: BTreeMap::new(),
            connections: HashMap::new(),
            topics: HashMap::new(),
            patience: kafka.millis("socket.timeout.ms", 60_000),
        })
    }

    /// How long one request may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// How many brokers there are, as far as is known.
    pub fn brokers(&self) -> usize {
        self.brokers.len()
    }

    /// How many partitions a topic has, if it was asked for and is there.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        self.topics.get(topic).map(|topic| topic.partitions)
    }

    /// Who leads a partition, as far as is known.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.topics.get(topic)?.leaders.get(&partition).copied()
    }

    /// The connection to a broker, opened where there is none.
    pub async fn broker(&mut self, id: i32) -> Result<Arc<Connection>> {
        let Some(address) = self.brokers.get(&id).cloned() else {
            return Err(Error::new(Kind::Kafka, format!("broker {id} is not known")).hint("it is asked for again"));
        };
        self.connect(address).await
    }

    async fn connect(&mut self, address: (String, u16)) -> Result<Arc<Connection>> {
        if let Some(open) = self.connections.get(&address).filter(|open| !open.is_spent()) {
            return Ok(Arc::clone(open));
        }
        self.connections.remove(&address);
        let open = Arc::new(self.dial.open(&address.0, address.1).await?);
        tracing::trace!(target: "kafka", broker = %open.peer, "connected");
        self.connections.insert(address, Arc::clone(&open));
        Ok(open)
    }

    /// Any broker that answers: one that is connected, else one that is known, else one of the bootstrap servers.
    async fn anyone(&mut self) -> Result<Arc<Connection>> {
        if let Some(open) = self.connections.values().find(|open| !open.is_spent()) {
            return Ok(Arc::clone(open));
        }
        let mut seen = BTreeSet::new();
        let known: Vec<_> = self.brokers.values().chain(&self.bootstrap).cloned().collect();
        let mut last = Error::new(Kind::Kafka, "kafka.\"bootstrap.servers\" names no server")
            .hint("host:port, with commas between them");
        for address in known {
            if seen.insert(address.clone()) {
                match self.connect(address).await {
                    Ok(open) => return Ok(open),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    /// Asks one broker.
    pub async fn ask<Q, A>(&mut self, broker: i32, wanted: Version, request: impl FnOnce(i16) -> Q) -> Result<A>
    where
        Q: Encodable,
        A: Decodable + HeaderVersion,
    {
        let connection = self.broker(broker).await?;
        let version = connection.version(wanted)?;
        connection.ask(wanted.key, version, &request(version), self.patience)?.await
    }

    /// Asks for these topics again; those that are not there, with why. Makes none.
    pub async fn refresh(&mut self, topics: &[String]) -> Result<Vec<(String, ResponseError)>> {
        let connection = self.anyone().await?;
        let version = connection.version(METADATA)?;
        let named = |name: &String| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
        };
        let request = MetadataRequest::default()
            .with_topics(Some(topics.iter().map(named).collect()))
            .with_allow_auto_topic_creation(false);
        let answer: MetadataResponse = connection.ask(METADATA.key, version, &request, self.patience)?.await?;
        self.brokers = answer
            .brokers
            .iter()
            .filter_map(|one| Some((one.node_id.0, (one.host.to_string(), u16::try_from(one.port).ok()?))))
            .collect();
        let mut missing = Vec::new();
        for topic in answer.topics {
            let Some(name) = topic.name.map(|name| name.0.to_string()) else { continue };
            if let Some(code) = topic.error_code.err() {
                self.topics.remove(&name);
                missing.push((name, code));
                continue;
            }
            let leaders = topic.partitions.iter().filter(|one| one.leader_id.0 >= 0);
            let leaders = leaders.map(|one| (one.partition_index, one.leader_id.0)).collect();
            let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            self.topics.insert(name, Topic { partitions, leaders });
        }
        Ok(missing)
    }

    /// The broker that coordinates a transactional id.
    pub async fn coordinator(&mut self, transactional_id: &str) -> Result<std::result::Result<i32, ResponseError>> {
        let connection = self.anyone().await?;
        let version = connection.version(COORDINATOR)?;
        let request = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(transactional_id.to_owned()))
            .with_key_type(TRANSACTION);
        let answer: FindCoordinatorResponse =
            connection.ask(COORDINATOR.key, version, &request, self.patience)?.await?;
        if let Some(code) = answer.error_code.err() {
            return Ok(Err(code));
        }
        if let Ok(port) = u16::try_from(answer.port) {
            self.brokers.insert(answer.node_id.0, (answer.host.to_string(), port));
        }
        Ok(Ok(answer.node_id.0))
    }

    /// Who leads the topic's partitions is to be asked again.
    pub fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// A broker that answers.
    pub async fn any_broker(&mut self) -> Result<i32> {
        self.refresh(&[]).await?;
        let all: Vec<i32> = self.brokers.keys().copied().collect();
        let mut last = Error::new(Kind::Kafka, "the cluster has no brokers");
        for broker in all {
            match self.broker(broker).await {
                Ok(_) => return Ok(broker),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether a broker's connection can take requests as it is.
    pub fn open_to(&self, broker: i32) -> Option<&Arc<Connection>> {
        self.connections.get(self.brokers.get(&broker)?).filter(|open| !open.is_spent())
    }
}

/// `host`, `host:port`, `[::1]:port`, each with or without `PROTOCOL://` before it, as librdkafka takes them.
fn address(text: &str) -> Option<(String, u16)> {
    const USUAL: u16 = 9092;
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(USUAL), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_librdkafka_takes() {
        let host = |text| address(text).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(host("b-1:9098").as_deref(), Some("b-1 9098"));
        assert_eq!(host("b-1").as_deref(), Some("b-1 9092"));
        assert_eq!(host("SASL_SSL://b-1:9098").as_deref(), Some("b-1 9098"));
        assert_eq!(host("[::1]:9098").as_deref(), Some("::1 9098"));
        assert_eq!(host("[::1]").as_deref(), Some("::1 9092"));
        for wrong in ["", ":9092", "b:port", "b:99999"] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }
}
