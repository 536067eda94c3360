//! Topics that somebody deletes under us.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use crate::stage::{Stage, until};
use crate::topic::{partitions, raw, records};

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); \
                      INSERT INTO t SELECT generate_series(1, 20); INSERT INTO u VALUES (1)";

async fn delete(stage: &Stage, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &stage.kafka).create().unwrap();
    for result in admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_made_anew_and_what_it_lacks_is_said() {
    let stage = Stage::new("gone");
    let client = stage.client().await;
    client.batch_execute(TABLES).await.unwrap();
    let mut running = stage.run(&[]);
    running.await_log_of(2, "caught_up");
    until("the load", || raw(&stage.kafka, &stage.topic("t")).len() == 20);
    delete(&stage, &stage.topic("t")).await;
    // What Kafka takes while it deletes the topic goes with it, and what it does not answer is given up after a minute.
    let began = Instant::now();
    let mut id = 21;
    let is_new = || {
        let all = records(&stage.kafka, &stage.topic("t"));
        !all.is_empty() && all.iter().all(|record| record.long("id") > 20)
    };
    while !is_new() {
        assert!(began.elapsed() < Duration::from_secs(240), "{}", running.log());
        client.batch_execute(&format!("INSERT INTO t VALUES ({id})")).await.unwrap();
        id += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    client.batch_execute("INSERT INTO t VALUES (-1); INSERT INTO u VALUES (-1)").await.unwrap();
    until("the last rows", || {
        let last = |table| records(&stage.kafka, &stage.topic(table)).last().map(|record| record.long("id"));
        (last("t"), last("u")) == (Some(-1), Some(-1))
    });
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");

    delete(&stage, &stage.topic("t")).await;
    until("its end", || partitions(&stage.kafka, &stage.topic("t")) == 0);
    client.batch_execute("INSERT INTO t VALUES (-2)").await.unwrap();
    let log = stage.run_once();
    assert!(log.contains("although rows were delivered to it before"), "{log}");
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), 1, "{log}");
}

/// Found here: it did not answer, which looked like a broker that is away, and the connector waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_offsets_topic_ends_the_connector_which_says_so_and_the_next_start_loads_all() {
    let stage = Stage::new("forgotten");
    let client = stage.client().await;
    client.batch_execute(TABLES).await.unwrap();
    // Where topics make themselves when they are asked for, this one may be back, with one partition instead of eight.
    let others: Vec<String> = (0..6).map(|at| format!("CREATE TABLE o{at} (id int PRIMARY KEY);")).collect();
    client.batch_execute(&others.concat()).await.unwrap();
    let mut running = stage.run(&[]);
    running.await_log_of(8, "caught_up");
    until("the load", || raw(&stage.kafka, &stage.topic("t")).len() == 20);
    delete(&stage, &format!("{}-offsets", stage.name)).await;
    client
        .batch_execute(
            &others.concat().replace("CREATE TABLE", "INSERT INTO").replace("(id int PRIMARY KEY)", "VALUES (1)"),
        )
        .await
        .unwrap();
    client.batch_execute("INSERT INTO t VALUES (21)").await.unwrap();
    assert_eq!(running.wait(Duration::from_secs(90)), Some(1), "{}", running.log());
    let log = running.log();
    assert!(log.contains("is not there any more") && log.contains("every object is loaded again"), "{log}");
    let before = raw(&stage.kafka, &stage.topic("t")).len();
    let output = stage.try_once(&[]);
    if output.status.code() != Some(0) {
        // It is back, as one that forgets: refused.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("cleanup.policy `delete`"), "{said}");
        delete(&stage, &format!("{}-offsets", stage.name)).await;
        stage.run_once();
    }
    let log = running.log();
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), before + 21, "all of it: {log}");
    client.batch_execute("INSERT INTO t VALUES (22)").await.unwrap();
    stage.run_once();
    assert_eq!(raw(&stage.kafka, &stage.topic("t")).len(), before + 22, "and then what is new");
}
