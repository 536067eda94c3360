//! Rows on their way into Kafka's logs: batches of our own making, read back by another's client.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strandline::config::{self, Sources};
use strandline::kafka::{Admin, Append, Batch, OffsetsTopic, Producer, murmur2_partition};
use strandline_testbed::{Kafka, Postgres};

use crate::stage::{Stage, until};
use crate::topic::{committed, raw, records};

const ROWS: i64 = 20_000;

fn ids(stage: &Stage, table: &str) -> Vec<i64> {
    let mut ids: Vec<i64> = records(&stage.kafka, &stage.topic(table)).iter().map(|record| record.long("id")).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_every_compression_are_read_by_others() {
    let stage = Stage::new("codecs");
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let client = stage.client().await;
    for codec in codecs {
        // Each a table of its own: what is delivered already is not sent again.
        let sql = format!(
            "CREATE TABLE {codec}_rows (id int PRIMARY KEY, v text); \
             INSERT INTO {codec}_rows SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i"
        );
        client.batch_execute(&sql).await.unwrap();
        let codec = format!("kafka.compression.type={codec}");
        let output = stage.try_once(&["--set", &codec]);
        assert!(output.status.success(), "{codec}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for codec in codecs {
        assert!(ids(&stage, &format!("{codec}_rows")).into_iter().eq(1..=ROWS), "{codec}: not one of each row");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_land_where_javas_producers_put_them_and_rows_without_a_key_everywhere() {
    let stage = Stage::new("places");
    stage.configure("topic.creation.default.partitions = 7");
    let client = stage.client().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE keyed (id int PRIMARY KEY, v int); CREATE TABLE keyless (id int, v text); \
             INSERT INTO keyed SELECT i, 0 FROM generate_series(1, {ROWS}) i; UPDATE keyed SET v = 1 WHERE id <= 1000; \
             INSERT INTO keyless SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, {ROWS}) i"
        ))
        .await
        .unwrap();
    stage.run_once();
    let keyed = raw(&stage.kafka, &stage.topic("keyed"));
    assert_eq!(keyed.len(), ROWS as usize);
    for record in &keyed {
        assert_eq!(record.partition, murmur2_partition(record.key.as_ref().unwrap(), 7));
    }
    let mut per_partition: BTreeMap<i32, usize> = BTreeMap::new();
    for record in raw(&stage.kafka, &stage.topic("keyless")) {
        assert_eq!(record.key, None);
        *per_partition.entry(record.partition).or_default() += 1;
    }
    assert_eq!(per_partition.values().sum::<usize>(), ROWS as usize);
    assert!(per_partition.len() > 4, "2.6 MB in batches of 256 KiB went to few partitions: {per_partition:?}");
}

/// Found by reading: batches of 256 KiB were refused by a topic that takes each of their rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_only_small_batches_gets_small_ones() {
    let stage = Stage::new("small");
    stage.configure("topic.creation.default.\"max.message.bytes\" = 4000");
    let sql = format!(
        "CREATE TABLE t (id int PRIMARY KEY, v text); \
         INSERT INTO t SELECT i, md5(i::text) || md5((i + 1)::text) FROM generate_series(1, {ROWS}) i"
    );
    stage.client().await.batch_execute(&sql).await.unwrap();
    // Without compression the limit is met by the batches themselves.
    let output = stage.try_once(&["--set", "kafka.compression.type=none"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(ids(&stage, "t").into_iter().eq(1..=ROWS));
}

/// What happens:
/// 1. we hang in the middle of a transaction;
/// 2. the coordinator aborts it after its timeout and raises our epoch, as if somebody had taken over;
/// 3. we go on, and are refused.
///
/// Nobody has taken over: the rows are sent again, by the same process.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_outlived_its_timeout_is_sent_again_and_nobody_is_said_to_have_taken_over() {
    let stage = Stage::new("outlived");
    let rows = 300_000;
    let sql = format!(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, {rows}) i"
    );
    stage.client().await.batch_execute(&sql).await.unwrap();
    stage.settle();
    let mut running = stage.run(&["--set", "kafka.transaction.timeout.ms=2000"]);
    until("the first commit", || committed(&stage.kafka, &stage.topic("t")) > 0);
    let aborted = |log: &str| log.contains("transaction.timeout.ms");
    let mut hangs = 0;
    while !aborted(&running.log()) && hangs < 5 && !running.log().contains("caught_up") {
        running.signal(libc::SIGSTOP);
        // As long as the timeout, and until the coordinator looks.
        std::thread::park_timeout(Duration::from_secs(4));
        running.signal(libc::SIGCONT);
        hangs += 1;
        let log = running.log().len();
        until("a word", || running.log().len() > log);
    }
    let began = std::time::Instant::now();
    while !running.log().contains("caught_up") {
        assert!(began.elapsed() < Duration::from_secs(60) && running.is_running(), "{}", running.log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
    until("all rows", || committed(&stage.kafka, &stage.topic("t")) >= rows);
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(aborted(&log), "after {hangs} hangs no transaction had timed out:\n{log}");
    assert!(!log.contains("taken over"), "{log}");
    let all = raw(&stage.kafka, &stage.topic("t"));
    let keys: BTreeSet<&[u8]> = all.iter().filter_map(|record| record.key.as_deref()).collect();
    assert_eq!((all.len(), keys.len()), (rows as usize, rows as usize));
}

/// What happens:
/// 1. a commit is asked for, and the broker takes its time;
/// 2. the next rows are appended meanwhile;
/// 3. the commit ends, and its process dies.
///
/// The next rows are in no transaction that anybody sees. Within the one before they would be there without their watermark,
/// and come again with the next start.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_while_a_commit_is_under_way_is_the_next_transactions() {
    const TIME: Duration = Duration::from_secs(30);
    let kafka = Kafka::start();
    let stage = Stage::on("behind", Postgres::shared().create_database("behind"), kafka.bootstrap());
    let config = config::load(&Sources { file: stage.config(), environment: Vec::new(), set: Vec::new() }).unwrap();
    let admin = Admin::new(&config.kafka, &config.name).unwrap();
    let offsets = OffsetsTopic::ensure(&admin, &config.offset_storage).await.unwrap();
    let topic = stage.topic("t");
    admin.ensure(&config.topic, &topic).await.unwrap();
    let mut producer = Producer::of(&config, 0).unwrap();
    tokio::task::block_in_place(|| {
        producer.init(TIME).unwrap();
        append(&mut producer, &topic, b"first");
        kafka.pause();
        let commit = producer.begin_commit(&offsets, &[], TIME).unwrap();
        append(&mut producer, &topic, b"second");
        kafka.resume();
        producer.settle(commit, &offsets).unwrap();
        assert_eq!(texts(&stage, &topic), ["first"]);
        producer.commit(&offsets, &[], TIME).unwrap();
        assert_eq!(texts(&stage, &topic), ["first", "second"]);
        kafka.pause();
        append(&mut producer, &topic, b"third");
        let commit = producer.begin_commit(&offsets, &[], TIME).unwrap();
        append(&mut producer, &topic, b"fourth");
        kafka.resume();
        producer.settle(commit, &offsets).unwrap();
        drop(producer);
        Producer::of(&config, 0).unwrap().init(TIME).unwrap();
        assert_eq!(texts(&stage, &topic), ["first", "second", "third"]);
    });
}

/// A record that fills more than one batch with its fellows, so that it is under way without a commit.
fn append(producer: &mut Producer, topic: &str, text: &[u8]) {
    producer.begin().unwrap();
    let mut batch = Batch::default();
    for _ in 0..3 {
        let (_, value) = batch.buffers();
        value.extend(text);
        value.resize(value.len() + (200 << 10), b' ');
        batch.finish();
    }
    until("room in the queue", || batch.is_empty() || producer.append(topic, &mut batch).unwrap() == Append::Queued);
}

/// The texts of a topic's committed records, each once.
fn texts(stage: &Stage, topic: &str) -> Vec<String> {
    let values = raw(&stage.kafka, topic).into_iter().filter_map(|record| record.value);
    let mut texts: Vec<String> = values.map(|value| String::from_utf8_lossy(&value).trim().to_owned()).collect();
    assert!(texts.len().is_multiple_of(3), "a part of a transaction: {texts:?}");
    texts.dedup();
    texts
}
