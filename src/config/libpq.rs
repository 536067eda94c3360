//! What libpq takes from its surroundings where the configuration says nothing: `PG…` variables, service files, the password
//! file, and certificates under `~/.postgresql`.

use std::path::{Path, PathBuf};

use super::parameter::{Parameters, Taken};
use super::placeholder::Lookup;

/// Fills in what is missing: from a service first, then from the variables, which it tells. An error says what would be
/// right.
pub(super) fn fill(parameters: &mut Parameters, lookup: &Lookup<'_>) -> Result<Taken, String> {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
    if let Some(name) = parameters.get("service").map(str::to_owned).or_else(|| set("PGSERVICE")) {
        parameters.or(service(&name, lookup)?);
    }
    parameters.or_variables(set)
}

/// The connection that a service file describes: the user's own goes before the machine's.
fn service(name: &str, lookup: &Lookup<'_>) -> Result<Parameters, String> {
    let own = lookup("PGSERVICEFILE").map(PathBuf::from).or_else(|| Some(home(lookup)?.join(".pg_service.conf")));
    let machine = lookup("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned());
    for path in own.into_iter().chain([PathBuf::from(machine).join("pg_service.conf")]) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if let Some(pairs) = section(&text, name) {
            return Parameters::of(pairs)
                .map_err(|needs| format!("in the service's section of {} {needs}", path.display()));
        }
    }
    Err("a service that is described in ~/.pg_service.conf or PGSERVICEFILE".to_owned())
}

/// The `name=value` lines below `[name]`.
fn section(text: &str, name: &str) -> Option<Vec<(String, String)>> {
    let mut lines = text.lines().map(str::trim);
    let wanted = format!("[{name}]");
    lines.find(|line| *line == wanted)?;
    let pairs =
        lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Some(
        pairs
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect(),
    )
}

/// A file under `~/.postgresql` that libpq would take, if it is there.
pub(super) fn certificate(name: &str, lookup: &Lookup<'_>) -> Option<PathBuf> {
    Some(home(lookup)?.join(".postgresql").join(name)).filter(|path| path.is_file())
}

fn home(lookup: &Lookup<'_>) -> Option<PathBuf> {
    lookup("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// The lines of the password file: `passfile`, or `~/.pgpass`.
pub(super) struct PasswordFile(Option<String>);

impl PasswordFile {
    pub fn read(parameters: &Parameters, lookup: &Lookup<'_>) -> PasswordFile {
        let path = parameters.get("passfile").map(PathBuf::from).or_else(|| Some(home(lookup)?.join(".pgpass")));
        PasswordFile(path.and_then(|path| read_private(&path)))
    }

    /// The password for a host: its name, else its address; a socket's usual directory counts as localhost.
    pub fn find(&self, host: &str, port: u16, dbname: &str, user: &str) -> Option<String> {
        let host = if matches!(host, "/tmp" | "/run/postgresql" | "/var/run/postgresql") { "localhost" } else { host };
        find(self.0.as_deref()?, [host, &port.to_string(), dbname, user])
    }
}

/// The file's text, unless others may read it: then libpq ignores it, and so do we.
fn read_private(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let found = std::fs::metadata(path).ok()?;
    if !found.is_file() {
        return None;
    }
    if found.permissions().mode() & 0o077 != 0 {
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

    fn filled(url: &str, variables: &[(&str, &str)]) -> Result<Parameters, String> {
        let mut parameters = super::super::url::parse(url).unwrap();
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        fill(&mut parameters, &lookup).map(|_| parameters)
    }

    #[test]
    fn variables_fill_in_what_is_missing_and_nothing_else() {
        let variables = [("PGHOST", "a,b"), ("PGUSER", "reader"), ("PGPASSWORD", "hidden"), ("PGDATABASE", "shop")];
        let parameters = filled("postgres://own@db/mine", &variables).unwrap();
        assert_eq!(
            ["host", "user", "dbname", "password"].map(|name| parameters.get(name)),
            [Some("db"), Some("own"), Some("mine"), Some("hidden")]
        );
        assert_eq!(filled("dbname=x", &variables).unwrap().get("host"), Some("a,b"));
    }

    #[test]
    fn a_service_goes_before_the_variables_and_after_the_url() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("services");
        std::fs::write(&file, "[other]\nhost=no\n[shop]\n# comment\nhost = db\nport=7\n\n[last]\nport=9\n").unwrap();
        let path = file.display().to_string();
        let variables = [("PGSERVICEFILE", path.as_str()), ("PGHOST", "no"), ("PGUSER", "reader")];
        let parameters = filled("service=shop dbname=mine port=8", &variables).unwrap();
        assert_eq!(
            ["host", "port", "user", "dbname"].map(|name| parameters.get(name)),
            [Some("db"), Some("8"), Some("reader"), Some("mine")]
        );
        assert!(filled("service=ghost dbname=x", &variables).err().unwrap().starts_with("a service that is described"));
        std::fs::write(&file, "[shop]\nhosst=hunter2\n").unwrap();
        let error = filled("service=shop dbname=x", &variables).err().unwrap();
        assert!(error.contains("the nearest to one of these is host") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_password_file_is_read_as_libpq_reads_it() {
        let text = "# comment\nother:*:*:*:no\ndb:5432:shop:reader:a\\:b:c\\\\\n*:*:*:*:any";
        assert_eq!(find(text, ["db", "5432", "shop", "reader"]).unwrap(), "a:b:c\\");
        assert_eq!(find(text, ["x", "1", "y", "z"]).unwrap(), "any");
        assert_eq!(find("db:5432:shop", ["db", "5432", "shop", "reader"]), None);
        assert_eq!(find("", ["db", "5432", "shop", "reader"]), None);
        let file = PasswordFile(Some("localhost:5432:x:u:home\n/srv/pg:5432:x:u:away".to_owned()));
        assert_eq!(file.find("/run/postgresql", 5432, "x", "u").unwrap(), "home");
        assert_eq!(file.find("/srv/pg", 5432, "x", "u").unwrap(), "away");
    }

    #[test]
    fn a_password_file_that_others_may_read_is_ignored() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join(".pgpass");
        std::fs::write(&file, "*:*:*:*:hidden").unwrap();
        let (home, other) = (dir.path().display().to_string(), file.display().to_string());
        for (mode, found) in [(0o600, true), (0o640, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            for (url, variable, value) in [
                ("host=db dbname=x user=u", "PGPASSFILE", &other),
                ("host=db dbname=x user=u", "HOME", &home),
                (&*format!("host=db passfile={other}"), "NONE", &home),
            ] {
                let parameters = filled(url, &[(variable, value)]).unwrap();
                let lookup = |name: &str| (name == variable).then(|| value.clone());
                let password = PasswordFile::read(&parameters, &lookup).find("db", 5432, "x", "u");
                assert_eq!(password.is_some(), found, "{mode:o} {url} {variable}");
            }
        }
    }
}
