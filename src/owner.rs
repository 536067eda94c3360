//! One partition of the offsets topic: its producer, the objects whose progress lives there, its Kafka transaction.
//!
//! The order at the start is what makes a takeover exact (DESIGN §5):
//!
//! 1. `init_transactions` fences the predecessor: whatever it has open is aborted, whatever it commits later is refused;
//! 2. only then the partition's end is taken, so that nothing of the predecessor can come behind it;
//! 3. the partition is read up to that end with read_committed.
//!
//! The other way round, a hung predecessor commits between our reading and our fencing, and its rows come twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kafka::{Claim, Commit, OffsetRecord, OffsetsTopic, Producer, Stored};
use crate::lookback::Delivered;
use crate::object::Object;
use crate::poll::{CHUNK_BYTES, Choice, Moment, Reading, TableName, Watermark};
use crate::worker::Shared;
use crate::{Error, Kind, Result, kafka};

/// How long one call to Kafka may take before it is said to be away.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The owner of one partition.
pub struct Owner {
    /// The partition of the offsets topic.
    pub partition: i32,
    connector: String,
    /// The one producer that may write there.
    pub producer: Producer,
    /// The objects whose progress is stored there.
    pub objects: BTreeMap<TableName, Object>,
    /// What Kafka has for objects that are not found yet, or not any more, by key.
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
    /// How we signed for the partition.
    signed: Claim,
    /// When the open transaction got its first record.
    open: Option<Instant>,
    /// The one before it, while it is being committed.
    closing: Option<Closing>,
    /// What the open transaction holds.
    pub rows: u64,
    /// Bytes of keys and values in the open transaction.
    pub bytes: u64,
    /// When progress was last committed.
    pub committed_at: Instant,
    /// What was committed since somebody took note of it.
    pub committed: Committed,
}

/// A transaction that is being committed.
struct Closing {
    commit: Commit,
    opened: Instant,
    rows: u64,
    bytes: u64,
}

/// A topic that Kafka takes no records for.
pub struct Refusal {
    /// The topic.
    pub topic: String,
    /// Whether it is the dead-letter topic.
    pub of_letters: bool,
    /// The objects that write to it; of the dead-letter topic, those with letters in the transaction.
    pub objects: Vec<TableName>,
}

/// What commits brought Kafka.
#[derive(Default)]
pub struct Committed {
    /// Rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Owner {
    /// Takes these partitions over, all at a time, as Kafka is mostly waited for. Blocks the thread.
    pub fn start_all(shared: &Arc<Shared>, partitions: &[i32]) -> Result<Vec<Owner>> {
        std::thread::scope(|scope| {
            let starting: Vec<_> =
                partitions.iter().map(|partition| scope.spawn(move || Owner::start(shared, *partition))).collect();
            let lost = |_| Err(Error::new(Kind::Io, "a thread ended without a word"));
            starting.into_iter().map(|thread| thread.join().unwrap_or_else(lost)).collect()
        })
    }

    /// Takes the partition over, and signs for it. Blocks the thread.
    pub fn start(shared: &Arc<Shared>, partition: i32) -> Result<Owner> {
        let config = &shared.config;
        let mut producer = Producer::of(config, partition)?;
        let started = Instant::now();
        producer.init(PATIENCE)?;
        let fenced = started.elapsed();
        let Stored { offsets, claim } = shared.read_offsets(partition)?;
        if let Some(before) = &claim {
            tracing::info!(partition, predecessor = %before.worker, since = %before.started, "took over an offsets partition");
        }
        if claim.is_none_or(|claim| claim.partitions != shared.offsets.partitions) {
            shared.refuse_other_layout(partition)?;
        }
        let mut owner = Owner::of(shared, partition, producer, offsets);
        tracing::debug!(partition, fencing = ?fenced, reading = ?(started.elapsed() - fenced), "owned");
        let record = owner.signature(&config.name, &owner.signed);
        owner.producer.begin()?;
        owner.producer.commit(&shared.offsets, &[record], PATIENCE)?;
        Ok(owner)
    }

