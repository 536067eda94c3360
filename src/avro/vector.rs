//! pgvector's types.

use super::transcode::{Bad, end, put_long, take};

/// pgvector's `vector_send`: dimensions, an unused word, floats.
pub(super) fn vector(field: &[u8], double: bool, out: &mut Vec<u8>) -> Result<(), Bad> {
    let (floats, rest) = dimensions(field)?.as_chunks::<4>();
    end(rest)?;
    put_block(floats.iter().map(|float| f32::from_be_bytes(*float)), floats.len(), double, out);
    Ok(())
}

/// pgvector's `halfvec_send`: the same of IEEE 754's half precision.
pub(super) fn half_vector(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let (halves, rest) = dimensions(field)?.as_chunks::<2>();
    end(rest)?;
    put_block(halves.iter().map(|half| widened(u16::from_be_bytes(*half))), halves.len(), false, out);
    Ok(())
}

fn dimensions(field: &[u8]) -> Result<&[u8], Bad> {
    let mut rest = field;
    let (dimensions, _unused) = (u16::from_be_bytes(take(&mut rest)?), take::<2>(&mut rest)?);
    let size = usize::from(dimensions);
    if rest.len() == 4 * size || rest.len() == 2 * size { Ok(rest) } else { Err(Bad::Length) }
}

fn put_block(values: impl Iterator<Item = f32>, count: usize, double: bool, out: &mut Vec<u8>) {
    if count > 0 {
        put_long(count as i64, out);
    }
    for value in values {
        match double {
            true => out.extend_from_slice(&f64::from(value).to_le_bytes()),
            false => out.extend_from_slice(&value.to_le_bytes()),
        }
    }
    out.push(0);
}

/// Half precision has 5 bits of exponent and 10 of fraction.
fn widened(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(half >> 10 & 0x1f), f32::from(half & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(put: impl Fn(&mut Vec<u8>) -> Result<(), Bad>) -> Result<Vec<u8>, Bad> {
        let mut out = Vec::new();
        put(&mut out).map(|()| out)
    }

    #[test]
    fn vectors_are_floats() {
        let mut vector_ = vec![0, 2, 0, 0];
        vector_.extend(1.5_f32.to_be_bytes());
        vector_.extend((-2_f32).to_be_bytes());
        let mut expected = vec![4];
        expected.extend([1.5_f32.to_le_bytes(), (-2_f32).to_le_bytes()].concat());
        expected.push(0);
        assert_eq!(put(|out| vector(&vector_, false, out)).unwrap(), expected);
        let half = [0, 2, 0, 0, 0x3e, 0, 0xc0, 0];
        assert_eq!(put(|out| half_vector(&half, out)).unwrap(), expected);
        assert_eq!(put(|out| half_vector(&[0, 2, 0, 0, 0x3e], out)), Err(Bad::Length));
        for (half, float) in
            [(0x0001, 2_f32.powi(-24)), (0x7bff, 65_504.0), (0xfc00, f32::NEG_INFINITY), (0x8000, -0.0)]
        {
            assert_eq!(widened(half).to_bits(), float.to_bits(), "{half:04x}");
        }
    }
}
