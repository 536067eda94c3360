//! What becomes of rows that cannot be delivered as they are: too large, or without a counterpart in Avro.

use super::reader::Reader;
use super::section::topic_name;

/// `errors.*`, as in Kafka Connect, whose sinks they are for; here they are the source's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// `errors.tolerance`: whether a row that cannot be encoded goes to the dead-letter topic instead of failing its object.
    pub tolerate: bool,
    /// `errors.deadletterqueue.topic.name`.
    pub topic: Option<String>,
    /// `errors.deadletterqueue.context.headers.enable`: whether letters have Connect's headers.
    pub headers: bool,
    /// `errors.log.enable`: whether the log has a line for each letter.
    pub log: bool,
}

/// `oversize`: what becomes of a row that is larger than its topic takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Oversize {
    /// Its object is FAILED.
    #[default]
    Fail,
    /// It goes to the dead-letter topic.
    Skip,
    /// These columns, texts or bytea, are cut to fit.
    Truncate(Vec<String>),
}

const TOPIC: &str = "errors.deadletterqueue.topic.name";

/// Reads the connector's keys.
pub(super) fn errors(reader: &mut Reader<'_>) -> Errors {
    let tolerance = "errors.tolerance";
    let errors = Errors {
        tolerate: reader.word(tolerance) == Some("all"),
        topic: topic_name(reader, TOPIC),
        headers: reader.flag("errors.deadletterqueue.context.headers.enable"),
        log: reader.flag("errors.log.enable"),
    };
    if errors.tolerate {
        want_topic(reader, tolerance);
    }
    errors
}

/// Reads an object's keys; with an empty alias the connector's.
pub(super) fn oversize(reader: &mut Reader<'_>, alias: &str) -> Oversize {
    let (own, columns_key) =
        (format!("objects.{alias}.oversize"), format!("objects.{alias}.oversize.truncate.columns"));
    let is_own = !alias.is_empty() && reader.is_set(&own);
    let key = if is_own { own } else { "oversize".to_owned() };
    let word = reader.word(&key);
    let columns = if alias.is_empty() { Vec::new() } else { reader.list(&columns_key) };
    if word != Some("truncate") && !columns.is_empty() {
        reader.refuse(&columns_key, format!("nothing, unless objects.{alias}.oversize = \"truncate\""));
    }
    match word {
        Some("skip") => {
            want_topic(reader, &key);
            Oversize::Skip
        }
        Some("truncate") => {
            if columns.is_empty() && !reader.refused(&columns_key) {
                reader.refuse(&columns_key, "the columns that are cut when a row is too large: [\"notes\"]");
            }
            Oversize::Truncate(columns)
        }
        _ => Oversize::Fail,
    }
}

/// Without a dead-letter topic a row would be skipped for good.
fn want_topic(reader: &mut Reader<'_>, asking: &str) {
    if !reader.is_set(TOPIC) && !reader.refused(TOPIC) {
        reader.refuse(TOPIC, format!("the topic for rows that {asking} lets pass: none is skipped without a trace"));
    }
}
