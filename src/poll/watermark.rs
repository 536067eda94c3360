//! The progress of one object.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::bound::{Bounds, Values};
use super::chunk::Tid;
use super::history::{History, Verdict};
use super::mode::Mode;
use super::moment::{Markers, Moment};
use super::shape::Shape;
use super::window::Window;

/// How far an object has been delivered, and what must hold for that to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// What was read and how: the mode, with the columns of a cursor and a fingerprint of a query. Another one begins anew.
    pub reading: Reading,
    /// The table's OID (a partitioned table's own): another table under the same name is loaded anew. 0: a query.
    pub table: u32,
    /// The server that it was read from.
    pub markers: Markers,
    /// The highest `xmax` of a snapshot.
    pub xmax: u64,
    /// What is read, by OID: the table itself, or the leaves of a partitioned one. A detached leaf stays.
    pub leaves: BTreeMap<u32, Leaf>,
    /// What to fall back to.
    pub history: History,
    /// Rows delivered since the state began.
    pub rows: u64,
    /// Bytes of keys and values delivered since the state began.
    pub bytes: u64,
    /// Rows that went to the dead-letter topic instead, likewise.
    pub letters: u64,
    /// Of a cursor mode: from which id on which cursor is found by the index.
    pub bounds: Bounds,
    /// When the last pass of bulk, or the last reconciling sweep of a cursor mode, began: seconds since 1970.
    pub pass_at: i64,
    /// Passes of bulk that were completed.
    pub passes: u64,
    /// Of a query with a cursor: the highest cursor delivered.
    pub position: Values,
}

/// What was read and how, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The mode by name.
    pub mode: String,
    /// The cursor's columns, with a comma between them; empty: none.
    pub cursor: String,
    /// A query's SHA-256, shortened; empty: a table.
    pub query: String,
    /// That of what is made of its columns and rows; empty: nothing.
    pub shape: String,
}

impl Reading {
    /// A table by xmin.
    pub fn xmin() -> Self {
        Reading::of(&Mode::Xmin, None, &Shape::default())
    }

    /// This mode, of a table or of a query.
    pub fn of(mode: &Mode, query: Option<&str>, shape: &Shape) -> Self {
        /// Of SHA-256's 32 bytes: enough to tell a changed query.
        const BYTES: usize = 8;
        let fingerprint = query.map(|query| {
            let digest = Sha256::digest(query.as_bytes());
            digest.iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect()
        });
        Reading {
            mode: mode.name().to_owned(),
            cursor: mode.cursor().map(|cursor| cursor.columns().collect::<Vec<_>>().join(",")).unwrap_or_default(),
            query: fingerprint.unwrap_or_default(),
            shape: shape.fingerprint(),
        }
    }
}

/// The progress of one table that holds rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// Every version with an id below is delivered; 0: none. In a cursor mode: every one above its bound.
    pub floor: u64,
    /// The sweep under way.
    pub sweep: Option<Sweep>,
    /// In a cursor mode: every version with an id below is delivered, those at or below their bound too.
    pub swept: u64,
    /// In a cursor mode: the reconciling sweep under way; its window begins at `swept`.
    pub again: Option<Sweep>,
    /// Ids from `floor` on that are delivered already (DESIGN §3.5).
    pub ahead: BTreeSet<u64>,
    /// The columns, by number, that were added with a default without a rewrite, as far as they are known of.
    pub defaulted: BTreeSet<i16>,
}

/// A sweep that has begun: its window is `floor` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The window's end.
    pub to: u64,
    /// The file that it reads: places hold within one file only. 0: not opened yet.
    pub filenode: u32,
    /// Everything before is delivered.
    pub next: Tid,
}

impl Leaf {
    /// Learns of columns that were added with a default. Whether rows that lack it were delivered before.
    pub fn learn_defaults(&mut self, defaulted: &BTreeSet<i16>) -> bool {
        let begun = self.floor > 0 || self.sweep.is_some_and(|sweep| sweep.filenode != 0);
        let more = !defaulted.is_subset(&self.defaulted);
        if more {
            self.defaulted.clone_from(defaulted);
        }
        begun && more
    }

    /// The window of the sweep under way.
    pub fn window(&self) -> Option<Window> {
        self.sweep.map(|sweep| Window { from: self.floor, to: sweep.to })
    }

    /// The window of the reconciling sweep under way.
    pub fn window_again(&self) -> Option<Window> {
        self.again.map(|sweep| Window { from: self.swept, to: sweep.to })
    }
}

