//! `${env:NAME}` and `${file:/path}` inside a value, spelt as Kafka's configuration providers spell them.

/// How an environment variable is looked up.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The text with every placeholder replaced. What a placeholder stands for is not searched again.
///
/// A file's last line break is not part of the value. The error names the placeholder and never the text around it.
pub(super) fn replace(text: &str, lookup: &Lookup<'_>) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((provider, argument)) = provider(after) else {
            // A `${` that names no provider is an ordinary part of a value.
            replaced.push_str(before);
            replaced.push_str("${");
            rest = after;
            continue;
        };
        let Some((argument, after)) = argument.split_once('}') else {
            return Err("a closing brace for every `${`".to_owned());
        };
        replaced.push_str(before);
        match provider {
            "env" => replaced.push_str(&variable(argument, lookup)?),
            "file" => replaced.push_str(&file(argument)?),
            // Not named: it may be a piece of a password.
            _ => return Err("${env:NAME} or ${file:/path}; no other placeholder is known".to_owned()),
        }
        rest = after;
    }
    replaced.push_str(rest);
    Ok(replaced)
}

/// `env` of `env:NAME}`: a lower-case word before a colon.
fn provider(text: &str) -> Option<(&str, &str)> {
    let (provider, argument) = text.split_once(':')?;
    let word = !provider.is_empty() && provider.chars().all(|one| one.is_ascii_alphabetic());
    word.then_some((provider, argument))
}

fn variable(name: &str, lookup: &Lookup<'_>) -> Result<String, String> {
    lookup(name).ok_or_else(|| format!("the environment variable {name}, which is not set"))
}

fn file(path: &str) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("the file {path}, which cannot be read: {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str) -> Option<String> {
        (name == "WHO").then(|| "${env:WHO}".to_owned())
    }

    #[test]
    fn placeholders_are_replaced_once_and_anywhere() {
        assert_eq!(replace("", &look).unwrap(), "");
        assert_eq!(replace("a${env:WHO}b${env:WHO}", &look).unwrap(), "a${env:WHO}b${env:WHO}");
    }

    #[test]
    fn other_dollars_stay() {
        for text in ["$", "${", "${}", "${a}", "p$${w", "${1:x}", "{env:WHO}", "${:x}"] {
            assert_eq!(replace(text, &look).unwrap(), text);
        }
    }

    #[test]
    fn a_file_is_read_without_its_last_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, value) in [("secret\n", "secret"), ("secret\r\n", "secret"), ("a\nb", "a\nb"), ("", "")] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(replace(&format!("${{file:{}}}", file.path().display()), &look).unwrap(), value);
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named_without_the_text_around_it() {
        for (text, message) in [
            ("hunter2${env:NOBODY}", "the environment variable NOBODY, which is not set"),
            ("hunter2${env:WHO", "a closing brace for every `${`"),
            ("hunter2${evn:WHO}", "${env:NAME} or ${file:/path}; no other placeholder is known"),
        ] {
            assert_eq!(replace(text, &look).unwrap_err(), message);
        }
        assert!(replace("${file:/nowhere/at/all}", &look).unwrap_err().starts_with("the file /nowhere/at/all, which"));
    }
}
