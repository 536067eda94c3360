//! A cluster asked from any thread: calls that block until there is an answer, or it is clear that waiting does not help.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka_protocol::error::{ParseResponseErrorCode, ResponseError as Code};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{ApiKey, DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::runtime::Runtime;

use super::cluster::Cluster;
use super::connection::Version;
use super::dial::lasts;
use crate::config::Kafka;
use crate::{Error, Kind, Result};

const CONFIGS: Version = Version::of(ApiKey::DescribeConfigs, 1, 4);
/// DescribeConfigs' word for a topic.
const TOPIC: i8 = 2;
/// How long one question may take, attempts included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who asks.
pub struct Client {
    /// One at a time.
    inner: Mutex<(Background, Cluster)>,
}

/// What became of a question.
pub(super) enum Answer<T> {
    Done(T),
    /// The broker cannot say it, or not now.
    Again(Code),
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many partitions it has.
    pub partitions: i32,
    /// Whether each has a leader.
    pub led: bool,
}

/// A runtime that may be dropped within another.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// Nobody is asked yet.
    pub fn new(kafka: &Kafka, connector: &str) -> Result<Client> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::new(Kind::Io, "a runtime cannot be built").because(error))?;
        Ok(Client { inner: Mutex::new((Background(Some(runtime)), Cluster::new(kafka, connector)?)) })
    }

    /// How many brokers there are.
    pub fn brokers(&self) -> Result<usize> {
        self.ask("Kafka", async |cluster| {
            cluster.refresh(&[]).await?;
            Ok(Answer::Done(cluster.brokers()))
        })
    }

    /// A topic; `None`: there is none of this name.
    pub fn topic(&self, name: &str) -> Result<Option<Found>> {
        let names = [name.to_owned()];
        self.ask(name, async |cluster| {
            let missing = cluster.refresh(&names).await?;
            Ok(match missing.first() {
                None => Answer::Done(cluster.partitions(name).map(|partitions| Found {
                    partitions,
                    led: (0..partitions).all(|partition| cluster.leader(name, partition).is_some()),
                })),
                Some((_, Code::UnknownTopicOrPartition)) => Answer::Done(None),
                Some((_, code)) => Answer::Again(*code),
            })
        })
    }

    /// A topic's settings, as far as the broker tells: without the right to see them, or without the topic, none.
    pub fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        self.ask(topic, async |cluster| {
            let broker = cluster.any_broker().await?;
            let answer: DescribeConfigsResponse = cluster.ask(broker, CONFIGS, |_| request.clone()).await?;
            let told = answer.results.into_iter().filter(|result| result.error_code.is_ok());
            let all = told.flat_map(|result| result.configs);
            Ok(Answer::Done(all.filter_map(|one| Some((one.name.to_string(), one.value?.to_string()))).collect()))
        })
    }

    /// Asks until there is an answer, or it is clear that waiting does not help. On a thread of its own, as the caller may be
    /// inside a runtime.
    pub(super) fn ask<T: Send>(
        &self,
        what: &str,
        mut question: impl AsyncFnMut(&mut Cluster) -> Result<Answer<T>> + Send,
    ) -> Result<T> {
        const PAUSE: Duration = Duration::from_millis(20);
        let lost = || Error::new(Kind::Io, "a thread ended without a word");
        let body = || {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let (Background(Some(runtime)), cluster) = &mut *inner else { return Err(lost()) };
            runtime.block_on(async {
                let deadline = Instant::now() + TIMEOUT;
                let mut last = None;
                loop {
                    let answer = tokio::time::timeout_at(deadline.into(), question(cluster)).await;
                    let Ok(answer) = answer else { return Err(last.unwrap_or_else(|| too_late(what))) };
                    let error = match answer {
                        Ok(Answer::Done(answer)) => return Ok(answer),
                        Ok(Answer::Again(code)) if code.is_retriable() => {
                            cluster.forget(what);
                            silent(what, code)
                        }
                        Ok(Answer::Again(code)) => return Err(silent(what, code)),
                        Err(error) if error.kind() != Kind::Kafka || lasts(&error) => return Err(error),
                        Err(error) => {
                            cluster.forget(what);
                            error
                        }
                    };
                    if Instant::now() >= deadline {
                        return Err(error);
                    }
                    last = Some(error);
                    tokio::time::sleep(PAUSE).await;
                }
            })
        };
        std::thread::scope(|scope| scope.spawn(body).join()).unwrap_or_else(|_| Err(lost()))
    }
}

fn too_late(what: &str) -> Error {
    Error::new(Kind::Kafka, format!("Kafka does not tell of {what}"))
        .because(format!("no answer in {TIMEOUT:.0?}"))
        .hint("check kafka.\"bootstrap.servers\" and that the brokers are up")
}

fn silent(what: &str, code: Code) -> Error {
    let said = format!("{code:?}: {code}");
    match code {
        Code::TopicAuthorizationFailed => {
            Error::new(Kind::Topic, format!("the Kafka principal may not see or read topic {what}"))
                .because(said)
                .hint("grant it DESCRIBE, READ, WRITE and CREATE on the topic")
        }
        _ => {
            Error::new(Kind::Kafka, format!("Kafka does not tell of {what}")).because(said).hint("are the brokers up?")
        }
    }
}
