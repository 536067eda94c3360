//! Owns the tasks: what they share, which partitions each gets, and the order of the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, without_effect};
use crate::kafka::{Admin, Claim, OffsetsTopic, Stored};
use crate::poll::Moment;
use crate::postgres::Holder;
use crate::registry::Registry;
use crate::retry::{Answer, Delays, answer};
use crate::task::{Summary, Task};
use crate::{Error, Kind, Result, layout};

/// How long another connector's open transaction in our offsets partition is waited for: the longest that a broker grants.
const OPEN_TRANSACTION: Duration = Duration::from_secs(15 * 60);
/// How long all tasks together may take to finish their step and commit after they were asked to stop: whoever stops us
/// counts to ten.
const LEAVE: Duration = Duration::from_secs(7);

/// What the tasks of a connector share.
pub struct Shared {
    /// The connector's configuration.
    pub config: Arc<Config>,
    /// The Schema Registry.
    pub registry: Registry,
    /// For topics.
    pub admin: Admin,
    /// Where progress is stored.
    pub offsets: OffsetsTopic,
    /// Cancelled: finish the step, commit, leave.
    pub stop: CancellationToken,
    /// `--once`: end when everything visible at the start is delivered.
    pub once: bool,
    /// The shortest interval of any object: how often the server is looked at.
    pub interval: Duration,
    started: String,
}

impl Shared {
    /// What is stored in a partition, after everything that may still be open there has ended.
    pub fn read_offsets(&self, partition: i32) -> Result<Stored> {
        self.offsets.read(&self.config.name, partition, OPEN_TRANSACTION, &mut |waiting| {
            tracing::warn!(
                partition,
                offset = waiting.offset,
                end = waiting.end,
                "another transaction is open in the offsets partition; waiting for its end, as what stands behind it cannot be read yet"
            );
        })
    }

    /// How we sign for a partition.
    pub fn claim(&self) -> Claim {
        Claim {
            worker: worker_id(),
            started: self.started.clone(),
            partitions: self.offsets.partitions,
            stopped: None,
            failed: None,
        }
    }

    /// A partition that nobody signed for under this number of partitions: the connector is new here, or the offsets topic
    /// got more partitions and [`crate::layout::migrate`] could not see it, as the claims stood behind a stranger's open
    /// transaction. Then starting again moves the progress; going on would load again what another partition holds.
    pub fn refuse_other_layout(&self, partition: i32) -> Result<()> {
        for other in (0..self.offsets.partitions).filter(|other| *other != partition) {
            let Some(claim) = self.read_offsets(other)?.claim else { continue };
            if claim.partitions != self.offsets.partitions {
                let (name, now, was) = (&self.offsets.name, self.offsets.partitions, claim.partitions);
                return Err(Error::new(
                    Kind::Config,
                    format!("{name} has {now} partitions, and progress is stored for {was}"),
                )
                .hint("start again: stored progress is moved before anything is read"));
            }
        }
        Ok(())
    }

    /// Says who took a partition over, if somebody did.
    pub fn name_successor(&self, partition: i32, error: Error) -> Error {
        if !matches!(error.kind(), Kind::Fenced | Kind::Outlived) {
            return error;
        }
        let claim = self.offsets.read(&self.config.name, partition, Duration::from_secs(5), &mut |_| {});
        let who = match claim.map(|stored| stored.claim) {
            Ok(Some(claim)) if claim.worker != worker_id() => {
                format!("{}, running since {}", claim.worker, claim.started)
            }
            // Still ours: it was the timeout.
            _ if error.kind() == Kind::Outlived => return error,
            _ => "another instance that has not signed yet".to_owned(),
        };
        let name = &self.config.name;
        Error::new(Kind::Fenced, format!("connector {name} was taken over, offsets partition {partition}: by {who}"))
            .because(error)
            .hint("run one instance of a connector; this one stops, and nothing of it was delivered twice")
    }

    /// Tells who holds the window back.
    pub fn tell_holder(&self, holder: Option<Holder>, moment: &Moment) {
        match holder {
            Some(holder) => tracing::info!(
                pid = %holder.who, user = %holder.user, database = %holder.database, xid = holder.xid, xids_behind = holder.age,
                xmin = moment.snapshot.xmin, "held back by an open transaction: what is small is read ahead, rows of large tables written since it began wait for its end"
            ),
            None => {
                tracing::info!(xmin = moment.snapshot.xmin, "held back by a transaction that cannot be seen from here")
            }
        }
    }
}

