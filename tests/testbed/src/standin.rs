//! In-process stand-ins: no Java, no waiting. For the demo, and for tests where Java is missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// A broker that speaks Kafka's protocol, transactions included; it ends with the process.
pub struct Broker {
    bootstrap: String,
}

impl Broker {
    pub fn spawn() -> Broker {
        let address = noida::kafka::spawn("127.0.0.1:0").expect("the in-process broker");
        Broker { bootstrap: address.to_string() }
    }

    /// Host and port.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

/// Schemas by id, and the ids of each subject's versions.
#[derive(Default)]
struct Schemas {
    texts: Vec<String>,
    subjects: BTreeMap<String, Vec<usize>>,
}

type Shared = Arc<Mutex<Schemas>>;

/// A Schema Registry in memory; the address that a client is given.
pub fn registry_in_memory() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let routes = Router::new()
                .route("/subjects", get(subjects))
                .route("/subjects/{subject}/versions", post(register))
                .route("/schemas/ids/{id}", get(schema))
                .with_state(Shared::default());
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, routes).await.expect("the registry");
        });
    });
    url
}

async fn subjects(State(schemas): State<Shared>) -> Json<Vec<String>> {
    Json(schemas.lock().expect("schemas").subjects.keys().cloned().collect())
}

async fn register(
    State(schemas): State<Shared>,
    Path(subject): Path<String>,
    body: String,
) -> (StatusCode, Json<Value>) {
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let Some(text) = body["schema"].as_str() else {
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error_code": 42201, "message": "no schema" })));
    };
    let mut schemas = schemas.lock().expect("schemas");
    let id = schemas.texts.iter().position(|known| known == text).unwrap_or_else(|| {
        schemas.texts.push(text.to_owned());
        schemas.texts.len() - 1
    });
    let versions = schemas.subjects.entry(subject).or_default();
    if !versions.contains(&id) {
        versions.push(id);
    }
    (StatusCode::OK, Json(json!({ "id": id + 1 })))
}

async fn schema(State(schemas): State<Shared>, Path(id): Path<usize>) -> (StatusCode, Json<Value>) {
    let schemas = schemas.lock().expect("schemas");
    match id.checked_sub(1).and_then(|at| schemas.texts.get(at)) {
        Some(text) => (StatusCode::OK, Json(json!({ "schema": text }))),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error_code": 40403, "message": "Schema not found" }))),
    }
}
