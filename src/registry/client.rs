//! Registering schemas over HTTP. Ids never change, so what was answered once is kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openssl::pkey::PKey;
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Identity, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use crate::config::{SchemaRegistry, Secret};
use crate::retry::Delays;
use crate::{Error, Kind, Result};

/// A registry, or several addresses of one.
pub struct Registry {
    http: Client,
    urls: Vec<Url>,
    user: Option<(String, Option<Secret>)>,
    token: Option<Secret>,
    auto_register: bool,
    use_latest: bool,
    normalize: bool,
    ids: Mutex<HashMap<(String, String), u32>>,
    /// Whether it has ever answered as a registry does.
    answered: AtomicBool,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

/// A schema as the registry holds it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// Its number within the subject, from 1.
    pub version: u32,
    /// The id that stands before each key or value.
    pub id: u32,
    /// Its text.
    pub schema: String,
}

/// Confluent's error body.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error_code: u32,
    #[serde(default)]
    message: String,
}

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const TIMEOUT: Duration = Duration::from_secs(5);
/// Tries per address, with growing delays between.
const TRIES: usize = 4;

impl Registry {
    /// A client of all the addresses, tried in turn.
    pub fn new(config: &SchemaRegistry) -> Result<Registry> {
        let urls = config.urls.iter().map(|url| {
            Url::parse(url)
                .map_err(|error| Error::new(Kind::Config, "schema_registry.url is not an address").because(error))
        });
        // Redirects are not followed: credentials would travel with them.
        let mut http = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &config.ca {
            let all = reqwest::Certificate::from_pem_bundle(&pem("schema_registry.ssl.ca.location", path)?);
            let all = all.map_err(|error| not_pem("schema_registry.ssl.ca.location", path, error))?;
            http = all.into_iter().fold(http, ClientBuilder::add_root_certificate);
        }
        if let Some((certificate, key)) = &config.certificate {
            let (of_certificate, of_key) =
                ("schema_registry.ssl.certificate.location", "schema_registry.ssl.key.location");
            let key_pem = plain_key(of_key, key, config.key_password.as_ref())?;
            let identity = Identity::from_pkcs8_pem(&pem(of_certificate, certificate)?, &key_pem);
            http = http.identity(identity.map_err(|error| not_pem(of_key, key, error))?);
        }
        let http = http.build();
        Ok(Registry {
            http: http
                .map_err(|error| Error::new(Kind::Config, "the registry's client cannot be built").because(error))?,
            urls: urls.collect::<Result<_>>()?,
            user: config.user.clone().map(|user| (user, config.password.clone())),
            token: config.token.clone(),
            auto_register: config.auto_register,
            use_latest: config.use_latest,
            normalize: config.normalize,
            ids: Mutex::default(),
            answered: AtomicBool::new(false),
        })
    }

