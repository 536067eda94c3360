//! Apache Kafka, one node.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::fetch;
use crate::process::{Process, cpu_time, free_port, on_path};
use crate::standin::Broker;

/// A broker.
pub struct Kafka {
    own: Option<Own>,
    bootstrap: String,
}

/// Listeners beside the plain one, and what they need.
#[derive(Clone, Debug, Default)]
pub struct KafkaOptions {
    /// Name and protocol: `("LOGIN", "SASL_SSL")`.
    pub listeners: Vec<(String, String)>,
    /// Lines of `server.properties`.
    pub properties: String,
    /// `SCRAM-SHA-256=[name=…,password=…]`.
    pub scram: Vec<String>,
    /// Options of Java's.
    pub java: Vec<String>,
}

struct Own {
    dir: PathBuf,
    listeners: Vec<(String, u16)>,
    java: Vec<String>,
    process: Option<Process>,
}

impl Kafka {
    /// The one that tests share.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("STRANDLINE_TEST_KAFKA") {
            Ok(bootstrap) => {
                eprintln!("testbed: Kafka of STRANDLINE_TEST_KAFKA");
                Kafka { own: None, bootstrap }
            }
            Err(_) if on_path("java").is_none() => {
                eprintln!("testbed: an in-process STAND-IN for Kafka, as `java` is missing");
                Kafka { own: None, bootstrap: Broker::spawn().bootstrap().to_owned() }
            }
            Err(_) => Kafka::start(),
        })
    }

    /// One of its own.
    pub fn start() -> Kafka {
        Kafka::start_as(KafkaOptions::default())
    }

    /// One of its own with a second listener, which clients reach through a proxy: where it listens, and where the proxy does.
    pub fn start_behind(listener: u16, proxy: u16) -> Kafka {
        Kafka::start_with(KafkaOptions::default(), Some((listener, proxy)))
    }

    /// One of its own with these listeners too.
    pub fn start_as(options: KafkaOptions) -> Kafka {
        Kafka::start_with(options, None)
    }

    fn start_with(options: KafkaOptions, behind: Option<(u16, u16)>) -> Kafka {
        let port = free_port();
        assert!(
            on_path("java").is_some(),
            "testbed: this test stops and starts a real Kafka: install a JRE of version 17 or later"
        );
        let controller = free_port();
        let mut listeners: Vec<(String, u16)> = vec![("PLAINTEXT".to_owned(), port)];
        listeners.extend(options.listeners.iter().map(|(name, _)| (name.clone(), free_port())));
        let list = |listeners: &[(String, u16)]| -> String {
            let all: Vec<String> = listeners.iter().map(|(name, port)| format!("{name}://127.0.0.1:{port}")).collect();
            all.join(",")
        };
        let (mut bound, mut advertised) = (listeners.clone(), listeners.clone());
        if let Some((listener, proxy)) = behind {
            bound.push(("PROXIED".to_owned(), listener));
            advertised.push(("PROXIED".to_owned(), proxy));
        }
        bound.push(("CONTROLLER".to_owned(), controller));
        let protocols: String =
            options.listeners.iter().map(|(name, protocol)| format!(",{name}:{protocol}")).collect();
        let dir = std::env::temp_dir().join(format!("strandline-kafka-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             listeners={}\nadvertised.listeners={}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT{protocols}\n\
             inter.broker.listener.name=PLAINTEXT\ncontroller.listener.names=CONTROLLER\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             offsets.topic.num.partitions=5\ntransaction.state.log.num.partitions=5\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=500\ngroup.initial.rebalance.delay.ms=0\n\
             log.retention.ms=-1\nauto.create.topics.enable=true\n{}",
            list(&bound),
            list(&advertised),
            dir.join("data").display(),
            options.properties,
        );
        std::fs::write(dir.join("server.properties"), properties).expect("server.properties");
        let format = java(512)
            .args(["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "--standalone", "-c"])
            .arg(dir.join("server.properties"))
            .args(options.scram.iter().flat_map(|credential| ["--add-scram", credential]))
            .output()
            .expect("java");
        assert!(format.status.success(), "Kafka's storage: {}", String::from_utf8_lossy(&format.stderr));
        let own = Own { dir, listeners, java: options.java, process: None };
        let mut kafka = Kafka { own: Some(own), bootstrap: format!("127.0.0.1:{port}") };
        kafka.restart();
        eprintln!("testbed: Apache Kafka at {}", kafka.bootstrap);
        kafka
    }

    /// Host and port.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Host and port of one of its own listeners.
    pub fn listener(&self, name: &str) -> String {
        let listeners = &self.own.as_ref().expect("a broker of our own").listeners;
        let (_, port) = listeners.iter().find(|(known, _)| known == name).expect("a listener of that name");
        format!("127.0.0.1:{port}")
    }

    /// What the broker has cost so far.
    pub fn cpu_time(&self) -> Duration {
        self.own
            .as_ref()
            .and_then(|own| own.process.as_ref())
            .map(|process| cpu_time(process.pid()))
            .unwrap_or_default()
    }

    /// Stops its threads, as a machine that hangs would.
    pub fn pause(&self) {
        self.process().signal(libc::SIGSTOP);
    }

    pub fn resume(&self) {
        self.process().signal(libc::SIGCONT);
    }

    pub fn kill(&mut self) {
        self.own.as_mut().expect("a broker of our own").process = None;
    }

    /// Starts again on the same port and data.
    pub fn restart(&mut self) {
        let own = self.own.as_mut().expect("a broker of our own");
        let log = own.dir.join("log");
        let _ = std::fs::remove_file(&log);
        let mut command = java(768);
        command.args(&own.java).arg("kafka.Kafka").arg(own.dir.join("server.properties"));
        let mut process = Process::spawn(command, None, &log);
        process.await_ready("Kafka", Duration::from_secs(90), || {
            std::fs::read_to_string(&log).is_ok_and(|log| log.contains("Kafka Server started"))
        });
        own.process = Some(process);
    }

    fn process(&self) -> &Process {
        self.own.as_ref().and_then(|own| own.process.as_ref()).expect("a broker of our own that runs")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            own.process = None;
            let _ = std::fs::remove_dir_all(&own.dir);
        }
    }
}

fn java(megabytes: u32) -> Command {
    let mut command = Command::new("java");
    command.arg(format!("-Xmx{megabytes}m")).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=info").arg("-cp");
    command.arg(fetch::kafka().join("*"));
    command
}
