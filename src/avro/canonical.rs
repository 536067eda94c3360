//! Keys: what PostgreSQL holds equal has the same bytes, so that all versions of a row land in one partition and a compacted
//! topic keeps one of them. Values stay as they are.

use super::binary::{put_long, put_text, sized};
use super::moment::Interval;
use super::transcode::{Bad, Step, Transcoder};
use super::{numeric, text};

/// Types of which equal values may differ in their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Canonical {
    /// Minus zero equals zero, and every NaN every other.
    Float4,
    Float8,
    /// 1.0 equals 1.00.
    Numeric,
    /// A month equals 30 days, a day 24 hours.
    Interval,
    MicroDuration,
    /// Blanks at the end of a bpchar do not count.
    Blanks,
}

/// How the same type is encoded in a key.
pub(super) fn of(transcoder: &Transcoder) -> Transcoder {
    let canonical = match transcoder {
        Transcoder::Float4 => Canonical::Float4,
        Transcoder::Float8 => Canonical::Float8,
        Transcoder::Numeric => Canonical::Numeric,
        Transcoder::Interval => Canonical::Interval,
        Transcoder::MicroDuration => Canonical::MicroDuration,
        Transcoder::Padded => Canonical::Blanks,
        Transcoder::Array { element, dimensions } => {
            return Transcoder::Array { element: Box::new(of(element)), dimensions: *dimensions };
        }
        Transcoder::Composite { fields } => {
            let field = |step: &Step| Step { oid: step.oid, transcoder: of(&step.transcoder) };
            return Transcoder::Composite { fields: fields.iter().map(field).collect() };
        }
        // Nothing becomes null: an infinity is the extreme, deep within an array too.
        Transcoder::Unless { inner, .. } => return of(inner),
        // The offset is a part of the value, which a moment in UTC has lost.
        Transcoder::TimeTzUtc => return Transcoder::TimeTz,
        Transcoder::Refusing { void, inner } => {
            return Transcoder::Refusing { void: *void, inner: Box::new(of(inner)) };
        }
        other => return other.clone(),
    };
    Transcoder::Canonical(canonical)
}

/// Whether keys that PostgreSQL holds unequal may have the same bytes: what a person should know.
pub(super) fn merges(transcoder: &Transcoder, type_: &str, typmod: i32) -> bool {
    match transcoder {
        Transcoder::NumericDouble | Transcoder::MoneyDouble { .. } | Transcoder::TimeTzMillis => true,
        // Of a declared length the zeros that are left out are known.
        Transcoder::Bits { trimmed } => *trimmed && type_ == "varbit",
        Transcoder::TimeMillis | Transcoder::TimestampMillis => !(0..=3).contains(&typmod),
        Transcoder::Array { element, .. } => merges(element, type_, typmod),
        Transcoder::Unless { inner, .. } | Transcoder::Refusing { inner, .. } => merges(inner, type_, typmod),
        _ => false,
    }
}

