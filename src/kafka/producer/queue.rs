//! What the task's thread and the sender's share: how much is queued, what failed, which topics are known.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::failure::Failure;
use crate::{Error, Result};

/// Between the one who appends and the one who sends.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is known.
#[derive(Default)]
pub struct State {
    /// Records handed to the sender that the brokers have not acknowledged.
    pub records: usize,
    /// Their bytes, before compression.
    pub bytes: usize,
    /// The first failure since the transaction began.
    pub failed: Option<Failure>,
    /// How many partitions a topic has.
    pub partitions: HashMap<String, i32>,
    /// What kept the sender from the brokers at its last attempt.
    pub trouble: Option<(String, Option<String>)>,
}

impl State {
    /// Whether records are worth queueing; whose topic is refused is told with the commit.
    pub fn check(&self) -> Result<()> {
        match &self.failed {
            None | Some(Failure::Topic(..) | Failure::Gone(_)) => Ok(()),
            Some(failed) => Err(failed.error()),
        }
    }
}

impl Queue {
    /// Looks, or writes.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much need not be kept any more.
    pub fn done(&self, (records, bytes): (usize, usize)) {
        let mut state = self.lock();
        state.records = state.records.saturating_sub(records);
        state.bytes = state.bytes.saturating_sub(bytes);
        self.changed.notify_all();
    }

    /// The first failure counts.
    pub fn fail(&self, failure: Failure) {
        self.lock().failed.get_or_insert(failure);
        self.changed.notify_all();
    }

    /// A topic has so many partitions; `None`: it is not known any more.
    pub fn know(&self, topic: &str, partitions: Option<i32>) {
        let mut state = self.lock();
        match partitions {
            Some(partitions) => state.partitions.insert(topic.to_owned(), partitions),
            None => state.partitions.remove(topic),
        };
        self.changed.notify_all();
    }

    /// What is in the way; `None`: nothing any more.
    pub fn hinder(&self, trouble: Option<&Error>) {
        let told = |error: &Error| {
            let causes = error.causes();
            let text = if causes.is_empty() { error.to_string() } else { format!("{error}: {causes}") };
            (text, error.hint_text().map(str::to_owned))
        };
        self.lock().trouble = trouble.map(told);
    }

    /// Waits until something changes, at most so long.
    pub fn wait(&self, most: Duration) {
        let state = self.lock();
        drop(self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner));
    }
}
