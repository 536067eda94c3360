//! Kafka behind TLS and logins of every kind: a connector streams through each, and what is wrong is told at once.

#![allow(clippy::unwrap_used)] // a test that cannot set its stage fails

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use openssl::hash::MessageDigest;
use openssl::sign::Signer;
use strandline_testbed::{Kafka, KafkaOptions, Postgres};

use crate::authority::{Certified, rsa};
use crate::stage::Stage;
use crate::topic::records;

pub struct Brokers {
    pub kafka: Kafka,
    directory: tempfile::TempDir,
    tokens: &'static Tokens,
}

/// An endpoint that gives tokens, and tells by which key they are signed.
pub struct Tokens {
    address: String,
    key: Certified,
    given: AtomicUsize,
}

/// Seconds that a token is good for.
const LIFE: u64 = 8;

impl Tokens {
    fn serve() -> &'static Tokens {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let key = Certified::authority("tokens");
        let tokens: &'static Tokens = Box::leak(Box::new(Tokens { address, key, given: AtomicUsize::new(0) }));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut buffer = [0; 8192];
                let mut request = String::new();
                while !request.contains("grant_type=client_credentials") && !request.starts_with("GET ") {
                    let read = stream.read(&mut buffer).unwrap();
                    if read == 0 {
                        break;
                    }
                    request.push_str(&String::from_utf8_lossy(&buffer[..read]));
                }
                let basic =
                    format!("authorization: basic {}", BASE64_STANDARD.encode("shop:client%2Dword").to_lowercase());
                let plain =
                    format!("authorization: basic {}", BASE64_STANDARD.encode("shop:client-word").to_lowercase());
                let lower = request.to_lowercase();
                let (status, body) = if request.starts_with("GET ") {
                    ("200 OK", tokens.keys())
                } else if lower.contains(&basic) || lower.contains(&plain) {
                    tokens.given.fetch_add(1, Ordering::Relaxed);
                    (
                        "200 OK",
                        format!(r#"{{"access_token":"{}","token_type":"Bearer","expires_in":{LIFE}}}"#, tokens.token()),
                    )
                } else {
                    (
                        "401 Unauthorized",
                        r#"{"error":"invalid_client","error_description":"no such client"}"#.to_owned(),
                    )
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        tokens
    }

    /// RFC 7517.
    fn keys(&self) -> String {
        let key = self.key.key.rsa().unwrap();
        let number = |number: &openssl::bn::BigNumRef| BASE64_URL_SAFE_NO_PAD.encode(number.to_vec());
        let (n, e) = (number(key.n()), number(key.e()));
        format!(r#"{{"keys":[{{"kty":"RSA","kid":"one","use":"sig","alg":"RS256","n":"{n}","e":"{e}"}}]}}"#)
    }

    /// RFC 7519.
    fn token(&self) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let encode = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
        let head = encode(r#"{"alg":"RS256","typ":"JWT","kid":"one"}"#.to_owned());
        let claims = encode(format!(r#"{{"sub":"reader","iat":{now},"exp":{}}}"#, now + LIFE));
        let signed = format!("{head}.{claims}");
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key.key).unwrap();
        signer.update(signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signer.sign_to_vec().unwrap()))
    }
}

pub fn brokers() -> &'static Brokers {
    static BROKERS: OnceLock<Brokers> = OnceLock::new();
    BROKERS.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: Vec<u8>| -> PathBuf {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (authority, stranger) = (Certified::authority("authority"), Certified::authority("stranger"));
        let server = authority.sign("broker", rsa(), &["127.0.0.1"]);
        let store = write("broker.pem", [server.key_pem(), server.pem(), authority.pem()].concat());
        let trusted = write("authority.pem", authority.pem());
        write("stranger.pem", stranger.pem());
        for (name, by) in [("reader", &authority), ("intruder", &stranger)] {
            let own = by.sign(name, rsa(), &[]);
            write(&format!("{name}.pem"), own.pem());
            write(&format!("{name}.key"), own.key_pem());
        }
        let tokens = Tokens::serve();
        let tls = |listener: &str| {
            format!(
                "listener.name.{listener}.ssl.keystore.type=PEM\nlistener.name.{listener}.ssl.keystore.location={}\n\
                 listener.name.{listener}.ssl.truststore.type=PEM\nlistener.name.{listener}.ssl.truststore.location={}\n",
                store.display(),
                trusted.display()
            )
        };
        let properties = [
            tls("login"),
            tls("own"),
            tls("token"),
            "listener.name.login.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN\n\
             listener.name.login.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             listener.name.login.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_plain=\"plain-word\";\n\
             listener.name.own.ssl.client.auth=required\n\
             listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER\n\
             listener.name.token.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;\n\
             listener.name.token.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler\n\
             connections.max.reauth.ms=60000\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS;User:reader;User:plain;User:CN=reader\n"
                .to_owned(),
            format!("listener.name.token.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={}/keys\n", tokens.address),
        ]
        .concat();
        let scram = |hash: &str, user: &str, word: &str| format!("SCRAM-SHA-{hash}=[name={user},password={word}]");
        let listener = |name: &str, protocol: &str| (name.to_owned(), protocol.to_owned());
        let kafka = Kafka::start_as(KafkaOptions {
            listeners: vec![listener("LOGIN", "SASL_SSL"), listener("OWN", "SSL"), listener("TOKEN", "SASL_SSL")],
            properties,
            scram: vec![
                scram("256", "reader", "word-256"),
                scram("512", "reader", "word-512"),
                scram("256", "nobody", "word-256"),
            ],
            java: vec![format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={}/keys", tokens.address)],
        });
        Brokers { kafka, directory, tokens }
    })
}

/// Of librdkafka, with their values.
type Properties = Vec<(&'static str, String)>;

impl Brokers {
    fn stage(&self, name: &str, listener: &str, properties: &[(&str, &str)]) -> Stage {
        let database = Postgres::shared().create_database(name);
        let mut stage = Stage::on(name, database, &self.kafka.listener(listener));
        stage.below.0 = properties.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"\n")).collect();
        stage.configure("");
        stage
    }

