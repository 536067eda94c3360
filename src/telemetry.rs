//! Logs: structured, to stderr, in UTC.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::progress::{Bars, LOADING};
use crate::{Error, Kind, Result};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, message and fields
    #[default]
    Text,
    /// For machines: one JSON object a line
    Json,
}

/// What is quiet unless a filter names it.
const QUIET: &str =
    "apache_avro=warn,tokio_postgres=info,rdkafka=warn,librdkafka=warn,hyper=warn,hyper_util=warn,reqwest=warn";

/// Libraries that log statements, parameters or headers below this level: no filter lowers it.
const HELD: &[(&str, Level)] = &[
    ("tokio_postgres", Level::INFO),
    ("postgres_native_tls", Level::INFO),
    ("hyper", Level::INFO),
    ("hyper_util", Level::INFO),
    ("reqwest", Level::INFO),
];

/// Starts logging, once in a process. `filter` is a level, or directives such as `info,strandline=debug`. With bars the
/// lines stand above them, and what the bars tell is no line.
///
/// Fails with [`Kind::Config`] if the filter is none.
pub fn init(format: LogFormat, filter: &str, bars: Option<Bars>) -> Result<()> {
    let filter = directives(filter)?;
    let writer = match &bars {
        Some(bars) => BoxMakeWriter::new(bars.clone()),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).event_format(Text).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_target(false).with_timer(Utc).boxed(),
    };
    let told_by_bars = bars.is_some();
    let is_line = move |metadata: &Metadata<'_>| is_shown(metadata) && !(told_by_bars && metadata.target() == LOADING);
    tracing_subscriber::registry()
        // One filter: of two nested ones the inner's verdict on an event that only the outer refused would stick to the next.
        .with(lines.with_filter(filter_fn(is_line).and(filter)))
        .with(bars.map(|bars| bars.with_filter(filter_fn(Bars::wants))))
        .try_init()
        .map_err(|error| Error::new(Kind::Io, "logging cannot be started").because(error))
}

/// The filter with what is quiet beside it: of two directives for one target the later counts.
fn directives(filter: &str) -> Result<EnvFilter> {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(format!("{QUIET},{filter}")).map_err(
        |error| {
            Error::new(Kind::Config, format!("the log filter `{filter}` is not understood"))
                .because(error)
                .hint("write a level (error, warn, info, debug, trace), or directives such as info,strandline=debug")
        },
    )
}

/// Never what might hold a cell value or a password.
fn is_shown(metadata: &Metadata<'_>) -> bool {
    may_show(metadata.target(), *metadata.level())
}

fn may_show(target: &str, level: Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    HELD.iter().all(|(held, least)| library != *held || level <= *least)
}

/// RFC 3339 with milliseconds.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", time(jiff::Timestamp::now()))
    }
}

fn time(now: jiff::Timestamp) -> impl fmt::Display {
    now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
}

/// Time, level, message and fields, then those of the spans around them.
struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        Utc.format_time(&mut writer)?;
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn ",
            Level::INFO => "info ",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let colour = match *event.metadata().level() {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            _ => "2",
        };
        match writer.has_ansi_escapes() {
            true => write!(writer, " \u{1b}[{colour}m{level}\u{1b}[0m ")?,
            false => write!(writer, " {level} ")?,
        }
        context.format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>().filter(|fields| !fields.is_empty()) {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `filter` counts.
    fn lines(filter: &str, log: impl FnOnce()) -> Vec<String> {
        let written = Lines::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Text)
            .with_filter(filter_fn(is_shown))
            .with_filter(directives(filter).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let written = written.0.lock().unwrap();
        // Without the time, which is tested below.
        String::from_utf8_lossy(&written)
            .lines()
            .map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned())
            .collect()
    }

    #[test]
    fn a_line_is_level_message_fields_and_the_spans_fields() {
        let lines = lines("info", || {
            let span = tracing::info_span!("task", task = 3);
            let _entered = span.enter();
            tracing::info!(object = %"public.orders", rows = 5, "caught_up");
            tracing::debug!("not shown");
        });
        assert_eq!(lines, ["info  caught_up object=public.orders rows=5 task=3"]);
    }

    #[test]
    fn statements_and_parameters_are_never_shown() {
        let lines = lines("trace,tokio_postgres=trace,librdkafka=debug", || {
            tracing::debug!(target: "tokio_postgres::query", "executing statement with parameters: [hunter2]");
            tracing::trace!(target: "hyper::proto::h1", "authorization: hunter2");
            tracing::debug!(target: "librdkafka", "broker is up");
            tracing::trace!(target: "strandline::task", "step");
        });
        assert_eq!(lines, ["debug broker is up", "trace step"]);
    }

    #[test]
    fn libraries_are_quiet_unless_a_filter_names_them() {
        let log = || tracing::info!(target: "librdkafka", "chatter");
        assert!(lines("debug", log).is_empty());
        assert_eq!(lines("info,librdkafka=info", log), ["info  chatter"]);
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let moment = jiff::Timestamp::from_millisecond(1_700_000_000_042).unwrap();
        assert_eq!(time(moment).to_string(), "2023-11-14T22:13:20.042Z");
    }

    #[test]
    fn a_filter_that_is_none_is_a_mistake_of_the_command_line() {
        let error = directives("strandline=loud").unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(error.to_string(), "the log filter `strandline=loud` is not understood");
    }
}
