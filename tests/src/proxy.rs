//! The network between a station and its broker, which fails as networks do.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the line is looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long a connection that is to be reset may wait for something to leave unread.
const RESET_MAX: Duration = Duration::from_secs(30);

/// How the network is. A connection that has lost something is never whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Everything passes.
    Whole,
    /// Nothing passes, and nobody is told: connections stay open, and new ones lead nowhere.
    Silent,
    /// What the station says arrives, what the broker says does not.
    OneWay,
    /// Every connection is reset with the next thing the station says.
    Reset,
}

/// A port of 127.0.0.1 that leads to another one.
pub struct Proxy {
    port: u16,
    line: Arc<Mutex<Line>>,
    stopped: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts with a whole line to `target`.
    ///
    /// # Errors
    /// When there is no port for it.
    pub fn start(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let proxy = Self { port, line: Arc::new(Mutex::new(Line::Whole)), stopped: Arc::default() };
        let (line, stopped) = (proxy.line.clone(), proxy.stopped.clone());
        thread::spawn(move || {
            for station in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(station) = station else { continue };
                // A broker that is away refuses, and so does the way to it.
                let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { continue };
                for (from, to, up) in [(&station, &broker, true), (&broker, &station, false)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let (line, stopped) = (line.clone(), stopped.clone());
                    thread::spawn(move || pump(from, to, up, &line, &stopped));
                }
            }
        });
        Ok(proxy)
    }

    /// The port that the station connects to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes how the network is.
    pub fn set(&self, line: Line) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the listening thread.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Carries one direction; `up` is from the station to the broker.
fn pump(mut from: TcpStream, mut to: TcpStream, up: bool, line: &Mutex<Line>, stopped: &AtomicBool) {
    let mut lost = false;
    let mut reset_since = None;
    let mut bytes = [0; 16 << 10];
    let _ = from.set_read_timeout(Some(TICK));
    while !stopped.load(Ordering::SeqCst) {
        let now = *line.lock().unwrap_or_else(PoisonError::into_inner);
        if now == Line::Reset {
            // A socket that is closed with something unread in it is reset: RFC 1122, 4.2.2.13.
            let since = *reset_since.get_or_insert_with(Instant::now);
            let unread = from.peek(&mut [0]).is_ok_and(|length| length > 0);
            if !up || unread || since.elapsed() > RESET_MAX {
                return;
            }
            continue;
        }
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        lost |= now == Line::Silent || (now == Line::OneWay && !up);
        if !lost && to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // On a silent line a farewell is lost too.
    if !lost {
        let _ = to.shutdown(Shutdown::Both);
    }
}
