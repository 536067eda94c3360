//! Client settings: the user's `[kafka]` over our defaults, under what Strandline owns. Logs of the client go to ours.

use std::ffi::CString;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::oauth::Grant;
use super::trouble::Trouble;
use crate::config::{Kafka, is_for_tokens};
use crate::{Error, Kind};

/// Settings that any client shares.
pub fn settings(kafka: &Kafka, connector: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("client.id", format!("strandline-{connector}"));
    settings.set("connections.max.idle.ms", "540000");
    settings.set("socket.keepalive.enable", "true");
    settings.set_log_level(RDKafkaLogLevel::Warning);
    for (name, value) in kafka.properties.iter().filter(|(name, _)| !is_for_tokens(name)) {
        settings.set(name, value.reveal());
    }
    settings
}

/// The client's log and errors, as ours; the same text at most once in a while, as a broker that is away is told of at
/// every attempt, and each error comes twice.
pub struct Context {
    last: Mutex<Option<(String, Instant)>>,
    /// What keeps us from the brokers, as far as it is known.
    trouble: Mutex<Option<Trouble>>,
    /// Where tokens come from.
    grant: Option<Grant>,
}

impl Context {
    const SILENCE: Duration = Duration::from_secs(30);

    /// Of a client of these brokers.
    pub fn of(kafka: &Kafka) -> Context {
        Context { last: Mutex::default(), trouble: Mutex::default(), grant: Grant::of(kafka) }
    }

    /// Kafka does not answer: why, as far as the log tells.
    pub fn unreachable(&self, what: impl Into<String>, error: KafkaError) -> Error {
        match self.trouble() {
            Some(trouble) => Error::new(Kind::Kafka, what).because(trouble.said.as_str()).hint(trouble.hint()),
            None => unreachable(what, error),
        }
    }

    /// Gives a client a token that nobody polls for: an admin client serves no events. Blocks.
    pub fn log_in(&self, client: &Client<Context>) {
        let Some(Ok(token)) = self.grant.as_ref().map(|_| self.generate_oauth_token(None)) else { return };
        let (Ok(text), Ok(principal)) = (CString::new(token.token), CString::new(token.principal_name)) else { return };
        let mut said = [0; 512];
        // SAFETY: the client lives, the texts do until the call returns, and the room for its words is as long as is said.
        let code = unsafe {
            rdkafka_sys::rd_kafka_oauthbearer_set_token(
                client.native_ptr(),
                text.as_ptr(),
                token.lifetime_ms,
                principal.as_ptr(),
                std::ptr::null_mut(),
                0,
                said.as_mut_ptr(),
                said.len(),
            )
        };
        if code != rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            tracing::warn!(target: "kafka", "the OAUTHBEARER token cannot be used");
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().ok()?.clone()
    }

    fn hear(&self, line: &str) {
        // What a person must mend is not forgotten over a broker that is away besides.
        if let Some(heard) = Trouble::heard(line)
            && let Ok(mut trouble) = self.trouble.lock()
            && (heard.lasts() || !trouble.as_ref().is_some_and(Trouble::lasts))
        {
            *trouble = Some(heard);
        }
    }

    fn is_news(&self, text: &str) -> bool {
        // A broker's text carries a count of milliseconds that differs each time.
        let text: String = text.chars().filter(|one| !one.is_ascii_digit()).collect();
        let Ok(mut last) = self.last.lock() else { return true };
        let old = last.as_ref().is_some_and(|(before, at)| *before == text && at.elapsed() < Self::SILENCE);
        if !old {
            *last = Some((text, Instant::now()));
        }
        !old
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let grant = self.grant.as_ref().ok_or("kafka.\"sasl.oauthbearer.token.endpoint.url\" is not set")?;
        let token = grant.token();
        if let Err(why) = &token {
            tracing::warn!(target: "kafka", "no OAUTHBEARER token: {why}");
            self.hear(&format!("no OAUTHBEARER token: {why}"));
        }
        Ok(token?)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.hear(message);
        // Producer settings given to a consumer are told as a warning each time; they are meant for the producer.
        if facility == "CONFWARN" || !self.is_news(message) {
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "kafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "kafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is news to nobody.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) && self.is_news(reason) {
            tracing::debug!(target: "kafka", error = %error, "{reason}");
        }
    }
}

/// A client that cannot be built: a property's value is wrong.
pub fn unbuildable(error: KafkaError) -> Error {
    Error::new(Kind::Config, "a Kafka client cannot be built from [kafka]")
        .because(error)
        .hint("check the properties under [kafka]")
}

/// Kafka does not answer.
pub fn unreachable(what: impl Into<String>, error: KafkaError) -> Error {
    Error::new(Kind::Kafka, what).because(error).hint(
        "check kafka.\"bootstrap.servers\", that the brokers are up, and that kafka.\"security.protocol\" is the listener's (SASL_SSL, say)",
    )
}
