//! Reads the merged settings by key, each as the table of keys says, and collects what is wrong with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use figment::value::{Dict, Num, Value};

use super::key::{self, Takes};
use super::placeholder::{self, Lookup};
use super::problem::{Origin, Problem};
use super::secret::{Secret, redact};
use super::unit;

/// A value and who wrote it.
#[derive(Debug)]
pub(super) struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// Answers with a harmless value where a setting is wrong; [`Reader::finish`] then has problems, and the
/// configuration built from such answers is thrown away.
pub(super) struct Reader<'a> {
    settings: BTreeMap<String, Setting>,
    file: &'a Path,
    lookup: &'a Lookup<'a>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        settings: BTreeMap<String, Setting>,
        file: &'a Path,
        lookup: &'a Lookup<'a>,
        problems: Vec<Problem>,
    ) -> Self {
        let mut reader = Reader { settings, file, lookup, problems };
        reader.refuse_unknown();
        reader
    }

    /// What is wrong, if anything.
    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems
    }

    /// How environment variables are looked up.
    pub(super) fn lookup(&self) -> &'a Lookup<'a> {
        self.lookup
    }

    fn refuse_unknown(&mut self) {
        let unknown: Vec<String> = self.settings.keys().filter(|name| key::find(name).is_none()).cloned().collect();
        for name in unknown {
            let Some(setting) = self.settings.remove(&name) else { continue };
            if is_empty_table(&setting.value) && key::is_section(&name) {
                continue;
            }
            // The value is not shown: the key may be a misspelt secret.
            let found = "a key that is not known".to_owned();
            self.problems.push(Problem { message: key::instead_of(&name), key: name, origin: setting.origin, found });
        }
    }

    /// Whether somebody wrote the key.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.settings.get(key).is_some_and(|setting| setting.origin != Origin::Default)
    }

    /// Whether something is wrong with the key already.
    pub(super) fn refused(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// Where the key was written, for a message about another key.
    pub(super) fn origin(&self, key: &str) -> String {
        self.settings.get(key).map_or_else(|| Origin::Default.to_string(), |setting| setting.origin.to_string())
    }

    /// The parts of keys that come after `prefix`, in their order.
    pub(super) fn below(&self, prefix: &str) -> Vec<String> {
        self.settings.keys().filter_map(|key| key.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    /// Says that the key's value is wrong, or missing where nobody wrote one.
    pub(super) fn refuse(&mut self, key: &str, needs: impl Into<String>) {
        let (origin, found) = match self.settings.get(key) {
            Some(setting) if is_hidden(key) => (setting.origin.clone(), "a value that is not shown".to_owned()),
            Some(setting) => (setting.origin.clone(), describe(&setting.value)),
            None => (Origin::Whole(self.file.to_owned()), "nothing".to_owned()),
        };
        self.problems.push(Problem { key: key.to_owned(), origin, found, message: needs.into() });
    }

    fn refuse_value(&mut self, key: &str) {
        if let Some(known) = key::find(key) {
            self.refuse(key, known.takes.to_string());
        }
    }

    fn takes(&self, key: &str) -> Option<Takes> {
        key::find(key).map(|key| key.takes)
    }

    /// The text as it was written, placeholders and all.
    pub(super) fn raw(&mut self, key: &str) -> Option<String> {
        let takes = self.takes(key);
        let text = match &self.settings.get(key)?.value {
            Value::String(_, text) => Some(text.clone()),
            // A password or name of digits needs quotes: TOML's integers have lost their leading zeros.
            value @ (Value::Num(..) | Value::Bool(..)) if matches!(takes, Some(Takes::Any | Takes::Ports)) => {
                single(value)
            }
            Value::Array(_, list) if takes == Some(Takes::Any) => {
                list.iter().map(single).collect::<Option<Vec<_>>>().map(|list| list.join(","))
            }
            _ => None,
        };
        if text.is_none() {
            self.refuse_value(key);
        }
        text
    }

    /// The text, placeholders replaced.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let raw = self.raw(key)?;
        self.replace(key, &raw)
    }

    fn replace(&mut self, key: &str, raw: &str) -> Option<String> {
        match placeholder::replace(raw, self.lookup) {
            Ok(text) => Some(text),
            Err(needs) => {
                self.refuse(key, needs);
                None
            }
        }
    }

    /// A text that has to be there and not empty; the empty text where it is wrong.
    pub(super) fn required(&mut self, key: &str) -> String {
        if !self.settings.contains_key(key) {
            let doc = key::find(key).map_or("", |key| key.doc);
            self.refuse(key, doc);
            return String::new();
        }
        let text = self.text(key);
        if text.as_deref() == Some("") {
            self.refuse(key, "a text that is not empty");
        }
        text.unwrap_or_default()
    }

    /// A secret by its own key, or by the one that names a file with it; both together are refused. Placeholders stay,
    /// the file as one of them, so that whoever replaces them reads the file again.
    pub(super) fn raw_secret(&mut self, key: &str) -> Option<Secret> {
        let by_file = format!("{key}_file");
        if self.is_set(key) && self.is_set(&by_file) {
            let needs = format!("one of the two; {key} is written too ({})", self.origin(key));
            self.refuse(&by_file, needs);
            return None;
        }
        match self.text(&by_file) {
            Some(path) => Some(Secret::new(format!("${{file:{path}}}"))),
            None => self.raw(key).map(Secret::new),
        }
    }

    /// What [`Reader::raw_secret`] gave, placeholders replaced.
    pub(super) fn replaced(&mut self, key: &str, raw: Secret) -> Option<Secret> {
        let by_file = format!("{key}_file");
        let key = if self.is_set(&by_file) { by_file } else { key.to_owned() };
        self.replace(&key, raw.reveal()).map(Secret::new)
    }

    /// A list, or one text with commas between its parts. A comma inside double quotes belongs to its part.
    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        let parts: Option<Vec<String>> = match self.settings.get(key).map(|setting| &setting.value) {
            None => return Vec::new(),
            Some(Value::String(_, text)) => Some(split(text)),
            Some(Value::Array(_, list)) => list.iter().map(|part| part.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        let Some(parts) = parts.filter(|parts| parts.iter().all(|part| !part.is_empty())) else {
            self.refuse_value(key);
            return Vec::new();
        };
        parts.iter().filter_map(|part| self.replace(key, part)).collect()
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        if let Some(Value::Bool(_, flag)) = self.settings.get(key).map(|setting| &setting.value) {
            return *flag;
        }
        match self.text(key).as_deref() {
            Some("true") => true,
            Some("false") => false,
            Some(_) => {
                self.refuse_value(key);
                false
            }
            None => false,
        }
    }

    /// An integer within the bounds of the table; it fits whatever the bounds fit.
    pub(super) fn integer<T: TryFrom<i64> + Default>(&mut self, key: &str) -> T {
        let number = match self.settings.get(key).map(|setting| &setting.value) {
            Some(Value::Num(_, number)) => integer(number),
            Some(Value::String(..)) => match self.text(key) {
                Some(text) => unit::count(&text),
                None => return T::default(),
            },
            _ => None,
        };
        let within = |number: &i64| match self.takes(key) {
            Some(Takes::Integer(least, most)) => (least..=most).contains(number),
            Some(Takes::OrBroker(most)) => *number == -1 || (1..=most).contains(number),
            _ => false,
        };
        match number.filter(within).and_then(|number| T::try_from(number).ok()) {
            Some(number) => number,
            None => {
                self.refuse_value(key);
                T::default()
            }
        }
    }

    /// A time with its unit, not below the bound of the table.
    pub(super) fn time(&mut self, key: &str) -> Duration {
        let text = match self.settings.get(key).map(|setting| &setting.value) {
            Some(Value::String(..)) => match self.text(key) {
                Some(text) => text,
                None => return Duration::ZERO,
            },
            // A bare number: seconds to one reader, milliseconds to the next.
            _ => String::new(),
        };
        let least = match self.takes(key) {
            Some(Takes::Time(least)) => least,
            _ => Duration::ZERO,
        };
        match humantime::parse_duration(&text) {
            Ok(time) if time >= least => time,
            _ => {
                self.refuse_value(key);
                Duration::ZERO
            }
        }
    }

    /// One of the words of the table.
    pub(super) fn word(&mut self, key: &str) -> Option<&'static str> {
        let text = self.text(key)?;
        let word = match self.takes(key) {
            Some(Takes::OneOf(words)) => words.iter().find(|word| **word == text).copied(),
            _ => None,
        };
        if word.is_none() {
            self.refuse_value(key);
        }
        word
    }
}

/// The number if it is an integer that 64 bits hold.
fn integer(number: &Num) -> Option<i64> {
    let number = number.to_i128().or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))?;
    i64::try_from(number).ok()
}

