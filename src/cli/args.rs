//! What may be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Sources;
use crate::telemetry::LogFormat;

/// Streams PostgreSQL into Kafka as Avro by polling: no replication slot, no JVM, no row lost.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES, after_long_help = EXIT_CODES)]
pub struct Args {
    /// The connector's configuration, a TOML file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "STRANDLINE_CONFIG",
        default_value = "strandline.toml"
    )]
    pub config: PathBuf,
    /// Sets one key over file and environment, such as poll.interval=1s; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text", env = "STRANDLINE_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a filter such as info,strandline=debug
    #[arg(long, global = true, value_name = "LEVEL", env = "STRANDLINE_LOG", default_value = "info")]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Streams until it is stopped
    ///
    /// SIGTERM or SIGINT: the step that is under way is finished and committed, then it ends. A second signal ends it at
    /// once; nothing is lost, what was not committed is read again.
    #[command(after_help = "Example: strandline run -c shop.toml")]
    Run {
        /// Loads, catches up with what is visible now, and ends: for schedulers
        #[arg(long)]
        once: bool,
    },
    /// Tests configuration, servers, tables and rights, and lists all problems
    #[command(after_help = "Example: strandline check -c shop.toml --json")]
    Check {
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
}

const EXAMPLES: &str = "\
Examples:
  strandline check -c shop.toml
  strandline run --once -c shop.toml --set tasks.max=2

Exit codes: 0 done, 1 failed or refused, 2 configuration, 3 another instance took over, 130 second signal";

const EXIT_CODES: &str = "\
Examples:
  strandline check -c shop.toml
  strandline run --once -c shop.toml --set tasks.max=2

Exit codes:
  0    done
  1    an object is FAILED, or a server refuses us
  2    the configuration or the command line is wrong
  3    another instance of the connector has taken over
  130  a second signal";

impl Args {
    /// Where the configuration comes from.
    pub fn sources(&self) -> Sources {
        // Not `vars`, which panics on a variable that is not UTF-8; ours are.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Sources {
            file: self.config.clone(),
            environment: std::env::vars_os().filter_map(text).collect(),
            set: self.set.clone(),
        }
    }
}

/// The value is taken as it stands: spaces may be part of a password.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as poll.interval=1s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn options_stand_before_the_command_or_after_it() {
        Args::command().debug_assert();
        for line in ["run --once -c a.toml --set tasks.max=2", "-c a.toml --set tasks.max=2 run --once"] {
            let args = Args::parse_from(std::iter::once("strandline").chain(line.split(' ')));
            assert_eq!(args.config, PathBuf::from("a.toml"), "{line}");
            assert_eq!(args.set, [("tasks.max".to_owned(), "2".to_owned())], "{line}");
            assert!(matches!(args.command, Command::Run { once: true }), "{line}");
        }
    }

    #[test]
    fn a_value_keeps_its_spaces_and_equals_signs() {
        assert_eq!(pair("database.password= a=b "), Ok(("database.password".to_owned(), " a=b ".to_owned())));
        assert!(pair("tasks.max").is_err());
        assert!(pair("=2").is_err());
    }

    #[test]
    fn help_fits_a_screen_and_tells_the_exit_codes() {
        let mut command = Args::command().term_width(100);
        let short = command.render_help().to_string();
        assert!(short.lines().count() <= 30, "{short}");
        assert!(short.contains("Exit codes: 0 done") && short.contains("Examples:"), "{short}");
        let long = command.render_long_help().to_string();
        for code in ["0 ", "1 ", "2 ", "3 ", "130 "] {
            assert!(long.lines().any(|line| line.trim_start().starts_with(code)), "{code} in {long}");
        }
        for name in ["run", "check"] {
            let help = command.find_subcommand_mut(name).unwrap().render_help().to_string();
            assert!(help.contains("Example: strandline"), "{help}");
        }
    }
}
