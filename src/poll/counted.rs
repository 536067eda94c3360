//! A table's change counters as a hint that nothing is new.

/// What was counted, and below which id all of it lies.
///
/// Standing counters alone are not enough. A look takes its snapshot; a row is committed; the look reads the counters, with
/// that row in them; its sweep ends at the snapshot, without the row; from then on the counters stand still, and the row
/// would wait until they are distrusted. Nor does it help that the row was visible: somebody's open transaction may keep
/// the sweep's end below its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// None: not counted yet.
    count: Option<i64>,
    /// `xmax` of a snapshot after the count: whatever was counted had ended before. None: not taken yet.
    below: Option<u64>,
}

impl Counted {
    /// Whether the counters stand where they stood, and everything that was counted is delivered: every version below
    /// `floor` is. `xmax` is that of the look's snapshot, which was taken before `count`.
    pub fn stands_still(&mut self, count: i64, xmax: u64, floor: u64) -> bool {
        let below = *self.below.get_or_insert(xmax);
        if self.count != Some(count) {
            *self = Counted { count: Some(count), below: None };
            return false;
        }
        floor >= below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_counted_after_the_snapshot_is_not_skipped() {
        let mut counted = Counted::default();
        assert!(!counted.stands_still(7, 100, 0), "the first look sweeps to 100");
        // Row 100 was committed between its snapshot and its count; the sweep did not see it.
        assert!(!counted.stands_still(7, 101, 100), "what was counted lies below 101");
        assert!(counted.stands_still(7, 105, 101));
        assert!(counted.stands_still(7, 109, 101), "others' transactions change nothing");
        assert!(!counted.stands_still(8, 110, 101));
    }

    #[test]
    fn a_row_that_is_visible_but_held_back_is_not_skipped() {
        let mut counted = Counted::default();
        assert!(!counted.stands_still(7, 100, 0));
        // A transaction with id 90 stays open, so that every window ends there.
        assert!(!counted.stands_still(7, 100, 90));
        assert!(!counted.stands_still(7, 120, 90));
        assert!(counted.stands_still(7, 120, 120));
    }
}
