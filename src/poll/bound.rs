//! The cursor's bound (DESIGN §3.6): from which value on a transaction's rows are found by the index.
//!
//! A pair `(X, L)` says: every transaction with an id from `X` on writes cursors above `L`, as far as cursors are honest.
//! `Λ(x)` is the `L` of the newest pair with `X ≤ x`. A poll delivers a row version iff its cursor is above `Λ(xmin)`, the
//! periodic sweep delivers it iff it is not. Both read the same windows of transaction ids, so together they deliver every
//! version exactly once, **whatever the cursors hold**: a wrong bound costs time until the next sweep, never a row.
//!
//! That `Λ` never changes for an id below a window's end is what makes it exact: a pair that is added has the `xmax` of the
//! snapshot at hand as its `X`, and every window read so far ends at or below that.

use postgres_protocol::escape::escape_literal;

use super::mode::Cursor;
use super::window::{Ages, Window};

/// Cursor values as PostgreSQL prints them under the pinned session; one for each column of the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Of the timestamp column.
    pub timestamp: Option<String>,
    /// Of the incrementing column.
    pub incrementing: Option<String>,
}

/// Transactions with ids from `xmax` on write cursors above `values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// A snapshot's `xmax`.
    pub xmax: u64,
    /// What later cursors exceed.
    pub values: Values,
}

/// The bounds of one object, oldest first; both ids and values ascend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pairs: Vec<Bound>,
}

/// Which rows of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Above the bound: what a poll delivers.
    Above,
    /// At or below the bound, or without a cursor: what the sweep delivers.
    Below,
}

impl Bounds {
    /// The most pairs kept: a state must stay far below 64 KiB.
    pub const MOST: usize = 360;

    /// As stored, oldest first.
    pub fn from_pairs(pairs: Vec<Bound>) -> Self {
        Bounds { pairs }
    }

    /// Oldest first.
    pub fn pairs(&self) -> &[Bound] {
        &self.pairs
    }

    /// The newest.
    pub fn last(&self) -> Option<&Bound> {
        self.pairs.last()
    }

    /// Adds a pair. One that says nothing new is left out; so is one too many, which costs time only.
    pub fn add(&mut self, bound: Bound) {
        let news = self.last().is_none_or(|last| last.xmax < bound.xmax && last.values != bound.values);
        if news && self.pairs.len() < Self::MOST {
            self.pairs.push(bound);
        }
    }

    /// Drops what no window from `floor` on asks for.
    pub fn forget(&mut self, floor: u64) {
        let needed = self.pairs.iter().rposition(|pair| pair.xmax <= floor).unwrap_or(0);
        self.pairs.drain(..needed);
    }

    /// Ids from `xmin` on are given out again: what was said of them is void.
    pub fn fall_back(&mut self, xmin: u64) {
        self.pairs.retain(|pair| pair.xmax <= xmin);
    }

    /// `Λ(xid)`.
    pub fn of(&self, xid: u64) -> Option<&Values> {
        self.pairs.iter().rev().find(|pair| pair.xmax <= xid).map(|pair| &pair.values)
    }

    /// Above which values the index has every row that a poll of this window delivers; none: it has to read all rows.
    pub fn index(&self, cursor: &Cursor, window: Window) -> Option<String> {
        let values = self.of(window.from)?;
        match (
            compare(cursor.timestamp_sql(), &values.timestamp),
            compare(cursor.incrementing_sql(), &values.incrementing),
        ) {
            (Some(timestamp), None) => Some(timestamp),
            (None, Some(incrementing)) => Some(incrementing),
            (Some(timestamp), Some(incrementing)) => {
                let column = cursor.timestamp_sql()?;
                Some(format!("({timestamp} OR ({column} IS NULL AND {incrementing}))"))
            }
            (None, None) => None,
        }
    }

    /// The condition on a row of the window. Ages are those of the window's ends in the transaction at hand, from which
    /// the ages of the pairs follow.
    pub fn filter(&self, cursor: &Cursor, window: Window, ages: Ages, side: Side) -> String {
        let within = |pair: &&Bound| pair.xmax > window.from && (window.is_open() || pair.xmax < window.to);
        let mut cases = String::new();
        for pair in self.pairs.iter().rev().filter(within) {
            // From the end that is nearer to be told apart: both lie within the reach of `age`.
            let age = if window.is_open() {
                i64::from(ages.from) - distance(window.from, pair.xmax)
            } else {
                i64::from(ages.to) + distance(pair.xmax, window.to)
            };
            cases += &format!("WHEN pg_catalog.age(xmin) <= {age} THEN {} ", above(cursor, &pair.values));
        }
        let rest = self.of(window.from).map_or_else(|| "true".to_owned(), |values| above(cursor, values));
        let above = if cases.is_empty() { rest } else { format!("CASE {cases}ELSE {rest} END") };
        match side {
            Side::Above => format!("({above})"),
            Side::Below => format!("({above}) IS NOT TRUE"),
        }
    }
}

