//! PostgreSQL's own types.

use serde_json::json;

use super::{Chosen, Settings};
use crate::avro::attribute::{Schema, avro, decimal, logical, semantic_record, with_parameter};
use crate::avro::geometry::{self, Shape};
use crate::avro::handling::{Binary, Decimals, Intervals, Json, Nan, Profile, Uuids};
use crate::avro::transcode::{Transcoder, Void};

impl Settings {
    /// By its name and modifier. `None`: it travels as text.
    pub(super) fn built_in(&self, name: &str, typmod: i32) -> Chosen {
        let Settings { money_scale, handling, .. } = *self;
        let (profile, plain) = (handling.profile, handling.profile == Profile::ConnectJdbc);
        let text = |name: &'static str| avro("string", (!plain).then_some(name));
        Some(match name {
            "bool" => (avro("boolean", None), Transcoder::Bool),
            "int2" => {
                let mut schema = avro("int", None);
                schema.insert("connect.type".into(), "int16".into());
                (schema, Transcoder::Int2)
            }
            "int4" => (avro("int", None), Transcoder::Int4),
            "int8" => (avro("long", None), Transcoder::Int8),
            "oid" | "xid" | "cid" => (avro("long", None), Transcoder::Oid),
            "xid8" => (avro("string", None), Transcoder::Xid8),
            "tid" => (avro("string", None), Transcoder::Tid),
            "float4" => (avro("float", None), Transcoder::Float4),
            "float8" => (avro("double", None), Transcoder::Float8),
            "numeric" => match (handling.decimals, decimal_of(typmod)) {
                (Decimals::String, _) => (avro("string", None), Transcoder::Numeric),
                (Decimals::Double, _) => (avro("double", None), Transcoder::NumericDouble),
                (Decimals::Precise, Some((precision, scale))) => {
                    (decimal(precision, scale), self.unless_nan(Transcoder::Decimal { scale }))
                }
                (Decimals::Precise, None) if profile == Profile::Debezium => {
                    let fields = [("scale", json!("int")), ("value", json!("bytes"))];
                    let schema = semantic_record("io.debezium.data.VariableScaleDecimal", 1, &fields);
                    (schema, self.unless_nan(Transcoder::VariableScale))
                }
                (Decimals::Precise, None) => (avro("string", None), Transcoder::Numeric),
            },
            "money" => match handling.decimals {
                Decimals::String => (avro("string", None), Transcoder::MoneyText { scale: money_scale }),
                Decimals::Precise if !plain => (decimal(19, u16::from(money_scale)), Transcoder::Money),
                _ => (avro("double", None), Transcoder::MoneyDouble { scale: money_scale }),
            },
            "bpchar" if typmod < 0 => (avro("string", None), Transcoder::Padded),
            "text" | "varchar" | "bpchar" | "name" | "refcursor" => (avro("string", None), Transcoder::Text),
            "char" => (avro("string", None), Transcoder::Char),
            "xml" => (text("io.debezium.data.Xml"), Transcoder::Text),
            "bytea" => match handling.binary {
                Binary::Bytes => (avro("bytes", None), Transcoder::Bytes),
                Binary::Base64 => (avro("string", None), Transcoder::Base64),
                Binary::Hex => (avro("string", None), Transcoder::Hex),
            },
            "date" | "time" | "timestamp" | "timestamptz" => {
                let (schema, transcoder) = self.time(name, typmod);
                (schema, self.unless_infinite(name, transcoder))
            }
            "timetz" if plain => {
                (logical("int", "org.apache.kafka.connect.data.Time", "time-millis"), Transcoder::TimeTzMillis)
            }
            "timetz" => {
                let transcoder = if profile == Profile::Debezium { Transcoder::TimeTzUtc } else { Transcoder::TimeTz };
                (avro("string", Some("io.debezium.time.ZonedTime")), transcoder)
            }
            "interval" => match handling.intervals {
                Intervals::String => (avro("string", Some("io.debezium.time.Interval")), Transcoder::Interval),
                Intervals::Numeric => (avro("long", Some("io.debezium.time.MicroDuration")), Transcoder::MicroDuration),
            },
            "uuid" => match handling.uuids {
                Uuids::Uuid if profile == Profile::Debezium => (text("io.debezium.data.Uuid"), Transcoder::Uuid),
                Uuids::Uuid => (logical("string", "io.debezium.data.Uuid", "uuid"), Transcoder::Uuid),
                Uuids::String => (avro("string", None), Transcoder::Uuid),
                Uuids::Bytes => (avro("bytes", None), Transcoder::Bytes),
            },
            "json" | "jsonb" => {
                let named = (handling.json == Json::Json).then_some("io.debezium.data.Json");
                (avro("string", named), if name == "json" { Transcoder::Text } else { Transcoder::Jsonb })
            }
            "jsonpath" => (avro("string", None), Transcoder::Jsonb),
            "bit" | "varbit" => self.bits(name, typmod),
            "inet" | "cidr" => (avro("string", None), Transcoder::Inet),
            "macaddr" | "macaddr8" => (avro("string", None), Transcoder::Mac),
            "pg_lsn" => (avro("string", None), Transcoder::Lsn),
            "point" | "box" | "lseg" | "path" | "polygon" | "circle" | "line" => return self.geometric(name),
            _ => return None,
        })
    }

