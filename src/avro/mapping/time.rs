//! Dates and times.

use super::Settings;
use crate::avro::attribute::{Schema, avro, logical};
use crate::avro::handling::{Infinity, Profile, Times};
use crate::avro::transcode::{Transcoder, Void};

impl Settings {
    pub(super) fn unless_infinite(&self, name: &str, transcoder: Transcoder) -> Transcoder {
        let void = match (self.handling.infinity, name) {
            (Infinity::Extreme, _) | (_, "time") => return transcoder,
            (_, "date") => Void::InfiniteDate,
            _ => Void::InfiniteTimestamp,
        };
        let inner = Box::new(transcoder);
        match self.handling.infinity {
            Infinity::Error => Transcoder::Refusing { void, inner },
            _ => Transcoder::Unless { void, inner },
        }
    }

    /// As `time.precision.mode` says.
    pub(super) fn time(&self, name: &str, typmod: i32) -> (Schema, Transcoder) {
        const DATE: &str = "org.apache.kafka.connect.data.Date";
        let zoned = name == "timestamptz";
        // Without a modifier six digits are kept.
        let millis = (0..=3).contains(&typmod);
        let debezium = self.handling.profile == Profile::Debezium;
        match (name, self.handling.times) {
            ("date", Times::IsoString) => (avro("string", Some("io.debezium.time.IsoDate")), Transcoder::IsoDate),
            ("date", Times::Adaptive) => (avro("int", Some("io.debezium.time.Date")), Transcoder::Date),
            ("date", _) => (logical("int", DATE, "date"), Transcoder::Date),
            ("time", Times::IsoString) => (avro("string", Some("io.debezium.time.IsoTime")), Transcoder::IsoTime),
            ("time", Times::Connect) => {
                (logical("int", "org.apache.kafka.connect.data.Time", "time-millis"), Transcoder::TimeMillis)
            }
            ("time", Times::Adaptive) if millis => (avro("int", Some("io.debezium.time.Time")), Transcoder::TimeMillis),
            ("time", Times::Adaptive) => (avro("long", Some("io.debezium.time.MicroTime")), Transcoder::Time),
            ("time", Times::Micros) => (logical("long", "io.debezium.time.MicroTime", "time-micros"), Transcoder::Time),
            // As wide as its column is declared, of which the default is six digits.
            (_, Times::IsoString | Times::Adaptive) if zoned && debezium => {
                let digits = u8::try_from(typmod).ok().filter(|digits| *digits <= 6).unwrap_or(6);
                (avro("string", Some("io.debezium.time.ZonedTimestamp")), Transcoder::ZonedTimestamp { digits })
            }
            (_, Times::IsoString | Times::Adaptive) if zoned => {
                (avro("string", Some("io.debezium.time.ZonedTimestamp")), Transcoder::IsoTimestamp { zoned })
            }
            (_, Times::IsoString) => {
                (avro("string", Some("io.debezium.time.IsoTimestamp")), Transcoder::IsoTimestamp { zoned })
            }
            (_, Times::Connect) => {
                let schema = logical("long", "org.apache.kafka.connect.data.Timestamp", "timestamp-millis");
                (schema, Transcoder::TimestampMillis)
            }
            (_, Times::Adaptive) if debezium => {
                let name = if millis { "io.debezium.time.Timestamp" } else { "io.debezium.time.MicroTimestamp" };
                (avro("long", Some(name)), Transcoder::TimestampBounded { millis })
            }
            (_, Times::Adaptive) if millis => {
                (avro("long", Some("io.debezium.time.Timestamp")), Transcoder::TimestampMillis)
            }
            (_, Times::Adaptive) => (avro("long", Some("io.debezium.time.MicroTimestamp")), Transcoder::Timestamp),
            (_, Times::Micros) => {
                (logical("long", "io.debezium.time.MicroTimestamp", "timestamp-micros"), Transcoder::Timestamp)
            }
        }
    }
}
