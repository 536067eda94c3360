//! One table on its way into one topic: what is known, what is believed, how it is encoded.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::config::{OnChange, OnDefaultAdded, Polling};
use crate::lookback::Delivered;
use crate::poll::sql::{self, Source};
use crate::poll::{
    Choice, Chunk, Counted, Cursor, Leaf, Looks, Lsn, Mode, Moment, Pace, Reading, Seen, Stream, Sweep, TableName, Tid,
    Watermark, Window, Work, source, whole,
};
use crate::postgres::{Connection, FoundTable, Head};

use crate::{Error, Kind, Result};

mod due;
mod plan;
mod stored;
mod tell;

pub use plan::Plan;

/// How often a load tells how far it is.
const TELL: Duration = Duration::from_secs(10);
/// The most transactions that are remembered as delivered ahead of the settled window: the object's record holds their ids.
const AHEAD: usize = 2_000;
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
    /// What is being committed, if its transaction is.
    pub committing: Option<Watermark>,
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
    /// A row could not go as it is: where rows are is asked for from now on.
    pub closer: bool,
    /// Not to be read before.
    pub not_before: Instant,
    /// The change counters, where they are worth watching.
    pub changes: Option<Counted>,
    /// When every row was last looked for, whatever the counters said.
    pub looked_at: Option<Instant>,
    /// The work under way, if any.
    pub sweep: Option<SweepClock>,
    /// How it is read.
    pub polling: Polling,
    /// What is read as one statement, if it is no table.
    pub query: Option<String>,
    /// Of a query with a cursor: what it has delivered of late; `None`: not restored yet.
    pub delivered: Option<Delivered>,
    /// That as Kafka has it.
    pub delivered_before: Option<Delivered>,
    /// That as it was stored when we took over.
    pub buckets: Vec<(usize, u64, Vec<u8>)>,
    /// Whether what is stored of it counts no more: there is no progress it could belong to, or it began anew.
    pub void: bool,
    /// How long PostgreSQL took over its last sweep.
    pub last_read: Duration,
    /// When its last poll began.
    pub polled: Option<Instant>,
    /// Whether a look at the server has shown anything new since: it may not have been due then.
    pub news: bool,
    /// The window at hand was too much for one statement by the index.
    pub in_chunks: bool,
    /// Leaves that are to be read ahead of the settled window.
    pub ahead: Vec<u32>,
    /// The floor at which that was too much for one statement: it is left to the settled window.
    pub not_ahead_of: u64,
    /// How far the log has to be on disk before what was read ahead is committed.
    pub read_until: Option<Lsn>,
    /// In a cursor mode: what was seen of the cursors.
    pub looks: Looks,
    /// In a cursor mode: what was seen last.
    pub seen: Seen,
    /// In a cursor mode: when the last bound was added.
    pub bounded: Option<Instant>,
    /// Of bulk and queries: the passes that were complete when this process found it.
    pub passes_before: u64,
    /// Of a query: when the pass at hand began, in seconds since 1970.
    pub pass_at: i64,
}

