//! A way to a server that breaks on request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What befalls the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Clear,
    /// Nothing passes, new connections are accepted and stay silent.
    Stall,
    /// So many bytes a second pass, each way of each connection.
    Slow(u64),
    /// New connections are closed at once, old ones go on.
    Refuse,
    /// Every connection is reset once so many bytes more have passed to the client.
    ResetAfter(u64),
    /// Whatever is asked, these bytes are the answer, and the connection is closed.
    Answer(&'static str),
}

/// A proxy before one server.
pub struct Chaos {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    weather: Mutex<(Weather, u64)>,
    /// Counts changes of the weather, for what counts bytes since.
    turns: AtomicU64,
    /// Since the last change bytes have come that are not passed on.
    holds_back: AtomicBool,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
}

impl Chaos {
    /// In front of a port of this machine, on one of its own.
    pub fn before(target: u16) -> Chaos {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let weather = Mutex::new((Weather::Clear, 0));
        let shared = Arc::new(Shared {
            weather,
            turns: AtomicU64::new(0),
            holds_back: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let chaos = Chaos { port, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.now() == Weather::Refuse {
                    continue;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
                    shared.carry(client, server);
                });
            }
        });
        chaos
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        let turn = self.shared.turns.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.holds_back.store(false, Ordering::Relaxed);
        *lock(&self.shared.weather) = (weather, turn);
    }

    /// Whether something waits for better weather.
    pub fn holds_back(&self) -> bool {
        self.shared.holds_back.load(Ordering::Relaxed)
    }

    /// Closes every connection.
    pub fn cut(&self) {
        for (client, server) in lock(&self.shared.open).drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Tells every client that nothing more comes, while what it sends still arrives.
    pub fn half_close(&self) {
        for (client, _) in lock(&self.shared.open).iter() {
            let _ = client.shutdown(Shutdown::Write);
        }
    }
}

impl Shared {
    fn now(&self) -> Weather {
        lock(&self.weather).0
    }

    fn carry(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let Ok(pair) = client.try_clone().and_then(|client| Ok((client, server.try_clone()?))) else { return };
        lock(&self.open).push(pair);
        let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
        let up = Arc::clone(&self);
        std::thread::spawn(move || up.pump(from, to, false));
        self.pump(server, client, true);
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, to_client: bool) {
        let mut buffer = vec![0; 16 * 1024];
        let (mut turn, mut since) = (0, 0);
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            loop {
                let (weather, now) = *lock(&self.weather);
                if now != turn {
                    (turn, since) = (now, 0);
                }
                match weather {
                    Weather::Stall => {
                        self.holds_back.store(true, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    Weather::Slow(rate) => {
                        std::thread::sleep(
                            Duration::from_secs_f64(count as f64 / rate as f64).min(Duration::from_secs(1)),
                        );
                        break;
                    }
                    Weather::Answer(said) if !to_client => {
                        let _ = from.write_all(said.as_bytes());
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                        return;
                    }
                    Weather::ResetAfter(bytes) if to_client => {
                        since += count as u64;
                        if since > bytes {
                            reset(&to);
                            let _ = from.shutdown(Shutdown::Both);
                            return;
                        }
                        break;
                    }
                    _ => break,
                }
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    }
}

/// Closes without a farewell: RST instead of FIN.
fn reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: an option of a socket that is ours, with its size.
    unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size);
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
