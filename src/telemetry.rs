//! Logs: structured, to stderr, UTC. Never a cell value: PostgreSQL's client stays at info, as it logs statements below.

use tracing_subscriber::EnvFilter;

use crate::{Error, Kind, Result};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging. `level` is a filter: `info`, or `info,strandline=debug`.
pub fn init(format: LogFormat, level: &str) -> Result<()> {
    // The last directive for a target wins: what must stay quiet comes last.
    let filter = format!("{level},tokio_postgres=info,rdkafka=warn,librdkafka=warn,hyper=warn,reqwest=warn");
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Error::new(Kind::Config, format!("--log `{level}` is not a filter"))
            .because(error)
            .hint("write info, or info,strandline=debug")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let done = match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    done.map_err(|error| Error::new(Kind::Io, "logging cannot be started").because(error))
}
