//! A running station and a plain HTTP client.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::app::App;
use edge::config::Config;
use edge::wake::Restart;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")
}

/// A phantom radiograph's file.
pub(crate) fn radiograph() -> Vec<u8> {
    let studies = demo().join("studies/XR_WRIST");
    let study = sorted(&studies).remove(0);
    fs::read(sorted(&study).remove(0)).unwrap()
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// `edge run` inside the test, with a spool and without a broker.
pub(crate) struct Station {
    app: Option<App>,
    /// Always there until it is dropped or started again.
    dir: Option<tempfile::TempDir>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Station {
    pub(crate) fn start() -> Self {
        Self::at(tempfile::tempdir().unwrap(), "")
    }

    pub(crate) fn at(dir: tempfile::TempDir, extra: &str) -> Self {
        let root = dir.path().display();
        let text = format!(
            "station = \"clinic-12\"\nstate_dir = \"{root}/state\"\nbundle_dir = \"{}/bundle\"\n\
             allow_demo_model = true\nworkers = 1\n{extra}\n[spool]\ndir = \"{root}/spool\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
             [mqtt]\nport = 1\nusername = \"u\"\n",
            demo().display()
        );
        let config = Config::parse(&text, Path::new("t.toml")).unwrap();
        let app = App::start(&config, (&demo().join("bundle"), None), &Restart::default()).unwrap();
        Self { app: Some(app), dir: Some(dir) }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.app.as_ref().unwrap().page_address()
    }

    pub(crate) fn lan_address(&self) -> SocketAddr {
        self.app.as_ref().unwrap().lan_address().unwrap()
    }

    /// A GET over TLS, trusting the station's own certificate alone.
    pub(crate) fn ask_tls(&self, address: SocketAddr, path: &str, headers: &str) -> Answer {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir().join("state/web.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream)
    }

    /// Stops it and starts it again on the same folders.
    pub(crate) fn restart(mut self) -> Self {
        assert!(self.app.take().unwrap().stop(Duration::from_secs(20)));
        Self::at(self.dir.take().unwrap(), "")
    }

    /// A request over TCP with headers of the caller's choice.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address()))
    }

    /// A request over the unix socket, as the command line makes it.
    pub(crate) fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
        let mut stream = UnixStream::connect(self.dir().join("state/api.sock")).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that has refused already does not read on.
        let _ = stream.write_all(body);
        answer(&mut stream)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string().as_bytes())
    }

    /// Opens a study and gives its number.
    pub(crate) fn open(&self, body: Value) -> String {
        let opened = self.post("/api/v1/studies", &body);
        assert_eq!(opened.status, 201, "{}", opened.text());
        opened.json()["number"].as_str().unwrap().to_owned()
    }

    /// Adds an image to a study and gives its name.
    pub(crate) fn add(&self, number: &str, bytes: &[u8]) -> String {
        let path = format!("/api/v1/studies/{number}/images");
        let added = self.send("POST", &path, "application/octet-stream", bytes);
        assert_eq!(added.status, 201, "{}", added.text());
        added.json()["image_id"].as_str().unwrap().to_owned()
    }

    /// Waits until a study is as wanted.
    pub(crate) fn wait_for(&self, number: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let study = self.get(&format!("/api/v1/studies/{number}")).json();
            if wanted(&study) {
                return study;
            }
            assert!(Instant::now() < until, "not in time: {study:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop(Duration::from_secs(20));
        }
    }
}

fn answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    // A TLS server may close without saying so; the head and the length tell what is missing.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("no end of the head");
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}
