//! What is wrong with a configuration: every mistake at once, each with its place.

use std::fmt;
use std::path::PathBuf;

use crate::{Error, Kind};

/// Where a setting was written. The order is the order of a report: the file from top to bottom, then the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A place in the configuration file; line and column count characters from 1.
    File {
        /// The file as it was named on the command line.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The file as a whole: what is missing from it, or the file itself.
    Whole(PathBuf),
    /// An environment variable, by its name.
    Environment(String),
    /// `--set`, by the key that it names.
    Flag(String),
    /// Nobody wrote it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Origin::Whole(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "${name}"),
            Origin::Flag(key) => write!(f, "--set {key}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key it is about.
    pub key: String,
    /// Where the key was written, or should have been.
    pub origin: Origin,
    /// What was found there, in words; never a secret's value.
    pub found: String,
    /// What would be right.
    pub message: String,
}

/// Three short lines: where and which key, what was found, what would be right.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  found: {}\n  needs: {}", self.origin, self.key, self.found, self.message)
    }
}

/// All mistakes of a configuration, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Puts them into the order of the report.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
        problems.dedup();
        Problems(problems)
    }

    /// In the order of the report.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let message = match problems.count() {
            1 => "the configuration has a problem".to_owned(),
            count => format!("the configuration has {count} problems"),
        };
        Error::new(Kind::Config, message).because(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, key: &str) -> Problem {
        let origin = Origin::File { path: "s.toml".into(), line, column: 1 };
        Problem { key: key.into(), origin, found: "7".into(), message: "an integer from 1 to 6".into() }
    }

    #[test]
    fn the_report_follows_the_file_and_ends_with_environment_and_flags() {
        let elsewhere = |origin| Problem { origin, ..at(0, "a") };
        let problems = Problems::new(vec![
            elsewhere(Origin::Flag("a".into())),
            elsewhere(Origin::Environment("STRANDLINE_A".into())),
            elsewhere(Origin::Whole("s.toml".into())),
            at(10, "ten"),
            at(9, "nine"),
        ]);
        let heads: Vec<String> = problems.iter().map(|problem| problem.origin.to_string()).collect();
        assert_eq!(heads, ["s.toml:9:1", "s.toml:10:1", "s.toml", "$STRANDLINE_A", "--set a"]);
    }

    #[test]
    fn a_problem_is_three_lines() {
        assert_eq!(at(3, "dice").to_string(), "s.toml:3:1: dice\n  found: 7\n  needs: an integer from 1 to 6");
    }
}
