//! The history guard: what to believe after a crash, a failover or a restore (DESIGN §3.4, facts: xmin.md §1.4).
//!
//! PostgreSQL does not log that it gave out an id. After a crash the counter starts again from the flushed log, and ids
//! that we already counted as settled are given to new transactions:
//!
//! 1. we deliver everything below id 858; 840 to 857 had been given to transactions that aborted, nothing flushed;
//! 2. the server crashes and comes back with 821 as its next id;
//! 3. new transactions commit rows under 821 to 857: below our floor, never to be asked for again.
//!
//! So a watermark is believed only as far as its place in the log is known to have survived.

use std::fmt;
use std::time::Duration;

use super::moment::{Lsn, Moment};

/// "Every id below `xmin` was settled when the log stood at `lsn`."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The floor.
    pub xmin: u64,
    /// Where the log stood.
    pub lsn: Lsn,
    /// Seconds since 1970, by our clock.
    pub at: i64,
    /// Whether the log was seen flushed beyond `lsn` by the server that said so: then no crash of it takes that back.
    pub confirmed: bool,
}

/// At most [`History::MOST`] entries, oldest first, their ages spaced exponentially from a second to a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    entries: Vec<Entry>,
}

/// What follows from the server's markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the server that we know: go on.
    Same,
    /// Believe everything below `xmin`, read the rest again.
    FallBack {
        /// The floor to go back to.
        xmin: u64,
        /// Where the log stood then.
        lsn: Lsn,
        /// What happened.
        why: Why,
    },
    /// Believe nothing: the historical load again.
    LoadAgain {
        /// What happened.
        why: Why,
    },
}

/// What happened to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// System identifier or database differ.
    AnotherServer,
    /// Same timeline, another start.
    Restarted,
    /// The next timeline.
    Promoted,
    /// A timeline that is not the next.
    TimelineLost,
    /// The log ends before a position known as flushed.
    OlderCopy,
    /// A standby where a primary was.
    NowStandby,
    /// A primary where one of its standbys was.
    NowPrimary,
    /// No entry qualifies.
    NothingLeft,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::AnotherServer => "another server or database answers: its system identifier or database differs",
            Why::Restarted => "the server restarted or recovered from a crash",
            Why::Promoted => "a standby was promoted, or the server was recovered to a point in time",
            Why::TimelineLost => "the server's timeline is not the next after the known one",
            Why::OlderCopy => "the server's log ends before a position that it had flushed: an older copy was put back",
            Why::NowStandby => "a standby answers where a primary did",
            Why::NowPrimary => "a primary answers where its standby did",
            Why::NothingLeft => "no stored state is known to have survived",
        })
    }
}

impl History {
    /// The most entries kept; a state must stay far below 64 KiB.
    pub const MOST: usize = 20;

    /// As stored, oldest first.
    pub fn from_entries(entries: Vec<Entry>) -> Self {
        History { entries }
    }

    /// Oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Notes that `moment` settled everything below its `xmin`.
    pub fn note(&mut self, moment: &Moment, now: i64) {
        let entry =
            Entry { xmin: moment.snapshot.xmin, lsn: moment.lsn, at: now, confirmed: moment.flushed >= moment.lsn };
        if let Some(last) = self.entries.last_mut()
            && last.xmin == entry.xmin
        {
            // The same floor at a later place proves nothing more; the earlier place is the stronger claim.
            last.confirmed |= moment.flushed >= last.lsn;
            return;
        }
        self.entries.push(entry);
        self.thin(now);
    }

    /// Confirms what is on disk by now; to be called under unchanged markers only.
    pub fn confirm(&mut self, flushed: Lsn) {
        for entry in &mut self.entries {
            entry.confirmed |= entry.lsn <= flushed;
        }
    }

    /// Whether the newest entry is confirmed, or there is none.
    pub fn is_confirmed(&self) -> bool {
        self.entries.last().is_none_or(|entry| entry.confirmed)
    }

