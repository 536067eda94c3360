//! Copies of a server of ours: standbys that follow it, and old states that are put back.
//!
//! By PostgreSQL's low-level backup (`pg_backup_start`, a copy of the files, `pg_backup_stop`), since what npm gives has no
//! `pg_basebackup`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::postgres::{Postgres, connected, data_dir, give, one_value};

/// A base backup.
pub struct Copy {
    data: PathBuf,
}

impl Postgres {
    /// A hot standby that streams from this server; it follows until it is [promoted](Postgres::promote) or stopped.
    pub fn standby(&self) -> Postgres {
        let data = self.back_up();
        std::fs::write(data.join("standby.signal"), "").expect("a signal file");
        give(&data.join("standby.signal"));
        self.following(data)
    }

    /// The server as it is now, to be [put back](Postgres::put_back) later.
    pub fn copy(&self) -> Copy {
        let data = self.back_up();
        // What a backup tool would have streamed.
        let log = Command::new("cp").arg("-a").arg(self.data_dir().join("pg_wal/.")).arg(data.join("pg_wal")).status();
        assert!(log.expect("cp").success(), "the log cannot be copied");
        Copy { data }
    }

    /// Goes back to what was copied, on the same port: recovery ends where the copy's log ends.
    pub fn put_back(&mut self, copy: Copy) {
        self.stop_fast();
        let data = &self.own_mut().data;
        std::fs::remove_dir_all(data).expect("the data directory can be removed");
        std::fs::rename(&copy.data, data).expect("the copy can take its place");
        self.restart();
    }

    /// Waits until this standby shows everything that `primary` has written so far.
    pub fn await_replay(&self, primary: &Postgres) {
        let wanted = value(&primary.url("postgres"), "SELECT pg_current_wal_insert_lsn()::text");
        let reached = format!("SELECT (pg_last_wal_replay_lsn() >= '{wanted}'::pg_lsn)::text");
        let started = Instant::now();
        while value(&self.url("postgres"), &reached) != "true" {
            assert!(started.elapsed() < Duration::from_secs(60), "the standby does not reach {wanted}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes this standby a primary, on a new timeline.
    pub fn promote(&self) {
        let done = value(&self.url("postgres"), "SELECT pg_promote(true, 60)::text");
        assert_eq!(done, "true", "the standby is not promoted");
    }

    /// The data directory, but for its log, with the label that recovery begins from.
    fn back_up(&self) -> PathBuf {
        let data = data_dir();
        connected(&self.url("postgres"), async |client| {
            let (start, stop) = match one_value(client, "SHOW server_version_num").await.parse::<u32>() {
                Ok(number) if number < 150_000 => ("pg_start_backup('copy', true, false)", "pg_stop_backup(false)"),
                _ => ("pg_backup_start('copy', true)", "pg_backup_stop()"),
            };
            // A segment that the standby still needs must not be recycled while it starts.
            client.batch_execute("ALTER SYSTEM SET wal_keep_size = '256MB'").await?;
            client.batch_execute("SELECT pg_reload_conf()").await?;
            client.batch_execute(&format!("SELECT {start}")).await?;
            copy(self.data_dir(), &data);
            let label = one_value(client, &format!("SELECT labelfile FROM {stop}")).await;
            std::fs::write(data.join("backup_label"), label).expect("a backup label");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("a backup: {error:?}"));
        give(&data.join("backup_label"));
        data
    }
}

fn value(url: &str, sql: &str) -> String {
    let sql = sql.to_owned();
    connected(url, async |client| Ok(one_value(client, &sql).await)).unwrap_or_else(|error| panic!("{error:?}"))
}

/// The data directory without its write-ahead log, which is streamed, and without what belongs to the running server.
fn copy(from: &Path, to: &Path) {
    let output = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).output().expect("cp");
    // The server works on: a file that goes away meanwhile is none that a backup needs.
    let said = String::from_utf8_lossy(&output.stderr);
    let harmless = said.lines().all(|line| line.contains("No such file"));
    assert!(output.status.success() || harmless, "cp: {said}");
    for name in ["postmaster.pid", "postmaster.opts", "standby.signal"] {
        let _ = std::fs::remove_file(to.join(name));
    }
    for directory in ["pg_wal", "pg_replslot", "pg_stat_tmp"] {
        for entry in std::fs::read_dir(to.join(directory)).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "archive_status" {
                let _ = std::fs::remove_dir_all(path);
            } else if path.is_file() {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}
