//! The rows of a COPY, one by one; of several at a time as they come.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio_postgres::CopyOutStream;

use super::tap::{Basin, Buffer};
use super::{Connection, classify};
use crate::{Error, Kind, Result};

/// The binary COPY's signature, flags and an empty extension.
const HEADER: usize = 19;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The rows of a COPY, or of several that read parts of one table side by side, as binary tuples. Dropped before their end
/// they make the connections useless.
#[derive(Default)]
pub struct Rows {
    copies: Vec<Copy>,
    /// Whose rows are at hand.
    at: usize,
    /// Where the next one is, if it was waited for.
    ahead: Option<Range<usize>>,
}

/// One COPY.
struct Copy {
    open: Open,
    /// Its rows at hand.
    buffer: Buffer,
    /// What the driver says of the COPY beside its rows: its end, or why it failed.
    stream: Pin<Box<CopyOutStream>>,
    begun: bool,
    complete: bool,
}

impl Connection {
    /// Sends the COPY.
    pub async fn copy(&self, sql: &str) -> Result<Rows> {
        let mut open = Open { basin: self.basin.clone(), ended: false };
        let copy = match self.client().copy_out(sql).await {
            Ok(stream) => {
                Copy { open, buffer: Buffer::default(), stream: Box::pin(stream), begun: false, complete: false }
            }
            Err(error) => {
                open.ended = true;
                return Err(classify(error));
            }
        };
        Ok(Rows { copies: vec![copy], at: 0, ahead: None })
    }
}

/// A COPY that was sent and whose end has not come: from the first moment on somebody has to take its rows.
struct Open {
    basin: Basin,
    ended: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.basin.give_up();
        }
    }
}

impl Rows {
    /// Those of another connection too, as they come.
    pub fn beside(&mut self, other: Rows) {
        self.copies.extend(other.copies);
    }

    /// The next tuple (a 16-bit count of fields, then each field's 32-bit length and bytes), or `None` after the trailer:
    /// only then is the chunk complete, as the server may fail after any row.
    pub async fn next(&mut self) -> Result<Option<&[u8]>> {
        self.ready().await?;
        let Some(place) = self.ahead.take() else { return Ok(None) };
        Ok(self.copies.get(self.at).map(|copy| copy.buffer.get(place)))
    }

    /// Waits until a tuple is at hand, or the end has come. Whoever gives it up may wait again.
    pub async fn ready(&mut self) -> Result<()> {
        while self.ahead.is_none() {
            self.ahead = self.copies.get_mut(self.at).map(Copy::next).transpose()?.flatten();
            if self.ahead.is_none() && !self.fill().await? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for any of them to have more; `false`: all have ended.
    async fn fill(&mut self) -> Result<bool> {
        poll_fn(|cx| {
            let mut ended = true;
            // Those behind the one at hand first, so that none is kept waiting by another that is always quick.
            let count = self.copies.len();
            for at in (self.at + 1..count).chain(0..count.min(self.at + 1)) {
                let Some(copy) = self.copies.get_mut(at) else { continue };
                match copy.poll_fill(cx) {
                    Poll::Ready(Ok(true)) => {
                        self.at = at;
                        return Poll::Ready(Ok(true));
                    }
                    Poll::Ready(Ok(false)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => ended = false,
                }
            }
            if ended { Poll::Ready(Ok(false)) } else { Poll::Pending }
        })
        .await
    }
}

impl Copy {
    /// Where the next tuple is among those at hand.
    fn next(&mut self) -> Result<Option<Range<usize>>> {
        while let Some(mut place) = self.buffer.next() {
            if !self.begun {
                if place.len() < HEADER || !self.buffer.get(place.clone()).starts_with(SIGNATURE) {
                    return Err(broken("it does not begin with its signature"));
                }
                self.begun = true;
                place.start += HEADER;
            }
            match self.buffer.get(place.clone()) {
                [0xff, 0xff, ..] => self.complete = true,
                [_, _, ..] if !self.complete => return Ok(Some(place)),
                [_, _, ..] => return Err(broken("a row follows its trailer")),
                // The header may come alone.
                _ => {}
            }
        }
        Ok(None)
    }

    /// More of its rows; `false`: it has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        loop {
            if self.open.basin.poll_take(cx, &mut self.buffer) {
                return Poll::Ready(Ok(true));
            }
            if self.open.ended {
                let whole = self.complete;
                return Poll::Ready(if whole { Ok(false) } else { Err(broken("it ends without its trailer")) });
            }
            match ready!(self.stream.as_mut().poll_next(cx)) {
                // It is told after all rows have come; some may have come since we looked.
                None => self.open.ended = true,
                Some(Ok(_)) => return Poll::Ready(Err(broken("a row came past its reader"))),
                Some(Err(error)) => {
                    // What the server refuses has ended.
                    self.open.ended = error.as_db_error().is_some();
                    return Poll::Ready(Err(classify(error)));
                }
            }
        }
    }
}

fn broken(what: &str) -> Error {
    Error::new(Kind::Transient, format!("the binary COPY is malformed: {what}"))
        .hint("is something between us and PostgreSQL that rewrites answers?")
}
