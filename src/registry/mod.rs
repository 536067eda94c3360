//! The Schema Registry, by Confluent's API.

mod client;
mod subject;

pub use client::{Registry, Version};
pub use subject::Strategy;