    /// The id of a schema under a subject, registered if it is new and that is allowed. `schema` goes out to the letter.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let known = (subject.to_owned(), schema.to_owned());
        if let Some(id) = self.ids.lock().ok().and_then(|ids| ids.get(&known).copied()) {
            return Ok(id);
        }
        if self.use_latest {
            let id = self.same_as_latest(subject, schema).await?;
            if let Ok(mut ids) = self.ids.lock() {
                ids.insert(known, id);
            }
            return Ok(id);
        }
        let body = serde_json::json!({ "schema": schema }).to_string();
        let answer = match self.auto_register {
            true => self.add(subject, body).await?,
            false => {
                let found = self.ask_for(Method::POST, &["subjects", subject], Some(body), subject).await?;
                found.ok_or_else(|| {
                    Error::new(
                        Kind::Schema,
                        format!("subject {subject} has no such schema, and none may be registered"),
                    )
                    .hint(
                        "register what `strandline schema` prints, or set schema_registry.auto.register.schemas = true",
                    )
                })?
            }
        };
        let registered: Registered = serde_json::from_str(&answer).map_err(|error| {
            Error::new(Kind::Registry, format!("the registry's answer for subject {subject} is not one"))
                .because(error)
                .hint("is schema_registry.url the registry's base address?")
        })?;
        if let Ok(mut ids) = self.ids.lock() {
            ids.insert(known, registered.id);
        }
        Ok(registered.id)
    }

    /// Registers. A conflict may be somebody's who registers the same at the same moment, or our own of a moment ago whose
    /// answer was lost: so it counts only if the schema is not there and is refused again.
    async fn add(&self, subject: &str, body: String) -> Result<String> {
        let versions = ["subjects", subject, "versions"];
        match self.ask(Method::POST, &versions, Some(body.clone()), subject).await {
            Err(error) if error.kind() == Kind::Incompatible => {
                match self.ask_for(Method::POST, &["subjects", subject], Some(body.clone()), subject).await? {
                    Some(there) => Ok(there),
                    None => self.ask(Method::POST, &versions, Some(body), subject).await,
                }
            }
            answer => answer,
        }
    }

    /// The id of a subject's latest version, if it has the fields and types of ours: names, order and types count, attributes,
    /// documentation and defaults may be others (Avro's canonical form).
    async fn same_as_latest(&self, subject: &str, schema: &str) -> Result<u32> {
        let Some(latest) = self.latest(subject).await? else {
            return Err(Error::new(
                Kind::Schema,
                format!("subject {subject} has no version, and none may be registered"),
            )
            .hint("register what `strandline schema` prints, or set schema_registry.auto.register.schemas = true"));
        };
        let canonical = |text: &str| apache_avro::Schema::parse_str(text).map(|schema| schema.canonical_form());
        let unreadable = |error| {
            Error::new(Kind::Schema, format!("version {} of subject {subject} is not Avro", latest.version))
                .because(error)
        };
        if canonical(&latest.schema).map_err(unreadable)? == canonical(schema).map_err(unreadable)? {
            return Ok(latest.id);
        }
        let what = format!(
            "version {} of subject {subject}, the latest, has other fields or types than its rows",
            latest.version
        );
        Err(Error::new(Kind::Incompatible, what)
            .hint("compare it with what `strandline schema` prints; set schema_registry.use.latest.version = false to let ours be registered"))
    }

    /// The newest version of a subject; `None`: the registry does not know the subject.
    pub async fn latest(&self, subject: &str) -> Result<Option<Version>> {
        let path = ["subjects", subject, "versions", "latest"];
        let Some(answer) = self.ask_for(Method::GET, &path, None, subject).await? else { return Ok(None) };
        serde_json::from_str(&answer).map(Some).map_err(|error| {
            Error::new(Kind::Registry, format!("the registry's answer for subject {subject} is not one"))
                .because(error)
                .hint("is schema_registry.url the registry's base address?")
        })
    }

    /// Whether nothing is ever registered, only looked for.
    pub(super) fn takes_what_is_there(&self) -> bool {
        self.use_latest || !self.auto_register
    }

    /// Whether it answers.
    pub async fn reach(&self) -> Result<()> {
        self.ask(Method::GET, &["subjects"], None, "").await.map(drop)
    }

    async fn ask(&self, method: Method, path: &[&str], body: Option<String>, subject: &str) -> Result<String> {
        let answer = self.ask_for(method, path, body, subject).await?;
        answer.ok_or_else(|| Error::new(Kind::Schema, format!("the registry does not know subject {subject}")))
    }

    /// `None`: there is no such subject or version, or it has no setting of its own.
    pub(super) async fn ask_for(
        &self,
        method: Method,
        path: &[&str],
        body: Option<String>,
        subject: &str,
    ) -> Result<Option<String>> {
        let mut delays = Delays::default();
        let mut last = Error::new(Kind::Config, "schema_registry.url names no registry");
        for attempt in 0..TRIES * self.urls.len().max(1) {
            let Some(base) = self.urls.get(attempt % self.urls.len().max(1)) else { break };
            let mut wait = delays.delay();
            match self.request(method.clone(), base, path, body.clone())?.send().await {
                Ok(answer) if answer.status().is_success() => match answer.text().await {
                    Ok(text) if text.trim_start().starts_with('<') => return Err(self.mended(a_page(base))),
                    Ok(text) => {
                        self.answered.store(true, Ordering::Relaxed);
                        return Ok(Some(text));
                    }
                    Err(error) => last = unreachable(base, error),
                },
                Ok(answer) => {
                    let status = answer.status();
                    let after = answer.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
                    let elsewhere =
                        answer.headers().get(LOCATION).and_then(|text| text.to_str().ok()).map(crate::config::redact);
                    let text = answer.text().await.unwrap_or_default();
                    let refusal: Refusal = serde_json::from_str(&text).unwrap_or_default();
                    if matches!(refusal.error_code, 40401..=40403 | 40408) {
                        return Ok(None);
                    }
                    last = refused(status, refusal, elsewhere.as_deref(), subject, base);
                    if !passes(status) {
                        return Err(last);
                    }
                    wait = after.map_or(wait, |seconds: u64| Duration::from_secs(seconds.min(10)));
                }
                Err(error) => {
                    last = unreachable(base, error);
                    if last.kind() != Kind::Registry {
                        return Err(self.mended(last));
                    }
                }
            }
            if attempt + 1 < TRIES * self.urls.len() {
                tokio::time::sleep(wait).await;
            }
        }
        Err(last)
    }

    /// What a wrong address gives at the start is a gateway's maintenance later: with one that has answered before, it is
    /// waited for.
    fn mended(&self, error: Error) -> Error {
        if !self.answered.load(Ordering::Relaxed) {
            return error;
        }
        let again = Error::new(Kind::Registry, error.message()).hint("it has answered before, so it is tried again");
        match error.cause_text() {
            Some(cause) => again.because(cause),
            None => again,
        }
    }

    fn request(&self, method: Method, base: &Url, path: &[&str], body: Option<String>) -> Result<RequestBuilder> {
        let mut url = base.clone();
        // Each part is encoded whole: a subject may hold slashes and question marks.
        url.path_segments_mut()
            .map_err(|()| Error::new(Kind::Config, "schema_registry.url is not an http address"))?
            .pop_if_empty()
            .extend(path);
        if self.normalize && method == Method::POST {
            url.query_pairs_mut().append_pair("normalize", "true");
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some((user, password)) = &self.user {
            request = request.basic_auth(user, password.as_ref().map(Secret::reveal));
        }
        Ok(match body {
            Some(body) => request.header(CONTENT_TYPE, MEDIA_TYPE).body(body),
            None => request,
        })
    }
}

