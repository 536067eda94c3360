//! A query's cursor at work: what leads its rows, where it begins, which of its rows were delivered already.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config::Polling;
use crate::poll::sql::{self, Clock, QueryCursor};
use crate::poll::{Cursor, Hash, Key, Lookback, Poll, Recent, Values, recent_from_json};
use crate::postgres::Description;
use crate::{Error, Kind, Result};

/// What a query's cursor has delivered: its rows by their first column; and in `timestamp+incrementing` those without a
/// timestamp by their id.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    streams: [Recent; 2],
}

/// What a row was delivered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A record of its topic.
    Sent,
    /// A dead letter.
    Letter,
}

/// One poll.
pub struct LookingBack {
    delivered: Delivered,
    polls: [Poll; 2],
    lookbacks: [Lookback; 2],
    texts: [bool; 2],
    cursor: QueryCursor,
    /// The server's clock in microseconds, where it writes the cursor.
    now: Option<i128>,
    name: String,
    /// The row that was met last: its stream and hash.
    last: Option<(usize, Hash)>,
}

/// Whether values of this type are compared as texts.
fn is_text(description: &Description, column: &str) -> bool {
    let found = description.columns.iter().find(|known| known.name == column);
    found.is_some_and(|column| {
        matches!(column.type_.name.as_str(), "text" | "varchar" | "bpchar" | "citext" | "name" | "uuid")
    })
}

impl Delivered {
    /// What is stored: the floors from the object's own record, the rows from the buckets beside it.
    pub fn restore(
        position: &Values,
        buckets: impl Iterator<Item = (usize, u64, Vec<u8>)>,
        texts: [bool; 2],
    ) -> Result<Self> {
        let floors = [&position.timestamp, &position.incrementing];
        let mut rows: [BTreeMap<u64, Vec<(Key, Hash)>>; 2] = Default::default();
        for (stream, number, json) in buckets {
            let (Some(rows), Some(is_text)) = (rows.get_mut(stream), texts.get(stream)) else { continue };
            let read = recent_from_json(&json, *is_text).ok_or_else(|| {
                Error::new(
                    Kind::Offsets,
                    format!("bucket {number} of its delivered rows is unreadable in the offsets topic"),
                )
                .hint("`strandline offsets reset` reads the query from its beginning again")
            })?;
            rows.insert(number, read);
        }
        let floor = |at: usize| floors[at].as_deref().and_then(|text| Key::parse(text, texts[at]));
        let [first, second] = rows;
        Ok(Delivered { streams: [Recent::restore(floor(0), first), Recent::restore(floor(1), second)] })
    }

    /// Nothing, and what is stored beside the object's record goes.
    pub fn void(buckets: &[(usize, u64)]) -> Self {
        let of = |stream: usize| Recent::void(buckets.iter().filter(move |one| one.0 == stream).map(|one| one.1));
        Delivered { streams: [of(0), of(1)] }
    }

    /// The buckets that have a record: stream and number.
    pub fn kept(&self) -> impl Iterator<Item = (usize, u64)> {
        let of = |stream: usize| self.streams[stream].kept().map(move |number| (stream, number));
        of(0).chain(of(1))
    }

    /// The floors, as stored.
    pub fn position(&self) -> Values {
        let text = |at: usize| self.streams[at].floor().map(Key::to_string);
        Values { timestamp: text(0), incrementing: text(1) }
    }

    /// Whether there are any to be stored.
    pub fn has_changed(&self) -> bool {
        self.streams.iter().any(Recent::has_changed)
    }

    /// The buckets that have a record, each with its JSON.
    pub fn all(&self) -> impl Iterator<Item = (usize, u64, Vec<u8>)> {
        let of = |stream: usize| self.streams[stream].all().map(move |(number, json)| (stream, number, json));
        of(0).chain(of(1))
    }

    /// The buckets to be stored: stream, number, JSON.
    pub fn changes(&self) -> impl Iterator<Item = (usize, u64, Option<Vec<u8>>)> {
        let of = |stream: usize| self.streams[stream].changes().map(move |(number, json)| (stream, number, json));
        of(0).chain(of(1))
    }

    /// All of that is stored.
    pub fn stored(&mut self) {
        self.streams.iter_mut().for_each(Recent::stored);
    }
}

/// Which of a cursor's two streams are compared as texts.
pub fn texts(cursor: &Cursor, description: &Description) -> [bool; 2] {
    let incrementing = cursor.incrementing.as_deref().is_some_and(|column| is_text(description, column));
    match cursor.timestamp {
        Some(_) => [false, incrementing],
        None => [incrementing, false],
    }
}

impl LookingBack {
    /// Begins a poll. `now`: see [`sql::clock_micros`].
    pub fn new(
        delivered: Delivered,
        polling: &Polling,
        cursor: QueryCursor,
        texts: [bool; 2],
        now: Option<i128>,
        name: String,
    ) -> Self {
        /// A day in microseconds: rows of one day share a date, and come as late as those of an instant.
        const DAY: i128 = 86_400_000_000;
        let within = if cursor.clock == Clock::Date { DAY } else { 0 };
        let back = i128::try_from(polling.lookback.as_micros()).unwrap_or(i128::MAX);
        let micros = Lookback::Micros(back.saturating_add(within));
        let rows = Lookback::Rows(usize::try_from(polling.lookback_ids).unwrap_or(usize::MAX));
        LookingBack {
            polls: [delivered.streams[0].poll(), delivered.streams[1].poll()],
            delivered,
            lookbacks: [if cursor.timestamp.is_some() { micros } else { rows }, rows],
            texts,
            cursor,
            now,
            name,
            last: None,
        }
    }

