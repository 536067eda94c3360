//! The settled window: the half-open range of transaction ids that one sweep delivers (DESIGN §3.1).

use super::moment::Snapshot;

/// `age()` cannot tell ids apart that are 2^31 or more away; ten millions are kept back for what runs meanwhile.
const REACH: u64 = (1 << 31) - 10_000_000;

/// Exactly the row versions with `from ≤ xmin < to`. `to` was a snapshot's `xmin`, so the window is settled: whoever looks
/// later, in whatever transaction, finds the same versions, less those that were replaced meanwhile (and those come with a
/// later window). `from` = 0 is the historical load: it has no lower bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first id in it; 0: no lower bound.
    pub from: u64,
    /// The first id behind it; [`Window::OPEN`]: whatever the snapshot sees.
    pub to: u64,
}

/// Whether a snapshot may read a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It sees the whole window.
    Clear,
    /// The server has not come as far as the window's end: a standby that lags, or an older copy.
    Behind,
    /// The window's start is too many ids ago to be told from its future.
    Faded,
}

/// `age(from)` and `age(to)`, computed by the server in the transaction that uses them: the base of `age` is fixed per
/// transaction and differs between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// `age(from)`; of no meaning for a load.
    pub from: i32,
    /// `age(to)`.
    pub to: i32,
}

impl Window {
    /// The end of a window that has none.
    pub const OPEN: u64 = u64::MAX;

    /// Whether it has no end: what is in it may be known to one snapshot only.
    pub fn is_open(&self) -> bool {
        self.to == Self::OPEN
    }

    /// Whether it is the historical load.
    pub fn is_load(&self) -> bool {
        self.from == 0
    }

    /// Whether nothing can lie in it.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether this snapshot may read the window.
    pub fn sight(&self, snapshot: &Snapshot) -> Sight {
        let oldest = if self.is_load() { self.to } else { self.from };
        let settled = if self.is_open() { self.from } else { self.to };
        if snapshot.xmin < settled {
            Sight::Behind
        } else if snapshot.xmax.saturating_sub(oldest) >= REACH {
            Sight::Faded
        } else {
            Sight::Clear
        }
    }

    /// The condition on a row. Both bounds are needed: without the upper one every row older than 2^31 ids returns at
    /// every poll. The load asks for "not newer", as a frozen row keeps its raw id for ever, whose age may be negative.
    pub fn filter(&self, ages: Ages) -> String {
        if self.is_open() {
            format!("pg_catalog.age(xmin) BETWEEN 0 AND {}", ages.from)
        } else if self.is_load() {
            format!("NOT (pg_catalog.age(xmin) BETWEEN 0 AND {})", ages.to)
        } else {
            format!("pg_catalog.age(xmin) <= {} AND pg_catalog.age(xmin) > {}", ages.from, ages.to)
        }
    }
}

/// The condition that a row's id is none of these.
pub fn except(ids: impl IntoIterator<Item = u64>) -> Option<String> {
    let ids: Vec<String> = ids.into_iter().map(|id| raw(id).to_string()).collect();
    (!ids.is_empty()).then(|| format!("NOT (xmin = ANY ('{{{}}}'::pg_catalog.xid[]))", ids.join(",")))
}

/// The 32 bits of an id that a row carries.
pub fn raw(xid: u64) -> u32 {
    xid as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(xmin: u64, xmax: u64) -> Snapshot {
        Snapshot { xmin, xmax, running: 0 }
    }

    #[test]
    fn a_delta_has_both_bounds_and_a_load_only_the_upper_one() {
        let ages = Ages { from: 120, to: 7 };
        assert_eq!(
            Window { from: 700, to: 813 }.filter(ages),
            "pg_catalog.age(xmin) <= 120 AND pg_catalog.age(xmin) > 7"
        );
        assert_eq!(Window { from: 0, to: 813 }.filter(ages), "NOT (pg_catalog.age(xmin) BETWEEN 0 AND 7)");
    }

    #[test]
    fn an_open_window_takes_what_the_snapshot_sees_from_its_floor_on() {
        let open = Window { from: 700, to: Window::OPEN };
        assert_eq!(open.filter(Ages { from: 120, to: 120 }), "pg_catalog.age(xmin) BETWEEN 0 AND 120");
        assert_eq!(open.sight(&snapshot(700, 900)), Sight::Clear);
        assert_eq!(open.sight(&snapshot(699, 900)), Sight::Behind);
        assert_eq!(except([703, (1 << 32) + 5]).unwrap(), "NOT (xmin = ANY ('{703,5}'::pg_catalog.xid[]))");
        assert_eq!(except([]), None);
    }

    #[test]
    fn a_snapshot_that_has_not_come_as_far_must_wait() {
        let window = Window { from: 700, to: 813 };
        assert_eq!(window.sight(&snapshot(812, 900)), Sight::Behind);
        assert_eq!(window.sight(&snapshot(813, 900)), Sight::Clear);
    }

    #[test]
    fn a_window_that_began_two_billion_ids_ago_has_faded() {
        let now = 5_000_000_000;
        let oldest = now - REACH;
        assert_eq!(Window { from: oldest, to: now }.sight(&snapshot(now, now)), Sight::Faded);
        assert_eq!(Window { from: oldest + 1, to: now }.sight(&snapshot(now, now)), Sight::Clear);
        // A load has no start that could fade; its end can, when the load takes that long.
        assert_eq!(Window { from: 0, to: now }.sight(&snapshot(now, now)), Sight::Clear);
        assert_eq!(Window { from: 0, to: oldest }.sight(&snapshot(now, now)), Sight::Faded);
    }
}
