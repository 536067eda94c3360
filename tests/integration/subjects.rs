//! Under which subjects schemas lie, and who registers them.

use serde_json::Value;

use crate::stage::Stage;
use crate::topic::{ask, get, raw, records};

fn latest(subject: &str) -> Value {
    serde_json::from_str(&get(&format!("/subjects/{subject}/versions/latest"))).unwrap()
}

/// The ids that stand before the values of a topic.
fn ids(stage: &Stage, topic: &str) -> Vec<u64> {
    let id = |value: &[u8]| u32::from_be_bytes(value[1..5].try_into().unwrap()).into();
    raw(&stage.kafka, topic).iter().map(|record| id(record.value.as_ref().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_are_named_by_topic_by_record_or_by_both() {
    for (strategy, key, value) in [
        ("topic", "{topic}-key", "{topic}-value"),
        ("record", "{records}.public.t.Key", "{records}.public.t.Value"),
        ("topic-record", "{topic}-{records}.public.t.Key", "{topic}-{records}.public.t.Value"),
    ] {
        let mut stage = Stage::new("strategy");
        stage
            .client()
            .await
            .batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)")
            .await
            .unwrap();
        stage.below.1 = format!("subject.name.strategy = '{strategy}'");
        stage
            .configure("objects.t = { table = 't', topic = 'STAGE-elsewhere' }".replace("STAGE", &stage.name).as_str());
        stage.run_once();
        let topic = format!("{}-elsewhere", stage.name);
        assert_eq!(records(&stage.kafka, &topic)[0].long("id"), 7);
        // What Avro does not take of the connector's name is an underscore.
        let named =
            |pattern: &str| pattern.replace("{topic}", &topic).replace("{records}", &stage.name.replace('-', "_"));
        assert_eq!(latest(&named(value))["id"], ids(&stage, &topic)[0], "{strategy}");
        assert_eq!(latest(&named(key))["version"], 1, "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_registered_is_taken_as_it_is_there_or_refused() {
    let mut stage = Stage::new("by_hand");
    stage.client().await.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)").await.unwrap();
    stage.below.1 = "auto.register.schemas = false".to_owned();
    stage.configure("");
    let refused = stage.try_once(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("none may be registered"), "{said}");
    // Somebody registers what `schema` prints.
    let printed = stage.strandline(&["schema", "t", "--json"]);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    for side in ["key", "value"] {
        let subject = printed[side]["subject"].as_str().unwrap();
        let body = serde_json::json!({ "schema": printed[side]["schema"].to_string() }).to_string();
        ask("POST", &format!("/subjects/{subject}/versions"), &body);
    }
    stage.run_once();
    let topic = stage.topic("t");
    assert_eq!(records(&stage.kafka, &topic)[0].long("id"), 7);
    // Somebody documents it: another version of the same meaning, which is used from then on.
    let subject = printed["value"]["subject"].as_str().unwrap();
    let mut documented = printed["value"]["schema"].clone();
    documented["doc"] = "what we sell".into();
    let body = serde_json::json!({ "schema": documented.to_string() }).to_string();
    ask("POST", &format!("/subjects/{subject}/versions"), &body);
    stage.below.1 = "auto.register.schemas = false\nuse.latest.version = true\nnormalize.schemas = true".to_owned();
    stage.configure("");
    stage.client().await.batch_execute("INSERT INTO t VALUES (8)").await.unwrap();
    stage.run_once();
    let ids = ids(&stage, &topic);
    assert_eq!(ids.len(), 2);
    assert!(ids[0] != ids[1] && latest(subject)["id"] == ids[1], "{ids:?}");
    // One of another meaning is not.
    documented["fields"][0]["type"] = "long".into();
    let body = serde_json::json!({ "schema": documented.to_string() }).to_string();
    ask("POST", &format!("/subjects/{subject}/versions"), &body);
    stage.client().await.batch_execute("INSERT INTO t VALUES (9)").await.unwrap();
    let refused = stage.try_once(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("has other fields or types than its rows"), "{said}");
}