    /// Takes a partition over for an errand: whoever has it is fenced, nothing is signed, and no object's progress moves. Blocks
    /// the thread.
    pub fn errand(shared: &Arc<Shared>, partition: i32) -> Result<Owner> {
        let mut producer = Producer::of(&shared.config, partition)?;
        producer.init(PATIENCE)?;
        Ok(Owner::of(shared, partition, producer, BTreeMap::new()))
    }

    fn of(shared: &Shared, partition: i32, producer: Producer, stored: BTreeMap<Vec<u8>, Vec<u8>>) -> Owner {
        Owner {
            partition,
            connector: shared.config.name.clone(),
            producer,
            objects: BTreeMap::new(),
            stored,
            signed: shared.claim(),
            open: None,
            closing: None,
            rows: 0,
            bytes: 0,
            committed_at: Instant::now(),
            committed: Committed::default(),
        }
    }

    fn signature(&self, connector: &str, claim: &Claim) -> OffsetRecord {
        OffsetRecord {
            partition: self.partition,
            key: Claim::key(connector, self.partition),
            value: Some(claim.to_json()),
        }
    }

    /// Tells in the offsets topic which objects are FAILED, if that has changed. Does nothing within a transaction.
    pub fn tell_failures(&mut self, shared: &Shared) -> Result<()> {
        self.sign(shared, None)
    }

    /// The last word of a worker that leaves in good order.
    pub fn sign_out(&mut self, shared: &Shared) -> Result<()> {
        self.sign(shared, Some(crate::worker::now()))
    }

    fn sign(&mut self, shared: &Shared, stopped: Option<String>) -> Result<()> {
        let failures: Vec<String> = self.failures().collect();
        let failed = (!failures.is_empty()).then(|| failures.join("\n"));
        let claim = Claim { stopped, failed, ..self.signed.clone() };
        if self.open.is_some() || self.closing.is_some() || claim == self.signed {
            return Ok(());
        }
        let record = self.signature(&shared.config.name, &claim);
        self.producer.begin()?;
        self.producer.commit(&shared.offsets, &[record], PATIENCE)?;
        self.signed = claim;
        Ok(())
    }

    /// A line for each object that is FAILED: few and short enough for one record.
    fn failures(&self) -> impl Iterator<Item = String> {
        const OBJECTS: usize = 100;
        const CHARACTERS: usize = 300;
        let lines = self.objects.values().filter_map(|object| {
            let error = object.failed.as_ref()?.to_string();
            let name = object.name.to_string();
            let why = error.strip_prefix(&name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&error);
            let why: String = why.chars().map(|one| if one == '\n' { ' ' } else { one }).take(CHARACTERS).collect();
            Some(format!("{name}: {why}"))
        });
        lines.take(OBJECTS)
    }

    /// Takes a table over that is ours, new or changed.
    pub fn adopt(&mut self, shared: &Shared, choice: Choice, key: Vec<u8>, moment: &Moment) {
        let name = choice.table.name.clone();
        if let Some(object) = self.objects.get_mut(&name) {
            if object.table != choice.table || object.query != choice.query {
                object.refresh(choice, moment);
            }
            return;
        }
        let reading = Reading::of(&choice.polling.mode, choice.query.as_deref(), &choice.polling.shape);
        let fresh = Watermark::new(reading, choice.table.oid, moment);
        let (stored, unreadable) = match self.stored(&key, &shared.offsets, &name) {
            Ok(stored) => (stored, None),
            Err(error) => (None, Some(error)),
        };
        let buckets = kafka::buckets(&self.stored, &key);
        let mut object = Object::new(choice, key, stored, fresh);
        object.buckets = buckets;
        object.failed = unreadable.or(object.failed);
        object.check_identity(moment);
        match &object.failed {
            Some(error) => {
                tracing::error!(object = %name, error = error.message(), cause = error.cause_text(), hint = error.hint_text(), "object failed")
            }
            None => tracing::info!(
                object = %name, topic = %object.topic, xmin = object.pending.floor(object.leaves()),
                rows = object.pending.rows, stored = object.committed.is_some(), "object found"
            ),
        }
        self.objects.insert(name, object);
    }

