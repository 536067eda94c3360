//! Kafka's protocol over a socket: what librdkafka does for readers, for the producer that is our own.
//!
//! The messages' bytes are the `kafka_protocol` crate's; here is who is dialled, how one logs in, and which answer belongs to
//! which request.

mod client;
mod cluster;
mod connection;
mod dial;
mod log;
mod login;
mod tls;

pub use client::Client;
pub use cluster::Cluster;
pub use connection::Version;
pub use dial::lasts;
pub use log::{Isolation, Log};
