//! The attributes of a DICOM image that say what its stored samples are (PS3.3 section C.7.6.3).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{broken, unsupported};
use crate::radiograph::DecodeError;

/// The photometric interpretation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Photometric {
    /// The lowest value is white.
    Monochrome1,
    /// The lowest value is black.
    Monochrome2,
    /// Red, green, blue.
    Rgb,
    /// Luma first, then chroma.
    Ybr,
    /// JPEG 2000's component transforms of RGB.
    YbrReversible,
}

/// What the stored samples are.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub rows: u32,
    pub columns: u32,
    pub samples_per_pixel: u16,
    pub bits_allocated: u16,
    pub bits_stored: u16,
    pub high_bit: u16,
    pub signed: bool,
    /// Whether native colour samples come plane by plane.
    pub planar: bool,
    pub photometric: Photometric,
    /// Whether native chroma samples are shared by two pixels.
    pub subsampled: bool,
}

impl Attributes {
    pub(super) fn read(header: &InMemDicomObject) -> Result<Self, DecodeError> {
        if optional_number(header, tags::NUMBER_OF_FRAMES)?.is_some_and(|frames| frames > 1) {
            return Err(unsupported("it has several frames"));
        }
        let samples_per_pixel = optional_number(header, tags::SAMPLES_PER_PIXEL)?.unwrap_or(1);
        let bits_allocated = number(header, tags::BITS_ALLOCATED, "Bits Allocated")?;
        let bits_stored = optional_number(header, tags::BITS_STORED)?.unwrap_or(bits_allocated);
        let high_bit = optional_number(header, tags::HIGH_BIT)?.unwrap_or(bits_stored.saturating_sub(1));
        if !matches!(bits_allocated, 8 | 16) {
            return Err(unsupported(format!("its samples have {bits_allocated} bits")));
        }
        if bits_stored == 0
            || bits_stored > bits_allocated
            || !(bits_stored - 1..bits_allocated).contains(&high_bit)
        {
            return Err(broken(format!(
                "{bits_stored} bits up to bit {high_bit} do not lie in {bits_allocated} allocated ones"
            )));
        }
        let photometric = photometric(header, samples_per_pixel)?;
        Ok(Self {
            rows: number(header, tags::ROWS, "Rows")?.into(),
            columns: number(header, tags::COLUMNS, "Columns")?.into(),
            samples_per_pixel,
            bits_allocated,
            bits_stored,
            high_bit,
            signed: optional_number(header, tags::PIXEL_REPRESENTATION)? == Some(1),
            planar: samples_per_pixel == 3 && optional_number(header, tags::PLANAR_CONFIGURATION)? == Some(1),
            photometric,
            subsampled: text(header, tags::PHOTOMETRIC_INTERPRETATION).as_deref() == Some("YBR_FULL_422"),
        })
    }

    /// Pixels in the image.
    pub(super) fn pixels(&self) -> usize {
        self.rows as usize * self.columns as usize
    }

    /// Samples in the image.
    pub(super) fn samples(&self) -> usize {
        self.pixels() * usize::from(self.samples_per_pixel)
    }

    /// Bytes of a stored sample: 1 or 2.
    pub(super) fn bytes_per_sample(&self) -> usize {
        usize::from(self.bits_allocated / 8)
    }

    /// The bits of a word that hold the sample: those above and below are not part of it.
    pub(super) fn stored_bits(&self, word: u16) -> u16 {
        let shifted = u32::from(word) >> (self.high_bit + 1 - self.bits_stored);
        (shifted & ((1 << self.bits_stored) - 1)) as u16
    }

    /// A sample's value, its sign extended if it has one.
    pub(super) fn value(&self, stored: u16) -> i32 {
        let value = i32::from(stored);
        let negative = self.signed && stored >> (self.bits_stored - 1) == 1;
        if negative { value - (1 << self.bits_stored) } else { value }
    }
}

fn photometric(header: &InMemDicomObject, samples_per_pixel: u16) -> Result<Photometric, DecodeError> {
    let name = text(header, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    match (name.as_str(), samples_per_pixel) {
        ("MONOCHROME1", 1) => Ok(Photometric::Monochrome1),
        ("MONOCHROME2", 1) => Ok(Photometric::Monochrome2),
        ("RGB", 3) => Ok(Photometric::Rgb),
        ("YBR_FULL" | "YBR_FULL_422", 3) => Ok(Photometric::Ybr),
        ("YBR_RCT" | "YBR_ICT", 3) => Ok(Photometric::YbrReversible),
        ("", _) => {
            Err(broken("it does not say how its samples are to be shown (Photometric Interpretation)"))
        }
        _ => Err(unsupported(format!(
            "its photometric interpretation with {samples_per_pixel} samples a pixel is neither grey nor RGB"
        ))),
    }
}

/// An attribute's text without its padding; `None` when absent or empty.
pub(super) fn text(header: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = header.get(tag)?.to_str().ok()?;
    let value = value.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!value.is_empty()).then(|| value.to_owned())
}

fn optional_number(header: &InMemDicomObject, tag: Tag) -> Result<Option<u16>, DecodeError> {
    match header.get(tag) {
        Some(element) if element.value().multiplicity() > 0 => match element.to_int::<u16>() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(broken(format!("the attribute {tag} is not a number it can be"))),
        },
        _ => Ok(None),
    }
}

fn number(header: &InMemDicomObject, tag: Tag, name: &str) -> Result<u16, DecodeError> {
    optional_number(header, tag)?.ok_or_else(|| broken(format!("it has no {name} {tag}")))
}
