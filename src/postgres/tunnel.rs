//! The way through a bastion: an `ssh -W` of the machine's own for each connection, its input and output as the socket.
//!
//! One session for each connection, since a COPY that waits for Kafka would hold up every other channel of a session.
//! Passwords reach `ssh` through its askpass, which is this program again (`cli::askpass`); they are in no argument.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::config::{Secret, Ssh};
use crate::{Error, Kind, Result};

/// The socket of one connection. Dropping it kills `ssh`, and with it the connection, at once.
pub struct Tunnel {
    input: ChildStdin,
    output: ChildStdout,
    child: Child,
    said: Said,
}

/// The last lines that `ssh` wrote to its standard error.
#[derive(Clone, Default)]
pub struct Said(Arc<Mutex<Vec<String>>>);

/// Enough for the banner of a changed key.
const LINES: usize = 40;
/// How long the last words may take once the tunnel has broken.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Tunnel {
    /// Starts `ssh`; whether it comes through shows when the socket is used.
    pub fn open(ssh: &Ssh, host: &str, port: u16, timeout: Duration) -> Result<Tunnel> {
        let mut command = Command::new("ssh");
        command.args(arguments(ssh, host, port, timeout)?).env("LC_ALL", "C");
        if ssh.password.is_some() || ssh.key_passphrase.is_some() {
            let reveal = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
            let program = own_program()?;
            command.env("SSH_ASKPASS", program).env("SSH_ASKPASS_REQUIRE", "force").env(ASKPASS, "1");
            for (name, secret) in [(PASSWORD, reveal(&ssh.password)), (PASSPHRASE, reveal(&ssh.key_passphrase))] {
                match secret {
                    Some(secret) => command.env(name, secret),
                    None => command.env_remove(name),
                };
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A signal from the terminal is for us, who finish the step that ssh carries.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| {
            Error::new(Kind::Refused, "1023: `ssh` cannot be started")
                .because(error)
                .hint("the way through ssh.host is the OpenSSH client's: install openssh-client")
        })?;
        let missing = || Error::new(Kind::Io, "`ssh` was started without its pipes");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let said = Said::default();
        let lines = BufReader::new(child.stderr.take().ok_or_else(missing)?).lines();
        tokio::spawn(said.clone().listen(lines));
        Ok(Tunnel { input, output, child, said })
    }

    /// What `ssh` has said and will say.
    pub fn said(&self) -> Said {
        self.said.clone()
    }
}

/// Set for the process that `ssh` starts to ask for a password: ourselves.
pub const ASKPASS: &str = "STRANDLINE_SSH_ASKPASS";
/// What it answers to a question for a password.
pub const PASSWORD: &str = "STRANDLINE_SSH_ASKPASS_PASSWORD";
/// What it answers to a question for a passphrase.
pub const PASSPHRASE: &str = "STRANDLINE_SSH_ASKPASS_PASSPHRASE";

fn own_program() -> Result<std::path::PathBuf> {
    std::env::current_exe().map_err(|error| Error::new(Kind::Io, "our own program cannot be found").because(error))
}

fn arguments(ssh: &Ssh, host: &str, port: u16, timeout: Duration) -> Result<Vec<String>> {
    let mut arguments = vec!["-T".to_owned(), "-W".to_owned(), bracketed(host, port)];
    let mut option = |text: String| arguments.extend(["-o".to_owned(), text]);
    option(format!("ConnectTimeout={}", timeout.as_secs().max(1)));
    option("ServerAliveInterval=15".to_owned());
    option("ServerAliveCountMax=3".to_owned());
    option("StrictHostKeyChecking=yes".to_owned());
    option("LogLevel=INFO".to_owned());
    // A session that is shared with others would be held up by them, and outlive us.
    option("ControlPath=none".to_owned());
    if ssh.password.is_none() && ssh.key_passphrase.is_none() {
        option("BatchMode=yes".to_owned());
    } else {
        option("NumberOfPasswordPrompts=1".to_owned());
    }
    if let Some(path) = &ssh.known_hosts {
        option(format!("UserKnownHostsFile=\"{}\"", path.display()));
        option("GlobalKnownHostsFile=/dev/null".to_owned());
    }
    if let Some(fingerprint) = &ssh.fingerprint {
        option("UserKnownHostsFile=/dev/null".to_owned());
        option("GlobalKnownHostsFile=/dev/null".to_owned());
        let program = own_program()?;
        option(format!("KnownHostsCommand=\"{}\" ssh-host-key {fingerprint} %H %t %K", program.display()));
    }
    if let Some(path) = &ssh.key_file {
        option("IdentitiesOnly=yes".to_owned());
        arguments.extend(["-i".to_owned(), path.display().to_string()]);
    }
    if let Some(port) = ssh.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &ssh.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    arguments.extend(["--".to_owned(), ssh.host.clone()]);
    Ok(arguments)
}

