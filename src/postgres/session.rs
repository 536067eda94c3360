//! Questions with short answers: the session, the moment, which tables there are, who holds the window back.

use std::str::FromStr;

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::catalog::{FoundLeaf, FoundTable};
use super::{Connection, classify};
use crate::poll::{Lsn, Markers, Moment, Seen, TableName, Values, sql};
use crate::{Error, Kind, Result};

/// What the server says of our session once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `server_version_num`.
    pub version: u32,
    /// Fraction digits of `money`, from the server's `lc_monetary`.
    pub money_scale: u8,
    /// `current_user`.
    pub role: String,
    /// Our address as the server sees it, for allow-lists; empty on a socket.
    pub address: String,
}

/// The oldest transaction that has written and still runs: no window ends beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// A pid, or `prepared '<gid>'`.
    pub who: String,
    /// The database in which it runs.
    pub database: String,
    /// Whose transaction it is.
    pub user: String,
    /// Its id, 32 bits.
    pub xid: u32,
    /// How many ids ago it began.
    pub age: i64,
}

/// Where a table's rows lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `pg_relation_filenode`: a rewrite changes it.
    pub filenode: u32,
    /// The file's size in blocks.
    pub blocks: u32,
    /// The OID behind the name; 0: none, or no partition of its root any more where it is read through that.
    pub oid: u32,
    /// What [`Source::constraint`](crate::poll::sql::Source) is now.
    pub constraint: Option<String>,
}

/// The oldest version whose functions are all there: `pg_current_snapshot` and friends are older, TID range scans are not.
const OLDEST: u32 = 140_000;

impl Connection {
    /// Runs statements in one round trip; the rows of all of them.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>> {
        let messages = self.client().simple_query(sql).await.map_err(classify)?;
        Ok(messages
            .into_iter()
            .filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None })
            .collect())
    }

    async fn row(&self, sql: &str) -> Result<SimpleQueryRow> {
        self.rows(sql).await?.into_iter().next().ok_or_else(|| unreadable("row", "none"))
    }

    /// Who and where we are. Refuses a server older than PostgreSQL 14.
    pub async fn session(&self) -> Result<Session> {
        let row = self.row(sql::session()).await?;
        let session = Session {
            version: read(&row, "version")?,
            money_scale: read(&row, "money_scale")?,
            role: read(&row, "role")?,
            address: read(&row, "address")?,
        };
        if session.version < OLDEST {
            return Err(Error::new(Kind::Refused, format!("PostgreSQL {} is too old", session.version / 10_000))
                .hint("PostgreSQL 14 and later are read"));
        }
        Ok(session)
    }

    /// One look at the server.
    pub async fn moment(&self) -> Result<Moment> {
        moment(&self.row(&sql::moment()).await?)
    }

    /// What the server's clock shows, in milliseconds since 1970.
    pub async fn clock(&self) -> Result<i64> {
        read(&self.row(sql::clock()).await?, "clock")
    }

    /// The transactions that run in this database, by virtual id.
    pub async fn running(&self) -> Result<Vec<String>> {
        let running: String = read(&self.row(sql::running()).await?, "running")?;
        Ok(running.split_whitespace().map(str::to_owned).collect())
    }

    /// What the cursors are at.
    pub async fn highest(&self, ask: &sql::Highest<'_>) -> Result<Seen> {
        let row = self.row(&sql::highest(ask)).await?;
        let text = |name: &str| row.try_get(name).map(|value| value.map(str::to_owned)).map_err(classify);
        Ok(Seen {
            clock: text("clock")?,
            highest: Values { timestamp: text("timestamp")?, incrementing: text("incrementing")? },
        })
    }

    /// Whether an index begins with this column.
    pub async fn has_index(&self, table: u32, column: i16) -> Result<bool> {
        flag(&self.row(&sql::has_index(table, column)).await?, "found")
    }

    /// The first of these functions that has no immutable form.
    pub async fn changing(&self, functions: &[String]) -> Result<Option<String>> {
        if functions.is_empty() {
            return Ok(None);
        }
        let row = self.row(&sql::changing(functions)).await?;
        row.try_get("changing").map(|name| name.map(str::to_owned)).map_err(classify)
    }

    /// How far the write-ahead log is on disk.
    pub async fn flushed(&self) -> Result<Lsn> {
        read(&self.row(sql::flushed()).await?, "flushed")
    }

    /// Every table, view and foreign table outside the system's schemas.
    pub async fn discover(&self) -> Result<Vec<FoundTable>> {
        let mut tables: Vec<FoundTable> = Vec::new();
        for row in self.rows(sql::discover()).await? {
            let oid = read(&row, "oid")?;
            if tables.last().is_none_or(|last| last.oid != oid) {
                tables.push(FoundTable {
                    oid,
                    name: TableName::new(read::<String>(&row, "nspname")?, read::<String>(&row, "relname")?),
                    kind: read(&row, "relkind")?,
                    granted: flag(&row, "granted")?,
                    leaves: Vec::new(),
                    query: None,
                });
            }
            // A partitioned table without partitions has no leaf.
            let leaf = row.try_get("leaf").map_err(classify)?.is_some();
            if let (true, Some(table)) = (leaf, tables.last_mut()) {
                table.leaves.push(FoundLeaf {
                    oid: read(&row, "leaf")?,
                    name: TableName::new(read::<String>(&row, "leaf_schema")?, read::<String>(&row, "leaf_name")?),
                    kind: read(&row, "leaf_kind")?,
                    access_method: read(&row, "leaf_access_method")?,
                    granted: flag(&row, "leaf_granted")?,
                    constraint: row.try_get("leaf_constraint").map_err(classify)?.map(str::to_owned),
                });
            }
        }
        Ok(tables)
    }

    /// Who holds the window back, if anyone does.
    pub async fn holder(&self) -> Result<Option<Holder>> {
        let Some(row) = self.rows(sql::holder()).await?.into_iter().next() else { return Ok(None) };
        let text = |name: &str| row.try_get(name).map(|text| text.unwrap_or_default().to_owned()).map_err(classify);
        Ok(Some(Holder {
            who: text("who")?,
            database: text("datname")?,
            user: text("usename")?,
            xid: read(&row, "xid")?,
            age: read(&row, "age")?,
        }))
    }

    /// The change counters of these tables, by OID.
    pub async fn changes(&self, leaves: &[u32]) -> Result<Vec<(u32, i64)>> {
        let rows = self.rows(&sql::changes(leaves)).await?;
        rows.iter().map(|row| Ok((read(row, "oid")?, read(row, "changes")?))).collect()
    }
}

