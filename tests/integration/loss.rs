//! Loss and duplication, proven by counting row versions under hostile writers, kills and restarts.
//!
//! Every version of a row carries a number of its own, ascending per key. At the end every version that the tables hold has
//! to be in the topics, the numbers of a key have to ascend, and none may come twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use strandline_testbed::{Kafka, Postgres, PostgresOptions};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::stage::{Stage, connect};
use crate::topic::records;

pub const SCHEMA: &str = "
    CREATE SEQUENCE versions;
    CREATE TABLE t (id bigint PRIMARY KEY, ver bigint NOT NULL DEFAULT nextval('versions'), pad text DEFAULT repeat('x', 100));
    CREATE TABLE k (id bigint, ver bigint NOT NULL DEFAULT nextval('versions'));
    CREATE TABLE p (id bigint, region int, ver bigint NOT NULL DEFAULT nextval('versions'), PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0);
    CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
    CREATE FUNCTION bump(n int) RETURNS void LANGUAGE plpgsql AS $$
      BEGIN
        FOR i IN 1..n LOOP
          BEGIN
            UPDATE t SET ver = nextval('versions') WHERE id = i;
            IF i % 3 = 0 THEN RAISE EXCEPTION 'undo'; END IF;
          EXCEPTION WHEN raise_exception THEN NULL;
          END;
        END LOOP;
      END $$;
    INSERT INTO t (id) SELECT generate_series(1, 300);
    INSERT INTO k (id) SELECT generate_series(1, 300);
    INSERT INTO p (id, region) SELECT i, i % 2 FROM generate_series(1, 200) i;
";

