//! What goes wrong with radiographs in practice, done to real ones on purpose, in several strengths.

use contract::radiograph::{Radiograph, RejectReason};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, GrayImage, ImageEncoder};

/// What is done to an image.
pub(crate) type Spoil = fn(&GrayImage) -> GrayImage;

/// A small generator (Knuth's MMIX constants).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// From 0 to below 1.
    pub(crate) fn share(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Standard normal (Box and Muller).
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.share()).cos()
    }

    /// Quanta counted where `mean` are expected (Knuth; from 40 on the normal distribution is near enough).
    pub(crate) fn quanta(&mut self, mean: f32) -> f32 {
        if mean > 40.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.share(), 0.0);
        while product > limit {
            product *= self.share();
            count += 1.0;
        }
        count
    }
}

/// One fault in one strength.
pub(crate) struct Fault {
    pub(crate) reason: RejectReason,
    pub(crate) name: &'static str,
    pub(crate) spoil: Spoil,
}

/// The image as the station's decoder gives it.
pub(crate) fn radiograph(image: &GrayImage) -> Radiograph {
    Radiograph {
        width: image.width(),
        height: image.height(),
        max_value: 255,
        windowed: true,
        coloured_permille: 0,
        samples: image.as_raw().iter().map(|sample| u16::from(*sample)).collect(),
    }
}

fn mapped(image: &GrayImage, level: impl Fn(f32) -> f32) -> GrayImage {
    let table: Vec<u8> =
        (0..=255u8).map(|value| level(f32::from(value)).clamp(0.0, 255.0).round() as u8).collect();
    let mut spoilt = image.clone();
    spoilt.iter_mut().for_each(|sample| *sample = table[usize::from(*sample)]);
    spoilt
}

fn noisy(image: &GrayImage, mut sample: impl FnMut(f32, &mut Random) -> f32) -> GrayImage {
    let mut random = Random::new(7);
    let mut spoilt = image.clone();
    spoilt.iter_mut().for_each(|s| *s = sample(f32::from(*s), &mut random).clamp(0.0, 255.0).round() as u8);
    spoilt
}

fn percentile(image: &GrayImage, share: f32) -> f32 {
    let mut sorted = image.as_raw().clone();
    sorted.sort_unstable();
    f32::from(sorted[((sorted.len() - 1) as f32 * share) as usize])
}

/// Quanta at white, then a gain.
fn quanta(image: &GrayImage, at_white: f32, gain: f32) -> GrayImage {
    noisy(image, |s, random| random.quanta(s / 255.0 * at_white) / at_white * 255.0 * gain)
}

fn window(image: &GrayImage, low: f32, high: f32) -> GrayImage {
    let (low, high) = (percentile(image, low), percentile(image, high));
    mapped(image, |s| (s - low) / (high - low).max(1.0) * 255.0)
}

/// Shutters around a field given in shares of the sides, of one level and a little noise.
fn shut(image: &GrayImage, [left, top, right, bottom]: [f32; 4], level: f32) -> GrayImage {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let mut random = Random::new(3);
    let mut spoilt = image.clone();
    for (x, y, pixel) in spoilt.enumerate_pixels_mut() {
        let (x, y) = (x as f32 / width, y as f32 / height);
        if x < left || x >= right || y < top || y >= bottom {
            pixel.0 = [(level + random.share() * 2.0).clamp(0.0, 255.0) as u8];
        }
    }
    spoilt
}

fn cone(image: &GrayImage) -> GrayImage {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let radius = 0.32 * width.min(height);
    let mut spoilt = image.clone();
    for (x, y, pixel) in spoilt.enumerate_pixels_mut() {
        if (x as f32 - width / 2.0).hypot(y as f32 - height / 2.0) > radius {
            pixel.0 = [0];
        }
    }
    spoilt
}

fn scaled(image: &GrayImage, long_side_px: u32) -> GrayImage {
    let scale = long_side_px as f32 / image.width().max(image.height()) as f32;
    scale_by(image, scale)
}

fn scale_by(image: &GrayImage, scale: f32) -> GrayImage {
    let side = |length: u32| ((length as f32 * scale) as u32).max(1);
    imageops::resize(image, side(image.width()), side(image.height()), FilterType::Triangle)
}

