//! Connections that read parts of a chunk beside the task's own, in its snapshot (`source.connections`).
//!
//! The task's connection opens the chunk, holds the lock, and exports its snapshot; each companion takes that snapshot, the same
//! lock without queueing for it, and counts the window's ages for itself. So all parts are of one moment, and a row is in one of
//! them: what the chunk is to the watermark does not change. Where a companion cannot be had the chunk has fewer parts.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::poll::sql::Source;
use crate::poll::{Ages, Window};
use crate::postgres::{Connection, Head};
use crate::worker::Shared;
use crate::{Error, Kind, Result};

/// How long to do without after the server took no further connection, and how long one rests before the server gets it back.
const REST: Duration = Duration::from_secs(60);

/// Those of a task.
#[derive(Default)]
pub struct Companions {
    resting: Vec<Connection>,
    used: Option<Instant>,
    not_before: Option<Instant>,
}

impl Companions {
    /// So many of them in the snapshot of the chunk that is open on `leader`, as far as they can be had, each with the window's
    /// ages in its transaction.
    pub async fn join(
        &mut self,
        shared: &Shared,
        leader: &Connection,
        source: &Source,
        window: Window,
        head: &Head,
        count: usize,
    ) -> Result<Vec<(Connection, Ages)>> {
        if count == 0 || self.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return Ok(Vec::new());
        }
        let exported = match leader.export_snapshot().await {
            Ok(exported) => exported,
            Err(error) => {
                // The leader's transaction is in error now, and the next one will do without.
                self.put_off(&error);
                return Err(error);
            }
        };
        let exported = exported.as_str();
        let mut resting = std::mem::take(&mut self.resting);
        let join = |connection: Option<Connection>| async move {
            let connection = match connection {
                Some(connection) => connection,
                None => Connection::open(&shared.config.database, &shared.config.name).await?,
            };
            let ages = connection.join_chunk(exported, source, window, head).await?;
            Ok::<_, Error>((connection, ages))
        };
        let mut joined = Vec::new();
        for companion in join_all((0..count).map(|_| join(resting.pop()))).await {
            match companion {
                Ok(companion) => joined.push(companion),
                // An ALTER TABLE waits for the leader: this chunk is read without it.
                Err(error) if error.kind() == Kind::Locked => {
                    tracing::debug!(cause = error.cause_text(), "no companion")
                }
                Err(error) => self.put_off(&error),
            }
        }
        Ok(joined)
    }

    /// Their parts are read.
    pub async fn part(&mut self, joined: Vec<(Connection, Ages)>) -> Result<()> {
        for (connection, _) in joined {
            connection.commit().await?;
            self.resting.push(connection);
            self.used = Some(Instant::now());
        }
        Ok(())
    }

    /// Gives the server back what has not been used for a while.
    pub fn dismiss(&mut self) {
        if self.used.is_some_and(|used| used.elapsed() >= REST) {
            self.resting.clear();
        }
    }

    fn put_off(&mut self, error: &Error) {
        tracing::info!(
            error = error.message(),
            cause = error.cause_text(),
            hint = "fewer source.connections",
            "no further connection for a large table: it is read with those there are"
        );
        self.not_before = Some(Instant::now() + REST);
    }
}
