//! The door to PostgreSQL: every refusal has its number and the server's words, and a connection that is dropped is gone.

#![allow(clippy::unwrap_used)] // a test that cannot set its stage fails

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use openssl::symm::Cipher;
use strandline::Kind;
use strandline::config::{ClientCertificate, Database, Load, Secret, SslMode};
use strandline::postgres::Connection;
use strandline_testbed::{Kafka, Postgres, PostgresOptions};

use crate::authority::{Certified, ec, ed25519, rsa};
use crate::stage::{Stage, connect, until};
use crate::topic::records;

/// A server with a door for every role, and TLS under a certificate for 127.0.0.1.
pub struct Door {
    pub postgres: Postgres,
    /// Trusts an authority that has nothing to do with it, and the server's, in this order.
    bundle: PathBuf,
    /// Trusts the first of them alone.
    stranger: PathBuf,
    pub directory: tempfile::TempDir,
}

const HBA: &str = "\
host    all  postgres          127.0.0.1/32  trust
host    all  scram,rotated     127.0.0.1/32  scram-sha-256
host    all  ghost,sleeper,out 127.0.0.1/32  trust
hostssl all  tls               127.0.0.1/32  trust
hostnossl all plain            127.0.0.1/32  trust
hostssl all  certain           127.0.0.1/32  cert
host    all  rejected          127.0.0.1/32  reject
";

pub fn door() -> &'static Door {
    static DOOR: OnceLock<Door> = OnceLock::new();
    // On a thread of its own: whoever asks first may be in a runtime already.
    DOOR.get_or_init(|| std::thread::spawn(make_door).join().unwrap())
}

