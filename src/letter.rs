//! A dead letter: what is told in the dead-letter topic of a row that did not go to its own, and whether it was dealt with
//! since (`docs/dead-letters.md`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::poll::{Guard, TableName, Tid};

/// The version of the stored form.
const VERSION: u64 = 1;
/// So much of a message is told.
const MESSAGE: usize = 2_000;

/// A row that did not go to its topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    version: u64,
    /// Whose it is.
    pub connector: String,
    /// The object, as it is shown.
    pub object: String,
    /// Where the row would have gone.
    pub topic: String,
    /// What sort of error it is.
    pub error: Fault,
    /// The error in words, without a value.
    pub message: String,
    /// The columns to blame, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Bytes of the record, or of its wide columns where those were not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// What the topic takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Of a table: the OID of the table that holds the row, a partition perhaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_oid: Option<u32>,
    /// Of a table: where in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctid: Option<String>,
    /// Of a table: which transaction wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmin: Option<u32>,
    /// Of a table: the transaction ids that were being read, `700..813`; an open end is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// When it was written, RFC 3339.
    pub at: String,
    /// The key's columns, as PostgreSQL prints them.
    #[serde(default)]
    pub key: Map<String, Value>,
    /// All columns, as PostgreSQL prints them; NULL and what is left out are null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Map<String, Value>>,
    /// Values that are too long for a letter, with their bytes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub left_out: Map<String, Value>,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It is larger than its topic takes.
    Oversize,
    /// Its key alone is.
    OversizeKey,
    /// It has no counterpart in Avro.
    Row,
}

impl Fault {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Oversize => "oversize",
            Fault::OversizeKey => "oversize_key",
            Fault::Row => "row",
        }
    }
}

impl Letter {
    /// A letter about a row of an object on its way into a topic.
    pub fn new(connector: &str, object: &TableName, topic: &str, error: Fault, message: &str, at: String) -> Letter {
        Letter {
            version: VERSION,
            connector: connector.to_owned(),
            object: object.to_string(),
            topic: topic.to_owned(),
            error,
            message: message.chars().take(MESSAGE).collect(),
            columns: Vec::new(),
            size: None,
            limit: None,
            table_oid: None,
            ctid: None,
            xmin: None,
            window: None,
            at,
            key: Map::new(),
            row: None,
            left_out: Map::new(),
        }
    }

    /// Takes the row in, out of the JSON of [`crate::poll::sql::row_text`], and its key.
    pub fn take_row(&mut self, json: &str, key: &[&str]) {
        let Ok(Value::Object(mut whole)) = serde_json::from_str(json) else { return };
        let Some(Value::Object(row)) = whole.remove("row") else { return };
        // A key with a part missing finds nothing.
        let part = |name: &&str| Some(((*name).to_owned(), row.get(*name).filter(|value| value.is_string())?.clone()));
        self.key = key.iter().map(part).collect::<Option<_>>().unwrap_or_default();
        if let Some(Value::Object(sizes)) = whole.remove("left_out") {
            let number =
                |size: Value| size.as_str().and_then(|text| text.parse::<u64>().ok()).map_or(size, Value::from);
            self.left_out = sizes.into_iter().map(|(name, size)| (name, number(size))).collect();
        }
        self.row = Some(row);
    }

    /// Whether a row, out of the JSON of [`crate::poll::sql::row_text`], is the letter's as it was; `None`: the letter does not
    /// have it. What is left out is told by its size, and a column that is not there any more is not compared.
    pub fn is_still(&self, json: &str) -> Option<bool> {
        let was = self.row.as_ref()?;
        let mut now = Letter { row: None, left_out: Map::new(), ..self.clone() };
        now.take_row(json, &[]);
        let is = now.row.as_ref()?;
        let size = |left_out: &Map<String, Value>, name: &str, value: &Value| {
            left_out.get(name).and_then(Value::as_u64).or_else(|| value.as_str().map(|text| text.len() as u64))
        };
        let same = |(name, before): (&String, &Value)| match is.get(name) {
            Some(after) if before.is_string() && after.is_string() => before == after,
            Some(after) => size(&self.left_out, name, before) == size(&now.left_out, name, after),
            None => true,
        };
        Some(was.iter().all(same))
    }

    /// Whether a field was too large to be read at all.
    pub fn is_of_unread(&self) -> bool {
        let is_beyond = |size: &Value| {
            let size = size.as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
            self.limit.is_some_and(|limit| Guard::is_beyond(limit, size))
        };
        self.left_out.values().any(is_beyond)
    }

    /// As JSON of at most so many bytes: the longest values are left out until it fits.
    pub fn to_json(mut self, most: usize) -> Vec<u8> {
        loop {
            let json = serde_json::to_vec(&self).unwrap_or_default();
            if json.len() <= most || !self.leave_out() {
                return json;
            }
        }
    }

    /// Leaves its longest value out; whether there was one.
    fn leave_out(&mut self) -> bool {
        let length = |value: &Value| value.as_str().map_or(0, str::len);
        let row = self.row.as_mut();
        let longest = row.and_then(|row| row.iter_mut().max_by_key(|(_, value)| length(value)));
        match longest {
            Some((name, value)) if length(value) > 0 => {
                self.left_out.insert(name.clone(), length(value).into());
                if self.key.contains_key(name) && length(value) > MESSAGE {
                    self.key.clear();
                }
                *value = Value::Null;
                true
            }
            _ => self.row.take().is_some() || !std::mem::take(&mut self.key).is_empty(),
        }
    }

    /// Where the row is, for people.
    pub fn place(&self) -> String {
        let key: Vec<String> =
            self.key.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
        match (&self.ctid, key.is_empty()) {
            (_, false) => key.join(","),
            (Some(ctid), _) => format!("ctid {ctid}"),
            _ => "-".to_owned(),
        }
    }

