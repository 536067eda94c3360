//! What follows from the server's history, and what the log tells of a sweep.

use std::time::{Duration, Instant};

use super::{Object, TELL, WORTH_SKIPPING};
use crate::poll::sql::Source;
use crate::poll::{Counted, Mode, Moment, Verdict, Work};
use crate::postgres::Head;
use crate::progress::{LOADING, STEP};

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
        self.ahead.clear();
        if matches!(verdict, Verdict::LoadAgain { .. }) {
            self.void_delivered();
        }
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
    pub fn progress(&mut self, work: &Work, source: &Source, head: &Head, rows: u64) {
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
        tracing::debug!(target: STEP, object = %self.name, stream = ?work.stream, load = clock.load, rows, read, blocks, "step");
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

    /// Ends the work if nothing is left of it.
    pub fn finish_if_done(&mut self, moment: Option<&Moment>) {
        if self.query.is_some() || self.next().is_none() {
            self.finish(moment);
        }
    }

    /// PostgreSQL took so long over a step.
    pub fn spend(&mut self, took: Duration) {
        if let Some(clock) = &mut self.sweep {
            clock.busy += took;
        }
    }

    /// So many rows of the work at hand were read.
    pub fn tell_rows(&mut self, rows: u64) {
        if let Some(clock) = &mut self.sweep {
            clock.rows += rows;
        }
    }

    /// The sweep of the whole object is over.
    pub fn finish(&mut self, moment: Option<&Moment>) {
        let Some(clock) = self.sweep.take() else { return };
        let xmin = self.pending.floor(self.leaves());
        let seconds = (clock.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let behind = moment.map_or(0, |moment| moment.snapshot.xmax.saturating_sub(xmin));
        if self.is_in_passes() && self.polling.mode != Mode::Bulk && clock.rows == 0 {
            tracing::debug!(object = %self.name, seconds, "nothing new");
        } else if self.is_in_passes() && self.polling.mode != Mode::Bulk && !clock.load {
            tracing::debug!(object = %self.name, rows = clock.rows, seconds, "delta");
        } else if self.is_in_passes() {
            tracing::info!(object = %self.name, mode = %self.polling.mode, rows = clock.rows, seconds, passes = self.pending.passes, "caught_up");
        } else if clock.load {
            tracing::info!(object = %self.name, rows = clock.rows, seconds, xmin, xids_behind = behind, "caught_up");
        } else {
            tracing::debug!(object = %self.name, rows = clock.rows, seconds, xmin, xids_behind = behind, "delta");
        }
        self.rest(&clock);
        self.last_read = clock.busy;
        if self.changes.is_none() && clock.busy >= WORTH_SKIPPING {
            // From the next sweep on its counters are watched.
            self.changes = Some(Counted::default());
        }
    }
}
