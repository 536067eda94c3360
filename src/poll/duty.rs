//! The duty limit: a share of the time that may be spent reading deltas, so that a big table is not scanned all day.

use std::time::{Duration, Instant};

/// A share of the time. Historical loads, catching up and `--once` are exempt (DESIGN §3.3).
#[derive(Clone, Copy, Debug)]
pub struct Duty {
    /// One part in so many.
    one_in: u32,
}

impl Duty {
    /// What one object's deltas may take: 5 %.
    pub const OBJECT: Duty = Duty { one_in: 20 };
    /// What all deltas of a connector may take: 25 %, shared evenly by its tasks.
    pub const CONNECTOR: Duty = Duty { one_in: 4 };

    /// The share of one task of so many.
    pub fn shared_by(self, tasks: u32) -> Duty {
        Duty { one_in: self.one_in.saturating_mul(tasks.max(1)) }
    }

    /// When the next reading may begin, after one that began at `started` and took `busy`.
    pub fn next(&self, started: Instant, busy: Duration) -> Instant {
        started + busy.saturating_mul(self.one_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_of_a_second_may_come_every_twenty() {
        let started = Instant::now();
        assert_eq!(Duty::OBJECT.next(started, Duration::from_secs(1)), started + Duration::from_secs(20));
        assert_eq!(
            Duty::CONNECTOR.shared_by(2).next(started, Duration::from_secs(1)),
            started + Duration::from_secs(8)
        );
    }
}
