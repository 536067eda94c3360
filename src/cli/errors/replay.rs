//! The rows of letters, read as they are now, on their way into their topics.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Found, mark_in, read};
use crate::avro::Settings;
use crate::cli::stored::StoredProgress;
use crate::cli::survey::Survey;
use crate::config::{Config, Errors, Oversize};
use crate::headers::Headers;
use crate::kafka::{self, Batch};
use crate::lead::{self, Lead};
use crate::letter::{Letter, Outcome};
use crate::lookback::{Delivered, Known, LookingBack, query_cursor, texts};
use crate::object::{Object, Plan};
use crate::owner::Owner;
use crate::poll::sql::{self, Source};
use crate::poll::{Choice, Reading as Read, Watermark, Window, whole};
use crate::postgres::Connection;
use crate::reading::{Reading, Tally};
use crate::unfit::Unfit;
use crate::worker::{self, Shared};
use crate::{Error, Kind, Result};

const GONE: &str = "stays: its row is not there any more; `errors skip` closes the letter";
const CHANGED: &str = "was changed since: its new version travels by itself";

/// What became of a letter; without an outcome it stays.
pub struct Told<'a> {
    pub found: &'a Found,
    pub outcome: Option<Outcome>,
    pub text: String,
}

/// One object whose letters are replayed.
struct Replay {
    shared: Arc<Shared>,
    object: Object,
    plan: Plan,
    owner: Owner,
    connection: Connection,
    /// Of a table; open in the connection's transaction.
    source: Option<Source>,
    /// Of a query with a cursor: its next poll, as Kafka has its progress now.
    next_poll: Option<LookingBack>,
    batch: Batch,
}

/// Object by object. What was sent before an error stays sent, and is marked.
pub async fn replay<'a>(config: &Config, stored: &StoredProgress, letters: &'a [Found]) -> Result<Vec<Told<'a>>> {
    // A row that still does not fit is told, and not written down once more.
    let errors = Errors { tolerate: false, ..config.errors.clone() };
    let config = Arc::new(Config { errors, ..config.clone() });
    let shared = Arc::new(worker::reach(&config, true, CancellationToken::new()).await?);
    let mut survey = Survey::make(&config).await?;
    let mut told = Vec::new();
    let mut names: Vec<&str> = letters.iter().map(|found| found.letter.object.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of_object = letters.iter().filter(|found| found.letter.object == name);
        let at = survey.choices.iter().position(|choice| choice.table.name.to_string() == name);
        let Some(at) = at else {
            let stay = |found| Told { found, outcome: None, text: "stays: its object is not there any more".into() };
            told.extend(of_object.map(stay));
            continue;
        };
        let choice = survey.choices.remove(at);
        let mut replay = match Replay::begin(&shared, stored, &survey, choice).await {
            Ok(replay) => replay,
            Err(error) if is_the_objects(&error) => {
                told.extend(of_object.map(|found| Told { found, outcome: None, text: stays(&error) }));
                continue;
            }
            Err(error) => return Err(error),
        };
        // Only now that nobody else can: whoever had the partition until then may have dealt with some.
        let now = read(&config, Some(name))?;
        // And what was read of the rows is as it was before.
        replay.reopen().await?;
        for found in of_object {
            told.push(match now.iter().find(|now| now.name == found.name) {
                Some(Found { done: None, letter, .. }) => replay.letter(found, letter).await?,
                Some(Found { done: Some(done), .. }) => {
                    let text = format!("was {} at {} already", done.done.word(), done.at);
                    Told { found, outcome: Some(done.done), text }
                }
                None => Told { found, outcome: None, text: "stays: its letter is not there any more".into() },
            });
        }
        replay.commit()?;
    }
    Ok(told)
}

/// Whether an error leaves the other objects, and rows, alone.
fn is_the_objects(error: &Error) -> bool {
    use Kind::{Changed, Denied, Incompatible, Locked, Row, Schema, Topic};
    matches!(error.kind(), Changed | Denied | Incompatible | Locked | Row | Schema | Topic)
}

fn stays(error: &Error) -> String {
    format!("stays: {}", error.report().replace('\n', "\n    "))
}

