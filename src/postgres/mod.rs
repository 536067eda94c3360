//! Talking to PostgreSQL: connection, session, catalog, chunks.

mod catalog;
mod chunk;
mod connect;
mod error;
mod explain;
mod identity;
mod query;
mod reach;
mod rows;
mod session;
mod tap;
mod tls;
mod transport;
pub mod tunnel;

pub use catalog::{Attribute, Class, Column, Description, FoundLeaf, FoundTable, Type};
pub use chunk::Head;
pub use connect::Connection;
pub use error::classify;
pub use explain::Estimate;
pub use rows::Rows;
pub use session::{Holder, Place, Session};
