//! `[database]`: read once for mistakes, and again at every connection, since credentials are rotated.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::Host;

use super::placeholder::{self, Lookup};
use super::reader::Reader;
use super::secret::Secret;
use super::{Database, Ssh, SslMode, libpq, url};
use crate::{Error, Kind, Result};

/// How long a connection may be idle before the kernel probes it, and how long sent data may stay unacknowledged: a
/// dead peer is noticed within about half a minute instead of two hours.
const DEAD_PEER: Duration = Duration::from_secs(30);

/// The keys that `database.url` excludes.
const PARTS: &[&str] = &[
    "database.hostname",
    "database.port",
    "database.user",
    "database.password",
    "database.password_file",
    "database.dbname",
];

/// What one connection needs, all placeholders replaced.
#[derive(Clone, Debug)]
pub struct Target {
    /// For the driver. Its `Debug` hides the password.
    pub settings: tokio_postgres::Config,
    /// The key `database.sslmode`, else the URL's, else `prefer`.
    pub sslmode: SslMode,
    /// The authorities to trust instead of the machine's own.
    pub sslrootcert: Option<PathBuf>,
    /// How many of its certificates.
    pub sslrootcert_load: Load,
    /// Our own certificate.
    pub client_certificate: ClientCertificate,
    /// The bastion on the way, its secrets replaced.
    pub ssh: Option<Ssh>,
    /// For everything until the login is done.
    pub connect_timeout: Duration,
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

/// Our own certificate, where the server asks for one.
#[derive(Clone, Debug, Default)]
pub struct ClientCertificate {
    /// `sslcert`: PEM, with the authorities between it and the server's if need be.
    pub certificate: Option<PathBuf>,
    /// `sslkey`: PEM or DER.
    pub key: Option<PathBuf>,
    /// `sslpassword`: the key's.
    pub password: Option<Secret>,
}

/// What keeps a connection from being tried.
struct Fault {
    key: &'static str,
    needs: String,
}

impl SslMode {
    /// libpq's word for a mode; `allow` counts as `prefer`, which asks for TLS first.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "disable" => Some(SslMode::Disable),
            "allow" | "prefer" => Some(SslMode::Prefer),
            "require" => Some(SslMode::Require),
            "verify-ca" => Some(SslMode::VerifyCa),
            "verify-full" => Some(SslMode::VerifyFull),
            _ => None,
        }
    }
}

impl Target {
    /// Each host with its port, in their order.
    pub fn hosts(&self) -> Vec<(String, u16)> {
        let names: Vec<String> = match self.settings.get_hosts() {
            [] => self.settings.get_hostaddrs().iter().map(ToString::to_string).collect(),
            hosts => hosts
                .iter()
                .map(|host| match host {
                    Host::Tcp(name) => name.clone(),
                    Host::Unix(directory) => directory.display().to_string(),
                })
                .collect(),
        };
        let ports = self.settings.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        names.into_iter().enumerate().map(|(at, name)| (name, port(at))).collect()
    }

    /// `host:port/dbname`, for messages.
    pub fn address(&self) -> String {
        let addresses: Vec<String> = self.hosts().iter().map(|(host, port)| format!("{host}:{port}")).collect();
        format!("{}/{}", addresses.join(","), self.settings.get_dbname().unwrap_or_default())
    }
}

impl Database {
    /// Replaces every `${env:…}` and `${file:…}` anew and gives what one connection needs.
    ///
    /// `application` is what `pg_stat_activity` shows, unless the URL says otherwise. Fails with [`Kind::Refused`], since it was right at the start and may be right again, if a
    /// placeholder stands for nothing just now, or what it stands for is no connection string.
    pub fn resolve(&self, application: &str) -> Result<Target> {
        self.resolve_with(application, &|name| std::env::var(name).ok()).map_err(|fault| {
            Error::new(Kind::Refused, format!("1023: {} cannot be used as it is now", fault.key))
                .because(format!("it needs {}", fault.needs))
                .hint("correct the value, or what its placeholder stands for; it is read again at every connection")
        })
    }