    pub fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Each way in that works: listener, properties.
    fn ways(&self) -> Vec<(&'static str, &'static str, Properties)> {
        let ca = || ("ssl.ca.location", self.file("authority.pem"));
        let login = |mechanism: &str, user: &str, word: &str| {
            vec![
                ("security.protocol", "SASL_SSL".to_owned()),
                ("sasl.mechanism", mechanism.to_owned()),
                ("sasl.username", user.to_owned()),
                ("sasl.password", word.to_owned()),
                ca(),
            ]
        };
        let own = vec![
            ("security.protocol", "SSL".to_owned()),
            ("ssl.certificate.location", self.file("reader.pem")),
            ("ssl.key.location", self.file("reader.key")),
            ca(),
        ];
        vec![
            ("scram-256", "LOGIN", login("SCRAM-SHA-256", "reader", "word-256")),
            ("scram-512", "LOGIN", login("SCRAM-SHA-512", "reader", "word-512")),
            ("plain", "LOGIN", login("PLAIN", "plain", "plain-word")),
            ("certificate", "OWN", own),
            ("token", "TOKEN", self.by_token("client-word")),
        ]
    }

    fn by_token(&self, secret: &str) -> Properties {
        vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", "OAUTHBEARER".to_owned()),
            ("sasl.oauthbearer.method", "oidc".to_owned()),
            ("sasl.oauthbearer.token.endpoint.url", format!("{}/token", self.tokens.address)),
            ("sasl.oauthbearer.client.id", "shop".to_owned()),
            ("sasl.oauthbearer.client.secret", secret.to_owned()),
            ("ssl.ca.location", self.file("authority.pem")),
        ]
    }
}

