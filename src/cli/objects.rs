//! `objects`: what each object is at, from what Kafka holds and PostgreSQL shows.

use serde_json::{Value, json};

use super::stored::StoredProgress;
use super::survey::Survey;
use super::table::{Table, seconds, size, thousands};
use super::{DONE, FAILED, print};
use crate::Result;
use crate::config::Config;
use crate::poll::{Choice, Mode, Moment, Watermark};
use crate::postgres::Holder;

/// What an object is doing.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Nothing is stored yet.
    New,
    /// The historical load, a share of it done.
    Loading(f64),
    /// Deltas.
    Streaming,
    /// With the reason.
    Failed(String),
}

struct Object<'a> {
    choice: &'a Choice,
    state: State,
    progress: Option<Progress>,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    xmin: u64,
    rows: u64,
    bytes: u64,
    letters: u64,
    xids_behind: u64,
    seconds_behind: Option<u64>,
    caught_up: bool,
    /// Rows are read ahead of a window that somebody holds back.
    ahead: usize,
    /// Of bulk and queries.
    passes: u64,
    pass_at: i64,
}

/// Lists all objects.
pub async fn objects(config: &Config, as_json: bool) -> Result<u8> {
    let survey = Survey::make(config).await?;
    let stored = StoredProgress::read(config)?;
    let snapshot = survey.moment.snapshot;
    let holder = if snapshot.xmin < snapshot.xmax { survey.connection.holder().await? } else { None };
    let mut objects = Vec::new();
    for choice in &survey.choices {
        objects.push(look(config, &survey, choice, &stored).await?);
    }
    let text = if as_json {
        let objects: Vec<Value> = objects.iter().map(Object::to_json).collect();
        let worker = stored.worker();
        format!(
            "{}\n",
            json!({
                "connector": config.name, "state": worker.state(), "worker": worker.text(), "objects": objects,
                "xmin": snapshot.xmin, "xmax": snapshot.xmax, "held_back_by": holder.as_ref().map(holder_json),
            })
        )
    } else {
        to_text(config, &stored, &objects, holder.as_ref())
    };
    print(&text);
    let failed = objects.iter().any(|object| matches!(object.state, State::Failed(_)));
    Ok(if failed { FAILED } else { DONE })
}

async fn look<'a>(config: &Config, survey: &Survey, choice: &'a Choice, stored: &StoredProgress) -> Result<Object<'a>> {
    let name = &choice.table.name;
    let failed = |why: String| State::Failed(why);
    let watermark = match stored.watermark(config, name) {
        Ok(watermark) => watermark.filter(|watermark| watermark.table == choice.table.oid),
        Err(error) => return Ok(Object { choice, state: failed(error.to_string()), progress: None }),
    };
    let progress = watermark.as_ref().map(|watermark| progress(choice, watermark, &survey.moment));
    let state = if let Some(refused) = &choice.refused {
        failed(refused.to_string())
    } else if let Some(why) = stored.failure(name) {
        failed(why.to_owned())
    } else {
        match &watermark {
            None => State::New,
            Some(watermark) if is_loading(choice, watermark) => State::Loading(share(survey, choice, watermark).await?),
            Some(_) => State::Streaming,
        }
    };
    Ok(Object { choice, state, progress })
}

fn leaves(choice: &Choice) -> impl Iterator<Item = u32> {
    choice.table.leaves.iter().map(|leaf| leaf.oid)
}

/// Whether it is read from end to end, with pauses.
fn is_in_passes(choice: &Choice) -> bool {
    choice.query.is_some() || choice.polling.mode == Mode::Bulk
}

fn is_loading(choice: &Choice, watermark: &Watermark) -> bool {
    if is_in_passes(choice) {
        return watermark.passes == 0;
    }
    !choice.table.leaves.is_empty() && watermark.floor(leaves(choice)) == 0
}

