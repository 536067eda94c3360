//! The command line: one file per command.

mod args;
mod askpass;
mod check;
mod completions;
mod effective;
mod errors;
mod objects;
mod offsets;
mod plan;
mod run;
mod schema;
mod stored;
mod survey;
mod table;

pub use askpass::askpass;
pub use objects::pid;

pub use args::{Args, Command, Consent, Errors, Offsets};

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{self, Config};
use crate::progress::Bars;
use crate::telemetry::LogFormat;
use crate::{Error, Kind, telemetry};

/// Everything was done.
pub const DONE: u8 = 0;
/// An object is FAILED, or a server refuses us.
pub const FAILED: u8 = 1;
/// The configuration or the command line is wrong.
pub const CONFIGURATION: u8 = 2;
/// Another instance has taken over.
pub const FENCED: u8 = 3;
/// A second signal.
pub const INTERRUPTED: u8 = 130;

/// Runs the command; every error is told here, once.
pub fn main(args: Args) -> ExitCode {
    if let Command::Completions { shell } = args.command {
        completions::completions(shell);
        return ExitCode::from(DONE);
    }
    if let Command::SshHostKey { fingerprint, host, kind, key } = &args.command {
        // No line is an answer too: a failure would be told instead of the host's being unknown.
        askpass::known_host(fingerprint, host, kind, key).iter().for_each(|line| println!("{line}"));
        return ExitCode::from(DONE);
    }
    let loaded = match &args.command {
        Command::Config { json, set_only } => {
            return ExitCode::from(effective::config(&args.sources(), *json, *set_only));
        }
        _ => config::load_all(&args.sources()),
    };
    let configs: Vec<Arc<Config>> = match loaded {
        Ok(configs) => configs.into_iter().map(Arc::new).collect(),
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(CONFIGURATION);
        }
    };
    let code = telemetry::init(args.log_format, args.log_filter(), bars(&args)).and_then(|()| dispatch(&args, configs));
    ExitCode::from(code.unwrap_or_else(|error| {
        eprintln!("strandline: {}", error.report());
        exit_code(&error)
    }))
}

/// Bars for a person who watches a stream; everybody else gets lines.
fn bars(args: &Args) -> Option<Bars> {
    let streams = matches!(args.command, Command::Run { .. });
    let watched = args.log_format == LogFormat::Text && std::io::stderr().is_terminal();
    (streams && watched).then(Bars::new)
}

fn dispatch(args: &Args, configs: Vec<Arc<Config>>) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Io, "the runtime cannot be built").because(error))?;
    let done = runtime.block_on(async {
        match &args.command {
            Command::Run { once } => run::run(configs, *once).await,
            Command::Offsets(Offsets::Set { object, offset, consent }) => {
                offsets::set(only(&configs)?, object, offset, *consent).await
            }
            Command::Offsets(Offsets::Reset { objects, all: _, consent }) => {
                offsets::reset(only(&configs)?, objects, *consent).await
            }
            Command::Errors(Errors::Replay { letters, consent }) => {
                errors::replay(only(&configs)?, &letters.letters, *consent).await
            }
            Command::Errors(Errors::Skip { letters, consent }) => {
                errors::skip(only(&configs)?, &letters.letters, *consent)
            }
            command => {
                let mut code = DONE;
                for config in &configs {
                    code = code.max(look(command, config).await?);
                }
                Ok(code)
            }
        }
    });
    // Whoever was stopped while a thread waits for Kafka does not wait for it, too.
    runtime.shutdown_background();
    done
}

/// The commands that only look, at one connector after the other.
async fn look(command: &Command, config: &Config) -> Result<u8, Error> {
    match command {
        Command::Check { json } => check::check(config, *json).await,
        Command::Plan { objects, json } => plan::plan(config, objects, *json).await,
        Command::Schema { object, json } => schema::schema(config, object, *json).await,
        Command::Objects { json } => objects::objects(config, *json).await,
        Command::Offsets(Offsets::List { json }) => offsets::list(config, *json).await,
        Command::Errors(Errors::List { json }) => errors::list(config, *json),
        _ => Ok(DONE),
    }
}

/// What changes something is for one connector.
fn only(configs: &[Arc<Config>]) -> Result<&Arc<Config>, Error> {
    match configs {
        [config] => Ok(config),
        _ => Err(Error::new(Kind::Config, format!("{} connectors are configured, and this is for one", configs.len()))
            .hint("name its file with --config")),
    }
}

/// To stdout; whoever reads us may have left already.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        Kind::Config => CONFIGURATION,
        Kind::Fenced => FENCED,
        _ => FAILED,
    }
}
