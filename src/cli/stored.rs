//! What Kafka holds of a connector's progress, as it can be read now: nobody is fenced, nothing is created.

use std::collections::BTreeMap;

use super::Consent;
use crate::config::Config;
use crate::kafka::{self, Admin, Claim, OffsetsTopic};
use crate::poll::{TableName, Watermark};
use crate::{Error, Kind, Result};

/// A connector's part of the offsets topic.
#[derive(Default)]
pub struct StoredProgress {
    /// None: the topic does not exist, so nobody has ever run.
    pub topic: Option<OffsetsTopic>,
    /// Source offsets by key, each with its partition.
    pub offsets: BTreeMap<Vec<u8>, (i32, Vec<u8>)>,
    /// The keys of the rows that queries have delivered of late, by the query's own key.
    pub buckets: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Who signed for which partition.
    pub claims: BTreeMap<i32, Claim>,
}

impl StoredProgress {
    /// Reads what is committed. Blocks the thread while it reads.
    pub fn read(config: &Config) -> Result<StoredProgress> {
        let admin = Admin::new(&config.kafka, &config.name)?;
        let found = OffsetsTopic::find(&admin, &config.offset_storage)?;
        let Some(topic) = found else { return Ok(StoredProgress::default()) };
        let mut stored = StoredProgress::default();
        for (partition, held) in topic.glance(&config.name)? {
            for (key, value) in held.offsets {
                match kafka::bucket_of(&key) {
                    Some((object, ..)) => stored.buckets.entry(object).or_default().push(key),
                    None => {
                        stored.offsets.insert(key, (partition, value));
                    }
                }
            }
            stored.claims.extend(held.claim.map(|claim| (partition, claim)));
        }
        stored.topic = Some(topic);
        Ok(stored)
    }

    /// An object's progress, if any is stored.
    pub fn watermark(&self, config: &Config, object: &TableName) -> Result<Option<Watermark>> {
        let Some((partition, value)) = self.offsets.get(&kafka::key(&config.name, object)) else {
            return Ok(None);
        };
        Watermark::from_json(value).map(Some).map_err(|why| {
            let topic = &config.offset_storage.topic;
            Error::new(Kind::Offsets, format!("its record in {topic}, partition {partition}, is unreadable: {why}"))
                .object(object.to_string())
                .hint("`strandline offsets reset` loads the table again, `offsets set` puts a former value back")
        })
    }

    /// Why the worker that had the object says that it is FAILED.
    pub fn failure(&self, object: &TableName) -> Option<&str> {
        let name = object.to_string();
        self.claims.values().find_map(|claim| claim.failure(&name))
    }

    /// Whether a worker may have the connector, which `--force` disregards: an error where something is to be written now.
    pub fn is_running(&self, config: &Config, consent: Consent) -> Result<bool> {
        let running = matches!(self.worker(), Worker::Unstopped(_)) && !consent.force;
        if running && consent.yes {
            return Err(Error::new(Kind::Offsets, format!("connector {}: {}", config.name, self.worker().text()))
                .hint("stop it first; if it was killed, --force takes its partitions over"));
        }
        Ok(running)
    }

    /// Who has the connector.
    pub fn worker(&self) -> Worker<'_> {
        let newest = |running: bool| {
            let claims = self.claims.values().filter(move |claim| claim.stopped.is_none() == running);
            claims.max_by(|a, b| (&a.stopped, &a.started).cmp(&(&b.stopped, &b.started)))
        };
        match (newest(true), newest(false)) {
            (Some(claim), _) => Worker::Unstopped(claim),
            (None, Some(claim)) => Worker::Stopped(claim),
            (None, None) => Worker::Nobody,
        }
    }
}

/// Whether the connector runs, as far as Kafka can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker<'a> {
    /// It signed and did not say that it left: it runs, or was killed.
    Unstopped(&'a Claim),
    /// It left in good order.
    Stopped(&'a Claim),
    /// It never ran.
    Nobody,
}

impl Worker<'_> {
    /// One line's worth.
    pub fn text(&self) -> String {
        match self {
            Worker::Unstopped(claim) => {
                format!("running on {} since {}, unless it was killed", claim.worker, claim.started)
            }
            Worker::Stopped(claim) => {
                format!("stopped at {}, last on {}", claim.stopped.as_deref().unwrap_or_default(), claim.worker)
            }
            Worker::Nobody => "has never run".to_owned(),
        }
    }

    /// One word.
    pub fn state(&self) -> &'static str {
        match self {
            Worker::Unstopped(_) => "RUNNING",
            Worker::Stopped(_) => "STOPPED",
            Worker::Nobody => "NEW",
        }
    }
}

/// The name in `["shop",{"table":"public.orders"}]`, or of a query, as it is shown.
pub fn table_of(key: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(key).ok();
    let field = |name: &str| parsed.as_ref()?.get(1)?.get(name)?.as_str();
    let name = field("table").or_else(|| field("query"));
    name.map_or_else(|| String::from_utf8_lossy(key).into_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(started: &str, stopped: Option<&str>) -> Claim {
        let stopped = stopped.map(str::to_owned);
        Claim { worker: "host:7".into(), started: started.into(), partitions: 2, stopped, failed: None }
    }

    #[test]
    fn a_connector_runs_while_any_partition_is_not_signed_out() {
        let mut stored = StoredProgress::default();
        assert_eq!(stored.worker(), Worker::Nobody);
        stored.claims.insert(0, claim("2026-01-01T00:00:00Z", Some("2026-01-02T00:00:00Z")));
        assert_eq!(stored.worker().text(), "stopped at 2026-01-02T00:00:00Z, last on host:7");
        stored.claims.insert(1, claim("2026-01-03T00:00:00Z", None));
        assert_eq!(stored.worker().state(), "RUNNING");
        assert!(stored.worker().text().contains("since 2026-01-03T00:00:00Z"));
    }

    #[test]
    fn a_key_is_shown_by_its_table() {
        assert_eq!(table_of(&kafka::key("shop", &TableName::new("public", "orders"))), "public.orders");
        assert_eq!(table_of(b"[\"shop\",{\"partition\":\"3\"}]"), "[\"shop\",{\"partition\":\"3\"}]");
    }
}
