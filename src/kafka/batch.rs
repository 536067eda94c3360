//! Records on their way into the producer's queue: encoded one behind the other, handed over many at a time. One call a
//! record costs a topic look-up, a lock and two clocks each.

use std::ops::Range;

/// Keys and values of records for one topic.
#[derive(Debug, Default)]
pub struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Where each record's key and value are.
    places: Vec<(Range<usize>, Range<usize>)>,
    /// The bytes that belong to no finished record begin here.
    finished: (usize, usize),
}

impl Batch {
    /// So many records, or so many bytes, are handed over together: little enough to stay in the processor's cache.
    const RECORDS: usize = 512;
    const BYTES: usize = 128 << 10;

    /// Where the next record's key and value are to be appended.
    pub fn buffers(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        (&mut self.keys, &mut self.values)
    }

    /// Ends the record whose key and value were appended; its size in bytes. A key of no bytes is none.
    pub fn finish(&mut self) -> usize {
        let (key, value) = (self.finished.0..self.keys.len(), self.finished.1..self.values.len());
        self.finished = (key.end, value.end);
        let size = key.len() + value.len();
        self.places.push((key, value));
        size
    }

    /// Key and value of the record that was appended and is not ended.
    pub fn unfinished(&self) -> (&[u8], &[u8]) {
        (self.keys.get(self.finished.0..).unwrap_or_default(), self.values.get(self.finished.1..).unwrap_or_default())
    }

    /// Takes them back.
    pub fn discard(&mut self) {
        self.keys.truncate(self.finished.0);
        self.values.truncate(self.finished.1);
    }

    /// Whether it should be handed over.
    pub fn is_full(&self) -> bool {
        self.places.len() >= Self::RECORDS || self.values.len() >= Self::BYTES
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Key and value of each record.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|(key, value)| {
            (self.keys.get(key.clone()).unwrap_or_default(), self.values.get(value.clone()).unwrap_or_default())
        })
    }

    /// Keeps the records that were not taken, in their order.
    pub fn keep(&mut self, left: impl IntoIterator<Item = bool>) {
        let mut left = left.into_iter();
        self.places.retain(|_| left.next().unwrap_or(true));
        if self.places.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything, a half-appended record too. The memory stays, unless a giant row took it.
    pub fn clear(&mut self) {
        const KEEP: usize = 1 << 20;
        for buffer in [&mut self.keys, &mut self.values] {
            buffer.clear();
            buffer.shrink_to(KEEP);
        }
        self.places.clear();
        self.finished = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(batch: &mut Batch, key: &str, value: &str) -> usize {
        let (keys, values) = batch.buffers();
        keys.extend_from_slice(key.as_bytes());
        values.extend_from_slice(value.as_bytes());
        batch.finish()
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut batch = Batch::default();
        assert_eq!(push(&mut batch, "a", "one"), 4);
        assert_eq!(push(&mut batch, "", ""), 0);
        assert_eq!(push(&mut batch, "bc", "three"), 7);
        let records: Vec<_> = batch.records().collect();
        assert_eq!(records, [(&b"a"[..], &b"one"[..]), (b"", b""), (b"bc", b"three")]);
    }

    #[test]
    fn a_record_that_is_taken_back_leaves_nothing() {
        let mut batch = Batch::default();
        push(&mut batch, "a", "one");
        batch.buffers().1.extend_from_slice(b"two");
        assert_eq!(batch.unfinished(), (&b""[..], &b"two"[..]));
        batch.discard();
        push(&mut batch, "b", "three");
        assert_eq!(batch.records().map(|(_, value)| value.len()).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn what_was_not_taken_stays_in_its_order() {
        let mut batch = Batch::default();
        for value in ["one", "two", "three"] {
            push(&mut batch, "k", value);
        }
        batch.keep([true, false, true]);
        let left = |batch: &Batch| batch.records().map(|(_, value)| value.to_vec()).collect::<Vec<_>>();
        assert_eq!(left(&batch), [&b"one"[..], b"three"]);
        batch.keep([false, false]);
        assert!(batch.is_empty());
        push(&mut batch, "k", "four");
        assert_eq!(left(&batch), [b"four"]);
    }

    #[test]
    fn it_is_full_by_records_or_by_bytes() {
        let mut batch = Batch::default();
        push(&mut batch, "k", &"x".repeat(Batch::BYTES));
        assert!(batch.is_full());
        batch.clear();
        assert!(batch.is_empty() && !batch.is_full());
        for _ in 0..Batch::RECORDS {
            assert!(!batch.is_full());
            push(&mut batch, "k", "v");
        }
        assert!(batch.is_full());
    }

    #[test]
    fn a_half_appended_record_is_forgotten_with_the_rest() {
        let mut batch = Batch::default();
        push(&mut batch, "a", "b");
        batch.buffers().0.push(7);
        batch.clear();
        push(&mut batch, "c", "d");
        assert_eq!(batch.records().collect::<Vec<_>>(), [(&b"c"[..], &b"d"[..])]);
    }
}