impl Replay {
    async fn begin(
        shared: &Arc<Shared>,
        stored: &StoredProgress,
        survey: &Survey,
        mut choice: Choice,
    ) -> Result<Replay> {
        let config = &shared.config;
        if let Some(refused) = choice.refused.take() {
            return Err(refused);
        }
        if choice.polling.oversize == Oversize::Skip {
            choice.polling.oversize = Oversize::Fail;
        }
        let key = kafka::key(&config.name, &choice.table.name);
        // Where its progress is stored counts.
        let partition = stored.offsets.get(&key).map_or_else(|| shared.offsets.partition(&key), |(at, _)| *at);
        let reading = Read::of(&choice.polling.mode, choice.query.as_deref(), &choice.polling.shape);
        let fresh = Watermark::new(reading, choice.table.oid, &survey.moment);
        let mut object = Object::new(choice, key, None, fresh);
        object.closer = true;
        let connection = Connection::open(&config.database, &config.name).await?;
        let (source, description) = open(&connection, config, &object).await?;
        let settings =
            Settings { money_scale: survey.session.money_scale, handling: config.handling, ..Settings::default() };
        let description = object.polling.shape.apply(description)?;
        let plan = Plan::make(config, &shared.registry, &shared.admin, &object, description, &settings).await?;
        let owner = Owner::errand(shared, partition)?;
        let next_poll = next_poll(shared, &owner, &object, &plan)?;
        let (shared, batch) = (Arc::clone(shared), Batch::default());
        Ok(Replay { shared, object, plan, owner, connection, source, next_poll, batch })
    }

