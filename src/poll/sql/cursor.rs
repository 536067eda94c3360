//! Statements about cursors: what runs, what is highest, which rows of a query come next.

use std::time::Duration;

use postgres_protocol::escape::escape_literal;

use super::PINNED;
use crate::poll::mode::Cursor;
use crate::poll::recent::Key;
use crate::poll::running::Seen;

/// The transactions that run in this database, each by its virtual id, prepared ones too, and the clock before it was
/// looked (facts: xmin.md §3). It has to be read before the snapshot that follows. Of a prepared transaction neither pid nor
/// database is shown: all count.
pub fn running() -> &'static str {
    "SELECT pg_catalog.clock_timestamp()::pg_catalog.text AS clock, coalesce((\
       SELECT pg_catalog.string_agg(DISTINCT l.virtualtransaction, ' ') FROM pg_catalog.pg_locks l \
       LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
       WHERE (l.locktype = 'virtualxid' AND a.usesysid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid() \
              AND a.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) \
          OR (l.locktype = 'transactionid' AND l.pid IS NULL)), '') AS running"
}

/// What a column's type is to a cursor's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `timestamptz`: the server's clock itself.
    Zoned,
    /// `timestamp`.
    Local,
    /// `date`: changes of a day share a value.
    Date,
    /// Anything that is not a time.
    None,
}

impl Clock {
    /// Of a type of `pg_catalog`.
    pub fn of(type_: &str) -> Clock {
        match type_ {
            "timestamptz" => Clock::Zoned,
            "timestamp" => Clock::Local,
            "date" => Clock::Date,
            _ => Clock::None,
        }
    }
}

/// How long a look at one table's cursor queues for its lock: the other tables wait meanwhile.
const BRIEF_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms';";

/// What [`highest`] asks for.
#[derive(Clone, Debug)]
pub struct Highest<'a> {
    /// The tables that hold the rows, as SQL takes them.
    pub tables: &'a [String],
    /// The cursor's columns.
    pub cursor: &'a Cursor,
    /// What the timestamp column is.
    pub clock: Clock,
    /// In which zone a `timestamp` is written; none: only its values are believed.
    pub zone: Option<&'a str>,
    /// How far a bound stays below clock and timestamps: a transaction's `now()` is a little older than its virtual id.
    pub margin: Duration,
    /// What was answered before: the answer never falls.
    pub before: &'a Seen,
}

/// The server's clock.
const CLOCK: &str = "pg_catalog.clock_timestamp()";

/// What it shows in a time zone.
fn clock_in(zone: &str) -> String {
    format!("({CLOCK} AT TIME ZONE {})", escape_literal(zone))
}

/// One row: the clock, and the highest value of each cursor column, as text. The server compares, as it alone knows the
/// collation; and it sorts, as not every type that can be ordered has a `max`.
pub fn highest(ask: &Highest<'_>) -> String {
    let margin = format!(" - '{} milliseconds'::pg_catalog.interval", ask.margin.as_millis());
    let least = |before: &Option<String>| {
        before.as_deref().map(|text| format!(", {}", escape_literal(text))).unwrap_or_default()
    };
    let top = |column: Option<String>, margin: &str, before: &Option<String>| {
        let Some(column) = column else { return "NULL".to_owned() };
        let one = |table: &String| {
            format!("(SELECT {column} AS top FROM {table} WHERE {column} IS NOT NULL ORDER BY 1 DESC LIMIT 1)")
        };
        let tops: Vec<String> = ask.tables.iter().map(one).collect();
        format!(
            "(SELECT greatest(top{margin}{})::pg_catalog.text FROM ({}) AS tops ORDER BY top DESC NULLS LAST LIMIT 1)",
            least(before),
            tops.join(" UNION ALL ")
        )
    };
    let clock = match (ask.clock, ask.zone) {
        (Clock::Zoned, _) => CLOCK.to_owned(),
        (Clock::Local, Some(zone)) => clock_in(zone),
        _ => "NULL::pg_catalog.timestamp".to_owned(),
    };
    let below = match ask.clock {
        Clock::Zoned | Clock::Local => margin.as_str(),
        Clock::Date => " - 1",
        Clock::None => "",
    };
    format!(
        "BEGIN READ ONLY; {BRIEF_LOCK_TIMEOUT} {PINNED} SELECT greatest({clock}{margin}{})::pg_catalog.text AS clock, \
         {} AS timestamp, {} AS incrementing; COMMIT",
        least(&ask.before.clock),
        top(ask.cursor.timestamp_sql(), below, &ask.before.highest.timestamp),
        top(ask.cursor.incrementing_sql(), "", &ask.before.highest.incrementing),
    )
}

