//! What an error of PostgreSQL, or of the way to it, means: its [`Kind`], Hevo's number where it has one, what to do.
//!
//! Hevo's numbers for the source's connection: 1003 user or password refused, 1006 not reachable, 1011 no such role or no
//! login, 1012 a right is lacking, 1014 no database named, 1017 no such database or no CONNECT, 1023 another setting of
//! the connection, 1024 `pg_hba.conf`.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use tokio_postgres::error::{DbError, SqlState};

use crate::{Error, Kind};

#[cfg(test)]
mod page;

/// When it happened: a refusal at the door is the connection's, the same SQLSTATE later is an object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meaning {
    kind: Kind,
    /// Hevo's number.
    number: Option<u16>,
    /// What is wrong, in our words.
    what: &'static str,
    /// What to do.
    hint: &'static str,
}

const fn meaning(kind: Kind, number: u16, what: &'static str, hint: &'static str) -> Meaning {
    Meaning { kind, number: Some(number), what, hint }
}

const fn plain(kind: Kind, what: &'static str, hint: &'static str) -> Meaning {
    Meaning { kind, number: None, what, hint }
}

const PASSWORD: Meaning = meaning(
    Kind::Refused,
    1003,
    "the server refuses user or password",
    "correct database.user and database.password, or the variable or file they come from; a changed one is read at the next attempt",
);
const NO_PASSWORD: Meaning = meaning(
    Kind::Refused,
    1003,
    "the server asks for a password and none is configured",
    "set database.password, database.password_file or a password in database.url",
);
const UNREACHABLE: Meaning = meaning(
    Kind::Unreachable,
    1006,
    "the server cannot be reached",
    "check database.hostname and database.port, that the server runs, and that the network and firewalls let this machine through",
);
const NO_ROLE: Meaning = meaning(
    Kind::Refused,
    1011,
    "the role does not exist or may not log in",
    "create the role with LOGIN, or correct database.user",
);
const NO_RIGHT: Meaning = meaning(
    Kind::Denied,
    1012,
    "the role lacks a right",
    "GRANT USAGE ON SCHEMA and SELECT ON TABLE to the role of database.user",
);
const ROW_SECURITY: Meaning = meaning(
    Kind::Denied,
    1012,
    "row security would hide rows of the table from the role",
    "ALTER ROLE … BYPASSRLS for the role of database.user, or exclude the table",
);
const NO_DATABASE: Meaning = meaning(
    Kind::Refused,
    1017,
    "the database does not exist, or the role may not connect to it",
    "correct the database's name, or GRANT CONNECT ON DATABASE to the role of database.user",
);
const SETTING: Meaning = meaning(
    Kind::Refused,
    1023,
    "the server refuses a setting of the connection",
    "correct the parameter that the server names in database.url",
);
const POOLER_PARAMETER: Meaning = meaning(
    Kind::Refused,
    1023,
    "the pooler refuses a setting of the connection",
    "leave it out of database.options, database.url and PGOPTIONS, or name it in pgbouncer's ignore_startup_parameters",
);
const POOLER_MODE: Meaning = meaning(
    Kind::Refused,
    1023,
    "the pooler does not keep a transaction together",
    "set pgbouncer's pool_mode for the database to transaction or session, or connect to the server itself",
);
const NO_TLS: Meaning = meaning(
    Kind::Refused,
    1023,
    "the server has no TLS and database.sslmode demands it",
    "switch TLS on in the server, or set database.sslmode = \"prefer\"",
);
const TLS: Meaning = meaning(
    Kind::Refused,
    1023,
    "TLS with the server fails",
    "check database.sslmode and database.sslrootcert: the authority and, for verify-full, the host's name must fit the server's certificate",
);
const NEEDS_TLS: Meaning = meaning(
    Kind::Refused,
    1023,
    "the server takes no connection without TLS",
    "set database.sslmode = \"require\", or verify-full with the provider's authority",
);
const CERTIFICATE: Meaning = meaning(
    Kind::Refused,
    1023,
    "the server demands a client certificate",
    "set database.sslcert and database.sslkey, or let the role log in by password in pg_hba.conf",
);
const METHOD: Meaning = meaning(
    Kind::Refused,
    1023,
    "the server and Strandline agree on no way to log in",
    "allow scram-sha-256 for the role in pg_hba.conf; GSSAPI and SSPI are not supported",
);
const HBA: Meaning = meaning(
    Kind::Refused,
    1024,
    "the server's pg_hba.conf has no entry for this connection, or one that rejects it",
    "add an entry for this machine, role and database, or set database.sslmode to what the entry asks for (\"require\" for hostssl)",
);
const TOO_MANY: Meaning = plain(
    Kind::Transient,
    "the server has no connection or other resource left",
    "raise max_connections, or lower tasks.max and source.connections, if it stays so",
);
const STARTING: Meaning =
    plain(Kind::Transient, "the server is starting up, shutting down or recovering", "wait; it is tried again");
