//! Kafka, and the topics that the objects are to go into: nothing is made, only looked at.

use super::{Bound, Findings};
use crate::config::{Config, without_effect};
use crate::kafka::{Admin, OffsetsTopic, Seen};
use crate::{Error, Kind, Result};

pub(super) async fn check(config: &Config, objects: &[Bound], findings: &mut Findings) {
    let reached = Admin::new(&config.kafka, &config.name).and_then(|admin| Ok((admin.reach()?, admin)));
    let admin = match reached {
        Ok((brokers, admin)) => {
            findings.fine("kafka", format!("{brokers} broker(s) answer"));
            admin
        }
        Err(error) => return findings.failed("kafka", error),
    };
    for said in config.kafka.properties.keys().filter_map(|property| without_effect(property)) {
        findings.warn("kafka", said);
    }
    let name = &config.offset_storage.topic;
    match OffsetsTopic::look_at(&admin, &config.offset_storage) {
        Ok(Some(partitions)) => {
            findings.fine("offsets topic", format!("{name}, {partitions} partitions, compacted"));
            if let Some(said) = idle_tasks(config.tasks_max, partitions, name) {
                findings.warn("offsets topic", said);
            }
        }
        Ok(None) => findings.fine("offsets topic", format!("{name} will be made")),
        Err(error) => findings.failed("offsets topic", error),
    }
    if let Some(letters) = &config.errors.topic {
        check_letters(config, &admin, letters, objects, findings).await;
    }
    for object in objects {
        match admin.look_at(&object.topic) {
            Ok(Some(seen)) => match fits(object, &seen, config.topic.partitions) {
                Ok(warnings) => warnings.into_iter().for_each(|warning| findings.warn("topic", warning)),
                Err(error) => findings.failed("topic", error),
            },
            Ok(None) if !config.topic.create => findings.failed(
                "topic",
                Error::new(
                    Kind::Topic,
                    format!("the topic {} does not exist, and topic.creation.enable is false", object.topic),
                )
                .object(&object.name)
                .hint("create it, or set topic.creation.enable = true"),
            ),
            Ok(None) => {}
            Err(error) => findings.failed("topic", error.object(&object.name)),
        }
    }
}

async fn check_letters(config: &Config, admin: &Admin, letters: &str, objects: &[Bound], findings: &mut Findings) {
    const WHAT: &str = "dead-letter topic";
    if objects.iter().any(|object| object.topic == letters) {
        let error = Error::new(Kind::Topic, format!("{letters} is the topic of an object"));
        return findings.failed(WHAT, error.hint("set errors.deadletterqueue.topic.name to a topic of its own"));
    }
    match admin.look_at(letters) {
        Ok(Some(seen)) if seen.policy.split(',').any(|policy| policy.trim() == "compact") => {
            findings.warn(WHAT, format!("{letters} is compacted: of several letters about one key it keeps the last"));
        }
        Ok(Some(seen)) => {
            findings.fine(WHAT, format!("{letters}, {} partitions", seen.partitions));
            if let Some(after) = seen.retention {
                let hours = after.as_secs() / 3600;
                findings.warn(WHAT, format!("{letters} deletes letters after {hours} h: deal with them before, or set its retention.ms to -1"));
            }
        }
        Ok(None) if !config.topic.create => findings.failed(
            WHAT,
            Error::new(Kind::Topic, format!("the topic {letters} does not exist, and topic.creation.enable is false"))
                .hint("create it, or set topic.creation.enable = true"),
        ),
        Ok(None) => findings.fine(WHAT, format!("{letters} will be made")),
        Err(error) => findings.failed(WHAT, error),
    }
}

/// What will hurt an object in a topic that is there already; `wanted` partitions, -1: whatever the broker gives.
fn fits(object: &Bound, seen: &Seen, wanted: i32) -> Result<Vec<String>> {
    let (name, topic) = (&object.name, &object.topic);
    let policies: Vec<&str> = seen.policy.split(',').map(str::trim).collect();
    if policies.contains(&"compact") && object.key.is_none() {
        return Err(Error::new(Kind::Topic, format!("the topic {topic} is compacted, and the object has no key"))
            .object(name)
            .hint("give it one with message.key.columns, or set the topic's cleanup.policy to delete: Kafka refuses each of its records"));
    }
    let mut warnings = Vec::new();
    let deletes = seen.retention.filter(|_| policies.contains(&"delete") && object.key.is_some());
    if let Some(after) = deletes {
        warnings.push(format!(
            "{name}: the topic {topic} deletes records after {} h: rows that do not change for longer are missing in it; cleanup.policy=compact keeps each key's last",
            after.as_secs() / 3600
        ));
    }
    if seen.partitions < wanted {
        warnings.push(format!(
            "{name}: the topic {topic} has {} partition(s), and topic.creation.default.partitions asks for {wanted}: as many consumers cannot share it; partitions that are added later move keys, so add them before the first row",
            seen.partitions
        ));
    }
    Ok(warnings)
}

/// A task owns partitions of the offsets topic, at least one.
fn idle_tasks(tasks: u16, partitions: i32, topic: &str) -> Option<String> {
    let idle = i32::from(tasks) - partitions;
    (idle > 0).then(|| {
        format!(
            "tasks.max is {tasks}, and {topic} has {partitions} partition(s): {idle} task(s) have nothing to do; add partitions to it, or lower tasks.max"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outlook(has_key: bool, policy: &str, retention: Option<u64>) -> Result<Vec<String>> {
        let schema = || ("s".to_owned(), "{}".to_owned());
        let object = Bound {
            name: "public.a".into(),
            topic: "shop.public.a".into(),
            key: has_key.then(schema),
            value: schema(),
            wider: String::new(),
        };
        fits(&object, &Seen { partitions: 3, policy: policy.into(), retention: retention.map(Duration::from_secs) }, 3)
    }

    #[test]
    fn a_topic_that_forgets_rows_is_a_warning_and_one_that_refuses_them_a_failure() {
        assert!(outlook(true, "delete", Some(604_800)).unwrap()[0].contains("168 h"));
        assert!(outlook(true, "delete", None).unwrap().is_empty());
        assert!(outlook(true, "compact", Some(604_800)).unwrap().is_empty());
        assert!(outlook(false, "delete", Some(604_800)).unwrap().is_empty(), "without a key nothing could be kept");
        for policy in ["compact", "delete, compact"] {
            assert!(outlook(false, policy, None).unwrap_err().report().contains("message.key.columns"), "{policy}");
        }
    }

    #[test]
    fn tasks_without_a_partition_have_nothing_to_do() {
        assert_eq!(idle_tasks(8, 8, "offsets"), None);
        assert!(idle_tasks(8, 1, "offsets").unwrap().contains("7 task(s) have nothing to do"));
    }
}