    /// The newest entry.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// Forgets what is above the state to go on with.
    pub fn fall_back(&mut self, xmin: u64) {
        self.entries.retain(|entry| entry.xmin <= xmin);
    }

    /// What to believe, now that `moment` shows markers that may differ from `known`, the moment last stored.
    /// `xmax` is the highest that was seen; `lag` the most that a standby may have been behind.
    pub fn judge(&self, known: &super::Markers, xmax: u64, moment: &Moment, lag: Duration) -> Verdict {
        let now = &moment.markers;
        if now == known {
            return Verdict::Same;
        }
        if now.system != known.system || now.database != known.database {
            return Verdict::LoadAgain { why: Why::AnotherServer };
        }
        match (known.in_recovery, now.in_recovery) {
            (false, false) if now.timeline == known.timeline => self.same_timeline(known, xmax, moment),
            // The very process that we read as a standby was promoted: all that it replayed, it has.
            (true, false) if now.started == known.started => {
                self.newest(moment, Why::Promoted, |entry, end| entry.lsn <= end)
            }
            (_, false) if now.timeline == known.timeline.wrapping_add(1) => self.promoted(moment, lag, Why::Promoted),
            // A primary that never recovered has had all that its standbys replay.
            (true, false) if now.timeline == known.timeline && moment.replayed.is_none() => self.followed(moment),
            (true, false) if now.timeline == known.timeline => self.promoted(moment, lag, Why::Promoted),
            // A standby has the beginning of its primary's log, up to where it has replayed it.
            (false, true) if now.timeline == known.timeline => self.replayed(moment, Why::NowStandby),
            (true, true) if now.timeline == known.timeline => self.replayed(moment, Why::Restarted),
            _ => Verdict::LoadAgain { why: Why::TimelineLost },
        }
    }

    /// A restart or crash on one timeline: what was confirmed has survived. Not every `lsn` up to the end of recovery has,
    /// since there may have been two crashes between two looks.
    ///
    /// A copy that was put back recovers to where it was taken, and may run on beyond all that we know before we look again:
    /// the end of a recovery that came after our last look tells it apart. (Without another start the recovery may have been
    /// long before: somebody reset the statistics.)
    fn same_timeline(&self, known: &super::Markers, xmax: u64, moment: &Moment) -> Verdict {
        let Some(entry) = self.entries.iter().rev().find(|entry| entry.confirmed) else {
            return Verdict::LoadAgain { why: Why::NothingLeft };
        };
        let clean_start = moment.replayed.is_none();
        let log_is_short = match moment.replayed {
            Some(end) if known.started != moment.markers.started => end < end_of_record(entry.lsn),
            _ => moment.lsn < entry.lsn,
        };
        let ids_are_short =
            entry.xmin > moment.snapshot.xmax || (clean_start && self.is_confirmed() && xmax > moment.snapshot.xmax);
        if log_is_short || ids_are_short {
            return Verdict::LoadAgain { why: Why::OlderCopy };
        }
        Verdict::FallBack { xmin: entry.xmin, lsn: entry.lsn, why: Why::Restarted }
    }

    /// Another server took over: what it had replayed, and what is so old that no standby was that far behind. Both, since
    /// the end of recovery is that of the last recovery only.
    fn promoted(&self, moment: &Moment, lag: Duration, why: Why) -> Verdict {
        let Some(last) = self.entries.last() else {
            return Verdict::LoadAgain { why: Why::NothingLeft };
        };
        let oldest = last.at.saturating_sub(i64::try_from(lag.as_secs()).unwrap_or(i64::MAX));
        self.newest(moment, why, |entry, end| entry.lsn <= end && entry.at <= oldest)
    }

    /// What is on disk where it was written is in every copy of the log that reaches so far.
    fn replayed(&self, moment: &Moment, why: Why) -> Verdict {
        self.newest(moment, why, |entry, end| entry.confirmed && entry.lsn <= end)
    }

