//! Rows become Avro (pure): one table of types, schemas as text, transcoders from PostgreSQL's binary to Avro's.

mod attribute;
mod binary;
mod bits;
mod canonical;
mod container;
mod default;
mod encoder;
mod geometry;
mod handling;
mod iso;
mod mapping;
mod moment;
mod name;
mod network;
mod numeric;
#[cfg(test)]
mod published;
mod schema;
mod text;
mod transcode;
mod vector;

pub use encoder::Encoder;
pub use handling::{
    Arrays, Binary, Cast, Decimals, Handling, Hstore, Infinity, Intervals, Json, Nan, Profile, Times, Uuids,
};
pub use mapping::Settings;
pub use name::{Adjustment, RecordNames};
