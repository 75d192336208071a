//! A small blocking client of the local API, over the socket of the running service.
//!
//! Every request has a connection and a deadline of its own. The types are the API's own, in [`crate::web::api::types`].

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::exit::Exit;
use crate::web::Problem;
use crate::web::api::PREFIX;

/// Studies come with their activation maps; a page of them stays far below this.
const ANSWER_MAX_BYTES: usize = 64 << 20;
/// Longest line of an export: a result with all its views.
const LINE_MAX_BYTES: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);

/// The local API of the service that uses a state directory.
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
    timeout: Duration,
}

/// Why there is no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("the service does not run: nobody answers on {}; start it (systemctl start ulna-edge)", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// This user may not use the socket.
    #[error(
        "this user may not speak to the service on {}: {source}; run it as root or as the service's user, such as \
         `sudo -u ulna edge ...`",
        socket.display()
    )]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection failed half-way.
    #[error("the service did not answer: {0}; see `journalctl -u ulna-edge`, then try again")]
    Connection(String),
    /// No answer in time.
    #[error("the service did not answer within {} s; see `journalctl -u ulna-edge`, then try again", .0.as_secs())]
    TimedOut(Duration),
    /// It says no.
    #[error("{}", in_words(.0))]
    Refused(Problem),
    /// It says something this version does not understand.
    #[error("the service's answer cannot be understood: {0}; restart it if edge has been upgraded")]
    Answer(String),
}

impl ClientError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotRunning { .. } | Self::Denied { .. } | Self::Connection(_) | Self::TimedOut(_) => {
                Exit::Unavailable
            }
            Self::Refused(problem) if problem.status == StatusCode::NOT_FOUND.as_u16() => Exit::Input,
            Self::Refused(_) => Exit::Refused,
            Self::Answer(_) => Exit::Internal,
        }
    }
}

/// What a request carries.
enum Content {
    Nothing,
    Json(Vec<u8>),
    File(Vec<u8>),
}

impl Client {
    /// A client of the service that listens on `socket`. Nothing is opened yet.
    ///
    /// # Errors
    /// When the system gives no resources for it.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ClientError::Connection(error.to_string()))?;
        Ok(Self { socket: socket.to_owned(), runtime, timeout: TIMEOUT })
    }

    /// The same with another deadline for each request.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether somebody listens on the socket.
    ///
    /// # Errors
    /// When that cannot be found out, as for want of permission.
    pub fn is_running(&self) -> Result<bool, ClientError> {
        match self.runtime.block_on(self.connect()) {
            Ok(_) => Ok(true),
            Err(ClientError::NotRunning { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Content::Nothing)
    }

    /// Asks to do something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Answer(error.to_string()))?;
        self.ask(Method::POST, path, Content::Json(body))
    }

    /// Hands over a file's bytes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn upload<T: DeserializeOwned>(&self, path: &str, bytes: Vec<u8>) -> Result<T, ClientError> {
        self.ask(Method::POST, path, Content::File(bytes))
    }

    /// Removes something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.block_on(async {
            let body = self.send(Method::DELETE, path, Content::Nothing).await?;
            read_all(body).await.map(|_| ())
        })
    }

    /// Asks for something that comes line by line and may be long; each line must come within the deadline.
    ///
    /// # Errors
    /// See [`ClientError`]; also what `each` gives.
    pub fn lines<E: From<ClientError>>(
        &self,
        path: &str,
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut body = self.block_on(self.send(Method::GET, path, Content::Nothing))?;
        let mut rest = Vec::new();
        let mut line = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|error| ClientError::Answer(error.to_string()))?;
            if text.trim().is_empty() { Ok(()) } else { each(text) }
        };
        while let Some(frame) = self.block_on(async { Ok(body.frame().await) })? {
            let frame = frame.map_err(|error| ClientError::Connection(error.to_string()))?;
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            let mut from = 0;
            while let Some(length) = rest[from..].iter().position(|byte| *byte == b'\n') {
                line(&rest[from..from + length])?;
                from += length + 1;
            }
            rest.drain(..from);
            if rest.len() > LINE_MAX_BYTES {
                return Err(ClientError::Answer("a line that does not end".to_owned()).into());
            }
        }
        line(&rest)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<T, ClientError> {
        let answer = self.block_on(async {
            let body = self.send(method, path, content).await?;
            read_all(body).await
        })?;
        serde_json::from_slice(&answer).map_err(|error| ClientError::Answer(error.to_string()))
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        self.runtime.block_on(async {
            tokio::time::timeout(self.timeout, work).await.unwrap_or(Err(ClientError::TimedOut(self.timeout)))
        })
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|source| {
            let socket = self.socket.clone();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning { socket }
                }
                io::ErrorKind::PermissionDenied => ClientError::Denied { socket, source },
                _ => ClientError::Connection(source.to_string()),
            }
        })
    }

    /// Sends a request; gives the answer's body when it is a good one.
    async fn send(&self, method: Method, path: &str, content: Content) -> Result<Incoming, ClientError> {
        let failed = |error: hyper::Error| ClientError::Connection(error.to_string());
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(failed)?;
        tokio::spawn(connection);

        let request =
            Request::builder().method(method).uri(format!("{PREFIX}{path}")).header(HOST, "localhost");
        let (request, body) = match content {
            Content::Nothing => (request, Vec::new()),
            Content::Json(body) => (request.header(CONTENT_TYPE, "application/json"), body),
            Content::File(body) => (request.header(CONTENT_TYPE, "application/octet-stream"), body),
        };
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let body = read_all(answer.into_body()).await?;
        let problem = serde_json::from_slice(&body);
        let problem = problem.unwrap_or_else(|_| Problem::new(status, "unexplained", ""));
        Err(ClientError::Refused(problem))
    }
}