/// How a sweep is getting on, for the log and the duty limit.
pub struct SweepClock {
    /// Whether it is a historical load.
    pub load: bool,
    /// When it began.
    pub started: Instant,
    /// How long PostgreSQL was read in its steps.
    pub busy: Duration,
    /// Rows read so far.
    pub rows: u64,
    /// When the log last told of it.
    pub told: Instant,
    /// Blocks read of how many, over all leaves seen so far.
    pub blocks: (u64, u64),
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
        let void = stored.is_none();
        let passes_before = stored.as_ref().map_or(0, |stored| stored.passes);
        Object {
            name: choice.table.name.clone(),
            key,
            topic: choice.topic,
            table: choice.table,
            pending: stored.clone().unwrap_or(fresh),
            committing: None,
            committed: stored,
            plan: None,
            pace: Pace::default(),
            failed: choice.refused,
            unlockable: false,
            closer: false,
            not_before: Instant::now(),
            changes: None,
            looked_at: None,
            sweep: None,
            query: choice.query,
            polling: choice.polling,
            delivered: None,
            delivered_before: None,
            buckets: Vec::new(),
            void,
            last_read: Duration::ZERO,
            polled: None,
            news: false,
            in_chunks: false,
            ahead: Vec::new(),
            not_ahead_of: 0,
            read_until: None,
            looks: Looks::default(),
            seen: Seen::default(),
            bounded: None,
            passes_before,
            pass_at: 0,
        }
    }

    /// The catalog shows it otherwise than before: partitions came or went, rights changed, or it is another table now.
    pub fn refresh(&mut self, choice: Choice, moment: &Moment) {
        self.table = choice.table;
        self.topic = choice.topic;
        // A table may have become a view.
        self.query = choice.query;
        self.polling = choice.polling;
        self.sweep = None;
        self.ahead.clear();
        if choice.refused.is_some() {
            self.failed = choice.refused;
        }
        self.check_identity(moment);
    }

    /// A table that was dropped and created again under the same name begins anew; so does an object that is read otherwise
    /// than before.
    pub fn check_identity(&mut self, moment: &Moment) {
        let reading = self.reading();
        if self.polling.on_change == OnChange::Continue && self.pending.reading.shape != reading.shape {
            tracing::info!(object = %self.name, "other columns or rows than before: what changes from now on comes in its new form");
            self.pending.reading.shape.clone_from(&reading.shape);
        }
        let was = &self.pending.reading;
        if self.pending.table != self.table.oid {
            tracing::warn!(
                object = %self.name, was = self.pending.table, now = self.table.oid,
                "it is another table than before: it is loaded anew"
            );
        } else if *was != reading {
            let what = match () {
                () if was.query != reading.query => "query",
                () if was.shape != reading.shape => "choice of columns or rows",
                () => "mode or cursor",
            };
            tracing::warn!(
                object = %self.name, was = was.mode, now = reading.mode, cursor = reading.cursor,
                "its {what} is another than before: it is loaded anew"
            );
        } else {
            return;
        }
        let (rows, bytes, letters) = (self.pending.rows, self.pending.bytes, self.pending.letters);
        self.pending = Watermark { rows, bytes, letters, ..Watermark::new(reading, self.table.oid, moment) };
        self.passes_before = 0;
        self.void_delivered();
        self.plan = None;
    }

    /// Learns which columns of a leaf were added with a default and without a rewrite. Rows delivered before lack it; whether
    /// the leaf therefore begins anew.
    pub fn lacks_defaults(&mut self, oid: u32, defaulted: &BTreeSet<i16>) -> bool {
        let Some(leaf) = self.pending.leaves.get_mut(&oid) else { return false };
        let asked = self.polling.on_default_added == OnDefaultAdded::Reload && self.polling.mode != Mode::Bulk;
        if !leaf.learn_defaults(defaulted) || !asked {
            return false;
        }
        *leaf = Leaf { defaulted: leaf.defaulted.clone(), ..Leaf::default() };
        self.sweep = None;
        tracing::warn!(
            object = %self.name, leaf = oid,
            "a column was added with a default, which rows sent before lack: it is loaded anew (on_default_added)"
        );
        true
    }

    /// How it is read, as its progress tells.
    pub fn reading(&self) -> Reading {
        Reading::of(&self.polling.mode, self.query.as_deref(), &self.polling.shape)
    }

    /// The OIDs of the tables that hold its rows.
    pub fn leaves(&self) -> Vec<u32> {
        self.table.leaves.iter().map(|leaf| leaf.oid).collect()
    }

    /// Whether everything below `xmin` is delivered, counting the open transaction; of bulk and queries, whether a pass was
    /// completed.
    pub fn has_reached(&self, xmin: u64) -> bool {
        if self.is_in_passes() {
            return self.sweep.is_none() && self.pending.passes > self.passes_before;
        }
        let again =
            self.leaves().iter().any(|oid| self.pending.leaves.get(oid).is_some_and(|leaf| leaf.again.is_some()));
        self.table.leaves.is_empty()
            || (self.current_leaf().is_none() && !again && self.pending.floor(self.leaves()) >= xmin)
    }

    /// Whether it is read from end to end, with pauses: bulk, and queries of every mode.
    pub fn is_in_passes(&self) -> bool {
        self.query.is_some() || (self.polling.mode == Mode::Bulk && !self.table.leaves.is_empty())
    }

    /// Whether some leaf has never been read to its end.
    pub fn is_loading(&self) -> bool {
        if self.query.is_some() {
            return self.pending.passes == 0;
        }
        !self.table.leaves.is_empty() && self.pending.floor(self.leaves()) == 0
    }

    /// The first leaf with a sweep under way.
    pub fn current_leaf(&self) -> Option<u32> {
        let under_way = |oid: &u32| self.pending.leaves.get(oid).is_some_and(|leaf| leaf.sweep.is_some());
        self.leaves().into_iter().find(under_way)
    }

    /// What to read next: a sweep under way, then what can be read ahead of it, then the rows that no cursor shows.
    pub fn next(&self) -> Option<Work> {
        let mode = &self.polling.mode;
        if let Some(oid) = self.current_leaf() {
            let leaf = self.pending.leaves.get(&oid)?;
            let window = leaf.window()?;
            // One that has read chunks has a place, and goes on from there.
            let has_place = leaf.sweep.is_some_and(|sweep| sweep.filenode != 0);
            let by_index =
                |cursor: &Cursor| !self.in_chunks && !has_place && self.pending.bounds.index(cursor, window).is_some();
            let stream = match mode.cursor().filter(|_| !window.is_load()) {
                None => Stream::Settled,
                Some(cursor) if by_index(cursor) => Stream::Index,
                Some(_) => Stream::Poll,
            };
            return Some(Work { leaf: oid, window, stream });
        }
        if *mode == Mode::Bulk {
            let present = self.leaves();
            let of_pass = self.pending.leaves.iter().filter(|(oid, _)| present.contains(oid));
            let from = of_pass.map(|(_, leaf)| leaf.floor).min()?;
            let window = Window { from, to: Window::OPEN };
            return Some(Work { leaf: self.table.oid, window, stream: Stream::Closing });
        }
        if let Some(leaf) = self.ahead.last().copied() {
            let from = self.pending.leaves.get(&leaf)?.floor;
            return Some(Work { leaf, window: Window { from, to: Window::OPEN }, stream: Stream::Eager });
        }
        let again = |leaf: u32| {
            let window = self.pending.leaves.get(&leaf)?.window_again()?;
            Some(Work { leaf, window, stream: Stream::Sweep })
        };
        self.leaves().into_iter().find_map(again)
    }

    /// How that is read.
    pub fn source(&self, work: &Work) -> Result<Source> {
        let found = match work.stream {
            Stream::Closing => whole(&self.table, !self.unlockable),
            _ => self
                .table
                .leaves
                .iter()
                .find(|leaf| leaf.oid == work.leaf)
                .map(|leaf| source(&self.table, leaf, !self.unlockable)),
        };
        found.ok_or_else(|| {
            Error::new(
                Kind::Denied,
                "1012: the role may not select from the partitioned table, only from its partitions",
            )
            .hint("bulk ends each pass with one snapshot over all partitions: grant SELECT on the table itself")
        })
    }

    /// Compares the table's place with the sweep's, and cuts the next chunk. A file that changed (VACUUM FULL, CLUSTER)
    /// moves rows, so the leaf is read from its beginning; whether that happened is the second value.
    pub fn cut(&mut self, work: &Work, head: &Head) -> (Next, bool) {
        let pace = self.pace;
        let Some(sweep) = self.sweep_of(work) else { return (Next::Done, false) };
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
    pub fn advance(&mut self, work: &Work, head: &Head, chunk: Chunk) {
        if let Some(sweep) = self.sweep_of(work) {
            sweep.next = chunk.to;
        }
        if chunk.to.block >= head.place.blocks {
            self.complete(work);
        }
    }

    /// Work that is read in one statement is in the producer's hands, with the ids of the transactions that wrote it.
    pub fn read_whole(&mut self, work: &Work, head: &Head, ids: BTreeSet<u32>) {
        if work.stream == Stream::Eager {
            // While the epoch is 0 an id is what a row carries.
            self.pending.deliver_ahead(work.leaf, ids.into_iter().map(u64::from));
            self.read_until = Some(head.moment.lsn);
        }
        self.complete(work);
    }

    /// The work has read everything.
    pub fn complete(&mut self, work: &Work) {
        match work.stream {
            Stream::Settled | Stream::Index | Stream::Poll => {
                self.in_chunks = false;
                self.pending.finish_sweep(work.leaf);
            }
            Stream::Sweep => self.pending.finish_again(work.leaf),
            Stream::Eager => self.ahead.retain(|leaf| *leaf != work.leaf),
            Stream::Closing => {
                if self.query.is_some() && self.polling.mode == Mode::Bulk {
                    self.pending.pass_at = self.pass_at;
                }
                self.pending.finish_pass();
            }
        }
    }

    /// Counts what was delivered, and the rows that went to the dead-letter topic.
    pub fn count(&mut self, rows: u64, bytes: u64, letters: u64) {
        self.pending.rows += rows;
        self.pending.bytes += bytes;
        self.pending.letters += letters;
    }

    /// Whether letters of it are in the transaction that is being committed, or else in the open one.
    pub fn has_letters(&self, closing: bool) -> bool {
        let before = self.committed.as_ref().map_or(0, |committed| committed.letters);
        let with = if closing { self.committing.as_ref() } else { Some(&self.pending) };
        with.is_some_and(|with| with.letters > before)
    }

    /// Whether less could be read at a time.
    pub fn can_shrink(&self, work: &Work) -> bool {
        match work.stream {
            Stream::Index => true,
            // Given up, it comes with the settled window.
            Stream::Eager => true,
            Stream::Closing => false,
            _ => self.pace.can_shrink(),
        }
    }

    /// How many more transactions can be remembered as delivered ahead of the settled window.
    pub fn room_ahead(&self) -> usize {
        let taken: usize = self.pending.leaves.values().map(|leaf| leaf.ahead.len()).sum();
        AHEAD.saturating_sub(taken)
    }

    /// Whether its poll is still under way. The sweep of what no cursor shows may take hours, and holds no poll up.
    pub fn is_polling(&self) -> bool {
        self.sweep.is_some() && (self.is_in_passes() || self.current_leaf().is_some() || !self.ahead.is_empty())
    }

    /// Work begins.
    pub fn start_clock(&mut self, now: Instant, load: bool) {
        if self.sweep.is_some() {
            return;
        }
        self.sweep = Some(SweepClock { load, started: now, busy: Duration::ZERO, rows: 0, told: now, blocks: (0, 0) });
    }

    /// The work was given up, as it was too much at a time.
    pub fn give_up(&mut self, work: &Work) {
        match work.stream {
            Stream::Index => self.in_chunks = true,
            Stream::Eager => {
                self.not_ahead_of = work.window.from;
                self.ahead.clear();
            }
            _ => {}
        }
    }

    fn sweep_of(&mut self, work: &Work) -> Option<&mut Sweep> {
        let leaf = self.pending.leaves.get_mut(&work.leaf)?;
        if work.stream == Stream::Sweep { leaf.again.as_mut() } else { leaf.sweep.as_mut() }
    }
}

impl Object {
    /// A cursor without an index is read to its end at every poll: said once, with the statement that helps.
    pub async fn warn_of_missing_index(&self, plan: &Plan, connection: &Connection) -> Result<()> {
        let Some(cursor) = self.polling.mode.cursor() else { return Ok(()) };
        for name in cursor.columns() {
            let Some(column) = plan.description.columns.iter().find(|column| column.name == *name) else { continue };
            if !connection.has_index(self.table.oid, column.attnum).await? {
                let create = sql::create_index(&self.name, name);
                tracing::warn!(object = %self.name, column = name, hint = create, "no index begins with the cursor's column: every poll reads the whole table");
            }
        }
        Ok(())
    }
}
