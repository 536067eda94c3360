//! Opening a connection: name, TCP, TLS, versions, login.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::VersionRange;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::connection::{Connection, Stream};
use super::login::Login;
use super::tls::Tls;
use crate::config::Kafka;
use crate::kafka::trouble::Trouble;
use crate::{Error, Kind, Result};

/// How brokers are dialled.
pub struct Dial {
    client: String,
    /// Where TLS is spoken: what its settings are, whose files are read again for each connection.
    tls: Option<Kafka>,
    login: Option<Login>,
    /// How long opening may take.
    patience: Duration,
    /// How long a connection may rest.
    idle: Duration,
    family: Family,
}

/// `broker.address.family`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

/// After how long without a word the other side is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

impl Dial {
    /// As `[kafka]` says.
    pub fn of(kafka: &Kafka, connector: &str) -> Result<Dial> {
        let protocol = kafka.property("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
        Ok(Dial {
            client: kafka.property("client.id").map_or_else(|| format!("strandline-{connector}"), str::to_owned),
            tls: protocol.ends_with("ssl").then(|| kafka.clone()),
            login: Login::of(kafka)?,
            patience: kafka.millis("socket.connection.setup.timeout.ms", 10_000),
            // Load balancers forget what rests for four minutes. 0 is librdkafka's word for never.
            idle: match kafka.millis("connections.max.idle.ms", 180_000) {
                Duration::ZERO => Duration::MAX,
                idle => idle,
            },
            family: match kafka.property("broker.address.family").map(str::to_ascii_lowercase).as_deref() {
                Some("v4") => Family::V4,
                Some("v6") => Family::V6,
                _ => Family::Any,
            },
        })
    }

    /// A connection that is ready for requests.
    pub async fn open(&self, host: &str, port: u16) -> Result<Connection> {
        let peer = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        match tokio::time::timeout(self.patience, self.connect(host, port, &peer)).await {
            Ok(connection) => connection,
            Err(_) => Err(unreachable(&peer, &format!("Connection setup timed out after {:.0?}", self.patience))),
        }
    }

    async fn connect(&self, host: &str, port: u16, peer: &str) -> Result<Connection> {
        // What is wrong with the settings is told before anybody is dialled.
        let tls = self.tls.as_ref().map(Tls::of).transpose()?;
        let tcp = self.reach(host, port, peer).await?;
        // A connection that a firewall forgot is found out.
        let alive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
        let settled = tcp.set_nodelay(true).and_then(|()| SockRef::from(&tcp).set_tcp_keepalive(&alive));
        settled.map_err(|error| unreachable(peer, &error.to_string()))?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(tls) => {
                let failed = |why: &dyn std::fmt::Display| unreachable(peer, &format!("SSL handshake failed: {why}"));
                let mut stream = SslStream::new(tls.to(host)?, tcp).map_err(|error| failed(&error))?;
                if let Err(error) = Pin::new(&mut stream).connect().await {
                    let verified = stream.ssl().verify_result();
                    return Err(match verified.as_raw() {
                        0 => failed(&error),
                        _ => failed(&format!("certificate verify failed: {}", verified.error_string())),
                    });
                }
                Box::new(stream)
            }
        };
        let mut connection = Connection::over(stream, peer.to_owned(), &self.client, self.idle);
        let versions = self.versions(&connection).await.map_err(|error| unreachable(peer, &error.causes()))?;
        connection.knows(versions);
        if let Some(login) = &self.login
            && let Some(lifetime) = login.at(&connection, self.patience).await?
        {
            connection.lives(lifetime);
        }
        Ok(connection)
    }

    /// The first of the host's addresses that answers.
    async fn reach(&self, host: &str, port: u16, peer: &str) -> Result<TcpStream> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|error| unreachable(peer, &format!("Failed to resolve {host}: {error}")))?;
        let fits = |address: &SocketAddr| match self.family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let found: Vec<SocketAddr> = found.filter(fits).collect();
        let mut last = format!("Failed to resolve {host}: no address");
        // Each gets its share of the time: one that does not answer must not keep the next from being tried.
        let share = self.patience / u32::try_from(found.len().max(1)).unwrap_or(u32::MAX);
        for address in found {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("Connection setup timed out after {share:.0?}"),
            }
        }
        Err(unreachable(peer, &last))
    }

    /// What the broker speaks: asked in the oldest way, which all understand.
    async fn versions(&self, connection: &Connection) -> Result<HashMap<i16, VersionRange>> {
        let request = ApiVersionsRequest::default();
        let answer: ApiVersionsResponse = connection.ask(ApiKey::ApiVersions, 0, &request, self.patience)?.await?;
        if let Some(code) = answer.error_code.err() {
            return Err(Error::new(Kind::Kafka, "it does not say what it speaks").because(format!("{code:?}")));
        }
        let each = answer
            .api_keys
            .iter()
            .map(|one| (one.api_key, VersionRange { min: one.min_version, max: one.max_version }));
        Ok(each.collect())
    }
}

fn unreachable(peer: &str, said: &str) -> Error {
    trouble(&format!("broker {peer} cannot be reached"), said)
}

/// A failure on the way to a broker, with what to do about it.
pub(super) fn trouble(what: &str, said: &str) -> Error {
    let heard = Trouble::heard(said);
    let hint = heard.as_ref().map_or("check kafka.\"bootstrap.servers\", that the brokers are up, and that kafka.\"security.protocol\" is the listener's", Trouble::hint);
    Error::new(Kind::Kafka, what).because(said).hint(hint)
}

/// Whether it is for a person to mend: waiting does not.
pub fn lasts(error: &Error) -> bool {
    Trouble::heard(&error.causes()).is_some_and(|trouble| trouble.lasts())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn open(port: u16, timeout: &str) -> Error {
        let kafka = Kafka::with(&[("socket.connection.setup.timeout.ms", timeout)]);
        Dial::of(&kafka, "shop").unwrap().open("127.0.0.1", port).await.err().unwrap()
    }

    #[tokio::test]
    async fn nobody_listening_and_strangers_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Somebody who says nothing, then somebody of another protocol.
        let silent = open(port, "300").await;
        assert!(["timed out", "no answer"].iter().any(|words| silent.causes().contains(words)), "{silent:?}");
        let stranger = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut some = [0; 16];
                if stream.read(&mut some).await.unwrap_or(0) > 0 {
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                }
            }
        });
        let answered = open(port, "30000").await;
        assert!(answered.causes().contains("no answer of Kafka's"), "{answered:?}");
        stranger.abort();
        let _ = stranger.await;
        let refused = open(port, "30000").await;
        assert!(
            refused.causes().contains("refused") && refused.hint_text().unwrap().contains("brokers are up"),
            "{refused:?}"
        );
    }
}
