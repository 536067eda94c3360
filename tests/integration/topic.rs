//! Reads topics back with read_committed, decoded by schemas from the registry.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Headers as _;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use strandline_testbed::Registry;

/// A decoded record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Value>,
    pub value: Option<Value>,
}

/// A record as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// `name=value`.
    pub headers: Vec<String>,
}

impl Record {
    /// A field of the value, out of its union.
    pub fn get(&self, field: &str) -> Value {
        let Some(Value::Record(fields)) = &self.value else { panic!("no record: {self:?}") };
        let found =
            fields.iter().find(|(name, _)| name == field).unwrap_or_else(|| panic!("no field {field}: {fields:?}"));
        match &found.1 {
            Value::Union(_, inner) => (**inner).clone(),
            other => other.clone(),
        }
    }

    pub fn long(&self, field: &str) -> i64 {
        match self.get(field) {
            Value::Long(long) => long,
            Value::Int(int) => int.into(),
            other => panic!("{field} is {other:?}"),
        }
    }
}

/// How far partition 0 of a topic reaches for a reader of committed records; the ends of transactions count.
pub fn committed(bootstrap: &str, topic: &str) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "reader").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).map_or(0, |(_, end)| end)
}

/// Every committed record of a topic; none, if there is no such topic.
pub fn raw(bootstrap: &str, topic: &str) -> Vec<Raw> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "reader").set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer = config.create().unwrap();
    let partitions = count(&consumer, topic);
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut records = Vec::new();
    let mut ended = 0;
    while ended < partitions {
        match consumer.poll(Duration::from_secs(20)) {
            Some(Ok(record)) => records.push(Raw {
                partition: record.partition(),
                offset: record.offset(),
                key: record.key().map(<[u8]>::to_vec),
                value: record.payload().map(<[u8]>::to_vec),
                headers: record.headers().map(headers).unwrap_or_default(),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // The broker may stand still for a moment: it is part of the test.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
            ))) => {}
            // It was just deleted.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition,
            ))) => return Vec::new(),
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => panic!("{topic} cannot be read to its end"),
        }
    }
    records
}

fn headers(headers: &rdkafka::message::BorrowedHeaders) -> Vec<String> {
    let text = |header: rdkafka::message::Header<'_, &[u8]>| {
        format!("{}={}", header.key, String::from_utf8_lossy(header.value.unwrap_or_default()))
    };
    headers.iter().map(text).collect()
}

/// How many partitions a topic has, as the broker tells now.
pub fn partitions(bootstrap: &str, topic: &str) -> usize {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    count(&consumer, topic)
}

/// A broker that is busy electing a leader says so, and that is not the same as no topic.
fn count(consumer: &BaseConsumer, topic: &str) -> usize {
    let started = Instant::now();
    loop {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
        let found = metadata.topics().first().unwrap();
        match found.error().map(RDKafkaErrorCode::from) {
            None => return found.partitions().len(),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return 0,
            Some(error) => assert!(started.elapsed() < Duration::from_secs(20), "{topic}: {error}"),
        }
    }
}

/// Every committed record of a topic, decoded.
pub fn records(bootstrap: &str, topic: &str) -> Vec<Record> {
    let mut schemas = HashMap::new();
    raw(bootstrap, topic)
        .into_iter()
        .map(|raw| Record {
            partition: raw.partition,
            offset: raw.offset,
            key: raw.key.map(|bytes| decode(&bytes, &mut schemas)),
            value: raw.value.map(|bytes| decode(&bytes, &mut schemas)),
        })
        .collect()
}

fn decode(bytes: &[u8], schemas: &mut HashMap<u32, apache_avro::Schema>) -> Value {
    assert_eq!(bytes[0], 0, "the wire format begins with a zero");
    let id = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
    let schema = schemas.entry(id).or_insert_with(|| apache_avro::Schema::parse_str(&schema(id)).unwrap());
    let mut rest = &bytes[5..];
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut rest).unwrap();
    assert!(rest.is_empty(), "bytes are left after the value");
    value
}

/// A schema's text by its id.
pub fn schema(id: u32) -> String {
    let answer = get(&format!("/schemas/ids/{id}"));
    let json: serde_json::Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("no schema: {answer}"));
    json["schema"].as_str().unwrap().to_owned()
}

/// The body of a registry's answer.
pub fn get(path: &str) -> String {
    ask("GET", path, "")
}

/// The same of any method, with a body of JSON.
pub fn ask(method: &str, path: &str, body: &str) -> String {
    let url = Registry::shared().url();
    let address = url.strip_prefix("http://").unwrap();
    let (host, base) = address.split_at(address.find('/').unwrap_or(address.len()));
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "{method} {base}{path} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((length, more)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole += &more[..length];
        rest = more.get(length + 2..).unwrap_or_default();
    }
    whole
}
