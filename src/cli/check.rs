//! `check`: reaches all three servers, finds the tables, looks at the rights; every problem in one list, in the order in which
//! a person would mend them.

use serde_json::{Value, json};

use super::{DONE, FAILED, print};
use crate::config::Config;
use crate::registry::Registry;
use crate::{Error, Result};

mod schemas;
mod source;
mod topics;

/// What was looked at, and what came of it.
struct Finding {
    what: &'static str,
    outcome: Outcome,
}

enum Outcome {
    Fine(String),
    /// It works, and will hurt.
    Warning(String),
    Failed(Error),
}

#[derive(Default)]
struct Findings(Vec<Finding>);

/// An object on its way into a topic.
struct Bound {
    name: String,
    topic: String,
    /// Subject and schema; none without a key.
    key: Option<(String, String)>,
    value: (String, String),
    /// The value's schema with every column nullable, which is tried next.
    wider: String,
}

pub async fn check(config: &Config, as_json: bool) -> Result<u8> {
    let mut findings = Findings::default();
    let objects = source::check(config, &mut findings).await;
    topics::check(config, &objects, &mut findings).await;
    match Registry::new(&config.schema_registry) {
        Ok(registry) => schemas::check(&registry, &objects, &mut findings).await,
        Err(error) => findings.failed("schema registry", error),
    }
    print(&if as_json { findings.to_json(&config.name) } else { findings.to_text() });
    Ok(if findings.count().0 > 0 { FAILED } else { DONE })
}

impl Findings {
    fn fine(&mut self, what: &'static str, said: impl Into<String>) {
        self.0.push(Finding { what, outcome: Outcome::Fine(said.into()) });
    }

    fn warn(&mut self, what: &'static str, said: impl Into<String>) {
        self.0.push(Finding { what, outcome: Outcome::Warning(said.into()) });
    }

    fn failed(&mut self, what: &'static str, error: Error) {
        self.0.push(Finding { what, outcome: Outcome::Failed(error) });
    }

    /// Failures, warnings, and what is fine.
    fn count(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Outcome) -> bool| self.0.iter().filter(|finding| is(&finding.outcome)).count();
        (
            count(|one| matches!(one, Outcome::Failed(_))),
            count(|one| matches!(one, Outcome::Warning(_))),
            count(|one| matches!(one, Outcome::Fine(_))),
        )
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for Finding { what, outcome } in &self.0 {
            text.push_str(&match outcome {
                Outcome::Fine(said) => format!("ok      {what}: {said}\n"),
                Outcome::Warning(said) => format!("warning {what}: {said}\n"),
                Outcome::Failed(error) => format!("FAILED  {what}: {}\n", error.report().replace('\n', "\n      ")),
            });
        }
        let (failed, warnings, fine) = self.count();
        text.push_str(&format!("{failed} failed, {warnings} warnings, {fine} ok\n"));
        text
    }

    fn to_json(&self, connector: &str) -> String {
        let one = |Finding { what, outcome }: &Finding| match outcome {
            Outcome::Fine(said) => json!({ "check": what, "level": "ok", "ok": true, "message": said }),
            Outcome::Warning(said) => json!({ "check": what, "level": "warning", "ok": true, "message": said }),
            Outcome::Failed(error) => json!({
                "check": what, "level": "failed", "ok": false, "message": error.to_string(), "cause": error.causes(),
                "hint": error.hint_text(),
            }),
        };
        let checks: Vec<Value> = self.0.iter().map(one).collect();
        let (failed, warnings, _) = self.count();
        format!("{}\n", json!({ "connector": connector, "failed": failed, "warnings": warnings, "checks": checks }))
    }
}
