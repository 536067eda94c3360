//! How a batch's records are compressed, as `[kafka]` says: `compression.type` (or `compression.codec`) and `compression.level`.

use std::io::Write;

use crate::config::Kafka;
use crate::{Error, Kind, Result};

/// A codec with its level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    kind: Sort,
    level: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// What `[kafka]` says; lz4 where it is silent.
    pub fn of(kafka: &Kafka) -> Result<Codec> {
        let said = kafka.property("compression.type").or_else(|| kafka.property("compression.codec"));
        let kind = match said.unwrap_or("lz4").to_ascii_lowercase().as_str() {
            "none" => Sort::None,
            "gzip" => Sort::Gzip,
            "snappy" => Sort::Snappy,
            "lz4" | "inherit" => Sort::Lz4,
            "zstd" => Sort::Zstd,
            other => {
                return Err(Error::new(Kind::Config, format!("kafka.\"compression.type\" is `{other}`"))
                    .hint("one of none, gzip, snappy, lz4, zstd"));
            }
        };
        let level = kafka.property("compression.level").and_then(|text| text.parse().ok());
        // -1 is librdkafka's word for the codec's own default.
        Ok(Codec { kind, level: level.filter(|level| *level >= 0) })
    }

    /// The bits that say so in a batch's attributes.
    pub fn attribute(&self) -> i16 {
        match self.kind {
            Sort::None => 0,
            Sort::Gzip => 1,
            Sort::Snappy => 2,
            Sort::Lz4 => 3,
            Sort::Zstd => 4,
        }
    }

    /// Appends the bytes, compressed unless that would not make them fewer; whether they are.
    pub fn append(&self, bytes: &[u8], mut out: Vec<u8>) -> Result<(Vec<u8>, bool)> {
        let before = out.len();
        if self.kind != Sort::None {
            out = self
                .compress(bytes, out)
                .map_err(|error| Error::new(Kind::Io, "records could not be compressed").because(error))?;
            if out.len() - before < bytes.len() {
                return Ok((out, true));
            }
            out.truncate(before);
        }
        out.extend_from_slice(bytes);
        Ok((out, false))
    }

    fn compress(&self, bytes: &[u8], out: Vec<u8>) -> std::io::Result<Vec<u8>> {
        match self.kind {
            Sort::None => Ok(out),
            Sort::Gzip => {
                let level = self.level.and_then(|level| u32::try_from(level).ok()).map(|level| level.min(9));
                let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Sort::Snappy => {
                let mut out = out;
                out.extend_from_slice(&snap::raw::Encoder::new().compress_vec(bytes)?);
                Ok(out)
            }
            Sort::Lz4 => lz4(bytes, out),
            Sort::Zstd => {
                let level = self.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

/// LZ4's frame, with blocks that stand by themselves: Java's reader takes no others.
fn lz4(bytes: &[u8], out: Vec<u8>) -> std::io::Result<Vec<u8>> {
    use lz4::liblz4::BlockChecksum;
    use lz4::{BlockMode, BlockSize, ContentChecksum, EncoderBuilder};
    let mut encoder = EncoderBuilder::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB)
        .checksum(ContentChecksum::NoChecksum)
        .block_checksum(BlockChecksum::NoBlockChecksum)
        .build(out)?;
    encoder.write_all(bytes)?;
    let (out, finished) = encoder.finish();
    finished.map(|()| out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn codec(name: &str, level: Option<&str>) -> Codec {
        let properties = [("compression.type", name), ("compression.level", level.unwrap_or_default())];
        Codec::of(&Kafka::with(&properties)).unwrap()
    }

    #[test]
    fn each_codec_gives_back_what_it_was_given() {
        let text = b"public.orders,42,".repeat(20_000);
        for (name, level) in [
            ("gzip", None),
            ("gzip", Some("12")),
            ("snappy", None),
            ("lz4", Some("3")),
            ("zstd", Some("-1")),
            ("zstd", Some("9")),
        ] {
            let (small, compressed) = codec(name, level).append(&text, b"before".to_vec()).unwrap();
            assert!(compressed && small.starts_with(b"before"), "{name}");
            let small = &small[6..];
            assert!(small.len() < text.len() / 4, "{name}: {} bytes", small.len());
            let mut back = Vec::new();
            match name {
                "gzip" => drop(flate2::read::GzDecoder::new(small).read_to_end(&mut back).unwrap()),
                "snappy" => back = snap::raw::Decoder::new().decompress_vec(small).unwrap(),
                "lz4" => drop(lz4::Decoder::new(small).unwrap().read_to_end(&mut back).unwrap()),
                _ => back = zstd::stream::decode_all(small).unwrap(),
            }
            assert_eq!(back, text, "{name}");
        }
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let same = |name: &str, bytes: &[u8]| codec(name, None).append(bytes, vec![1]).unwrap();
        assert_eq!(same("none", &[7; 100]), ([&[1][..], &[7; 100]].concat(), false));
        for name in ["gzip", "snappy", "lz4", "zstd"] {
            assert_eq!(same(name, b"x"), (vec![1, b'x'], false), "{name}");
        }
    }

    #[test]
    fn lz4_frames_are_of_the_sort_that_java_reads() {
        let frame = lz4(&[7; 1000], Vec::new()).unwrap();
        assert_eq!(frame[..4], 0x184D_2204_u32.to_le_bytes());
        assert_eq!(frame[4] & 0b1110_0000, 0b0110_0000, "version 1, independent blocks");
        assert_eq!(frame[4] & 0b0001_0000, 0, "no checksum of each block");
    }

    #[test]
    fn an_unknown_codec_is_told() {
        let kafka = Kafka::with(&[("compression.type", "brotli")]);
        assert!(Codec::of(&kafka).unwrap_err().message().contains("`brotli`"));
    }
}
