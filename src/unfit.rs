//! What becomes of a row that cannot go as it is: too large for its topic, or without a counterpart in Avro. It fails its
//! object, is cut to fit, or becomes a letter in the dead-letter topic: never is it skipped without a trace.

use crate::config::{Config, Errors, Oversize};
use crate::lead::Led;
use crate::letter::{Fault, Letter};
use crate::object::{Object, Plan};
use crate::poll::sql::{self, Source};
use crate::poll::{Guard, TableName, Window};
use crate::postgres::Connection;
use crate::{Error, Kind, Result};

mod cut;

pub use cut::{Cut, TRUNCATED};

/// The policies of one object, and the letters of the chunk at hand.
pub struct Unfit {
    errors: Errors,
    oversize: Oversize,
    connector: String,
    object: TableName,
    topic: String,
    /// Where its rows lie; none: a query, whose rows have no place.
    source: Option<Source>,
    window: Option<String>,
    /// Letters whose rows are still to be read, as text.
    pending: Vec<(Letter, Vec<u8>)>,
    /// How many letters the chunk has.
    pub letters: u64,
    /// What the first of them says.
    pub first: Option<String>,
    /// Whether the rows' places were asked for; of a query's rows, their text.
    closer: bool,
    /// A row does not fit, and that was not asked for: to be read again with it.
    pub look_closer: bool,
}

/// Why a row cannot go as it is.
#[derive(Debug)]
pub enum Odd {
    /// The record has so many bytes of key and value.
    Record(usize, usize),
    /// Fields were too large to be read: positions and sizes of all wide columns.
    Unread(Vec<(usize, usize)>),
    /// It cannot be encoded.
    Row(Error),
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its object is FAILED.
    Fail,
    /// It goes to the dead-letter topic.
    Letter,
    /// Columns are cut.
    Cut,
}

impl Odd {
    fn fault(&self, most: usize) -> Fault {
        match self {
            Odd::Row(_) => Fault::Row,
            Odd::Record(key, _) if *key > most => Fault::OversizeKey,
            _ => Fault::Oversize,
        }
    }

    fn size(&self) -> Option<usize> {
        match self {
            Odd::Row(_) => None,
            Odd::Record(key, value) => Some(key + value),
            Odd::Unread(sizes) => Some(sizes.iter().map(|(_, size)| size).sum()),
        }
    }
}

/// What follows from a fault.
fn fate(fault: Fault, oversize: &Oversize, tolerate: bool) -> Fate {
    match (fault, oversize) {
        (Fault::Oversize, Oversize::Skip) => Fate::Letter,
        (Fault::Oversize, Oversize::Truncate(_)) => Fate::Cut,
        (Fault::Row | Fault::OversizeKey, _) if tolerate => Fate::Letter,
        _ => Fate::Fail,
    }
}

impl Unfit {
    /// Of an object's next chunk.
    pub fn new(config: &Config, object: &Object) -> Unfit {
        Unfit {
            errors: config.errors.clone(),
            oversize: object.polling.oversize.clone(),
            connector: config.name.clone(),
            object: object.name.clone(),
            topic: object.topic.clone(),
            source: None,
            window: None,
            pending: Vec::new(),
            letters: 0,
            first: None,
            closer: object.closer,
            look_closer: false,
        }
    }

    /// Of a table's chunk.
    pub fn of_table(self, source: &Source, window: Window) -> Unfit {
        let end = if window.is_open() { String::new() } else { window.to.to_string() };
        Unfit { source: Some(source.clone()), window: Some(format!("{}..{end}", window.from)), ..self }
    }

    /// Whether its rows have a place.
    pub fn is_table(&self) -> bool {
        self.source.is_some()
    }

    /// The dead-letter topic; it is there wherever a row may become a letter.
    pub fn topic(&self) -> &str {
        self.errors.topic.as_deref().unwrap_or_default()
    }

    /// What follows from a row that does not fit: an error that says what, where and what to do, or the fate that is left.
    pub fn judge(&mut self, odd: Odd, led: &Led, plan: &Plan) -> Result<(Fate, Odd)> {
        if let Odd::Row(error) = &odd
            && (error.kind() != Kind::Row || plan.encoder.failed_column().is_none())
        {
            // The chunk's trouble, not the row's.
            return Err(error_of(odd));
        }
        let fate = fate(odd.fault(plan.largest), &self.oversize, self.errors.tolerate);
        match fate {
            Fate::Cut => Ok((fate, odd)),
            _ if !self.closer && (self.is_table() || fate == Fate::Letter) => Err(self.look_closer()),
            Fate::Letter => Ok((fate, odd)),
            Fate::Fail => Err(self.failure(odd, led, plan)),
        }
    }

