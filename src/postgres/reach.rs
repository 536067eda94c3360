//! Which of several servers: their order, their addresses, with TLS and without, as libpq goes about it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::config::{SslMode as Tls, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connect::Connection;
use super::error::{classify_connecting, timed_out, unreachable};
use super::tap::Basin;
use super::transport::{Negotiate, Socket, Unanswered, dial};
use super::tunnel::Tunnel;
use crate::config::{Endpoint, SessionAttrs, Ssh, SslMode, Target};
use crate::{Error, Kind, Result};

/// One attempt's failure, and whether libpq would make it again with the other sort of transport.
struct Failed {
    error: Error,
    other_transport: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed { error, other_transport: false }
    }
}

/// A connection to the first server that will do. Unlike libpq it goes on after a refusal too: a server that is being taken out
/// of service may well refuse, while the next one serves.
pub(super) async fn reach(target: &Target, tls: &MakeTlsConnector) -> Result<Connection> {
    let began = Instant::now();
    let rounds: &[SessionAttrs] = match target.wanted {
        SessionAttrs::PreferStandby => &[SessionAttrs::Standby, SessionAttrs::Any],
        _ => &[target.wanted],
    };
    let mut failures = Vec::new();
    let mut left = rounds.len() * target.endpoints.len();
    for (round, wanted) in rounds.iter().enumerate() {
        for endpoint in in_order(target) {
            // One silent server must leave time for the next.
            let share = share(target.connect_timeout.saturating_sub(began.elapsed()), left);
            left -= 1;
            match one(target, endpoint, *wanted, tls, share).await {
                Ok(connection) => return Ok(connection),
                Err(error) if round == 0 => failures.push(error),
                Err(_) => {}
            }
        }
    }
    Err(told(failures).unwrap_or_else(|| timed_out(&target.address(), target.connect_timeout)))
}

fn in_order(target: &Target) -> Vec<&Endpoint> {
    let mut endpoints: Vec<&Endpoint> = target.endpoints.iter().collect();
    if target.balanced {
        shuffle(&mut endpoints);
    }
    endpoints
}

/// By hashes under a key that differs each time.
fn shuffle<T>(list: &mut [T]) {
    let random = RandomState::new();
    let mut at = 0_u64;
    list.sort_by_cached_key(|_| {
        at += 1;
        random.hash_one(at)
    });
}

