//! Geometric types: PostgreSQL's own and PostGIS's, with the records that Debezium has for them. Their well-known binary
//! is OGC's (Simple Features, 06-103r4), little-endian and without an SRID; `extensions` and version 2 of `Geometry` are
//! Debezium's since 3.7.

use serde_json::{Value, json};

use super::attribute::{Schema, semantic_record};
use super::binary::{end, put_bytes, put_long, take};
use super::transcode::Bad;

const GEOMETRY: &str = "io.debezium.data.geometry.Geometry";
const GEOGRAPHY: &str = "io.debezium.data.geometry.Geography";
const POINT: &str = "io.debezium.data.geometry.Point";
const CIRCLE: &str = "io.debezium.data.geometry.Circle";
const LINE: &str = "io.debezium.data.geometry.Line";

/// PostgreSQL's types that have a form in well-known binary, which does not say which of them a value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Its corners, the high one first.
    Box,
    Lseg,
    Path,
    Polygon,
}

/// A point's x and y.
pub(super) fn point_schema() -> Schema {
    semantic_record(POINT, 1, &[("x", json!("double")), ("y", json!("double"))])
}

/// The same with Debezium's `wkb` and `srid`.
pub(super) fn point_wkb_schema() -> Schema {
    let fields = [
        ("x", json!("double")),
        ("y", json!("double")),
        ("wkb", json!(["null", "bytes"])),
        ("srid", json!(["null", "int"])),
    ];
    semantic_record(POINT, 1, &fields)
}

/// PostGIS's.
pub(super) fn postgis_schema(geography: bool) -> Schema {
    let fields = [("wkb", json!("bytes")), ("srid", json!(["null", "int"]))];
    semantic_record(if geography { GEOGRAPHY } else { GEOMETRY }, 1, &fields)
}

/// With `extensions`, which say what a shape was. A record is defined once in a schema, so PostGIS's has them too.
pub(super) fn extended_schema() -> Schema {
    let extensions = json!(["null", { "type": "map", "values": "string" }]);
    let fields = [("wkb", json!("bytes")), ("srid", json!(["null", "int"])), ("extensions", extensions)];
    semantic_record(GEOMETRY, 2, &fields)
}

pub(super) fn circle_schema() -> Schema {
    let fields = [("center", Value::Object(point_wkb_schema())), ("radius", json!("double"))];
    semantic_record(CIRCLE, 1, &fields)
}

pub(super) fn line_schema() -> Schema {
    semantic_record(LINE, 1, &["a", "b", "c"].map(|name| (name, json!("double"))))
}

/// A point, or a line: so many doubles.
pub(super) fn doubles<const N: usize>(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut rest = field;
    for _ in 0..N {
        put_double(double(&mut rest)?, out);
    }
    end(rest)
}

/// x, y, well-known binary, and no SRID.
pub(super) fn point_wkb(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    doubles::<2>(field, out)?;
    let mut wkb = head(1);
    doubles::<2>(field, &mut wkb)?;
    out.push(2);
    put_bytes(&wkb, out);
    out.push(0);
    Ok(())
}

/// `circle_send`: its centre, then its radius.
pub(super) fn circle(field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let (center, radius) = field.split_at_checked(16).ok_or(Bad::Length)?;
    point_wkb(center, out)?;
    doubles::<1>(radius, out)
}

/// A shape's well-known binary, no SRID, and what it was.
pub(super) fn shape(shape: Shape, field: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut rest = field;
    let mut closed = None;
    let (name, wkb) = match shape {
        Shape::Box => {
            let [[x1, y1], [x2, y2]] = [point(&mut rest)?, point(&mut rest)?];
            ("box", polygon(&[[x1, y1], [x1, y2], [x2, y2], [x2, y1], [x1, y1]]))
        }
        Shape::Lseg => ("lseg", line_string(&[point(&mut rest)?, point(&mut rest)?])),
        Shape::Path => {
            closed = match take(&mut rest)? {
                [0] => Some("false"),
                [1] => Some("true"),
                _ => return Err(Bad::Content),
            };
            ("path", line_string(&points(&mut rest)?))
        }
        Shape::Polygon => {
            let mut ring = points(&mut rest)?;
            if let [first, .., last] = ring[..]
                && first != last
            {
                ring.push(first);
            }
            ("polygon", polygon(&ring))
        }
    };
    end(rest)?;
    put_bytes(&wkb, out);
    out.push(0);
    out.push(2);
    let extensions = [Some(("type", name)), closed.map(|closed| ("closed", closed))];
    put_long(extensions.iter().flatten().count() as i64, out);
    for (key, value) in extensions.iter().flatten() {
        put_bytes(key.as_bytes(), out);
        put_bytes(value.as_bytes(), out);
    }
    out.push(0);
    Ok(())
}

type Point = [f64; 2];

fn double(rest: &mut &[u8]) -> Result<f64, Bad> {
    Ok(f64::from_be_bytes(take(rest)?))
}

fn put_double(double: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&double.to_le_bytes());
}

fn point(rest: &mut &[u8]) -> Result<Point, Bad> {
    Ok([double(rest)?, double(rest)?])
}

/// How many, then as many.
fn points(rest: &mut &[u8]) -> Result<Vec<Point>, Bad> {
    let count = usize::try_from(i32::from_be_bytes(take(rest)?)).map_err(|_| Bad::Content)?;
    if rest.len() / 16 != count {
        return Err(Bad::Length);
    }
    (0..count).map(|_| point(rest)).collect()
}

