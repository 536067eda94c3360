//! A bastion: OpenSSH's server as an unprivileged user.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fetch;
use crate::postgres::{data_dir, user};
use crate::process::{Process, children, free_port};

/// An sshd. Unprivileged, it lets in the user that it runs as, by key.
pub struct Bastion {
    program: (PathBuf, PathBuf),
    dir: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Bastion {
    /// Starts one; `more` are lines of its configuration.
    pub fn start(more: &str) -> Bastion {
        let program = fetch::sshd();
        let dir = data_dir();
        let port = free_port();
        keygen(&["-q", "-t", "ed25519", "-N", "", "-f"], &dir.join("host"));
        let dir_text = dir.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir_text}/host\nPidFile none\nUsePAM no\nStrictModes no\n\
             AuthorizedKeysFile {dir_text}/authorized\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n{more}\n"
        );
        std::fs::write(dir.join("config"), config).expect("sshd's configuration");
        std::fs::write(dir.join("authorized"), "").expect("authorized keys");
        if let Some((uid, gid)) = user() {
            for file in ["host", "config", "authorized"] {
                std::os::unix::fs::chown(dir.join(file), Some(uid), Some(gid)).expect("chown");
            }
        }
        let mut bastion = Bastion { program, dir, port, process: None };
        bastion.restart();
        bastion
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who may log in.
    pub fn user(&self) -> String {
        // SAFETY: it only tells.
        let own = unsafe { libc::geteuid() };
        let uid = user().map_or(own, |(uid, _)| uid).to_string();
        let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let line = users.lines().find(|line| line.split(':').nth(2) == Some(&uid)).expect("the user's line");
        line.split(':').next().expect("a name").to_owned()
    }

    /// A line of known_hosts.
    pub fn known_host(&self) -> String {
        let public = std::fs::read_to_string(self.dir.join("host.pub")).expect("the host's key");
        format!("[127.0.0.1]:{} {public}", self.port)
    }

    /// `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        let output =
            Command::new("ssh-keygen").args(["-l", "-f"]).arg(self.dir.join("host.pub")).output().expect("ssh-keygen");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    /// Makes a key that may log in: `arguments` are `ssh-keygen`'s, such as `-t rsa`.
    pub fn key(&self, arguments: &[&str], passphrase: &str, path: &Path) {
        keygen(&[&["-q"], arguments, &["-N", passphrase, "-f"]].concat(), path);
        let public = std::fs::read_to_string(path.with_extension("pub")).expect("a public key");
        let file = self.dir.join("authorized");
        let all = std::fs::read_to_string(&file).expect("authorized keys") + &public;
        std::fs::write(file, all).expect("authorized keys");
    }

    /// Ends it and every session.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A session is a monitor and a child of it, which holds the socket.
            let mut sessions = children(process.pid());
            let mut at = 0;
            while let Some(session) = sessions.get(at) {
                sessions.extend(children(*session));
                at += 1;
            }
            process.kill();
            for session in sessions {
                // SAFETY: a signal to a session of our server.
                unsafe { libc::kill(session.cast_signed(), libc::SIGKILL) };
            }
        }
    }

    pub fn restart(&mut self) {
        let (program, libraries) = &self.program;
        let mut command = Command::new(program);
        command.arg("-D").arg("-e").arg("-f").arg(self.dir.join("config")).env("LD_LIBRARY_PATH", libraries);
        let mut process = Process::spawn(command, user(), &self.dir.with_extension("log"));
        let port = self.port;
        process
            .await_ready("sshd", Duration::from_secs(20), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        self.process = Some(process);
    }
}

impl Drop for Bastion {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(self.dir.with_extension("log"));
    }
}

fn keygen(arguments: &[&str], path: &Path) {
    let output = Command::new("ssh-keygen").args(arguments).arg(path).output();
    let output = output.expect("testbed: `ssh-keygen` is missing: install openssh-client");
    assert!(output.status.success(), "ssh-keygen {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
