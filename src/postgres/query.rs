//! A query's transaction: head, description. Its rows come as those of a chunk.

use std::collections::HashSet;

use super::catalog::Description;
use super::session::{moment, read};
use super::{Connection, classify};
use crate::poll::sql::{self, Clock};
use crate::poll::{Moment, filter_words};
use crate::{Error, Kind, Result};

impl Connection {
    /// Opens a transaction that can only read, and has the server describe the query before it runs. An error leaves the
    /// transaction open: [`Connection::rollback`] ends it.
    pub async fn open_query(&self, schema: &str, query: &str) -> Result<(Moment, Description)> {
        let rows = self.rows(&sql::query_head(schema)).await?;
        let first =
            rows.first().ok_or_else(|| Error::new(Kind::Transient, "the head of a query's transaction gave no row"))?;
        let moment = moment(first)?;
        // The server parses it as one statement: a second one, or what would end the parenthesis, is an error here.
        let described = self.client().prepare(&sql::wrapped(query)).await.map_err(|error| refused(classify(error)))?;
        let columns = described.columns();
        name_each_column(columns.iter().map(|column| column.name()))?;
        let columns = columns.iter().map(|column| (column.name(), column.type_().oid(), column.type_modifier()));
        let rows = self.rows(&sql::describe_columns(columns)).await?;
        let row =
            rows.first().ok_or_else(|| Error::new(Kind::Transient, "a query's columns could not be described"))?;
        Ok((moment, Description::from_json(&read::<String>(row, "description")?)?))
    }

    /// Whether a `where` depends on the row alone: a row that enters it as time goes by would never be seen.
    pub async fn check_filter(&self, filter: &str) -> Result<()> {
        let (_, functions) = filter_words(filter);
        match self.changing(&functions).await? {
            None => Ok(()),
            Some(name) => Err(Error::new(
                Kind::Denied,
                format!("its where calls {name}(), whose answer depends on more than the row"),
            )
            .hint("rows that enter the condition later would never be delivered; compare columns with each other and with constants")),
        }
    }

    /// The server's clock as a cursor of this sort counts it, if the server writes it.
    pub async fn clock_micros(&self, clock: Clock, zone: Option<&str>) -> Result<Option<i128>> {
        let Some(sql) = sql::clock_micros(clock, zone) else { return Ok(None) };
        match self.rows(&sql).await?.first() {
            Some(row) => read(row, "now").map(Some),
            None => Ok(None),
        }
    }
}

fn refused(error: Error) -> Error {
    match error.kind() {
        Kind::Transient | Kind::Io | Kind::Refused => error,
        kind => Error::new(kind, "PostgreSQL does not take the query")
            .hint("it is read as SELECT * FROM (your query): run that in psql, as the connector's role")
            // What the statement's error means for a table does not hold for a query: the server's words do.
            .because(match error.cause_text() {
                Some(_) => error.causes(),
                None => error.to_string(),
            }),
    }
}

/// A record's fields need names, each one once.
fn name_each_column<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    for (at, name) in names.enumerate() {
        if name == "?column?" {
            return Err(Error::new(Kind::Denied, format!("output column {} of the query has no name", at + 1))
                .hint("give it one: SELECT … AS total"));
        }
        if !seen.insert(name) {
            return Err(Error::new(Kind::Denied, format!("two output columns of the query are called \"{name}\""))
                .hint("give one of them another name: SELECT … AS customer_id"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_needs_a_name_of_its_own() {
        assert!(name_each_column(["a", "b"].into_iter()).is_ok());
        assert!(name_each_column(["a", "?column?"].into_iter()).unwrap_err().to_string().contains("column 2"));
        assert!(name_each_column(["a", "b", "a"].into_iter()).unwrap_err().to_string().contains("\"a\""));
    }
}
