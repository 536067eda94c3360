//! A text that is never shown, and URLs without what must not be shown.

use std::fmt;

/// A text that `Debug` hides and that has no `Display`; [`Secret::reveal`] is the one way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// A URL as it may be shown: without user and password, and without its query, where drivers take passwords too.
///
/// Careful rather than exact: everything up to the last `@` goes, since an unescaped password may hold any character.
pub fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.contains(['=', '@']) { "[hidden]".to_owned() } else { url.to_owned() };
    };
    let (userinfo, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", rest),
    };
    match rest.split_once('?') {
        Some((rest, _)) => format!("{scheme}://{userinfo}{rest}?…"),
        None => format!("{scheme}://{userinfo}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some([hidden])");
        assert_eq!(Secret::new("hunter2").reveal(), "hunter2");
    }

    #[test]
    fn a_url_is_shown_without_user_password_and_query() {
        for (url, shown) in [
            ("postgres://db:5432/shop", "postgres://db:5432/shop"),
            ("postgres://u:p@db/shop", "postgres://…@db/shop"),
            ("postgres://u:p/w@x@db/shop", "postgres://…@db/shop"),
            ("postgres://db/shop?password=p", "postgres://db/shop?…"),
            ("http://key@registry:8081", "http://…@registry:8081"),
            ("host=db password=p", "[hidden]"),
            ("u:p@db", "[hidden]"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(redact(url), shown, "{url}");
        }
    }
}