/// Well-known binary's byte order and kind.
fn head(kind: u32) -> Vec<u8> {
    let mut wkb = vec![1];
    wkb.extend(kind.to_le_bytes());
    wkb
}

fn line_string(points: &[Point]) -> Vec<u8> {
    let mut wkb = head(2);
    put_points(points, &mut wkb);
    wkb
}

fn polygon(ring: &[Point]) -> Vec<u8> {
    let mut wkb = head(3);
    wkb.extend(1_u32.to_le_bytes());
    put_points(ring, &mut wkb);
    wkb
}

fn put_points(points: &[Point], wkb: &mut Vec<u8>) {
    // A field is shorter than 2^31 bytes.
    wkb.extend((points.len() as u32).to_le_bytes());
    points.iter().flatten().for_each(|double| put_double(*double, wkb));
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

    fn field(doubles: &[f64]) -> Vec<u8> {
        doubles.iter().flat_map(|double| double.to_be_bytes()).collect()
    }

    /// A map's block of one pair or of two.
    fn of(type_: &str, closed: Option<&str>) -> Vec<u8> {
        let mut out = vec![0, 2, if closed.is_some() { 4 } else { 2 }];
        for text in ["type", type_].into_iter().chain(closed.into_iter().flat_map(|closed| ["closed", closed])) {
            put_bytes(text.as_bytes(), &mut out);
        }
        out.push(0);
        out
    }

    /// Well-known binary with its length before it; `counts` stand between its kind and its points.
    fn wkb(kind: u32, counts: &[u32], doubles: &[f64]) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend([&[kind], counts].concat().iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(doubles.iter().flat_map(|double| double.to_le_bytes()));
        let mut out = Vec::new();
        put_bytes(&bytes, &mut out);
        out
    }

    #[test]
    fn shapes_are_well_known_binary_and_say_what_they_were() {
        let box_ = field(&[3.0, 4.0, 1.0, 2.0]);
        let ring = [3.0, 4.0, 3.0, 2.0, 1.0, 2.0, 1.0, 4.0, 3.0, 4.0];
        let expected = [wkb(3, &[1, 5], &ring), of("box", None)].concat();
        assert_eq!(put(|out| shape(Shape::Box, &box_, out)).unwrap(), expected);
        let expected = [wkb(2, &[2], &[3.0, 4.0, 1.0, 2.0]), of("lseg", None)].concat();
        assert_eq!(put(|out| shape(Shape::Lseg, &box_, out)).unwrap(), expected);
        for (closed, told) in [(0, "false"), (1, "true")] {
            let path = [&[closed, 0, 0, 0, 2][..], &box_].concat();
            let expected = [wkb(2, &[2], &[3.0, 4.0, 1.0, 2.0]), of("path", Some(told))].concat();
            assert_eq!(put(|out| shape(Shape::Path, &path, out)).unwrap(), expected);
        }
    }

    #[test]
    fn a_polygons_ring_ends_where_it_begins() {
        let polygon = |doubles: &[f64]| {
            let count = (doubles.len() / 2) as i32;
            put(|out| shape(Shape::Polygon, &[&count.to_be_bytes()[..], &field(doubles)].concat(), out)).unwrap()
        };
        for (points, ring) in [
            (&[0.0, 0.0, 1.0, 0.0, 1.0, 1.0][..], &[0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0][..]),
            (&[0.0, 0.0, 1.0, 0.0, -0.0, 0.0], &[0.0, 0.0, 1.0, 0.0, -0.0, 0.0]),
            (&[7.0, 8.0], &[7.0, 8.0]),
            (&[], &[]),
        ] {
            let expected = [wkb(3, &[1, ring.len() as u32 / 2], ring), of("polygon", None)].concat();
            assert_eq!(polygon(points), expected);
        }
    }

    #[test]
    fn circles_and_lines_are_their_numbers() {
        let mut expected: Vec<u8> = [1.0_f64, 2.0].iter().flat_map(|double| double.to_le_bytes()).collect();
        expected.extend([&[2][..], &wkb(1, &[], &[1.0, 2.0]), &[0], &3_f64.to_le_bytes()].concat());
        assert_eq!(put(|out| circle(&field(&[1.0, 2.0, 3.0]), out)).unwrap(), expected);
        let expected: Vec<u8> = [1.0_f64, -2.0, 3.0].iter().flat_map(|double| double.to_le_bytes()).collect();
        assert_eq!(put(|out| doubles::<3>(&field(&[1.0, -2.0, 3.0]), out)).unwrap(), expected);
        assert_eq!(put(|out| circle(&[0; 23], out)), Err(Bad::Length));
        assert_eq!(put(|out| circle(&[0; 15], out)), Err(Bad::Length));
    }

    #[test]
    fn a_shape_that_lies_is_refused_without_taking_memory() {
        for (kind, field, bad) in [
            (Shape::Polygon, &[0x7f, 0xff, 0xff, 0xff][..], Bad::Length),
            (Shape::Polygon, &[0xff, 0, 0, 0], Bad::Content),
            (Shape::Polygon, &[0, 0, 0, 0, 7], Bad::Length),
            (Shape::Path, &[2, 0, 0, 0, 0], Bad::Content),
            (Shape::Path, &[1, 0, 0], Bad::Length),
            (Shape::Box, &[0; 33], Bad::Length),
            (Shape::Lseg, &[0; 31], Bad::Length),
        ] {
            assert_eq!(put(|out| shape(kind, field, out)), Err(bad), "{kind:?} {field:?}");
        }
    }
}
