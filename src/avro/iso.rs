//! Dates and times as ISO 8601 prints them (`time.precision.mode = "isostring"`), in UTC.

use std::fmt::Write as _;

const DAY: i64 = 86_400_000_000;

/// A date, by days since 1970: `2024-02-29`; years beyond four digits with their sign, 1 BC is year 0.
pub(super) fn date(days: i32, text: &mut String) {
    match days {
        i32::MAX => return text.push_str("infinity"),
        i32::MIN => return text.push_str("-infinity"),
        _ => {}
    }
    put_date(i64::from(days), text);
}

/// A time of day, by microseconds: `12:34:56.5`. PostgreSQL has a 24:00:00.
pub(super) fn time(micros: i64, text: &mut String) {
    let seconds = micros.div_euclid(1_000_000);
    let _ = write!(text, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = micros.rem_euclid(1_000_000);
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
}

/// A moment, by microseconds since 1970: `2024-02-29T12:34:56.5Z`, without the `Z` for a timestamp without time zone.
pub(super) fn timestamp(micros: i64, zoned: bool, text: &mut String) {
    match micros {
        i64::MAX => return text.push_str("infinity"),
        i64::MIN => return text.push_str("-infinity"),
        _ => {}
    }
    put_date(micros.div_euclid(DAY), text);
    text.push('T');
    time(micros.rem_euclid(DAY), text);
    if zoned {
        text.push('Z');
    }
}

/// A moment in UTC with at least so many digits after the point: `2024-02-29T12:34:56.500Z`.
pub(super) fn zoned(micros: i64, digits: u8, text: &mut String) {
    timestamp(micros, true, text);
    // An infinite one has no zone.
    let Some(bare) = text.strip_suffix('Z').map(str::len).filter(|_| digits > 0) else { return };
    text.truncate(bare);
    let printed = match text.rfind('.') {
        Some(point) => bare - point - 1,
        None => {
            text.push('.');
            0
        }
    };
    text.extend(std::iter::repeat_n('0', usize::from(digits).saturating_sub(printed)));
    text.push('Z');
}

/// The proleptic Gregorian calendar, counted in eras of 400 years from a 1st of March, so that leap days come last.
fn put_date(days: i64, text: &mut String) {
    const ERA: i64 = 146_097;
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let _ = match year {
        0..=9999 => write!(text, "{year:04}"),
        10_000.. => write!(text, "+{year}"),
        _ => write!(text, "-{:04}", year.unsigned_abs()),
    };
    let _ = write!(text, "-{month:02}-{day:02}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(print: impl FnOnce(&mut String)) -> String {
        let mut text = String::new();
        print(&mut text);
        text
    }

    #[test]
    fn every_day_of_eight_thousand_years_is_the_calendars() {
        let mut day = jiff::civil::date(1, 1, 1);
        let epoch = jiff::civil::date(1970, 1, 1);
        while day.year() < 8000 {
            let days = epoch.until(day).unwrap().get_days();
            assert_eq!(printed(|text| date(days, text)), day.to_string());
            day = day.checked_add(jiff::Span::new().days(13)).unwrap();
        }
    }

    #[test]
    fn a_fraction_is_as_wide_as_is_asked_for() {
        let of = |micros, digits| printed(|text| zoned(micros, digits, text));
        assert_eq!(of(1_709_210_096_500_000, 6), "2024-02-29T12:34:56.500000Z");
        assert_eq!(of(1_709_210_096_000_000, 3), "2024-02-29T12:34:56.000Z");
        assert_eq!(of(1_709_210_096_123_456, 3), "2024-02-29T12:34:56.123456Z", "no digit is lost");
        assert_eq!(of(1_709_210_096_000_000, 0), "2024-02-29T12:34:56Z");
        assert_eq!(of(i64::MIN, 6), "-infinity");
    }

    #[test]
    fn moments_far_away_and_before_1970_keep_every_digit() {
        assert_eq!(printed(|text| timestamp(-1, true, text)), "1969-12-31T23:59:59.999999Z");
        assert_eq!(printed(|text| timestamp(1_709_210_096_500_000, false, text)), "2024-02-29T12:34:56.5");
        assert_eq!(printed(|text| date(106_751_991, text)), "+294247-01-10");
        assert_eq!(printed(|text| date(-719_529, text)), "-0001-12-31");
        assert_eq!(printed(|text| time(86_400_000_000, text)), "24:00:00");
        assert_eq!(printed(|text| timestamp(i64::MAX, true, text)), "infinity");
    }
}