impl Watermark {
    /// Nothing delivered yet.
    pub fn new(reading: Reading, table: u32, moment: &Moment) -> Self {
        Watermark {
            reading,
            table,
            markers: moment.markers.clone(),
            xmax: moment.snapshot.xmax,
            leaves: BTreeMap::new(),
            history: History::default(),
            rows: 0,
            bytes: 0,
            letters: 0,
            bounds: Bounds::default(),
            pass_at: 0,
            passes: 0,
            position: Values::default(),
        }
    }

    /// The lowest floor of the given leaves: what the object as a whole has reached.
    pub fn floor(&self, leaves: impl IntoIterator<Item = u32>) -> u64 {
        leaves.into_iter().map(|oid| self.leaves.get(&oid).map_or(0, |leaf| leaf.floor)).min().unwrap_or(0)
    }

    /// Begins a sweep of every given leaf that has something to read below the moment's `xmin` and no sweep under way.
    /// Whether any is under way now.
    pub fn begin_sweep(&mut self, leaves: &[u32], moment: &Moment, now: i64) -> bool {
        let to = moment.snapshot.xmin;
        self.xmax = self.xmax.max(moment.snapshot.xmax);
        let mut begun = false;
        for oid in leaves {
            let leaf = self.leaves.entry(*oid).or_default();
            if leaf.sweep.is_none() && leaf.floor < to {
                leaf.sweep = Some(Sweep { to, filenode: 0, next: Tid::default() });
                begun = true;
            }
        }
        if begun {
            self.history.note(moment, now);
        }
        leaves.iter().any(|oid| self.leaves.get(oid).is_some_and(|leaf| leaf.sweep.is_some()))
    }

    /// Begins the reconciling sweep of a cursor mode, of every given leaf that has none under way.
    pub fn begin_again(&mut self, leaves: &[u32], moment: &Moment, now: i64) {
        let to = moment.snapshot.xmin;
        self.pass_at = now;
        for oid in leaves {
            if let Some(leaf) = self.leaves.get_mut(oid)
                && leaf.again.is_none()
                && leaf.swept < to
            {
                leaf.again = Some(Sweep { to, filenode: 0, next: Tid::default() });
            }
        }
        self.history.note(moment, now);
    }

    /// The sweep of this leaf has read everything.
    pub fn finish_sweep(&mut self, leaf: u32) {
        let with_cursor = self.is_with_cursor();
        if let Some(leaf) = self.leaves.get_mut(&leaf)
            && let Some(sweep) = leaf.sweep.take()
        {
            if leaf.floor == 0 && with_cursor {
                // A load takes every row, whatever its cursor.
                leaf.swept = leaf.swept.max(sweep.to);
            }
            leaf.floor = leaf.floor.max(sweep.to);
            leaf.ahead = leaf.ahead.split_off(&leaf.floor);
        }
        self.forget();
    }

    /// The reconciling sweep of this leaf has read everything.
    pub fn finish_again(&mut self, leaf: u32) {
        if let Some(leaf) = self.leaves.get_mut(&leaf)
            && let Some(sweep) = leaf.again.take()
        {
            leaf.swept = leaf.swept.max(sweep.to);
        }
        self.forget();
    }

    fn forget(&mut self) {
        let needed = self.leaves.values().map(|leaf| leaf.floor.min(leaf.swept)).min();
        self.bounds.forget(needed.unwrap_or(0));
    }

    /// Everything from this id on was delivered out of one snapshot.
    pub fn deliver_ahead(&mut self, leaf: u32, ids: impl IntoIterator<Item = u64>) {
        if let Some(leaf) = self.leaves.get_mut(&leaf) {
            leaf.ahead.extend(ids);
        }
    }

    /// A pass of bulk is complete; the next one begins with nothing.
    pub fn finish_pass(&mut self) {
        self.passes += 1;
        self.leaves.clear();
    }

    /// Whether anything was read yet: a leaf, a pass, or of a query's first poll so much that it has a place.
    pub fn has_begun(&self) -> bool {
        !self.leaves.is_empty() || self.passes > 0 || self.position != Values::default()
    }

