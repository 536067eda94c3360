//! A Schema Registry with Confluent's API.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::fetch;
use crate::process::{Process, free_port, on_path};
use crate::standin::registry_in_memory;

/// A registry.
pub struct Registry {
    url: String,
    _process: Option<Process>,
}

const PATH: &str = "/apis/ccompat/v7";

impl Registry {
    /// The one that tests share.
    pub fn shared() -> &'static Registry {
        static SHARED: OnceLock<Registry> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("STRANDLINE_TEST_REGISTRY") {
            Ok(url) => {
                eprintln!("testbed: Schema Registry of STRANDLINE_TEST_REGISTRY");
                Registry { url, _process: None }
            }
            Err(_) if on_path("java").is_none() => {
                eprintln!("testbed: an in-memory STAND-IN for the Schema Registry, as `java` is missing");
                Registry { url: registry_in_memory(), _process: None }
            }
            Err(_) => Registry::start(),
        })
    }

    /// One of its own; incompatible schemas are refused, as Confluent's refuses them by default.
    pub fn start() -> Registry {
        assert!(on_path("java").is_some(), "testbed: `java` is missing: install a JRE of version 17 or later");
        let port = free_port();
        let jar = fetch::registry();
        let mut command = Command::new("java");
        command
            .env("REGISTRY_STORAGE", "mem")
            .args(["-Xmx512m", "-Dquarkus.http.host=127.0.0.1", &format!("-Dquarkus.http.port={port}"), "-jar"])
            .arg(jar.join("apicurio-registry-app-2.6.13.Final-runner.jar"))
            .current_dir(&jar);
        let log = std::env::temp_dir().join(format!("strandline-registry-{}-{port}.log", std::process::id()));
        let mut process = Process::spawn(command, None, &log);
        process.await_ready("the Schema Registry", Duration::from_secs(90), || {
            request(port, "GET", "/subjects", "").is_some_and(|answer| answer.contains(" 200 "))
        });
        request(port, "PUT", "/config", r#"{"compatibility":"BACKWARD"}"#);
        eprintln!("testbed: Apicurio Registry at port {port}");
        Registry { url: format!("http://127.0.0.1:{port}{PATH}"), _process: Some(process) }
    }

    /// The base address that a client is given.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn request(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "{method} {PATH}{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
