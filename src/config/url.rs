//! Connection strings as libpq reads them: `postgres://…` and `key=value` pairs. No message quotes a piece of the string, as it
//! may be one of a badly quoted password.

use super::parameter::Parameters;

/// Reads a connection string. The error says what would be right.
pub(super) fn parse(text: &str) -> Result<Parameters, String> {
    let text = text.trim();
    let scheme = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    if let Some(rest) = scheme {
        Parameters::of(of_url(rest)?)
    } else if text.starts_with("jdbc:") {
        Err("postgres://user:password@host:5432/dbname; this is a JDBC URL".to_owned())
    } else if text.contains('=') && !text.contains("://") {
        Parameters::of(pairs(text)?)
    } else {
        Err("postgres://user:password@host:5432/dbname, or host=… dbname=… pairs".to_owned())
    }
}

/// What comes after `postgres://`, as parameters. User and password end at the first `@`, as in libpq.
fn of_url(rest: &str) -> Result<Vec<(String, String)>, String> {
    let (credentials, address) = rest.split_once('@').unwrap_or(("", rest));
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    if !credentials.is_empty() && address.contains('@') {
        return Err("an @ in user or password written as %40".to_owned());
    }
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (hosts, dbname) = address.split_once('/').unwrap_or((address, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = host_and_port(host)?;
        names.push(decode(name)?);
        ports.push(decode(port)?);
    }
    let several = |all: Vec<String>| if all.iter().all(String::is_empty) { String::new() } else { all.join(",") };
    let mut pairs = vec![("user", decode(user)?), ("password", decode(password)?), ("dbname", decode(dbname)?)];
    pairs.extend([("host", several(names)), ("port", several(ports))]);
    let mut pairs: Vec<_> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("name=value pairs after the question mark")?;
        pairs.push((decode(name)?, decode(value)?));
    }
    Ok(pairs)
}

/// `db:5432`, `[::1]:5432`.
fn host_and_port(text: &str) -> Result<(&str, &str), String> {
    let Some(address) = text.strip_prefix('[') else { return Ok(text.split_once(':').unwrap_or((text, ""))) };
    let (address, port) = address.split_once(']').ok_or("a closing bracket after an IPv6 address")?;
    match port.strip_prefix(':') {
        Some(port) => Ok((address, port)),
        None if port.is_empty() => Ok((address, "")),
        None => Err("a colon between an IPv6 address in brackets and its port".to_owned()),
    }
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

    #[test]
    fn both_spellings_say_the_same() {
        for text in [
            "postgres://u:p@db:6432/shop?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=3",
            "postgresql://u:p@db:6432/shop?connect_timeout=3&sslrootcert=/etc/ca.pem&sslmode=verify-full",
            "host=db port=6432 user=u password=p dbname=shop sslmode = verify-full sslrootcert='/etc/ca.pem' connect_timeout=3",
            "postgres://?host=db&port=6432&user=u&password=p&dbname=shop&sslmode=verify-full&sslrootcert=/etc/ca.pem&connect_timeout=3",
        ] {
            let parsed = parse(text).unwrap();
            for (name, value) in [
                ("sslmode", "verify-full"),
                ("sslrootcert", "/etc/ca.pem"),
                ("host", "db"),
                ("port", "6432"),
                ("user", "u"),
                ("password", "p"),
                ("dbname", "shop"),
                ("connect_timeout", "3"),
            ] {
                assert_eq!(parsed.get(name), Some(value), "{text}: {name}");
            }
        }
    }

    #[test]
    fn hosts_of_every_kind_are_taken_apart() {
        for (text, host, port) in [
            ("postgres://a,b:7/x", "a,b", ",7"),
            ("postgres://a:6,b:7/x", "a,b", "6,7"),
            ("postgres://[::1]:6,[fe80::2]/x", "::1,fe80::2", "6,"),
            ("postgres://%2Frun%2Fpostgresql/x", "/run/postgresql", ""),
            ("postgres://u@/x?host=/run/postgresql", "/run/postgresql", ""),
            ("postgres:///x", "", ""),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!((parsed.get("host").unwrap_or(""), parsed.get("port").unwrap_or("")), (host, port), "{text}");
            assert_eq!(parsed.get("dbname"), Some("x"), "{text}");
        }
    }

    #[test]
    fn passwords_of_any_kind_arrive() {
        for (text, password) in [
            ("postgres://u:a%40b%2Fc%25@db/x", "a@b/c%"),
            ("postgres://u:a?b/c@db/x?sslmode=require", "a?b/c"),
            ("postgres://u:a:b@db/x", "a:b"),
            ("host=db password='it\\'s a \\\\ =' dbname=x", "it's a \\ ="),
            ("host=db password=a\\ b dbname=x", "a b"),
        ] {
            let parsed = parse(text).unwrap_or_else(|needs| panic!("{text}: {needs}"));
            assert_eq!(parsed.get("password"), Some(password), "{text}");
        }
        assert_eq!(parse("host=db password='' dbname=x").unwrap().get("password"), None);
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_the_string() {
        for (text, needs) in [
            ("postgres://u:hun@ter2@db/x", "an @ in user or password written as %40"),
            ("postgres://u:p@[::1/x", "a closing bracket after an IPv6 address"),
            ("postgres://u:p@[::1]5432/x", "a colon between an IPv6 address in brackets and its port"),
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
