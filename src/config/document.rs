//! A configuration file as a tree of names and values, whatever its syntax.

use std::path::Path;

use figment::value::Value;

use super::{toml, yaml};

/// A name, where it stands, and what it names.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub name: String,
    /// Line and column, counting characters from 1.
    pub place: (usize, usize),
    pub node: Node,
}

/// What a name stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    /// A single value, or a list of them.
    Value(Value),
    /// A table of further names.
    Table(Vec<Entry>),
}

/// What is wrong with a file's syntax. Never the line itself, which may hold a password.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub place: (usize, usize),
    pub message: String,
}

/// The syntaxes, by the file's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Toml,
    Yaml,
    Json,
}

impl Syntax {
    /// `.yaml`, `.yml` and `.json` are what they say; everything else is TOML.
    pub(super) fn of(path: &Path) -> Syntax {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Syntax::Yaml,
            "json" => Syntax::Json,
            _ => Syntax::Toml,
        }
    }

    /// Its name, for a report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Syntax::Toml => "TOML",
            Syntax::Yaml => "YAML",
            Syntax::Json => "JSON",
        }
    }

    /// The tree that a text describes.
    pub(super) fn read(self, text: &str) -> Result<Vec<Entry>, Mistake> {
        match self {
            Syntax::Toml => toml::read(text),
            Syntax::Yaml => yaml::read(text),
            Syntax::Json => yaml::read_json(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_syntax() {
        for (path, syntax) in [
            ("s.toml", Syntax::Toml),
            ("s.yml", Syntax::Yaml),
            ("a.toml/s.YAML", Syntax::Yaml),
            ("s.json", Syntax::Json),
            ("s", Syntax::Toml),
        ] {
            assert_eq!(Syntax::of(Path::new(path)), syntax, "{path}");
        }
    }
}
