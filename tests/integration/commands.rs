//! The commands that look at a connector and change its progress, against one that is new, has run, runs, fails, is held back.

use std::process::Output;

use serde_json::Value;

use crate::stage::{Stage, until};
use crate::topic::{raw, records};

const TABLES: &str = "
    CREATE TABLE orders (id bigint PRIMARY KEY, note text);
    INSERT INTO orders SELECT i, 'n' || i FROM generate_series(1, 500) i;
    CREATE TABLE no_key (a int); INSERT INTO no_key VALUES (1);";

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}{err}");
    format!("{out}{err}")
}

/// The one line of JSON on stdout.
fn json(output: &Output) -> Value {
    println!("{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn object<'a>(objects: &'a Value, name: &str) -> &'a Value {
    objects["objects"].as_array().unwrap().iter().find(|object| object["object"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connector_is_planned_and_nothing_is_read_or_created() {
    let stage = Stage::new("plan");
    stage.client().await.batch_execute(TABLES).await.unwrap();
    let plan = json(&stage.strandline(&["plan", "orders", "--json"]));
    let plan = &plan["plans"][0];
    assert_eq!((&plan["object"], &plan["window"]["load"]), (&"public.orders".into(), &true.into()));
    assert_eq!(plan["planner"]["node"], "Tid Range Scan");
    assert_eq!(plan["key"][0], "id");
    assert!(plan["interval_kept"].as_bool().unwrap() && plan["bytes"].as_u64().unwrap() > 8192);
    let sql = plan["sql"].as_str().unwrap();
    assert!(sql.starts_with("COPY (SELECT ") && sql.contains("FROM ONLY \"public\".\"orders\" WHERE ctid >= '(0,0)'"));
    let all = text(&stage.strandline(&["plan"]));
    assert!(all.contains("public.no_key → ") && all.contains("key       none"), "{all}");

    let objects = json(&stage.strandline(&["objects", "--json"]));
    assert_eq!((&objects["state"], &object(&objects, "public.orders")["state"]), (&"NEW".into(), &"NEW".into()));
    let reset = stage.strandline(&["offsets", "reset", "orders"]);
    assert_eq!(reset.status.code(), Some(1));
    assert!(text(&reset).contains("has never run"));
    let unknown = stage.strandline(&["plan", "public.nothing"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown).contains("public.nothing: it is no object of this connector"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_shown_with_what_the_registry_holds() {
    let stage = Stage::new("schema");
    let client = stage.client().await;
    client.batch_execute(TABLES).await.unwrap();
    let before = json(&stage.strandline(&["schema", "orders", "--json"]));
    assert_eq!((&before["value"]["registered"], &before["value"]["latest"]), (&false.into(), &Value::Null));
    assert_eq!(before["key"]["schema"]["fields"][0]["name"], "id");
    stage.run_once();
    let after = json(&stage.strandline(&["schema", "orders", "--json"]));
    assert_eq!((&after["value"]["registered"], &after["value"]["latest"]["version"]), (&true.into(), &1.into()));
    client.batch_execute("ALTER TABLE orders ADD COLUMN more int").await.unwrap();
    let changed = text(&stage.strandline(&["schema", "public.orders"]));
    assert!(changed.contains("-value: differs from the newest version 1"), "{changed}");
    assert!(text(&stage.strandline(&["schema", "no_key"])).contains("no key: the table has no primary key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_tell_progress_failures_and_who_holds_them_back() {
    let stage = Stage::alone("objects");
    let client = stage.client().await;
    client.batch_execute(TABLES).await.unwrap();
    client.batch_execute("CREATE VIEW public_orders AS SELECT * FROM orders").await.unwrap();
    stage.configure("objects.v.table = \"public.public_orders\"");
    let failed = stage.try_once(&[]);
    assert_eq!(failed.status.code(), Some(1));

    let listed = stage.strandline(&["objects", "--json"]);
    assert_eq!(listed.status.code(), Some(1), "an object is FAILED");
    let objects = json(&listed);
    assert_eq!(objects["state"], "STOPPED");
    let orders = object(&objects, "public.orders");
    assert_eq!((&orders["state"], &orders["rows"]), (&"STREAMING".into(), &500.into()));
    assert_eq!(object(&objects, "public.public_orders")["state"], "FAILED");

    let writer = stage.client().await;
    writer.batch_execute("BEGIN; INSERT INTO no_key VALUES (2)").await.unwrap();
    client.batch_execute("INSERT INTO orders VALUES (501, 'later')").await.unwrap();
    let log = text(&stage.strandline(&["run", "--once"]));
    assert!(log.contains("strandline: held back by pid "), "{log}");
    let shown = text(&stage.strandline(&["objects"]));
    assert!(
        shown.contains("held back by pid ") && shown.contains("FAILED  public.public_orders: it is a view"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_reset_and_set_only_on_a_stopped_connector_and_only_with_consent() {
    let stage = Stage::new("offsets");
    stage.client().await.batch_execute(TABLES).await.unwrap();
    stage.settle();
    let mut running = stage.run(&[]);
    running.await_log("caught_up object=public.orders");
    running.await_log("caught_up object=public.no_key");
    // That nothing is stored for it is told once it is stopped: until then that changes.
    for object in ["orders", "absent"] {
        let refused = stage.strandline(&["offsets", "reset", object, "--yes"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains("stop it first"), "{}", text(&refused));
    }
    assert_eq!(json(&stage.strandline(&["objects", "--json"]))["state"], "RUNNING");
    assert_eq!(running.stop().0, Some(0));

    let list = json(&stage.strandline(&["offsets", "list", "--json"]));
    let listed = list["offsets"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    let orders = listed.iter().find(|one| one["partition"]["table"] == "public.orders").unwrap();
    assert_eq!((&orders["offset"]["version"], &orders["offset"]["rows"]), (&1.into(), &500.into()));
    assert!(text(&stage.strandline(&["offsets", "list"])).contains("public.orders"));

    let dry = stage.strandline(&["offsets", "reset", "orders"]);
    assert!(text(&dry).contains("nothing was written: this was a dry run") && dry.status.success());
    stage.run_once();
    assert_eq!(records(&stage.kafka, &stage.topic("orders")).len(), 500, "a dry run changes nothing");

    assert!(text(&stage.strandline(&["offsets", "reset", "orders", "--yes"])).ends_with("written\n"));
    stage.run_once();
    assert_eq!(records(&stage.kafka, &stage.topic("orders")).len(), 1000, "it was loaded again");

    let wrong = stage.strandline(&["offsets", "set", "orders", "{\"version\":1}", "--yes"]);
    assert_eq!(wrong.status.code(), Some(2));
    stage.strandline(&["offsets", "reset", "--all", "--yes"]);
    let offset = orders["offset"].to_string();
    assert!(text(&stage.strandline(&["offsets", "set", "orders", &offset, "--yes"])).ends_with("written\n"));
    stage.run_once();
    assert_eq!(records(&stage.kafka, &stage.topic("orders")).len(), 1000, "it went on from the offset that was set");
    assert_eq!(records(&stage.kafka, &stage.topic("no_key")).len(), 2, "its progress was reset with all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connector_is_taken_over_by_force_and_a_running_one_is_fenced() {
    let stage = Stage::new("force");
    stage.client().await.batch_execute(TABLES).await.unwrap();
    let mut running = stage.run(&[]);
    running.await_log("caught_up object=public.orders");
    running.await_log("caught_up object=public.no_key");
    // What is not stored yet cannot be reset, and then nobody is fenced.
    until("progress", || {
        let stored = text(&stage.strandline(&["offsets", "list"]));
        stored.contains("public.orders") && stored.contains("public.no_key")
    });
    let forced = stage.strandline(&["offsets", "reset", "--all", "--yes", "--force"]);
    assert!(forced.status.success(), "{}", text(&forced));
    stage
        .client()
        .await
        .batch_execute("INSERT INTO orders VALUES (501, 'x'); INSERT INTO no_key VALUES (3)")
        .await
        .unwrap();
    assert_eq!(running.wait(std::time::Duration::from_secs(90)), Some(3), "{}", running.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connectors_run_in_one_process() {
    let (one, two) = (Stage::new("one"), Stage::new("two"));
    for stage in [&one, &two] {
        stage.client().await.batch_execute(TABLES).await.unwrap();
    }
    let both = one.try_once(&["-c", two.config().to_str().unwrap()]);
    assert!(both.status.success(), "{}", text(&both));
    for stage in [&one, &two] {
        assert_eq!(records(&stage.kafka, &stage.topic("orders")).len(), 500);
    }
    let same = one.strandline(&["check", "-c", one.config().to_str().unwrap()]);
    assert_eq!(same.status.code(), Some(2));
    assert!(text(&same).contains("a name of its own"));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_routed_and_records_tell_their_origin() {
    let stage = Stage::new("naming");
    let client = stage.client().await;
    client.batch_execute(TABLES).await.unwrap();
    stage.configure(&format!(
        "topic.name.format = '${{prefix}}-${{table}}'\n\
         topic.route.regex = '(.*)-orders'\ntopic.route.replacement = '$1-sales'\n\
         topic.headers = ['table', 'mode', 'xid', 'snapshot']\ntopic.prefix = '{}'",
        stage.name
    ));
    stage.run_once();
    assert_eq!(records(&stage.kafka, &format!("{}-no_key", stage.name)).len(), 1);
    let sales = format!("{}-sales", stage.name);
    let loaded = raw(&stage.kafka, &sales);
    assert_eq!(loaded.len(), 500);
    let row = client.query_one("SELECT xmin::text FROM orders WHERE id = 1", &[]).await.unwrap();
    let wrote: String = row.get(0);
    let told = |snapshot: bool, xid: &str| {
        ["table=public.orders", "mode=xmin", &format!("snapshot={snapshot}"), &format!("xid={xid}")]
            .map(|one| format!("strandline.{one}"))
    };
    assert!(loaded.iter().all(|record| record.headers == told(true, &wrote)), "{:?}", loaded[0]);
    client.batch_execute("UPDATE orders SET note = 'x' WHERE id = 7").await.unwrap();
    let row = client.query_one("SELECT xmin::text FROM orders WHERE id = 7", &[]).await.unwrap();
    stage.run_once();
    let changed = raw(&stage.kafka, &sales);
    assert_eq!(changed[500].headers, told(false, row.get(0)));
    assert_eq!(records(&stage.kafka, &sales)[500].long("id"), 7, "the id is not part of the row");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_shown_with_who_wrote_it_and_without_secrets() {
    let mut stage = Stage::new("shown");
    stage.below.1 = "user = 'u'\npassword = 'canary'".to_owned();
    stage.configure("tasks.max = 3");
    let output = stage.with_env(
        &["config", "--json", "--set", "poll.interval=2s"],
        &[("STRANDLINE_TOPIC__PREFIX", "shop"), ("STRANDLINE_DATABASE__SSLPASSWORD", "canary")],
    );
    let shown = json(&output);
    let file = stage.config().display().to_string();
    for (key, value, origin) in [
        ("tasks.max", "3", format!("{file}:1:7")),
        ("poll.interval", "2s", "--set poll.interval".to_owned()),
        ("topic.prefix", "shop", "$STRANDLINE_TOPIC__PREFIX".to_owned()),
        ("source.stall", "5s", "default".to_owned()),
    ] {
        let found = &shown[key];
        let (text, from) = (found["value"].to_string(), found["origin"].as_str().unwrap_or_default());
        assert!(text.contains(value) && from.contains(&origin), "{key}: {found}");
    }
    assert!(!text(&output).contains("canary"));
    // As a table: only what somebody wrote.
    let written = text(&stage.strandline(&["config", "--set-only"]));
    assert!(
        written.starts_with("KEY") && written.contains("tasks.max") && !written.contains("source.stall"),
        "{written}"
    );
    assert!(!written.contains("canary"), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_printed_for_each_shell_without_a_configuration() {
    let stage = Stage::new("completed");
    std::fs::remove_file(stage.config()).unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = stage.strandline(&["completions", shell]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("offsets") && said.contains("once"), "{shell}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_under_way_is_shown_by_its_share() {
    let stage = Stage::new("share");
    let client = stage.client().await;
    client
        .batch_execute(
            "CREATE TABLE slow (id int PRIMARY KEY) WITH (fillfactor = 10); INSERT INTO slow SELECT generate_series(1, 20000);
             CREATE FUNCTION slow(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.0005); RETURN true; END $$",
        )
        .await
        .unwrap();
    stage.configure("objects.slow = { table = 'slow', where = 'public.slow(id)' }");
    stage.settle();
    let mut running = stage.run(&[]);
    running.await_log("step object=public.slow");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let object = loop {
        let shown = json(&stage.strandline(&["objects", "--json"]));
        let object = object(&shown, "public.slow").clone();
        if object["state"] == "LOADING" && object["rows"].as_u64() > Some(0) {
            assert_eq!(shown["state"], "RUNNING");
            break object;
        }
        assert!(std::time::Instant::now() < deadline, "{shown}");
    };
    let percent = object["percent"].as_f64().unwrap();
    assert!((0.1..100.0).contains(&percent) && object["caught_up"] == false, "{object}");
    let table = text(&stage.strandline(&["objects"]));
    assert!(table.contains("LOADING ") && table.contains(" %  "), "{table}");
    running.kill();
}
