//! Dates, times and intervals as PostgreSQL sends them, in the units in which Avro's consumers count.

use super::binary::{end, sized, take};
use super::transcode::Bad;

/// Days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const DAYS: i32 = 10_957;
const DAY: i64 = 86_400_000_000;
const MICROS: i64 = DAYS as i64 * DAY;

/// Days since 1970; the infinities stay PostgreSQL's own extremes.
pub(super) fn date(field: &[u8]) -> Result<i32, Bad> {
    match i32::from_be_bytes(sized(field)?) {
        days @ (i32::MAX | i32::MIN) => Ok(days),
        days => days.checked_add(DAYS).ok_or(Bad::TooLate),
    }
}

/// Microseconds since 1970; the infinities stay PostgreSQL's own extremes.
#[inline]
pub(super) fn timestamp(field: &[u8]) -> Result<i64, Bad> {
    match i64::from_be_bytes(sized(field)?) {
        micros @ (i64::MAX | i64::MIN) => Ok(micros),
        micros => micros.checked_add(MICROS).filter(|micros| *micros != i64::MAX).ok_or(Bad::TooLate),
    }
}

/// Kafka Connect's milliseconds; the infinities stay the extremes.
pub(super) fn millis(micros: i64) -> i64 {
    match micros {
        i64::MAX | i64::MIN => micros,
        _ => micros.div_euclid(1000),
    }
}

/// The same with finite numbers for the infinities: those that PostgreSQL's JDBC driver has for them, as milliseconds, and that Debezium
/// takes for microseconds.
pub(super) fn bounded(micros: i64) -> i64 {
    match micros {
        i64::MAX => 9_223_372_036_825_200_000,
        i64::MIN => -9_223_372_036_832_400_000,
        _ => micros,
    }
}

/// A time of day in microseconds, and its offset in seconds to the west.
pub(super) fn timetz(field: &[u8]) -> Result<(i64, i32), Bad> {
    let mut field = field;
    let (micros, west) = (take(&mut field)?, take(&mut field)?);
    end(field)?;
    let micros = i64::from_be_bytes(micros);
    // Up to 24:00, as PostgreSQL checks what it receives.
    if (0..=DAY).contains(&micros) { Ok((micros, i32::from_be_bytes(west))) } else { Err(Bad::Content) }
}

/// The same time of day in UTC, below 24:00.
pub(super) fn utc(micros: i64, west: i32) -> i64 {
    (micros + i64::from(west) * 1_000_000).rem_euclid(DAY)
}

/// An interval: its parts do not carry into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub micros: i64,
    pub days: i64,
    pub months: i64,
}

impl Interval {
    /// The infinite ones (PostgreSQL 17): every part at its extreme.
    pub(super) const FOREVER: Interval = Interval { micros: i64::MAX, days: i32::MAX as i64, months: i32::MAX as i64 };
    pub(super) const NEVER: Interval = Interval { micros: i64::MIN, days: i32::MIN as i64, months: i32::MIN as i64 };

    pub(super) fn read(field: &[u8]) -> Result<Interval, Bad> {
        let mut field = field;
        let (micros, days, months) = (take(&mut field)?, take(&mut field)?, take(&mut field)?);
        end(field)?;
        let word = |bytes| i64::from(i32::from_be_bytes(bytes));
        Ok(Interval { micros: i64::from_be_bytes(micros), days: word(days), months: word(months) })
    }

    /// The equal one whose parts have all one sign, with days below 30 and less than 24 hours: PostgreSQL compares intervals
    /// by a month of 30 days and a day of 24 hours.
    pub(super) fn justified(self) -> Interval {
        if matches!(self, Interval::FOREVER | Interval::NEVER) {
            return self;
        }
        let day = i128::from(DAY);
        let span = (i128::from(self.months) * 30 + i128::from(self.days)) * day + i128::from(self.micros);
        // Each part is smaller than what it comes of: the casts lose nothing.
        let (days, micros) = (span / day, (span % day) as i64);
        Interval { micros, days: (days % 30) as i64, months: (days / 30) as i64 }
    }

    /// Microseconds as PostgreSQL compares intervals, a month counting 30 days; infinite intervals are the extremes.
    pub(super) fn span(self) -> Result<i64, Bad> {
        match self {
            Interval::FOREVER => Ok(i64::MAX),
            Interval::NEVER => Ok(i64::MIN),
            Interval { micros, days, months } => {
                let span = (i128::from(months) * 30 + i128::from(days)) * i128::from(DAY) + i128::from(micros);
                i64::try_from(span).map_err(|_| Bad::TooLong)
            }
        }
    }

    /// Microseconds, a month counting 30.4375 days; infinite intervals are the extremes.
    pub(super) fn micros(self) -> Result<i64, Bad> {
        const MONTH: i128 = 2_629_800_000_000;
        match self {
            Interval::FOREVER => Ok(i64::MAX),
            Interval::NEVER => Ok(i64::MIN),
            Interval { micros, days, months } => {
                let sum = i128::from(months) * MONTH + i128::from(days) * i128::from(DAY) + i128::from(micros);
                i64::try_from(sum).map_err(|_| Bad::TooLong)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_move_to_1970_and_infinities_stay() {
        let timestamp = |micros: i64| timestamp(&micros.to_be_bytes());
        assert_eq!(timestamp(0), Ok(946_684_800_000_000));
        assert_eq!(timestamp(i64::MAX), Ok(i64::MAX));
        assert_eq!(timestamp(i64::MIN), Ok(i64::MIN));
        assert_eq!(timestamp(i64::MAX - 1), Err(Bad::TooLate));
        assert_eq!(timestamp(-MICROS - 1).map(millis), Ok(-1));
        assert_eq!(timestamp(i64::MAX).map(bounded).map(millis), Ok(9_223_372_036_825_200));
        assert_eq!(timestamp(i64::MIN).map(bounded), Ok(-9_223_372_036_832_400_000));
        assert_eq!(timestamp(0).map(bounded), timestamp(0));
        let date = |days: i32| date(&days.to_be_bytes());
        assert_eq!(date(-10_957), Ok(0));
        assert_eq!(date(i32::MIN), Ok(i32::MIN));
    }
}
