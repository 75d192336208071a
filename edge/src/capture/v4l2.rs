//! Frames from a V4L2 frame grabber, taken when the technician asks for one.
//!
//! A thread of its own owns the device, because the `v4l` crate panics where a driver answers what it does not
//! expect. Between two requests the device is closed. A failed attempt is repeated, with a growing pause and
//! everything opened anew, until the request's deadline. A frame that comes after the deadline is dropped: what the
//! technician was told has failed must not turn up as an accepted image.
//!
//! How the last attempt failed is remembered until one succeeds or the device is plugged in again, which makes its node
//! anew.

mod device;
mod frame;
pub mod probe;

use std::any::Any;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use contract::preprocess::PreprocessSpec;
use contract::radiograph::Limits;
use contract::result::CameraState;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::Access;
use serde::Deserialize;

pub use self::device::DeviceError;
pub use self::frame::{CapturedFrame, UnreadableFrame};

use self::frame::{Mean, PixelFormat, Samples};

use super::{Camera, Frame};
use crate::config::within;

/// `[v4l2]`: a frame grabber, read when the technician asks for a frame.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V4l2Config {
    /// The device, best under `/dev/v4l/by-id`.
    pub device: PathBuf,
    /// Pixel format: GREY, Y10, Y12, Y16, YUYV or MJPG.
    #[serde(default = "default_fourcc")]
    pub fourcc: String,
    /// Frame width in pixels.
    pub width_px: u32,
    /// Frame height in pixels.
    pub height_px: u32,
    /// Whether bone is dark in the frame.
    #[serde(default)]
    pub invert: bool,
    /// Bits of a sample that the device fills, where they are fewer than the format's, such as 12 of Y16. The exposure is
    /// judged by them.
    #[serde(default)]
    pub sample_bits: Option<u32>,
    /// How long a frame may take, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Frames thrown away after the stream starts.
    #[serde(default = "default_warmup_frames")]
    pub warmup_frames: u32,
    /// Frames whose mean is the radiograph: more of them are less noisy, and blurred when something moves.
    #[serde(default = "default_average_frames")]
    pub average_frames: u32,
}

fn default_average_frames() -> u32 {
    1
}

fn default_fourcc() -> String {
    "GREY".to_owned()
}

fn default_timeout_ms() -> u64 {
    2000
}

fn default_warmup_frames() -> u32 {
    3
}

impl V4l2Config {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do. The device is not opened.
    pub fn check(&self) -> Result<(), String> {
        const KNOWN: [&str; 6] = ["GREY", "Y10", "Y12", "Y16", "YUYV", "MJPG"];
        if !KNOWN.contains(&self.fourcc.trim_end()) {
            return Err(format!("v4l2.fourcc is `{}`; expected one of {}", self.fourcc, KNOWN.join(", ")));
        }
        if let Some(bits) = self.sample_bits {
            within("v4l2.sample_bits", u64::from(bits), 8, 16)?;
        }
        within("v4l2.width_px", u64::from(self.width_px), 64, 16_384)?;
        within("v4l2.height_px", u64::from(self.height_px), 64, 16_384)?;
        within("v4l2.timeout_ms", self.timeout_ms, 100, 60_000)?;
        within("v4l2.warmup_frames", u64::from(self.warmup_frames), 0, 100)?;
        within("v4l2.average_frames", u64::from(self.average_frames), 1, 64)
    }
}

/// How long a radiograph may take, attempts included.
const FRAME_MAX: Duration = Duration::from_secs(15);
/// How long a look may take.
const LOOK_MAX: Duration = Duration::from_secs(3);
/// First pause before the device is opened again; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The device gave none.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// It gave one that is not an image.
    #[error(transparent)]
    Unreadable(#[from] UnreadableFrame),
    /// An earlier request still runs.
    #[error("the frame grabber is busy with an earlier request; try again in a moment")]
    Busy,
    /// The device did not answer before the deadline.
    #[error("the frame grabber did not answer in time; check the device and try again")]
    TimedOut,
    /// The driver gave something that cannot be handled.
    #[error("the frame grabber's driver gave something unexpected ({0}); try again, then report it")]
    Panicked(String),
    /// The capturing thread could not be started or has ended.
    #[error("the frame grabber's thread is not running ({0}); restart the service")]
    NotRunning(String),
}

