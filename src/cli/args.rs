//! What may be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Sources;
use crate::telemetry::LogFormat;

/// Streams PostgreSQL into Kafka as Avro by polling: no replication slot, no JVM, no row lost.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_long_help = EXIT_CODES)]
pub struct Args {
    /// The connector's configuration
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "STRANDLINE_CONFIG",
        default_value = "strandline.toml"
    )]
    pub config: PathBuf,
    /// Sets one key over file and environment, such as poll.interval=1s
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text", env = "STRANDLINE_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a filter
    #[arg(long, global = true, value_name = "LEVEL", env = "STRANDLINE_LOG", default_value = "info")]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Streams until it is stopped (SIGTERM or SIGINT: finish the step, commit, leave; a second signal leaves at once)
    ///
    /// Example: strandline run -c shop.toml
    Run {
        /// Load, catch up with what is visible now, and end: for schedulers
        #[arg(long)]
        once: bool,
    },
    /// Tests everything before the first row and lists all problems
    ///
    /// Example: strandline check -c shop.toml --json
    Check {
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    an object is FAILED, or a server refuses us
  2    the configuration or the command line is wrong
  3    another instance of the connector has taken over
  130  a second signal

Examples:
  strandline check -c shop.toml
  strandline run -c shop.toml
  strandline run --once -c shop.toml --set tasks.max=2";

impl Args {
    /// Where the configuration comes from.
    pub fn sources(&self) -> Sources {
        Sources { file: self.config.clone(), environment: std::env::vars().collect(), set: self.set.clone() }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write KEY=VALUE, such as poll.interval=1s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::parse_from(["strandline", "run", "--once", "-c", "a.toml", "--set", "tasks.max=2"]);
        assert_eq!(args.set, [("tasks.max".to_owned(), "2".to_owned())]);
        assert!(matches!(args.command, Command::Run { once: true }));
    }
}
