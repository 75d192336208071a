//! One look at the device: open, set the format, stream, take frames, close.
//!
//! The only file that imports `v4l`, and written around what that crate (0.14) does:
//! - `set_format` passes an old stride on to the driver, so the stride is cleared first and the one that comes
//!   back is honoured.
//! - After an error a stream cannot go on (it queues a buffer that the kernel owns), so nothing is kept: the next
//!   attempt opens the device again.
//! - `next()` gives the whole buffer; only `bytesused` of it is the frame.
//! - It panics where a driver answers what it does not expect, and when a stream cannot be stopped on drop. The
//!   caller runs this on a thread of its own and catches that; a stream that cannot be stopped, though its device is
//!   there, is forgotten, since two panics while dropping would end the process.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use v4l::buffer::{Flags as BufferFlags, Type};
use v4l::capability::Flags as Capability;
use v4l::format::{FieldOrder, FourCC};
use v4l::io::mmap::Stream;
use v4l::io::traits::{CaptureStream, Stream as _};
use v4l::video::Capture;
use v4l::{Device, Format};

use super::frame::{PixelFormat, RawFrame};

/// Buffers that the driver fills in turn.
const BUFFERS: u32 = 4;
/// Frames marked as damaged that are skipped before the attempt is given up.
const DAMAGED_MAX: u32 = 10;

