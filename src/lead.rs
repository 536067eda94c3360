//! Fields that lead a COPY's tuple and are not the record's: a query's cursor, the id of the row's transaction, its place.

use crate::poll::Tid;
use crate::{Error, Kind, Result};

/// What leads each row, behind a query's cursor, in this order.
#[derive(Clone, Debug, Default)]
pub struct Lead {
    /// The id of its transaction.
    pub xid: bool,
    /// The OID of its table, and its place there.
    pub place: bool,
    /// The marker of fields that were too large to be read.
    pub marker: Option<String>,
    /// The row as text.
    pub text: Option<String>,
}

/// That of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Led {
    /// The id of its transaction.
    pub xid: Option<u32>,
    /// The OID of its table, and its place there.
    pub place: Option<(u32, Tid)>,
    /// The sizes of its wide columns, if any was too large to be read.
    pub marker: Option<String>,
    /// The row as text.
    pub text: Option<String>,
}

impl Lead {
    /// What is selected first; each followed by a comma.
    pub fn select(&self) -> String {
        let mut select = String::new();
        select.push_str(if self.xid { "xmin, " } else { "" });
        select.push_str(if self.place { "tableoid, ctid, " } else { "" });
        for expression in self.marker.iter().chain(&self.text) {
            select.push_str(expression);
            select.push_str(", ");
        }
        select
    }

    /// How many fields that is.
    pub fn count(&self) -> usize {
        let fields = [self.xid, self.place, self.place, self.marker.is_some(), self.text.is_some()];
        fields.iter().filter(|there| **there).count()
    }

    /// Reads them.
    pub fn read(&self, leading: &[Option<&[u8]>]) -> Result<Led> {
        let mut fields = leading.iter();
        let xid = if self.xid { Some(number(fields.next())?) } else { None };
        let place = if self.place { Some((number(fields.next())?, tid(fields.next())?)) } else { None };
        let mut owned = |there: bool| -> Result<Option<String>> {
            if there { Ok(text(fields.next())?.map(str::to_owned)) } else { Ok(None) }
        };
        Ok(Led { xid, place, marker: owned(self.marker.is_some())?, text: owned(self.text.is_some())? })
    }
}

/// The first `count` fields, what they hold (`None`: NULL). The encoder passes over them.
pub fn fields(tuple: &[u8], count: usize) -> Result<Vec<Option<&[u8]>>> {
    take(tuple, count).ok_or_else(malformed)
}

/// What stands behind them.
pub fn rest<'a>(tuple: &'a [u8], leading: &[Option<&[u8]>]) -> &'a [u8] {
    let taken: usize = leading.iter().map(|field| 4 + field.map_or(0, <[u8]>::len)).sum();
    tuple.get(2 + taken..).unwrap_or_default()
}

fn malformed() -> Error {
    Error::new(Kind::Transient, "the binary COPY is malformed: a row does not begin with what was asked for first")
}

fn take(tuple: &[u8], count: usize) -> Option<Vec<Option<&[u8]>>> {
    usize::from(u16::from_be_bytes(*tuple.first_chunk()?)).checked_sub(count)?;
    let mut at = 2_usize;
    let mut leading = Vec::with_capacity(count);
    for _ in 0..count {
        let length = i32::from_be_bytes(*tuple.get(at..)?.first_chunk()?);
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            leading.push(None);
            continue;
        };
        let end = at.checked_add(length)?;
        leading.push(Some(tuple.get(at..end)?));
        at = end;
    }
    Some(leading)
}

/// A transaction id or an OID as COPY sends it.
pub fn number(field: Option<&Option<&[u8]>>) -> Result<u32> {
    let bytes = field.and_then(|field| *field).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    bytes.map(u32::from_be_bytes).ok_or_else(malformed)
}

/// A `ctid` as COPY sends it.
pub fn tid(field: Option<&Option<&[u8]>>) -> Result<Tid> {
    let bytes = field.and_then(|field| *field).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    let [a, b, c, d, e, f] = bytes.ok_or_else(malformed)?;
    Ok(Tid { block: u32::from_be_bytes([a, b, c, d]), offset: u16::from_be_bytes([e, f]) })
}

/// A text as COPY sends it; NULL is none.
pub fn text<'a>(field: Option<&Option<&'a [u8]>>) -> Result<Option<&'a str>> {
    match field {
        Some(None) => Ok(None),
        Some(Some(bytes)) => std::str::from_utf8(bytes).map(Some).map_err(|_| malformed()),
        None => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_is_read_off_the_front_of_a_row() {
        let tuple = [0, 3, 0, 0, 0, 4, 0, 0, 3, 7, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 9];
        let leading = fields(&tuple, 2).unwrap();
        assert_eq!(number(leading.first()).unwrap(), 775);
        assert_eq!(leading[1], None);
        assert_eq!(rest(&tuple, &leading), [0, 0, 0, 1, 9]);
        assert_eq!(text(leading.get(1)).unwrap(), None);
        assert!(number(leading.get(1)).is_err() && tid(leading.first()).is_err());
        let place = Some(&[0, 0, 1, 0, 0, 7][..]);
        assert_eq!(tid(Some(&place)).unwrap(), Tid { block: 256, offset: 7 });
    }

    #[test]
    fn a_row_is_led_by_what_was_asked_for_in_its_order() {
        let lead = Lead { xid: true, place: true, marker: Some("m".into()), text: None };
        assert_eq!((lead.select().as_str(), lead.count()), ("xmin, tableoid, ctid, m, ", 4));
        let leading: [&[u8]; 4] = [&[0, 0, 2, 0], &[0, 0, 64, 0], &[0, 0, 0, 1, 0, 7], b"{12,NULL}"];
        let leading = leading.map(Some);
        let led = lead.read(&leading).unwrap();
        assert_eq!((led.xid, led.marker.as_deref()), (Some(512), Some("{12,NULL}")));
        assert_eq!(led.place, Some((16384, Tid { block: 1, offset: 7 })));
        assert!(lead.read(&leading[..3]).is_err());
        assert_eq!((Lead::default().count(), Lead::default().read(&[]).unwrap()), (0, Led::default()));
    }

    #[test]
    fn a_row_without_it_is_refused() {
        for tuple in [&[][..], &[0, 1], &[0, 0], &[0, 1, 0, 0, 0, 9, 1], &[0, 1, 0x7f, 0xff, 0xff, 0xff]] {
            assert!(fields(tuple, 1).is_err(), "{tuple:?}");
        }
    }
}
