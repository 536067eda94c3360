//! `offsets`: the stored progress of a stopped connector, listed, set or reset.
//!
//! A write takes the object's partition over first, as the connector itself does at its start: a worker that still runs
//! cannot commit beside it.

use serde_json::{Value, json};

use super::stored::{StoredProgress, table_of};
use super::survey::table_name;
use super::table::{Table, size, thousands};
use super::{Consent, DONE, FAILED, print};
use crate::config::Config;
use crate::kafka::{self, OffsetRecord, OffsetsTopic, Producer};
use crate::owner::PATIENCE;
use crate::poll::Watermark;
use crate::{Error, Kind, Result};

/// A record that is to be written.
struct Change {
    key: Vec<u8>,
    partition: i32,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    /// What a query has delivered of late: void with its progress.
    buckets: Vec<Vec<u8>>,
}

/// Lists what is stored.
pub async fn list(config: &Config, as_json: bool) -> Result<u8> {
    let stored = StoredProgress::read(config)?;
    if as_json {
        let offsets: Vec<Value> = stored.offsets.iter().map(|(key, (_, value))| connect_form(key, value)).collect();
        print(&format!("{}\n", json!({ "offsets": offsets })));
        return Ok(DONE);
    }
    print(&format!("connector {}: {}\n", config.name, stored.worker().text()));
    let mut table = Table::new(&["OBJECT", "PARTITION", "MODE", "XMIN", "ROWS", "BYTES"]);
    for (key, (partition, value)) in &stored.offsets {
        let value: Value = serde_json::from_slice(value).unwrap_or_default();
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        table.row(vec![
            table_of(key),
            partition.to_string(),
            value.get("mode").and_then(Value::as_str).unwrap_or("unreadable").to_owned(),
            number("xmin").map_or("-".to_owned(), |xmin| xmin.to_string()),
            number("rows").map_or("-".to_owned(), thousands),
            number("bytes").map_or("-".to_owned(), size),
        ]);
    }
    print(&table.text());
    Ok(DONE)
}

/// Sets an object's source offset.
pub async fn set(config: &Config, object: &str, offset: &str, consent: Consent) -> Result<u8> {
    let watermark = Watermark::from_json(offset.as_bytes()).map_err(|why| {
        Error::new(Kind::Config, format!("the offset is not one: {why}"))
            .hint("`strandline offsets list --json` shows the form; docs/offsets.md explains each field")
    })?;
    change(config, &[object.to_owned()], Some(watermark.to_json()), consent).await
}

/// Forgets these objects' progress, or everything if none is named.
pub async fn reset(config: &Config, objects: &[String], consent: Consent) -> Result<u8> {
    change(config, objects, None, consent).await
}

async fn change(config: &Config, objects: &[String], after: Option<Vec<u8>>, consent: Consent) -> Result<u8> {
    let stored = StoredProgress::read(config)?;
    let Some(topic) = &stored.topic else {
        return Err(Error::new(Kind::Offsets, format!("there is no topic {}", config.offset_storage.topic))
            .hint("the connector has never run, so there is nothing to change; check offset.storage.topic"));
    };
    // First of all, as what is stored changes while it runs.
    let running = stored.is_running(config, consent)?;
    let keys: Vec<Vec<u8>> = if objects.is_empty() {
        stored.offsets.keys().cloned().collect()
    } else {
        let key = |name: &String| Ok(kafka::key(&config.name, &table_name(config, name)?));
        objects.iter().map(key).collect::<Result<_>>()?
    };
    let change = |key: Vec<u8>| {
        // Where it is stored counts: a record elsewhere would be left behind.
        let before = stored.offsets.get(&key);
        let partition = before.map_or_else(|| topic.partition(&key), |(partition, _)| *partition);
        let buckets = stored.buckets.get(&key).cloned().unwrap_or_default();
        Change { before: before.map(|(_, value)| value.clone()), after: after.clone(), partition, key, buckets }
    };
    let changes: Vec<Change> = keys.into_iter().map(change).collect();
    if after.is_none()
        && let Some(absent) = changes.iter().find(|change| change.before.is_none())
    {
        return Err(Error::new(Kind::Offsets, "nothing is stored for it")
            .object(table_of(&absent.key))
            .hint("`strandline offsets list` shows what is stored"));
    }
    if consent.yes {
        write(config, topic, &changes)?;
    }
    let outcome = match (consent.yes, running) {
        (true, _) => "written",
        (false, false) => "nothing was written: this was a dry run, --yes writes",
        (false, true) => {
            "nothing was written: this was a dry run; the connector has to be stopped before --yes, or --force given"
        }
    };
    if consent.json {
        let changes: Vec<Value> = changes.iter().map(Change::to_json).collect();
        print(&format!("{}\n", json!({ "written": consent.yes, "message": outcome, "changes": changes })));
    } else {
        changes.iter().for_each(|change| print(&change.to_text()));
        print(&format!("{outcome}\n"));
    }
    Ok(if !consent.yes && running { FAILED } else { DONE })
}

