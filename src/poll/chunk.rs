//! Which part of a table one statement reads, and how much the next one should take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A row's place: block and line pointer, as in `ctid`. Offset 0 stands before the block's first row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tid {
    /// The block's number, from 0.
    pub block: u32,
    /// The line pointer, from 1.
    pub offset: u16,
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.block, self.offset)
    }
}

impl FromStr for Tid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.split_once(','))
            .and_then(|(block, offset)| Some(Tid { block: block.parse().ok()?, offset: offset.parse().ok()? }));
        parsed.ok_or_else(|| format!("`{text}` is not a row's place like (12,0)"))
    }
}

/// The places from `from` on and before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The first place.
    pub from: Tid,
    /// The place behind the last.
    pub to: Tid,
}

impl Chunk {
    /// The condition on a row, which PostgreSQL plans as a TID range scan. In the statement's text, as COPY takes no parameters.
    pub fn filter(&self) -> String {
        format!("ctid >= '{}'::pg_catalog.tid AND ctid < '{}'::pg_catalog.tid", self.from, self.to)
    }

    /// At most so many parts of about the same size, cut between blocks, of a file with so many: what lies beyond it belongs to
    /// the last.
    pub fn parts(self, most: usize, blocks: u32) -> Vec<Chunk> {
        let span = self.to.block.min(blocks).saturating_sub(self.from.block);
        let count = (span / LEAST_BLOCKS).min(u32::try_from(most).unwrap_or(u32::MAX)).max(1);
        let begin = |part: u32| match part {
            0 => self.from,
            part if part == count => self.to,
            part => Tid { block: self.from.block + span / count * part, offset: 0 },
        };
        (0..count).map(|part| Chunk { from: begin(part), to: begin(part + 1) }).collect()
    }
}

/// A chunk should take about this long, and a Kafka transaction: short transactions, and a stop is never far.
const TARGET: Duration = Duration::from_secs(1);
/// What one chunk may hand to Kafka, in bytes of keys and values.
pub const CHUNK_BYTES: u64 = 64 << 20;
const FIRST_BLOCKS: u32 = 16;
const MOST_BLOCKS: u32 = 1 << 20;
/// Fewer are not worth a connection.
const LEAST_BLOCKS: u32 = 64;
/// More line pointers than a block can hold, whatever its size (32 KiB hold 1,169).
const LINES: u16 = 2048;

/// How much the next chunk takes: whole blocks, or, where one block is too much by itself, some of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many whole blocks.
    Blocks(u32),
    /// So many line pointers of one block.
    Lines(u16),
}

impl Default for Pace {
    fn default() -> Self {
        Pace::Blocks(FIRST_BLOCKS)
    }
}

/// How long a chunk should take, and a Kafka transaction: less than usual where the broker aborts a transaction soon. A chunk
/// is given up after a quarter of that timeout, so it must not grow until it reaches it.
pub fn target(transaction_timeout: Duration) -> Duration {
    TARGET.min(transaction_timeout / 8)
}

impl Pace {
    /// The chunk that begins at `from`.
    pub fn chunk(&self, from: Tid) -> Chunk {
        let to = match *self {
            Pace::Blocks(blocks) => Tid { block: from.block.saturating_add(blocks), offset: 0 },
            Pace::Lines(lines) => match from.offset.checked_add(lines) {
                Some(offset) if offset < LINES => Tid { block: from.block, offset },
                _ => Tid { block: from.block.saturating_add(1), offset: 0 },
            },
        };
        Chunk { from, to }
    }

    /// What the next chunk takes after one that took so long, where it should take `target`, and held so many bytes: half, as much, or twice.
    pub fn after(self, took: Duration, bytes: u64, target: Duration) -> Pace {
        if took > target || bytes > CHUNK_BYTES {
            self.halved()
        } else if took < target / 2 && bytes < CHUNK_BYTES / 2 {
            self.doubled()
        } else {
            self
        }
    }

    /// What the next chunk takes after one that had to be given up: a quarter.
    pub fn given_up(self) -> Pace {
        self.halved().halved()
    }

    /// Whether a chunk could be smaller: a single row cannot.
    pub fn can_shrink(&self) -> bool {
        *self != Pace::Lines(1)
    }

    fn halved(self) -> Pace {
        match self {
            Pace::Blocks(0 | 1) => Pace::Lines(LINES / 16),
            Pace::Blocks(blocks) => Pace::Blocks(blocks / 2),
            Pace::Lines(lines) => Pace::Lines((lines / 2).max(1)),
        }
    }

