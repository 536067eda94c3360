//! A user's SELECT, as far as it can be judged without a server; the rest is the server's word when it describes it.

/// The statement without white space and semicolons around it. An error says what would be right.
///
/// Only what a person is likely to write by mistake is named here. What is wrapped as a derived table, in a transaction that
/// can only read, and parsed by the server as one statement, cannot do more than a SELECT.
pub(super) fn tidy(text: &str) -> Result<String, String> {
    let words = blank(text);
    let end = words.trim_end_matches(|one: char| one.is_whitespace() || one == ';').len();
    let query = text.get(..end).unwrap_or(text).trim();
    let words = words.get(..end).unwrap_or_default();
    if words.trim().is_empty() {
        return Err("one SELECT".to_owned());
    }
    if words.contains(';') {
        return Err("one statement; a semicolon stands between two".to_owned());
    }
    let first: String = words
        .trim_start_matches(|one: char| one.is_whitespace() || one == '(')
        .chars()
        .take_while(|one| one.is_alphanumeric() || *one == '_')
        .collect();
    match first.to_ascii_uppercase().as_str() {
        "SELECT" | "WITH" | "VALUES" | "TABLE" => Ok(query.to_owned()),
        _ => Err(format!("a SELECT (or WITH, VALUES, TABLE); this one begins with `{first}`")),
    }
}

/// The text with comments as spaces, literals and quoted names as `_`, byte for byte: what is left are words and signs.
pub fn blank(text: &str) -> String {
    let mut blanked = text.as_bytes().to_vec();
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let (length, blank) = match rest {
            [b'-', b'-', ..] => (rest.iter().position(|one| *one == b'\n').unwrap_or(rest.len()), b' '),
            [b'/', b'*', ..] => (comment(rest), b' '),
            [quote @ (b'\'' | b'"'), ..] => {
                let escapes = *quote == b'\'' && at > 0 && matches!(bytes.get(at - 1), Some(b'e' | b'E'));
                (quoted(rest, *quote, escapes), b'_')
            }
            [b'$', ..] => (dollar(rest), b'_'),
            _ => (0, b' '),
        };
        for one in blanked.iter_mut().skip(at).take(length) {
            *one = blank;
        }
        at += length.max(1);
    }
    // Only whole sequences of ASCII delimiters were replaced, from one to the next: what is left is text still.
    String::from_utf8(blanked).unwrap_or_default()
}

/// PostgreSQL's comments nest.
fn comment(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn quoted(text: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while let Some(one) = text.get(at) {
        match one {
            b'\\' if escapes => at += 2,
            one if *one == quote && text.get(at + 1) == Some(&quote) => at += 2,
            one if *one == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// `$tag$…$tag$`; a `$1` is no quote.
fn dollar(text: &[u8]) -> usize {
    let tag = text.iter().skip(1).take_while(|one| one.is_ascii_alphanumeric() || **one == b'_').count() + 2;
    let Some(open) = text.get(..tag).filter(|tag| tag.last() == Some(&b'$')) else { return 1 };
    if open.get(1).is_some_and(u8::is_ascii_digit) {
        return 1;
    }
    let rest = text.get(tag..).unwrap_or_default();
    rest.windows(tag).position(|window| window == open).map_or(text.len(), |at| tag + at + tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_is_taken_without_what_follows_it() {
        for query in
            ["SELECT 1", "with a as (select 1) table a", "(SELECT 1) UNION SELECT 2", "VALUES (1)", "-- c\nSELECT 1"]
        {
            assert_eq!(tidy(&format!("  {query} ;\n; ")).unwrap(), query.trim());
        }
        assert_eq!(tidy("SELECT 1; -- the end").unwrap(), "SELECT 1");
        for query in [
            "SELECT ';'",
            "SELECT \"a;b\" FROM t",
            "SELECT /* ; /* ; */ */ 1",
            "SELECT $x$;$x$",
            "SELECT E'\\';'",
            "SELECT $$;$$, 'é;'",
        ] {
            assert_eq!(tidy(query).unwrap(), query, "{query}");
        }
    }

    #[test]
    fn what_is_no_single_select_is_refused_with_the_reason() {
        for (query, needs) in [
            ("", "one SELECT"),
            (" ; -- nothing", "one SELECT"),
            ("SELECT 1; SELECT 2", "one statement"),
            ("DELETE FROM t", "begins with `DELETE`"),
            ("EXPLAIN SELECT 1", "begins with `EXPLAIN`"),
            ("'unclosed", "a SELECT"),
            ("é", "a SELECT"),
        ] {
            assert!(tidy(query).unwrap_err().contains(needs), "{query}: {:?}", tidy(query));
        }
    }
}
