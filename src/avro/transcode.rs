//! The hot path: one field of a binary row to Avro bytes, without a value in between.

use base64::Engine as _;

use super::{iso, numeric, text};

/// What a field is and becomes; chosen once per object and description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transcoder {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Text,
    Char,
    Bytes,
    Jsonb,
    Date,
    Time,
    Timestamp,
    TimeTz,
    Interval,
    Uuid,
    Decimal {
        scale: u16,
    },
    Numeric,
    Money,
    /// A numeric as a double.
    NumericDouble,
    /// Money of so many fraction digits, as text or as a double.
    MoneyText {
        scale: u8,
    },
    MoneyDouble {
        scale: u8,
    },
    TimeMillis,
    TimestampMillis,
    IsoDate,
    IsoTime,
    IsoTimestamp {
        zoned: bool,
    },
    Base64,
    Hex,
    Array {
        element: Box<Transcoder>,
    },
}

/// Why a field cannot be encoded. Small, and turned into an error off the hot path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Not of the length that the type has.
    Length,
    /// Not what the type can hold.
    Content,
    /// Text that is not UTF-8.
    Utf8,
    /// NaN or infinity where a decimal is wanted.
    NotFinite,
    /// More digits after the point than the column is declared with.
    Scale,
    /// A timestamp beyond what 64 bits of microseconds since 1970 hold.
    TooLate,
    /// An array with more dimensions than one.
    Dimensions,
    /// NULL in a column that is NOT NULL.
    Null,
}

/// Days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const DAYS: i32 = 10_957;
const MICROS: i64 = DAYS as i64 * 86_400_000_000;

impl Transcoder {
    /// Appends the field's Avro form.
    #[inline]
    pub(super) fn put(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        match self {
            Transcoder::Int4 => put_long(i64::from(i32::from_be_bytes(sized(field)?)), out),
            Transcoder::Int8 | Transcoder::Time => put_long(i64::from_be_bytes(sized(field)?), out),
            Transcoder::Text => put_text(field, out)?,
            Transcoder::Timestamp => put_long(timestamp(i64::from_be_bytes(sized(field)?))?, out),
            Transcoder::Decimal { scale } => numeric::decimal(field, *scale, out)?,
            Transcoder::Bool => match field {
                [bool @ (0 | 1)] => out.push(*bool),
                [_] => return Err(Bad::Content),
                _ => return Err(Bad::Length),
            },
            Transcoder::Int2 => put_long(i64::from(i16::from_be_bytes(sized(field)?)), out),
            Transcoder::Oid => put_long(i64::from(u32::from_be_bytes(sized(field)?)), out),
            Transcoder::Float4 => out.extend_from_slice(&u32::from_be_bytes(sized(field)?).to_le_bytes()),
            Transcoder::Float8 => out.extend_from_slice(&u64::from_be_bytes(sized(field)?).to_le_bytes()),
            Transcoder::Bytes => put_bytes(field, out),
            Transcoder::Date => put_long(i64::from(date(i32::from_be_bytes(sized(field)?))?), out),
            Transcoder::Uuid => {
                put_long(36, out);
                text::uuid(&sized(field)?, out);
            }
            Transcoder::Jsonb => match field {
                [1, json @ ..] => put_text(json, out)?,
                _ => return Err(Bad::Content),
            },
            Transcoder::Money => numeric::put_unscaled(i128::from(i64::from_be_bytes(sized(field)?)), out),
            Transcoder::Numeric => numeric::text(field, out)?,
            Transcoder::TimeMillis => put_long(i64::from_be_bytes(sized(field)?).div_euclid(1000), out),
            Transcoder::TimestampMillis => put_long(millis(timestamp(i64::from_be_bytes(sized(field)?))?), out),
            Transcoder::NumericDouble => {
                let mut printed = Vec::new();
                numeric::text(field, &mut printed)?;
                put_double(numeric::double(&printed)?, out);
            }
            Transcoder::MoneyDouble { scale } => {
                put_double(i64::from_be_bytes(sized(field)?) as f64 / 10_f64.powi(i32::from(*scale)), out);
            }
            Transcoder::Char
            | Transcoder::TimeTz
            | Transcoder::Interval
            | Transcoder::MoneyText { .. }
            | Transcoder::IsoDate
            | Transcoder::IsoTime
            | Transcoder::IsoTimestamp { .. }
            | Transcoder::Base64
            | Transcoder::Hex => self.put_printed(field, out)?,
            Transcoder::Array { element } => put_array(element, field, out)?,
        }
        Ok(())
    }

