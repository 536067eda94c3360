//! Rows that do not fit: too large for their topic, or without a counterpart in Avro. Each policy, the dead letters, and what is
//! done with them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use apache_avro::types::Value as Avro;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;
use strandline_testbed::{Chaos, Kafka, KafkaOptions, Postgres, Weather};

use crate::modes::column;
use crate::stage::{Running, Stage, until};
use crate::topic::{raw, records};

fn dead(stage: &Stage) -> String {
    format!("{}-dead", stage.name)
}

/// `errors.tolerance = "all"`, `oversize = "skip"` and a dead-letter topic, before other lines.
fn tolerant(stage: &Stage, more: &str) -> String {
    format!("errors.tolerance = \"all\"\n{}\n{more}", skipping(stage))
}

fn skipping(stage: &Stage) -> String {
    format!("oversize = \"skip\"\nerrors.deadletterqueue.topic.name = \"{}\"", dead(stage))
}

/// The letters, without what became of them.
fn letters(stage: &Stage) -> Vec<Value> {
    let values = raw(&stage.kafka, &dead(stage)).into_iter().filter_map(|record| record.value);
    let parsed = values.map(|value| serde_json::from_slice::<Value>(&value).unwrap());
    parsed.filter(|value| value.get("done").is_none()).collect()
}

