//! What may befall the connector and its servers.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use strandline_testbed::{Chaos, Kafka, Postgres, PostgresOptions, Registry, Weather, free_port};

use crate::stage::{Running, Stage, connect};
use crate::trials::{OBJECTS, client, start};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    Postgres,
    Kafka,
    Registry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Cut(Server),
    HalfClose(Server),
    Stall(Server),
    Slow(Server),
    Refuse(Server),
    Reset(Server),
    /// SIGKILL, and a start with another number of tasks.
    Kill,
    /// SIGTERM, likewise.
    Stop,
    /// SIGSTOP; a successor starts; SIGCONT.
    Zombie,
    /// `pg_terminate_backend` of our sessions.
    Terminate,
    /// A clean restart of PostgreSQL.
    Restart,
    /// A transaction in another database stays open meanwhile.
    HeldOpen,
    /// Kafka's process stands still.
    Pause,
    /// The topics want more replicas than there are brokers, for a while.
    Unreplicated,
    /// The registry answers something else.
    Nonsense,
    /// A crash of PostgreSQL, with all that was not flushed.
    Crash,
    /// Another one right after the recovery.
    CrashTwice,
    /// VACUUM FULL and CLUSTER.
    Rewrite,
}

/// Whatever of these happens, nothing comes twice.
pub const FAULTS: &[Fault] = &[
    Fault::Cut(Server::Postgres),
    Fault::Cut(Server::Kafka),
    Fault::Cut(Server::Registry),
    Fault::HalfClose(Server::Postgres),
    Fault::HalfClose(Server::Kafka),
    Fault::Stall(Server::Postgres),
    Fault::Stall(Server::Kafka),
    Fault::Stall(Server::Registry),
    Fault::Slow(Server::Postgres),
    Fault::Slow(Server::Kafka),
    Fault::Refuse(Server::Postgres),
    Fault::Refuse(Server::Kafka),
    Fault::Refuse(Server::Registry),
    Fault::Reset(Server::Postgres),
    Fault::Reset(Server::Kafka),
    Fault::Reset(Server::Registry),
    Fault::Kill,
    Fault::Stop,
    Fault::Zombie,
    Fault::Terminate,
    Fault::HeldOpen,
    Fault::Pause,
    Fault::Unreplicated,
    Fault::Nonsense,
];

/// After these something is read again, and the log says so.
pub const READ_AGAIN: &[Fault] = &[Fault::Crash, Fault::Rewrite, Fault::CrashTwice, Fault::Restart];