/// The frame grabber. Cheap to clone; the device's thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct V4l2Source {
    device: PathBuf,
    orders: Sender<Order>,
    failure: Arc<Mutex<Option<Failure>>>,
}

/// How the last attempt failed, and on which device node.
#[derive(Debug)]
struct Failure {
    node: Option<NodeId>,
    why: String,
}

/// Inode and time of its last change: another one after the device was plugged in again.
type NodeId = (u64, i64, i64);

fn node_id(device: &Path) -> io::Result<NodeId> {
    fs::metadata(device).map(|facts| (facts.ino(), facts.ctime(), facts.ctime_nsec()))
}

/// One request for a frame.
struct Order {
    /// A look needs neither a settled nor a quiet picture.
    look: bool,
    deadline: Instant,
    reply: Sender<Result<CapturedFrame, CaptureError>>,
}

/// What the device's thread knows.
struct Worker {
    config: V4l2Config,
    format: PixelFormat,
    spec: PreprocessSpec,
    limits: Limits,
    failure: Arc<Mutex<Option<Failure>>>,
}

impl V4l2Source {
    /// Starts the device's thread. The device itself is opened at the first request, so a station whose
    /// grabber is switched off starts all the same. `spec` is the model's: frames are windowed by its percentiles.
    ///
    /// # Errors
    /// When the config's pixel format is unknown or the thread cannot be started.
    pub fn start(config: V4l2Config, spec: PreprocessSpec, limits: Limits) -> Result<Self, CaptureError> {
        let format = PixelFormat::parse(&config.fourcc).map_err(UnreadableFrame::from)?;
        let (orders, incoming) = bounded(0);
        let (device, failure) = (config.device.clone(), Arc::default());
        let worker = Worker { config, format, spec, limits, failure: Arc::clone(&failure) };
        thread::Builder::new()
            .name("v4l2".to_owned())
            .spawn(move || worker.run(&incoming))
            .map_err(|error| CaptureError::NotRunning(error.to_string()))?;
        Ok(Self { device, orders, failure })
    }

    /// Takes one frame; blocks until it is there, at most for `patience`.
    ///
    /// # Errors
    /// When the device gave no readable frame in that time: the last attempt's error.
    pub fn capture(&self, patience: Duration) -> Result<CapturedFrame, CaptureError> {
        self.order(false, patience)
    }

    fn order(&self, look: bool, patience: Duration) -> Result<CapturedFrame, CaptureError> {
        let deadline = Instant::now() + patience;
        let (reply, answer) = bounded(1);
        self.orders.send_deadline(Order { look, deadline, reply }, deadline).map_err(|error| {
            if error.is_timeout() {
                CaptureError::Busy
            } else {
                CaptureError::NotRunning("it has ended".to_owned())
            }
        })?;
        // The thread keeps the deadline itself, so that its error, which says more, comes first. This one is for
        // a driver that does not come back.
        answer.recv_deadline(deadline + Duration::from_millis(500)).unwrap_or(Err(CaptureError::TimedOut))
    }
}

impl Camera for V4l2Source {
    fn take(&self) -> Result<Frame, String> {
        let CapturedFrame { png, exposure, .. } =
            self.capture(FRAME_MAX).map_err(|error| error.to_string())?;
        Ok(Frame { png, exposure })
    }

    fn look(&self) -> Result<Vec<u8>, String> {
        self.order(true, LOOK_MAX).map(|frame| frame.png).map_err(|error| error.to_string())
    }

    fn trouble(&self) -> Option<String> {
        let may = || Ok(rustix::fs::access(&self.device, Access::READ_OK | Access::WRITE_OK)?);
        let node = match node_id(&self.device).and_then(|node| may().map(|()| node)) {
            Ok(node) => node,
            Err(source) => {
                return Some(DeviceError::Open { device: self.device.clone(), source }.to_string());
            }
        };
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().filter(|failure| failure.node == Some(node)).map(|failure| failure.why.clone())
    }

    fn state(&self) -> CameraState {
        match self.trouble() {
            None => CameraState::Present,
            Some(_) if self.device.exists() => CameraState::Failing,
            Some(_) => CameraState::Missing,
        }
    }
}

