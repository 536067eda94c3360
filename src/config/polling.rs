//! How objects are read: the connector's own keys, and those of one object over them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::errors::{self, Oversize};
use super::key::Takes;
use super::reader::Reader;
use crate::avro::Cast;
use crate::poll::{Cursor, Mask, Mode, Shape, filter_words};

/// How an object is read.
#[derive(Clone, Debug)]
pub struct Polling {
    /// `mode`: how changes are found.
    pub mode: Mode,
    /// `poll.interval` or `poll.cron`: when it is looked for them.
    pub schedule: Schedule,
    /// `sweep.interval`: in a cursor mode, how often the rows are swept that no cursor shows.
    pub sweep_interval: Duration,
    /// `cursor.lookback`: of a query with a timestamp, how far back each poll looks again.
    pub lookback: Duration,
    /// `cursor.lookback_ids`: of a query with an incrementing column alone, how many ids back.
    pub lookback_ids: i64,
    /// `cursor.timezone`: in which zone a `timestamp` without one is written by the server's clock.
    pub timezone: Option<String>,
    /// `columns.*`, `where` and `message.key.columns`: what is delivered of columns and rows.
    pub shape: Shape,
    /// `on_change`: what follows when that is another than before.
    pub on_change: OnChange,
    /// `on_default_added`: what follows when a column is added with a default.
    pub on_default_added: OnDefaultAdded,
    /// `oversize`: what becomes of a row that is larger than its topic takes.
    pub oversize: Oversize,
}

/// What follows when other columns or rows are asked for than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// The object is loaded again, so that every row is there in its new form.
    Reload,
    /// What changes from now on comes in its new form.
    Continue,
}

/// What follows when a column is added with a default and PostgreSQL rewrites no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDefaultAdded {
    /// Rows come with it when they change.
    Ignore,
    /// The rows are sent again with it.
    Reload,
}

/// When an object is polled.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// From the start of one poll to the start of the next.
    Every(Duration),
    /// At these times of the clock.
    Cron(Box<croner::Cron>, TimeZone),
}

impl Schedule {
    /// When a poll that begins `now` counts as begun. A late one counts as of its own time, so that intervals do not drift; the
    /// first one as a little earlier, by a share of the interval that is the object's own, so that objects which were found
    /// together are not due together for ever.
    pub fn count_from(&self, last: Option<Instant>, now: Instant, object: &str) -> Instant {
        let Schedule::Every(interval) = self else { return now };
        let Some(last) = last else {
            let mut hasher = DefaultHasher::new();
            object.hash(&mut hasher);
            let share = f64::from((hasher.finish() >> 48) as u32) / 65_536.0;
            return now.checked_sub(interval.mul_f64(share)).unwrap_or(now);
        };
        let passed = now.saturating_duration_since(last).as_nanos();
        let whole = u32::try_from(passed / interval.as_nanos().max(1)).unwrap_or(u32::MAX);
        last.checked_add(interval.saturating_mul(whole)).filter(|start| *start <= now).unwrap_or(now)
    }

    /// How long to wait for the next poll after one that began `ago`, at `now`. A time of the clock that was missed is not
    /// made up for.
    pub fn wait(&self, ago: Duration, now: Timestamp) -> Duration {
        match self {
            Schedule::Every(interval) => interval.saturating_sub(ago),
            Schedule::Cron(cron, zone) => {
                let now = Zoned::new(now, zone.clone());
                let next = cron.find_next_occurrence(&now, false).ok();
                // An expression that never comes again, such as a 30th of February, was refused when it was read.
                next.map_or(Duration::from_secs(3600), |next| {
                    Duration::try_from(now.duration_until(&next)).unwrap_or_default()
                })
            }
        }
    }
}

/// Every key of an object that stands for a connector's own one.
const ALONE: &[(&str, &str)] = &[
    ("mode", "tables.mode"),
    ("timestamp_column", "tables.timestamp_column"),
    ("incrementing_column", "tables.incrementing_column"),
];

