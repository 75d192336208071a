//! One connection's bytes: PDUs in and out, each within a time and a size.
//!
//! A PDU is read to its end within a deadline, however slowly its bytes drip in, and its length is compared with the
//! limit before anything is allocated for it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use dicom_ul::pdu::{AbortRQServiceProviderReason, AbortRQSource, PDU_HEADER_SIZE, Pdu, read_pdu, write_pdu};

/// How long an answer may take to leave; answers are short.
const SEND_MAX: Duration = Duration::from_secs(10);
/// How long the peer has to close the connection after the last word (PS3.8's ARTIM timer).
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Most bytes that are read and thrown away until then.
const CLOSE_MAX_BYTES: usize = 1 << 20;
/// A request with the most presentation contexts there can be, each with a few transfer syntaxes.
const REQUEST_MAX_BYTES: u32 = 64 << 10;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The peer hung up without a word.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer broke off.
    #[error("the peer aborted the association")]
    Aborted,
    /// Nothing, or not all of it, came in time.
    #[error("nothing complete came within {} s", .0.as_secs())]
    Silent(Duration),
    /// A PDU larger than was agreed.
    #[error("a PDU of {found} bytes came where {max} are allowed")]
    TooLong { found: u32, max: u32 },
    /// Bytes that are no PDU.
    #[error("what came is not the DICOM protocol")]
    NotDicom,
    /// A PDU or message that may not come here.
    #[error("{0}")]
    Unexpected(&'static str),
    /// The system.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// A connection.
pub(super) struct Wire {
    socket: TcpStream,
    pdu_max_bytes: u32,
    buffer: Vec<u8>,
}

impl Wire {
    /// PDUs of at most `pdu_max_bytes` are read.
    pub(super) fn new(socket: TcpStream, pdu_max_bytes: u32) -> Result<Self, WireError> {
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        // Answers are waited for.
        socket.set_nodelay(true)?;
        Ok(Self { socket, pdu_max_bytes, buffer: Vec::new() })
    }

    /// The association request, complete within `patience`.
    pub(super) fn receive_request(&mut self, patience: Duration) -> Result<Pdu, WireError> {
        self.receive_at_most(self.pdu_max_bytes.max(REQUEST_MAX_BYTES), patience)
    }

    /// The next PDU, complete within `patience`.
    pub(super) fn receive(&mut self, patience: Duration) -> Result<Pdu, WireError> {
        self.receive_at_most(self.pdu_max_bytes, patience)
    }

    fn receive_at_most(&mut self, max: u32, patience: Duration) -> Result<Pdu, WireError> {
        let until = Instant::now() + patience;
        let late = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => WireError::Silent(patience),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => WireError::Closed,
            _ => WireError::Io(error),
        };
        self.buffer.resize(PDU_HEADER_SIZE as usize, 0);
        read_exact_by(&mut self.socket, &mut self.buffer, until).map_err(late)?;
        let [kind, _, a, b, c, d] = self.buffer[..] else { return Err(WireError::NotDicom) };
        let found = u32::from_be_bytes([a, b, c, d]);
        if !(1..=7).contains(&kind) {
            return Err(WireError::NotDicom);
        }
        if found > max {
            return Err(WireError::TooLong { found, max });
        }
        self.buffer.resize((PDU_HEADER_SIZE + found) as usize, 0);
        read_exact_by(&mut self.socket, &mut self.buffer[PDU_HEADER_SIZE as usize..], until).map_err(late)?;
        match read_pdu(self.buffer.as_slice(), max, true) {
            Ok(Some(pdu)) => Ok(pdu),
            // The reader's own error can quote what came, so it is not passed on.
            Ok(None) | Err(_) => Err(WireError::NotDicom),
        }
    }

    /// Sends a PDU.
    pub(super) fn send(&mut self, pdu: &Pdu) -> Result<(), WireError> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).map_err(|_| WireError::Unexpected("an answer that cannot be written"))?;
        Ok(self.socket.write_all(&bytes)?)
    }

    /// Tells the peer that the association ends here because of what it did.
    pub(super) fn abort(&mut self, reason: AbortRQServiceProviderReason) {
        let source = AbortRQSource::ServiceProvider(reason);
        if self.send(&Pdu::AbortRQ { source }).is_ok() {
            self.finish();
        }
    }

    /// Waits for the peer to hang up: closing with bytes unread would take back what was sent last.
    pub(super) fn finish(&mut self) {
        let until = Instant::now() + CLOSE_MAX;
        let _ = self.socket.shutdown(Shutdown::Write);
        let mut rest = [0; 4096];
        let mut read_bytes = 0;
        while read_bytes < CLOSE_MAX_BYTES {
            match read_by(&mut self.socket, &mut rest, until) {
                Ok(read @ 1..) => read_bytes += read,
                _ => break,
            }
        }
    }
}

fn read_by(socket: &mut TcpStream, bytes: &mut [u8], until: Instant) -> io::Result<usize> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    // Zero would mean for ever.
    socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
    socket.read(bytes)
}

fn read_exact_by(socket: &mut TcpStream, mut bytes: &mut [u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        match read_by(socket, bytes, until) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes = &mut bytes[read..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
