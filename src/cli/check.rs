//! `check`: reaches all three servers, finds the tables, looks at the rights; every problem in one list.

use std::io::Write;

use serde_json::json;

use super::survey::Survey;
use super::{DONE, FAILED};
use crate::config::Config;
use crate::poll::{Choice, TableName, sql};
use crate::postgres::{Connection, Description};
use crate::registry::Registry;
use crate::{Error, Kind, Result};

mod topics;

/// What was looked at, and what came of it.
struct Finding {
    what: &'static str,
    outcome: Result<String, Error>,
}

pub async fn check(config: &Config, as_json: bool) -> Result<u8> {
    let mut findings = Vec::new();
    let objects = postgres(config, &mut findings).await;
    topics::check(config, &objects, &mut findings).await;
    let registry = match Registry::new(&config.schema_registry) {
        Ok(registry) => registry.reach().await,
        Err(error) => Err(error),
    };
    findings.push(Finding { what: "schema registry", outcome: registry.map(|()| "answers".to_owned()) });
    let failed = findings.iter().any(|finding| finding.outcome.is_err());
    let text = if as_json { to_json(&findings) } else { to_text(&findings) };
    // Whoever reads us may have left already.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if failed { FAILED } else { DONE })
}

/// An object on its way into a topic.
struct Bound {
    name: String,
    topic: String,
    has_key: bool,
}

/// The objects that can be read.
async fn postgres(config: &Config, findings: &mut Vec<Finding>) -> Vec<Bound> {
    let mut objects = Vec::new();
    look(config, findings, &mut objects).await;
    objects
}

async fn look(config: &Config, findings: &mut Vec<Finding>, objects: &mut Vec<Bound>) {
    let mut found = |what, outcome| findings.push(Finding { what, outcome });
    let connection = match Connection::open(&config.database, &config.name).await {
        Ok(connection) => connection,
        Err(error) => return found("postgresql", Err(error)),
    };
    let session = match connection.session().await {
        Ok(session) => session,
        Err(error) => return found("postgresql", Err(error)),
    };
    let (version, role) = (session.version, session.role);
    found("postgresql", Ok(format!("version {version}, role {role}, sees us as {}", session.address)));
    match connection.moment().await {
        Ok(moment) => {
            let kind = if moment.markers.in_recovery { "standby" } else { "primary" };
            found(
                "history",
                Ok(format!("{kind}, timeline {}, xmin {}", moment.markers.timeline, moment.snapshot.xmin)),
            );
        }
        Err(error) => found(
            "history",
            Err(error.hint("the role needs what PostgreSQL grants to everybody: pg_control_system() and friends")),
        ),
    }
    if let Ok(Some(holder)) = connection.holder().await
        && holder.age >= LONG_AGO
    {
        found(
            WARNING,
            Ok(format!(
                "a transaction of {} in {} ({}) has been open for {} transaction ids: what large tables get meanwhile waits for its end",
                holder.user, holder.database, holder.who, holder.age
            )),
        );
    }
    drop(connection);
    let survey = match Survey::make(config).await {
        Ok(survey) => survey,
        Err(error) => return found("tables", Err(error)),
    };
    let choices = &survey.choices;
    if choices.is_empty() {
        let patterns: Vec<String> = config.tables.include.iter().map(ToString::to_string).collect();
        found(
            "tables",
            Err(Error::new(Kind::Denied, format!("no table matches tables.include = {patterns:?}"))
                .hint("patterns match schema.table as stored, case included; the schema needs USAGE")),
        );
    }
    let missing = |name: &TableName| !choices.iter().any(|choice| choice.table.name == *name);
    for pattern in config.tables.include.iter().filter_map(|pattern| pattern.only_table()).filter(|name| missing(name))
    {
        found(
            "table",
            Err(Error::new(Kind::Denied, "there is no such table")
                .object(pattern.to_string())
                .hint("check tables.include; names match as stored")),
        );
    }
    for choice in choices {
        let name = choice.table.name.to_string();
        match &choice.refused {
            Some(error) => {
                let mut told = Error::new(error.kind(), error.to_string());
                told = match choice.table.granted {
                    false => told.hint(sql::grant(&choice.table.name, &role)),
                    true => told.hint(error.hint_text().unwrap_or_default()),
                };
                found("table", Err(told));
            }
            None => match survey.prospect(config, choice, None).await {
                Ok(prospect) => {
                    let _ = survey.connection.rollback().await;
                    let has_key = !prospect.description.key.is_empty();
                    objects.push(Bound { name: name.clone(), topic: choice.topic.clone(), has_key });
                    let what = if choice.query.is_some() && choice.table.oid == 0 { "query" } else { "table" };
                    let columns = prospect.description.columns.len();
                    let mode = &choice.polling.mode;
                    found(what, Ok(format!("{name} → {}, mode {mode}, {columns} columns", choice.topic)));
                    for (column, create) in missing_indexes(&survey, choice, &prospect.description).await {
                        let said = format!(
                            "{name}: no index begins with {column}, so every poll reads the whole table: {create}"
                        );
                        found(WARNING, Ok(said));
                    }
                }
                Err(error) => found("table", Err(error)),
            },
        }
    }
}

/// From how many ids on an open transaction is worth a word.
const LONG_AGO: i64 = 10_000;

/// A finding that lets everything go on.
const WARNING: &str = "warning";

/// The columns of a table's cursor that no index begins with, and the statement that helps.
async fn missing_indexes(survey: &Survey, choice: &Choice, description: &Description) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    let cursor = choice.polling.mode.cursor().filter(|_| choice.query.is_none());
    for name in cursor.iter().flat_map(|cursor| cursor.columns()) {
        let Some(column) = description.columns.iter().find(|column| column.name == *name) else { continue };
        if let Ok(false) = survey.connection.has_index(choice.table.oid, column.attnum).await {
            missing.push((name.to_owned(), sql::create_index(&choice.table.name, name)));
        }
    }
    missing
}

fn to_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let (mut failed, mut warnings, mut fine) = (0, 0, 0);
    for finding in findings {
        match &finding.outcome {
            Ok(said) if finding.what == WARNING => {
                warnings += 1;
                text.push_str(&format!("warning {said}\n"));
            }
            Ok(said) => {
                fine += 1;
                text.push_str(&format!("ok      {}: {said}\n", finding.what));
            }
            Err(error) => {
                failed += 1;
                text.push_str(&format!("FAILED  {}: {}\n", finding.what, error.report().replace('\n', "\n      ")))
            }
        }
    }
    text.push_str(&format!("{failed} failed, {warnings} warnings, {fine} ok\n"));
    text
}

fn to_json(findings: &[Finding]) -> String {
    let findings: Vec<_> = findings
        .iter()
        .map(|finding| match &finding.outcome {
            Ok(said) => json!({ "check": finding.what, "ok": true, "message": said }),
            Err(error) => json!({
                "check": finding.what, "ok": false, "message": error.to_string(), "cause": error.causes(), "hint": error.hint_text(),
            }),
        })
        .collect();
    format!("{}\n", json!({ "checks": findings }))
}
