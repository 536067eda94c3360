//! `run`: until a signal, or with `--once` until caught up.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{DONE, FAILED, INTERRUPTED};
use crate::config::Config;
use crate::{Error, Kind, Result, worker};

pub async fn run(config: Arc<Config>, once: bool) -> Result<u8> {
    let stop = CancellationToken::new();
    let unavailable = |error| Error::new(Kind::Io, "signals cannot be caught").because(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tracing::info!("stopping: finishing the step and committing; a second signal leaves at once");
        stopping.cancel();
        next().await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    tracing::info!(connector = %config.name, version = env!("CARGO_PKG_VERSION"), once, "started");
    let summary = worker::run(Arc::clone(&config), once, stop).await?;
    tracing::info!(connector = %config.name, objects = summary.objects, failed = summary.failed.len(), rows = summary.rows, bytes = summary.bytes, "ended");
    for failure in &summary.failed {
        eprintln!("strandline: FAILED {failure}");
    }
    Ok(if summary.failed.is_empty() { DONE } else { FAILED })
}
