//! Real servers for Strandline's tests, benchmarks and demo: found or fetched once, started on free loopback ports, ended
//! with the process that asked for them, also when it is killed.
//!
//! Test support may panic: a server that cannot be had is a failed test that says what to install.

mod chaos;
mod connect;
mod fetch;
mod kafka;
mod pooler;
mod postgres;
mod process;
mod registry;
mod ssh;
mod standby;
mod standin;

pub use chaos::{Chaos, Weather};
pub use connect::Connect;
pub use kafka::{Kafka, KafkaOptions};
pub use pooler::Pooler;
pub use postgres::{Database, Postgres, PostgresOptions};
pub use process::{cpu_time, free_port};
pub use registry::Registry;
pub use ssh::Bastion;
pub use standby::Copy;
pub use standin::{Broker, registry_in_memory};

/// Fetches everything now, so that no test waits for it.
pub fn fetch_all() {
    fetch::kafka();
    fetch::connect();
    fetch::registry();
    fetch::postgres();
    fetch::sshd();
    fetch::pgbouncer();
    for major in [14, 16, 18] {
        fetch::postgres_of(major);
    }
}

/// The user that servers run as which refuse root; none: our own.
pub fn user() -> Option<u32> {
    postgres::user().map(|(uid, _)| uid)
}
