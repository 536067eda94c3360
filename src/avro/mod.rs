//! Rows become Avro (pure): one table of types, schemas as text, transcoders from PostgreSQL's binary to Avro's.

mod encoder;
mod handling;
mod iso;
mod mapping;
mod name;
mod numeric;
mod schema;
mod text;
mod transcode;

pub use encoder::Encoder;
pub use handling::{Binary, Decimals, Handling, Times};
pub use mapping::Settings;
pub use name::RecordNames;
