//! Strandline against real servers, as its users run it: the binary, a configuration file, a table, a topic.

mod load;
mod loss;
mod stage;
mod topic;
mod types;
