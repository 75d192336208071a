//! Bundles from a web server: any one that serves the files of a bundle's folder. A download that was cut off goes on
//! where it stopped, in this run or a later one.
//!
//! The server is not trusted: the manifest's signature is, and with it the hash of every file. TLS keeps others from
//! seeing what is fetched, and a network's sign-in pages from passing for an answer.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::header::{CONTENT_RANGE, RANGE};
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::config::ModelConfig;
use super::error::SlotsError;
use super::install::Part;
use super::source::Source;
use crate::client::encoded;
use crate::tls;
use crate::wake::Stop;

const CONNECT_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A line over which nothing has come for this long is given up, and another request goes on.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: u32 = 3;
/// This many requests in a row may bring nothing.
const FRUITLESS_MAX: u32 = 4;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why a bundle could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The address is none.
    #[error(
        "`{0}` is not the address of a bundle; expected https://HOST/FOLDER without user, query or fragment (plain http only \
         for 127.0.0.1)"
    )]
    Address(String),
    /// The authorities cannot be read.
    #[error(
        "model.ca_file {path} cannot be used: {why}; install the package ca-certificates, or name another file"
    )]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The server does not answer, or not to the end.
    #[error("{url} cannot be fetched: {why}; what has come is kept, and the next attempt goes on from there")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong last.
        why: String,
    },
    /// The server says that it will not.
    #[error("{url} cannot be fetched: the server answers {status}; is the bundle there?")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// The server's file ends too early.
    #[error(
        "{url} cannot be used: at the server it is shorter than the bundle's manifest says; copy the whole bundle there"
    )]
    Shorter {
        /// What was asked for.
        url: String,
    },
    /// The server sends more than there can be.
    #[error("{url} cannot be used: it is larger than {max_bytes} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit.
        max_bytes: u64,
    },
}

impl DownloadError {
    /// Whether it may go better later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// A bundle's folder on a web server.
pub struct Download {
    agent: Agent,
    base: String,
    stop: Stop,
}

impl Download {
    /// Whether a text names a folder on a web server, rightly or not.
    pub fn is_address(text: &str) -> bool {
        text.contains("://")
    }

    /// Asks nothing yet. The download ends early once it is stopped.
    ///
    /// # Errors
    /// When the address is none, or the authorities cannot be read.
    pub fn new(url: &str, config: &ModelConfig, stop: Stop) -> Result<Self, DownloadError> {
        let base = url.trim_end_matches('/');
        let encrypted = check(base).ok_or_else(|| DownloadError::Address(url.to_owned()))?;
        let mut builder = Agent::config_builder()
            .https_only(encrypted)
            .http_status_as_error(false)
            .max_redirects(REDIRECTS_MAX)
            .max_redirects_will_error(false)
            .user_agent(concat!("ulna-edge/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(ANSWER_MAX))
            .timeout_per_read(Some(SILENCE_MAX));
        if encrypted {
            builder = builder.tls_config(
                TlsConfig::builder()
                    .root_certs(authorities(&config.ca_file)?)
                    .unversioned_rustls_crypto_provider(tls::provider())
                    .build(),
            );
        }
        Ok(Self { agent: builder.build().into(), base: base.to_owned(), stop })
    }

    fn url(&self, name: &str) -> String {
        let path: Vec<String> = name.split('/').map(encoded).collect();
        format!("{}/{}", self.base, path.join("/"))
    }

    /// Repeats a request until it has done its work, or nothing new has come for several times, which is what `work` says of
    /// each.
    fn persist<T>(
        &self,
        url: &str,
        mut work: impl FnMut() -> Result<T, (Trouble, bool)>,
    ) -> Result<T, SlotsError> {
        let mut fruitless = 0;
        loop {
            let (trouble, some_came) = match work() {
                Ok(done) => return Ok(done),
                Err(found) => found,
            };
            let why = match trouble {
                Trouble::Final(error) => return Err(error),
                Trouble::Passing(why) => why,
            };
            fruitless = if some_came { 0 } else { fruitless + 1 };
            if fruitless >= FRUITLESS_MAX {
                return Err(DownloadError::Unreachable { url: url.to_owned(), why }.into());
            }
            log::debug!("fetching the bundle: {why}; trying again");
            if !self.pause(PAUSE_MIN * 2u32.pow(fruitless)) {
                return Err(DownloadError::Unreachable { url: url.to_owned(), why }.into());
            }
        }
    }

    /// Waits; says whether the download is to go on then.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.stop.is_stopped() {
            thread::sleep(LOOK_EVERY);
        }
        !self.stop.is_stopped()
    }

    fn get(&self, url: &str, from: u64) -> Result<ureq::http::Response<ureq::Body>, Trouble> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let answer = request.call().map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Trouble::Final(DownloadError::Address(url.to_owned()).into())
            }
            ureq::Error::RequireHttpsOnly(to) => Trouble::Final(DownloadError::Address(to).into()),
            error => Trouble::Passing(error.to_string()),
        })?;
        let status = answer.status();
        let later = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if later {
            return Err(Trouble::Passing(format!("the server answers {status}")));
        }
        Ok(answer)
    }
}

/// What came of a request that did not do its work.
enum Trouble {
    /// It may go better at once or later.
    Passing(String),
    /// It will not.
    Final(SlotsError),
}