    /// Cutting was not enough.
    pub fn judge_uncut(&mut self, odd: Odd, led: &Led, plan: &Plan) -> Result<(Fate, Odd)> {
        if !self.closer && (self.is_table() || self.errors.tolerate) {
            return Err(self.look_closer());
        }
        if self.errors.tolerate { Ok((Fate::Letter, odd)) } else { Err(self.failure(odd, led, plan)) }
    }

    fn look_closer(&mut self) -> Error {
        self.look_closer = true;
        Error::new(Kind::Changed, "a row cannot go as it is: it is read again, with its place")
            .object(self.object.to_string())
    }

    /// The error that fails the object.
    fn failure(&self, odd: Odd, led: &Led, plan: &Plan) -> Error {
        let place = self.place(led, plan);
        let fault = odd.fault(plan.largest);
        let (largest, topic) = (plan.largest, &self.topic);
        let told = match (&odd, fault) {
            (Odd::Row(error), _) => {
                let message = format!("{}; the row: {place}", error.message());
                let told = Error::new(Kind::Row, message).object(self.object.to_string());
                let tolerance = "or set errors.tolerance = \"all\", and such rows go to a dead-letter topic";
                return told.hint(format!("{}; {tolerance}", error.hint_text().unwrap_or_default()));
            }
            (Odd::Record(key, _), Fault::OversizeKey) => {
                format!(
                    "a row's key of {key} bytes is larger than the {largest} that topic {topic} takes; the row: {place}"
                )
            }
            _ => format!(
                "a row of {} bytes is larger than the {largest} that topic {topic} takes; the row: {place}",
                odd.size().unwrap_or_default()
            ),
        };
        let other = match fault {
            Fault::OversizeKey => "or set errors.tolerance = \"all\", and the row goes to a dead-letter topic",
            _ => {
                "or set oversize = \"skip\", and the row goes to a dead-letter topic; objects.<alias>.oversize = \"truncate\" cuts columns"
            }
        };
        Error::new(Kind::Topic, told)
            .object(self.object.to_string())
            .hint(format!("raise kafka.\"message.max.bytes\" and the topic's max.message.bytes; {other}"))
    }

    /// `ctid (0,3) of public.docs, key column id`: names and places, no values.
    fn place(&self, led: &Led, plan: &Plan) -> String {
        let name = |at: &usize| plan.description.columns.get(*at).map(|column| column.name.as_str());
        let key: Vec<&str> = plan.description.key.iter().filter_map(name).collect();
        let key = if key.is_empty() { "no key".to_owned() } else { format!("key column {}", key.join(", ")) };
        match (led.place, &self.source) {
            (Some((table, ctid)), Some(source)) => {
                let table =
                    if source.tree { format!("the partition with OID {table}") } else { source.leaf_name.to_string() };
                format!("ctid {ctid} of {table}, {key}")
            }
            _ => format!("a row of a query, {key}"),
        }
    }

    /// Writes the letter of a row; of a table's the row itself is read later.
    pub fn letter(&self, odd: &Odd, led: &Led, plan: &Plan) -> Letter {
        let fault = odd.fault(plan.largest);
        let message = match odd {
            Odd::Row(error) => error.message().to_owned(),
            _ => format!("the record is larger than the {} bytes that topic {} takes", plan.largest, self.topic),
        };
        let mut letter = Letter::new(&self.connector, &self.object, &self.topic, fault, &message, crate::worker::now());
        letter.size = odd.size();
        letter.limit = letter.size.map(|_| plan.largest);
        letter.columns = match odd {
            Odd::Row(_) => plan.encoder.failed_column().map(str::to_owned).into_iter().collect(),
            Odd::Record(..) => Vec::new(),
            Odd::Unread(sizes) => {
                let beyond = sizes.iter().filter(|(_, size)| Guard::is_beyond(plan.largest, *size));
                beyond.filter_map(|(at, _)| Some(plan.description.columns.get(*at)?.name.clone())).collect()
            }
        };
        if let Some((table, ctid)) = led.place {
            letter.table_oid = Some(table);
            letter.ctid = Some(ctid.to_string());
            letter.xmin = led.xid;
            letter.window.clone_from(&self.window);
        }
        if let Some(text) = &led.text {
            letter.take_row(text, &plan.key_names());
        }
        letter
    }

