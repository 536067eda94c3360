//! What a query's cursor has delivered of late, so that it can look back without delivering twice (DESIGN §3.6).
//!
//! A query's rows have no transaction id. A row that commits late has a cursor below those already delivered; so each poll
//! begins a lookback below the highest, and rows that were sent within it are told apart by their hashes. It finds what
//! commits within the lookback, and nothing that commits later.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::{Value, json};

/// A cursor's value, as far as it has to be compared here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A number, or microseconds since 1970.
    Number(i128),
    /// A text, ordered by its bytes.
    Text(String),
}

impl Key {
    /// As PostgreSQL prints it.
    pub fn parse(text: &str, is_text: bool) -> Option<Key> {
        if is_text { Some(Key::Text(text.to_owned())) } else { text.parse().ok().map(Key::Number) }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Number(number) => write!(f, "{number}"),
            Key::Text(text) => f.write_str(text),
        }
    }
}

/// How far back each poll looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookback {
    /// So many microseconds.
    Micros(i128),
    /// So many rows.
    Rows(usize),
}

/// A row's hash.
pub type Hash = [u8; 16];

/// The rows delivered above `floor`, and where the next poll begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Everything at or below is done with; none: nothing was delivered yet.
    floor: Option<Key>,
    /// What was sent above the floor, in buckets that are stored each as one record.
    buckets: BTreeMap<u64, Vec<(Key, Hash)>>,
    /// Those that are stored otherwise than they are now.
    changed: BTreeSet<u64>,
    /// Those that have a record.
    kept: BTreeSet<u64>,
}

/// Rows in a bucket: its record stays below 64 KiB for cursors of ordinary length.
const BUCKET: usize = 500;

/// One poll: rows in the order of their cursor.
#[derive(Debug)]
pub struct Poll {
    /// What was sent before and has not been met again.
    sent: HashMap<Hash, u32>,
    /// The last rows met, for a lookback in rows.
    last: VecDeque<Key>,
    /// The row at hand, and the newest cursor below its own.
    at: Option<Key>,
    below: Option<Key>,
}

impl Poll {
    /// Whether a row was sent before and has not been met again.
    pub fn knows(&self, hash: &Hash) -> bool {
        self.sent.get(hash).is_some_and(|count| *count > 0)
    }
}

impl Recent {
    /// As stored.
    pub fn restore(floor: Option<Key>, buckets: BTreeMap<u64, Vec<(Key, Hash)>>) -> Self {
        let kept = buckets.keys().copied().collect();
        Recent { floor, buckets, changed: BTreeSet::new(), kept }
    }

    /// Nothing is delivered any more, and these buckets are to be taken out of the store.
    pub fn void(numbers: impl IntoIterator<Item = u64>) -> Self {
        let kept: BTreeSet<u64> = numbers.into_iter().collect();
        Recent { floor: None, buckets: BTreeMap::new(), changed: kept.clone(), kept }
    }

    /// Above which cursor the next poll begins; none: with all rows.
    pub fn floor(&self) -> Option<&Key> {
        self.floor.as_ref()
    }

    /// Begins a poll.
    pub fn poll(&self) -> Poll {
        let mut sent: HashMap<Hash, u32> = HashMap::new();
        for (_, hash) in self.buckets.values().flatten() {
            *sent.entry(*hash).or_default() += 1;
        }
        Poll { sent, last: VecDeque::new(), at: None, below: None }
    }

    /// Meets a row: whether it is to be sent. It is known by either of its hashes, and from now on by the first.
    pub fn meet(&mut self, poll: &mut Poll, key: Key, hashes: [Hash; 2], lookback: Lookback) -> bool {
        if poll.at.as_ref() != Some(&key) {
            poll.below = poll.at.replace(key.clone());
        }
        if let Lookback::Rows(rows) = lookback {
            poll.last.push_back(key.clone());
            if poll.last.len() > rows.saturating_add(1) {
                poll.last.pop_front();
            }
        }
        if let Some(hash) = hashes.iter().find(|hash| poll.knows(hash)) {
            poll.sent.entry(*hash).and_modify(|count| *count -= 1);
            return false;
        }
        let newest = self.buckets.last_key_value().map_or(0, |(number, _)| *number);
        let full = self.buckets.get(&newest).is_some_and(|bucket| bucket.len() >= BUCKET);
        let number = if full { newest + 1 } else { newest };
        self.buckets.entry(number).or_default().push((key, hashes[0]));
        self.changed.insert(number);
        true
    }

    /// The row that was met last, and is to be sent, is known by this hash instead.
    pub fn rename_last(&mut self, hash: Hash) {
        if let Some(row) = self.buckets.last_entry().and_then(|bucket| bucket.into_mut().last_mut()) {
            row.1 = hash;
        }
    }