    /// The primary answers after one of its standbys.
    fn followed(&self, moment: &Moment) -> Verdict {
        match self.entries.iter().rev().find(|entry| entry.confirmed) {
            Some(entry) if entry.lsn > moment.lsn || entry.xmin > moment.snapshot.xmax => {
                Verdict::LoadAgain { why: Why::OlderCopy }
            }
            Some(entry) => Verdict::FallBack { xmin: entry.xmin, lsn: entry.lsn, why: Why::NowPrimary },
            None => Verdict::LoadAgain { why: Why::NothingLeft },
        }
    }

    fn newest(&self, moment: &Moment, why: Why, survived: impl Fn(&Entry, Lsn) -> bool) -> Verdict {
        let Some(end) = moment.replayed else {
            return Verdict::LoadAgain { why: Why::NothingLeft };
        };
        match self.entries.iter().rev().find(|entry| survived(entry, end)) {
            Some(entry) if entry.xmin > moment.snapshot.xmax => Verdict::LoadAgain { why: Why::OlderCopy },
            Some(entry) => Verdict::FallBack { xmin: entry.xmin, lsn: entry.lsn, why },
            None => Verdict::LoadAgain { why: Why::NothingLeft },
        }
    }

    /// Keeps the newest, the newest confirmed, and of each doubling of age the oldest: as time passes, the oldest of one
    /// doubling moves on into the next, so that some state of every age remains.
    fn thin(&mut self, now: i64) {
        const DAY: i64 = 86_400;
        let newest = self.entries.len().saturating_sub(1);
        let confirmed = self.entries.iter().rposition(|entry| entry.confirmed);
        let mut seen = [false; 64];
        let mut index = 0;
        self.entries.retain(|entry| {
            let age = now.saturating_sub(entry.at).max(0);
            let doubling = (64 - age.leading_zeros()) as usize;
            // An entry of over a day stays only while it is the sole confirmed one.
            let first = age <= DAY && !std::mem::replace(&mut seen[doubling.min(63)], true);
            let keep = first || index == newest || Some(index) == confirmed;
            index += 1;
            keep
        });
        if self.entries.len() > Self::MOST {
            let surplus = self.entries.len() - Self::MOST;
            self.entries.drain(..surplus);
        }
    }
}

/// Where the last record before this place ends: the place for the next one comes after a page's header (24 bytes, 40 on
/// the first page of a segment), the end of a record before it.
fn end_of_record(place: Lsn) -> Lsn {
    const PAGE: u64 = 8192;
    const HEADER: u64 = 40;
    let into_page = place.0 % PAGE;
    if into_page <= HEADER { Lsn(place.0 - into_page) } else { place }
}

#[cfg(test)]
mod tests {
    use super::super::moment::{Markers, Snapshot};
    use super::*;

    const LAG: Duration = Duration::from_secs(600);

    fn markers() -> Markers {
        Markers { system: 7, database: 5, timeline: 1, in_recovery: false, started: 100, stats_reset: 50 }
    }

    fn moment(xmin: u64, lsn: u64, replayed: Option<u64>, markers: Markers) -> Moment {
        Moment {
            snapshot: Snapshot { xmin, xmax: xmin + 5, running: 0 },
            lsn: Lsn(lsn),
            flushed: Lsn(lsn),
            replayed: replayed.map(Lsn),
            markers,
        }
    }

    fn entry(xmin: u64, lsn: u64, at: i64, confirmed: bool) -> Entry {
        Entry { xmin, lsn: Lsn(lsn), at, confirmed }
    }

    fn history() -> History {
        History::from_entries(vec![
            entry(700, 1000, 10_000, true),
            entry(800, 2000, 10_900, true),
            entry(858, 3000, 11_000, false),
        ])
    }

    #[test]
    fn unchanged_markers_need_no_judgement() {
        let verdict = history().judge(&markers(), 900, &moment(900, 4000, None, markers()), LAG);
        assert_eq!(verdict, Verdict::Same);
    }

