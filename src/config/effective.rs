//! Every setting as it counts, and who wrote it.

use super::load::{Sources, settings};
use super::problem::{Origin, Problems};
use super::reader::{Setting, describe, is_hidden};

/// A key's effective value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Dotted.
    pub key: String,
    /// As it was written, shortened; `[hidden]` where it may be a secret.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

/// The settings by key, right or wrong: only a file that cannot be read is a problem here.
pub fn effective(sources: &Sources) -> Result<Vec<Effective>, Problems> {
    let mut problems = Vec::new();
    let settings = settings(sources, &mut problems)?;
    let show = |(key, Setting { value, origin }): (String, Setting)| {
        let written = value.as_str().unwrap_or_default();
        let value = match is_hidden(&key) && !is_placeholder(written) {
            true => "[hidden]".to_owned(),
            false => describe(&value),
        };
        Effective { key, value, origin }
    };
    Ok(settings.into_iter().map(show).collect())
}

/// Whether the whole text is one `${env:NAME}` or `${file:/path}`, which is no secret itself.
fn is_placeholder(text: &str) -> bool {
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| {
        (inner.starts_with("env:") || inner.starts_with("file:")) && !inner.contains(['{', '}', '$'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_winner_is_shown_with_its_place_and_no_secret_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("s.yaml");
        std::fs::write(
            &file,
            "name: shop\ndatabase: {url: 'postgres://u:hunter2@db/x', password: '${env:PW}'}\nkafka: {sasl.password: hunter2}\ntasks.mx: hunter2\n",
        )
        .unwrap();
        let sources = Sources {
            file,
            environment: vec![("STRANDLINE_TASKS__MAX".into(), "3".into())],
            set: vec![("poll.interval".into(), "1s".into())],
        };
        let shown = effective(&sources).unwrap();
        let of = |key: &str| {
            let one = shown.iter().find(|one| one.key == key).unwrap();
            let origin = one.origin.to_string().replace(&format!("{}/", directory.path().display()), "");
            format!("{} {origin}", one.value)
        };
        assert_eq!(of("name"), "\"shop\" s.yaml:1:1");
        assert_eq!(of("tasks.max"), "\"3\" $STRANDLINE_TASKS__MAX");
        assert_eq!(of("poll.interval"), "\"1s\" --set poll.interval");
        assert_eq!(of("failover.lag"), "\"10m\" default");
        assert_eq!(of("database.url"), "[hidden] s.yaml:2:12");
        assert_eq!(of("database.password"), "\"${env:PW}\" s.yaml:2:46");
        assert!(!format!("{shown:?}").contains("hunter2"));
    }
}
