//! Each guard of the reading algorithm: what goes wrong without it, and that a test would see it.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apache_avro::types::Value;

use crate::stage::{Stage, connect, until};
use crate::topic::{committed, raw, records};

/// VACUUM FULL moves rows to lower blocks, behind the place where a load goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_rewritten_in_mid_load_is_read_again_from_its_beginning() {
    let stage = Stage::new("moved");
    let client = stage.client().await;
    let rows = 1_000_000;
    client
        .batch_execute(&format!(
            "CREATE TABLE big (id bigint PRIMARY KEY, v text); INSERT INTO big SELECT i, repeat('x', 40) FROM generate_series(1, {rows}) i"
        ))
        .await
        .unwrap();
    stage.settle();
    let running = stage.run(&[]);
    until("some rows", || committed(&stage.kafka, &stage.topic("big")) > 0);
    running.kill();
    let before = committed(&stage.kafka, &stage.topic("big"));
    assert!(before < rows, "the load was over already");
    client.batch_execute(&format!("DELETE FROM big WHERE id <= {before} / 2")).await.unwrap();
    client.batch_execute("VACUUM FULL big").await.unwrap();
    let log = stage.run_once();
    let delivered: HashSet<i64> =
        records(&stage.kafka, &stage.topic("big")).iter().map(|record| record.long("id")).collect();
    let missing = (1..=rows).filter(|id| !delivered.contains(id)).count();
    assert_eq!(missing, 0, "rows are missing");
    assert!(log.contains("the table was rewritten"), "{log}");
}

/// What happens:
/// 1. a row is written, and an ALTER TABLE holds the table;
/// 2. the chunk that is to read the row queues for its lock;
/// 3. the ALTER TABLE commits: the column of this name is another one now, of as many bytes.
///
/// A description that is older than the lock would take the new column's bytes for the old type.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_waits_for_an_alter_table_reads_the_table_as_it_is_afterwards() {
    let stage = Stage::new("queued");
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 7)").await.unwrap();
    let running = stage.run(&[]);
    until("the load", || raw(&stage.kafka, &stage.topic("t")).len() == 1);
    client
        .batch_execute(
            "BEGIN; INSERT INTO t VALUES (2, 7); COMMIT; \
             BEGIN; ALTER TABLE t DROP COLUMN v; ALTER TABLE t ADD COLUMN v real DEFAULT 1.5",
        )
        .await
        .unwrap();
    let watcher = stage.client().await;
    let queued =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while watcher.query_one(queued, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(std::time::Instant::now() < deadline, "no chunk queued:\n{}", running.log());
    }
    client.batch_execute("COMMIT").await.unwrap();
    until("the row", || raw(&stage.kafka, &stage.topic("t")).len() >= 2 || running.log().contains("object failed"));
    eprintln!("{}", running.stop().1);
    let last = records(&stage.kafka, &stage.topic("t")).pop().unwrap();
    assert_eq!((last.long("id"), last.get("v")), (2, Value::Float(1.5)), "the row that was waited for");
}

/// The predecessor goes on committing until the very moment at which it is fenced.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_starts_in_the_middle_of_a_stream_repeats_nothing() {
    let stage = Stage::new("relay");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text); \
             INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 50)",
        )
        .await
        .unwrap();
    let mut first = stage.run(&[]);
    first.await_log("caught_up");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (url, stop) = (stage.database.url.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let client = connect(&url).await;
            while !stop.load(Ordering::Relaxed) {
                client.batch_execute("INSERT INTO t (v) VALUES ('x')").await.unwrap();
            }
        })
    };
    let mut second = stage.run(&["--set", "tasks.max=2"]);
    let code = first.wait(Duration::from_secs(60));
    second.await_log("delta");
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let (ended, log) = second.stop();
    let all = records(&stage.kafka, &stage.topic("t"));
    let ids: BTreeSet<i64> = all.iter().map(|record| record.long("id")).collect();
    eprintln!("{}\n{log}", first.log());
    assert_eq!(all.len() - ids.len(), 0, "rows came twice");
    assert_eq!((code, ended), (Some(3), Some(0)));
}

/// A guard, the code without it, and the test that fails then.
struct Guard {
    name: &'static str,
    file: &'static str,
    guarded: &'static str,
    unguarded: &'static str,
    test: &'static str,
}

