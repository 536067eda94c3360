//! Every type with literals, and what each becomes.

/// A declared type, and literals with what they become. Infinities are PostgreSQL's own extremes.
pub(super) const TABLE: &[(&str, &[(&str, &str)])] = &[
    ("bool", &[("true", "true"), ("false", "false")]),
    ("int2", &[("-32768", "int -32768"), ("32767", "int 32767")]),
    ("int4", &[("-2147483648", "int -2147483648"), ("0", "int 0"), ("2147483647", "int 2147483647")]),
    (
        "int8",
        &[("-9223372036854775808", "long -9223372036854775808"), ("9223372036854775807", "long 9223372036854775807")],
    ),
    ("oid", &[("0", "long 0"), ("4294967295", "long 4294967295")]),
    (
        "float4",
        &[
            ("'-Infinity'", "float -inf"),
            ("'3.4028235e38'", "float 3.4028235e38"),
            ("'-3.4028235e38'", "float -3.4028235e38"),
            ("'-0'", "float -0"),
            ("1.5", "float 1.5"),
            ("'NaN'", "float NaN"),
            ("'Infinity'", "float inf"),
            ("'1e-45'", "float 1e-45"),
        ],
    ),
    (
        "float8",
        &[
            ("'Infinity'", "double inf"),
            ("'NaN'", "double NaN"),
            ("'-0'", "double -0"),
            ("-1.7976931348623157e308", "double -1.7976931348623157e308"),
            ("0.1", "double 0.1"),
            ("'-Infinity'", "double -inf"),
            ("'5e-324'", "double 5e-324"),
            ("1.7976931348623157e308", "double 1.7976931348623157e308"),
        ],
    ),
    (
        "numeric(12,2)",
        &[
            ("0", "decimal 00"),
            ("1.5", "decimal 0096"),
            ("-0.01", "decimal ff"),
            ("9999999999.99", "decimal 00e8d4a50fff"),
            ("-9999999999.99", "decimal ff172b5af001"),
        ],
    ),
    ("numeric(40,0)", &[("1e39", "decimal 02f050fe938943acc45f65568000000000")]),
    ("numeric(3,-2)", &[("12345", "decimal 300c")]),
    ("numeric(2,4)", &[("0.0012", "decimal 0c")]),
    (
        "numeric",
        &[
            ("0", "\"0\""),
            ("1.50", "\"1.50\""),
            ("'NaN'", "\"NaN\""),
            ("'-Infinity'", "\"-Infinity\""),
            ("-1e-20", "\"-0.00000000000000000001\""),
            ("123456789012345678901234567890.5", "\"123456789012345678901234567890.5\""),
        ],
    ),
    (
        "money",
        &[
            ("'92233720368547758.07'", "decimal 7fffffffffffffff"),
            ("0", "decimal 00"),
            ("'-92233720368547758.08'", "decimal 8000000000000000"),
            ("12.34", "decimal 04d2"),
        ],
    ),
    ("text", &[("E'a\\tb\\n\\\\\"'", "\"a\tb\n\\\"\""), ("''", "\"\""), ("'größe ☃'", "\"größe ☃\"")]),
    ("varchar(3)", &[("''", "\"\""), ("'ß☃ '", "\"ß☃ \""), ("'abc'", "\"abc\"")]),
    ("char(4)", &[("''", "\"    \""), ("'☃☃☃☃'", "\"☃☃☃☃\""), ("'ab'", "\"ab  \"")]),
    ("name", &[("''", "\"\""), ("'pg_class'", "\"pg_class\"")]),
    ("\"char\"", &[("'x'", "\"x\""), ("''", "\"\"")]),
    ("bytea", &[("''", "bytes "), ("'\\x00ff'", "bytes 00ff")]),
    (
        "date",
        &[
            ("'1970-01-01'", "date 0"),
            ("'4713-01-01 BC'", "date -2440550"),
            ("'5874897-12-31'", "date 2145042905"),
            ("'infinity'", "date 2147483647"),
            ("'-infinity'", "date -2147483648"),
        ],
    ),
    ("time", &[("'00:00'", "time 0"), ("'24:00'", "time 86400000000"), ("'12:34:56.000001'", "time 45296000001")]),
    (
        "timestamp",
        &[
            ("'294246-12-31 23:59:59.999999'", "timestamp 9223371244799999999"),
            ("'2000-01-01 00:00:00.000001'", "timestamp 946684800000001"),
            ("'infinity'", "timestamp 9223372036854775807"),
            ("'-infinity'", "timestamp -9223372036854775808"),
            ("'4713-01-01 BC'", "timestamp -210863520000000000"),
        ],
    ),
    (
        "timestamptz",
        &[
            ("'infinity'", "timestamp 9223372036854775807"),
            ("'-infinity'", "timestamp -9223372036854775808"),
            ("'4713-01-01 00:00+00 BC'", "timestamp -210863520000000000"),
            ("'1970-01-01 01:00+01'", "timestamp 0"),
            ("'2026-07-01 12:00 Europe/Berlin'", "timestamp 1782900000000000"),
        ],
    ),
    (
        "timetz",
        &[
            ("'00:00+15:59:59'", "\"00:00:00+15:59:59\""),
            ("'12:34:56.5+02'", "\"12:34:56.5+02:00\""),
            ("'24:00-15:59:59'", "\"24:00:00-15:59:59\""),
        ],
    ),
    (
        "interval",
        &[
            ("'178000000 years'", "\"P178000000Y\""),
            ("'-178000000 years'", "\"P-178000000Y\""),
            ("'-1 mon 1 day -00:00:00.000001'", "\"P-1M1DT-0.000001S\""),
            ("'2147483647 days 1000:00:00.000001'", "\"P2147483647DT1000H0.000001S\""),
            ("'1 year 2 mons 3 days 04:05:06.5'", "\"P1Y2M3DT4H5M6.5S\""),
            ("'0'", "\"PT0S\""),
            ("'-1 day'", "\"P-1D\""),
        ],
    ),
    (
        "uuid",
        &[
            ("'00000000-0000-0000-0000-000000000000'", "uuid 00000000-0000-0000-0000-000000000000"),
            ("'ffffffff-ffff-ffff-ffff-ffffffffffff'", "uuid ffffffff-ffff-ffff-ffff-ffffffffffff"),
            ("'00000000-0000-0000-0000-00000000000f'", "uuid 00000000-0000-0000-0000-00000000000f"),
        ],
    ),
    ("json", &[("'null'", "\"null\""), ("'[]'", "\"[]\""), ("'{ \"a\":  1 }'", "\"{ \"a\":  1 }\"")]),
    (
        "jsonb",
        &[("'null'", "\"null\""), ("'{}'", "\"{}\""), ("'1e3'", "\"1000\""), ("'{ \"a\":  1 }'", "\"{\"a\": 1}\"")],
    ),
    ("mood", &[("'so-so'", "\"so-so\""), ("'größe'", "\"größe\"")]),
    ("int4[]", &[("'{}'", "[]"), ("'{1,NULL,-1}'", "[int 1, null, int -1]"), ("'[5:6]={7,8}'", "[int 7, int 8]")]),
    ("text[]", &[("ARRAY['a', NULL, '']", "[\"a\", null, \"\"]")]),
    ("numeric(5,1)[]", &[("ARRAY[1.5, NULL]", "[decimal 0f, null]")]),
    ("timestamptz[]", &[("ARRAY['infinity'::timestamptz]", "[timestamp 9223372036854775807]")]),
    ("mood[]", &[("ARRAY['so-so'::mood]", "[\"so-so\"]")]),
    ("int2vector", &[("''", "[]"), ("'1 2'", "[int 1, int 2]")]),
    ("oidvector", &[("''", "[]"), ("'1 2'", "[long 1, long 2]")]),
    ("int4[][]", &[("'{{1,2},{NULL,4}}'", "[[int 1, int 2], [null, int 4]]"), ("'{}'", "[]")]),
    ("text[][][]", &[("'{{{a}}}'", "[[[\"a\"]]]")]),
    ("bit", &[("B'1'", "true"), ("B'0'", "false")]),
    ("bit(10)", &[("B'1111111111'", "bytes ff03"), ("B'1000000001'", "bytes 0102"), ("B'0000000000'", "bytes 0000")]),
    ("varbit", &[("B''", "\"\""), ("B'0110'", "\"0110\"")]),
    ("varbit(5)", &[("B'01100'", "\"01100\"")]),
    ("bit(2)[]", &[("ARRAY[B'10']", "[bytes 02]")]),
    ("xid", &[("'0'", "long 0"), ("'4294967295'", "long 4294967295")]),
    ("cid", &[("'0'", "long 0"), ("'4294967295'", "long 4294967295"), ("'7'", "long 7")]),
    ("xid8", &[("'0'", "\"0\""), ("'18446744073709551615'", "\"18446744073709551615\"")]),
    ("tid", &[("'(0,0)'", "\"(0,0)\""), ("'(4294967295,65535)'", "\"(4294967295,65535)\"")]),
    (
        "pg_lsn",
        &[("'FFFFFFFF/FFFFFFFF'", "\"FFFFFFFF/FFFFFFFF\""), ("'16/B374D848'", "\"16/B374D848\""), ("'0/0'", "\"0/0\"")],
    ),
    (
        "inet",
        &[
            ("'0.0.0.0/0'", "\"0.0.0.0/0\""),
            ("'255.255.255.255'", "\"255.255.255.255\""),
            ("'::'", "\"::\""),
            ("'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0'", "\"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0\""),
            ("'10.0.0.1/8'", "\"10.0.0.1/8\""),
            ("'10.0.0.1'", "\"10.0.0.1\""),
            ("'::ffff:1.2.3.4/128'", "\"::ffff:1.2.3.4\""),
        ],
    ),
    (
        "cidr",
        &[
            ("'0.0.0.0/0'", "\"0.0.0.0/0\""),
            ("'::/0'", "\"::/0\""),
            ("'10.0.0.0/8'", "\"10.0.0.0/8\""),
            ("'::1'", "\"::1/128\""),
        ],
    ),
    ("inet[]", &[("'{::1,NULL}'", "[\"::1\", null]")]),
    (
        "macaddr",
        &[
            ("'00:00:00:00:00:00'", "\"00:00:00:00:00:00\""),
            ("'ff:ff:ff:ff:ff:ff'", "\"ff:ff:ff:ff:ff:ff\""),
            ("'08:00:2b:01:02:03'", "\"08:00:2b:01:02:03\""),
        ],
    ),
    (
        "macaddr8",
        &[
            ("'ff:ff:ff:ff:ff:ff:ff:ff'", "\"ff:ff:ff:ff:ff:ff:ff:ff\""),
            ("'08:00:2b:01:02:03:04:05'", "\"08:00:2b:01:02:03:04:05\""),
        ],
    ),
    ("xml", &[("''", "\"\""), ("'<a>ö</a>'", "\"<a>ö</a>\"")]),
    ("xml[]", &[("ARRAY['<a/>'::xml]", "[\"<a/>\"]")]),
    ("jsonpath", &[("'$.a[*]'", "\"$.\"a\"[*]\"")]),
    ("refcursor", &[("''", "\"\""), ("'c'", "\"c\"")]),
    (
        "point",
        &[
            ("'(NaN,-Infinity)'", "{x: double NaN, y: double -inf}"),
            ("'(0,1e300)'", "{x: double 0, y: double 1e300}"),
            ("'(1.5,-2)'", "{x: double 1.5, y: double -2}"),
        ],
    ),
    ("point[]", &[("ARRAY['(1,2)'::point]", "[{x: double 1, y: double 2}]")]),
    ("int4range[]", &[("ARRAY['[1,5)'::int4range, NULL, 'empty']", "[\"[1,5)\", null, \"empty\"]")]),
    ("box[]", &[("ARRAY['(1,1),(0,0)'::box]", "[\"(1,1),(0,0)\"]")]),
    ("pair", &[("ROW(1, 'a,\"b')", "{a: int 1, b: \"a,\"b\"}"), ("ROW(NULL, NULL)", "{a: null, b: null}")]),
    ("pair[]", &[("ARRAY[ROW(1, 'x')::pair, NULL]", "[{a: int 1, b: \"x\"}, null]")]),
    (
        "nest",
        &[(
            "ROW(ROW(1, NULL), 2.50, '{so-so}', '{{1}}')",
            "{so_so: {a: int 1, b: null}, so_so_2: decimal 00fa, moods: [\"so-so\"], deep: [[int 1]]}",
        )],
    ),
    ("mixed", &[("ROW(1, '[1,2)')", "\"(1,\"[1,2)\")\"")]),
    ("mixed[]", &[("ARRAY[NULL, ROW(1, '[1,2)')::mixed]", "\"{NULL,\"(1,\\\"[1,2)\\\")\"}\""), ("'{}'", "\"{}\"")]),
    ("hollow", &[("ROW()", "\"()\"")]),
    ("positive", &[("7", "int 7")]),
    ("square", &[("'{{1},{2}}'", "[[int 1], [int 2]]")]),
    ("prices", &[("'{1.25}'", "[decimal 7d]")]),
];

