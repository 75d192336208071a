//! From stored values to display values: modality transformation, VOI transformation, polarity, in this order
//! (PS3.4 annex N.2, PS3.3 sections C.11.1, C.11.2 and C.7.6.3.1.2).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::attributes::{Attributes, Photometric, text};
use super::broken;
use crate::radiograph::DecodeError;

/// What a grey image's header says of its display.
pub(super) struct Display {
    modality: Modality,
    voi: Option<Voi>,
    inverted: bool,
}

/// From stored values to those of the modality.
enum Modality {
    Rescale { slope: f64, intercept: f64 },
    Table(Table),
}

/// From modality values to a displayed 0 to 1.
enum Voi {
    Window { centre: f64, width: f64, function: WindowFunction },
    Table(Table),
}

/// VOI LUT Function (0028,1056).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WindowFunction {
    Linear,
    LinearExact,
    Sigmoid,
}

/// A lookup table sequence's table.
struct Table {
    first: f64,
    largest: f64,
    entries: Vec<u16>,
}

impl Display {
    pub(super) fn read(header: &InMemDicomObject, attributes: &Attributes) -> Result<Self, DecodeError> {
        let modality = match table(header, tags::MODALITY_LUT_SEQUENCE)? {
            Some(table) => Modality::Table(table),
            None => Modality::Rescale {
                slope: first_number(header, tags::RESCALE_SLOPE).unwrap_or(1.0),
                intercept: first_number(header, tags::RESCALE_INTERCEPT).unwrap_or(0.0),
            },
        };
        if let Modality::Rescale { slope, intercept } = modality
            && !(slope.is_finite() && slope != 0.0 && intercept.is_finite())
        {
            return Err(broken(format!("a rescale slope of {slope} leaves no image")));
        }
        let voi = match table(header, tags::VOILUT_SEQUENCE)? {
            Some(table) => Some(Voi::Table(table)),
            None => window(header),
        };
        let inverted = attributes.photometric == Photometric::Monochrome1;
        Ok(Self { modality, voi, inverted })
    }

    /// Whether the file says which range to display.
    pub(super) fn is_windowed(&self) -> bool {
        self.voi.is_some()
    }

    /// The displayed value, 0 to 65535, of every stored bit pattern. Without a VOI transformation the range of
    /// the modality's values that can be stored is spread over all of it.
    pub(super) fn table(&self, attributes: &Attributes) -> Vec<u16> {
        let patterns = 1u32 << attributes.bits_stored;
        let modality: Vec<f64> =
            (0..patterns).map(|stored| self.modality.apply(attributes.value(stored as u16))).collect();
        let low = modality.iter().copied().fold(f64::INFINITY, f64::min);
        let high = modality.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let span = if high > low { high - low } else { 1.0 };
        modality
            .into_iter()
            .map(|value| {
                let shown = match &self.voi {
                    Some(voi) => voi.apply(value),
                    None => (value - low) / span,
                };
                let shown = if self.inverted { 1.0 - shown } else { shown };
                (shown * f64::from(u16::MAX)).round() as u16
            })
            .collect()
    }
}

impl Modality {
    fn apply(&self, value: i32) -> f64 {
        match self {
            Self::Rescale { slope, intercept } => f64::from(value) * slope + intercept,
            Self::Table(table) => table.look_up(f64::from(value)),
        }
    }
}

impl Voi {
    fn apply(&self, value: f64) -> f64 {
        match self {
            Self::Table(table) => table.look_up(value) / table.largest,
            Self::Window { centre, width, function } => function.apply(value, *centre, *width),
        }
    }
}

impl WindowFunction {
    /// PS3.3 sections C.11.2.1.2 and C.11.2.1.3 for an output range of 0 to 1.
    fn apply(self, value: f64, centre: f64, width: f64) -> f64 {
        match self {
            Self::Linear if width > 1.0 => ((value - (centre - 0.5)) / (width - 1.0) + 0.5).clamp(0.0, 1.0),
            Self::Linear => f64::from(u8::from(value > centre - 0.5)),
            Self::LinearExact => ((value - centre) / width + 0.5).clamp(0.0, 1.0),
            Self::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - centre) / width).exp()),
        }
    }
}

impl Table {
    /// Values below the first mapped one give the first entry, those beyond the last the last one.
    fn look_up(&self, value: f64) -> f64 {
        let index = (value.round() - self.first).clamp(0.0, (self.entries.len() - 1) as f64);
        f64::from(self.entries[index as usize])
    }
}

/// The first window. A width that the function does not allow (some devices write zeros) is no window.
fn window(header: &InMemDicomObject) -> Option<Voi> {
    let centre = first_number(header, tags::WINDOW_CENTER)?;
    let width = first_number(header, tags::WINDOW_WIDTH)?;
    let function = match text(header, tags::VOILUT_FUNCTION).as_deref() {
        Some("LINEAR_EXACT") => WindowFunction::LinearExact,
        Some("SIGMOID") => WindowFunction::Sigmoid,
        _ => WindowFunction::Linear,
    };
    let width_min = if function == WindowFunction::Linear { 1.0 } else { f64::MIN_POSITIVE };
    (centre.is_finite() && width.is_finite() && width >= width_min).then_some(Voi::Window {
        centre,
        width,
        function,
    })
}

fn first_number(header: &InMemDicomObject, tag: Tag) -> Option<f64> {
    header.get(tag)?.to_multi_float64().ok()?.first().copied()
}

/// The first item's table of a Modality or VOI LUT Sequence.
fn table(header: &InMemDicomObject, sequence: Tag) -> Result<Option<Table>, DecodeError> {
    let Some(item) = header.get(sequence).and_then(|element| element.items()).and_then(<[_]>::first) else {
        return Ok(None);
    };
    let descriptor = item
        .get(tags::LUT_DESCRIPTOR)
        .and_then(|element| element.to_multi_int::<i32>().ok())
        .filter(|descriptor| descriptor.len() == 3)
        .ok_or_else(|| broken("a lookup table has no descriptor of three numbers"))?;
    // The count is an unsigned 16-bit word whatever the VR; zero stands for 65536.
    let count = match descriptor[0] & 0xffff {
        0 => 1 << 16,
        count => count as usize,
    };
    let bits = descriptor[2];
    if !(8..=16).contains(&bits) {
        return Err(broken(format!("a lookup table has entries of {bits} bits")));
    }
    let data = item.get(tags::LUT_DATA).ok_or_else(|| broken("a lookup table has no data"))?;
    let words = data.to_multi_int::<i32>().map_err(|_| broken("a lookup table's data is not numbers"))?;
    let entries = if words.len() >= count {
        words[..count].iter().map(|&word| word as u16).collect()
    } else if bits == 8 && words.len() == count.div_ceil(2) {
        // Two 8-bit entries a word, the first in the low byte.
        words.iter().flat_map(|&word| [word as u16 & 0xff, word as u16 >> 8]).take(count).collect()
    } else {
        return Err(cut_off_table(words.len(), count));
    };
    Ok(Some(Table { first: f64::from(descriptor[1]), largest: f64::from((1u32 << bits) - 1), entries }))
}

fn cut_off_table(found: usize, count: usize) -> DecodeError {
    broken(format!("a lookup table has {found} of {count} entries"))
}
