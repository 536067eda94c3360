//! `errors`: the letters of the dead-letter topic, listed, replayed or marked as dealt with.
//!
//! A replay takes the object's partition over first, as `offsets set` does, and sends the row and the mark of its letter in one
//! Kafka transaction: it is sent once, however often it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::stored::StoredProgress;
use super::survey::table_name;
use super::table::Table;
use super::{Consent, DONE, FAILED, print};
use crate::config::Config;
use crate::kafka::{Admin, Append, Batch, Producer, await_end, read_to_end};
use crate::letter::{Done, Entry, Letter, Outcome};
use crate::owner::{Owner, PATIENCE};
use crate::worker::now;
use crate::{Error, Kind, Result};

mod replay;

/// A letter of the topic.
struct Found {
    /// `partition:offset`.
    name: String,
    /// The record's key: that of the row, where it has one.
    key: Option<Vec<u8>>,
    letter: Letter,
    done: Option<Done>,
}

/// Lists the letters.
pub fn list(config: &Config, as_json: bool) -> Result<u8> {
    let letters = read(config, None)?;
    if as_json {
        let letters: Vec<Value> = letters.iter().map(Found::to_json).collect();
        print(&format!("{}\n", json!({ "letters": letters })));
        return Ok(DONE);
    }
    let mut table = Table::new(&["LETTER", "OBJECT", "ROW", "ERROR", "AT", "STATE"]);
    for found in &letters {
        let letter = &found.letter;
        table.row(vec![
            found.name.clone(),
            letter.object.clone(),
            letter.place(),
            letter.error.word().to_owned(),
            letter.at.clone(),
            found.state().to_owned(),
        ]);
    }
    print(&table.text());
    let open = letters.iter().filter(|found| found.done.is_none()).count();
    print(&format!("{open} open, {} dealt with\n", letters.len() - open));
    Ok(DONE)
}

/// Reads the rows of open letters again and sends them.
pub async fn replay(config: &Arc<Config>, names: &[String], consent: Consent) -> Result<u8> {
    let letters = choose(config, read(config, None)?, names)?;
    let stored = StoredProgress::read(config)?;
    let running = stored.is_running(config, consent)?;
    if !consent.yes {
        let hint = if running { "; the connector has to be stopped before --yes, or --force given" } else { "" };
        let outcome = format!("nothing was sent: this was a dry run, --yes reads the rows again and sends them{hint}");
        tell(letters.iter().map(|found| (found, "would be replayed".to_owned())), &outcome, consent);
        return Ok(if running { FAILED } else { DONE });
    }
    let told = replay::replay(config, &stored, &letters).await?;
    let failed = told.iter().filter(|told| told.outcome.is_none()).count();
    let outcome = format!("{} dealt with, {failed} stay", told.len() - failed);
    tell(told.iter().map(|told| (told.found, told.text.clone())), &outcome, consent);
    Ok(if failed > 0 { FAILED } else { DONE })
}

/// Marks open letters as dealt with. The connector may run: only the dead-letter topic is written to.
pub fn skip(config: &Config, names: &[String], consent: Consent) -> Result<u8> {
    let letters = choose(config, read(config, None)?, names)?;
    if !consent.yes {
        let outcome = "nothing was written: this was a dry run, --yes marks them";
        tell(letters.iter().map(|found| (found, "would be skipped".to_owned())), outcome, consent);
        return Ok(DONE);
    }
    let stored = StoredProgress::read(config)?;
    let Some(offsets) = &stored.topic else { return Err(nothing(config)) };
    let mut producer = Producer::at_least_once(&config.kafka, &config.name)?;
    for found in &letters {
        mark(&mut producer, config, found, Outcome::Skipped)?;
    }
    producer.commit(offsets, &[], PATIENCE)?;
    let outcome = format!("{} dealt with", letters.len());
    tell(letters.iter().map(|found| (found, Outcome::Skipped.word().to_owned())), &outcome, consent);
    Ok(DONE)
}

fn nothing(config: &Config) -> Error {
    Error::new(Kind::Offsets, format!("there is no topic {}", config.offset_storage.topic))
        .hint("the connector has never run; check offset.storage.topic")
}

fn topic(config: &Config) -> Result<&str> {
    config.errors.topic.as_deref().ok_or_else(|| {
        Error::new(Kind::Config, "there is no dead-letter topic")
            .hint("set errors.deadletterqueue.topic.name, and errors.tolerance = \"all\" or oversize = \"skip\"")
    })
}

