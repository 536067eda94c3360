//! A registry behind TLS and a login: every way in, and what is wrong is told.

#![allow(clippy::unwrap_used)] // a test that cannot set its stage fails

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use strandline_testbed::{Kafka, Postgres, Registry};

use crate::authority::{Certified, rsa};
use crate::stage::Stage;
use crate::topic::records;

/// A proxy before the registry; what it asks for depends on the first part of the path.
pub struct Proxy {
    directory: tempfile::TempDir,
    /// TLS alone, and TLS with a certificate of the client's.
    pub ports: (u16, u16),
}

pub fn proxy() -> &'static Proxy {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    PROXY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: Vec<u8>| std::fs::write(directory.path().join(name), content).unwrap();
        let (authority, stranger) = (Certified::authority("authority"), Certified::authority("stranger"));
        let server = authority.sign("registry", rsa(), &["127.0.0.1"]);
        write("authority.pem", authority.pem());
        write("stranger.pem", stranger.pem());
        let own = authority.sign("reader", rsa(), &[]);
        write("reader.pem", own.pem());
        write("reader.key", own.key.rsa().unwrap().private_key_to_pem().unwrap());
        let listen = |asks: bool| {
            let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
            acceptor.set_private_key(&server.key).unwrap();
            acceptor.set_certificate(&server.certificate).unwrap();
            if asks {
                let mut store = X509StoreBuilder::new().unwrap();
                store.add_cert(authority.certificate.clone()).unwrap();
                acceptor.set_cert_store(store.build());
                acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            }
            let acceptor = Arc::new(acceptor.build());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let acceptor = Arc::clone(&acceptor);
                    std::thread::spawn(move || {
                        let Ok(mut stream) = acceptor.accept(stream) else { return };
                        let Some(request) = read(&mut stream) else { return };
                        let answer = answer(request);
                        let _ = stream.write_all(&answer);
                        let _ = stream.shutdown();
                    });
                }
            });
            port
        };
        let ports = (listen(false), listen(true));
        Proxy { directory, ports }
    })
}

/// Head and body of a request.
fn read(stream: &mut impl Read) -> Option<String> {
    let mut request = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
}

fn answer(request: String) -> Vec<u8> {
    let plain = |status: &str, more: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    let (line, rest) = request.split_once("\r\n").unwrap();
    let path = line.split(' ').nth(1).unwrap();
    let (wants, path) = path.trim_start_matches('/').split_once('/').unwrap();
    let has = |what: &str| rest.to_lowercase().contains(&format!("authorization: {}", what.to_lowercase()));
    let granted = match wants {
        "basic" => has(&format!("Basic {}", BASE64_STANDARD.encode("reader:word"))),
        "bearer" => has("Bearer good-word"),
        "forbidden" => return plain("403 Forbidden", "", r#"{"error_code":40301,"message":"no"}"#),
        "proxy" => return plain("407 Proxy Authentication Required", "", "<html>who are you?</html>"),
        "moved" => return plain("302 Found", "location: https://login.example/sso\r\n", ""),
        "page" => return plain("200 OK", "content-type: text/html\r\n", "<html><title>Console</title></html>"),
        _ => true,
    };
    if !granted {
        return plain(
            "401 Unauthorized",
            "www-authenticate: Basic\r\n",
            r#"{"error_code":40101,"message":"Unauthorized"}"#,
        );
    }
    let registry = Registry::shared().url().trim_start_matches("http://");
    let (host, base) =
        registry.split_once('/').map_or((registry, String::new()), |(host, base)| (host, format!("/{base}")));
    let mut upstream = TcpStream::connect(host).unwrap();
    let method = line.split(' ').next().unwrap();
    let rest: String =
        rest.split_inclusive("\r\n").filter(|line| !line.to_lowercase().starts_with("connection:")).collect();
    write!(upstream, "{method} {base}/{path} HTTP/1.1\r\nconnection: close\r\n{rest}").unwrap();
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).unwrap();
    answer
}

impl Proxy {
    fn stage(&self, name: &str, path: &str, own: bool, properties: &[(&str, &str)]) -> Stage {
        let database = Postgres::shared().create_database(name);
        let mut stage = Stage::on(name, database, Kafka::shared().bootstrap());
        let port = if own { self.ports.1 } else { self.ports.0 };
        stage.registry = format!("https://127.0.0.1:{port}/{path}");
        stage.below.1 = properties.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
        stage.configure("");
        stage
    }

    pub fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_registered_by_every_way_in() {
    let proxy = proxy();
    let ca = proxy.file("authority.pem");
    let (certificate, key) = (proxy.file("reader.pem"), proxy.file("reader.key"));
    let ca = ("ssl.ca.location", ca.as_str());
    for (name, own, properties) in [
        ("basic", false, vec![ca, ("user", "reader"), ("password", "word")]),
        ("bearer", false, vec![ca, ("token", "good-word")]),
        ("none", true, vec![ca, ("ssl.certificate.location", &certificate), ("ssl.key.location", &key)]),
    ] {
        let stage = proxy.stage(name, name, own, &properties);
        stage.client().await.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS id").await.unwrap();
        let log = stage.run_once();
        assert_eq!(records(&stage.kafka, &stage.topic("t")).len(), 10, "{name}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_answers_instead_is_told_with_what_to_do() {
    let proxy = proxy();
    let (authority, stranger) = (proxy.file("authority.pem"), proxy.file("stranger.pem"));
    let ca = ("ssl.ca.location", authority.as_str());
    for (path, own, properties, needles) in [
        ("basic", false, vec![ca, ("user", "reader"), ("password", "canary")], vec!["401", "schema_registry.password"]),
        ("basic", false, vec![ca], vec!["401", "schema_registry.user"]),
        ("bearer", false, vec![ca, ("token", "canary")], vec!["401", "schema_registry.token"]),
        ("forbidden", false, vec![ca], vec!["403", "right"]),
        ("proxy", false, vec![ca], vec!["407", "proxy"]),
        ("moved", false, vec![ca], vec!["302", "https://login.example/sso", "schema_registry.url"]),
        ("page", false, vec![ca], vec!["HTML", "schema_registry.url"]),
        (
            "none",
            false,
            vec![("ssl.ca.location", stranger.as_str())],
            vec!["certificate", "schema_registry.ssl.ca.location"],
        ),
        ("none", false, vec![], vec!["certificate", "schema_registry.ssl.ca.location"]),
        ("none", true, vec![ca], vec!["certificate", "schema_registry.ssl.certificate.location"]),
    ] {
        let stage = proxy.stage("refused", path, own, &properties);
        let output = stage.strandline(&["check"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{path}: {told}");
        for needle in needles {
            assert!(told.contains(needle), "{path} {properties:?}: {needle}: {told}");
        }
        assert!(!told.contains("canary"), "{path}: {told}");
    }
}
