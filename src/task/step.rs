//! One step of a table: open the chunk, look, read, hand over, move on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::{Task, gone};
use crate::headers::Headers;
use crate::lead::Lead;
use crate::object::{Next, Object, Plan};
use crate::poll::{Guard, Sight, Stream, TableName, Work, sql};
use crate::postgres::{Connection, Head, Rows};
use crate::reading::{Ahead, Reading, Tally};
use crate::unfit::Unfit;
use crate::{Error, Kind, Result};

impl Task {
    /// Reads one chunk of the object's next work and hands it to the producer. The connection is put back only if it is in
    /// order: after an error on the way the next look opens another.
    ///
    /// How long PostgreSQL took over it.
    pub(super) async fn try_step(&mut self, partition: i32, name: &TableName) -> Result<Duration> {
        let shared = Arc::clone(&self.shared);
        let connection = self.take_connection().await?;
        self.companions.muster(&shared).await;
        let owner = self.owners.get_mut(&partition).ok_or_else(|| gone(name))?;
        let object = owner.objects.get_mut(name).ok_or_else(|| gone(name))?;
        let Some(work) = object.next() else {
            object.finish(self.moment.as_ref());
            self.connection = Some(connection);
            return Ok(Duration::ZERO);
        };
        let mut source = object.source(&work)?;
        let began = Instant::now();
        let mut head = match connection.open_chunk(&source, work.window).await {
            Ok(head) => head,
            Err(error) => {
                // The transaction is in error, the connection is not.
                if connection.rollback().await.is_ok() {
                    self.connection = Some(connection);
                }
                return Err(error);
            }
        };
        if self.moment.as_ref().is_none_or(|moment| moment.markers != head.moment.markers) {
            return Err(Error::new(Kind::History, "another server answers than a moment ago, or it restarted"));
        }
        if head.place.oid != source.leaf {
            return Err(Error::new(Kind::Changed, format!("{} is another table now", source.leaf_name)));
        }
        // What the catalog showed last may have changed since, and now the lock holds it still.
        source.constraint.clone_from(&head.place.constraint);
        if !in_sight(&connection, object, &work, &head).await? {
            self.connection = Some(connection);
            return Ok(Duration::ZERO);
        }
        if !work.window.is_open() && object.lacks_defaults(work.leaf, &head.defaulted) {
            connection.rollback().await?;
            self.connection = Some(connection);
            return Ok(Duration::ZERO);
        }
        head.description = object.polling.shape.apply(head.description)?;
        if object.plan.as_ref().is_none_or(|plan| plan.description != head.description) {
            connection.commit().await?;
            if let Some(filter) = &object.polling.shape.filter {
                connection.check_filter(filter).await?;
            }
            let plan =
                Plan::make(&shared.config, &shared.registry, &shared.admin, object, head.description, &self.settings)
                    .await?;
            object.warn_of_missing_index(&plan, &connection).await?;
            self.connection = Some(connection);
            object.plan = Some(plan);
            return Ok(Duration::ZERO);
        }
        let chunk = match work.stream.is_chunked() {
            false => None,
            true => {
                let (next, rewritten) = object.cut(&work, &head);
                if rewritten {
                    tracing::warn!(object = %name, leaf = %source.leaf_name, "the table was rewritten (VACUUM FULL, CLUSTER): this sweep begins again, and rows already sent come again");
                }
                let Next::Read(chunk) = next else {
                    connection.commit().await?;
                    self.connection = Some(connection);
                    object.complete(&work);
                    object.finish_if_done(self.moment.as_ref());
                    return Ok(began.elapsed());
                };
                Some(chunk)
            }
        };
        object.closer = self.closer.contains(name);
        let plan = object.plan.as_ref().ok_or_else(|| gone(name))?;
        let guard = plan.guard.as_ref().filter(|_| source.tree || Guard::is_needed(head.toast, plan.largest));
        let now = jiff::Timestamp::now().as_millisecond();
        let (mode, asked) = (&object.polling.mode, &shared.config.topic.headers);
        let headers = Headers::new(asked, &object.name, mode.name(), work.window.is_load(), now);
        let eager = work.stream == Stream::Eager;
        let lead = Lead {
            xid: eager || object.closer || headers.as_ref().is_some_and(Headers::with_xid),
            place: object.closer,
            marker: guard.map(|guard| guard.marker.clone()),
            text: None,
        };
        let columns = guard.map_or(plan.encoder.select_list(), |guard| &guard.columns);
        let columns = lead.select() + columns;
        let parts = |most: usize| match chunk {
            Some(chunk) if source.lock && !source.tree => chunk.parts(most, head.place.blocks),
            _ => chunk.into_iter().collect(),
        };
        let most = parts(shared.config.source_connections.into()).len().saturating_sub(1);
        let companions = self.companions.join(&connection, &source, work.window, &head, most).await?;
        if !companions.is_empty() {
            tracing::debug!(object = %name, connections = companions.len() + 1, "side by side");
        }
        let mut of_each = parts(companions.len() + 1).into_iter();
        let mut copy = |connection, ages| {
            let conditions = work.conditions(of_each.next(), &object.pending, &object.polling, ages);
            let sql = sql::copy(&source, &columns, &conditions);
            async move { Connection::copy(connection, &sql).await }
        };
        let copied = Instant::now();
        let own = copy(&connection, head.ages);
        let theirs = companions.iter().map(|(companion, ages)| copy(companion, *ages));
        let mut tuples = Rows::default();
        for rows in try_join_all(std::iter::once(own).chain(theirs)).await? {
            tuples.beside(rows);
        }
        let (topic, can_shrink) = (object.topic.clone(), object.can_shrink(&work));
        let mut reading = Reading {
            shared: &shared,
            object: name.clone(),
            topic,
            looking_back: None,
            can_shrink,
            headers,
            lead,
            ahead: eager.then(|| Ahead::of(object.room_ahead())),
            // A pass of bulk that is broken off begins its closing anew.
            between: work.stream == Stream::Closing,
            unfit: Unfit::new(&shared.config, object).of_table(&source, work.window),
            counted: Tally::default(),
        };
        let mut plan = object.plan.take().ok_or_else(|| gone(name))?;
        let before = owner.filled();
        // An error drops the connections, and with them the rest of the COPY and the lock.
        let read = reading.read(&connection, tuples, &mut plan, owner, &mut self.batch).await;
        let target = crate::poll::target(owner.producer.transaction_timeout());
        let object = owner.objects.get_mut(name).ok_or_else(|| gone(name))?;
        object.plan = Some(plan);
        if reading.unfit.look_closer {
            self.closer.insert(name.clone());
        }
        if matches!(&read, Err(error) if error.kind() == Kind::Stalled) {
            object.give_up(&work);
        }
        if reading.ahead.as_ref().is_some_and(Ahead::is_beyond) {
            tracing::info!(object = %name, "more transactions than are remembered wrote rows beyond the settled window: they wait for it");
            object.spend(began.elapsed());
            object.finish_if_done(self.moment.as_ref());
            // Nobody else is to blame: only what is in one transaction with its rows is read again.
            if owner.filled() != before {
                self.take_back(partition)?;
            }
            return Ok(began.elapsed());
        }
        let (rows, bytes) = read?;
        if !source.lock {
            let again = connection.place_again(&source).await?;
            if (again.filenode, again.oid, &again.constraint)
                != (head.place.filenode, head.place.oid, &head.place.constraint)
            {
                return Err(Error::new(Kind::Changed, "the table was rewritten while it was read without a lock"));
            }
        }
        connection.commit().await?;
        self.connection = Some(connection);
        let busy = u32::try_from(companions.len()).unwrap_or(0) + 1;
        self.companions.part(companions).await;
        reading.count(object, rows, bytes);
        match chunk {
            Some(chunk) => {
                object.pace = object.pace.after(copied.elapsed(), bytes, target);
                object.advance(&work, &head, chunk);
            }
            None => object.read_whole(&work, &head, reading.ahead.map(|ahead| ahead.ids).unwrap_or_default()),
        }
        object.progress(&work, &source, &head, rows);
        // What each of them took.
        let took = began.elapsed() * busy;
        object.spend(took);
        object.finish_if_done(self.moment.as_ref());
        Ok(took)
    }
}

/// Whether the snapshot may read the window. If it is too old to be told from its future, the leaf is loaded again.
async fn in_sight(connection: &Connection, object: &mut Object, work: &Work, head: &Head) -> Result<bool> {
    match work.window.sight(&head.moment.snapshot) {
        Sight::Clear => Ok(true),
        Sight::Behind => {
            connection.rollback().await?;
            Err(Error::new(Kind::Locked, "the server has not come as far as the window: a standby that lags"))
        }
        Sight::Faded => {
            connection.rollback().await?;
            tracing::warn!(object = %object.name, xmin = work.window.from, "too many transactions ago to tell ids apart: the table is loaded again");
            match work.stream {
                Stream::Closing => object.pending.leaves.clear(),
                _ => drop(object.pending.leaves.remove(&work.leaf)),
            }
            object.sweep = None;
            Ok(false)
        }
    }
}
