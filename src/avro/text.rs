//! Values that become text: uuid, timetz, interval, "char".

use std::fmt::Write;

use super::moment::{self, Interval};

const MICROS: i64 = 1_000_000;

/// An interval as PostgreSQL prints it with `IntervalStyle = iso_8601`: each part with its own sign.
pub(super) fn interval(interval: Interval, text: &mut String) {
    let Interval { micros, days, months } = interval;
    match interval {
        Interval::FOREVER => return text.push_str("infinity"),
        Interval::NEVER => return text.push_str("-infinity"),
        Interval { micros: 0, days: 0, months: 0 } => return text.push_str("PT0S"),
        _ => {}
    }
    let parts = [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')];
    text.push('P');
    put_parts(&parts, text);
    if micros != 0 {
        text.push('T');
        let seconds = micros / MICROS;
        put_parts(&[(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')], text);
        let rest = micros % (60 * MICROS);
        if rest != 0 {
            if rest < 0 {
                text.push('-');
            }
            let rest = rest.unsigned_abs();
            let _ = write!(text, "{}", rest / MICROS.unsigned_abs());
            put_fraction(rest % MICROS.unsigned_abs(), text);
            text.push('S');
        }
    }
}

fn put_parts(parts: &[(i64, char)], text: &mut String) {
    for (number, unit) in parts.iter().filter(|(number, _)| *number != 0) {
        let _ = write!(text, "{number}{unit}");
    }
}

/// A time of day with the offset it was given: `12:34:56.5+02:00`. `west` is in seconds, as PostgreSQL keeps it.
pub(super) fn timetz(micros: i64, west: i32, text: &mut String) {
    let seconds = micros / MICROS;
    let _ = write!(text, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    put_fraction((micros % MICROS).unsigned_abs(), text);
    let east = -i64::from(west);
    let (sign, offset) = (if east < 0 { '-' } else { '+' }, east.unsigned_abs());
    let _ = write!(text, "{sign}{:02}:{:02}", offset / 3600, offset / 60 % 60);
    if offset % 60 != 0 {
        let _ = write!(text, ":{:02}", offset % 60);
    }
}

/// The same time of day in UTC, as Debezium has it: `10:34:56.5Z`. At offset zero there is a 24:00.
pub(super) fn timetz_utc(micros: i64, west: i32, text: &mut String) {
    super::iso::time(if west == 0 { micros } else { moment::utc(micros, west) }, text);
    text.push('Z');
}

/// Money of so many fraction digits: `-12.30`.
pub(super) fn money(amount: i64, scale: u8, text: &mut String) {
    let one = 10_u64.saturating_pow(u32::from(scale));
    let amount_abs = amount.unsigned_abs();
    if amount < 0 {
        text.push('-');
    }
    let _ = write!(text, "{}", amount_abs / one);
    if scale > 0 {
        let _ = write!(text, ".{:0width$}", amount_abs % one, width = usize::from(scale));
    }
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

fn put_fraction(micros: u64, text: &mut String) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
}

/// A `"char"`: one byte; zero is empty, and one above 127 is octal, as PostgreSQL 16 and later print it.
pub(super) fn char(byte: u8, text: &mut String) {
    match byte {
        0 => {}
        1..=127 => text.push(char::from(byte)),
        _ => {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
}

/// Hyphenated, lower case.
pub(super) fn uuid(bytes: &[u8; 16], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_iso_8601_with_a_sign_for_each_part() {
        let print = |micros, days, months| {
            let mut text = String::new();
            interval(Interval { micros, days, months }, &mut text);
            text
        };
        assert_eq!(print(4 * 3600 * MICROS + 5 * 60 * MICROS + 6_500_000, 3, 14), "P1Y2M3DT4H5M6.5S");
        assert_eq!(print(0, 0, 0), "PT0S");
        assert_eq!(print(-500_000, 0, 0), "PT-0.5S");
        assert_eq!(print(0, -1, -25), "P-2Y-1M-1D");
        assert_eq!(print(60 * MICROS, 0, 0), "PT1M");
        assert_eq!(print(i64::MIN, i32::MIN.into(), i32::MIN.into()), "-infinity");
    }

    #[test]
    fn times_keep_their_offset() {
        let print = |micros, west| {
            let mut text = String::new();
            timetz(micros, west, &mut text);
            text
        };
        assert_eq!(print((12 * 3600 + 34 * 60 + 56) * MICROS + 500_000, -7200), "12:34:56.5+02:00");
        assert_eq!(print(86_400 * MICROS, 0), "24:00:00+00:00");
        assert_eq!(print(0, 5 * 3600 + 30 * 60 + 17), "00:00:00-05:30:17");
    }

    #[test]
    fn times_are_moved_to_utc_for_debeziums_consumers() {
        let print = |micros, west| {
            let mut text = String::new();
            timetz_utc(micros, west, &mut text);
            text
        };
        assert_eq!(print((12 * 3600 + 34 * 60 + 56) * MICROS + 500_000, -7200), "10:34:56.5Z");
        assert_eq!(print(0, -7200), "22:00:00Z");
        assert_eq!(print(86_400 * MICROS, 0), "24:00:00Z");
        assert_eq!(print(86_400 * MICROS, 3600), "01:00:00Z");
    }
}
