//! Types of extensions.

use serde_json::json;

use super::{Chosen, Settings};
use crate::avro::attribute::avro;
use crate::avro::geometry;
use crate::avro::handling::{Hstore, Profile};
use crate::avro::transcode::Transcoder;
use crate::avro::vector;

impl Settings {
    /// Extensions, by their own names: a type of one's own may be called anything.
    pub(super) fn of_extension(&self, extension: &str, name: &str) -> Chosen {
        Some(match (extension, name) {
            ("citext", "citext") => (avro("string", None), Transcoder::Text),
            ("hstore", "hstore") if self.handling.hstore == Hstore::Json => {
                (avro("string", Some("io.debezium.data.Json")), Transcoder::HstoreJson)
            }
            ("hstore", "hstore") => {
                let mut schema = avro("map", None);
                schema.insert("values".into(), json!(["null", "string"]));
                (schema, Transcoder::Hstore)
            }
            ("vector", "vector") => {
                let double = self.handling.profile == Profile::Debezium;
                (vector::schema(double), Transcoder::Vector { double })
            }
            ("vector", "halfvec") => (vector::schema(false), Transcoder::HalfVector),
            ("vector", "sparsevec") if self.handling.profile == Profile::Debezium => {
                (vector::sparse_schema(), Transcoder::SparseVector)
            }
            ("postgis", "geometry") if self.handling.profile == Profile::Debezium => {
                (geometry::extended_schema(), Transcoder::Ewkb { extensions: true })
            }
            ("postgis", "geometry" | "geography") => {
                (geometry::postgis_schema(name == "geography"), Transcoder::Ewkb { extensions: false })
            }
            _ => return None,
        })
    }
}
