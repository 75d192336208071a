//! The page's door to the station's own network: TLS always, and a token that whoever may enter has scanned.
//!
//! ```text
//! <state_dir>/web.token    64 hexadecimal digits, mode 0600, made at the first start; remove it to lock everybody out
//! <state_dir>/web.pem      the station's own certificate, made where none is configured, and
//! <state_dir>/web.key      its key, mode 0600
//! ```
//!
//! `GET /enter?token=…` puts the token into a cookie that scripts cannot read; a program may send it as
//! `Authorization: Bearer …`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls;

/// Connections that may be shaking hands at once.
const HANDSHAKES_MAX: usize = 32;
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// `[web.lan]`: the page for the station's own network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Names or addresses by which it is opened; the first one is in the code.
    pub hosts: Vec<String>,
    /// PEM file with a certificate chain. Without it the station makes its own.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of `cert_file`.
    pub key_file: Option<PathBuf>,
}

impl LanConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do. No file is opened.
    pub fn check(&self) -> Result<(), String> {
        let plain = |host: &String| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
        };
        if self.hosts.is_empty() || !self.hosts.iter().all(plain) {
            return Err("web.lan.hosts needs the names or addresses by which the page is opened, such as \
                        [\"192.168.1.20\"], without scheme or port"
                .to_owned());
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(
                "web.lan.cert_file and web.lan.key_file belong together; set both or neither".to_owned()
            );
        }
        Ok(())
    }

    /// What a browser sends as the host, for each of the names.
    pub(super) fn authorities(&self, port: u16) -> Vec<String> {
        let bare = if port == 443 { self.hosts.clone() } else { Vec::new() };
        self.hosts.iter().map(|host| format!("{host}:{port}")).chain(bare).collect()
    }

    /// The address that lets a browser in.
    pub fn link(&self, token: &str) -> String {
        let host = self.hosts.first().map_or("localhost", String::as_str);
        format!("https://{host}:{}/enter?token={token}", self.listen.port())
    }
}

/// The token, made if there is none yet.
///
/// # Errors
/// When its file cannot be read or made, or holds something else.
pub fn token(state_dir: &Path) -> io::Result<String> {
    let path = state_dir.join("web.token");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == 64 => Ok(text.trim().to_owned()),
        Ok(_) => {
            Err(io::Error::other(format!("{} is damaged; remove it to have a new one made", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0u8; 32];
            rand::rng().fill_bytes(&mut bytes);
            let token = hex::encode(bytes);
            write_private(&path, &token)?;
            Ok(token)
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))),
    }
}

/// Whole or not there, and for the service's user alone.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// TLS with the configured certificate, or with the station's own, which is made for the configured names.
fn server_config(config: &LanConfig, state_dir: &Path) -> io::Result<ServerConfig> {
    let (cert_file, key_file) = match (&config.cert_file, &config.key_file) {
        (Some(cert_file), Some(key_file)) => (cert_file.clone(), key_file.clone()),
        _ => own_certificate(config, state_dir)?,
    };
    let unusable = |file: &Path, why: &dyn std::fmt::Display| {
        io::Error::other(format!("cannot use {}: {why}; correct the file", file.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&cert_file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&cert_file, &error))?;
    let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|error| unusable(&key_file, &error))?;
    ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unusable(&cert_file, &error))
}

/// A certificate that the station signs itself. It is made again when the names have changed, which are kept beside it.
fn own_certificate(config: &LanConfig, state_dir: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let [certificate, key, names] = ["web.pem", "web.key", "web.names"].map(|name| state_dir.join(name));
    let wanted = config.hosts.join("\n");
    let current = fs::read_to_string(&names).is_ok_and(|known| known == wanted);
    if !(current && certificate.exists() && key.exists()) {
        let hosts: Vec<String> =
            config.hosts.iter().map(|host| host.trim_matches(['[', ']']).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts).map_err(io::Error::other)?;
        write_private(&key, &made.signing_key.serialize_pem())?;
        write_private(&certificate, &made.cert.pem())?;
        write_private(&names, &wanted)?;
    }
    Ok((certificate, key))
}

/// The door, bound to its address.
pub(super) struct Door {
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    pub(super) address: SocketAddr,
    pub(super) authorities: Vec<String>,
    pub(super) token: String,
}

impl Door {
    /// Binds it, making what is missing.
    pub(super) fn bind(config: &LanConfig, state_dir: &Path) -> io::Result<Self> {
        let token = token(state_dir)?;
        let mut tls = server_config(config, state_dir)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = std::net::TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let authorities = config.authorities(address.port());
        Ok(Self { listener, acceptor: TlsAcceptor::from(Arc::new(tls)), address, authorities, token })
    }

    /// Accepts connections from now on.
    pub(super) fn open(self) -> io::Result<Listener> {
        let (sender, ready) = mpsc::channel(HANDSHAKES_MAX);
        let listener = TcpListener::from_std(self.listener)?;
        tokio::spawn(shake_hands(listener, self.acceptor, sender));
        Ok(Listener { ready, address: self.address })
    }
}

/// A slow or silent peer holds up nobody but itself.
async fn shake_hands(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while !ready.is_closed() {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                log::debug!("a connection to the page failed: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                // A closed channel means that the page has ended.
                Ok(Ok(stream)) => drop(ready.send((stream, peer)).await),
                Ok(Err(error)) => log::debug!("a TLS handshake with the page failed: {error}"),
                Err(_) => log::debug!("a TLS handshake with the page took too long"),
            }
            drop(place);
        });
    }
}

/// Connections whose handshake is done.
pub(super) struct Listener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task ends only with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(hosts: &[&str]) -> LanConfig {
        LanConfig {
            listen: "127.0.0.1:8461".parse().unwrap(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            cert_file: None,
            key_file: None,
        }
    }

    #[test]
    fn hosts_are_names_without_scheme_and_files_come_in_pairs() {
        assert_eq!(config(&["192.168.1.20", "ulna.local", "[fe80::1]"]).check(), Ok(()));
        for hosts in [&[][..], &["https://ulna.local"], &["ulna.local/"], &[""]] {
            assert!(config(hosts).check().is_err(), "{hosts:?}");
        }
        let half = LanConfig { cert_file: Some("a".into()), ..config(&["a"]) };
        assert!(half.check().unwrap_err().contains("both or neither"));
    }

    #[test]
    fn the_token_is_private_and_lasting() {
        let dir = tempfile::tempdir().unwrap();
        let made = token(dir.path()).unwrap();
        assert_eq!((made.len(), &token(dir.path()).unwrap()), (64, &made));
        let mode = fs::metadata(dir.path().join("web.token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.path().join("web.token"), "short").unwrap();
        assert!(token(dir.path()).unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn the_stations_own_certificate_is_kept_until_its_names_change() {
        let dir = tempfile::tempdir().unwrap();
        let read = || fs::read_to_string(dir.path().join("web.pem")).unwrap();
        server_config(&config(&["192.168.1.20"]), dir.path()).unwrap();
        let first = read();
        server_config(&config(&["192.168.1.20"]), dir.path()).unwrap();
        assert_eq!(read(), first);
        server_config(&config(&["ulna.local"]), dir.path()).unwrap();
        assert_ne!(read(), first);
    }
}
