//! Which properties `[kafka]` may hold: librdkafka's own, less those that Strandline's guarantees rest on.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::nearest::nearest;

/// Properties that Strandline sets itself, and what to do instead.
const OWNED: &[(&str, &str)] = &[
    ("transactional.id", "no such line: Strandline builds it from group.id, name and the offsets partition"),
    ("enable.idempotence", "no such line: Strandline's producer is always idempotent"),
    ("enable.gapless.guarantee", "no such line: Strandline's producer is always idempotent"),
    ("acks", "no such line: Strandline always waits for all in-sync replicas"),
    ("request.required.acks", "no such line: Strandline always waits for all in-sync replicas"),
    ("isolation.level", "no such line: Strandline reads its offsets committed"),
    ("group.id", "the key group.id, outside [kafka]"),
    ("enable.auto.commit", "no such line: progress is stored in offset.storage.topic"),
    ("auto.commit.enable", "no such line: progress is stored in offset.storage.topic"),
    ("enable.auto.offset.store", "no such line: progress is stored in offset.storage.topic"),
    ("auto.offset.reset", "no such line: the offsets topic is always read whole"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "no such line: tokens come from sasl.oauthbearer.token.endpoint.url"),
    ("sasl.oauthbearer.config", "sasl.oauthbearer.token.endpoint.url, client.id and client.secret"),
    ("sasl.oauthbearer.extensions", "no such line: extensions are not sent with a token"),
    ("enable.partition.eof", "no such line: Strandline finds a partition's end itself"),
    ("partitioner", "no such line: murmur2_random, so that keys land where Java producers put them"),
    ("message.timeout.ms", "no such line: a record waits as long as its transaction; see transaction.timeout.ms"),
    ("delivery.timeout.ms", "no such line: a record waits as long as its transaction; see transaction.timeout.ms"),
];

/// librdkafka's properties of the client credentials grant, which Strandline asks for itself: our build of it knows none.
const TOKENS: &[&str] = &[
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "https.ca.location",
    "https.ca.pem",
];

/// Properties of librdkafka's producer, in whose place Strandline has one of its own.
const WITHOUT_EFFECT: &[&str] = &[
    "linger.ms",
    "queue.buffering.max.ms",
    "batch.num.messages",
    "queue.buffering.max.messages",
    "queue.buffering.backpressure.threshold",
    "sticky.partitioning.linger.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "retries",
];

/// Properties of librdkafka's connections, which ours do without.
const UNNEEDED: &[&str] = &[
    "topic.metadata.refresh.interval.ms",
    "metadata.max.age.ms",
    "retry.backoff.ms",
    "retry.backoff.max.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.send.buffer.bytes",
    "socket.receive.buffer.bytes",
    "receive.message.max.bytes",
    "client.dns.lookup",
    "ssl.providers",
];

/// Why a property changes nothing, if it does not: no harm, but whoever wrote it expects something.
pub fn without_effect(property: &str) -> Option<String> {
    if UNNEEDED.contains(&property) {
        return Some(format!("kafka.\"{property}\" has no effect on Strandline's own connections"));
    }
    WITHOUT_EFFECT.contains(&property).then(|| {
        format!("kafka.\"{property}\" has no effect: batches go when they are full (batch.size) and with each commit, and again until it is over")
    })
}

/// Whether a property is for getting tokens, and not for librdkafka.
pub fn is_for_tokens(property: &str) -> bool {
    TOKENS.contains(&property)
}