/// Partition by partition: fences, then writes. An earlier partition stays written if a later one fails.
fn write(config: &Config, topic: &OffsetsTopic, changes: &[Change]) -> Result<()> {
    let mut partitions: Vec<i32> = changes.iter().map(|change| change.partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    for partition in partitions {
        let mut producer = Producer::of(config, partition)?;
        producer.init(PATIENCE)?;
        let records = |change: &Change| {
            let own = OffsetRecord { partition, key: change.key.clone(), value: change.after.clone() };
            let void = |key: &Vec<u8>| OffsetRecord { partition, key: key.clone(), value: None };
            std::iter::once(own).chain(change.buckets.iter().map(void)).collect::<Vec<_>>()
        };
        let records: Vec<OffsetRecord> =
            changes.iter().filter(|change| change.partition == partition).flat_map(records).collect();
        producer.begin()?;
        producer.commit(topic, &records, PATIENCE)?;
    }
    Ok(())
}

/// As Kafka Connect's `GET /connectors/<name>/offsets` tells it.
fn connect_form(key: &[u8], value: &[u8]) -> Value {
    let key: Value = serde_json::from_slice(key).unwrap_or_default();
    let value: Value = serde_json::from_slice(value).unwrap_or_default();
    json!({ "partition": key.get(1), "offset": value })
}

impl Change {
    fn to_json(&self) -> Value {
        let value =
            |json: &Option<Vec<u8>>| json.as_deref().and_then(|json| serde_json::from_slice::<Value>(json).ok());
        json!({
            "object": table_of(&self.key), "kafka_partition": self.partition, "before": value(&self.before), "after": value(&self.after),
        })
    }

    fn to_text(&self) -> String {
        let shown = |json: &Option<Vec<u8>>, none: &str| {
            json.as_deref().map_or_else(|| none.to_owned(), |json| String::from_utf8_lossy(json).into_owned())
        };
        format!(
            "{}, partition {}\n  before: {}\n  after:  {}\n",
            table_of(&self.key),
            self.partition,
            shown(&self.before, "nothing"),
            shown(&self.after, "nothing: it is loaded again from the beginning")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::TableName;

    #[test]
    fn an_offset_is_told_as_connect_tells_it() {
        let told = connect_form(br#"["shop",{"table":"public.orders"}]"#, br#"{"version":1,"xmin":7}"#);
        assert_eq!(told.to_string(), r#"{"partition":{"table":"public.orders"},"offset":{"version":1,"xmin":7}}"#);
    }

    #[test]
    fn a_change_shows_before_and_after() {
        let change = Change {
            key: kafka::key("s", &TableName::new("a", "b")),
            partition: 3,
            before: Some(b"{}".to_vec()),
            after: None,
            buckets: Vec::new(),
        };
        assert_eq!(
            change.to_text(),
            "a.b, partition 3\n  before: {}\n  after:  nothing: it is loaded again from the beginning\n"
        );
    }
}
