//! Taking the transactional id, committing, giving up: what waits until nothing is under way any more.

use std::time::Instant;

use super::{Closing, Sender};
use crate::kafka::producer::failure::Failure;
use crate::kafka::producer::identity::Step;
use crate::kafka::producer::lane::Lane;
use crate::kafka::wire::lasts;
use crate::{Kind, Result};

impl Sender {
    pub(super) async fn init(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.cluster.patience();
        loop {
            let step = self.identity.take(&mut self.cluster).await;
            match step {
                Step::Done => {
                    self.queue.hinder(None);
                    self.pauses = 0;
                    return Ok(());
                }
                Step::Failed(failure) => return Err(failure.error()),
                Step::Later(error) if error.kind() != Kind::Kafka || lasts(&error) || Instant::now() > deadline => {
                    return Err(error);
                }
                step => self.hindered(step),
            }
            self.rest().await;
        }
    }

    async fn rest(&mut self) {
        if let Some(until) = self.paused.take() {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Ends the transaction, if that was asked for and nothing is under way any more.
    pub(super) async fn close(&mut self) {
        let idle = self.flights.is_empty() && self.lanes.values().all(Lane::is_empty);
        let failed = self.queue.lock().failed.clone();
        match (self.closing.take(), failed) {
            (None, _) => {}
            (Some(Closing::Commit(answer)), Some(failed)) => {
                let _ = answer.send(Err(failed.error()));
            }
            (Some(closing), _) if !idle => self.closing = Some(closing),
            (Some(Closing::Commit(answer)), None) => {
                let ended = self.end(true).await;
                self.unanswered &= ended.is_err();
                let _ = answer.send(ended);
            }
            (Some(Closing::Abort(answer)), failed) => {
                let ended = match failed {
                    // Only the start sequence knows what became of it.
                    Some(
                        failed @ (Failure::Fenced(_) | Failure::Outlived(_) | Failure::Abort(_) | Failure::Denied(..)),
                    ) => Err(failed.error()),
                    // What a broken connection carried may arrive after the end of the transaction, and be part of the next.
                    // The start sequence raises the epoch with the end.
                    _ if self.unanswered && self.identity.transactional_id().is_some() => {
                        Err(Failure::Abort("a request was not answered".to_owned()).error())
                    }
                    Some(Failure::Topic(..) | Failure::Gone(_)) | None => match self.end(false).await {
                        Ok(()) => self.renew().await,
                        Err(error) => Err(error),
                    },
                };
                if ended.is_ok() {
                    self.queue.lock().failed = None;
                    self.unanswered = false;
                }
                let _ = answer.send(ended);
            }
        }
    }

    async fn end(&mut self, committed: bool) -> Result<()> {
        loop {
            match self.identity.end(&mut self.cluster, committed).await {
                Step::Done => {
                    self.pauses = 0;
                    return Ok(());
                }
                Step::Failed(failure) => {
                    self.queue.fail(failure.clone());
                    return Err(failure.error());
                }
                step => self.hindered(step),
            }
            self.rest().await;
        }
    }

    /// A new epoch: sequence numbers begin anew, whatever became of what was given up.
    async fn renew(&mut self) -> Result<()> {
        loop {
            match self.identity.renew(&mut self.cluster).await {
                Step::Done => {
                    self.pauses = 0;
                    self.lanes.clear();
                    return Ok(());
                }
                Step::Failed(failure) => return Err(failure.error()),
                step => self.hindered(step),
            }
            self.rest().await;
        }
    }
}
