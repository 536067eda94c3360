//! Values made of others: arrays, composites, maps.

use serde_json::Value;

use super::binary::{end, put_bytes, put_long, put_text, take};
use super::transcode::{Bad, Step, Transcoder};

/// Takes one value, after its length; none: NULL.
fn value<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Bad> {
    let Ok(length) = usize::try_from(i32::from_be_bytes(take(rest)?)) else { return Ok(None) };
    let (value, tail) = rest.split_at_checked(length).ok_or(Bad::Length)?;
    *rest = tail;
    Ok(Some(value))
}

/// How many of something, no more than bytes are left for.
fn count(rest: &mut &[u8]) -> Result<usize, Bad> {
    let count = usize::try_from(i32::from_be_bytes(take(rest)?)).map_err(|_| Bad::Content)?;
    if count <= rest.len() { Ok(count) } else { Err(Bad::Length) }
}

/// One block of elements, each a union with null; nested as deep as the column is declared. An empty array has no dimensions.
pub(super) fn array(element: &Transcoder, declared: u16, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut rest = field;
    let dimensions = i32::from_be_bytes(take(&mut rest)?);
    let (_has_nulls, _type) = (take::<4>(&mut rest)?, take::<4>(&mut rest)?);
    if dimensions < 0 {
        return Err(Bad::Content);
    }
    if dimensions == 0 {
        out.push(0);
        return end(rest);
    }
    if dimensions != i32::from(declared) {
        return Err(Bad::Dimensions);
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        let length = i32::from_be_bytes(take(&mut rest)?);
        // An empty array has no dimensions, but int2vector and oidvector, which have one of no length. So each element takes
        // bytes, and no length can lie for long.
        if length < i32::from(dimensions != 1) {
            return Err(Bad::Content);
        }
        lengths.push(length);
        let _lower_bound = take::<4>(&mut rest)?;
    }
    if lengths == [0] {
        out.push(0);
        return end(rest);
    }
    elements(element, &lengths, &mut rest, out)?;
    end(rest)
}

fn elements(element: &Transcoder, lengths: &[i32], rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let Some((length, inner)) = lengths.split_first() else {
        return match value(rest)? {
            None => {
                out.push(0);
                Ok(())
            }
            Some(value) => element.put_nullable(value, out),
        };
    };
    put_long(i64::from(*length), out);
    for _ in 0..*length {
        elements(element, inner, rest, out)?;
    }
    out.push(0);
    Ok(())
}

/// The texts of an array's elements, as `to_json` gives them.
pub(super) fn texts(field: &[u8], declared: u16, out: &mut Vec<u8>) -> Result<(), Bad> {
    let json: Value = serde_json::from_slice(field).map_err(|_| Bad::Content)?;
    put_texts(&json, declared, out)
}

fn put_texts(json: &Value, depth: u16, out: &mut Vec<u8>) -> Result<(), Bad> {
    match (json, depth) {
        (Value::Null, 0) => out.push(0),
        (Value::String(text), 0) => {
            out.push(2);
            put_bytes(text.as_bytes(), out);
        }
        // A number or a boolean as JSON prints it, where the type has none of its own.
        (Value::Number(_) | Value::Bool(_), 0) => {
            out.push(2);
            put_bytes(json.to_string().as_bytes(), out);
        }
        (Value::Array(items), 1..) => {
            if !items.is_empty() {
                put_long(items.len() as i64, out);
            }
            for item in items {
                put_texts(item, depth - 1, out)?;
            }
            out.push(0);
        }
        _ => return Err(Bad::Dimensions),
    }
    Ok(())
}

/// `record_send`: how many fields, then type and value of each.
pub(super) fn composite(fields: &[Step], field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut rest = field;
    if count(&mut rest)? != fields.len() {
        return Err(Bad::Retyped);
    }
    for step in fields {
        if u32::from_be_bytes(take(&mut rest)?) != step.oid {
            return Err(Bad::Retyped);
        }
        match value(&mut rest)? {
            None => out.push(0),
            Some(value) => step.transcoder.put_nullable(value, out)?,
        }
    }
    end(rest)
}

type Pair<'a> = (&'a [u8], Option<&'a [u8]>);

