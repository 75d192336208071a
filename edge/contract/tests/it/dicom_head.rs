//! What a DICOM file says before its pixels.

use contract::radiograph::{Limits, RejectReason, decodes_transfer_syntax, dicom_facts, dicom_head};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use crate::support::{Dicom, samples};

const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

#[test]
fn the_head_of_a_file_says_what_it_is_without_its_pixels() {
    let words = samples(12);
    for uid in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN] {
        let file = Dicom::of(12, &words).syntax(uid).file();
        let start = &file[..file.len() - 2 * words.len()];
        let head = dicom_head(start, &Limits::default()).unwrap_or_else(|error| panic!("{uid}: {error}"));
        assert_eq!(head.sop_class_uid.as_deref(), Some(uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION));
        assert_eq!(head.sop_instance_uid.as_deref(), Some("1.2.3.4"));
        assert_eq!(Some(head.facts), dicom_facts(&file));
        let cut = dicom_head(&start[..start.len() - 20], &Limits::default()).unwrap_err();
        assert!(
            matches!(cut.reason(), RejectReason::Truncated | RejectReason::UnsupportedImage),
            "{uid}: {cut}"
        );
    }
    let deflated = Dicom::of(12, &words).syntax(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN).file();
    assert!(dicom_head(&deflated, &Limits::default()).is_ok());
    assert!(
        dicom_head(&deflated[..deflated.len() - 200], &Limits::default()).is_ok(),
        "pixels are not needed"
    );
}

#[test]
fn a_head_is_refused_for_what_the_file_would_be_refused_for() {
    let dicom = Dicom::of(12, &samples(12));
    let refused = |dicom: Dicom| dicom_head(&dicom.file(), &Limits::default()).unwrap_err().reason();
    let huge = dicom.clone().number(tags::ROWS, 14_200).number(tags::COLUMNS, 14_200);
    assert_eq!(refused(huge), RejectReason::TooLarge);
    assert_eq!(refused(dicom.clone().number(tags::ROWS, 8)), RejectReason::TooSmall);
    assert_eq!(refused(dicom.clone().without(tags::PIXEL_DATA)), RejectReason::UnsupportedImage);
    assert_eq!(
        refused(dicom.clone().text(tags::NUMBER_OF_FRAMES, VR::IS, "2")),
        RejectReason::UnsupportedImage
    );
    assert_eq!(refused(dicom.syntax(uids::JPEGLS_LOSSLESS)), RejectReason::UnsupportedTransferSyntax);
    assert_eq!(
        dicom_head(b"P5 1 1 255 0", &Limits::default()).unwrap_err().reason(),
        RejectReason::NotAnImage
    );
}

#[test]
fn only_what_is_decoded_is_called_decodable() {
    for uid in [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        uids::RLE_LOSSLESS,
        uids::JPEG_LOSSLESS_SV1,
        uids::JPEG2000_LOSSLESS,
    ] {
        assert!(decodes_transfer_syntax(uid), "{uid}");
    }
    for uid in [uids::JPEGLS_LOSSLESS, uids::MPEG2MPML, "1.2.3", ""] {
        assert!(!decodes_transfer_syntax(uid), "{uid}");
    }
}
