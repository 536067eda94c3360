//! What the registry would say to a schema, for those who only look: nothing is registered.

use reqwest::Method;
use serde::Deserialize;

use super::client::Registry;
use crate::{Error, Kind, Result};

/// What would come of registering a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// The subject has it already.
    There,
    /// It would be the subject's first version, or its next.
    Fits,
    /// Its compatibility mode lets it not follow the versions there; with the registry's reasons, where it gives any.
    Refused(String),
}

#[derive(Deserialize)]
struct Verdict {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

/// Confluent answers with the first, and takes the second.
#[derive(Deserialize)]
struct Level {
    #[serde(rename = "compatibilityLevel", alias = "compatibility")]
    level: String,
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
}

impl Registry {
    /// What would come of registering this schema. One that may not be registered and is not there is an error.
    pub async fn outlook(&self, subject: &str, schema: &str) -> Result<Outlook> {
        if self.takes_what_is_there() {
            // Nothing is written by it then.
            return self.register(subject, schema).await.map(|_| Outlook::There);
        }
        let Some(_) = self.latest(subject).await? else { return Ok(Outlook::Fits) };
        let body = serde_json::json!({ "schema": schema }).to_string();
        if self.ask_for(Method::POST, &["subjects", subject], Some(body.clone()), subject).await?.is_some() {
            return Ok(Outlook::There);
        }
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        let Some(answer) = self.ask_for(Method::POST, &path, Some(body), subject).await? else {
            return Ok(Outlook::Fits);
        };
        let verdict: Verdict = parse(&answer, subject)?;
        Ok(if verdict.is_compatible { Outlook::Fits } else { Outlook::Refused(verdict.messages.join("; ")) })
    }

    /// A subject's own compatibility mode, such as `BACKWARD`, or that of all which have none; none if it is not told.
    pub async fn compatibility(&self, subject: Option<&str>) -> Result<Option<String>> {
        let path = ["config", subject.unwrap_or_default()];
        let path = if subject.is_some() { &path[..] } else { &path[..1] };
        let subject = subject.unwrap_or_default();
        let answer = self.ask_for(Method::GET, path, None, subject).await?;
        answer.map(|answer| parse::<Level>(&answer, subject).map(|level| level.level)).transpose()
    }

    /// Whether the registry as a whole takes nothing new.
    pub async fn is_read_only(&self) -> Result<bool> {
        let Some(answer) = self.ask_for(Method::GET, &["mode"], None, "").await? else { return Ok(false) };
        Ok(parse::<Mode>(&answer, "")?.mode.starts_with("READONLY"))
    }
}

fn parse<T: serde::de::DeserializeOwned>(answer: &str, subject: &str) -> Result<T> {
    serde_json::from_str(answer).map_err(|error| {
        Error::new(Kind::Registry, format!("the registry's answer for subject {subject} is not one"))
            .because(error)
            .hint("is schema_registry.url the registry's base address?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_verdicts_are_read_in_each_spelling() {
        for text in [r#"{"compatibilityLevel":"FULL"}"#, r#"{"compatibility":"FULL"}"#] {
            assert_eq!(parse::<Level>(text, "s").unwrap().level, "FULL");
        }
        let verdict: Verdict = parse(r#"{"is_compatible":false}"#, "s").unwrap();
        assert!(!verdict.is_compatible && verdict.messages.is_empty());
        assert!(parse::<Verdict>("<html>", "s").is_err());
    }
}