/// In whole milliseconds, since a message may tell it.
fn share(time: Duration, among: usize) -> Duration {
    let share = time / u32::try_from(among).unwrap_or(u32::MAX).max(1);
    Duration::from_millis(u64::try_from(share.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

/// One server, at each of its addresses.
async fn one(
    target: &Target,
    endpoint: &Endpoint,
    wanted: SessionAttrs,
    tls: &MakeTlsConnector,
    limit: Duration,
) -> Result<Connection> {
    let began = Instant::now();
    let limit = target.address_timeout.unwrap_or(limit);
    let place = place(target, endpoint);
    let addresses = match &target.ssh {
        // The bastion looks the name up.
        Some(_) => vec![None],
        None => addresses(target, endpoint, &place, limit).await?,
    };
    let mut last = timed_out(&place, limit);
    for (at, address) in addresses.iter().enumerate() {
        let limit = match target.address_timeout {
            Some(each) => each,
            None => share(limit.saturating_sub(began.elapsed()), addresses.len() - at),
        };
        match transports(target, endpoint, *address, wanted, tls, limit).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What a server's name stands for; none for a socket.
async fn addresses(target: &Target, endpoint: &Endpoint, place: &str, limit: Duration) -> Result<Vec<Option<IpAddr>>> {
    if endpoint.is_socket() {
        return Ok(vec![None]);
    }
    if let Some(address) = endpoint.address {
        return Ok(vec![Some(address)]);
    }
    let found = tokio::time::timeout(limit, tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))).await;
    let found = found.map_err(|_| timed_out(place, limit))?.map_err(|error| unreachable(place, error))?;
    let mut addresses: Vec<_> = found.map(|address| Some(address.ip())).collect();
    if addresses.is_empty() {
        return Err(unreachable(place, io::Error::other("the name has no address")));
    }
    if target.balanced {
        shuffle(&mut addresses);
    }
    Ok(addresses)
}

/// With TLS, without, or one after the other.
async fn transports(
    target: &Target,
    endpoint: &Endpoint,
    address: Option<IpAddr>,
    wanted: SessionAttrs,
    tls: &MakeTlsConnector,
    limit: Duration,
) -> Result<Connection> {
    let began = Instant::now();
    let (first, second) = order(target.sslmode, endpoint.is_socket(), target.sslrootcert.is_some());
    let attempt = Attempt { target, endpoint, address, wanted };
    let failed = match attempt.make(first, tls, limit).await {
        Ok(connection) => return Ok(connection),
        Err(failed) => failed,
    };
    match second.filter(|_| failed.other_transport) {
        Some(second) => {
            let limit = limit.saturating_sub(began.elapsed());
            // The first failure is the one to tell: it is about the transport that was asked for.
            attempt.make(second, tls, limit).await.map_err(|_| failed.error)
        }
        None => Err(failed.error),
    }
}

/// The transport to try, and the one to fall back on. A socket has none but its own; whoever names an authority is not let down
/// to a connection that it does not vouch for.
fn order(mode: SslMode, socket: bool, authority: bool) -> (Tls, Option<Tls>) {
    match mode {
        _ if socket => (Tls::Disable, None),
        SslMode::Disable => (Tls::Disable, None),
        SslMode::Allow => (Tls::Disable, Some(Tls::Require)),
        SslMode::Prefer if authority => (Tls::Prefer, None),
        SslMode::Prefer => (Tls::Prefer, Some(Tls::Disable)),
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (Tls::Require, None),
    }
}

struct Attempt<'a> {
    target: &'a Target,
    endpoint: &'a Endpoint,
    address: Option<IpAddr>,
    wanted: SessionAttrs,
}

impl Attempt<'_> {
    async fn make(&self, mode: Tls, tls: &MakeTlsConnector, limit: Duration) -> Result<Connection, Failed> {
        let began = Instant::now();
        let place = place(self.target, self.endpoint);
        let connection = match &self.target.ssh {
            Some(ssh) => self.through(ssh, mode, tls, limit).await?,
            None => {
                let login = async {
                    let Endpoint { host, port, .. } = self.endpoint;
                    let socket = dial(&self.target.settings, host, self.address, *port).await;
                    self.log_in(mode, tls, socket.map_err(|error| unreachable(&place, error))?).await
                };
                let login = tokio::time::timeout(limit, login).await;
                login.map_err(|_| timed_out(&place, limit))??
            }
        };
        let left = limit.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, suits(connection.client(), self.wanted, &place)).await {
            Ok(suits) => suits.map(|()| connection).map_err(Failed::from),
            Err(_) => Err(timed_out(&place, limit).into()),
        }
    }

    /// TLS, and the login.
    async fn log_in(&self, mode: Tls, tls: &MakeTlsConnector, socket: Socket) -> Result<Connection, Failed> {
        let place = place(self.target, self.endpoint);
        let basin = Basin::default();
        // The certificate is the database's, wherever a tunnel ends.
        let connector = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls.clone(), &self.endpoint.host);
        let connector = connector.map_err(|error| {
            Error::new(Kind::Refused, format!("1023: TLS cannot be set up for {}", self.endpoint.host)).because(error)
        })?;
        let negotiation = self.target.settings.get_ssl_negotiation();
        let negotiate = Negotiate { mode, negotiation, connector, basin: basin.clone() };
        match Negotiate::settings(self.settings()).connect_raw(socket, negotiate).await {
            Ok((client, connection)) => Ok(Connection::drive(client, connection, basin)),
            Err(error) => Err(self.failed(error, &place)),
        }
    }

    fn failed(&self, error: tokio_postgres::Error, place: &str) -> Failed {
        let by_entry = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
        let unanswered = std::error::Error::source(&error).is_some_and(|cause| cause.is::<Unanswered>());
        let by_tls = error.to_string() == "error performing TLS handshake" && !unanswered;
        let direct = self.target.settings.get_ssl_negotiation() == SslNegotiation::Direct;
        let mut told = classify_connecting(error, place);
        if by_tls && direct {
            told = told.hint("PostgreSQL before 17, and poolers, take no sslnegotiation=direct: leave it out");
        }
        Failed { error: told, other_transport: by_entry || by_tls }
    }

    /// The driver's settings for this server alone.
    fn settings(&self) -> tokio_postgres::Config {
        let mut settings = self.target.settings.clone();
        if let Some(password) = &self.endpoint.password {
            settings.password(password.reveal());
        }
        settings
    }

    /// Through a bastion.
    async fn through(
        &self,
        ssh: &Ssh,
        mode: Tls,
        tls: &MakeTlsConnector,
        limit: Duration,
    ) -> Result<Connection, Failed> {
        let Endpoint { host, port, address, .. } = self.endpoint;
        let dialled = address.map_or_else(|| host.clone(), |address| address.to_string());
        let tunnel = Tunnel::open(ssh, &dialled, *port, limit)?;
        let said = tunnel.said();
        let failed = match tokio::time::timeout(limit, self.log_in(mode, tls, Box::new(tunnel))).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(failed)) => failed,
            Err(_) => timed_out(&place(self.target, self.endpoint), limit).into(),
        };
        Err(said.explain(ssh, &dialled, *port).await.map_or(failed, Failed::from))
    }
}

