//! The table of keys as documents: the reference for people, the JSON Schema for editors. Both are in the repository, and a
//! test compares; `STRANDLINE_WRITE=1 cargo test config::reference` writes them.

use serde_json::{Map, Value, json};

use super::key::{KEYS, Key, Takes};

/// `docs/configuration.md`.
fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Every key, generated from the program's own table. `config/strandline.toml` is the same list as a commented file, and\n\
         `schemas/strandline.schema.json` lets an editor complete and check it.\n\n\
         A file is TOML, YAML or JSON by its extension. A key may be nested (`[topic.creation]`, `enable = true`) or dotted\n\
         (`\"topic.creation.enable\" = true`). Later sources win: defaults, the file, the environment (`STRANDLINE_TASKS__MAX=2`: `__` for\n\
         each dot), the command line (`--set tasks.max=2`). `strandline config` shows what counts and who wrote it.\n\n\
         Inside any text `${env:NAME}` stands for an environment variable and `${file:/path}` for a file's content. Times carry their\n\
         unit (`250ms`, `5s`, `6h`), large numbers may be grouped (`1_000`), and sizes and times are understood in Kafka's own properties\n\
         too: `\"message.max.bytes\" = \"10MiB\"`, `\"retention.ms\" = \"7d\"`.\n\n\
         Several connectors run in one process: `--config` names a directory, or is given several times; each file is one connector,\n\
         with a name of its own.\n",
    );
    let mut section = "";
    for key in KEYS {
        let of = key.name.split_once('.').map_or("", |(section, _)| section);
        let own =
            matches!(of, "database" | "tables" | "objects" | "poll" | "topic" | "kafka" | "schema_registry" | "offset");
        let heading = if own { of } else { "connector" };
        if heading != section {
            text.push_str(&format!("\n## {heading}\n\n| key | what | takes | default |\n|---|---|---|---|\n"));
            section = heading;
        }
        let default = key.default.map_or("–".to_owned(), |default| format!("`{default}`"));
        let (name, doc, takes) = (key.name, key.doc, key.takes);
        text.push_str(&format!("| `{name}` | {} | {} | {default} |\n", cell(doc), cell(&takes.to_string())));
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

/// `schemas/strandline.schema.json`: each key nested and dotted, unknown ones refused.
fn json_schema() -> Value {
    let mut root = Level::default();
    for key in KEYS {
        let parts: Vec<&str> = key.name.split('.').collect();
        root.add(&parts, key);
    }
    let mut schema = root.to_json();
    let head = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Strandline",
        "description": "The configuration of one connector.",
    });
    if let (Some(schema), Some(head)) = (schema.as_object_mut(), head.as_object()) {
        let mut whole = head.clone();
        whole.append(schema);
        return Value::Object(whole);
    }
    schema
}

/// A table of the file, with what may stand in it under every spelling.
#[derive(Default)]
struct Level {
    properties: Map<String, Value>,
    /// Dotted names with a part of the user's choice, as patterns.
    patterns: Map<String, Value>,
    /// Below a name of the user's choice.
    any: Option<Value>,
    levels: Vec<(String, Level)>,
}

