//! What the planner thinks of a statement, and how large tables are: nothing is read.

use serde::Deserialize;

use super::session::read;
use super::{Connection, classify};
use crate::poll::sql;
use crate::{Error, Kind, Result};

/// The planner's estimate.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Estimate {
    /// The topmost step, such as `Tid Range Scan`.
    #[serde(rename = "Node Type")]
    pub node: String,
    /// In units of one page read in sequence.
    #[serde(rename = "Total Cost")]
    pub cost: f64,
    /// How many rows it expects.
    #[serde(rename = "Plan Rows")]
    pub rows: f64,
    /// Their average width, in bytes.
    #[serde(rename = "Plan Width")]
    pub width: u32,
}

#[derive(Deserialize)]
struct Explained {
    #[serde(rename = "Plan")]
    plan: Estimate,
}

impl Connection {
    /// Plans a query without running it.
    pub async fn explain(&self, query: &str) -> Result<Estimate> {
        let unreadable = || Error::new(Kind::Transient, "the server's EXPLAIN is not readable");
        let rows = self.rows(&format!("EXPLAIN (FORMAT JSON) {query}")).await?;
        let text = rows.first().ok_or_else(unreadable)?.try_get(0).map_err(classify)?.unwrap_or_default();
        estimate(text).ok_or_else(unreadable)
    }

    /// Whether a query would be run, rights, row security and unpopulated views considered: it is begun, and no row is read.
    pub async fn would_run(&self, query: &str) -> Result<()> {
        self.rows(&format!("SELECT FROM (\n{query}\n) AS \"query\" LIMIT 0")).await.map(drop)
    }

    /// How many bytes these tables' rows take on disk, without indexes and what is stored out of line.
    pub async fn size(&self, leaves: &[u32]) -> Result<u64> {
        match self.rows(&sql::size(leaves)).await?.first() {
            Some(row) => read(row, "size"),
            None => Ok(0),
        }
    }
}

fn estimate(json: &str) -> Option<Estimate> {
    let explained: Vec<Explained> = serde_json::from_str(json).ok()?;
    explained.into_iter().next().map(|explained| explained.plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_step_counts() {
        let json = r#"[{"Plan":{"Node Type":"Tid Range Scan","Parallel Aware":false,"Relation Name":"orders","Startup Cost":0.01,
            "Total Cost":21.5,"Plan Rows":7,"Plan Width":44,"Plans":[]}}]"#;
        let read = estimate(json).unwrap();
        assert_eq!((read.node.as_str(), read.cost, read.rows, read.width), ("Tid Range Scan", 21.5, 7.0, 44));
        assert_eq!(estimate("[]"), None);
        assert_eq!(estimate("QUERY PLAN"), None);
    }
}
