//! Everything embedded: a throwaway PostgreSQL, an in-process broker, an in-memory registry, a small shop that sells, and
//! Strandline between them. `DEMO_SECONDS=20` ends it by itself.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a demo that cannot set its stage ends

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use strandline::config::{self, Sources};
use strandline_testbed::{Broker, Postgres, PostgresOptions, registry_in_memory};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

const SHOP: &str = "
    CREATE TYPE mood AS ENUM ('new', 'paid', 'shipped');
    CREATE TABLE customers (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name text NOT NULL, tags text[]);
    CREATE TABLE orders (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, customer int REFERENCES customers,
        total numeric(10,2) NOT NULL, state mood NOT NULL DEFAULT 'new', placed_at timestamptz NOT NULL DEFAULT now());
    INSERT INTO customers (name, tags) SELECT 'customer ' || i, ARRAY['early', NULL] FROM generate_series(1, 5) i;
    INSERT INTO orders (customer, total) SELECT 1 + i % 5, i * 9.99 FROM generate_series(1, 10) i;
";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("starting PostgreSQL, a broker and a registry …");
    let postgres = tokio::task::spawn_blocking(|| Postgres::start(PostgresOptions::default())).await.unwrap();
    let (broker, registry) = (Broker::spawn(), registry_in_memory());
    let database = postgres.url("postgres");
    client(&database).await.batch_execute(SHOP).await.unwrap();
    println!("a shop is open; its rows arrive below as they are committed. Ctrl-c ends it.\n");

    let stop = CancellationToken::new();
    tokio::spawn(sell(database.clone(), stop.clone()));
    tokio::spawn(hesitate(database.clone(), stop.clone()));
    let reader = {
        let (bootstrap, registry, stop) = (broker.bootstrap().to_owned(), registry.clone(), stop.clone());
        tokio::task::spawn_blocking(move || print_rows(&bootstrap, &registry, &stop))
    };
    let ending = stop.clone();
    tokio::spawn(async move {
        let seconds = std::env::var("DEMO_SECONDS").ok().and_then(|text| text.parse().ok());
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(u64::MAX / 4))) => {}
        }
        ending.cancel();
    });
    let summary = run_strandline(&database, broker.bootstrap(), &registry, stop.clone()).await;
    stop.cancel();
    let printed = reader.await.unwrap();
    match summary {
        Ok(summary) => {
            println!("\n{} rows of {} tables delivered, {printed} read back.", summary.rows, summary.objects)
        }
        Err(error) => eprintln!("\nstrandline: {}", error.report()),
    }
    println!("Next: write a strandline.toml for your own database (README), then `strandline check`.");
}

/// Strandline itself, as the library runs it.
async fn run_strandline(
    database: &str,
    bootstrap: &str,
    registry: &str,
    stop: CancellationToken,
) -> strandline::Result<strandline::task::Summary> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("strandline.toml");
    let text = format!(
        "name = \"demo\"\n[database]\nurl = \"{database}\"\n[poll]\ninterval = \"250ms\"\n\
         [kafka]\n\"bootstrap.servers\" = \"{bootstrap}\"\n[topic.creation.default]\npartitions = 1\n\"replication.factor\" = 1\n\
         [offset.storage]\nreplication.factor = 1\n[schema_registry]\nurl = \"{registry}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let config = match config::load(&Sources { file, environment: Vec::new(), set: Vec::new() }) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    };
    strandline::worker::run(Arc::new(config), false, stop).await
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Orders come, are paid and shipped.
async fn sell(url: String, stop: CancellationToken) {
    let client = client(&url).await;
    while !stop.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let sql = "INSERT INTO orders (customer, total) VALUES (1 + random() * 4, (random() * 100)::numeric(10,2));
                   UPDATE orders SET state = CASE state WHEN 'new' THEN 'paid'::mood ELSE 'shipped' END
                   WHERE id = (SELECT id FROM orders WHERE state <> 'shipped' ORDER BY random() LIMIT 1)";
        client.batch_execute(sql).await.unwrap();
    }
}

/// A transaction that commits late, after younger ones: what other pollers lose.
async fn hesitate(url: String, stop: CancellationToken) {
    let client = client(&url).await;
    while !stop.is_cancelled() {
        client.batch_execute("BEGIN; INSERT INTO customers (name) VALUES ('who hesitated for 3 s')").await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        client.batch_execute("COMMIT").await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
}

/// Prints each committed row, a line each; how many.
fn print_rows(bootstrap: &str, registry: &str, stop: &CancellationToken) -> usize {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "demo-reader").set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "earliest").set("topic.metadata.refresh.interval.ms", "500");
    let consumer: BaseConsumer = config.set("receive.message.max.bytes", "500000000").create().unwrap();
    consumer.subscribe(&["demo.public.customers", "demo.public.orders"]).unwrap();
    let mut schemas = HashMap::new();
    let mut printed = 0;
    let colour = std::io::IsTerminal::is_terminal(&std::io::stdout());
    while !stop.is_cancelled() {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let Some([0, a, b, c, d, row @ ..]) = record.payload() else { continue };
        let id = u32::from_be_bytes([*a, *b, *c, *d]);
        let schema = schemas.entry(id).or_insert_with(|| fetch(registry, id));
        let row = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut &row[..]).unwrap();
        let table = record.topic().trim_start_matches("demo.public.");
        let (on, off) =
            if colour { (if table == "orders" { "\x1b[36m" } else { "\x1b[33m" }, "\x1b[0m") } else { ("", "") };
        println!("{on}{table:>9}{off}  {}", show(&row));
        printed += 1;
    }
    printed
}

fn fetch(registry: &str, id: u32) -> Schema {
    use std::io::{Read, Write};
    let host = registry.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /schemas/ids/{id} HTTP/1.0\r\nhost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    Schema::parse_str(body["schema"].as_str().unwrap()).unwrap()
}

fn show(value: &Value) -> String {
    match value {
        Value::Record(fields) => {
            fields.iter().map(|(name, value)| format!("{name}={}", show(value))).collect::<Vec<_>>().join("  ")
        }
        Value::Union(_, inner) => show(inner),
        Value::Null => "null".into(),
        Value::String(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Long(number) => number.to_string(),
        Value::Decimal(decimal) => {
            let unscaled = num_bigint::BigInt::from(decimal.clone());
            let cents: i64 = unscaled.try_into().unwrap_or_default();
            format!("{}.{:02}", cents / 100, cents % 100)
        }
        Value::TimestampMicros(micros) => {
            jiff::Timestamp::from_microsecond(*micros).map_or_else(|_| micros.to_string(), |at| at.to_string())
        }
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        other => format!("{other:?}"),
    }
}
