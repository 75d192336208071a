//! A broker that speaks just enough MQTT 5 to misbehave in ways that no broker at hand can be made to.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Lets clients in and hangs up on every message, without a word.
    HangsUpOnEachMessage,
    /// Hangs up on the result with this `seq`, saying that its payload is of the wrong format.
    HangsUpOnResult(u64),
    /// Hangs up on a subscription, without a word.
    HangsUpOnSubscription,
    /// Does not take the client's id.
    RefusesClientId,
    /// Takes everything, as a good broker would.
    Good,
}

/// The broker, for as long as the test's process lasts.
pub struct Scripted {
    port: u16,
    manner: Arc<Mutex<Manner>>,
    connections: Arc<AtomicUsize>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let scripted = Self {
            port: listener.local_addr()?.port(),
            manner: Arc::new(Mutex::new(manner)),
            connections: Arc::default(),
            taken: Arc::default(),
        };
        let (manner, connections, taken) =
            (scripted.manner.clone(), scripted.connections.clone(), scripted.taken.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (manner, taken) = (manner.clone(), taken.clone());
                // An error is the client's leave.
                thread::spawn(move || serve(stream, &manner, &taken));
            }
        });
        Ok(scripted)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Behaves otherwise from now on.
    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// How often somebody has connected.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The topics of the messages that were taken, in order.
    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, manner: &Mutex<Manner>, taken: &Mutex<Vec<String>>) -> io::Result<()> {
    const CONNECT: u8 = 1;
    const PUBLISH: u8 = 3;
    const SUBSCRIBE: u8 = 8;
    const PINGREQ: u8 = 12;
    loop {
        let (kind, body) = read_packet(&mut stream)?;
        let manner = *manner.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            // CONNACK with the reason "client identifier not valid".
            CONNECT if manner == Manner::RefusesClientId => return stream.write_all(&[0x20, 3, 0, 0x85, 0]),
            CONNECT => stream.write_all(&[0x20, 3, 0, 0, 0])?,
            PUBLISH if manner == Manner::HangsUpOnEachMessage => return Ok(()),
            PUBLISH => {
                let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8_lossy(&body[2..topic_end]).into_owned();
                if let Manner::HangsUpOnResult(seq) = manner
                    && topic.ends_with("/result")
                    && seq_of(&body[topic_end..]) == Some(seq)
                {
                    return stream.write_all(&[0xe0, 2, 0x99, 0]);
                }
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(topic);
                stream.write_all(&[0x40, 2, body[topic_end], body[topic_end + 1]])?;
            }
            SUBSCRIBE if manner == Manner::HangsUpOnSubscription => return Ok(()),
            // SUBACK without properties, QoS 1 granted.
            SUBSCRIBE => stream.write_all(&[0x90, 4, body[0], body[1], 0, 1])?,
            PINGREQ => stream.write_all(&[0xd0, 0])?,
            _ => return Ok(()),
        }
    }
}

/// The `seq` of a result, from the packet's id on: two bytes, no properties, the payload.
fn seq_of(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(body.get(3..)?).ok()?["seq"].as_u64()
}

/// One packet's type and what follows its fixed header.
fn read_packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0] >> 4;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}
