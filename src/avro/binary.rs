//! Bytes: PostgreSQL's taken apart, Avro's put together.

use super::transcode::Bad;

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
    put_front(&bytes, length + 1, out);
}

/// The first so many of these bytes. As many as there are at most are copied, and what is too much is taken back: to copy a
/// number of bytes that the compiler knows is a store or two, any other a call.
#[inline]
pub(super) fn put_front<const N: usize>(bytes: &[u8; N], count: usize, out: &mut Vec<u8>) {
    let end = out.len() + count;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

#[inline]
pub(super) fn put_text(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    std::str::from_utf8(field).map_err(|_| Bad::Utf8)?;
    put_bytes(field, out);
    Ok(())
}

#[inline]
pub(super) fn sized<const N: usize>(field: &[u8]) -> Result<[u8; N], Bad> {
    field.try_into().map_err(|_| Bad::Length)
}

/// Takes so many bytes from the front.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Bad> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Bad::Length)?;
    *rest = tail;
    Ok(*head)
}

pub(super) fn end(rest: &[u8]) -> Result<(), Bad> {
    if rest.is_empty() { Ok(()) } else { Err(Bad::Length) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
