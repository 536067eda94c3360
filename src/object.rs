//! One table on its way into one topic: what is known, what is believed, how it is encoded.

use std::time::{Duration, Instant};

use crate::avro::{Encoder, RecordNames, Settings};
use crate::config::Config;
use crate::kafka::Admin;
use crate::poll::sql::Source;
use crate::poll::{Choice, Chunk, Duty, Moment, Pace, Sweep, TableName, Tid, Verdict, Watermark, Window, source};
use crate::postgres::{Description, FoundTable, Head};
use crate::progress::{LOADING, STEP};
use crate::registry::{Registry, subject};
use crate::{Error, Result};

/// How often a load tells how far it is.
const TELL: Duration = Duration::from_secs(10);
/// A sweep that took longer is skipped while the change counters stand still.
const WORTH_SKIPPING: Duration = Duration::from_millis(50);

/// A table that is streamed.
pub struct Object {
    /// The table, partitioned or not.
    pub name: TableName,
    /// Its key in the offsets topic.
    pub key: Vec<u8>,
    /// Where its rows go.
    pub topic: String,
    /// The table as the catalog showed it last.
    pub table: FoundTable,
    /// What Kafka has committed.
    pub committed: Option<Watermark>,
    /// What the open transaction will commit, steps included that nobody has seen yet.
    pub pending: Watermark,
    /// How rows are encoded; `None`: not looked at yet.
    pub plan: Option<Plan>,
    /// How much the next chunk takes.
    pub pace: Pace,
    /// Why it is FAILED, if it is.
    pub failed: Option<Error>,
    /// LOCK TABLE was refused (column grants): look at the file after the COPY instead.
    pub unlockable: bool,
    /// Not to be read before.
    pub not_before: Instant,
    /// The change counters when its last full sweep began.
    pub changes: Option<i64>,
    /// When every row was last looked for, whatever the counters said.
    pub looked_at: Option<Instant>,
    /// The sweep under way, if any.
    pub sweep: Option<SweepClock>,
}

/// How a sweep is getting on, for the log and the duty limit.
pub struct SweepClock {
    /// Whether it is a historical load.
    pub load: bool,
    /// When it began.
    pub started: Instant,
    /// How long its steps took.
    pub busy: Duration,
    /// Rows read so far.
    pub rows: u64,
    /// When the log last told of it.
    pub told: Instant,
    /// Blocks read of how many, over all leaves seen so far.
    pub blocks: (u64, u64),
}

/// How rows of one description are encoded.
pub struct Plan {
    /// The columns that the encoder was built for.
    pub description: Description,
    /// Its schemas and transcoders.
    pub encoder: Encoder,
}

/// What a chunk's head means for the sweep.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Read this chunk.
    Read(Chunk),
    /// Nothing is left of this leaf.
    Done,
}

impl Object {
    /// An object just found, with the progress that is stored for it, if any.
    pub fn new(choice: Choice, key: Vec<u8>, stored: Option<Watermark>, fresh: Watermark) -> Self {
        Object {
            name: choice.table.name.clone(),
            key,
            topic: choice.topic,
            table: choice.table,
            pending: stored.clone().unwrap_or(fresh),
            committed: stored,
            plan: None,
            pace: Pace::default(),
            failed: choice.refused,
            unlockable: false,
            not_before: Instant::now(),
            changes: None,
            looked_at: None,
            sweep: None,
        }
    }

    /// The catalog shows it otherwise than before: partitions came or went, rights changed, or it is another table now.
    pub fn refresh(&mut self, choice: Choice, moment: &Moment) {
        self.table = choice.table;
        self.topic = choice.topic;
        self.sweep = None;
        if choice.refused.is_some() {
            self.failed = choice.refused;
        }
        self.check_identity(moment);
    }

    /// A table that was dropped and created again under the same name begins anew.
    pub fn check_identity(&mut self, moment: &Moment) {
        if self.pending.table != self.table.oid {
            tracing::warn!(
                object = %self.name, was = self.pending.table, now = self.table.oid,
                "it is another table than before: it is loaded anew"
            );
            let (rows, bytes) = (self.pending.rows, self.pending.bytes);
            self.pending = Watermark { rows, bytes, ..Watermark::new(self.table.oid, moment) };
            self.plan = None;
        }
    }

