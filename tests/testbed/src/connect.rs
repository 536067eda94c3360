//! Kafka Connect, standalone: a sink for each topic, which prints what it was given, after Connect's own Avro converter.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fetch;
use crate::process::{Process, free_port, on_path};

/// A worker of Kafka Connect's.
pub struct Connect {
    dir: PathBuf,
    process: Process,
}

impl Connect {
    /// Starts it with a sink a topic. The registry is the address that Confluent's clients are given.
    ///
    /// The converter is Apicurio's, which Maven gives; Confluent's own where `STRANDLINE_TEST_CONNECT` names a directory of
    /// jars that has it beside Connect's (those of its packages, or of Debezium's).
    pub fn sinks(bootstrap: &str, registry: &str, topics: &[String]) -> Connect {
        assert!(
            on_path("java").is_some(),
            "testbed: this test starts Kafka Connect: install a JRE of version 17 or later"
        );
        let own = std::env::var_os("STRANDLINE_TEST_CONNECT").map(PathBuf::from);
        let converter = match &own {
            Some(jars) => {
                eprintln!("testbed: Confluent's AvroConverter of {}", jars.display());
                format!("io.confluent.connect.avro.AvroConverter\nSIDE.converter.schema.registry.url={registry}")
            }
            None => {
                let registry = registry.replace("/apis/ccompat/v7", "/apis/registry/v2");
                format!(
                    "io.apicurio.registry.utils.converter.AvroConverter\nSIDE.converter.apicurio.registry.url={registry}\n\
                     SIDE.converter.apicurio.registry.as-confluent=true\nSIDE.converter.apicurio.registry.use-id=contentId"
                )
            }
        };
        let converter = |side: &str| format!("{side}.converter={}", converter.replace("SIDE", side));
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("strandline-connect-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let worker = format!(
            "bootstrap.servers={bootstrap}\nlisteners=http://127.0.0.1:{port}\nplugin.discovery=service_load\n\
             offset.storage.file.filename={}\nconsumer.auto.offset.reset=earliest\nconsumer.isolation.level=read_committed\n\
             {}\n{}\n",
            dir.join("offsets").display(),
            converter("key"),
            converter("value"),
        );
        write(&dir.join("worker.properties"), &worker);
        let sinks = topics.iter().map(|topic| {
            let sink = format!(
                "name={topic}\nconnector.class=org.apache.kafka.connect.file.FileStreamSinkConnector\ntasks.max=1\n\
                 topics={topic}\nfile={}\n",
                dir.join(topic).display(),
            );
            let path = dir.join(format!("{topic}.properties"));
            write(&path, &sink);
            path
        });
        let mut command = Command::new("java");
        command.args(["-Xmx384m", "-Duser.timezone=UTC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
        command.arg(own.unwrap_or_else(fetch::connect).join("*"));
        command.arg("org.apache.kafka.connect.cli.ConnectStandalone").arg(dir.join("worker.properties"));
        command.args(sinks);
        let log = dir.join("log");
        Connect { process: Process::spawn(command, None, &log), dir }
    }

    /// The structs that the sink of a topic has printed once these are so many; ends the test if a task failed.
    pub fn structs(&mut self, topic: &str, count: usize) -> Vec<String> {
        let printed = self.dir.join(topic);
        let log = self.process.log.clone();
        // A value may have lines of its own.
        let structs = || -> Vec<String> {
            let printed = std::fs::read_to_string(&printed).unwrap_or_default();
            let begins = |line: &&str| line.starts_with("Struct{");
            printed.lines().filter(begins).map(str::to_owned).collect()
        };
        self.process.await_ready(&format!("{topic} in Kafka Connect"), Duration::from_secs(90), || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!log.contains("unrecoverable exception"), "a task of Kafka Connect failed:\n{log}");
            structs().len() >= count
        });
        structs()
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file in our own directory");
}
