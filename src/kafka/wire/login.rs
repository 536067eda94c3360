//! Logging in: SASL PLAIN, SCRAM and OAUTHBEARER within Kafka's own requests (KIP-43, KIP-152).

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use rsasl::prelude::{Mechname, SASLClient, SASLConfig};

use super::connection::{Connection, Version};
use crate::config::{Kafka, Secret};
use crate::kafka::oauth::Grant;
use crate::{Error, Kind, Result};

const HANDSHAKE: Version = Version::of(ApiKey::SaslHandshake, 1, 1);
const AUTHENTICATE: Version = Version::of(ApiKey::SaslAuthenticate, 0, 2);

/// Who logs in, and how.
#[derive(Clone)]
pub enum Login {
    /// By user and password: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`.
    Password {
        /// The mechanism's name.
        mechanism: String,
        /// `sasl.username`.
        user: String,
        /// `sasl.password`.
        password: Secret,
    },
    /// `OAUTHBEARER`, by the client credentials grant.
    Token(Grant),
}

impl Login {
    /// As `[kafka]` says; `None` without SASL.
    pub fn of(kafka: &Kafka) -> Result<Option<Login>> {
        let protocol = kafka.property("security.protocol").unwrap_or("plaintext");
        if !protocol.to_ascii_lowercase().starts_with("sasl") {
            return Ok(None);
        }
        let said = kafka.property("sasl.mechanism").or_else(|| kafka.property("sasl.mechanisms"));
        let mechanism = said.unwrap_or("GSSAPI").to_ascii_uppercase();
        let unset = |what: &str| {
            Error::new(Kind::Config, format!("kafka.\"{what}\" is not set"))
                .hint(format!("sasl.mechanism {mechanism} needs it"))
        };
        match mechanism.as_str() {
            "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
                let user = kafka.property("sasl.username").ok_or_else(|| unset("sasl.username"))?.to_owned();
                let password = kafka.properties.get("sasl.password").ok_or_else(|| unset("sasl.password"))?.clone();
                Ok(Some(Login::Password { mechanism, user, password }))
            }
            "OAUTHBEARER" => Grant::of(kafka)
                .map(|grant| Some(Login::Token(grant)))
                .ok_or_else(|| unset("sasl.oauthbearer.token.endpoint.url")),
            other => Err(Error::new(Kind::Config, format!("kafka.\"sasl.mechanism\" {other} is not supported"))
                .hint("one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER")),
        }
    }

    fn mechanism(&self) -> &str {
        match self {
            Login::Password { mechanism, .. } => mechanism,
            Login::Token(_) => "OAUTHBEARER",
        }
    }

    /// Logs in; how long it is good for, where the broker says (KIP-368).
    pub async fn at(&self, connection: &Connection, patience: Duration) -> Result<Option<Duration>> {
        let request =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_string(self.mechanism().to_owned()));
        let version = connection.version(HANDSHAKE)?;
        let answer: SaslHandshakeResponse = connection.ask(HANDSHAKE.key, version, &request, patience)?.await?;
        if answer.error_code.is_err() {
            let theirs: Vec<&str> = answer.mechanisms.iter().map(|one| one.as_str()).collect();
            return Err(refused(&format!(
                "unsupported mechanism {}: broker {} has {}",
                self.mechanism(),
                connection.peer,
                theirs.join(", ")
            )));
        }
        match self {
            Login::Password { mechanism, user, password } => {
                by_password(connection, mechanism, user, password, patience).await
            }
            Login::Token(grant) => {
                let grant = grant.clone();
                // It blocks while the endpoint is asked.
                let token = tokio::task::spawn_blocking(move || grant.token()).await;
                let token = token.unwrap_or_else(|error| Err(error.to_string()));
                let token = token.map_err(|why| refused(&format!("no OAUTHBEARER token: {why}")))?;
                // RFC 7628 §3.1.
                let said = format!("n,,\x01auth=Bearer {}\x01\x01", token.token);
                let (challenge, lifetime) = say(connection, said.into_bytes(), patience).await?;
                if challenge.is_empty() {
                    return Ok(lifetime);
                }
                // §3.2.3: a refusal is a challenge, and is told once we have answered it.
                say(connection, vec![1], patience).await?;
                Err(refused("SASL authentication error: OAUTHBEARER: the token is not accepted"))
            }
        }
    }
}

async fn by_password(
    connection: &Connection,
    mechanism: &str,
    user: &str,
    password: &Secret,
    patience: Duration,
) -> Result<Option<Duration>> {
    let failed = |error: &dyn std::fmt::Display| refused(&format!("SASL authentication error: {mechanism}: {error}"));
    let config = SASLConfig::with_credentials(None, user.to_owned(), password.reveal().to_owned());
    let config = config.map_err(|error| failed(&error))?;
    let name = Mechname::parse(mechanism.as_bytes()).map_err(|error| failed(&error))?;
    let mut session = SASLClient::new(config).start_suggested(&[name]).map_err(|error| failed(&error))?;
    let mut heard: Option<Bytes> = None;
    let mut lifetime = None;
    loop {
        let mut words = Vec::new();
        // The server's part is checked here too: it has to show that it knows the password.
        let state = session.step(heard.as_deref(), &mut words).map_err(|error| failed(&error))?;
        if state.has_sent_message() {
            let (answer, good_for) = say(connection, words, patience).await?;
            lifetime = good_for;
            heard = Some(answer);
        }
        if !state.is_running() {
            return Ok(lifetime);
        }
    }
}

async fn say(connection: &Connection, words: Vec<u8>, patience: Duration) -> Result<(Bytes, Option<Duration>)> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(words.into());
    let version = connection.version(AUTHENTICATE)?;
    let answer: SaslAuthenticateResponse = connection.ask(AUTHENTICATE.key, version, &request, patience)?.await?;
    if let Some(code) = answer.error_code.err() {
        let said = answer.error_message.as_ref().map_or_else(|| format!("{code:?}"), |text| text.to_string());
        return Err(refused(&format!("SASL authentication error: {said}")));
    }
    let lifetime = u64::try_from(answer.session_lifetime_ms).ok().filter(|millis| *millis > 0);
    Ok((answer.auth_bytes, lifetime.map(Duration::from_millis)))
}

fn refused(said: &str) -> Error {
    super::dial::trouble("Kafka does not let us in", said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(properties: &[(&str, &str)]) -> Result<Option<Login>> {
        Login::of(&Kafka::with(properties))
    }

    #[test]
    fn the_mechanism_decides_what_is_needed() {
        assert!(login(&[]).unwrap().is_none());
        assert!(login(&[("security.protocol", "SSL"), ("sasl.mechanism", "PLAIN")]).unwrap().is_none());
        let user = ("sasl.username", "reader");
        let sasl = ("security.protocol", "SASL_SSL");
        let plain = ("sasl.mechanism", "plain");
        let found = login(&[sasl, plain, user, ("sasl.password", "hunter2")]).unwrap().unwrap();
        assert_eq!(found.mechanism(), "PLAIN");
        for (properties, words) in [
            (&[sasl, plain, user][..], "sasl.password"),
            (&[sasl, plain], "sasl.username"),
            (&[sasl, ("sasl.mechanism", "OAUTHBEARER")], "token.endpoint.url"),
            (&[sasl], "GSSAPI is not supported"),
        ] {
            let error = login(properties).err().unwrap();
            assert!(error.message().contains(words), "{error:?}");
        }
    }
}
