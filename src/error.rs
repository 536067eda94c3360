//! One opaque error: a kind, the object it concerns, what was found, the cause and what to do.
//!
//! `Display` prints its own line only; whoever reports an error prints the chain once, with [`Error::report`].

use std::error::Error as StdError;
use std::fmt;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is. What follows from it (again, aside, stop) is decided in [`crate::retry`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The configuration or the command line is wrong.
    Config,
    /// PostgreSQL cannot be reached, or the connection broke: it may come back.
    Unreachable,
    /// PostgreSQL refuses the connection for a reason that a person must mend (password, role, database, `pg_hba.conf`).
    Refused,
    /// PostgreSQL failed a statement for a reason that passes (conflict with recovery, shutdown, out of memory).
    Transient,
    /// A lock was not granted within `lock_timeout`.
    Locked,
    /// The server is not the one it was a moment ago: crash, failover, or another host behind the same name.
    History,
    /// A table changed under the step (rewritten, altered, dropped): plan it again.
    Changed,
    /// The source waited for Kafka for longer than `source.stall`, or a chunk was too much for one transaction.
    Stalled,
    /// An object cannot be read: no right, or it is of a kind that is not supported.
    Denied,
    /// A row holds what cannot be decoded or has no counterpart in Avro.
    Row,
    /// A schema is refused by the registry, or cannot be built.
    Schema,
    /// The registry refuses a schema that is not compatible with the subject's.
    Incompatible,
    /// The registry cannot be reached, or answers that it is busy.
    Registry,
    /// Kafka cannot be reached, or an attempt failed for a reason that passes.
    Kafka,
    /// Kafka has no time to create a topic: it has no controller, or a quota is used up.
    Busy,
    /// The Kafka transaction must be aborted, or the producer built anew.
    Transaction,
    /// Kafka refuses a record or topic for a reason that a person must mend (size, rights, name).
    Topic,
    /// A newer instance owns the offsets partition.
    Fenced,
    /// The Kafka transaction took longer than its timeout, or a newer instance owns the offsets partition.
    Outlived,
    /// The offsets topic holds something unreadable under our key.
    Offsets,
    /// The offsets topic is gone, and with it what is known of every object.
    Forgotten,
    /// The operating system refused something (file, thread, signal).
    Io,
}

/// The one error type: one word wide, built by [`Error::new`] and its builder methods.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    object: Option<String>,
    message: String,
    hint: Option<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// `message` is lower case, without a full stop, names the object and the value found; never a cell value or a secret.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, object: None, message: message.into(), hint: None, cause: None }))
    }

    /// The object (`public.orders`) that the failure concerns.
    pub fn object(mut self, object: impl Into<String>) -> Self {
        self.0.object = Some(object.into());
        self
    }

    /// What the reader should do next, one sentence.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The error behind it.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The object it concerns, if it concerns one alone.
    pub fn object_name(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// What to do, when it says.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What failed, without the object: for a line that names it already.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// [`Error::causes`], if there is any.
    pub fn cause_text(&self) -> Option<String> {
        Some(self.causes()).filter(|causes| !causes.is_empty())
    }

    /// The causes, outermost first, joined by `: `; text that repeats its predecessor is left out.
    pub fn causes(&self) -> String {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !causes.last().is_some_and(|last| last.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes.join(": ")
    }

    /// What a person reads: what failed and where, the cause, what to do; a line each.
    pub fn report(&self) -> String {
        let mut report = self.to_string();
        let causes = self.causes();
        if !causes.is_empty() {
            report.push_str("\n  cause: ");
            report.push_str(&causes);
        }
        if let Some(hint) = self.hint_text() {
            report.push_str("\n  to do: ");
            report.push_str(hint);
        }
        report
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.object {
            Some(object) => write!(f, "{object}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_three_lines_and_says_nothing_twice() {
        let error = Error::new(Kind::Denied, "the role reader may not select")
            .object("public.orders")
            .because("permission denied for table orders")
            .hint("GRANT SELECT ON public.orders TO reader");
        assert_eq!(
            error.report(),
            "public.orders: the role reader may not select\n  cause: permission denied for table orders\n  to do: GRANT SELECT ON public.orders TO reader"
        );
        assert_eq!(error.kind(), Kind::Denied);
    }
}