    #[test]
    fn after_a_crash_only_a_confirmed_state_is_believed() {
        let crashed = Markers { stats_reset: 60, ..markers() };
        // The end of recovery lies above the unconfirmed entry, but a crash before this one may have cut that off.
        let verdict = history().judge(&markers(), 863, &moment(821, 3100, Some(3050), crashed), LAG);
        assert_eq!(verdict, Verdict::FallBack { xmin: 800, lsn: Lsn(2000), why: Why::Restarted });
    }

    #[test]
    fn a_clean_restart_after_a_confirmed_state_repeats_nothing() {
        let mut history = history();
        history.confirm(Lsn(3000));
        let restarted = Markers { started: 101, ..markers() };
        let verdict = history.judge(&markers(), 858, &moment(858, 3001, None, restarted), LAG);
        assert_eq!(verdict, Verdict::FallBack { xmin: 858, lsn: Lsn(3000), why: Why::Restarted });
    }

    #[test]
    fn an_older_copy_put_back_is_loaded_again() {
        let mut history = history();
        history.confirm(Lsn(3000));
        let restarted = Markers { started: 101, ..markers() };
        let short_log = moment(850, 2500, None, restarted.clone());
        assert_eq!(history.judge(&markers(), 858, &short_log, LAG), Verdict::LoadAgain { why: Why::OlderCopy });
        let short_ids = moment(830, 3500, None, restarted);
        assert_eq!(history.judge(&markers(), 858, &short_ids, LAG), Verdict::LoadAgain { why: Why::OlderCopy });
    }

    #[test]
    fn an_older_copy_put_back_that_ran_on_is_loaded_again() {
        let mut history = history();
        history.confirm(Lsn(3000));
        let restored = Markers { started: 101, stats_reset: 60, ..markers() };
        // It recovered to 2400 and is at 9000 by now.
        let verdict = history.judge(&markers(), 858, &moment(2_000, 9_000, Some(2_400), restored), LAG);
        assert_eq!(verdict, Verdict::LoadAgain { why: Why::OlderCopy });
        // A recovery of long ago says nothing about a place after it.
        let statistics_reset = Markers { stats_reset: 60, ..markers() };
        let verdict = history.judge(&markers(), 858, &moment(858, 3_100, Some(2_400), statistics_reset), LAG);
        assert_eq!(verdict, Verdict::FallBack { xmin: 858, lsn: Lsn(3_000), why: Why::Restarted });
    }

    #[test]
    fn a_recovery_up_to_the_end_of_a_page_reaches_the_place_after_the_next_header() {
        let at_page = |lsn| History::from_entries(vec![entry(858, lsn, 11_000, true)]);
        let crashed = Markers { started: 101, stats_reset: 60, ..markers() };
        for place in [3 * 8192 + 24, 3 * 8192 + 40] {
            let now = moment(858, place, Some(3 * 8192), crashed.clone());
            let verdict = at_page(place).judge(&markers(), 858, &now, LAG);
            assert_eq!(verdict, Verdict::FallBack { xmin: 858, lsn: Lsn(place), why: Why::Restarted });
        }
    }

    #[test]
    fn after_a_failover_a_state_must_be_replayed_and_older_than_the_lag() {
        let promoted = Markers { timeline: 2, started: 200, stats_reset: 0, ..markers() };
        let verdict = history().judge(&markers(), 858, &moment(830, 2600, Some(2500), promoted.clone()), LAG);
        assert_eq!(verdict, Verdict::FallBack { xmin: 700, lsn: Lsn(1000), why: Why::Promoted });
        let verdict = history().judge(&markers(), 858, &moment(830, 2600, Some(900), promoted.clone()), LAG);
        assert_eq!(verdict, Verdict::LoadAgain { why: Why::NothingLeft });
        // Promoted, then restarted cleanly: where the timelines parted cannot be known any more.
        let verdict = history().judge(&markers(), 858, &moment(830, 2600, None, promoted), LAG);
        assert_eq!(verdict, Verdict::LoadAgain { why: Why::NothingLeft });
    }