    fn resolve_with(&self, application: &str, lookup: &Lookup<'_>) -> Result<Target, Fault> {
        let text = |key: &'static str, raw: Option<&str>| {
            raw.map(|raw| placeholder::replace(raw, lookup).map_err(|needs| Fault { key, needs })).transpose()
        };
        let mut parsed = match text("database.url", self.url.as_ref().map(Secret::reveal))? {
            Some(url) => url::parse(&url).map_err(|needs| Fault { key: "database.url", needs })?,
            None => {
                let mut settings = tokio_postgres::Config::new();
                for host in
                    text("database.hostname", self.hostname.as_deref())?.iter().flat_map(|hosts| hosts.split(','))
                {
                    if host.trim().is_empty() {
                        return Err(Fault { key: "database.hostname", needs: "a host's name or address".to_owned() });
                    }
                    settings.host(host.trim());
                }
                for port in text("database.port", self.port.as_deref())?.iter().flat_map(|ports| ports.split(',')) {
                    let needs = || Fault { key: "database.port", needs: "a port from 1 to 65535".to_owned() };
                    settings.port(port.trim().parse().ok().filter(|port| *port > 0).ok_or_else(needs)?);
                }
                if let Some(user) = text("database.user", self.user.as_deref())? {
                    settings.user(user);
                }
                if let Some(password) = text("database.password", self.password.as_ref().map(Secret::reveal))? {
                    settings.password(password);
                }
                if let Some(dbname) = text("database.dbname", self.dbname.as_deref())? {
                    settings.dbname(dbname);
                }
                url::Parsed { settings, ..url::Parsed::default() }
            }
        };
        libpq::fill(&mut parsed, lookup).map_err(|needs| Fault { key: "database", needs })?;
        if let Some(password) =
            text("database.sslpassword", self.client_certificate.password.as_ref().map(Secret::reveal))?
        {
            parsed.sslpassword = Some(password);
        }
        let mut target = self.complete(parsed, application)?;
        if let Some(ssh) = &self.ssh {
            let secret = |key: &'static str, raw: &Option<Secret>| {
                Ok::<_, Fault>(text(key, raw.as_ref().map(Secret::reveal))?.map(Secret::new))
            };
            target.ssh = Some(Ssh {
                password: secret("ssh.password", &ssh.password)?,
                key_passphrase: secret("ssh.key_passphrase", &ssh.key_passphrase)?,
                ..ssh.clone()
            });
            if target.settings.get_hosts().iter().any(|host| matches!(host, Host::Unix(_))) {
                return Err(Fault {
                    key: if self.url.is_some() { "database.url" } else { "database.hostname" },
                    needs: "a host's name or address as ssh.host sees it, not a socket's directory".to_owned(),
                });
            }
        }
        Ok(target)
    }

    /// What both spellings have in common: what must be there, TLS, and the limits of time.
    fn complete(&self, parsed: url::Parsed, application: &str) -> Result<Target, Fault> {
        let url::Parsed { mut settings, sslmode, sslrootcert, sslcert, sslkey, sslpassword, keepalives_idle } = parsed;
        let of = |part: &'static str| if self.url.is_some() { "database.url" } else { part };
        let hosts = settings.get_hosts().len().max(settings.get_hostaddrs().len());
        if hosts == 0 {
            let key = of("database.hostname");
            return Err(Fault { key, needs: "the server's host (or database.url with all of it)".to_owned() });
        }
        if settings.get_ports().len() > 1 && settings.get_ports().len() != hosts {
            return Err(Fault { key: of("database.port"), needs: "one port, or one for each host".to_owned() });
        }
        if settings.get_dbname().unwrap_or_default().is_empty() {
            return Err(Fault { key: of("database.dbname"), needs: "the name of the database (1014)".to_owned() });
        }
        let root = self.sslrootcert.clone().or(sslrootcert.map(PathBuf::from));
        let system = root.as_ref().is_some_and(|root| root.as_os_str() == "system");
        let asked = self.sslmode.or(sslmode);
        // libpq's rule: with the machine's authorities anything less than verify-full would be worth nothing.
        if system && asked.is_some_and(|mode| mode != SslMode::VerifyFull) {
            let needs = "verify-full, since sslrootcert is system".to_owned();
            return Err(Fault { key: of("database.sslmode"), needs });
        }
        let sslmode = asked.unwrap_or(if system { SslMode::VerifyFull } else { SslMode::default() });
        if settings.get_application_name().is_none() {
            settings.application_name(application);
        }
        if settings.get_connect_timeout().is_none() {
            // One silent address must leave time for the next: a name often has two, and there may be several hosts.
            let addresses = u32::try_from(hosts).unwrap_or(u32::MAX).saturating_add(1);
            settings.connect_timeout(self.connect_timeout / addresses);
        }
        if settings.get_tcp_user_timeout().is_none() {
            settings.tcp_user_timeout(DEAD_PEER);
        }
        if !keepalives_idle {
            settings.keepalives_idle(DEAD_PEER);
        }
        let sslrootcert = root.filter(|_| !system);
        let own = &self.client_certificate;
        let client_certificate = ClientCertificate {
            certificate: own.certificate.clone().or(sslcert.map(PathBuf::from)),
            key: own.key.clone().or(sslkey.map(PathBuf::from)),
            password: sslpassword.map(Secret::new),
        };
        Ok(Target {
            settings,
            sslmode,
            sslrootcert,
            sslrootcert_load: self.sslrootcert_load,
            client_certificate,
            ssh: None,
            connect_timeout: self.connect_timeout,
        })
    }
}