    /// Goes back to what survived. Whether anything will be read again.
    pub fn follow(&mut self, verdict: &Verdict, moment: &Moment) -> bool {
        let mut again = false;
        match verdict {
            Verdict::Same => return false,
            Verdict::FallBack { xmin, .. } => {
                for leaf in self.leaves.values_mut() {
                    again |= leaf.floor > *xmin || leaf.sweep.is_some_and(|sweep| sweep.to > *xmin);
                    again |= leaf.swept > *xmin || leaf.again.is_some_and(|sweep| sweep.to > *xmin);
                    // Ids that were delivered ahead may not have survived, and be given out again.
                    again |= !leaf.ahead.is_empty();
                    leaf.floor = leaf.floor.min(*xmin);
                    leaf.sweep = leaf.sweep.filter(|sweep| sweep.to <= *xmin);
                    leaf.swept = leaf.swept.min(*xmin);
                    leaf.again = leaf.again.filter(|sweep| sweep.to <= *xmin);
                    leaf.ahead.clear();
                }
                self.bounds.fall_back(*xmin);
                if self.reading.mode == "bulk" && again {
                    self.leaves.clear();
                }
                self.history.fall_back(*xmin);
            }
            Verdict::LoadAgain { .. } => {
                again = true;
                self.leaves.clear();
                self.bounds = Bounds::default();
                self.position = Values::default();
                self.history = History::default();
            }
        }
        self.markers = moment.markers.clone();
        self.xmax = moment.snapshot.xmax;
        again
    }

    /// Whether a table is read by a cursor, in two streams.
    pub(super) fn is_with_cursor(&self) -> bool {
        !self.reading.cursor.is_empty() && self.reading.query.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::history::Why;
    use super::super::moment::{Lsn, Snapshot};
    use super::*;

    pub fn moment(xmin: u64) -> Moment {
        Moment {
            snapshot: Snapshot { xmin, xmax: xmin + 10, running: 0 },
            lsn: Lsn(1 << 33 | 5),
            flushed: Lsn(1 << 33),
            replayed: None,
            markers: Markers {
                system: u64::MAX - 3,
                database: 5,
                timeline: 1,
                in_recovery: false,
                started: 1_732_400_000_000_001,
                stats_reset: 0,
            },
        }
    }

    pub fn watermark() -> Watermark {
        let mut watermark = Watermark::new(Reading::xmin(), 16384, &moment(700));
        watermark.begin_sweep(&[16384, 16390, 16391], &moment(700), 1000);
        watermark.finish_sweep(16384);
        watermark.finish_sweep(16391);
        watermark.begin_sweep(&[16384, 16390], &moment(813), 1010);
        watermark.leaves.get_mut(&16384).unwrap().sweep.as_mut().unwrap().filenode = 24576;
        let sweep = watermark.leaves.get_mut(&16390).unwrap().sweep.as_mut().unwrap();
        (sweep.filenode, sweep.next) = (16390, Tid { block: 128, offset: 0 });
        watermark.rows = 12;
        watermark
    }

    #[test]
    fn a_leaf_that_appears_is_loaded_in_full_and_one_under_way_keeps_its_end() {
        let watermark = watermark();
        assert_eq!(watermark.leaves[&16390].window(), Some(Window { from: 0, to: 700 }));
        assert_eq!(watermark.leaves[&16384].window(), Some(Window { from: 700, to: 813 }));
        assert_eq!(watermark.floor([16384, 16390]), 0);
        assert_eq!(watermark.floor([16384, 16391]), 700);
    }

    #[test]
    fn an_unmoved_xmin_begins_no_sweep() {
        let mut watermark = Watermark::new(Reading::xmin(), 1, &moment(700));
        assert!(watermark.begin_sweep(&[1], &moment(700), 0));
        watermark.finish_sweep(1);
        assert!(!watermark.begin_sweep(&[1], &moment(700), 5));
    }

    #[test]
    fn falling_back_lowers_floors_and_drops_only_sweeps_beyond() {
        let mut fallen = watermark();
        let verdict = Verdict::FallBack { xmin: 700, lsn: Lsn(5), why: Why::Restarted };
        assert!(fallen.follow(&verdict, &moment(690)));
        assert_eq!(fallen.leaves[&16384], Leaf { floor: 700, ..Leaf::default() });
        // The load of 16390 had a window that survived: it goes on where it was.
        assert_eq!(fallen.leaves[&16390].sweep.unwrap().next, Tid { block: 128, offset: 0 });
        assert!(fallen.history.entries().iter().all(|entry| entry.xmin <= 700));

        let mut reloaded = watermark();
        assert!(reloaded.follow(&Verdict::LoadAgain { why: Why::NothingLeft }, &moment(690)));
        assert_eq!(reloaded.floor([16384]), 0);
    }
}
