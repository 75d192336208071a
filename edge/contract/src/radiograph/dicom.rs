//! DICOM files are recognised by their prefix; their pixels are not read yet.

use super::{DecodeError, DicomFacts, Format, Limits, Radiograph};

pub(super) fn is_dicom(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM") || bytes.starts_with(b"DICM")
}

pub(super) fn decode(_bytes: &[u8], _limits: &Limits) -> Result<(Radiograph, DicomFacts), DecodeError> {
    let detail = "DICOM pixels are not read yet".to_owned();
    Err(DecodeError::UnsupportedImage { format: Format::Dicom, detail })
}

pub(super) fn facts(bytes: &[u8]) -> Result<DicomFacts, DecodeError> {
    decode(bytes, &Limits::default()).map(|(_, facts)| facts)
}
