//! The offsets topic as others see it: read, reset, spoilt, enlarged.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::stage::{Stage, until};
use crate::topic::{Raw, partitions, raw};

/// The offsets topic is given more partitions, as an operator may: every object's progress moves to its new place.
#[tokio::test(flavor = "multi_thread")]
async fn progress_survives_more_partitions_of_the_offsets_topic() {
    let stage = Stage::new("layout");
    let client = stage.client().await;
    for table in ["a", "b", "c", "d", "e"] {
        let sql =
            format!("CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} SELECT generate_series(1, 20)");
        client.batch_execute(&sql).await.unwrap();
    }
    stage.configure("\"offset.storage.partitions\" = 2");
    stage.run_once();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &stage.kafka).create().unwrap();
    let offsets = format!("{}-offsets", stage.name);
    let more = NewPartitions::new(&offsets, 7);
    for result in admin.create_partitions([&more], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    client.batch_execute("INSERT INTO a VALUES (21)").await.unwrap();
    // The operation is done before every broker's answer shows it.
    until("the new partitions", || partitions(&stage.kafka, &offsets) == 7);
    let log = stage.run_once();
    assert!(log.contains("stored progress moved"), "{log}");
    client.batch_execute("INSERT INTO b VALUES (21)").await.unwrap();
    let log = stage.run_once();
    assert!(!log.contains("stored progress moved"), "{log}");
    for (table, rows) in [("a", 21), ("b", 21), ("c", 20), ("d", 20), ("e", 20)] {
        assert_eq!(raw(&stage.kafka, &stage.topic(table)).len(), rows, "{table}: nothing lost, nothing twice");
    }
}

/// What Connect's own tools do to reset a connector: a tombstone under the key, in the record's own partition.
#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_loads_its_table_again_and_no_other() {
    let stage = Stage::new("tombstone");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1)")
        .await
        .unwrap();
    stage.run_once();
    let stored = progress(&stage, "a");
    write(&stage, &stored, None);
    stage.run_once();
    assert_eq!(raw(&stage.kafka, &stage.topic("a")).len(), 4, "loaded again");
    assert_eq!(raw(&stage.kafka, &stage.topic("b")).len(), 1, "left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_offset_is_an_error_that_names_it_and_never_a_fresh_start() {
    let stage = Stage::new("garbage");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)")
        .await
        .unwrap();
    stage.run_once();
    let stored = progress(&stage, "a");
    for (garbage, said) in [
        (&b"not json"[..], "not JSON"),
        (b"{}", "`version` is missing"),
        (b"{\"version\":1,\"mode\":\"later\"}", "`mode` is `later`"),
    ] {
        write(&stage, &stored, Some(garbage));
        client.batch_execute("DELETE FROM b; INSERT INTO b VALUES (1)").await.unwrap();
        let output = stage.try_once(&[]);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("public.a") && log.contains("is unreadable") && log.contains(said), "{log}");
    }
    assert_eq!(raw(&stage.kafka, &stage.topic("a")).len(), 1, "never loaded again");
    assert_eq!(raw(&stage.kafka, &stage.topic("b")).len(), 4, "the other goes on");
    write(&stage, &stored, stored.value.as_deref());
    client.batch_execute("INSERT INTO a VALUES (2)").await.unwrap();
    stage.run_once();
    assert_eq!(raw(&stage.kafka, &stage.topic("a")).len(), 2, "the former value put back goes on where it was");
}

/// Without transactions an interruption repeats rows, and loses none.
#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_needs_no_transactions() {
    let stage = Stage::new("atleast");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a SELECT i, 0 FROM generate_series(1, 500) i",
        )
        .await
        .unwrap();
    stage.configure("\"exactly.once.support\" = \"disabled\"");
    stage.run_once();
    assert_eq!(raw(&stage.kafka, &stage.topic("a")).len(), 500);
    client.batch_execute("UPDATE a SET v = 1 WHERE id <= 10").await.unwrap();
    stage.run_once();
    assert_eq!(raw(&stage.kafka, &stage.topic("a")).len(), 510, "its progress is stored all the same");
}

/// The stored progress of a table: the last record under its key.
fn progress(stage: &Stage, table: &str) -> Raw {
    let key = format!("[\"{}\",{{\"table\":\"public.{table}\"}}]", stage.name);
    let records = raw(&stage.kafka, &format!("{}-offsets", stage.name));
    let last = records.into_iter().rfind(|record| record.key.as_deref() == Some(key.as_bytes()));
    last.unwrap_or_else(|| panic!("nothing is stored under {key}"))
}

/// Writes a value under the same key into the same partition, as `connect-offsets` tools do.
fn write(stage: &Stage, at: &Raw, value: Option<&[u8]>) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &stage.kafka).create().unwrap();
    let topic = format!("{}-offsets", stage.name);
    let key = at.key.clone().unwrap();
    let mut record = BaseRecord::<[u8], [u8]>::to(&topic).partition(at.partition).key(&key);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
}
