//! A receiver of DICOM images: the storage service class as a provider (C-STORE), and verification (C-ECHO).
//!
//! DICOM as it is spoken here is neither encrypted nor proves who speaks: whoever reaches the port can read along, and
//! an AE title is a name, not a password. So it listens on this machine alone unless the configuration names another
//! address, which belongs on a network of the X-ray equipment's own.
//!
//! Only presentation contexts of the allowed storage classes, in transfer syntaxes that can be decoded, are accepted.
//! An object is answered with success when the image is accepted, which is when it survives a power cut; it is stored
//! as a DICOM file. StudyInstanceUID and body part make a study; an object that is sent again is recognised by its SOP
//! Instance UID and answered with success again. What is refused:
//!
//! | status | why |
//! |---|---|
//! | 0110 | the store fails |
//! | 0111 | another image came under the same SOP Instance UID, in the same transfer syntax |
//! | 0117, 0122 | the request names no instance, or a class that its presentation context is not for |
//! | 0211 | something other than C-STORE or C-ECHO |
//! | A700 | no space left; to be sent again later |
//! | A900 | the data set is another instance, or of another class, than the request says |
//! | C000 | the data set cannot be understood as a radiograph |
//! | C001, C002 | more bytes than `image.file_max_mib`, more pixels than `image.pixels_max_mpx` |
//!
//! Every connection has a thread; their number, their PDUs, and all their waits are bounded.

mod association;
mod command;
mod connections;
mod negotiation;
pub mod probe;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use contract::radiograph::Limits;
use contract::study::StudyType;
use crossbeam_channel::{Receiver, Sender, bounded};
use dicom_dictionary_std::uids;
use serde::Deserialize;

use self::association::{Refusal, Tally};
use self::connections::Connections;
use self::wire::WireError;
use super::{Report, Source};
use crate::config::within;
use crate::flood::Flood;
use crate::health::Health;
use crate::intake::Intake;
use crate::study::SourceName;

/// The source's name.
pub const NAME: SourceName = "dicom";
/// How the origins of its studies begin.
pub(super) const ORIGIN_PREFIX: &str = "dicom/";
/// Names this program to its peers and in the files it writes; never changed.
const IMPLEMENTATION_CLASS_UID: &str = "2.25.104503327730095591942881038612997718873";
const IMPLEMENTATION_VERSION_NAME: &str = "ULNA";
/// Longest time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Connections that were accepted and not yet welcomed.
const INCOMING_MAX: usize = 16;
/// How long to wait when the system gives no connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a stage may be busy with taking connections.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long connections have to end when the service stops.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// `[dicom]`: a receiver of DICOM images.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DicomConfig {
    /// Where it listens.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Its own AE title, by which it must be called.
    #[serde(default = "default_ae_title")]
    pub ae_title: String,
    /// The AE titles of those that may send.
    pub calling_ae_titles: Vec<String>,
    /// The kinds of images that are taken.
    #[serde(default = "default_storage_classes")]
    pub storage_classes: Vec<StorageClass>,
    /// The type of a study whose images name no body part.
    #[serde(default)]
    pub default_study_type: Option<StudyType>,
    /// Associations open at the same time.
    #[serde(default = "default_associations_max")]
    pub associations_max: usize,
    /// Largest PDU, in bytes.
    #[serde(default = "default_pdu_max_bytes")]
    pub pdu_max_bytes: u32,
    /// Seconds within which a connection must have asked for an association.
    #[serde(default = "default_association_timeout_s")]
    pub association_timeout_s: u64,
    /// Seconds without a complete PDU after which an association is aborted.
    #[serde(default = "default_idle_timeout_s")]
    pub idle_timeout_s: u64,
    /// Seconds that one object may take.
    #[serde(default = "default_transfer_timeout_s")]
    pub transfer_timeout_s: u64,
}

fn default_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 11112)
}

fn default_ae_title() -> String {
    "ULNA".to_owned()
}

fn default_storage_classes() -> Vec<StorageClass> {
    vec![StorageClass::Cr, StorageClass::Dx, StorageClass::Sc]
}

