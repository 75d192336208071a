//! Ports of 127.0.0.1 for a test's servers.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::{env, io, mem, process};

/// Below those that Linux gives to connections and to whoever asks for any port.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that is free, and that no other call gets before this process ends.
///
/// A port of the kernel's choice would be free now, but given out again before a server listens at it, to another test or to a
/// connection. These are not given out, and each stays locked by whoever claimed it.
///
/// # Errors
/// When none is free, or the locks' folder cannot be written.
pub fn claim() -> io::Result<u16> {
    let locks = env::temp_dir().join(format!("ulna-test-ports-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&locks)?;
    // Processes with neighbouring numbers begin far from each other.
    let begin = (u64::from(process::id()) * 7919 % u64::from(COUNT)) as u16;
    for step in 0..COUNT {
        let port = FIRST + (begin + step) % COUNT;
        let lock = File::create(locks.join(port.to_string()))?;
        if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            mem::forget(lock);
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port of 127.0.0.1 is free for a test"))
}
