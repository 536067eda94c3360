//! One chunk's transaction: head, rows, end.

use std::collections::BTreeSet;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio_postgres::CopyOutStream;

use super::catalog::Description;
use super::session::{Place, moment, place, read};
use super::{Connection, classify};
use crate::poll::sql::{self, Source};
use crate::poll::{Ages, Moment, Tid, Window};
use crate::{Error, Kind, Result};

/// What the head of a chunk's transaction found, under its lock and in its snapshot.
#[derive(Clone, Debug)]
pub struct Head {
    /// The snapshot, the log's positions, the markers.
    pub moment: Moment,
    /// The window's bounds as ages in this transaction.
    pub ages: Ages,
    /// The table's file.
    pub place: Place,
    /// The numbers of columns that were added with a default without a rewrite.
    pub defaulted: BTreeSet<i16>,
    /// How many bytes the fields take that were put aside for their size.
    pub toast: u64,
    /// Columns and key.
    pub description: Description,
}

/// The binary COPY's signature, flags and an empty extension.
const HEADER: usize = 19;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

impl Connection {
    /// Opens the transaction: pins the session, locks, takes the snapshot, looks at the table. An error leaves the
    /// transaction open: [`Connection::rollback`] ends it.
    pub async fn open_chunk(&self, source: &Source, window: Window) -> Result<Head> {
        let rows = self.rows(&sql::head(source, window)).await?;
        let [first, second] = &rows[..] else {
            return Err(Error::new(Kind::Transient, format!("the head of a chunk gave {} rows, not 2", rows.len())));
        };
        Ok(Head {
            moment: moment(first)?,
            ages: Ages { from: read(first, "age_from")?, to: read(first, "age_to")? },
            place: place(first)?,
            toast: read(first, "toast")?,
            defaulted: numbers(&read::<String>(first, "defaulted")?)?,
            description: Description::from_json(&read::<String>(second, "description")?)?,
        })
    }

    /// Looks at the table's place again, where no lock of ours holds it still.
    pub async fn place_again(&self, source: &Source) -> Result<Place> {
        match self.rows(&sql::place_again(source)).await?.first() {
            Some(row) => place(row),
            None => Err(Error::new(Kind::Changed, "the table is not there any more")),
        }
    }

    /// Sends the COPY.
    pub async fn copy(&self, sql: &str) -> Result<Rows> {
        let stream = self.client().copy_out(sql).await.map_err(classify)?;
        Ok(Rows { stream: Box::pin(stream), begun: false, complete: false })
    }

    /// The rows at these places as text, in the transaction and snapshot that read them: OID of their table, place, and the JSON
    /// of [`sql::row_text`].
    pub async fn rows_as_text(&self, sql: &str) -> Result<Vec<(u32, Tid, String)>> {
        let rows = self.rows(sql).await?;
        rows.iter().map(|row| Ok((read(row, "tableoid")?, read(row, "ctid")?, read(row, "row")?))).collect()
    }

    /// The transactions that wrote some rows; see [`sql::versions`].
    pub async fn versions(&self, sql: &str) -> Result<Vec<u32>> {
        self.rows(sql).await?.iter().map(|row| read(row, "xmin")).collect()
    }

    /// Ends the transaction; the locks are gone after it.
    pub async fn commit(&self) -> Result<()> {
        self.rows("COMMIT").await.map(drop)
    }

    /// Gives the transaction up.
    pub async fn rollback(&self) -> Result<()> {
        self.rows("ROLLBACK").await.map(drop)
    }
}

/// The rows of a COPY, as binary tuples.
pub struct Rows {
    stream: Pin<Box<CopyOutStream>>,
    begun: bool,
    complete: bool,
}

impl Rows {
    /// The next tuple (a 16-bit count of fields, then each field's 32-bit length and bytes), or `None` after the trailer:
    /// only then is the chunk complete, as the server may fail after any row.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(message) = self.stream.next().await else {
                return if self.complete { Ok(None) } else { Err(broken("it ends without its trailer")) };
            };
            let mut tuple = message.map_err(classify)?;
            if !self.begun {
                if tuple.len() < HEADER || !tuple.starts_with(SIGNATURE) {
                    return Err(broken("it does not begin with its signature"));
                }
                self.begun = true;
                tuple = tuple.slice(HEADER..);
            }
            match tuple.get(..2) {
                Some([0xff, 0xff]) => self.complete = true,
                Some(_) if !self.complete => return Ok(Some(tuple)),
                Some(_) => return Err(broken("a row follows its trailer")),
                // The header may come alone.
                None => {}
            }
        }
    }
}

fn numbers(text: &str) -> Result<BTreeSet<i16>> {
    let numbers = text.split(',').filter(|number| !number.is_empty()).map(str::parse);
    numbers.collect::<Result<_, _>>().map_err(|error| {
        Error::new(Kind::Transient, format!("the head of a chunk gave `{text}` for columns")).because(error)
    })
}

fn broken(what: &str) -> Error {
    Error::new(Kind::Transient, format!("the binary COPY is malformed: {what}"))
        .hint("is something between us and PostgreSQL that rewrites answers?")
}
