//! One COPY on its way into the producer: tuple by tuple, transcoded into batches, never keeping PostgreSQL waiting.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::headers::Headers;
use crate::kafka::{Append, Batch};
use crate::lead::{self, Lead, Led};
use crate::letter::Letter;
use crate::lookback::LookingBack;
use crate::object::{Object, Plan};
use crate::owner::Owner;
use crate::poll::{CHUNK_BYTES, TableName};
use crate::postgres::{Connection, Rows};
use crate::unfit::{Fate, Odd, TRUNCATED, Unfit};
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
    /// What leads each row, behind a query's cursor.
    pub lead: Lead,
    /// The rows' transactions, where they are to be remembered.
    pub ahead: Option<Ahead>,
    /// A query's cursor, which knows what was delivered already.
    pub looking_back: Option<LookingBack>,
    /// One snapshot for several Kafka transactions: whatever is full is committed in between.
    pub between: bool,
    /// What becomes of rows that do not fit.
    pub unfit: Unfit,
    /// What the object's progress counts already: with what was committed in between.
    pub counted: Tally,
}

/// The transactions whose rows are read ahead of the settled window.
pub struct Ahead {
    /// Their ids.
    pub ids: BTreeSet<u32>,
    most: usize,
}

impl Ahead {
    /// None yet, and so many at most.
    pub fn of(most: usize) -> Ahead {
        Ahead { ids: BTreeSet::new(), most }
    }

    /// Whether there are more than can be remembered.
    pub fn is_beyond(&self) -> bool {
        self.ids.len() > self.most
    }
}

/// Rows and bytes delivered, and rows that went to the dead-letter topic.
#[derive(Default)]
pub struct Tally {
    rows: u64,
    bytes: u64,
    letters: u64,
}

/// So many letters at most are kept for one chunk that could be smaller.
const MOST_LETTERS: usize = 10_000;

