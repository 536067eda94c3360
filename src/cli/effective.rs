//! `config`: every key's effective value and where it comes from.

use serde_json::{Value, json};

use super::table::Table;
use super::{CONFIGURATION, DONE, print};
use crate::config::{self, Effective, Origin, Sources};

/// Shows the configuration, even one that has problems: they follow on stderr.
pub fn config(sources: &[Sources], as_json: bool, set_only: bool) -> u8 {
    let mut code = DONE;
    let files = match config::files(sources) {
        Ok(files) => files,
        Err(problems) => {
            eprintln!("{problems}");
            return CONFIGURATION;
        }
    };
    for sources in &files {
        match config::effective(sources) {
            Ok(settings) => {
                if files.len() > 1 && !as_json {
                    print(&format!("{}:\n", sources.file.display()));
                }
                show(settings, as_json, set_only);
            }
            Err(problems) => {
                eprintln!("{problems}");
                return CONFIGURATION;
            }
        }
    }
    if let Err(problems) = config::load_all(&files) {
        eprintln!("{problems}");
        code = CONFIGURATION;
    }
    code
}

fn show(mut settings: Vec<Effective>, as_json: bool, set_only: bool) {
    if set_only {
        settings.retain(|setting| !matches!(setting.origin, Origin::Default));
    }
    if as_json {
        let settings: serde_json::Map<String, Value> = settings
            .into_iter()
            .map(|setting| (setting.key, json!({ "value": setting.value, "origin": setting.origin.to_string() })))
            .collect();
        return print(&format!("{}\n", Value::Object(settings)));
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for setting in settings {
        table.row(vec![setting.key, setting.value, setting.origin.to_string()]);
    }
    print(&table.text());
}
