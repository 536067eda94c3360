//! Who owns a partition of the offsets topic: signed at every takeover, read by whoever was fenced.

use serde::{Deserialize, Serialize};

/// The signature, a record of its own in the partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// `host:pid`.
    pub worker: String,
    /// RFC 3339.
    pub started: String,
    /// How many partitions the offsets topic had: an object's place depends on it.
    pub partitions: i32,
}

impl Claim {
    /// `["shop",{"partition":"3"}]`.
    pub fn key(connector: &str, partition: i32) -> Vec<u8> {
        let mut field = serde_json::Map::new();
        field.insert("partition".into(), partition.to_string().into());
        super::offsets::encode_key(connector, field)
    }

    /// A flat JSON object.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None`: not a claim.
    pub fn from_json(json: &[u8]) -> Option<Claim> {
        serde_json::from_slice(json).ok()
    }
}