const CANCELLED: Meaning = plain(
    Kind::Transient,
    "the server cancelled the statement",
    "wait; it is tried again. On a standby max_standby_streaming_delay decides how long a read may take",
);
const CONFLICT: Meaning = plain(
    Kind::Transient,
    "the statement was in the way of another transaction or of recovery",
    "wait; it is tried again",
);
const LOCKED: Meaning = plain(
    Kind::Locked,
    "another session holds a lock on the table and keeps it",
    "wait; it is tried again. pg_locks shows who holds it",
);
const CHANGED: Meaning = plain(Kind::Changed, "the table is not what it was a moment ago", "wait; it is planned again");
const UNSUPPORTED: Meaning =
    plain(Kind::Denied, "PostgreSQL does not support this on the object", "exclude the object with tables.exclude");
const UNPOPULATED: Meaning = plain(
    Kind::Denied,
    "the object cannot be read in its present state",
    "REFRESH a materialized view that was never populated, or exclude the object",
);
const DAMAGED: Meaning =
    plain(Kind::Denied, "the server finds the table damaged", "see the server's log; restore the table from a backup");
const VALUE: Meaning = plain(
    Kind::Row,
    "the server cannot print a value of the table",
    "the server's log names the statement; its text is not shown here, since it may quote the value",
);
const SYSTEM: Meaning =
    plain(Kind::Transient, "the server has trouble of its own", "see the server's log; it is tried again");
const BROKEN: Meaning = plain(Kind::Unreachable, "the connection to the server broke", "wait; it is tried again");
const PROTOCOL: Meaning = plain(
    Kind::Unreachable,
    "the answer is not PostgreSQL's protocol",
    "check that database.hostname and database.port are PostgreSQL's own or a pooler's",
);
const OTHER: Meaning = plain(
    Kind::Denied,
    "the server refuses the statement",
    "see what the server says; if it stays so, exclude the object with tables.exclude",
);

/// What an error after the login means. PostgreSQL's SQLSTATE and words stay as the cause.
pub fn classify(error: tokio_postgres::Error) -> Error {
    build(error, Phase::Connected, None)
}

/// What an error before the end of the login means; `address` is shown.
pub(super) fn classify_connecting(error: tokio_postgres::Error, address: &str) -> Error {
    build(error, Phase::Connecting, Some(address))
}

/// The login took longer than `database.connect_timeout`.
pub(super) fn timed_out(address: &str, after: std::time::Duration) -> Error {
    let what = format!("no login within database.connect_timeout, {}", humantime::format_duration(after));
    report(UNREACHABLE, Some(address)).because(what)
}

/// The way to it is not there: its name stands for nothing, say.
pub(super) fn unreachable(address: &str, cause: io::Error) -> Error {
    report(UNREACHABLE, Some(address)).because(cause)
}

fn build(error: tokio_postgres::Error, phase: Phase, address: Option<&str>) -> Error {
    if let Some(said) = error.as_db_error() {
        let meaning = of_state(said.code(), said.message(), phase);
        return report(meaning, address).because(Said::new(said));
    }
    let meaning = of_driver(&error.to_string(), &chain(&error), has_io(&error), phase);
    report(meaning, address).because(error)
}