    /// The OIDs of the tables that hold its rows.
    pub fn leaves(&self) -> Vec<u32> {
        self.table.leaves.iter().map(|leaf| leaf.oid).collect()
    }

    /// Whether everything below `xmin` is delivered, counting the open transaction.
    pub fn has_reached(&self, xmin: u64) -> bool {
        self.table.leaves.is_empty() || (self.current_leaf().is_none() && self.pending.floor(self.leaves()) >= xmin)
    }

    /// Whether some leaf has never been read to its end.
    pub fn is_loading(&self) -> bool {
        !self.table.leaves.is_empty() && self.pending.floor(self.leaves()) == 0
    }

    /// The first leaf with a sweep under way.
    pub fn current_leaf(&self) -> Option<u32> {
        let under_way = |oid: &u32| self.pending.leaves.get(oid).is_some_and(|leaf| leaf.sweep.is_some());
        self.leaves().into_iter().find(under_way)
    }

    /// What to read next, and in which window.
    pub fn next(&self) -> Option<(Source, Window)> {
        let oid = self.current_leaf()?;
        let leaf = self.table.leaves.iter().find(|leaf| leaf.oid == oid)?;
        let window = self.pending.leaves.get(&oid)?.window()?;
        Some((source(&self.table, leaf, !self.unlockable), window))
    }

    /// Compares the table's place with the sweep's, and cuts the next chunk. A file that changed (VACUUM FULL, CLUSTER)
    /// moves rows, so the leaf is read from its beginning; whether that happened is the second value.
    pub fn cut(&mut self, leaf: u32, head: &Head) -> (Next, bool) {
        let pace = self.pace;
        let Some(sweep) = self.sweep_of(leaf) else { return (Next::Done, false) };
        let rewritten = sweep.filenode != 0 && sweep.filenode != head.place.filenode;
        if rewritten {
            sweep.next = Tid::default();
        }
        sweep.filenode = head.place.filenode;
        // The file only grows by rows beyond the window.
        let next = if sweep.next.block >= head.place.blocks { Next::Done } else { Next::Read(pace.chunk(sweep.next)) };
        (next, rewritten)
    }

    /// A chunk is in the producer's hands.
    pub fn advance(&mut self, leaf: u32, head: &Head, chunk: Chunk, rows: u64, bytes: u64) {
        if let Some(sweep) = self.sweep_of(leaf) {
            sweep.next = chunk.to;
        }
        self.pending.rows += rows;
        self.pending.bytes += bytes;
        if chunk.to.block >= head.place.blocks {
            self.pending.finish_sweep(leaf);
        }
    }

    fn sweep_of(&mut self, leaf: u32) -> Option<&mut Sweep> {
        self.pending.leaves.get_mut(&leaf)?.sweep.as_mut()
    }

    /// The open transaction is given up: back to what Kafka holds.
    pub fn take_back(&mut self, fresh: impl FnOnce() -> Watermark) {
        self.pending = self.committed.clone().unwrap_or_else(fresh);
        self.sweep = None;
        self.changes = None;
    }

    /// Whether there is progress that Kafka does not have yet.
    pub fn is_dirty(&self) -> bool {
        self.committed.as_ref() != Some(&self.pending) && !self.pending.leaves.is_empty()
    }

    /// When the duty limit lets it be read again, after a delta. Loads are exempt.
    pub fn rest(&mut self, clock: &SweepClock) {
        if !clock.load {
            self.not_before = Duty::OBJECT.next(clock.started, clock.busy);
        }
    }
}

/// What follows from the server's history, and what the log tells of a sweep.
impl Object {
    /// Follows the history guard: after a crash or failover some of what is believed is read again.
    pub fn judge(&mut self, moment: &Moment, lag: Duration) {
        let watermark = &mut self.pending;
        let verdict = watermark.history.judge(&watermark.markers, watermark.xmax, moment, lag);
        if verdict == Verdict::Same {
            return watermark.history.confirm(moment.flushed);
        }
        let again = watermark.follow(&verdict, moment);
        self.sweep = None;
        self.changes = None;
        let object = &self.name;
        match verdict {
            Verdict::Same => {}
            Verdict::FallBack { xmin, lsn, why } if again => {
                tracing::warn!(%object, xmin, lsn = %lsn, "history changed: {why}; rows from this transaction id on come again");
            }
            Verdict::FallBack { xmin, lsn, why } => {
                tracing::info!(%object, xmin, lsn = %lsn, "history confirmed: {why}; nothing comes again");
            }
            Verdict::LoadAgain { why } => {
                tracing::warn!(%object, "history changed: {why}; the table is loaded again");
            }
        }
    }

