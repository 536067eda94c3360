//! The producer: rows go into record batches as they are appended, and a thread of its own takes the batches to the brokers.
//!
//! One row costs a copy and a few bytes of framing; compression, checksum, request and answer are a batch's. The face is
//! narrow (append, commit, abort), and everything that waits does so here, with a deadline.

mod commit;
mod compression;
mod failure;
mod identity;
mod lane;
mod queue;
mod records;
mod sender;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::commit::Commit;
use self::compression::Codec;
use self::failure::Failure;
use self::identity::Identity;
use self::queue::Queue;
use self::records::Records;
use self::sender::{Command, Sender};
use super::batch::Batch;
use super::murmur2;
use super::wire::Cluster;
use crate::config::{Config, Kafka};
use crate::{Error, Kind, Result};

/// A partition of a topic.
type Place = (Arc<str>, i32);

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is on its way.
    Queued,
    /// The queue is full: back-pressure, nothing was taken.
    Full,
}

/// A record for the offsets topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRecord {
    /// The partition of the offsets topic.
    pub partition: i32,
    /// The source partition, as JSON.
    pub key: Vec<u8>,
    /// `None`: a tombstone.
    pub value: Option<Vec<u8>>,
}

/// A producer of one transactional id, or of none. Dropping it forgets what is queued.
pub struct Producer {
    exactly_once: bool,
    transaction_timeout: Duration,
    /// After so many bytes a batch is sent.
    batch_size: usize,
    /// The most that may be queued, in bytes before compression.
    most: usize,
    /// The largest record, where `[kafka]` says one.
    largest: Option<usize>,
    topics: HashMap<String, Topic>,
    /// Topics that the sender was asked for, and when.
    asked: HashMap<String, Instant>,
    /// Bytes in batches that are not full yet.
    unsent: usize,
    queue: Arc<Queue>,
    commands: UnboundedSender<Command>,
    /// Ends the sender's thread, whatever it waits for.
    _stop: DropGuard,
}

/// The batches of one topic that are being filled.
struct Topic {
    name: Arc<str>,
    partitions: Vec<Records>,
    /// Where records without a key go, until its batch is full.
    keyless: usize,
    /// A batch is sent before it has more bytes, unless it is a single record.
    batch_size: usize,
}

