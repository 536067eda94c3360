//! What one connection needs, made of libpq's parameters.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::libpq::{self, PasswordFile};
use super::parameter::Parameters;
use super::placeholder::Lookup;
use super::secret::Secret;
use super::{Ssh, SslMode};

/// How long a connection may be idle before the kernel probes it, and how long sent data may stay unacknowledged: a
/// dead peer is noticed within about half a minute instead of two hours.
const DEAD_PEER: Duration = Duration::from_secs(30);

/// What one connection needs, all placeholders replaced.
#[derive(Clone, Debug)]
pub struct Target {
    /// For the driver; without hosts and passwords, which are each endpoint's.
    pub settings: tokio_postgres::Config,
    /// The servers, in their order; at least one.
    pub endpoints: Vec<Endpoint>,
    /// `load_balance_hosts = random`: in any order instead.
    pub balanced: bool,
    /// `target_session_attrs`: which of them will do.
    pub wanted: SessionAttrs,
    /// The key `database.sslmode`, else the URL's, else `prefer`.
    pub sslmode: SslMode,
    /// The authorities to trust instead of the machine's own.
    pub sslrootcert: Option<PathBuf>,
    /// How many of its certificates.
    pub sslrootcert_load: Load,
    /// `sslsni`: whether the server is told which name was dialled.
    pub sni: bool,
    /// `ssl_min_protocol_version` and `ssl_max_protocol_version`.
    pub versions: (Option<TlsVersion>, Option<TlsVersion>),
    /// Our own certificate.
    pub client_certificate: ClientCertificate,
    /// The bastion on the way, its secrets replaced.
    pub ssh: Option<Ssh>,
    /// For everything until the login is done, all servers together.
    pub connect_timeout: Duration,
    /// libpq's own `connect_timeout`, instead: for each address.
    pub address_timeout: Option<Duration>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, an address, or a socket's directory: what its certificate is made out to.
    pub host: String,
    /// `hostaddr`: what is dialled instead of what the name stands for.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// The role's password there.
    pub password: Option<Secret>,
}

/// Which server will do, with libpq's meanings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionAttrs {
    /// Each.
    #[default]
    Any,
    /// One where a session may write.
    ReadWrite,
    /// One where it may not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is.
    Standby,
    /// One that is, else each.
    PreferStandby,
}

/// How many certificates of `sslrootcert` are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// All in the file.
    #[default]
    All,
    /// The first alone.
    First,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.0, which few servers still speak.
    V1_0,
    /// TLS 1.1, likewise.
    V1_1,
    /// TLS 1.2, the least unless set.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Our own certificate, where the server asks for one.
#[derive(Clone, Debug, Default)]
pub struct ClientCertificate {
    /// `sslcert`: PEM or DER, with the authorities between it and the server's if need be.
    pub certificate: Option<PathBuf>,
    /// `sslkey`: PEM or DER.
    pub key: Option<PathBuf>,
    /// `sslpassword`: the key's.
    pub password: Option<Secret>,
}

/// What keeps a connection from being tried: of a parameter, what it needs.
pub(super) type Needs = (&'static str, String);

const SESSION_ATTRS: &[(&str, SessionAttrs)] = &[
    ("any", SessionAttrs::Any),
    ("read-write", SessionAttrs::ReadWrite),
    ("read-only", SessionAttrs::ReadOnly),
    ("primary", SessionAttrs::Primary),
    ("standby", SessionAttrs::Standby),
    ("prefer-standby", SessionAttrs::PreferStandby),
];

const TLS_VERSIONS: &[(&str, TlsVersion)] = &[
    ("TLSv1", TlsVersion::V1_0),
    ("TLSv1.1", TlsVersion::V1_1),
    ("TLSv1.2", TlsVersion::V1_2),
    ("TLSv1.3", TlsVersion::V1_3),
];

impl SslMode {
    /// libpq's word for a mode.
    pub fn parse(word: &str) -> Option<Self> {
        SslMode::WORDS.iter().find(|(known, _)| *known == word).map(|(_, mode)| *mode)
    }

    /// libpq's word for it.
    pub(super) fn word(self) -> &'static str {
        SslMode::WORDS.iter().find(|(_, mode)| *mode == self).map_or("prefer", |(word, _)| word)
    }

    const WORDS: &[(&str, SslMode)] = &[
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];

    /// Whether a connection without TLS would do too.
    pub fn is_weak(self) -> bool {
        matches!(self, SslMode::Disable | SslMode::Allow | SslMode::Prefer)
    }
}

