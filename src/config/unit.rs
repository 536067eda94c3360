//! Numbers as people write them: `1_000`, `64MiB`, `7d`.

use std::time::Duration;

/// `1_000` is 1000. An underscore stands between digits only.
pub(super) fn count(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let grouped = digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|one| one.is_ascii_digit()));
    if grouped { text.replace('_', "").parse().ok() } else { None }
}

/// A Kafka property's value in the unit that its name ends with, if it was written with another one: `linger.ms = "1s"` is
/// 1000, `message.max.bytes = "10MiB"` is 10485760. What is not written so stays, for Kafka to judge.
pub(super) fn property(name: &str, value: &str) -> String {
    let plain = match name.rsplit('.').next().unwrap_or_default() {
        "ms" => time(value).map(|time| time.as_millis()),
        "kbytes" => size(value).map(|bytes| u128::from(bytes / 1024)),
        "bytes" | "size" => size(value).map(u128::from),
        _ => None,
    };
    plain.map(|plain| plain.to_string()).or_else(|| Some(count(value)?.to_string())).unwrap_or_else(|| value.to_owned())
}

/// With a unit only.
fn time(value: &str) -> Option<Duration> {
    value.contains(char::is_alphabetic).then(|| humantime::parse_duration(value).ok())?
}

/// With a unit only.
fn size(value: &str) -> Option<u64> {
    value
        .contains(char::is_alphabetic)
        .then(|| value.parse::<bytesize::ByteSize>().ok())
        .flatten()
        .map(|size| size.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_may_be_grouped() {
        for (text, number) in [("5", 5), ("-1", -1), ("1_000", 1000), (" 7 ", 7), ("1_00_0", 1000)] {
            assert_eq!(count(text), Some(number), "{text}");
        }
        for text in ["", "_", "1_", "_1", "1__0", "-", "1e3", "1.0", "99999999999999999999"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn a_property_takes_the_unit_of_its_name() {
        for (name, value, plain) in [
            ("linger.ms", "1s", "1000"),
            ("linger.ms", "20", "20"),
            ("linger.ms", "soon", "soon"),
            ("retention.ms", "7d", "604800000"),
            ("retention.ms", "-1", "-1"),
            ("message.max.bytes", "10MiB", "10485760"),
            ("message.max.bytes", "1_000_000", "1000000"),
            ("queue.buffering.max.kbytes", "64 MiB", "65536"),
            ("batch.size", "1MB", "1000000"),
            ("sasl.password", "5s", "5s"),
            ("bootstrap.servers", "a:9092", "a:9092"),
        ] {
            assert_eq!(property(name, value), plain, "{name} = {value}");
        }
    }
}