    /// Lets go of tables that are not among these any more. They may come back (renamed away and back), and go on then where
    /// Kafka has them: so none of their rows may be in a transaction that goes on without their watermark.
    pub fn let_go(&mut self, found: &[TableName], moment: &Moment, offsets: &OffsetsTopic) -> Result<()> {
        if self.objects.keys().all(|name| found.contains(name)) {
            return Ok(());
        }
        self.abort(moment, offsets)?;
        let (stored, connector) = (&mut self.stored, &self.connector);
        self.objects.retain(|name, object| {
            let stays = found.contains(name);
            if !stays {
                tracing::warn!(object = %name, "the table is gone; its progress stays stored");
                stored.extend(object.committed.as_ref().map(|committed| (object.key.clone(), committed.to_json())));
                if object.query.is_some() {
                    stored.retain(|key, _| kafka::bucket_of(key).is_none_or(|(of, ..)| of != object.key));
                    let buckets = match &object.delivered_before {
                        Some(delivered) => delivered.all().collect(),
                        None => std::mem::take(&mut object.buckets),
                    };
                    let key = |stream, number| kafka::bucket_key(connector, name, stream, number);
                    stored.extend(buckets.into_iter().map(|(stream, number, json)| (key(stream, number), json)));
                }
            }
            stays
        });
        Ok(())
    }

    /// The progress stored for an object; an unreadable one is an error, never a fresh start.
    pub fn stored(&self, key: &[u8], topic: &OffsetsTopic, object: &TableName) -> Result<Option<Watermark>> {
        let Some(value) = self.stored.get(key) else { return Ok(None) };
        Watermark::from_json(value).map(Some).map_err(|why| {
            Error::new(
                Kind::Offsets,
                format!("its record in {}, partition {}, is unreadable: {why}", topic.name, self.partition),
            )
            .object(object.to_string())
            .hint("write a tombstone under its key to load the table again, or put the former value back")
        })
    }

    /// Begins the transaction with its first record.
    pub fn begin_once(&mut self) -> Result<()> {
        if self.open.is_none() {
            self.producer.begin()?;
            self.open = Some(Instant::now());
        }
        Ok(())
    }

    /// Which transaction is open, if one is, and how many rows it holds: another than before a step if that left any in it.
    pub fn filled(&self) -> Option<(Instant, u64)> {
        self.open.map(|since| (since, self.rows))
    }

    /// How long the transaction has been open, if it is.
    pub fn open_for(&self) -> Option<Duration> {
        self.open.map(|since| since.elapsed())
    }

    /// Whether the open transaction is long or large enough to be committed.
    pub fn is_full(&self) -> bool {
        let longest = crate::poll::target(self.producer.transaction_timeout());
        self.open_for().is_some_and(|open| open >= longest) || self.bytes >= CHUNK_BYTES
    }

    /// Whether any object has progress that is not committed.
    pub fn is_dirty(&self) -> bool {
        self.open.is_some() || self.objects.values().any(Object::is_dirty)
    }

    /// For whose sake Kafka refuses the transaction, if it is for some objects' alone: `letters` is the dead-letter topic.
    pub fn refusal(&self, letters: Option<&str>) -> Option<Refusal> {
        let (topic, _) = self.producer.refusal()?;
        let of_letters = letters == Some(topic.as_str());
        let closing = self.objects.values().any(|object| object.committing.is_some());
        let is_meant = |object: &&Object| match of_letters {
            true => object.has_letters(closing),
            false => object.topic == topic,
        };
        let objects: Vec<TableName> =
            self.objects.values().filter(is_meant).map(|object| object.name.clone()).collect();
        (!objects.is_empty()).then_some(Refusal { topic, of_letters, objects })
    }

