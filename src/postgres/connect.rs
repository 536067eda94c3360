//! One connection to PostgreSQL, and its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio_postgres::{AsyncMessage, Client};

use super::reach::reach;
use super::tap::{Basin, Tap};
use super::tls;
use super::transport::Socket;
use crate::Result;
use crate::config::Database;

/// A connection. Dropping it closes the socket before `drop` returns, in the middle of a COPY too: a server that is
/// blocked in sending then fails at once and gives up its locks, and needs neither the runtime's next turn nor ours.
pub struct Connection {
    client: Client,
    /// Where COPY's rows come.
    pub(super) basin: Basin,
    /// Held for its `drop`.
    _driver: Driver,
}

impl Connection {
    /// Connects as configured; passwords and certificates are read anew. `pg_stat_activity` shows `strandline <connector>`.
    ///
    /// Of several servers the first that will do is taken. Everything up to the end of the login takes at most
    /// `database.connect_timeout`, as a server that accepts and then
    /// stays silent would hold us for ever. Fails as [`Unreachable`](crate::Kind::Unreachable),
    /// [`Refused`](crate::Kind::Refused) or [`Transient`](crate::Kind::Transient), with Hevo's number, the address and the
    /// server's own words.
    pub async fn open(database: &Database, connector: &str) -> Result<Connection> {
        let target = database.resolve(&format!("strandline {connector}"))?;
        reach(&target, &tls::connector(&target)?).await
    }

    /// Of a login that is done.
    pub(super) fn drive(
        client: Client,
        connection: tokio_postgres::Connection<Socket, Tap>,
        basin: Basin,
    ) -> Connection {
        Connection { client, basin, _driver: Driver::spawn(connection) }
    }

    /// For statements other than COPY, whose rows come by [`Connection::copy`] alone. It answers "connection closed" once the connection has ended.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("closed", &self.client.is_closed()).finish_non_exhaustive()
    }
}

/// What moves bytes between socket and client, spawned as a task. The socket is kept where both the task and `drop` reach
/// it: aborting a task alone would leave it open until the runtime's next turn, which a thread that waits for Kafka may
/// not come to for seconds.
struct Driver(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    socket: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Wakes the task when the socket is gone.
    task: Option<Waker>,
}

impl Driver {
    fn spawn(mut connection: tokio_postgres::Connection<Socket, Tap>) -> Self {
        let drive = async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    // Its words may quote values.
                    Ok(AsyncMessage::Notice(notice)) => {
                        tracing::debug!(sqlstate = notice.code().code(), severity = notice.severity(), "notice");
                    }
                    Ok(_) => {}
                    // Every statement that is under way fails with it, and is reported where it was made.
                    Err(error) => {
                        tracing::debug!(%error, "the connection to PostgreSQL ended");
                        return;
                    }
                }
            }
        };
        let held = Arc::new(Mutex::new(Held { socket: Some(Box::pin(drive)), task: None }));
        let driver = Driver(Arc::clone(&held));
        tokio::spawn(poll_fn(move |cx| lock(&held).poll(cx)));
        driver
    }
}

impl Held {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(()) };
        if socket.as_mut().poll(cx).is_ready() {
            self.socket = None;
            return Poll::Ready(());
        }
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut held = lock(&self.0);
        held.socket = None;
        if let Some(task) = held.task.take() {
            task.wake();
        }
    }
}

