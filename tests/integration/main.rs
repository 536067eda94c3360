//! Strandline against real servers, as its users run it: the binary, a configuration file, a table, a topic.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod brokers;
mod check;
mod commands;
mod companions;
mod connect;
mod deleted;
mod endurance;
mod evolution;
mod failure;
mod faults;
mod fuzz;
mod guards;
mod history;
mod letters;
mod load;
mod loss;
mod mistakes;
mod modes;
mod offsets;
mod pooler;
mod producing;
mod proxied;
mod secure;
mod shapes;
mod stage;
mod stopping;
mod subjects;
mod topic;
mod trials;
mod tunnel;
mod types;
mod values;
mod writers;
