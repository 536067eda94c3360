//! One connection to a broker. Requests are written one behind the other without waiting; answers come in the same order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, VersionRange, encode_request_header_into_buffer,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::{Error, Kind, Result};

/// Bytes both ways: TCP, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A request's number and the newest version of it that we speak.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// Which request.
    pub key: ApiKey,
    /// Its versions.
    pub range: VersionRange,
}

impl Version {
    /// From `min` to `max`.
    pub const fn of(key: ApiKey, min: i16, max: i16) -> Version {
        Version { key, range: VersionRange { min, max } }
    }
}

/// A connection; closed when it is dropped and nobody waits for an answer any more.
pub struct Connection {
    /// `host:port`, for people.
    pub peer: String,
    client: StrBytes,
    versions: HashMap<i16, VersionRange>,
    /// From when on the broker wants us to log in again (KIP-368).
    expires: Option<Instant>,
    /// After how long without a request it is not used again: what stands in between may have forgotten it without a word.
    idle: Duration,
    frames: mpsc::UnboundedSender<Bytes>,
    ends: Arc<Ends>,
}

/// Both directions at work. Lives as long as the connection, or as somebody waits for an answer.
struct Ends {
    waiting: Arc<Mutex<Waiting>>,
    tasks: [AbortHandle; 2],
}

/// Who waits for answers, in their order.
#[derive(Default)]
struct Waiting {
    next: i32,
    /// When something was asked last.
    last: Option<Instant>,
    asked: VecDeque<(i32, oneshot::Sender<Bytes>)>,
    /// Why there is no answer any more.
    closed: Option<String>,
}

/// An answer that is larger is not one.
const MOST: usize = 100 << 20;

impl Connection {
    /// Over an open stream. Nothing is known of the broker's versions yet.
    pub fn over(stream: Box<dyn Stream>, peer: String, client: &str, idle: Duration) -> Connection {
        let (read, write) = tokio::io::split(stream);
        let (frames, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let reader = tokio::spawn(read_answers(read, Arc::clone(&waiting)));
        let writer = tokio::spawn(write_frames(write, queue, Arc::clone(&waiting)));
        Connection {
            peer,
            client: StrBytes::from_string(client.to_owned()),
            versions: HashMap::new(),
            expires: None,
            idle,
            frames,
            ends: Arc::new(Ends { waiting, tasks: [reader.abort_handle(), writer.abort_handle()] }),
        }
    }

    /// What the broker speaks.
    pub fn knows(&mut self, versions: HashMap<i16, VersionRange>) {
        self.versions = versions;
    }

    /// The login is good for this long.
    pub fn lives(&mut self, lifetime: Duration) {
        // Early, so that what is under way is answered before the broker hangs up.
        self.expires = Some(Instant::now() + lifetime * 4 / 5);
    }

    /// Whether nothing more should be sent over it.
    pub fn is_spent(&self) -> bool {
        let waiting = self.ends.lock();
        let rested = waiting.asked.is_empty() && waiting.last.is_some_and(|last| last.elapsed() >= self.idle);
        rested || waiting.closed.is_some() || self.expires.is_some_and(|expires| Instant::now() >= expires)
    }

    /// The newest version that both sides speak.
    pub fn version(&self, wanted: Version) -> Result<i16> {
        let theirs = self.versions.get(&(wanted.key as i16));
        let shared = theirs.map(|theirs| wanted.range.intersect(theirs)).filter(|shared| !shared.is_empty());
        shared.map(|shared| shared.max).ok_or_else(|| {
            Error::new(Kind::Kafka, format!("broker {} does not speak {:?} as we do", self.peer, wanted.key))
                .because(format!("it has {theirs:?}, we have {:?}", wanted.range))
                .hint("a broker of Kafka 2.5 or later, or one that is compatible")
        })
    }

    /// Sends a request; what is returned waits for its answer, and needs the connection no longer.
    pub fn ask<Q, A>(
        &self,
        key: ApiKey,
        version: i16,
        request: &Q,
        patience: Duration,
    ) -> Result<impl Future<Output = Result<A>> + Send + use<Q, A>>
    where
        Q: Encodable,
        A: Decodable + HeaderVersion,
    {
        let (answered, answer) = oneshot::channel();
        let mut waiting = self.ends.lock();
        if let Some(why) = &waiting.closed {
            return Err(closed(&self.peer, why));
        }
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(number)
            .with_client_id(Some(self.client.clone()));
        let frame = frame(&header, request, version).map_err(|why| {
            Error::new(Kind::Io, format!("a request {key:?} could not be written")).because(why.to_string())
        })?;
        waiting.asked.push_back((number, answered));
        waiting.last = Some(Instant::now());
        // A queue without its writer means that the connection broke: the answer says so.
        let _ = self.frames.send(frame);
        drop(waiting);
        let (peer, ends) = (self.peer.clone(), Arc::clone(&self.ends));
        Ok(async move {
            let body = match tokio::time::timeout(patience, answer).await {
                Ok(Ok(body)) => body,
                Ok(Err(_)) => {
                    return Err(closed(&peer, ends.lock().closed.as_deref().unwrap_or("it was closed")));
                }
                Err(_) => {
                    let why = format!("no answer to {key:?} for {patience:.0?}");
                    hang_up(&ends.waiting, &why);
                    return Err(closed(&peer, &why));
                }
            };
            read::<A>(body, version).map_err(|why| {
                let why = format!("the answer to {key:?} cannot be read: {why}");
                hang_up(&ends.waiting, &why);
                closed(&peer, &why)
            })
        })
    }
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn closed(peer: &str, why: &str) -> Error {
    Error::new(Kind::Kafka, format!("the connection to broker {peer} broke")).because(why)
}

/// Whoever waits learns it.
fn hang_up(waiting: &Mutex<Waiting>, why: &str) {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.closed.get_or_insert_with(|| why.to_owned());
    waiting.asked.clear();
}

fn frame<Q: Encodable>(header: &RequestHeader, request: &Q, version: i16) -> Result<Bytes, String> {
    const HEADER: usize = 64;
    let size = request.compute_size(version).map_err(text)?;
    let mut out = BytesMut::with_capacity(size + HEADER);
    out.put_i32(0);
    encode_request_header_into_buffer(&mut out, header).map_err(text)?;
    request.encode(&mut out, version).map_err(text)?;
    let length = i32::try_from(out.len() - 4).map_err(text)?;
    if let Some(place) = out.get_mut(..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(out.freeze())
}

fn read<A: Decodable + HeaderVersion>(mut body: Bytes, version: i16) -> Result<A, String> {
    ResponseHeader::decode(&mut body, A::header_version(version)).map_err(text)?;
    A::decode(&mut body, version).map_err(text)
}

/// The codec's errors are texts to us.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn write_frames(
    mut stream: impl AsyncWrite + Unpin,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
) {
    while let Some(frame) = queue.recv().await {
        let written = match stream.write_all(&frame).await {
            Ok(()) => stream.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            return hang_up(&waiting, &error.to_string());
        }
    }
}

async fn read_answers(mut stream: impl AsyncRead + Unpin, waiting: Arc<Mutex<Waiting>>) {
    let why = loop {
        let body = match read_answer(&mut stream).await {
            Ok(body) => body,
            Err(error) => break error.to_string(),
        };
        let number = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
        let asked = waiting.lock().unwrap_or_else(PoisonError::into_inner).asked.pop_front();
        match (asked, number) {
            (Some((asked, answered)), Some(number)) if asked == number => {
                // Nobody may be waiting any more.
                let _ = answered.send(body);
            }
            _ => break "an answer to a question that was not asked: is this a Kafka listener?".to_owned(),
        }
    };
    hang_up(&waiting, &why);
}

async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Bytes> {
    let length = match stream.read_i32().await {
        Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(std::io::Error::other("the broker closed the connection"));
        }
        Err(error) => return Err(error),
    };
    if !(4..=MOST).contains(&length) {
        return Err(std::io::Error::other("what came is no answer of Kafka's: is security.protocol the listener's?"));
    }
    let mut body = BytesMut::zeroed(length);
    stream.read_exact(&mut body).await?;
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn ask(connection: &Connection) -> Result<impl Future<Output = Result<ApiVersionsResponse>> + use<>> {
        connection.ask(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default(), Duration::from_millis(500))
    }

    /// An answer without versions, to the question of this number.
    fn answer(number: i32) -> Vec<u8> {
        [&10_i32.to_be_bytes()[..], &number.to_be_bytes(), &[0; 6]].concat()
    }

    #[tokio::test]
    async fn answers_go_to_their_questions_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let connection = Connection::over(Box::new(ours), "b:1".to_owned(), "me", IDLE);
        let (one, two) = (ask(&connection).unwrap(), ask(&connection).unwrap());
        theirs.write_all(&[answer(0), answer(1)].concat()).await.unwrap();
        let (one, two) = tokio::join!(one, two);
        assert_eq!((one.unwrap().error_code, two.unwrap().error_code), (0, 0));
        assert!(!connection.is_spent());
    }

