//! What to read next (pure): names, the window, chunks, the watermark, history, and the SQL as text.

mod name;

pub use name::{Pattern, TableName};