    /// A step was read: `rows` from this leaf.
    pub fn progress(&mut self, source: &Source, head: &Head, rows: u64) {
        /// Leaves count alike, whatever their size: a leaf's is not known before it is opened.
        const LEAF: u64 = 1000;
        let sweeping = |leaf: &u32| self.pending.leaves.get(leaf).and_then(|leaf| leaf.sweep);
        let blocks = u64::from(head.place.blocks).max(1);
        let next = sweeping(&source.leaf).map_or(0, |sweep| u64::from(sweep.next.block) * LEAF / blocks);
        let leaves = self.leaves();
        let done = leaves.iter().filter(|leaf| sweeping(leaf).is_none()).count() as u64 * LEAF;
        let (read, blocks) = (done + next.min(LEAF), leaves.len() as u64 * LEAF);
        let Some(clock) = &mut self.sweep else { return };
        clock.rows += rows;
        tracing::debug!(target: STEP, object = %self.name, load = clock.load, rows, read, blocks, "step");
        if !clock.load || clock.told.elapsed() < TELL {
            return;
        }
        clock.told = Instant::now();
        let seconds = clock.started.elapsed().as_secs_f64();
        clock.blocks = (read, blocks);
        tracing::info!(
            target: LOADING, object = %self.name, leaf = %source.leaf_name, rows = clock.rows,
            percent = read * 100 / blocks, rows_per_second = (clock.rows as f64 / seconds) as u64, "loading"
        );
    }

    /// The sweep of the whole object is over.
    pub fn finish(&mut self, moment: Option<&Moment>) {
        let Some(clock) = self.sweep.take() else { return };
        let xmin = self.pending.floor(self.leaves());
        let seconds = clock.started.elapsed().as_secs_f64();
        let behind = moment.map_or(0, |moment| moment.snapshot.xmax.saturating_sub(xmin));
        if clock.load {
            tracing::info!(object = %self.name, rows = clock.rows, seconds, xmin, xids_behind = behind, "caught_up");
        } else {
            tracing::debug!(object = %self.name, rows = clock.rows, seconds, xmin, xids_behind = behind, "delta");
        }
        self.rest(&clock);
        if self.changes.is_none() && clock.busy >= WORTH_SKIPPING {
            // From the next sweep on its counters are watched.
            self.changes = Some(-1);
        }
    }
}

impl Plan {
    /// Chooses the transcoders and makes sure that registry and topic are there.
    pub async fn make(
        config: &Config,
        registry: &Registry,
        admin: &Admin,
        object: &Object,
        description: Description,
        settings: &Settings,
    ) -> Result<Plan> {
        let at = |error: Error| error.object(object.name.to_string());
        let names = RecordNames::new(&config.topic.prefix, &object.name);
        let mut encoder = Encoder::new(&names, &description, settings).map_err(at)?;
        for warning in encoder.warnings() {
            tracing::warn!(object = %object.name, "{warning}");
        }
        let key = match encoder.key_schema() {
            Some(schema) => Some(registry.register(&subject::key(&object.topic), schema).await.map_err(at)?),
            None => None,
        };
        let value = registry.register(&subject::value(&object.topic), encoder.value_schema()).await.map_err(at)?;
        encoder.set_ids(key, value);
        admin.ensure(&config.topic, &object.topic).await.map_err(at)?;
        tracing::info!(
            object = %object.name, topic = %object.topic, columns = description.columns.len(),
            key = %description.key.iter().filter_map(|at| description.columns.get(*at)).map(|c| c.name.as_str()).collect::<Vec<_>>().join(","),
            schema_id = value, "planned"
        );
        if description.key.is_empty() {
            tracing::warn!(object = %object.name, "it has no key: records carry none, and versions of a row cannot be told to belong together");
        }
        Ok(Plan { description, encoder })
    }
}