/// A key: table, id, region.
pub type Key = (&'static str, i64, i64);

/// The versions of each key, in the order of the topic.
pub type Delivered = BTreeMap<Key, Vec<i64>>;

fn seconds() -> u64 {
    std::env::var("STRANDLINE_TEST_LOSS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// One thing that an application might do; errors (deadlocks, unique violations) are part of it.
pub async fn act(client: &Client, writer: usize, random: &mut StdRng) -> Result<(), tokio_postgres::Error> {
    let id: i64 = random.random_range(1..=300);
    let other: i64 = random.random_range(1..=300);
    let new: i64 = random.random_range(1_000..2_000);
    let pause = Duration::from_millis(if random.random_bool(0.1) {
        random.random_range(300..1500)
    } else {
        random.random_range(0..40)
    });
    match random.random_range(0..10) {
        0 | 1 => {
            client.batch_execute(&format!("BEGIN; INSERT INTO t (id) VALUES ({new}) ON CONFLICT DO NOTHING; UPDATE t SET ver = nextval('versions') WHERE id = {id}")).await?;
            tokio::time::sleep(pause).await;
            client.batch_execute("COMMIT").await
        }
        2 => {
            client
                .batch_execute(&format!(
                    "BEGIN; UPDATE t SET ver = nextval('versions') WHERE id = {id}; SAVEPOINT a; UPDATE t SET ver = nextval('versions') WHERE id = {other}; \
                     ROLLBACK TO a; SAVEPOINT b; UPDATE p SET ver = nextval('versions') WHERE id = {id}; RELEASE b"
                ))
                .await?;
            tokio::time::sleep(pause).await;
            client.batch_execute("COMMIT").await
        }
        3 => client.batch_execute("SELECT bump(80)").await,
        4 => {
            let gid = format!("{writer}-{}", random.random::<u64>());
            client
                .batch_execute(&format!(
                    "BEGIN; UPDATE t SET ver = nextval('versions') WHERE id = {id}; SAVEPOINT s; UPDATE p SET ver = nextval('versions') WHERE id = {other}; PREPARE TRANSACTION '{gid}'"
                ))
                .await?;
            tokio::time::sleep(pause).await;
            let end = if random.random_bool(0.7) { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(&format!("{end} PREPARED '{gid}'")).await
        }
        5 => {
            client
                .batch_execute(&format!(
                    "UPDATE t SET ver = nextval('versions') WHERE id BETWEEN {id} AND {id} + 20;
                     UPDATE k SET ver = nextval('versions') WHERE id BETWEEN {other} AND {other} + 20"
                ))
                .await
        }
        6 => {
            let upsert = "ON CONFLICT (id) DO UPDATE SET ver = nextval('versions')";
            client
                .batch_execute(&format!(
                    "INSERT INTO t (id) VALUES ({new}) {upsert}; INSERT INTO t (id) VALUES ({id}) {upsert}"
                ))
                .await
        }
        7 => {
            client
                .batch_execute(&format!("BEGIN; DELETE FROM t WHERE id = {new}; INSERT INTO t (id) VALUES ({new})"))
                .await?;
            tokio::time::sleep(pause).await;
            client.batch_execute("COMMIT").await
        }
        8 => {
            client
                .batch_execute(&format!("UPDATE p SET region = 1 - region, ver = nextval('versions') WHERE id = {id}"))
                .await
        }
        _ => {
            client
                .batch_execute(&format!(
                    "BEGIN; UPDATE t SET ver = nextval('versions') WHERE id = {id}; DELETE FROM p WHERE id = {other}"
                ))
                .await?;
            tokio::time::sleep(pause).await;
            client.batch_execute("ROLLBACK").await
        }
    }
}

/// Eight writers, a session in another database that holds transactions open, and maintenance.
fn torment(stage: &Stage, rewrites: bool, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    let mut sessions = Vec::new();
    for writer in 0..8 {
        let (url, stop) = (stage.database.url.clone(), Arc::clone(stop));
        sessions.push(tokio::spawn(async move {
            let client = connect(&url).await;
            let mut random = StdRng::seed_from_u64(seed + writer as u64);
            let zone = ["UTC", "Asia/Tokyo", "America/New_York", "UTC"][writer % 4];
            let settings =
                format!("SET deadlock_timeout = '50ms'; SET synchronous_commit = off; SET timezone = '{zone}'");
            client.batch_execute(&settings).await.unwrap();
            while !stop.load(Ordering::Relaxed) {
                if act(&client, writer, &mut random).await.is_err() {
                    let _ = client.batch_execute("ROLLBACK").await;
                }
            }
        }));
    }
    let elsewhere = stage.database.url.replace(&stage.database.name, "postgres");
    let (stranger, stopped) = (elsewhere, Arc::clone(stop));
    sessions.push(tokio::spawn(async move {
        let client = connect(&stranger).await;
        while !stopped.load(Ordering::Relaxed) {
            client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            client.batch_execute("COMMIT").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }));
    let (url, stopped) = (stage.database.url.clone(), Arc::clone(stop));
    sessions.push(tokio::spawn(async move {
        let client = connect(&url).await;
        client.batch_execute("SET lock_timeout = '2s'").await.unwrap();
        let rewriting = ["VACUUM FULL t", "CLUSTER t USING t_pkey", "VACUUM FULL p0", "VACUUM FREEZE t"];
        let harmless = ["VACUUM FREEZE t", "VACUUM p0", "ANALYZE t", "REINDEX TABLE t"];
        for statement in if rewrites { rewriting } else { harmless }.iter().cycle() {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let _ = client.batch_execute(statement).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }));
    sessions
}

/// Every version that the tables hold.
pub async fn held(client: &Client) -> BTreeSet<(Key, i64)> {
    let mut held = BTreeSet::new();
    for (table, sql) in [
        ("t", "SELECT id, 0::bigint, ver FROM t"),
        ("k", "SELECT id, 0::bigint, ver FROM k"),
        ("p", "SELECT id, region::bigint, ver FROM p"),
    ] {
        for row in client.query(sql, &[]).await.unwrap() {
            held.insert(((table, row.get(0), row.get(1)), row.get(2)));
        }
    }
    held
}

pub fn delivered(stage: &Stage) -> Delivered {
    let mut delivered = Delivered::new();
    for record in records(&stage.kafka, &stage.topic("t")) {
        delivered.entry(("t", record.long("id"), 0)).or_default().push(record.long("ver"));
    }
    for record in records(&stage.kafka, &stage.topic("k")) {
        delivered.entry(("k", record.long("id"), 0)).or_default().push(record.long("ver"));
    }
    for record in records(&stage.kafka, &stage.topic("p")) {
        delivered.entry(("p", record.long("id"), record.long("region"))).or_default().push(record.long("ver"));
    }
    delivered
}

/// How many versions are missing, come twice, or come after a later one of their key.
pub fn count(held: &BTreeSet<(Key, i64)>, delivered: &Delivered) -> (usize, usize, usize) {
    let missing =
        held.iter().filter(|(key, ver)| !delivered.get(key).is_some_and(|versions| versions.contains(ver))).count();
    let twice =
        delivered.values().map(|versions| versions.len() - versions.iter().collect::<BTreeSet<_>>().len()).sum();
    let disorder =
        delivered.values().map(|versions| versions.windows(2).filter(|pair| pair[1] < pair[0]).count()).sum();
    (missing, twice, disorder)
}

/// Columns for cursors to go by, as applications write them: by `now()`, which is long before the commit; now and then by a
/// clock that is late, or not at all; by sessions in other time zones; from a sequence that each session caches.
pub const CURSORS: &str = "
    CREATE SEQUENCE cached CACHE 20;
    ALTER TABLE t ADD at timestamptz, ADD local timestamp NOT NULL DEFAULT localtimestamp, ADD n bigint NOT NULL DEFAULT nextval('cached');
    ALTER TABLE k ADD at timestamptz, ADD local timestamp NOT NULL DEFAULT localtimestamp, ADD n bigint NOT NULL DEFAULT nextval('cached');
    ALTER TABLE p ADD at timestamptz, ADD local timestamp NOT NULL DEFAULT localtimestamp, ADD n bigint NOT NULL DEFAULT nextval('cached');
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NEW.n := nextval('cached');
        NEW.local := localtimestamp;
        NEW.at := CASE WHEN random() < 0.1 THEN NULL WHEN random() < 0.1 THEN now() - interval '1 day'
                       WHEN random() < 0.3 THEN date_trunc('second', now()) ELSE now() END;
        RETURN NEW;
      END $$;
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON k FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON p FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE INDEX ON t (at); CREATE INDEX ON k (at); CREATE INDEX ON k (n); CREATE INDEX ON k (local); CREATE INDEX ON t (n); CREATE INDEX ON t (local); CREATE INDEX ON p (at); CREATE INDEX ON p (n); CREATE INDEX ON p (local);
";

/// Rows that the steps of a stream read, as the log tells.
fn rows_of(log: &str, stream: &str) -> usize {
    let of_stream = log.lines().filter(|line| line.contains(&format!("stream={stream} ")));
    of_stream.filter_map(|line| line.split("rows=").nth(1)?.split(' ').next()?.parse::<usize>().ok()).sum()
}

/// A cursor mode under the same torment: poll and sweep together deliver each version once.
async fn ordeal_by_cursor(name: &str, columns: &str) {
    let settings = format!("{columns}\nsweep.interval = '2s'");
    let (missing, twice, disorder, log) = ordeal_with(name, false, CURSORS, &settings).await;
    let rows = ["Settled", "Poll", "Index", "Eager", "Sweep"].map(|stream| (stream, rows_of(&log, stream)));
    eprintln!("{name}: rows by stream {rows:?}");
    assert_eq!((missing, twice, disorder), (0, 0, 0));
    assert!(rows[2].1 > 0, "nothing came by the index");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_loses_nothing_and_delivers_nothing_twice() {
    ordeal_by_cursor("local", "tables.mode = 'timestamp'\ntables.timestamp_column = 'local'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_sequence_loses_nothing_and_delivers_nothing_twice() {
    ordeal_by_cursor("cached", "tables.mode = 'incrementing'\ntables.incrementing_column = 'n'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_that_may_be_null_and_an_id_lose_nothing_and_deliver_nothing_twice() {
    let columns =
        "tables.mode = 'timestamp+incrementing'\ntables.timestamp_column = 'at'\ntables.incrementing_column = 'n'";
    ordeal_by_cursor("nullable", columns).await;
}

/// A clock that is the server's own, in transactions that last: no sweep is needed.
const HONEST: &str = "
    ALTER TABLE t ADD at timestamptz NOT NULL DEFAULT now();
    ALTER TABLE p ADD at timestamptz NOT NULL DEFAULT now();
    ALTER TABLE k ADD at timestamptz NOT NULL DEFAULT now();
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON k FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON p FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE INDEX ON t (at); CREATE INDEX ON k (at); CREATE INDEX ON p (at);
";

#[tokio::test(flavor = "multi_thread")]
async fn cursors_that_the_server_writes_need_no_sweep_however_late_their_commit() {
    let settings = "tables.mode = 'timestamp'\ntables.timestamp_column = 'at'\nsweep.interval = '1h'";
    let (missing, twice, disorder, log) = ordeal_with("honest", false, HONEST, settings).await;
    eprintln!("honest: {} rows by the index, {} by a sweep", rows_of(&log, "Index"), rows_of(&log, "Sweep"));
    assert_eq!((missing, twice, disorder), (0, 0, 0));
    assert!(!log.contains("stream=Sweep"));
}

/// The connector under torment, killed at random moments and restarted with another number of tasks.
async fn ordeal(name: &str, rewrites: bool) -> (usize, usize, usize, String) {
    ordeal_with(name, rewrites, "", "").await
}

async fn ordeal_with(name: &str, rewrites: bool, more: &str, settings: &str) -> (usize, usize, usize, String) {
    ordeal_on(&Stage::new(name), rewrites, more, settings).await
}

async fn ordeal_on(stage: &Stage, rewrites: bool, more: &str, settings: &str) -> (usize, usize, usize, String) {
    stage.configure(settings);
    let client = stage.client().await;
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute(more).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let sessions = torment(stage, rewrites, &stop);
    let mut random = StdRng::from_os_rng();
    let mut log = String::new();
    let (started, mut kills) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(seconds()) {
        let tasks = format!("tasks.max={}", random.random_range(1..=4));
        let running = stage.run(&["--set", &tasks]);
        tokio::time::sleep(Duration::from_millis(random.random_range(700..4000))).await;
        log += &running.kill();
        kills += 1;
    }
    if !more.is_empty() {
        // One life long enough for a bound: what runs at its start has to end first.
        let mut running = stage.run(&[]);
        running.await_log("stream=Index");
        log += &running.stop().1;
    }
    stop.store(true, Ordering::Relaxed);
    for session in sessions {
        session.await.unwrap();
    }
    // What a writer left prepared when it stopped.
    for row in client.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", &[]).await.unwrap()
    {
        client.batch_execute(&format!("COMMIT PREPARED '{}'", row.get::<_, String>(0))).await.unwrap();
    }
    // Other tests' transactions may hold the window back for a moment: until nothing is missing any more, or for long enough.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        log += &stage.run_once();
        let (missing, twice, disorder) = count(&held(&client).await, &delivered(stage));
        if missing == 0 || Instant::now() > deadline {
            let versions: usize = delivered(stage).values().map(Vec::len).sum();
            eprintln!(
                "{}: {versions} versions delivered through {kills} kills: {missing} missing, {twice} twice, {disorder} out of order",
                stage.name
            );
            assert!(versions > 500 && kills >= 3, "too little happened to prove anything");
            return (missing, twice, disorder, log);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_version_is_lost_and_none_comes_twice() {
    let (missing, twice, disorder, log) = ordeal("loss", false).await;
    assert_eq!(
        (missing, twice, disorder),
        (0, 0, 0),
        "{}",
        log.lines().filter(|line| line.contains("WARN")).collect::<Vec<_>>().join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_version_is_lost_while_tables_are_rewritten_and_only_that_explains_one_that_comes_twice() {
    let (missing, twice, _, log) = ordeal("rewrite", true).await;
    assert_eq!(missing, 0);
    let rewritten = log.matches("the table was rewritten").count();
    assert!(twice == 0 || rewritten > 0, "{twice} came twice, and no rewrite was logged");
}

/// The test of the test: what other pollers ask loses rows under the same torment, and the count shows it.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_count_shows_the_loss_of_asking_for_what_is_newer_than_the_newest() {
    let stage = Stage::new("naive");
    let client = stage.client().await;
    client.batch_execute(SCHEMA).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let sessions = torment(&stage, false, &stop);
    let mut delivered = Delivered::new();
    let mut newest = 0_i64;
    let started = Instant::now();
    let mut poll = async |newest: &mut i64| {
        let sql =
            "SELECT id, ver, xmin::text::bigint FROM t WHERE xmin::text::bigint > $1 ORDER BY xmin::text::bigint, ver";
        for row in client.query(sql, &[newest]).await.unwrap() {
            delivered.entry(("t", row.get(0), 0)).or_default().push(row.get(1));
            *newest = row.get(2);
        }
    };
    while started.elapsed() < Duration::from_secs(8) {
        poll(&mut newest).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for session in sessions {
        session.await.unwrap();
    }
    poll(&mut newest).await;
    let held = held(&client).await.into_iter().filter(|((table, ..), _)| *table == "t").collect();
    let (missing, ..) = count(&held, &delivered);
    eprintln!("newer than the newest: {missing} of {} versions missing", held.len());
    assert!(missing > 0, "the torment is too mild to prove anything");
}

/// On the oldest version and the newest; `STRANDLINE_TEST_MAJORS=14,15,16,17,18` takes these.
#[tokio::test(flavor = "multi_thread")]
async fn no_version_is_lost_from_other_majors_of_postgresql() {
    let majors = std::env::var("STRANDLINE_TEST_MAJORS").unwrap_or("14,18".into());
    for major in majors.split(',').map(|major| major.parse().unwrap()) {
        let postgres = Postgres::start(PostgresOptions { major: Some(major), ..PostgresOptions::default() });
        let stage = Stage::on("major", postgres.create_database("major"), Kafka::shared().bootstrap());
        let version: String = stage.client().await.query_one("SHOW server_version", &[]).await.unwrap().get(0);
        assert!(version.starts_with(&major.to_string()), "{version}");
        let (missing, twice, disorder, log) = ordeal_on(&stage, false, "", "").await;
        assert_eq!((missing, twice, disorder), (0, 0, 0), "PostgreSQL {version}:\n{log}");
        eprintln!("PostgreSQL {version}: nothing lost, nothing twice");
    }
}