impl Endpoint {
    /// Whether it is a socket's directory; `@` begins an abstract one.
    pub fn is_socket(&self) -> bool {
        self.address.is_none() && self.host.starts_with(['/', '@'])
    }
}

impl Target {
    /// What the parameters say; what they leave out has a default. `application` is what `pg_stat_activity` shows.
    pub(super) fn of(
        parameters: &Parameters,
        application: &str,
        connect_timeout: Duration,
        lookup: &Lookup<'_>,
    ) -> Result<Target, Needs> {
        let mut settings = tokio_postgres::Config::new();
        let mut endpoints = endpoints(parameters)?;
        let dbname = parameters.get("dbname").ok_or(("dbname", "the name of the database (1014)".to_owned()))?;
        settings.dbname(dbname);
        let user = parameters.get("user").map_or_else(|| lookup("USER").unwrap_or_default(), str::to_owned);
        if !user.is_empty() {
            settings.user(&user);
        }
        if let Some(options) = parameters.get("options") {
            settings.options(options);
        }
        let named = parameters.get("application_name").or(parameters.get("fallback_application_name"));
        settings.application_name(named.unwrap_or(application));
        let other = |needs| ("", needs);
        harmless(parameters).map_err(other)?;
        alive(parameters, &mut settings).map_err(other)?;
        let passwords = PasswordFile::read(parameters, lookup);
        for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.password.is_none()) {
            endpoint.password = passwords.find(&endpoint.host, endpoint.port, dbname, &user).map(Secret::new);
        }
        let mut target = Target {
            endpoints,
            balanced: parameters
                .word("load_balance_hosts", &[("disable", false), ("random", true)])
                .map_err(other)?
                .unwrap_or(false),
            wanted: parameters.word("target_session_attrs", SESSION_ATTRS).map_err(other)?.unwrap_or_default(),
            settings,
            sslmode: SslMode::default(),
            sslrootcert: None,
            sslrootcert_load: Load::All,
            sni: parameters.word("sslsni", &[("0", false), ("1", true)]).map_err(other)?.unwrap_or(true),
            versions: (None, None),
            client_certificate: ClientCertificate::default(),
            ssh: None,
            connect_timeout,
            address_timeout: parameters
                .number("connect_timeout")
                .map_err(other)?
                // libpq's least.
                .map(|seconds| Duration::from_secs(seconds.max(2).into())),
        };
        target.encrypt(parameters, lookup)?;
        Ok(target)
    }

    /// Everything of TLS.
    fn encrypt(&mut self, parameters: &Parameters, lookup: &Lookup<'_>) -> Result<(), Needs> {
        let of = |name: &'static str| move |needs| (name, needs);
        let asked = parameters
            .word("sslmode", SslMode::WORDS)
            .map_err(|_| ("sslmode", format!("sslmode as {}", super::key::sslmodes())))?;
        let root = parameters.get("sslrootcert").map(PathBuf::from);
        let system = root.as_ref().is_some_and(|root| root.as_os_str() == "system");
        // libpq's rule: with the machine's authorities anything less than verify-full would be worth nothing.
        if system && asked.is_some_and(|mode| mode != SslMode::VerifyFull) {
            return Err(("sslmode", "verify-full, since sslrootcert is system".to_owned()));
        }
        self.sslmode = asked.unwrap_or(if system { SslMode::VerifyFull } else { SslMode::default() });
        // A file that nobody named must not keep a weak mode from its way without TLS.
        let usual = || libpq::certificate("root.crt", lookup).filter(|_| !self.sslmode.is_weak());
        self.sslrootcert = if system { None } else { root.or_else(usual) };
        let direct = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
        let negotiation = parameters.word("sslnegotiation", &direct).map_err(of("sslnegotiation"))?;
        if negotiation == Some(SslNegotiation::Direct) && self.sslmode.is_weak() {
            let needs = "sslmode require, verify-ca or verify-full beside sslnegotiation=direct".to_owned();
            return Err(("sslnegotiation", needs));
        }
        self.settings.ssl_negotiation(negotiation.unwrap_or(SslNegotiation::Postgres));
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        let binding = parameters.word("channel_binding", &bindings).map_err(of("channel_binding"))?;
        if binding == Some(ChannelBinding::Require) && self.sslmode == SslMode::Disable {
            return Err(("channel_binding", "sslmode require or above beside channel_binding=require".to_owned()));
        }
        self.settings.channel_binding(binding.unwrap_or(ChannelBinding::Prefer));
        let version = |name| parameters.word(name, TLS_VERSIONS).map_err(of(name));
        self.versions = (version("ssl_min_protocol_version")?, version("ssl_max_protocol_version")?);
        let sent = parameters.word("sslcertmode", &[("disable", false), ("allow", true)]).map_err(of("sslcertmode"))?;
        if sent != Some(false) {
            let file =
                |name, usual| parameters.get(name).map(PathBuf::from).or_else(|| libpq::certificate(usual, lookup));
            self.client_certificate = ClientCertificate {
                certificate: file("sslcert", "postgresql.crt"),
                key: file("sslkey", "postgresql.key"),
                password: parameters.get("sslpassword").map(Secret::new),
            };
        }
        Ok(())
    }

    /// `host:port/dbname`, for messages.
    pub fn address(&self) -> String {
        let addresses: Vec<String> =
            self.endpoints.iter().map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)).collect();
        format!("{}/{}", addresses.join(","), self.settings.get_dbname().unwrap_or_default())
    }
}

