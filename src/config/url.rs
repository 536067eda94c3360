//! Connection strings as libpq reads them: `postgres://…` and `key=value` pairs.
//!
//! The driver refuses libpq's `sslmode=verify-full` and `sslrootcert`, so those are taken out first. No message quotes a
//! value, and none quotes a name that is not libpq's own: both may be pieces of a badly quoted password.

use super::SslMode;

/// A connection string, with what the driver does not take beside it.
#[derive(Default)]
pub(super) struct Parsed {
    pub settings: tokio_postgres::Config,
    pub sslmode: Option<SslMode>,
    pub sslrootcert: Option<String>,
    pub sslcert: Option<String>,
    pub sslkey: Option<String>,
    pub sslpassword: Option<String>,
    /// Whether it says when to probe an idle connection; the driver does not tell.
    pub keepalives_idle: bool,
}

/// What the driver understands.
const TAKEN: &[&str] = &[
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// What we take out before it.
const OWN: &[&str] = &["sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword"];

/// What libpq and others understand and Strandline does not, with what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("ssl", "sslmode=require"),
    ("schema", "the key database.schema"),
    ("pgbouncer", "no such parameter; transaction pooling works without it"),
    ("keepalives_count", "keepalives_retries"),
    ("client_encoding", "no such parameter; Strandline always speaks UTF8"),
    ("fallback_application_name", "application_name"),
    ("passfile", "the key database.password_file"),
    ("service", "the connection's own parameters; service files are not read"),
    ("sslcrl", "no such parameter; revocation lists are not read"),
    ("sslcrldir", "no such parameter; revocation lists are not read"),
    ("sslcompression", "no such parameter"),
    ("sslsni", "no such parameter; the server's name is always sent"),
    ("gssencmode", "no such parameter; Kerberos is not supported"),
    ("krbsrvname", "no such parameter; Kerberos is not supported"),
    ("requirepeer", "no such parameter"),
    ("require_auth", "no such parameter"),
    ("replication", "no such parameter; Strandline needs no replication"),
];

/// Reads a connection string. The error says what would be right.
pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let text = text.trim();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let (address, query) = split_url(text)?;
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').ok_or("name=value pairs after the question mark")?;
            Ok((decode(name)?, decode(value)?, pair.to_owned()))
        });
        let (mut parsed, rest) = take_ssl(pairs.collect::<Result<Vec<_>, String>>()?)?;
        let url = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
        parsed.settings = read(&url)?;
        Ok(parsed)
    } else if text.starts_with("jdbc:") {
        Err("postgres://user:password@host:5432/dbname; this is a JDBC URL".to_owned())
    } else if text.contains('=') && !text.contains("://") {
        let pairs = pairs(text)?.into_iter().map(|(name, value)| {
            let quoted = format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
            (name, value, quoted)
        });
        let (mut parsed, rest) = take_ssl(pairs.collect())?;
        parsed.settings = read(&rest.join(" "))?;
        Ok(parsed)
    } else {
        Err("postgres://user:password@host:5432/dbname, or host=… dbname=… pairs".to_owned())
    }
}

/// The URL up to its question mark, and what comes after. User and password end at the first `@`, as in libpq.
fn split_url(text: &str) -> Result<(&str, &str), String> {
    let start = text.find('@').map_or(0, |at| at + 1);
    let (credentials, rest) = text.split_at(start);
    let end = rest.find('?').unwrap_or(rest.len());
    let (address, query) = rest.split_at(end);
    if !credentials.is_empty() && address.contains('@') {
        return Err("an @ in user or password written as %40".to_owned());
    }
    Ok((text.get(..start + end).unwrap_or(text), query.strip_prefix('?').unwrap_or_default()))
}

/// Takes the TLS parameters out, and refuses what nobody understands. A pair is (name, value, as it was written).
fn take_ssl(pairs: Vec<(String, String, String)>) -> Result<(Parsed, Vec<String>), String> {
    let mut parsed = Parsed::default();
    let mut rest = Vec::new();
    for (name, value, written) in pairs {
        match name.as_str() {
            "sslmode" => {
                let mode = SslMode::parse(&value).ok_or_else(|| format!("sslmode as {}", super::key::sslmodes()))?;
                parsed.sslmode = Some(mode);
            }
            "sslrootcert" => parsed.sslrootcert = Some(value),
            "sslcert" => parsed.sslcert = Some(value),
            "sslkey" => parsed.sslkey = Some(value),
            "sslpassword" => parsed.sslpassword = Some(value),
            name if TAKEN.contains(&name) => {
                parsed.keepalives_idle |= name == "keepalives_idle";
                rest.push(written);
            }
            name => return Err(unknown(name)),
        }
    }
    Ok((parsed, rest))
}