/// What a registry never says.
const NONSENSE: &[&str] = &[
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 40\r\nConnection: close\r\n\r\n{\"error_code\":50002,\"message\":\"timeout\"}",
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n<html>oh</html>",
    "HTTP/1.1 200 OK\r\nContent-Length: 400\r\nConnection: close\r\n\r\n{\"id\":",
    "SSH-2.0-OpenSSH_9.2\r\n",
];

/// The servers, each behind its proxy.
pub struct Servers {
    pub postgres: Postgres,
    pub kafka: Kafka,
    proxies: [Chaos; 3],
}

impl Servers {
    pub fn start() -> Servers {
        let postgres = Postgres::start(PostgresOptions::default());
        let listener = free_port();
        let before_kafka = Chaos::before(listener);
        let kafka = Kafka::start_behind(listener, before_kafka.port());
        let before_postgres = Chaos::before(port(&postgres.url("x")));
        let before_registry = Chaos::before(port(Registry::shared().url()));
        Servers { postgres, kafka, proxies: [before_postgres, before_kafka, before_registry] }
    }

    /// Good weather everywhere.
    pub fn clear(&self) {
        self.proxies.iter().for_each(|proxy| proxy.set(Weather::Clear));
    }

    pub fn proxy(&self, server: Server) -> &Chaos {
        &self.proxies[server as usize]
    }

    /// The stage's configuration, by way of the proxies.
    pub fn configure(&self, stage: &Stage, settings: &str) {
        // Short limits, so that a trial ends within seconds.
        stage.configure(&format!("{settings}\nsource.stall = '2s'"));
        let text = std::fs::read_to_string(stage.config()).unwrap();
        let through = |text: &str, address: &str, server: Server| {
            let through = address.replace(&port(address).to_string(), &self.proxy(server).port().to_string());
            text.replace(address, &through)
        };
        let text = through(&text, &stage.database.url, Server::Postgres);
        let text = text.replace(self.kafka.bootstrap(), &format!("127.0.0.1:{}", self.proxy(Server::Kafka).port()));
        let text = through(&text, Registry::shared().url(), Server::Registry);
        std::fs::write(stage.config(), text).unwrap();
    }
}

fn port(address: &str) -> u16 {
    let after = address.rsplit_once(':').unwrap().1;
    after.split('/').next().unwrap().parse().unwrap()
}

/// Lets it happen. What ran before comes back, or another that took its place.
pub async fn befall(
    fault: Fault,
    servers: &mut Servers,
    stage: &Stage,
    mut running: Running,
    random: &mut StdRng,
    log: &mut String,
) -> Running {
    let pause = Duration::from_millis(random.random_range(200..1500));
    let under = |servers: &Servers, server: Server, weather: Weather| servers.proxy(server).set(weather);
    match fault {
        Fault::Cut(server) => servers.proxy(server).cut(),
        Fault::HalfClose(server) => servers.proxy(server).half_close(),
        Fault::Stall(server) => under(servers, server, Weather::Stall),
        Fault::Slow(server) => under(servers, server, Weather::Slow(random.random_range(20_000..200_000))),
        Fault::Refuse(server) => {
            under(servers, server, Weather::Refuse);
            servers.proxy(server).cut();
        }
        Fault::Reset(server) => under(servers, server, Weather::ResetAfter(random.random_range(0..50_000))),
        Fault::Kill => {
            *log += &running.kill();
            running = start(stage, random);
        }
        Fault::Stop => {
            let (code, said) = running.stop();
            assert_eq!(code, Some(0), "{said}");
            *log += &said;
            running = start(stage, random);
        }
        Fault::Zombie => {
            // One that hangs before it owns anything is nobody's predecessor.
            running.await_log_of(OBJECTS, "object found");
            running.signal(libc::SIGSTOP);
            let mut successor = start(stage, random);
            successor.await_log("object found");
            running.signal(libc::SIGCONT);
            let code = running.wait(Duration::from_secs(60));
            let said = running.log();
            assert_eq!(code, Some(3), "the zombie did not see its successor:\n{said}");
            *log += &said;
            running = successor;
        }
        Fault::Terminate => {
            let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name LIKE 'strandline%'";
            client(stage).await.batch_execute(terminate).await.unwrap();
        }
        Fault::Restart => {
            servers.postgres.stop_fast();
            servers.postgres.restart();
        }
        Fault::HeldOpen => {
            let elsewhere = servers.postgres.create_database("elsewhere");
            let client = connect(&elsewhere.url).await;
            client.batch_execute("CREATE TABLE x (); BEGIN; INSERT INTO x DEFAULT VALUES").await.unwrap();
            tokio::time::sleep(pause).await;
        }
        Fault::Pause => {
            servers.kafka.pause();
            tokio::time::sleep(pause).await;
            servers.kafka.resume();
        }
        Fault::Unreplicated => {
            let topics: Vec<String> = ["t", "k", "p"].iter().map(|table| stage.topic(table)).collect();
            want_replicas(servers.kafka.bootstrap(), &topics, "2").await;
            tokio::time::sleep(pause).await;
            want_replicas(servers.kafka.bootstrap(), &topics, "1").await;
        }
        Fault::Nonsense => {
            under(servers, Server::Registry, Weather::Answer(NONSENSE.choose(random).unwrap()));
        }
        Fault::Crash => {
            servers.postgres.crash();
            servers.postgres.restart();
        }
        Fault::CrashTwice => {
            for _ in 0..2 {
                servers.postgres.crash();
                servers.postgres.restart();
            }
        }
        Fault::Rewrite => {
            // Writers that hold a lock for longer are waited for no longer than they wait themselves.
            let maintenance = client(stage).await;
            maintenance.batch_execute("SET lock_timeout = '2s'").await.unwrap();
            for statement in ["VACUUM FULL t", "CLUSTER t USING t_pkey", "VACUUM FULL k", "VACUUM FULL p0"] {
                let _ = maintenance.batch_execute(statement).await;
            }
        }
    }
    tokio::time::sleep(pause).await;
    servers.clear();
    running
}

/// Sets `min.insync.replicas` of these topics, as far as they exist.
async fn want_replicas(bootstrap: &str, topics: &[String], replicas: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let changes: Vec<AlterConfig<'_>> = topics
        .iter()
        .map(|topic| AlterConfig::new(ResourceSpecifier::Topic(topic)).set("min.insync.replicas", replicas))
        .collect();
    admin.alter_configs(&changes, &AdminOptions::new()).await.unwrap();
}