    /// The row's place and who wrote it.
    pub fn version_of_row(&self) -> Option<(u32, Tid, u32)> {
        Some((self.table_oid?, self.ctid.as_ref()?.parse().ok()?, self.xmin?))
    }
}

/// What became of a letter, told beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    version: u64,
    /// Whose it is.
    pub connector: String,
    /// The letter: `partition:offset`.
    pub letter: String,
    /// What became of it.
    pub done: Outcome,
    /// When, RFC 3339.
    pub at: String,
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The row was sent.
    Replayed,
    /// Somebody said that it is dealt with.
    Skipped,
    /// The row was changed or deleted since: what it is now travels by itself.
    Superseded,
}

impl Outcome {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Replayed => "replayed",
            Outcome::Skipped => "skipped",
            Outcome::Superseded => "superseded",
        }
    }
}

impl Done {
    /// That this became of that letter.
    pub fn new(connector: &str, letter: &str, done: Outcome, at: String) -> Done {
        Done { version: VERSION, connector: connector.to_owned(), letter: letter.to_owned(), done, at }
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A record of the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A letter.
    Letter(Box<Letter>),
    /// What became of one.
    Done(Done),
}

impl Entry {
    /// Reads a record of this connector; what is not one, or another's, is none.
    pub fn read(json: &[u8], connector: &str) -> Option<Entry> {
        let letter = || serde_json::from_slice::<Letter>(json).ok().filter(|letter| letter.connector == connector);
        let done = serde_json::from_slice::<Done>(json).ok().filter(|done| done.connector == connector);
        done.map(Entry::Done).or_else(|| letter().map(|letter| Entry::Letter(Box::new(letter))))
    }
}

#[cfg(test)]
#[rustfmt::skip]
mod tests {
    use super::*;

    fn letter() -> Letter {
        let mut letter = Letter::new("shop", &TableName::new("public", "docs"), "shop.public.docs", Fault::Oversize, "a row is too large", "2026-01-01T00:00:00Z".into());
        letter.take_row(r#"{"row": {"id": "7", "doc": null, "note": "xxxxxxxxxxxxxxxxxxxx"}, "left_out": {"doc": "314572800"}}"#, &["id"]);
        letter
    }

    #[test]
    fn a_letter_is_read_as_it_was_written_and_no_other_connectors() {
        let json = letter().to_json(10_000);
        assert_eq!(Entry::read(&json, "shop"), Some(Entry::Letter(Box::new(letter()))));
        assert_eq!(Entry::read(&json, "other"), None);
        let done = Done::new("shop", "0:17", Outcome::Replayed, String::new());
        assert_eq!(Entry::read(&done.to_json(), "shop"), Some(Entry::Done(done)));
        for other in [&b""[..], b"{}", b"[1]", b"\xff", b"{\"connector\":\"shop\"}"] {
            assert_eq!(Entry::read(other, "shop"), None);
        }
    }

    #[test]
    fn what_is_left_out_is_told_with_its_size() {
        let letter = letter();
        assert_eq!(letter.left_out["doc"], 314_572_800);
        assert_eq!((letter.place().as_str(), letter.row.as_ref().map(Map::len)), ("id=7", Some(3)));
    }

    #[test]
    fn a_letter_leaves_its_longest_values_out_until_it_fits() {
        let whole = letter().to_json(usize::MAX).len();
        let json = letter().to_json(whole - 1);
        let Some(Entry::Letter(shorter)) = Entry::read(&json, "shop") else { panic!("unreadable") };
        assert!(json.len() < whole);
        assert_eq!((&shorter.row.as_ref().unwrap()["note"], &shorter.left_out["note"]), (&Value::Null, &Value::from(20)));
        assert_eq!(shorter.row.as_ref().unwrap()["id"], "7", "the shortest stays longest");
        assert!(letter().to_json(10).len() < whole, "what cannot fit is as short as it can be");
    }

    #[test]
    fn a_row_is_told_from_one_that_was_changed_since() {
        let letter = letter();
        for (json, still) in [
            (r#"{"row": {"id": "7", "doc": null, "note": "xxxxxxxxxxxxxxxxxxxx"}, "left_out": {"doc": "314572800"}}"#, Some(true)),
            (r#"{"row": {"id": "7", "note": "xxxxxxxxxxxxxxxxxxxx", "more": "m"}, "left_out": {}}"#, Some(true)),
            (r#"{"row": {"id": "7", "doc": null, "note": "xxxxxxxxxxxxxxxxxxxy"}, "left_out": {"doc": "314572800"}}"#, Some(false)),
            (r#"{"row": {"id": "7", "doc": null, "note": null}, "left_out": {"doc": "314572800"}}"#, Some(false)),
            (r#"{"row": {"id": "7", "doc": null, "note": "xxxxxxxxxxxxxxxxxxxx"}, "left_out": {}}"#, Some(false)),
            ("{}", None),
        ] {
            assert_eq!(letter.is_still(json), still, "{json}");
        }
        let Some(Entry::Letter(shorter)) = Entry::read(&letter.to_json(300), "shop") else { panic!("unreadable") };
        assert_eq!(shorter.is_still(r#"{"row": {"id": "7", "doc": null, "note": "xxxxxxxxxxxxxxxxxxxx"}, "left_out": {"doc": "314572800"}}"#), Some(true));
    }

    #[test]
    fn a_key_that_is_not_whole_finds_no_row() {
        let mut letter = letter();
        letter.take_row(r#"{"row": {"id": "7", "part": null}, "left_out": {}}"#, &["id", "part"]);
        assert!(letter.key.is_empty());
    }
}
