//! Rows become Avro (pure): one table of types, schemas as text, transcoders from PostgreSQL's binary to Avro's.

mod encoder;
mod mapping;
mod name;
mod numeric;
mod schema;
mod text;
mod transcode;

pub use encoder::Encoder;
pub use mapping::Settings;
pub use name::RecordNames;