    /// Bit strings. One bit is a boolean. Beyond, bytes alone would lose the length of what has none of its own.
    fn bits(&self, name: &str, typmod: i32) -> (Schema, Transcoder) {
        let bits = |length: i32| with_parameter("bytes", "io.debezium.data.Bits", "length", length.to_string());
        match (self.handling.profile, name, typmod) {
            (_, "bit", 1) | (Profile::Debezium, _, 1) => (avro("boolean", None), Transcoder::Bit),
            // Debezium takes what is declared without a length for the longest there is.
            (Profile::Debezium, ..) => {
                (bits(if typmod > 0 { typmod } else { i32::MAX }), Transcoder::Bits { trimmed: true })
            }
            // A driver's byte, and its bytes without a name.
            (Profile::ConnectJdbc, "bit", 2..=8) => {
                let mut schema = avro("int", None);
                schema.insert("connect.type".into(), "int8".into());
                (schema, Transcoder::BitByte)
            }
            (Profile::ConnectJdbc, "bit", 9..) => (avro("bytes", None), Transcoder::Bits { trimmed: false }),
            (_, "bit", 2..) => (bits(typmod), Transcoder::Bits { trimmed: false }),
            _ => (avro("string", None), Transcoder::BitText),
        }
    }

    /// Debezium has a record for each; by default only a point is one.
    fn geometric(&self, name: &str) -> Chosen {
        let debezium = self.handling.profile == Profile::Debezium;
        let shape = match name {
            "point" if !debezium => return Some((geometry::point_schema(), Transcoder::Point)),
            _ if !debezium => return None,
            "point" => return Some((geometry::point_wkb_schema(), Transcoder::PointWkb)),
            "circle" => return Some((geometry::circle_schema(), Transcoder::Circle)),
            "line" => return Some((geometry::line_schema(), Transcoder::Line)),
            "box" => Shape::Box,
            "lseg" => Shape::Lseg,
            "path" => Shape::Path,
            _ => Shape::Polygon,
        };
        Some((geometry::extended_schema(), Transcoder::Shape(shape)))
    }

    fn unless_nan(&self, transcoder: Transcoder) -> Transcoder {
        match self.handling.nan {
            Nan::Error => transcoder,
            Nan::Null => Transcoder::Unless { void: Void::NotFinite, inner: Box::new(transcoder) },
        }
    }
}

/// Precision and scale of a numeric's modifier as Avro takes them: PostgreSQL 15 and later allow a scale below 0, which
/// stands for so many zeros more, and one above the precision.
fn decimal_of(typmod: i32) -> Option<(u16, u16)> {
    let bits = typmod.checked_sub(4).filter(|bits| *bits >= 0)?;
    let precision = (bits >> 16) & 0xffff;
    let scale = ((bits & 0x7ff) ^ 1024) - 1024;
    let (precision, scale) = if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
    Some((u16::try_from(precision).ok()?, u16::try_from(scale).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_outside_the_precision_become_ones_that_avro_takes() {
        let typmod = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        assert_eq!(decimal_of(typmod(12, 2)), Some((12, 2)));
        assert_eq!(decimal_of(typmod(3, -4)), Some((7, 0)));
        assert_eq!(decimal_of(typmod(3, 5)), Some((5, 5)));
        assert_eq!(decimal_of(typmod(1000, 1000)), Some((1000, 1000)));
        assert_eq!(decimal_of(-1), None);
    }
}
