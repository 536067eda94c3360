//! What the commands that look at PostgreSQL share: a connection, the moment, the tables asked for.

use crate::avro::{Encoder, RecordNames, Settings};
use crate::config::{Config, Source};
use crate::poll::sql;
use crate::poll::{Choice, Moment, Stream, TableName, Watermark, Window, Work, choose, source};
use crate::postgres::{Connection, Description, Head, Session};
use crate::{Error, Kind, Result};

/// One look at the source.
pub struct Survey {
    /// Idle between questions.
    pub connection: Connection,
    /// Who we are.
    pub session: Session,
    /// The server's place and snapshot.
    pub moment: Moment,
    /// The tables asked for.
    pub choices: Vec<Choice>,
}

/// An object as its next chunk would see it.
pub struct Prospect {
    /// The table, or the leaf, that is read next.
    pub source: Option<sql::Source>,
    /// The window of the sweep under way, or of the next one.
    pub work: Work,
    /// What the chunk's head found; of a query nothing.
    pub head: Option<Head>,
    /// Columns and key.
    pub description: Description,
    /// The chosen transcoders and schemas.
    pub encoder: Encoder,
}

impl Survey {
    /// Connects and looks.
    pub async fn make(config: &Config) -> Result<Survey> {
        let connection = Connection::open(&config.database, &config.name).await?;
        let session = connection.session().await?;
        let moment = connection.moment().await?;
        let choices = choose(config, connection.discover().await?);
        Ok(Survey { connection, session, moment, choices })
    }

    /// The objects of these names, each a `schema.table` or an alias of `[objects]`; all of them unless any is named.
    pub fn named(&self, config: &Config, names: &[String]) -> Result<Vec<&Choice>> {
        if names.is_empty() {
            return Ok(self.choices.iter().collect());
        }
        let find = |name: &String| {
            let table = table_name(config, name)?;
            self.choices.iter().find(|choice| choice.table.name == table).ok_or_else(|| {
                Error::new(Kind::Config, "it is no object of this connector")
                    .object(table.to_string())
                    .hint("`strandline objects` lists them; tables.include and tables.exclude decide")
            })
        };
        names.iter().map(find).collect()
    }

    /// The description as it is delivered, if it has what the mode goes by. An error ends the transaction.
    async fn fitting(&self, choice: &Choice, description: Description) -> Result<Description> {
        let shaped = choice.polling.shape.apply(description);
        let checked = shaped.and_then(|shaped| choice.polling.mode.check(false, &shaped).map(|()| shaped));
        if checked.is_err() {
            // What went wrong counts, not that the connection is gone now.
            let _ = self.connection.rollback().await;
        }
        checked
    }

    /// How rows of this description are encoded; `all_nullable` as a registry may make it.
    pub fn encoder(
        &self,
        config: &Config,
        choice: &Choice,
        description: &Description,
        all_nullable: bool,
    ) -> Result<Encoder> {
        let names = RecordNames::new(&config.topic.prefix, &choice.table.name, config.adjustment);
        let settings = Settings { money_scale: self.session.money_scale, handling: config.handling, all_nullable };
        Encoder::new(&names, description, &settings).map_err(|error| error.object(choice.table.name.to_string()))
    }

    /// Opens the object's next chunk, to be closed with [`Connection::rollback`]: the lock is held until then.
    pub async fn prospect(&self, config: &Config, choice: &Choice, stored: Option<&Watermark>) -> Result<Prospect> {
        if let Some(refused) = &choice.refused {
            let mut again = Error::new(refused.kind(), refused.to_string());
            if let Some(hint) = refused.hint_text() {
                again = again.hint(hint);
            }
            return Err(again);
        }
        let at = |error: Error| error.object(choice.table.name.to_string());
        let stored = stored.filter(|stored| stored.table == choice.table.oid);
        if let Some(query) = &choice.query {
            let (_, description) = match self.connection.open_query(&config.tables.schema, query).await {
                Ok(opened) => opened,
                Err(error) => {
                    // What went wrong counts, not that the connection is gone now.
                    let _ = self.connection.rollback().await;
                    return Err(at(error));
                }
            };
            let description = choice.polling.shape.apply(description).map_err(at)?;
            choice.polling.mode.check(true, &description).map_err(at)?;
            let encoder = self.encoder(config, choice, &description, false)?;
            let work =
                Work { leaf: 0, window: Window { from: 0, to: self.moment.snapshot.xmin }, stream: Stream::Settled };
            return Ok(Prospect { source: None, work, head: None, description, encoder });
        }
        if let Some(filter) = &choice.polling.shape.filter {
            self.connection.check_filter(filter).await.map_err(at)?;
        }
        let (leaf, window) = next(choice, stored, &self.moment)
            .ok_or_else(|| at(Error::new(Kind::Denied, "it has no partition that could be read yet")))?;
        let mut lock = true;
        let (source, head) = loop {
            let source = source(&choice.table, leaf, lock);
            match self.connection.open_chunk(&source, window).await {
                Ok(head) => break (source, head),
                // LOCK TABLE wants a right on the whole table, which a grant on columns is not.
                Err(error) if lock && error.kind() == Kind::Denied => {
                    self.connection.rollback().await?;
                    lock = false;
                }
                Err(error) => {
                    // What went wrong counts, not that the connection is gone now.
                    let _ = self.connection.rollback().await;
                    return Err(at(error));
                }
            }
        };
        let description = self.fitting(choice, head.description.clone()).await.map_err(at)?;
        let encoder = self.encoder(config, choice, &description, false)?;
        let by_index = |stored: &Watermark| {
            let cursor = choice.polling.mode.cursor()?;
            stored.bounds.index(cursor, window)
        };
        let stream = match stored.filter(|_| !window.is_load()).and_then(by_index) {
            Some(_) => Stream::Index,
            None if choice.polling.mode.cursor().is_some() => Stream::Poll,
            None => Stream::Settled,
        };
        let work = Work { leaf: leaf.oid, window, stream };
        Ok(Prospect { source: Some(source), work, head: Some(head), description, encoder })
    }
}

/// The leaf whose sweep is under way, else the one that is furthest behind, and its window.
fn next<'a>(
    choice: &'a Choice,
    stored: Option<&Watermark>,
    moment: &Moment,
) -> Option<(&'a crate::postgres::FoundLeaf, Window)> {
    let progress = |oid: &u32| stored.and_then(|stored| stored.leaves.get(oid));
    let floor = |oid: &u32| progress(oid).map_or(0, |leaf| leaf.floor);
    let under_way =
        choice.table.leaves.iter().find(|leaf| progress(&leaf.oid).is_some_and(|leaf| leaf.sweep.is_some()));
    let leaf = under_way.or_else(|| choice.table.leaves.iter().min_by_key(|leaf| floor(&leaf.oid)))?;
    let ahead = Window { from: floor(&leaf.oid), to: moment.snapshot.xmin.max(floor(&leaf.oid)) };
    Some((leaf, progress(&leaf.oid).and_then(crate::poll::Leaf::window).unwrap_or(ahead)))
}

/// The table that a word on the command line means.
pub fn table_name(config: &Config, name: &str) -> Result<TableName> {
    if let Some(object) = config.objects.get(name) {
        return Ok(match &object.source {
            Source::Table(table) => table.clone(),
            Source::Query(_) => TableName::query(name),
        });
    }
    TableName::parse(name, &config.tables.schema)
        .map_err(|problem| Error::new(Kind::Config, format!("`{name}` is not a table's name: {problem}")))
}
