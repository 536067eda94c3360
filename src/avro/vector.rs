//! pgvector's types.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::attribute::{Schema, avro, insert_before, semantic_record};
use super::binary::{end, put_long, take};
use super::transcode::Bad;

const SPARSE: &str = "io.debezium.data.SparseDoubleVector";

/// An array of floats, or of doubles.
pub(super) fn schema(double: bool) -> Schema {
    let (name, items) = match double {
        true => ("io.debezium.data.DoubleVector", "double"),
        false => ("io.debezium.data.FloatVector", "float"),
    };
    let mut schema = avro("array", Some(name));
    insert_before(&mut schema, "connect.version", "items", items.into());
    schema
}

/// Debezium's record: dimensions, and the elements that are not zero by their numbers. A map whose keys are no strings is, in
/// Confluent's converter, an array of records `MapEntry`.
pub(super) fn sparse_schema() -> Schema {
    let int16 = json!({ "type": "int", "connect.type": "int16" });
    let mut entry = Schema::new();
    entry.insert("type".into(), "record".into());
    entry.insert("name".into(), "MapEntry".into());
    entry.insert("namespace".into(), "io.confluent.connect.avro".into());
    entry.insert("fields".into(), json!([{ "name": "key", "type": int16 }, { "name": "value", "type": "double" }]));
    let vector = json!({ "type": "array", "items": Value::Object(entry) });
    semantic_record(SPARSE, 1, &[("dimensions", int16), ("vector", vector)])
}

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

/// pgvector's `sparsevec_send`: dimensions, how many elements, an unused word, their indices from zero, their floats. Debezium
/// counts from one, as pgvector prints them, in 16 bits.
pub(super) fn sparse(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut rest = field;
    let (dimensions, count) = (i32::from_be_bytes(take(&mut rest)?), i32::from_be_bytes(take(&mut rest)?));
    let _unused = take::<4>(&mut rest)?;
    let count = usize::try_from(count).map_err(|_| Bad::Content)?;
    let (words, tail) = rest.as_chunks::<4>();
    end(tail)?;
    let (indices, floats) = words.split_at_checked(count).ok_or(Bad::Length)?;
    if floats.len() != count {
        return Err(Bad::Length);
    }
    if dimensions > i32::from(i16::MAX) {
        return Err(Bad::TooManyDimensions);
    }
    put_long(dimensions.into(), out);
    if count > 0 {
        put_long(count as i64, out);
    }
    let mut digits = String::new();
    for (index, float) in indices.iter().zip(floats) {
        let index = i32::from_be_bytes(*index);
        if !(0..dimensions).contains(&index) {
            return Err(Bad::Content);
        }
        put_long(i64::from(index) + 1, out);
        out.extend_from_slice(&as_printed(f32::from_be_bytes(*float), &mut digits).to_le_bytes());
    }
    out.push(0);
    Ok(())
}

/// The double of a float's shortest decimal: Debezium reads what pgvector prints, and has 0.1 where the float widened would be
/// 0.10000000149011612. `digits` is room to print in.
fn as_printed(float: f32, digits: &mut String) -> f64 {
    const WHOLE: f32 = 16_777_216.0;
    if float.abs() < WHOLE && float.fract() == 0.0 {
        return f64::from(float);
    }
    digits.clear();
    let printed = write!(digits, "{float}").ok().and_then(|()| digits.parse().ok());
    printed.unwrap_or_else(|| f64::from(float))
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
    let mut digits = String::new();
    for value in values {
        match double {
            true => out.extend_from_slice(&as_printed(value, &mut digits).to_le_bytes()),
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

    #[test]
    fn doubles_are_what_pgvector_prints() {
        for (float, double) in
            [(0.1, 0.1), (-1.5, -1.5), (1e-45, 1e-45), (3.4028235e38, 3.4028235e38), (16_777_216.0, 16_777_216.0)]
        {
            assert_eq!(as_printed(float, &mut String::new()).to_bits(), f64::to_bits(double), "{float}");
        }
    }

    /// Of indices and floats.
    fn sparsevec(dimensions: i32, count: i32, elements: &[(i32, f32)]) -> Vec<u8> {
        let mut field: Vec<u8> = [dimensions, count, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
        field.extend(elements.iter().flat_map(|(index, _)| index.to_be_bytes()));
        field.extend(elements.iter().flat_map(|(_, float)| float.to_be_bytes()));
        field
    }

    #[test]
    fn sparse_vectors_count_from_one() {
        let of = |field: &[u8]| put(|out| sparse(field, out));
        let mut expected = vec![10, 4, 2];
        expected.extend(0.1_f64.to_le_bytes());
        expected.push(10);
        expected.extend((-2_f64).to_le_bytes());
        expected.push(0);
        assert_eq!(of(&sparsevec(5, 2, &[(0, 0.1), (4, -2.0)])).unwrap(), expected);
        assert_eq!(of(&sparsevec(32_767, 0, &[])).unwrap(), [0xfe, 0xff, 3, 0]);
        assert_eq!(of(&sparsevec(32_768, 0, &[])), Err(Bad::TooManyDimensions));
        assert_eq!(of(&sparsevec(5, 1, &[(5, 1.0)])), Err(Bad::Content));
        assert_eq!(of(&sparsevec(5, 1, &[(-1, 1.0)])), Err(Bad::Content));
        assert_eq!(of(&sparsevec(5, -1, &[])), Err(Bad::Content));
        assert_eq!(of(&sparsevec(5, 3, &[(0, 1.0), (1, 1.0)])), Err(Bad::Length));
        assert_eq!(of(&sparsevec(5, i32::MAX, &[])), Err(Bad::Length));
        assert_eq!(of(&[0; 13]), Err(Bad::Length));
    }
}