/// Runs a connector until `stop` is cancelled, or with `once` until everything visible at the start is delivered.
pub async fn run(config: Arc<Config>, once: bool, stop: CancellationToken) -> Result<Summary> {
    let Some(shared) = prepare(&config, once, &stop).await? else { return Ok(Summary::default()) };
    let tasks = i32::from(config.tasks_max).min(shared.offsets.partitions);
    let mut running = Vec::new();
    for number in 0..tasks {
        let partitions: Vec<i32> = (0..shared.offsets.partitions).filter(|p| p % tasks == number).collect();
        running.push(spawn(number, Arc::clone(&shared), partitions)?);
    }
    let mut total = Summary::default();
    let mut first_error = None;
    let mut leave = None;
    for task in running {
        match ended(task, &stop, &mut leave).await {
            Ok(summary) => {
                total.rows += summary.rows;
                total.bytes += summary.bytes;
                total.objects += summary.objects;
                total.failed.extend(summary.failed);
            }
            Err(error) => {
                // One that is fenced, or cannot go on, has taken the others along: half a connector helps nobody.
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Ok(total),
    }
}

/// Waits for a task; once all were asked to stop, until `leave`, which is the same for all.
async fn ended(
    mut task: oneshot::Receiver<Result<Summary>>,
    stop: &CancellationToken,
    leave: &mut Option<Instant>,
) -> Result<Summary> {
    let lost = || Error::new(Kind::Io, "a task ended without a word");
    tokio::select! {
        ended = &mut task => return ended.unwrap_or_else(|_| Err(lost())),
        () = stop.cancelled() => {}
    }
    match tokio::time::timeout_at(*leave.get_or_insert_with(|| Instant::now() + LEAVE), task).await {
        Ok(ended) => ended.unwrap_or_else(|_| Err(lost())),
        Err(_) => {
            tracing::warn!("a task did not finish in time; what it has not committed is read again by the next start");
            Ok(Summary::default())
        }
    }
}

/// What every task needs; waits until Kafka and the registry are there. `None`: stopped meanwhile.
async fn prepare(config: &Arc<Config>, once: bool, stop: &CancellationToken) -> Result<Option<Arc<Shared>>> {
    let mut delays = Delays::default();
    loop {
        let error = match try_prepare(config, once, stop).await {
            Ok(shared) => return Ok(shared),
            Err(error) => error,
        };
        if matches!(answer(error.kind()), Answer::Fail | Answer::Stop) {
            return Err(error);
        }
        let delay = delays.delay();
        tracing::warn!(error = %error, cause = error.cause_text(), hint = error.hint_text(), again_in_ms = delay.as_millis() as u64, "cannot start yet");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// On a thread of its own, as it waits for Kafka: signals and other connectors are heard meanwhile.
async fn try_prepare(config: &Arc<Config>, once: bool, stop: &CancellationToken) -> Result<Option<Arc<Shared>>> {
    let (config, stopping, runtime) = (Arc::clone(config), stop.clone(), tokio::runtime::Handle::current());
    let preparing = tokio::task::spawn_blocking(move || {
        let shared = Arc::new(runtime.block_on(reach(&config, once, stopping))?);
        layout::migrate(&shared).map(|()| shared)
    });
    tokio::select! {
        prepared = preparing => match prepared {
            Ok(prepared) => prepared.map(Some),
            Err(error) => Err(Error::new(Kind::Io, "stored progress could not be looked at").because(error)),
        },
        () = stop.cancelled() => Ok(None),
    }
}

/// What a connector needs of Kafka and the registry, without a task.
pub async fn reach(config: &Arc<Config>, once: bool, stop: CancellationToken) -> Result<Shared> {
    for said in config.kafka.properties.keys().filter_map(|property| without_effect(property)) {
        tracing::warn!("{said}");
    }
    let admin = Admin::new(&config.kafka, &config.name)?;
    let offsets = OffsetsTopic::ensure(&admin, &config.offset_storage).await?;
    Ok(Shared {
        config: Arc::clone(config),
        registry: Registry::new(&config.schema_registry)?,
        admin,
        offsets,
        stop,
        once,
        interval: config.shortest_interval(),
        started: now(),
    })
}

fn spawn(number: i32, shared: Arc<Shared>, partitions: Vec<i32>) -> Result<oneshot::Receiver<Result<Summary>>> {
    let (done, result) = oneshot::channel();
    // Tasks are waited for one after the other, and one with nothing to write never learns that it is fenced: whoever ends
    // with an error, or by a panic, tells all at once.
    let take_along = shared.stop.clone().drop_guard();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = match runtime {
            Ok(runtime) => runtime.block_on(Task::new(shared, partitions).run()),
            Err(error) => Err(Error::new(Kind::Io, "a task's runtime cannot be built").because(error)),
        };
        if ended.is_ok() {
            take_along.disarm();
        }
        let _ = done.send(ended);
    };
    std::thread::Builder::new()
        .name(format!("task-{number}"))
        .spawn(body)
        .map_err(|error| Error::new(Kind::Io, "a task's thread cannot be started").because(error))?;
    Ok(result)
}

/// RFC 3339, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `host:pid`.
fn worker_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    format!("{host}:{}", std::process::id())
}