    fn doubled(self) -> Pace {
        match self {
            Pace::Blocks(blocks) => Pace::Blocks(blocks.saturating_mul(2).min(MOST_BLOCKS)),
            Pace::Lines(lines) if lines >= LINES / 2 => Pace::Blocks(1),
            Pace::Lines(lines) => Pace::Lines(lines * 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tid(block: u32, offset: u16) -> Tid {
        Tid { block, offset }
    }

    #[test]
    fn a_chunk_is_a_tid_range() {
        assert_eq!(
            Pace::default().chunk(tid(32, 0)).filter(),
            "ctid >= '(32,0)'::pg_catalog.tid AND ctid < '(48,0)'::pg_catalog.tid"
        );
        assert_eq!("(7,12)".parse::<Tid>().unwrap(), tid(7, 12));
        for text in ["", "()", "(1)", "(1,2", "(1,70000)", "(-1,0)"] {
            assert!(text.parse::<Tid>().is_err(), "{text}");
        }
    }

    #[test]
    fn parts_cover_a_chunk_without_gap_or_overlap() {
        for (from, to, blocks) in [
            (tid(0, 0), tid(1000, 0), 5000),
            (tid(0, 0), tid(4096, 0), 1000),
            (tid(7, 12), tid(900, 0), 900),
            (tid(7, 12), tid(8, 0), 900),
            (tid(10, 0), tid(100, 0), 5),
            (tid(0, 0), tid(u32::MAX, 0), u32::MAX),
        ] {
            for most in [0, 1, 2, 3, 16, usize::MAX] {
                let chunk = Chunk { from, to };
                let parts = chunk.parts(most.min(500), blocks);
                assert_eq!((parts[0].from, parts[parts.len() - 1].to), (from, to));
                assert!(parts.len() <= most.max(1));
                assert!(parts.windows(2).all(|pair| pair[0].to == pair[1].from));
                assert!(parts.len() == 1 || parts.iter().all(|part| part.to.block - part.from.block >= LEAST_BLOCKS));
            }
        }
        let chunk = Chunk { from: tid(0, 0), to: tid(4096, 0) };
        let parts = chunk.parts(2, 1000);
        assert_eq!(parts[1], Chunk { from: tid(500, 0), to: tid(4096, 0) });
        // As many as there are connections, where fewer could be had than were wanted.
        assert_eq!([chunk.parts(5, 1000).len(), chunk.parts(100, 1000).len()], [5, 15]);
    }

    #[test]
    fn chunks_double_towards_a_second_and_halve_beyond() {
        let quick = Pace::Blocks(16).after(Duration::from_millis(5), 1000, TARGET);
        assert_eq!(quick, Pace::Blocks(32));
        assert_eq!(quick.after(Duration::from_millis(700), 1000, TARGET), Pace::Blocks(32));
        assert_eq!(quick.after(Duration::from_millis(1100), 1000, TARGET), Pace::Blocks(16));
        assert_eq!(quick.after(Duration::from_millis(5), CHUNK_BYTES + 1, TARGET), Pace::Blocks(16));
        // Found by a timeout of two seconds: chunks grew until they were given up, again and again.
        let soon = target(Duration::from_secs(2));
        assert_eq!((soon, target(Duration::from_secs(60))), (Duration::from_millis(250), TARGET));
        assert_eq!(quick.after(Duration::from_millis(200), 1000, soon), Pace::Blocks(32));
        assert_eq!(quick.after(Duration::from_millis(300), 1000, soon), Pace::Blocks(16));
    }

    #[test]
    fn a_block_that_is_too_much_is_cut_between_rows_down_to_one() {
        let mut pace = Pace::Blocks(1);
        let mut steps = 0;
        while pace.can_shrink() {
            pace = pace.given_up();
            steps += 1;
        }
        assert_eq!(pace, Pace::Lines(1));
        assert!(steps < 8);
        assert_eq!(Pace::Lines(1).given_up(), Pace::Lines(1));
    }

    #[test]
    fn chunks_cover_every_place_once_whatever_the_pace() {
        for pace in [Pace::Blocks(1), Pace::Blocks(7), Pace::Lines(1), Pace::Lines(128), Pace::Lines(1500)] {
            let mut at = Tid::default();
            while at.block < 3 {
                let chunk = pace.chunk(at);
                assert_eq!(chunk.from, at);
                assert!(chunk.to > chunk.from);
                // A cut within a block never skips line pointers that exist: 32 KiB blocks hold 1,169.
                assert!(chunk.to.block == at.block || chunk.to.offset == 0);
                at = chunk.to;
            }
        }
    }
}
