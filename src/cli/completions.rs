//! `completions`: what a shell needs to complete our command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Args, print};

/// Prints them; needs no configuration.
pub fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "strandline", &mut script);
    print(&String::from_utf8_lossy(&script));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_completed() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Args::command(), "strandline", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in Args::command().get_subcommands() {
            assert!(script.contains(command.get_name()), "{}", command.get_name());
        }
    }
}
