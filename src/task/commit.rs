//! Commits: rows and watermarks in one Kafka transaction, which ends while the next rows are read already.

use std::time::{Duration, Instant};

use super::Task;
use crate::object::Plan;
use crate::owner::{Owner, Refusal};
use crate::{Error, Kind, Result};

/// Windows in which nothing was found are stored with the next rows, at the end, or after this long.
const EMPTY_WINDOWS: Duration = Duration::from_secs(60);
/// How long to wait for the log to reach the disk before the first commit of a sweep.
const FLUSH: Duration = Duration::from_secs(1);

impl Task {
    /// Begins to commit what is long or large enough.
    pub(super) async fn commit_due(&mut self) -> Result<()> {
        let due: Vec<i32> = self.owners.values().filter(|owner| owner.is_full()).map(|owner| owner.partition).collect();
        for partition in due {
            self.commit(partition).await?;
        }
        Ok(())
    }

    /// Commits whatever is open, and waits for it; at the end, and now and then, empty windows too.
    pub(super) async fn commit_all(&mut self, last: bool) -> Result<()> {
        let due = |owner: &Owner| {
            owner.open_for().is_some() || ((last || owner.committed_at.elapsed() >= EMPTY_WINDOWS) && owner.is_dirty())
        };
        let due: Vec<i32> = self.owners.values().filter(|owner| due(owner)).map(|owner| owner.partition).collect();
        for partition in due {
            self.commit(partition).await?;
        }
        self.settle_all()?;
        for owner in self.owners.values_mut() {
            owner.tell_failures(&self.shared)?;
        }
        Ok(())
    }

    /// Begins a commit, after the one before: the next rows are read while Kafka is at it.
    async fn commit(&mut self, partition: i32) -> Result<()> {
        self.settle(partition)?;
        self.confirm(partition).await?;
        let Some(owner) = self.owners.get_mut(&partition) else { return Ok(()) };
        match owner.begin_commit(&self.shared.offsets) {
            Ok(()) => Ok(()),
            Err(error) => self.refused(partition, error),
        }
    }

    /// Waits for the commit that is under way.
    pub(super) fn settle(&mut self, partition: i32) -> Result<()> {
        let Some(owner) = self.owners.get_mut(&partition) else { return Ok(()) };
        match owner.settle(&self.shared.offsets) {
            Ok(()) => Ok(()),
            Err(error) => self.refused(partition, error),
        }
    }

    pub(super) fn settle_all(&mut self) -> Result<()> {
        let partitions: Vec<i32> = self.owners.keys().copied().collect();
        partitions.into_iter().try_for_each(|partition| self.settle(partition))
    }

    /// Whether a transaction was refused for the sake of some objects alone.
    pub(super) fn is_refused(&self, partition: i32) -> bool {
        let letters = self.shared.config.errors.topic.as_deref();
        self.owners.get(&partition).is_some_and(|owner| owner.refusal(letters).is_some())
    }

    /// A transaction was refused: for the sake of one topic, and then the objects fail alone that write to it, or altogether.
    pub(super) fn refused(&mut self, partition: i32, error: Error) -> Result<()> {
        let config = &self.shared.config;
        let letters = config.errors.topic.as_deref();
        let Some(owner) = self.owners.get_mut(&partition) else { return Err(error) };
        let Some(Refusal { topic, of_letters, objects }) = owner.refusal(letters) else {
            return Err(self.shared.name_successor(partition, error));
        };
        let taken = self.shared.admin.largest(&config.kafka, &topic)?;
        let largest = |plan: &Plan| if of_letters { plan.largest_letter } else { plan.largest };
        for name in objects {
            let (Some((_, why)), Some(object)) = (owner.producer.refusal(), owner.objects.get_mut(&name)) else {
                continue;
            };
            if taken < object.plan.as_ref().map_or(0, largest) {
                tracing::warn!(object = %name, topic, "the topic takes less than it did: its rows are judged anew");
                object.plan = None;
                continue;
            }
            let why = if of_letters { of_letter(&why) } else { why };
            tracing::error!(object = %name, topic, error = why.message(), cause = why.cause_text(), hint = why.hint_text(), "object failed");
            object.failed = Some(why.object(name.to_string()));
        }
        self.take_back(partition)
    }

    /// Waits, not for long, until the log is on disk as far as the sweeps to be committed reach into it: until then a crash
    /// of the server could take rows back that we publish. What is not confirmed now may be by a later look.
    async fn confirm(&mut self, partition: i32) -> Result<()> {
        // With --once there is no later look: what stays unconfirmed is loaded again if the server restarts before the next run.
        let patience = if self.shared.once { FLUSH } else { Duration::ZERO };
        let deadline = (self.looked_at + FLUSH).max(Instant::now() + patience);
        let unconfirmed = |owner: &Owner| {
            owner.rows > 0
                && owner.objects.values().any(|object| {
                    object.is_dirty() && (object.read_until.is_some() || !object.pending.history.is_confirmed())
                })
        };
        while self.owners.get(&partition).is_some_and(unconfirmed) {
            let connection = self.take_connection().await?;
            let moment = connection.moment().await?;
            self.connection = Some(connection);
            if self.moment.as_ref().is_none_or(|known| known.markers != moment.markers) {
                return Err(Error::new(Kind::History, "another server answers than a moment ago, or it restarted"));
            }
            for object in self.owners.values_mut().flat_map(|owner| owner.objects.values_mut()) {
                object.pending.history.confirm(moment.flushed);
                object.read_until = object.read_until.filter(|lsn| *lsn > moment.flushed);
            }
            if Instant::now() >= deadline || self.shared.stop.is_cancelled() {
                break;
            }
            if self.owners.get(&partition).is_some_and(unconfirmed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// Gives the open transaction up. If the one before turns out to be refused, the object is FAILED for whose sake it was.
    pub(super) fn take_back(&mut self, partition: i32) -> Result<()> {
        self.settle(partition)?;
        let (Some(owner), Some(moment)) = (self.owners.get_mut(&partition), &self.moment) else { return Ok(()) };
        self.next_look = Instant::now();
        owner.abort(moment, &self.shared.offsets).map_err(|error| self.shared.name_successor(partition, error))
    }
}

/// Why a letter is refused: the topic is none of its object's own.
fn of_letter(why: &Error) -> Error {
    let hint = why.hint_text().unwrap_or_default();
    Error::new(Kind::Topic, format!("a row has to go to the dead-letter topic, and {}", why.message()))
        .because(why.causes())
        .hint(format!("{hint}; or mend the row"))
}