fn distance(from: u64, to: u64) -> i64 {
    i64::try_from(to.saturating_sub(from)).unwrap_or(i64::MAX)
}

/// NULL where the row has no cursor. A row without a timestamp counts by its id, where there is one.
fn above(cursor: &Cursor, values: &Values) -> String {
    let timestamp = compare(cursor.timestamp_sql(), &values.timestamp);
    let incrementing = compare(cursor.incrementing_sql(), &values.incrementing);
    match (timestamp, incrementing) {
        (Some(timestamp), Some(incrementing)) => format!("coalesce({timestamp}, {incrementing})"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "true".to_owned(),
    }
}

fn compare(column: Option<String>, value: &Option<String>) -> Option<String> {
    Some(format!("{} > {}", column?, escape_literal(value.as_deref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp() -> Cursor {
        Cursor { timestamp: Some("at".into()), incrementing: None }
    }

    fn pair(xmax: u64, at: &str) -> Bound {
        Bound { xmax, values: Values { timestamp: Some(at.into()), incrementing: None } }
    }

    fn bounds() -> Bounds {
        let mut bounds = Bounds::default();
        for (xmax, at) in [(100, "10:00"), (200, "10:05"), (300, "10:10")] {
            bounds.add(pair(xmax, at));
        }
        bounds
    }

    const AGES: Ages = Ages { from: 90, to: 10 };

    #[test]
    fn the_bound_of_an_id_is_that_of_the_newest_pair_at_or_below_it() {
        let bounds = bounds();
        assert_eq!(bounds.of(99), None);
        assert_eq!(bounds.of(100).unwrap().timestamp.as_deref(), Some("10:00"));
        assert_eq!(bounds.of(299).unwrap().timestamp.as_deref(), Some("10:05"));
    }

    #[test]
    fn without_a_pair_a_poll_takes_all_and_the_sweep_nothing() {
        let window = Window { from: 50, to: 90 };
        assert_eq!(bounds().filter(&timestamp(), window, AGES, Side::Above), "(true)");
        assert_eq!(bounds().filter(&timestamp(), window, AGES, Side::Below), "(true) IS NOT TRUE");
        assert_eq!(bounds().index(&timestamp(), window), None);
    }

    #[test]
    fn a_window_over_several_pairs_asks_each_row_by_its_own_id() {
        let window = Window { from: 150, to: 310 };
        assert_eq!(
            bounds().filter(&timestamp(), window, AGES, Side::Above),
            "(CASE WHEN pg_catalog.age(xmin) <= 20 THEN \"at\" > '10:10' \
             WHEN pg_catalog.age(xmin) <= 120 THEN \"at\" > '10:05' ELSE \"at\" > '10:00' END)"
        );
        assert_eq!(bounds().index(&timestamp(), window).unwrap(), "\"at\" > '10:00'");
        let open = Window { from: 150, to: Window::OPEN };
        assert!(
            bounds().filter(&timestamp(), open, AGES, Side::Above).contains("age(xmin) <= -60 THEN \"at\" > '10:10'")
        );
    }

    #[test]
    fn a_row_without_a_timestamp_counts_by_its_id() {
        let both = Cursor { timestamp: Some("at".into()), incrementing: Some("id".into()) };
        let values = Values { timestamp: Some("10:00".into()), incrementing: Some("7".into()) };
        let bounds = Bounds::from_pairs(vec![Bound { xmax: 100, values }]);
        let window = Window { from: 100, to: 110 };
        let above = bounds.filter(&both, window, AGES, Side::Above);
        assert_eq!(above, "(coalesce(\"at\" > '10:00', \"id\" > '7'))");
        assert_eq!(bounds.index(&both, window).unwrap(), "(\"at\" > '10:00' OR (\"at\" IS NULL AND \"id\" > '7'))");
    }

    #[test]
    fn pairs_are_dropped_but_the_one_that_still_counts() {
        let mut kept = bounds();
        kept.forget(250);
        assert_eq!(kept.pairs().iter().map(|pair| pair.xmax).collect::<Vec<_>>(), [200, 300]);
        kept.forget(50);
        assert_eq!(kept.pairs().len(), 2);
        kept.fall_back(260);
        assert_eq!(kept.pairs().iter().map(|pair| pair.xmax).collect::<Vec<_>>(), [200]);
    }

    #[test]
    fn a_value_is_a_literal_whatever_it_holds() {
        let bounds = Bounds::from_pairs(vec![pair(1, "'; DROP TABLE t; --")]);
        assert_eq!(bounds.index(&timestamp(), Window { from: 1, to: 2 }).unwrap(), "\"at\" > '''; DROP TABLE t; --'");
    }
}