fn unknown(name: &str) -> String {
    if let Some((name, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return format!("{instead} (instead of the parameter {name})");
    }
    match super::nearest::nearest(name, TAKEN.iter().chain(OWN.iter()).copied()) {
        Some(near) => format!("known parameters only; the nearest to one of these is {near}"),
        None => format!("known parameters only: {}, {}", TAKEN.join(", "), OWN.join(", ")),
    }
}

/// The driver's reading. Its errors name parameters alone, never values; a stray character it would name is left out.
fn read(text: &str) -> Result<tokio_postgres::Config, String> {
    text.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        match cause.strip_prefix("invalid value for option ") {
            Some(name) => format!("a valid value for {name}"),
            None => {
                "a connection string as libpq reads it; % and @ in user or password are written %25 and %40".to_owned()
            }
        }
    })
}

/// `name=value` pairs with white space between them; a value may be quoted by `'`, and `\` takes the next character as it is.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    const NEEDS: &str = "name=value pairs; a value that is empty or holds a space stands in single quotes";
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(NEEDS)?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(NEEDS.to_owned());
        }
        let after = after.trim_start();
        let quoted = after.starts_with('\'');
        let mut value = String::new();
        let mut characters = after.char_indices().skip(usize::from(quoted));
        let mut closed = !quoted;
        let end = loop {
            match characters.next() {
                None => break after.len(),
                Some((_, '\\')) => value.extend(characters.next().map(|(_, one)| one)),
                Some((at, '\'')) if quoted => {
                    closed = true;
                    break at + 1;
                }
                Some((at, one)) if !quoted && one.is_whitespace() => break at,
                Some((_, one)) => value.push(one),
            }
        };
        if !closed || (!quoted && value.is_empty()) {
            return Err(NEEDS.to_owned());
        }
        pairs.push((name.to_owned(), value));
        rest = after.get(end..).unwrap_or_default().trim_start();
    }
    Ok(pairs)
}

/// `%2F` is `/`.
pub(super) fn decode(text: &str) -> Result<String, String> {
    let wrong = || "two hexadecimal digits after every % (a % itself is %25)".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit =
            || rest.next().and_then(|digit| char::from(digit).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => return Err(wrong()),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::Host;

    #[test]
    fn libpqs_tls_parameters_are_understood_in_both_spellings() {
        for text in [
            "postgres://u:p@db:6432/shop?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=3",
            "postgresql://u:p@db:6432/shop?connect_timeout=3&sslrootcert=/etc/ca.pem&sslmode=verify-full",
            "host=db port=6432 user=u password=p dbname=shop sslmode = verify-full sslrootcert='/etc/ca.pem' connect_timeout=3",
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed.sslmode, Some(SslMode::VerifyFull));
            assert_eq!(parsed.sslrootcert.as_deref(), Some("/etc/ca.pem"));
            assert_eq!(parsed.settings.get_hosts(), [Host::Tcp("db".into())]);
            assert_eq!(parsed.settings.get_ports(), [6432]);
            assert_eq!(parsed.settings.get_dbname(), Some("shop"));
            assert_eq!(parsed.settings.get_password(), Some(b"p".as_slice()));
            assert!(parsed.settings.get_connect_timeout().is_some());
        }
    }

    #[test]
    fn passwords_of_any_kind_arrive() {
        for (text, password) in [
            ("postgres://u:a%40b%2Fc%25@db/x", "a@b/c%"),
            ("postgres://u:a?b/c@db/x?sslmode=require", "a?b/c"),
            ("host=db password='it\\'s a \\\\ =' dbname=x", "it's a \\ ="),
            ("host=db password=a\\ b dbname=x", "a b"),
            ("host=db password='' dbname=x", ""),
        ] {
            let parsed = parse(text).unwrap_or_else(|needs| panic!("{text}: {needs}"));
            assert_eq!(parsed.settings.get_password(), Some(password.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_the_string() {
        for (text, needs) in [
            ("postgres://u:hun@ter2@db/x", "an @ in user or password written as %40"),
            ("postgres://u:p@db/x?ssl=true", "sslmode=require (instead of the parameter ssl)"),
            (
                "postgres://u:p@db/x?conect_timeout=3",
                "known parameters only; the nearest to one of these is connect_timeout",
            ),
            (
                "postgres://u:p@db/x?sslmode=hunter2",
                "sslmode as disable, allow, prefer, require, verify-ca or verify-full",
            ),
            ("postgres://u:p@db:hunter2/x", "a valid value for `port`"),
            ("postgres://u:p@db/x?hunter2", "name=value pairs after the question mark"),
            ("jdbc:postgresql://db/x", "postgres://user:password@host:5432/dbname; this is a JDBC URL"),
            ("mysql://db/x", "postgres://user:password@host:5432/dbname, or host=… dbname=… pairs"),
            ("hunter2", "postgres://user:password@host:5432/dbname, or host=… dbname=… pairs"),
        ] {
            assert_eq!(parse(text).err().unwrap(), needs, "{text}");
        }
        for text in ["host=db password=hunter2 hunter2", "host=db password='hunter2", "host=db hunter2=x"] {
            assert!(!parse(text).err().unwrap().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn percent_signs_are_decoded_or_refused() {
        assert_eq!(decode("%C3%A4+%25").unwrap(), "ä+%");
        for text in ["%", "%4", "%zz", "%ff", "%ä1"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
