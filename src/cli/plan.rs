//! `plan`: for each object its mode, window, SQL and cost, and whether its interval can be kept. Nothing is read.

use std::time::Duration;

use serde_json::{Value, json};

use super::stored::StoredProgress;
use super::survey::{Prospect, Survey};
use super::table::{size, thousands};
use super::{DONE, FAILED, print};
use crate::config::{Config, Schedule};
use crate::poll::{Choice, Chunk, Mode, Moment, Pace, Reading, Tid, Watermark, Window, sql};
use crate::postgres::Estimate;
use crate::{Error, Result};

/// How much of a table is taken to be read in a second, in bytes: what one backend does with rows that it has to test and
/// whose blocks are cached. A disk may be slower.
const BYTES_PER_SECOND: f64 = 500e6;
/// The duty limit of an object's deltas is one part in so many (see [`crate::poll::Duty::OBJECT`]).
const DUTY: u32 = 20;

struct Plan<'a> {
    choice: &'a Choice,
    window: Window,
    bytes: u64,
    sql: String,
    estimate: Estimate,
    key: Vec<String>,
    pace: Interval,
}

/// What a delta takes, and how often it may come.
#[derive(Debug, PartialEq)]
struct Interval {
    /// How long one delta takes, roughly.
    sweep: Duration,
    /// From one delta to the next.
    every: Duration,
    /// Whether that is the configured interval.
    kept: bool,
}

/// Plans these objects, or all.
pub async fn plan(config: &Config, names: &[String], as_json: bool) -> Result<u8> {
    let survey = Survey::make(config).await?;
    let stored = StoredProgress::read(config)?;
    let mut plans = Vec::new();
    for choice in survey.named(config, names)? {
        let name = choice.table.name.to_string();
        plans.push((name, plan_one(config, &survey, choice, &stored).await));
    }
    let failed = plans.iter().any(|(_, plan)| plan.is_err());
    if as_json {
        let plans: Vec<Value> = plans.iter().map(|(name, plan)| to_json(name, plan)).collect();
        print(&format!("{}\n", json!({ "connector": config.name, "plans": plans })));
    } else {
        for (name, plan) in &plans {
            print(&to_text(name, plan));
        }
    }
    Ok(if failed { FAILED } else { DONE })
}

async fn plan_one<'a>(
    config: &Config,
    survey: &Survey,
    choice: &'a Choice,
    stored: &StoredProgress,
) -> Result<Plan<'a>> {
    let watermark = stored.watermark(config, &choice.table.name)?;
    let prospect = survey.prospect(config, choice, watermark.as_ref()).await?;
    let estimate = estimate(survey, choice, &prospect, watermark.as_ref()).await;
    survey.connection.rollback().await?;
    let leaves: Vec<u32> = choice.table.leaves.iter().map(|leaf| leaf.oid).collect();
    let bytes = survey.connection.size(&leaves).await?;
    let description = &prospect.description;
    let key = description.key.iter().filter_map(|at| description.columns.get(*at));
    Ok(Plan {
        choice,
        window: prospect.work.window,
        bytes,
        sql: copy(choice, &prospect, watermark.as_ref(), &survey.moment, false),
        estimate: estimate?,
        key: key.map(|column| column.name.clone()).collect(),
        pace: interval(bytes, wanted(choice)),
    })
}

/// The statement as the next step would send it; `whole`: over the whole table, for the planner.
fn copy(choice: &Choice, prospect: &Prospect, stored: Option<&Watermark>, moment: &Moment, whole: bool) -> String {
    let columns = prospect.encoder.select_list();
    let (Some(source), Some(head)) = (&prospect.source, &prospect.head) else {
        return sql::copy_query(choice.query.as_deref().unwrap_or_default(), columns, "");
    };
    let work = prospect.work;
    let at = stored.and_then(|stored| stored.leaves.get(&work.leaf)?.sweep);
    let next = at.filter(|sweep| sweep.filenode == head.place.filenode).map_or(Tid::default(), |sweep| sweep.next);
    let chunk = match whole {
        true => Chunk { from: Tid::default(), to: Tid { block: head.place.blocks.max(1), offset: 0 } },
        false => Pace::default().chunk(next),
    };
    let fresh =
        Watermark::new(Reading::of(&choice.polling.mode, None, &choice.polling.shape), choice.table.oid, moment);
    let chunk = work.stream.is_chunked().then_some(chunk);
    sql::copy(source, columns, &work.conditions(chunk, stored.unwrap_or(&fresh), &choice.polling, head.ages))
}

/// What the planner thinks of reading the whole table, in the chunk's own transaction.
async fn estimate(
    survey: &Survey,
    choice: &Choice,
    prospect: &Prospect,
    stored: Option<&Watermark>,
) -> Result<Estimate> {
    survey.connection.explain(&query(choice, prospect, stored, &survey.moment)).await
}

/// What is read of the whole table, as a query.
pub(super) fn query(choice: &Choice, prospect: &Prospect, stored: Option<&Watermark>, moment: &Moment) -> String {
    let copy = copy(choice, prospect, stored, moment, true);
    copy.trim_start_matches("COPY (").trim_end_matches(") TO STDOUT (FORMAT binary)").to_owned()
}

/// The interval of an object; by the clock the shortest that counts is a minute.
fn wanted(choice: &Choice) -> Duration {
    match choice.polling.schedule {
        Schedule::Every(interval) => interval,
        Schedule::Cron(..) => Duration::from_secs(60),
    }
}