    /// A query's cursor has come so far: stored with the rows delivered up to here.
    pub fn look_back(&mut self, object: &TableName, delivered: &Delivered) {
        if let Some(object) = self.objects.get_mut(object) {
            object.pending.position = delivered.position();
            object.delivered = Some(delivered.clone());
        }
    }

    /// Commits rows and watermarks together, and waits for it.
    pub fn commit(&mut self, offsets: &OffsetsTopic) -> Result<()> {
        self.settle(offsets)?;
        self.begin_commit(offsets)?;
        self.settle(offsets)
    }

    /// Begins to commit rows and watermarks together. What is read from here on is the next transaction's; one at a time is
    /// committed, so [`Owner::settle`] comes first.
    ///
    /// The watermark of an object that is FAILED by now goes with the chunks that it had delivered before: without it they come
    /// again once it is mended.
    pub fn begin_commit(&mut self, offsets: &OffsetsTopic) -> Result<()> {
        let is_dirty = |object: &&mut Object| object.is_dirty();
        let records: Vec<OffsetRecord> = self
            .objects
            .values_mut()
            .filter(is_dirty)
            .flat_map(|object| object.records(&self.connector))
            .map(|(key, value)| OffsetRecord { partition: self.partition, key, value })
            .collect();
        if records.is_empty() && self.open.is_none() {
            return Ok(());
        }
        self.begin_once()?;
        tracing::debug!(partition = self.partition, rows = self.rows, bytes = self.bytes, "committing");
        let commit = self.producer.begin_commit(offsets, &records, PATIENCE)?;
        for object in self.objects.values_mut().filter(is_dirty) {
            object.committing = Some(object.pending.clone());
            object.read_until = None;
        }
        self.closing = Some(Closing {
            commit,
            opened: self.open.take().unwrap_or_else(Instant::now),
            rows: std::mem::take(&mut self.rows),
            bytes: std::mem::take(&mut self.bytes),
        });
        Ok(())
    }

    /// Waits until Kafka has what is being committed, if anything is. What is believed in memory moves only now.
    pub fn settle(&mut self, offsets: &OffsetsTopic) -> Result<()> {
        let Some(Closing { commit, opened, rows, bytes }) = self.closing.take() else { return Ok(()) };
        let began = Instant::now();
        if let Err(error) = self.producer.settle(commit, offsets) {
            // It is still open, and what came behind it goes down with it.
            self.open = Some(opened);
            self.rows += rows;
            self.bytes += bytes;
            return Err(error);
        }
        for object in self.objects.values_mut() {
            object.settle();
        }
        tracing::debug!(partition = self.partition, rows, bytes, waited = ?began.elapsed(), "committed");
        self.committed_at = Instant::now();
        self.committed.rows += rows;
        self.committed.bytes += bytes;
        Ok(())
    }

    /// Gives the open transaction up: nobody sees its rows, and every object goes back to what is committed. One that is being
    /// committed is waited for, as nobody could tell what became of it.
    pub fn abort(&mut self, moment: &Moment, offsets: &OffsetsTopic) -> Result<()> {
        let settled = self.settle(offsets);
        let open = self.open.take().is_some();
        (self.rows, self.bytes) = (0, 0);
        for object in self.objects.values_mut() {
            let (reading, table) = (object.reading(), object.table.oid);
            object.take_back(|| Watermark::new(reading, table, moment));
            // What is committed may be of another table, or read otherwise: that it begins anew is taken back, too.
            object.check_identity(moment);
        }
        settled?;
        if open { self.producer.abort(PATIENCE) } else { Ok(()) }
    }
}