/// Names of the Java client, and librdkafka's way.
const JAVA: &[(&str, &str)] = &[
    ("sasl.jaas.config", "sasl.username and sasl.password (librdkafka has no JAAS)"),
    ("sasl.login.class", "sasl.mechanism alone (librdkafka loads no Java classes)"),
    ("sasl.login.callback.handler.class", "sasl.oauthbearer.method and its like (librdkafka loads no Java classes)"),
    ("sasl.client.callback.handler.class", "sasl.mechanism alone (librdkafka loads no Java classes)"),
    ("ssl.truststore.location", "ssl.ca.location, a PEM file (keytool and openssl convert it)"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.truststore.password", "no such line: ssl.ca.location is a PEM file without a password"),
    ("ssl.truststore.type", "no such line: ssl.ca.location is a PEM file"),
    ("ssl.keystore.type", "no such line: ssl.keystore.location is PKCS#12; ssl.certificate.location takes PEM"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.protocol", "no such line: OpenSSL takes the newest that both sides have"),
    ("ssl.enabled.protocols", "no such line: OpenSSL takes the newest that both sides have"),
    ("key.serializer", "no such line: keys and values are Avro"),
    ("value.serializer", "no such line: keys and values are Avro"),
    ("key.deserializer", "no such line: keys and values are Avro"),
    ("value.deserializer", "no such line: keys and values are Avro"),
    ("schema.registry.url", "the key schema_registry.url, outside [kafka]"),
    ("basic.auth.user.info", "schema_registry.user and schema_registry.password, outside [kafka]"),
    (
        "basic.auth.credentials.source",
        "no such line: schema_registry.user and schema_registry.password, outside [kafka], are enough",
    ),
    ("schema.registry.basic.auth.user.info", "schema_registry.user and schema_registry.password, outside [kafka]"),
    ("bearer.auth.token", "the key schema_registry.token, outside [kafka]"),
    ("ssl.client.auth", "no such line: it is a setting of the broker's"),
    ("ssl.truststore.provider", "no such line: ssl.ca.location is a PEM file"),
    ("ssl.keymanager.algorithm", "no such line: OpenSSL needs none"),
    ("ssl.trustmanager.algorithm", "no such line: OpenSSL needs none"),
    ("ssl.secure.random.implementation", "no such line: OpenSSL needs none"),
    ("sasl.oauthbearer.jwks.endpoint.url", "no such line: it is a setting of the broker's"),
    ("reconnect.backoff.max", "reconnect.backoff.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("buffer.memory", "queue.buffering.max.kbytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("max.block.ms", "no such line: Strandline bounds the wait by source.stall"),
    ("interceptor.classes", "no such line: librdkafka loads no Java classes"),
];

/// librdkafka's properties that a producer may want, for the nearest to a misspelt one.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "allow.auto.create.topics", "api.version.request.timeout.ms", "batch.num.messages", "batch.size", "bootstrap.servers",
    "broker.address.family", "broker.address.ttl", "client.dns.lookup", "client.id", "client.rack", "compression.codec",
    "compression.level", "compression.type", "connections.max.idle.ms", "debug", "enable.metrics.push",
    "enable.ssl.certificate.verification", "fetch.max.bytes", "fetch.min.bytes",
    "fetch.wait.max.ms", "heartbeat.interval.ms", "https.ca.location", "https.ca.pem", "linger.ms", "log.connection.close",
    "log_level", "max.in.flight", "max.in.flight.requests.per.connection", "message.copy.max.bytes", "message.max.bytes",
    "message.send.max.retries", "metadata.broker.list", "metadata.max.age.ms", "metadata.recovery.strategy",
    "plugin.library.paths", "queue.buffering.backpressure.threshold", "queue.buffering.max.kbytes",
    "queue.buffering.max.messages", "queue.buffering.max.ms", "queued.max.messages.kbytes", "queued.min.messages",
    "receive.message.max.bytes", "reconnect.backoff.max.ms", "reconnect.backoff.ms", "request.timeout.ms", "retries",
    "retry.backoff.max.ms", "retry.backoff.ms", "sasl.kerberos.keytab", "sasl.kerberos.principal",
    "sasl.kerberos.service.name", "sasl.mechanism", "sasl.mechanisms", "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.method", "sasl.oauthbearer.scope", "sasl.oauthbearer.token.endpoint.url", "sasl.password",
    "sasl.username", "security.protocol", "session.timeout.ms", "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable", "socket.max.fails", "socket.nagle.disable", "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes", "socket.timeout.ms", "ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location",
    "ssl.certificate.pem", "ssl.cipher.suites", "ssl.crl.location", "ssl.curves.list",
    "ssl.endpoint.identification.algorithm", "ssl.key.location", "ssl.key.password", "ssl.key.pem",
    "ssl.keystore.location", "ssl.keystore.password", "ssl.providers", "ssl.sigalgs.list", "statistics.interval.ms",
    "sticky.partitioning.linger.ms", "topic.metadata.refresh.interval.ms", "transaction.timeout.ms",
];

/// Whether a property's value may be, or hold, a secret.
pub(super) fn is_sensitive(property: &str) -> bool {
    ["password", "passphrase", "secret", "pem", "jaas", "config", "token", "ssl.key", "ssl_key", "extensions", "assertion"]
        .iter()
        .any(|word| property.contains(word))
        // A key that librdkafka does not know may be any of these, misspelt.
        || matches!(ClientConfig::new().set(property, "").create_native_config(),
            Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)))
}