/// What is asked of the device.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) device: PathBuf,
    pub(super) format: PixelFormat,
    pub(super) width: u32,
    pub(super) height: u32,
    /// The longest wait for one frame.
    pub(super) frame_timeout: Duration,
    /// Frames thrown away before the first that is taken.
    pub(super) warmup_frames: u32,
    /// Frames to be taken, one after the other.
    pub(super) frames: u32,
    /// When the attempt is to be given up.
    pub(super) deadline: Instant,
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device node could not be opened.
    #[error("cannot open {device}: {source}; check the cable, v4l2.device and that the service may read it")]
    Open {
        /// Its path.
        device: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is something else than a frame grabber.
    #[error("{device} does not capture single-planar video; name the grabber in v4l2.device")]
    NotACapture {
        /// Its path.
        device: PathBuf,
    },
    /// It has another format than the one asked for.
    #[error("{device} has no {wanted} frames, it offers {offered}; set v4l2.fourcc to one of them")]
    Format {
        /// Its path.
        device: PathBuf,
        /// The format of the config.
        wanted: String,
        /// What it offers.
        offered: String,
    },
    /// It gives half pictures.
    #[error("{device} gives frames as separate fields ({field}); set it to progressive or interlaced")]
    Fields {
        /// Its path.
        device: PathBuf,
        /// The order of its fields.
        field: String,
    },
    /// An ioctl failed.
    #[error("{device}: {doing} failed: {source}; check the cable and the device")]
    Ioctl {
        /// Its path.
        device: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// No frame came in time.
    #[error("{device} gave no frame in time; check that it has a signal, or raise v4l2.timeout_ms")]
    Timeout {
        /// Its path.
        device: PathBuf,
    },
    /// Every frame was marked as damaged.
    #[error("{device} marked {frames} frames in a row as damaged; check the cable and the signal")]
    Damaged {
        /// Its path.
        device: PathBuf,
        /// How many.
        frames: u32,
    },
}

impl DeviceError {
    /// Whether another attempt can end otherwise without anybody changing the config.
    pub(super) fn retriable(&self) -> bool {
        !matches!(self, Self::NotACapture { .. } | Self::Format { .. } | Self::Fields { .. })
    }
}

/// Takes the frames that were asked for and hands each to `taken`. Everything is opened here and closed again.
pub(super) fn take_frames<E: From<DeviceError>>(
    request: &Request,
    mut taken: impl FnMut(RawFrame) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |doing| ioctl_failed(&request.device, doing);
    let device = Device::with_path(&request.device)
        .map_err(|source| DeviceError::Open { device: request.device.clone(), source })?;
    let capabilities = device.query_caps().map_err(failed("reading its capabilities"))?.capabilities;
    if !capabilities.contains(Capability::VIDEO_CAPTURE | Capability::STREAMING) {
        return Err(DeviceError::NotACapture { device: request.device.clone() }.into());
    }

    let format = set_format(&device, request)?;
    let mut stream =
        Stream::with_buffers(&device, Type::VideoCapture, BUFFERS).map_err(failed("mapping its buffers"))?;
    stream.set_timeout(request.frame_timeout);
    let mut warmup_left = request.warmup_frames;
    let read = (0..request.frames).try_for_each(|_| {
        let bytes = read_frame(&mut stream, request, &mut warmup_left)?;
        taken(RawFrame {
            bytes,
            format: request.format,
            width: format.width,
            height: format.height,
            stride_bytes: format.stride,
        })
    });
    // Of a device that is gone nothing can be stopped, and dropping the stream closes it: held open, it would keep its number,
    // and the same grabber plugged in again would be another one.
    if let Err(error) = stream.stop()
        && error.raw_os_error() != Some(Errno::NODEV.raw_os_error())
    {
        log::warn!("the stream of {} cannot be stopped: {error}", request.device.display());
        std::mem::forget(stream);
    }

    read
}

/// Sets the format and gives the one the driver chose: its sides and stride are what the frames have.
fn set_format(device: &Device, request: &Request) -> Result<Format, DeviceError> {
    let wanted = FourCC::new(&request.format.code());
    // A fresh Format has no stride.
    let format = device
        .set_format(&Format::new(request.width, request.height, wanted))
        .map_err(ioctl_failed(&request.device, "setting its format"))?;
    if format.fourcc != wanted {
        let offered = device.enum_formats().unwrap_or_default();
        let offered: Vec<String> = offered.iter().map(|known| known.fourcc.to_string()).collect();
        return Err(DeviceError::Format {
            device: request.device.clone(),
            wanted: wanted.to_string(),
            offered: offered.join(", "),
        });
    }
    if !matches!(
        format.field_order,
        FieldOrder::Any
            | FieldOrder::Progressive
            | FieldOrder::Interlaced
            | FieldOrder::InterlacedTB
            | FieldOrder::InterlacedBT
    ) {
        return Err(DeviceError::Fields {
            device: request.device.clone(),
            field: format.field_order.to_string(),
        });
    }
    if (format.width, format.height) != (request.width, request.height) {
        log::warn!(
            "{} gives {}x{} px where {}x{} px were asked for",
            request.device.display(),
            format.width,
            format.height,
            request.width,
            request.height
        );
    }
    Ok(format)
}

/// The next whole frame after the warm-up.
fn read_frame(
    stream: &mut Stream<'_>,
    request: &Request,
    warmup_left: &mut u32,
) -> Result<Vec<u8>, DeviceError> {
    let mut damaged = 0;
    loop {
        if Instant::now() >= request.deadline {
            return Err(DeviceError::Timeout { device: request.device.clone() });
        }
        let (buffer, meta) = CaptureStream::next(stream).map_err(|source| {
            if source.kind() == io::ErrorKind::TimedOut {
                DeviceError::Timeout { device: request.device.clone() }
            } else {
                ioctl_failed(&request.device, "reading a frame")(source)
            }
        })?;
        if *warmup_left > 0 {
            *warmup_left -= 1;
            continue;
        }
        if meta.flags.contains(BufferFlags::ERROR) || meta.bytesused == 0 {
            damaged += 1;
            if damaged == DAMAGED_MAX {
                return Err(DeviceError::Damaged { device: request.device.clone(), frames: damaged });
            }
            continue;
        }
        let filled = buffer.len().min(meta.bytesused as usize);
        return Ok(buffer[..filled].to_vec());
    }
}

fn ioctl_failed(device: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> DeviceError + use<> {
    let device = device.to_owned();
    move |source| DeviceError::Ioctl { device, doing, source }
}
