//! THE loop. A row's way from top to bottom: look at the server, begin sweeps, read one chunk, transcode, send, commit.
//!
//! One thread, one PostgreSQL connection, the objects of some partitions of the offsets topic. Snapshots of one object are
//! taken one after the other, each only after the step before is in the same producer's hands: so the versions of a row
//! arrive in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::avro::Settings;
use crate::kafka::Batch;
use crate::object::Object;
use crate::owner::{Committed, Owner};
use crate::poll::{Choice, Duty, Moment, Running, Stream, TableName, choose};
use crate::postgres::Connection;
use crate::retry::{Answer, Delays, answer};
use crate::worker::Shared;
use crate::{Error, Kind, Result, kafka};

use companions::Companions;

mod begin;
mod commit;
mod companions;
mod query;
mod step;

/// From when on somebody else's open transaction is worth a line.
const HELD_BACK: Duration = Duration::from_secs(10);

/// One task.
pub struct Task {
    shared: Arc<Shared>,
    /// The partitions of the offsets topic that are ours.
    partitions: Vec<i32>,
    owners: BTreeMap<i32, Owner>,
    connection: Option<Connection>,
    companions: Companions,
    settings: Settings,
    /// The newest look at the server.
    moment: Option<Moment>,
    /// What `--once` has to reach.
    goal: Option<u64>,
    next_look: Instant,
    discovered: Option<Instant>,
    delays: Delays,
    /// Whose turn it is.
    turn: usize,
    /// How long reading deltas took since the last look.
    busy: Duration,
    looked_at: Instant,
    held_back: HeldBack,
    /// What was committed since the last line about it, and when that was.
    delivered: Committed,
    told: Instant,
    batch: Batch,
    /// The transactions seen running.
    running: Running,
    /// The change counters of the tables that are worth it, by leaf, as they were before the look.
    counters: BTreeMap<u32, i64>,
    /// The objects that had a row which cannot go as it is: where their rows are is asked for. Outlives their owners, as the
    /// rows that tell it are not committed.
    closer: BTreeSet<TableName>,
}

/// Since when the window has not moved although transactions ran.
struct HeldBack {
    xmin: u64,
    since: Instant,
    told: bool,
}

/// What a task did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Rows delivered since the objects' states began.
    pub rows: u64,
    /// Bytes of keys and values, likewise.
    pub bytes: u64,
    /// Objects seen.
    pub objects: usize,
    /// The objects that are FAILED, with the reason.
    pub failed: Vec<String>,
}

impl Task {
    /// A task that will own these partitions.
    pub fn new(shared: Arc<Shared>, partitions: Vec<i32>) -> Self {
        let now = Instant::now();
        Task {
            shared,
            partitions,
            owners: BTreeMap::new(),
            connection: None,
            companions: Companions::default(),
            settings: Settings::default(),
            moment: None,
            goal: None,
            next_look: now,
            discovered: None,
            delays: Delays::default(),
            turn: 0,
            busy: Duration::ZERO,
            looked_at: now,
            held_back: HeldBack { xmin: 0, since: now, told: false },
            delivered: Committed::default(),
            told: now,
            batch: Batch::default(),
            running: Running::default(),
            counters: BTreeMap::new(),
            closer: BTreeSet::new(),
        }
    }

    /// Runs until it is stopped, or with `--once` until everything is delivered. Failures that pass are waited out here.
    pub async fn run(mut self) -> Result<Summary> {
        loop {
            match self.work().await {
                Ok(()) => {
                    self.sign_out();
                    return Ok(self.summary());
                }
                Err(error) => self.recover(error).await?,
            }
        }
    }

    async fn work(&mut self) -> Result<()> {
        while !self.shared.stop.is_cancelled() {
            if Instant::now() >= self.next_look {
                self.look().await?;
            }
            if let Some((partition, name)) = self.whose_turn() {
                self.step(partition, &name).await?;
                self.commit_due().await?;
            } else {
                self.commit_all(false).await?;
                if self.is_finished() {
                    break;
                }
                self.wait().await;
            }
            self.tell();
        }
        self.commit_all(true).await
    }

    // ---- look: what does the server say, and what is there to read? ----

