//! What follows from a failure: one `match` on its kind, and the delays between attempts.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::Kind;

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Take the open transaction back, wait a little, look at the server again through a new connection.
    Reconnect,
    /// Take the open transaction back and look at the server again now: something changed under the step.
    LookAgain,
    /// Leave this object for a while; it was nobody's fault.
    Later,
    /// Mark this object FAILED; the others go on.
    Fail,
    /// Drop the producer, forget what was believed of its objects, and go through the start sequence again.
    Rebuild,
    /// End the process.
    Stop,
}

/// Keep what is tried again narrow: what a person must mend is not.
pub fn answer(kind: Kind) -> Answer {
    match kind {
        Kind::Unreachable | Kind::Refused | Kind::Transient => Answer::Reconnect,
        Kind::History | Kind::Changed | Kind::Stalled => Answer::LookAgain,
        Kind::Locked | Kind::Registry | Kind::Busy => Answer::Later,
        Kind::Denied | Kind::Row | Kind::Schema | Kind::Incompatible | Kind::Topic | Kind::Offsets => Answer::Fail,
        Kind::Kafka | Kind::Transaction | Kind::Outlived => Answer::Rebuild,
        Kind::Fenced | Kind::Forgotten | Kind::Config | Kind::Io => Answer::Stop,
    }
}

/// The delays between attempts: from a quarter of a second to half a minute, doubled each time, with jitter, so that many
/// tasks do not return to a struggling server at once.
#[derive(Debug, Default)]
pub struct Delays {
    next: Option<backon::ExponentialBackoff>,
}

impl Delays {
    const FIRST: Duration = Duration::from_millis(250);
    const MOST: Duration = Duration::from_secs(30);

    /// How long to wait before the next attempt.
    pub fn delay(&mut self) -> Duration {
        let delays = self.next.get_or_insert_with(|| {
            ExponentialBuilder::new()
                .with_min_delay(Self::FIRST)
                .with_max_delay(Self::MOST)
                .without_max_times()
                .with_jitter()
                .build()
        });
        delays.next().unwrap_or(Self::MOST)
    }

    /// It worked: the next failure is a first one again.
    pub fn reset(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_mend_is_not_tried_again() {
        for kind in [Kind::Denied, Kind::Row, Kind::Schema, Kind::Incompatible, Kind::Topic, Kind::Offsets] {
            assert_eq!(answer(kind), Answer::Fail, "{kind:?}");
        }
        assert_eq!(answer(Kind::Fenced), Answer::Stop);
        assert_eq!(answer(Kind::Unreachable), Answer::Reconnect);
    }

    #[test]
    fn delays_grow_and_begin_anew_after_success() {
        let mut delays = Delays::default();
        let first = delays.delay();
        for _ in 0..20 {
            delays.delay();
        }
        assert!(delays.delay() >= Delays::MOST && delays.delay() <= 2 * Delays::MOST);
        delays.reset();
        assert!(first < Duration::from_secs(1) && delays.delay() < Duration::from_secs(1));
    }
}
