//! The Schema Registry, by Confluent's API.

mod client;
pub mod subject;

pub use client::{Registry, Version};
