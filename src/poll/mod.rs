//! What to read next (pure): names, the window, chunks, the watermark, history, and the SQL as text.

mod choice;
mod chunk;
mod duty;
mod history;
mod moment;
mod name;
pub mod sql;
mod watermark;
mod window;

pub use choice::{Choice, choose, source};
pub use chunk::{CHUNK_BYTES, Chunk, Pace, Tid};
pub use duty::Duty;
pub use history::{Entry, History, Verdict, Why};
pub use moment::{FIRST_NORMAL, Lsn, Markers, Moment, Snapshot};
pub use name::{Pattern, TableName};
pub use watermark::{Leaf, Sweep, Watermark};
pub use window::{Ages, Sight, Window, raw};