/// A query's cursor as its SQL needs it.
#[derive(Clone, Debug)]
pub struct QueryCursor {
    /// The timestamp's column, quoted.
    pub timestamp: Option<String>,
    /// What that is.
    pub clock: Clock,
    /// The incrementing column, quoted.
    pub incrementing: Option<String>,
    /// Whether that is a text, which is ordered by its bytes.
    pub collate: bool,
}

/// The last moment that a timestamp is told as a number; what lies beyond, infinity too, counts as this one.
const LAST_MOMENT: &str = "'9999-12-31'";

/// The first moment that PostgreSQL knows, 4714-11-24 BC, in microseconds since 1970.
const FIRST_MOMENT: i128 = -210_866_803_200_000_000;
/// In microseconds.
const HOUR: i128 = 3_600_000_000;

impl QueryCursor {
    /// The fields that lead each row: the timestamp in microseconds since 1970, the incrementing column as text.
    pub fn leading(&self) -> String {
        let micros = self.timestamp.as_ref().map(|column| {
            format!(
                "(CASE WHEN pg_catalog.isfinite({column}) THEN (extract(epoch FROM least({column}, {LAST_MOMENT})) * 1000000)::pg_catalog.int8 \
                 WHEN {column} > 'epoch' THEN (extract(epoch FROM {LAST_MOMENT}::pg_catalog.timestamp) * 1000000)::pg_catalog.int8 \
                 WHEN {column} IS NOT NULL THEN -9223372036854775808 END)::pg_catalog.text"
            )
        });
        let incrementing = self.incrementing.as_ref().map(|column| format!("({column})::pg_catalog.text"));
        micros.into_iter().chain(incrementing).collect::<Vec<_>>().join(", ")
    }

    /// How many these are.
    pub fn columns(&self) -> usize {
        usize::from(self.timestamp.is_some()) + usize::from(self.incrementing.is_some())
    }

    fn by_id(&self, column: &str, floor: Option<&Key>) -> String {
        let collate = if self.collate { " COLLATE \"C\"" } else { "" };
        match floor {
            Some(floor) => format!("({column}{collate} > {} OR {column} IS NULL)", escape_literal(&floor.to_string())),
            None => "true".to_owned(),
        }
    }

    fn by_time(&self, column: &str, floor: Option<&Key>) -> String {
        let type_ = if self.clock == Clock::Zoned { "timestamptz" } else { "timestamp" };
        match floor {
            // An interval is read in units below 2^31 each by PostgreSQL 14, and multiplied exactly below 2^53.
            Some(Key::Number(floor)) if *floor > FIRST_MOMENT => format!(
                "{column} > 'epoch'::pg_catalog.{type_} + ({}) * '1 hour'::pg_catalog.interval + {} * '1 microsecond'::pg_catalog.interval",
                floor.div_euclid(HOUR),
                floor.rem_euclid(HOUR)
            ),
            _ => format!("{column} IS NOT NULL"),
        }
    }
}

