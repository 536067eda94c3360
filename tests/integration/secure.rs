//! Several servers behind one address, and which of them is taken.

#![allow(clippy::unwrap_used)] // a test that cannot set its stage fails

use strandline_testbed::{Postgres, PostgresOptions};

use crate::stage::connect;

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
