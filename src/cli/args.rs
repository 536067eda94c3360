//! What may be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Sources;
use crate::telemetry::LogFormat;

/// Streams PostgreSQL into Kafka as Avro by polling: no replication slot, no JVM, no row lost.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES, after_long_help = EXIT_CODES)]
pub struct Args {
    /// A connector's configuration (TOML, YAML or JSON), or a directory of them; may be repeated
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "STRANDLINE_CONFIG",
        default_value = "strandline.toml"
    )]
    pub config: Vec<PathBuf>,
    /// Sets one key over file and environment, such as poll.interval=1s; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text", env = "STRANDLINE_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a filter; info, but for commands that only look: warn
    #[arg(long, global = true, value_name = "LEVEL", env = "STRANDLINE_LOG")]
    pub log: Option<String>,
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
    /// Tells ssh whether a bastion's key is the pinned one; ssh starts it
    #[command(hide = true, after_help = "Example: strandline ssh-host-key SHA256:… bastion ssh-ed25519 AAAA…")]
    SshHostKey {
        /// SHA256:…
        fingerprint: String,
        /// What known_hosts would name it.
        host: String,
        /// The key's type.
        kind: String,
        /// The key, in base64.
        key: String,
    },
    /// Tests configuration, servers, tables and rights, and lists all problems
    #[command(after_help = "Example: strandline check -c shop.toml --json")]
    Check {
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Tells what would be read, by which SQL and at what cost; reads nothing
    #[command(after_help = "Example: strandline plan public.orders -c shop.toml")]
    Plan {
        /// schema.table, or an alias of the configuration; all objects unless named
        #[arg(value_name = "OBJECT")]
        objects: Vec<String>,
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Shows an object's Avro schemas, and what the registry holds
    #[command(after_help = "Example: strandline schema public.orders -c shop.toml --json | jq .value.schema")]
    Schema {
        /// schema.table, or an alias of the configuration
        object: String,
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Lists the objects: state, progress, how far behind, and who holds them back
    #[command(
        after_help = "Example: strandline objects -c shop.toml --json | jq '.objects[] | select(.state==\"FAILED\")'"
    )]
    Objects {
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Lists, sets or resets the stored progress of a stopped connector
    #[command(subcommand)]
    Offsets(Offsets),
    /// Lists, replays or closes the letters of the dead-letter topic
    #[command(subcommand)]
    Errors(Errors),
    /// Shows every key's effective value and where it comes from; secrets are hidden
    #[command(after_help = "Example: strandline config -c shop.toml --set tasks.max=2")]
    Config {
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
        /// Only what somebody wrote, without the defaults
        #[arg(long)]
        set_only: bool,
    },
    /// Prints the completions for a shell
    #[command(after_help = "Example: strandline completions bash > /etc/bash_completion.d/strandline")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// What to do with stored progress.
#[derive(Debug, Subcommand)]
pub enum Offsets {
    /// Lists it, in Kafka Connect's form with --json
    #[command(after_help = "Example: strandline offsets list -c shop.toml --json > offsets.json")]
    List {
        /// As JSON on stdout, as Kafka Connect's REST API answers
        #[arg(long)]
        json: bool,
    },
    /// Sets an object's source offset
    ///
    /// Without --yes nothing is written: what would change is shown. The connector has to be stopped.
    #[command(after_help = "Example: strandline offsets set public.orders \"$(cat orders.json)\" --yes -c shop.toml")]
    Set {
        /// schema.table, or an alias of the configuration
        object: String,
        /// The source offset, a JSON object as `offsets list --json` shows it
        offset: String,
        /// Whether to write.
        #[command(flatten)]
        consent: Consent,
    },
    /// Forgets an object's progress: it is loaded again from the beginning
    ///
    /// Without --yes nothing is written: what would change is shown. The connector has to be stopped.
    #[command(after_help = "Example: strandline offsets reset public.orders --yes -c shop.toml")]
    Reset {
        /// schema.table, or an alias of the configuration
        #[arg(value_name = "OBJECT", required_unless_present = "all")]
        objects: Vec<String>,
        /// Everything that is stored for the connector
        #[arg(long, conflicts_with = "objects")]
        all: bool,
        /// Whether to write.
        #[command(flatten)]
        consent: Consent,
    },
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Errors {
    /// Lists them: which row, what was wrong, and what became of it
    #[command(after_help = "Example: strandline errors list -c shop.toml")]
    List {
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Reads the rows of open letters again, as they are now, and sends them to their topics
    ///
    /// Without --yes nothing is sent. The connector has to be stopped. What still fails stays, and says why.
    #[command(after_help = "Example: strandline errors replay public.orders --yes -c shop.toml")]
    Replay {
        /// Which.
        #[command(flatten)]
        letters: Letters,
        /// Whether to send.
        #[command(flatten)]
        consent: Consent,
    },
    /// Marks open letters as dealt with
    ///
    /// Without --yes nothing is written. The connector may run.
    #[command(after_help = "Example: strandline errors skip 0:17 --yes -c shop.toml")]
    Skip {
        /// Which.
        #[command(flatten)]
        letters: Letters,
        /// Whether to write.
        #[command(flatten)]
        consent: Consent,
    },
}

/// Which letters are meant.
#[derive(Clone, Debug, clap::Args)]
pub struct Letters {
    /// partition:offset as `errors list` shows it, schema.table, or an alias of the configuration
    #[arg(value_name = "LETTER", required_unless_present = "all")]
    pub letters: Vec<String>,
    /// Every open letter of the connector
    #[arg(long, conflicts_with = "letters")]
    pub all: bool,
}

/// How sure the user is.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Consent {
    /// Writes; without it the change is only shown
    #[arg(long)]
    pub yes: bool,
    /// Even if the connector did not say that it stopped: one that still runs is fenced, and ends with exit code 3
    #[arg(long)]
    pub force: bool,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  strandline check -c shop.toml
  strandline run --once -c shop.toml --set tasks.max=2

Exit codes: 0 done, 1 failed or refused, 2 configuration, 3 taken over, 130 second signal";

const EXIT_CODES: &str = "\
Examples:
  strandline check -c shop.toml
  strandline run --once -c shop.toml --set tasks.max=2
  strandline run -c /etc/strandline/          every connector of a directory

Exit codes:
  0    done
  1    an object is FAILED, or a server refuses us
  2    the configuration or the command line is wrong
  3    another instance of the connector has taken over
  130  a second signal";

impl Args {
    /// Where the configurations come from.
    pub fn sources(&self) -> Vec<Sources> {
        // Not `vars`, which panics on a variable that is not UTF-8; ours are.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment: Vec<(String, String)> = std::env::vars_os().filter_map(text).collect();
        let one =
            |file: &PathBuf| Sources { file: file.clone(), environment: environment.clone(), set: self.set.clone() };
        self.config.iter().map(one).collect()
    }

    /// What is logged: a command that only looks is quiet.
    pub fn log_filter(&self) -> &str {
        match (&self.log, &self.command) {
            (Some(filter), _) => filter,
            (None, Command::Run { .. }) => "info",
            // What keeps librdkafka from the brokers is in the answer.
            (None, _) => "warn,kafka=off",
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
            assert_eq!(args.config, [PathBuf::from("a.toml")], "{line}");
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
    fn a_reset_names_objects_or_all_of_them() {
        let parse = |line: &str| Args::try_parse_from(std::iter::once("strandline").chain(line.split(' ')));
        assert!(parse("offsets reset").is_err());
        assert!(parse("offsets reset --all a").is_err());
        assert!(parse("offsets reset --all").is_ok());
        assert!(parse("offsets reset a b --yes").is_ok());
    }

    #[test]
    fn help_fits_a_screen_and_tells_the_exit_codes() {
        let mut command = Args::command().term_width(100);
        let short = command.render_help().to_string();
        assert!(short.lines().count() <= 40, "{short}");
        assert!(short.contains("Exit codes: 0 done") && short.contains("Examples:"), "{short}");
        let long = command.render_long_help().to_string();
        for code in ["0 ", "1 ", "2 ", "3 ", "130 "] {
            assert!(long.lines().any(|line| line.trim_start().starts_with(code)), "{code} in {long}");
        }
    }

    #[test]
    fn every_command_has_an_example() {
        fn look(command: &mut clap::Command) {
            if command.has_subcommands() {
                return command.get_subcommands_mut().filter(|inner| inner.get_name() != "help").for_each(look);
            }
            let help = command.render_help().to_string();
            assert!(help.contains("Example: strandline "), "{help}");
        }
        look(&mut Args::command());
    }
}
