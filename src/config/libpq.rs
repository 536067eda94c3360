//! What libpq takes from its surroundings where the configuration says nothing: `PG…` variables and the password file.

use std::path::{Path, PathBuf};

use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::placeholder::Lookup;
use super::url::Parsed;

/// Fills in what is missing. An error names the variable and what it needs.
pub(super) fn fill(parsed: &mut Parsed, lookup: &Lookup<'_>) -> Result<(), String> {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let settings = &mut parsed.settings;
    if settings.get_hosts().is_empty()
        && settings.get_hostaddrs().is_empty()
        && let Some(hosts) = set("PGHOST")
    {
        for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            settings.host(host);
        }
    }
    if settings.get_ports().is_empty()
        && let Some(ports) = set("PGPORT")
    {
        for port in ports.split(',') {
            settings.port(port.trim().parse().map_err(|_| "PGPORT: a port from 1 to 65535".to_owned())?);
        }
    }
    if settings.get_user().is_none()
        && let Some(user) = set("PGUSER")
    {
        settings.user(user);
    }
    if settings.get_dbname().is_none()
        && let Some(dbname) = set("PGDATABASE")
    {
        settings.dbname(dbname);
    }
    if settings.get_options().is_none()
        && let Some(options) = set("PGOPTIONS")
    {
        settings.options(options);
    }
    if settings.get_application_name().is_none()
        && let Some(name) = set("PGAPPNAME")
    {
        settings.application_name(name);
    }
    if let Some(wanted) = set("PGTARGETSESSIONATTRS")
        && settings.get_target_session_attrs() == TargetSessionAttrs::Any
    {
        settings.target_session_attrs(match wanted.as_str() {
            "any" => TargetSessionAttrs::Any,
            "read-write" => TargetSessionAttrs::ReadWrite,
            "read-only" => TargetSessionAttrs::ReadOnly,
            _ => return Err("PGTARGETSESSIONATTRS: any, read-write or read-only".to_owned()),
        });
    }
    if parsed.sslmode.is_none()
        && let Some(mode) = set("PGSSLMODE")
    {
        let known = super::SslMode::parse(&mode);
        parsed.sslmode = Some(known.ok_or_else(|| format!("PGSSLMODE: {}", super::key::sslmodes()))?);
    }
    if parsed.sslrootcert.is_none() {
        parsed.sslrootcert = set("PGSSLROOTCERT");
    }
    for (part, name) in [(&mut parsed.sslcert, "PGSSLCERT"), (&mut parsed.sslkey, "PGSSLKEY")] {
        if part.is_none() {
            *part = set(name);
        }
    }
    password(parsed, lookup);
    Ok(())
}

/// `PGPASSWORD`, else the password file.
fn password(parsed: &mut Parsed, lookup: &Lookup<'_>) {
    if parsed.settings.get_password().is_some() {
        return;
    }
    if let Some(password) = lookup("PGPASSWORD").filter(|password| !password.is_empty()) {
        parsed.settings.password(password);
        return;
    }
    let home = || Some(PathBuf::from(lookup("HOME")?).join(".pgpass"));
    let Some(path) = lookup("PGPASSFILE").map(PathBuf::from).or_else(home) else { return };
    let Some(text) = read_private(&path) else { return };
    let settings = &parsed.settings;
    let host = match settings.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        // As libpq: whoever comes through a socket is at home.
        Some(Host::Unix(_)) | None => "localhost".to_owned(),
    };
    let port = settings.get_ports().first().copied().unwrap_or(5432).to_string();
    let dbname = settings.get_dbname().unwrap_or_default().to_owned();
    let user = settings.get_user().unwrap_or_default().to_owned();
    if let Some(password) = find(&text, [&host, &port, &dbname, &user]) {
        parsed.settings.password(password);
    }
}

/// The file's text, unless others may read it: then libpq ignores it, and so do we.
fn read_private(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "the password file is ignored, as others may read it: chmod 0600");
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// The password of the first line `host:port:database:user:password` that matches; `*` matches anything, a backslash takes
/// the next character as it is.
fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let (what, password) = fields.split_at_checked(4)?;
        let matches = what.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        // Beyond the fourth colon everything is the password.
        (matches && !password.is_empty()).then(|| password.join(":"))
    })
}

fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut rest = line.chars();
    while let Some(one) = rest.next() {
        match (one, fields.last_mut()) {
            ('\\', Some(field)) => field.extend(rest.next()),
            (':', _) => fields.push(String::new()),
            (one, Some(field)) => field.push(one),
            (_, None) => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn filled(url: &str, variables: &[(&str, &str)]) -> Result<Parsed, String> {
        let mut parsed = super::super::url::parse(url).unwrap();
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        fill(&mut parsed, &lookup).map(|()| parsed)
    }

    #[test]
    fn variables_fill_in_what_is_missing_and_nothing_else() {
        let variables = [
            ("PGHOST", "a,b"),
            ("PGPORT", "6000"),
            ("PGUSER", "reader"),
            ("PGPASSWORD", "hidden"),
            ("PGDATABASE", "shop"),
            ("PGSSLMODE", "verify-full"),
            ("PGAPPNAME", "me"),
            ("PGTARGETSESSIONATTRS", "read-write"),
        ];
        let parsed = filled("postgres://own@db/mine", &variables).unwrap();
        let settings = &parsed.settings;
        assert_eq!(
            (settings.get_hosts().len(), settings.get_user(), settings.get_dbname()),
            (1, Some("own"), Some("mine"))
        );
        assert_eq!((settings.get_password(), settings.get_application_name()), (Some(&b"hidden"[..]), Some("me")));
        assert_eq!(parsed.sslmode, Some(super::super::SslMode::VerifyFull));
        let parsed = filled("dbname=x", &variables).unwrap();
        assert_eq!((parsed.settings.get_hosts().len(), parsed.settings.get_ports()), (2, &[6000][..]));
        assert_eq!(parsed.settings.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn a_variable_that_cannot_be_is_named() {
        for (name, value) in [("PGPORT", "x"), ("PGSSLMODE", "full"), ("PGTARGETSESSIONATTRS", "fast")] {
            let Err(error) = filled("host=db dbname=x", &[(name, value)]) else { panic!("{name} is taken") };
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[test]
    fn the_password_file_is_read_as_libpq_reads_it() {
        let text = "# comment\nother:*:*:*:no\ndb:5432:shop:reader:a\\:b:c\\\\\n*:*:*:*:any";
        assert_eq!(find(text, ["db", "5432", "shop", "reader"]).unwrap(), "a:b:c\\");
        assert_eq!(find(text, ["x", "1", "y", "z"]).unwrap(), "any");
        assert_eq!(find("db:5432:shop", ["db", "5432", "shop", "reader"]), None);
        assert_eq!(find("", ["db", "5432", "shop", "reader"]), None);
    }

    #[test]
    fn a_password_file_that_others_may_read_is_ignored() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("pass");
        std::fs::write(&file, "*:*:*:*:hidden").unwrap();
        let path = file.display().to_string();
        for (mode, found) in [(0o600, true), (0o640, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let parsed = filled("host=db dbname=x user=u", &[("PGPASSFILE", &path)]).unwrap();
            assert_eq!(parsed.settings.get_password().is_some(), found, "{mode:o}");
        }
    }
}