/// `hstore_send`: how many pairs, then each key and value.
fn pairs(field: &[u8]) -> Result<Vec<Pair<'_>>, Bad> {
    let mut rest = field;
    let pairs = (0..count(&mut rest)?)
        .map(|_| Ok((value(&mut rest)?.ok_or(Bad::Content)?, value(&mut rest)?)))
        .collect::<Result<_, Bad>>()?;
    end(rest)?;
    Ok(pairs)
}

pub(super) fn hstore(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let pairs = pairs(field)?;
    if !pairs.is_empty() {
        put_long(pairs.len() as i64, out);
    }
    for (key, value) in pairs {
        put_text(key, out)?;
        match value {
            None => out.push(0),
            Some(value) => {
                out.push(2);
                put_text(value, out)?;
            }
        }
    }
    out.push(0);
    Ok(())
}

pub(super) fn hstore_json(field: &[u8]) -> Result<String, Bad> {
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| Bad::Utf8);
    let pairs = pairs(field)?.into_iter().map(|(key, value)| {
        let value = value.map(utf8).transpose()?.map_or(Value::Null, Value::from);
        Ok((utf8(key)?.to_owned(), value))
    });
    Ok(Value::Object(pairs.collect::<Result<_, Bad>>()?).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn put(put: impl Fn(&mut Vec<u8>) -> Result<(), Bad>) -> Result<Vec<u8>, Bad> {
        let mut out = Vec::new();
        put(&mut out).map(|()| out)
    }

    #[test]
    fn arrays_nest_as_deep_as_their_column_is_declared() {
        let square = words(&[2, 1, 23, 2, 1, 2, 1, 4, 1, 4, 2, -1, 4, 4]);
        let of = |declared| put(|out| array(&Transcoder::Int4, declared, &square, out));
        assert_eq!(of(2).unwrap(), [4, 4, 2, 2, 2, 4, 0, 4, 0, 2, 8, 0, 0]);
        assert_eq!(of(1), Err(Bad::Dimensions));
        assert_eq!(put(|out| array(&Transcoder::Int4, 3, &words(&[0, 0, 23]), out)).unwrap(), [0]);
        // An empty int2vector, and what no array can be.
        let of = |field: &[i32]| put(|out| array(&Transcoder::Int4, field[0] as u16, &words(field), out));
        assert_eq!(of(&[1, 0, 21, 0, 0]).unwrap(), [0]);
        assert_eq!(of(&[1, 0, 21, -1, 0]), Err(Bad::Content));
        assert_eq!(of(&[2, 0, 21, 0, 1, 1, 1]), Err(Bad::Content));
        assert_eq!(of(&[1, 0, 21, 0, 0, 7]), Err(Bad::Length));
    }

    #[test]
    fn a_length_that_lies_is_refused_without_taking_memory() {
        let lying = words(&[1, 0, 23, i32::MAX, 1]);
        assert_eq!(put(|out| array(&Transcoder::Int4, 1, &lying, out)), Err(Bad::Length));
        assert_eq!(put(|out| hstore(&words(&[i32::MAX]), out)), Err(Bad::Length));
    }

    #[test]
    fn texts_come_out_of_json_as_deep_as_declared() {
        assert_eq!(put(|out| texts(br#"["a",null]"#, 1, out)).unwrap(), [4, 2, 2, b'a', 0, 0]);
        assert_eq!(put(|out| texts(br#"[["a"]]"#, 2, out)).unwrap(), [2, 2, 2, 2, b'a', 0, 0]);
        assert_eq!(put(|out| texts(br#"[["a"]]"#, 1, out)), Err(Bad::Dimensions));
        assert_eq!(put(|out| texts(b"{", 1, out)), Err(Bad::Content));
    }

    #[test]
    fn a_composite_whose_field_has_another_type_than_described_is_refused() {
        let fields = [Step { oid: 23, transcoder: Transcoder::Int4 }, Step { oid: 25, transcoder: Transcoder::Text }];
        let of = |row: &[i32]| put(|out| composite(&fields, &words(row), out));
        assert_eq!(of(&[2, 23, 4, 7, 25, -1]).unwrap(), [2, 14, 0]);
        assert_eq!(of(&[2, 20, 4, 7, 25, -1]), Err(Bad::Retyped));
        assert_eq!(of(&[1, 23, 4, 7]), Err(Bad::Retyped));
    }
}