/// Every letter of the connector, with what became of it: what can be read now; or, with the rows of one query's letters, all
/// that was written by now. Blocks.
fn read(config: &Config, object: Option<&str>) -> Result<Vec<Found>> {
    let topic = topic(config)?;
    let admin = Admin::new(&config.kafka, &config.name)?;
    if object.is_some() {
        await_end(&admin, topic, PATIENCE)?;
    }
    let mut letters: BTreeMap<(i32, i64), Found> = BTreeMap::new();
    let mut dones: Vec<Done> = Vec::new();
    read_to_end(&admin, topic, |record| {
        match record.value.and_then(|value| Entry::read(value, &config.name)) {
            Some(Entry::Letter(mut letter)) => {
                // It may be large, and that of a table is found by its place.
                if object != Some(letter.object.as_str()) || letter.ctid.is_some() {
                    letter.row = None;
                }
                let name = format!("{}:{}", record.partition, record.offset);
                let key = record.key.map(<[u8]>::to_vec);
                letters.insert((record.partition, record.offset), Found { name, key, letter: *letter, done: None });
            }
            Some(Entry::Done(done)) => dones.push(done),
            None => {}
        }
    })?;
    let mut letters: Vec<Found> = letters.into_values().collect();
    let by_name: BTreeMap<String, Done> = dones.into_iter().map(|done| (done.letter.clone(), done)).collect();
    for found in &mut letters {
        found.done = by_name.get(&found.name).cloned();
    }
    Ok(letters)
}

/// The open letters of these names: `partition:offset`, objects, or all if none is named.
fn choose(config: &Config, letters: Vec<Found>, names: &[String]) -> Result<Vec<Found>> {
    let mut wanted = BTreeSet::new();
    for name in names {
        let is_letter = name.split_once(':').is_some_and(|(partition, offset)| {
            partition.parse::<i32>().is_ok_and(|partition| partition >= 0) && offset.parse::<u64>().is_ok()
        });
        let (what, found) = if is_letter {
            let found = letters.iter().find(|found| found.name == *name);
            if let Some(done) = found.and_then(|found| found.done.as_ref()) {
                return Err(Error::new(
                    Kind::Config,
                    format!("letter {name} was {} at {} already", done.done.word(), done.at),
                ));
            }
            (name.clone(), found.is_some())
        } else {
            let object = table_name(config, name)?.to_string();
            let found = letters.iter().any(|found| found.letter.object == object && found.done.is_none());
            (object, found)
        };
        if !found {
            return Err(Error::new(Kind::Config, format!("there is no open letter {what}"))
                .hint("`strandline errors list` shows the letters"));
        }
        wanted.insert(what);
    }
    let is_wanted = |found: &Found| {
        found.done.is_none()
            && (wanted.is_empty() || wanted.contains(&found.name) || wanted.contains(&found.letter.object))
    };
    Ok(letters.into_iter().filter(is_wanted).collect())
}

/// Tells beside a letter what became of it; with the key of the letter, so that it lies in the same partition.
fn mark(producer: &mut Producer, config: &Config, found: &Found, outcome: Outcome) -> Result<()> {
    let mut batch = Batch::default();
    let (key, value) = batch.buffers();
    key.extend_from_slice(found.key.as_deref().unwrap_or_default());
    value.extend_from_slice(&Done::new(&config.name, &found.name, outcome, now()).to_json());
    batch.finish();
    let started = Instant::now();
    while let Append::Full = producer.append(topic(config)?, &mut batch)? {
        producer.wait();
        if started.elapsed() > PATIENCE {
            return Err(Error::new(Kind::Kafka, "Kafka took no more records").hint("are the brokers up?"));
        }
    }
    Ok(())
}

fn mark_in(owner: &mut Owner, config: &Config, found: &Found, outcome: Outcome) -> Result<()> {
    owner.begin_once()?;
    mark(&mut owner.producer, config, found, outcome)
}

fn tell<'a>(letters: impl Iterator<Item = (&'a Found, String)>, outcome: &str, consent: Consent) {
    if consent.json {
        let letters: Vec<Value> = letters
            .map(|(found, told)| json!({ "letter": found.name, "object": found.letter.object, "outcome": told }))
            .collect();
        print(&format!("{}\n", json!({ "letters": letters, "message": outcome })));
        return;
    }
    for (found, told) in letters {
        print(&format!("{}  {}  {}: {told}\n", found.name, found.letter.object, found.letter.place()));
    }
    print(&format!("{outcome}\n"));
}

impl Found {
    fn state(&self) -> &'static str {
        self.done.as_ref().map_or("open", |done| done.done.word())
    }

    fn to_json(&self) -> Value {
        let letter = &self.letter;
        json!({
            "letter": self.name, "object": letter.object, "topic": letter.topic, "error": letter.error.word(), "message": letter.message,
            "columns": letter.columns, "key": letter.key, "table_oid": letter.table_oid, "ctid": letter.ctid, "xmin": letter.xmin,
            "size": letter.size, "limit": letter.limit, "at": letter.at, "state": self.state(),
            "done_at": self.done.as_ref().map(|done| &done.at),
        })
    }
}