fn report(meaning: Meaning, address: Option<&str>) -> Error {
    let number = meaning.number.map(|number| format!("{number}: ")).unwrap_or_default();
    let place = address.map(|address| format!(" ({address})")).unwrap_or_default();
    Error::new(meaning.kind, format!("{number}{}{place}", meaning.what)).hint(meaning.hint)
}

/// What the server's SQLSTATE means; where that is not enough, its words, in English or a name that is never translated.
fn of_state(state: &SqlState, text: &str, phase: Phase) -> Meaning {
    let code = state.code();
    let connecting = phase == Phase::Connecting;
    match (code, code.get(..2).unwrap_or_default()) {
        ("28P01", _) => PASSWORD,
        (_, "28") if text.contains("pg_hba.conf") => HBA,
        (_, "28") if text.contains("certificate") => CERTIFICATE,
        _ if connecting && wants_tls(text) => NEEDS_TLS,
        // Every method but the password's own has this code: PAM, LDAP, the clouds' tokens.
        (_, "28") if text.contains("authentication failed") || text.contains("credentials") => PASSWORD,
        (_, "28") => NO_ROLE,
        ("3D000", _) => NO_DATABASE,
        ("42501", _) if connecting => NO_DATABASE,
        ("42501", _) if text.contains("row-level security") => ROW_SECURITY,
        ("42501", _) => NO_RIGHT,
        ("55P03", _) => LOCKED,
        ("57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04", _) => STARTING,
        ("57014", _) => CANCELLED,
        (_, "40") => CONFLICT,
        (_, "53") => TOO_MANY,
        (_, "08") if text.contains("statement pooling") => POOLER_MODE,
        // Poolers have one code for everything they refuse, and older ones say why in words alone.
        ("08P01", _) if connecting => of_pooler(text),
        (_, "08") => BROKEN,
        ("XX000", _) if connecting => of_gateway(text),
        ("XX001" | "XX002", _) => DAMAGED,
        (_, "58" | "XX") => SYSTEM,
        _ if connecting => SETTING,
        ("42P01" | "42703" | "42704" | "3F000", _) => CHANGED,
        ("0A000" | "42809", _) => UNSUPPORTED,
        ("55000", _) => UNPOPULATED,
        (_, "22" | "23") => VALUE,
        _ => OTHER,
    }
}

/// Azure's, Neon's and Supabase's words.
fn wants_tls(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("ssl connection is required") || text.contains("connection is insecure")
}

/// What stands before a cloud's servers has one code for all that it says.
fn of_gateway(text: &str) -> Meaning {
    let says = |words: &str| text.to_lowercase().contains(words);
    if says("tenant or user not found") {
        NO_ROLE
    } else if says("max client") || says("max clients") {
        TOO_MANY
    } else if says("endpoint could not be found") || says("database not found") {
        NO_DATABASE
    } else if says("endpoint id") || says("sni") {
        SETTING
    } else if says("password") || says("authentication") {
        PASSWORD
    } else {
        SYSTEM
    }
}

fn of_pooler(text: &str) -> Meaning {
    let says = |words: &str| text.to_lowercase().contains(words);
    if says("no such database") || says("does not allow connections") {
        NO_DATABASE
    } else if says("no such user") {
        NO_ROLE
    } else if says("no more connections") || says("query_wait_timeout") {
        TOO_MANY
    } else if says("endpoint id") {
        SETTING
    } else if says("login has been failing") || says("login_timeout") {
        UNREACHABLE
    } else if says("auth") || says("password") {
        PASSWORD
    } else if says("startup parameter") {
        POOLER_PARAMETER
    } else if says("parameter") || says("option") {
        SETTING
    } else {
        UNREACHABLE
    }
}

