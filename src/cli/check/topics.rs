//! Kafka, and the topics that the objects are to go into: nothing is made, only looked at.

use super::{Bound, Finding, WARNING};
use crate::config::{Config, without_effect};
use crate::kafka::{Admin, OffsetsTopic, Seen};
use crate::{Error, Kind, Result};

pub(super) async fn check(config: &Config, objects: &[Bound], findings: &mut Vec<Finding>) {
    let mut found = |what, outcome| findings.push(Finding { what, outcome });
    let reached = Admin::new(&config.kafka, &config.name).and_then(|admin| Ok((admin.reach()?, admin)));
    let admin = match reached {
        Ok((brokers, admin)) => {
            found("kafka", Ok(format!("{brokers} broker(s) answer")));
            admin
        }
        Err(error) => return found("kafka", Err(error)),
    };
    for said in config.kafka.properties.keys().filter_map(|property| without_effect(property)) {
        found(WARNING, Ok(said));
    }
    let name = &config.offset_storage.topic;
    match OffsetsTopic::look_at(&admin, &config.offset_storage).await {
        Ok(Some(partitions)) => found("offsets topic", Ok(format!("{name}, {partitions} partitions, compacted"))),
        Ok(None) => found("offsets topic", Ok(format!("{name} will be made"))),
        Err(error) => found("offsets topic", Err(error)),
    }
    if let Some(letters) = &config.errors.topic {
        match admin.look_at(letters).await {
            _ if objects.iter().any(|object| object.topic == *letters) => found(
                "dead-letter topic",
                Err(Error::new(Kind::Topic, format!("{letters} is the topic of an object"))
                    .hint("set errors.deadletterqueue.topic.name to a topic of its own")),
            ),
            Ok(Some(seen)) if seen.policy.split(',').any(|policy| policy.trim() == "compact") => found(
                WARNING,
                Ok(format!(
                    "the dead-letter topic {letters} is compacted: of several letters about one key it keeps the last"
                )),
            ),
            Ok(Some(seen)) => {
                found("dead-letter topic", Ok(format!("{letters}, {} partitions", seen.partitions)));
                if let Some(after) = seen.retention {
                    let hours = after.as_secs() / 3600;
                    let said = format!(
                        "the dead-letter topic {letters} deletes letters after {hours} h: deal with them before, or set its retention.ms to -1"
                    );
                    found(WARNING, Ok(said));
                }
            }
            Ok(None) if !config.topic.create => found(
                "dead-letter topic",
                Err(Error::new(
                    Kind::Topic,
                    format!("the topic {letters} does not exist, and topic.creation.enable is false"),
                )
                .hint("create it, or set topic.creation.enable = true")),
            ),
            Ok(None) => found("dead-letter topic", Ok(format!("{letters} will be made"))),
            Err(error) => found("dead-letter topic", Err(error)),
        }
    }
    for object in objects {
        match admin.look_at(&object.topic).await {
            Ok(Some(seen)) => match fits(object, &seen) {
                Ok(warning) => warning.into_iter().for_each(|warning| found(WARNING, Ok(warning))),
                Err(error) => found("topic", Err(error)),
            },
            Ok(None) if !config.topic.create => found(
                "topic",
                Err(Error::new(
                    Kind::Topic,
                    format!("the topic {} does not exist, and topic.creation.enable is false", object.topic),
                )
                .object(&object.name)
                .hint("create it, or set topic.creation.enable = true")),
            ),
            Ok(None) => {}
            Err(error) => found("topic", Err(error.object(&object.name))),
        }
    }
}

/// What will hurt an object in a topic that is there already.
fn fits(object: &Bound, seen: &Seen) -> Result<Option<String>> {
    let policies: Vec<&str> = seen.policy.split(',').map(str::trim).collect();
    if policies.contains(&"compact") && !object.has_key {
        return Err(Error::new(Kind::Topic, format!("the topic {} is compacted, and the object has no key", object.topic))
            .object(&object.name)
            .hint("give it one with message.key.columns, or set the topic's cleanup.policy to delete: Kafka refuses each of its records"));
    }
    let deletes = seen.retention.filter(|_| policies.contains(&"delete"));
    Ok(deletes.filter(|_| object.has_key).map(|after| {
        format!(
            "{}: the topic {} deletes records after {} h: rows that do not change for longer are missing in it; cleanup.policy=compact keeps each key's last",
            object.name,
            object.topic,
            after.as_secs() / 3600
        )
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outlook(has_key: bool, policy: &str, retention: Option<u64>) -> Result<Option<String>> {
        let object = Bound { name: "public.a".into(), topic: "shop.public.a".into(), has_key };
        fits(&object, &Seen { partitions: 1, policy: policy.into(), retention: retention.map(Duration::from_secs) })
    }

    #[test]
    fn a_topic_that_forgets_rows_is_a_warning_and_one_that_refuses_them_a_failure() {
        assert!(outlook(true, "delete", Some(604_800)).unwrap().unwrap().contains("168 h"));
        assert_eq!(outlook(true, "delete", None).unwrap(), None);
        assert_eq!(outlook(true, "compact", Some(604_800)).unwrap(), None);
        assert_eq!(outlook(false, "delete", Some(604_800)).unwrap(), None, "without a key nothing could be kept");
        for policy in ["compact", "delete, compact"] {
            assert!(outlook(false, policy, None).unwrap_err().report().contains("message.key.columns"), "{policy}");
        }
    }
}
