//! The end of a transaction: what is queued, the offsets, and the commit behind them, which is waited for apart from being asked
//! for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::records::Records;
use super::sender::Command;
use super::{OffsetRecord, Producer, now, send};
use crate::kafka::OffsetsTopic;
use crate::{Kind, Result};

/// A commit that is under way, and until when it is waited for.
pub struct Commit {
    answer: Receiver<Result<()>>,
    deadline: Instant,
}

impl Producer {
    /// Begins a commit and waits for it: [`Producer::begin_commit`], then [`Producer::settle`].
    pub fn commit(&mut self, topic: &OffsetsTopic, offsets: &[OffsetRecord], timeout: Duration) -> Result<()> {
        let commit = self.begin_commit(topic, offsets, timeout)?;
        self.settle(commit, topic)
    }

    /// Exactly once: the offsets go into the same transaction, which is then committed. At least once: the offsets go after the
    /// rows are acknowledged.
    ///
    /// What is appended from here on stays with us until the commit has ended, and is the next transaction's.
    pub fn begin_commit(
        &mut self,
        topic: &OffsetsTopic,
        offsets: &[OffsetRecord],
        timeout: Duration,
    ) -> Result<Commit> {
        let deadline = Instant::now() + timeout;
        self.push();
        if !self.exactly_once {
            let rows = Commit { answer: self.ask(Command::Commit)?, deadline };
            self.settle(rows, topic)?;
        }
        let name: Arc<str> = topic.name.as_str().into();
        let now = now();
        let mut by_partition: HashMap<i32, Records> = HashMap::new();
        for offset in offsets {
            let records = by_partition.entry(offset.partition).or_default();
            let size = Records::most(offset.key.len(), offset.value.as_ref().map_or(0, Vec::len), &[]);
            if !records.is_empty() && records.size() + size > self.batch_size {
                send(&self.queue, &self.commands, (Arc::clone(&name), offset.partition), std::mem::take(records));
            }
            records.push(Some(&offset.key), offset.value.as_deref(), &[], now);
        }
        for (partition, records) in by_partition {
            send(&self.queue, &self.commands, (Arc::clone(&name), partition), records);
        }
        Ok(Commit { answer: self.ask(Command::Commit)?, deadline })
    }

    /// Waits until all is acknowledged, and the transaction committed. A commit whose answer was lost is asked for again, as its
    /// outcome is unknown, until its time is over.
    ///
    /// A topic that was deleted does not answer, like a broker that is away: `topic` is looked for after a silence.
    pub fn settle(&self, commit: Commit, topic: &OffsetsTopic) -> Result<()> {
        let Commit { answer, deadline } = commit;
        let mut patience = Self::SILENCE;
        loop {
            match self.within(&answer, patience.min(deadline.saturating_duration_since(Instant::now()))) {
                Some(Err(error)) if error.kind() == Kind::Kafka => {
                    topic.look_for()?;
                    return Err(error);
                }
                Some(answer) => return answer,
                None if Instant::now() >= deadline => {
                    let waiting = self.queue.lock().records;
                    return Err(match waiting {
                        0 => self.hindered("the transaction could not be committed"),
                        _ => self.hindered(&format!("Kafka did not acknowledge {waiting} records in time")),
                    });
                }
                None => topic.look_for()?,
            }
            patience = (patience * 2).min(Self::MOST_SILENCE);
        }
    }

    /// After how long without an answer the offsets topic is looked for.
    const SILENCE: Duration = Duration::from_secs(1);
    const MOST_SILENCE: Duration = Duration::from_secs(8);
}
