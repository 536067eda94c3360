//! What to read next (pure): names, the window, chunks, the watermark, history, and the SQL as text.

mod bound;
mod choice;
mod chunk;
mod counted;
mod duty;
mod guard;
mod history;
mod mode;
mod moment;
mod name;
mod offset;
mod recent;
mod running;
mod shape;
pub mod sql;
mod watermark;
mod window;
mod work;

pub use bound::{Bound, Bounds, Side, Values};
pub use choice::{Choice, choose, source, whole};
pub use chunk::{CHUNK_BYTES, Chunk, Pace, Tid, target};
pub use counted::Counted;
pub use duty::Duty;
pub use guard::{Guard, is_cuttable};
pub use history::{Entry, History, Verdict, Why};
pub use mode::{Cursor, Mode};
pub use moment::{FIRST_NORMAL, Lsn, Markers, Moment, Snapshot};
pub use name::{Pattern, TableName};
pub use recent::{Hash, Key, Lookback, Poll, Recent, from_json as recent_from_json};
pub use running::{Looks, Running, Seen};
pub use shape::{Mask, Shape, filter_words};
pub use watermark::{Leaf, Reading, Sweep, Watermark};
pub use window::{Ages, Sight, Window, except, raw};
pub use work::{Stream, Work};