    async fn look(&mut self) -> Result<()> {
        // A look may change what is believed of every object.
        self.settle_all()?;
        let connection = self.take_connection().await?;
        // Before the snapshot: a transaction that begins later writes cursors above what is seen now.
        let with_cursor = |object: &Object| object.polling.mode.cursor().is_some() && object.query.is_none();
        let any = self.objects().any(with_cursor);
        let running = match any {
            true => Some(self.running.note(connection.running().await?)),
            false => None,
        };
        let moment = connection.moment().await?;
        let started = Instant::now();
        let config = Arc::clone(&self.shared.config);
        self.next_look = Duty::CONNECTOR
            .shared_by(u32::from(config.tasks_max))
            .next(self.looked_at, std::mem::take(&mut self.busy))
            .max(started + self.shared.interval);
        self.looked_at = started;
        self.goal.get_or_insert(moment.snapshot.xmin);
        // On a standby the snapshot stands still while rows become visible; the replay position does not.
        let unchanged = self.moment.as_ref().is_some_and(|last| {
            last.snapshot == moment.snapshot
                && last.markers == moment.markers
                && (!moment.markers.in_recovery || last.replayed == moment.replayed)
        });
        let refresh = self.discovered.is_none_or(|last| last.elapsed() >= config.tables.refresh_interval);
        if self.discovered.is_none() || refresh && !unchanged {
            let found = connection.discover().await?;
            self.discovered = Some(started);
            self.adopt(choose(&config, found), &moment)?;
        }
        self.judge(&moment)?;
        self.hold_back(&connection, &moment).await?;
        if !unchanged || self.objects().any(|o| o.news || o.sweep.is_none() && !o.has_reached(moment.snapshot.xmin)) {
            if let Some((look, oldest)) = running {
                self.bound(&connection, &moment, look, oldest).await?;
            }
            self.count_changes(&connection, &moment).await?;
        }
        self.begin(&moment, !unchanged);
        self.moment = Some(moment);
        self.connection = Some(connection);
        self.delays.reset();
        Ok(())
    }

