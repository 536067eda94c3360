//! PostgreSQL: the way to it, its clock, who holds the window back, and each object as its first chunk would see it.

use std::time::Duration;

use super::super::plan;
use super::super::survey::Survey;
use super::{Bound, Findings};
use crate::avro::RecordNames;
use crate::config::{Config, Schedule};
use crate::poll::{Choice, Mode, TableName, sql};
use crate::postgres::{Connection, Description};
use crate::{Error, Kind, Result};

/// From how many ids on an open transaction is worth a word.
const LONG_AGO: i64 = 10_000;
/// From what difference on two clocks are worth a word.
const SKEW: Duration = Duration::from_secs(5);

/// The objects that can be read.
pub(super) async fn check(config: &Config, findings: &mut Findings) -> Vec<Bound> {
    let mut objects = Vec::new();
    if let Err((what, error)) = look(config, findings, &mut objects).await {
        findings.failed(what, error);
    }
    objects
}

async fn look(config: &Config, findings: &mut Findings, objects: &mut Vec<Bound>) -> Result<(), (&'static str, Error)> {
    let at = |error| ("postgresql", error);
    let connection = Connection::open(&config.database, &config.name).await.map_err(at)?;
    let session = connection.session().await.map_err(at)?;
    findings.fine(
        "postgresql",
        format!(
            "version {}.{}, role {}, sees us as {}",
            session.version / 10_000,
            session.version % 10_000,
            session.role,
            session.address
        ),
    );
    match connection.moment().await {
        Ok(moment) => {
            let kind = if moment.markers.in_recovery { "standby" } else { "primary" };
            findings.fine(
                "history",
                format!("{kind}, timeline {}, xmin {}", moment.markers.timeline, moment.snapshot.xmin),
            );
        }
        Err(error) => findings.failed(
            "history",
            error.hint("the role needs what PostgreSQL grants to everybody: pg_control_system() and friends"),
        ),
    }
    let asked = jiff::Timestamp::now();
    if let Ok(clock) = connection.clock().await
        && let Some(said) = skewed(clock, asked.as_millisecond(), jiff::Timestamp::now().as_millisecond())
    {
        findings.warn("clock", said);
    }
    if let Ok(Some(holder)) = connection.holder().await
        && holder.age >= LONG_AGO
    {
        findings.warn(
            "window",
            format!(
                "a transaction of {} in {} ({}) has been open for {} transaction ids: what large tables get meanwhile waits for its end",
                holder.user, holder.database, holder.who, holder.age
            ),
        );
    }
    drop(connection);
    let survey = Survey::make(config).await.map_err(|error| ("tables", error))?;
    patterns(config, &survey, findings);
    for choice in &survey.choices {
        match &choice.refused {
            Some(error) => {
                let told = Error::new(error.kind(), error.to_string());
                findings.failed(
                    "table",
                    match choice.table.granted {
                        false => told.hint(sql::grant(&choice.table.name, &session.role)),
                        true => told.hint(error.hint_text().unwrap_or_default()),
                    },
                );
            }
            None => match object(config, &survey, choice, findings).await {
                Ok(bound) => objects.push(bound),
                Err(error) => {
                    findings.failed("table", error);
                    // One line, and not one for each table that is left.
                    if survey.connection.client().is_closed() {
                        break;
                    }
                }
            },
        }
    }
    Ok(())
}

/// Patterns and names that mean nothing.
fn patterns(config: &Config, survey: &Survey, findings: &mut Findings) {
    if survey.choices.is_empty() {
        let patterns: Vec<String> = config.tables.include.iter().map(ToString::to_string).collect();
        findings.failed(
            "tables",
            Error::new(Kind::Denied, format!("no table matches tables.include = {patterns:?}"))
                .hint("patterns match schema.table as stored, case included; the schema needs USAGE"),
        );
    }
    let missing = |name: &TableName| !survey.choices.iter().any(|choice| choice.table.name == *name);
    for pattern in config.tables.include.iter().filter_map(|pattern| pattern.only_table()).filter(|name| missing(name))
    {
        findings.failed(
            "table",
            Error::new(Kind::Denied, "there is no such table")
                .object(pattern.to_string())
                .hint("check tables.include; names match as stored"),
        );
    }
}

