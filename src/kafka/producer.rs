//! The producer: narrow on purpose, so that a faster writer of record batches can take its place.

use std::collections::HashMap;
use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig};

use rdkafka_sys::{rd_kafka_message_t, rd_kafka_topic_t};

use super::batch::Batch;
use super::client::{self, settings, unbuildable};
use super::limit;
use super::offsets::OffsetsTopic;
use super::refusal::{fenced, is_fencing, is_lasting, is_unfinished, lasting_hint};
use crate::config::Kafka;
use crate::{Error, Kind, Result};

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is in the queue.
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

/// A producer of one transactional id, or of none.
pub struct Producer {
    /// Before the client, as it must be dropped first.
    topics: HashMap<String, Topic>,
    inner: BaseProducer<Context>,
    exactly_once: bool,
    transaction_timeout: Duration,
}

/// A topic as librdkafka knows it, looked up once.
struct Topic(NonNull<rd_kafka_topic_t>);

// SAFETY: librdkafka's handles may be used from any thread; this one is used by the one that owns the producer.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_topic_new, owned by us alone, and the client still lives.
        unsafe { rdkafka_sys::rd_kafka_topic_destroy(self.0.as_ptr()) };
    }
}

/// Keeps the first report of a failure.
struct Context {
    client: client::Context,
    failed: Mutex<Option<(String, Code)>>,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        self.client.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.client.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = report
            && let Ok(mut failed) = self.failed.lock()
        {
            let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
            failed.get_or_insert_with(|| (message.topic().to_owned(), code));
        }
    }
}

/// RD_KAFKA_PARTITION_UA, which the bindings lack: the partitioner decides.
const ANY_PARTITION: i32 = -1;

/// Large batches, little waiting; `[kafka]` wins.
const DEFAULTS: [(&str, &str); 6] = [
    ("compression.type", "lz4"),
    // Batches go when they are full, and with each commit. Not when they are old: while a partition's five requests are on
    // their way, librdkafka's thread spins over a message that has waited for longer than this.
    ("linger.ms", "1000"),
    ("batch.size", "262144"),
    ("batch.num.messages", "100000"),
    // With the queue's bytes (`limit`) it bounds the memory: about 190 bytes a record come on top of its value.
    ("queue.buffering.max.messages", "100000"),
    ("transaction.timeout.ms", "60000"),
];

impl Producer {
    /// Rows and watermarks in transactions of this id. Call [`Producer::init`] first.
    pub fn exactly_once(kafka: &Kafka, connector: &str, transactional_id: &str) -> Result<Producer> {
        Self::build(kafka, connector, Some(transactional_id))
    }

    /// Idempotent, without transactions.
    pub fn at_least_once(kafka: &Kafka, connector: &str) -> Result<Producer> {
        Self::build(kafka, connector, None)
    }