/// The servers: each with its port, one port for all, or 5432.
fn endpoints(parameters: &Parameters) -> Result<Vec<Endpoint>, Needs> {
    let list = |name: &str| -> Vec<&str> {
        parameters.get(name).map(|list| list.split(',').map(str::trim).collect()).unwrap_or_default()
    };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err(("host", "the server's host (or database.url with all of it)".to_owned()));
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(("hostaddr", "one address for each host".to_owned()));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(("port", "one port, or one for each host".to_owned()));
    }
    (0..count)
        .map(|at| {
            let text = |list: &[&str]| list.get(at).copied().unwrap_or_default().to_owned();
            let address = Some(text(&addresses)).filter(|address| !address.is_empty());
            let host = Some(text(&hosts)).filter(|host| !host.is_empty()).or_else(|| address.clone());
            let host = host.ok_or_else(|| ("host", "a host's name or address".to_owned()))?;
            let address = address.map(|address| address.parse()).transpose();
            let address = address.map_err(|_| ("hostaddr", "an IP address for hostaddr".to_owned()))?;
            let port = match ports.get(at).or(ports.first().filter(|_| ports.len() == 1)).copied().unwrap_or_default() {
                "" => 5432,
                port => port
                    .parse()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| ("port", "a port from 1 to 65535".to_owned()))?,
            };
            Ok(Endpoint { host, address, port, password: parameters.get("password").map(Secret::new) })
        })
        .collect()
}

