//! What keeps us from the brokers, told from what librdkafka's log says of its attempts: its calls answer with a timeout alone.

/// The last attempt's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub sort: Sort,
    /// librdkafka's words, without its thread, the broker's number and how often.
    pub said: String,
}

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// User or password, or a token.
    Login,
    /// The mechanism is not one of the broker's.
    Mechanism,
    /// The broker's certificate is of no authority that we trust, or of another host.
    Certificate,
    /// The broker wants a certificate of ours, or another.
    OwnCertificate,
    /// TLS where there is none, or none where there is.
    Protocol,
    /// Not reached.
    Network,
}

impl Trouble {
    /// What a line of the log says of an attempt to connect, if it does.
    pub fn heard(line: &str) -> Option<Trouble> {
        let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
        let sort = if has(&["Unsupported SASL mechanism", "unsupported mechanism", "not enabled in the server"]) {
            Sort::Mechanism
        } else if has(&["SASL authentication error", "SASL SCRAM", "OAUTHBEARER token", "uthentication failed"]) {
            Sort::Login
        } else if has(&["certificate required", "bad certificate", "unknown ca", "alert certificate"]) {
            Sort::OwnCertificate
        } else if has(&["certificate verify failed", "certificate could not be verified", "hostname mismatch"]) {
            Sort::Certificate
        } else if has(&["incorrect security.protocol", "security.protocol is correctly", "SSL handshake failed"]) {
            Sort::Protocol
        } else if has(&["Connection refused", "Failed to resolve", "timed out", "unreachable", "Connection setup"]) {
            Sort::Network
        } else {
            return None;
        };
        Some(Trouble { sort, said: shortened(line) })
    }

    /// Whether a person must mend it: waiting does not.
    pub fn lasts(&self) -> bool {
        !matches!(self.sort, Sort::Network | Sort::Protocol)
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self.sort {
            Sort::Login => {
                "correct kafka.\"sasl.username\" and \"sasl.password\" (or the OAuth client), and that sasl.mechanism is the one they are for"
            }
            Sort::Mechanism => {
                "set kafka.\"sasl.mechanism\" to one that the listener has: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
            }
            Sort::Certificate => {
                "set kafka.\"ssl.ca.location\" to the PEM file of the authority that signed the brokers' certificates; they must be made \
                 out to the names in bootstrap.servers and advertised.listeners"
            }
            Sort::OwnCertificate => {
                "set kafka.\"ssl.certificate.location\" and \"ssl.key.location\" to a certificate whose authority the brokers trust"
            }
            Sort::Protocol => {
                "set kafka.\"security.protocol\" to the listener's: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, and bootstrap.servers to its port"
            }
            Sort::Network => "check kafka.\"bootstrap.servers\" and that the brokers are up",
        }
    }
}

/// `[thrd:sasl_ssl://b:9/boot]: sasl_ssl://b:9/bootstrap: SSL handshake failed: … (after 3ms in state …, 2 identical error(s) suppressed)`.
fn shortened(line: &str) -> String {
    let line = line.split_once("]: ").filter(|_| line.starts_with('[')).map_or(line, |(_, rest)| rest);
    line.split(" (after ").next().unwrap_or(line).trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log_are_told_apart() {
        use Sort::*;
        for (line, sort) in [
            (
                "[thrd:sasl_ssl://b:1/boot]: sasl_ssl://b:1/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256 (after 9ms in state AUTH_REQ)",
                Some(Login),
            ),
            (
                "[thrd:x]: x/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-256",
                Some(Mechanism),
            ),
            (
                "[thrd:x]: ssl://b:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured",
                Some(Certificate),
            ),
            ("ssl://b:1/1: SSL handshake failed: ssl/tls alert certificate required", Some(OwnCertificate)),
            ("x: SSL handshake failed: error:0A00010B:SSL routines::wrong version number", Some(Protocol)),
            ("x: Connect to ipv4#127.0.0.1:1 failed: Connection refused", Some(Network)),
            ("x: Failed to resolve 'nowhere:9092': Name or service not known", Some(Network)),
            ("GroupCoordinator: something else", None),
        ] {
            assert_eq!(Trouble::heard(line).map(|trouble| trouble.sort), sort, "{line}");
        }
    }

    #[test]
    fn what_was_said_is_told_without_its_frame() {
        let line = "[thrd:ssl://b:1/boot]: ssl://b:1/bootstrap: SSL handshake failed: no (after 3ms in state SSL_HANDSHAKE, 2 identical error(s) suppressed)";
        assert_eq!(Trouble::heard(line).unwrap().said, "ssl://b:1/bootstrap: SSL handshake failed: no");
    }
}