    fn build(kafka: &Kafka, connector: &str, transactional_id: Option<&str>) -> Result<Producer> {
        let mut config = settings(kafka, connector);
        for (name, value) in DEFAULTS {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        limit::apply(&mut config);
        config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
        // One report a record costs as much as sending it; how many are in flight is known without.
        config.set("delivery.report.only.error", "true");
        // A record that timed out would be a gap in an idempotent stream; how long to try is decided above us.
        config.set("message.timeout.ms", "0");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        let millis = config.get("transaction.timeout.ms").and_then(|text| text.parse().ok()).unwrap_or(60_000);
        if transactional_id.is_none() {
            config.remove("transaction.timeout.ms");
        }
        Ok(Producer {
            topics: HashMap::new(),
            inner: config
                .create_with_context(Context { client: client::Context::of(kafka), failed: Mutex::default() })
                .map_err(unbuildable)?,
            exactly_once: transactional_id.is_some(),
            transaction_timeout: Duration::from_millis(millis),
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
        let deadline = Instant::now() + timeout;
        self.until(deadline, "the producer's transactional id could not be initialised", |producer, slice| {
            producer.init_transactions(slice)
        })
    }

    /// Begins a transaction.
    pub fn begin(&mut self) -> Result<()> {
        if !self.exactly_once {
            return Ok(());
        }
        self.inner.begin_transaction().map_err(|error| self.explain("a transaction could not begin", error))
    }

    /// Queues a batch's records; their keys decide the partitions. What was taken is gone from the batch: with
    /// [`Append::Full`] some are left in it.
    pub fn append(&mut self, topic: &str, batch: &mut Batch) -> Result<Append> {
        let handle = self.topic(topic)?;
        let mut messages: Vec<rd_kafka_message_t> = batch.records().map(|(key, value)| message(key, value)).collect();
        let count = i32::try_from(messages.len()).unwrap_or(i32::MAX);
        // SAFETY: topic and client live; each message points into the batch, which is borrowed; F_COPY copies the bytes.
        let taken = unsafe {
            rdkafka_sys::rd_kafka_produce_batch(
                handle.as_ptr(),
                ANY_PARTITION,
                rdkafka_sys::RD_KAFKA_MSG_F_COPY,
                messages.as_mut_ptr(),
                count,
            )
        };
        if taken == count {
            batch.clear();
            return Ok(Append::Queued);
        }
        let failed = |message: &rd_kafka_message_t| Code::from(message.err);
        let refused = messages.iter().find(|message| !matches!(failed(message), Code::NoError | Code::QueueFull));
        if let Some(refused) = refused {
            let size = refused.len + refused.key_len;
            return Err(self.refused(topic, size, KafkaError::MessageProduction(failed(refused))));
        }
        batch.keep(messages.iter().map(|message| failed(message) == Code::QueueFull));
        Ok(Append::Full)
    }

    /// Queues a batch's records with these headers, which the library's batches cannot carry: one at a time.
    pub fn append_with(&mut self, topic: &str, batch: &mut Batch, headers: &[(&str, String)]) -> Result<Append> {
        let mut all = OwnedHeaders::new_with_capacity(headers.len());
        for (key, value) in headers {
            all = all.insert(rdkafka::message::Header { key, value: Some(value.as_bytes()) });
        }
        let mut left = Vec::new();
        for (key, value) in batch.records() {
            let record = BaseRecord::<[u8], [u8]>::to(topic).payload(value).headers(all.clone());
            let record = if key.is_empty() { record } else { record.key(key) };
            match self.inner.send(record) {
                Ok(()) => left.push(false),
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => left.push(true),
                Err((error, _)) => return Err(self.refused(topic, key.len() + value.len(), error)),
            }
        }
        let full = left.contains(&true);
        batch.keep(left);
        Ok(if full { Append::Full } else { Append::Queued })
    }

    fn topic(&mut self, name: &str) -> Result<NonNull<rd_kafka_topic_t>> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic.0);
        }
        let unknown = || Error::new(Kind::Topic, format!("{name} cannot be the name of a topic"));
        let c_name = CString::new(name).map_err(|error| unknown().because(error))?;
        // SAFETY: client and name live; no settings of its own are handed over.
        let made = unsafe {
            rdkafka_sys::rd_kafka_topic_new(self.inner.client().native_ptr(), c_name.as_ptr(), std::ptr::null_mut())
        };
        let made = NonNull::new(made).ok_or_else(unknown)?;
        self.topics.insert(name.to_owned(), Topic(made));
        Ok(made)
    }

    fn refused(&self, topic: &str, size: usize, error: KafkaError) -> Error {
        match error {
            KafkaError::MessageProduction(Code::MessageSizeTooLarge) => Error::new(
                Kind::Topic,
                format!("a record of {size} bytes for {topic} is larger than message.max.bytes"),
            )
            .hint("raise kafka.\"message.max.bytes\" and the topic's max.message.bytes"),
            error => self.explain("a record could not be queued", error),
        }
    }

