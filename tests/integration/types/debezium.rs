//! What `profile = "debezium"` makes of literals, where that is another value than by default. The geometric ones' binary is
//! read off OGC's layout: 01 for little-endian, 02000000 for a line or 03000000 for a polygon with the number of its
//! rings, the number of points, each as two doubles.

use super::OfExtension;

/// A declared type, and literals with what they become.
pub(super) const TABLE: &[(&str, &[(&str, &str)])] = &[
    (
        "box",
        &[(
            "'(1,0),(0,1)'",
            "{wkb: bytes 010300000001000000\
             05000000\
             000000000000f03f000000000000f03f\
             000000000000f03f0000000000000000\
             00000000000000000000000000000000\
             0000000000000000000000000000f03f\
             000000000000f03f000000000000f03f, srid: null, extensions: {type: \"box\"}}",
        )],
    ),
    (
        "lseg",
        &[(
            "'[(1,2),(0,-1)]'",
            "{wkb: bytes 010200000002000000\
             000000000000f03f0000000000000040\
             0000000000000000000000000000f0bf, srid: null, extensions: {type: \"lseg\"}}",
        )],
    ),
    (
        "path",
        &[
            (
                "'[(1,2),(0,-1)]'",
                "{wkb: bytes 010200000002000000\
                 000000000000f03f0000000000000040\
                 0000000000000000000000000000f0bf, srid: null, extensions: {closed: \"false\", type: \"path\"}}",
            ),
            (
                "'((1,2))'",
                "{wkb: bytes 010200000001000000\
                 000000000000f03f0000000000000040, srid: null, extensions: {closed: \"true\", type: \"path\"}}",
            ),
        ],
    ),
    (
        "polygon",
        &[(
            "'((0,0),(1,0),(1,1))'",
            "{wkb: bytes 010300000001000000\
             04000000\
             00000000000000000000000000000000\
             000000000000f03f0000000000000000\
             000000000000f03f000000000000f03f\
             00000000000000000000000000000000, srid: null, extensions: {type: \"polygon\"}}",
        )],
    ),
    (
        "circle",
        &[(
            "'<(1,2),0.5>'",
            "{center: {x: double 1, y: double 2, \
              wkb: bytes 0101000000000000000000f03f0000000000000040, srid: null}, radius: double 0.5}",
        )],
    ),
    ("line", &[("'{1,-2,0.5}'", "{a: double 1, b: double -2, c: double 0.5}")]),
    (
        "point",
        &[("'(1,2)'", "{x: double 1, y: double 2, wkb: bytes 0101000000000000000000f03f0000000000000040, srid: null}")],
    ),
    ("bit", &[("B'1'", "true"), ("B'0'", "false")]),
    ("bit(10)", &[("B'1000000001'", "bytes 0102"), ("B'0000000011'", "bytes 03"), ("B'0000000000'", "bytes ")]),
    ("varbit(1)", &[("B'1'", "true"), ("B'0'", "false")]),
    (
        "varbit(20)",
        &[("B'10000000000000001'", "bytes 010001"), ("B'00000000000000001'", "bytes 01"), ("B''", "bytes ")],
    ),
    ("varbit", &[("B'101'", "bytes 05"), ("B''", "bytes ")]),
    (
        "numeric",
        &[
            ("1.500", "{scale: int 1, value: bytes 0f}"),
            ("100", "{scale: int 0, value: bytes 64}"),
            ("-0.00012300", "{scale: int 6, value: bytes 85}"),
            ("0.00", "{scale: int 0, value: bytes 00}"),
            ("1e30", "{scale: int 0, value: bytes 0c9f2c9cd04674edea40000000}"),
        ],
    ),
    (
        "timestamp",
        &[
            ("'infinity'", "long 9223372036825200000"),
            ("'-infinity'", "long -9223372036832400000"),
            ("'1970-01-01 00:00:00.000001'", "long 1"),
        ],
    ),
    (
        "timestamp(3)",
        &[
            ("'infinity'", "long 9223372036825200"),
            ("'-infinity'", "long -9223372036832400"),
            ("'1970-01-01 00:00:00.001'", "long 1"),
        ],
    ),
    (
        "timestamptz",
        &[
            ("'infinity'", "\"infinity\""),
            ("'-infinity'", "\"-infinity\""),
            ("'2024-02-29 12:34:56+02'", "\"2024-02-29T10:34:56.000000Z\""),
            ("'2024-02-29 12:34:56.5+00'", "\"2024-02-29T12:34:56.500000Z\""),
        ],
    ),
    ("timestamptz(3)", &[("'2024-02-29 12:34:56.5+00'", "\"2024-02-29T12:34:56.500Z\"")]),
    ("timestamptz(0)", &[("'2024-02-29 12:34:56+00'", "\"2024-02-29T12:34:56Z\"")]),
    (
        "timetz",
        &[
            ("'12:34:56.5+02'", "\"10:34:56.5Z\""),
            ("'00:00+02'", "\"22:00:00Z\""),
            ("'24:00+00'", "\"24:00:00Z\""),
            ("'24:00-15:59:59'", "\"15:59:59Z\""),
        ],
    ),
    // Debezium counts on from a date that its driver has for infinity, which 32 bits do not hold: the extremes are kept.
    ("date", &[("'infinity'", "int 2147483647"), ("'-infinity'", "int -2147483648"), ("'1970-01-02'", "int 1")]),
    ("interval", &[("'1 mon 1 day'", "long 2716200000000")]),
];

/// Of extensions.
pub(super) const EXTENSIONS: &[OfExtension] = &[
    ("hstore", "hstore", &[("'a=>1'", "\"{\"a\":\"1\"}\"")]),
    ("vector", "vector", &[("'[0.1,-2]'", "[double 0.1, double -2]")]),
    (
        "vector",
        "sparsevec",
        &[(
            "'{1:0.1,3:-2}/5'",
            "{dimensions: int 5, vector: [{key: int 1, value: double 0.1}, {key: int 3, value: double -2}]}",
        )],
    ),
    (
        "postgis",
        "geometry",
        &[(
            "'SRID=4326;POINT(1 2)'",
            "{wkb: bytes 0101000020e6100000000000000000f03f0000000000000040, srid: int 4326, extensions: null}",
        )],
    ),
];

/// A type, a value that Debezium has no counterpart of, and what the refusal says.
pub(super) const REFUSED: &[(&str, &str, &str)] =
    &[("varbit(1)", "B''", "columns.cast = [\"c:text\"]"), ("numeric", "'NaN'", "columns.cast = [\"c:string\"]")];
