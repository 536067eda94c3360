//! PostgreSQL's refusals in our words: a kind, Hevo's number where the connection is meant, and what to do.

use tokio_postgres::error::SqlState;

use crate::{Error, Kind};

/// The error that a failed call means. PostgreSQL's own text and SQLSTATE stay in the cause.
pub fn classify(error: tokio_postgres::Error) -> Error {
    let (kind, message, hint) = match error.as_db_error() {
        Some(refusal) => explain(refusal.code(), refusal.message()),
        None => explain_io(&error.to_string(), error.is_closed()),
    };
    let cause = match error.as_db_error() {
        Some(refusal) => {
            let detail = refusal.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}{detail} (SQLSTATE {})", refusal.message(), refusal.code().code())
        }
        None => chain(&error),
    };
    Error::new(kind, message).because(cause).hint(hint)
}

/// The texts of an error and its sources, each once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

/// A server's answer: pure, so that it can be a table.
fn explain(code: &SqlState, message: &str) -> (Kind, &'static str, &'static str) {
    let no_hba = message.contains("pg_hba.conf");
    match code.code() {
        "28P01" => {
            (Kind::Refused, "1003: the password or the user is refused", "check database.user and database.password")
        }
        "28000" if no_hba => (
            Kind::Refused,
            "1024: the server's pg_hba.conf does not let us in",
            "have the server's administrator add an entry for our address, user and database (sslmode counts too)",
        ),
        "28000" => (
            Kind::Refused,
            "1011: the role does not exist or may not log in",
            "check database.user, or have the role created WITH LOGIN",
        ),
        "3D000" => (Kind::Refused, "1017: there is no such database", "check database.dbname"),
        "42501" => (Kind::Denied, "1012: the role lacks a right", "grant it; `strandline check` prints the statement"),
        "42P01" | "3F000" | "42703" | "42704" => (
            Kind::Changed,
            "the table or column is not there any more",
            "nothing, if it was dropped or renamed on purpose",
        ),
        "55P03" => {
            (Kind::Locked, "the table is locked by another session", "it is tried again; look for a long ALTER TABLE")
        }
        "0A000" => {
            (Kind::Denied, "PostgreSQL does not support this on the object", "exclude the object with tables.exclude")
        }
        "53300" => (Kind::Unreachable, "the server has no connection left", "raise its limit or lower tasks.max"),
        code if code.starts_with("08") || code.starts_with("57P") => {
            (Kind::Unreachable, "PostgreSQL ended the connection", "it is tried again")
        }
        code if ["40", "53", "57", "58", "XX"].iter().any(|class| code.starts_with(class)) => {
            (Kind::Transient, "PostgreSQL could not run the statement just now", "it is tried again")
        }
        _ => (Kind::Denied, "PostgreSQL refuses the statement", "see the cause; `strandline check` may say more"),
    }
}

fn explain_io(text: &str, closed: bool) -> (Kind, &'static str, &'static str) {
    match text {
        _ if closed => (Kind::Unreachable, "the connection to PostgreSQL broke", "it is tried again"),
        text if text.contains("tls") || text.contains("TLS") => {
            (Kind::Refused, "1023: no TLS connection to PostgreSQL", "check database.sslmode and database.sslrootcert")
        }
        text if text.contains("configuration") => {
            (Kind::Refused, "1023: the connection settings are not accepted", "check the keys under [database]")
        }
        _ => (
            Kind::Unreachable,
            "1006: PostgreSQL cannot be reached",
            "check database.hostname and database.port, and firewalls between",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_carry_their_numbers_and_kinds() {
        for (code, message, kind, number) in [
            ("28P01", "password authentication failed", Kind::Refused, "1003"),
            ("28000", "no pg_hba.conf entry for host", Kind::Refused, "1024"),
            ("28000", "role \"x\" does not exist", Kind::Refused, "1011"),
            ("3D000", "database \"x\" does not exist", Kind::Refused, "1017"),
            ("42501", "permission denied for table t", Kind::Denied, "1012"),
        ] {
            let (found, text, hint) = explain(&SqlState::from_code(code), message);
            assert_eq!(found, kind, "{code}");
            assert!(text.starts_with(number), "{text}");
            assert!(!hint.is_empty());
        }
        for (code, kind) in [
            ("55P03", Kind::Locked),
            ("40001", Kind::Transient),
            ("57P01", Kind::Unreachable),
            ("53300", Kind::Unreachable),
            ("42P01", Kind::Changed),
            ("22012", Kind::Denied),
        ] {
            assert_eq!(explain(&SqlState::from_code(code), "").0, kind, "{code}");
        }
    }
}