    /// Takes tables over that are ours and new, lets go of those that are gone.
    fn adopt(&mut self, choices: Vec<Choice>, moment: &Moment) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let names: Vec<TableName> = choices.iter().map(|choice| choice.table.name.clone()).collect();
        let ours: Vec<(Choice, Vec<u8>, i32)> = choices
            .into_iter()
            .filter_map(|choice| {
                let key = kafka::key(&shared.config.name, &choice.table.name);
                let partition = shared.offsets.partition(&key);
                self.partitions.contains(&partition).then_some((choice, key, partition))
            })
            .collect();
        for owner in self.owners.values_mut() {
            owner.let_go(&names, moment, &shared.offsets)?;
        }
        let mut missing: Vec<i32> = ours.iter().map(|(.., partition)| *partition).collect();
        missing.retain(|partition| !self.owners.contains_key(partition));
        missing.sort_unstable();
        missing.dedup();
        for owner in Owner::start_all(&shared, &missing)? {
            self.owners.insert(owner.partition, owner);
        }
        for (choice, key, partition) in ours {
            if let Some(owner) = self.owners.get_mut(&partition) {
                owner.adopt(&shared, choice, key, moment);
            }
        }
        Ok(())
    }

    /// Follows the history guard: after a crash or failover some of what is believed is read again.
    fn judge(&mut self, moment: &Moment) -> Result<()> {
        let lag = self.shared.config.failover_lag;
        for owner in self.owners.values_mut() {
            let differs = |object: &Object| object.pending.markers != moment.markers;
            if owner.open_for().is_some() && owner.objects.values().any(differs) {
                owner.abort(moment, &self.shared.offsets)?;
            }
            for object in owner.objects.values_mut() {
                object.judge(moment, lag);
            }
        }
        Ok(())
    }

    /// Tells who holds the window back, once it has stood still for a while.
    async fn hold_back(&mut self, connection: &Connection, moment: &Moment) -> Result<()> {
        let moved = moment.snapshot.xmin != self.held_back.xmin || moment.snapshot.xmin == moment.snapshot.xmax;
        if moved {
            if self.held_back.told {
                tracing::info!(xmin = moment.snapshot.xmin, "no longer held back");
            }
            self.held_back = HeldBack { xmin: moment.snapshot.xmin, since: Instant::now(), told: false };
        } else if !self.held_back.told && self.held_back.since.elapsed() >= HELD_BACK {
            self.held_back.told = true;
            self.shared.tell_holder(connection.holder().await?, moment);
        }
        Ok(())
    }

    // ---- step: read one chunk and hand it to the producer ----

    /// The next object with a sweep under way, in turn, so that a load of hours holds nobody up.
    fn whose_turn(&mut self) -> Option<(i32, TableName)> {
        let now = Instant::now();
        let ready: Vec<(i32, &TableName)> = self
            .owners
            .values()
            .flat_map(|owner| owner.objects.values().map(move |object| (owner.partition, object)))
            .filter(|(_, object)| object.failed.is_none() && object.sweep.is_some() && now >= object.not_before)
            .map(|(partition, object)| (partition, &object.name))
            .collect();
        self.turn = self.turn.wrapping_add(1);
        let (partition, name) = ready.get(self.turn.checked_rem(ready.len())?)?;
        Some((*partition, (*name).clone()))
    }

    async fn step(&mut self, partition: i32, name: &TableName) -> Result<()> {
        let object = self.object(partition, name);
        let is_query = object.is_some_and(|object| object.query.is_some());
        let is_long = object.and_then(Object::next).is_some_and(|work| work.stream == Stream::Closing);
        if is_query || is_long {
            // What is read as one statement may take longer than a transaction may be open. And what a query has delivered of
            // late moves with each of its rows.
            self.commit_all(false).await?;
        }
        let (before, began) = (self.owners.get(&partition).and_then(Owner::filled), Instant::now());
        let Some(clock) = self.object(partition, name).and_then(|object| object.sweep.as_ref()) else {
            // It was taken back.
            return Ok(());
        };
        let load = clock.load;
        let closer = self.closer.len();
        let result = match is_query {
            true => self.try_query(partition, name).await,
            false => self.try_step(partition, name).await,
        };
        let error = match result {
            Ok(took) => {
                if !load {
                    self.busy += took;
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if error.kind() == Kind::Topic && self.is_refused(partition) {
            // It may be the commit under way that is refused: then that has been answered once it was waited for.
            self.settle(partition)?;
            return if self.is_refused(partition) { self.refused(partition, error) } else { Ok(()) };
        }
        let Some(owner) = self.owners.get_mut(&partition) else { return Err(error) };
        let filled = owner.filled();
        let Some(object) = owner.objects.get_mut(name) else { return Err(error) };
        let error = self.shared.name_successor(partition, error);
        let error = if error.object_name().is_some() { error } else { error.object(name.to_string()) };
        let half_sent = filled.is_some() && filled != before;
        if self.closer.len() > closer {
            tracing::info!(object = %name, "{}", error.message());
            return if half_sent { self.take_back(partition) } else { Ok(()) };
        }
        match answer(error.kind()) {
            Answer::Fail if error.kind() == Kind::Denied && !object.unlockable && is_lock_refused(&error) => {
                tracing::info!(object = %name, "LOCK TABLE is not granted; the table's file is looked at after each chunk instead");
                object.unlockable = true;
            }
            Answer::Fail => {
                tracing::error!(object = %name, error = error.message(), cause = error.cause_text(), hint = error.hint_text(), "object failed");
                object.failed = Some(error);
                object.sweep = None;
            }
            Answer::Later => {
                tracing::warn!(object = %name, error = error.message(), cause = error.cause_text(), "put off");
                // What takes long keeps the others: the rest is theirs.
                object.not_before = Instant::now() + self.delays.delay().max(3 * began.elapsed());
            }
            _ => {
                if error.kind() == Kind::Stalled {
                    object.pace = object.pace.given_up();
                }
                return Err(error);
            }
        }
        if half_sent { self.take_back(partition) } else { Ok(()) }
    }

    // ---- failures, waiting, the end ----

    /// Waits a failure out, or ends the task with it.
    async fn recover(&mut self, error: Error) -> Result<()> {
        self.tell();
        let answer = answer(error.kind());
        let first_connection = self.moment.is_none() && error.kind() == Kind::Refused;
        // What a person must mend is no single object's here; whoever waits for the end of `--once` is told at once.
        let hopeless = answer == Answer::Fail && self.shared.once;
        if answer == Answer::Stop || first_connection || hopeless {
            return Err(error);
        }
        let delay = if answer == Answer::LookAgain { Duration::from_millis(20) } else { self.delays.delay() };
        tracing::warn!(error = %error, cause = error.cause_text(), hint = error.hint_text(), again_in_ms = delay.as_millis() as u64, "interrupted");
        self.connection = None;
        self.companions.clear();
        self.discovered = None;
        self.next_look = Instant::now();
        let rebuild = answer == Answer::Rebuild;
        if rebuild {
            // After a failure of Kafka memory is not trusted: the start sequence reads what was really committed.
            self.owners.clear();
        } else if let Some(moment) = &self.moment {
            let mut broken = Vec::new();
            for owner in self.owners.values_mut() {
                if let Err(error) = owner.abort(moment, &self.shared.offsets) {
                    let error = self.shared.name_successor(owner.partition, error);
                    if error.kind() == Kind::Fenced {
                        return Err(error);
                    }
                    tracing::debug!(partition = owner.partition, error = %error, cause = error.cause_text(), "the producer is built anew");
                    broken.push(owner.partition);
                }
            }
            self.owners.retain(|partition, _| !broken.contains(partition));
        }
        if self.shared.stop.is_cancelled() {
            // Nothing is lost: what is not committed is read again by the next start.
            self.owners.clear();
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.shared.stop.cancelled() => {}
        }
        Ok(())
    }

    async fn wait(&mut self) {
        let resting = |object: &&Object| object.failed.is_none() && object.sweep.is_some();
        let wake = self.objects().filter(resting).map(|object| object.not_before).min();
        let until = wake.unwrap_or(self.next_look).min(self.next_look);
        self.companions.dismiss(until);
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            () = self.shared.stop.cancelled() => {}
        }
    }

    /// Everything is committed already, so a failure here costs nothing but the word.
    fn sign_out(&mut self) {
        for owner in self.owners.values_mut() {
            if let Err(error) = owner.sign_out(&self.shared) {
                tracing::debug!(partition = owner.partition, error = %error, "could not sign out");
            }
        }
    }

    /// Whether `--once` has nothing left to do.
    fn is_finished(&self) -> bool {
        let Some(goal) = self.goal else { return false };
        self.shared.once && self.objects().all(|object| object.failed.is_some() || object.has_reached(goal))
    }

    /// The connection, put back only after success: every failure on the way connects anew.
    async fn take_connection(&mut self) -> Result<Connection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let connection = Connection::open(&self.shared.config.database, &self.shared.config.name).await?;
        let session = connection.session().await?;
        self.settings =
            Settings { money_scale: session.money_scale, handling: self.shared.config.handling, ..Settings::default() };
        tracing::info!(version = session.version, role = %session.role, address = %session.address, "connected to PostgreSQL");
        Ok(connection)
    }

    fn object(&self, partition: i32, name: &TableName) -> Option<&Object> {
        self.owners.get(&partition)?.objects.get(name)
    }

    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.owners.values().flat_map(|owner| owner.objects.values())
    }

    fn tell(&mut self) {
        const EVERY: Duration = Duration::from_secs(60);
        for Committed { rows, bytes } in self.owners.values_mut().map(|owner| std::mem::take(&mut owner.committed)) {
            self.delivered.rows += rows;
            self.delivered.bytes += bytes;
        }
        if self.told.elapsed() < EVERY {
            return;
        }
        self.told = Instant::now();
        let Committed { rows, bytes } = std::mem::take(&mut self.delivered);
        if rows > 0 {
            tracing::info!(rows, bytes, "delivered in the last minute");
        }
    }

    fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for object in self.objects() {
            summary.objects += 1;
            summary.rows += object.pending.rows;
            summary.bytes += object.pending.bytes;
            summary.failed.extend(object.failed.as_ref().map(Error::report));
        }
        summary
    }
}

/// LOCK TABLE wants a right on the whole table, which a grant on columns is not.
fn is_lock_refused(error: &Error) -> bool {
    error.causes().contains("42501")
}

fn gone(name: &TableName) -> Error {
    Error::new(Kind::Changed, "it is no longer ours").object(name.to_string())
}
