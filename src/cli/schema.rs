//! `schema`: an object's Avro, and what the registry holds under its subjects.

use serde_json::{Value, json};

use super::survey::Survey;
use super::{DONE, print};
use crate::Result;
use crate::avro::RecordNames;
use crate::config::Config;
use crate::registry::{Outlook, Registry, Version};

/// One of an object's two schemas.
struct Side {
    subject: String,
    schema: String,
    held: Option<Version>,
    next: Next,
}

/// What comes of it with the next row.
#[derive(Debug, PartialEq)]
enum Next {
    /// It is used as it is there.
    There,
    /// It is registered.
    Fits,
    /// The registry refuses it, and takes it with every column nullable.
    Nullable,
    /// The registry refuses it, with its reason.
    Refused(String),
}

impl Side {
    async fn look(registry: &Registry, subject: String, schema: &str, wider: Option<&str>) -> Result<Side> {
        let held = registry.latest(&subject).await?;
        let next = match &held {
            Some(held) if is_same(&held.schema, schema) => Next::There,
            Some(_) => match registry.outlook(&subject, schema).await {
                Ok(Outlook::There) => Next::There,
                Ok(Outlook::Fits) => Next::Fits,
                Ok(Outlook::Refused(why)) => match wider {
                    Some(wider) if takes(registry, &subject, wider).await => Next::Nullable,
                    _ => Next::Refused(why),
                },
                Err(error) => Next::Refused(error.to_string()),
            },
            None => Next::Fits,
        };
        Ok(Side { subject, schema: schema.to_owned(), held, next })
    }

    /// Whether the newest version is this schema.
    fn is_registered(&self) -> bool {
        self.held.as_ref().is_some_and(|held| is_same(&held.schema, &self.schema))
    }

    fn status(&self) -> String {
        let Some(held) = &self.held else { return "not registered yet".to_owned() };
        let (version, id) = (held.version, held.id);
        if self.is_registered() {
            return format!("registered as version {version}, id {id}");
        }
        let next = match &self.next {
            Next::There => "an older version is the same, and used".to_owned(),
            Next::Fits => "it is registered with the next row".to_owned(),
            Next::Nullable => {
                "the registry refuses it, as older records lack a column that is NOT NULL: with every field nullable it is used".to_owned()
            }
            Next::Refused(why) if why.is_empty() => "the registry will refuse it".to_owned(),
            Next::Refused(why) => format!("the registry will refuse it: {why}"),
        };
        format!("differs from the newest version {version} (id {id}): {next}")
    }

    fn to_json(&self) -> Value {
        let schema: Value = serde_json::from_str(&self.schema).unwrap_or_default();
        let held =
            self.held.as_ref().map(|held| json!({ "version": held.version, "id": held.id, "schema": held.schema }));
        json!({ "subject": self.subject, "schema": schema, "registered": self.is_registered(), "next": self.next.word(), "latest": held })
    }

    fn to_text(&self) -> String {
        let schema: Value = serde_json::from_str(&self.schema).unwrap_or_default();
        let pretty = serde_json::to_string_pretty(&schema).unwrap_or_default();
        format!("{}: {}\n{pretty}\n", self.subject, self.status())
    }
}

impl Next {
    fn word(&self) -> &'static str {
        match self {
            Next::There => "there",
            Next::Fits => "fits",
            Next::Nullable => "nullable",
            Next::Refused(_) => "refused",
        }
    }
}

/// However they are spaced.
fn is_same(one: &str, other: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    parse(one) == parse(other)
}

async fn takes(registry: &Registry, subject: &str, schema: &str) -> bool {
    matches!(registry.outlook(subject, schema).await, Ok(Outlook::There | Outlook::Fits))
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
        let wider = survey.encoder(config, choice, &prospect.description, true)?;
        let value = strategy.value(&choice.topic, &names);
        let value = Side::look(&registry, value, encoder.value_schema(), Some(wider.value_schema())).await?;
        let key = match encoder.key_schema() {
            Some(schema) => Some(Side::look(&registry, strategy.key(&choice.topic, &names), schema, None).await?),
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
        let side = |held, next| Side { subject: "s-value".into(), schema: r#"{"type":"int"}"#.into(), held, next };
        assert_eq!(side(held(r#"{ "type": "int" }"#), Next::There).status(), "registered as version 2, id 7");
        assert_eq!(side(None, Next::Fits).status(), "not registered yet");
        let differs = |next| side(held(r#"{"type":"long"}"#), next).status();
        assert!(differs(Next::Fits).starts_with("differs from the newest version 2 (id 7): it is registered"));
        assert!(differs(Next::Nullable).contains("every field nullable"));
        assert!(differs(Next::Refused("LONG".into())).ends_with("will refuse it: LONG"));
    }
}
