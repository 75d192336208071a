//! DICOM files: structure, stored samples, display.

mod attributes;
mod display;
mod pixels;
mod structure;

use dicom_dictionary_std::tags;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::{TransferSyntaxRegistry, entries};

use self::attributes::{Attributes, Photometric, text};
use self::display::Display;
use self::pixels::{Codec, Stored};
use self::structure::Encoding;
use super::{DICOM_HEAD_MAX_BYTES, DecodeError, DicomFacts, DicomHead, Format, Limits, Radiograph, raster};

pub(super) use self::structure::is_dicom;

/// Decodes a DICOM file of one frame.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<(Radiograph, DicomFacts), DecodeError> {
    let file = structure::part(bytes, inflated_max(limits))?;
    let Some(codec) = Codec::of(&file.transfer_syntax) else {
        return Err(unsupported_transfer_syntax(&file.transfer_syntax));
    };
    let layout = structure::walk(&file.data_set, &file.transfer_syntax)?;
    let header = read_header(&layout.header, layout.encoding)?;
    let facts = read_facts(&header, &file.transfer_syntax);
    let Some(data) = &layout.pixels else {
        return Err(unsupported("it holds no pixel data"));
    };
    if matches!(data, structure::PixelData::Float) {
        return Err(unsupported("its samples are floating point numbers"));
    }
    let attributes = Attributes::read(&header)?;
    limits.check_size(attributes.columns, attributes.rows)?;
    let stored = pixels::decode(data, codec, &attributes)?;
    let radiograph = match attributes.samples_per_pixel {
        1 => grey(stored, &header, &attributes)?,
        _ => colour(&stored, &attributes),
    };
    Ok((radiograph, facts))
}

/// The facts of a file's header.
pub(super) fn facts(start: &[u8]) -> Result<DicomFacts, DecodeError> {
    let file = structure::part_start(start, DICOM_HEAD_MAX_BYTES)?;
    let head = structure::walk_head(&file.data_set, &file.transfer_syntax)?;
    Ok(read_facts(&read_header(&head.header, head.encoding())?, &file.transfer_syntax))
}

/// Whether there is a codec for a transfer syntax.
pub(super) fn decodes(transfer_syntax: &str) -> bool {
    Codec::of(transfer_syntax).is_some()
}

/// Checks what comes before the pixels as [`decode`] does.
pub(super) fn head(start: &[u8], limits: &Limits) -> Result<DicomHead, DecodeError> {
    let file = structure::part_start(start, DICOM_HEAD_MAX_BYTES)?;
    if !decodes(&file.transfer_syntax) {
        return Err(unsupported_transfer_syntax(&file.transfer_syntax));
    }
    let head = structure::walk_head(&file.data_set, &file.transfer_syntax)?;
    match head.pixels() {
        None => return Err(unsupported("it holds no pixel data")),
        Some(true) => return Err(unsupported("its samples are floating point numbers")),
        Some(false) => {}
    }
    let header = read_header(&head.header, head.encoding())?;
    let attributes = Attributes::read(&header)?;
    limits.check_size(attributes.columns, attributes.rows)?;
    Ok(DicomHead {
        facts: read_facts(&header, &file.transfer_syntax),
        sop_class_uid: text(&header, tags::SOP_CLASS_UID),
        sop_instance_uid: text(&header, tags::SOP_INSTANCE_UID),
    })
}

/// What a deflated data set may grow to: the largest native RGB image of 16 bits, and a generous header.
fn inflated_max(limits: &Limits) -> u64 {
    limits.pixels_max.saturating_mul(6).saturating_add(16 << 20)
}

/// Reads the elements that are looked at, and no others: what is wrong with the rest does not matter here.
fn read_header(header: &[u8], encoding: Encoding) -> Result<InMemDicomObject, DecodeError> {
    let syntax = match encoding {
        Encoding { explicit: false, .. } => entries::IMPLICIT_VR_LITTLE_ENDIAN,
        Encoding { big_endian: false, .. } => entries::EXPLICIT_VR_LITTLE_ENDIAN,
        Encoding { big_endian: true, .. } => entries::EXPLICIT_VR_BIG_ENDIAN,
    };
    // The reader's own error can quote values, so it is not passed on.
    InMemDicomObject::read_dataset_with_ts(header, &syntax.erased())
        .map_err(|_| broken("its header cannot be read"))
}

fn read_facts(header: &InMemDicomObject, transfer_syntax: &str) -> DicomFacts {
    DicomFacts {
        study_instance_uid: text(header, tags::STUDY_INSTANCE_UID),
        body_part: text(header, tags::BODY_PART_EXAMINED),
        transfer_syntax: transfer_syntax.to_owned(),
    }
}

fn grey(
    stored: Stored,
    header: &InMemDicomObject,
    attributes: &Attributes,
) -> Result<Radiograph, DecodeError> {
    let display = Display::read(header, attributes)?;
    let table = display.table(attributes);
    let mut samples = stored.words;
    for sample in &mut samples {
        *sample = table[usize::from(attributes.stored_bits(*sample))];
    }
    Ok(Radiograph {
        width: attributes.columns,
        height: attributes.rows,
        max_value: u16::MAX,
        windowed: display.is_windowed(),
        coloured_permille: 0,
        samples,
    })
}

/// The luma of a colour image, such as a scanned film. Modality and VOI are for grey images only.
fn colour(stored: &Stored, attributes: &Attributes) -> Radiograph {
    let bits = |word: u16| attributes.stored_bits(word);
    let to_luma = |pixel: &[u16]| match (pixel, stored.photometric) {
        (&[red, green, blue], photometric) if photometric != Photometric::Ybr => {
            raster::luma(bits(red), bits(green), bits(blue))
        }
        _ => bits(pixel[0]),
    };
    let white = ((1u32 << attributes.bits_stored) - 1) as u16;
    let is_coloured = |pixel: &[u16]| match (pixel, stored.photometric) {
        (&[_, blue, red], Photometric::Ybr) => {
            raster::chroma_is_visible(bits(blue), white) || raster::chroma_is_visible(bits(red), white)
        }
        (&[red, green, blue], _) => raster::is_coloured(bits(red), bits(green), bits(blue), white),
        _ => false,
    };
    let coloured = stored.words.chunks_exact(stored.channels).filter(|pixel| is_coloured(pixel)).count();
    Radiograph {
        width: attributes.columns,
        height: attributes.rows,
        max_value: white,
        windowed: true,
        coloured_permille: raster::permille(coloured, stored.words.len() / stored.channels.max(1)),
        samples: stored.words.chunks_exact(stored.channels).map(to_luma).collect(),
    }
}

fn unsupported_transfer_syntax(uid: &str) -> DecodeError {
    let name = TransferSyntaxRegistry.get(uid).map_or("unknown", |syntax| syntax.name());
    DecodeError::UnsupportedTransferSyntax { uid: uid.to_owned(), name: name.to_owned() }
}

fn cut_off(detail: impl Into<String>) -> DecodeError {
    DecodeError::Truncated { format: Format::Dicom, detail: detail.into() }
}

fn broken(detail: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { format: Format::Dicom, detail: detail.into() }
}

fn unsupported(detail: impl Into<String>) -> DecodeError {
    DecodeError::UnsupportedImage { format: Format::Dicom, detail: detail.into() }
}
