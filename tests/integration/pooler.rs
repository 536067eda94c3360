//! Through pgbouncer: a connector streams in every mode of pooling that keeps a transaction together.

#![allow(clippy::unwrap_used)] // a test that cannot set its stage fails

use std::time::Duration;

use strandline_testbed::{Database, Kafka, Pooler, Postgres, PostgresOptions};

use crate::stage::{Stage, connect, until};
use crate::topic::records;

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_through_a_pooler_that_others_use_too() {
    let postgres = Postgres::start(PostgresOptions::default());
    for mode in ["session", "transaction"] {
        let own = postgres.create_database(mode);
        let pooler = Pooler::start(&postgres, mode, "");
        let client = connect(&own.url).await;
        client
            .batch_execute("CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now()); INSERT INTO t SELECT generate_series(1, 500)")
            .await
            .unwrap();
        let pooled = Database { url: pooler.url(&own.name), name: own.name.clone() };
        let stage = Stage::on(mode, pooled, Kafka::shared().bootstrap());
        let output = stage.strandline(&["check"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{mode}: {told}");
        let mut running = stage.run(&[]);
        running.await_log("caught_up");
        // Others prepare and leave settings behind on the same server connections.
        let other = tokio::spawn({
            let url = pooler.url(&own.name);
            async move {
                for _ in 0..30 {
                    let client = connect(&url).await;
                    client
                        .batch_execute("BEGIN; SELECT count(*) FROM t; SET LOCAL work_mem = '1MB'; COMMIT")
                        .await
                        .unwrap();
                    // Its statement may be prepared on one server and run on another: its own trouble.
                    let _ = client.query("SELECT $1::int", &[&1]).await;
                }
            }
        });
        for id in 501..=560 {
            client.execute("INSERT INTO t VALUES ($1)", &[&id]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        other.await.unwrap();
        let topic = stage.topic("t");
        until("rows", || records(&stage.kafka, &topic).len() >= 560);
        let (code, log) = running.stop();
        let mut ids: Vec<i64> = records(&stage.kafka, &topic).iter().map(|record| record.long("id")).collect();
        ids.sort_unstable();
        assert_eq!((ids, code), ((1..=560).collect(), Some(0)), "{mode}: {log}");
        assert!(!log.contains("already exists") && !log.contains("does not exist"), "{mode}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pooler_does_not_take_is_told_with_what_to_set() {
    let postgres = Postgres::start(PostgresOptions::default());
    let own = postgres.create_database("told");
    connect(&own.url).await.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let pooler = Pooler::start(&postgres, "transaction", "");
    let url = pooler.url(&own.name) + "?options=-c%20statement_timeout%3D60000";
    let stage = Stage::on("told", Database { url, name: own.name.clone() }, Kafka::shared().bootstrap());
    let output = stage.strandline(&["check"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("1023") && told.contains("ignore_startup_parameters"), "{told}");
    // One that takes transactions apart cannot be used, and says so.
    let statements = Pooler::start(&postgres, "statement", "");
    let broken = Database { url: statements.url(&own.name), name: own.name.clone() };
    let stage = Stage::on("statements", broken, Kafka::shared().bootstrap());
    let output = stage.strandline(&["check"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("1023") && told.contains("pool_mode"), "{told}");
    // And that is all that has to be set.
    let lenient = Pooler::start(&postgres, "transaction", "ignore_startup_parameters = options");
    let url = lenient.url(&own.name) + "?options=-c%20statement_timeout%3D60000";
    let stage = Stage::on("lenient", Database { url, name: own.name.clone() }, Kafka::shared().bootstrap());
    let output = stage.strandline(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}