impl Level {
    fn add(&mut self, parts: &[&str], key: &Key) {
        let Some((first, rest)) = parts.split_first() else { return };
        let dotted = parts.join(".");
        if first.starts_with('<') {
            match rest {
                [] => self.any = Some(value(key)),
                rest => {
                    let below = self.below("");
                    below.add(rest, key);
                }
            }
        } else {
            match dotted.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1))) {
                None => self.properties.insert(dotted, value(key)),
                Some((head, tail)) => {
                    let pattern = format!("^{}.+{}$", regex::escape(head), regex::escape(tail));
                    self.patterns.insert(pattern, value(key))
                }
            };
            if !rest.is_empty() {
                // `offset.storage` may be one name, `[offset.storage]`, or two.
                for split in 1..parts.len() {
                    let (head, tail) = parts.split_at(split);
                    if !head.iter().any(|part| part.starts_with('<')) {
                        self.below(&head.join(".")).add(tail, key);
                    }
                }
            }
        }
    }

    fn below(&mut self, name: &str) -> &mut Level {
        let at = match self.levels.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                self.levels.push((name.to_owned(), Level::default()));
                self.levels.len() - 1
            }
        };
        &mut self.levels[at].1
    }

    fn to_json(&self) -> Value {
        let mut properties = self.properties.clone();
        let mut any = self.any.clone();
        for (name, level) in &self.levels {
            match name.as_str() {
                "" => any = Some(level.to_json()),
                // `oversize` is a word, and the beginning of other keys.
                name => match properties.get_mut(name) {
                    Some(own) => *own = json!({ "anyOf": [own.take(), level.to_json()] }),
                    None => drop(properties.insert(name.to_owned(), level.to_json())),
                },
            }
        }
        let additional = any.unwrap_or(json!(false));
        if !self.patterns.is_empty() {
            return json!({
                "type": "object", "properties": properties, "patternProperties": self.patterns, "additionalProperties": additional,
            });
        }
        json!({ "type": "object", "properties": properties, "additionalProperties": additional })
    }
}

fn value(key: &Key) -> Value {
    let placeholder = json!({ "type": "string", "pattern": "\\$\\{(env|file):" });
    let number = |least: i64, most: i64| json!({ "anyOf": [{ "type": "integer", "minimum": least, "maximum": most }, { "type": "string", "pattern": "^-?[0-9_]+$" }, placeholder] });
    let mut schema = match key.takes {
        Takes::Text | Takes::Secret => json!({ "type": "string" }),
        Takes::Ports => json!({ "type": ["integer", "string"] }),
        Takes::List => json!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, { "type": "string" }] }),
        Takes::Flag => json!({ "anyOf": [{ "type": "boolean" }, { "enum": ["true", "false"] }, placeholder] }),
        Takes::Integer(least, most) => number(least, most),
        Takes::OrBroker(most) => number(-1, most),
        Takes::Time(_) => json!({ "type": "string", "pattern": "^[0-9]+ ?[a-z]+|\\$\\{(env|file):" }),
        Takes::OneOf(words) => json!({ "anyOf": [{ "enum": words }, placeholder] }),
        Takes::Any => json!({ "type": ["string", "number", "boolean", "array"] }),
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), key.doc.into());
        if let Some(default) = key.default {
            schema.insert("default".to_owned(), default.into());
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Compares a file of the repository with what it should be, or writes it.
    fn same(file: &str, wanted: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("STRANDLINE_WRITE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{file} is not what the table of keys says: STRANDLINE_WRITE=1 cargo test config::reference"
        );
    }

    #[test]
    fn the_reference_has_every_key() {
        let text = markdown();
        for key in KEYS {
            assert!(text.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        }
        same("docs/configuration.md", &text);
    }

    #[test]
    fn the_schema_is_the_tables() {
        same("schemas/strandline.schema.json", &(serde_json::to_string_pretty(&json_schema()).unwrap() + "\n"));
    }

    #[test]
    fn the_schema_knows_every_spelling() {
        let schema = json_schema();
        let at = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        for pointer in [
            "/properties/offset.storage.partitions",
            "/properties/offset/properties/storage.partitions",
            "/properties/offset.storage/properties/partitions",
            "/properties/offset/properties/storage/properties/partitions",
        ] {
            assert_eq!(at(pointer)["anyOf"][0]["maximum"], 1024, "{pointer}");
        }
        assert_eq!(at("/properties/objects/additionalProperties/properties/table")["type"], "string");
        assert_eq!(at("/properties/kafka/additionalProperties")["type"][0], "string");
        assert_eq!(at("/patternProperties/^kafka\\..+$")["type"][0], "string");
        assert_eq!(at("/properties/tables/additionalProperties"), &json!(false));
        assert_eq!(at("/additionalProperties"), &json!(false));
        assert_eq!(
            at("/properties/topic/properties/creation/properties/default/additionalProperties")["type"][0],
            "string"
        );
    }
}
