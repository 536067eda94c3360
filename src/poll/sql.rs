//! The SQL as text.
