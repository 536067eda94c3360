//! Where settings come from: defaults, the file, the environment, the command line. Each becomes one flat layer of
//! dotted keys, so that nested tables and dotted names are the same thing; figment puts one over the other.

use std::collections::BTreeMap;
use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::document::{Entry, Node, Syntax};
use super::key::{self, KEYS};
use super::problem::{Origin, Problem};

/// Variables of these beginnings are not settings: the command line's own, and the tests'.
const NOT_SETTINGS: &[&str] = &["STRANDLINE_CONFIG", "STRANDLINE_LOG", "STRANDLINE_TEST_"];

/// One source's settings by dotted key.
#[derive(Debug)]
pub(super) struct Layer {
    name: &'static str,
    values: Dict,
    origins: BTreeMap<String, Origin>,
}

impl Layer {
    fn new(name: &'static str) -> Self {
        Layer { name, values: Dict::new(), origins: BTreeMap::new() }
    }

    /// The defaults of the table of keys.
    pub(super) fn defaults() -> Self {
        let mut layer = Layer::new("defaults");
        for (name, default) in KEYS.iter().filter_map(|key| Some((key.name, key.default?))) {
            layer.put(name.to_owned(), default.into(), Origin::Default);
        }
        layer
    }

    /// A file's text. Mistakes of the syntax are a problem of their own and leave nothing to read.
    pub(super) fn file(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let syntax = Syntax::of(path);
        let place = |(line, column)| Origin::File { path: path.to_owned(), line, column };
        match syntax.read(text) {
            Ok(entries) => {
                let mut layer = Layer::new("file");
                layer.flatten("", entries, &place, problems);
                Some(layer)
            }
            Err(mistake) => {
                problems.push(Problem {
                    key: format!("{} syntax", syntax.name()),
                    origin: place(mistake.place),
                    found: mistake.message,
                    message: format!("valid {}", syntax.name()),
                });
                None
            }
        }
    }

    fn flatten(
        &mut self,
        prefix: &str,
        entries: Vec<Entry>,
        place: &dyn Fn((usize, usize)) -> Origin,
        problems: &mut Vec<Problem>,
    ) {
        for Entry { name, place: at, node } in entries {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            let origin = place(at);
            let value = match node {
                Node::Table(entries) if !entries.is_empty() || key::is_section(&key) => {
                    self.flatten(&key, entries, place, problems);
                    continue;
                }
                Node::Table(_) => Value::from(Dict::new()),
                Node::Value(value) => value,
            };
            if let Some(before) = self.origins.get(&key) {
                let found = format!("the key once more, after {before}");
                problems.push(Problem { key, origin, found, message: "each key once".to_owned() });
            } else {
                self.put(key, value, origin);
            }
        }
    }