    #[test]
    fn another_system_or_a_timeline_further_on_is_loaded_again() {
        for other in [
            Markers { system: 8, ..markers() },
            Markers { database: 6, ..markers() },
            Markers { timeline: 3, ..markers() },
        ] {
            let verdict = history().judge(&markers(), 858, &moment(900, 5000, Some(5000), other), LAG);
            assert!(matches!(verdict, Verdict::LoadAgain { .. }), "{verdict:?}");
        }
    }

    #[test]
    fn a_standby_promoted_under_our_eyes_keeps_all_it_had_replayed() {
        let standby = Markers { in_recovery: true, ..markers() };
        let promoted = Markers { in_recovery: false, timeline: 2, ..markers() };
        let verdict = history().judge(&standby, 858, &moment(858, 3200, Some(3100), promoted), LAG);
        assert_eq!(verdict, Verdict::FallBack { xmin: 858, lsn: Lsn(3000), why: Why::Promoted });
    }

    #[test]
    fn between_a_primary_and_its_standbys_what_was_replayed_is_believed() {
        let standby = Markers { in_recovery: true, started: 300, stats_reset: 0, ..markers() };
        // To a standby that has replayed as far as the newest, which was not on disk when it was noted, or not so far.
        for (replayed, xmin) in [(3100, 800), (2999, 800), (1999, 700)] {
            let now = moment(850, replayed, Some(replayed), standby.clone());
            let verdict = history().judge(&markers(), 858, &now, LAG);
            let Verdict::FallBack { xmin: found, why: Why::NowStandby, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(found, xmin, "replayed up to {replayed}");
        }
        let far_behind = moment(650, 900, Some(900), standby.clone());
        let verdict = history().judge(&markers(), 858, &far_behind, LAG);
        assert_eq!(verdict, Verdict::LoadAgain { why: Why::NothingLeft });
        // And back.
        let mut replayed = history();
        replayed.confirm(Lsn(3000));
        let verdict = replayed.judge(&standby, 858, &moment(870, 3500, None, markers()), LAG);
        assert_eq!(verdict, Verdict::FallBack { xmin: 858, lsn: Lsn(3000), why: Why::NowPrimary });
        // A standby knows nothing that its primary does not.
        let verdict = replayed.judge(&standby, 858, &moment(870, 2900, None, markers()), LAG);
        assert_eq!(verdict, Verdict::LoadAgain { why: Why::OlderCopy });
    }

    #[test]
    fn without_any_confirmed_state_it_loads_again() {
        let history = History::from_entries(vec![entry(858, 3000, 11_000, false)]);
        let crashed = Markers { stats_reset: 60, ..markers() };
        let verdict = history.judge(&markers(), 858, &moment(821, 3100, Some(2900), crashed), LAG);
        assert_eq!(verdict, Verdict::LoadAgain { why: Why::NothingLeft });
    }

    #[test]
    fn two_days_of_polls_leave_few_entries_of_every_age() {
        let mut history = History::default();
        let start = 1_000_000;
        for tick in 0..(2 * 86_400 / 5) {
            let now = start + tick * 5;
            let mut moment = moment(1000 + tick as u64, 1000 + tick as u64, None, markers());
            moment.flushed = Lsn(moment.lsn.0 - 1); // Never flushed when asked first …
            history.note(&moment, now);
            history.confirm(Lsn(moment.lsn.0 - 2)); // … but two polls later.
        }
        let now = start + 2 * 86_400;
        let ages: Vec<i64> = history.entries().iter().map(|entry| now - entry.at).collect();
        assert!(ages.len() <= History::MOST, "{ages:?}");
        assert!(ages.iter().any(|age| (600..7200).contains(age)), "{ages:?}");
        assert!(ages.iter().any(|age| *age > 12 * 3600), "{ages:?}");
        assert!(history.entries().is_sorted_by_key(|entry| (entry.at, entry.xmin)));
        assert!(history.entries().iter().any(|entry| entry.confirmed));
    }
}
