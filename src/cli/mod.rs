//! The command line: one file per command.

mod args;
mod check;
mod run;

pub use args::{Args, Command};

use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{self, Config};
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
    let config = match config::load(&args.sources()) {
        Ok(config) => Arc::new(config),
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(CONFIGURATION);
        }
    };
    let code = telemetry::init(args.log_format, &args.log).and_then(|()| dispatch(&args, config));
    ExitCode::from(code.unwrap_or_else(|error| {
        eprintln!("strandline: {}", error.report());
        exit_code(&error)
    }))
}

fn dispatch(args: &Args, config: Arc<Config>) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Io, "the runtime cannot be built").because(error))?;
    match &args.command {
        Command::Run { once } => runtime.block_on(run::run(config, *once)),
        Command::Check { json } => runtime.block_on(check::check(&config, *json)),
    }
}

fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        Kind::Config => CONFIGURATION,
        Kind::Fenced => FENCED,
        _ => FAILED,
    }
}
