//! What Kafka has of an object's progress, what the open transaction will make of it, and the way back.

use super::Object;
use crate::Result;
use crate::kafka;
use crate::lookback::{self, Delivered};
use crate::poll::{Cursor, Watermark};
use crate::postgres::Description;

impl Object {
    /// The open transaction is given up: back to what Kafka holds.
    pub fn take_back(&mut self, fresh: impl FnOnce() -> Watermark) {
        self.pending = self.committed.clone().unwrap_or_else(fresh);
        self.committing = None;
        self.sweep = None;
        self.changes = None;
        self.ahead.clear();
        self.read_until = None;
        self.delivered.clone_from(&self.delivered_before);
        self.void = self.committed.is_none();
        self.polled = None;
    }

    /// What its progress is stored as: its own record, and beside it the buckets of a query's delivered rows that changed.
    pub fn records(&self, connector: &str) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let own = (self.key.clone(), Some(self.pending.to_json()));
        let key = |stream, number| kafka::bucket_key(connector, &self.name, stream, number);
        // What counts no more would be believed again by who starts before the next poll.
        let void = if self.void && self.delivered.is_none() { self.stored_buckets() } else { Vec::new() };
        let void = void.into_iter().map(|(stream, number)| (key(stream, number), None));
        let changed = self.delivered.iter().flat_map(Delivered::changes);
        let changed = changed.map(|(stream, number, json)| (key(stream, number), json));
        std::iter::once(own).chain(void).chain(changed).collect()
    }

    /// A query begins anew: what it has delivered is void, and its buckets go with the next commit.
    pub fn void_delivered(&mut self) {
        self.delivered = None;
        self.void = true;
    }

    /// The buckets that Kafka has, by stream and number.
    fn stored_buckets(&self) -> Vec<(usize, u64)> {
        match &self.delivered_before {
            Some(delivered) => delivered.kept().collect(),
            None => self.buckets.iter().map(|(stream, number, _)| (*stream, *number)).collect(),
        }
    }

    /// What was being committed is.
    pub fn settle(&mut self) {
        let Some(committed) = self.committing.take() else { return };
        self.committed = Some(committed);
        match &mut self.delivered {
            Some(delivered) => {
                delivered.stored();
                self.void = false;
            }
            // What counted no more is gone.
            None if self.void => self.buckets.clear(),
            None => {}
        }
        self.delivered_before.clone_from(&self.delivered);
    }

    /// What a query's cursor has delivered, restored at the first poll: only now its columns' types are known.
    pub fn restore_delivered(&mut self, cursor: &Cursor, description: &Description) -> Result<Delivered> {
        if let Some(delivered) = &self.delivered {
            return Ok(delivered.clone());
        }
        if self.void {
            return Ok(Delivered::void(&self.stored_buckets()));
        }
        Delivered::restore(&self.pending.position, self.buckets.iter().cloned(), lookback::texts(cursor, description))
    }

    /// Whether there is progress that Kafka does not have yet.
    pub fn is_dirty(&self) -> bool {
        // Rows of a query's first poll may be delivered before it has a place.
        self.delivered.as_ref().is_some_and(Delivered::has_changed)
            || (self.committed.as_ref() != Some(&self.pending) && self.pending.has_begun())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{OnChange, OnDefaultAdded, Oversize, Polling, Schedule};
    use crate::poll::{Choice, Lsn, Markers, Mode, Moment, Reading, Shape, Snapshot, TableName, Values};
    use crate::postgres::{FoundLeaf, FoundTable};

    pub fn moment() -> Moment {
        Moment {
            snapshot: Snapshot { xmin: 700, xmax: 710, running: 0 },
            lsn: Lsn(5),
            flushed: Lsn(5),
            replayed: None,
            markers: Markers { system: 1, database: 5, timeline: 1, in_recovery: false, started: 1, stats_reset: 0 },
        }
    }

    /// A table of these leaves, or a query where there are none.
    pub fn choice(mode: Mode, leaves: &[u32]) -> Choice {
        let leaf = |oid: &u32| FoundLeaf {
            oid: *oid,
            name: TableName::new("public", format!("leaf{oid}")),
            kind: 'r',
            access_method: "heap".into(),
            granted: true,
            constraint: None,
        };
        let table = FoundTable {
            oid: 1,
            name: TableName::new("public", "t"),
            kind: if leaves.is_empty() { 'q' } else { 'p' },
            granted: true,
            leaves: leaves.iter().map(leaf).collect(),
            query: None,
        };
        let polling = Polling {
            mode,
            schedule: Schedule::Every(Duration::from_secs(1)),
            sweep_interval: Duration::from_secs(1),
            lookback: Duration::from_secs(1),
            lookback_ids: 1,
            timezone: None,
            shape: Shape::default(),
            on_change: OnChange::Reload,
            on_default_added: OnDefaultAdded::Ignore,
            oversize: Oversize::Fail,
        };
        let query = leaves.is_empty().then(|| "SELECT 1 AS id".to_owned());
        Choice { table, topic: "shop.public.t".into(), polling, query, refused: None }
    }

    pub fn object(choice: Choice) -> Object {
        let reading = Reading::of(&choice.polling.mode, choice.query.as_deref(), &choice.polling.shape);
        let fresh = Watermark::new(reading, choice.table.oid, &moment());
        Object::new(choice, b"[\"shop\",{\"table\":\"public.t\"}]".to_vec(), None, fresh)
    }

    /// For one look another server had answered, and what a query had delivered counted no more, although nothing was committed.
    #[test]
    fn what_counts_no_more_counts_again_once_that_is_taken_back() {
        let incrementing = Mode::Cursor(Cursor { timestamp: None, incrementing: Some("id".into()) });
        let mut object = object(choice(incrementing, &[]));
        let position = Values { timestamp: Some("7".into()), incrementing: None };
        let bucket = format!("{{\"rows\":\"[[\\\"8\\\",\\\"{}\\\"]]\"}}", "0f".repeat(16)).into_bytes();
        let delivered = Delivered::restore(&position, [(0, 3, bucket)].into_iter(), [false; 2]).unwrap();
        object.pending.passes = 1;
        object.committing = Some(object.pending.clone());
        object.delivered = Some(delivered);
        object.settle();
        let taken_out = |object: &Object| object.records("shop").iter().filter(|(_, value)| value.is_none()).count();

        object.void_delivered();
        assert_eq!(taken_out(&object), 1, "whoever starts next would believe it");
        object.take_back(|| unreachable!());
        assert!(!object.void && object.delivered.as_ref().is_some_and(|delivered| delivered.position() == position));

        object.void_delivered();
        object.committing = Some(object.pending.clone());
        object.settle();
        assert_eq!(taken_out(&object), 0, "once is enough");
    }
}
