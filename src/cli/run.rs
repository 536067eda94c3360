//! `run`: until a signal, or with `--once` until caught up.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::objects::holder_text;
use super::{DONE, FAILED, INTERRUPTED, exit_code};
use crate::config::Config;
use crate::postgres::{Connection, Holder};
use crate::{Error, Kind, Result, worker};

/// Runs every connector to its end; one that fails leaves the others running.
pub async fn run(configs: Vec<Arc<Config>>, once: bool) -> Result<u8> {
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
    let several = configs.len() > 1;
    // A connector that is fenced cancels its own tasks, not those of its neighbours.
    let connector = |config: Arc<Config>| {
        let stop = stop.child_token();
        async move {
            match one(&config, once, stop).await {
                Ok(code) => code,
                Err(error) => {
                    let name = if several { format!("connector {}: ", config.name) } else { String::new() };
                    tracing::error!(connector = %config.name, "ended: {error}");
                    eprintln!("strandline: {name}{}", error.report());
                    exit_code(&error)
                }
            }
        }
    };
    let codes = futures_util::future::join_all(configs.into_iter().map(connector)).await;
    Ok(codes.into_iter().max().unwrap_or(DONE))
}

async fn one(config: &Arc<Config>, once: bool, stop: CancellationToken) -> Result<u8> {
    tracing::info!(connector = %config.name, version = env!("CARGO_PKG_VERSION"), once, "started");
    let stopped = stop.clone();
    let summary = worker::run(Arc::clone(config), once, stop).await?;
    tracing::info!(connector = %config.name, objects = summary.objects, failed = summary.failed.len(), rows = summary.rows, bytes = summary.bytes, "ended");
    for failure in &summary.failed {
        eprintln!("strandline: FAILED {failure}");
    }
    if once && !stopped.is_cancelled() {
        tell_held_back(config).await;
    }
    Ok(if summary.failed.is_empty() { DONE } else { FAILED })
}

/// What this run could not deliver, and because of whom: not a failure, and the next run delivers it.
async fn tell_held_back(config: &Config) {
    match holder(config).await {
        Ok(Some(holder)) => eprintln!(
            "strandline: held back by {}: rows written since it began come with the next run after its end",
            holder_text(&holder)
        ),
        Ok(None) => {}
        Err(error) => tracing::debug!(error = %error, "who holds back what is not known"),
    }
}

async fn holder(config: &Config) -> Result<Option<Holder>> {
    let connection = Connection::open(&config.database, &config.name).await?;
    let snapshot = connection.moment().await?.snapshot;
    if snapshot.xmin < snapshot.xmax { connection.holder().await } else { Ok(None) }
}