fn json(stage: &Stage, arguments: &[&str]) -> Value {
    let output = stage.strandline(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

/// The most memory, in KiB, until its end.
fn most_memory(running: &mut Running, deadline: Duration) -> usize {
    let (started, mut most) = (Instant::now(), 0);
    while running.is_running() {
        most = most.max(running.size().0);
        assert!(started.elapsed() < deadline, "it did not end:\n{}", running.log());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_large_fails_goes_to_the_dead_letters_or_is_cut_as_its_object_says() {
    let stage = Stage::new("oversize");
    let client = stage.client().await;
    for table in ["failing", "skipping", "cutting", "uncut"] {
        client
            .batch_execute(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, doc text, more text);
                 INSERT INTO {table} VALUES (1, 'a', 'b'), (2, repeat('ä', 1000000), 'secret-cell'), (3, NULL, NULL)"
            ))
            .await
            .unwrap();
    }
    stage.configure(&format!(
        "{}\nerrors.deadletterqueue.context.headers.enable = true
         objects.failing = {{ table = \"public.failing\", oversize = \"fail\" }}
         objects.cutting = {{ table = \"public.cutting\", oversize = \"truncate\", \"oversize.truncate.columns\" = [\"doc\"] }}
         objects.uncut = {{ table = \"public.uncut\", oversize = \"truncate\", \"oversize.truncate.columns\" = [\"more\"] }}",
        skipping(&stage)
    ));
    stage.settle();
    let mut running = stage.run(&["--once"]);
    assert_eq!(running.wait(Duration::from_secs(60)), Some(1), "{}", running.log());
    let log = running.log();
    for (object, said) in [
        ("public.failing", "object failed"),
        ("public.failing", "the row: ctid (0,2) of public.failing, key column id"),
        ("public.failing", "oversize = \\\"skip\\\""),
        ("public.failing", "max.message.bytes"),
        ("public.uncut", "object failed"),
    ] {
        assert!(log.lines().any(|line| line.contains(object) && line.contains(said)), "{object}: {said}\n{log}");
    }
    assert!(!log.contains("secret-cell"), "no value of a cell in the log");
    assert!(raw(&stage.kafka, &stage.topic("failing")).is_empty(), "nothing of the transaction that failed");

    let skipped = raw(&stage.kafka, &stage.topic("skipping"));
    assert_eq!(skipped.len(), 2, "its neighbours");
    let letters = letters(&stage);
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!((&letter["object"], &letter["error"]), (&"public.skipping".into(), &"oversize".into()));
    assert_eq!((&letter["key"]["id"], &letter["ctid"]), (&"2".into(), &"(0,2)".into()));
    assert_eq!((&letter["row"]["more"], &letter["row"]["doc"]), (&"secret-cell".into(), &Value::Null));
    assert_eq!(letter["left_out"]["doc"], 2_000_000);
    assert!(letter["size"].as_u64().unwrap() > 2_000_000 && letter["limit"].as_u64().unwrap() < 1_048_588);
    let record = &raw(&stage.kafka, &dead(&stage))[0];
    assert_eq!(record.key.as_ref().unwrap()[5..], [4], "the key that the row would have had");
    assert!(record.headers.contains(&"__connect.errors.stage=KAFKA_PRODUCE".to_owned()), "{:?}", record.headers);
    let objects = json(&stage, &["objects", "--json"]);
    let of =
        |name: &str| objects["objects"].as_array().unwrap().iter().find(|one| one["object"] == name).cloned().unwrap();
    assert_eq!(of("public.skipping")["letters"], 1);

    let raw = raw(&stage.kafka, &stage.topic("cutting"));
    let cut = records(&stage.kafka, &stage.topic("cutting"));
    let at = cut.iter().position(|record| record.long("id") == 2).unwrap();
    assert_eq!(raw[at].headers, ["strandline.truncated={\"doc\":2000000}"]);
    assert!(raw.iter().enumerate().all(|(other, record)| other == at || record.headers.is_empty()));
    let Avro::String(doc) = cut[at].get("doc") else { panic!("{:?}", cut[at]) };
    assert!(doc.len() > 1_040_000 && doc.len() < 1_048_588 && doc.chars().all(|one| one == 'ä'), "{}", doc.len());
    assert_eq!(cut[at].get("more"), Avro::String("secret-cell".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_counterpart_go_to_the_dead_letters_and_are_replayed_or_closed() {
    let stage = Stage::new("tolerance");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE n (id int PRIMARY KEY, v numeric(10,2), note text);
             INSERT INTO n SELECT i, CASE WHEN i % 2 = 0 THEN 'NaN' ELSE i::numeric END, 'n' || i FROM generate_series(1, 10) i;
             CREATE TABLE c (v numeric(10,2)); INSERT INTO c VALUES (1), ('NaN');
             CREATE TABLE p (id int PRIMARY KEY, v numeric(10,2)) PARTITION BY RANGE (id);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
             INSERT INTO p VALUES (5, 5), (15, 'NaN');
             CREATE TABLE late (id int, at timestamptz, v numeric(10,2)); INSERT INTO late VALUES (1, now(), 'NaN'), (2, now(), 2);
             CREATE TABLE k (name text); INSERT INTO k VALUES ('short'), (repeat('x', 1200000))",
        )
        .await
        .unwrap();
    let more = "objects.late = { query = \"SELECT * FROM late\", mode = \"timestamp\", timestamp_column = \"at\" }
         tables.exclude = [\"public.late\"]
         objects.k = { table = \"public.k\", message.key.columns = [\"name\"] }
         objects.q = { query = \"SELECT id, v FROM n WHERE id < 4\", mode = \"bulk\", poll.interval = \"1h\", message.key.columns = [\"id\"] }";
    stage.configure(&tolerant(&stage, more));
    let check = String::from_utf8(stage.strandline(&["check"]).stdout).unwrap();
    assert!(check.contains(&format!("dead-letter topic: {} will be made", dead(&stage))), "{check}");
    let log = stage.run_once();
    assert!(log.contains("letters=5"), "{log}");
    assert_eq!(raw(&stage.kafka, &stage.topic("n")).len(), 5);
    assert_eq!(raw(&stage.kafka, &stage.topic("k")).len(), 1);
    let all = letters(&stage);
    let of = |object: &str| all.iter().filter(|letter| letter["object"] == object).cloned().collect::<Vec<_>>();
    let nan = of("public.n");
    assert_eq!(nan.len(), 5, "{all:?}");
    let (error, columns) = (&nan[0]["error"], &nan[0]["columns"]);
    assert_eq!((error, columns, &nan[0]["row"]["v"]), (&"row".into(), &serde_json::json!(["v"]), &"NaN".into()));
    let long_key = of("public.k");
    assert_eq!((long_key.len(), &long_key[0]["error"]), (1, &"oversize_key".into()));
    let query = of("q");
    assert_eq!((query.len(), &query[0]["key"]["id"], &query[0]["ctid"]), (1, &"2".into(), &Value::Null), "{query:?}");

    let (part, cursor) = (of("public.p"), of("late"));
    assert_eq!((part.len(), &part[0]["key"]["id"], of("public.c").len()), (1, &"15".into(), 1), "{all:?}");
    assert_eq!((cursor.len(), &cursor[0]["row"]["id"], &cursor[0]["key"]), (1, &"1".into(), &serde_json::json!({})));

    stage.run_once();
    // A pass of bulk has every row, and so every letter.
    assert_eq!(letters(&stage).len(), all.len() + 1, "nothing else comes twice");

    let list = json(&stage, &["errors", "list", "--json"]);
    let list = list["letters"].as_array().unwrap();
    let name = |id: &str| {
        let found = list.iter().find(|one| one["object"] == "public.n" && one["key"]["id"] == id);
        found.unwrap()["letter"].as_str().unwrap().to_owned()
    };
    assert!(list.iter().all(|letter| letter["state"] == "open"));
    let dry = json(&stage, &["errors", "replay", "n", "--json"]);
    assert!(dry["message"].as_str().unwrap().contains("dry run"), "{dry}");
    let still = stage.strandline(&["errors", "replay", &name("2"), "--yes"]);
    let said = String::from_utf8_lossy(&still.stdout).into_owned();
    assert_eq!(still.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&still.stderr));
    assert!(said.contains("stays: ") && said.contains("NaN or infinite"), "{said}");

    client.batch_execute("UPDATE n SET v = 4 WHERE id = 4; DELETE FROM n WHERE id = 6").await.unwrap();
    let closed = stage.strandline(&["errors", "skip", &name("8"), "--yes"]);
    assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
    stage.configure(&tolerant(&stage, &format!("nan.handling.mode = \"null\"\n{more}")));
    let replay = json(&stage, &["errors", "replay", "public.n", "--yes", "--json"]);
    let told: BTreeMap<&str, &str> = replay["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["letter"].as_str().unwrap(), one["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(told[name("2").as_str()], "replayed", "{replay}");
    assert_eq!(told[name("10").as_str()], "replayed");
    assert!(
        told[name("4").as_str()].contains("travels by itself")
            && told[name("6").as_str()].contains("not there any more")
    );
    assert!(!told.contains_key(name("8").as_str()), "what was closed is left alone");
    let sent: Vec<(i64, Avro)> = records(&stage.kafka, &stage.topic("n"))[5..]
        .iter()
        .map(|record| (record.long("id"), record.get("v")))
        .collect();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent.contains(&(2, Avro::Null)) && sent.contains(&(10, Avro::Null)), "{sent:?}");
    let others = json(&stage, &["errors", "replay", "p", "c", "--yes", "--json"]);
    assert_eq!(
        others["message"], "2 dealt with, 0 stay",
        "by its key in whatever partition, and by its place: {others}"
    );
    assert_eq!((raw(&stage.kafka, &stage.topic("p")).len(), raw(&stage.kafka, &stage.topic("c")).len()), (2, 2));
    let again = stage.strandline(&["errors", "replay", &name("2"), "--yes"]);
    assert_eq!(again.status.code(), Some(2), "it is sent once");
    let states: Vec<String> = json(&stage, &["errors", "list", "--json"])["letters"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["object"] == "public.n")
        .map(|one| one["state"].as_str().unwrap().to_owned())
        .collect();
    let count = |state: &str| states.iter().filter(|one| *one == state).count();
    assert_eq!((count("replayed"), count("skipped"), count("superseded"), count("open")), (2, 1, 1, 1), "{states:?}");
    stage.run_once();
    let ids: Vec<i64> = records(&stage.kafka, &stage.topic("n")).iter().map(|record| record.long("id")).collect();
    assert_eq!(ids.iter().filter(|id| **id == 4).count(), 1, "the new version came by itself, once: {ids:?}");
}

/// The second had read its letters before the first had marked them, and sent their rows again.
#[tokio::test(flavor = "multi_thread")]
async fn two_replays_at_once_send_each_row_once() {
    let mut stage = Stage::new("replays");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE n (id int PRIMARY KEY, v numeric(10,2)); INSERT INTO n SELECT i, 'NaN' FROM generate_series(1, 3) i",
        )
        .await
        .unwrap();
    stage.configure(&tolerant(&stage, ""));
    stage.run_once();
    assert_eq!(letters(&stage).len(), 3);
    let mended = tolerant(&stage, "nan.handling.mode = \"null\"");
    let direct = stage.registry.clone();
    let port = direct.rsplit(':').next().unwrap().split('/').next().unwrap();
    let proxy = Chaos::before(port.parse().unwrap());
    proxy.set(Weather::Stall);
    stage.registry = direct.replace(port, &proxy.port().to_string());
    stage.configure(&mended);
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let replay = || json(&stage, &["errors", "replay", "n", "--yes", "--json"]);
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(replay);
        until("the second at the registry", || proxy.holds_back());
        std::fs::write(stage.config(), text.replace(&stage.registry, &direct)).unwrap();
        let first = replay();
        proxy.set(Weather::Clear);
        (first, second.join().unwrap())
    });
    let ids: Vec<i64> = records(&stage.kafka, &stage.topic("n")).iter().map(|record| record.long("id")).collect();
    assert_eq!(ids.len(), 3, "{ids:?}: {first} {second}");
    assert_eq!(first["message"], "3 dealt with, 0 stay");
    assert_eq!(second["message"], "3 dealt with, 0 stay");
    assert!(second["letters"][0]["outcome"].as_str().unwrap().starts_with("was replayed at "), "{second}");
}

/// A query's row was sent again although its poll had brought it since, and with it whatever had the same key.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_a_querys_row_only_if_no_poll_does_and_no_other_row_with_it() {
    let stage = Stage::new("replayquery");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE o (id int PRIMARY KEY, name text, v numeric(10,2));
             INSERT INTO o SELECT i, CASE WHEN i IN (2, 3) THEN 'both' ELSE 'n' || i END,
                 CASE WHEN i IN (2, 4, 5, 10, 11) THEN 'NaN' ELSE i::numeric END FROM generate_series(1, 11) i",
        )
        .await
        .unwrap();
    let more = "tables.exclude = ['public.o']\ntopic.headers = ['table']\ncursor.lookback_ids = 2
         objects.q = { query = 'SELECT id, name, v FROM o', mode = 'incrementing', incrementing_column = 'id', message.key.columns = ['name'] }";
    stage.configure(&tolerant(&stage, more));
    stage.run_once();
    assert_eq!(letters(&stage).len(), 5);
    // The last of them is looked back to.
    client.batch_execute("UPDATE o SET v = id WHERE id IN (5, 10)").await.unwrap();
    stage.run_once();
    let topic = format!("{}.q", stage.name);
    let sent = || column(&stage, &topic, "id");
    assert_eq!(sent(), [1, 3, 6, 7, 8, 9, 10]);

    stage.configure(&tolerant(&stage, &format!("nan.handling.mode = \"null\"\n{more}")));
    let told = json(&stage, &["errors", "replay", "q", "--yes", "--json"]);
    let of = |id: &str| {
        let all = letters(&stage);
        let at = all.iter().position(|letter| letter["row"]["id"] == id).unwrap();
        told["letters"][at]["outcome"].as_str().unwrap().to_owned()
    };
    for (id, outcome) in [
        ("2", "stays: several rows have its key"),
        ("4", "replayed"),
        ("5", "stays: its row was changed since"),
        ("10", "was changed since: its new version travels by itself"),
        // The poll looks back to it, and knows it for a letter.
        ("11", "replayed"),
    ] {
        assert!(of(id).starts_with(outcome), "{id}: {told}");
    }
    assert_eq!(sent(), [1, 3, 4, 6, 7, 8, 9, 10, 11], "{told}");
    stage.run_once();
    assert_eq!(sent(), [1, 3, 4, 6, 7, 8, 9, 10, 11]);
}

fn admin(stage: &Stage) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &stage.kafka).create().unwrap()
}

/// Gives a topic these settings, and no others.
pub async fn set(stage: &Stage, topic: &str, settings: &[(&str, &str)]) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let change = settings.iter().fold(change, |change, (name, value)| change.set(name, value));
    admin(stage).alter_configs([&change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

/// Lets a topic take 300 kB at a time from now on.
async fn lower(stage: &Stage, topic: &str) {
    set(stage, topic, &[("max.message.bytes", "300000")]).await;
}

/// A row of 480 kB.
const LARGE: &str = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 15000) i";

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_less_than_it_did_gets_what_it_takes() {
    let stage = Stage::new("lowered");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE docs (id int PRIMARY KEY, doc text); INSERT INTO docs VALUES (1, 'a')")
        .await
        .unwrap();
    stage.configure(&skipping(&stage));
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let topic = stage.topic("docs");
    lower(&stage, &topic).await;
    client.batch_execute(&format!("INSERT INTO docs VALUES (2, ({LARGE})), (3, 'c')")).await.unwrap();
    until("the letter", || letters(&stage).len() == 1);
    until("its neighbour", || raw(&stage.kafka, &topic).len() == 2);
    let letter = &letters(&stage)[0];
    assert_eq!((&letter["key"]["id"], &letter["columns"][0]), (&"2".into(), &"doc".into()), "{letter}");
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("object failed"), "{log}");
}

/// It was FAILED where a table would have been judged anew, and told so twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_topic_takes_less_than_it_did_is_read_again_and_delivers_each_row_once() {
    const ROWS: usize = 200_000;
    let stage = Stage::new("lowered_query");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE docs (id int PRIMARY KEY, doc text); INSERT INTO docs VALUES (1, 'a')")
        .await
        .unwrap();
    stage.configure(&format!(
        "{}\ntables.exclude = ['public.docs']\nobjects.q = {{ query = 'SELECT id, doc FROM docs', mode = 'incrementing', incrementing_column = 'id' }}",
        skipping(&stage)
    ));
    let mut running = stage.run(&["--set=kafka.transaction.timeout.ms=1000"]);
    running.await_log("caught_up");
    let topic = format!("{}.q", stage.name);
    lower(&stage, &topic).await;
    client
        .batch_execute(&format!(
            "INSERT INTO docs SELECT i, CASE i WHEN 100000 THEN ({LARGE}) ELSE 'x' END FROM generate_series(2, {ROWS}) i"
        ))
        .await
        .unwrap();
    until("the letter", || letters(&stage).len() == 1);
    until("its neighbours", || raw(&stage.kafka, &topic).len() >= ROWS - 1);
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(raw(&stage.kafka, &topic).len(), ROWS - 1, "{log}");
    assert!(log.contains("the topic takes less than it did") && !log.contains("object failed"), "{log}");
}

/// Nobody was FAILED for it: the transaction was aborted and tried again for ever, and the neighbours with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_refuses_a_letter_fails_its_object_and_no_other() {
    let stage = Stage::new("deadrefused");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE c (v numeric(10,2)); INSERT INTO c VALUES (1), ('NaN');
             CREATE TABLE n (id int PRIMARY KEY, v numeric(10,2)); INSERT INTO n SELECT i, i FROM generate_series(1, 100) i",
        )
        .await
        .unwrap();
    let dead = dead(&stage);
    let compacted = NewTopic::new(&dead, 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    admin(&stage).create_topics(&[compacted], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    stage.configure(&tolerant(&stage, "\"offset.storage.partitions\" = 1"));
    stage.settle();
    let mut running = stage.run(&["--once"]);
    assert_eq!(running.wait(Duration::from_secs(60)), Some(1), "{}", running.log());
    let log = running.log();
    let failed: Vec<&str> = log.lines().filter(|line| line.contains("object failed")).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    for said in ["public.c", &dead, "InvalidRecord", "cleanup.policy"] {
        assert!(failed[0].contains(said), "{said}: {}", failed[0]);
    }
    assert_eq!(raw(&stage.kafka, &stage.topic("n")).len(), 100, "its neighbour's rows, once");
    assert!(raw(&stage.kafka, &stage.topic("c")).is_empty() && letters(&stage).is_empty());

    // Once it is mended.
    set(&stage, &dead, &[("cleanup.policy", "delete")]).await;
    stage.run_once();
    let rows = |table: &str| raw(&stage.kafka, &stage.topic(table)).len();
    assert_eq!((rows("n"), rows("c"), letters(&stage).len()), (100, 1, 1));
}

/// A commit in between a query's rows was refused for its neighbours' letters, and the query was FAILED.
#[tokio::test(flavor = "multi_thread")]
async fn letters_that_are_refused_within_a_query_fail_the_objects_whose_they_are() {
    const ROWS: usize = 300_000;
    let stage = Stage::new("deadquery");
    let client = stage.client().await;
    // Whose turn comes first is chance: of several tables one comes before the query.
    let of_each = |sql: &str| (1..=4).map(|number| sql.replace('#', &number.to_string())).collect::<String>();
    client.batch_execute(&of_each("CREATE TABLE c# (v numeric(10,2)); INSERT INTO c# VALUES ('NaN');")).await.unwrap();
    client.batch_execute("CREATE TABLE o (id int PRIMARY KEY); INSERT INTO o VALUES (1)").await.unwrap();
    let more = "\"offset.storage.partitions\" = 1\ntables.exclude = ['public.o']
         objects.q = { query = 'SELECT id FROM o', mode = 'incrementing', incrementing_column = 'id' }";
    stage.configure(&tolerant(&stage, more));
    let mut running = stage.run(&["--set=kafka.transaction.timeout.ms=1000", "--set=poll.interval=1s"]);
    until("the letters", || letters(&stage).len() == 4);
    running.await_log_of(5, "caught_up");
    set(&stage, &dead(&stage), &[("cleanup.policy", "compact")]).await;
    let more = of_each("INSERT INTO c# VALUES ('NaN');");
    client
        .batch_execute(&format!("BEGIN; {more} INSERT INTO o SELECT generate_series(2, {ROWS}); COMMIT"))
        .await
        .unwrap();
    running.await_log("object failed");
    let topic = format!("{}.q", stage.name);
    until("the query's rows", || {
        assert!(!running.log().contains("object failed object=q"), "{}", running.log());
        raw(&stage.kafka, &topic).len() >= ROWS
    });
    running.await_log_of(4, "object failed");
    let (code, log) = running.stop();
    let failed: Vec<&str> = log.lines().filter(|line| line.contains("object failed")).collect();
    assert!(failed.len() == 4 && failed.iter().all(|line| line.contains("public.c")), "{failed:?}");
    assert_eq!((code, raw(&stage.kafka, &topic).len()), (Some(1), ROWS), "{log}");
}

/// What the topic takes was asked for once, and letters as long as that were refused for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_takes_less_than_it_did_gets_shorter_letters() {
    let stage = Stage::new("deadlowered");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE n (id int PRIMARY KEY, v numeric(10,2), doc text); INSERT INTO n VALUES (1, 1, 'a'), (2, 'NaN', 'b')",
        )
        .await
        .unwrap();
    stage.configure(&tolerant(&stage, ""));
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    lower(&stage, &dead(&stage)).await;
    client.batch_execute(&format!("INSERT INTO n VALUES (3, 'NaN', ({LARGE})), (4, 4, 'd')")).await.unwrap();
    until("the letter", || letters(&stage).len() == 2);
    until("its neighbour", || raw(&stage.kafka, &stage.topic("n")).len() == 2);
    let letter = &letters(&stage)[1];
    assert_eq!((&letter["key"]["id"], &letter["left_out"]["doc"]), (&"3".into(), &480_000.into()), "{letter}");
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("object failed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_and_rows_come_exactly_once_whenever_the_connector_is_killed() {
    let stage = Stage::new("letterkill");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE n (id int PRIMARY KEY, ver int NOT NULL, v numeric(10,2), pad text DEFAULT repeat('x', 300));
             INSERT INTO n SELECT i, 0, CASE WHEN i % 10 = 0 THEN 'NaN' ELSE i::numeric END FROM generate_series(1, 6000) i",
        )
        .await
        .unwrap();
    stage.configure(&tolerant(&stage, ""));
    for round in 1..=4 {
        let letters_before = letters(&stage).len();
        let mut running = stage.run(&[]);
        let update = format!("UPDATE n SET ver = {round} WHERE id % 7 = {round}");
        client.batch_execute(&update).await.unwrap();
        // Between the letters and their commit, or after it.
        running.await_log("went to the dead-letter topic");
        if round % 2 == 0 {
            until("a commit", || letters(&stage).len() > letters_before);
        }
        running.kill();
    }
    stage.run_once();
    let mut seen: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for record in records(&stage.kafka, &stage.topic("n")) {
        *seen.entry((record.long("id"), record.long("ver"))).or_default() += 1;
    }
    let letters = letters(&stage);
    for letter in &letters {
        let number = |name: &str| letter["row"][name].as_str().unwrap().parse::<i64>().unwrap();
        assert_eq!(number("id") % 10, 0, "{letter}");
        *seen.entry((number("id"), number("ver"))).or_default() += 1;
    }
    assert!(letters.len() >= 600, "{}", letters.len());
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).take(5).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
    for row in client.query("SELECT id, ver FROM n", &[]).await.unwrap() {
        let version = (i64::from(row.get::<_, i32>(0)), i64::from(row.get::<_, i32>(1)));
        assert!(seen.contains_key(&version), "lost: {version:?}");
    }
    let told = json(&stage, &["objects", "--json"])["objects"][0]["letters"].as_u64();
    assert_eq!(told, Some(letters.len() as u64), "the count is stored with the letters");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_300_mb_is_not_read_and_not_lost() {
    let stage = Stage::new("guard");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE docs (id int PRIMARY KEY, doc text, raw bytea, j jsonb); ALTER TABLE docs ALTER doc SET STORAGE EXTERNAL;
             INSERT INTO docs SELECT i, 'd' || i, '\\x01', '{}' FROM generate_series(1, 1000) i;
             UPDATE docs SET doc = repeat('0123456789', 30000000) WHERE id = 500;
             UPDATE docs SET j = jsonb_build_array(repeat('x', 40000000)) WHERE id = 700",
        )
        .await
        .unwrap();
    stage.configure(&skipping(&stage));
    stage.settle();
    let mut running = stage.run(&["--once"]);
    let most = most_memory(&mut running, Duration::from_secs(60));
    let log = running.log();
    eprintln!("a field of 300 MB: {most} KiB at most");
    assert_eq!(raw(&stage.kafka, &stage.topic("docs")).len(), 998, "{log}");
    let letters = letters(&stage);
    let of =
        |id: &str| letters.iter().find(|letter| letter["key"]["id"] == id).unwrap_or_else(|| panic!("{id}: {log}"));
    assert_eq!(
        (letters.len(), &of("500")["left_out"]["doc"], &of("500")["columns"][0]),
        (2, &300_000_000.into(), &"doc".into())
    );
    assert!(of("500")["size"].as_u64().unwrap() >= 300_000_000 && of("700")["columns"][0] == "j");
    assert!(most < 150 * 1024, "{most} KiB");

    stage.configure(
        "objects.docs = { table = \"public.docs\", oversize = \"truncate\", \"oversize.truncate.columns\" = [\"doc\"], where = \"id = 500\" }",
    );
    stage.run_once();
    let cut = raw(&stage.kafka, &stage.topic("docs")).pop().unwrap();
    assert_eq!(cut.headers, ["strandline.truncated={\"doc\":300000000}"]);
    let size = cut.value.unwrap().len();
    assert!(size > 1_040_000 && size < 1_048_588, "{size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_100_mb_is_delivered_where_the_broker_takes_it() {
    let kafka = Kafka::start_as(KafkaOptions {
        properties:
            "message.max.bytes=209715200\nsocket.request.max.bytes=419430400\nreplica.fetch.max.bytes=209715200\n"
                .into(),
        java: vec!["-Xmx1500m".into()],
        ..KafkaOptions::default()
    });
    let mut stage = Stage::on("hundred", Postgres::shared().create_database("hundred"), kafka.bootstrap());
    stage.below.0 = "\"message.max.bytes\" = \"200MiB\"".into();
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE docs (id int PRIMARY KEY, doc text); ALTER TABLE docs ALTER doc SET STORAGE EXTERNAL;
             INSERT INTO docs SELECT i, 'd' || i FROM generate_series(1, 10) i;
             INSERT INTO docs SELECT 11, repeat(string_agg(md5(i::text), ''), 100) FROM generate_series(1, 32768) i",
        )
        .await
        .unwrap();
    stage.configure("");
    stage.settle();
    let mut running = stage.run(&["--once"]);
    let most = most_memory(&mut running, Duration::from_secs(90));
    let log = running.log();
    eprintln!("a row of 100 MB: {most} KiB at most");
    let sizes = sizes(&stage.kafka, &stage.topic("docs"));
    assert_eq!(sizes.len(), 11, "{log}");
    assert!(sizes.iter().any(|size| *size > 104_857_600), "{sizes:?}");
    assert!(most < 1024 * 1024, "{most} KiB");
}

/// The values' sizes, read by a client that takes large ones.
fn sizes(bootstrap: &str, topic: &str) -> Vec<usize> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "reader").set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true").set("receive.message.max.bytes", "419430400");
    config.set("fetch.message.max.bytes", "209715200").set("fetch.max.bytes", "209715200");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut sizes = Vec::new();
    while let Some(Ok(record)) = consumer.poll(Duration::from_secs(20)) {
        sizes.push(record.payload().map_or(0, <[u8]>::len));
    }
    sizes
}