    /// The fields that lead each row, as SQL.
    pub fn leading(&self) -> String {
        self.cursor.leading()
    }

    /// How many they are.
    pub fn columns(&self) -> usize {
        self.cursor.columns()
    }

    /// Which rows to ask for, and in which order.
    pub fn conditions(&self) -> String {
        let [first, second] = self.delivered.position_keys();
        sql::query_conditions(&self.cursor, first, second)
    }

    /// Meets a row, by what leads it, the marker of what was not read of it, and its other fields as PostgreSQL sent them (a
    /// record would be another with each schema id): whether it is to be sent.
    pub fn meet(&mut self, leading: &[Option<&[u8]>], marker: &[u8], rest: &[u8]) -> Result<bool> {
        let (stream, cursor) = self.cursor(leading)?;
        let hash = hash(marker, rest);
        self.last = Some((stream, hash));
        let delivered = &mut self.delivered.streams[stream];
        let hashes = [hash, as_letter(hash)];
        Ok(delivered.meet(&mut self.polls[stream], cursor, hashes, self.lookbacks[stream]))
    }

    /// The row that was met last went as a letter, and will be known for one.
    pub fn is_letter(&mut self) {
        if let Some((stream, hash)) = self.last {
            self.delivered.streams[stream].rename_last(as_letter(hash));
        }
    }

    /// What a row would be known as, if it is.
    pub fn knows(&self, leading: &[Option<&[u8]>], marker: &[u8], rest: &[u8]) -> Result<Option<Known>> {
        let poll = &self.polls[self.cursor(leading)?.0];
        let hash = hash(marker, rest);
        let known = [(hash, Known::Sent), (as_letter(hash), Known::Letter)];
        Ok(known.into_iter().find(|(hash, _)| poll.knows(hash)).map(|(_, known)| known))
    }

    /// A row's stream and its cursor.
    fn cursor(&self, leading: &[Option<&[u8]>]) -> Result<(usize, Key)> {
        let field = |at: usize| leading.get(at).copied().flatten();
        let (stream, bytes) = match (field(0), field(1)) {
            (Some(first), _) => (0, first),
            (None, Some(second)) if self.columns() == 2 => (1, second),
            _ => {
                return Err(Error::new(Kind::Row, "a row of the query has no cursor: its column is NULL")
                    .object(&self.name)
                    .hint("leave such rows out with WHERE … IS NOT NULL, or give them a value with coalesce"));
            }
        };
        let text = std::str::from_utf8(bytes).ok();
        let cursor = text.and_then(|text| Key::parse(text, self.texts[stream]));
        let cursor = cursor.ok_or_else(|| {
            Error::new(Kind::Row, "a row's cursor is no whole number, date, time or text")
                .object(&self.name)
                .hint("mode incrementing goes by whole numbers, texts and uuids; cast the column in the query")
        })?;
        Ok((stream, cursor))
    }

    /// Raises the floors; what has been delivered, for the object to keep and to store.
    pub fn settle(&mut self, complete: bool) -> &Delivered {
        for stream in 0..2 {
            let now = self.now.filter(|_| matches!(self.lookbacks[stream], Lookback::Micros(_)));
            // Rows of one stream come after all of the other: its last cursor is complete only with the poll.
            self.delivered.streams[stream].settle(&self.polls[stream], self.lookbacks[stream], now, complete);
        }
        &self.delivered
    }

    /// What was changed is stored.
    pub fn stored(&mut self) {
        self.delivered.stored();
    }
}

fn hash(marker: &[u8], rest: &[u8]) -> Hash {
    let mut digest = Sha256::new();
    digest.update(u64::try_from(marker.len()).unwrap_or_default().to_be_bytes());
    digest.update(marker);
    digest.update(rest);
    let mut hash = Hash::default();
    hash.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
    hash
}

/// The hash of a row that went as a letter: another than if it had been sent.
fn as_letter(hash: Hash) -> Hash {
    hash.map(|byte| !byte)
}

impl Delivered {
    fn position_keys(&self) -> [Option<&Key>; 2] {
        [self.streams[0].floor(), self.streams[1].floor()]
    }
}

/// The cursor's columns as the query's SQL needs them.
pub fn query_cursor(cursor: &Cursor, description: &Description) -> QueryCursor {
    let type_of = |column: &String| {
        let found = description.columns.iter().find(|known| known.name == *column);
        found.map_or("", |column| column.type_.name.as_str())
    };
    // By the derived table's name: a field that leads the rows may have the column's own.
    let qualified = |column: String| format!("\"query\".{column}");
    QueryCursor {
        timestamp: cursor.timestamp_sql().map(qualified),
        clock: cursor.timestamp.as_ref().map_or(Clock::None, |column| Clock::of(type_of(column))),
        incrementing: cursor.incrementing_sql().map(qualified),
        // A uuid's bytes order as its text does, and it has no collation.
        collate: cursor
            .incrementing
            .as_ref()
            .is_some_and(|column| is_text(description, column) && type_of(column) != "uuid"),
    }
}
