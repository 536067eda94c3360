//! A database behind a bastion.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use strandline_testbed::Bastion;

use crate::stage::{Stage, until};
use crate::topic::{raw, records};

/// A bastion, a key for it, and its line of known_hosts, in a directory.
pub struct Way {
    pub bastion: Bastion,
    dir: tempfile::TempDir,
}

impl Way {
    pub fn new(more: &str) -> Way {
        let way = Way { bastion: Bastion::start(more), dir: tempfile::tempdir().unwrap() };
        way.bastion.key(&["-t", "ed25519"], "", &way.path("key"));
        std::fs::write(way.path("known"), way.bastion.known_host()).unwrap();
        way
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `[ssh]` with these lines beside host, port and user.
    pub fn section(&self, more: &str) -> String {
        format!(
            "ssh.host = \"127.0.0.1\"\nssh.port = {}\nssh.user = \"{}\"\n{more}",
            self.bastion.port(),
            self.bastion.user()
        )
    }

    fn with_key(&self) -> String {
        self.section(&format!("ssh.key_file = {:?}\nssh.known_hosts = {:?}", self.path("key"), self.path("known")))
    }
}

/// What `check` says of the way to the database.
fn check(stage: &Stage, section: &str) -> (bool, String) {
    stage.configure(section);
    let output = stage.strandline(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("canary"), "{text}");
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_opens_the_tunnel() {
    let stage = Stage::new("keys_of_ssh");
    stage.client().await.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let way = Way::new("");
    for (name, arguments, passphrase) in [
        ("rsa", &["-t", "rsa", "-b", "2048"][..], ""),
        ("ecdsa", &["-t", "ecdsa"], ""),
        ("pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"], ""),
        ("pkcs8", &["-t", "ecdsa", "-m", "PKCS8"], ""),
        ("encrypted", &["-t", "ed25519"], "canary word"),
    ] {
        way.bastion.key(arguments, passphrase, &way.path(name));
        let secret =
            if passphrase.is_empty() { String::new() } else { format!("\nssh.key_passphrase = {passphrase:?}") };
        let section = format!("ssh.key_file = {:?}\nssh.known_hosts = {:?}{secret}", way.path(name), way.path("known"));
        let (passed, text) = check(&stage, &way.section(&section));
        assert!(passed, "{name}: {text}");
    }
    // By its fingerprint instead of known hosts, and by a hashed line.
    let pinned = format!("ssh.key_file = {:?}\nssh.fingerprint = \"{}\"", way.path("key"), way.bastion.fingerprint());
    let (passed, text) = check(&stage, &way.section(&pinned));
    assert!(passed, "{text}");
    let hashed = Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(way.path("known")).status().unwrap();
    assert!(hashed.success() && !std::fs::read_to_string(way.path("known")).unwrap().contains("127.0.0.1"));
    let (passed, text) = check(&stage, &way.with_key());
    assert!(passed, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_on_the_way_is_told_with_what_to_do() {
    let stage = Stage::new("wrong_ways");
    let way = Way::new("");
    let closed = Way::new("AllowTcpForwarding no");
    let key = |name: &str| format!("ssh.key_file = {:?}", way.path(name));
    let known = format!("ssh.known_hosts = {:?}", way.path("known"));
    way.bastion.key(&["-t", "ed25519"], "canary word", &way.path("encrypted"));
    let stranger = way.path("stranger");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&stranger).status().unwrap();
    assert!(made.success());
    std::fs::write(way.path("empty"), "").unwrap();
    let changed = way.bastion.known_host().replace(&key_of(&way.bastion), &key_of(&closed.bastion));
    std::fs::write(way.path("changed"), changed).unwrap();
    let own = way.section("");
    let cases = [
        (format!("{own}{}\n{known}", key("stranger")), "1023: the bastion refuses the login", "(publickey)"),
        (
            format!("{own}{}\n{known}\nssh.key_passphrase = \"canary other\"", key("encrypted")),
            "1023: the",
            "ssh.key_passphrase",
        ),
        (
            format!("{own}{}\nssh.known_hosts = {:?}", key("key"), way.path("empty")),
            "1023: the bastion's host key is not known",
            "ssh-keyscan",
        ),
        (
            format!("{own}{}\nssh.known_hosts = {:?}", key("key"), way.path("changed")),
            "1023: the bastion's host key is another than the known one",
            "somebody may stand in between",
        ),
        (
            format!("{own}{}\nssh.fingerprint = \"{}\"", key("key"), closed.bastion.fingerprint()),
            "1023: the bastion's host key is not",
            "ssh.fingerprint",
        ),
        (closed.with_key(), "1023: the bastion forbids forwarding", "AllowTcpForwarding"),
        (
            way.with_key().replace(&format!("port = {}", way.bastion.port()), "port = 1"),
            "1006: the bastion cannot be reached",
            "ssh.port",
        ),
        (way.with_key().replace("127.0.0.1", "nowhere.invalid"), "1006: the bastion's name is not known", "ssh.host"),
    ];
    for (section, what, hint) in cases {
        let (passed, text) = check(&stage, &section);
        assert!(!passed && text.contains(what) && text.contains(hint), "{section}\n{text}");
    }
    // What the bastion cannot reach, and what no bastion can.
    let url = |url: &str| {
        let text = std::fs::read_to_string(stage.config()).unwrap();
        std::fs::write(stage.config(), text.replace(&stage.database.url, url)).unwrap();
        let output = stage.strandline(&["check"]);
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    stage.configure(&way.with_key());
    let text = url("postgres://u@127.0.0.1:1/x");
    assert!(text.contains("1006: the bastion does not reach the server"), "{text}");
    stage.configure(&way.with_key());
    let text = url("host=/var/run/postgresql dbname=x");
    assert!(text.contains("not a socket's directory"), "{text}");
}

fn key_of(bastion: &Bastion) -> String {
    bastion.known_host().split(' ').nth(2).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_key_opens_the_tunnel() {
    let stage = Stage::new("agents");
    stage.client().await.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let way = Way::new("");
    let socket = way.path("agent");
    let mut agent = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    until("the agent", || Path::new(&socket).exists());
    let added = Command::new("ssh-add").arg("-q").arg(way.path("key")).env("SSH_AUTH_SOCK", &socket).status().unwrap();
    assert!(added.success());
    stage.configure(&way.section(&format!("ssh.known_hosts = {:?}", way.path("known"))));
    let output = stage.with_env(&["check"], &[("SSH_AUTH_SOCK", socket.to_str().unwrap())]);
    let _ = agent.kill();
    let _ = agent.wait();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_dies_is_a_reconnect_and_no_row_is_lost() {
    let stage = Stage::new("tunnels");
    let client = stage.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50000)")
        .await
        .unwrap();
    let mut way = Way::new("");
    stage.configure(&way.with_key());
    let mut running = stage.run(&[]);
    running.await_log("caught_up");
    way.bastion.stop();
    client.batch_execute("INSERT INTO t SELECT generate_series(50001, 50100)").await.unwrap();
    running.await_log("1006: the bastion cannot be reached");
    way.bastion.restart();
    until("the rows of meanwhile", || raw(&stage.kafka, &stage.topic("t")).len() >= 50_100);
    let (code, log) = running.stop();
    assert_eq!(code, Some(0), "{log}");
    let mut ids: Vec<i64> = records(&stage.kafka, &stage.topic("t")).iter().map(|record| record.long("id")).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=50_100).collect::<Vec<i64>>());
}
