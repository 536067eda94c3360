//! One poll of a query: a transaction that can only read, one snapshot, as many Kafka transactions as the rows need.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Task, gone};
use crate::headers::Headers;
use crate::lead::Lead;
use crate::lookback::{LookingBack, query_cursor, texts};
use crate::object::Plan;
use crate::poll::{Stream, TableName, Window, Work, sql};
use crate::reading::{Reading, Tally};
use crate::unfit::Unfit;
use crate::{Error, Kind, Result};

impl Task {
    /// Reads the object's query and hands its rows to the producer.
    pub(super) async fn try_query(&mut self, partition: i32, name: &TableName) -> Result<Duration> {
        let shared = Arc::clone(&self.shared);
        let connection = self.take_connection().await?;
        let owner = self.owners.get_mut(&partition).ok_or_else(|| gone(name))?;
        let object = owner.objects.get_mut(name).ok_or_else(|| gone(name))?;
        let query = object.query.clone().ok_or_else(|| gone(name))?;
        let began = Instant::now();
        let (moment, description) = match connection.open_query(&shared.config.tables.schema, &query).await {
            Ok(opened) => opened,
            Err(error) => {
                // The transaction is in error, the connection is not.
                if connection.rollback().await.is_ok() {
                    self.connection = Some(connection);
                }
                return Err(error);
            }
        };
        if self.moment.as_ref().is_none_or(|known| known.markers != moment.markers) {
            return Err(Error::new(Kind::History, "another server answers than a moment ago, or it restarted"));
        }
        let description = object.polling.shape.apply(description)?;
        if object.plan.as_ref().is_none_or(|plan| plan.description != description) {
            connection.commit().await?;
            self.connection = Some(connection);
            let plan = Plan::make(&shared.config, &shared.registry, &shared.admin, object, description, &self.settings)
                .await?;
            object.plan = Some(plan);
            return Ok(Duration::ZERO);
        }
        object.closer = self.closer.contains(name);
        let mut plan = object.plan.take().ok_or_else(|| gone(name))?;
        let now = jiff::Timestamp::now().as_millisecond();
        let load = object.is_loading();
        let headers = Headers::new(&shared.config.topic.headers, &object.name, object.polling.mode.name(), load, now);
        let cursor = object.polling.mode.cursor().cloned();
        let guard = plan.guard.as_ref();
        let lead = Lead {
            marker: guard.map(|guard| guard.marker.clone()),
            // The rows of a query cannot be read again one by one.
            text: object.closer.then(|| plan.row_text()),
            ..Lead::default()
        };
        let selected = lead.select() + guard.map_or(plan.encoder.select_list(), |guard| &guard.columns);
        let (columns, conditions, looking_back) = match &cursor {
            None => (selected, String::new(), None),
            Some(cursor) => {
                let of_query = query_cursor(cursor, &plan.description);
                let now = connection.clock_micros(of_query.clock, object.polling.timezone.as_deref()).await?;
                let delivered = object.restore_delivered(cursor, &plan.description)?;
                let texts = texts(cursor, &plan.description);
                let back = LookingBack::new(delivered, &object.polling, of_query, texts, now, name.to_string());
                (format!("{}, {selected}", back.leading()), back.conditions(), Some(back))
            }
        };
        let copy = match lead.count() {
            0 => sql::copy_query(&query, &columns, &conditions),
            _ => sql::copy_query_once(&query, &columns, &conditions),
        };
        let mut reading = Reading {
            shared: &shared,
            object: name.clone(),
            looking_back,
            topic: object.topic.clone(),
            can_shrink: false,
            headers,
            lead,
            ahead: None,
            between: true,
            unfit: Unfit::new(&shared.config, object),
            counted: Tally::default(),
        };
        // So that a restart of the server is told from another server: what was delivered stays delivered, also of a poll that
        // is broken off.
        object.pending.history.note(&moment, jiff::Timestamp::now().as_second());
        // From here on an error drops the connection, and with it the rest of the COPY.
        let read = match connection.copy(&copy).await {
            Ok(tuples) => reading.read(&connection, tuples, &mut plan, owner, &mut self.batch).await,
            Err(error) => Err(error),
        };
        let object = owner.objects.get_mut(name).ok_or_else(|| gone(name))?;
        object.plan = Some(plan);
        if reading.unfit.look_closer {
            self.closer.insert(name.clone());
        }
        let (rows, bytes) = read?;
        connection.commit().await?;
        self.connection = Some(connection);
        reading.count(object, rows, bytes);
        object.tell_rows(rows);
        if let Some(mut looking_back) = reading.looking_back.take() {
            owner.look_back(name, looking_back.settle(true));
        }
        let object = owner.objects.get_mut(name).ok_or_else(|| gone(name))?;
        // A cursor that found nothing is not worth a record.
        let news =
            rows > 0 || reading.unfit.letters > 0 || cursor.is_none() || object.pending.passes == object.passes_before;
        if !news {
            object.finish_if_done(self.moment.as_ref());
            return Ok(began.elapsed());
        }
        object.complete(&Work { leaf: 0, window: Window { from: 0, to: Window::OPEN }, stream: Stream::Closing });
        object.finish_if_done(self.moment.as_ref());
        Ok(began.elapsed())
    }
}
