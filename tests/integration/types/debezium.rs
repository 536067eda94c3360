//! What `profile = "debezium"` makes of literals, where that is another value than by default. The geometric ones' binary is
//! read off OGC's layout: 01 for little-endian, 02000000 for a line or 03000000 for a polygon of one ring, the number of points, each
//! as two doubles.

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
];
