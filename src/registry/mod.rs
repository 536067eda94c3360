//! The Schema Registry, by Confluent's API.

mod client;
mod outlook;
mod subject;

pub use client::{Registry, Version};
pub use outlook::Outlook;
pub use subject::Strategy;
