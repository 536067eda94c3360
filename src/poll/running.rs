//! Which transactions run, and since which look: no cursor's bound rises above what one of them may still write.
//!
//! `now()` is taken at BEGIN and a sequence's value long before the commit, mostly without an id that a snapshot would
//! show. But every transaction holds a lock on its virtual id from its first statement on (facts: xmin.md §3).

use std::collections::{BTreeMap, VecDeque};

use super::bound::Values;

/// The transactions seen running, each with the first look that saw it.
#[derive(Clone, Debug, Default)]
pub struct Running {
    look: u64,
    first_seen: BTreeMap<String, u64>,
}

impl Running {
    /// Takes note of a list; the number of this look and that of the one before which none of them was running. What runs
    /// at the first look may have begun any time before.
    pub fn note(&mut self, list: Vec<String>) -> (u64, u64) {
        let first_seen = std::mem::take(&mut self.first_seen);
        let look = self.look;
        self.first_seen = list
            .into_iter()
            .map(|id| (first_seen.get(&id).copied().unwrap_or(look), id))
            .map(|(at, id)| (id, at))
            .collect();
        self.look += 1;
        (look, self.first_seen.values().min().copied().unwrap_or(look))
    }
}

/// What an object's cursors were at the looks so far, as far back as some running transaction needs.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    seen: VecDeque<(u64, Seen)>,
}

/// One look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The server's clock less a margin, where the timestamp column is written by it; as the column's type prints it.
    pub clock: Option<String>,
    /// The highest values visible, less a margin for dates.
    pub highest: Values,
}

impl Looks {
    /// The most looks kept: those of a transaction that runs for longer are forgotten, and the bound stands still.
    const MOST: usize = 10_000;

    /// The bound that holds now: `oldest` is the first look that saw the oldest running transaction.
    ///
    /// It began after the list of look `oldest - 1` was read, so its `now()` is later than that look's clock. A value it
    /// takes from a sequence exceeds what look `oldest - 2` saw: at look `oldest - 1` somebody else may have taken and
    /// committed a higher one between the list and the snapshot.
    pub fn bound(&self, oldest: u64) -> Option<Values> {
        let at = |look: Option<u64>| {
            let look = look?;
            self.seen.iter().rev().find(|(seen, _)| *seen == look).map(|(_, seen)| seen)
        };
        let before = at(oldest.checked_sub(2))?;
        let clock = at(oldest.checked_sub(1))?.clock.clone();
        Some(Values {
            timestamp: clock.or_else(|| before.highest.timestamp.clone()),
            incrementing: before.highest.incrementing.clone(),
        })
    }

    /// Takes note of a look; `oldest` as above.
    pub fn note(&mut self, look: u64, oldest: u64, seen: Seen) {
        self.seen.push_back((look, seen));
        while self.seen.len() > Self::MOST || self.seen.front().is_some_and(|(seen, _)| seen + 2 < oldest) {
            self.seen.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_transaction_is_as_old_as_the_first_look_that_saw_it() {
        let mut running = Running::default();
        assert_eq!(running.note(list(&["3/7"])), (0, 0));
        assert_eq!(running.note(list(&["3/7", "4/1"])), (1, 0));
        assert_eq!(running.note(list(&["4/1"])), (2, 1));
        assert_eq!(running.note(list(&["3/8"])), (3, 3), "another transaction of the same session");
        assert_eq!(running.note(vec![]), (4, 4));
    }

    #[test]
    fn the_bound_is_what_was_seen_two_looks_before_the_oldest_and_the_clock_of_one_before() {
        let mut looks = Looks::default();
        for look in 0..5 {
            let highest = Values { timestamp: None, incrementing: Some(format!("{}", look * 10)) };
            looks.note(look, 2, Seen { clock: Some(format!("10:0{look}")), highest });
        }
        let bound = looks.bound(4).unwrap();
        assert_eq!((bound.timestamp.as_deref(), bound.incrementing.as_deref()), (Some("10:03"), Some("20")));
        assert_eq!(looks.bound(1), None, "nothing was seen so early");
        assert_eq!(looks.bound(0), None);
    }

    #[test]
    fn looks_that_nobody_needs_are_forgotten() {
        let mut looks = Looks::default();
        for look in 0..100 {
            looks.note(look, look, Seen::default());
        }
        assert!(looks.seen.len() <= 3);
        assert!(looks.bound(99).is_some());
    }
}
