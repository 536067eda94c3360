//! Talking to PostgreSQL: connection, session, catalog, history, COPY.

mod catalog;
mod connect;
mod error;
mod tls;

pub use catalog::{Class, Column, Description, Type};
pub use connect::Connection;
pub use error::classify;