impl Source for Download {
    fn place(&self, name: &str) -> String {
        self.url(name)
    }

    fn small(&mut self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SlotsError> {
        let url = self.url(name);
        self.persist(&url, || {
            let mut answer = self.get(&url, 0).map_err(|trouble| (trouble, false))?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
                other => return Err((refused(&url, other), false)),
            }
            match answer.body_mut().with_config().limit(max_bytes).read_to_vec() {
                Ok(bytes) => Ok(Some(bytes)),
                Err(ureq::Error::BodyExceedsLimit(max_bytes)) => {
                    let error = DownloadError::TooLarge { url: url.clone(), max_bytes };
                    Err((Trouble::Final(error.into()), false))
                }
                Err(error) => Err((Trouble::Passing(error.to_string()), false)),
            }
        })
    }

    fn rest(&mut self, name: &str, part: &mut Part) -> Result<(), SlotsError> {
        let url = self.url(name);
        // Only what was never there before is progress: a server that begins anew each time makes none.
        let mut reached = part.length();
        self.persist(&url, || {
            let before = part.length();
            let answer = self.get(&url, before).map_err(|trouble| (trouble, false))?;
            match answer.status() {
                StatusCode::PARTIAL_CONTENT if starts_at(answer.headers(), before) => {}
                // A server that does not know ranges sends it all.
                StatusCode::OK => part.restart().map_err(|error| (Trouble::Final(error), false))?,
                StatusCode::RANGE_NOT_SATISFIABLE => return Err((shorter(&url), false)),
                other => return Err((refused(&url, other), false)),
            }
            let mut body = UntilStopped { inner: answer.into_body().into_reader(), stop: &self.stop };
            let mut cut_off = None;
            let appended = part.append(&mut body, |source| {
                cut_off = Some(source.to_string());
                SlotsError::Source { place: url.clone(), source }
            });
            let some_came = part.length() > reached;
            reached = reached.max(part.length());
            match (appended, cut_off) {
                (Err(_), Some(why)) => Err((Trouble::Passing(why), some_came)),
                (Err(error), None) => Err((Trouble::Final(error), some_came)),
                (Ok(()), _) if part.is_whole() => Ok(()),
                (Ok(()), _) => {
                    let why = format!("{} of {} bytes came", part.length(), part.size_bytes());
                    Err((Trouble::Passing(why), some_came))
                }
            }
        })
    }
}

/// A body that ends with an error once it is not wanted any more.
struct UntilStopped<'a, R> {
    inner: R,
    stop: &'a Stop,
}

impl<R: Read> Read for UntilStopped<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_stopped() {
            return Err(io::Error::other("it is not wanted any more"));
        }
        self.inner.read(bytes)
    }
}

fn shorter(url: &str) -> Trouble {
    Trouble::Final(DownloadError::Shorter { url: url.to_owned() }.into())
}

fn refused(url: &str, status: StatusCode) -> Trouble {
    Trouble::Final(DownloadError::Status { url: url.to_owned(), status: status.as_u16() }.into())
}

/// Whether a partial answer begins where it was asked to.
fn starts_at(headers: &HeaderMap, from: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    start == Some(from)
}

/// Whether an address is encrypted; `None` when it is not one that may be asked.
fn check(base: &str) -> Option<bool> {
    let (scheme, rest) = base.split_once("://")?;
    let plain = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"@?#\\".contains(&b));
    let host = rest.split('/').next()?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    match scheme {
        "https" if plain && !name.is_empty() => Some(true),
        "http" if plain && matches!(name, "127.0.0.1" | "localhost") => Some(false),
        _ => None,
    }
}

fn authorities(path: &Path) -> Result<RootCerts, DownloadError> {
    let unusable = |why: String| DownloadError::Authorities { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error: io::Error| unusable(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| unusable(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_addresses_are_asked_but_for_this_machines() {
        for good in ["https://models.example/bundles/7", "https://10.0.0.1:8443/b", "https://models.example"]
        {
            assert_eq!(check(good), Some(true), "{good}");
        }
        assert_eq!(check("http://127.0.0.1:8000/b"), Some(false));
        assert_eq!(check("http://localhost/b"), Some(false));
        for bad in [
            "http://models.example/b",
            "http://127.0.0.1.example/b",
            "https://models.example/my bundle",
            "https://anna:secret@models.example/b",
            "https://models.example/b?version=7",
            "https://",
            "https://:443/b",
            "ftp://models.example/b",
            "/media/stick/bundle",
        ] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_that_begins_elsewhere_is_not_taken() {
        let headers = |range: &str| HeaderMap::from_iter([(CONTENT_RANGE, range.parse().unwrap())]);
        assert!(starts_at(&headers("bytes 100-199/200"), 100));
        for range in ["bytes 0-199/200", "bytes */200", "100-199/200", "bytes x-y/z"] {
            assert!(!starts_at(&headers(range), 100), "{range}");
        }
        assert!(!starts_at(&HeaderMap::new(), 100));
    }

    #[test]
    fn names_are_encoded_level_by_level() {
        let download =
            Download::new("http://127.0.0.1:1/a/", &ModelConfig::default(), Stop::default()).unwrap();
        assert_eq!(download.url("golden/0 é.png"), "http://127.0.0.1:1/a/golden/0%20%C3%A9.png");
    }
}