fn default_associations_max() -> usize {
    8
}

fn default_pdu_max_bytes() -> u32 {
    64 << 10
}

fn default_association_timeout_s() -> u64 {
    10
}

fn default_idle_timeout_s() -> u64 {
    60
}

fn default_transfer_timeout_s() -> u64 {
    600
}

/// A kind of image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageClass {
    /// Computed radiography.
    Cr,
    /// Digital X-ray, for presentation.
    Dx,
    /// Digital X-ray, for processing: not what a radiologist would be shown.
    DxForProcessing,
    /// Secondary capture: scanned films, screenshots.
    Sc,
}

impl StorageClass {
    /// Its SOP Class UID.
    pub fn uid(self) -> &'static str {
        match self {
            Self::Cr => uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
            Self::Dx => uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
            Self::DxForProcessing => uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
            Self::Sc => uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        }
    }
}

impl DicomConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do.
    pub fn check(&self) -> Result<(), String> {
        check_ae_title("dicom.ae_title", &self.ae_title)?;
        for title in &self.calling_ae_titles {
            check_ae_title("dicom.calling_ae_titles", title)?;
        }
        if self.calling_ae_titles.is_empty() {
            return Err(
                "dicom.calling_ae_titles is empty; name the AE titles of those that may send".to_owned()
            );
        }
        if self.storage_classes.is_empty() {
            return Err("dicom.storage_classes is empty; name at least one of cr, dx, sc".to_owned());
        }
        within("dicom.associations_max", self.associations_max as u64, 1, 32)?;
        within("dicom.pdu_max_bytes", u64::from(self.pdu_max_bytes), 4096, 1 << 20)?;
        within("dicom.association_timeout_s", self.association_timeout_s, 1, 300)?;
        within("dicom.idle_timeout_s", self.idle_timeout_s, 1, 3600)?;
        within("dicom.transfer_timeout_s", self.transfer_timeout_s, 1, 86_400)
    }
}

fn check_ae_title(key: &str, title: &str) -> Result<(), String> {
    let printable = title.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\');
    if printable && (1..=16).contains(&title.len()) && title.trim() == title {
        return Ok(());
    }
    Err(format!("{key}: {title:?} is not an AE title; it has 1 to 16 printable ASCII characters"))
}

/// The receiver as a source.
pub struct Dicom {
    address: SocketAddr,
    incoming: Receiver<TcpStream>,
    /// Says to the listening thread that it ends.
    closing: Arc<AtomicBool>,
    service: Arc<Service>,
    connections: Connections,
}

/// What every connection's thread needs.
struct Service {
    config: DicomConfig,
    limits: Limits,
    intake: Intake,
    health: Arc<Health>,
    /// By kind.
    complaints: Mutex<BTreeMap<String, Flood>>,
}

