//! The hot path: one field of a binary row to Avro bytes, without a value in between.

use base64::Engine as _;

use super::binary::{end, put_bytes, put_long, put_text, sized, take};
use super::canonical::Canonical;
use super::geometry::Shape;
use super::moment::{self, Interval};
use super::{bits, container, geometry, iso, network, numeric, text, vector};

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
    /// A bpchar without a length, whose blanks at the end do not count in a comparison.
    Padded,
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
    /// Micro- or milliseconds, of which the infinities are numbers of their own, as Debezium has them.
    TimestampBounded {
        millis: bool,
    },
    IsoDate,
    IsoTime,
    IsoTimestamp {
        zoned: bool,
    },
    /// In UTC, with at least so many digits after the point.
    ZonedTimestamp {
        digits: u8,
    },
    /// The time of day in UTC.
    TimeTzUtc,
    Base64,
    Hex,
    /// The time of day in UTC, as Connect has it.
    TimeTzMillis,
    /// Microseconds, a month counting 30.4375 days.
    MicroDuration,
    /// A numeric as a record of its scale and its unscaled value.
    VariableScale,
    Xid8,
    Tid,
    Lsn,
    Inet,
    Mac,
    Bit,
    /// Bytes; those without a bit at the high end go where Debezium sends none.
    Bits {
        trimmed: bool,
    },
    /// At most eight bits, as Connect's int8.
    BitByte,
    BitText,
    /// A record of x and y; or with Debezium's `wkb` and `srid`.
    Point,
    PointWkb,
    /// Debezium's records of the others.
    Shape(Shape),
    Circle,
    Line,
    /// A record of the EWKB as it is and its SRID; perhaps with Debezium's `extensions`, of which there are none.
    Ewkb {
        extensions: bool,
    },
    Hstore,
    HstoreJson,
    Vector {
        double: bool,
    },
    HalfVector,
    SparseVector,
    /// Texts of an array whose elements have no transcoder, out of JSON.
    Texts {
        dimensions: u16,
    },
    Array {
        element: Box<Transcoder>,
        dimensions: u16,
    },
    Composite {
        fields: Vec<Step>,
    },
    /// In a key.
    Canonical(Canonical),
    /// Null instead of a value that has no counterpart; in a key, where nothing is null, the value all the same.
    Unless {
        void: Void,
        inner: Box<Transcoder>,
    },
    /// The row is refused instead.
    Refusing {
        void: Void,
        inner: Box<Transcoder>,
    },
}

/// A field of a composite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The type that PostgreSQL says it is of; our lock does not stop ALTER TYPE.
    pub oid: u32,
    pub transcoder: Transcoder,
}

/// Values without a counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Void {
    InfiniteDate,
    InfiniteTimestamp,
    /// A numeric that is NaN or infinite.
    NotFinite,
}

impl Void {
    fn is(self, field: &[u8]) -> bool {
        match self {
            Void::InfiniteDate => {
                sized(field).map(i32::from_be_bytes).is_ok_and(|days| matches!(days, i32::MIN | i32::MAX))
            }
            Void::InfiniteTimestamp => {
                sized(field).map(i64::from_be_bytes).is_ok_and(|micros| matches!(micros, i64::MIN | i64::MAX))
            }
            // The sign's word; finite ones have no more than its second bit.
            Void::NotFinite => field.get(4).is_some_and(|sign| sign & 0x80 != 0),
        }
    }
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
    /// An array with other dimensions than its column declares.
    Dimensions,
    /// A composite whose fields are not of the types that they were described with.
    Retyped,
    /// Infinite, where that is refused.
    Infinite,
    /// NULL in a column that is NOT NULL.
    Null,
    /// An interval beyond what 64 bits of microseconds hold.
    TooLong,
    /// A sparse vector of more dimensions than 16 bits count.
    TooManyDimensions,
    /// A bit string without a bit, where the one is a boolean.
    NoBit,
}