    /// Raises the floor as far as the rows met so far allow. `now`: the clock in the cursor's own unit, above which a cursor
    /// is not believed. Until the poll is `complete`, more rows of the cursor at hand may come.
    pub fn settle(&mut self, poll: &Poll, lookback: Lookback, now: Option<i128>, complete: bool) {
        let Some(at) = &poll.at else { return };
        let mut floor = match (lookback, at) {
            (Lookback::Micros(back), Key::Number(at)) => {
                Some(Key::Number(now.map_or(*at, |now| now.min(*at)).saturating_sub(back)))
            }
            (Lookback::Micros(_), Key::Text(_)) => None,
            (Lookback::Rows(rows), _) => poll.last.front().filter(|_| poll.last.len() > rows).cloned(),
        };
        if !complete {
            floor = floor.min(poll.below.clone());
        }
        if floor > self.floor {
            self.floor = floor;
        }
        let Some(floor) = &self.floor else { return };
        let done: Vec<u64> = self
            .buckets
            .iter()
            .filter(|(_, rows)| rows.iter().all(|(key, _)| key <= floor))
            .map(|(number, _)| *number)
            .collect();
        for number in done {
            self.buckets.remove(&number);
            if self.kept.contains(&number) {
                self.changed.insert(number);
            } else {
                self.changed.remove(&number);
            }
        }
    }

    /// Whether there are buckets to be stored.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The buckets that have a record, each with its JSON.
    pub fn all(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.kept.iter().filter_map(|number| Some((*number, to_json(self.buckets.get(number)?))))
    }

    /// The buckets to be stored, each with its JSON; `None`: it is gone.
    pub fn changes(&self) -> impl Iterator<Item = (u64, Option<Vec<u8>>)> {
        self.changed.iter().map(|number| (*number, self.buckets.get(number).map(|rows| to_json(rows))))
    }

    /// The buckets that have a record.
    pub fn kept(&self) -> impl Iterator<Item = u64> {
        self.kept.iter().copied()
    }

    /// All of that is stored.
    pub fn stored(&mut self) {
        for number in std::mem::take(&mut self.changed) {
            if self.buckets.contains_key(&number) {
                self.kept.insert(number);
            } else {
                self.kept.remove(&number);
            }
        }
    }
}

/// A flat object: `{"rows":"[[\"7\",\"9f…\"],…]"}`.
fn to_json(rows: &[(Key, Hash)]) -> Vec<u8> {
    let rows: Vec<(String, String)> = rows.iter().map(|(key, hash)| (key.to_string(), hex(hash))).collect();
    json!({ "rows": serde_json::to_string(&rows).unwrap_or_default() }).to_string().into_bytes()
}