pub(crate) fn jpeg(image: &GrayImage, quality: u8) -> GrayImage {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(image, image.width(), image.height(), ExtendedColorType::L8)
        .unwrap();
    image::load_from_memory(&bytes).unwrap().into_luma8()
}

fn cut(image: &GrayImage, [left, top, right, bottom]: [f32; 4]) -> GrayImage {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let (x, y) = ((left * width) as u32, (top * height) as u32);
    let (to_x, to_y) = (((1.0 - right) * width) as u32, ((1.0 - bottom) * height) as u32);
    imageops::crop_imm(image, x, y, to_x - x, to_y - y).to_image()
}

/// Faults by which a plate becomes another file of the same exposure.
pub(crate) const COPIES: [(&str, Spoil); 9] = [
    ("sent again", GrayImage::clone),
    ("JPEG at quality 60", |image| jpeg(image, 60)),
    ("half the size", |image| scale_by(image, 0.5)),
    ("0.7 of the size", |image| scale_by(image, 0.7)),
    ("another gamma", |image| mapped(image, |s| 255.0 * (s / 255.0).powf(0.6))),
    ("another window", |image| window(image, 0.02, 0.98)),
    ("cut by 2 % all around", |image| cut(image, [0.02; 4])),
    ("cut by 2 % at the left", |image| cut(image, [0.02, 0.0, 0.0, 0.0])),
    ("cut, scaled, re-windowed, JPEG", |image| {
        jpeg(&mapped(&scale_by(&cut(image, [0.01, 0.02, 0.0, 0.01]), 0.6), |s| s * 0.8 + 20.0), 60)
    }),
];

/// What is done to a radiograph on its way without harm, but for what a strong gamma does to one that was dark before.
pub(crate) const HARMLESS: [(&str, Spoil); 8] = [
    ("mirrored", imageops::flip_horizontal),
    ("turned by 90 degrees", imageops::rotate90),
    ("turned by 180 degrees", imageops::rotate180),
    ("half the size, at least 256 px", |image| {
        scale_by(image, if image.width().max(image.height()) < 512 { 0.6 } else { 0.5 })
    }),
    ("JPEG at quality 70", |image| jpeg(image, 70)),
    ("gamma 0.7", |image| mapped(image, |s| 255.0 * (s / 255.0).powf(0.7))),
    ("gamma 1.4", |image| mapped(image, |s| 255.0 * (s / 255.0).powf(1.4))),
    ("lines of an anti-scatter grid", |image| {
        let width = image.width() as usize;
        let mut lined = noisy(image, |s, random| s + 1.2 * random.normal());
        for (at, sample) in lined.iter_mut().enumerate() {
            let line = 2.0 * (1.7 * (at % width) as f32).sin();
            *sample = (f32::from(*sample) + line).clamp(0.0, 255.0) as u8;
        }
        lined
    }),
];

/// The same part exposed once more: turned by 3 degrees and moved by 3 per cent, with its own noise.
pub(crate) fn exposed_again(image: &GrayImage) -> GrayImage {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let (sine, cosine) = 3f32.to_radians().sin_cos();
    let rim = percentile(image, 0.3) as u8;
    let mut random = Random::new(11);
    GrayImage::from_fn(image.width(), image.height(), |x, y| {
        let (u, v) = (x as f32 - width / 2.0, y as f32 - height / 2.0);
        let from_x = u * cosine - v * sine + width * 0.53;
        let from_y = u * sine + v * cosine + height * 0.48;
        let inside = from_x >= 0.0 && from_y >= 0.0 && from_x < width && from_y < height;
        let level = if inside { image.get_pixel(from_x as u32, from_y as u32).0[0] } else { rim };
        image::Luma([(f32::from(level) + 2.0 * random.normal()).clamp(0.0, 255.0) as u8])
    })
}

macro_rules! faults {
    ($($reason:ident { $($name:literal => $spoil:expr,)* })*) => {
        /// Every fault.
        pub(crate) const FAULTS: &[Fault] = &[$($(Fault { reason: RejectReason::$reason, name: $name, spoil: $spoil },)*)*];
    };
}