fn pem(key: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| Error::new(Kind::Config, format!("{key}: {} cannot be read", path.display())).because(error))
}

/// A private key of any usual form, as the HTTP client takes it: PKCS#8 and no text before it.
fn plain_key(name: &str, path: &Path, password: Option<&Secret>) -> Result<Vec<u8>> {
    // Never without a passphrase: OpenSSL would ask for it on the terminal.
    let passphrase = password.map_or("", Secret::reveal).as_bytes();
    let key = PKey::private_key_from_pem_passphrase(&pem(name, path)?, passphrase);
    key.and_then(|key| key.private_key_to_pem_pkcs8()).map_err(|_| {
        Error::new(Kind::Config, format!("{name}: {} is not a private key that can be read", path.display()))
            .hint("name a PEM file; of an encrypted key schema_registry.ssl.key.password has to be right")
    })
}

fn not_pem(key: &str, path: &Path, error: reqwest::Error) -> Error {
    Error::new(Kind::Config, format!("{key}: {} is not what it should be", path.display()))
        .because(error.without_url())
        .hint("PEM, -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----; openssl pkcs8 -topk8 -nocrypt turns other keys into this form")
}

fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Host and port: the address itself may hold a user and a password.
fn place(base: &Url) -> String {
    let host = base.host_str().unwrap_or("?");
    base.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn unreachable(base: &Url, error: reqwest::Error) -> Error {
    let said = chain(&error);
    let (kind, hint) = if said.contains("alert") && said.contains("certificate")
        || said.contains("certificate required")
    {
        (
            Kind::Schema,
            "it wants a certificate of ours: set schema_registry.ssl.certificate.location and schema_registry.ssl.key.location",
        )
    } else if said.contains("certificate") {
        (
            Kind::Schema,
            "set schema_registry.ssl.ca.location to the PEM file of the authority that signed its certificate, which must be made out to \
             the host of schema_registry.url",
        )
    } else if said.contains("wrong version number") || said.contains("SSL routines") {
        (Kind::Registry, "is it http:// where schema_registry.url says https://? It is tried again")
    } else {
        (Kind::Registry, "check schema_registry.url and that the registry is up; it is tried again")
    };
    Error::new(kind, format!("the schema registry at {} does not answer", place(base)))
        .because(error.without_url())
        .hint(hint)
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A console's or a login's.
fn a_page(base: &Url) -> Error {
    Error::new(Kind::Schema, format!("{} answers with an HTML page", place(base)))
        .hint("set schema_registry.url to the registry's own base address, not to a console's; a page to log in means that user, password or token are missing")
}

fn refused(status: StatusCode, refusal: Refusal, elsewhere: Option<&str>, subject: &str, base: &Url) -> Error {
    let at = place(base);
    let (kind, message, hint) = match status.as_u16() {
        409 => (
            Kind::Incompatible,
            format!("the registry refuses the schema for subject {subject}: it is not compatible with the one there"),
            "allow the change with the subject's compatibility level, or send the table to a new topic (objects.<alias>.topic)",
        ),
        422 => (Kind::Schema, format!("the registry refuses the schema for subject {subject}"), "see the cause"),
        401 => (
            Kind::Schema,
            format!("the registry at {at} does not know who we are"),
            "check schema_registry.user and schema_registry.password, or schema_registry.token",
        ),
        403 => (
            Kind::Schema,
            format!("the registry at {at} refuses us"),
            "give the user or token the right to read and write the subject",
        ),
        407 => (
            Kind::Schema,
            format!("a proxy before the registry at {at} refuses us"),
            "check HTTPS_PROXY and HTTP_PROXY, user and password of the proxy included; or name the registry's host in NO_PROXY",
        ),
        300..=399 => (
            Kind::Schema,
            format!("the registry at {at} sends us elsewhere, where credentials must not follow"),
            "set schema_registry.url to the address that it names; a page to log in means that user, password or token are missing",
        ),
        404 => (
            Kind::Schema,
            format!("the registry at {at} knows no such address"),
            "is schema_registry.url its base address?",
        ),
        _ if passes(status) => (Kind::Registry, format!("the registry at {at} is busy or ill"), "it is tried again"),
        code => {
            (Kind::Schema, format!("the registry at {at} answers {code}"), "is schema_registry.url its base address?")
        }
    };
    let Refusal { error_code, message: said } = refusal;
    let mut cause = format!("HTTP {}", status.as_u16());
    if error_code != 0 || !said.is_empty() {
        cause.push_str(&format!(", error {error_code}: {said}"));
    }
    if let Some(elsewhere) = elsewhere {
        cause.push_str(&format!(", to {elsewhere}"));
    }
    Error::new(kind, message).because(cause).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers each connection with the next of these, and gives back what was asked.
    fn server(answers: Vec<&'static str>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://user:hidden-word@{}/apis/ccompat/v7/", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                // The body comes with or right after the head.
                while !String::from_utf8_lossy(&request).contains("\"schema\"") && !request.starts_with(b"GET ") {
                    let n = stream.read(&mut buffer).unwrap();
                    if n == 0 {
                        break;
                    }
                    request.extend_from_slice(&buffer[..n]);
                }
                asked.push(String::from_utf8(request).unwrap());
                let (status, body) = answer.split_once('|').unwrap();
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .unwrap();
            }
            asked
        });
        (url, thread)
    }

    fn registry(url: String) -> Registry {
        Registry::new(&settings(url)).unwrap()
    }

    fn settings(url: String) -> SchemaRegistry {
        SchemaRegistry {
            urls: vec![url],
            user: None,
            password: None,
            token: None,
            auto_register: true,
            use_latest: false,
            normalize: false,
            strategy: crate::registry::Strategy::Topic,
            ca: None,
            certificate: None,
            key_password: None,
        }
    }

    #[tokio::test]
    async fn a_schema_that_may_not_be_registered_has_to_be_there() {
        let (url, asked) = server(vec![
            "200 OK|{\"subject\":\"s-value\",\"version\":3,\"id\":9,\"schema\":\"\\\"int\\\"\"}",
            "404 Not Found|{\"error_code\":40403,\"message\":\"Schema not found\"}",
        ]);
        let token = Some(Secret::new("key".to_owned()));
        let fixed = SchemaRegistry { auto_register: false, normalize: true, token, ..settings(url) };
        let registry = Registry::new(&fixed).unwrap();
        assert_eq!(registry.register("s-value", "\"int\"").await.unwrap(), 9);
        let error = registry.register("s-value", "\"long\"").await.unwrap_err();
        assert!(error.report().contains("strandline schema") && error.kind() == Kind::Schema, "{error:?}");
        let asked = asked.join().unwrap();
        assert!(asked[0].starts_with("POST /apis/ccompat/v7/subjects/s-value?normalize=true "), "{}", asked[0]);
        assert!(asked[0].contains("authorization: Bearer key"), "{}", asked[0]);
    }

    #[tokio::test]
    async fn the_latest_version_is_used_if_it_means_the_same() {
        let version = |schema: &str| {
            let schema = serde_json::to_string(schema).unwrap();
            format!("200 OK|{{\"subject\":\"s-value\",\"version\":3,\"id\":9,\"schema\":{schema}}}")
        };
        let there = r#"{"type":"record","name":"a.T","doc":"theirs","fields":[{"name":"x","type":"int"}]}"#;
        let answer: &'static str = version(there).leak();
        let (url, asked) = server(vec![answer, answer]);
        let registry =
            Registry::new(&SchemaRegistry { auto_register: false, use_latest: true, ..settings(url) }).unwrap();
        let ours = r#"{"type":"record","name":"T","namespace":"a","fields":[{"name":"x","type":{"type":"int","strandline.type":"integer"}}]}"#;
        assert_eq!(registry.register("s-value", ours).await.unwrap(), 9);
        let wider = ours.replace("\"type\":\"int\"", "\"type\":\"long\"");
        let error = registry.register("s-value", &wider).await.unwrap_err();
        assert!(error.report().contains("version 3 of subject s-value") && error.kind() == Kind::Incompatible);
        assert!(asked.join().unwrap()[1].starts_with("GET "));
    }

    #[test]
    fn a_certificate_that_is_none_is_named() {
        let missing = SchemaRegistry { ca: Some("/nowhere/ca.pem".into()), ..settings("http://localhost".into()) };
        let Err(error) = Registry::new(&missing) else { panic!("there is no such file") };
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
        let own = std::env::current_exe().unwrap();
        let none = SchemaRegistry { certificate: Some((own.clone(), own)), ..settings("http://localhost".into()) };
        assert!(Registry::new(&none).is_err());
    }

    #[tokio::test]
    async fn a_busy_registry_is_asked_again_and_an_id_only_once() {
        let (url, asked) = server(vec!["503 Busy|{}", "200 OK|{\"id\":7}"]);
        let registry = registry(url);
        assert_eq!(registry.register("weird/subject ?#%é-value", "\"int\"").await.unwrap(), 7);
        assert_eq!(registry.register("weird/subject ?#%é-value", "\"int\"").await.unwrap(), 7);
        let asked = asked.join().unwrap();
        assert_eq!(asked.len(), 2);
        assert!(
            asked[1].starts_with("POST /apis/ccompat/v7/subjects/weird%2Fsubject%20%3F%23%25%C3%A9-value/versions "),
            "{}",
            asked[1]
        );
        assert!(asked[1].ends_with(r#"{"schema":"\"int\""}"#));
    }

    /// Found by the trials: a gateway's page in the middle of a stream made an object FAILED for good.
    #[tokio::test]
    async fn a_page_is_a_wrong_address_at_first_and_a_gateways_trouble_later() {
        let page = "200 OK|<html>back soon</html>";
        let (url, asked) = server(vec![page, "200 OK|{\"id\":7}", page]);
        let registry = registry(url);
        assert_eq!(registry.register("a", "\"int\"").await.unwrap_err().kind(), Kind::Schema);
        assert_eq!(registry.register("a", "\"int\"").await.unwrap(), 7);
        assert_eq!(registry.register("b", "\"int\"").await.unwrap_err().kind(), Kind::Registry);
        drop(asked);
    }

    #[tokio::test]
    async fn an_incompatible_schema_is_looked_for_and_tells_the_reason() {
        let conflict = "409 Conflict|{\"error_code\":409,\"message\":\"reader type LONG\"}";
        let unknown = "404 Not Found|{\"error_code\":40403,\"message\":\"Schema not found\"}";
        let (url, asked) = server(vec![conflict, unknown, conflict]);
        let error = registry(url).register("s-value", "\"long\"").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Incompatible);
        assert!(error.report().contains("s-value") && error.report().contains("reader type LONG"), "{error:?}");
        assert_eq!(asked.join().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn two_who_register_the_same_at_once_both_have_its_id() {
        let conflict =
            "409 Conflict|{\"error_code\":409,\"message\":\"An artifact with ID 's-value' already exists.\"}";
        let there = "200 OK|{\"subject\":\"s-value\",\"version\":1,\"id\":9,\"schema\":\"\\\"int\\\"\"}";
        let (url, asked) = server(vec![conflict, there]);
        assert_eq!(registry(url).register("s-value", "\"int\"").await.unwrap(), 9);
        assert!(asked.join().unwrap()[1].starts_with("POST /apis/ccompat/v7/subjects/s-value "));
    }

    #[tokio::test]
    async fn a_subject_that_is_not_there_is_no_failure() {
        let (url, asked) = server(vec![
            "404 Not Found|{\"error_code\":40401,\"message\":\"Subject not found.\"}",
            "200 OK|{\"subject\":\"s-value\",\"version\":3,\"id\":9,\"schema\":\"\\\"int\\\"\"}",
            "404 Not Found|<html>",
        ]);
        let registry = registry(url);
        assert_eq!(registry.latest("s-value").await.unwrap(), None);
        let latest = registry.latest("s-value").await.unwrap();
        assert_eq!(latest, Some(Version { version: 3, id: 9, schema: "\"int\"".to_owned() }));
        let error = registry.latest("s-value").await.unwrap_err();
        assert!(error.to_string().contains("knows no such address"), "{error:?}");
        assert!(asked.join().unwrap()[0].starts_with("GET /apis/ccompat/v7/subjects/s-value/versions/latest "));
    }

    #[tokio::test]
    async fn a_password_in_the_address_is_never_told() {
        let (url, asked) = server(vec!["401 No|{\"error_code\":40101,\"message\":\"no\"}"]);
        let error = registry(url).register("s-value", "\"long\"").await.unwrap_err();
        asked.join().unwrap();
        assert!(!format!("{error:?}").contains("hidden-word"), "{error:?}");
    }
}
