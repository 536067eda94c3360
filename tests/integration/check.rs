//! `check`: what hurts is warned of before the first row, and everything that is wrong is in one list.

use std::process::Output;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;

use crate::stage::Stage;
use crate::topic::ask;

/// What it says as text, and as JSON.
fn checked(stage: &Stage) -> (Option<i32>, String, Value) {
    let text = stage.strandline(&["check"]);
    let json = stage.strandline(&["check", "--json"]);
    assert_eq!(text.status.code(), json.status.code());
    let told = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let said = told(&text);
    let value = serde_json::from_str(&told(&json)).unwrap_or_else(|error| panic!("{error}: {}", told(&json)));
    (text.status.code(), said, value)
}

/// The messages of one level, each after what was looked at.
fn messages(json: &Value, level: &str) -> Vec<String> {
    let all = json["checks"].as_array().unwrap().iter().filter(|one| one["level"] == level);
    all.map(|one| format!("{}: {}", one["check"].as_str().unwrap(), one["message"].as_str().unwrap())).collect()
}

async fn make(stage: &Stage, topics: &[NewTopic<'_>]) {
    let admin: AdminClient<DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &stage.kafka).create().unwrap();
    for made in admin.create_topics(topics, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_in_order_is_so_in_every_line() {
    let stage = Stage::new("in_order");
    stage.client().await.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    stage.settle();
    let (code, said, json) = checked(&stage);
    assert_eq!((code, &json["failed"], &json["warnings"]), (Some(0), &0.into(), &0.into()), "{said}");
    assert_eq!(json["connector"], stage.name.as_str());
    for (what, words) in [
        ("postgresql: ", "role postgres"),
        ("history: ", "primary"),
        ("table: ", "public.t → "),
        ("kafka: ", "1 broker(s) answer"),
        ("offsets topic: ", "will be made"),
        ("schema registry: ", "answers"),
    ] {
        let found = messages(&json, "ok").into_iter().any(|one| one.starts_with(what) && one.contains(words));
        assert!(found, "{what}{words}: {json}");
        assert!(
            said.lines().any(|line| line.starts_with(&format!("ok      {what}")) && line.contains(words)),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_hurt_is_warned_of_and_fails_nothing() {
    let stage = Stage::alone("hurts");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE seen (id int PRIMARY KEY, at timestamptz NOT NULL);
             CREATE TABLE big (id int PRIMARY KEY, v text);
             INSERT INTO big SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g",
        )
        .await
        .unwrap();
    stage.configure(
        "tasks.max = 8\npoll.interval = '10ms'\ntopic.creation.default.partitions = 6\n\
         objects.seen = { table = 'seen', mode = 'timestamp', timestamp_column = 'at' }",
    );
    let (seen, offsets) = (stage.topic("seen"), format!("{}-offsets", stage.name));
    let topics = [
        NewTopic::new(&seen, 2, TopicReplication::Fixed(1)).set("cleanup.policy", "compact"),
        NewTopic::new(&offsets, 3, TopicReplication::Fixed(1)).set("cleanup.policy", "compact"),
    ];
    make(&stage, &topics).await;
    // Somebody wrote, and thinks; ten thousand transactions go by.
    let sleeper = stage.client().await;
    sleeper.batch_execute("BEGIN; INSERT INTO seen VALUES (1, now())").await.unwrap();
    client
        .batch_execute("DO $$ BEGIN FOR i IN 1..10050 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
        .await
        .unwrap();
    let subject = format!("{seen}-value");
    let first = r#"{"schema":"{\"type\":\"record\",\"name\":\"Value\",\"namespace\":\"n\",\"fields\":[]}"}"#;
    ask("PUT", &format!("/config/{subject}"), r#"{"compatibility":"NONE"}"#);
    ask("POST", &format!("/subjects/{subject}/versions"), first);
    ask("PUT", &format!("/config/{subject}"), r#"{"compatibility":"FORWARD"}"#);
    let (code, said, json) = checked(&stage);
    assert_eq!((code, &json["failed"]), (Some(0), &0.into()), "{said}");
    let warnings = messages(&json, "warning");
    for (what, words) in [
        ("window: ", "a transaction of postgres in "),
        ("index: public.seen: ", "no index begins with at, so every poll reads the whole table: CREATE INDEX"),
        ("interval: public.big: ", "instead of 10ms"),
        ("offsets topic: ", "tasks.max is 8, and "),
        ("topic: public.seen: ", "has 2 partition(s), and topic.creation.default.partitions asks for 6"),
        ("compatibility: ", "compatibility mode is FORWARD for public.seen: it will refuse DROP NOT NULL"),
    ] {
        let found = warnings.iter().filter(|one| one.starts_with(what) && one.contains(words)).count();
        assert_eq!(found, 1, "{what}{words}: {warnings:#?}");
    }
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    assert_eq!(said.lines().filter(|line| line.starts_with("warning ")).count(), 6, "{said}");
    assert!(said.ends_with("0 failed, 6 warnings, 7 ok\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_registry_will_refuse_is_told_before_the_first_row() {
    let stage = Stage::new("refusal");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, n bigint); CREATE TABLE k (a int PRIMARY KEY, b int NOT NULL)",
        )
        .await
        .unwrap();
    client.batch_execute("INSERT INTO t VALUES (1, 1); INSERT INTO k VALUES (1, 1)").await.unwrap();
    stage.run_once();
    assert_eq!(checked(&stage).0, Some(0), "what was registered is compatible with itself");
    // A column more that is NOT NULL is made to fit: that is no failure.
    client
        .batch_execute(
            "ALTER TABLE k ADD COLUMN at timestamptz NOT NULL DEFAULT now(); ALTER TABLE t ALTER COLUMN n TYPE text",
        )
        .await
        .unwrap();
    let (code, said, json) = checked(&stage);
    let failed = messages(&json, "failed");
    assert_eq!((code, failed.len()), (Some(1), 1), "{said}");
    let expected = format!("will refuse the schema for subject {}-value", stage.topic("t"));
    assert!(failed[0].contains(&expected) && said.contains("compatibility level"), "{said}");
    // `schema` says the same of each.
    for (table, next) in [("t", "refused"), ("k", "nullable")] {
        let output = stage.strandline(&["schema", table, "--json"]);
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&shown["value"]["next"], &shown["key"]["next"]), (&next.into(), &"there".into()), "{shown}");
    }
    client.batch_execute("ALTER TABLE k DROP CONSTRAINT k_pkey, ADD PRIMARY KEY (b)").await.unwrap();
    let failed = messages(&checked(&stage).2, "failed");
    assert!(failed.iter().any(|one| one.contains(&format!("{}-key", stage.topic("k")))), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_a_topic_will_do_to_its_object() {
    let stage = Stage::new("outlook");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE keyless (a int); CREATE TABLE fine (id int PRIMARY KEY)")
        .await
        .unwrap();
    let output = stage.strandline(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("will be made") && said.contains("0 failed, 0 warnings"),
        "{said}"
    );
    let (keyed, keyless, offsets) = (stage.topic("keyed"), stage.topic("keyless"), format!("{}-offsets", stage.name));
    let topics = [
        NewTopic::new(&keyed, 1, TopicReplication::Fixed(1))
            .set("cleanup.policy", "delete")
            .set("retention.ms", "7200000"),
        NewTopic::new(&keyless, 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact"),
        NewTopic::new(&offsets, 1, TopicReplication::Fixed(1)).set("cleanup.policy", "delete"),
    ];
    make(&stage, &topics).await;
    let (code, said, _) = checked(&stage);
    assert_eq!(code, Some(1), "{said}");
    for words in [
        "public.keyed",
        "after 2 h",
        "public.keyless",
        "is compacted",
        "cleanup.policy `delete`",
        "2 failed, 1 warnings",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