    async fn letter<'a>(&mut self, found: &'a Found, letter: &Letter) -> Result<Told<'a>> {
        let told = |outcome: Option<Outcome>, text: String| Told { found, outcome, text };
        let copy = match self.copy(letter).await {
            Ok(Ok(copy)) => copy,
            Err(error) if is_the_objects(&error) => {
                self.reopen().await?;
                return Ok(told(None, stays(&error)));
            }
            Err(error) => return Err(error),
            Ok(Err((outcome, text))) => {
                if let Some(outcome) = outcome {
                    mark_in(&mut self.owner, &self.shared.config, found, outcome)?;
                }
                return Ok(told(outcome, text));
            }
        };
        let before = self.owner.filled();
        match self.send(&copy).await {
            Ok(0) => Ok(told(None, GONE.into())),
            Ok(_) => {
                mark_in(&mut self.owner, &self.shared.config, found, Outcome::Replayed)?;
                if self.owner.is_full() {
                    self.commit()?;
                }
                Ok(told(Some(Outcome::Replayed), Outcome::Replayed.word().to_owned()))
            }
            // Once anything of the row is in Kafka's transaction, that goes no further.
            Err(error) if is_the_objects(&error) && self.owner.filled() == before => {
                self.reopen().await?;
                Ok(told(None, stays(&error)))
            }
            Err(error) => Err(error),
        }
    }

    /// A statement failed or a COPY was given up, and with it the transaction.
    async fn reopen(&mut self) -> Result<()> {
        self.connection = Connection::open(&self.shared.config.database, &self.shared.config.name).await?;
        self.source = open(&self.connection, &self.shared.config, &self.object).await?.0;
        Ok(())
    }

    /// The statement that reads the row as it is; or what is to be said instead.
    async fn copy(&self, letter: &Letter) -> Result<Result<String, (Option<Outcome>, String)>> {
        let key = letter.key.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let has_key = !letter.key.is_empty();
        let guard = self.plan.guard.as_ref();
        let columns = self.lead().select() + guard.map_or(self.plan.encoder.select_list(), |guard| &guard.columns);
        let Some(source) = &self.source else {
            if !has_key {
                let text = "stays: a query's row without a key cannot be found again; message.key.columns gives it one";
                return Ok(Err((None, text.into())));
            }
            let (query, key) = (self.object.query.as_deref().unwrap_or_default(), sql::at_key(key));
            return Ok(match self.judge(letter, query, &key, &columns).await? {
                Verdict::Send => Ok(sql::copy_query_once(query, &columns, &format!(" WHERE {key}"))),
                Verdict::Stays(text) => Err((None, text.into())),
                Verdict::Superseded => Err((Some(Outcome::Superseded), CHANGED.into())),
            });
        };
        let Some((table, ctid, xmin)) = letter.version_of_row() else {
            return Ok(Err((None, "stays: it does not tell where its row is".into())));
        };
        let place = format!("tableoid = {table}::pg_catalog.oid AND ctid = '{ctid}'::pg_catalog.tid");
        let mut condition = if has_key { sql::at_key(key) } else { place };
        if let Some(filter) = &self.object.polling.shape.filter {
            condition = format!("{condition} AND (\n{filter}\n)");
        }
        let versions = self.connection.versions(&sql::versions(source, &condition)).await?;
        match versions.iter().filter(|version| **version == xmin).count() {
            1 => Ok(Ok(sql::copy(source, &columns, &format!("{condition} AND xmin = '{xmin}'::pg_catalog.xid")))),
            0 if versions.is_empty() || !has_key => Ok(Err((None, GONE.into()))),
            0 => Ok(Err((Some(Outcome::Superseded), CHANGED.into()))),
            count => Ok(Err((None, format!("stays: {count} rows have its key")))),
        }
    }

    /// A query has no versions: its row is the letter's as long as it is the only one with its key and its text is the letter's.
    async fn judge(&self, letter: &Letter, query: &str, key: &str, columns: &str) -> Result<Verdict> {
        let row = self.plan.row_text();
        let rows = self.connection.texts(&sql::query_rows(query, &row, "", key)).await?;
        let is_still = match &rows[..] {
            [] => return Ok(Verdict::Stays(GONE)),
            [row] => letter.is_still(row),
            _ => return Ok(Verdict::Stays("stays: several rows have its key")),
        };
        let Some(is_still) = is_still else {
            let text = "stays: the letter does not have its row, so nobody can tell whether that is as it was";
            return Ok(Verdict::Stays(text));
        };
        let again = match &self.next_poll {
            Some(back) => {
                !self.connection.texts(&sql::query_rows(query, &row, &back.conditions(), key)).await?.is_empty()
            }
            // A pass of bulk reads all there is.
            None => !is_still,
        };
        let known = match &self.next_poll {
            Some(back) if is_still && again => self.known(back, query, key, columns).await?,
            _ => None,
        };
        Ok(verdict(is_still, again, known, letter.is_of_unread()))
    }

    /// What the query's next poll knows the row with this key as.
    async fn known(&self, back: &LookingBack, query: &str, key: &str, columns: &str) -> Result<Option<Known>> {
        let lead = self.lead();
        let columns = format!("{}, {columns}", back.leading());
        let copy = sql::copy_query_once(query, &columns, &format!(" WHERE {key}"));
        let mut tuples = self.connection.copy(&copy).await?;
        let mut known = None;
        while let Some(tuple) = tuples.next().await? {
            let fields = lead::fields(tuple, back.columns() + lead.count())?;
            let led = lead.read(fields.get(back.columns()..).unwrap_or_default())?;
            let marker = led.marker.as_deref().unwrap_or_default().as_bytes();
            known = back.knows(&fields, marker, lead::rest(tuple, &fields))?;
        }
        Ok(known)
    }

    fn lead(&self) -> Lead {
        let is_table = self.source.is_some();
        let marker = self.plan.guard.as_ref().map(|guard| guard.marker.clone());
        Lead { xid: is_table, place: is_table, marker, text: None }
    }

    /// How many rows were sent; none of them if there is an error.
    async fn send(&mut self, copy: &str) -> Result<u64> {
        let (config, object) = (&self.shared.config, &self.object);
        let now = jiff::Timestamp::now().as_millisecond();
        let window = Window { from: 0, to: Window::OPEN };
        let unfit = Unfit::new(config, object);
        let mut reading = Reading {
            shared: &self.shared,
            object: object.name.clone(),
            topic: object.topic.clone(),
            can_shrink: false,
            headers: Headers::new(&config.topic.headers, &object.name, object.polling.mode.name(), false, now),
            lead: self.lead(),
            ahead: None,
            looking_back: None,
            between: false,
            unfit: match &self.source {
                Some(source) => unfit.of_table(source, window),
                None => unfit,
            },
            counted: Tally::default(),
        };
        let tuples = self.connection.copy(copy).await?;
        let read = reading.read(&self.connection, tuples, &mut self.plan, &mut self.owner, &mut self.batch).await?;
        Ok(read.0)
    }

    fn commit(&mut self) -> Result<()> {
        self.owner.commit(&self.shared.offsets)
    }
}

