//! One chunk's transaction: head, rows, end.

use std::collections::BTreeSet;

use super::Connection;
use super::catalog::Description;
use super::session::{Place, moment, place, read};
use crate::poll::sql::{self, Source};
use crate::poll::{Ages, Moment, Snapshot, Tid, Window};
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

    /// A name for the snapshot of the chunk that is open, under which others can take it.
    pub async fn export_snapshot(&self) -> Result<String> {
        let rows = self.rows(sql::export_snapshot()).await?;
        let row = rows.first().ok_or_else(|| Error::new(Kind::Transient, "a snapshot was exported without a name"))?;
        read(row, "exported")
    }

    /// Opens a transaction in the snapshot of a chunk that is open on another connection, which holds the lock meanwhile; the
    /// window's bounds as ages *here*. An error leaves the transaction open.
    pub async fn join_chunk(&self, exported: &str, source: &Source, window: Window, head: &Head) -> Result<Ages> {
        let rows = self.rows(&sql::join(exported, source, window)).await.map_err(|error| {
            // Nothing else of the statement can be an unknown object or an invalid value: the lock goes by names that are there.
            let causes = error.causes();
            match ["22023", "42704"].iter().any(|state| causes.contains(&format!("SQLSTATE {state}"))) {
                true => Error::new(Kind::Transient, "the server does not know another connection's snapshot")
                    .because(causes)
                    .hint("do all connections reach the same server?"),
                false => error,
            }
        })?;
        let row = rows.first().ok_or_else(|| Error::new(Kind::Transient, "a chunk was joined without an answer"))?;
        if read::<Snapshot>(row, "snapshot")? != head.moment.snapshot {
            return Err(Error::new(Kind::Transient, "another snapshot than the one that was exported"));
        }
        Ok(Ages { from: read(row, "age_from")?, to: read(row, "age_to")? })
    }

    /// Looks at the table's place again, where no lock of ours holds it still.
    pub async fn place_again(&self, source: &Source) -> Result<Place> {
        match self.rows(&sql::place_again(source)).await?.first() {
            Some(row) => place(row),
            None => Err(Error::new(Kind::Changed, "the table is not there any more")),
        }
    }

    /// The rows at these places as text, in the transaction and snapshot that read them: OID of their table, place, and the JSON
    /// of [`sql::row_text`].
    pub async fn rows_as_text(&self, sql: &str) -> Result<Vec<(u32, Tid, String)>> {
        let rows = self.rows(sql).await?;
        rows.iter().map(|row| Ok((read(row, "tableoid")?, read(row, "ctid")?, read(row, "row")?))).collect()
    }

    /// Rows of a query as text; see [`sql::query_rows`].
    pub async fn texts(&self, sql: &str) -> Result<Vec<String>> {
        self.rows(sql).await?.iter().map(|row| read(row, "row")).collect()
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

fn numbers(text: &str) -> Result<BTreeSet<i16>> {
    let numbers = text.split(',').filter(|number| !number.is_empty()).map(str::parse);
    numbers.collect::<Result<_, _>>().map_err(|error| {
        Error::new(Kind::Transient, format!("the head of a chunk gave `{text}` for columns")).because(error)
    })
}