fn in_words(problem: &Problem) -> String {
    if problem.detail.is_empty() {
        return format!("the service refuses this (HTTP {})", problem.status);
    }
    problem.detail.clone()
}

/// A text as it may stand in a path or a query.
pub fn encoded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                safe.push(char::from(byte))
            }
            other => safe.push_str(&format!("%{other:02X}")),
        }
    }
    safe
}

async fn read_all<B>(body: B) -> Result<Bytes, ClientError>
where
    B: Body<Data = Bytes, Error = hyper::Error>,
{
    let collected = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| ClientError::Connection(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Answers one request with these bytes and gives what was asked.
    fn service(dir: &Path, answer: &'static str) -> JoinHandle<String> {
        let listener = UnixListener::bind(dir.join("api.sock")).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        })
    }

    #[test]
    fn a_service_that_does_not_run_is_said_to() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(&dir.path().join("api.sock")).unwrap();
        assert!(!client.is_running().unwrap());
        let error = client.get::<serde_json::Value>("/station").unwrap_err();
        assert!(error.to_string().contains("systemctl start ulna-edge"), "{error}");
        assert_eq!(error.exit(), Exit::Unavailable);
        // A socket left behind by a service that was killed.
        drop(UnixListener::bind(dir.path().join("api.sock")).unwrap());
        assert!(!client.is_running().unwrap());
    }

    #[test]
    fn a_problem_becomes_its_detail() {
        let dir = tempfile::tempdir().unwrap();
        let answer = "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 67\r\n\r\n\
             {\"type\":\"about:blank\",\"title\":\"no study\",\"status\":404,\"detail\":\"x\"}";
        let asked = service(dir.path(), answer);
        let error = Client::new(&dir.path().join("api.sock"))
            .unwrap()
            .get::<serde_json::Value>("/studies/ELB-1")
            .unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit()), ("x", Exit::Input));
        assert!(
            asked.join().unwrap().starts_with("GET /api/v1/studies/ELB-1 HTTP/1.1\r\nhost: localhost\r\n")
        );
    }

    #[test]
    fn lines_come_one_by_one_however_they_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n8\r\n:1}\n{\"b\"\r\n\
             4\r\n:2}\n\r\n0\r\n\r\n";
        let asked = service(dir.path(), answer);
        let mut lines = Vec::new();
        let client = Client::new(&dir.path().join("api.sock")).unwrap();
        client
            .lines::<ClientError>("/outbox/export", |line| {
                lines.push(line.to_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(lines, [r#"{"a":1}"#, r#"{"b":2}"#]);
        asked.join().unwrap();
    }

    #[test]
    fn what_stands_in_a_path_is_encoded() {
        assert_eq!(encoded("ELB-0427"), "ELB-0427");
        assert_eq!(encoded("a/b ?ü"), "a%2Fb%20%3F%C3%BC");
    }

    #[test]
    fn a_service_that_says_nothing_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        let client =
            Client::new(&dir.path().join("api.sock")).unwrap().with_timeout(Duration::from_millis(100));
        let error = client.get::<serde_json::Value>("/station").unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
    }
}