fn is_empty_table(value: &Value) -> bool {
    matches!(value, Value::Empty(..)) || value.as_dict().is_some_and(Dict::is_empty)
}

/// Whether the value is never shown. Kafka's properties hold secrets under many names: only plainly harmless are shown.
pub(super) fn is_hidden(key: &str) -> bool {
    match key.strip_prefix("kafka.") {
        Some(property) => super::librdkafka::is_sensitive(property),
        None => key::find(key).is_none_or(|key| key.takes == Takes::Secret),
    }
}

/// A value as the report shows it: what was written, shortened, without control characters and userinfo.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(_, text) => {
            let text = if text.contains("://") || text.contains('@') { redact(text) } else { text.clone() };
            if text.chars().count() <= 60 {
                format!("{text:?}")
            } else {
                format!("{:?} and more", text.chars().take(50).collect::<String>())
            }
        }
        Value::Array(..) => "a list".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        single_value => single(single_value).unwrap_or_else(|| "nothing".to_owned()),
    }
}

/// A single value as text.
fn single(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, one) => Some(one.to_string()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, number) => match integer(number) {
            Some(integer) => Some(integer.to_string()),
            None => number.to_f64().map(|float| float.to_string()),
        },
        _ => None,
    }
}

/// At commas outside double quotes, space around the parts taken off; nothing for a blank text.
fn split(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut quoted = false;
    text.split(|one| {
        quoted ^= one == '"';
        one == ',' && !quoted
    })
    .map(|part| part.trim().to_owned())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_a_list_outside_quotes() {
        assert_eq!(split("a, b"), ["a", "b"]);
        assert_eq!(split("public.\"a,b\",c"), ["public.\"a,b\"", "c"]);
        assert_eq!(split("a,"), ["a", ""]);
        assert!(split(" ").is_empty());
    }

    #[test]
    fn a_value_is_shown_short_and_without_userinfo() {
        assert_eq!(describe(&"a\u{1b}[1m".into()), "\"a\\u{1b}[1m\"");
        assert_eq!(describe(&"http://u:p@host/".into()), "\"http://…@host/\"");
        assert!(describe(&"x".repeat(99).into()).ends_with("x\" and more"));
        assert_eq!(describe(&5.into()), "5");
        assert_eq!(describe(&Value::from(vec![1])), "a list");
    }
}