faults! {
    Blank {
        "nothing read" => |image| mapped(image, |_| 0.0),
        "white" => |image| mapped(image, |_| 255.0),
        "electronics' noise" => |image| noisy(image, |_, random| 20.0 + 2.0 * random.normal()),
        "exposed without a patient" => |image| noisy(image, |_, random| 120.0 + 8.0 * random.normal()),
    }
    UnderExposed {
        "a third of the signal" => |image| mapped(image, |s| s * 0.33),
        "a tenth of the signal" => |image| mapped(image, |s| s * 0.1),
        "30 quanta, a fifth of the signal" => |image| quanta(image, 30.0, 0.2),
        "60 quanta, a third of the signal" => |image| quanta(image, 60.0, 0.33),
        "40 quanta, levelled out by the digitiser" => |image| quanta(image, 40.0, 1.0),
        "20 quanta, levelled out by the digitiser" => |image| quanta(image, 20.0, 1.0),
        "25 quanta, washed out" => |image| mapped(&quanta(image, 25.0, 0.5), |s| 110.0 + s),
        "dark with the digitiser's noise" => |image| noisy(image, |s, random| s * 0.3 + 8.0 * random.normal()),
    }
    OverExposed {
        "four times the signal" => |image| mapped(image, |s| s * 4.0),
        "2.5 times the signal on a veil" => |image| mapped(image, |s| s * 2.5 + 80.0),
        "a bright veil" => |image| mapped(image, |s| s * 2.0 + 120.0),
        "burnt out from the 80th percentile on" => |image| window(image, 0.0, 0.8),
        "burnt out from the 65th percentile on" => |image| window(image, 0.0, 0.65),
    }
    Clipped {
        "5 % at each end" => |image| window(image, 0.05, 0.95),
        "10 % at each end" => |image| window(image, 0.1, 0.9),
        "20 % at each end" => |image| window(image, 0.2, 0.8),
        "a tenth at the upper end" => |image| window(image, 0.01, 0.9),
        "saturated below white" => |image| {
            let limit = percentile(image, 0.85);
            mapped(image, |s| s.min(limit))
        },
        "four times the contrast" => |image| {
            let middle = percentile(image, 0.8);
            mapped(image, |s| (s - middle) * 4.0 + 128.0)
        },
    }
    Inverted {
        "negative" => |image| mapped(image, |s| 255.0 - s),
        "negative with another gamma" => |image| mapped(image, |s| 255.0 * (1.0 - (s / 255.0).powf(0.7))),
        "negative in a narrower range" => |image| mapped(image, |s| 220.0 - 0.75 * s),
    }
    LowContrast {
        "a tenth of the range" => |image| mapped(image, |s| 120.0 + 0.1 * s),
        "a fifth of the range" => |image| mapped(image, |s| 40.0 + 0.2 * s),
        "0.3 of the range, dark" => |image| mapped(image, |s| 25.0 + 0.3 * s),
        "0.3 of the range, bright" => |image| mapped(image, |s| 150.0 + 0.3 * s),
    }
    Cropped {
        "a quarter of the image" => |image| shut(image, [0.25, 0.25, 0.75, 0.75], 0.0),
        "a quarter of the image, white shutters" => |image| shut(image, [0.25, 0.25, 0.75, 0.75], 255.0),
        "0.7 of the sides" => |image| shut(image, [0.15, 0.15, 0.85, 0.85], 2.0),
        "off centre" => |image| shut(image, [0.1, 0.3, 0.6, 0.85], 0.0),
        "the lower 40 % shut" => |image| shut(image, [0.0, 0.0, 1.0, 0.6], 0.0),
        "the upper 35 % shut" => |image| shut(image, [0.0, 0.35, 1.0, 1.0], 1.0),
        "a cone" => cone,
        "a band" => |image| shut(image, [0.0, 0.3, 1.0, 0.7], 0.0),
    }
    TooSmall {
        "a preview of 64 px" => |image| scaled(image, 64),
        "a preview of 128 px" => |image| scaled(image, 128),
        "a preview of 200 px" => |image| scaled(image, 200),
    }
}