impl Reading<'_> {
    /// How many rows and bytes; `connection` is the one that opened the chunk. The source is never kept waiting for Kafka longer than `source.stall`: a backend that is
    /// blocked in COPY holds its lock, an ALTER TABLE queues behind it, and the application's reads behind that.
    pub async fn read(
        &mut self,
        connection: &Connection,
        mut tuples: Rows,
        plan: &mut Plan,
        owner: &mut Owner,
        batch: &mut Batch,
    ) -> Result<(u64, u64)> {
        let started = Instant::now();
        let longest = owner.producer.transaction_timeout() / 4;
        let mut waited = Duration::ZERO;
        let (mut rows, mut bytes) = (0, 0);
        batch.clear();
        let cursor = self.looking_back.as_ref().map_or(0, LookingBack::columns);
        let skip = cursor + self.lead.count();
        let most = plan.largest.saturating_sub(self.headers.as_ref().map_or(0, Headers::size));
        owner.producer.bound(&self.topic, plan.largest);
        if plan.largest_letter > 0 {
            owner.producer.bound(self.unfit.topic(), plan.largest_letter);
        }
        loop {
            if self.between {
                match tuples.ready().now_or_never() {
                    Some(ready) => ready?,
                    None => self.wait(&mut tuples, owner, batch, &mut waited, rows, bytes).await?,
                }
            }
            let Some(tuple) = tuples.next().await? else { break };
            let leading = if skip == 0 { Vec::new() } else { lead::fields(tuple, skip)? };
            let led = self.lead.read(leading.get(cursor..).unwrap_or_default())?;
            if let Some(headers) = &mut self.headers {
                headers.set(led.xid);
            }
            if let (Some(ahead), Some(id)) = (&mut self.ahead, led.xid) {
                ahead.ids.insert(id);
                if ahead.is_beyond() {
                    return Err(Error::new(Kind::Stalled, "more transactions than are remembered wrote its rows"));
                }
            }
            if let Some(looking_back) = &mut self.looking_back {
                let marker = led.marker.as_deref().unwrap_or_default().as_bytes();
                if !looking_back.meet(&leading, marker, lead::rest(tuple, &leading))? {
                    continue;
                }
            }
            let (key, value) = batch.buffers();
            let encoded = match led.marker {
                None => plan.encoder.encode_after(skip, tuple, key, value),
                Some(_) => Ok(()),
            };
            let (key, value) = batch.unfinished();
            let size = key.len() + value.len();
            if encoded.is_err() || size > most || led.marker.is_some() {
                let odd = match (encoded, &led.marker) {
                    (Err(error), _) => Odd::Row(error),
                    (_, Some(marker)) => Odd::Unread(plan.sizes(marker)?),
                    _ => Odd::Record(key.len(), value.len()),
                };
                batch.discard();
                let sent = self.set_apart(odd, &led, skip, tuple, most, plan, owner, batch, &mut waited)?;
                rows += u64::from(sent > 0);
                bytes += sent as u64;
                if self.can_shrink && self.unfit.kept() > MOST_LETTERS {
                    return Err(Error::new(Kind::Stalled, "the chunk has too many rows for the dead-letter topic"));
                }
                if self.between && owner.is_full() {
                    self.commit(owner, batch, &mut waited, rows, bytes)?;
                }
                continue;
            }
            bytes += batch.finish() as u64;
            rows += 1;
            if batch.is_full() || self.headers.is_some() {
                self.hand_over(owner, batch, &mut waited)?;
                if self.between && owner.is_full() {
                    self.commit(owner, batch, &mut waited, rows, bytes)?;
                }
                let too_much = started.elapsed() > longest || bytes > 2 * CHUNK_BYTES;
                if too_much && self.can_shrink {
                    return Err(Error::new(Kind::Stalled, "the chunk is too much for one transaction"));
                }
            }
        }
        self.hand_over(owner, batch, &mut waited)?;
        owner.bytes += bytes - self.counted.bytes;
        self.post(connection, plan, owner, &mut waited).await?;
        Ok((rows, bytes))
    }

    /// Waits for the next row. A statement may find nothing for longer than a transaction may be open: then what it found before
    /// is committed meanwhile.
    async fn wait(
        &mut self,
        tuples: &mut Rows,
        owner: &mut Owner,
        batch: &mut Batch,
        waited: &mut Duration,
        rows: u64,
        bytes: u64,
    ) -> Result<()> {
        let Some(open) = owner.open_for() else { return Ok(()) };
        let longest = crate::poll::target(owner.producer.transaction_timeout());
        match tokio::time::timeout(longest.saturating_sub(open), tuples.ready()).await {
            Ok(ready) => ready,
            Err(_) => self.commit(owner, batch, waited, rows, bytes),
        }
    }

    /// Commits what was read so far, with how far it has come.
    fn commit(
        &mut self,
        owner: &mut Owner,
        batch: &mut Batch,
        waited: &mut Duration,
        rows: u64,
        bytes: u64,
    ) -> Result<()> {
        self.hand_over(owner, batch, waited)?;
        owner.bytes += bytes - self.counted.bytes;
        if let Some(object) = owner.objects.get_mut(&self.object) {
            self.count(object, rows, bytes);
        }
        if let Some(looking_back) = &mut self.looking_back {
            owner.look_back(&self.object, looking_back.settle(false));
            looking_back.stored();
        }
        owner.commit(&self.shared.offsets)
    }

    /// Brings the object's progress up to so many rows and bytes of this COPY.
    pub fn count(&mut self, object: &mut Object, rows: u64, bytes: u64) {
        let now = Tally { rows, bytes, letters: self.unfit.letters };
        let before = std::mem::replace(&mut self.counted, now);
        object.count(rows - before.rows, bytes - before.bytes, self.unfit.letters - before.letters);
    }

    /// A row that cannot go as it is: an error, a letter, or cut; how many bytes of it were sent.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "the loop's own state, off the hot path")]
    fn set_apart(
        &mut self,
        odd: Odd,
        led: &Led,
        skip: usize,
        tuple: &[u8],
        most: usize,
        plan: &mut Plan,
        owner: &mut Owner,
        batch: &mut Batch,
        waited: &mut Duration,
    ) -> Result<usize> {
        let (mut fate, mut odd) = self.unfit.judge(odd, led, plan)?;
        if fate == Fate::Cut {
            let mut sized = Batch::default();
            let cut = self.unfit.cut(plan, skip, tuple, &odd, most, |plan, tuple| {
                let (key, value) = sized.buffers();
                plan.encoder.encode(tuple, key, value)?;
                let (key, value) = sized.unfinished();
                let size = key.len() + value.len();
                sized.discard();
                Ok(size)
            })?;
            if let Some(cut) = cut {
                self.hand_over(owner, batch, waited)?;
                let (key, value) = batch.buffers();
                plan.encoder.encode(&cut.tuple, key, value)?;
                let size = batch.finish();
                let mut headers = self.headers.as_ref().map(|headers| headers.current.clone()).unwrap_or_default();
                headers.push((TRUNCATED, cut.header));
                self.send(owner, &self.topic, batch, Some(&headers), waited)?;
                return Ok(size);
            }
            (fate, odd) = self.unfit.judge_uncut(odd, led, plan)?;
        }
        debug_assert_eq!(fate, Fate::Letter);
        if let Some(looking_back) = &mut self.looking_back {
            looking_back.is_letter();
        }
        let mut letter = self.unfit.letter(&odd, led, plan);
        if letter.columns.is_empty() {
            letter.columns = plan.to_blame(skip, tuple, letter.error);
        }
        let key = plan.encoder.key_alone(skip, tuple).filter(|key| key.len() <= most).unwrap_or_default();
        if self.unfit.is_table() {
            self.unfit.keep(letter, key);
        } else {
            self.write(letter, &key, plan, owner, waited)?;
        }
        Ok(0)
    }

    /// Reads the rows of the letters that were kept, as text, and writes them into the transaction of their neighbours.
    async fn post(
        &mut self,
        connection: &Connection,
        plan: &Plan,
        owner: &mut Owner,
        waited: &mut Duration,
    ) -> Result<()> {
        loop {
            let letters = self.unfit.next(connection, plan).await?;
            if letters.is_empty() {
                break;
            }
            for (letter, key) in letters {
                self.write(letter, &key, plan, owner, waited)?;
            }
        }
        if self.unfit.letters > 0 {
            tracing::warn!(
                object = %self.object, topic = self.unfit.topic(), letters = self.unfit.letters,
                first = self.unfit.first, "rows that could not go as they are went to the dead-letter topic"
            );
        }
        Ok(())
    }

    fn write(
        &mut self,
        letter: Letter,
        key: &[u8],
        plan: &Plan,
        owner: &mut Owner,
        waited: &mut Duration,
    ) -> Result<()> {
        self.unfit.count(&letter);
        let headers = self.unfit.headers(&letter);
        let taken: usize = key.len() + headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum::<usize>();
        // A key may take all the room there is.
        let (key, taken) = if taken * 2 > plan.largest_letter { (&[][..], taken - key.len()) } else { (key, taken) };
        let mut batch = Batch::default();
        let (keys, values) = batch.buffers();
        keys.extend_from_slice(key);
        values.extend_from_slice(&letter.to_json(plan.largest_letter.saturating_sub(taken)));
        owner.bytes += batch.finish() as u64;
        self.send(owner, self.unfit.topic(), &mut batch, Some(&headers), waited)
    }

    /// Hands the batch over, if it has any rows.
    fn hand_over(&self, owner: &mut Owner, batch: &mut Batch, waited: &mut Duration) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let headers = self.headers.as_ref().map(|headers| &headers.current[..]);
        self.send(owner, &self.topic, batch, headers, waited)
    }

    fn send(
        &self,
        owner: &mut Owner,
        topic: &str,
        batch: &mut Batch,
        headers: Option<&[(&'static str, String)]>,
        waited: &mut Duration,
    ) -> Result<()> {
        owner.begin_once()?;
        owner.rows += batch.records().len() as u64;
        let mut append = |owner: &mut Owner| match headers {
            None => owner.producer.append(topic, batch),
            Some(headers) => owner.producer.append_with(topic, batch, headers),
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