/// What may be said and changes nothing, unless it asks for what there is not.
fn harmless(parameters: &Parameters) -> Result<(), String> {
    parameters
        .word("gssencmode", &[("disable", ()), ("prefer", ())])
        .map_err(|needs| format!("{needs}; Kerberos is not supported"))?;
    if let Some(encoding) = parameters.get("client_encoding") {
        let plain = encoding.to_lowercase().replace(['-', '_'], "");
        if !["utf8", "unicode", "auto"].contains(&plain.as_str()) {
            return Err("client_encoding as UTF8: Strandline speaks no other".to_owned());
        }
    }
    Ok(())
}

/// How a dead peer is noticed.
fn alive(parameters: &Parameters, settings: &mut tokio_postgres::Config) -> Result<(), String> {
    let seconds = |name| Ok::<_, String>(parameters.number(name)?.map(|seconds| Duration::from_secs(seconds.into())));
    settings.keepalives(parameters.word("keepalives", &[("0", false), ("1", true)])?.unwrap_or(true));
    settings.keepalives_idle(seconds("keepalives_idle")?.unwrap_or(DEAD_PEER));
    if let Some(interval) = seconds("keepalives_interval")? {
        settings.keepalives_interval(interval);
    }
    if let Some(count) = parameters.number("keepalives_count")? {
        settings.keepalives_retries(count);
    }
    // In milliseconds, in libpq.
    let unacknowledged = parameters.number("tcp_user_timeout")?.map(|millis| Duration::from_millis(millis.into()));
    settings.tcp_user_timeout(unacknowledged.unwrap_or(DEAD_PEER));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::url;

    fn target(text: &str) -> Result<Target, Needs> {
        Target::of(&url::parse(text).unwrap(), "strandline shop", Duration::from_secs(10), &|_| None)
    }

    fn at(text: &str) -> Vec<(String, Option<IpAddr>, u16)> {
        let endpoints = target(text).unwrap().endpoints;
        endpoints.into_iter().map(|endpoint| (endpoint.host, endpoint.address, endpoint.port)).collect()
    }

    #[test]
    fn servers_are_listed_as_libpq_lists_them() {
        let host = |name: &str, port| (name.to_owned(), None, port);
        assert_eq!(at("postgres://a:1,b/x"), [host("a", 1), host("b", 5432)]);
        assert_eq!(at("host=a,b port=7 dbname=x"), [host("a", 7), host("b", 7)]);
        assert_eq!(at("host=a,b port=7,8 dbname=x"), [host("a", 7), host("b", 8)]);
        let numeric: Option<IpAddr> = Some("127.0.0.1".parse().unwrap());
        assert_eq!(at("hostaddr=127.0.0.1 dbname=x"), [("127.0.0.1".to_owned(), numeric, 5432)]);
        assert_eq!(at("host=db hostaddr=127.0.0.1 dbname=x"), [("db".to_owned(), numeric, 5432)]);
        assert!(target("host=/run/pg dbname=x").unwrap().endpoints[0].is_socket());
    }

    #[test]
    fn what_cannot_be_is_told_by_its_name() {
        for (text, name, needs) in [
            ("host=a,b,c port=1,2 dbname=x", "port", "one port, or one for each host"),
            ("host=a port=hunter2 dbname=x", "port", "a port from 1 to 65535"),
            ("host=a port=0 dbname=x", "port", "a port from 1 to 65535"),
            ("host=a, dbname=x", "host", "a host's name or address"),
            ("host=a hostaddr=b dbname=x", "hostaddr", "an IP address for hostaddr"),
            ("host=a,b hostaddr=::1 dbname=x", "hostaddr", "one address for each host"),
            ("host=a", "dbname", "the name of the database (1014)"),
            ("dbname=x", "host", "the server's host (or database.url with all of it)"),
            (
                "host=a dbname=x sslmode=hunter2",
                "sslmode",
                "sslmode as disable, allow, prefer, require, verify-ca or verify-full",
            ),
            (
                "host=a dbname=x sslmode=require sslrootcert=system",
                "sslmode",
                "verify-full, since sslrootcert is system",
            ),
            (
                "host=a dbname=x sslnegotiation=direct",
                "sslnegotiation",
                "sslmode require, verify-ca or verify-full beside sslnegotiation=direct",
            ),
            (
                "host=a dbname=x channel_binding=require sslmode=disable",
                "channel_binding",
                "sslmode require or above beside channel_binding=require",
            ),
            ("host=a dbname=x gssencmode=require", "", "gssencmode as disable, prefer; Kerberos is not supported"),
            (
                "host=a dbname=x target_session_attrs=fast",
                "",
                "target_session_attrs as any, read-write, read-only, primary, standby, prefer-standby",
            ),
            ("host=a dbname=x client_encoding=latin1", "", "client_encoding as UTF8: Strandline speaks no other"),
        ] {
            assert_eq!(target(text).unwrap_err(), (name, needs.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_changes_nothing_is_taken() {
        let text = "postgres://db/x?gssencmode=disable&client_encoding=UTF-8&sslcompression=0&sslsni=1&fallback_application_name=me";
        let target = target(text).unwrap();
        assert_eq!((target.settings.get_application_name(), target.sni), (Some("me"), true));
    }

    #[test]
    fn limits_of_time_are_set_unless_they_are_said() {
        let plain = target("postgres://db/x").unwrap();
        assert_eq!(plain.settings.get_application_name(), Some("strandline shop"));
        assert_eq!(plain.settings.get_keepalives_idle(), DEAD_PEER);
        assert_eq!((plain.settings.get_tcp_user_timeout(), plain.address_timeout), (Some(&DEAD_PEER), None));
        let said = target("postgres://db/x?keepalives_idle=7&tcp_user_timeout=1500&connect_timeout=1&keepalives=0");
        let said = said.unwrap();
        assert_eq!(said.settings.get_keepalives_idle(), Duration::from_secs(7));
        assert_eq!(said.settings.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
        assert_eq!((said.settings.get_keepalives(), said.address_timeout), (false, Some(Duration::from_secs(2))));
    }

    #[test]
    fn the_machines_authorities_need_verify_full() {
        let system = target("postgres://db/x?sslrootcert=system").unwrap();
        assert_eq!((system.sslmode, system.sslrootcert), (SslMode::VerifyFull, None));
    }

    #[test]
    fn certificates_of_the_home_directory_are_found_as_libpq_finds_them() {
        let home = tempfile::TempDir::new().unwrap();
        let directory = home.path().join(".postgresql");
        std::fs::create_dir(&directory).unwrap();
        for name in ["root.crt", "postgresql.crt", "postgresql.key"] {
            std::fs::write(directory.join(name), "").unwrap();
        }
        let lookup = |name: &str| (name == "HOME").then(|| home.path().display().to_string());
        let of = |text: &str| Target::of(&url::parse(text).unwrap(), "a", Duration::from_secs(10), &lookup).unwrap();
        let required = of("postgres://db/x?sslmode=require");
        assert_eq!(required.sslrootcert, Some(directory.join("root.crt")));
        assert_eq!(required.client_certificate.key, Some(directory.join("postgresql.key")));
        assert_eq!(of("postgres://db/x").sslrootcert, None);
        assert!(of("postgres://db/x?sslcertmode=disable").client_certificate.key.is_none());
        assert_eq!(of("postgres://db/x?sslmode=require&sslrootcert=/ca").sslrootcert, Some("/ca".into()));
    }

    #[test]
    fn addresses_are_shown_without_credentials() {
        for (url, address) in [
            ("postgres://u:p@db/shop", "db:5432/shop"),
            ("postgres://u:p@a:1,b:2/shop", "a:1,b:2/shop"),
            ("host=/run/pg port=7 dbname=shop", "/run/pg:7/shop"),
        ] {
            assert_eq!(target(url).unwrap().address(), address);
            assert!(!format!("{:?}", target("postgres://u:hunter2@db/shop").unwrap()).contains("hunter2"));
        }
    }
}
