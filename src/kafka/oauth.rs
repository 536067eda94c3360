//! Tokens for SASL OAUTHBEARER: the client credentials grant (RFC 6749 §4.4). librdkafka has its own only where it is built
//! with curl, which ours is not.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::config::{Kafka, Secret};

/// Who asks for a token, and where.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    endpoint: String,
    client: String,
    secret: Secret,
    scope: Option<String>,
    /// The authorities that the endpoint's certificate may come from, beside the machine's: a file's name, or PEM.
    authority: Option<Authority>,
}

#[derive(Clone, Debug)]
enum Authority {
    File(String),
    Pem(Secret),
}

/// A token as the endpoint gives it.
#[derive(Clone)]
struct Token {
    text: Secret,
    principal: String,
    /// When it ends.
    ends: SystemTime,
    /// From when on another is asked for.
    renew: SystemTime,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

/// RFC 6749's refusal.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

#[derive(Default, Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
}

const TIMEOUT: Duration = Duration::from_secs(10);
/// Of a token that says nothing of its end.
const USUAL: Duration = Duration::from_secs(300);

impl Grant {
    /// What `[kafka]` says, if it asks for tokens.
    pub fn of(kafka: &Kafka) -> Option<Grant> {
        let said = |name: &str| kafka.properties.get(name);
        let text = |name: &str| said(name).map(|value| value.reveal().to_owned());
        let other = |name: &str| format!("sasl.oauthbearer.client.credentials.client.{name}");
        Some(Grant {
            endpoint: text("sasl.oauthbearer.token.endpoint.url")?,
            client: text("sasl.oauthbearer.client.id").or_else(|| text(&other("id")))?,
            secret: said("sasl.oauthbearer.client.secret").or_else(|| said(&other("secret")))?.clone(),
            scope: text("sasl.oauthbearer.scope"),
            authority: text("https.ca.location")
                .map(Authority::File)
                .or_else(|| said("https.ca.pem").cloned().map(Authority::Pem)),
        })
    }

    /// A token that is good for a while: the one that all clients of the process share, or a new one. Blocks.
    pub fn token(&self) -> Result<OAuthToken, String> {
        static SHARED: OnceLock<Mutex<HashMap<String, Token>>> = OnceLock::new();
        let mut shared = SHARED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let whose = format!("{}\n{}\n{:?}", self.endpoint, self.client, self.scope);
        let now = SystemTime::now();
        let token = match shared.get(&whose).filter(|token| now < token.renew) {
            Some(token) => token.clone(),
            None => {
                let token = self.ask_aside()?;
                shared.insert(whose, token.clone());
                token
            }
        };
        let ends = token.ends.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Ok(OAuthToken {
            token: token.text.reveal().to_owned(),
            principal_name: token.principal,
            lifetime_ms: i64::try_from(ends).unwrap_or(i64::MAX),
        })
    }

