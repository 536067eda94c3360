//! Connections that read parts of a chunk beside the task's own, in its snapshot (`source.connections`).
//!
//! The task's connection opens the chunk, holds the lock, and exports its snapshot; each companion takes that snapshot, the same
//! lock without queueing for it, and counts the window's ages for itself. So all parts are of one moment, and a row is in one of
//! them: what the chunk is to the watermark does not change.
//!
//! Nobody waits for a companion while the lock is held: those that a chunk could have used are opened before the next one, and
//! one that does not join at once is left out. Behind a pooler without a free server it would wait for the very transaction
//! that waits for it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::poll::sql::Source;
use crate::poll::{Ages, Window};
use crate::postgres::{Connection, Head};
use crate::worker::Shared;
use crate::{Error, Kind, Result};

/// How long to do without after one could not be had, and how long one rests before the server gets it back.
const REST: Duration = Duration::from_secs(60);
/// How long one may take to join.
const JOIN: Duration = Duration::from_secs(1);

/// Those of a task.
#[derive(Default)]
pub struct Companions {
    resting: Vec<Connection>,
    /// How many the last large chunk could have used.
    wanted: usize,
    used: Option<Instant>,
    not_before: Option<Instant>,
}

impl Companions {
    /// Opens those that are missing, while no transaction is open.
    pub async fn muster(&mut self, shared: &Shared) {
        self.resting.retain(|connection| !connection.client().is_closed());
        let missing = std::mem::take(&mut self.wanted).saturating_sub(self.resting.len());
        if missing == 0 || self.are_put_off() {
            return;
        }
        let open = || Connection::open(&shared.config.database, &shared.config.name);
        let mut failed = None;
        for opened in join_all((0..missing).map(|_| open())).await {
            match opened {
                Ok(connection) => self.resting.push(connection),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            self.put_off(&error);
        }
    }

    /// At most so many of them in the snapshot of the chunk that is open on `leader`, each with the window's ages in its
    /// transaction. An error leaves the leader's transaction in error.
    pub async fn join(
        &mut self,
        leader: &Connection,
        source: &Source,
        window: Window,
        head: &Head,
        count: usize,
    ) -> Result<Vec<(Connection, Ages)>> {
        self.wanted = count;
        let there = self.resting.len().saturating_sub(count);
        let called = self.resting.split_off(there);
        if called.is_empty() {
            return Ok(Vec::new());
        }
        let exported = leader.export_snapshot().await.map_err(|error| {
            self.put_off(&error);
            Error::new(Kind::Changed, "the server lets nobody else into a snapshot").because(error.causes())
        })?;
        let exported = exported.as_str();
        let join = |connection: Connection| async move {
            match timeout(JOIN, connection.join_chunk(exported, source, window, head)).await {
                Ok(Ok(ages)) => Ok((connection, ages)),
                Ok(Err(error)) => Err((Some(connection), error)),
                Err(_) => Err((None, Error::new(Kind::Locked, format!("no answer within {JOIN:?}")))),
            }
        };
        let mut joined = Vec::new();
        let mut failed = None;
        for companion in join_all(called.into_iter().map(join)).await {
            match companion {
                Ok(companion) => joined.push(companion),
                // An ALTER TABLE waits for the leader: this chunk is read without it.
                Err((Some(connection), error)) if error.kind() == Kind::Locked => {
                    if matches!(timeout(JOIN, connection.rollback()).await, Ok(Ok(()))) {
                        self.resting.push(connection);
                    }
                }
                Err((_, error)) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            self.put_off(&error);
        }
        Ok(joined)
    }

    /// Their parts are read: they rest.
    pub async fn part(&mut self, joined: Vec<(Connection, Ages)>) {
        self.used = Some(Instant::now());
        let end = |connection: Connection| async move { connection.commit().await.ok().map(|()| connection) };
        let ended = join_all(joined.into_iter().map(|(connection, _)| end(connection))).await;
        self.resting.extend(ended.into_iter().flatten());
    }

    /// Gives the server back what would have rested for too long by then.
    pub fn dismiss(&mut self, until: Instant) {
        if self.used.is_some_and(|used| until.saturating_duration_since(used) >= REST) {
            self.resting.clear();
        }
    }

    /// After a failure of the task's own connection nothing is thought of theirs.
    pub fn clear(&mut self) {
        self.resting.clear();
    }

    fn are_put_off(&self) -> bool {
        self.not_before.is_some_and(|not_before| Instant::now() < not_before)
    }

    fn put_off(&mut self, error: &Error) {
        tracing::info!(
            error = error.message(),
            cause = error.cause_text(),
            hint = error.hint_text(),
            "not as many as source.connections for a large table: it is read with fewer"
        );
        self.not_before = Some(Instant::now() + REST);
    }
}
