//! `[database]`: read once for mistakes, and again at every connection, since credentials are rotated.

use std::path::PathBuf;
use std::time::Duration;

use super::parameter::Parameters;
use super::placeholder::{self, Lookup};
use super::reader::Reader;
use super::secret::Secret;
use super::{ClientCertificate, Database, Endpoint, Load, Ssh, SslMode, Target, libpq, url};
use crate::{Error, Kind, Result};

/// The keys that `database.url` excludes.
const PARTS: &[&str] = &[
    "database.hostname",
    "database.port",
    "database.user",
    "database.password",
    "database.password_file",
    "database.dbname",
];

/// Keys that are libpq's parameters under their own names; they go before the URL's.
const PLAIN: &[(&str, &str)] = &[
    ("database.options", "options"),
    ("database.target_session_attrs", "target_session_attrs"),
    ("database.load_balance_hosts", "load_balance_hosts"),
    ("database.sslnegotiation", "sslnegotiation"),
    ("database.channel_binding", "channel_binding"),
];

/// What keeps a connection from being tried.
struct Fault {
    key: &'static str,
    needs: String,
}

impl Default for Database {
    fn default() -> Self {
        Database {
            url: None,
            hostname: None,
            port: None,
            user: None,
            password: None,
            dbname: None,
            parameters: Vec::new(),
            sslmode: None,
            sslrootcert: None,
            sslrootcert_load: Load::All,
            client_certificate: ClientCertificate::default(),
            ssh: None,
            connect_timeout: Duration::from_secs(10),
        }
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
        let mut parameters = match text("database.url", self.url.as_ref().map(Secret::reveal))? {
            Some(url) => url::parse(&url).map_err(|needs| Fault { key: "database.url", needs })?,
            None => Parameters::default(),
        };
        let parts = [
            ("database.hostname", "host", self.hostname.as_deref()),
            ("database.port", "port", self.port.as_deref()),
            ("database.user", "user", self.user.as_deref()),
            ("database.password", "password", self.password.as_ref().map(Secret::reveal)),
            ("database.dbname", "dbname", self.dbname.as_deref()),
            ("database.sslpassword", "sslpassword", self.client_certificate.password.as_ref().map(Secret::reveal)),
        ];
        for (key, name, raw) in parts {
            if let Some(value) = text(key, raw)? {
                parameters.set(name, value);
            }
        }
        for (name, value) in &self.parameters {
            parameters.set(name, value);
        }
        if let Some(mode) = self.sslmode {
            parameters.set("sslmode", mode.word());
        }
        let own = &self.client_certificate;
        for (name, path) in [("sslrootcert", &self.sslrootcert), ("sslcert", &own.certificate), ("sslkey", &own.key)] {
            if let Some(path) = path {
                parameters.set(name, path.display().to_string());
            }
        }
        let taken = libpq::fill(&mut parameters, lookup).map_err(|needs| Fault { key: "database", needs })?;
        let mut target =
            Target::of(&parameters, application, self.connect_timeout, lookup).map_err(|(name, needs)| {
                // Found in the surroundings, not in the file.
                match taken.iter().find(|(own, _)| *own == name || name.is_empty() && needs.contains(own)) {
                    Some((_, variable)) => {
                        Fault { key: "database", needs: format!("{needs} (the variable {variable} is set)") }
                    }
                    None => Fault { key: self.key_of(name), needs },
                }
            })?;
        target.sslrootcert_load = self.sslrootcert_load;
        if let Some(ssh) = &self.ssh {
            let secret = |key: &'static str, raw: &Option<Secret>| {
                Ok::<_, Fault>(text(key, raw.as_ref().map(Secret::reveal))?.map(Secret::new))
            };
            target.ssh = Some(Ssh {
                password: secret("ssh.password", &ssh.password)?,
                key_passphrase: secret("ssh.key_passphrase", &ssh.key_passphrase)?,
                ..ssh.clone()
            });
            if target.endpoints.iter().any(Endpoint::is_socket) {
                let needs = "a host's name or address as ssh.host sees it, not a socket's directory".to_owned();
                return Err(Fault { key: self.key_of("host"), needs });
            }
        }
        Ok(target)
    }

    /// Where a parameter of libpq's is written in the configuration.
    fn key_of(&self, name: &str) -> &'static str {
        let own = PLAIN.iter().find(|(_, known)| *known == name && self.parameters.iter().any(|(set, _)| set == known));
        match (own, name) {
            (Some((key, _)), _) => key,
            (None, "sslmode") if self.sslmode.is_some() => "database.sslmode",
            _ if self.url.is_some() => "database.url",
            (None, "host" | "hostaddr") => "database.hostname",
            (None, "port") => "database.port",
            (None, "dbname") => "database.dbname",
            _ => "database",
        }
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
    let parameters = PLAIN.iter().filter_map(|(key, name)| Some((*name, reader.text(key)?))).collect();
    let connect_timeout = reader.time("database.connect_timeout");
    let database = Database {
        url: reader.raw("database.url").map(Secret::new),
        hostname: reader.raw("database.hostname"),
        port: reader.raw("database.port"),
        user: reader.raw("database.user"),
        password: reader.raw_secret("database.password"),
        dbname: reader.raw("database.dbname"),
        parameters,
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
    use crate::config::SessionAttrs;

    fn database(url: &str) -> Database {
        Database { url: Some(Secret::new(url)), ..Database::default() }
    }

    #[test]
    fn an_own_sslmode_goes_before_the_urls() {
        let mut database = database("postgres://db/x?sslmode=disable");
        assert_eq!(database.resolve("a").unwrap().sslmode, SslMode::Disable);
        database.sslmode = Some(SslMode::VerifyFull);
        assert_eq!(database.resolve("a").unwrap().sslmode, SslMode::VerifyFull);
    }

    #[test]
    fn a_key_goes_before_the_urls_parameter() {
        let mut database = database("postgres://db/x?target_session_attrs=any");
        database.parameters = vec![("target_session_attrs", "standby".to_owned())];
        assert_eq!(database.resolve("a").unwrap().wanted, SessionAttrs::Standby);
        database.parameters = vec![("sslnegotiation", "direct".to_owned())];
        assert!(database.resolve("a").unwrap_err().to_string().contains("database.sslnegotiation"));
    }

    #[test]
    fn what_a_variable_says_is_not_blamed_on_the_file() {
        for (variable, value) in [("PGSSLMODE", "ful"), ("PGCONNECT_TIMEOUT", "soon"), ("PGPORT", "x")] {
            let lookup = |name: &str| (name == variable).then(|| value.to_owned());
            let fault = database("postgres://db/x").resolve_with("a", &lookup).err().unwrap();
            assert!(fault.key == "database" && fault.needs.contains(variable), "{}: {}", fault.key, fault.needs);
        }
        let lookup = |name: &str| (name == "PGSSLMODE").then(|| "ful".to_owned());
        let fault = database("postgres://db/x?port=x").resolve_with("a", &lookup).err().unwrap();
        assert_eq!(fault.key, "database.url");
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
