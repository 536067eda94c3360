//! A table's rows: schemas and transcoders chosen once, then one walk over each binary tuple.

use super::binary::take;
use super::canonical;
use super::mapping::{Mapped, Settings, map};
use super::name::{RecordNames, Records, fields};
use super::schema::{Field, record};
use super::transcode::{Bad, Transcoder};
use crate::postgres::Description;
use crate::{Error, Kind, Result};

mod tuple;

/// Encodes the rows of one table as one statement described it.
#[derive(Debug)]
pub struct Encoder {
    table: String,
    columns: Vec<Step>,
    /// Positions in `columns`, and how each is encoded in a key.
    key: Vec<(usize, Transcoder)>,
    selects: Vec<String>,
    select_list: String,
    key_schema: Option<String>,
    value_schema: String,
    key_header: [u8; 5],
    value_header: [u8; 5],
    warnings: Vec<String>,
    /// Where each field of the row at hand lies; kept to allocate nothing per row.
    places: Vec<(usize, usize)>,
    /// The column that the last row failed on, by its position.
    failed: Option<usize>,
}

#[derive(Debug)]
struct Step {
    name: String,
    /// Whether Avro has a union with null.
    nullable: bool,
    /// Whether PostgreSQL lets no NULL in.
    not_null: bool,
    transcoder: Transcoder,
}

impl Encoder {
    /// Chooses transcoders and writes the schemas.
    pub fn new(names: &RecordNames, description: &Description, settings: &Settings) -> Result<Encoder> {
        let (field_names, mut warnings) = fields(&description.columns, names.adjustment);
        let mut records = Records::new(&names.namespace, names.adjustment);
        let mapped = description.columns.iter().map(|column| map(column, settings, &mut records));
        let mapped = mapped.collect::<Result<Vec<Mapped>>>().map_err(|error| error.object(&names.table))?;
        // In a key nothing is null, and nothing has a default.
        let field = |at: usize, nullable: bool| {
            let (name, column, mapped) = (field_names.get(at)?, description.columns.get(at)?, mapped.get(at)?);
            Some(Field {
                name,
                column,
                mapped,
                nullable: nullable && (settings.all_nullable || !column.not_null || mapped.is_optional()),
                defaults: nullable,
            })
        };
        for at in &description.key {
            if let (Some(column), Some(mapped)) = (description.columns.get(*at), mapped.get(*at))
                && canonical::merges(&mapped.transcoder, &column.type_.name, column.typmod)
            {
                warnings.push(format!(
                    "keys that differ may become the same: of column {} the form chosen keeps not all; columns.cast = [\"{}:text\"] does",
                    column.name, column.name
                ));
            }
        }
        let values: Vec<Field<'_>> = (0..mapped.len()).filter_map(|at| field(at, true)).collect();
        let keys: Vec<Field<'_>> = description.key.iter().filter_map(|at| field(*at, false)).collect();
        let key_schema = match keys.is_empty() {
            true => None,
            false => Some(record(&names.namespace, "Key", &keys)?),
        };
        let select: Vec<&str> = mapped.iter().map(|mapped| mapped.select.as_str()).collect();
        Ok(Encoder {
            table: names.table.clone(),
            select_list: select.join(", "),
            selects: mapped.iter().map(|mapped| mapped.select.clone()).collect(),
            key_schema,
            value_schema: record(&names.namespace, "Value", &values)?,
            key: description
                .key
                .iter()
                .filter_map(|at| Some((*at, canonical::of(&mapped.get(*at)?.transcoder))))
                .collect(),
            columns: description
                .columns
                .iter()
                .zip(&mapped)
                .map(|(column, mapped)| Step {
                    name: column.name.clone(),
                    nullable: settings.all_nullable || !column.not_null || mapped.is_optional(),
                    not_null: column.not_null,
                    transcoder: mapped.transcoder.clone(),
                })
                .collect(),
            key_header: [0; 5],
            value_header: [0; 5],
            warnings,
            places: Vec::new(),
            failed: None,
        })
    }