fn bracketed(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Said {
    async fn listen(self, mut lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>) {
        while let Ok(Some(line)) = lines.next_line().await {
            tracing::debug!(line, "ssh");
            let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() < LINES {
                said.push(line);
            }
        }
        // It has ended: whoever waits for its last words has them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(String::new());
    }

    /// Why the tunnel did not come through, if `ssh` says so: what it means, with its own words.
    pub async fn explain(&self, ssh: &Ssh, host: &str, port: u16) -> Option<Error> {
        let began = tokio::time::Instant::now();
        while !self.has_ended() && began.elapsed() < LAST_WORDS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        explain(&said, ssh, &bracketed(host, port))
    }

    fn has_ended(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last().is_some_and(String::is_empty)
    }
}

const UNKNOWN: &str = "host key is known for";

/// Words of `ssh`, what they mean, and what to do. The first that is found counts.
const WORDS: &[(&str, Kind, &str, &str)] = &[
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        Kind::Refused,
        "1023: the bastion's host key is another than the known one",
        "somebody may stand in between; if the host was set up anew, replace its line in known_hosts, or ssh.fingerprint",
    ),
    (
        UNKNOWN,
        Kind::Refused,
        "1023: the bastion's host key is not known",
        "connect once by hand and compare the fingerprint, or add it: ssh-keyscan HOST >> known_hosts; or set ssh.fingerprint",
    ),
    (
        "Host key verification failed",
        Kind::Refused,
        "1023: the bastion's host key is not the one that is trusted",
        "compare `ssh-keyscan HOST | ssh-keygen -l -f -` with ssh.fingerprint or known_hosts",
    ),
    (
        "administratively prohibited",
        Kind::Refused,
        "1023: the bastion forbids forwarding",
        "allow it for this user: AllowTcpForwarding and PermitOpen in the bastion's sshd_config",
    ),
    (
        "open failed: connect failed",
        Kind::Unreachable,
        "1006: the bastion does not reach the server",
        "check database.hostname and database.port as the bastion sees them, and the firewall between the two",
    ),
    (
        "incorrect passphrase",
        Kind::Refused,
        "1023: the passphrase of ssh.key_file is wrong",
        "correct ssh.key_passphrase, or the variable or file it comes from",
    ),
    (
        "UNPROTECTED PRIVATE KEY FILE",
        Kind::Refused,
        "1023: ssh.key_file may be read by others, so ssh ignores it",
        "chmod 600 the file",
    ),
    (
        "error in libcrypto",
        Kind::Refused,
        "1023: ssh.key_file is no private key that ssh reads",
        "a key as ssh-keygen writes it, or PEM; if it is encrypted set ssh.key_passphrase",
    ),
    (
        "invalid format",
        Kind::Refused,
        "1023: ssh.key_file is no private key that ssh reads",
        "a key as ssh-keygen writes it, or PEM; if it is encrypted set ssh.key_passphrase",
    ),
    (
        "Permission denied",
        Kind::Refused,
        "1023: the bastion refuses the login",
        "check ssh.user and ssh.key_file or ssh.password; in brackets are the ways that it offers; an encrypted key needs ssh.key_passphrase",
    ),
    (
        "Too many authentication failures",
        Kind::Refused,
        "1023: the bastion refuses the login after too many keys",
        "set ssh.key_file, so that no other keys of the agent are offered",
    ),
    ("Could not resolve hostname", Kind::Unreachable, "1006: the bastion's name is not known", "check ssh.host"),
    (
        "Connection refused",
        Kind::Unreachable,
        "1006: the bastion cannot be reached",
        "check ssh.host and ssh.port, and that sshd runs there",
    ),
    (
        "timed out",
        Kind::Unreachable,
        "1006: the bastion does not answer",
        "check ssh.host and ssh.port, and the firewalls between",
    ),
    (
        "No route to host",
        Kind::Unreachable,
        "1006: the bastion cannot be reached",
        "check ssh.host and the network between",
    ),
    (
        "Bad configuration option",
        Kind::Refused,
        "1023: this machine's ssh is too old for an option, or its configuration file is wrong",
        "OpenSSH 8.5 or later is needed for ssh.fingerprint; see the cause",
    ),
];

