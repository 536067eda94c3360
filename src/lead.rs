//! Fields that lead a COPY's tuple and are not the record's: the id of the row's transaction, a query's cursor.

use bytes::{Bytes, BytesMut};

use crate::{Error, Kind, Result};

/// Takes `count` fields off the front: what they hold (`None`: NULL), and the tuple as the encoder knows it.
pub fn split(tuple: &Bytes, count: usize) -> Result<(Vec<Option<Bytes>>, Bytes)> {
    take(tuple, count).ok_or_else(|| {
        Error::new(Kind::Transient, "the binary COPY is malformed: a row does not begin with what was asked for first")
    })
}

fn take(tuple: &Bytes, count: usize) -> Option<(Vec<Option<Bytes>>, Bytes)> {
    let fields = usize::from(u16::from_be_bytes(*tuple.first_chunk()?));
    let left = u16::try_from(fields.checked_sub(count)?).ok()?;
    let mut at = 2_usize;
    let mut leading = Vec::with_capacity(count);
    for _ in 0..count {
        let length = i32::from_be_bytes(*tuple.get(at..)?.first_chunk()?);
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            leading.push(None);
            continue;
        };
        let end = at.checked_add(length).filter(|end| *end <= tuple.len())?;
        leading.push(Some(tuple.slice(at..end)));
        at = end;
    }
    let rest = tuple.get(at..)?;
    let mut kept = BytesMut::with_capacity(2 + rest.len());
    kept.extend_from_slice(&left.to_be_bytes());
    kept.extend_from_slice(rest);
    Some((leading, kept.freeze()))
}

/// A transaction id as COPY sends it.
pub fn xid(field: Option<&Option<Bytes>>) -> Result<u32> {
    let bytes = field.and_then(|field| field.as_deref()).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    bytes.map(u32::from_be_bytes).ok_or_else(|| {
        Error::new(Kind::Transient, "the binary COPY is malformed: a row does not begin with its transaction id")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_is_taken_off_the_front_of_a_row() {
        let tuple = Bytes::from_static(&[0, 3, 0, 0, 0, 4, 0, 0, 3, 7, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 9]);
        let (leading, rest) = split(&tuple, 2).unwrap();
        assert_eq!(xid(leading.first()).unwrap(), 775);
        assert_eq!(leading[1], None);
        assert_eq!(rest[..], [0, 1, 0, 0, 0, 1, 9]);
        assert!(xid(leading.get(1)).is_err());
    }

    #[test]
    fn a_row_without_it_is_refused() {
        for tuple in [&[][..], &[0, 1], &[0, 0], &[0, 1, 0, 0, 0, 9, 1], &[0, 1, 0x7f, 0xff, 0xff, 0xff]] {
            assert!(split(&Bytes::copy_from_slice(tuple), 1).is_err(), "{tuple:?}");
        }
    }
}
