//! COPY's rows, taken off the stream before the driver sees them.
//!
//! The driver makes a message, a reference count and a turn of a channel of each row, and reads 8 KiB at a time: more than it
//! costs to transcode a narrow row. Here a read takes what is there, and a row is a slice of it. All else that the server says
//! goes through to the driver untouched; only `CopyData` (PostgreSQL's "Message Formats") is kept back.
//!
//! Two buffers go to and fro: the tap reads into one while the reader walks along the other. With both full the socket is left
//! alone, so a reader who is kept waiting keeps the server waiting, and no more is held than that.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::transport::Socket;

/// A buffer's size in bytes.
const ROOM: usize = 128 << 10;
/// What a buffer that a long row has widened keeps at most.
const KEPT: usize = 1 << 20;
/// A message's tag and length.
const HEADER: usize = 5;
const COPY_DATA: u8 = b'd';

/// Bytes of the stream, and which of them are still to be used.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        self.bytes.get(self.begin..self.end).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// Of whole rows: where the next one's payload is.
    pub fn next(&mut self) -> Option<Range<usize>> {
        let (_, length) = header(self.filled()).ok()??;
        let row = self.begin + HEADER..self.begin + length;
        self.begin = row.end;
        Some(row)
    }

    /// What is there.
    pub fn get(&self, place: Range<usize>) -> &[u8] {
        self.bytes.get(place).unwrap_or_default()
    }

    /// Empties it, with room for at least so many bytes.
    fn reset(&mut self, room: usize) {
        let room = room.max(ROOM);
        if self.bytes.len() < room || self.bytes.len() > room.max(KEPT) {
            self.bytes = vec![0; room];
        }
        (self.begin, self.end) = (0, 0);
    }

    /// Reads behind what it holds; how many bytes, 0 at the stream's end. Grows only as bytes come: a length that is claimed
    /// takes no memory.
    fn poll_fill(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<usize>> {
        if self.is_empty() {
            self.reset(0);
        } else if self.end == self.bytes.len() {
            self.bytes.copy_within(self.begin.., 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            if self.end * 2 > self.bytes.len() {
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        let mut free = ReadBuf::new(self.bytes.get_mut(self.end..).unwrap_or_default());
        ready!(Pin::new(socket).poll_read(cx, &mut free))?;
        let read = free.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }
}

/// The tag and whole length of the message that begins here, once that much of it is there.
fn header(bytes: &[u8]) -> io::Result<Option<(u8, usize)>> {
    let [tag, a, b, c, d, ..] = *bytes else { return Ok(None) };
    // The length counts itself, not the tag.
    match usize::try_from(i32::from_be_bytes([a, b, c, d])) {
        Ok(length) if length >= HEADER - 1 => Ok(Some((tag, length + 1))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the server has no valid length")),
    }
}

/// How many bytes of whole rows there are at the front.
fn rows(bytes: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while let Some((COPY_DATA, length)) = header(bytes.get(at..).unwrap_or_default())?
        && at + length <= bytes.len()
    {
        at += length;
    }
    Ok(at)
}

/// How many bytes there are at the front of messages that are no rows; the last may still be coming.
fn others(bytes: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while at <= bytes.len()
        && let Some((tag, length)) = header(bytes.get(at..).unwrap_or_default())?
        && tag != COPY_DATA
    {
        at += length;
    }
    Ok(at)
}

/// Where the tap leaves rows and their reader finds them.
#[derive(Clone, Default)]
pub(super) struct Basin(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Whole rows that nobody has taken yet; a buffer to be used otherwise.
    rows: Buffer,
    /// Waits for them to be taken.
    tap: Option<Waker>,
    /// Waits for rows.
    reader: Option<Waker>,
    given_up: bool,
}

impl Basin {
    /// Takes rows in exchange for a buffer that is used up. `false`: there are none, and the reader is woken when some come.
    pub fn poll_take(&self, cx: &Context<'_>, used: &mut Buffer) -> bool {
        let mut state = self.lock();
        if state.rows.is_empty() {
            state.reader = Some(cx.waker().clone());
            return false;
        }
        std::mem::swap(used, &mut state.rows);
        (state.rows.begin, state.rows.end) = (0, 0);
        // It may not be needed again for hours.
        if state.rows.bytes.len() > KEPT {
            state.rows = Buffer::default();
        }
        wake(state.tap.take(), state);
        true
    }

    /// Nobody will read the rest: the connection cannot be used any more.
    pub fn give_up(&self) {
        let mut state = self.lock();
        state.given_up = true;
        wake(state.tap.take(), state);
    }

    /// Puts so many bytes of rows from the front of `input` there. Pending: those before have not been taken yet.
    fn poll_put(&self, cx: &Context<'_>, input: &mut Buffer, rows: usize) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.given_up {
            return Poll::Ready(Err(io::Error::other("a COPY was given up")));
        }
        if !state.rows.is_empty() {
            state.tap = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (begin, end) = (input.begin, input.begin + rows);
        let rest = input.get(end..input.end);
        state.rows.reset(rest.len());
        if let Some(front) = state.rows.bytes.get_mut(..rest.len()) {
            front.copy_from_slice(rest);
        }
        state.rows.end = rest.len();
        std::mem::swap(input, &mut state.rows);
        (state.rows.begin, state.rows.end) = (begin, end);
        wake(state.reader.take(), state);
        Poll::Ready(Ok(()))
    }

    /// Nothing within can panic halfway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Once the lock is let go of.
fn wake(waker: Option<Waker>, state: MutexGuard<'_, State>) {
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The stream that the driver reads through.
pub(super) struct Tap {
    socket: Socket,
    input: Buffer,
    /// So many bytes are still the driver's.
    passing: usize,
    basin: Basin,
}

impl Tap {
    /// On a stream of messages, from the first one on.
    pub fn new(socket: Socket, basin: Basin) -> Tap {
        Tap { socket, input: Buffer::default(), passing: 0, basin }
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        loop {
            if tap.passing == 0 {
                match rows(tap.input.filled())? {
                    0 => {}
                    rows => {
                        ready!(tap.basin.poll_put(cx, &mut tap.input, rows))?;
                        continue;
                    }
                }
                tap.passing = others(tap.input.filled())?;
            }
            if tap.passing > 0 && !tap.input.is_empty() {
                let part = tap.passing.min(out.remaining()).min(tap.input.filled().len());
                out.put_slice(tap.input.get(tap.input.begin..tap.input.begin + part));
                tap.input.begin += part;
                tap.passing -= part;
                return Poll::Ready(Ok(()));
            }
            if ready!(tap.input.poll_fill(cx, &mut tap.socket))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl TlsStream for Tap {
    fn channel_binding(&self) -> ChannelBinding {
        self.socket.channel_binding()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::transport::Transport;
    use super::*;

    impl Transport for tokio::io::DuplexStream {}

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag], &length[..], body].concat()
    }

    /// What the driver and the reader of rows get of a stream that comes in pieces of this size; each waits for the other.
    fn split(stream: Vec<u8>, piece: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let (mut server, client) = tokio::io::duplex(piece);
            let basin = Basin::default();
            let mut tap = Tap::new(Box::new(client), basin.clone());
            let sender = tokio::spawn(async move { server.write_all(&stream).await.unwrap() });
            let driver = tokio::spawn(async move {
                let mut said = Vec::new();
                tap.read_to_end(&mut said).await.map(|_| said)
            });
            let mut taken = Vec::new();
            let mut buffer = Buffer::default();
            let mut driver = driver;
            let said = loop {
                let done = poll_fn(|cx| {
                    if basin.poll_take(cx, &mut buffer) {
                        return Poll::Ready(None);
                    }
                    Pin::new(&mut driver).poll(cx).map(|said| Some(said.unwrap()))
                });
                let done = done.await;
                while let Some(row) = buffer.next() {
                    taken.push(buffer.get(row).to_vec());
                }
                if let Some(said) = done {
                    break said.unwrap();
                }
            };
            sender.await.unwrap();
            (said, taken)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rows_go_to_their_reader_and_all_else_to_the_driver_however_the_stream_is_cut(
            messages in prop::collection::vec((prop::bool::weighted(0.8), prop::collection::vec(any::<u8>(), 0..300)), 0..60),
            piece in 1_usize..2000,
        ) {
            let (mut stream, mut others, mut rows) = (Vec::new(), Vec::new(), Vec::new());
            for (is_row, body) in messages {
                if is_row {
                    stream.extend(message(b'd', &body));
                    rows.push(body);
                } else {
                    stream.extend(message(b'D', &body));
                    others.extend(message(b'D', &body));
                }
            }
            prop_assert_eq!(split(stream, piece), (others, rows));
        }
    }

    #[test]
    fn a_row_longer_than_the_buffer_comes_whole_and_the_buffer_goes_back_to_its_size() {
        let long = vec![7; 5 * KEPT];
        let stream = [message(b'd', b"a"), message(b'd', &long), message(b'c', b""), message(b'd', &vec![8; ROOM])];
        let (said, rows) = split(stream.concat(), 50_000);
        assert_eq!(said, message(b'c', b""));
        assert_eq!(rows, [b"a".to_vec(), long, vec![8; ROOM]]);
        let mut buffer = Buffer { bytes: vec![0; KEPT + 1], begin: 0, end: 0 };
        buffer.reset(0);
        assert_eq!(buffer.bytes.len(), ROOM);
        let basin = Basin::default();
        basin.lock().rows = Buffer { bytes: vec![0; ROOM], begin: 0, end: 6 };
        let mut used = Buffer { bytes: vec![0; KEPT + 1], begin: 0, end: 0 };
        assert!(basin.poll_take(&Context::from_waker(Waker::noop()), &mut used));
        assert_eq!((used.bytes.len(), basin.lock().rows.bytes.len()), (ROOM, 0));
    }

    #[tokio::test]
    async fn a_reader_that_does_not_come_leaves_the_rest_in_the_socket() {
        let (mut server, client) = tokio::io::duplex(1 << 20);
        let row = message(b'd', &[1; 1000]);
        server.write_all(&row.repeat(1000)).await.unwrap();
        let mut tap = Tap::new(Box::new(client), Basin::default());
        let mut out = [0; 10];
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), tap.read(&mut out)).await.is_err());
        let held = tap.input.bytes.len() + tap.basin.lock().rows.bytes.len();
        assert_eq!(held, 2 * ROOM);
    }

    #[tokio::test]
    async fn a_copy_that_is_given_up_ends_the_connection() {
        let (mut server, client) = tokio::io::duplex(1 << 20);
        let basin = Basin::default();
        let mut tap = Tap::new(Box::new(client), basin.clone());
        basin.give_up();
        server.write_all(&message(b'd', b"x")).await.unwrap();
        assert_eq!(tap.read(&mut [0; 10]).await.unwrap_err().to_string(), "a COPY was given up");
    }

    #[tokio::test]
    async fn a_length_that_cannot_be_is_an_error_and_takes_no_memory() {
        for length in [[0, 0, 0, 3], [0x80, 0, 0, 0], [0xff; 4]] {
            let (mut server, client) = tokio::io::duplex(64);
            let mut tap = Tap::new(Box::new(client), Basin::default());
            server.write_all(&[b"d", &length[..]].concat()).await.unwrap();
            assert_eq!(tap.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let (mut server, client) = tokio::io::duplex(64);
        let mut tap = Tap::new(Box::new(client), Basin::default());
        server.write_all(&[b'd', 0x7f, 0xff, 0xff, 0xff, 1]).await.unwrap();
        drop(server);
        assert_eq!(tap.read(&mut [0; 10]).await.unwrap(), 0);
        assert_eq!(tap.input.bytes.len(), ROOM);
    }
}
