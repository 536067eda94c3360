//! pgbouncer, before a server of ours.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::fetch;
use crate::postgres::{Postgres, data_dir, give, user};
use crate::process::{Process, free_port};

/// A pooler; it lets everybody in whom the server lets in.
pub struct Pooler {
    dir: PathBuf,
    port: u16,
    _process: Process,
}

impl Pooler {
    /// Starts one; `mode` is `session`, `transaction` or `statement`, `more` are lines of its configuration.
    pub fn start(postgres: &Postgres, mode: &str, more: &str) -> Pooler {
        let (program, libraries) = fetch::pgbouncer();
        let (dir, port) = (data_dir(), free_port());
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 2\n{more}\n",
            postgres.port()
        );
        // With auth_type = any everybody is this user towards the server.
        let config = config.replace("port=", "user=postgres port=");
        let file = dir.join("pgbouncer.ini");
        std::fs::write(&file, config).expect("pgbouncer's configuration");
        give(&file);
        let mut command = Command::new(program);
        command.arg(&file).env("LD_LIBRARY_PATH", libraries);
        let mut process = Process::spawn(command, user(), &dir.with_extension("log"));
        process.await_ready("pgbouncer", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Pooler { dir, port, _process: process }
    }

    /// The address of a database through it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(self.dir.with_extension("log"));
    }
}