async fn object(config: &Config, survey: &Survey, choice: &Choice, findings: &mut Findings) -> Result<Bound> {
    let name = choice.table.name.to_string();
    let prospect = survey.prospect(config, choice, None).await?;
    let read = survey.connection.would_run(&plan::query(choice, &prospect, None, &survey.moment)).await;
    let _ = survey.connection.rollback().await;
    read.map_err(|error| explained(error, choice))?;
    let what = if choice.query.is_some() && choice.table.oid == 0 { "query" } else { "table" };
    let columns = prospect.description.columns.len();
    let plural = if columns == 1 { "" } else { "s" };
    findings.fine(what, format!("{name} → {}, mode {}, {columns} column{plural}", choice.topic, choice.polling.mode));
    for (column, create) in missing_indexes(survey, choice, &prospect.description).await {
        findings.warn(
            "index",
            format!("{name}: no index begins with {column}, so every poll reads the whole table: {create}"),
        );
    }
    if let Some(said) = too_often(survey, choice).await? {
        findings.warn("interval", format!("{name}: {said}"));
    }
    let names = RecordNames::new(&config.topic.prefix, &choice.table.name, config.adjustment);
    let strategy = config.schema_registry.strategy;
    let (encoder, wider) = (&prospect.encoder, survey.encoder(config, choice, &prospect.description, true)?);
    Ok(Bound {
        key: encoder.key_schema().map(|schema| (strategy.key(&choice.topic, &names), schema.to_owned())),
        value: (strategy.value(&choice.topic, &names), encoder.value_schema().to_owned()),
        wider: wider.value_schema().to_owned(),
        name,
        topic: choice.topic.clone(),
    })
}

/// Only the filter is the user's own SQL: a name that is not there, or what is no SQL, is in it.
fn explained(error: Error, choice: &Choice) -> Error {
    let of_filter = matches!(error.kind(), Kind::Changed | Kind::Row) || error.causes().contains("SQLSTATE 42");
    let name = choice.table.name.to_string();
    match &choice.polling.shape.filter {
        Some(_) if of_filter && !error.to_string().starts_with("1012") => {
            Error::new(Kind::Denied, "PostgreSQL does not take its where")
                .object(name)
                .because(error.causes())
                .hint("it stands as a condition after WHERE, on the table's own columns as stored")
        }
        _ => error.object(name),
    }
}

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

/// A table that is swept less often than was asked for, as a sweep of it takes long.
async fn too_often(survey: &Survey, choice: &Choice) -> Result<Option<String>> {
    let (Schedule::Every(wanted), Mode::Xmin, None) = (&choice.polling.schedule, &choice.polling.mode, &choice.query)
    else {
        return Ok(None);
    };
    let leaves: Vec<u32> = choice.table.leaves.iter().map(|leaf| leaf.oid).collect();
    let bytes = survey.connection.size(&leaves).await?;
    Ok(plan::too_often(bytes, *wanted))
}

/// What follows from the server's clock, in milliseconds since 1970, read between these two moments of our own.
fn skewed(clock: i64, before: i64, after: i64) -> Option<String> {
    let apart = if clock < before { before - clock } else { (clock - after).max(0) };
    let way = if clock < before { "behind" } else { "ahead of" };
    (apart.unsigned_abs() > SKEW.as_millis() as u64).then(|| {
        format!(
            "the server's clock is {} s {way} this machine's: lags and times that are shown are wrong by as much, and certificates and tokens may be refused; let both follow NTP",
            apart / 1000
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_the_answer_took_are_told() {
        assert_eq!(skewed(1_000, 0, 2_000), None);
        assert_eq!(skewed(0, 4_000, 4_010), None, "a few seconds hurt nobody");
        // A slow answer is no skew.
        assert_eq!(skewed(30_000, 0, 60_000), None);
        assert!(skewed(0, 61_000, 61_010).unwrap().contains("61 s behind this machine's"));
        assert!(skewed(100_000, 1_000, 2_000).unwrap().contains("98 s ahead of this machine's"));
    }
}
