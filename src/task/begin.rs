//! What there is to read after a look at the server: bounds rise, sweeps and passes begin.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Task;
use crate::object::Object;
use crate::poll::sql::{Clock, Highest};
use crate::poll::{Bound, Bounds, Mode, Moment, Seen, Values};
use crate::postgres::Connection;
use crate::retry::{Answer, answer};
use crate::{Kind, Result};

/// A sweep is skipped while the change counters stand still, but never for longer than this, as they lag.
const COUNTERS_BELIEVED: Duration = Duration::from_secs(120);
/// A table whose last sweep took longer is not read ahead.
const SHORT: Duration = Duration::from_secs(1);
/// How far below the server's clock a bound stays: a transaction's `now()` is a little older than its virtual id.
const MARGIN: Duration = Duration::from_secs(2);

impl Task {
    /// In cursor modes: looks at the highest cursors, and adds the pair that follows from what was seen before.
    pub(super) async fn bound(
        &mut self,
        connection: &Connection,
        moment: &Moment,
        look: u64,
        oldest: u64,
    ) -> Result<()> {
        for object in self.owners.values_mut().flat_map(|owner| owner.objects.values_mut()) {
            let (Some(plan), false) = (&object.plan, object.is_loading() || object.failed.is_some()) else { continue };
            let Some(cursor) = object.polling.mode.cursor().filter(|_| object.query.is_none()) else { continue };
            let type_of = |name: &String| plan.description.columns.iter().find(|column| column.name == *name);
            let timestamp = cursor.timestamp.as_ref().and_then(type_of);
            // What the process before us knew.
            if let (None, Some(last)) = (object.bounded, object.pending.bounds.last())
                && object.seen == Seen::default()
            {
                object.seen = Seen { clock: last.values.timestamp.clone(), highest: last.values.clone() };
            }
            let tables: Vec<String> = match object.table.granted {
                true => vec![object.table.name.quoted()],
                false => object.table.leaves.iter().map(|leaf| leaf.name.quoted()).collect(),
            };
            let ask = Highest {
                tables: &tables,
                cursor,
                clock: timestamp.map_or(Clock::None, |column| Clock::of(&column.type_.name)),
                zone: object.polling.timezone.as_deref(),
                // A standby does not show the primary's transactions.
                margin: if moment.markers.in_recovery { object.polling.lookback } else { MARGIN },
                before: &object.seen,
            };
            let seen = match connection.highest(&ask).await {
                Ok(seen) => seen,
                Err(error) if matches!(answer(error.kind()), Answer::Reconnect | Answer::Stop) => return Err(error),
                Err(error) => {
                    // A column that is another now, a lock: this object's alone. Its next step finds out which.
                    tracing::debug!(object = %object.name, error = error.message(), cause = error.cause_text(), "its cursor is not looked at");
                    connection.rollback().await?;
                    if error.kind() == Kind::Changed {
                        object.plan = None;
                    }
                    continue;
                }
            };
            let spaced = object.bounded.is_none_or(|at| at.elapsed() >= spacing(object));
            if let Some(values) = object.looks.bound(oldest).filter(|values| spaced && is_whole(object, values)) {
                object.pending.bounds.add(Bound { xmax: moment.snapshot.xmax, values });
                object.bounded = Some(Instant::now());
            }
            object.looks.note(look, oldest, seen.clone());
            object.seen = seen;
        }
        Ok(())
    }

    /// Reads the change counters of the tables that are worth it.
    pub(super) async fn count_changes(&mut self, connection: &Connection, moment: &Moment) -> Result<()> {
        let dear: Vec<u32> =
            self.objects().filter(|object| object.changes.is_some()).flat_map(Object::leaves).collect();
        self.counters = match dear.is_empty() || moment.markers.in_recovery {
            true => Default::default(),
            false => connection.changes(&dear).await?.into_iter().collect(),
        };
        Ok(())
    }

    /// Begins what is due.
    pub(super) fn begin(&mut self, moment: &Moment, changed: bool) {
        let (now, clock, once) = (Instant::now(), Timestamp::now(), self.shared.once);
        let counters = std::mem::take(&mut self.counters);
        for object in self.owners.values_mut().flat_map(|owner| owner.objects.values_mut()) {
            // What was read ahead before it was taken back is news too.
            object.news |= changed || object.polled.is_none();
            if object.failed.is_some() || object.is_polling() || (!once && now < object.not_before) {
                continue;
            }
            if object.is_in_passes() {
                let due = if once { object.pending.passes == object.passes_before } else { object.is_due(now, clock) };
                if (due || object.next().is_some()) && object.begin_pass(moment, clock) {
                    let load = object.polling.mode == Mode::Bulk || object.is_loading();
                    object.start_clock(now, load);
                }
                continue;
            }
            if !once && !object.is_due(now, clock) {
                continue;
            }
            object.mark_polled(now);
            let news = std::mem::take(&mut object.news);
            if object.is_sweep_due(clock) && !object.is_loading() {
                let leaves = object.leaves();
                object.pending.begin_again(&leaves, moment, clock.as_second());
            }
            if !news && object.has_reached(moment.snapshot.xmin) {
                continue;
            }
            let count = object.leaves().iter().map(|leaf| counters.get(leaf).copied()).sum::<Option<i64>>();
            let fresh = object.looked_at.is_some_and(|at| at.elapsed() < COUNTERS_BELIEVED);
            let floor = object.pending.floor(object.leaves());
            let still = match (&mut object.changes, count) {
                (Some(changes), Some(count)) => changes.stands_still(count, moment.snapshot.xmax, floor),
                _ => false,
            };
            let unchanged = !once && fresh && still;
            if unchanged && object.next().is_none() {
                // The counters lag.
                object.news = news;
                continue;
            }
            let load = object.is_loading();
            let leaves = object.leaves();
            let anew = leaves.iter().all(|leaf| object.pending.floor([*leaf]) == 0);
            let begun = !unchanged && object.pending.begin_sweep(&leaves, moment, clock.as_second());
            if anew && begun {
                // The load takes every row: the first sweep is due an interval after it. One of a new partition does not.
                object.pending.pass_at = clock.as_second();
            }
            if !begun && may_read_ahead(object, moment) {
                object.ahead = leaves;
            }
            if object.next().is_some() {
                object.looked_at = Some(now);
                object.start_clock(now, load);
            }
        }
    }
}

/// Pairs are added so seldom that those of one sweep stay within their number.
fn spacing(object: &Object) -> Duration {
    object.polling.sweep_interval / u32::try_from(Bounds::MOST).unwrap_or(u32::MAX)
}

/// A value for each column of the cursor; an empty table has none.
fn is_whole(object: &Object, values: &Values) -> bool {
    object.polling.mode.cursor().is_some_and(|cursor| {
        cursor.timestamp.is_some() == values.timestamp.is_some()
            && cursor.incrementing.is_some() == values.incrementing.is_some()
    })
}

/// Whether what is visible beyond the settled window is read too: a transaction holds the window back, the table is small
/// enough for one statement, and an id is told from that of a frozen row 2^32 ids ago.
fn may_read_ahead(object: &Object, moment: &Moment) -> bool {
    let snapshot = moment.snapshot;
    let leaves = object.leaves();
    snapshot.xmin < snapshot.xmax
        && snapshot.xmax < 1 << 32
        && object.room_ahead() > 0
        && object.last_read < SHORT
        && !leaves.is_empty()
        && leaves.iter().all(|leaf| object.pending.floor([*leaf]) == snapshot.xmin)
        && object.not_ahead_of != snapshot.xmin
}
