//! TensorBoard's event files, so that a run can be watched with `tensorboard --logdir RUN`.
//!
//! ```text
//! tensorboard/events.out.tfevents.1767225600.0000.ulna
//! ```
//!
//! An event file is a TFRecord file: per record its length (u64, little endian), the masked CRC-32C of these
//! 8 bytes, the record, and its masked CRC-32C. A record is a protobuf message `Event`
//! (tensorflow/tsl `event.proto`, `summary.proto`; kept by hand below like ONNX's).
//!
//! Each start of training writes a file of its own, which begins with a session mark: what TensorBoard shows
//! beyond that step from before is dropped by it. The earlier files are cut where the run goes on from, so
//! that other readers find each step once too.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use prost::Message;

use super::checkpoint::State;
use super::history::Row;
use crate::exit::Fault;
use crate::run::TENSORBOARD_DIR;
use crate::run::files::{io_fault, read};

const PREFIX: &str = "events.out.tfevents.";
/// `SessionLog.SessionStatus.START`.
const SESSION_START: i32 = 1;
/// Length and its checksum; after the record comes another checksum.
const HEADER_BYTES: usize = 12;
const FOOTER_BYTES: usize = 4;

/// One thing that happened at a step.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    /// Steps taken.
    #[prost(int64, tag = "2")]
    step: i64,
    /// First record of a file: `brain.Event:2`.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The file of this start of training.
pub(super) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Cuts the earlier files of a run that goes on after `step` steps, and starts a new one.
    pub(super) fn open(run: &Path, step: u64) -> Result<Self, Fault> {
        let dir = run.join(TENSORBOARD_DIR);
        fs::create_dir_all(&dir).map_err(io_fault(format!("making {}", dir.display())))?;
        let (mut last_s, mut parts) = (0, 0);
        for path in list(&dir)? {
            let (seconds, part) = position(&path);
            (last_s, parts) = (last_s.max(seconds), parts.max(part + 1));
            cut(&path, step)?;
        }
        // Readers take the files in the order of their names, also where the clock was set back.
        let seconds = last_s.max(jiff::Timestamp::now().as_second().max(0) as u64);
        let path = dir.join(format!("{PREFIX}{seconds:010}.{parts:04}.ulna"));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(io_fault(format!("making {}", path.display())))?;
        let mut events = Self { path, file };
        events.write(Event { file_version: Some("brain.Event:2".to_owned()), ..at(step) })?;
        // Whatever was shown of this step and later ones is drawn anew; the first new step is the next.
        let session_log = Some(SessionLog { status: SESSION_START });
        events.write(Event { session_log, ..at(step + 1) })?;
        Ok(events)
    }

    /// Values at a step.
    pub(super) fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), Fault> {
        let value =
            |&(tag, value): &(&str, f64)| Value { tag: tag.to_owned(), simple_value: Some(value as f32) };
        self.write(Event { summary: Some(Summary { value: values.iter().map(value).collect() }), ..at(step) })
    }

    /// The values of a finished epoch.
    pub(super) fn epoch(&mut self, row: &Row) -> Result<(), Fault> {
        let mut values = vec![
            ("loss/train_epoch", row.train_loss),
            ("loss/valid", row.valid_loss),
            ("learning_rate", row.lr),
            ("images_per_s", row.images_per_s),
        ];
        values.extend(row.valid_auroc.map(|auroc| ("auroc/valid_studies", auroc)));
        values.extend(row.valid_kappa.map(|kappa| ("kappa/valid_studies", kappa)));
        self.scalars(row.step, &values)
    }

    fn write(&mut self, event: Event) -> Result<(), Fault> {
        self.file
            .write_all(&frame(&event.encode_to_vec()))
            .map_err(io_fault(format!("writing {}", self.path.display())))
    }
}

/// The mean loss of the steps between two points of the curve.
pub(super) struct StepLoss {
    every: u64,
    step: u64,
    sum: f64,
}

impl StepLoss {
    /// From where training stands.
    pub(super) fn new(every: u64, state: &State) -> Self {
        Self { every, step: state.step, sum: state.loss_sum }
    }

    /// Writes a point after every so many steps. `sum` reads the sum of the epoch's losses, which makes the
    /// device finish its work, and is asked only then.
    pub(super) fn after(
        &mut self,
        events: &mut Events,
        state: &State,
        sum: impl FnOnce() -> f64,
    ) -> Result<(), Fault> {
        if !state.step.is_multiple_of(self.every) {
            return Ok(());
        }
        let sum = sum();
        // Since the epoch's begin, where that came after the last point.
        let (before, steps) = match state.step_in_epoch.checked_sub(state.step - self.step) {
            Some(0) | None => (0.0, state.step_in_epoch),
            Some(_) => (self.sum, state.step - self.step),
        };
        (self.step, self.sum) = (state.step, sum);
        events.scalars(state.step, &[("loss/train", (sum - before) / steps.max(1) as f64)])
    }
}