fn progress(choice: &Choice, watermark: &Watermark, moment: &Moment) -> Progress {
    let xmin = watermark.floor(leaves(choice));
    let caught_up = if is_in_passes(choice) { watermark.passes > 0 } else { xmin >= moment.snapshot.xmin };
    // The newest moment of which everything is delivered.
    let at = watermark.history.entries().iter().rev().find(|entry| entry.xmin <= xmin).map(|entry| entry.at);
    let since = |at: i64| u64::try_from(jiff::Timestamp::now().as_second() - at).unwrap_or(0);
    Progress {
        xmin,
        rows: watermark.rows,
        bytes: watermark.bytes,
        letters: watermark.letters,
        xids_behind: if is_in_passes(choice) { 0 } else { moment.snapshot.xmax.saturating_sub(xmin) },
        seconds_behind: match () {
            () if is_in_passes(choice) => (watermark.pass_at > 0).then(|| since(watermark.pass_at)),
            () if caught_up => Some(0),
            () => at.map(since),
        },
        caught_up,
        ahead: watermark.leaves.values().map(|leaf| leaf.ahead.len()).sum(),
        passes: watermark.passes,
        pass_at: watermark.pass_at,
    }
}

/// How much of the load is done, by blocks.
async fn share(survey: &Survey, choice: &Choice, watermark: &Watermark) -> Result<f64> {
    /// PostgreSQL's block, unless it was built otherwise.
    const BLOCK: u64 = 8192;
    let all: Vec<u32> = leaves(choice).collect();
    let is_done = |oid: &&u32| watermark.leaves.get(oid).is_some_and(|leaf| leaf.floor > 0);
    let done: Vec<u32> = all.iter().filter(is_done).copied().collect();
    let begun =
        watermark.leaves.values().filter_map(|leaf| leaf.sweep).map(|sweep| u64::from(sweep.next.block) * BLOCK);
    let read = survey.connection.size(&done).await? + begun.sum::<u64>();
    let total = survey.connection.size(&all).await?.max(1);
    Ok((read as f64 / total as f64).min(1.0))
}

fn to_text(config: &Config, stored: &StoredProgress, objects: &[Object<'_>], holder: Option<&Holder>) -> String {
    let mut text = format!("connector {}: {}\n", config.name, stored.worker().text());
    if let Some(holder) = holder {
        text.push_str(&format!(
            "held back by {}: what is small is read ahead, rows of large tables written since wait for its end\n",
            holder_text(holder)
        ));
    }
    let mut table = Table::new(&["OBJECT", "MODE", "STATE", "ROWS", "BYTES", "XMIN", "BEHIND", "TOPIC"]);
    for object in objects {
        table.row(object.row());
    }
    text.push_str(&table.text());
    for object in objects {
        let letters = object.progress.as_ref().map_or(0, |progress| progress.letters);
        if letters > 0 {
            let (name, count) = (&object.choice.table.name, thousands(letters));
            text.push_str(&format!("{name}: {count} dead letter(s) so far, see `strandline errors list`\n"));
        }
        if let State::Failed(why) = &object.state {
            let name = object.choice.table.name.to_string();
            let why = why.strip_prefix(&name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(why);
            text.push_str(&format!("FAILED  {name}: {why}\n"));
            if let Some(hint) = object.choice.refused.as_ref().and_then(|error| error.hint_text()) {
                text.push_str(&format!("        to do: {hint}\n"));
            }
        }
    }
    text
}

/// What stands before a holder's name: a prepared transaction has no pid.
pub fn pid(who: &str) -> &'static str {
    if who.chars().all(|one| one.is_ascii_digit()) { "pid " } else { "" }
}

/// `pid 77 (user app, database shop), 12 transactions ago`.
pub fn holder_text(holder: &Holder) -> String {
    let who = pid(&holder.who);
    format!(
        "{who}{} (user {}, database {}), which began {} transaction{} ago",
        holder.who,
        holder.user,
        holder.database,
        thousands(holder.age.unsigned_abs()),
        if holder.age == 1 { "" } else { "s" }
    )
}

fn holder_json(holder: &Holder) -> Value {
    json!({ "who": holder.who, "user": holder.user, "database": holder.database, "xid": holder.xid, "xids_behind": holder.age })
}

impl Object<'_> {
    fn row(&self) -> Vec<String> {
        let state = match &self.state {
            State::New => "NEW".to_owned(),
            State::Loading(share) => format!("LOADING {:.0} %", share * 100.0),
            State::Streaming => "STREAMING".to_owned(),
            State::Failed(_) => "FAILED".to_owned(),
        };
        let progress = |show: &dyn Fn(&Progress) -> String| self.progress.as_ref().map_or("-".to_owned(), show);
        vec![
            self.choice.table.name.to_string(),
            self.choice.polling.mode.to_string(),
            state,
            progress(&|progress| thousands(progress.rows)),
            progress(&|progress| size(progress.bytes)),
            progress(&|progress| if progress.xmin == 0 { "-".to_owned() } else { progress.xmin.to_string() }),
            progress(&Progress::behind),
            self.choice.topic.clone(),
        ]
    }

    fn to_json(&self) -> Value {
        let (state, percent, reason) = match &self.state {
            State::New => ("NEW", None, None),
            State::Loading(share) => ("LOADING", Some(share * 100.0), None),
            State::Streaming => ("STREAMING", None, None),
            State::Failed(why) => ("FAILED", None, Some(why)),
        };
        let progress = self.progress.as_ref();
        json!({
            "object": self.choice.table.name.to_string(), "topic": self.choice.topic, "mode": self.choice.polling.mode.name(), "state": state,
            "percent": percent, "reason": reason,
            "caught_up": progress.is_some_and(|progress| progress.caught_up),
            "xmin": progress.map(|progress| progress.xmin), "rows": progress.map(|progress| progress.rows),
            "bytes": progress.map(|progress| progress.bytes), "letters": progress.map(|progress| progress.letters), "xids_behind": progress.map(|progress| progress.xids_behind),
            "seconds_behind": progress.and_then(|progress| progress.seconds_behind),
            "window": progress.map(|progress| if progress.ahead > 0 { "eager" } else { "settled" }),
            "transactions_ahead": progress.map(|progress| progress.ahead),
            "passes": progress.map(|progress| progress.passes),
            "pass_at": progress.filter(|progress| progress.passes > 0).map(|progress| progress.pass_at),
        })
    }
}

