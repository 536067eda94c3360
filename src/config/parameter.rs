//! libpq's parameters of a connection: their names and variables, and what Strandline makes of each.
//!
//! No message quotes a value, and none quotes a name that is not libpq's own: both may be pieces of a badly quoted password.

use std::collections::BTreeMap;

use super::nearest::nearest;

/// Each parameter that is understood, with its environment variable.
const KNOWN: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("dbname", "PGDATABASE"),
    ("service", "PGSERVICE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("client_encoding", "PGCLIENTENCODING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslpassword", ""),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslsni", "PGSSLSNI"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("gssencmode", "PGGSSENCMODE"),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    ("tcp_user_timeout", ""),
];

/// What is understood by another name.
const ALSO: &[(&str, &str)] = &[("keepalives_retries", "keepalives_count")];

/// What libpq and others understand and Strandline does not, with libpq's variable and with what to do instead.
const REFUSED: &[(&str, &str, &str)] = &[
    ("ssl", "", "sslmode=require"),
    ("schema", "", "the key database.schema"),
    ("currentSchema", "", "the key database.schema"),
    ("pgbouncer", "", "no such parameter; transaction pooling works without it"),
    ("connection_limit", "", "no such parameter; tasks.max and source.connections say how many connections there are"),
    ("pool_timeout", "", "no such parameter; Strandline holds its connections itself"),
    ("pool_size", "", "no such parameter; tasks.max and source.connections say how many connections there are"),
    ("statement_cache_size", "", "no such parameter; Strandline keeps no named statements"),
    ("sslaccept", "", "sslmode: require, or verify-full with sslrootcert"),
    ("sslidentity", "", "sslcert and sslkey"),
    ("sslcrl", "PGSSLCRL", "no such parameter; revocation lists are not read"),
    ("sslcrldir", "PGSSLCRLDIR", "no such parameter; revocation lists are not read"),
    ("sslkeylogfile", "", "no such parameter; keys are not logged"),
    ("krbsrvname", "PGKRBSRVNAME", "no such parameter; Kerberos is not supported"),
    ("gsslib", "PGGSSLIB", "no such parameter; Kerberos is not supported"),
    ("gssdelegation", "PGGSSDELEGATION", "no such parameter; Kerberos is not supported"),
    ("requirepeer", "PGREQUIREPEER", "no such parameter; for a server that must prove itself sslmode=verify-full"),
    ("require_auth", "PGREQUIREAUTH", "channel_binding=require, which leaves scram-sha-256 alone"),
    ("requiressl", "PGREQUIRESSL", "sslmode=require"),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", "no such parameter; Strandline speaks protocol 3.0"),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", "no such parameter; Strandline speaks protocol 3.0"),
    ("scram_client_key", "", "password; SCRAM keys in its place are not supported"),
    ("scram_server_key", "", "password; SCRAM keys in its place are not supported"),
    ("oauth_issuer", "", "password; OAuth is not supported"),
    ("oauth_client_id", "", "password; OAuth is not supported"),
    ("replication", "", "no such parameter; Strandline needs no replication"),
];

/// Parameters, each with the variable that says it.
pub(super) type Taken = Vec<(&'static str, &'static str)>;