    /// On a thread of its own, as the caller may be inside a runtime.
    fn ask_aside(&self) -> Result<Token, String> {
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| format!("no runtime for the token endpoint: {error}"))?.block_on(self.ask())
        };
        std::thread::scope(|scope| scope.spawn(ask).join())
            .unwrap_or_else(|_| Err("the thread for the token endpoint ended without a word".to_owned()))
    }

    async fn ask(&self) -> Result<Token, String> {
        let away = |error: reqwest::Error| {
            let mut causes = vec![format!("the token endpoint does not answer: {}", error.without_url())];
            causes.dedup();
            causes.join(": ")
        };
        // Redirects are not followed: the secret would travel with them.
        let mut http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        if let Some(authority) = &self.authority {
            let pem = match authority {
                Authority::File(path) => {
                    std::fs::read(path).map_err(|error| format!("https.ca.location {path} cannot be read: {error}"))?
                }
                Authority::Pem(pem) => pem.reveal().as_bytes().to_vec(),
            };
            let all = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| "https.ca.location holds no certificate in PEM".to_owned())?;
            http = all.into_iter().fold(http, reqwest::ClientBuilder::add_root_certificate);
        }
        let body = match &self.scope {
            Some(scope) => format!("grant_type=client_credentials&scope={}", encoded(scope)),
            None => "grant_type=client_credentials".to_owned(),
        };
        let http = http.build().map_err(away)?;
        let answer = http
            .post(&self.endpoint)
            // RFC 6749 §2.3.1: form-encoded before they are joined.
            .basic_auth(encoded(&self.client), Some(encoded(self.secret.reveal())))
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(reqwest::header::ACCEPT, "application/json")
            .body(body);
        let answer = answer.send().await.map_err(|error| match source(&error) {
            Some(cause) => format!("{}: {cause}", away(error)),
            None => away(error),
        })?;
        let status = answer.status();
        let text = answer.text().await.map_err(away)?;
        if !status.is_success() {
            let Refusal { error, error_description } = serde_json::from_str(&text).unwrap_or_default();
            return Err(format!("the token endpoint answers {}: {error} {error_description}", status.as_u16())
                .trim_end_matches([' ', ':'])
                .to_owned());
        }
        // Its words are not told: they may hold the token.
        let answer: Answer = serde_json::from_str(&text).map_err(|_| {
            "the token endpoint's answer holds no access_token: is sasl.oauthbearer.token.endpoint.url right?"
                .to_owned()
        })?;
        Ok(token(answer, &self.client, SystemTime::now()))
    }
}

/// The innermost cause.
fn source(error: &reqwest::Error) -> Option<String> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source()).last().map(ToString::to_string)
}

fn token(answer: Answer, client: &str, now: SystemTime) -> Token {
    let claims = claims(&answer.access_token);
    let by_claim = claims.exp.and_then(|exp| UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(exp).ok()?));
    let ends = match answer.expires_in {
        Some(seconds) => now.checked_add(Duration::from_secs(seconds)).unwrap_or(now + USUAL),
        None => by_claim.unwrap_or(now + USUAL),
    };
    let life = ends.duration_since(now).unwrap_or_default();
    Token {
        text: Secret::new(answer.access_token),
        principal: claims.sub.unwrap_or_else(|| client.to_owned()),
        ends,
        // librdkafka asks again after four fifths of the time: then it shall get a new one.
        renew: now + life * 3 / 4,
    }
}

/// What a JWT says in its middle; another sort of token says nothing.
fn claims(token: &str) -> Claims {
    let payload = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    payload.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// As in a form: all but letters, digits and `-._~` as `%XX`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(access_token: &str, expires_in: Option<u64>) -> Token {
        token(Answer { access_token: access_token.to_owned(), expires_in }, "shop", UNIX_EPOCH)
    }

    #[test]
    fn a_token_ends_when_the_answer_or_the_token_itself_says() {
        let jwt = format!("x.{}.y", BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"reader","exp":400}"#));
        let by_claim = of(&jwt, None);
        assert_eq!((by_claim.principal.as_str(), by_claim.ends), ("reader", UNIX_EPOCH + Duration::from_secs(400)));
        assert_eq!(by_claim.renew, UNIX_EPOCH + Duration::from_secs(300));
        assert_eq!(of(&jwt, Some(60)).ends, UNIX_EPOCH + Duration::from_secs(60));
        for opaque in ["hunter2", "a.b.c", "", "x.!.y"] {
            let token = of(opaque, None);
            assert_eq!((token.principal.as_str(), token.ends), ("shop", UNIX_EPOCH + USUAL), "{opaque}");
        }
        assert_eq!(of("t", Some(u64::MAX)).ends, UNIX_EPOCH + USUAL);
    }

    #[test]
    fn forms_are_encoded() {
        assert_eq!(encoded("a b:ü~"), "a%20b%3A%C3%BC~");
    }
}
