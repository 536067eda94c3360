//! Avro defaults of columns that are NOT NULL, from PostgreSQL's constant ones: with a default, a registry that asks for
//! backward compatibility takes a column that is added. What is computed (`now()`, a sequence) has none that would be true.

use num_bigint::BigInt;
use serde_json::Value;

use super::attribute::Schema;
use super::transcode::Transcoder;

/// The default in Avro's JSON; none where it is not constant, or of a type for which constants are rare.
pub(super) fn default(expression: &str, schema: &Schema, transcoder: &Transcoder) -> Option<Value> {
    let constant = constant(expression)?;
    let number = || constant.parse::<i64>().ok();
    match transcoder {
        Transcoder::Bool => constant.parse::<bool>().ok().map(Value::from),
        Transcoder::Int2 => number().filter(|number| i16::try_from(*number).is_ok()).map(Value::from),
        Transcoder::Int4 => number().filter(|number| i32::try_from(*number).is_ok()).map(Value::from),
        Transcoder::Int8 => number().map(Value::from),
        Transcoder::Float4 | Transcoder::Float8 => {
            constant.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from)
        }
        Transcoder::Decimal { scale } => decimal(&constant, *scale),
        // Texts of other meanings, such as JSON's, are not what the literal says.
        Transcoder::Text if !schema.get("connect.name").is_some_and(|name| name != "io.debezium.data.Enum") => {
            Some(constant.into())
        }
        _ => None,
    }
}

/// The literal of `7`, `'x'::text`, `'-1'::integer` or `(0)::numeric`, as PostgreSQL prints constants.
fn constant(expression: &str) -> Option<String> {
    if let Some(quoted) = expression.strip_prefix('\'') {
        let mut text = String::new();
        let mut rest = quoted.chars();
        while let Some(one) = rest.next() {
            if one == '\'' {
                match rest.clone().next() {
                    Some('\'') => drop(rest.next()),
                    None => return Some(text),
                    // Padded and cut types store something else than the literal; a cast of a cast is no constant.
                    Some(':') => {
                        let type_ = rest.as_str().strip_prefix("::")?;
                        let plain = type_.chars().all(|one| one.is_alphanumeric() || " _.\"".contains(one));
                        return (plain && type_ != "bpchar" && type_ != "character").then_some(text);
                    }
                    Some(_) => return None,
                }
            }
            text.push(one);
        }
        return None;
    }
    let bare = match expression.strip_prefix('(') {
        Some(inner) => inner.split_once(")::")?.0,
        None => expression,
    };
    let numeric = bare.chars().all(|one| one.is_ascii_digit() || ".-+e".contains(one));
    (numeric || bare == "true" || bare == "false").then(|| bare.to_owned())
}

/// The unscaled value's bytes, each as the character of its number.
fn decimal(constant: &str, scale: u16) -> Option<Value> {
    let (whole, fraction) = constant.split_once('.').unwrap_or((constant, ""));
    let digits = fraction.trim_end_matches('0');
    let zeros = usize::from(scale).checked_sub(digits.len())?;
    let unscaled: BigInt = format!("{whole}{digits}{}", "0".repeat(zeros)).parse().ok()?;
    Some(unscaled.to_signed_bytes_be().into_iter().map(char::from).collect::<String>().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::attribute::avro;

    #[test]
    fn constants_become_defaults_and_what_is_computed_does_not() {
        let text = avro("string", None);
        for (expression, transcoder, expected) in [
            ("7", Transcoder::Int4, Some(Value::from(7))),
            ("'-1'::integer", Transcoder::Int4, Some((-1).into())),
            ("99999999999", Transcoder::Int4, None),
            ("true", Transcoder::Bool, Some(true.into())),
            ("1.5", Transcoder::Float8, Some(1.5.into())),
            ("'NaN'::double precision", Transcoder::Float8, None),
            ("0", Transcoder::Decimal { scale: 2 }, Some("\0".into())),
            ("(1)::numeric", Transcoder::Decimal { scale: 2 }, Some("d".into())),
            ("-0.01", Transcoder::Decimal { scale: 2 }, Some("\u{ff}".into())),
            ("0.001", Transcoder::Decimal { scale: 2 }, None),
            ("'it''s'::text", Transcoder::Text, Some("it's".into())),
            ("'new'::public.state", Transcoder::Text, Some("new".into())),
            ("'ab'::bpchar", Transcoder::Text, None),
            ("('a'::text || 'b'::text)", Transcoder::Text, None),
            ("'a'::text || 'b'::text", Transcoder::Text, None),
            ("now()", Transcoder::Timestamp, None),
            ("nextval('t_id_seq'::regclass)", Transcoder::Int8, None),
            ("CURRENT_USER", Transcoder::Text, None),
            ("-", Transcoder::Int4, None),
            ("'", Transcoder::Text, None),
            ("(", Transcoder::Text, None),
        ] {
            assert_eq!(default(expression, &text, &transcoder), expected, "{expression}");
        }
        let json = avro("string", Some("io.debezium.data.Json"));
        assert_eq!(default("'{}'::json", &json, &Transcoder::Text), None);
    }
}
