//! The sender: a thread that takes sealed batches to the leaders of their partitions, and ends transactions.
//!
//! The order within one turn: what is not known is asked for, new partitions join the transaction, then every broker with
//! room gets the next batch of each of its partitions. A broken connection costs nothing: what was under way is sent again
//! as the same bytes, and the broker knows what it has.

mod answers;
mod ends;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::mpsc;

use super::Place;
use super::compression::Codec;
use super::failure::{Failure, Verdict, verdict};
use super::identity::{Identity, Step, UNKNOWN};
use super::lane::Lane;
use super::queue::Queue;
use super::records::Records;
use crate::Result;
use crate::kafka::wire::{Cluster, Version};

/// From version 12 on partitions would join a transaction by themselves, from 13 on topics have numbers for names.
const PRODUCE: Version = Version::of(ApiKey::Produce, 3, 11);
/// A broker knows the last five batches of a producer in a partition, so that many requests may be under way (KAFKA-5494).
const UNDER_WAY: usize = 5;
/// The batches of one request.
const REQUEST: usize = 1 << 20;
/// How often the number of a topic's partitions is asked for again, as `topic.metadata.refresh.interval.ms` has it.
const REFRESH: Duration = Duration::from_secs(300);

/// What the sender is asked to do.
pub enum Command {
    /// Say how many partitions a topic has.
    Find(String),
    /// Send records to a partition.
    Send(Place, Records),
    /// Take the transactional id.
    Init(SyncSender<Result<()>>),
    /// Commit once everything is acknowledged.
    Commit(SyncSender<Result<()>>),
    /// Give the transaction up, with all that is queued.
    Abort(SyncSender<Result<()>>),
}

/// What waits until nothing is under way any more.
enum Closing {
    Commit(SyncSender<Result<()>>),
    Abort(SyncSender<Result<()>>),
}

type Sent = (Place, i32);
type Flight = BoxFuture<'static, (i32, Vec<Sent>, Result<ProduceResponse>)>;

/// The sender's own.
pub struct Sender {
    pub(super) cluster: Cluster,
    pub(super) identity: Identity,
    pub(super) codec: Codec,
    pub(super) queue: Arc<Queue>,
    /// How long the brokers may wait for the replicas.
    pub(super) timeout: Duration,
    lanes: BTreeMap<Place, Lane>,
    flights: FuturesUnordered<Flight>,
    /// How many are under way to each broker.
    under_way: HashMap<i32, usize>,
    /// Topics to be asked for, and since when they are missing.
    unknown: BTreeMap<String, Instant>,
    /// Those that records wait for.
    wanted: BTreeSet<String>,
    refreshed: Instant,
    /// A request of this transaction ended without an answer.
    unanswered: bool,
    closing: Option<Closing>,
    pauses: u32,
    paused: Option<Instant>,
}

impl Sender {
    /// Nothing is connected yet.
    pub fn new(cluster: Cluster, identity: Identity, codec: Codec, queue: Arc<Queue>, timeout: Duration) -> Sender {
        Sender {
            cluster,
            identity,
            codec,
            queue,
            timeout,
            lanes: BTreeMap::new(),
            flights: FuturesUnordered::new(),
            under_way: HashMap::new(),
            unknown: BTreeMap::new(),
            wanted: BTreeSet::new(),
            refreshed: Instant::now(),
            unanswered: false,
            closing: None,
            pauses: 0,
            paused: None,
        }
    }

