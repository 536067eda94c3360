//! Kafka Connect reads what we write: its own Avro converter makes a sink's records of it, of every type and profile.

use strandline_testbed::{Connect, Kafka, Registry};

use super::literals::{TABLE, TYPES};
use super::{array_of, debezium, forms, has_array, table, texts};
use crate::stage::Stage;

const PROFILES: [&str; 3] = ["strandline", "connect-jdbc", "debezium"];

/// A declared type, a literal, and what a sink is given of it in each profile, as Java prints it.
const SHOWN: &[(&str, &str, [&str; 3])] = &[
    ("numeric(8,2)", "-12.50", ["-12.50", "-12.50", "-12.50"]),
    ("date", "'2024-02-29'", ["Thu Feb 29 00:00:00 UTC 2024", "Thu Feb 29 00:00:00 UTC 2024", "19782"]),
    ("time", "'12:34:56.789012'", ["45296789012", "Thu Jan 01 12:34:56 UTC 1970", "45296789012"]),
    (
        "timestamp",
        "'2024-02-29 12:34:56.789012'",
        ["1709210096789012", "Thu Feb 29 12:34:56 UTC 2024", "1709210096789012"],
    ),
    (
        "timestamptz",
        "'2024-02-29 12:34:56.789012+02'",
        ["1709202896789012", "Thu Feb 29 10:34:56 UTC 2024", "2024-02-29T10:34:56.789012Z"],
    ),
    ("int2", "7", ["7"; 3]),
    ("uuid", "'00000000-0000-0000-0000-00000000000f'", ["00000000-0000-0000-0000-00000000000f"; 3]),
    ("int4[]", "'{1,NULL}'", ["[1, null]"; 3]),
    ("jsonb", "'{\"a\": 1}'", ["{\"a\": 1}"; 3]),
    (
        "lseg",
        "'[(0,0),(1,1)]'",
        [
            "[(0,0),(1,1)]",
            "[(0,0),(1,1)]",
            "Struct{wkb=java.nio.HeapByteBuffer[pos=0 lim=41 cap=41],extensions={type=lseg}}",
        ],
    ),
    ("pair", "ROW(1, 'x')", ["Struct{a=1,b=x}"; 3]),
    ("mood", "'so-so'", ["so-so"; 3]),
];

#[tokio::test(flavor = "multi_thread")]
async fn kafka_connect_reads_every_type_in_every_profile() {
    let mut expected = Vec::new();
    for (at, profile) in PROFILES.iter().enumerate() {
        let stage = Stage::new("sinks");
        let client = stage.client().await;
        client.batch_execute(TYPES).await.unwrap();
        stage.configure(&format!("profile = '{profile}'\nnan.handling.mode = 'null'"));
        // Some values of a type have no counterpart in Debezium.
        let theirs = if *profile == "debezium" { debezium::TABLE } else { &[] };
        let known = |(type_, _): &(&str, _)| theirs.iter().all(|(other, _)| other != type_);
        let own = forms(&[TABLE.iter().copied().filter(known).collect(), theirs.to_vec()].concat());
        let arrays: Vec<_> = own.iter().filter(|(type_, _)| has_array(type_)).map(array_of).collect();
        let printed = texts();
        let shown: Vec<_> =
            SHOWN.iter().map(|(type_, literal, _)| ((*type_).to_owned(), vec![(*literal).to_owned()])).collect();
        for (name, types) in [("own", &own), ("arrays", &arrays), ("printed", &printed), ("shown", &shown)] {
            client.batch_execute(&table(name, types)).await.unwrap();
            let rows = types.iter().map(|(_, literals)| literals.len()).max().unwrap() + 1;
            expected.push((stage.topic(name), rows, at));
        }
        stage.run_once();
    }
    let topics: Vec<String> = expected.iter().map(|(topic, ..)| topic.clone()).collect();
    let mut connect = Connect::sinks(Kafka::shared().bootstrap(), Registry::shared().url(), &topics);
    for (topic, rows, at) in &expected {
        let structs = connect.structs(topic, *rows);
        assert_eq!(structs.len(), *rows, "{topic}");
        if topic.ends_with(".shown") {
            let printed: Vec<String> = SHOWN
                .iter()
                .enumerate()
                .map(|(column, (.., printed))| format!(",v{column}={}", printed[*at]))
                .collect();
            assert_eq!(structs[1], format!("Struct{{id=1{}}}", printed.concat()), "profile {}", PROFILES[*at]);
        }
    }
}