/// Reads one object's settings; with an empty alias the connector's.
pub(super) fn polling(reader: &mut Reader<'_>, alias: &str) -> Polling {
    let key = |reader: &Reader<'_>, name: &str| {
        let own = format!("objects.{alias}.{name}");
        let shared = ALONE.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, shared)| shared);
        if !alias.is_empty() && reader.is_set(&own) { own } else { shared.to_owned() }
    };
    let mode_key = key(reader, "mode");
    let word = reader.word(&mode_key).unwrap_or("xmin");
    let own_mode = mode_key.starts_with("objects.");
    let mut column = |name: &str, wanted: bool| {
        let key = key(reader, name);
        let set = reader.is_set(&key);
        // A column of all tables means nothing to an object of another mode.
        let meant = alias.is_empty() || key.starts_with("objects.") || !own_mode || wanted;
        if wanted && !set {
            reader.refuse(&key, format!("the column that mode {word} goes by"));
        } else if set && !wanted && meant {
            reader.refuse(&key, format!("nothing: mode {word} knows no such column"));
        }
        if set && wanted { reader.text(&key) } else { None }
    };
    let timestamp = column("timestamp_column", word.contains("timestamp"));
    let incrementing = column("incrementing_column", word.contains("incrementing"));
    let mode = match word {
        "xmin" => Mode::Xmin,
        "bulk" => Mode::Bulk,
        _ => Mode::Cursor(Cursor { timestamp, incrementing }),
    };
    let sweep_interval = key(reader, "sweep.interval");
    let lookback = key(reader, "cursor.lookback");
    let lookback_ids = key(reader, "cursor.lookback_ids");
    let on_change = key(reader, "on_change");
    let on_default_added = key(reader, "on_default_added");
    let timezone_key = key(reader, "cursor.timezone");
    let timezone = reader.text(&timezone_key);
    if timezone.as_deref().is_some_and(|zone| TimeZone::get(zone).is_err()) {
        reader.refuse(&timezone_key, "a time zone such as Europe/Berlin or UTC");
    }
    Polling {
        mode,
        schedule: schedule(reader, alias),
        sweep_interval: reader.time(&sweep_interval),
        lookback: reader.time(&lookback),
        lookback_ids: reader.integer(&lookback_ids),
        timezone,
        shape: shape(reader, alias),
        on_change: match reader.word(&on_change) {
            Some("continue") => OnChange::Continue,
            _ => OnChange::Reload,
        },
        on_default_added: match reader.word(&on_default_added) {
            Some("reload") => OnDefaultAdded::Reload,
            _ => OnDefaultAdded::Ignore,
        },
        oversize: errors::oversize(reader, alias),
    }
}

/// Columns and rows, which only an object set apart may choose.
fn shape(reader: &mut Reader<'_>, alias: &str) -> Shape {
    if alias.is_empty() {
        return Shape::default();
    }
    let key = |name: &str| format!("objects.{alias}.{name}");
    let (include, exclude) = (key("columns.include"), key("columns.exclude"));
    if reader.is_set(&include) && reader.is_set(&exclude) {
        reader.refuse(&exclude, format!("one of the two: {include} is set too"));
    }
    let salt = reader.raw_secret("columns.mask.salt").and_then(|raw| reader.replaced("columns.mask.salt", raw));
    let salt = salt.as_ref().map_or("", |salt| salt.reveal());
    let mask_key = key("columns.mask");
    let mut mask = Vec::new();
    for text in reader.list(&mask_key) {
        let parsed =
            text.split_once(':').and_then(|(column, rule)| Some((column.to_owned(), Mask::parse(rule, salt)?)));
        match parsed {
            Some(parsed) => mask.push(parsed),
            None => reader
                .refuse(&mask_key, "column:rule with the rule redact, sha256 or truncate:4, such as \"email:sha256\""),
        }
    }
    let cast_key = key("columns.cast");
    let mut cast = Vec::new();
    for text in reader.list(&cast_key) {
        match text.rsplit_once(':').and_then(|(column, word)| Some((column.to_owned(), Cast::parse(word)?))) {
            Some(parsed) => cast.push(parsed),
            None => {
                let words = Cast::WORDS.join(", ");
                reader.refuse(&cast_key, format!("column:mode with a mode of {words}, such as \"price:string\""));
            }
        }
    }
    let filter_key = key("where");
    let filter = reader.text(&filter_key);
    if filter.is_some() && (reader.is_set(&key("query")) || reader.is_set(&key("query_file"))) {
        reader.refuse(&filter_key, "nothing: the query has a WHERE of its own");
    }
    if let Some(filter) = &filter {
        if let Some(word) = filter_words(filter).0.first() {
            let needs =
                format!("a condition on the row alone; rows that enter it later by `{word}` would never be seen");
            reader.refuse(&filter_key, needs);
        } else if filter.contains(';') || filter.trim().is_empty() {
            reader.refuse(&filter_key, "one condition, as after WHERE");
        }
    }
    Shape {
        include: reader.list(&include),
        exclude: reader.list(&exclude),
        cast,
        mask,
        filter,
        key: reader.list(&key("message.key.columns")),
    }
}