/// What an error of the driver itself means: `text` is its own line, `chain` all of its causes', `io` whether one of them
/// is the operating system's.
fn of_driver(text: &str, chain: &str, io: bool, phase: Phase) -> Meaning {
    let connecting = phase == Phase::Connecting;
    match text {
        "invalid configuration" if chain.contains("password missing") => NO_PASSWORD,
        "invalid configuration" | "invalid connection string" => SETTING,
        "error performing TLS handshake" if chain.contains("does not support TLS") => NO_TLS,
        // Cut off in the middle: the network's fault, or a proxy's that waits for its server.
        "error performing TLS handshake" if io => UNREACHABLE,
        "error performing TLS handshake" => TLS,
        // A client proves itself to the server by SCRAM, and the server to the client.
        "authentication error" if chain.contains("unsupported") || chain.contains("channel binding") => METHOD,
        "authentication error" => PASSWORD,
        "error parsing response from server" | "unexpected message from server" => PROTOCOL,
        _ if connecting => UNREACHABLE,
        "error communicating with the server" | "connection closed" | "timeout waiting for server" => BROKEN,
        text if text.starts_with("error deserializing") => PROTOCOL,
        _ if io => BROKEN,
        _ => OTHER,
    }
}

fn causes(error: &tokio_postgres::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

fn chain(error: &tokio_postgres::Error) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn has_io(error: &tokio_postgres::Error) -> bool {
    causes(error).any(|cause| cause.is::<io::Error>())
}

/// PostgreSQL's own words with their SQLSTATE, as far as they can be shown.
struct Said(String);

impl Said {
    fn new(said: &DbError) -> Self {
        Said(words(said.code().code(), said.message(), said.detail(), said.hint()))
    }
}

/// Messages on data (22) and constraints (23) quote values, and so may those that a function of the user's raises (P0).
fn words(code: &str, message: &str, detail: Option<&str>, hint: Option<&str>) -> String {
    if ["22", "23", "P0"].iter().any(|class| code.starts_with(class)) {
        return format!("SQLSTATE {code}");
    }
    // Details name a row's values too, but for these classes, where they say what conflicts or what right is lacking.
    let told = ["28", "40", "42501", "53", "55", "57"].iter().any(|class| code.starts_with(class));
    let detail = detail.filter(|_| told).map(|detail| format!("; {detail}")).unwrap_or_default();
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{message}{detail}{hint} (SQLSTATE {code})")
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Said {}

#[cfg(test)]
mod tests {
    use super::Phase::{Connected, Connecting};
    use super::*;

    #[test]
    fn sqlstates_mean_what_has_to_be_done() {
        for (code, text, phase, expected) in [
            ("28P01", "password authentication failed for user \"u\"", Connecting, PASSWORD),
            ("28000", "role \"u\" does not exist", Connecting, NO_ROLE),
            ("28000", "role \"u\" is not permitted to log in", Connecting, NO_ROLE),
            ("28000", "no pg_hba.conf entry for host \"10.0.0.1\", user \"u\"", Connecting, HBA),
            ("28000", "pg_hba.conf rejects connection for host \"10.0.0.1\"", Connecting, HBA),
            ("28000", "kein pg_hba.conf-Eintrag für Host »10.0.0.1«", Connecting, HBA),
            ("28000", "connection requires a valid client certificate", Connecting, CERTIFICATE),
            ("3D000", "database \"x\" does not exist", Connecting, NO_DATABASE),
            ("42501", "permission denied for database \"x\"", Connecting, NO_DATABASE),
            ("42501", "permission denied for table t", Connected, NO_RIGHT),
            ("42501", "query would be affected by row-level security policy for table \"t\"", Connected, ROW_SECURITY),
            ("42704", "unrecognized configuration parameter \"x\"", Connecting, SETTING),
            ("53300", "sorry, too many clients already", Connecting, TOO_MANY),
            ("57P03", "the database system is starting up", Connecting, STARTING),
            ("57P01", "terminating connection due to administrator command", Connected, STARTING),
            ("57014", "canceling statement due to statement timeout", Connected, CANCELLED),
            ("40001", "canceling statement due to conflict with recovery", Connected, CONFLICT),
            ("40P01", "deadlock detected", Connected, CONFLICT),
            ("55P03", "canceling statement due to lock timeout", Connected, LOCKED),
            ("42P01", "relation \"t\" does not exist", Connected, CHANGED),
            ("42703", "column \"c\" does not exist", Connected, CHANGED),
            ("42809", "\"m\" is not a table", Connected, UNSUPPORTED),
            ("55000", "materialized view \"m\" has not been populated", Connected, UNPOPULATED),
            ("22P02", "invalid input syntax for type integer: \"x\"", Connected, VALUE),
            ("XX001", "invalid page in block 0 of relation base/5/16384", Connected, DAMAGED),
            ("XX000", "FATAL: Tenant or user not found", Connecting, NO_ROLE),
            ("08P01", "no such database: x", Connecting, NO_DATABASE),
            ("08P01", "no such user: u", Connecting, NO_ROLE),
            ("08P01", "unsupported startup parameter: options", Connecting, POOLER_PARAMETER),
            ("08P01", "transaction blocks not allowed in statement pooling mode", Connected, POOLER_MODE),
            ("08P01", "pgbouncer cannot connect to server", Connecting, UNREACHABLE),
            ("08006", "", Connected, BROKEN),
            ("99999", "", Connected, OTHER),
        ] {
            assert_eq!(of_state(&SqlState::from_code(code), text, phase), expected, "{code} {text}");
        }
    }

    /// Their words as their documentation and their users quote them.
    #[test]
    fn managed_services_and_poolers_are_understood_in_their_own_words() {
        for (whose, code, text, expected) in [
            ("Heroku", "53300", "too many connections for role \"u4f\"", TOO_MANY),
            ("Heroku", "28000", "no pg_hba.conf entry for host \"10.1.2.3\", user \"u\", database \"d\", SSL off", HBA),
            (
                "Heroku",
                "28000",
                "no pg_hba.conf entry for host \"10.1.2.3\", user \"u\", database \"d\", no encryption",
                HBA,
            ),
            ("Heroku", "28P01", "password authentication failed for user \"u4f\"", PASSWORD),
            ("Heroku", "42501", "permission denied for database \"d1\"", NO_DATABASE),
            ("RDS", "28000", "PAM authentication failed for user \"reader\"", PASSWORD),
            ("RDS", "28000", "pg_hba.conf rejects connection for host \"10.0.0.1\", user \"u\", no encryption", HBA),
            ("RDS", "53300", "remaining connection slots are reserved for rds_superuser connections", TOO_MANY),
            (
                "RDS Proxy",
                "28000",
                "This RDS proxy has no credentials for the role reader. Check the credentials for this role and try again.",
                PASSWORD,
            ),
            ("Aurora", "57P01", "terminating connection due to administrator command", STARTING),
            (
                "Cloud SQL",
                "28000",
                "Cloud SQL IAM user authentication failed for user \"reader@project.iam\"",
                PASSWORD,
            ),
            ("Cloud SQL", "28000", "connection requires a valid client certificate", CERTIFICATE),
            (
                "Cloud SQL",
                "53300",
                "remaining connection slots are reserved for non-replication superuser connections",
                TOO_MANY,
            ),
            ("Azure", "28000", "SSL connection is required. Please specify SSL options and retry.", NEEDS_TLS),
            (
                "Azure",
                "28000",
                "no pg_hba.conf entry for host \"1.2.3.4\", user \"u\", database \"d\", no encryption",
                HBA,
            ),
            ("Azure", "53300", "remaining connection slots are reserved for azure replication users", TOO_MANY),
            ("Supabase", "XX000", "Tenant or user not found", NO_ROLE),
            (
                "Supabase",
                "XX000",
                "MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to pool_size",
                TOO_MANY,
            ),
            ("Supabase", "XX000", "Max client connections reached", TOO_MANY),
            ("Supabase", "28000", "SSL connection is required", NEEDS_TLS),
            ("Neon", "28000", "connection is insecure (try using `sslmode=require`)", NEEDS_TLS),
            ("Neon", "08P01", "connection is insecure (try using `sslmode=require`)", NEEDS_TLS),
            (
                "Neon",
                "08P01",
                "Endpoint ID is not specified. Either please upgrade the postgres client library (libpq) for SNI support",
                SETTING,
            ),
            (
                "Neon",
                "XX000",
                "The requested endpoint could not be found, or you don't have access to it.",
                NO_DATABASE,
            ),
            ("Aiven", "53300", "sorry, too many clients already", TOO_MANY),
            ("pgbouncer", "08P01", "no such database: x", NO_DATABASE),
            ("pgbouncer", "08P01", "database does not allow connections: x", NO_DATABASE),
            ("pgbouncer", "08P01", "no such user: u", NO_ROLE),
            ("pgbouncer", "08P01", "SASL authentication failed", PASSWORD),
            ("pgbouncer", "28P01", "password authentication failed", PASSWORD),
            ("pgbouncer", "08P01", "wrong password type", PASSWORD),
            ("pgbouncer", "08P01", "no more connections allowed (max_client_conn)", TOO_MANY),
            ("pgbouncer", "53300", "no more connections allowed (max_client_conn)", TOO_MANY),
            ("pgbouncer", "08P01", "unsupported startup parameter: options", POOLER_PARAMETER),
            ("pgbouncer", "08P01", "unsupported startup parameter in options: jit", POOLER_PARAMETER),
            ("pgbouncer", "08P01", "query_wait_timeout", TOO_MANY),
            ("pgbouncer", "08P01", "client_login_timeout (server down)", UNREACHABLE),
            ("pgbouncer", "08P01", "server login has been failing, try again later (server_login_retry)", UNREACHABLE),
            ("pgbouncer", "08P01", "pgbouncer cannot connect to server", UNREACHABLE),
        ] {
            assert_eq!(of_state(&SqlState::from_code(code), text, Connecting), expected, "{whose}: {code} {text}");
        }
    }

    #[test]
    fn hevos_numbers_stand_where_hevo_has_them() {
        let numbers: Vec<u16> = [PASSWORD, UNREACHABLE, NO_ROLE, NO_RIGHT, NO_DATABASE, SETTING, HBA]
            .iter()
            .filter_map(|meaning| meaning.number)
            .collect();
        assert_eq!(numbers, [1003, 1006, 1011, 1012, 1017, 1023, 1024]);
    }

    #[test]
    fn the_drivers_own_errors_are_told_apart() {
        for (text, chain, io, phase, expected) in [
            ("error connecting to server", "Connection refused (os error 111)", true, Connecting, UNREACHABLE),
            ("error communicating with the server", "Connection reset by peer (os error 104)", true, Connected, BROKEN),
            ("connection closed", "", false, Connected, BROKEN),
            ("connection closed", "", false, Connecting, UNREACHABLE),
            ("error performing TLS handshake", "server does not support TLS", false, Connecting, NO_TLS),
            (
                "error performing TLS handshake",
                "certificate verify failed: (hostname mismatch)",
                false,
                Connecting,
                TLS,
            ),
            ("error performing TLS handshake", "unexpected EOF", true, Connecting, UNREACHABLE),
            ("invalid configuration", "password missing", false, Connecting, NO_PASSWORD),
            ("authentication error", "unsupported authentication method", false, Connecting, METHOD),
            ("unexpected message from server", "", false, Connecting, PROTOCOL),
        ] {
            assert_eq!(of_driver(text, chain, io, phase), expected, "{text}: {chain}");
        }
    }

    #[test]
    fn the_servers_words_are_kept_unless_they_may_quote_a_value() {
        assert_eq!(
            words("28P01", "password authentication failed for user \"u\"", None, None),
            "password authentication failed for user \"u\" (SQLSTATE 28P01)"
        );
        assert_eq!(
            words("42501", "permission denied for database \"x\"", Some("User does not have CONNECT privilege."), None),
            "permission denied for database \"x\"; User does not have CONNECT privilege. (SQLSTATE 42501)"
        );
        assert_eq!(words("22P02", "invalid input syntax for type integer: \"hunter2\"", None, None), "SQLSTATE 22P02");
        assert_eq!(
            words("XX000", "cache lookup failed", Some("hunter2"), None),
            "cache lookup failed (SQLSTATE XX000)"
        );
    }

    #[test]
    fn a_report_names_the_address_and_what_to_do() {
        let report = timed_out("db:5432/shop", std::time::Duration::from_millis(2500)).report();
        assert_eq!(
            report,
            "1006: the server cannot be reached (db:5432/shop)\n  cause: no login within database.connect_timeout, 2s 500ms\n  \
             to do: check database.hostname and database.port, that the server runs, and that the network and firewalls let this machine through"
        );
    }
}