    /// What COPY selects, an expression for each column.
    pub fn select_list(&self) -> &str {
        &self.select_list
    }

    /// The same, column by column.
    pub fn selects(&self) -> &[String] {
        &self.selects
    }

    /// Of the row that could not be encoded last: the column to blame.
    pub fn failed_column(&self) -> Option<&str> {
        self.failed.and_then(|at| Some(self.columns.get(at)?.name.as_str()))
    }

    /// The key's schema; `None`: the table has no key.
    pub fn key_schema(&self) -> Option<&str> {
        self.key_schema.as_deref()
    }

    /// The value's schema, as registered.
    pub fn value_schema(&self) -> &str {
        &self.value_schema
    }

    /// What a person should know of the names; to be told once.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The registry's ids, which stand before each key and value after a zero byte (Confluent's wire format).
    pub fn set_ids(&mut self, key: Option<u32>, value: u32) {
        let header = |id: u32| {
            let [a, b, c, d] = id.to_be_bytes();
            [0, a, b, c, d]
        };
        self.key_header = header(key.unwrap_or_default());
        self.value_header = header(value);
    }

    /// Encodes a binary COPY tuple: appends to both buffers; nothing to `key` where the table has none. After an error they
    /// may hold half a record.
    pub fn encode(&mut self, tuple: &[u8], key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<()> {
        self.encode_after(0, tuple, key, value)
    }

    /// The same of a tuple that begins with so many fields which are not the record's.
    pub fn encode_after(&mut self, skip: usize, tuple: &[u8], key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<()> {
        value.extend_from_slice(&self.value_header);
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        let encoded = self.encode_value(skip, tuple, &mut places, value);
        let encoded =
            encoded.and_then(|()| if self.key.is_empty() { Ok(()) } else { self.encode_key(tuple, &places, key) });
        self.places = places;
        encoded.map_err(|(column, bad)| {
            self.failed = (column != usize::MAX).then_some(column);
            self.explain(column, bad)
        })
    }

    #[inline]
    fn encode_value(
        &self,
        skip: usize,
        tuple: &[u8],
        places: &mut Vec<(usize, usize)>,
        value: &mut Vec<u8>,
    ) -> Result<(), (usize, Bad)> {
        let mut rest = tuple;
        let count = u16::from_be_bytes(take(&mut rest).map_err(|bad| (usize::MAX, bad))?);
        if usize::from(count) != self.columns.len() + skip {
            return Err((usize::MAX, Bad::Length));
        }
        for _ in 0..skip {
            let length = i32::from_be_bytes(take(&mut rest).map_err(|bad| (usize::MAX, bad))?);
            rest = rest.get(usize::try_from(length).unwrap_or(0)..).ok_or((usize::MAX, Bad::Length))?;
        }
        for (at, step) in self.columns.iter().enumerate() {
            let length = i32::from_be_bytes(take(&mut rest).map_err(|bad| (at, bad))?);
            let begin = tuple.len() - rest.len();
            let Ok(length) = usize::try_from(length) else {
                if step.not_null {
                    return Err((at, Bad::Null));
                }
                value.push(0);
                places.push((begin, usize::MAX));
                continue;
            };
            let (field, tail) = rest.split_at_checked(length).ok_or((at, Bad::Length))?;
            rest = tail;
            let put = if step.nullable {
                step.transcoder.put_nullable(field, value)
            } else {
                step.transcoder.put(field, value)
            };
            put.map_err(|bad| (at, bad))?;
            places.push((begin, length));
        }
        if rest.is_empty() { Ok(()) } else { Err((usize::MAX, Bad::Length)) }
    }

    #[inline]
    fn encode_key(&self, tuple: &[u8], places: &[(usize, usize)], key: &mut Vec<u8>) -> Result<(), (usize, Bad)> {
        key.extend_from_slice(&self.key_header);
        for (at, transcoder) in &self.key {
            let place = places.get(*at).and_then(|(begin, length)| tuple.get(*begin..begin.checked_add(*length)?));
            let field = place.ok_or((*at, Bad::Null))?;
            transcoder.put(field, key).map_err(|bad| (*at, bad))?;
        }
        Ok(())
    }

    #[cold]
    fn explain(&self, column: usize, bad: Bad) -> Error {
        let Some(step) = self.columns.get(column) else {
            return Error::new(Kind::Row, "a row is malformed: it has not the fields that were asked for")
                .object(&self.table);
        };
        let quoted = postgres_protocol::escape::escape_identifier(&step.name);
        let find =
            |condition: &str| format!("find the rows with: SELECT * FROM {} WHERE {quoted} {condition}", self.table);
        let malformed = || "is something between us and PostgreSQL that rewrites answers?".to_owned();
        let (what, hint) = match bad {
            Bad::Length | Bad::Content => ("a value is not what its type can hold", malformed()),
            Bad::Utf8 => ("a text is not UTF-8", malformed()),
            Bad::NotFinite => (
                "a value is NaN or infinite, which a decimal cannot hold",
                format!(
                    "set nan.handling.mode = \"null\", or columns.cast = [\"{}:string\"]; {}",
                    step.name,
                    find("IN ('NaN', 'Infinity', '-Infinity')")
                ),
            ),
            Bad::Scale => ("a value has more digits after the point than its column is declared with", malformed()),
            Bad::TooLate => {
                ("a date or timestamp is later than 64 bits of microseconds since 1970 hold", find("> '294247-01-10'"))
            }
            Bad::Dimensions => (
                "an array has other dimensions than its column is declared with, which Avro's cannot have",
                format!(
                    "set columns.cast = [\"{}:json\"] for it; find the rows with: SELECT array_ndims({quoted}), * FROM {}",
                    step.name, self.table
                ),
            ),
            Bad::Retyped => (
                "a composite's fields are of other types than a moment ago",
                "was its type altered? it is read again with the new description".to_owned(),
            ),
            Bad::Infinite => (
                "a date or timestamp is infinite, and infinity.handling.mode is \"error\"",
                find("IN ('infinity', '-infinity')"),
            ),
            Bad::TooLong => (
                "an interval is longer than 64 bits of microseconds hold",
                format!("set columns.cast = [\"{}:string\"] for it", step.name),
            ),
            Bad::TooManyDimensions => (
                "a sparse vector has more dimensions than the 32,767 that Debezium's record of it counts",
                format!("set columns.cast = [\"{}:text\"] for it", step.name),
            ),
            Bad::NoBit => (
                "a bit string is empty, which the boolean that one bit becomes cannot say",
                match step.transcoder {
                    Transcoder::Array { .. } | Transcoder::Composite { .. } => {
                        format!("set columns.cast = [\"{}:text\"] for it", step.name)
                    }
                    _ => format!("set columns.cast = [\"{}:text\"] for it; {}", step.name, find("= ''")),
                },
            ),
            Bad::Null => ("a value is NULL in a column that is NOT NULL", find("IS NULL")),
        };
        // Read again with a description of its own snapshot, a composite is what it was described as.
        let kind = if bad == Bad::Retyped { Kind::Changed } else { Kind::Row };
        Error::new(kind, format!("column {quoted}: {what}")).object(&self.table).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Value;
    use proptest::prelude::*;

    use super::*;
    use crate::avro::Adjustment;
    use crate::poll::TableName;
    use crate::postgres::{Column, Type};

    fn column(attnum: i16, name: &str, type_: &str, typmod: i32, not_null: bool) -> Column {
        let type_ = Type::built_in(0, type_);
        Column {
            attnum,
            name: name.into(),
            not_null,
            declared: type_.name.clone(),
            type_,
            typmod,
            default: None,
            expression: None,
            cast: None,
        }
    }

    pub(super) fn encoder() -> Encoder {
        let columns = vec![
            column(1, "id", "int8", -1, true),
            column(2, "name", "text", -1, false),
            column(3, "total", "numeric", ((12 << 16) | 2) + 4, false),
            column(4, "at", "timestamptz", -1, true),
        ];
        let names = RecordNames::new("shop", &TableName::new("public", "orders"), Adjustment::Avro);
        let mut encoder = Encoder::new(&names, &Description { columns, key: vec![0] }, &Settings::default()).unwrap();
        encoder.set_ids(Some(1), 258);
        encoder
    }

    pub(super) fn tuple(fields: &[Option<&[u8]>]) -> Vec<u8> {
        let mut tuple = (fields.len() as u16).to_be_bytes().to_vec();
        for field in fields {
            match field {
                None => tuple.extend((-1_i32).to_be_bytes()),
                Some(bytes) => {
                    tuple.extend((bytes.len() as i32).to_be_bytes());
                    tuple.extend_from_slice(bytes);
                }
            }
        }
        tuple
    }

    #[test]
    fn a_row_decodes_with_the_library_to_what_it_was() {
        let mut encoder = encoder();
        let total = [0_u16, 2, 0, 0, 0, 0, 0, 2, 0, 12, 13, 72].map(|byte| byte as u8);
        let row = tuple(&[Some(&7_i64.to_be_bytes()), None, Some(&total), Some(&0_i64.to_be_bytes())]);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        encoder.encode(&row, &mut key, &mut value).unwrap();
        assert_eq!(key, [0, 0, 0, 0, 1, 14]);
        assert_eq!(value[..5], [0, 0, 0, 1, 2]);
        let schema = apache_avro::Schema::parse_str(encoder.value_schema()).unwrap();
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
        let decoded = reader.read_value(&mut &value[5..]).unwrap();
        let Value::Record(fields) = decoded else { panic!("not a record") };
        assert_eq!(fields[0].1, Value::Long(7));
        assert_eq!(fields[1].1, Value::Union(0, Box::new(Value::Null)));
        assert!(
            matches!(&fields[2].1, Value::Union(1, total) if matches!(&**total, Value::Decimal(_))),
            "{:?}",
            fields[2]
        );
        assert_eq!(fields[3].1, Value::TimestampMicros(946_684_800_000_000));
    }

    #[test]
    fn the_schema_is_as_java_prints_it() {
        let schema = encoder().value_schema().to_owned();
        assert!(schema.starts_with(r#"{"type":"record","name":"Value","namespace":"shop.public.orders","fields":[{"name":"id","type":{"type":"long","strandline.type":"int8"}},{"name":"name","type":["null",{"type":"string","strandline.type":"text"}],"default":null}"#), "{schema}");
        assert!(schema.ends_with(r#"],"connect.name":"shop.public.orders.Value"}"#), "{schema}");
    }

    #[test]
    fn a_row_that_cannot_be_encoded_names_its_column_and_how_to_find_it() {
        let mut encoder = encoder();
        let nan = [0, 0, 0, 0, 0xc0, 0, 0, 0];
        let row = tuple(&[Some(&7_i64.to_be_bytes()), None, Some(&nan), Some(&0_i64.to_be_bytes())]);
        let error = encoder.encode(&row, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::Row);
        assert!(error.report().contains("public.orders: column \"total\""), "{error:?}");
        assert!(error.report().contains("WHERE \"total\" IN ('NaN'"), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = encoder().encode(&bytes, &mut Vec::new(), &mut Vec::new());
        }

        #[test]
        fn no_fields_make_it_panic(a in proptest::collection::vec(any::<u8>(), 0..20), b in proptest::collection::vec(any::<u8>(), 0..40)) {
            let row = tuple(&[Some(&a), Some(&b), Some(&b), Some(&a)]);
            let _ = encoder().encode(&row, &mut Vec::new(), &mut Vec::new());
            for type_ in ["bool", "interval", "timetz", "jsonb", "uuid", "numeric", "money", "char", "date"] {
                let names = RecordNames::new("p", &TableName::new("s", "t"), Adjustment::Avro);
                let description = Description { columns: vec![column(1, "c", type_, -1, true)], key: vec![0] };
                let mut encoder = Encoder::new(&names, &description, &Settings::default()).unwrap();
                let _ = encoder.encode(&tuple(&[Some(&b)]), &mut Vec::new(), &mut Vec::new());
            }
        }
    }
}
