//! What a record tells of its origin, where that was asked for (`topic.headers`). Values are text.

use crate::config::Header;
use crate::poll::TableName;

/// The headers of one chunk's records.
#[derive(Clone, Debug)]
pub struct Headers {
    /// Those that all of them share.
    fixed: Vec<(&'static str, String)>,
    /// Whether each has the id of its transaction.
    xid: bool,
    /// The headers of the record at hand.
    pub current: Vec<(&'static str, String)>,
}

impl Headers {
    /// None if nobody asked for any, which is how the hot path stays as it is.
    pub fn new(asked: &[Header], table: &TableName, mode: &str, load: bool, read_at_ms: i64) -> Option<Headers> {
        let value = |header: &Header| {
            let value = match header {
                Header::Table => table.to_string(),
                Header::Mode => mode.to_owned(),
                Header::Snapshot => load.to_string(),
                Header::TsMs => read_at_ms.to_string(),
                Header::Xid => return None,
            };
            Some((header.name(), value))
        };
        let fixed: Vec<(&'static str, String)> = asked.iter().filter_map(value).collect();
        (!asked.is_empty()).then(|| Headers { fixed, xid: asked.contains(&Header::Xid), current: Vec::new() })
    }

    /// Whether each record tells the id of its transaction.
    pub fn with_xid(&self) -> bool {
        self.xid
    }

    /// How many bytes they may take.
    pub fn size(&self) -> usize {
        /// A header's own lengths, and an id.
        const EACH: usize = 24;
        let all = self.fixed.iter().map(|(name, value)| name.len() + value.len() + EACH);
        all.sum::<usize>() + Header::Xid.name().len() + EACH
    }

    /// Puts the headers of the next record together.
    pub fn set(&mut self, xid: Option<u32>) {
        self.current.clone_from(&self.fixed);
        if let Some(xid) = xid.filter(|_| self.xid) {
            self.current.push((Header::Xid.name(), xid.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(asked: &[Header]) -> Option<Headers> {
        Headers::new(asked, &TableName::new("public", "orders"), "xmin", true, 1_700_000_000_042)
    }

    #[test]
    fn nothing_asked_for_costs_nothing() {
        assert!(headers(&[]).is_none());
    }

    #[test]
    fn each_record_tells_what_was_asked_for() {
        let mut headers = headers(&[Header::Table, Header::Snapshot, Header::TsMs, Header::Xid]).unwrap();
        headers.set(Some(775));
        let told: Vec<String> = headers.current.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            told,
            [
                "strandline.table=public.orders",
                "strandline.snapshot=true",
                "strandline.ts_ms=1700000000042",
                "strandline.xid=775"
            ]
        );
    }

    #[test]
    fn an_id_that_nobody_asked_for_is_not_told() {
        let mut headers = headers(&[Header::Mode]).unwrap();
        headers.set(Some(775));
        assert_eq!(headers.current, [("strandline.mode", "xmin".to_owned())]);
    }
}