impl Worker {
    /// Serves orders until nobody is left to send one.
    fn run(&self, incoming: &Receiver<Order>) {
        for order in incoming {
            let result = self.attempt_until(order.look, order.deadline);
            let failure = result
                .as_ref()
                .err()
                .map(|error| Failure { node: node_id(&self.config.device).ok(), why: error.to_string() });
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
            // An error here means that whoever asked has given up: the frame is dropped.
            let _ = order.reply.send(result);
        }
    }

    fn attempt_until(&self, look: bool, deadline: Instant) -> Result<CapturedFrame, CaptureError> {
        let mut pause = PAUSE_MIN;
        loop {
            let error = match catch_unwind(AssertUnwindSafe(|| self.attempt(look, deadline))) {
                Ok(Ok(frame)) if Instant::now() <= deadline => return Ok(frame),
                Ok(Ok(_late)) => return Err(CaptureError::TimedOut),
                Ok(Err(error)) => error,
                Err(panic) => CaptureError::Panicked(panic_text(panic.as_ref())),
            };
            if !error.retriable() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            log::debug!("capturing again in {} ms: {error}", pause.as_millis());
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn attempt(&self, look: bool, deadline: Instant) -> Result<CapturedFrame, CaptureError> {
        let (warmup_frames, frames) =
            if look { (0, 1) } else { (self.config.warmup_frames, self.config.average_frames) };
        let request = device::Request {
            device: self.config.device.clone(),
            format: self.format,
            width: self.config.width_px,
            height: self.config.height_px,
            frame_timeout: Duration::from_millis(self.config.timeout_ms),
            warmup_frames,
            frames,
            deadline,
        };
        let mut mean = Mean::of(Samples { invert: self.config.invert, bits: self.config.sample_bits });
        device::take_frames(&request, |frame| -> Result<(), CaptureError> {
            Ok(mean.add(frame, &self.limits)?)
        })?;
        Ok(mean.into_png(&self.spec)?)
    }
}

impl CaptureError {
    fn retriable(&self) -> bool {
        match self {
            Self::Device(error) => error.retriable(),
            Self::Unreadable(_) | Self::Panicked(_) => true,
            Self::Busy | Self::TimedOut | Self::NotRunning(_) => false,
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no details").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(device: &str) -> V4l2Source {
        let config = V4l2Config {
            device: device.into(),
            fourcc: "GREY".into(),
            width_px: 640,
            height_px: 480,
            invert: false,
            sample_bits: None,
            timeout_ms: 200,
            warmup_frames: 0,
            average_frames: 1,
        };
        V4l2Source::start(config, PreprocessSpec::square(64), Limits::default()).unwrap()
    }

    #[test]
    fn a_missing_device_is_tried_again_until_the_deadline() {
        let started = Instant::now();
        let error = source("/dev/v4l/by-id/none").capture(Duration::from_millis(600)).unwrap_err();
        assert!(error.to_string().contains("cannot open /dev/v4l/by-id/none"), "{error}");
        // 100 ms and 200 ms of pauses fit, a third of 400 ms does not.
        assert!((250..600).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    }

    #[test]
    fn what_is_wrong_is_known_until_the_device_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("video0");
        let source = source(device.to_str().unwrap());
        assert!(source.trouble().unwrap().contains("cannot open"), "{:?}", source.trouble());
        // Something is there that is no grabber: known once it was asked.
        fs::write(&device, "").unwrap();
        assert_eq!(source.trouble(), None);
        source.capture(Duration::from_millis(150)).unwrap_err();
        let said = source.trouble().unwrap();
        assert!(said.contains("reading its capabilities failed"), "{said}");
        assert_eq!(source.trouble().unwrap(), said);
        // Plugged in again it has a new node, of which nothing is known yet.
        fs::write(dir.path().join("new"), "").unwrap();
        fs::rename(dir.path().join("new"), &device).unwrap();
        assert_eq!(source.trouble(), None);
    }

    #[test]
    fn something_else_than_a_device_is_an_error() {
        let error = source("/dev/null").capture(Duration::from_millis(150)).unwrap_err();
        assert!(error.to_string().contains("/dev/null: reading its capabilities failed"), "{error}");
    }

    #[test]
    fn a_second_request_waits_its_turn_and_then_says_busy() {
        let source = source("/dev/null");
        let first = source.clone();
        let running = thread::spawn(move || first.capture(Duration::from_millis(900)));
        thread::sleep(Duration::from_millis(100));
        let error = source.capture(Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, CaptureError::Busy), "{error}");
        assert!(running.join().unwrap().is_err());
    }
}