fn make_door() -> Door {
    let postgres = Postgres::start(PostgresOptions::default());
    let directory = tempfile::tempdir().unwrap();
    let (stranger, authority) = (Certified::authority("stranger"), Certified::authority("authority"));
    let server = authority.sign("server", rsa(), &["127.0.0.1", "db.example"]);
    let write = |name: &str, content: Vec<u8>| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let bundle = write("bundle.pem", [stranger.pem(), authority.pem()].concat());
    let stranger = write("stranger.pem", stranger.pem());
    let data = postgres.data_dir();
    write("authority.der", authority.certificate.to_der().unwrap());
    for (form, key) in [("rsa", rsa()), ("ec", ec()), ("ed25519", ed25519())] {
        let certain = authority.sign("certain", key, &[]);
        write(&format!("{form}.pem"), certain.pem());
        write(&format!("{form}.der"), certain.certificate.to_der().unwrap());
        write(&format!("{form}.key"), certain.key_pem());
        write(&format!("{form}.key.der"), certain.key.private_key_to_der().unwrap());
        let cipher = Cipher::aes_256_cbc();
        write(
            &format!("{form}.encrypted"),
            certain.key.private_key_to_pem_pkcs8_passphrase(cipher, b"key-word").unwrap(),
        );
        if let Ok(key) = certain.key.rsa() {
            write("rsa.old", key.private_key_to_pem().unwrap());
            write("rsa.old.encrypted", key.private_key_to_pem_passphrase(cipher, b"key-word").unwrap());
        }
        if let Ok(key) = certain.key.ec_key() {
            write("ec.old", key.private_key_to_pem().unwrap());
            write("ec.old.encrypted", key.private_key_to_pem_passphrase(cipher, b"key-word").unwrap());
        }
    }
    give(data, "root.crt", &authority.pem());
    give(data, "server.crt", &server.pem());
    give(data, "server.key", &server.key_pem());
    give(data, "pg_hba.conf", HBA.as_bytes());
    let door = Door { postgres, bundle, stranger, directory };
    block_on(async {
        let client = door.superuser().await;
        client
            .client()
            .batch_execute(
                "CREATE ROLE scram LOGIN PASSWORD 'hunter2'; CREATE ROLE sleeper NOLOGIN; CREATE ROLE out LOGIN;
                 CREATE ROLE tls LOGIN; CREATE ROLE plain LOGIN; CREATE ROLE certain LOGIN; CREATE ROLE rejected LOGIN; CREATE ROLE nobody LOGIN;",
            )
            .await
            .unwrap();
        for statement in [
            "CREATE DATABASE closed",
            "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
            "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
        ] {
            client.client().batch_execute(statement).await.unwrap();
        }
        // The reload is under way: it has happened when the server offers TLS to a new connection.
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = Connection::open(&door.database("tls", "", "postgres", SslMode::Require), "test").await {
            assert!(Instant::now() < deadline, "{}", error.report());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    door
}

impl Door {
    fn database(&self, user: &str, password: &str, dbname: &str, sslmode: SslMode) -> Database {
        let url = self.postgres.url(dbname).replace("postgres@", &format!("{user}:{password}@"));
        let url = if password.is_empty() { url.replace(":@", "@") } else { url };
        Database {
            url: Some(Secret::new(url)),
            sslmode: Some(sslmode),
            connect_timeout: Duration::from_secs(30),
            ..Database::default()
        }
    }

    async fn superuser(&self) -> Connection {
        Connection::open(&self.database("postgres", "", "postgres", SslMode::Disable), "test").await.unwrap()
    }
}

/// Writes a file that the server reads, as its own.
pub fn give(data: &Path, name: &str, content: &[u8]) {
    let path = data.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let owner = std::fs::metadata(data).unwrap();
    chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn every_refusal_has_its_number_and_the_servers_words() {
    let door = door();
    let cases = [
        ("scram", "wrong", "postgres", "1003: ", "28P01"),
        ("scram", "", "postgres", "1003: ", "password missing"),
        ("ghost", "", "postgres", "1011: ", "28000"),
        ("sleeper", "", "postgres", "1011: ", "28000"),
        ("scram", "hunter2", "nothing_here", "1017: ", "3D000"),
        ("out", "", "closed", "1017: ", "42501"),
        ("rejected", "", "postgres", "1024: ", "28000"),
        ("nobody", "", "postgres", "1024: ", "28000"),
        ("tls", "", "postgres", "1024: ", "28000"),
    ];
    block_on(async {
        for (user, password, dbname, number, cause) in cases {
            let database = door.database(user, password, dbname, SslMode::Disable);
            let error = Connection::open(&database, "test").await.unwrap_err();
            let report = error.report();
            assert_eq!(error.kind(), Kind::Refused, "{report}");
            assert!(error.to_string().starts_with(number), "{user}: {report}");
            assert_eq!(error.causes().matches(cause).count(), 1, "{user}: {report}");
            assert!(!report.contains("hunter2") && !report.contains("wrong\""), "{report}");
        }
        let database = door.database("scram", "hunter2", "postgres", SslMode::Disable);
        Connection::open(&database, "test").await.unwrap();
    });
}

#[test]
fn sslmodes_verify_what_they_promise() {
    let door = door();
    use SslMode::*;
    let (bundle, stranger) = (Some(&door.bundle), Some(&door.stranger));
    let cases = [
        (Prefer, None, "127.0.0.1", true),
        (Require, None, "127.0.0.1", true),
        (Require, stranger, "127.0.0.1", false),
        (Prefer, stranger, "127.0.0.1", false),
        (VerifyCa, bundle, "127.0.0.1", true),
        (VerifyCa, bundle, "localhost", true),
        (VerifyCa, stranger, "127.0.0.1", false),
        (VerifyCa, None, "127.0.0.1", false),
        (VerifyFull, bundle, "127.0.0.1", true),
        (VerifyFull, bundle, "db.example", true),
        (VerifyFull, Some(&door.directory.path().join("authority.der")), "127.0.0.1", true),
        (VerifyFull, bundle, "localhost", false),
        (VerifyFull, None, "127.0.0.1", false),
    ];
    block_on(async {
        for (mode, root, host, trusted) in cases {
            let mut database = door.database("tls", "", "postgres", mode);
            // The address is dialled either way; the name is what is verified.
            let url = database.url.take().unwrap().reveal().replace("127.0.0.1", host);
            database.url = Some(Secret::new(format!("{url}?hostaddr=127.0.0.1")));
            database.sslrootcert = root.cloned();
            match Connection::open(&database, "test").await {
                Ok(_) => assert!(trusted, "{mode:?} {root:?} {host} was let in"),
                Err(error) => {
                    assert!(!trusted, "{mode:?} {root:?} {host}: {}", error.report());
                    assert!(error.to_string().starts_with("1023: TLS"), "{}", error.report());
                    assert!(error.causes().contains("verify failed"), "{}", error.report());
                }
            }
        }
    });
}

#[test]
fn a_copy_ends_in_the_server_when_its_connection_is_dropped() {
    let door = door();
    block_on(async {
        let watcher = door.superuser().await;
        let database = door.database("tls", "", "postgres", SslMode::Require);
        let connection = Connection::open(&database, "shop").await.unwrap();
        let sql = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000000)) TO STDOUT (FORMAT binary)";
        let mut rows = connection.copy(sql).await.unwrap();
        assert_eq!(rows.next().await.unwrap().map(<[u8]>::len), Some(1006));
        let backends = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strandline shop'";
        let count = async || watcher.client().query_one(backends, &[]).await.unwrap().get::<_, i64>(0);
        assert_eq!(count().await, 1);
        drop(connection);
        // Far below the half minute in which the kernel would notice, or the time that the whole COPY takes.
        let deadline = Instant::now() + Duration::from_secs(10);
        while count().await > 0 {
            assert!(Instant::now() < deadline, "the backend is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_rotated_while_streaming_is_picked_up_and_no_row_is_lost() {
    let door = door();
    let own = door.postgres.create_database("rotation");
    let client = connect(&own.url).await;
    client
        .batch_execute(
            "CREATE ROLE rotated LOGIN PASSWORD 'the-first'; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
             GRANT SELECT ON t TO rotated",
        )
        .await
        .unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    let write = |password: &str| {
        std::fs::write(secret.path(), own.url.replace("postgres@", &format!("rotated:{password}@"))).unwrap();
    };
    write("the-first");
    let by_file =
        strandline_testbed::Database { url: format!("${{file:{}}}", secret.path().display()), name: own.name.clone() };
    let stage = Stage::on("rotation", by_file, Kafka::shared().bootstrap());
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    client
        .batch_execute(
            "ALTER ROLE rotated PASSWORD 'the-second'; INSERT INTO t VALUES (2);
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'",
        )
        .await
        .unwrap();
    running.await_log("1003");
    client.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
    write("the-second");
    until("rows", || records(&stage.kafka, &stage.topic("t")).len() >= 3);
    let (code, log) = running.stop();
    let ids: Vec<i64> = records(&stage.kafka, &stage.topic("t")).iter().map(|record| record.long("id")).collect();
    assert_eq!((ids, code), (vec![1, 2, 3], Some(0)), "{log}");
    assert!(!log.contains("the-first") && !log.contains("the-second"), "{log}");
}

#[test]
fn a_role_is_let_in_by_its_certificate_and_key_in_every_form_and_only_by_its_own() {
    let door = door();
    let file = |name: &str| Some(door.directory.path().join(name));
    let own = |certificate: &str, key: &str| ClientCertificate {
        certificate: file(certificate),
        key: file(key),
        password: Some(Secret::new("key-word")),
    };
    block_on(async {
        let without = door.database("certain", "", "postgres", SslMode::Require);
        let error = Connection::open(&without, "test").await.err().unwrap();
        assert!(error.report().contains("certificate"), "{}", error.report());
        let opened = async |certificate: &str, key: &str| {
            let with = Database { client_certificate: own(certificate, key), ..without.clone() };
            Connection::open(&with, "test").await
        };
        for form in ["rsa", "ec", "ed25519"] {
            for (certificate, key) in [
                ("pem", "key"),
                ("der", "key"),
                ("pem", "key.der"),
                ("pem", "encrypted"),
                ("pem", "old"),
                ("pem", "old.encrypted"),
            ] {
                // Ed25519 has no older form.
                if form == "ed25519" && key.starts_with("old") {
                    continue;
                }
                let (certificate, key) = (format!("{form}.{certificate}"), format!("{form}.{key}"));
                let opened = opened(&certificate, &key).await;
                opened.unwrap_or_else(|error| panic!("{certificate} {key}: {}", error.report()));
            }
        }
        let error = opened("rsa.pem", "ec.key").await.unwrap_err();
        assert!(error.report().contains("the key is not the certificate's"), "{}", error.report());
    });
}

#[test]
fn weak_modes_go_on_without_tls_and_with_it_as_libpq_does() {
    let door = door();
    use SslMode::*;
    block_on(async {
        for (role, mode, by_tls) in [
            ("tls", Allow, Some(true)),
            ("tls", Prefer, Some(true)),
            ("tls", Disable, None),
            ("plain", Allow, Some(false)),
            ("plain", Prefer, Some(false)),
            ("plain", Require, None),
        ] {
            let opened = Connection::open(&door.database(role, "", "postgres", mode), "test").await;
            let opened = match opened {
                Ok(connection) => {
                    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                    Some(connection.client().query_one(sql, &[]).await.unwrap().get::<_, bool>(0))
                }
                Err(error) => {
                    assert!(error.to_string().starts_with("1024: "), "{role} {mode:?}: {}", error.report());
                    None
                }
            };
            assert_eq!(opened, by_tls, "{role} {mode:?}");
        }
    });
}

#[test]
fn a_login_is_bound_to_the_certificate_where_that_is_asked_for() {
    let door = door();
    block_on(async {
        let parameters = vec![("channel_binding", "require".to_owned())];
        let bound = |user, password, mode| Database {
            parameters: parameters.clone(),
            ..door.database(user, password, "postgres", mode)
        };
        Connection::open(&bound("scram", "hunter2", SslMode::Require), "test").await.unwrap();
        // Who asks for no password proves nothing, and without TLS there is nothing to bind to.
        for (user, password, mode) in [("tls", "", SslMode::Require), ("scram", "hunter2", SslMode::Disable)] {
            let error = Connection::open(&bound(user, password, mode), "test").await.unwrap_err();
            assert!(error.report().contains("channel"), "{}", error.report());
        }
    });
}

#[test]
fn tls_begins_with_the_first_byte_where_the_server_knows_how() {
    let door = door();
    let direct = |url: String| Database {
        url: Some(Secret::new(format!("{url}?sslnegotiation=direct"))),
        sslmode: Some(SslMode::Require),
        ..Database::default()
    };
    let modern = Postgres::start(PostgresOptions { major: Some(18), ..PostgresOptions::default() });
    for name in ["server.crt", "server.key"] {
        give(modern.data_dir(), name, &std::fs::read(door.postgres.data_dir().join(name)).unwrap());
    }
    block_on(async {
        let client = connect(&modern.url("postgres")).await;
        client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let database = direct(modern.url("postgres"));
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = Connection::open(&database, "test").await {
            assert!(Instant::now() < deadline, "{}", error.report());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // An older server takes it for garbage.
        let error = Connection::open(&direct(door.postgres.url("postgres")), "test").await.unwrap_err();
        assert!(error.to_string().starts_with("10"), "{}", error.report());
        assert!(error.report().contains("sslnegotiation"), "{}", error.report());
    });
}

#[test]
fn of_a_bundle_all_authorities_are_trusted_or_the_first_alone() {
    let door = door();
    let bundle = |sslrootcert_load| Database {
        sslrootcert: Some(door.bundle.clone()),
        sslrootcert_load,
        ..door.database("tls", "", "postgres", SslMode::VerifyFull)
    };
    block_on(async {
        Connection::open(&bundle(Load::All), "test").await.unwrap();
        let error = Connection::open(&bundle(Load::First), "test").await.err().unwrap();
        assert!(error.report().contains("1023"), "{}", error.report());
    });
}