fn explain(said: &str, ssh: &Ssh, target: &str) -> Option<Error> {
    let (words, kind, what, hint) = WORDS.iter().find(|(words, ..)| said.contains(words))?;
    let what = match ssh.fingerprint {
        Some(_) if *words == UNKNOWN => "1023: the bastion's host key is not that of ssh.fingerprint",
        _ => what,
    };
    let line = said.lines().find(|line| line.contains(words)).unwrap_or_default().trim_matches(['@', ' ']);
    let port = ssh.port.map(|port| format!(":{port}")).unwrap_or_default();
    let what = format!("{what} ({target} through {}{port})", ssh.host);
    Some(Error::new(*kind, what).because(line.to_owned()).hint(*hint))
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // Now, and not when the runtime comes to it.
        let _ = self.child.start_kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_an_argument_and_no_host_an_option() {
        let ssh = Ssh {
            host: "bastion".into(),
            port: Some(2222),
            user: Some("me".into()),
            password: Some(Secret::new("hunter2".to_owned())),
            key_passphrase: Some(Secret::new("hunter2".to_owned())),
            fingerprint: Some("SHA256:abc".into()),
            ..Ssh::default()
        };
        let arguments = arguments(&ssh, "::1", 5432, Duration::from_secs(10)).unwrap().join(" ");
        assert!(!arguments.contains("hunter2"), "{arguments}");
        assert!(arguments.starts_with("-T -W [::1]:5432 -o ConnectTimeout=10 "), "{arguments}");
        assert!(arguments.ends_with(" -p 2222 -l me -- bastion"), "{arguments}");
        assert!(arguments.contains("ssh-host-key SHA256:abc %H %t %K") && !arguments.contains("BatchMode"));
    }

    #[test]
    fn what_ssh_says_is_told_with_what_to_do() {
        let ssh = Ssh { host: "bastion".into(), port: Some(22), ..Ssh::default() };
        for (said, kind, words) in [
            (
                "ssh: connect to host b port 22: Connection refused",
                Kind::Unreachable,
                "1006: the bastion cannot be reached",
            ),
            ("me@b: Permission denied (publickey).", Kind::Refused, "the bastion refuses the login"),
            (
                "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed",
                Kind::Refused,
                "forbids forwarding",
            ),
            (
                "channel 0: open failed: connect failed: Connection refused",
                Kind::Unreachable,
                "does not reach the server",
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                Kind::Refused,
                "another than the known",
            ),
            ("No ED25519 host key is known for b\nHost key verification failed.", Kind::Refused, "is not known"),
        ] {
            let error = explain(said, &ssh, "db:5432").unwrap();
            assert_eq!(error.kind(), kind, "{said}");
            assert!(
                error.to_string().contains(words) && error.to_string().contains("db:5432 through bastion:22"),
                "{error}"
            );
        }
        assert!(explain("Pseudo-terminal will not be allocated", &ssh, "db:5432").is_none());
    }
}