fn place(target: &Target, endpoint: &Endpoint) -> String {
    format!("{}:{}/{}", endpoint.host, endpoint.port, target.settings.get_dbname().unwrap_or_default())
}

/// Whether the server is one of those that are wanted.
async fn suits(client: &Client, wanted: SessionAttrs, place: &str) -> Result<()> {
    if wanted == SessionAttrs::Any {
        return Ok(());
    }
    let answer = client.simple_query("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')").await;
    let answer = answer.map_err(super::classify)?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0) == Some("t"), row.get(1) == Some("on"))),
        _ => None,
    });
    let (standby, read_only) = row.unwrap_or_default();
    let (suits, is) = match wanted {
        SessionAttrs::Any => (true, ""),
        SessionAttrs::ReadWrite => (!read_only, "read-only"),
        SessionAttrs::ReadOnly => (read_only, "read-write"),
        SessionAttrs::Primary => (!standby, "a standby"),
        SessionAttrs::Standby | SessionAttrs::PreferStandby => (standby, "a primary"),
    };
    if suits {
        return Ok(());
    }
    let message = format!("1006: the server is {is}, and target_session_attrs asks for another ({place})");
    Err(Error::new(Kind::Unreachable, message)
        .hint("name the other servers in database.hostname or database.url, or change target_session_attrs"))
}

/// One error for all servers: a refusal goes before what passes by itself.
fn told(mut failures: Vec<Error>) -> Option<Error> {
    let at = failures.iter().position(|error| error.kind() == Kind::Refused).or(failures.len().checked_sub(1))?;
    let first = failures.remove(at);
    if failures.is_empty() {
        return Some(first);
    }
    let others: Vec<String> = std::iter::once(first.causes())
        .chain(failures.iter().map(|error| match error.causes() {
            causes if causes.is_empty() => error.to_string(),
            causes => format!("{error}: {causes}"),
        }))
        .filter(|text| !text.is_empty())
        .collect();
    let told = Error::new(first.kind(), first.message()).because(others.join("; and "));
    Some(match first.hint_text() {
        Some(hint) => told.hint(hint),
        None => told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_tried_as_libpq_tries_them() {
        use SslMode::*;
        for (mode, socket, authority, expected) in [
            (Disable, false, false, (Tls::Disable, None)),
            (Allow, false, false, (Tls::Disable, Some(Tls::Require))),
            (Prefer, false, false, (Tls::Prefer, Some(Tls::Disable))),
            (Prefer, false, true, (Tls::Prefer, None)),
            (Require, false, false, (Tls::Require, None)),
            (VerifyFull, false, true, (Tls::Require, None)),
            (VerifyFull, true, true, (Tls::Disable, None)),
        ] {
            assert_eq!(order(mode, socket, authority), expected, "{mode:?} {socket} {authority}");
        }
    }

    #[test]
    fn of_several_failures_the_refusal_is_told_and_the_others_beside_it() {
        let away = || Error::new(Kind::Unreachable, "1006: away (a:1/x)").because("connection refused");
        let refused = Error::new(Kind::Refused, "1003: wrong (b:2/x)").because("28P01").hint("correct it");
        let told = told(vec![away(), refused, away()]).unwrap();
        assert_eq!(told.kind(), Kind::Refused);
        assert_eq!(
            told.report(),
            "1003: wrong (b:2/x)\n  cause: 28P01; and 1006: away (a:1/x): connection refused; and 1006: away (a:1/x): connection \
             refused\n  to do: correct it"
        );
        assert_eq!(super::told(vec![away()]).unwrap().report(), away().report());
    }

    #[test]
    fn a_shuffled_list_has_the_same_members_in_another_order() {
        let mut list: Vec<u32> = (0..1000).collect();
        shuffle(&mut list);
        assert_ne!(list, (0..1000).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..1000).collect::<Vec<_>>());
    }
}
