//! `schema`: an object's Avro, and what the registry holds under its subjects.

use serde_json::{Value, json};

use super::survey::Survey;
use super::{DONE, print};
use crate::Result;
use crate::avro::RecordNames;
use crate::config::Config;
use crate::registry::{Registry, Version};

/// One of an object's two schemas.
struct Side {
    subject: String,
    schema: String,
    held: Option<Version>,
}

impl Side {
    async fn look(registry: &Registry, subject: String, schema: &str) -> Result<Side> {
        let held = registry.latest(&subject).await?;
        Ok(Side { subject, schema: schema.to_owned(), held })
    }

    /// Whether the newest version is this schema.
    fn is_registered(&self) -> bool {
        let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
        self.held.as_ref().is_some_and(|held| parse(&held.schema) == parse(&self.schema))
    }

    fn status(&self) -> String {
        match &self.held {
            None => "not registered yet".to_owned(),
            Some(held) if self.is_registered() => format!("registered as version {}, id {}", held.version, held.id),
            Some(held) => {
                format!(
                    "differs from the newest version {} (id {}): it is registered with the next row",
                    held.version, held.id
                )
            }
        }
    }

    fn to_json(&self) -> Value {
        let schema: Value = serde_json::from_str(&self.schema).unwrap_or_default();
        let held =
            self.held.as_ref().map(|held| json!({ "version": held.version, "id": held.id, "schema": held.schema }));
        json!({ "subject": self.subject, "schema": schema, "registered": self.is_registered(), "latest": held })
    }

    fn to_text(&self) -> String {
        let schema: Value = serde_json::from_str(&self.schema).unwrap_or_default();
        let pretty = serde_json::to_string_pretty(&schema).unwrap_or_default();
        format!("{}: {}\n{pretty}\n", self.subject, self.status())
    }
}

/// Shows one object's schemas.
pub async fn schema(config: &Config, object: &str, as_json: bool) -> Result<u8> {
    let survey = Survey::make(config).await?;
    let registry = Registry::new(&config.schema_registry)?;
    for choice in survey.named(config, &[object.to_owned()])? {
        let prospect = survey.prospect(config, choice, None).await?;
        survey.connection.rollback().await?;
        let encoder = &prospect.encoder;
        let strategy = config.schema_registry.strategy;
        let names = RecordNames::new(&config.topic.prefix, &choice.table.name, config.adjustment);
        let value = Side::look(&registry, strategy.value(&choice.topic, &names), encoder.value_schema()).await?;
        let key = match encoder.key_schema() {
            Some(schema) => Some(Side::look(&registry, strategy.key(&choice.topic, &names), schema).await?),
            None => None,
        };
        let name = choice.table.name.to_string();
        if as_json {
            let (key, value) = (key.as_ref().map(Side::to_json), value.to_json());
            let warnings = encoder.warnings();
            print(&format!(
                "{}\n",
                json!({ "object": name, "topic": choice.topic, "key": key, "value": value, "warnings": warnings })
            ));
        } else {
            let key = key.map_or_else(
                || "no key: the table has no primary key, nor a unique index of columns that are not null\n".to_owned(),
                |key| key.to_text(),
            );
            let warnings: String = encoder.warnings().iter().map(|warning| format!("warning: {warning}\n")).collect();
            print(&format!("{key}{}{warnings}", value.to_text()));
        }
    }
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_counts_as_registered_however_it_is_spaced() {
        let held = |schema: &str| Some(Version { version: 2, id: 7, schema: schema.to_owned() });
        let side = |held| Side { subject: "s-value".into(), schema: r#"{"type":"int"}"#.into(), held };
        assert_eq!(side(held(r#"{ "type": "int" }"#)).status(), "registered as version 2, id 7");
        assert!(side(held(r#"{"type":"long"}"#)).status().starts_with("differs from the newest version 2"));
        assert_eq!(side(None).status(), "not registered yet");
    }
}
