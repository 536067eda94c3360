//! What `ssh` asks of us while it opens a tunnel: a password or passphrase, and whether a host key is the pinned one. Not for people.

use std::process::ExitCode;

use base64::Engine as _;
use sha2::{Digest, Sha256};

use crate::postgres::tunnel::{ASKPASS, PASSPHRASE, PASSWORD};

/// Answers `ssh`'s question if we were started to do so: the prompt is the only argument. A question of another kind, such as
/// whether a host is trusted, is not answered.
pub fn askpass() -> Option<ExitCode> {
    std::env::var_os(ASKPASS)?;
    let prompt = std::env::args().nth(1).unwrap_or_default().to_lowercase();
    // The tunnel's host-key command inherits the variable.
    if prompt == "ssh-host-key" {
        return None;
    }
    let name = if prompt.contains("passphrase") { PASSPHRASE } else { PASSWORD };
    let asked = prompt.contains("passphrase") || prompt.contains("password") || prompt.contains("verification code");
    match std::env::var(name) {
        Ok(secret) if asked => {
            println!("{secret}");
            Some(ExitCode::SUCCESS)
        }
        _ => Some(ExitCode::FAILURE),
    }
}

/// A line of known_hosts for the key that a host shows, if its fingerprint is the pinned one; else nothing.
pub fn known_host(fingerprint: &str, host: &str, kind: &str, key: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(key).ok()?;
    let digest = base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(&bytes));
    (fingerprint == format!("SHA256:{digest}")).then(|| format!("{host} {kind} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_by_its_pinned_fingerprint_alone() {
        let key = base64::engine::general_purpose::STANDARD.encode(b"key");
        let digest = base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(b"key"));
        let right = format!("SHA256:{digest}");
        assert_eq!(known_host(&right, "h", "ssh-ed25519", &key).as_deref(), Some("h ssh-ed25519 a2V5"));
        assert_eq!(known_host("SHA256:other", "h", "ssh-ed25519", &key), None);
        assert_eq!(known_host(&right, "h", "NONE", "NONE!"), None);
    }
}