fn borrowed(properties: &[(&'static str, String)]) -> Vec<(&'static str, &'static str)> {
    properties.iter().map(|(name, value)| (*name, &*value.clone().leak())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_by_every_way_in() {
    let brokers = brokers();
    for (name, listener, properties) in brokers.ways() {
        let stage = brokers.stage(&name.replace('-', "_"), listener, &borrowed(&properties));
        stage.client().await.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 100) AS id").await.unwrap();
        let log = stage.run_once();
        assert_eq!(records(brokers.kafka.bootstrap(), &stage.topic("t")).len(), 100, "{name}: {log}");
        assert!(!log.contains("-word") && !log.contains("word-"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_while_streaming() {
    let brokers = brokers();
    let stage = brokers.stage("renewal", "TOKEN", &borrowed(&brokers.by_token("client-word")));
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    let before = brokers.tokens.given.load(Ordering::Relaxed);
    let began = Instant::now();
    let mut id = 0;
    while brokers.tokens.given.load(Ordering::Relaxed) < before + 2 || began.elapsed() < Duration::from_secs(2 * LIFE) {
        assert!(began.elapsed() < Duration::from_secs(60), "no token was asked for again:\n{}", running.log());
        id += 1;
        client.execute("INSERT INTO t VALUES ($1)", &[&id]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let topic = stage.topic("t");
    crate::stage::until("rows", || records(brokers.kafka.bootstrap(), &topic).len() >= usize::try_from(id).unwrap());
    let (code, log) = running.stop();
    assert_eq!(
        (code, records(brokers.kafka.bootstrap(), &topic).len()),
        (Some(0), usize::try_from(id).unwrap()),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_at_once_with_what_to_do() {
    let brokers = brokers();
    let ways = brokers.ways();
    let way = |name: &str, changed: &[(&'static str, &str)]| {
        let (_, listener, properties) = ways.iter().find(|(known, ..)| *known == name).unwrap().clone();
        let mut properties: Vec<_> =
            properties.into_iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name)).collect();
        properties.extend(
            changed.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, (*value).to_owned())),
        );
        (listener, properties)
    };
    let (stranger, intruder, intruders) =
        (brokers.file("stranger.pem"), brokers.file("intruder.pem"), brokers.file("intruder.key"));
    for (name, (listener, properties), needles) in [
        ("password", way("scram-256", &[("sasl.password", "canary")]), vec!["SASL", "sasl.password"]),
        ("user", way("plain", &[("sasl.username", "ghost")]), vec!["uthentication failed", "sasl.username"]),
        (
            "mechanism",
            way(
                "plain",
                &[
                    ("security.protocol", "SASL_SSL"),
                    ("sasl.mechanism", "OAUTHBEARER"),
                    ("sasl.username", ""),
                    ("sasl.password", ""),
                    ("sasl.oauthbearer.token.endpoint.url", &format!("{}/token", brokers.tokens.address)),
                    ("sasl.oauthbearer.client.id", "shop"),
                    ("sasl.oauthbearer.client.secret", "client-word"),
                ],
            ),
            vec!["mechanism", "sasl.mechanism"],
        ),
        ("authority", way("scram-256", &[("ssl.ca.location", &stranger)]), vec!["certificate", "ssl.ca.location"]),
        (
            "no certificate",
            way("certificate", &[("ssl.certificate.location", ""), ("ssl.key.location", "")]),
            vec!["certificate", "ssl.certificate.location"],
        ),
        (
            "another's certificate",
            way("certificate", &[("ssl.certificate.location", &intruder), ("ssl.key.location", &intruders)]),
            vec!["certificate", "ssl.certificate.location"],
        ),
        ("secret", ("TOKEN", brokers.by_token("canary")), vec!["invalid_client", "OAuth client"]),
        (
            "no TLS",
            way("scram-256", &[("security.protocol", "SASL_PLAINTEXT"), ("ssl.ca.location", "")]),
            vec!["security.protocol"],
        ),
    ] {
        let stage = brokers.stage("wrong", listener, &borrowed(&properties));
        let began = Instant::now();
        let output = stage.strandline(&["check"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(began.elapsed() < Duration::from_secs(25), "{name} took {:?}", began.elapsed());
        for needle in needles {
            assert!(told.contains(needle), "{name}: {needle}: {told}");
        }
        assert!(!told.contains("canary"), "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_without_rights_is_told_which_it_lacks() {
    let brokers = brokers();
    let (_, listener, mut properties) = brokers.ways().remove(0);
    properties.retain(|(name, _)| *name != "sasl.username");
    properties.push(("sasl.username", "nobody".to_owned()));
    let stage = brokers.stage("rights", listener, &borrowed(&properties));
    stage.client().await.batch_execute("CREATE TABLE t AS SELECT 1 AS id").await.unwrap();
    let mut running = stage.run(&["--once"]);
    let code = running.wait(Duration::from_secs(90));
    let log = running.log();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("grant"), "{log}");
}
