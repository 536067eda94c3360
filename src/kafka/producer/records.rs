//! Records on their way into one partition, in the bytes of Kafka's record batch (format 2, KIP-98).
//!
//! ```text
//! base offset 8 │ length 4 │ leader epoch 4 │ magic 1 │ crc 4 ║ attributes 2 │ last offset delta 4 │ times 8 8 │
//! producer id 8 │ epoch 2 │ sequence 4 │ count 4 │ records, compressed as a whole
//! ```
//! The checksum (CRC-32C) covers what stands behind it.

use bytes::{BufMut, Bytes};

use super::compression::Codec;
use crate::{Error, Kind, Result};

/// Records of one partition, not compressed yet.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    count: i32,
    /// When the first and the last were appended, in milliseconds since 1970.
    first: i64,
    last: i64,
}

/// Who writes a batch, and as which of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The number of the batch's first record in its partition.
    pub sequence: i32,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
}

/// Before the checksum's range, and up to the records.
const BEFORE_CRC: usize = 21;
const HEADER: usize = 61;
const MAGIC: i8 = 2;
const TRANSACTIONAL: i16 = 0x10;

impl Records {
    /// Appends a record; `None`: no key, or a tombstone. `now` is its timestamp in milliseconds since 1970.
    pub fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, String)], now: i64) {
        if self.count == 0 {
            (self.first, self.last) = (now, now);
        }
        self.last = self.last.max(now);
        let (time, offset) = (zigzag(now - self.first), zigzag(i64::from(self.count)));
        let part = |part: Option<&[u8]>| part.map_or(1, |part| sized(part.len()));
        let length = 1 + width(time) + width(offset) + part(key) + part(value) + headers_size(headers);
        let out = &mut self.bytes;
        out.reserve(length + 5);
        varint(out, zigzag(length as i64));
        // No attributes.
        out.push(0);
        varint(out, time);
        varint(out, offset);
        optional(out, key);
        optional(out, value);
        varint(out, zigzag(headers.len() as i64));
        for (name, value) in headers {
            optional(out, Some(name.as_bytes()));
            optional(out, Some(value.as_bytes()));
        }
        self.count += 1;
    }

    /// The most that a record may come to, with what stands before and between its parts.
    pub fn most(key: usize, value: usize, headers: &[(&str, String)]) -> usize {
        // Length, attributes, time, offset, and the lengths of key, value and headers.
        const FRAME: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
        const HEADER: usize = 10;
        let each = headers.iter().map(|(name, value)| name.len() + value.len() + HEADER);
        FRAME + key + value + each.sum::<usize>()
    }

    /// How many.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their bytes, before compression.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The batch as it goes to the broker.
    pub fn seal(&self, stamp: Stamp, codec: &Codec) -> Result<Bytes> {
        let room = HEADER + self.bytes.len() / 2;
        let mut out = Vec::with_capacity(room);
        out.resize(HEADER, 0);
        let (mut out, compressed) = codec.append(&self.bytes, out)?;
        let length = i32::try_from(out.len() - 12)
            .map_err(|_| Error::new(Kind::Topic, "a batch of records is larger than two gigabytes"))?;
        let attributes = if compressed { codec.attribute() } else { 0 };
        let transactional = if stamp.transactional { TRANSACTIONAL } else { 0 };
        let mut header = out.get_mut(..HEADER).unwrap_or_default();
        header.put_i64(0);
        header.put_i32(length);
        header.put_i32(-1);
        header.put_i8(MAGIC);
        header.put_u32(0);
        header.put_i16(attributes | transactional);
        header.put_i32(self.count - 1);
        header.put_i64(self.first);
        header.put_i64(self.last);
        header.put_i64(stamp.id);
        header.put_i16(stamp.epoch);
        header.put_i32(stamp.sequence);
        header.put_i32(self.count);
        let crc = crc32c::crc32c(out.get(BEFORE_CRC..).unwrap_or_default());
        if let Some(place) = out.get_mut(BEFORE_CRC - 4..BEFORE_CRC) {
            place.copy_from_slice(&crc.to_be_bytes());
        }
        Ok(out.into())
    }
}

