//! Arguments, configuration, runtime, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    if let Some(code) = strandline::cli::askpass() {
        return code;
    }
    strandline::cli::main(strandline::cli::Args::parse())
}