impl Dicom {
    /// Listens; nothing is answered before the first look.
    ///
    /// # Errors
    /// When the address cannot be bound or there is no thread to listen.
    pub fn bind(
        config: DicomConfig,
        limits: Limits,
        intake: Intake,
        health: Arc<Health>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        let address = listener.local_addr()?;
        if !config.listen.ip().is_loopback() {
            log::warn!(
                "DICOM is received on {}: it is not encrypted and AE titles prove nothing, so that network must be \
                 protected by other means",
                config.listen
            );
        }
        let service = Service { config, limits, intake, health, complaints: Mutex::default() };
        let service = Arc::new(service);
        let (sender, incoming) = bounded(INCOMING_MAX);
        let closing = Arc::new(AtomicBool::new(false));
        let (until, complaining) = (Arc::clone(&closing), Arc::clone(&service));
        thread::Builder::new()
            .name("dicom-listen".to_owned())
            .spawn(move || listen(&listener, &sender, &until, &complaining))?;
        Ok(Self { address, incoming, closing, service, connections: Connections::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn welcome(&self, socket: TcpStream) {
        let Some(ticket) = self.connections.admit(&socket, self.service.config.associations_max) else {
            self.service.complain("crowd", "a connection was dropped", "too many are open");
            return;
        };
        let service = Arc::clone(&self.service);
        let spawned = thread::Builder::new().name("dicom-peer".to_owned()).spawn(move || {
            let mut tally = Tally::default();
            // What a peer sends has made readers panic before; that ends its connection and no other.
            let ended =
                catch_unwind(AssertUnwindSafe(|| association::serve(&service, socket, &ticket, &mut tally)));
            drop(ticket);
            service.say_ended(ended.unwrap_or(Err(WireError::NotDicom)), &tally);
        });
        if let Err(error) = spawned {
            self.service.complain("thread", "a connection was dropped", &format!("no thread: {error}"));
        }
    }
}

/// Accepts connections until told to end; beyond [`INCOMING_MAX`] they wait in the system's queue.
fn listen(listener: &TcpListener, sender: &Sender<TcpStream>, closing: &AtomicBool, service: &Service) {
    loop {
        let accepted = listener.accept();
        if closing.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            Ok((socket, _)) => {
                if sender.send(socket).is_err() {
                    return;
                }
            }
            Err(error) => {
                service.complain("accept", "a connection was lost", &error.to_string());
                // Without descriptors left the connection stays where it is, and would be tried again at once.
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

impl Service {
    /// Logs a complaint of a kind, at most once a minute.
    fn complain(&self, kind: &str, what: &str, why: &str) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let due = complaints.entry(kind.to_owned()).or_default().add(1, Instant::now());
        drop(complaints);
        match due {
            None => {}
            Some(1) => log::warn!("DICOM: {what}: {why}"),
            Some(times) => log::warn!("DICOM: {what}: {why} (and {} more like this)", times - 1),
        }
    }

    fn say_ended(&self, ended: Result<(), WireError>, tally: &Tally) {
        let Tally { peer, accepted, refused } = tally;
        if !peer.is_empty() {
            log::info!("DICOM association with {peer} ended: {accepted} images accepted, {refused} refused");
        }
        match ended {
            Ok(()) => {}
            // Looking whether a port is open is no reason to complain.
            Err(WireError::Closed) if peer.is_empty() => log::debug!("DICOM: a connection without a word"),
            Err(error) if peer.is_empty() => {
                self.complain("stranger", "a connection came to no association", &error.to_string());
            }
            Err(error) => self.complain("broken", "an association broke off", &error.to_string()),
        }
    }

    fn say_refused(&self, refusal: &Refusal) {
        if let Some(trouble) = refusal.trouble() {
            self.health.set(trouble, true);
        }
        let code = format!("{:04X}", refusal.status().code);
        self.complain(&code, &format!("an object was refused with status {code}"), &refusal.to_string());
    }
}

impl Source for Dicom {
    fn name(&self) -> SourceName {
        NAME
    }

    fn poll(&mut self, now: Duration) -> Report {
        self.service.health.beat(NAME, SILENCE_MAX);
        for socket in self.incoming.try_iter().take(INCOMING_MAX) {
            self.welcome(socket);
        }
        // Says that there is space again, too: nobody else may be looking.
        let _ = self.service.intake.check_space();
        let held = self.connections.held(now);
        Report {
            held: held.studies,
            held_prefix: held.unknown.then_some(ORIGIN_PREFIX),
            ..Report::nothing(now, REPORT_INTERVAL)
        }
    }

    fn wait(&mut self, patience: Duration) {
        // Whether one came or not, it is time for a look.
        if let Ok(socket) = self.incoming.recv_timeout(patience) {
            self.welcome(socket);
        }
    }
}

impl Drop for Dicom {
    fn drop(&mut self) {
        self.connections.close();
        self.closing.store(true, Ordering::Release);
        // Wakes the listening thread, which then ends and lets go of the address.
        let _ = TcpStream::connect_timeout(&self.address, ACCEPT_PAUSE);
        let until = Instant::now() + CLOSE_MAX;
        while !self.connections.is_empty() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests;