    #[tokio::test]
    async fn a_connection_that_rested_for_long_is_not_used_again_unless_somebody_waits() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let connection = Connection::over(Box::new(ours), "b:1".to_owned(), "me", Duration::ZERO);
        assert!(!connection.is_spent(), "it is new");
        let asked = ask(&connection).unwrap();
        assert!(!connection.is_spent(), "somebody waits");
        theirs.write_all(&answer(0)).await.unwrap();
        asked.await.unwrap();
        assert!(connection.is_spent());
    }

    #[tokio::test]
    async fn what_is_no_answer_ends_the_connection() {
        for (said, words) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "is security.protocol"),
            (&answer(7)[..], "not asked"),
            (&[0, 0, 0, 2, 1, 2], "is security.protocol"),
            (&[], "closed the connection"),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let connection = Connection::over(Box::new(ours), "b:1".to_owned(), "me", IDLE);
            let asked = ask(&connection).unwrap();
            theirs.write_all(said).await.unwrap();
            drop(theirs);
            let error = asked.await.unwrap_err();
            assert!(error.causes().contains(words), "{error:?}");
            assert!(connection.is_spent() && ask(&connection).is_err());
        }
    }

    #[tokio::test]
    async fn a_broker_that_is_silent_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(1 << 16);
        let connection = Connection::over(Box::new(ours), "b:1".to_owned(), "me", IDLE);
        let error = ask(&connection).unwrap().await.unwrap_err();
        assert!(error.causes().contains("no answer to ApiVersions"), "{error:?}");
        assert!(connection.is_spent());
    }

    #[test]
    fn versions_meet_or_the_broker_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut connection = Connection::over(Box::new(ours), "b:1".to_owned(), "me", IDLE);
        connection.knows(HashMap::from([(0, VersionRange { min: 3, max: 7 })]));
        assert_eq!(connection.version(Version::of(ApiKey::Produce, 3, 11)).unwrap(), 7);
        let error = connection.version(Version::of(ApiKey::Produce, 8, 11)).unwrap_err();
        assert!(error.message().contains("b:1 does not speak Produce"), "{error:?}");
        assert!(connection.version(Version::of(ApiKey::EndTxn, 0, 3)).is_err());
    }
}