impl Canonical {
    /// Appends the field's Avro form.
    pub(super) fn put(self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        match self {
            Canonical::Float4 => {
                let float = f32::from_be_bytes(sized(field)?);
                let float = if float.is_nan() { f32::from_bits(0x7fc0_0000) } else { float + 0.0 };
                out.extend_from_slice(&float.to_le_bytes());
            }
            Canonical::Float8 => {
                let float = f64::from_be_bytes(sized(field)?);
                let float = if float.is_nan() { f64::from_bits(0x7ff8_0000_0000_0000) } else { float + 0.0 };
                out.extend_from_slice(&float.to_le_bytes());
            }
            Canonical::Numeric => numeric::shortest_text(field, out)?,
            Canonical::Interval => {
                let mut printed = String::new();
                text::interval(Interval::read(field)?.justified(), &mut printed);
                put_text(printed.as_bytes(), out)?;
            }
            Canonical::MicroDuration => put_long(Interval::read(field)?.span()?, out),
            Canonical::Blanks => {
                let length = field.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
                put_text(field.get(..length).unwrap_or_default(), out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(transcoder: &Transcoder, field: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        of(transcoder).put(field, &mut out).unwrap();
        out
    }

    fn same(transcoder: &Transcoder, fields: &[&[u8]]) {
        let keys: Vec<_> = fields.iter().map(|field| key(transcoder, field)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{transcoder:?}: {keys:?}");
    }

    fn interval(micros: i64, days: i32, months: i32) -> Vec<u8> {
        [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat()
    }

    const DAY: i64 = 86_400_000_000;
    /// 1.5 and 1.50.
    const NUMERICS: [[u8; 12]; 2] =
        [[0, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0x13, 0x88], [0, 2, 0, 0, 0, 0, 0, 2, 0, 1, 0x13, 0x88]];

    #[test]
    fn what_postgresql_holds_equal_is_the_same_key() {
        same(&Transcoder::Float4, &[&(-0.0_f32).to_be_bytes(), &0.0_f32.to_be_bytes()]);
        same(&Transcoder::Float8, &[&(-0.0_f64).to_be_bytes(), &0.0_f64.to_be_bytes()]);
        same(&Transcoder::Float4, &[&[0x7f, 0xc0, 0, 0], &[0xff, 0xc0, 0, 1]]);
        same(&Transcoder::Float8, &[&[0x7f, 0xf8, 0, 0, 0, 0, 0, 0], &[0xff, 0xf0, 0, 0, 0, 0, 0, 1]]);
        same(&Transcoder::Numeric, &[&NUMERICS[0], &NUMERICS[1]]);
        same(&Transcoder::Padded, &[b"a b", b"a b  "]);
        for transcoder in [Transcoder::Interval, Transcoder::MicroDuration] {
            same(&transcoder, &[&interval(0, 0, 1), &interval(0, 30, 0), &interval(DAY, 29, 0), &interval(-DAY, 1, 1)]);
            same(&transcoder, &[&interval(1, 0, -1), &interval(1 - 30 * DAY, 0, 0)]);
        }
    }

    #[test]
    fn the_one_nan_has_bits_of_its_own_for_ever() {
        assert_eq!(key(&Transcoder::Float4, &[0xff, 0xc0, 0, 1]), [0, 0, 0xc0, 0x7f]);
        assert_eq!(key(&Transcoder::Float8, &[0xff, 0xf8, 0, 0, 0, 0, 0, 1]), [0, 0, 0, 0, 0, 0, 0xf8, 0x7f]);
    }

    /// With `infinity.handling.mode = "null"` all three were one key.
    #[test]
    fn infinities_and_null_within_an_array_are_three_keys() {
        let void = super::super::transcode::Void::InfiniteTimestamp;
        let element = Transcoder::Unless { void, inner: Box::new(Transcoder::Timestamp) };
        let array = Transcoder::Array { element: Box::new(element), dimensions: 1 };
        let of_one = |element: &[u8], length: i32| {
            let words = [1_i32, 1, 1184, 1, 1, length];
            [&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>()[..], element].concat()
        };
        let keys = [
            key(&array, &of_one(&i64::MAX.to_be_bytes(), 8)),
            key(&array, &of_one(&i64::MIN.to_be_bytes(), 8)),
            key(&array, &of_one(&[], -1)),
        ];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2], "{keys:?}");
    }

    #[test]
    fn what_differs_keeps_its_own_key() {
        assert_ne!(key(&Transcoder::Float8, &1e-300_f64.to_be_bytes()), key(&Transcoder::Float8, &[0; 8]));
        assert_eq!(key(&Transcoder::Float8, &f64::NEG_INFINITY.to_be_bytes()), f64::NEG_INFINITY.to_le_bytes());
        assert_eq!(key(&Transcoder::Padded, b"  a\t "), [8, b' ', b' ', b'a', b'\t']);
        assert_eq!(
            key(&Transcoder::Interval, &interval(i64::MIN, i32::MIN, i32::MIN)),
            [&[18][..], b"-infinity"].concat()
        );
        // Longer than its own months are: a month count beyond 32 bits.
        let most = key(&Transcoder::Interval, &interval(0, i32::MAX, i32::MAX));
        assert_eq!(most, [&[32][..], b"P184922202Y11M7D"].concat());
        assert_eq!(key(&Transcoder::Text, b"a "), [4, b'a', b' ']);
    }

    #[test]
    fn what_a_key_is_made_of_is_normalised_too() {
        let mut arrays = NUMERICS.map(|numeric| {
            let words = [1_i32, 0, 1700, 1, 1, 12];
            [&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>()[..], &numeric].concat()
        });
        let array = Transcoder::Array { element: Box::new(Transcoder::Numeric), dimensions: 1 };
        same(&array, &[&arrays[0], &arrays[1]]);
        let composite = Transcoder::Composite { fields: vec![Step { oid: 1231, transcoder: array }] };
        arrays = arrays.map(|array| {
            let words = [1_i32, 1231, array.len() as i32];
            [&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>()[..], &array].concat()
        });
        same(&composite, &[&arrays[0], &arrays[1]]);
        let void = super::super::transcode::Void::NotFinite;
        same(&Transcoder::Unless { void, inner: Box::new(composite.clone()) }, &[&arrays[0], &arrays[1]]);
        // In Debezium's microseconds, what has no months is the number that the value has.
        assert_eq!(key(&Transcoder::MicroDuration, &interval(5, 40, 0)), {
            let mut out = Vec::new();
            Transcoder::MicroDuration.put(&interval(5, 40, 0), &mut out).unwrap();
            out
        });
        same(&Transcoder::Refusing { void, inner: Box::new(composite) }, &[&arrays[0], &arrays[1]]);
    }

    #[test]
    fn malformed_fields_are_refused() {
        for transcoder in [Transcoder::Float4, Transcoder::Float8, Transcoder::Numeric, Transcoder::Interval] {
            assert_eq!(of(&transcoder).put(&[0; 5], &mut Vec::new()), Err(Bad::Length), "{transcoder:?}");
        }
        assert_eq!(of(&Transcoder::Padded).put(&[0xff, b' '], &mut Vec::new()), Err(Bad::Utf8));
    }
}
