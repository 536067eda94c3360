//! The pure hot path: one binary COPY tuple into Avro key and value, without a server. `cargo bench --bench transcode`.

#![allow(clippy::unwrap_used)]
#![allow(missing_docs)] // criterion's own items

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strandline::avro::{Encoder, RecordNames, Settings};
use strandline::poll::TableName;
use strandline::postgres::{Column, Description, Type};

/// A column's type and a value of it as COPY sends it.
type Field = (&'static str, i32, Vec<u8>);

fn narrow() -> Vec<Field> {
    vec![
        ("int8", -1, 4_711_i64.to_be_bytes().to_vec()),
        ("int4", -1, 123_456_i32.to_be_bytes().to_vec()),
        ("numeric", numeric_of(12, 2), numeric(&[1234, 5600], 2)),
        ("text", -1, b"note 711".to_vec()),
        ("timestamptz", -1, 820_454_400_000_000_i64.to_be_bytes().to_vec()),
    ]
}

fn wide() -> Vec<Field> {
    let mut fields = vec![("int8", -1, 4_711_i64.to_be_bytes().to_vec())];
    for at in 1..=29 {
        fields.push(match at % 8 {
            0 => ("int4", -1, 123_456_i32.to_be_bytes().to_vec()),
            1 => ("int8", -1, 123_456_789_012_i64.to_be_bytes().to_vec()),
            2 => ("numeric", numeric_of(18, 4), numeric(&[1234, 5678], 4)),
            3 => ("text", -1, vec![b'x'; 192]),
            4 => ("timestamptz", -1, 820_454_400_000_000_i64.to_be_bytes().to_vec()),
            5 => ("uuid", -1, (0..16).collect()),
            6 => ("float8", -1, 1.5_f64.to_be_bytes().to_vec()),
            _ => ("bool", -1, vec![1]),
        });
    }
    fields
}

/// `numeric(precision, scale)`'s modifier.
fn numeric_of(precision: i32, scale: i32) -> i32 {
    (precision << 16 | scale) + 4
}

/// A positive number by its digits to base 10,000, the first before the point.
fn numeric(digits: &[u16], scale: u16) -> Vec<u8> {
    let head = [digits.len() as u16, 0, 0, scale];
    head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
}

fn encoder(fields: &[Field]) -> Encoder {
    let column = |(at, (type_, typmod, _)): (usize, &Field)| Column {
        attnum: at as i16 + 1,
        name: format!("c{at}"),
        not_null: true,
        declared: (*type_).to_owned(),
        type_: Type::built_in(0, type_),
        typmod: *typmod,
        default: None,
        expression: None,
        cast: None,
    };
    let description = Description { columns: fields.iter().enumerate().map(column).collect(), key: vec![0] };
    let names = RecordNames::new("bench", &TableName::new("public", "t"), Default::default());
    Encoder::new(&names, &description, &Settings::default()).unwrap()
}

fn tuple(fields: &[Field]) -> Vec<u8> {
    let mut tuple = (fields.len() as u16).to_be_bytes().to_vec();
    for (_, _, value) in fields {
        tuple.extend((value.len() as u32).to_be_bytes());
        tuple.extend(value);
    }
    tuple
}

fn transcode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transcode");
    for (name, fields) in [("narrow", narrow()), ("wide", wide())] {
        let (mut encoder, tuple) = (encoder(&fields), tuple(&fields));
        let (mut key, mut value) = (Vec::new(), Vec::new());
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                key.clear();
                value.clear();
                encoder.encode(black_box(&tuple), &mut key, &mut value).unwrap();
                black_box((&key, &value));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, transcode);
criterion_main!(benches);