/// What would be right, if the property or its value is not.
pub(super) fn check(property: &str, value: &str) -> Result<(), String> {
    if is_for_tokens(property) {
        return check_token(property, value);
    }
    if let Some((_, needs)) = OWNED.iter().chain(JAVA).find(|(name, _)| *name == property) {
        return Err((*needs).to_owned());
    }
    if property == "ssl.keystore.location" && value.ends_with(".jks") {
        let needs = "a PKCS#12 file, not Java's own sort: keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype PKCS12";
        return Err(needs.to_owned());
    }
    let Err(error) = ClientConfig::new().set(property, value).create_native_config() else { return Ok(()) };
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => Err(unknown(property)),
        // librdkafka's words quote the value.
        KafkaError::ClientConfig(_, words, ..) if !is_sensitive(property) => {
            Err(format!("what librdkafka takes; it says: {}", words.trim().trim_end_matches('.')))
        }
        _ => Err("a value that librdkafka takes".to_owned()),
    }
}

fn check_token(property: &str, value: &str) -> Result<(), String> {
    match property {
        "sasl.oauthbearer.method" if value != "oidc" => {
            Err("oidc, with sasl.oauthbearer.token.endpoint.url, client.id and client.secret".to_owned())
        }
        "sasl.oauthbearer.grant.type" if value != "client_credentials" => {
            Err("client_credentials; no other grant is supported".to_owned())
        }
        "sasl.oauthbearer.token.endpoint.url" if !value.starts_with("https://") && !value.starts_with("http://") => {
            Err("an address such as \"https://login.example.com/oauth2/token\"".to_owned())
        }
        _ if value.is_empty() => Err("a text that is not empty".to_owned()),
        _ => Ok(()),
    }
}

/// What a login lacks, and the broker's answer would be a timeout: properties, and what they need.
pub(super) fn missing(
    is_set: impl Fn(&str) -> bool,
    protocol: Option<&str>,
    mechanism: Option<&str>,
) -> Vec<(&'static str, &'static str)> {
    const MECHANISM: (&[&str], &str) = (&["sasl.mechanism"], "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER");
    let by_sasl = protocol.is_some_and(|protocol| protocol.to_ascii_lowercase().starts_with("sasl"));
    let needed: &[(&[&str], &str)] = match mechanism.map(str::to_ascii_uppercase).as_deref() {
        None if by_sasl => &[MECHANISM],
        Some(_) if protocol.is_none() => &[(
            &["security.protocol"],
            "SASL_SSL beside sasl.mechanism, or SASL_PLAINTEXT where the listener has no TLS",
        )],
        _ if !by_sasl => &[],
        Some("PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512") => {
            &[(&["sasl.username"], "the user that logs in at the brokers"), (&["sasl.password"], "the user's password")]
        }
        Some("OAUTHBEARER") => &[
            (&["sasl.oauthbearer.token.endpoint.url"], "the address that gives tokens"),
            (
                &["sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"],
                "the OAuth client's name",
            ),
            (
                &["sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"],
                "the OAuth client's secret",
            ),
        ],
        // GSSAPI, and what librdkafka does not know.
        _ => return vec![("sasl.mechanism", MECHANISM.1)],
    };
    let lacking = needed.iter().filter(|(names, _)| !names.iter().any(|name| is_set(name)));
    lacking.filter_map(|(names, needs)| Some((*names.first()?, *needs))).collect()
}