    /// The rarer ones, which are printed first.
    fn put_printed(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        let mut printed = String::new();
        match self {
            Transcoder::Char => text::char(u8::from_be_bytes(sized(field)?), &mut printed),
            Transcoder::TimeTz => {
                let mut field = field;
                let (micros, west) = (take(&mut field)?, take(&mut field)?);
                end(field)?;
                text::timetz(i64::from_be_bytes(micros), i32::from_be_bytes(west), &mut printed);
            }
            Transcoder::MoneyText { scale } => {
                text::money(i64::from_be_bytes(sized(field)?), *scale, &mut printed);
            }
            Transcoder::IsoDate => iso::date(date(i32::from_be_bytes(sized(field)?))?, &mut printed),
            Transcoder::IsoTime => iso::time(i64::from_be_bytes(sized(field)?), &mut printed),
            Transcoder::IsoTimestamp { zoned } => {
                iso::timestamp(timestamp(i64::from_be_bytes(sized(field)?))?, *zoned, &mut printed);
            }
            Transcoder::Base64 => base64::engine::general_purpose::STANDARD.encode_string(field, &mut printed),
            Transcoder::Hex => text::hex(field, &mut printed),
            _ => {
                let mut field = field;
                let (micros, days, months) = (take(&mut field)?, take(&mut field)?, take(&mut field)?);
                end(field)?;
                let (days, months) = (i32::from_be_bytes(days), i32::from_be_bytes(months));
                text::interval(i64::from_be_bytes(micros), days, months, &mut printed);
            }
        }
        put_bytes(printed.as_bytes(), out);
        Ok(())
    }
}

/// A long, or an int: zig-zag, seven bits a byte.
#[inline]
pub(super) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    if rest < 0x80 {
        out.push(rest as u8);
        return;
    }
    let mut bytes = [0; 10];
    let mut length = 0;
    while rest >= 0x80 {
        bytes[length] = rest as u8 | 0x80;
        rest >>= 7;
        length += 1;
    }
    bytes[length] = rest as u8;
    out.extend_from_slice(&bytes[..=length]);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

#[inline]
fn put_text(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    std::str::from_utf8(field).map_err(|_| Bad::Utf8)?;
    put_bytes(field, out);
    Ok(())
}

#[inline]
fn sized<const N: usize>(field: &[u8]) -> Result<[u8; N], Bad> {
    field.try_into().map_err(|_| Bad::Length)
}

/// Takes so many bytes from the front.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Bad> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Bad::Length)?;
    *rest = tail;
    Ok(*head)
}

fn end(rest: &[u8]) -> Result<(), Bad> {
    if rest.is_empty() { Ok(()) } else { Err(Bad::Length) }
}

/// Microseconds since 1970; the infinities stay PostgreSQL's own extremes.
#[inline]
fn timestamp(micros: i64) -> Result<i64, Bad> {
    match micros {
        i64::MAX | i64::MIN => Ok(micros),
        _ => micros.checked_add(MICROS).filter(|micros| *micros != i64::MAX).ok_or(Bad::TooLate),
    }
}

/// Kafka Connect's milliseconds; the infinities stay the extremes.
fn millis(micros: i64) -> i64 {
    match micros {
        i64::MAX | i64::MIN => micros,
        _ => micros.div_euclid(1000),
    }
}

fn put_double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn date(days: i32) -> Result<i32, Bad> {
    match days {
        i32::MAX | i32::MIN => Ok(days),
        _ => days.checked_add(DAYS).ok_or(Bad::TooLate),
    }
}

