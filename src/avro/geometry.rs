//! Geometric types.

use super::transcode::{Bad, end, put_bytes, put_long, take};

/// x and y.
pub(super) fn point(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut rest = field;
    for _ in 0..2 {
        out.extend_from_slice(&u64::from_be_bytes(take(&mut rest)?).to_le_bytes());
    }
    end(rest)
}

/// Well-known binary, little-endian, of the kind "point"; and no SRID.
pub(super) fn point_wkb(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut wkb = vec![1, 1, 0, 0, 0];
    point(field, &mut wkb)?;
    out.push(2);
    put_bytes(&wkb, out);
    out.push(0);
    Ok(())
}

/// PostGIS's extended well-known binary: byte order, kind with flags, SRID where the flag says so.
pub(super) fn ewkb(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    const HAS_SRID: u32 = 0x2000_0000;
    let mut rest = field;
    let [order] = take::<1>(&mut rest)?;
    let word = |bytes: [u8; 4]| match order {
        0 => Ok(u32::from_be_bytes(bytes)),
        1 => Ok(u32::from_le_bytes(bytes)),
        _ => Err(Bad::Content),
    };
    let kind = word(take(&mut rest)?)?;
    put_bytes(field, out);
    if kind & HAS_SRID == 0 {
        out.push(0);
    } else {
        out.push(2);
        put_long(i64::from(word(take(&mut rest)?)?.cast_signed()), out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(put: impl Fn(&mut Vec<u8>) -> Result<(), Bad>) -> Result<Vec<u8>, Bad> {
        let mut out = Vec::new();
        put(&mut out).map(|()| out)
    }

    #[test]
    fn a_geometry_keeps_its_bytes_and_tells_its_srid() {
        // POINT(1 2) with SRID 4326, little-endian.
        let mut ewkb_ = vec![1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0];
        ewkb_.extend([1_f64.to_le_bytes(), 2_f64.to_le_bytes()].concat());
        let out = put(|out| ewkb(&ewkb_, out)).unwrap();
        assert_eq!(out[1..=25], ewkb_);
        assert_eq!(out[26..], [2, 0xcc, 0x43], "4326");
        let plain = [0, 0, 0, 0, 1];
        assert_eq!(put(|out| ewkb(&plain, out)).unwrap(), [10, 0, 0, 0, 0, 1, 0]);
        assert_eq!(put(|out| ewkb(&[2, 0, 0, 0, 0], out)), Err(Bad::Content));
    }
}