fn unknown(property: &str) -> String {
    let client = ["producer.", "consumer.", "admin."].iter().find_map(|prefix| property.strip_prefix(prefix));
    if let Some(property) = client {
        return format!("{property}, without the client before it");
    }
    match nearest(property, NAMES.iter().copied()) {
        Some(near) => format!("a property of librdkafka; the nearest is {near}"),
        None => "a property of librdkafka, by the name in its CONFIGURATION.md".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_suggested_is_one_that_librdkafka_knows() {
        for name in NAMES {
            let answer = ClientConfig::new().set(*name, "?").create_native_config();
            assert!(
                !matches!(answer, Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..))),
                "{name}"
            );
            assert!(!OWNED.iter().any(|(owned, _)| owned == name), "{name}");
        }
        for name in WITHOUT_EFFECT.iter().chain(UNNEEDED) {
            assert!(NAMES.contains(name), "{name}");
        }
    }

    #[test]
    fn properties_are_judged_by_librdkafka() {
        assert_eq!(check("linger.ms", "5"), Ok(()));
        assert_eq!(check("security.protocol", "SASL_SSL"), Ok(()));
        assert_eq!(
            check("security.protocol", "SASL_TLS").unwrap_err(),
            "what librdkafka takes; it says: Invalid value \"SASL_TLS\" for configuration property \"security.protocol\""
        );
        assert_eq!(check("lingr.ms", "5").unwrap_err(), "a property of librdkafka; the nearest is linger.ms");
        assert_eq!(check("producer.linger.ms", "5").unwrap_err(), "linger.ms, without the client before it");
        assert!(check("linger.ms", "a\0b").is_err());
    }

    #[test]
    fn a_login_that_lacks_a_part_is_told_which() {
        let lacks = |set: &[&str], protocol, mechanism| -> Vec<&str> {
            missing(|name| set.contains(&name), protocol, mechanism).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(lacks(&[], None, None), [""; 0]);
        assert_eq!(lacks(&[], Some("SASL_SSL"), None), ["sasl.mechanism"]);
        assert_eq!(lacks(&[], Some("sasl_ssl"), Some("GSSAPI")), ["sasl.mechanism"]);
        assert_eq!(lacks(&[], None, Some("PLAIN")), ["security.protocol"]);
        assert_eq!(lacks(&["sasl.username"], Some("SASL_SSL"), Some("PLAIN")), ["sasl.password"]);
        assert_eq!(
            lacks(&["sasl.oauthbearer.client.credentials.client.id"], Some("SASL_SSL"), Some("OAUTHBEARER")),
            ["sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.client.secret"]
        );
    }

    #[test]
    fn tokens_are_asked_for_by_ourselves() {
        for (property, value, fine) in [
            ("sasl.oauthbearer.method", "oidc", true),
            ("sasl.oauthbearer.method", "default", false),
            ("sasl.oauthbearer.grant.type", "client_credentials", true),
            ("sasl.oauthbearer.token.endpoint.url", "https://login/token", true),
            ("sasl.oauthbearer.token.endpoint.url", "login/token", false),
            ("sasl.oauthbearer.client.secret", "", false),
            ("sasl.oauthbearer.extensions", "logicalCluster=x", false),
            ("https.ca.location", "/etc/ca.pem", true),
        ] {
            assert_eq!(check(property, value).is_ok(), fine, "{property} {value}");
        }
    }

    #[test]
    fn a_secret_is_not_quoted() {
        for property in ["sasl.password", "ssl.key.pem", "sasl.jaas.config", "sasl.pasword", "sasl.oauthbearer.config"]
        {
            assert!(is_sensitive(property), "{property}");
        }
        for property in ["bootstrap.servers", "linger.ms", "security.protocol", "ssl.ca.location"] {
            assert!(!is_sensitive(property), "{property}");
        }
        assert!(!check("ssl.key.pem", "hunter2").is_err_and(|needs| needs.contains("hunter2")));
    }

    #[test]
    fn owned_and_java_names_are_answered_with_both_names() {
        assert!(check("transactional.id", "x").unwrap_err().contains("group.id"));
        assert!(check("sasl.jaas.config", "x").unwrap_err().starts_with("sasl.username and sasl.password"));
        assert!(check("basic.auth.user.info", "k:hunter2").unwrap_err().starts_with("schema_registry.user and"));
        assert!(check("ssl.keystore.location", "/etc/own.jks").unwrap_err().contains("-deststoretype PKCS12"));
    }
}
