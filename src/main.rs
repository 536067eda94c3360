//! Arguments, configuration, runtime, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    strandline::cli::main(strandline::cli::Args::parse())
}