/// Types without a counterpart of their own: nothing is dropped, PostgreSQL's text arrives.
pub(super) const AS_TEXT: &[(&str, &[&str])] = &[
    ("box", &["'(1,1),(0,0)'", "'(Infinity,1),(-Infinity,NaN)'"]),
    ("lseg", &["'[(1,1),(0,0.1)]'", "'[(0,0),(0,0)]'"]),
    ("line", &["'{1,2,3}'", "'{0,-1,1e300}'"]),
    ("path", &["'[(1,1),(2,2)]'", "'((1,1),(2,2))'", "'[(0,0)]'"]),
    ("polygon", &["'((1,1),(2,2),(3,0))'", "'((0,0))'"]),
    ("circle", &["'<(1,1),2>'", "'<(0,0),0>'", "'<(0,0),Infinity>'"]),
    ("int4range", &["'empty'", "'[1,5)'", "'(,)'", "'[-2147483648,2147483647)'"]),
    ("int8range", &["'empty'", "'[-9223372036854775808,9223372036854775807)'", "'(,0]'"]),
    ("numrange", &["'empty'", "'(-Infinity,NaN]'", "'[1.50,)'"]),
    ("tsrange", &["'empty'", "'[-infinity,infinity]'", "'[2024-02-29 12:00,)'"]),
    ("tstzrange", &["'empty'", "'[2024-01-01 00:00+00,infinity)'", "'(,)'"]),
    ("daterange", &["'empty'", "'[4713-01-01 BC,5874897-12-31)'", "'[-infinity,infinity)'"]),
    ("int4multirange", &["'{}'", "'{[1,2),[5,)}'"]),
    ("int8multirange", &["'{}'", "'{(,)}'"]),
    ("nummultirange", &["'{}'", "'{[0.1,0.2],[NaN,NaN]}'"]),
    ("tsmultirange", &["'{}'", "'{[-infinity,infinity]}'"]),
    ("tstzmultirange", &["'{}'", "'{[2024-01-01 00:00+00,infinity)}'"]),
    ("datemultirange", &["'{}'", "'{[2024-01-01,2024-01-02),[2024-02-29,)}'"]),
    ("tsvector", &["''", "'a:1 b:2A'", "'''it s'':16383'"]),
    ("tsquery", &["''", "'a & !b'", "'''x y'' <-> z:*A'"]),
    ("regclass", &["'pg_catalog.pg_class'", "0", "4294967295::oid"]),
    ("regcollation", &["'pg_catalog.\"C\"'", "0"]),
    ("regconfig", &["'pg_catalog.simple'"]),
    ("regdictionary", &["'pg_catalog.simple'"]),
    ("regnamespace", &["'pg_catalog'", "0"]),
    ("regoper", &["'pg_catalog.||/'", "0"]),
    ("regoperator", &["'pg_catalog.+(int,int)'", "'-(NONE,int8)'"]),
    ("regproc", &["'pg_catalog.now'", "0"]),
    ("regprocedure", &["'pg_catalog.abs(int)'"]),
    ("regrole", &["'pg_monitor'", "0"]),
    ("regtype", &["'pg_catalog.int4'", "'timestamp with time zone'", "0"]),
    ("aclitem", &["'=r/pg_monitor'", "'pg_monitor=arwdDxt/pg_monitor'"]),
    ("pg_snapshot", &["'10:20:10,14'", "'1:1:'"]),
    ("txid_snapshot", &["'10:20:10,14'", "'1:1:'"]),
    ("pg_node_tree", &["(SELECT adbin FROM pg_catalog.pg_attrdef LIMIT 1)"]),
    ("pg_ndistinct", &["(SELECT stxdndistinct FROM pg_catalog.pg_statistic_ext_data LIMIT 1)"]),
    ("pg_dependencies", &["(SELECT stxddependencies FROM pg_catalog.pg_statistic_ext_data LIMIT 1)"]),
    ("pg_mcv_list", &["(SELECT stxdmcv FROM pg_catalog.pg_statistic_ext_data LIMIT 1)"]),
    // Values of these lie in indexes alone.
    ("gtsvector", &[]),
    ("pg_brin_bloom_summary", &[]),
    ("pg_brin_minmax_multi_summary", &[]),
];

/// What came with which major version.
pub(super) const SINCE: &[(&str, u32)] = &[("numeric(3,-2)", 15), ("numeric(2,4)", 15)];

pub(super) const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('so-so', 'größe');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN cents AS numeric(8,2);
    CREATE TYPE nest AS (\"so-so\" pair, \"so so\" cents, moods mood[], deep int[][]);
    CREATE TYPE mixed AS (a int, r int4range);
    CREATE TYPE hollow AS ();
    CREATE DOMAIN square AS int[][];
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN prices AS numeric(6,2)[];
    CREATE TABLE sampled (a int DEFAULT 7, b int);
    INSERT INTO sampled SELECT g % 3, g % 3 FROM generate_series(1, 100) g;
    CREATE STATISTICS sampled_both (ndistinct, dependencies, mcv) ON a, b FROM sampled;
    ANALYZE sampled;
";