    /// Keeps a letter until its row is read.
    pub fn keep(&mut self, letter: Letter, key: Vec<u8>) {
        self.pending.push((letter, key));
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.pending.len()
    }

    /// Counts a letter on its way into the topic; with `errors.log.enable` the log has a line.
    pub fn count(&mut self, letter: &Letter) {
        self.letters += 1;
        self.first.get_or_insert_with(|| letter.message.clone());
        if self.errors.log {
            tracing::warn!(
                object = %self.object, topic = self.topic(), fault = letter.error.word(), table_oid = letter.table_oid,
                ctid = letter.ctid, xmin = letter.xmin, size = letter.size, "dead letter: {}", letter.message
            );
        }
    }

    /// The next kept letters with their rows, read in the transaction that found them; none when no more are kept.
    pub async fn next(&mut self, connection: &Connection, plan: &Plan) -> Result<Vec<(Letter, Vec<u8>)>> {
        /// Each may hold as much as the topic takes.
        const AT_ONCE: usize = 16;
        let Some(table) = self.pending.first().and_then(|(letter, _)| letter.table_oid) else { return Ok(Vec::new()) };
        let of_table = |(letter, _): &(Letter, Vec<u8>)| letter.table_oid == Some(table);
        let count = self.pending.iter().take(AT_ONCE).take_while(|one| of_table(one)).count();
        let mut letters: Vec<(Letter, Vec<u8>)> = self.pending.drain(..count).collect();
        let Some(source) = &self.source else { return Ok(letters) };
        let places: Vec<_> = letters.iter().filter_map(|(letter, _)| Some(letter.version_of_row()?.1)).collect();
        let row = plan.row_text();
        let texts = connection.rows_as_text(&sql::at_places(source, table, &row, &places)).await?;
        for (letter, _) in &mut letters {
            let text = texts.iter().find(|(_, ctid, _)| Some(ctid.to_string()) == letter.ctid);
            let (.., text) = text.ok_or_else(|| {
                Error::new(Kind::Changed, "a row that was just read is not there").object(self.object.to_string())
            })?;
            letter.take_row(text, &plan.key_names());
        }
        Ok(letters)
    }

    /// Kafka Connect's headers, where they are wanted.
    pub fn headers(&self, letter: &Letter) -> Vec<(&'static str, String)> {
        if !self.errors.headers {
            return Vec::new();
        }
        let stage = match letter.error {
            Fault::Row => "VALUE_CONVERTER",
            Fault::Oversize | Fault::OversizeKey => "KAFKA_PRODUCE",
        };
        vec![
            ("__connect.errors.topic", letter.topic.clone()),
            ("__connect.errors.connector.name", letter.connector.clone()),
            ("__connect.errors.stage", stage.to_owned()),
            ("__connect.errors.exception.class.name", letter.error.word().to_owned()),
            ("__connect.errors.exception.message", letter.message.clone()),
        ]
    }
}

/// The error of a row that is the chunk's.
fn error_of(odd: Odd) -> Error {
    match odd {
        Odd::Row(error) => error,
        _ => Error::new(Kind::Row, "a row cannot go as it is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_the_fate_that_its_own_key_says() {
        let cut = Oversize::Truncate(vec!["doc".into()]);
        for (fault, oversize, tolerate, expected) in [
            (Fault::Oversize, &Oversize::Fail, true, Fate::Fail),
            (Fault::Oversize, &Oversize::Skip, false, Fate::Letter),
            (Fault::Oversize, &cut, false, Fate::Cut),
            (Fault::OversizeKey, &cut, false, Fate::Fail),
            (Fault::OversizeKey, &Oversize::Skip, true, Fate::Letter),
            (Fault::Row, &Oversize::Skip, false, Fate::Fail),
            (Fault::Row, &Oversize::Fail, true, Fate::Letter),
        ] {
            assert_eq!(fate(fault, oversize, tolerate), expected, "{fault:?} {oversize:?} {tolerate}");
        }
    }

    #[test]
    fn a_key_that_is_too_large_is_told_from_a_record_that_is() {
        assert_eq!(Odd::Record(11, 0).fault(10), Fault::OversizeKey);
        assert_eq!(Odd::Record(10, 5).fault(10), Fault::Oversize);
        assert_eq!(Odd::Unread(vec![(1, 7), (3, 8)]).size(), Some(15));
    }
}
