//! PostgreSQL's binary numeric: digits of base 10,000 with a weight, to Avro's decimal or to text.

use num_bigint::{BigInt, Sign};

use super::binary::{put_bytes, put_front, put_long};
use super::transcode::Bad;

const POSITIVE: u16 = 0;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;

/// A numeric as it comes: `digits` are big-endian 16-bit numbers below 10,000, the first of `weight`.
struct Numeric<'a> {
    weight: i16,
    sign: u16,
    /// Digits after the point, for display.
    dscale: u16,
    digits: &'a [[u8; 2]],
}

impl<'a> Numeric<'a> {
    fn read(field: &'a [u8]) -> Result<Self, Bad> {
        let (head, digits) = field.split_first_chunk::<8>().ok_or(Bad::Length)?;
        let word = |at: usize| u16::from_be_bytes([head[2 * at], head[2 * at + 1]]);
        let (digits, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() || digits.len() != usize::from(word(0)) {
            return Err(Bad::Length);
        }
        // PostgreSQL keeps it in 14 bits.
        if word(3) > 0x3fff {
            return Err(Bad::Content);
        }
        Ok(Numeric { weight: word(1).cast_signed(), sign: word(2), dscale: word(3), digits })
    }

    fn digits(&self) -> impl Iterator<Item = Result<u16, Bad>> {
        self.digits.iter().map(|digit| match u16::from_be_bytes(*digit) {
            digit @ 0..10_000 => Ok(digit),
            _ => Err(Bad::Content),
        })
    }

    /// The same without zeros at the end of its fraction.
    fn stripped(mut self) -> Result<Self, Bad> {
        while let [digits @ .., [0, 0]] = self.digits {
            self.digits = digits;
        }
        let zeros = match self.digits.last().map(|digit| u16::from_be_bytes(*digit)) {
            None => 0,
            Some(digit) => (1..4).take_while(|zeros| digit.is_multiple_of(10_u16.pow(*zeros))).count() as i32,
        };
        let fraction = if self.digits.is_empty() { 0 } else { -(self.exponent() + zeros) };
        self.dscale = u16::try_from(fraction.max(0)).ok().filter(|scale| *scale <= 0x3fff).ok_or(Bad::Content)?;
        Ok(self)
    }

    /// The power of ten of the last digit.
    fn exponent(&self) -> i32 {
        4 * (i32::from(self.weight) - i32::try_from(self.digits.len()).unwrap_or(i32::MAX / 8) + 1)
    }
}

/// Appends the value as a record of its own scale and its unscaled value, as Debezium has it: without zeros at the end.
pub(super) fn variable_scale(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let scale = Numeric::read(field)?.stripped()?.dscale;
    put_long(i64::from(scale), out);
    decimal(field, scale, out)
}

/// Appends the value as Avro's decimal of this scale: its length, then the shortest big-endian two's complement.
pub(super) fn decimal(field: &[u8], scale: u16, out: &mut Vec<u8>) -> Result<(), Bad> {
    let numeric = Numeric::read(field)?;
    match numeric.sign {
        POSITIVE | NEGATIVE => {}
        NAN | INFINITY | MINUS_INFINITY => return Err(Bad::NotFinite),
        _ => return Err(Bad::Content),
    }
    let shift = numeric.exponent() + i32::from(scale);
    match small(&numeric, shift)? {
        Some(unscaled) => put_unscaled(if numeric.sign == NEGATIVE { -unscaled } else { unscaled }, out),
        None => put_bytes(&large(&numeric, shift)?.to_signed_bytes_be(), out),
    }
    Ok(())
}

/// The unscaled value where it fits into 128 bits.
fn small(numeric: &Numeric<'_>, shift: i32) -> Result<Option<i128>, Bad> {
    // 9 digits of base 10,000 are below 2^127 with room for the factor below to overflow visibly.
    if numeric.digits.len() > 9 {
        return Ok(None);
    }
    let mut value: i128 = 0;
    for digit in numeric.digits() {
        value = value * 10_000 + i128::from(digit?);
    }
    if value == 0 {
        return Ok(Some(0));
    }
    let Some(power) = 10_i128.checked_pow(shift.unsigned_abs()) else {
        return Ok(None);
    };
    if shift >= 0 {
        return Ok(value.checked_mul(power));
    }
    // A division of 128 bits is a call, and most numbers are short.
    let (quotient, rest) = match (i64::try_from(value), i64::try_from(power)) {
        (Ok(value), Ok(power)) => ((value / power).into(), (value % power).into()),
        _ => (value / power, value % power),
    };
    if rest == 0 { Ok(Some(quotient)) } else { Err(Bad::Scale) }
}

fn large(numeric: &Numeric<'_>, shift: i32) -> Result<BigInt, Bad> {
    let mut value = BigInt::ZERO;
    for digit in numeric.digits() {
        value = value * 10_000_u32 + digit?;
    }
    let power = BigInt::from(10).pow(shift.unsigned_abs());
    if shift >= 0 {
        value *= power;
    } else {
        if &value % &power != BigInt::ZERO {
            return Err(Bad::Scale);
        }
        value /= power;
    }
    if numeric.sign == NEGATIVE && value.sign() == Sign::Plus { Ok(-value) } else { Ok(value) }
}

/// Appends a decimal whose unscaled value is at hand.
pub(super) fn put_unscaled(unscaled: i128, out: &mut Vec<u8>) {
    // Leading bytes that only repeat the sign go, as long as the next still carries it.
    let spare = ((if unscaled < 0 { unscaled.leading_ones() } else { unscaled.leading_zeros() }) - 1) / 8;
    let count = 16 - spare as usize;
    put_long(count as i64, out);
    put_front(&(unscaled << (8 * spare)).to_be_bytes(), count, out);
}

/// Appends the value as a string, as PostgreSQL prints it.
pub(super) fn text(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    put_text(&Numeric::read(field)?, out)
}

/// The same without zeros at the end of its fraction, so that equal numbers are equal texts.
pub(super) fn shortest_text(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    put_text(&Numeric::read(field)?.stripped()?, out)
}

fn put_text(numeric: &Numeric<'_>, out: &mut Vec<u8>) -> Result<(), Bad> {
    let special = match numeric.sign {
        POSITIVE | NEGATIVE => "",
        NAN => "NaN",
        INFINITY => "Infinity",
        MINUS_INFINITY => "-Infinity",
        _ => return Err(Bad::Content),
    };
    if !special.is_empty() {
        put_bytes(special.as_bytes(), out);
        return Ok(());
    }
    let digits = numeric.digits().collect::<Result<Vec<u16>, Bad>>()?;
    // Groups of four decimal digits; those before the first and behind the last are zeros.
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
    let mut text = String::new();
    if numeric.sign == NEGATIVE {
        text.push('-');
    }
    let weight = i32::from(numeric.weight);
    if weight < 0 {
        text.push('0');
    } else {
        for at in 0..=weight {
            match at {
                0 => text.push_str(&group(at).to_string()),
                _ => text.push_str(&format!("{:04}", group(at))),
            }
        }
    }
    if numeric.dscale > 0 {
        text.push('.');
        let whole = text.len();
        let mut at = weight + 1;
        // The first group after the point is the one of weight -1.
        if weight < 0 {
            text.extend(std::iter::repeat_n('0', usize::try_from(4 * (-1 - weight)).unwrap_or(0)));
            at = 0;
        }
        while text.len() - whole < usize::from(numeric.dscale) {
            text.push_str(&format!("{:04}", group(at)));
            at += 1;
        }
        text.truncate(whole + usize::from(numeric.dscale));
    }
    put_bytes(text.as_bytes(), out);
    Ok(())
}

/// What [`text`] printed, length first, as the nearest double.
pub(super) fn double(printed: &[u8]) -> Result<f64, Bad> {
    let digits = printed
        .iter()
        .position(|byte| byte & 0x80 == 0)
        .map_or(printed, |at| printed.get(at + 1..).unwrap_or_default());
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Bad::Content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(weight: i16, sign: u16, dscale: u16, digits: &[u16]) -> Vec<u8> {
        let head = [digits.len() as u16, weight.cast_unsigned(), sign, dscale];
        head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
    }

    fn as_text(field: &[u8]) -> String {
        let mut out = Vec::new();
        text(field, &mut out).unwrap();
        String::from_utf8(out[if out.len() > 64 { 2 } else { 1 }..].to_vec()).unwrap()
    }

    fn as_decimal(field: &[u8], scale: u16) -> Result<BigInt, Bad> {
        let mut out = Vec::new();
        decimal(field, scale, &mut out)?;
        let skip = if out.len() > 65 { 2 } else { 1 };
        Ok(BigInt::from_signed_bytes_be(&out[skip..]))
    }

    #[test]
    fn numbers_print_as_postgresql_prints_them() {
        for (field, text) in [
            (numeric(0, POSITIVE, 0, &[]), "0"),
            (numeric(0, POSITIVE, 2, &[]), "0.00"),
            (numeric(0, POSITIVE, 5, &[3, 1415, 9000]), "3.14159"),
            (numeric(1, NEGATIVE, 0, &[1, 2]), "-10002"),
            (numeric(2, POSITIVE, 0, &[1]), "100000000"),
            (numeric(-1, POSITIVE, 4, &[12]), "0.0012"),
            (numeric(-3, POSITIVE, 12, &[5]), "0.000000000005"),
            (numeric(0, NAN, 0, &[]), "NaN"),
            (numeric(0, MINUS_INFINITY, 32, &[]), "-Infinity"),
        ] {
            assert_eq!(as_text(&field), text);
        }
    }

    #[test]
    fn decimals_are_exact_and_shortest() {
        assert_eq!(as_decimal(&numeric(0, POSITIVE, 2, &[12, 3400]), 2).unwrap(), BigInt::from(1234));
        assert_eq!(as_decimal(&numeric(0, NEGATIVE, 2, &[1, 2800]), 2).unwrap(), BigInt::from(-128));
        assert_eq!(as_decimal(&numeric(5, POSITIVE, 0, &[1]), 2).unwrap(), BigInt::from(10).pow(22));
        let mut out = Vec::new();
        put_unscaled(-128, &mut out);
        assert_eq!(out, [2, 0x80]);
        out.clear();
        put_unscaled(128, &mut out);
        assert_eq!(out, [4, 0, 0x80]);
        out.clear();
        put_unscaled(0, &mut out);
        assert_eq!(out, [2, 0]);
    }

    #[test]
    fn numbers_beyond_128_bits_are_exact() {
        let digits = [9999; 30];
        let expected: BigInt = "9".repeat(120).parse().unwrap();
        assert_eq!(as_decimal(&numeric(29, POSITIVE, 0, &digits), 0).unwrap(), expected);
        assert_eq!(as_decimal(&numeric(29, NEGATIVE, 0, &digits), 3).unwrap(), -expected * 1000);
    }

    #[test]
    fn zeros_at_the_end_go_and_others_stay() {
        for (field, text, scale) in [
            (numeric(0, POSITIVE, 2, &[1]), "1", 0),
            (numeric(0, POSITIVE, 3, &[1, 5000]), "1.5", 1),
            (numeric(0, NEGATIVE, 9, &[1, 5, 0]), "-1.0005", 4),
            (numeric(0, POSITIVE, 4, &[10, 1200]), "10.12", 2),
            (numeric(1, POSITIVE, 0, &[12]), "120000", 0),
            (numeric(-2, POSITIVE, 10, &[1000]), "0.00001", 5),
            (numeric(0, POSITIVE, 7, &[]), "0", 0),
            (numeric(0, POSITIVE, 7, &[0]), "0", 0),
        ] {
            let mut out = Vec::new();
            shortest_text(&field, &mut out).unwrap();
            assert_eq!(String::from_utf8(out[1..].to_vec()).unwrap(), text);
            out.clear();
            variable_scale(&field, &mut out).unwrap();
            assert_eq!(out[0], 2 * scale, "{text}");
            let unscaled: BigInt = text.replace('.', "").parse().unwrap();
            assert_eq!(BigInt::from_signed_bytes_be(&out[2..]), unscaled, "{text}");
        }
        // Far below what PostgreSQL's scale reaches.
        let far = numeric(i16::MIN, POSITIVE, 0, &[1]);
        assert_eq!(variable_scale(&far, &mut Vec::new()), Err(Bad::Content));
        assert_eq!(variable_scale(&numeric(0, NAN, 0, &[]), &mut Vec::new()), Err(Bad::NotFinite));
        assert_eq!(shortest_text(&numeric(0, POSITIVE, 0, &[10_000]), &mut Vec::new()), Err(Bad::Content));
    }

    #[test]
    fn what_a_decimal_cannot_hold_is_an_error() {
        assert_eq!(as_decimal(&numeric(0, NAN, 0, &[]), 2), Err(Bad::NotFinite));
        assert_eq!(as_decimal(&numeric(0, POSITIVE, 3, &[1, 2345]), 2), Err(Bad::Scale));
        assert_eq!(as_decimal(&numeric(0, POSITIVE, 0, &[10_000]), 2), Err(Bad::Content));
        assert_eq!(as_decimal(&[0, 1, 0, 0, 0, 0, 0, 0], 2), Err(Bad::Length));
        assert_eq!(as_decimal(&[0], 2), Err(Bad::Length));
    }
}
