//! One look at the server: its snapshot, its place in the write-ahead log, and the marks by which a crash or failover shows.

use std::fmt;
use std::str::FromStr;

/// A place in the write-ahead log, as PostgreSQL prints it: `0/16B3748`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl FromStr for Lsn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(high, low)| {
            let high = u32::from_str_radix(high, 16).ok()?;
            let low = u32::from_str_radix(low, 16).ok()?;
            Some(Lsn(u64::from(high) << 32 | u64::from(low)))
        });
        parsed.ok_or_else(|| format!("`{text}` is not a write-ahead log position"))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

/// `pg_current_snapshot()` without its list: ids are 64 bits wide, epoch included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The oldest transaction still running: everything below it is settled, for every later snapshot too.
    pub xmin: u64,
    /// The first id not yet given out.
    pub xmax: u64,
    /// A hash of the ids between that still run: two snapshots that differ in it alone see different rows.
    pub running: u64,
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

impl FromStr for Snapshot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let mut next = || parts.next().and_then(|part| part.parse::<u64>().ok());
        match (next(), next()) {
            (Some(xmin), Some(xmax)) if xmin <= xmax && xmin >= FIRST_NORMAL => {
                Ok(Snapshot { xmin, xmax, running: hash(text.rsplit(':').next().unwrap_or_default()) })
            }
            _ => Err(format!("`{text}` is not a snapshot")),
        }
    }
}

/// The first id that PostgreSQL gives to a transaction; lower ones have meanings of their own.
pub const FIRST_NORMAL: u64 = 3;

/// What stays the same as long as the server neither crashed nor was replaced (facts: xmin.md §1.4). The first statement of
/// every chunk returns them, since behind a pooler or several hosts a failover is otherwise invisible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markers {
    /// `system_identifier`: made by `initdb`, shared by physical copies.
    pub system: u64,
    /// The database's OID.
    pub database: u32,
    /// The timeline; on a standby the one of its last restart point.
    pub timeline: u32,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// `pg_postmaster_start_time()`, microseconds since 1970.
    pub started: i64,
    /// `pg_stat_get_bgwriter_stat_reset_time()`, microseconds since 1970: a crash recovery resets statistics. 0: never.
    pub stats_reset: i64,
}

/// One look at the server. `lsn` was read after the snapshot: all that the snapshot sees ended before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The snapshot of the statement that asked.
    pub snapshot: Snapshot,
    /// The write-ahead log's insert position; on a standby the replay position.
    pub lsn: Lsn,
    /// How far it is on disk; on a standby the replay position.
    pub flushed: Lsn,
    /// Where recovery ended, if the server was recovered since its start; on a standby where it is.
    pub replayed: Option<Lsn>,
    /// Which server answered.
    pub markers: Markers,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_as_printed() {
        for text in ["0/0", "0/16B3748", "1A/FF", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        for text in ["", "0", "0/", "/0", "g/0", "0/100000000"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn snapshots_are_wider_than_32_bits() {
        let snapshot: Snapshot = "4294968703:6287228928:4294968703,4294968800".parse().unwrap();
        assert_eq!((snapshot.xmin, snapshot.xmax), (4_294_968_703, 6_287_228_928));
        for text in ["", "7", "9:8:", "x:9:", "2:9:"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }
}
