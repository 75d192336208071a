//! The frame grabber against a real driver, the kernel's vivid, which draws colour bars. `make test-vivid` boots a
//! kernel that has it and runs this there, with the device in ULNA_V4L2_DEVICE; elsewhere each test says that it
//! is skipped.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod unplugged;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use contract::preprocess::PreprocessSpec;
use contract::radiograph::{Format, Limits, Radiograph, decode};
use edge::capture::v4l2::{CaptureError, DeviceError, V4l2Config, V4l2Source};

const PATIENCE: Duration = Duration::from_secs(60);
/// White, yellow, cyan, green, magenta, red, blue, black: each darker than the one before.
const BARS: usize = 8;

fn device() -> Option<PathBuf> {
    let device = std::env::var_os("ULNA_V4L2_DEVICE").map(PathBuf::from);
    if device.is_none() {
        println!("SKIPPED: ULNA_V4L2_DEVICE names no vivid device; run make test-vivid");
    }
    device
}

fn config(device: PathBuf, fourcc: &str) -> V4l2Config {
    V4l2Config {
        device,
        fourcc: fourcc.to_owned(),
        width_px: 640,
        height_px: 360,
        invert: false,
        sample_bits: None,
        timeout_ms: 10_000,
        warmup_frames: 2,
        average_frames: 2,
    }
}

fn start(config: V4l2Config) -> V4l2Source {
    V4l2Source::start(config, PreprocessSpec::square(320), Limits::default()).unwrap()
}

fn frame(config: V4l2Config) -> Radiograph {
    let captured = start(config).capture(PATIENCE).unwrap();
    let decoded = decode(&captured.png, &Limits::default()).unwrap();
    assert_eq!(decoded.format, Format::Png);
    assert_eq!(
        (decoded.radiograph.width, decoded.radiograph.height),
        (captured.width_px, captured.height_px)
    );
    decoded.radiograph
}

/// Mean grey of the middle half of each bar, in a band below the text that vivid draws.
fn bars(radiograph: &Radiograph) -> Vec<f64> {
    let (width, height) = (radiograph.width as usize, radiograph.height as usize);
    let bar_px = width / BARS;
    (0..BARS)
        .map(|bar| {
            let columns = bar * bar_px + bar_px / 4..bar * bar_px + bar_px * 3 / 4;
            let rows = height * 3 / 4..height - 4;
            let count = rows.len() * columns.len();
            let sum: f64 = rows
                .flat_map(|y| columns.clone().map(move |x| y * width + x))
                .map(|at| f64::from(radiograph.samples[at]))
                .sum();
            sum / count as f64
        })
        .collect()
}

fn assert_darkening(bars: &[f64], what: &str) {
    assert!(bars.windows(2).all(|pair| pair[0] > pair[1] + 1000.0), "{what}: {bars:?}");
}

#[test]
fn every_raw_format_gives_the_same_picture() {
    let Some(device) = device() else { return };
    let mut all = Vec::new();
    for fourcc in ["GREY", "Y10", "Y12", "Y16", "YUYV"] {
        let radiograph = frame(config(device.clone(), fourcc));
        assert_eq!((radiograph.width, radiograph.height), (640, 360), "{fourcc}");
        let bars = bars(&radiograph);
        println!("{fourcc:<4} {}x{} bars {bars:.0?}", radiograph.width, radiograph.height);
        assert_darkening(&bars, fourcc);
        all.push(bars);
    }
    let off =
        |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    for bars in &all[1..4] {
        assert!(off(&all[0], bars) < 700.0, "{:?} {bars:?}", all[0]);
    }
    // The driver weighs the colours of its grey formats as BT.709 does, and those of YUYV as BT.601.
    for (bars, weights) in [(&all[0], [0.2126, 0.7152, 0.0722]), (&all[4], [0.299, 0.587, 0.114])] {
        let colours =
            [[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]];
        let luma =
            colours.map(|rgb| rgb.iter().zip(weights).map(|(on, w)| f64::from(*on) * w * 65_535.0).sum());
        assert!(off(bars, &luma) < 700.0, "{bars:?} {luma:?}");
    }
}

#[test]
fn inversion_makes_dark_bright() {
    let Some(device) = device() else { return };
    let mut bars = bars(&frame(V4l2Config { invert: true, ..config(device, "Y16") }));
    bars.reverse();
    assert_darkening(&bars, "inverted");
}

#[test]
fn sizes_the_device_does_not_have_become_its_nearest() {
    let Some(device) = device() else { return };
    let radiograph = frame(V4l2Config { width_px: 700, height_px: 401, ..config(device, "GREY") });
    println!("700x401 became {}x{}", radiograph.width, radiograph.height);
    assert_ne!((radiograph.width, radiograph.height), (700, 401));
    assert_darkening(&bars(&radiograph), "nearest size");
}

#[test]
fn a_format_the_device_does_not_have_is_named_with_those_it_has() {
    let Some(device) = device() else { return };
    let started = Instant::now();
    let error = start(config(device, "MJPG")).capture(PATIENCE).unwrap_err();
    println!("{error}");
    assert!(matches!(error, CaptureError::Device(DeviceError::Format { .. })), "{error}");
    assert!(error.to_string().contains("GREY") && error.to_string().contains("MJPG"), "{error}");
    assert!(started.elapsed() < PATIENCE / 2, "it was tried again although that cannot help");
}

/// The device belongs to whoever mapped its buffers first: the other one waits its turn.
#[test]
fn a_device_in_use_is_tried_again() {
    let Some(device) = device() else { return };
    let others: Vec<_> = (0..2)
        .map(|_| {
            let source = start(V4l2Config { warmup_frames: 20, ..config(device.clone(), "GREY") });
            std::thread::spawn(move || source.capture(PATIENCE))
        })
        .collect();
    for other in others {
        let captured = other.join().unwrap().unwrap();
        assert_eq!((captured.width_px, captured.height_px), (640, 360));
    }
}

#[test]
fn one_source_takes_frame_after_frame() {
    let Some(device) = device() else { return };
    let source = start(config(device, "Y12"));
    for _ in 0..5 {
        let captured = source.capture(PATIENCE).unwrap();
        assert_eq!((captured.width_px, captured.height_px), (640, 360));
    }
}