/// The sequence number that follows so many records: they begin anew at 2^31.
pub fn sequence_after(sequence: i32, records: usize) -> i32 {
    let next = (i64::from(sequence) + records as i64) & i64::from(i32::MAX);
    i32::try_from(next).unwrap_or_default()
}

fn headers_size(headers: &[(&str, String)]) -> usize {
    let each = headers.iter().map(|(name, value)| sized(name.len()) + sized(value.len()));
    width(zigzag(headers.len() as i64)) + each.sum::<usize>()
}

/// What so many bytes take with their length before them.
fn sized(length: usize) -> usize {
    width(zigzag(length as i64)) + length
}

fn optional(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        Some(part) => {
            varint(out, zigzag(part.len() as i64));
            out.extend_from_slice(part);
        }
        None => varint(out, zigzag(-1)),
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn width(value: u64) -> usize {
    // Seven bits a byte, at least one.
    ((70 - (value | 1).leading_zeros()) / 7) as usize
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { id: 7, epoch: 3, sequence: 100, transactional: true };

    #[test]
    fn a_record_has_the_bytes_of_the_format() {
        let mut records = Records::default();
        records.push(Some(b"k"), Some(b"vv"), &[], 1000);
        records.push(None, None, &[("h", "x".to_owned())], 1001);
        let first = [2 * 9, 0, 0, 0, 2, b'k', 4, b'v', b'v', 0];
        let second = [2 * 10, 0, 2, 2, 1, 1, 2, 2, b'h', 2, b'x'];
        assert_eq!(records.bytes, [&first[..], &second[..]].concat());
        assert_eq!((records.len(), records.size()), (2, 21));
    }

    #[test]
    fn a_batch_carries_its_stamp_and_a_checksum_of_all_behind_it() {
        let mut records = Records::default();
        records.push(None, Some(b"v"), &[], 1000);
        records.push(None, Some(b"v"), &[], 1005);
        let codec = Codec::of(&crate::config::Kafka::with(&[("compression.type", "none")])).unwrap();
        let batch = records.seal(STAMP, &codec).unwrap();
        let int = |at: usize| i32::from_be_bytes(batch[at..at + 4].try_into().unwrap());
        let long = |at: usize| i64::from_be_bytes(batch[at..at + 8].try_into().unwrap());
        assert_eq!(int(8) as usize, batch.len() - 12, "length");
        assert_eq!(batch[16], 2, "magic");
        assert_eq!(int(17).cast_unsigned(), crc32c::crc32c(&batch[21..]));
        assert_eq!(batch[21..23], [0, 0x10], "transactional, not compressed");
        assert_eq!((int(23), long(27), long(35)), (1, 1000, 1005));
        assert_eq!((long(43), batch[51..53].to_vec(), int(53), int(57)), (7, vec![0, 3], 100, 2));
        assert_eq!(&batch[61..], &records.bytes[..]);
    }

    #[test]
    fn sizes_are_what_is_written() {
        for value in [0, 1, 63, 64, 8191, 8192, 1 << 20, i64::MAX, -1, i64::MIN] {
            let mut out = Vec::new();
            varint(&mut out, zigzag(value));
            assert_eq!(out.len(), width(zigzag(value)), "{value}");
        }
        let mut records = Records::default();
        let headers = [("strandline.table", "public.orders".repeat(20))];
        records.push(Some(&[1; 200]), Some(&[2; 20_000]), &headers, 0);
        assert!(records.size() <= Records::most(200, 20_000, &headers));
        let (length, taken) = read_varint(&records.bytes);
        assert_eq!(length as usize, records.bytes.len() - taken);
    }

    fn read_varint(bytes: &[u8]) -> (u64, usize) {
        let mut value = 0;
        for (at, byte) in bytes.iter().enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return (value >> 1, at + 1);
            }
        }
        unreachable!()
    }

    #[test]
    fn sequences_begin_anew_behind_the_last() {
        assert_eq!(sequence_after(5, 10), 15);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }
}
