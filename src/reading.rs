//! One COPY on its way into the producer: tuple by tuple, transcoded into batches, never keeping PostgreSQL waiting.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::headers::Headers;
use crate::kafka::{Append, Batch};
use crate::lead;
use crate::lookback::LookingBack;
use crate::object::Plan;
use crate::owner::{Owner, PATIENCE};
use crate::poll::{CHUNK_BYTES, TableName};
use crate::postgres::Connection;
use crate::worker::Shared;
use crate::{Error, Kind, Result};

/// One COPY on its way into the producer.
pub struct Reading<'a> {
    /// What tasks share.
    pub shared: &'a Shared,
    /// Whose rows they are.
    pub object: TableName,
    /// Where the rows go.
    pub topic: String,
    /// Whether a smaller chunk could be read instead.
    pub can_shrink: bool,
    /// The records' headers, where they were asked for.
    pub headers: Option<Headers>,
    /// Whether each row begins with the id of its transaction.
    pub with_xid: bool,
    /// Those ids, where they are to be remembered.
    pub ids: Option<BTreeSet<u32>>,
    /// A query's cursor, which knows what was delivered already.
    pub looking_back: Option<LookingBack>,
    /// One snapshot for several Kafka transactions: whatever is full is committed in between.
    pub between: bool,
}

impl Reading<'_> {
    /// How many rows and bytes. The source is never kept waiting for Kafka longer than `source.stall`: a backend that is
    /// blocked in COPY holds its lock, an ALTER TABLE queues behind it, and the application's reads behind that.
    pub async fn read(
        &mut self,
        connection: &Connection,
        copy: &str,
        plan: &mut Plan,
        owner: &mut Owner,
        batch: &mut Batch,
    ) -> Result<(u64, u64)> {
        let started = Instant::now();
        let longest = owner.producer.transaction_timeout() / 4;
        let mut waited = Duration::ZERO;
        let (mut rows, mut bytes, mut counted) = (0, 0, 0);
        batch.clear();
        let mut tuples = connection.copy(copy).await?;
        while let Some(mut tuple) = tuples.next().await? {
            let mut leading = Vec::new();
            if let Some(looking_back) = &self.looking_back {
                (leading, tuple) = lead::split(&tuple, looking_back.columns())?;
            }
            let mut id = None;
            if self.with_xid {
                let (leading, rest) = lead::split(&tuple, 1)?;
                id = Some(lead::xid(leading.first())?);
                tuple = rest;
            }
            if let Some(headers) = &mut self.headers {
                headers.set(id);
            }
            if let (Some(ids), Some(id)) = (&mut self.ids, id) {
                ids.insert(id);
            }
            let (key, value) = batch.buffers();
            plan.encoder.encode(&tuple, key, value)?;
            if let Some(looking_back) = &mut self.looking_back {
                let (key, value) = batch.unfinished();
                if !looking_back.meet(&leading, key, value)? {
                    batch.discard();
                    continue;
                }
            }
            bytes += batch.finish() as u64;
            rows += 1;
            if batch.is_full() || self.headers.is_some() {
                self.hand_over(owner, batch, &mut waited)?;
                if self.between && owner.is_full() {
                    owner.bytes += bytes - counted;
                    counted = bytes;
                    if let Some(looking_back) = &mut self.looking_back {
                        owner.look_back(&self.object, looking_back.settle(false));
                        looking_back.stored();
                    }
                    owner.commit(&self.shared.offsets, PATIENCE)?;
                }
                let too_much = started.elapsed() > longest || bytes > 2 * CHUNK_BYTES;
                if too_much && self.can_shrink {
                    return Err(Error::new(Kind::Stalled, "the chunk is too much for one transaction"));
                }
            }
        }
        if !batch.is_empty() {
            self.hand_over(owner, batch, &mut waited)?;
        }
        owner.bytes += bytes - counted;
        Ok((rows, bytes))
    }

    fn hand_over(&self, owner: &mut Owner, batch: &mut Batch, waited: &mut Duration) -> Result<()> {
        owner.begin_once()?;
        owner.rows += batch.records().len() as u64;
        let headers = self.headers.as_ref();
        let mut append = |owner: &mut Owner| match headers {
            None => owner.producer.append(&self.topic, batch),
            Some(headers) => owner.producer.append_with(&self.topic, batch, &headers.current),
        };
        while let Append::Full = append(owner)? {
            let since = Instant::now();
            owner.producer.wait();
            *waited += since.elapsed();
            if *waited > self.shared.config.source_stall {
                return Err(Error::new(Kind::Stalled, format!("Kafka kept PostgreSQL waiting for {waited:.1?}"))
                    .hint("nothing: the chunk is read again, smaller; look at Kafka if it goes on"));
            }
        }
        Ok(())
    }
}
