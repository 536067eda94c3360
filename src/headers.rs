//! What a record tells of its origin, where that was asked for (`topic.headers`). Values are text.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::config::Header;
use crate::poll::TableName;
use crate::{Error, Kind, Result};

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

    /// What COPY selects: the id comes first, where it is asked for.
    pub fn select_list<'a>(&self, columns: &'a str) -> Cow<'a, str> {
        if self.xid { Cow::Owned(format!("xmin, {columns}")) } else { Cow::Borrowed(columns) }
    }

    /// Notes the row's own headers, and gives the tuple as the encoder knows it.
    pub fn take(&mut self, tuple: Bytes) -> Result<Bytes> {
        self.current.clone_from(&self.fixed);
        if !self.xid {
            return Ok(tuple);
        }
        let malformed =
            || Error::new(Kind::Transient, "the binary COPY is malformed: a row does not begin with its xmin");
        // The count of fields, the length of the first (four), the first.
        let (head, fields) = tuple.split_first_chunk::<10>().ok_or_else(malformed)?;
        let [high, low, 0, 0, 0, 4, xid @ ..] = *head else { return Err(malformed()) };
        let count = u16::from_be_bytes([high, low]).checked_sub(1).ok_or_else(malformed)?;
        self.current.push((Header::Xid.name(), u32::from_be_bytes(xid).to_string()));
        let mut rest = BytesMut::with_capacity(2 + fields.len());
        rest.extend_from_slice(&count.to_be_bytes());
        rest.extend_from_slice(fields);
        Ok(rest.freeze())
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
    fn the_id_is_taken_off_the_front_of_a_row() {
        let mut headers = headers(&[Header::Table, Header::Snapshot, Header::TsMs, Header::Xid]).unwrap();
        assert_eq!(headers.select_list("\"id\""), "xmin, \"id\"");
        let tuple = [0, 2, 0, 0, 0, 4, 0, 0, 3, 7, 0, 0, 0, 1, 9];
        let rest = headers.take(Bytes::copy_from_slice(&tuple)).unwrap();
        assert_eq!(rest[..], [0, 1, 0, 0, 0, 1, 9]);
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
    fn a_row_without_its_id_is_refused() {
        let mut headers = headers(&[Header::Xid]).unwrap();
        for tuple in [&[][..], &[0, 1], &[0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 4, 0, 0, 0, 1]] {
            assert!(headers.take(Bytes::copy_from_slice(tuple)).is_err(), "{tuple:?}");
        }
    }

    #[test]
    fn without_the_id_a_row_is_as_it_was() {
        let mut headers = headers(&[Header::Mode]).unwrap();
        assert_eq!(headers.select_list("a"), "a");
        assert_eq!(headers.take(Bytes::from_static(&[0, 0])).unwrap()[..], [0, 0]);
        assert_eq!(headers.current, [("strandline.mode", "xmin".to_owned())]);
    }
}