fn schedule(reader: &mut Reader<'_>, alias: &str) -> Schedule {
    let prefix = if alias.is_empty() { String::new() } else { format!("objects.{alias}.") };
    let (interval, cron) = (format!("{prefix}poll.interval"), format!("{prefix}poll.cron"));
    if reader.is_set(&interval) && reader.is_set(&cron) {
        reader.refuse(&cron, format!("one of the two: {interval} is set too"));
    }
    if reader.is_set(&cron) {
        let zone = zone(reader, &format!("{prefix}poll.timezone"));
        let text = reader.text(&cron).unwrap_or_default();
        let parsed = text.parse::<croner::Cron>().ok();
        let parsed =
            parsed.filter(|cron| cron.find_next_occurrence(&Zoned::new(Timestamp::now(), zone.clone()), false).is_ok());
        return match parsed {
            Some(parsed) => Schedule::Cron(Box::new(parsed), zone),
            None => {
                reader.refuse(
                    &cron,
                    "minute, hour, day of month, month and day of week, such as \"0 6 * * 1-5\", with a next time",
                );
                Schedule::Every(Duration::ZERO)
            }
        };
    }
    if reader.is_set(&interval) || alias.is_empty() {
        return Schedule::Every(reader.time(&interval));
    }
    schedule(reader, "")
}

fn zone(reader: &mut Reader<'_>, key: &str) -> TimeZone {
    let key = if reader.is_set(key) { key } else { "poll.timezone" };
    let name = reader.text(key).unwrap_or_default();
    TimeZone::get(&name).unwrap_or_else(|_| {
        reader.refuse(key, "a time zone such as Europe/Berlin or UTC");
        TimeZone::UTC
    })
}

/// What `mode` takes.
pub(super) const MODES: Takes = Takes::OneOf(Mode::NAMES);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_interval_counts_from_the_start_of_the_last_poll() {
        let every = Schedule::Every(Duration::from_secs(60));
        assert_eq!(every.wait(Duration::from_secs(20), at("2026-01-01T00:00:00Z")), Duration::from_secs(40));
        assert_eq!(every.wait(Duration::from_secs(90), at("2026-01-01T00:00:00Z")), Duration::ZERO);
    }

    #[test]
    fn polls_do_not_drift_and_a_missed_one_is_not_made_up_for() {
        let every = Schedule::Every(Duration::from_secs(60));
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(every.count_from(Some(start), at(63), "t"), at(60));
        assert_eq!(every.count_from(Some(at(60)), at(305), "t"), at(300));
    }

    #[test]
    fn the_second_polls_of_objects_found_together_are_spread_over_the_interval() {
        let every = Schedule::Every(Duration::from_secs(60));
        let now = Instant::now() + Duration::from_secs(3600);
        let starts: Vec<u64> =
            (0..100).map(|at| (now - every.count_from(None, now, &format!("public.t{at}"))).as_secs()).collect();
        assert!(starts.iter().all(|ago| *ago < 60));
        for quarter in 0..4 {
            let within = starts.iter().filter(|ago| (quarter * 15..quarter * 15 + 15).contains(*ago)).count();
            assert!((5..60).contains(&within), "{within} of 100 in quarter {quarter}");
        }
    }

    #[test]
    fn a_time_of_the_clock_is_one_of_its_zone_daylight_saving_included() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let cron = Schedule::Cron(Box::new("30 6 * * *".parse().unwrap()), zone.clone());
        let wait = |now| cron.wait(Duration::from_secs(0), at(now));
        // 07:00 in summer is 05:00 UTC; the next half past six is 23.5 h away, and an hour more when the clocks go back.
        assert_eq!(wait("2026-07-01T05:00:00Z"), Duration::from_secs(23 * 3600 + 1800));
        assert_eq!(wait("2026-10-24T05:00:00Z"), Duration::from_secs(24 * 3600 + 1800));
        // Half past two does not exist on the night when clocks go forward: it is not skipped for a day and a night.
        let gap = Schedule::Cron(Box::new("30 2 * * *".parse().unwrap()), zone);
        assert!(gap.wait(Duration::ZERO, at("2026-03-28T23:00:00Z")) <= Duration::from_secs(3 * 3600));
    }
}