    /// `STRANDLINE_DATABASE__PASSWORD` is `database.password`: lower case, `__` for a dot, `_` for itself. Below `kafka`
    /// and `topic.creation.default`, whose names know no underscore, `_` is a dot too: `STRANDLINE_KAFKA__LINGER_MS`.
    ///
    /// Values are texts and nothing is guessed, so that a password of digits stays what it is. A variable without `__`
    /// counts only if it is a key by itself: Kubernetes sets `STRANDLINE_PORT` and others for a service of this name.
    pub(super) fn environment(variables: &[(String, String)], problems: &mut Vec<Problem>) -> Self {
        let mut layer = Layer::new("environment");
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix("STRANDLINE_") else { continue };
            if NOT_SETTINGS.iter().any(|prefix| variable.starts_with(prefix)) {
                continue;
            }
            let mut key = name.to_lowercase().replace("__", ".");
            for properties in ["kafka.", "topic.creation.default."] {
                if let Some(property) = key.strip_prefix(properties) {
                    key = format!("{properties}{}", property.replace('_', "."));
                }
            }
            let origin = Origin::Environment(variable.clone());
            if name.contains("__") || key::find(&key).is_some() {
                layer.put(key, value.as_str().into(), origin);
            } else if let Some(meant) = KEYS.iter().find(|known| known.name.replace('.', "_") == key) {
                problems.push(Problem {
                    key: meant.name.to_owned(),
                    origin,
                    found: "one underscore where a dot is meant".to_owned(),
                    message: format!("STRANDLINE_{}", meant.name.replace('.', "__").to_uppercase()),
                });
            }
        }
        layer
    }

    /// `--set key=value`, the last one of a key counts.
    pub(super) fn flags(set: &[(String, String)]) -> Self {
        let mut layer = Layer::new("flags");
        for (key, value) in set {
            layer.put(key.clone(), value.as_str().into(), Origin::Flag(key.clone()));
        }
        layer
    }

    fn put(&mut self, key: String, value: Value, origin: Origin) {
        self.origins.insert(key.clone(), origin);
        self.values.insert(key, value);
    }

    /// What the layer holds.
    #[cfg(test)]
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Where the layer of this name has the key from.
    pub(super) fn origin(&self, layer: &str, key: &str) -> Option<&Origin> {
        self.origins.get(key).filter(|_| self.name == layer)
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Layer, Vec<Problem>) {
        let mut problems = Vec::new();
        let layer = Layer::file(Path::new("s.toml"), text, &mut problems).unwrap_or_else(|| Layer::new("none"));
        (layer, problems)
    }

    #[test]
    fn nested_tables_and_dotted_names_are_one_schema() {
        for text in [
            "offset.storage.topic = 'o'",
            "\"offset.storage.topic\" = 'o'",
            "[offset]\nstorage.topic = 'o'",
            "[offset.storage]\ntopic = 'o'",
            "offset = { storage = { topic = 'o' } }",
            "offset = { \"storage.topic\" = 'o' }",
        ] {
            let (layer, problems) = read(text);
            assert_eq!(problems, []);
            assert_eq!(layer.values["offset.storage.topic"].as_str(), Some("o"), "{text}");
            assert_eq!(layer.values.len(), 1, "{text}");
        }
    }

    #[test]
    fn the_three_syntaxes_are_one_schema() {
        for (path, text) in [
            ("s.yaml", "offset:\n  storage:\n    topic: o\n"),
            ("s.yml", "offset.storage: {topic: o}\npoll:\n"),
            ("s.json", "{\"offset\": {\"storage.topic\": \"o\"}, \"poll\": {}}"),
        ] {
            let mut problems = Vec::new();
            let layer = Layer::file(Path::new(path), text, &mut problems).unwrap();
            assert_eq!(problems, []);
            assert_eq!(layer.values["offset.storage.topic"].as_str(), Some("o"), "{text}");
        }
    }

    #[test]
    fn places_count_characters_from_one() {
        let (layer, _) = read("a = 'ä'\n[x]\n  { } = 1");
        assert!(layer.values.is_empty());
        let (layer, _) = read("# ä\n[\"ää\"]\nb = { c = 1 }\n");
        assert_eq!(layer.origins["ää.b.c"].to_string(), "s.toml:3:7");
    }

    #[test]
    fn a_key_that_comes_twice_is_a_problem_in_any_spelling() {
        let (_, problems) = read("\"tasks.max\" = 1\n[tasks]\nmax = 2");
        assert_eq!(problems[0].to_string().lines().next(), Some("s.toml:3:1: tasks.max"));
        assert_eq!(problems[0].found, "the key once more, after s.toml:1:1");
    }

    #[test]
    fn a_mistake_of_the_syntax_shows_its_place_and_never_the_line() {
        let (_, problems) = read("name = 'x'\n[database]\npassword = \"hunter2\n");
        assert_eq!(problems.len(), 1);
        let report = problems[0].to_string();
        assert!(report.starts_with("s.toml:3:"), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }

    #[test]
    fn the_environment_gives_plain_texts() {
        let variables: Vec<(String, String)> = [
            ("STRANDLINE_DATABASE__PASSWORD", "00123"),
            ("STRANDLINE_KAFKA__SSL_CA__LOCATION", "/ca"),
            ("STRANDLINE_TOPIC__CREATION__DEFAULT__CLEANUP_POLICY", "compact"),
            ("STRANDLINE_TABLES__REFRESH_INTERVAL", "1s"),
            ("STRANDLINE_NAME", "shop"),
            ("STRANDLINE_PORT", "tcp://10.0.0.1:80"),
            ("STRANDLINE_CONFIG", "x.toml"),
            ("STRANDLINE_LOG", "debug"),
            ("STRANDLINE_TEST_POSTGRES", "host=x"),
            ("PATH", "/bin"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut problems = Vec::new();
        let layer = Layer::environment(&variables, &mut problems);
        assert_eq!(problems, []);
        let read: Vec<(&str, &str)> =
            layer.values.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
        assert_eq!(
            read,
            [
                ("database.password", "00123"),
                ("kafka.ssl.ca.location", "/ca"),
                ("name", "shop"),
                ("tables.refresh_interval", "1s"),
                ("topic.creation.default.cleanup.policy", "compact"),
            ]
        );
    }

    #[test]
    fn a_single_underscore_for_a_dot_is_told() {
        let mut problems = Vec::new();
        Layer::environment(&[("STRANDLINE_TASKS_MAX".to_owned(), "2".to_owned())], &mut problems);
        assert_eq!(problems[0].message, "STRANDLINE_TASKS__MAX");
    }
}
