//! A tuple taken apart without being encoded: its key alone, its fields' lengths, fields cut. Off the hot path.

use super::{Encoder, take};

impl Encoder {
    /// The key alone of a row whose value cannot be encoded; none where the key cannot, or there is none.
    pub fn key_alone(&self, skip: usize, tuple: &[u8]) -> Option<Vec<u8>> {
        if self.key.is_empty() {
            return None;
        }
        let mut key = Vec::new();
        self.encode_key(tuple, self.fields(skip, tuple)?.get(skip..)?, &mut key).ok()?;
        Some(key)
    }

    /// The tuple with the fields of these columns cut to so many bytes, as they were selected; a text before a character.
    /// What leads is left out.
    pub fn cut(&self, skip: usize, tuple: &[u8], lengths: &[(usize, usize)]) -> Option<Vec<u8>> {
        let mut cut = u16::try_from(self.columns.len()).ok()?.to_be_bytes().to_vec();
        for (at, (begin, length)) in self.fields(skip, tuple)?.get(skip..)?.iter().enumerate() {
            if *length == usize::MAX {
                cut.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            let field = tuple.get(*begin..begin.checked_add(*length)?)?;
            let most = lengths.iter().find(|(column, _)| *column == at).map_or(field.len(), |(_, most)| *most);
            let field = match std::str::from_utf8(field) {
                Ok(text) => {
                    let ends = |end: &usize| text.is_char_boundary(*end);
                    text.get(..(0..=most.min(text.len())).rev().find(ends)?)?.as_bytes()
                }
                Err(_) => field.get(..most.min(field.len()))?,
            };
            cut.extend_from_slice(&i32::try_from(field.len()).ok()?.to_be_bytes());
            cut.extend_from_slice(field);
        }
        Some(cut)
    }

    /// How long each column's field is; NULL is none.
    pub fn lengths(&self, skip: usize, tuple: &[u8]) -> Option<Vec<Option<usize>>> {
        let fields = self.fields(skip, tuple)?;
        Some(
            fields
                .get(skip..)?
                .iter()
                .map(|(_, length)| Some(*length).filter(|length| *length != usize::MAX))
                .collect(),
        )
    }

    /// Where each field lies, those included that lead; the length of NULL is `usize::MAX`.
    fn fields(&self, skip: usize, tuple: &[u8]) -> Option<Vec<(usize, usize)>> {
        let mut rest = tuple;
        let count = usize::from(u16::from_be_bytes(take(&mut rest).ok()?));
        if count != self.columns.len() + skip {
            return None;
        }
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            let length = i32::from_be_bytes(take(&mut rest).ok()?);
            let begin = tuple.len() - rest.len();
            match usize::try_from(length) {
                Err(_) => fields.push((begin, usize::MAX)),
                Ok(length) => {
                    rest = rest.get(length..)?;
                    fields.push((begin, length));
                }
            }
        }
        Some(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{encoder, tuple};

    /// A row of `encoder()`, behind a field that is not the record's.
    fn led(name: &[u8], total: &[u8]) -> Vec<u8> {
        let mut row =
            tuple(&[Some(b"lead"), Some(&7_i64.to_be_bytes()), Some(name), Some(total), Some(&0_i64.to_be_bytes())]);
        row[1] = 5;
        row
    }

    const TWELVE: [u8; 10] = [0, 1, 0, 0, 0, 0, 0, 2, 0, 12];

    #[test]
    fn what_leads_a_row_is_passed_over() {
        let mut encoder = encoder();
        let (mut key, mut value, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        encoder.encode_after(1, &led(b"n", &TWELVE), &mut key, &mut value).unwrap();
        let row = tuple(&[Some(&7_i64.to_be_bytes()), Some(b"n"), Some(&TWELVE), Some(&0_i64.to_be_bytes())]);
        encoder.encode(&row, &mut Vec::new(), &mut bare).unwrap();
        assert_eq!((key, &value), (vec![0, 0, 0, 0, 1, 14], &bare));
        assert!(encoder.encode_after(2, &led(b"n", &TWELVE), &mut Vec::new(), &mut Vec::new()).is_err());
        assert_eq!(encoder.failed_column(), None, "no column is to blame for what is no row");
    }

    #[test]
    fn the_key_of_a_row_that_cannot_be_encoded_is_told_and_so_is_the_column() {
        let mut encoder = encoder();
        let row = led(b"n", &[0, 0, 0, 0, 0xc0, 0, 0, 0]);
        assert!(encoder.encode_after(1, &row, &mut Vec::new(), &mut Vec::new()).is_err());
        assert_eq!(encoder.failed_column(), Some("total"));
        assert_eq!(encoder.key_alone(1, &row), Some(vec![0, 0, 0, 0, 1, 14]));
        assert_eq!(encoder.key_alone(0, &row), None);
    }

    #[test]
    fn a_text_is_cut_before_a_character_and_nothing_else_changes() {
        let mut encoder = encoder();
        let row = led("aäöü".as_bytes(), &TWELVE);
        assert_eq!(encoder.lengths(1, &row), Some(vec![Some(8), Some(7), Some(10), Some(8)]));
        let cut = encoder.cut(1, &row, &[(1, 4)]).unwrap();
        let whole =
            tuple(&[Some(&7_i64.to_be_bytes()), Some("aä".as_bytes()), Some(&TWELVE), Some(&0_i64.to_be_bytes())]);
        assert_eq!(cut, whole);
        encoder.encode(&cut, &mut Vec::new(), &mut Vec::new()).unwrap();
        assert_eq!(
            encoder.cut(1, &row, &[(1, 400)]).map(|same| same.len()),
            Some(row.len() - 8),
            "not longer than it is"
        );
    }

    proptest! {
        #[test]
        fn no_tuple_makes_cutting_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), most in 0..50_usize) {
            let encoder = encoder();
            let _ = (encoder.cut(1, &bytes, &[(1, most)]), encoder.lengths(0, &bytes), encoder.key_alone(2, &bytes));
        }
    }
}