/// The rows above the floors, in the order of the cursor. A row without a cursor comes first, and is found out.
pub fn query_conditions(cursor: &QueryCursor, first: Option<&Key>, second: Option<&Key>) -> String {
    let collate = if cursor.collate { " COLLATE \"C\"" } else { "" };
    match (&cursor.timestamp, &cursor.incrementing) {
        (Some(timestamp), None) => {
            format!(
                " WHERE {} OR {timestamp} IS NULL ORDER BY {timestamp} NULLS FIRST",
                cursor.by_time(timestamp, first)
            )
        }
        (None, Some(incrementing)) => {
            format!(" WHERE {} ORDER BY {incrementing}{collate} NULLS FIRST", cursor.by_id(incrementing, first))
        }
        (Some(timestamp), Some(incrementing)) => format!(
            " WHERE {} OR ({timestamp} IS NULL AND {}) ORDER BY {timestamp} NULLS FIRST, {incrementing}{collate} NULLS FIRST",
            cursor.by_time(timestamp, first),
            cursor.by_id(incrementing, second)
        ),
        (None, None) => String::new(),
    }
}

/// The server's clock in microseconds since 1970 as a cursor of this sort counts them; none: the server does not write it.
pub fn clock_micros(clock: Clock, zone: Option<&str>) -> Option<String> {
    let now = match (clock, zone) {
        (Clock::Zoned, _) => CLOCK.to_owned(),
        (Clock::Local, Some(zone)) => clock_in(zone),
        (Clock::Date, Some(zone)) => format!("{}::pg_catalog.date", clock_in(zone)),
        _ => return None,
    };
    Some(format!("SELECT (extract(epoch FROM {now}) * 1000000)::pg_catalog.int8 AS now"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::Values;

    fn query(clock: Clock, timestamp: Option<&str>, incrementing: Option<&str>) -> QueryCursor {
        QueryCursor {
            timestamp: timestamp.map(str::to_owned),
            clock,
            incrementing: incrementing.map(str::to_owned),
            collate: false,
        }
    }

    #[test]
    fn a_row_without_a_cursor_is_asked_for_too_so_that_it_is_found_out() {
        let at = query(Clock::Zoned, Some("at"), None);
        assert_eq!(query_conditions(&at, None, None), " WHERE at IS NOT NULL OR at IS NULL ORDER BY at NULLS FIRST");
        assert_eq!(
            query_conditions(&at, Some(&Key::Number(7)), None),
            " WHERE at > 'epoch'::pg_catalog.timestamptz + (0) * '1 hour'::pg_catalog.interval + 7 * '1 microsecond'::pg_catalog.interval \
             OR at IS NULL ORDER BY at NULLS FIRST"
        );
        let before = query_conditions(&at, Some(&Key::Number(-1)), None);
        assert!(before.contains("(-1) * '1 hour'::pg_catalog.interval + 3599999999 * '1 microsecond'"), "{before}");
        let never = query_conditions(&at, Some(&Key::Number(i128::from(i64::MIN) - 60)), None);
        assert!(never.starts_with(" WHERE at IS NOT NULL OR at IS NULL"), "{never}");
        let id = query(Clock::None, None, Some("id"));
        assert_eq!(
            query_conditions(&id, Some(&Key::Text("o'clock".into())), None),
            " WHERE (id > 'o''clock' OR id IS NULL) ORDER BY id NULLS FIRST"
        );
    }

    #[test]
    fn the_highest_never_falls_and_stays_below_the_clock() {
        let cursor = Cursor { timestamp: Some("at".into()), incrementing: None };
        let before = Seen {
            clock: Some("2024-01-01".into()),
            highest: Values { timestamp: Some("2023-12-31".into()), incrementing: None },
        };
        let tables = ["s.a".to_owned(), "s.b".to_owned()];
        let ask = Highest {
            tables: &tables,
            cursor: &cursor,
            clock: Clock::Zoned,
            zone: None,
            margin: Duration::from_secs(2),
            before: &before,
        };
        let sql = highest(&ask);
        assert!(sql.contains(
            "greatest(pg_catalog.clock_timestamp() - '2000 milliseconds'::pg_catalog.interval, '2024-01-01')"
        ));
        assert!(sql.contains("greatest(top - '2000 milliseconds'::pg_catalog.interval, '2023-12-31')"));
        assert!(sql.contains("FROM s.a") && sql.contains("UNION ALL") && sql.contains("FROM s.b"));
        assert!(highest(&Highest { clock: Clock::Date, ..ask }).contains("greatest(top - 1, '2023-12-31')"));
    }
}