/// A panic while polling leaves nothing that could be inconsistent: the socket is only ever there or not.
fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::Kind;
    use crate::config::{Secret, SslMode};

    fn database(port: u16, parameters: &str) -> Database {
        Database {
            url: Some(Secret::new(format!("host=127.0.0.1 port={port} user=u password=hunter2 dbname=x {parameters}"))),
            sslmode: Some(SslMode::Disable),
            connect_timeout: Duration::from_secs(60),
            ..Database::default()
        }
    }

    /// A server that does one thing with its first client.
    fn server<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (port, std::thread::spawn(move || serve(listener.accept().unwrap().0)))
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag], &length[..], body].concat()
    }

    fn read_startup(socket: &mut TcpStream) {
        let mut length = [0; 4];
        socket.read_exact(&mut length).unwrap();
        let mut rest = vec![0; u32::from_be_bytes(length) as usize - 4];
        socket.read_exact(&mut rest).unwrap();
    }

    /// `AuthenticationOk`, `ReadyForQuery`.
    fn let_in(socket: &mut TcpStream) {
        read_startup(socket);
        socket.write_all(&[message(b'R', &[0; 4]), message(b'Z', b"I")].concat()).unwrap();
    }

    /// `ErrorResponse`.
    fn refuse(socket: &mut TcpStream, code: &str, text: &str) {
        read_startup(socket);
        let body = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
        socket.write_all(&message(b'E', body.as_bytes())).unwrap();
    }

    async fn fail(database: &Database) -> crate::Error {
        let error = Connection::open(database, "shop").await.unwrap_err();
        assert!(!error.report().contains("hunter2"), "{}", error.report());
        error
    }

    #[tokio::test]
    async fn a_refused_port_is_unreachable() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = fail(&database(port, "")).await;
        assert_eq!(error.kind(), Kind::Unreachable);
        assert_eq!(error.to_string(), format!("1006: the server cannot be reached (127.0.0.1:{port}/x)"));
        assert!(error.causes().contains("refused"), "{}", error.causes());
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_stays_silent_is_given_up() {
        let (port, silent) = server(|socket| socket);
        let timeout = Duration::from_millis(200);
        let began = Instant::now();
        let error = fail(&Database { connect_timeout: timeout, ..database(port, "") }).await;
        assert!(began.elapsed() >= timeout);
        assert_eq!(error.kind(), Kind::Unreachable);
        // What is left of it, as some went by before.
        let causes = error.causes();
        let told = causes.strip_prefix("no login within database.connect_timeout, ").unwrap_or(&causes);
        let told = humantime::parse_duration(told).unwrap();
        assert!(told <= timeout && told > timeout / 2, "{causes}");
        drop(silent.join());
    }

    #[tokio::test]
    async fn a_server_without_tls_is_refused_where_tls_is_demanded() {
        let (port, without) = server(|mut socket| {
            read_startup(&mut socket);
            socket.write_all(b"N").unwrap();
            socket
        });
        let error = fail(&Database { sslmode: Some(SslMode::Require), ..database(port, "") }).await;
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().starts_with("1023: the server has no TLS"), "{error}");
        drop(without.join());
    }

    #[tokio::test]
    async fn a_refusal_keeps_the_servers_words_and_says_nothing_twice() {
        let (port, refusing) = server(|mut socket| refuse(&mut socket, "3D000", "database \"x\" does not exist"));
        let error = fail(&database(port, "")).await;
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.causes(), "database \"x\" does not exist (SQLSTATE 3D000)");
        refusing.join().unwrap();
    }

    #[tokio::test]
    async fn a_connection_answers_and_is_closed_at_once_when_dropped() {
        let (port, served) = server(|mut socket| {
            let_in(&mut socket);
            let mut rest = Vec::new();
            (socket.read_to_end(&mut rest).map_err(|error| error.kind()), rest)
        });
        let connection = Connection::open(&database(port, ""), "shop").await.unwrap();
        assert!(!connection.client().is_closed());
        tokio::task::yield_now().await;
        drop(connection);
        // The test's one thread waits here: the runtime has no turn in which it could close anything.
        let (end, rest) = served.join().unwrap();
        assert!(end.is_ok() || end == Err(ErrorKind::ConnectionReset), "{end:?}");
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn a_copy_that_nobody_reads_ends_when_the_connection_is_dropped() {
        let (port, served) = server(|mut socket| {
            let_in(&mut socket);
            // Parse, describe, sync; then bind, execute, sync: answered blindly in this order.
            let mut query = [0; 1024];
            let _ = socket.read(&mut query).unwrap();
            let prepared = [message(b'1', b""), message(b't', &[0; 2]), message(b'n', b""), message(b'Z', b"I")];
            socket.write_all(&prepared.concat()).unwrap();
            let _ = socket.read(&mut query).unwrap();
            socket.write_all(&[message(b'2', b""), message(b'H', &[1, 0, 0])].concat()).unwrap();
            let row = message(b'd', &[&b"PGCOPY\n\xff\r\n\0"[..], &[0; 60_000 - 11]].concat());
            loop {
                if let Err(error) = socket.write_all(&row) {
                    return error.kind();
                }
            }
        });
        let connection = Connection::open(&database(port, ""), "shop").await.unwrap();
        let mut rows = connection.copy("COPY t TO STDOUT (FORMAT binary)").await.unwrap();
        assert_eq!(rows.next().await.unwrap().unwrap().len(), 60_000 - 19);
        drop(connection);
        let end = served.join().unwrap();
        assert!(matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{end:?}");
    }

    const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

    /// A server that answers a COPY with these messages, and then a simple query with nothing.
    fn copying(answers: Vec<Vec<u8>>) -> (u16, JoinHandle<()>) {
        server(move |mut socket| {
            let_in(&mut socket);
            let mut query = [0; 1024];
            let _ = socket.read(&mut query).unwrap();
            let prepared = [message(b'1', b""), message(b't', &[0; 2]), message(b'n', b""), message(b'Z', b"I")];
            socket.write_all(&prepared.concat()).unwrap();
            let _ = socket.read(&mut query).unwrap();
            let begun = [message(b'2', b""), message(b'H', &[1, 0, 0]), message(b'd', SIGNATURE)];
            socket.write_all(&[begun.concat(), answers.concat()].concat()).unwrap();
            // The statement is closed once its rows are let go of: Close, Sync.
            let mut header = [0; 5];
            while socket.read_exact(&mut header).is_ok() {
                let length = u32::from_be_bytes(*header.last_chunk().unwrap()) as usize - 4;
                socket.read_exact(&mut query[..length]).unwrap();
                let answer = match header[0] {
                    b'C' => message(b'3', b""),
                    b'S' => message(b'Z', b"I"),
                    b'Q' => [message(b'I', b""), message(b'Z', b"I")].concat(),
                    _ => Vec::new(),
                };
                let _ = socket.write_all(&answer);
            }
        })
    }

    const ROW: &[u8] = &[0, 1, 0, 0, 0, 1, 7];

    fn end() -> Vec<u8> {
        [message(b'd', &[0xff, 0xff]), message(b'c', b""), message(b'C', b"COPY 2\0"), message(b'Z', b"I")].concat()
    }

    async fn begin(port: u16) -> (Connection, super::super::Rows) {
        let connection = Connection::open(&database(port, ""), "shop").await.unwrap();
        let rows = connection.copy("COPY t TO STDOUT (FORMAT binary)").await.unwrap();
        (connection, rows)
    }

    #[tokio::test]
    async fn a_notice_between_rows_is_none_of_them() {
        let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mnew\0\0");
        let (port, served) = copying(vec![message(b'd', ROW), notice, message(b'd', ROW), end()]);
        let (connection, mut rows) = begin(port).await;
        for _ in 0..2 {
            assert_eq!(rows.next().await.unwrap(), Some(ROW));
        }
        assert_eq!(rows.next().await.unwrap(), None);
        drop(rows);
        connection.commit().await.unwrap();
        drop(connection);
        served.join().unwrap();
    }

    #[tokio::test]
    async fn an_error_after_rows_is_told_after_them_and_the_connection_can_be_used() {
        let error = message(b'E', b"SERROR\0VERROR\0C57014\0Mcanceling statement\0\0");
        let (port, served) = copying(vec![message(b'd', ROW), error, message(b'Z', b"E")]);
        let (connection, mut rows) = begin(port).await;
        assert_eq!(rows.next().await.unwrap(), Some(ROW));
        assert!(rows.next().await.unwrap_err().causes().contains("57014"));
        drop(rows);
        connection.rollback().await.unwrap();
        drop(connection);
        served.join().unwrap();
    }

    #[tokio::test]
    async fn an_end_without_the_trailer_is_no_end() {
        let (port, served) =
            copying(vec![message(b'd', ROW), message(b'c', b""), message(b'C', b"COPY 1\0"), message(b'Z', b"I")]);
        let (connection, mut rows) = begin(port).await;
        assert_eq!(rows.next().await.unwrap(), Some(ROW));
        assert!(rows.next().await.unwrap_err().to_string().contains("without its trailer"));
        drop(connection);
        served.join().unwrap();
    }

    #[tokio::test]
    async fn a_copy_that_is_left_before_its_end_leaves_no_rows_to_the_next_statement() {
        let (port, served) = copying(vec![message(b'd', ROW), message(b'd', ROW), end()]);
        let (connection, mut rows) = begin(port).await;
        assert_eq!(rows.next().await.unwrap(), Some(ROW));
        drop(rows);
        // Whether the rest had come already is the scheduler's: it is an answer or an error, never a wait or a row.
        let next = tokio::time::timeout(Duration::from_secs(5), connection.rollback()).await;
        assert!(next.is_ok());
        drop(connection);
        served.join().unwrap();
    }

    #[tokio::test]
    async fn of_two_copies_all_rows_come_and_one_that_fails_fails_both() {
        let (one, first) = copying(vec![message(b'd', ROW), end()]);
        let (two, second) = copying(vec![message(b'd', ROW), message(b'd', ROW), end()]);
        let ((near, mut rows), (far, others)) = (begin(one).await, begin(two).await);
        rows.beside(others);
        let mut count = 0;
        while rows.next().await.unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 3);
        drop((near, far));
        first.join().unwrap();
        second.join().unwrap();

        let cut = message(b'd', ROW)[..8].to_vec();
        let (one, first) = copying(vec![message(b'd', ROW), end()]);
        let (two, second) = server(move |mut socket| {
            let_in(&mut socket);
            let mut query = [0; 1024];
            let _ = socket.read(&mut query).unwrap();
            let prepared = [message(b'1', b""), message(b't', &[0; 2]), message(b'n', b""), message(b'Z', b"I")];
            socket.write_all(&prepared.concat()).unwrap();
            let _ = socket.read(&mut query).unwrap();
            let begun = [message(b'2', b""), message(b'H', &[1, 0, 0]), message(b'd', SIGNATURE), message(b'd', ROW)];
            socket.write_all(&[begun.concat(), cut].concat()).unwrap();
        });
        let ((near, mut rows), (far, others)) = (begin(one).await, begin(two).await);
        rows.beside(others);
        let mut count = 0;
        let error = loop {
            match rows.next().await {
                Ok(Some(_)) => count += 1,
                Ok(None) => panic!("a COPY that was cut off is no whole one"),
                Err(error) => break error,
            }
        };
        assert!(count <= 2, "{count}");
        assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");
        drop((near, far));
        first.join().unwrap();
        second.join().unwrap();
    }
}