/// Reads the columns of a moment.
pub(super) fn moment(row: &SimpleQueryRow) -> Result<Moment> {
    let timeline: String = read(row, "timeline")?;
    let replayed = row.try_get("replayed").map_err(classify)?;
    Ok(Moment {
        snapshot: read(row, "snapshot")?,
        lsn: read(row, "lsn")?,
        flushed: read(row, "flushed")?,
        replayed: replayed.map(|text| text.parse().map_err(|_| unreadable("replayed", text))).transpose()?,
        markers: Markers {
            system: read::<i64>(row, "system")?.cast_unsigned(),
            database: read(row, "database")?,
            timeline: u32::from_str_radix(&timeline, 16).map_err(|_| unreadable("timeline", &timeline))?,
            in_recovery: flag(row, "in_recovery")?,
            started: read(row, "started")?,
            stats_reset: read(row, "stats_reset")?,
        },
    })
}

/// Reads the columns of a place.
pub(super) fn place(row: &SimpleQueryRow) -> Result<Place> {
    Ok(Place {
        filenode: read(row, "filenode")?,
        blocks: read(row, "blocks")?,
        oid: read(row, "oid")?,
        constraint: row.try_get("leaf_constraint").map_err(classify)?.map(str::to_owned),
    })
}

pub(super) fn read<T: FromStr>(row: &SimpleQueryRow, name: &str) -> Result<T> {
    let text = row.try_get(name).map_err(classify)?.ok_or_else(|| unreadable(name, "null"))?;
    text.parse().map_err(|_| unreadable(name, text))
}

fn flag(row: &SimpleQueryRow, name: &str) -> Result<bool> {
    match row.try_get(name).map_err(classify)? {
        Some("t") => Ok(true),
        Some("f") => Ok(false),
        other => Err(unreadable(name, other.unwrap_or("null"))),
    }
}

fn unreadable(name: &str, found: &str) -> Error {
    Error::new(Kind::Transient, format!("the server's answer `{name}` is `{found}`, which cannot be"))
        .hint("is something between us and PostgreSQL that rewrites answers?")
}
