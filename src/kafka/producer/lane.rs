//! One partition's batches between the queue and the broker's acknowledgement: in order, each with its sequence number.
//!
//! An idempotent producer may have five requests under way, as the broker knows the last five batches and takes none of them
//! twice. What happens when one fails:
//!
//! 1. batches 1, 2, 3 are under way; the broker refuses 1 (it leads the partition no more, say);
//! 2. it refuses 2 and 3 too, as their sequence numbers do not follow what it has;
//! 3. all three are sent again, in their order, once none is under way: a 2 that overtakes 1 would be refused again.

use std::collections::VecDeque;

use bytes::Bytes;

use super::records::{Records, sequence_after};
use crate::Result;

/// A partition's batches.
#[derive(Debug, Default)]
pub struct Lane {
    batches: VecDeque<Batch>,
    /// The sequence number of the next batch that has none yet.
    next: i32,
    /// Something was refused: one at a time until something is taken.
    recovering: bool,
}

#[derive(Debug)]
struct Batch {
    records: Records,
    /// As it was first sent. It is sent again as the same bytes, by which the broker knows it.
    sealed: Option<(i32, Bytes)>,
    /// How many records, and their bytes before compression.
    count: usize,
    size: usize,
    flying: bool,
}

impl Lane {
    /// Appends a batch.
    pub fn push(&mut self, records: Records) {
        let (count, size) = (records.len(), records.size());
        self.batches.push_back(Batch { records, sealed: None, count, size, flying: false });
    }

    /// Whether a batch may be sent now.
    pub fn is_ready(&self) -> bool {
        // All before it are under way, and none behind it.
        let waiting = self.batches.iter().position(|batch| !batch.flying);
        waiting.is_some_and(|first| first == self.flying() && (first == 0 || !self.recovering))
    }

    /// The next batch that may be sent: its sequence number and its bytes, which `seal` makes of its records and number
    /// when it goes for the first time.
    pub fn take(&mut self, seal: impl FnOnce(&Records, i32) -> Result<Bytes>) -> Result<Option<(i32, Bytes)>> {
        if !self.is_ready() {
            return Ok(None);
        }
        let Some(batch) = self.batches.iter_mut().find(|batch| !batch.flying) else { return Ok(None) };
        let sealed = match &batch.sealed {
            Some(sealed) => sealed.clone(),
            None => {
                let sealed = (self.next, seal(&batch.records, self.next)?);
                self.next = sequence_after(self.next, batch.count);
                batch.records = Records::default();
                batch.sealed.insert(sealed).clone()
            }
        };
        batch.flying = true;
        Ok(Some(sealed))
    }

    /// The broker has it: how many records and bytes need not be kept any more.
    pub fn taken(&mut self, sequence: i32) -> (usize, usize) {
        self.recovering = false;
        let Some(at) = self.place(sequence) else { return (0, 0) };
        self.batches.remove(at).map_or((0, 0), |batch| (batch.count, batch.size))
    }

    /// It has to be sent again.
    pub fn again(&mut self, sequence: i32) {
        self.recovering = true;
        if let Some(batch) = self.place(sequence).and_then(|at| self.batches.get_mut(at)) {
            batch.flying = false;
        }
    }

    /// Whether nothing stands before it that was not taken: if it is out of order, what was taken is lost.
    pub fn is_first(&self, sequence: i32) -> bool {
        self.place(sequence) == Some(0)
    }

    /// How many batches are under way.
    pub fn flying(&self) -> usize {
        self.batches.iter().filter(|batch| batch.flying).count()
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Forgets what is not under way, or everything: how many records and bytes. What is left goes on to be answered.
    pub fn discard(&mut self) -> (usize, usize) {
        let mut gone = (0, 0);
        self.batches.retain(|batch| {
            if !batch.flying {
                gone = (gone.0 + batch.count, gone.1 + batch.size);
            }
            batch.flying
        });
        gone
    }

    fn place(&self, sequence: i32) -> Option<usize> {
        self.batches.iter().position(|batch| batch.sealed.as_ref().is_some_and(|(own, _)| *own == sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(batches: &[usize]) -> Lane {
        let mut lane = Lane::default();
        for count in batches {
            let mut records = Records::default();
            (0..*count).for_each(|_| records.push(None, Some(b"v"), &[], 0));
            lane.push(records);
        }
        lane
    }

    fn send(lane: &mut Lane) -> Option<i32> {
        lane.take(|records, sequence| Ok(Bytes::from(format!("{}@{sequence}", records.len()))))
            .unwrap()
            .map(|sent| sent.0)
    }

    #[test]
    fn batches_go_one_behind_the_other_without_waiting() {
        let mut lane = lane(&[2, 3, 1]);
        assert_eq!(
            [send(&mut lane), send(&mut lane), send(&mut lane), send(&mut lane)],
            [Some(0), Some(2), Some(5), None]
        );
        assert_eq!((lane.flying(), lane.taken(0), lane.taken(2).0), (3, (2, 16), 3));
        assert_eq!(lane.taken(5).0, 1);
        assert!(lane.is_empty());
    }

    #[test]
    fn what_was_refused_goes_again_in_its_order_and_alone_first() {
        let mut lane = lane(&[1, 1, 1]);
        (0..3).for_each(|_| assert!(send(&mut lane).is_some()));
        lane.again(0);
        assert_eq!(send(&mut lane), None, "1 and 2 are still under way");
        lane.again(1);
        lane.again(2);
        assert!(lane.is_first(0) && !lane.is_first(1));
        assert_eq!(send(&mut lane), Some(0));
        assert_eq!(send(&mut lane), None, "one at a time");
        lane.taken(0);
        assert_eq!([send(&mut lane), send(&mut lane)], [Some(1), Some(2)]);
    }

    #[test]
    fn what_was_lost_behind_one_that_was_taken_goes_again() {
        let mut lane = lane(&[1, 1]);
        (0..2).for_each(|_| assert!(send(&mut lane).is_some()));
        lane.taken(0);
        lane.again(1);
        assert_eq!(send(&mut lane), Some(1));
    }

    #[test]
    fn it_goes_again_as_the_same_bytes() {
        let mut lane = lane(&[2]);
        let first = lane.take(|_, _| Ok(Bytes::from_static(b"first"))).unwrap().unwrap();
        lane.again(0);
        assert_eq!(lane.take(|_, _| unreachable!()).unwrap().unwrap(), first);
    }

    #[test]
    fn what_is_discarded_does_not_come_back() {
        let mut lane = lane(&[1, 2]);
        send(&mut lane);
        assert_eq!(lane.discard(), (2, 16));
        lane.again(0);
        assert_eq!(lane.discard().0, 1);
        assert!(lane.is_empty() && send(&mut lane).is_none());
    }
}