    fn send(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<Append> {
        let record = BaseRecord::<[u8], [u8]> { partition, ..BaseRecord::to(topic) };
        let record = BaseRecord { key, payload: value, ..record };
        match self.inner.send(record) {
            Ok(()) => Ok(Append::Queued),
            Err((KafkaError::MessageProduction(Code::QueueFull), _)) => Ok(Append::Full),
            Err((error, _)) => {
                let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                Err(self.refused(topic, size, error))
            }
        }
    }

    /// Serves reports.
    pub fn poll(&self) {
        self.inner.poll(Duration::ZERO);
    }

    /// Serves reports and lets a moment pass. The library's own waiting spins through its last millisecond.
    pub fn wait(&self) {
        self.poll();
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Sends what is queued, full batches or not, and serves reports; returns after a moment, or when nothing is left.
    pub fn push(&self) {
        const MOMENT_MS: i32 = 10;
        // SAFETY: the pointer is the live client's.
        unsafe { rdkafka_sys::rd_kafka_flush(self.inner.client().native_ptr(), MOMENT_MS) };
        self.poll();
    }

    /// Records that Kafka has not acknowledged.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.inner.in_flight_count()).unwrap_or_default()
    }

    /// Exactly once: the offsets go into the same transaction, which is then committed. A commit that times out is called
    /// again, as its outcome is unknown, until `timeout`. At least once: the offsets go after the rows are acknowledged.
    ///
    /// A topic that was deleted does not answer, like a broker that is away: `topic` is looked for after a silence.
    pub fn commit(&mut self, topic: &OffsetsTopic, offsets: &[OffsetRecord], timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        if !self.exactly_once {
            self.drain(deadline)?;
        }
        for offset in offsets {
            while let Append::Full =
                self.send(&topic.name, Some(offset.partition), Some(&offset.key), offset.value.as_deref())?
            {
                self.wait();
                if Instant::now() >= deadline {
                    return Err(Error::new(Kind::Kafka, "Kafka took no more records").hint("are the brokers up?"));
                }
            }
        }
        // A transaction that must be aborted sends nothing more, and only a transactional call says so: hence the slices.
        let mut patience = Self::SILENCE;
        loop {
            match self.drain(deadline.min(Instant::now() + patience)) {
                Ok(()) => break,
                Err(error) if error.kind() != Kind::Kafka => return Err(error),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => topic.look_for()?,
            }
            if !self.exactly_once {
                continue;
            }
            match self.inner.commit_transaction(Self::GLANCE) {
                Ok(()) => return Ok(()),
                Err(error) if is_unfinished(&error) => patience = (patience * 2).min(Self::MOST_SILENCE),
                Err(error) => return Err(self.explain("the transaction could not be committed", error)),
            }
        }
        if !self.exactly_once {
            return Ok(());
        }
        self.until(deadline, "the transaction could not be committed", |producer, slice| {
            producer.commit_transaction(slice)
        })
    }

    /// After how long without all acknowledgements the transaction is asked whether it can still be committed.
    const SILENCE: Duration = Duration::from_secs(1);
    const MOST_SILENCE: Duration = Duration::from_secs(8);
    const GLANCE: Duration = Duration::from_millis(50);

    /// Gives the open transaction up, with all that is queued.
    pub fn abort(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        self.inner.purge(PurgeConfig::default().queue().inflight());
        while self.in_flight() > 0 && Instant::now() < deadline {
            self.wait();
        }
        if let Ok(mut failed) = self.inner.context().failed.lock() {
            *failed = None;
        }
        if !self.exactly_once {
            return Ok(());
        }
        self.until(deadline, "the transaction could not be aborted", |producer, slice| {
            producer.abort_transaction(slice)
        })
    }

    /// The topic of a record that Kafka refused for a reason that lasts.
    pub fn failed_topic(&self) -> Option<String> {
        let failed = self.inner.context().failed.lock().ok()?;
        failed.as_ref().filter(|(_, code)| is_lasting(*code)).map(|(topic, _)| topic.clone())
    }

    /// Hands the queue over at once, despite `linger.ms`, and waits until all is acknowledged. The Rust binding's own flush
    /// takes 100 ms at the least.
    fn drain(&mut self, deadline: Instant) -> Result<()> {
        while self.in_flight() > 0 {
            self.push();
            self.check_fatal()?;
            if self.inner.context().failed.lock().is_ok_and(|failed| failed.is_some()) {
                break;
            }
            if Instant::now() >= deadline {
                let waiting = self.in_flight();
                return Err(Error::new(Kind::Kafka, format!("Kafka did not acknowledge {waiting} records in time"))
                    .hint("are the brokers up, and are there enough in-sync replicas (min.insync.replicas)?"));
            }
        }
        let failed = self.inner.context().failed.lock().ok().and_then(|failed| failed.clone());
        match failed {
            None => Ok(()),
            Some((_, code)) if is_fencing(code) => Err(fenced(format!("{code}"))),
            Some((topic, code)) if is_lasting(code) => {
                Err(Error::new(Kind::Topic, format!("Kafka refuses records for topic {topic}"))
                    .because(code.to_string())
                    .hint(lasting_hint(code)))
            }
            Some((topic, code)) => {
                Err(Error::new(Kind::Transaction, format!("records for topic {topic} were not written"))
                    .because(code.to_string())
                    .hint("they are read and sent again"))
            }
        }
    }

    fn check_fatal(&self) -> Result<()> {
        match self.inner.client().fatal_error() {
            Some((code, reason)) if is_fencing(code) => Err(fenced(reason)),
            Some((_, reason)) => {
                Err(Error::new(Kind::Transaction, "the producer cannot go on").because(reason).hint("it is built anew"))
            }
            None => Ok(()),
        }
    }

    /// Calls a transactional function until it succeeds, fails for good, or the deadline has passed.
    fn until(
        &mut self,
        deadline: Instant,
        what: &str,
        mut call: impl FnMut(&BaseProducer<Context>, Duration) -> std::result::Result<(), KafkaError>,
    ) -> Result<()> {
        const SLICE: Duration = Duration::from_secs(5);
        self.context().forget();
        loop {
            // Events, a token's renewal among them.
            self.poll();
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match call(&self.inner, left.min(SLICE).max(Duration::from_millis(100))) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let lasting = self.context().is_lasting();
            if !is_unfinished(&error) || lasting || Instant::now() >= deadline {
                return Err(self.explain(what, error));
            }
        }
    }

    fn context(&self) -> &client::Context {
        &self.inner.client().context().client
    }

    fn explain(&self, what: &str, error: KafkaError) -> Error {
        if let Err(fatal) = self.check_fatal() {
            return fatal;
        }
        let code = match &error {
            KafkaError::Transaction(error) => Some(error.code()),
            other => other.rdkafka_error_code(),
        };
        match (code, &error) {
            (Some(code), _) if is_fencing(code) => fenced(error.to_string()),
            (Some(Code::TransactionalIdAuthorizationFailed | Code::ClusterAuthorizationFailed), _) => {
                Error::new(Kind::Topic, what).because(error.to_string()).hint(
                    "grant the principal WRITE and DESCRIBE on the transactional ids that begin with group.id and the connector's name",
                )
            }
            (_, KafkaError::Transaction(detail)) if detail.txn_requires_abort() => {
                Error::new(Kind::Transaction, what).because(detail.string())
            }
            (_, KafkaError::Transaction(detail)) if self.context().trouble_free() => {
                let detail = detail.string();
                Error::new(Kind::Kafka, what).because(detail).hint("check kafka.\"bootstrap.servers\" and that the brokers are up")
            }
            _ => self.context().unreachable(what, error),
        }
    }
}

/// A record as librdkafka takes it; an empty key is none.
fn message(key: &[u8], value: &[u8]) -> rd_kafka_message_t {
    rd_kafka_message_t {
        err: rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: std::ptr::null_mut(),
        partition: ANY_PARTITION,
        payload: value.as_ptr().cast_mut().cast(),
        len: value.len(),
        key: if key.is_empty() { std::ptr::null_mut() } else { key.as_ptr().cast_mut().cast() },
        key_len: key.len(),
        offset: 0,
        _private: std::ptr::null_mut(),
    }
}