const GUARDS: &[Guard] = &[
    Guard {
        name: "history guard",
        file: "src/task.rs",
        guarded: "object.judge(moment, lag);",
        unguarded: "let _ = (object, moment, lag);",
        test: "failure::a_crash_of_the_server_loses_nothing",
    },
    Guard {
        name: "filenode check",
        file: "src/object.rs",
        guarded: "let rewritten = sweep.filenode != 0 && sweep.filenode != head.place.filenode;",
        unguarded: "let rewritten = false;",
        test: "guards::a_table_rewritten_in_mid_load_is_read_again_from_its_beginning",
    },
    Guard {
        name: "lock before snapshot",
        file: "src/poll/sql.rs",
        guarded: "{LOCK_TIMEOUT} {PINNED} {lock} \\\n         SELECT {MOMENT}",
        unguarded: "{LOCK_TIMEOUT} {PINNED} SELECT FROM pg_catalog.pg_class LIMIT 0; {lock} \\\n         SELECT {MOMENT}",
        test: "guards::a_chunk_that_waits_for_an_alter_table_reads_the_table_as_it_is_afterwards",
    },
    Guard {
        name: "describe in the chunk",
        file: "src/task/step.rs",
        guarded: "object.plan.as_ref().is_none_or(|plan| plan.description != head.description)",
        unguarded: "object.plan.is_none()",
        test: "guards::a_chunk_that_waits_for_an_alter_table_reads_the_table_as_it_is_afterwards",
    },
    Guard {
        name: "fence, then read",
        file: "src/owner.rs",
        guarded: "        producer.init(PATIENCE)?;
        let fenced = started.elapsed();
        let Stored { offsets, claim } = shared.read_offsets(partition)?;
",
        unguarded: "        let Stored { offsets, claim } = shared.read_offsets(partition)?;
        std::thread::sleep(Duration::from_secs(3));
        producer.init(PATIENCE)?;
        let fenced = started.elapsed();
",
        test: "guards::a_successor_that_starts_in_the_middle_of_a_stream_repeats_nothing",
    },
    Guard {
        name: "a companion's own ages",
        file: "src/postgres/chunk.rs",
        guarded: "Ok(Ages { from: read(row, \"age_from\")?, to: read(row, \"age_to\")? })",
        unguarded: "Ok(head.ages)",
        test: "companions::a_companion_counts_the_windows_ages_for_itself",
    },
    Guard {
        name: "no queueing of companions",
        file: "src/poll/sql.rs",
        guarded: "{lock} NOWAIT;",
        unguarded: "{lock};",
        test: "companions::a_companion_does_not_queue_behind_an_alter_table_that_waits_for_the_opener",
    },
    Guard {
        name: "behind a commit",
        file: "src/kafka/producer/sender.rs",
        guarded: "matches!(self.closing, Some(Closing::Commit(_)))",
        unguarded: "false",
        test: "producing::what_is_appended_while_a_commit_is_under_way_is_the_next_transactions",
    },
    Guard {
        name: "stall limit",
        file: "src/reading.rs",
        guarded: "*waited > self.shared.config.source_stall",
        unguarded: "*waited > Duration::MAX",
        test: "failure::a_stalled_kafka_does_not_make_the_application_wait",
    },
];

#[test]
fn each_guard_is_where_the_list_says() {
    for guard in GUARDS {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(guard.file)).unwrap();
        assert_eq!(text.matches(guard.guarded).count(), 1, "{} in {}", guard.name, guard.file);
    }
}

/// The page promises nothing that no test attacks.
#[test]
fn each_test_that_the_guarantees_name_is_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(here.join("docs/guarantees.md")).unwrap();
    let named = page.split('`').filter_map(|word| word.split_once("::")).filter(|(_, test)| !test.contains(' '));
    let mut count = 0;
    for (room, test) in named {
        let file = here.join(format!("tests/integration/{room}.rs"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(text.contains(&format!("fn {test}()")), "{room}::{test}");
        count += 1;
    }
    assert!(count > 25, "{count}");
}

/// Builds Strandline once without each of its guards: the tests must see it. Takes minutes, hence only on request:
/// `cargo test --test integration -- --ignored without_a_guard --nocapture`.
#[test]
#[ignore = "builds Strandline ten times"]
fn without_a_guard_a_test_fails() {
    let copy = tempfile::TempDir::new().unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut copied = Command::new("cp");
    copied.args([
        "-r",
        "--parents",
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "tests",
        "benches",
        "examples",
        "config",
        "docs",
    ]);
    copied.args(["schemas", "fuzz/fuzz_targets"]).arg(copy.path()).current_dir(here);
    assert!(copied.status().unwrap().success());
    let outcome = |test: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--test", "integration", "--target-dir"]).arg(target_dir());
        let output = cargo.args(["--", "--exact", test]).current_dir(copy.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let passed = said.contains("test result: ok. 1 passed");
        assert!(
            passed || said.contains("test result: FAILED. 0 passed; 1 failed"),
            "{test} was not run:\n{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // The message, and what an assertion adds to it.
        let why = said.lines().skip_while(|line| !line.contains("panicked at")).skip(1).take(3);
        let why = why.take_while(|line| !line.starts_with("stack")).map(str::trim).collect::<Vec<_>>().join(" ");
        (passed, why)
    };
    let tests: BTreeSet<&str> = GUARDS.iter().map(|guard| guard.test).collect();
    for test in tests {
        assert!(outcome(test).0, "{test} fails with every guard in its place");
    }
    let mut unseen = Vec::new();
    for guard in GUARDS {
        let path = copy.path().join(guard.file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(guard.guarded, guard.unguarded)).unwrap();
        let (passed, why) = outcome(guard.test);
        std::fs::write(&path, text).unwrap();
        eprintln!("without {:22} {} {}: {why}", guard.name, if passed { "PASSES" } else { "fails" }, guard.test);
        if passed {
            unseen.push(guard.name);
        }
    }
    assert!(unseen.is_empty(), "nobody saw that these were gone: {unseen:?}");
}

/// One of their own: no other test may get hold of a binary that lacks a guard.
fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().join("unguarded")
}
