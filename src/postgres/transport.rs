//! What a connection's bytes go through: a socket, TLS if it is spoken, and the tap that takes COPY's rows off.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;

use bytes::BytesMut;
use postgres_native_tls::TlsConnector;
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode as Tls, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::tap::{Basin, Tap};
use super::tunnel::Tunnel;

/// A way to a server.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {
    /// What ties a login to this very TLS session; nothing without one.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Any of them.
pub(super) type Socket = Box<dyn Transport>;

impl Transport for TcpStream {}
impl Transport for UnixStream {}
impl Transport for Tunnel {}
impl Transport for postgres_native_tls::TlsStream<Socket> {
    fn channel_binding(&self) -> ChannelBinding {
        TlsStream::channel_binding(self)
    }
}

/// Opens a socket as libpq would: at once with what it is sent, and noticing a dead peer as the settings say.
pub(super) async fn dial(settings: &Config, host: &str, address: Option<IpAddr>, port: u16) -> io::Result<Socket> {
    let Some(address) = address else {
        return Ok(Box::new(UnixStream::connect(Path::new(host).join(format!(".s.PGSQL.{port}"))).await?));
    };
    let tcp = TcpStream::connect((address, port)).await?;
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(&tcp);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(settings.get_tcp_user_timeout().copied())?;
    if settings.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(settings.get_keepalives_idle());
        if let Some(interval) = settings.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = settings.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(Box::new(tcp))
}

/// Agrees with the server on TLS, and puts the tap behind it, where the messages are plain.
///
/// To the driver this is TLS without a question before it ([`SslNegotiation::Direct`]), even where none is spoken: only so does
/// it read through a stream of ours in each case. What was asked for stands here.
pub(super) struct Negotiate {
    pub mode: Tls,
    pub negotiation: SslNegotiation,
    pub connector: TlsConnector,
    /// Where the tap leaves the rows.
    pub basin: Basin,
}

impl Negotiate {
    /// How the driver has to be set for it.
    pub fn settings(mut settings: Config) -> Config {
        settings.ssl_mode(Tls::Require).ssl_negotiation(SslNegotiation::Direct);
        settings
    }

    async fn agree(self, mut socket: Socket) -> Result<Tap, Box<dyn std::error::Error + Send + Sync>> {
        let asks = self.negotiation == SslNegotiation::Postgres;
        if self.mode == Tls::Disable || (asks && !ask(&mut socket).await.map_err(Unanswered)?) {
            if self.mode == Tls::Require {
                return Err("server does not support TLS".into());
            }
            return Ok(Tap::new(socket, self.basin));
        }
        Ok(Tap::new(Box::new(self.connector.connect(socket).await?), self.basin))
    }
}

/// The server did not say whether it speaks TLS: to ask it for a connection without is no answer to that.
#[derive(Debug)]
pub(super) struct Unanswered(io::Error);

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the server does not say whether it speaks TLS")
    }
}

impl std::error::Error for Unanswered {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Whether the server speaks TLS. Only its one byte is read: whatever came with it in the plain must not be taken for the
/// session's (CVE-2021-23222).
async fn ask(socket: &mut Socket) -> io::Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    Ok(socket.read_u8().await? == b'S')
}

impl TlsConnect<Socket> for Negotiate {
    type Stream = Tap;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Tap, Self::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(self.agree(socket))
    }
}
