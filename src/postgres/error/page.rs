//! `docs/errors.md`, out of the tables that the messages come from; `STRANDLINE_WRITE=1 cargo test --lib error::page` writes it.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::retry::{Answer, answer};

/// Everything that an error of PostgreSQL or of the way to it may mean, in the page's order.
const ALL: &[Meaning] = &[
    PASSWORD,
    NO_PASSWORD,
    UNREACHABLE,
    NO_ROLE,
    NO_RIGHT,
    ROW_SECURITY,
    NO_DATABASE,
    SETTING,
    POOLER_PARAMETER,
    POOLER_MODE,
    NO_TLS,
    TLS,
    NEEDS_TLS,
    CERTIFICATE,
    METHOD,
    HBA,
    TOO_MANY,
    STARTING,
    CANCELLED,
    CONFLICT,
    LOCKED,
    CHANGED,
    UNSUPPORTED,
    UNPOPULATED,
    DAMAGED,
    VALUE,
    SYSTEM,
    BROKEN,
    PROTOCOL,
    OTHER,
];

/// What each kind is about, in a reader's words.
const KINDS: &[(Kind, &str)] = &[
    (Kind::Config, "the configuration or the command line is wrong"),
    (Kind::Unreachable, "PostgreSQL cannot be reached, or the connection broke"),
    (Kind::Refused, "PostgreSQL refuses the connection"),
    (Kind::Transient, "PostgreSQL fails a statement for a reason that passes"),
    (Kind::Locked, "a lock is not granted within three seconds"),
    (Kind::History, "another server answers than a moment ago, or it restarted"),
    (Kind::Changed, "a table changed while it was read"),
    (Kind::Stalled, "Kafka keeps PostgreSQL waiting for longer than `source.stall`"),
    (Kind::Denied, "an object cannot be read"),
    (Kind::Row, "a row holds what has no counterpart in Avro, and `errors.tolerance` is `none`"),
    (Kind::Schema, "a schema cannot be built, or the registry refuses it"),
    (Kind::Incompatible, "the registry refuses a schema that is not compatible with the subject's"),
    (Kind::Registry, "the registry does not answer, or is busy"),
    (Kind::Kafka, "Kafka does not answer, or an attempt failed for a reason that passes"),
    (Kind::Busy, "Kafka has no time to create a topic: no controller, no leader yet, a quota"),
    (Kind::Transaction, "a Kafka transaction has to be aborted"),
    (
        Kind::Outlived,
        "a Kafka transaction took longer than its timeout, and no other instance has signed for its partition",
    ),
    (Kind::Topic, "Kafka refuses a record or a topic; a row is too large, and `oversize` is `fail`"),
    (Kind::Fenced, "a newer instance has taken over"),
    (Kind::Offsets, "the offsets topic holds something unreadable for an object"),
    (Kind::Forgotten, "the offsets topic is gone"),
    (Kind::Io, "the operating system refuses something"),
];

fn follows(answer: Answer) -> &'static str {
    match answer {
        Answer::Reconnect => "a new connection, after a delay that grows from a quarter of a second to half a minute",
        Answer::LookAgain => "the step is taken back and the server looked at again, at once",
        Answer::Later => "the object waits and is tried again; the others go on",
        Answer::Fail => "the object is FAILED; the others go on; `run --once` ends with 1",
        Answer::Rebuild => "the producer is built anew, and what was really committed is read from Kafka",
        Answer::Stop => "the connector ends: with 2 for the configuration, 3 if another took over, else 1",
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         An error is told in three lines: what failed and where, the cause in the words of whoever refused, what to do. Nothing is skipped\n\
         silently, and no message holds a cell's value, a password or a key. This page is written by a test from what the program says.\n\n\
         ## PostgreSQL, and the way to it\n\n\
         The numbers are those that Hevo gives to errors of a source's connection; PostgreSQL's own SQLSTATE and words follow as the cause.\n\n\
         | number | what is wrong | what to do |\n|---|---|---|\n",
    );
    let cell = |text: &str| text.replace('|', "\\|");
    for meaning in ALL {
        let number = meaning.number.map(|number| number.to_string()).unwrap_or_default();
        let _ = writeln!(page, "| {number} | {} | {} |", cell(meaning.what), cell(meaning.hint));
    }
    page.push_str(
        "\n1014: no database is named in the configuration, which is told with the key. A refusal before the first connection ends the\n\
         program, so that a mistake is seen at once; later it is waited out, as credentials may be rotating.\n\n\
         ## What follows\n\n| what happens | what follows |\n|---|---|\n",
    );
    for (kind, what) in KINDS {
        let _ = writeln!(page, "| {what} | {} |", follows(answer(*kind)));
    }
    page.push_str(
        "\n## Exit codes\n\n| code | meaning |\n|---|---|\n| 0 | done |\n| 1 | an object is FAILED, a check failed, or a server refuses us |\n\
         | 2 | the configuration or the command line |\n| 3 | another instance took over; it is named |\n| 130 | a second signal |\n\n\
         With several connectors in one process the highest counts.\n",
    );
    page
}

#[test]
fn the_page_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let page = page();
    if std::env::var_os("STRANDLINE_WRITE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/errors.md is not what the program says: STRANDLINE_WRITE=1 cargo test --lib error::page"
    );
}

#[test]
fn every_meaning_and_every_kind_is_on_the_page() {
    let source = include_str!("../error.rs");
    let declared = source.matches(": Meaning =").count();
    assert_eq!(declared, ALL.len(), "a meaning is declared and not on the page");
    let kinds = include_str!("../../error.rs");
    let kinds = kinds.split("pub enum Kind {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let declared = kinds.lines().filter(|line| line.trim_end().ends_with(',')).count();
    assert_eq!(declared, KINDS.len(), "a kind is declared and not on the page");
    for number in [1003, 1006, 1011, 1012, 1014, 1017, 1023, 1024] {
        assert!(page().contains(&number.to_string()), "{number}");
    }
}
