//! Rows cut to fit, as `oversize = "truncate"` asks for.

use serde_json::{Map, Value};

use super::{Odd, Unfit};
use crate::Result;
use crate::config::Oversize;
use crate::object::Plan;
use crate::poll::Guard;

/// A row that was cut.
pub struct Cut {
    /// The tuple, without what led it.
    pub tuple: Vec<u8>,
    /// `strandline.truncated`: which columns were cut, and how many bytes they have.
    pub header: String,
}

/// The header of a record with columns that were cut.
pub const TRUNCATED: &str = "strandline.truncated";

impl Unfit {
    /// Cuts the columns that may be cut, the longest first, until the record has `most` bytes; none: that is not enough.
    /// `encode` tells how large a tuple's record is.
    pub fn cut(
        &self,
        plan: &mut Plan,
        skip: usize,
        tuple: &[u8],
        odd: &Odd,
        most: usize,
        mut encode: impl FnMut(&mut Plan, &[u8]) -> Result<usize>,
    ) -> Result<Option<Cut>> {
        let Oversize::Truncate(names) = &self.oversize else { return Ok(None) };
        let position = |name: &String| plan.description.columns.iter().position(|column| column.name == *name);
        let columns: Vec<usize> = names.iter().filter_map(position).collect();
        let Some(lengths) = plan.encoder.lengths(skip, tuple) else { return Ok(None) };
        let mut originals: Vec<(usize, usize)> =
            columns.iter().filter_map(|at| Some((*at, lengths.get(*at).copied()??))).collect();
        // What was too large to be read has been cut once already.
        if let Odd::Unread(sizes) = odd {
            if sizes.iter().any(|(at, size)| Guard::is_beyond(plan.largest, *size) && !columns.contains(at)) {
                return Ok(None);
            }
            for (at, original) in &mut originals {
                *original = sizes.iter().find(|(of, _)| of == at).map_or(*original, |(_, size)| *size);
            }
        }
        let mut now: Vec<(usize, usize)> =
            columns.iter().filter_map(|at| Some((*at, lengths.get(*at).copied()??))).collect();
        loop {
            let Some(cut) = plan.encoder.cut(skip, tuple, &now) else { return Ok(None) };
            let size = encode(plan, &cut)?;
            let header = self.header(plan, &originals, &now);
            let room = most.saturating_sub(header.len() + TRUNCATED.len());
            if size <= room {
                return Ok(Some(Cut { tuple: cut, header }));
            }
            let mut excess = size - room;
            now.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
            if now.iter().all(|(_, length)| *length == 0) {
                return Ok(None);
            }
            for (_, length) in &mut now {
                let less = excess.min(*length);
                *length -= less;
                excess -= less;
            }
        }
    }

    /// `{"doc":314572800}`: the columns that are shorter than they were, with the bytes that they have.
    fn header(&self, plan: &Plan, originals: &[(usize, usize)], now: &[(usize, usize)]) -> String {
        let mut header = Map::new();
        for (at, original) in originals {
            let shorter = now.iter().any(|(of, length)| of == at && length < original);
            if let Some(column) = plan.description.columns.get(*at).filter(|_| shorter) {
                header.insert(column.name.clone(), (*original).into());
            }
        }
        Value::Object(header).to_string()
    }
}