impl Progress {
    fn xids(&self) -> String {
        let plural = if self.xids_behind == 1 { "" } else { "s" };
        format!("{} xid{plural}", thousands(self.xids_behind))
    }

    fn behind(&self) -> String {
        match self.seconds_behind {
            Some(time) if self.passes > 0 => format!("pass {}, {} ago", thousands(self.passes), seconds(time)),
            _ if self.caught_up => "0s".to_owned(),
            _ if self.ahead > 0 => format!("0s ({} transactions read ahead)", thousands(self.ahead as u64)),
            // Nothing is delivered in full yet: the load's share says how far it is.
            _ if self.xmin == 0 => "-".to_owned(),
            Some(time) => format!("{} ({})", seconds(time), self.xids()),
            None => self.xids(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(caught_up: bool, seconds_behind: Option<u64>) -> Progress {
        Progress {
            xmin: 7,
            rows: 1,
            bytes: 2,
            letters: 0,
            xids_behind: 1234,
            seconds_behind,
            caught_up,
            ahead: 0,
            passes: 0,
            pass_at: 0,
        }
    }

    #[test]
    fn what_is_behind_is_told_in_time_and_in_transactions() {
        assert_eq!(progress(true, Some(0)).behind(), "0s");
        assert_eq!(progress(false, Some(61)).behind(), "1m 1s (1,234 xids)");
        assert_eq!(progress(false, None).behind(), "1,234 xids");
        assert_eq!(Progress { xids_behind: 1, ..progress(false, Some(2)) }.behind(), "2s (1 xid)");
        assert_eq!(Progress { xmin: 0, ..progress(false, None) }.behind(), "-");
    }

    #[test]
    fn a_prepared_transaction_has_no_pid() {
        let holder = |who: &str| Holder { who: who.into(), database: "d".into(), user: "u".into(), xid: 5, age: 12 };
        assert_eq!(holder_text(&holder("77")), "pid 77 (user u, database d), which began 12 transactions ago");
        assert!(holder_text(&holder("prepared 'x'")).starts_with("prepared 'x' (user u"));
    }
}