impl Transcoder {
    /// Appends the field's Avro form.
    #[inline]
    pub(super) fn put(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        match self {
            Transcoder::Int4 => put_long(i64::from(i32::from_be_bytes(sized(field)?)), out),
            Transcoder::Int8 | Transcoder::Time => put_long(i64::from_be_bytes(sized(field)?), out),
            Transcoder::Text | Transcoder::Padded => put_text(field, out)?,
            Transcoder::Timestamp => put_long(moment::timestamp(field)?, out),
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
            Transcoder::Date => put_long(moment::date(field)?.into(), out),
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
            Transcoder::TimestampMillis => put_long(moment::millis(moment::timestamp(field)?), out),
            Transcoder::TimestampBounded { millis } => {
                let micros = moment::bounded(moment::timestamp(field)?);
                put_long(if *millis { moment::millis(micros) } else { micros }, out);
            }
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
            | Transcoder::ZonedTimestamp { .. }
            | Transcoder::TimeTzUtc
            | Transcoder::Base64
            | Transcoder::Xid8
            | Transcoder::Tid
            | Transcoder::Lsn
            | Transcoder::Inet
            | Transcoder::Mac
            | Transcoder::BitText
            | Transcoder::HstoreJson
            | Transcoder::Hex => self.put_printed(field, out)?,
            Transcoder::Array { element, dimensions } => container::array(element, *dimensions, field, out)?,
            Transcoder::Composite { fields } => container::composite(fields, field, out)?,
            Transcoder::Canonical(canonical) => canonical.put(field, out)?,
            Transcoder::Unless { inner, .. } => inner.put(field, out)?,
            Transcoder::Refusing { void, .. } if void.is(field) => return Err(Bad::Infinite),
            Transcoder::Refusing { inner, .. } => inner.put(field, out)?,
            Transcoder::Bit => out.push(u8::from(bits::first(field)?)),
            Transcoder::Bits { trimmed } => bits::little_endian(field, *trimmed, out)?,
            Transcoder::BitByte => put_long(bits::byte(field)?.into(), out),
            Transcoder::TimeTzMillis => {
                let (micros, west) = moment::timetz(field)?;
                put_long(moment::utc(micros, west) / 1000, out);
            }
            Transcoder::MicroDuration => put_long(Interval::read(field)?.micros()?, out),
            Transcoder::VariableScale => numeric::variable_scale(field, out)?,
            Transcoder::Point => geometry::doubles::<2>(field, out)?,
            Transcoder::PointWkb => geometry::point_wkb(field, out)?,
            Transcoder::Shape(shape) => geometry::shape(*shape, field, out)?,
            Transcoder::Circle => geometry::circle(field, out)?,
            Transcoder::Line => geometry::doubles::<3>(field, out)?,
            Transcoder::Ewkb { extensions } => {
                geometry::ewkb(field, out)?;
                if *extensions {
                    out.push(0);
                }
            }
            Transcoder::Hstore => container::hstore(field, out)?,
            Transcoder::Vector { double } => vector::vector(field, *double, out)?,
            Transcoder::HalfVector => vector::half_vector(field, out)?,
            Transcoder::SparseVector => vector::sparse(field, out)?,
            Transcoder::Texts { dimensions } => container::texts(field, *dimensions, out)?,
        }
        Ok(())
    }

    /// The value or null, as a union with null has them.
    #[inline]
    pub(super) fn put_nullable(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        if let Transcoder::Unless { void, .. } = self
            && void.is(field)
        {
            out.push(0);
            return Ok(());
        }
        out.push(2);
        self.put(field, out)
    }

    /// The rarer ones, which are printed first.
    fn put_printed(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        let mut printed = String::new();
        match self {
            Transcoder::Char => text::char(u8::from_be_bytes(sized(field)?), &mut printed),
            Transcoder::TimeTz => {
                let (micros, west) = moment::timetz(field)?;
                text::timetz(micros, west, &mut printed);
            }
            Transcoder::TimeTzUtc => {
                let (micros, west) = moment::timetz(field)?;
                text::timetz_utc(micros, west, &mut printed);
            }
            Transcoder::ZonedTimestamp { digits } => iso::zoned(moment::timestamp(field)?, *digits, &mut printed),
            Transcoder::MoneyText { scale } => {
                text::money(i64::from_be_bytes(sized(field)?), *scale, &mut printed);
            }
            Transcoder::IsoDate => iso::date(moment::date(field)?, &mut printed),
            Transcoder::IsoTime => iso::time(i64::from_be_bytes(sized(field)?), &mut printed),
            Transcoder::IsoTimestamp { zoned } => iso::timestamp(moment::timestamp(field)?, *zoned, &mut printed),
            Transcoder::Base64 => base64::engine::general_purpose::STANDARD.encode_string(field, &mut printed),
            Transcoder::Hex => text::hex(field, &mut printed),
            Transcoder::Xid8 => printed = u64::from_be_bytes(sized(field)?).to_string(),
            Transcoder::Tid => {
                let mut field = field;
                let (block, offset) = (take(&mut field)?, take(&mut field)?);
                end(field)?;
                printed = format!("({},{})", u32::from_be_bytes(block), u16::from_be_bytes(offset));
            }
            Transcoder::Lsn => {
                let position = u64::from_be_bytes(sized(field)?);
                printed = format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff);
            }
            Transcoder::Inet => network::inet(field, &mut printed)?,
            Transcoder::Mac => network::mac(field, &mut printed)?,
            Transcoder::BitText => bits::text(field, &mut printed)?,
            Transcoder::HstoreJson => printed = container::hstore_json(field)?,
            _ => text::interval(Interval::read(field)?, &mut printed),
        }
        put_bytes(printed.as_bytes(), out);
        Ok(())
    }
}

fn put_double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(transcoder: &Transcoder, field: &[u8]) -> Result<Vec<u8>, Bad> {
        let mut out = Vec::new();
        transcoder.put(field, &mut out).map(|()| out)
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
    }

    #[test]
    fn arrays_keep_their_nulls() {
        let mut field = Vec::new();
        for word in [1_i32, 1, 23, 2, 1, 4, 7, -1] {
            field.extend(word.to_be_bytes());
        }
        let ints = Transcoder::Array { element: Box::new(Transcoder::Int4), dimensions: 1 };
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
            (Transcoder::Array { element: Box::new(Transcoder::Bool), dimensions: 1 }, &[0, 0, 0, 1]),
        ] {
            assert!(put(&transcoder, field).is_err(), "{transcoder:?}");
        }
    }
}
