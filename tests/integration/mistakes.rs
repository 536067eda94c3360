//! What users get wrong, as a table: the situation, and what the program says to it. Each is tried on the program itself, before
//! real servers. No secret is ever shown: each is the word `canary`.

#![allow(clippy::unwrap_used)] // a test that cannot set its stage fails

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use strandline_testbed::{Kafka, Postgres, Registry};

use crate::brokers::brokers;
use crate::connect::door;
use crate::proxied::proxy;
use crate::stage::connect;
use crate::tunnel::Way;

/// What was done.
enum Done {
    /// Nothing wrong.
    Right,
    /// These lines stand at the top of a configuration that is right.
    Top(&'static str),
    /// This is the whole file, of this name.
    File(&'static str, &'static str),
    /// `database.url`.
    Url(&'static str),
    /// Lines of `[ssh]`.
    Ssh(&'static str),
    /// A listener of the brokers with logins, and lines of `[kafka]`.
    Kafka(&'static str, &'static str),
    /// Other brokers.
    Brokers(&'static str),
    /// The registry's address, and lines of its section.
    Registry(&'static str, &'static str),
    /// Typed instead of `check`.
    Typed(&'static [&'static str]),
    /// An environment variable.
    Set(&'static str, &'static str),
}

use Done::*;

/// The situation, what was done, the exit code, and the words of the answer: Hevo's number first, where it has one.
type Mistake = (&'static str, Done, i32, &'static [&'static str]);

const CONFIGURATION: &[Mistake] = &[
    ("a key is misspelt", Top("tasks.mx = 2"), 2, &["strandline.toml:1:7: tasks.mx", "the nearest is tasks.max"]),
    ("a key is Kafka Connect's", Top("poll.interval.ms = 5000"), 2, &["poll.interval, which is its name here"]),
    (
        "a number has no unit",
        Top("poll.interval = 5"),
        2,
        &["strandline.toml:1:6", "a time with its unit, such as \"5s\""],
    ),
    ("a number is out of range", Top("tasks.max = 0"), 2, &["an integer from 1 to 64"]),
    ("a word is none of those", Top("tables.mode = 'cdc'"), 2, &["\"cdc\"", "xmin, bulk, incrementing"]),
    (
        "a mode lacks its column",
        Top("tables.mode = 'timestamp'"),
        2,
        &["tables.timestamp_column", "the column that mode timestamp goes by"],
    ),
    ("a quote is open", Top("name = 'shop"), 2, &["strandline.toml:1:"]),
    ("a key stands twice", Top("tasks.max = 1\ntasks.max = 2"), 2, &["strandline.toml:2:"]),
    (
        "the file is not there",
        Typed(&["check", "--config", "/nowhere/shop.toml"]),
        2,
        &["/nowhere/shop.toml", "No such file", "--config or STRANDLINE_CONFIG"],
    ),
    (
        "a directory holds no configuration",
        Typed(&["check", "--config", "{dir}/empty"]),
        2,
        &["empty", "a directory with a file for each connector"],
    ),
    ("the file is of another format", File("shop.ini", "name = shop"), 2, &["shop.ini:1:8", "valid TOML"]),
    ("YAML is indented by a tab", File("shop.yaml", "database:\n\tpassword: canary\n"), 2, &["shop.yaml:2:2"]),
    ("JSON ends with a comma", File("shop.json", "{\"name\": \"shop\",}"), 2, &["shop.json:1:17"]),
    (
        "nothing is configured",
        File("shop.toml", ""),
        2,
        &["name", "database.hostname", "kafka.bootstrap.servers", "schema_registry.url"],
    ),
    (
        "a name is too long",
        File(
            "shop.yaml",
            "{name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, database.url: 'postgres://db/x', kafka.bootstrap.servers: k, schema_registry.url: 'http://r'}",
        ),
        2,
        &["name", "255"],
    ),
    (
        "a variable is not set",
        Top("schema_registry.password = '${env:NOBODY_SET_THIS}'"),
        2,
        &["the environment variable NOBODY_SET_THIS, which is not set"],
    ),
    (
        "a secret's file is not there",
        Top("schema_registry.user = 'u'\nschema_registry.password_file = '/nowhere/secret'"),
        2,
        &["/nowhere/secret"],
    ),
    ("a variable's key is misspelt", Set("STRANDLINE_TASKS__MX", "2"), 2, &["$STRANDLINE_TASKS__MX", "tasks.max"]),
    ("a flag's key is misspelt", Typed(&["check", "--set", "tasks.mx=2"]), 2, &["--set tasks.mx", "tasks.max"]),
    ("a URL is another database's", Url("mysql://u:canary@db/x"), 2, &["postgres://user:password@host:5432/dbname"]),
    ("a URL names no database", Url("postgres://u:canary@db"), 2, &["1014"]),
    ("a variable of libpq's is wrong", Set("PGSSLMODE", "ful"), 2, &["verify-full", "the variable PGSSLMODE is set"]),
    ("a service is not described", Url("service=nothing"), 2, &["~/.pg_service.conf or PGSERVICEFILE"]),
    (
        "the ports are not as many as the hosts",
        Url("host=a,b port=1,2,3 dbname=x"),
        2,
        &["one port, or one for each host"],
    ),
    ("an address is open", Url("postgres://u:canary@[::1/x"), 2, &["a closing bracket after an IPv6 address"]),
    ("a URL's parameter is JDBC's", Url("postgres://u:canary@db/x?ssl=true"), 2, &["sslmode=require"]),
    ("a URL's parameter cannot be honoured", Url("postgres://u:canary@db/x?sslcrl=/c.pem"), 2, &["sslcrl"]),
    ("a URL's sslmode is none", Url("postgres://u:canary@db/x?sslmode=full"), 2, &["verify-full"]),
    (
        "a URL stands beside parts",
        Top("database.user = 'u'"),
        2,
        &["database.user", "no such line beside database.url"],
    ),
    (
        "a query changes something",
        Top("objects.a = { query = 'DELETE FROM t', mode = 'bulk' }"),
        2,
        &["objects.a.query", "this one begins with `DELETE`"],
    ),
    (
        "a query has no mode",
        Top("objects.a = { query = 'SELECT 1' }"),
        2,
        &["objects.a.mode", "a query's rows have no transaction id"],
    ),
    (
        "a filter depends on the time",
        Top("objects.a = { table = 't', where = 'at > now()' }"),
        1,
        &["public.t: its where calls now()", "would never be delivered"],
    ),
    (
        "two objects are one table",
        Top("objects = { a = { table = 't' }, b = { table = 'public.t' } }"),
        2,
        &["objects.a.table names the same"],
    ),
    ("a schedule is none", Top("poll.cron = 'daily'"), 2, &["minute, hour, day of month"]),
    (
        "a time zone is none",
        Top("poll.cron = '0 6 * * *'\npoll.timezone = 'Berlin'"),
        2,
        &["a time zone such as Europe/Berlin"],
    ),
    ("a property of Kafka is misspelt", Top("kafka.'lingr.ms' = 5"), 2, &["the nearest is linger.ms"]),
    (
        "a property of Kafka is Java's",
        Top("kafka.'sasl.jaas.config' = 'x password=canary;'"),
        2,
        &["sasl.username and sasl.password"],
    ),
    ("a truststore is Java's", Top("kafka.'ssl.truststore.location' = '/x.jks'"), 2, &["ssl.ca.location, a PEM file"]),
    ("a property of Kafka is not the user's", Top("kafka.'transactional.id' = 'x'"), 2, &["Strandline builds it"]),
    ("acks are lowered", Top("kafka.acks = 1"), 2, &["all in-sync replicas"]),
    ("a topic's name cannot be one", Top("topic.prefix = 'my shop'"), 2, &["topic.prefix", "a-z A-Z 0-9"]),
    (
        "a route is no expression",
        Top("topic.route.regex = 'a(b'\ntopic.route.replacement = 'c'"),
        2,
        &["unclosed group"],
    ),
    ("a registry has no scheme", Registry("registry:8081", ""), 2, &["begins with http:// or https://"]),
    ("a registry's password has no user", Top("schema_registry.password = 'canary'"), 2, &["schema_registry.user"]),
];

const TYPED: &[Mistake] = &[
    ("a command is misspelt", Typed(&["chek"]), 2, &["chek", "check"]),
    ("an option is misspelt", Typed(&["run", "--onse"]), 2, &["--onse", "--once"]),
    ("no command is given", Typed(&[]), 2, &["Usage: strandline", "check"]),
    ("a value lacks its sign", Typed(&["check", "--set", "tasks.max"]), 2, &["write KEY=VALUE"]),
    ("a reset names nothing", Typed(&["offsets", "reset"]), 2, &["OBJECT"]),
    (
        "a table is none of the connector's",
        Typed(&["plan", "public.nothing"]),
        2,
        &["public.nothing: it is no object of this connector", "strandline objects"],
    ),
    ("a table's name is none", Typed(&["schema", "a.b.c"]), 2, &["`a.b.c` is not a table's name"]),
    ("an offset is no JSON", Typed(&["offsets", "set", "t", "{", "--yes"]), 2, &["offset"]),
    ("progress is reset that is not there", Typed(&["offsets", "reset", "t", "--yes"]), 1, &["has never run"]),
];

const CONNECTION: &[Mistake] = &[
    (
        "the password is wrong",
        Url("postgres://scram:canary@{door}/postgres"),
        1,
        &["1003: ", "28P01", "database.password"],
    ),
    ("the password is missing", Url("postgres://scram@{door}/postgres"), 1, &["1003: ", "none is configured"]),
    ("the role does not exist", Url("postgres://ghost@{door}/postgres"), 1, &["1011: ", "28000", "LOGIN"]),
    ("the role may not log in", Url("postgres://sleeper@{door}/postgres"), 1, &["1011: ", "28000"]),
    ("the database does not exist", Url("postgres://postgres@{door}/nothing_here"), 1, &["1017: ", "3D000"]),
    ("the database is closed", Url("postgres://out@{door}/closed"), 1, &["1017: ", "42501", "GRANT CONNECT"]),
    ("pg_hba.conf has no line", Url("postgres://nobody@{door}/postgres"), 1, &["1024: ", "28000", "pg_hba.conf"]),
    ("pg_hba.conf rejects", Url("postgres://rejected@{door}/postgres"), 1, &["1024: ", "28000"]),
    ("pg_hba.conf asks for TLS", Url("postgres://tls@{door}/postgres?sslmode=disable"), 1, &["1024: ", "hostssl"]),
    ("nobody listens", Url("postgres://u:canary@127.0.0.1:1/x"), 1, &["1006: ", "refused", "database.port"]),
    ("the host's name is none", Url("postgres://u:canary@nowhere.invalid/x"), 1, &["1006: ", "nowhere.invalid"]),
    ("a password is not encoded", Url("postgres://u:canary%zz@db/x"), 2, &["database.url", "%25"]),
    (
        "the server says nothing",
        Url("postgres://u:canary@{silent}/x?connect_timeout=2"),
        1,
        &["1006: ", "connect_timeout, 2s"],
    ),
    ("the port is Kafka's", Url("postgres://u:canary@{kafka}/x?connect_timeout=2"), 1, &["1006: "]),
    ("the port is the registry's", Url("postgres://u:canary@{registry}/x?connect_timeout=2"), 1, &["1006: "]),
    ("the socket is not there", Url("host=/nowhere user=u dbname=x"), 1, &["1006: ", "/nowhere"]),
    (
        "a setting is none",
        Url("postgres://postgres@{door}/postgres?options=-c%20nonsense%3D1"),
        1,
        &["1023: ", "nonsense"],
    ),
    (
        "only a standby would do",
        Url("postgres://postgres@{door}/postgres?target_session_attrs=standby"),
        1,
        &["1006: ", "is a primary", "target_session_attrs"],
    ),
    ("the server has no TLS", Url("{own}?sslmode=require"), 1, &["1023: ", "no TLS", "sslmode"]),
    (
        "the authority is another",
        Url("postgres://tls@{door}/postgres?sslmode=verify-ca&sslrootcert={certs}/stranger.pem"),
        1,
        &["1023: TLS", "verify failed", "sslrootcert"],
    ),
    (
        "the certificate is of another host",
        Url(
            "postgres://tls@localhost:{port}/postgres?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={certs}/bundle.pem",
        ),
        1,
        &["1023: TLS", "host"],
    ),
    (
        "no authority is named",
        Url("postgres://tls@{door}/postgres?sslmode=verify-full"),
        1,
        &["1023: TLS", "sslrootcert"],
    ),
    (
        "the authority's file is not there",
        Url("postgres://tls@{door}/postgres?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem"),
        1,
        &["1023: ", "/nowhere/ca.pem"],
    ),
    (
        "a certificate is asked for",
        Url("postgres://certain@{door}/postgres?sslmode=require"),
        1,
        &["1023: ", "certificate", "sslcert"],
    ),
    (
        "the key is another certificate's",
        Url("postgres://certain@{door}/postgres?sslmode=require&sslcert={certs}/rsa.pem&sslkey={certs}/ec.key"),
        1,
        &["1023: ", "the key is not the certificate's"],
    ),
    (
        "the key's password is missing",
        Url("postgres://certain@{door}/postgres?sslmode=require&sslcert={certs}/rsa.pem&sslkey={certs}/rsa.encrypted"),
        1,
        &["1023: ", "sslpassword is not set"],
    ),
    (
        "the key's password is wrong",
        Url(
            "postgres://certain@{door}/postgres?sslmode=require&sslcert={certs}/rsa.pem&sslkey={certs}/rsa.encrypted&sslpassword=canary",
        ),
        1,
        &["1023: ", "cannot be read with database.sslpassword"],
    ),
    (
        "the certificate's file is the key's",
        Url("postgres://certain@{door}/postgres?sslmode=require&sslcert={certs}/rsa.key&sslkey={certs}/rsa.key"),
        1,
        &["1023: ", "no certificate"],
    ),
    (
        "the login could not be bound",
        Url("postgres://scram:canary@{door}/postgres?sslmode=disable&channel_binding=require"),
        2,
        &["sslmode require or above beside channel_binding=require"],
    ),
    (
        "the login cannot be bound",
        Url("postgres://tls@{door}/postgres?sslmode=require&channel_binding=require"),
        1,
        &["channel"],
    ),
    (
        "TLS begins too early",
        Url("postgres://tls@{door}/postgres?sslmode=require&sslnegotiation=direct"),
        1,
        &["10", "sslnegotiation"],
    ),
];

const WAYS: &[Mistake] = &[
    (
        "the bastion's port is closed",
        Ssh("ssh.host = '127.0.0.1'\nssh.port = 1\nssh.user = 'u'"),
        1,
        &["1006: the bastion cannot be reached", "ssh.port"],
    ),
    (
        "the bastion's name is none",
        Ssh("ssh.host = 'nowhere.invalid'\nssh.user = 'u'"),
        1,
        &["1006: the bastion's name is not known", "ssh.host"],
    ),
    (
        "the bastion is not known",
        Ssh("{ssh}\nssh.key_file = '{way}/key'\nssh.known_hosts = '{way}/empty'"),
        1,
        &["1023: the bastion's host key is not known", "ssh-keyscan"],
    ),
    (
        "the bastion's key is not the pinned one",
        Ssh(
            "{ssh}\nssh.key_file = '{way}/key'\nssh.fingerprint = 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'",
        ),
        1,
        &["1023: the bastion's host key is not", "ssh.fingerprint"],
    ),
    ("a fingerprint is none", Ssh("{ssh}\nssh.fingerprint = 'aa:bb'"), 2, &["ssh.fingerprint", "SHA256:"]),
    (
        "the key may not log in",
        Ssh("{ssh}\nssh.key_file = '{way}/stranger'\nssh.known_hosts = '{way}/known'"),
        1,
        &["1023: the bastion refuses the login", "(publickey)"],
    ),
    (
        "the key's passphrase is wrong",
        Ssh(
            "{ssh}\nssh.key_file = '{way}/encrypted'\nssh.key_passphrase = 'canary other'\nssh.known_hosts = '{way}/known'",
        ),
        1,
        &["1023: ", "ssh.key_passphrase"],
    ),
    (
        "the key's file is not there",
        Ssh("{ssh}\nssh.key_file = '/nowhere/key'\nssh.known_hosts = '{way}/known'"),
        2,
        &["ssh.key_file", "/nowhere/key"],
    ),
    ("[ssh] has no host", Ssh("ssh.user = 'u'"), 2, &["ssh.host"]),
];

const TABLES: &[Mistake] = &[
    ("no table has such a name", Top("tables.include = ['nothing.*']"), 1, &["no table matches", "nothing.*"]),
    (
        "a table is not there",
        Top("tables.include = ['public.nothing', 'public.t']"),
        1,
        &["public.nothing: there is no such table"],
    ),
    ("the role may not select", Url("postgres://out@{door}/{db}"), 1, &["GRANT SELECT ON", "TO \"out\""]),
    ("row security hides rows", Url("postgres://tls@{door}/{db}"), 1, &["1012: ", "BYPASSRLS"]),
    ("a view has no transaction ids", Top("objects.v = { table = 'v' }"), 1, &["public.v: it is a view"]),
    ("a materialized view is empty", Top("objects.m = { table = 'm', mode = 'bulk' }"), 1, &["public.m: ", "REFRESH"]),
    (
        "the cursor's column is not there",
        Top("objects.t = { table = 't', mode = 'timestamp', timestamp_column = 'when' }"),
        1,
        &["it has no column \"when\", which mode timestamp goes by"],
    ),
    (
        "the cursor may be NULL",
        Top("objects.t = { table = 't', mode = 'timestamp', timestamp_column = 'at' }"),
        1,
        &["may be NULL", "SET NOT NULL"],
    ),
    (
        "the cursor is no time",
        Top("objects.t = { table = 't', mode = 'timestamp', timestamp_column = 'id' }"),
        1,
        &["is integer, not a date or timestamp"],
    ),
    (
        "a cast is not the type's",
        Top("objects.t = { table = 't', columns.cast = ['id:hex'] }"),
        1,
        &["`hex`, which integer does not know"],
    ),
    (
        "a column is chosen that is not there",
        Top("objects.t = { table = 't', columns.include = ['id', 'nope'] }"),
        1,
        &["\"nope\""],
    ),
    (
        "the key's column is not there",
        Top("objects.t = { table = 't', message.key.columns = ['nope'] }"),
        1,
        &["\"nope\"", "message.key.columns"],
    ),
    (
        "a filter's column is not there",
        Top("objects.t = { table = 't', where = 'idd > 1' }"),
        1,
        &["public.t: PostgreSQL does not take its where", "column \"idd\" does not exist"],
    ),
    (
        "a filter is no SQL",
        Top("objects.t = { table = 't', where = 'id >' }"),
        1,
        &["public.t: PostgreSQL does not take its where", "syntax error"],
    ),
    ("a query has a misspelt column", Top("objects.q = { query = 'SELECT idd FROM t', mode = 'bulk' }"), 1, &["idd"]),
    (
        "a query has two columns of a name",
        Top("objects.q = { query = 'SELECT id, id FROM t', mode = 'bulk' }"),
        1,
        &["q", "\"id\""],
    ),
    ("a filter calls what changes", Top("objects.t = { table = 't', where = 'id > random()' }"), 1, &["random"]),
];

const KAFKA: &[Mistake] = &[
    ("nobody listens", Brokers("127.0.0.1:1"), 1, &["Kafka does not answer", "kafka.\"bootstrap.servers\""]),
    ("the broker's name is none", Brokers("nowhere.invalid:9092"), 1, &["Kafka does not answer"]),
    ("the port is PostgreSQL's", Brokers("{door}"), 1, &["Kafka"]),
    (
        "the password is wrong",
        Kafka("LOGIN", "{scram}\n'sasl.password' = 'canary'\n'ssl.ca.location' = '{certs_of_kafka}/authority.pem'"),
        1,
        &["SASL", "sasl.password"],
    ),
    (
        "the authority is another",
        Kafka("LOGIN", "{scram}\n'sasl.password' = 'word-256'\n'ssl.ca.location' = '{certs_of_kafka}/stranger.pem'"),
        1,
        &["certificate", "ssl.ca.location"],
    ),
    ("TLS is left out", Kafka("OWN", ""), 1, &["security.protocol"]),
    (
        "a certificate is asked for",
        Kafka("OWN", "'security.protocol' = 'SSL'\n'ssl.ca.location' = '{certs_of_kafka}/authority.pem'"),
        1,
        &["certificate", "ssl.certificate.location"],
    ),
    (
        "the certificate is another authority's",
        Kafka(
            "OWN",
            "'security.protocol' = 'SSL'\n'ssl.ca.location' = '{certs_of_kafka}/authority.pem'\n'ssl.certificate.location' = '{certs_of_kafka}/intruder.pem'\n'ssl.key.location' = '{certs_of_kafka}/intruder.key'",
        ),
        1,
        &["certificate", "ssl.certificate.location"],
    ),
    (
        "a topic is missing and may not be made",
        Top("topic.creation.enable = false"),
        1,
        &["does not exist", "topic.creation.enable = true"],
    ),
    (
        "two tables have one topic",
        Top("topic.name.format = '${table}'\ntables.include = ['public.t', 'other.t']"),
        1,
        &["public.t", "other.t", "topic"],
    ),
];

const REGISTRY: &[Mistake] = &[
    ("nobody listens", Registry("http://127.0.0.1:1", ""), 1, &["does not answer", "schema_registry.url"]),
    (
        "the password is wrong",
        Registry("https://{proxy}/basic", "{ca}\nuser = 'reader'\npassword = 'canary'"),
        1,
        &["401", "schema_registry.password"],
    ),
    (
        "the token is wrong",
        Registry("https://{proxy}/bearer", "{ca}\ntoken = 'canary'"),
        1,
        &["401", "schema_registry.token"],
    ),
    ("nobody logs in", Registry("https://{proxy}/basic", "{ca}"), 1, &["401", "schema_registry.user"]),
    ("a right is missing", Registry("https://{proxy}/forbidden", "{ca}"), 1, &["403", "right"]),
    ("a proxy wants to know", Registry("https://{proxy}/proxy", "{ca}"), 1, &["407", "proxy"]),
    ("it has moved", Registry("https://{proxy}/moved", "{ca}"), 1, &["302", "https://login.example/sso"]),
    ("it is a console", Registry("https://{proxy}/page", "{ca}"), 1, &["HTML", "schema_registry.url"]),
    (
        "the authority is another",
        Registry("https://{proxy}/none", ""),
        1,
        &["certificate", "schema_registry.ssl.ca.location"],
    ),
    ("TLS is left out", Registry("http://{proxy}/none", ""), 1, &["schema_registry"]),
    ("TLS is too much", Registry("https://{registry}", ""), 1, &["http:// where schema_registry.url says https://"]),
    ("the path is wrong", Registry("http://{registry}/nothing", ""), 1, &["base address"]),
    (
        "a certificate is asked for",
        Registry("https://{proxy_of_own}/none", "{ca}"),
        1,
        &["certificate", "schema_registry.ssl.certificate.location"],
    ),
    (
        "the certificate's file is not there",
        Registry(
            "https://{proxy_of_own}/none",
            "{ca}\n'ssl.certificate.location' = '/nowhere/c.pem'\n'ssl.key.location' = '/nowhere/k.pem'",
        ),
        1,
        &["schema_registry.ssl.key.location: /nowhere/k.pem cannot be read"],
    ),
    (
        "no schema may be registered",
        Top("schema_registry.auto.register.schemas = false"),
        1,
        &["no such schema", "strandline schema"],
    ),
    (
        "the latest is to be used, and there is none",
        Top("schema_registry.use.latest.version = true\nschema_registry.auto.register.schemas = false"),
        1,
        &["has no version", "strandline schema"],
    ),
];

/// Nothing may take longer; librdkafka's own patience is ten seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// The servers, as words in the table.
struct Scene {
    dir: tempfile::TempDir,
    words: Vec<(&'static str, String)>,
    _silent: TcpListener,
    _way: Way,
}

impl Scene {
    async fn set() -> Scene {
        let (door, brokers, proxy) = (door(), brokers(), proxy());
        let own = door.postgres.create_database("mistakes");
        connect(&own.url)
            .await
            .batch_execute(
                "CREATE TABLE t (id int PRIMARY KEY, at timestamptz); CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY);
                 CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t WITH NO DATA;
                 CREATE TABLE hidden (id int PRIMARY KEY); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
                 GRANT SELECT ON t, hidden TO tls",
            )
            .await
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Way::new("");
        way.bastion.key(&["-t", "ed25519"], "canary word", &way.path("encrypted"));
        let mut keygen = Command::new("ssh-keygen");
        let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(way.path("stranger")).status();
        assert!(made.unwrap().success());
        std::fs::write(way.path("empty"), "").unwrap();
        let registry = Registry::shared().url().trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let words = vec![
            ("{ssh}", way.section("")),
            ("{way}", way.path("").display().to_string()),
            (
                "{scram}",
                "'security.protocol' = 'SASL_SSL'\n'sasl.mechanism' = 'SCRAM-SHA-256'\n'sasl.username' = 'reader'"
                    .to_owned(),
            ),
            ("{ca}", format!("'ssl.ca.location' = '{}'", proxy.file("authority.pem"))),
            ("{door}", format!("127.0.0.1:{}", door.postgres.port())),
            ("{port}", door.postgres.port().to_string()),
            ("{db}", own.name.clone()),
            ("{own}", Postgres::shared().url("postgres")),
            ("{certs}", door.directory.path().display().to_string()),
            ("{certs_of_kafka}", brokers.file("").trim_end_matches('/').to_owned()),
            ("{silent}", silent.local_addr().unwrap().to_string()),
            ("{kafka}", Kafka::shared().bootstrap().to_owned()),
            ("{registry}", registry),
            ("{proxy}", format!("127.0.0.1:{}", proxy.ports.0)),
            ("{proxy_of_own}", format!("127.0.0.1:{}", proxy.ports.1)),
            ("{dir}", dir.path().display().to_string()),
        ];
        Scene { dir, words, _silent: silent, _way: way }
    }

    fn filled(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    /// What the program answers, and with which code, to the mistake of this number.
    fn answer(&self, at: usize, done: &Done) -> (Option<i32>, String) {
        let here = self.dir.path().join(at.to_string());
        std::fs::create_dir(&here).unwrap();
        let mut top = "";
        let mut url = "postgres://postgres@{door}/{db}";
        let (mut kafka, mut of_kafka) = (Kafka::shared().bootstrap().to_owned(), "");
        let (mut registry, mut of_registry) = (Registry::shared().url(), "");
        let mut typed: &[&str] = &["check"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_strandline"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", &here).current_dir(&here);
        match done {
            Right | File(..) => {}
            Top(lines) | Ssh(lines) => top = lines,
            Url(text) => url = text,
            Done::Kafka(listener, lines) => {
                (kafka, of_kafka) = (brokers().kafka.listener(listener), lines);
            }
            Brokers(address) => kafka = (*address).to_owned(),
            Done::Registry(address, lines) => (registry, of_registry) = (address, lines),
            Typed(words) => typed = words,
            Set(name, value) => _ = command.env(name, value),
        }
        // Beside a tables.include of its own, and of the objects that have one, everything else is right.
        let include = if top.contains("tables.include") { "" } else { "tables.include = ['public.t']" };
        let include = if url.contains("tls@{door}/{db}") { "tables.include = ['public.hidden']" } else { include };
        let name = if top.starts_with("name") { "" } else { "name = 'mistakes'" };
        let file = match done {
            File(name, text) => {
                std::fs::write(here.join(name), text).unwrap();
                here.join(name)
            }
            _ => {
                // Keys with their whole names: a table of the mistake's own could not stand beside one of ours.
                let below = |section: &str, lines: &str| -> String {
                    self.filled(lines).lines().map(|line| format!("{section}.{line}\n")).collect()
                };
                let text = format!(
                    "{top}\n{name}\n{include}\ndatabase.url = \"{url}\"\nkafka.\"bootstrap.servers\" = \"{kafka}\"\n\
                     schema_registry.url = \"{registry}\"\n{}{}",
                    below("kafka", of_kafka),
                    below("schema_registry", of_registry)
                );
                std::fs::write(here.join("strandline.toml"), self.filled(&text)).unwrap();
                here.join("strandline.toml")
            }
        };
        let typed: Vec<String> = typed.iter().map(|word| self.filled(word)).collect();
        command.args(&typed);
        if !typed.is_empty() && !typed.iter().any(|word| word == "--config") {
            command.arg("--config").arg(&file);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).unwrap();
            text
        });
        let began = Instant::now();
        let watch = std::thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            text
        });
        let code = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if began.elapsed() > PATIENCE => {
                    child.kill().unwrap();
                    break None;
                }
                None => std::thread::park_timeout(Duration::from_millis(10)),
            }
        };
        (code, watch.join().unwrap() + &errors.join().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_has_its_answer_and_no_answer_has_a_secret() {
    let scene = Scene::set().await;
    let right: &[Mistake] = &[("nothing is wrong", Right, 0, &["0 failed"])];
    let table: Vec<(&str, &Mistake)> = [
        ("-", right),
        ("configuration", CONFIGURATION),
        ("typed", TYPED),
        ("connection", CONNECTION),
        ("way", WAYS),
        ("tables", TABLES),
        ("kafka", KAFKA),
        ("registry", REGISTRY),
    ]
    .into_iter()
    .flat_map(|(part, mistakes)| mistakes.iter().map(move |mistake| (part, mistake)))
    .collect();
    let situations: BTreeSet<_> = table.iter().map(|(part, (situation, ..))| (*part, *situation)).collect();
    assert_eq!(situations.len(), table.len(), "each situation stands once");
    assert!(table.len() > 80, "{} mistakes", table.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(String::new()));
    // Most of them wait for somebody who does not answer.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((at, (part, (situation, done, code, words)))) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, table.get(at)?)))
                {
                    let (ended, said) = scene.answer(at, done);
                    if std::env::var_os("STRANDLINE_SHOW").is_some() {
                        eprintln!("== {part}: {situation} → {ended:?}\n{said}");
                    }
                    let mut missing: Vec<&str> = words.iter().filter(|word| !said.contains(**word)).copied().collect();
                    missing.extend(["canary", "panicked", "[thrd:"].iter().filter(|word| said.contains(**word)));
                    if ended != Some(*code) || !missing.is_empty() {
                        *wrong.lock().unwrap() += &format!(
                            "\n{part}: {situation}: code {ended:?} instead of {code}, missing or shown: {missing:?}\n{said}"
                        );
                    }
                }
            });
        }
    });
    let wrong = wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{wrong}");
    eprintln!("{} mistakes", table.len());
}