    /// Until nobody can ask any more.
    pub async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let wake = self.paused.unwrap_or_else(|| self.refreshed + REFRESH);
            tokio::select! {
                biased;
                Some((broker, sent, answer)) = self.flights.next() => self.landed(broker, sent, answer),
                command = commands.recv(), if !self.is_committing() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            // What came meanwhile goes together.
            while !self.is_committing()
                && let Ok(command) = commands.try_recv()
            {
                self.obey(command).await;
            }
            if self.paused.is_none_or(|until| Instant::now() >= until) {
                self.paused = None;
                if let Err(step) = self.dispatch().await {
                    self.hindered(step);
                }
            }
            self.close().await;
        }
    }

    /// What comes behind a commit waits for its end: it is the next transaction's.
    fn is_committing(&self) -> bool {
        matches!(self.closing, Some(Closing::Commit(_)))
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Find(topic) => {
                self.unknown.entry(topic.clone()).or_insert_with(Instant::now);
                self.wanted.insert(topic);
            }
            Command::Send(place, records) => {
                if self.queue.lock().failed.as_ref().is_some_and(|failed| failed.spoils(&place.0)) {
                    return self.queue.done((records.len(), records.size()));
                }
                self.lanes.entry(place).or_default().push(records);
            }
            Command::Init(answer) => {
                let done = self.init().await;
                // Whoever asked may have given up.
                let _ = answer.send(done);
            }
            Command::Commit(answer) => self.closing = Some(Closing::Commit(answer)),
            Command::Abort(answer) => {
                self.discard();
                self.closing = Some(Closing::Abort(answer));
                self.paused = None;
            }
        }
    }

    async fn dispatch(&mut self) -> Result<(), Step> {
        // What cannot be sent holds up nothing else; why is told at the end.
        let mut hindered = self.look_up().await.err();
        if matches!(hindered, Some(Step::Later(_) | Step::Failed(_))) {
            return hindered.map_or(Ok(()), Err);
        }
        let ready: Vec<Place> =
            self.lanes.iter().filter(|(_, lane)| lane.is_ready()).map(|(place, _)| place.clone()).collect();
        let mut by_leader: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
        for place in ready {
            match self.cluster.leader(&place.0, place.1) {
                Some(leader) => by_leader.entry(leader).or_default().push(place),
                None => {
                    self.unknown.entry(place.0.to_string()).or_insert_with(Instant::now);
                    hindered.get_or_insert(Step::Soon);
                }
            }
        }
        if by_leader.is_empty() || matches!(self.closing, Some(Closing::Abort(_))) {
            return hindered.map_or(Ok(()), Err);
        }
        if !self.identity.is_known() {
            done(self.identity.take(&mut self.cluster).await)?;
        }
        let places: Vec<Place> = by_leader.values().flatten().cloned().collect();
        done(self.identity.join(&mut self.cluster, &places).await)?;
        for (leader, places) in by_leader {
            loop {
                match self.send(leader, &places).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(Step::Failed(failure)) => return Err(Step::Failed(failure)),
                    Err(step) => {
                        // Another may lead by now.
                        for (topic, _) in &places {
                            self.unknown.entry(topic.to_string()).or_insert_with(Instant::now);
                        }
                        hindered = Some(step);
                        break;
                    }
                }
            }
        }
        hindered.map_or(Ok(()), Err)
    }

    /// One request with the next batch of each of these partitions, if the broker has room; whether one was sent.
    async fn send(&mut self, leader: i32, places: &[Place]) -> Result<bool, Step> {
        let under_way = self.under_way.get(&leader).copied().unwrap_or_default();
        if under_way >= UNDER_WAY {
            return Ok(false);
        }
        if under_way > 0 && self.cluster.open_to(leader).is_none() {
            // A new connection could overtake what the old one still carries.
            return Ok(false);
        }
        let connection = self.cluster.broker(leader).await.map_err(Step::Later)?;
        let version = connection.version(PRODUCE).map_err(Step::Later)?;
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let (mut sent, mut size) = (Vec::new(), 0);
        for place in places {
            let Some(lane) = self.lanes.get_mut(place) else { continue };
            let (identity, codec) = (&self.identity, &self.codec);
            let taken = lane.take(|records, sequence| records.seal(identity.stamp(sequence), codec));
            let (sequence, bytes) = match taken {
                Ok(Some(taken)) => taken,
                Ok(None) => continue,
                Err(error) => return Err(Step::Failed(Failure::Abort(error.to_string()))),
            };
            size += bytes.len();
            push(&mut topics, place, bytes);
            sent.push((place.clone(), sequence));
            if size >= REQUEST {
                break;
            }
        }
        if sent.is_empty() {
            return Ok(false);
        }
        let name = self.identity.transactional_id().map(|id| TransactionalId(StrBytes::from_string(id.to_owned())));
        let request = ProduceRequest::default()
            .with_transactional_id(name)
            .with_acks(-1)
            .with_timeout_ms(i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(topics);
        let asked = connection.ask::<_, ProduceResponse>(PRODUCE.key, version, &request, self.cluster.patience());
        *self.under_way.entry(leader).or_default() += 1;
        self.flights.push(match asked {
            Ok(answer) => Box::pin(async move { (leader, sent, answer.await) }),
            Err(error) => Box::pin(std::future::ready((leader, sent, Err(error)))),
        });
        Ok(true)
    }

    /// Asks for topics that are missing, and now and then for all.
    async fn look_up(&mut self) -> Result<(), Step> {
        if self.refreshed.elapsed() >= REFRESH {
            self.refreshed = Instant::now();
            for topic in self.queue.lock().partitions.keys() {
                self.unknown.entry(topic.clone()).or_insert_with(Instant::now);
            }
        }
        if self.unknown.is_empty() {
            return Ok(());
        }
        let asked: Vec<String> = self.unknown.keys().cloned().collect();
        let missing = self.cluster.refresh(&asked).await.map_err(Step::Later)?;
        self.queue.hinder(None);
        for topic in asked {
            match missing.iter().find(|(name, _)| *name == topic) {
                Some((_, code)) => self.missing(&topic, *code),
                None => {
                    self.queue.know(&topic, self.cluster.partitions(&topic));
                    self.unknown.remove(&topic);
                    self.wanted.remove(&topic);
                }
            }
        }
        match self.unknown.is_empty() {
            true => Ok(()),
            false => Err(Step::Soon),
        }
    }

    fn missing(&mut self, topic: &str, code: Code) {
        let waits = |(place, lane): (&Place, &Lane)| *place.0 == *topic && !lane.is_empty();
        if !self.wanted.contains(topic) && !self.lanes.iter().any(waits) {
            // Nobody needs it now: it is asked for again when somebody does.
            self.unknown.remove(topic);
            return self.queue.know(topic, None);
        }
        let since = self.unknown.get(topic).copied().unwrap_or_else(Instant::now);
        let failure = match verdict(Some(code)) {
            Verdict::Lasting => Failure::Topic(topic.to_owned(), code),
            Verdict::Missing if since.elapsed() >= UNKNOWN => Failure::Gone(topic.to_owned()),
            _ => return,
        };
        self.unknown.remove(topic);
        self.wanted.remove(topic);
        self.queue.know(topic, None);
        self.fail(failure);
    }
}

fn done(step: Step) -> Result<(), Step> {
    match step {
        Step::Done => Ok(()),
        step => Err(step),
    }
}

fn push(topics: &mut Vec<TopicProduceData>, (topic, partition): &Place, records: Bytes) {
    let data = PartitionProduceData::default().with_index(*partition).with_records(Some(records));
    match topics.iter_mut().find(|one| one.name.as_str() == &**topic) {
        Some(one) => one.partition_data.push(data),
        None => topics.push(
            TopicProduceData::default()
                .with_name(TopicName(StrBytes::from_string(topic.to_string())))
                .with_partition_data(vec![data]),
        ),
    }
}