/// Reads the section, and tries once what every connection will do, so that mistakes show at the start.
pub(super) fn read(reader: &mut Reader<'_>) -> Database {
    let sslmode = reader.word("database.sslmode").and_then(SslMode::parse);
    let sslrootcert = reader.text("database.sslrootcert").map(PathBuf::from);
    if let Some(path) = sslrootcert.as_ref().filter(|path| path.as_os_str() != "system")
        && let Err(error) = std::fs::File::open(path)
    {
        reader.refuse("database.sslrootcert", format!("a PEM file that can be read: {error}"));
    }
    let connect_timeout = reader.time("database.connect_timeout");
    let database = Database {
        url: reader.raw("database.url").map(Secret::new),
        hostname: reader.raw("database.hostname"),
        port: reader.raw("database.port"),
        user: reader.raw("database.user"),
        password: reader.raw_secret("database.password"),
        dbname: reader.raw("database.dbname"),
        sslmode,
        sslrootcert,
        sslrootcert_load: match reader.word("database.sslrootcert_load") {
            Some("first") => Load::First,
            _ => Load::All,
        },
        client_certificate: ClientCertificate {
            certificate: reader.text("database.sslcert").map(PathBuf::from),
            key: reader.text("database.sslkey").map(PathBuf::from),
            password: reader.raw_secret("database.sslpassword"),
        },
        ssh: super::ssh::read(reader),
        connect_timeout,
    };
    if reader.is_set("database.url") {
        let parts: Vec<&str> = PARTS.iter().copied().filter(|part| reader.is_set(part)).collect();
        for part in &parts {
            let needs =
                format!("no such line beside database.url ({}): keep one of the two", reader.origin("database.url"));
            reader.refuse(part, needs);
        }
        if !parts.is_empty() {
            return database;
        }
    }
    // A part that is no text at all has been refused already.
    let whole = PARTS.iter().chain(["database.url"].iter()).all(|key| !reader.refused(key));
    if whole && let Err(fault) = database.resolve_with("", reader.lookup()) {
        let by_file = fault.key == "database.password" && reader.is_set("database.password_file");
        reader.refuse(if by_file { "database.password_file" } else { fault.key }, fault.needs);
    }
    database
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str) -> Database {
        Database {
            url: Some(Secret::new(url)),
            hostname: None,
            port: None,
            user: None,
            password: None,
            dbname: None,
            sslmode: None,
            sslrootcert: None,
            sslrootcert_load: Default::default(),
            client_certificate: Default::default(),
            ssh: None,
            connect_timeout: Duration::from_secs(10),
        }
    }

    #[test]
    fn an_own_sslmode_goes_before_the_urls() {
        let mut database = database("postgres://db/x?sslmode=disable");
        assert_eq!(database.resolve("a").unwrap().sslmode, SslMode::Disable);
        database.sslmode = Some(SslMode::VerifyFull);
        assert_eq!(database.resolve("a").unwrap().sslmode, SslMode::VerifyFull);
    }

    #[test]
    fn the_machines_authorities_need_verify_full() {
        let target = database("postgres://db/x?sslrootcert=system").resolve("a").unwrap();
        assert_eq!((target.sslmode, target.sslrootcert), (SslMode::VerifyFull, None));
        assert!(database("postgres://db/x?sslrootcert=system&sslmode=require").resolve("a").is_err());
    }

    #[test]
    fn limits_of_time_are_set_unless_the_url_sets_them() {
        let target = database("postgres://db/x").resolve("strandline shop").unwrap();
        assert_eq!(target.settings.get_application_name(), Some("strandline shop"));
        assert_eq!(target.settings.get_keepalives_idle(), DEAD_PEER);
        assert_eq!(target.settings.get_tcp_user_timeout(), Some(&DEAD_PEER));
        assert_eq!(target.settings.get_connect_timeout(), Some(&Duration::from_secs(5)));
        let target = database("postgres://a,b,c,d/x?keepalives_idle=7&application_name=me").resolve("x").unwrap();
        assert_eq!(target.settings.get_application_name(), Some("me"));
        assert_eq!(target.settings.get_keepalives_idle(), Duration::from_secs(7));
        assert_eq!(target.settings.get_connect_timeout(), Some(&Duration::from_secs(2)));
    }

    #[test]
    fn addresses_are_shown_without_credentials() {
        for (url, address) in [
            ("postgres://u:p@db/shop", "db:5432/shop"),
            ("postgres://u:p@a:1,b:2/shop", "a:1,b:2/shop"),
            ("host=/run/pg port=7 dbname=shop", "/run/pg:7/shop"),
            ("hostaddr=127.0.0.1 dbname=shop", "127.0.0.1:5432/shop"),
        ] {
            assert_eq!(database(url).resolve("a").unwrap().address(), address);
        }
    }

    #[test]
    fn placeholders_are_read_again_at_every_connection() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let database = database(&format!("${{file:{}}}", file.path().display()));
        for dbname in ["one", "two"] {
            std::fs::write(file.path(), format!("postgres://db/{dbname}\n")).unwrap();
            assert_eq!(database.resolve("a").unwrap().settings.get_dbname(), Some(dbname));
        }
        std::fs::write(file.path(), "hunter2").unwrap();
        let error = database.resolve("a").unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(!error.report().contains("hunter2"), "{}", error.report());
    }
}
