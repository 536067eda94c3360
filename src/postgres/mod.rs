//! Talking to PostgreSQL: connection, session, catalog, history, COPY.

mod catalog;

pub use catalog::{Class, Column, Description, Type};