/// Reads what [`Recent::changes`] gave.
pub fn from_json(json: &[u8], is_text: bool) -> Option<Vec<(Key, Hash)>> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let rows: Vec<(String, String)> = serde_json::from_str(value.get("rows")?.as_str()?).ok()?;
    rows.into_iter().map(|(key, hash)| Some((Key::parse(&key, is_text)?, unhex(&hash)?))).collect()
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != hash.len() * 2 {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(row: u8) -> Hash {
        let mut hash = [row; 16];
        hash[0] = 0;
        hash
    }

    fn both(hash: Hash) -> [Hash; 2] {
        [hash, hash.map(|byte| !byte)]
    }

    #[test]
    fn a_row_that_went_otherwise_is_known_for_it_and_not_sent_again() {
        let mut recent = Recent::default();
        let mut first = recent.poll();
        let [sent, letter] = both(hash(1));
        assert!(recent.meet(&mut first, Key::Number(5), [sent, letter], Lookback::Rows(9)));
        recent.rename_last(letter);
        recent.settle(&first, Lookback::Rows(9), None, true);
        let mut second = recent.poll();
        assert_eq!((second.knows(&sent), second.knows(&letter)), (false, true));
        assert!(!recent.meet(&mut second, Key::Number(5), [sent, letter], Lookback::Rows(9)));
        assert!(!second.knows(&letter), "one row accounts for one");
    }

    /// One poll over these rows (cursor, content); what was sent.
    fn poll(recent: &mut Recent, lookback: Lookback, rows: &[(i128, u8)]) -> Vec<u8> {
        let mut poll = recent.poll();
        let above: Vec<&(i128, u8)> = rows
            .iter()
            .filter(|(key, _)| recent.floor.as_ref().is_none_or(|floor| Key::Number(*key) > *floor))
            .collect();
        let mut sent = Vec::new();
        for (key, row) in above {
            if recent.meet(&mut poll, Key::Number(*key), both(hash(*row)), lookback) {
                sent.push(*row);
            }
        }
        recent.settle(&poll, lookback, None, true);
        sent
    }

    #[test]
    fn a_row_that_commits_late_is_sent_and_no_row_twice() {
        let mut recent = Recent::default();
        let back = Lookback::Micros(10);
        assert_eq!(poll(&mut recent, back, &[(100, 1), (105, 3)]), [1, 3]);
        assert_eq!(poll(&mut recent, back, &[(100, 1), (103, 2), (105, 3), (110, 4)]), [2, 4]);
        assert_eq!(recent.floor(), Some(&Key::Number(100)));
        assert_eq!(poll(&mut recent, back, &[(103, 2), (105, 3), (110, 4)]), [0_u8; 0]);
    }

    #[test]
    fn equal_rows_are_counted() {
        let mut recent = Recent::default();
        assert_eq!(poll(&mut recent, Lookback::Micros(10), &[(5, 1), (5, 1)]), [1, 1]);
        assert_eq!(poll(&mut recent, Lookback::Micros(10), &[(5, 1), (5, 1), (5, 1)]), [1]);
    }

    #[test]
    fn a_lookback_in_rows_begins_below_the_last_of_them() {
        let mut recent = Recent::default();
        let rows: Vec<(i128, u8)> = (1..=10).map(|id| (id, id as u8)).collect();
        assert_eq!(poll(&mut recent, Lookback::Rows(3), &rows).len(), 10);
        assert_eq!(recent.floor(), Some(&Key::Number(7)));
        let late = [(8, 8), (9, 9), (9, 99), (10, 10), (11, 11)];
        assert_eq!(poll(&mut recent, Lookback::Rows(3), &late), [99, 11]);
    }

    #[test]
    fn a_poll_broken_off_in_a_group_of_equal_cursors_goes_on_within_it() {
        let mut recent = Recent::default();
        let mut first = recent.poll();
        for row in 0..200 {
            let key = Key::Number(if row < 50 { 1 } else { 2 });
            assert!(recent.meet(&mut first, key, both(hash(row)), Lookback::Micros(0)));
        }
        recent.settle(&first, Lookback::Micros(0), None, false);
        assert_eq!(recent.floor(), Some(&Key::Number(1)));
        let rest: Vec<(i128, u8)> = (50..=255).map(|row| (2, row)).collect();
        assert_eq!(poll(&mut recent, Lookback::Micros(0), &rest), (200..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn a_cursor_in_the_future_does_not_carry_the_floor_along() {
        let mut recent = Recent::default();
        let mut one = recent.poll();
        recent.meet(&mut one, Key::Number(1_000_000), both(hash(1)), Lookback::Micros(10));
        recent.settle(&one, Lookback::Micros(10), Some(500), true);
        assert_eq!(recent.floor(), Some(&Key::Number(490)));
    }

    #[test]
    fn what_is_void_is_taken_out_of_the_store_and_sent_again() {
        let mut recent = Recent::void([3, 4]);
        assert_eq!(recent.changes().collect::<Vec<_>>(), [(3, None), (4, None)]);
        assert_eq!(poll(&mut recent, Lookback::Rows(9), &[(1, 1)]), [1]);
        recent.stored();
        assert_eq!(recent.changes().count(), 0);
    }

    #[test]
    fn buckets_read_back_and_those_that_are_done_with_go() {
        let mut recent = Recent::default();
        let mut one = recent.poll();
        for id in 0..1200_u32 {
            let mut hash = Hash::default();
            hash[..4].copy_from_slice(&id.to_be_bytes());
            recent.meet(&mut one, Key::Number(id.into()), both(hash), Lookback::Rows(100));
        }
        recent.settle(&one, Lookback::Rows(100), None, true);
        let stored: BTreeMap<u64, Option<Vec<u8>>> = recent.changes().collect();
        assert_eq!(stored.iter().map(|(number, json)| (*number, json.is_some())).collect::<Vec<_>>(), [(2, true)]);
        let json = stored[&2].as_ref().unwrap();
        assert!(json.len() < 60_000);
        let buckets = BTreeMap::from([(2, from_json(json, false).unwrap())]);
        recent.stored();
        assert_eq!(Recent::restore(recent.floor.clone(), buckets), recent);
        for bad in ["", "{}", "{\"rows\":\"[[1]]\"}", "{\"rows\":\"[[\\\"a\\\",\\\"00\\\"]]\"}"] {
            assert!(from_json(bad.as_bytes(), false).is_none(), "{bad}");
        }
    }
}
