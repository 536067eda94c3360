//! Bit strings: their length in bits, then the bits, the first of them in the highest place.

use super::binary::{put_bytes, take};
use super::transcode::Bad;

struct Bits<'a> {
    length: usize,
    bytes: &'a [u8],
}

impl<'a> Bits<'a> {
    fn read(field: &'a [u8]) -> Result<Self, Bad> {
        let mut bytes = field;
        let length = usize::try_from(i32::from_be_bytes(take(&mut bytes)?)).map_err(|_| Bad::Content)?;
        if bytes.len() == length.div_ceil(8) { Ok(Bits { length, bytes }) } else { Err(Bad::Length) }
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = bool> {
        (0..self.length).map(|at| self.bytes.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0))
    }
}

/// The only bit of a `bit(1)`, or of a `varbit(1)` that has it.
pub(super) fn first(field: &[u8]) -> Result<bool, Bad> {
    let bits = Bits::read(field)?;
    let mut bits = bits.iter();
    match (bits.next(), bits.next()) {
        (Some(bit), None) => Ok(bit),
        (None, _) => Err(Bad::NoBit),
        _ => Err(Bad::Content),
    }
}

/// As bytes, the last bit in the lowest place of the first byte; `trimmed`: without the bytes after the last one that has a bit
/// set.
pub(super) fn little_endian(field: &[u8], trimmed: bool, out: &mut Vec<u8>) -> Result<(), Bad> {
    let bits = Bits::read(field)?;
    let mut bytes = vec![0_u8; bits.bytes.len()];
    for (at, bit) in bits.iter().rev().enumerate() {
        if let Some(byte) = bytes.get_mut(at / 8) {
            *byte |= u8::from(bit) << (at % 8);
        }
    }
    let length = match trimmed {
        true => bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
        false => bytes.len(),
    };
    put_bytes(bytes.get(..length).unwrap_or_default(), out);
    Ok(())
}

/// As one byte, the last bit in the lowest place, with two's complement's sign: of at most eight bits.
pub(super) fn byte(field: &[u8]) -> Result<i8, Bad> {
    let bits = Bits::read(field)?;
    if bits.length > 8 {
        return Err(Bad::Content);
    }
    Ok(bits.iter().fold(0_u8, |byte, bit| byte << 1 | u8::from(bit)).cast_signed())
}

/// As PostgreSQL prints them.
pub(super) fn text(field: &[u8], text: &mut String) -> Result<(), Bad> {
    text.extend(Bits::read(field)?.iter().map(|bit| if bit { '1' } else { '0' }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_turned_so_that_the_last_comes_first() {
        let field = [0, 0, 0, 10, 0b1000_0000, 0b0100_0000];
        let mut out = Vec::new();
        little_endian(&field, false, &mut out).unwrap();
        assert_eq!(out, [4, 0b0000_0001, 0b0000_0010]);
        let mut printed = String::new();
        text(&field, &mut printed).unwrap();
        assert_eq!(printed, "1000000001");
    }

    #[test]
    fn bytes_without_a_bit_at_the_high_end_are_trimmed() {
        for (field, trimmed) in [
            (&[0, 0, 0, 17, 0, 0x40, 0x80][..], &[2, 0x81][..]),
            (&[0, 0, 0, 9, 0, 0], &[0]),
            (&[0, 0, 0, 0], &[0]),
            (&[0, 0, 0, 9, 0x80, 0], &[4, 0, 1]),
        ] {
            let mut out = Vec::new();
            little_endian(field, true, &mut out).unwrap();
            assert_eq!(out, trimmed, "{field:?}");
        }
    }

    #[test]
    fn eight_bits_are_a_byte_with_a_sign() {
        assert_eq!(byte(&[0, 0, 0, 8, 0xff]), Ok(-1));
        assert_eq!(byte(&[0, 0, 0, 3, 0b1010_0000]), Ok(5));
        assert_eq!(byte(&[0, 0, 0, 9, 0xff, 0x80]), Err(Bad::Content));
    }

    #[test]
    fn a_bit_is_one() {
        assert_eq!(first(&[0, 0, 0, 1, 0x80]), Ok(true));
        assert_eq!(first(&[0, 0, 0, 2, 0x80]), Err(Bad::Content));
        assert_eq!(first(&[0, 0, 0, 0]), Err(Bad::NoBit));
        assert_eq!(first(&[0, 0, 0, 1]), Err(Bad::Length));
        assert_eq!(first(&[0xff, 0xff, 0xff, 0xff]), Err(Bad::Content));
    }
}
