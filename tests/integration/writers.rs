//! Sessions that write as applications do, and come back when the server does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use crate::loss::act;

/// Four sessions, until they are stopped.
pub struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    sessions: Vec<JoinHandle<()>>,
}

impl Writers {
    /// At this server, resting so long between two things that they do.
    pub fn at(url: &str, seed: u64, rest: Duration) -> Writers {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let session = |number: usize| {
            let (url, stop, done) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&done));
            let mut random = StdRng::seed_from_u64(seed + number as u64);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    tokio::spawn(connection);
                    // What a writer has prepared when the server crashes keeps its locks until the end.
                    let _ = client.batch_execute("SET deadlock_timeout = '50ms'; SET lock_timeout = '1s'").await;
                    while !stop.load(Ordering::Relaxed) && !client.is_closed() {
                        match act(&client, number, &mut random).await {
                            Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                            Err(_) => drop(client.batch_execute("ROLLBACK").await),
                        }
                        tokio::time::sleep(rest).await;
                    }
                }
            })
        };
        let sessions = (0..4).map(session).collect();
        Writers { stop, done, sessions }
    }

    /// Waits for their end; how many things they did.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for session in self.sessions {
            session.await.unwrap();
        }
        self.done.load(Ordering::Relaxed)
    }
}

/// Commits what a writer left prepared when it stopped.
pub async fn commit_prepared(client: &Client) {
    let prepared = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()";
    for row in client.query(prepared, &[]).await.unwrap() {
        client.batch_execute(&format!("COMMIT PREPARED '{}'", row.get::<_, String>(0))).await.unwrap();
    }
}
