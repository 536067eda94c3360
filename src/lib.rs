//! Strandline streams PostgreSQL into Kafka as Avro by polling: no replication slot, no JVM, no row lost.
//!
//! # The way of a row
//!
//! ```text
//!             poll/  what to read next (pure)
//!               │ SQL
//!  PostgreSQL ──┴─▶ postgres/chunk ──▶ avro/encoder ──▶ kafka/producer ──▶ topic
//!   COPY … BINARY      row slices       key+value bytes       │  one Kafka transaction
//!                                                       kafka/offsets ──▶ compacted offsets topic
//!             watermark ◀─────────────────────────────────────┘  read at start, after fencing
//! ```
//!
//! [`task`] is the one file where both sides meet, and it reads in that order: look at the server, begin sweeps, read one
//! chunk, transcode, send, commit. Everything that decides is pure and tested without a server; everything that talks to a
//! server is thin.
//!
//! # The words
//!
//! Kafka Connect's: a **connector** is one configured stream from one database; an **object** is a table, view or query on
//! its way into a topic; a **task** is a thread with some of the objects; **source partition** and **source offset** are the key and the
//! value under which progress is stored; a **subject** is a schema's name in the registry.
//!
//! Ours: the **watermark** is the progress of one object; a **window** is the half-open range of transaction ids that one
//! **sweep** over a table delivers; a **chunk** is what one statement reads; the **historical load** is the first sweep, a
//! **delta** every later one; a **step** reads one chunk and hands it to the producer. In cursor modes a **bound** says from
//! which cursor on an index shows what a window holds; the **sweep** of such an object delivers what lies at or below. A
//! **pass** is one reading of everything, in `bulk` and of queries.
//!
//! # The rooms
//!
//! | where | what |
//! |---|---|
//! | [`cli`] | one file per command |
//! | [`config`] | what may be configured, where it comes from, every mistake with its remedy |
//! | [`worker`] | what tasks share, which partitions each gets, the order of the end |
//! | [`task`] | the loop; `task/begin` what there is to read after a look, `task/step` one step of a table, `task/query` one poll of a query, `task/commit` the end of a transaction |
//! | [`reading`] | one COPY on its way into the producer |
//! | [`unfit`], [`letter`] | what becomes of a row that is too large or cannot be encoded; its letter in the dead-letter topic |
//! | [`owner`] | one partition of the offsets topic: its producer, its objects, its Kafka transaction |
//! | [`layout`] | moves stored progress when the offsets topic got more partitions |
//! | [`lookback`] | a query's cursor at work: where it begins, which rows were delivered already |
//! | [`headers`] | what a record tells of its origin, where that was asked for |
//! | [`object`] | one object: what is known, what is believed, how it is encoded |
//! | [`poll`] | pure: mode, window, bound, work, chunk, watermark and its JSON, history, pace, shape, SQL as text |
//! | [`postgres`] | connection, TLS, tunnel, catalog, one chunk's transaction |
//! | [`avro`] | pure: the type mapping, schemas, transcoders |
//! | [`registry`] | subjects, schema ids |
//! | [`kafka`] | the producer (`producer/` records, batches in order, identity and transaction, the sender), `wire/` Kafka's protocol over a socket, topics, offsets topic |
//! | [`error`], [`retry`], [`telemetry`], [`progress`] | one error type, what follows from each kind, the log, bars on a terminal |

pub mod avro;
pub mod cli;
pub mod config;
pub mod error;
pub mod headers;
pub mod kafka;
pub mod layout;
mod lead;
pub mod letter;
pub mod lookback;
pub mod object;
pub mod owner;
pub mod poll;
pub mod postgres;
pub mod progress;
pub mod reading;
pub mod registry;
pub mod retry;
pub mod task;
pub mod telemetry;
pub mod unfit;
pub mod worker;

pub use error::{Error, Kind, Result};
