//! What types that have several counterparts in Avro become, by the names of Debezium's and the JDBC source's settings.

/// The choices, of which none costs anything per row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// `profile`: whose consumers are served; the other choices start from it.
    pub profile: Profile,
    /// `decimal.handling.mode`: numeric and money.
    pub decimals: Decimals,
    /// `time.precision.mode`: date, time, timestamp and timestamptz.
    pub times: Times,
    /// `binary.handling.mode`: bytea.
    pub binary: Binary,
    /// `array.handling.mode`: arrays.
    pub arrays: Arrays,
    /// `hstore.handling.mode`: hstore.
    pub hstore: Hstore,
    /// `interval.handling.mode`: interval.
    pub intervals: Intervals,
    /// `uuid.handling.mode`: uuid.
    pub uuids: Uuids,
    /// `json.handling.mode`: json and jsonb.
    pub json: Json,
    /// `infinity.handling.mode`: infinite dates and timestamps.
    pub infinity: Infinity,
    /// `nan.handling.mode`: NaN and the infinities where a decimal is wanted.
    pub nan: Nan,
}

/// Whose consumers are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Ours: nothing is lost, and Connect's and Debezium's semantic names are there.
    #[default]
    Strandline,
    /// The JDBC source connector's: Connect's own types, milliseconds, texts without a semantic name.
    ConnectJdbc,
    /// Debezium's types with its default settings.
    Debezium,
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
    /// Debezium's default: milli- or microseconds as the column is declared, and a text for timestamptz.
    Adaptive,
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

/// What arrays become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrays {
    /// Avro's arrays, nested as deep as declared.
    #[default]
    Array,
    /// A JSON text, whatever the depth.
    Json,
    /// PostgreSQL's text, bounds included.
    String,
}

/// What hstore becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hstore {
    /// A map of texts that may be null.
    #[default]
    Map,
    /// A JSON text.
    Json,
}

/// What interval becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intervals {
    /// Text as ISO 8601 has it, which keeps months, days and microseconds apart.
    #[default]
    String,
    /// Microseconds, with a month of 30.4375 days as Debezium counts.
    Numeric,
}

/// What uuid becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Uuids {
    /// Text of the logical type `uuid`.
    #[default]
    Uuid,
    /// Plain text.
    String,
    /// Its 16 bytes.
    Bytes,
}

/// What json and jsonb become. The text is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Json {
    /// Text with Debezium's semantic name.
    #[default]
    Json,
    /// Plain text.
    String,
}

/// What infinite dates and timestamps become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Infinity {
    /// The extremes of int and long.
    #[default]
    Extreme,
    /// Null; the column may then be null in Avro.
    Null,
    /// The row is refused.
    Error,
}

/// What NaN and the infinities become where a decimal is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nan {
    /// The row is refused.
    #[default]
    Error,
    /// Null; the column may then be null in Avro.
    Null,
}

impl Profile {
    /// What this profile chooses.
    pub fn handling(self) -> Handling {
        let own = Handling { profile: self, ..Handling::default() };
        match self {
            Profile::Strandline => own,
            Profile::ConnectJdbc => Handling { times: Times::Connect, uuids: Uuids::String, json: Json::String, ..own },
            Profile::Debezium => {
                Handling { times: Times::Adaptive, hstore: Hstore::Json, intervals: Intervals::Numeric, ..own }
            }
        }
    }
}

/// `columns.cast`: one column's own choice, by a word of the setting that its type answers to; or `text`, PostgreSQL's own
/// text of any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast(&'static str);

impl Cast {
    /// Every word, of all types.
    pub const WORDS: &'static [&'static str] = &[
        "text",
        "string",
        "json",
        "precise",
        "double",
        "micros",
        "connect",
        "isostring",
        "adaptive",
        "bytes",
        "base64",
        "hex",
        "array",
        "map",
        "numeric",
        "uuid",
    ];

    /// Reads a word.
    pub fn parse(word: &str) -> Option<Cast> {
        Cast::WORDS.iter().find(|known| **known == word).map(|known| Cast(known))
    }

    /// The word.
    pub fn word(self) -> &'static str {
        self.0
    }
}

impl Handling {
    /// The same with a column's own choice; which type it is for is the mapping's business.
    pub(super) fn cast(self, cast: Cast) -> Handling {
        let mut own = self;
        match cast.0 {
            "string" => {
                own.decimals = Decimals::String;
                own.arrays = Arrays::String;
                own.intervals = Intervals::String;
                own.uuids = Uuids::String;
                own.json = Json::String;
            }
            "json" => {
                own.arrays = Arrays::Json;
                own.hstore = Hstore::Json;
                own.json = Json::Json;
            }
            "precise" => own.decimals = Decimals::Precise,
            "double" => own.decimals = Decimals::Double,
            "micros" => own.times = Times::Micros,
            "connect" => own.times = Times::Connect,
            "isostring" => own.times = Times::IsoString,
            "adaptive" => own.times = Times::Adaptive,
            "bytes" => {
                own.binary = Binary::Bytes;
                own.uuids = Uuids::Bytes;
            }
            "base64" => own.binary = Binary::Base64,
            "hex" => own.binary = Binary::Hex,
            "array" => own.arrays = Arrays::Array,
            "map" => own.hstore = Hstore::Map,
            "numeric" => own.intervals = Intervals::Numeric,
            "uuid" => own.uuids = Uuids::Uuid,
            _ => {}
        }
        own
    }
}