/// In words, which rows come next.
fn window_text(plan: &Plan<'_>) -> String {
    let Window { from, to } = plan.window;
    match &plan.choice.polling.mode {
        Mode::Bulk => "everything, in each pass".to_owned(),
        Mode::Cursor(cursor) if plan.choice.query.is_some() => {
            format!("rows by {cursor}, from a lookback below the highest delivered on")
        }
        _ if plan.window.is_load() => format!("historical load: every row written by a transaction below {to}"),
        _ if plan.window.is_empty() => format!("nothing: everything below {to} is delivered"),
        Mode::Cursor(cursor) => {
            format!("delta by {cursor}: rows written by transactions from {from} up to, not including, {to}")
        }
        Mode::Xmin => format!("delta: rows written by transactions from {from} up to, not including, {to}"),
    }
}

/// Whether a table of so many bytes can be swept as often as the interval says.
fn interval(bytes: u64, wanted: Duration) -> Interval {
    let sweep = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
    let every = wanted.max(sweep.saturating_mul(DUTY));
    // It is told in whole seconds, and nothing is every 5 s instead of every 5 s.
    Interval { sweep, every, kept: rounded(every) <= wanted }
}

/// What follows where that is less often than was asked for.
pub(super) fn too_often(bytes: u64, wanted: Duration) -> Option<String> {
    let Interval { sweep, every, kept } = interval(bytes, wanted);
    (!kept).then(|| {
        format!(
            "{} are read to find its changed rows, about {:.1} s each time and at most 5 % of the time: every {} instead of {}; \
             a mode with a cursor and an index costs what changed",
            size(bytes),
            sweep.as_secs_f64(),
            humantime::format_duration(rounded(every)),
            humantime::format_duration(wanted)
        )
    })
}

/// To seconds, where there are any.
fn rounded(time: Duration) -> Duration {
    if time.as_secs() > 0 {
        Duration::from_secs(time.as_secs())
    } else {
        Duration::from_millis(time.as_millis() as u64)
    }
}

fn to_text(name: &str, plan: &Result<Plan<'_>>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return format!("{name}: FAILED\n  {}\n\n", error.report().replace('\n', "\n  ")),
    };
    let window = window_text(plan);
    let Interval { sweep, every, kept } = &plan.pace;
    let wanted = humantime::format_duration(wanted(plan.choice));
    let by_index = plan.choice.polling.mode.cursor().is_some();
    let pace = match (&plan.choice.polling.schedule, *kept || by_index) {
        (Schedule::Cron(cron, zone), _) => format!("at {cron} in {}", zone.iana_name().unwrap_or("this time zone")),
        (_, true) => format!("every {wanted}, as configured"),
        (_, false) => format!(
            "every {} instead of {wanted}: finding changed rows reads the table, at most 5 % of the time",
            humantime::format_duration(rounded(*every))
        ),
    };
    let size = match plan.choice.query {
        Some(_) => "unknown: it is what the query makes of it".to_owned(),
        None => format!(
            "{} in {} table(s); reading all of it takes about {:.1} s at 500 MB/s",
            size(plan.bytes),
            plan.choice.table.leaves.len(),
            sweep.as_secs_f64()
        ),
    };
    let key = if plan.key.is_empty() { "none".to_owned() } else { plan.key.join(", ") };
    format!(
        "{name} → {topic}\n  mode      {mode}\n  key       {key}\n  window    {window}\n  \
         size      {size}\n  \
         polls     {pace}\n  planner   {node}, cost {cost:.0}, {rows} rows of {width} bytes\n  sql       {sql}\n\n",
        topic = plan.choice.topic,
        mode = plan.choice.polling.mode,
        node = plan.estimate.node,
        cost = plan.estimate.cost,
        rows = thousands(plan.estimate.rows as u64),
        width = plan.estimate.width,
        sql = plan.sql,
    )
}

fn to_json(name: &str, plan: &Result<Plan<'_>, Error>) -> Value {
    match plan {
        Ok(plan) => json!({
            "object": name, "ok": true, "topic": plan.choice.topic, "mode": plan.choice.polling.mode.name(), "key": plan.key,
            "window": { "from": plan.window.from, "to": plan.window.to, "load": plan.window.is_load() },
            "bytes": plan.bytes, "leaves": plan.choice.table.leaves.len(),
            "sweep_seconds": plan.pace.sweep.as_secs_f64(), "every_seconds": plan.pace.every.as_secs_f64(),
            "interval_kept": plan.pace.kept,
            "planner": { "node": plan.estimate.node, "cost": plan.estimate.cost, "rows": plan.estimate.rows, "width": plan.estimate.width },
            "sql": plan.sql,
        }),
        Err(error) => json!({
            "object": name, "ok": false, "message": error.to_string(), "cause": error.causes(), "hint": error.hint_text(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_takes_long_is_swept_less_often_than_asked() {
        let seconds = Duration::from_secs;
        assert_eq!(interval(0, seconds(5)), Interval { sweep: seconds(0), every: seconds(5), kept: true });
        // A hundred gigabytes: 200 s a sweep.
        let big = Interval { sweep: seconds(200), every: seconds(4000), kept: false };
        assert_eq!(interval(100_000_000_000, seconds(5)), big);
        assert!(interval(100_000_000_000, seconds(6 * 3600)).kept);
        assert!(interval(127_000_000, seconds(5)).kept, "found by looking: every 5s instead of 5s");
    }

    #[test]
    fn the_duty_limit_is_the_polls_own() {
        let started = std::time::Instant::now();
        let next = crate::poll::Duty::OBJECT.next(started, Duration::from_secs(1));
        assert_eq!(next - started, Duration::from_secs(u64::from(DUTY)));
    }
}