/// What has been said of a connection, by libpq's names. Values are texts until they are needed.
#[derive(Clone, Default)]
pub(super) struct Parameters(BTreeMap<&'static str, String>);

impl Parameters {
    /// The parameters of a connection string. The error says what would be right.
    pub fn of(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut parameters = Parameters::default();
        for (name, value) in pairs {
            let canonical = ALSO.iter().find(|(also, _)| *also == name).map_or(name.as_str(), |(_, name)| *name);
            match KNOWN.iter().find(|(known, _)| *known == canonical) {
                // As in libpq the last one counts.
                Some((known, _)) => drop(parameters.0.insert(known, value)),
                None => return Err(unknown(&name)),
            }
        }
        Ok(parameters)
    }

    /// Sets what a key of the configuration says.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.insert(name, value.into());
    }

    /// What is said of a parameter; an empty text says nothing, as in libpq.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Takes from others what is not said here.
    pub fn or(&mut self, others: Parameters) {
        for (name, value) in others.0 {
            if self.get(name).is_none() {
                self.0.insert(name, value);
            }
        }
    }

    /// Takes from the `PG…` variables what is not said here; which parameters, and by which variable.
    pub fn or_variables(&mut self, set: impl Fn(&str) -> Option<String>) -> Result<Taken, String> {
        let mut taken = Taken::new();
        for (name, variable) in KNOWN.iter().filter(|(_, variable)| !variable.is_empty()) {
            if self.get(name).is_none()
                && let Some(value) = set(variable)
            {
                self.0.insert(name, value);
                taken.push((name, variable));
            }
        }
        match REFUSED.iter().find(|(_, variable, _)| !variable.is_empty() && set(variable).is_some()) {
            Some((_, variable, instead)) => Err(format!("{instead} (the variable {variable} is set)")),
            None => Ok(taken),
        }
    }

    /// A parameter that is one of several words.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(format!("{name} as {}", words.join(", ")))
            }
        }
    }

    /// A parameter that is a whole number; zero and less mean the default, as in libpq.
    pub fn number(&self, name: &str) -> Result<Option<u32>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number: i64 = value.trim().parse().map_err(|_| format!("a whole number for {name}"))?;
        Ok(u32::try_from(number).ok().filter(|number| *number > 0))
    }
}

fn unknown(name: &str) -> String {
    if let Some((name, _, instead)) = REFUSED.iter().find(|(refused, ..)| *refused == name) {
        return format!("{instead} (instead of the parameter {name})");
    }
    let known = || KNOWN.iter().map(|(name, _)| *name);
    match nearest(name, known()) {
        Some(near) => format!("known parameters only; the nearest to one of these is {near}"),
        None => format!("known parameters only: {}", known().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Parameters, String> {
        Parameters::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_last_of_two_counts_and_an_empty_one_says_nothing() {
        let parameters = of(&[("host", "a"), ("host", "b"), ("user", ""), ("keepalives_retries", "3")]).unwrap();
        assert_eq!((parameters.get("host"), parameters.get("user")), (Some("b"), None));
        assert_eq!(parameters.number("keepalives_count"), Ok(Some(3)));
    }

    #[test]
    fn variables_fill_in_what_is_missing_and_nothing_else() {
        let mut parameters = of(&[("host", "a"), ("sslmode", "")]).unwrap();
        let set = |name: &str| match name {
            "PGHOST" | "PGPORT" => Some("7".to_owned()),
            "PGSSLMODE" => Some("require".to_owned()),
            _ => None,
        };
        parameters.or_variables(set).unwrap();
        assert_eq!(
            ["host", "port", "sslmode"].map(|name| parameters.get(name)),
            [Some("a"), Some("7"), Some("require")]
        );
        let refused = parameters.or_variables(|name| (name == "PGSSLCRL").then(|| "hunter2".to_owned()));
        assert_eq!(
            refused.unwrap_err(),
            "no such parameter; revocation lists are not read (the variable PGSSLCRL is set)"
        );
    }

    #[test]
    fn what_nobody_understands_is_answered_without_quoting_it() {
        for (name, needs) in [
            ("ssl", "sslmode=require (instead of the parameter ssl)"),
            (
                "require_auth",
                "channel_binding=require, which leaves scram-sha-256 alone (instead of the parameter require_auth)",
            ),
            ("conect_timeout", "known parameters only; the nearest to one of these is connect_timeout"),
        ] {
            assert_eq!(of(&[(name, "hunter2")]).err().unwrap(), needs);
        }
        assert!(!of(&[("hunter2", "x")]).err().unwrap().contains("hunter2"));
        let parameters = of(&[("connect_timeout", "hunter2"), ("gssencmode", "hunter2")]).unwrap();
        assert_eq!(parameters.number("connect_timeout").unwrap_err(), "a whole number for connect_timeout");
        assert_eq!(parameters.word("gssencmode", &[("a", 1), ("b", 2)]).unwrap_err(), "gssencmode as a, b");
    }
}
