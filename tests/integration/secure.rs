//! Several servers behind one address, and which of them is taken.

#![allow(clippy::unwrap_used)] // a test that cannot set its stage fails

use std::net::TcpListener;
use std::time::{Duration, Instant};

use strandline::Kind;
use strandline::config::{Database, Secret};
use strandline::postgres::Connection;
use strandline_testbed::{Kafka, Postgres, PostgresOptions};

use crate::authority::Certified;
use crate::connect::give;
use crate::stage::{Stage, connect, until};
use crate::topic::records;

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_follows_and_can_be_promoted() {
    let primary = Postgres::start(PostgresOptions::default());
    connect(&primary.url("postgres")).await.batch_execute("CREATE TABLE t AS SELECT 1 AS id").await.unwrap();
    let standby = primary.standby();
    connect(&primary.url("postgres")).await.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    standby.await_replay(&primary);
    let client = connect(&standby.url("postgres")).await;
    let row = client.query_one("SELECT count(*), pg_is_in_recovery() FROM t", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (2, true));
    standby.promote();
    client.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
}

/// The port of the server that a connection string leads to.
async fn reached(text: String) -> strandline::Result<i32> {
    let database = Database { url: Some(Secret::new(text)), ..Database::default() };
    let connection = Connection::open(&database, "test").await?;
    Ok(connection.client().query_one("SELECT inet_server_port()", &[]).await.unwrap().get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_the_one_is_taken_that_suits() {
    let primary = Postgres::start(PostgresOptions::default());
    let standby = primary.standby();
    let (first, second) = (i32::from(primary.port()), i32::from(standby.port()));
    let hosts = |a: i32, b: i32, attrs: &str| {
        format!("host=127.0.0.1,127.0.0.1 port={a},{b} user=postgres dbname=postgres target_session_attrs={attrs}")
    };
    for (attrs, forwards, backwards) in [
        ("any", first, second),
        ("read-write", first, first),
        ("primary", first, first),
        ("read-only", second, second),
        ("standby", second, second),
        ("prefer-standby", second, second),
    ] {
        assert_eq!(reached(hosts(first, second, attrs)).await.unwrap(), forwards, "{attrs}");
        assert_eq!(reached(hosts(second, first, attrs)).await.unwrap(), backwards, "{attrs}");
    }
    // One that refuses, or that accepts and stays silent, leaves time for the next.
    let refusing = i32::from(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    assert_eq!(reached(hosts(refusing, first, "any")).await.unwrap(), first);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let text = hosts(i32::from(silent.local_addr().unwrap().port()), first, "read-write") + " connect_timeout=2";
    assert_eq!(reached(text).await.unwrap(), first);
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&began.elapsed()), "{:?}", began.elapsed());
    // In any order both are reached.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        seen.insert(reached(hosts(first, second, "any") + " load_balance_hosts=random").await.unwrap());
    }
    assert_eq!(seen.len(), 2);
    // Nobody suits: each server is told.
    let error = reached(hosts(refusing, first, "standby")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    for text in ["1006: the server is a primary", "target_session_attrs", &refusing.to_string(), "refused"] {
        assert!(error.report().contains(text), "{text}: {}", error.report());
    }
    // After a failover the same words lead to the promoted one, and prefer-standby takes what there is.
    drop(primary);
    standby.promote();
    assert_eq!(reached(hosts(first, second, "read-write")).await.unwrap(), second);
    assert_eq!(reached(hosts(first, second, "prefer-standby")).await.unwrap(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_leads_there_whatever_sslmode_says() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), strandline_testbed::user(), None).unwrap();
    let setting = ("unix_socket_directories".to_owned(), directory.path().display().to_string());
    let postgres = Postgres::start(PostgresOptions { settings: vec![setting], ..PostgresOptions::default() });
    let (path, port) = (directory.path().display(), postgres.port());
    let encoded = path.to_string().replace('/', "%2F");
    for text in [
        format!("host={path} port={port} user=postgres dbname=postgres sslmode=verify-full"),
        format!("postgres://postgres@{encoded}:{port}/postgres?sslmode=require"),
        format!("postgres://postgres@/postgres?host={path}&port={port}"),
    ] {
        let database = Database { url: Some(Secret::new(text.clone())), ..Database::default() };
        let connection = Connection::open(&database, "test").await.unwrap();
        let row = connection.client().query_one("SELECT inet_server_port()", &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<i32>>(0), None, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_signed_itself_is_pinned_and_rotated_while_streaming() {
    let postgres = Postgres::start(PostgresOptions::default());
    let own = postgres.create_database("pinned");
    let client = connect(&own.url).await;
    let directory = tempfile::tempdir().unwrap();
    let pinned = directory.path().join("server.pem");
    let install = async |certified: &Certified| {
        give(postgres.data_dir(), "server.crt", &certified.pem());
        give(postgres.data_dir(), "server.key", &certified.key_pem());
        client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    let (old, new) = (Certified::lonely("heroku"), Certified::lonely("heroku"));
    install(&old).await;
    std::fs::write(&pinned, old.pem()).unwrap();
    let url = |parameters: &str| format!("{}?{parameters}", own.url);
    let open = async |parameters: &str| {
        let database = Database { url: Some(Secret::new(url(parameters))), ..Database::default() };
        Connection::open(&database, "test").await
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = open("sslmode=require").await {
        assert!(Instant::now() < deadline, "{}", error.report());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(open("sslmode=verify-ca").await.unwrap_err().to_string().starts_with("1023"));
    let verified = format!("sslmode=verify-ca&sslrootcert={}", pinned.display());
    open(&verified).await.unwrap();
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    let pinning = strandline_testbed::Database { url: url(&verified), name: own.name.clone() };
    let stage = Stage::on("pinned", pinning, Kafka::shared().bootstrap());
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    install(&new).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while open(&verified).await.is_ok() {
        assert!(Instant::now() < deadline, "the new certificate is not shown");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client
        .batch_execute(
            "INSERT INTO t VALUES (2);
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'strandline%'",
        )
        .await
        .unwrap();
    running.await_log("1023");
    std::fs::write(&pinned, new.pem()).unwrap();
    until("rows", || records(&stage.kafka, &stage.topic("t")).len() >= 2);
    let (code, log) = running.stop();
    let ids: Vec<i64> = records(&stage.kafka, &stage.topic("t")).iter().map(|record| record.long("id")).collect();
    assert_eq!((ids, code), (vec![1, 2], Some(0)), "{log}");
}
