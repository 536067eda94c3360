//! YAML 1.2 with the place of every key; JSON, which is a part of it, by the same reader.

use figment::value::{Dict, Empty, Value};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::document::{Entry, Mistake, Node};

/// No configuration is deeper.
const DEPTH: usize = 16;

/// The tree of a YAML text.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Mistake> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    let mut root = None;
    loop {
        let (event, place) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            Event::DocumentStart(_) if root.is_none() => {}
            Event::DocumentStart(_) => return Err(mistake(place, "a second document: one connector a file")),
            event => root = Some(reader.node(event, place, DEPTH)?),
        }
    }
    match root {
        Some(Node::Table(entries)) => Ok(entries),
        // An empty file, or one of comments alone.
        None => Ok(Vec::new()),
        Some(Node::Value(value)) if is_null(&value) => Ok(Vec::new()),
        Some(Node::Value(_)) => Err(mistake((1, 1), "no table of keys")),
    }
}

/// The tree of a JSON text.
pub(super) fn read_json(text: &str) -> Result<Vec<Entry>, Mistake> {
    // Strictly first: YAML would take much that is not JSON.
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or_default().to_owned();
        return Err(Mistake { place: (error.line(), error.column()), message });
    }
    read(text)
}

fn mistake(place: (usize, usize), message: &str) -> Mistake {
    Mistake { place, message: message.to_owned() }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, (usize, usize)), Mistake> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, place(&span))),
            Some(Err(error)) => Err(mistake((error.marker().line(), error.marker().col() + 1), error.info())),
            None => Ok((Event::StreamEnd, (1, 1))),
        }
    }

    fn node(&mut self, event: Event<'a>, place: (usize, usize), depth: usize) -> Result<Node, Mistake> {
        let Some(depth) = depth.checked_sub(1) else { return Err(mistake(place, "tables nested too deep")) };
        match event {
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                Ok(Node::Value(if plain { resolve(&text) } else { text.as_ref().into() }))
            }
            Event::MappingStart(..) => self.table(depth).map(Node::Table),
            Event::SequenceStart(..) => self.list(depth).map(Node::Value),
            Event::Alias(_) => Err(mistake(place, "an alias (*name): write the value where it belongs")),
            _ => Err(mistake(place, "something that is no value")),
        }
    }

    fn table(&mut self, depth: usize) -> Result<Vec<Entry>, Mistake> {
        let mut entries = Vec::new();
        loop {
            let (event, place) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(mistake(place, "a key that is no text")),
            };
            let (event, at) = self.next()?;
            entries.push(Entry { name, place, node: self.node(event, at, depth)? });
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Mistake> {
        let mut list: Vec<Value> = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(list.into());
            }
            list.push(match self.node(event, place, depth)? {
                Node::Value(value) => value,
                // Refused later, by its key.
                Node::Table(_) => Value::from(Dict::new()),
            });
        }
    }
}

fn place(span: &Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

fn is_null(value: &Value) -> bool {
    matches!(value, Value::Empty(..))
}

/// A plain scalar by YAML's core schema: `no` and `on` are texts.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::from(Empty::None),
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    let numeric = text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.'));
    if let (true, Ok(integer)) = (numeric, text.parse::<i64>()) {
        return integer.into();
    }
    match text.parse::<f64>() {
        Ok(float) if numeric && text.contains(|one: char| one.is_ascii_digit()) => float.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        match read(&format!("a: {text}")).unwrap().remove(0).node {
            Node::Value(value) => value,
            Node::Table(_) => panic!("a table"),
        }
    }

    #[test]
    fn plain_texts_are_resolved_and_quoted_ones_are_not() {
        assert_eq!(value("5").to_i128(), Some(5));
        assert_eq!(value("true").to_bool(), Some(true));
        assert_eq!(value("1.5").to_f64(), Some(1.5));
        for text in ["no", "5s", "1_000", "shop", "1.2.3", "a:b", "inf"] {
            assert_eq!(value(text).as_str(), Some(text));
        }
        for (text, read) in [("'5'", "5"), ("\"true\"", "true"), ("!!str 5", "5"), ("|\n  x\n", "x\n")] {
            assert_eq!(value(text).as_str(), Some(read), "{text}");
        }
        assert!(is_null(&value("")));
    }

    #[test]
    fn every_key_has_its_place() {
        let entries = read("# ä\nname: x\ntopic:\n  ä: {b: 1}\n").unwrap();
        assert_eq!((entries[0].place, entries[1].place), ((2, 1), (3, 1)));
        let Node::Table(topic) = &entries[1].node else { panic!("no table") };
        assert_eq!(topic[0].place, (4, 3));
        let Node::Table(inner) = &topic[0].node else { panic!("no table") };
        assert_eq!(inner[0].place, (4, 7));
    }

    #[test]
    fn json_is_read_strictly_and_with_its_places() {
        let entries = read_json("{\n\t\"tables\": {\"include\": [\"a.*\", \"b\\/\\u00e9\"]}\n}\n").unwrap();
        assert_eq!(entries[0].place, (2, 2));
        let Node::Table(tables) = &entries[0].node else { panic!("no table") };
        let Node::Value(Value::Array(_, list)) = &tables[0].node else { panic!("no list") };
        assert_eq!(list[1].as_str(), Some("b/é"));
        let wrong = read_json("{\"a\": 'hunter2'}").unwrap_err();
        assert_eq!((wrong.place, wrong.message.as_str()), ((1, 7), "expected value"));
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_place() {
        for (text, place, message) in [
            ("- a\n", (1, 1), "no table of keys"),
            ("a: 1\n---\nb: 2\n", (2, 1), "a second document: one connector a file"),
            ("a: &x 1\nb: *x\n", (2, 4), "an alias (*name): write the value where it belongs"),
            ("[a]: 1\n", (1, 1), "a key that is no text"),
        ] {
            assert_eq!(read(text), Err(mistake(place, message)), "{text}");
        }
        assert!(read(&format!("a: {}", "{a: ".repeat(99))).is_err());
        assert!(read("a: \"hunter2\n").is_err_and(|mistake| !mistake.message.contains("hunter2")));
        assert_eq!(read("# nothing\n"), Ok(Vec::new()));
        assert_eq!(read(""), Ok(Vec::new()));
    }
}