fn at(step: u64) -> Event {
    let wall_time = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
    Event { wall_time, step: step as i64, ..Event::default() }
}

/// A record with its length and checksums.
fn frame(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + record.len() + FOOTER_BYTES);
    bytes.extend(length);
    bytes.extend(masked(&length).to_le_bytes());
    bytes.extend(record);
    bytes.extend(masked(record).to_le_bytes());
    bytes
}

/// TFRecord's checksum: CRC-32C, turned and shifted so that it may stand in what is checked itself.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The first whole record and what follows it; `None` at the end, or where a record is torn.
fn split(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    if masked(length) != u32::from_le_bytes(*check) {
        return None;
    }
    let (record, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    if masked(record) != u32::from_le_bytes(*check) {
        return None;
    }
    Some((Event::decode(record).ok()?, rest))
}

/// Cuts a file where it goes beyond `step` or is torn, and removes it when nothing is left in it.
fn cut(path: &Path, step: u64) -> Result<(), Fault> {
    let bytes = read(path)?;
    let (mut rest, mut kept, mut values) = (bytes.as_slice(), 0, 0);
    while let Some((event, after)) = split(rest) {
        if event.summary.is_some() {
            if event.step > step as i64 {
                break;
            }
            values += 1;
        }
        rest = after;
        kept = bytes.len() - rest.len();
    }
    let doing = || format!("cutting {} to where the run goes on", path.display());
    if values == 0 {
        return fs::remove_file(path).map_err(io_fault(doing()));
    }
    if kept < bytes.len() {
        let file = OpenOptions::new().write(true).open(path).map_err(io_fault(doing()))?;
        file.set_len(kept as u64).map_err(io_fault(doing()))?;
    }
    Ok(())
}

/// The event files, in order.
fn list(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    let doing = || format!("listing {}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_fault(doing()))? {
        let path = entry.map_err(io_fault(doing()))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The second and the part in a file's name.
fn position(path: &Path) -> (u64, u64) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = name[PREFIX.len()..].split('.').map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(dir: &Path) -> Vec<(i64, f32)> {
        let mut points = Vec::new();
        for path in list(&dir.join(TENSORBOARD_DIR)).unwrap() {
            let bytes = fs::read(&path).unwrap();
            let mut rest = bytes.as_slice();
            while let Some((event, after)) = split(rest) {
                for value in event.summary.unwrap_or_default().value {
                    points.push((event.step, value.simple_value.unwrap()));
                }
                rest = after;
            }
            assert!(rest.is_empty(), "{} is torn", path.display());
        }
        points
    }

    #[test]
    fn a_run_that_goes_on_has_each_step_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::open(dir.path(), 0).unwrap();
        for step in [10, 20, 30] {
            events.scalars(step, &[("loss/train", step as f64)]).unwrap();
        }
        // Killed in the middle of a write, after the checkpoint of step 20.
        let torn = frame(b"torn")[..9].to_vec();
        events.file.write_all(&torn).unwrap();
        drop(events);
        let mut events = Events::open(dir.path(), 20).unwrap();
        events.scalars(30, &[("loss/train", 31.0)]).unwrap();
        drop(events);
        assert_eq!(points(dir.path()), [(10, 10.0), (20, 20.0), (30, 31.0)]);
        // Nothing was written by this start: its file goes.
        drop(Events::open(dir.path(), 30).unwrap());
        drop(Events::open(dir.path(), 30).unwrap());
        assert_eq!(list(&dir.path().join(TENSORBOARD_DIR)).unwrap().len(), 3);
        assert_eq!(points(dir.path()), [(10, 10.0), (20, 20.0), (30, 31.0)]);
    }

    #[test]
    fn the_steps_loss_is_the_mean_since_the_last_point() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::open(dir.path(), 0).unwrap();
        let start = State::start(1);
        let mut loss = StepLoss::new(2, &start);
        // Epochs of three steps; each step's loss is its number.
        let mut sum = 0.0;
        for step in 1..=6u64 {
            let step_in_epoch = (step - 1) % 3 + 1;
            sum = if step_in_epoch == 1 { step as f64 } else { sum + step as f64 };
            let state = State { step, step_in_epoch, ..start.clone() };
            loss.after(&mut events, &state, || sum).unwrap();
        }
        assert_eq!(points(dir.path()), [(2, 1.5), (4, 4.0), (6, 5.5)]);
    }
}
