//! HTTP to a port of this machine, as plainly as it can be asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

const ANSWER_MAX: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its JSON.
    ///
    /// # Errors
    /// When it is none, with what it is.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} and no JSON: {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

/// Asks; each request has a connection of its own.
///
/// # Errors
/// When nobody answers within a minute, or what comes is no HTTP.
pub fn ask(port: u16, method: &str, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    read(BufReader::new(stream)).with_context(|| format!("no answer to {method} {path}"))
}

fn read(mut reader: impl BufRead) -> anyhow::Result<Answer> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).context("it has no status line")?.parse()?;
    let mut length = None;
    loop {
        line.clear();
        anyhow::ensure!(reader.read_line(&mut line)? > 0, "it ends within its head");
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse()?);
        }
    }
    // Without a length it ends with the connection.
    let mut body = Vec::new();
    let read = reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body)? as u64;
    anyhow::ensure!(length.is_none_or(|length| length == read), "it ends within its body");
    Ok(Answer { status, body })
}
