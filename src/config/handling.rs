//! What types become: the profile, and each setting that is given over it.

use super::reader::Reader;
use crate::avro::{Arrays, Binary, Decimals, Handling, Hstore, Infinity, Intervals, Json, Nan, Profile, Times, Uuids};

pub(super) fn handling(reader: &mut Reader<'_>) -> Handling {
    let profile = match reader.word("profile") {
        Some("connect-jdbc") => Profile::ConnectJdbc,
        Some("debezium") => Profile::Debezium,
        _ => Profile::Strandline,
    };
    let mut handling = profile.handling();
    // A default is the profile's own, so only what is set counts.
    let mut set = |key: &str| if reader.is_set(key) { reader.word(key) } else { None };
    match set("decimal.handling.mode") {
        Some("precise") => handling.decimals = Decimals::Precise,
        Some("string") => handling.decimals = Decimals::String,
        Some("double") => handling.decimals = Decimals::Double,
        _ => {}
    }
    match set("time.precision.mode") {
        Some("micros") => handling.times = Times::Micros,
        Some("connect") => handling.times = Times::Connect,
        Some("isostring") => handling.times = Times::IsoString,
        Some("adaptive") => handling.times = Times::Adaptive,
        _ => {}
    }
    match set("binary.handling.mode") {
        Some("bytes") => handling.binary = Binary::Bytes,
        Some("base64") => handling.binary = Binary::Base64,
        Some("hex") => handling.binary = Binary::Hex,
        _ => {}
    }
    match set("array.handling.mode") {
        Some("array") => handling.arrays = Arrays::Array,
        Some("json") => handling.arrays = Arrays::Json,
        Some("string") => handling.arrays = Arrays::String,
        _ => {}
    }
    match set("hstore.handling.mode") {
        Some("map") => handling.hstore = Hstore::Map,
        Some("json") => handling.hstore = Hstore::Json,
        _ => {}
    }
    match set("interval.handling.mode") {
        Some("string") => handling.intervals = Intervals::String,
        Some("numeric") => handling.intervals = Intervals::Numeric,
        _ => {}
    }
    match set("uuid.handling.mode") {
        Some("uuid") => handling.uuids = Uuids::Uuid,
        Some("string") => handling.uuids = Uuids::String,
        Some("bytes") => handling.uuids = Uuids::Bytes,
        _ => {}
    }
    match set("json.handling.mode") {
        Some("json") => handling.json = Json::Json,
        Some("string") => handling.json = Json::String,
        _ => {}
    }
    match set("infinity.handling.mode") {
        Some("extreme") => handling.infinity = Infinity::Extreme,
        Some("null") => handling.infinity = Infinity::Null,
        Some("error") => handling.infinity = Infinity::Error,
        _ => {}
    }
    match set("nan.handling.mode") {
        Some("error") => handling.nan = Nan::Error,
        Some("null") => handling.nan = Nan::Null,
        _ => {}
    }
    handling
}
