//! `[ssh]`: the way to a database behind a bastion.

use std::path::PathBuf;

use super::Secret;
use super::reader::Reader;

/// A bastion through which the database is reached, by the machine's own `ssh`: its configuration file, agent, jump hosts and
/// certificates hold too.
#[derive(Clone, Debug, Default)]
pub struct Ssh {
    /// `ssh.host`: a name, an address, or a `Host` of the user's ssh configuration.
    pub host: String,
    /// `ssh.port`.
    pub port: Option<u16>,
    /// `ssh.user`.
    pub user: Option<String>,
    /// `ssh.password`, `ssh.password_file`.
    pub password: Option<Secret>,
    /// `ssh.key_file`: in any form that `ssh` reads.
    pub key_file: Option<PathBuf>,
    /// `ssh.key_passphrase`, `ssh.key_passphrase_file`: the key's.
    pub key_passphrase: Option<Secret>,
    /// `ssh.known_hosts`: instead of the user's and the machine's.
    pub known_hosts: Option<PathBuf>,
    /// `ssh.fingerprint`: the host's key, `SHA256:…`, instead of known hosts.
    pub fingerprint: Option<String>,
}

const KEYS: &[&str] = &[
    "ssh.port",
    "ssh.user",
    "ssh.password",
    "ssh.password_file",
    "ssh.key_file",
    "ssh.key_passphrase",
    "ssh.key_passphrase_file",
    "ssh.known_hosts",
    "ssh.fingerprint",
];

/// Reads the section; none without `ssh.host`. Secrets keep their placeholders until a connection needs them.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Ssh> {
    let Some(host) = reader.text("ssh.host") else {
        if let Some(set) = KEYS.iter().find(|key| reader.is_set(key)) {
            reader.refuse(set, "ssh.host beside it: the bastion's name, or a Host of your ssh configuration");
        }
        return None;
    };
    // What begins with a dash would be an option of ssh.
    if host.is_empty() || host.starts_with('-') || host.contains(char::is_whitespace) {
        reader.refuse("ssh.host", "a host's name or address");
    }
    let port = reader.is_set("ssh.port").then(|| reader.integer::<u16>("ssh.port"));
    let user = reader.text("ssh.user");
    if user.as_ref().is_some_and(|user| user.is_empty() || user.starts_with('-')) {
        reader.refuse("ssh.user", "a user's name");
    }
    let mut file = |key: &str| {
        let path = reader.text(key).map(PathBuf::from)?;
        if let Err(error) = std::fs::File::open(&path) {
            reader.refuse(key, format!("a file that can be read: {error}"));
        }
        Some(path)
    };
    let (key_file, known_hosts) = (file("ssh.key_file"), file("ssh.known_hosts"));
    let fingerprint = reader.text("ssh.fingerprint");
    let digits =
        |text: &str| text.strip_prefix("SHA256:").is_some_and(|digits| digits.trim_end_matches('=').len() == 43);
    if fingerprint.as_deref().is_some_and(|text| !digits(text)) {
        reader.refuse("ssh.fingerprint", "SHA256: and 43 characters, as `ssh-keygen -l -f KEY.pub` prints");
    }
    if fingerprint.is_some() && known_hosts.is_some() {
        reader.refuse("ssh.fingerprint", "one of the two: ssh.known_hosts is set too");
    }
    Some(Ssh {
        host,
        port,
        user,
        password: reader.raw_secret("ssh.password"),
        key_file,
        key_passphrase: reader.raw_secret("ssh.key_passphrase"),
        known_hosts,
        fingerprint: fingerprint.map(|text| text.trim_end_matches('=').to_owned()),
    })
}