/// What is to become of a query's letter.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Send,
    Stays(&'static str),
    Superseded,
}

/// `is_still`: the row is the letter's as it was. `again`: the query's next poll reads it again, and has it `known` as what it
/// was delivered as. `unread`: it was too large to be read, and a poll may have it under another hash.
fn verdict(is_still: bool, again: bool, known: Option<Known>, unread: bool) -> Verdict {
    match (is_still, again, known) {
        (_, _, Some(Known::Sent)) | (false, true, _) => Verdict::Superseded,
        (true, _, Some(Known::Letter)) => Verdict::Send,
        (true, true, None) => Verdict::Stays("stays: the query's next poll sends its row, if that can go now"),
        (true, false, None) if unread => Verdict::Stays(
            "stays: its row was too large to be read, and whether a poll has sent it since nobody can tell; `errors skip` closes the letter",
        ),
        (true, false, None) => Verdict::Send,
        (false, false, _) => Verdict::Stays(
            "stays: its row was changed since, and whether the query's cursor has shown that nobody can tell; `errors skip` closes the letter",
        ),
    }
}

/// Reads how far a query's cursor is. Blocks the thread.
fn next_poll(shared: &Shared, owner: &Owner, object: &Object, plan: &Plan) -> Result<Option<LookingBack>> {
    let Some(cursor) = object.polling.mode.cursor().filter(|_| object.query.is_some()) else { return Ok(None) };
    let stored = shared.read_offsets(owner.partition)?.offsets;
    let own = stored.get(&object.key).and_then(|json| Watermark::from_json(json).ok());
    let texts = texts(cursor, &plan.description);
    let delivered = match own {
        Some(own) if own.reading == object.reading() && own.table == object.table.oid => {
            Delivered::restore(&own.position, kafka::buckets(&stored, &object.key).into_iter(), texts)?
        }
        // One that is read otherwise than before begins anew.
        _ => Delivered::default(),
    };
    let name = object.name.to_string();
    let of_query = query_cursor(cursor, &plan.description);
    Ok(Some(LookingBack::new(delivered, &object.polling, of_query, texts, None, name)))
}

/// Opens a transaction that reads the whole object: a table under its lock, or a query.
async fn open(
    connection: &Connection,
    config: &Config,
    object: &Object,
) -> Result<(Option<Source>, crate::postgres::Description)> {
    if let Some(query) = &object.query {
        return Ok((None, connection.open_query(&config.tables.schema, query).await?.1));
    }
    let window = Window { from: 0, to: object.pending.xmax };
    let mut lock = true;
    loop {
        let source = whole(&object.table, lock).ok_or_else(|| {
            Error::new(Kind::Denied, "the role may not select from the partitioned table, only from its partitions")
                .object(object.name.to_string())
                .hint("grant SELECT on the table itself")
        })?;
        match connection.open_chunk(&source, window).await {
            Ok(head) => return Ok((Some(source), head.description)),
            // LOCK TABLE wants a right on the whole table, which a grant on columns is not.
            Err(error) if lock && error.kind() == Kind::Denied => {
                connection.rollback().await?;
                lock = false;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_querys_row_is_sent_only_if_no_poll_has_or_will() {
        assert_eq!(verdict(true, true, Some(Known::Letter), false), Verdict::Send);
        assert_eq!(verdict(true, false, None, false), Verdict::Send, "no poll looks back so far");
        assert!(matches!(verdict(true, false, None, true), Verdict::Stays(_)), "one may have sent it since");
        assert!(matches!(verdict(true, true, None, false), Verdict::Stays(_)), "the next poll sends it");
        assert!(matches!(verdict(false, false, None, false), Verdict::Stays(_)), "nobody can tell");
        assert_eq!(verdict(true, true, Some(Known::Sent), false), Verdict::Superseded);
        assert_eq!(verdict(false, true, None, false), Verdict::Superseded);
    }
}