const BATCH_SIZE: usize = 256 << 10;
const MOST_KBYTES: usize = 16 << 10;
/// How long a moment is, at most, when the queue is full.
const MOMENT: Duration = Duration::from_millis(5);
/// After how long a topic that is not known is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Producer {
    /// That of a connector's partition of the offsets topic, as `exactly.once.support` says. Call [`Producer::init`] first.
    pub fn of(config: &Config, partition: i32) -> Result<Producer> {
        match config.exactly_once {
            true => Self::exactly_once(&config.kafka, &config.name, &config.transactional_id(partition)),
            false => Self::at_least_once(&config.kafka, &config.name),
        }
    }

    /// Rows and watermarks in transactions of this id.
    fn exactly_once(kafka: &Kafka, connector: &str, transactional_id: &str) -> Result<Producer> {
        Self::build(kafka, connector, Some(transactional_id))
    }

    /// Idempotent, without transactions.
    pub fn at_least_once(kafka: &Kafka, connector: &str) -> Result<Producer> {
        Self::build(kafka, connector, None)
    }

    fn build(kafka: &Kafka, connector: &str, transactional_id: Option<&str>) -> Result<Producer> {
        let transaction_timeout = kafka.millis("transaction.timeout.ms", 60_000);
        let queue = Arc::new(Queue::default());
        let cluster = Cluster::new(kafka, connector)?;
        let identity = Identity::new(transactional_id.map(str::to_owned), transaction_timeout);
        let timeout = kafka.millis("request.timeout.ms", 30_000);
        let sender = Sender::new(cluster, identity, Codec::of(kafka)?, Arc::clone(&queue), timeout);
        let (commands, asked) = unbounded_channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let failed = |error| Error::new(Kind::Io, "the producer's thread cannot be started").because(error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = sender.run(asked) => {}
                }
            });
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("sender".to_owned()).spawn(body).map_err(failed)?;
        let size = |name: &str| kafka.property(name).and_then(|text| text.parse::<usize>().ok());
        Ok(Producer {
            exactly_once: transactional_id.is_some(),
            transaction_timeout,
            batch_size: size("batch.size").unwrap_or(BATCH_SIZE),
            most: size("queue.buffering.max.kbytes").unwrap_or(MOST_KBYTES).saturating_mul(1024),
            largest: size("message.max.bytes"),
            topics: HashMap::new(),
            asked: HashMap::new(),
            unsent: 0,
            queue,
            commands,
            _stop: stop.drop_guard(),
        })
    }

    /// After how long the broker aborts a transaction by itself.
    pub fn transaction_timeout(&self) -> Duration {
        self.transaction_timeout
    }

    /// Fences the predecessor: its open transaction is aborted, what it commits later is refused.
    pub fn init(&mut self, timeout: Duration) -> Result<()> {
        if !self.exactly_once {
            return Ok(());
        }
        let answer = self.ask(Command::Init)?;
        self.within(&answer, timeout)
            .unwrap_or_else(|| Err(self.hindered("the producer's transactional id could not be initialised")))
    }

    /// Begins a transaction. Kafka learns of it with the first batch.
    pub fn begin(&mut self) -> Result<()> {
        self.queue.lock().check()
    }

    /// Takes a batch's records; their keys decide the partitions.
    pub fn append(&mut self, topic: &str, batch: &mut Batch) -> Result<Append> {
        self.append_with(topic, batch, &[])
    }

    /// Takes a batch's records, each with these headers.
    pub fn append_with(&mut self, topic: &str, batch: &mut Batch, headers: &[(&str, String)]) -> Result<Append> {
        let Some(partitions) = self.partitions(topic)? else { return Ok(Append::Full) };
        let now = now();
        let filling = self.topics.entry(topic.to_owned()).or_insert_with(|| Topic::new(topic, self.batch_size));
        filling.partitions.resize_with(filling.partitions.len().max(partitions), Records::default);
        for (key, value) in batch.records() {
            if let Some(largest) = self.largest.filter(|largest| key.len() + value.len() > *largest) {
                return Err(too_large(topic, key.len() + value.len(), largest));
            }
            let at = match (partitions, key.is_empty()) {
                (1, _) => 0,
                (_, true) => filling.keyless % partitions,
                (_, false) => index(murmur2::partition(key, i32::try_from(partitions).unwrap_or(i32::MAX))),
            };
            let Some(records) = filling.partitions.get_mut(at) else { continue };
            let size = Records::most(key.len(), value.len(), headers);
            if !records.is_empty() && records.size() + size > filling.batch_size {
                filling.keyless = filling.keyless.wrapping_add(1);
                let full = std::mem::take(records);
                self.unsent -= full.size();
                send(&self.queue, &self.commands, (Arc::clone(&filling.name), place(at)), full);
            }
            let before = records.size();
            records.push((!key.is_empty()).then_some(key), Some(value), headers, now);
            self.unsent += records.size() - before;
        }
        batch.clear();
        // Over many partitions much may be in batches none of which is full.
        if self.unsent > self.most / 2 {
            self.push();
        }
        Ok(Append::Queued)
    }

    /// A topic takes no batch of more bytes than this: those for it stay below, before compression.
    pub fn bound(&mut self, topic: &str, largest: usize) {
        let filling = self.topics.entry(topic.to_owned()).or_insert_with(|| Topic::new(topic, self.batch_size));
        filling.batch_size = largest.min(self.batch_size);
    }

    /// How many partitions a topic has; `None`: that is not known yet, or the queue is full.
    fn partitions(&mut self, topic: &str) -> Result<Option<usize>> {
        let state = self.queue.lock();
        state.check()?;
        if state.bytes >= self.most {
            return Ok(None);
        }
        let known = state.partitions.get(topic).and_then(|partitions| usize::try_from(*partitions).ok());
        let lately = |asked: &Instant| asked.elapsed() < ASK_AGAIN;
        if known.is_none() && !self.asked.get(topic).is_some_and(lately) {
            self.asked.insert(topic.to_owned(), Instant::now());
            let _ = self.commands.send(Command::Find(topic.to_owned()));
        }
        Ok(known.filter(|partitions| *partitions > 0))
    }

    /// Lets a moment pass, or less if the queue changes.
    pub fn wait(&self) {
        self.queue.wait(MOMENT);
    }

    /// Sends what is there, full batches or not.
    fn push(&mut self) {
        for topic in self.topics.values_mut() {
            for (at, records) in topic.partitions.iter_mut().enumerate().filter(|(_, records)| !records.is_empty()) {
                let records = std::mem::take(records);
                send(&self.queue, &self.commands, (Arc::clone(&topic.name), place(at)), records);
            }
        }
        self.unsent = 0;
    }

    /// Gives the open transaction up, with all that is queued.
    pub fn abort(&mut self, timeout: Duration) -> Result<()> {
        // What is under way must be answered for: a batch that arrives after the end would be part of no transaction, or
        // of the next. Where it takes long, a new epoch is the shorter way.
        const UNDER_WAY: Duration = Duration::from_secs(5);
        for topic in self.topics.values_mut() {
            topic.partitions.iter_mut().for_each(|records| *records = Records::default());
        }
        self.unsent = 0;
        let answer = self.ask(Command::Abort)?;
        self.within(&answer, timeout.min(UNDER_WAY))
            .unwrap_or_else(|| Err(self.hindered("the transaction could not be aborted")))
    }

    /// The topic that Kafka takes no records for, for a reason that lasts, and why.
    pub fn refusal(&self) -> Option<(String, Error)> {
        match self.queue.lock().failed.as_ref()? {
            failed @ Failure::Topic(topic, _) => Some((topic.clone(), failed.error())),
            _ => None,
        }
    }

    fn ask(&self, command: impl FnOnce(SyncSender<Result<()>>) -> Command) -> Result<Receiver<Result<()>>> {
        let (answered, answer) = sync_channel(1);
        self.commands.send(command(answered)).map_err(|_| lost())?;
        Ok(answer)
    }

    /// The answer, if it comes in time.
    fn within(&self, answer: &Receiver<Result<()>>, timeout: Duration) -> Option<Result<()>> {
        match answer.recv_timeout(timeout) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(lost())),
        }
    }

    /// It took too long: why, as far as the sender knows.
    fn hindered(&self, what: &str) -> Error {
        let error = Error::new(Kind::Kafka, what);
        match self.queue.lock().trouble.clone() {
            Some((cause, Some(hint))) => error.because(cause).hint(hint),
            Some((cause, None)) => error.because(cause),
            None => error.hint("are the brokers up, and are there enough in-sync replicas (min.insync.replicas)?"),
        }
    }
}

impl Topic {
    fn new(name: &str, batch_size: usize) -> Topic {
        // Not the same for all: many small tables without keys would share a partition.
        let keyless = index(murmur2::partition(name.as_bytes(), i32::MAX));
        Topic { name: name.into(), partitions: Vec::new(), keyless, batch_size }
    }
}

fn send(queue: &Queue, commands: &UnboundedSender<Command>, place: Place, records: Records) {
    {
        let mut state = queue.lock();
        state.records += records.len();
        state.bytes += records.size();
    }
    // A sender that ended is found out with the commit.
    let _ = commands.send(Command::Send(place, records));
}

fn index(partition: i32) -> usize {
    usize::try_from(partition).unwrap_or_default()
}

fn place(index: usize) -> i32 {
    i32::try_from(index).unwrap_or_default()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn lost() -> Error {
    Error::new(Kind::Transaction, "the producer's thread has ended").hint("nothing: the producer is built anew")
}

fn too_large(topic: &str, size: usize, largest: usize) -> Error {
    Error::new(
        Kind::Topic,
        format!("a record of {size} bytes for {topic} is larger than message.max.bytes, {largest} bytes"),
    )
    .hint("raise kafka.\"message.max.bytes\" and the topic's max.message.bytes")
}
