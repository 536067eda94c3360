//! What one statement reads of a table, and the conditions on its rows.

use super::bound::Side;
use super::chunk::Chunk;
use super::watermark::Watermark;
use super::window::{Ages, Window, except};
use crate::config::Polling;

/// What one statement reads of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The leaf; of a closing the object's table.
    pub leaf: u32,
    /// The ids that it delivers.
    pub window: Window,
    /// Why.
    pub stream: Stream,
}

/// Which stream of an object a statement belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// A settled window in chunks: a load, a delta by xmin, a pass of bulk.
    Settled,
    /// A settled window above the cursor's bound, by the index in one statement.
    Index,
    /// The same in chunks, where there is no bound yet or too much for one statement.
    Poll,
    /// A settled window at or below the cursor's bound, in chunks.
    Sweep,
    /// What is visible beyond the settled window while a stranger's transaction holds that back, in one statement.
    Eager,
    /// The end of a pass of bulk: what was written since it began, in one snapshot.
    Closing,
}

impl Stream {
    /// Whether it reads in chunks, so that it can be cut anywhere.
    pub fn is_chunked(self) -> bool {
        matches!(self, Stream::Settled | Stream::Poll | Stream::Sweep)
    }
}

impl Work {
    /// The condition on a row: where it lies, which transaction wrote it, on which side of the bound its cursor is.
    pub fn conditions(&self, chunk: Option<Chunk>, watermark: &Watermark, polling: &Polling, ages: Ages) -> String {
        let mut conditions: Vec<String> = chunk.iter().map(Chunk::filter).collect();
        let cursor = polling.mode.cursor().filter(|_| !self.window.is_load());
        if let Some(cursor) = cursor
            && matches!(self.stream, Stream::Index | Stream::Eager)
        {
            conditions.extend(watermark.bounds.index(cursor, self.window));
        }
        conditions.push(self.window.filter(ages));
        if self.stream != Stream::Sweep
            && let Some(leaf) = watermark.leaves.get(&self.leaf)
        {
            conditions.extend(except(leaf.ahead.range(self.window.from..self.window.to).copied()));
        }
        if let Some(cursor) = cursor {
            let side = if self.stream == Stream::Sweep { Side::Below } else { Side::Above };
            conditions.push(watermark.bounds.filter(cursor, self.window, ages, side));
        }
        conditions.extend(polling.shape.filter.iter().map(|filter| format!("(\n{filter}\n)")));
        conditions.join(" AND ")
    }
}
