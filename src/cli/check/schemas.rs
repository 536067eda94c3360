//! The registry, and whether it will take the objects' schemas: nothing is registered.

use std::collections::BTreeMap;

use super::{Bound, Findings};
use crate::registry::{Outlook, Registry};
use crate::{Error, Kind, Result};

pub(super) async fn check(registry: &Registry, objects: &[Bound], findings: &mut Findings) {
    if let Err(error) = registry.reach().await {
        return findings.failed("schema registry", error);
    }
    findings.fine("schema registry", "answers");
    // A registry that does not know the question takes what is new.
    if let Ok(true) = registry.is_read_only().await {
        findings.failed(
            "schema registry",
            Error::new(Kind::Schema, "it is in mode READONLY and takes no schema").hint(
                "PUT /mode {\"mode\": \"READWRITE\"}, or name the primary cluster's registry in schema_registry.url",
            ),
        );
        return;
    }
    // Not telling is no failure.
    let of_all = registry.compatibility(None).await.ok().flatten();
    let mut strict: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for object in objects {
        match of_object(registry, object).await {
            Ok(level) => {
                if let Some(level) = level.or_else(|| of_all.clone()).filter(|level| hurts(level)) {
                    strict.entry(level).or_default().push(&object.name);
                }
            }
            Err(error) => findings.failed("schema", error.object(&object.name)),
        }
    }
    for (level, names) in strict {
        findings.warn("compatibility", will_refuse(&level, &names));
    }
}

/// The compatibility mode of an object's values, where they have one of their own, if its schemas can be registered.
async fn of_object(registry: &Registry, object: &Bound) -> Result<Option<String>> {
    if let Some((subject, schema)) = &object.key
        && let Outlook::Refused(why) = registry.outlook(subject, schema).await?
    {
        return Err(refused(subject, why));
    }
    let (subject, schema) = &object.value;
    if let Outlook::Refused(why) = registry.outlook(subject, schema).await?
        && let Outlook::Refused(_) = registry.outlook(subject, &object.wider).await?
    {
        return Err(refused(subject, why));
    }
    Ok(registry.compatibility(Some(subject)).await.ok().flatten())
}

fn refused(subject: &str, why: String) -> Error {
    let error = Error::new(
        Kind::Incompatible,
        format!("the registry will refuse the schema for subject {subject}: it is not compatible with the one there"),
    )
    .hint(
        "allow the change with the subject's compatibility level, or send the table to a new topic (objects.<alias>.topic)",
    );
    if why.is_empty() { error } else { error.because(why) }
}

/// Whether new records have to be readable by old schemas, which some usual changes of a table break.
fn hurts(level: &str) -> bool {
    level.starts_with("FORWARD") || level.starts_with("FULL")
}

fn will_refuse(level: &str, names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let more = names.len().saturating_sub(SHOWN);
    let mut of = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        of.push_str(&format!(" and {more} more"));
    }
    format!(
        "the registry's compatibility mode is {level} for {of}: it will refuse DROP NOT NULL, int to bigint and a dropped column that is NOT NULL, and the object fails then; BACKWARD takes them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_ask_old_readers_to_read_on_are_told() {
        let told = |level: &&str| hurts(level);
        let levels =
            ["NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"];
        let told: Vec<&str> = levels.into_iter().filter(told).collect();
        assert_eq!(told, &levels[3..]);
        let said = will_refuse("FULL", &["a", "b", "c", "d", "e"]);
        assert!(said.contains("is FULL for a, b, c and 2 more: "), "{said}");
    }
}
