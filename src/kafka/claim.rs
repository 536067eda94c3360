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
    /// When the worker left in good order, RFC 3339; absent while it runs, and after it was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// The objects that are FAILED, a line each: `public.orders: what failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
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

    /// Why an object is FAILED, if it is.
    pub fn failure(&self, object: &str) -> Option<&str> {
        self.failed.as_deref()?.lines().find_map(|line| line.strip_prefix(object)?.strip_prefix(": "))
    }

    /// `None`: not a claim.
    pub fn from_json(json: &[u8]) -> Option<Claim> {
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_of_an_earlier_version_is_read_and_what_is_absent_is_not_written() {
        let json = br#"{"worker":"host:7","started":"2026-01-01T00:00:00Z","partitions":8}"#;
        let claim = Claim::from_json(json).unwrap();
        assert_eq!((claim.stopped.as_ref(), claim.failed.as_ref()), (None, None));
        assert_eq!(claim.to_json(), json);
        assert!(Claim::from_json(b"{}").is_none());
    }

    #[test]
    fn a_failure_is_found_by_the_objects_whole_name() {
        let failed = Some("public.orders: no right\npublic.orders2: too large".to_owned());
        let claim = Claim { worker: "h:1".into(), started: String::new(), partitions: 1, stopped: None, failed };
        assert_eq!(claim.failure("public.orders2"), Some("too large"));
        assert_eq!(claim.failure("public.orders"), Some("no right"));
        assert_eq!(claim.failure("public.order"), None);
    }
}
