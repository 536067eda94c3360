//! When an object is read: its polls, passes and sweeps, and how they begin.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Object, SweepClock};
use crate::config::Schedule;
use crate::poll::{Duty, Moment};

impl Object {
    /// Begins a pass, or goes on with one.
    pub fn begin_pass(&mut self, moment: &Moment, clock: Timestamp) -> bool {
        self.mark_polled(Instant::now());
        if self.query.is_some() {
            // Stored once it is complete: one that is broken off is read again.
            self.pass_at = clock.as_second();
            return true;
        }
        // Of partitions that are gone by now nothing is left to be read.
        let present = self.leaves();
        self.pending.leaves.retain(|oid, _| present.contains(oid));
        if self.pending.leaves.is_empty() {
            self.pending.pass_at = clock.as_second();
            self.pending.begin_sweep(&self.leaves(), moment, clock.as_second());
        } else {
            // A sweep that had opened no file before the last stop begins anew; and one of a partition that came meanwhile.
            let of_pass: Vec<u32> = present.into_iter().filter(|oid| self.pending.floor([*oid]) == 0).collect();
            self.pending.begin_sweep(&of_pass, moment, clock.as_second());
        }
        self.next().is_some()
    }

    /// A poll begins.
    pub fn mark_polled(&mut self, now: Instant) {
        // A pass is too dear to come again soon for the sake of an even spread.
        let last = self.polled.or(self.is_in_passes().then_some(now));
        self.polled = Some(self.polling.schedule.count_from(last, now, &self.name.to_string()));
    }

    /// Whether its next poll is due.
    pub fn is_due(&self, now: Instant, clock: Timestamp) -> bool {
        let ago = match (self.polled, self.is_in_passes()) {
            (Some(polled), _) => now.saturating_duration_since(polled),
            // A pass counts from one process to the next.
            (None, true) if self.pending.passes > 0 => {
                let seconds = clock.as_second().saturating_sub(self.pending.pass_at);
                Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
            }
            (None, _) => return true,
        };
        self.due_in(ago, clock).is_zero()
    }

    fn due_in(&self, ago: Duration, clock: Timestamp) -> Duration {
        match &self.polling.schedule {
            Schedule::Every(interval) => interval.saturating_sub(ago),
            // Due when a time of the clock lies between the last poll and now.
            cron @ Schedule::Cron(..) => {
                let last = clock.checked_sub(ago).unwrap_or(clock);
                cron.wait(Duration::ZERO, last).saturating_sub(ago)
            }
        }
    }

    /// Whether rows that no cursor shows are due to be swept.
    pub fn is_sweep_due(&self, clock: Timestamp) -> bool {
        let ago = clock.as_second().saturating_sub(self.pending.pass_at);
        self.polling.mode.cursor().is_some()
            && Duration::from_secs(u64::try_from(ago).unwrap_or(0)) >= self.polling.sweep_interval
    }

    /// When the duty limit lets it be read again, after a delta. Loads are exempt.
    pub fn rest(&mut self, clock: &SweepClock) {
        if !clock.load {
            self.not_before = Duty::OBJECT.next(clock.started, clock.busy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::tests::{choice, moment, object};
    use super::*;
    use crate::poll::{Mode, Stream};

    #[test]
    fn a_partition_that_is_detached_and_attached_again_is_read_within_the_pass() {
        let clock = Timestamp::UNIX_EPOCH;
        let mut object = object(choice(Mode::Bulk, &[1, 2]));
        assert!(object.begin_pass(&moment(), clock));
        object.pending.finish_sweep(1);
        object.refresh(choice(Mode::Bulk, &[1]), &moment());
        assert!(object.begin_pass(&moment(), clock));
        assert_eq!(object.next().unwrap().stream, Stream::Closing, "of the one that is left");
        object.refresh(choice(Mode::Bulk, &[1, 2]), &moment());
        assert!(object.begin_pass(&moment(), clock));
        let next = object.next().unwrap();
        assert_eq!((next.leaf, next.stream), (2, Stream::Settled));
    }
}
