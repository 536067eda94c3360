//! Talking to Kafka: client settings, topics, the producer, the offsets topic. Nothing of the client library leaks out.

mod batch;
mod claim;
mod client;
mod letters;
mod limit;
mod murmur2;
mod oauth;
mod offsets;
mod producer;
mod topics;
mod trouble;
mod wire;

pub use batch::Batch;
pub use claim::Claim;
pub use letters::{Found, await_end, read_to_end};
pub use murmur2::partition as murmur2_partition;
pub use offsets::{OffsetsTopic, Stored, Waiting, bucket_key, bucket_of, buckets, key};
pub use producer::{Append, Commit, OffsetRecord, Producer};
pub use topics::{Admin, Seen};