/// One block of elements, each a union with null, then the end.
fn put_array(element: &Transcoder, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut rest = field;
    let dimensions = i32::from_be_bytes(take(&mut rest)?);
    let (_has_nulls, _type) = (take::<4>(&mut rest)?, take::<4>(&mut rest)?);
    match dimensions {
        0 => end(rest)?,
        1 => {
            let count = i32::from_be_bytes(take(&mut rest)?);
            let _lower_bound = take::<4>(&mut rest)?;
            if count > 0 {
                put_long(i64::from(count), out);
            }
            for _ in 0..count {
                match usize::try_from(i32::from_be_bytes(take(&mut rest)?)) {
                    Err(_) => out.push(0),
                    Ok(length) => {
                        let (value, tail) = rest.split_at_checked(length).ok_or(Bad::Length)?;
                        rest = tail;
                        out.push(2);
                        element.put(value, out)?;
                    }
                }
            }
            end(rest)?;
        }
        2.. => return Err(Bad::Dimensions),
        _ => return Err(Bad::Content),
    }
    out.push(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(transcoder: &Transcoder, field: &[u8]) -> Result<Vec<u8>, Bad> {
        let mut out = Vec::new();
        transcoder.put(field, &mut out).map(|()| out)
    }

    #[test]
    fn longs_are_zig_zag() {
        for (value, bytes) in [(0, &[0][..]), (-1, &[1]), (1, &[2]), (63, &[126]), (64, &[128, 1]), (-65, &[129, 1])] {
            let mut out = Vec::new();
            put_long(value, &mut out);
            assert_eq!(out, bytes, "{value}");
        }
        let mut out = Vec::new();
        put_long(i64::MIN, &mut out);
        assert_eq!(out.len(), 10);
    }

    #[test]
    fn timestamps_move_to_1970_and_infinities_stay() {
        assert_eq!(timestamp(0), Ok(946_684_800_000_000));
        assert_eq!(timestamp(i64::MAX), Ok(i64::MAX));
        assert_eq!(timestamp(i64::MIN), Ok(i64::MIN));
        assert_eq!(timestamp(i64::MAX - 1), Err(Bad::TooLate));
        assert_eq!(date(-10_957), Ok(0));
        assert_eq!(date(i32::MIN), Ok(i32::MIN));
    }

    #[test]
    fn values_are_printed_or_cut_off_as_was_asked_for() {
        let text = |transcoder: &Transcoder, field: &[u8]| {
            let bytes = put(transcoder, field).unwrap();
            String::from_utf8(bytes[1..].to_vec()).unwrap()
        };
        assert_eq!(text(&Transcoder::Hex, &[0, 0xab]), "00ab");
        assert_eq!(text(&Transcoder::Base64, b"any"), "YW55");
        assert_eq!(text(&Transcoder::MoneyText { scale: 2 }, &(-1230_i64).to_be_bytes()), "-12.30");
        assert_eq!(text(&Transcoder::MoneyText { scale: 0 }, &7_i64.to_be_bytes()), "7");
        assert_eq!(text(&Transcoder::IsoTimestamp { zoned: true }, &0_i64.to_be_bytes()), "2000-01-01T00:00:00Z");
        let numeric = [0, 2, 0, 0, 0x40, 0, 0, 2, 0, 12, 0x13, 0x88];
        assert_eq!(put(&Transcoder::NumericDouble, &numeric).unwrap(), (-12.5_f64).to_le_bytes());
        let nan = [0, 0, 0, 0, 0xc0, 0, 0, 0];
        let double = put(&Transcoder::NumericDouble, &nan).unwrap();
        assert!(f64::from_le_bytes(double.try_into().unwrap()).is_nan());
        let before_1970 = (-MICROS - 1).to_be_bytes();
        assert_eq!(put(&Transcoder::TimestampMillis, &before_1970).unwrap(), [1], "-1 ms");
    }

    #[test]
    fn arrays_keep_their_nulls() {
        let mut field = Vec::new();
        for word in [1_i32, 1, 23, 2, 1, 4, 7, -1] {
            field.extend(word.to_be_bytes());
        }
        let ints = Transcoder::Array { element: Box::new(Transcoder::Int4) };
        assert_eq!(put(&ints, &field).unwrap(), [4, 2, 14, 0, 0]);
        assert_eq!(put(&ints, &[0; 12]).unwrap(), [0]);
        field[3] = 2;
        assert_eq!(put(&ints, &field), Err(Bad::Dimensions));
    }

    #[test]
    fn fields_of_a_wrong_length_or_content_are_refused() {
        for (transcoder, field) in [
            (Transcoder::Int4, &[0, 0, 1][..]),
            (Transcoder::Bool, &[2]),
            (Transcoder::Text, &[0xff]),
            (Transcoder::Jsonb, &[2, b'1']),
            (Transcoder::Uuid, &[0; 15]),
            (Transcoder::Interval, &[0; 17]),
            (Transcoder::Array { element: Box::new(Transcoder::Bool) }, &[0, 0, 0, 1]),
        ] {
            assert!(put(&transcoder, field).is_err(), "{transcoder:?}");
        }
    }
}
