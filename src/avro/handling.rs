//! What types that have several counterparts in Avro become, by the names of Debezium's and the JDBC source's settings.

/// The choices, of which none costs anything per row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// `decimal.handling.mode`: numeric and money.
    pub decimals: Decimals,
    /// `time.precision.mode`: date, time, timestamp and timestamptz.
    pub times: Times,
    /// `binary.handling.mode`: bytea.
    pub binary: Binary,
}

/// What numeric and money become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decimals {
    /// Avro's decimal where precision and scale are declared, else text.
    #[default]
    Precise,
    /// Text, with every digit.
    String,
    /// A double, which may lose digits.
    Double,
}

/// What dates and times become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Microseconds.
    #[default]
    Micros,
    /// Kafka Connect's own types, which count milliseconds; digits beyond are cut off.
    Connect,
    /// Text as ISO 8601 has it.
    IsoString,
}

/// What bytea becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Binary {
    /// Bytes.
    #[default]
    Bytes,
    /// Text, base64 with padding.
    Base64,
    /// Text, two hexadecimal digits a byte.
    Hex,
}
