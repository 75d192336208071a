//! DICOM: every encoding and every step to the displayed value, on files written by dicom-rs.

use contract::radiograph::{DecodeError, Format, Limits, Radiograph, RejectReason, decode, dicom_facts};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use proptest::prelude::*;

use crate::support::{Dicom, HEIGHT, WIDTH, rle, samples};

const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

fn decoded(bytes: &[u8]) -> Radiograph {
    let decoded = decode(bytes, &Limits::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(decoded.format, Format::Dicom);
    let radiograph = decoded.radiograph;
    assert_eq!((radiograph.width, radiograph.height), (WIDTH, HEIGHT));
    radiograph
}

fn refused(bytes: &[u8]) -> DecodeError {
    decode(bytes, &Limits::default()).expect_err("it must be refused")
}

/// Compares with what PS3.3 gives for each stored value, on the scale of 0 to 65535.
fn assert_shown(radiograph: &Radiograph, stored: &[u16], shown: impl Fn(f64) -> f64) {
    for (at, (&found, &stored)) in radiograph.samples.iter().zip(stored).enumerate() {
        let expected = shown(f64::from(stored)) * 65535.0;
        assert!(
            (f64::from(found) - expected).abs() <= 1.0,
            "pixel {at}: {stored} is shown as {found}, not {expected}"
        );
    }
}

/// The pseudo-code of PS3.3 C.11.2.1.2.1 for an output of 0 to 1.
fn linear(x: f64, centre: f64, width: f64) -> f64 {
    if x <= centre - 0.5 - (width - 1.0) / 2.0 {
        0.0
    } else if x > centre - 0.5 + (width - 1.0) / 2.0 {
        1.0
    } else {
        (x - (centre - 0.5)) / (width - 1.0) + 0.5
    }
}

fn window(dicom: Dicom, centre: &str, width: &str) -> Dicom {
    dicom.text(tags::WINDOW_CENTER, VR::DS, centre).text(tags::WINDOW_WIDTH, VR::DS, width)
}

#[test]
fn native_samples_in_every_data_set_encoding() {
    let stored = samples(12);
    let bytes: Vec<u8> = samples(8).iter().map(|&s| s as u8).collect();
    for uid in [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        BIG_ENDIAN,
    ] {
        let words = decoded(&Dicom::of(12, &stored).syntax(uid).file());
        assert!(!words.windowed, "{uid}: no window was written");
        assert_shown(&words, &stored, |x| x / 4095.0);
        let eight = decoded(&Dicom::grey(8, 8, false).bytes(&bytes).syntax(uid).file());
        assert_shown(&eight, &samples(8), |x| x / 255.0);
    }
    let little: Vec<u8> = stored.iter().flat_map(|s| s.to_le_bytes()).collect();
    let encapsulated = Dicom::grey(16, 12, false)
        .fragments(uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN, &[&little]);
    assert_shown(&decoded(&encapsulated.file()), &stored, |x| x / 4095.0);
}

#[test]
fn eight_bit_samples_in_big_endian_words_are_swapped_back() {
    // 8-bit samples with VR OW are pairs in 16-bit words, of which the first sample is the low byte.
    let stored = samples(8);
    let words: Vec<u16> = stored.chunks(2).map(|pair| pair[0] | pair[1] << 8).collect();
    let file = Dicom::grey(8, 8, false).words(&words).syntax(BIG_ENDIAN).file();
    assert_shown(&decoded(&file), &stored, |x| x / 255.0);
}

#[test]
fn files_without_preamble_prefix_or_meta_group_are_read() {
    let stored = samples(12);
    let dicom = Dicom::of(12, &stored);
    let expected = decoded(&dicom.file());
    assert_eq!(decoded(&[b"DICM", &dicom.without_prefix()[..]].concat()), expected);
    assert_eq!(decoded(&dicom.without_prefix()), expected);
    assert_eq!(decoded(&dicom.data_set()), expected);
    assert_eq!(decoded(&dicom.syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN).data_set()), expected);
}

#[test]
fn only_the_stored_bits_count() {
    let stored = samples(10);
    let noisy: Vec<u16> = stored.iter().enumerate().map(|(i, s)| s << 2 | (i % 4) as u16 | 0xf000).collect();
    let file = Dicom::grey(16, 10, false).number(tags::HIGH_BIT, 11).words(&noisy).file();
    assert_shown(&decoded(&file), &stored, |x| x / 1023.0);
}

#[test]
fn signed_samples_and_negative_slopes() {
    let stored = samples(12);
    let signed = |x: f64| if x >= 2048.0 { x - 4096.0 } else { x };
    let plain = Dicom::grey(16, 12, true).words(&stored);
    assert_shown(&decoded(&plain.file()), &stored, |x| (signed(x) + 2048.0) / 4095.0);

    let rescaled =
        plain.text(tags::RESCALE_SLOPE, VR::DS, "-2.5").text(tags::RESCALE_INTERCEPT, VR::DS, "100");
    assert_shown(&decoded(&rescaled.file()), &stored, |x| (2047.0 - signed(x)) / 4095.0);
    let windowed = decoded(&window(rescaled, "1000", "3000").file());
    assert!(windowed.windowed);
    assert_shown(&windowed, &stored, |x| linear(signed(x) * -2.5 + 100.0, 1000.0, 3000.0));
}

#[test]
fn windows_follow_their_function_and_the_first_one_counts() {
    let stored = samples(12);
    let dicom = window(Dicom::of(12, &stored), "2000\\10", "1500\\20");
    assert_shown(&decoded(&dicom.file()), &stored, |x| linear(x, 2000.0, 1500.0));
    let exact = dicom.clone().text(tags::VOILUT_FUNCTION, VR::CS, "LINEAR_EXACT");
    let line = |x: f64| ((x - 2000.0) / 1500.0 + 0.5).clamp(0.0, 1.0);
    assert_shown(&decoded(&exact.file()), &stored, line);
    let sigmoid = dicom.clone().text(tags::VOILUT_FUNCTION, VR::CS, "SIGMOID");
    let curve = |x: f64| 1.0 / (1.0 + (-4.0 * (x - 2000.0) / 1500.0).exp());
    assert_shown(&decoded(&sigmoid.file()), &stored, curve);
    let threshold = window(dicom.clone(), "2000", "1");
    assert_shown(&decoded(&threshold.file()), &stored, |x| if x > 1999.5 { 1.0 } else { 0.0 });
    assert!(!decoded(&window(dicom, "0", "0").file()).windowed, "a width of 0 is no window");
}

#[test]
fn monochrome1_is_inverted_after_the_window() {
    let stored = samples(12);
    let dicom = Dicom::of(12, &stored).text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1");
    assert_shown(&decoded(&dicom.file()), &stored, |x| 1.0 - x / 4095.0);
    let windowed = window(dicom, "900", "700");
    assert_shown(&decoded(&windowed.file()), &stored, |x| 1.0 - linear(x, 900.0, 700.0));
}

#[test]
fn modality_table_then_voi_table() {
    let stored = samples(8);
    let dicom = Dicom::of(8, &stored);
    // 200 entries from stored value 20 on; the VOI table maps modality values -100 to 299.
    let modality: Vec<u16> = (0..200).map(|i| 3 * i).collect();
    let in_modality = |x: f64| 3.0 * (x - 20.0).clamp(0.0, 199.0);
    let with_modality = dicom.table(tags::MODALITY_LUT_SEQUENCE, [200, 20, 16], VR::US, &modality);
    let plain = decoded(&with_modality.file());
    assert!(!plain.windowed);
    assert_shown(&plain, &stored, |x| in_modality(x) / 597.0);

    let voi: Vec<u16> = (0..400).map(|i| 1023 - 2 * i).collect();
    let both = window(with_modality, "1", "2").table(tags::VOILUT_SEQUENCE, [400, -100, 10], VR::SS, &voi);
    let shown = decoded(&both.file());
    assert!(shown.windowed);
    assert_shown(&shown, &stored, |x| (1023.0 - 2.0 * (in_modality(x) + 100.0).clamp(0.0, 399.0)) / 1023.0);
    let implicit = both.syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN);
    assert!(decoded(&implicit.file()).windowed);
}

#[test]
fn tables_of_packed_bytes_and_of_65536_entries() {
    let stored = samples(8);
    let packed: Vec<u16> = (0..128u16).map(|i| (255 - 2 * i) | (254 - 2 * i) << 8).collect();
    let dicom = Dicom::of(8, &stored).table(tags::VOILUT_SEQUENCE, [256, 0, 8], VR::US, &packed);
    assert_shown(&decoded(&dicom.file()), &stored, |x| (255.0 - x) / 255.0);
    let all: Vec<u16> = (0..=u16::MAX).rev().collect();
    let stored = samples(16);
    let dicom = Dicom::of(16, &stored).table(tags::VOILUT_SEQUENCE, [0, 0, 16], VR::US, &all);
    assert_shown(&decoded(&dicom.file()), &stored, |x| 1.0 - x / 65535.0);
}

#[test]
fn broken_tables_and_slopes_are_named() {
    let dicom = Dicom::of(12, &samples(12));
    let short = dicom.clone().table(tags::VOILUT_SEQUENCE, [4096, 0, 16], VR::US, &[1, 2, 3, 4]);
    assert_eq!(refused(&short.file()).reason(), RejectReason::Corrupt);
    let flat = dicom.text(tags::RESCALE_SLOPE, VR::DS, "0");
    assert_eq!(refused(&flat.file()).reason(), RejectReason::Corrupt);
}

#[test]
fn colour_becomes_luma() {
    let grey = samples(8);
    let pixels: Vec<u8> = grey.iter().flat_map(|&s| [s as u8, (s / 2) as u8, 255 - s as u8]).collect();
    let colour = |name| {
        Dicom::grey(8, 8, false)
            .number(tags::SAMPLES_PER_PIXEL, 3)
            .number(tags::PLANAR_CONFIGURATION, 0)
            .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, name)
    };
    let interleaved = decoded(&colour("RGB").bytes(&pixels).file());
    assert_eq!((interleaved.max_value, interleaved.windowed), (255, true));
    for (at, &s) in grey.iter().enumerate() {
        let s = f64::from(s);
        let expected = 0.299 * s + 0.587 * (s / 2.0).floor() + 0.114 * (255.0 - s);
        assert!((f64::from(interleaved.samples[at]) - expected).abs() < 1.0, "pixel {at}");
    }
    let planes: Vec<u8> = (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3).copied()).collect();
    let planar = colour("RGB").number(tags::PLANAR_CONFIGURATION, 1).bytes(&planes);
    assert_eq!(decoded(&planar.file()), interleaved);
    assert_eq!(decoded(&colour("YBR_FULL").bytes(&pixels).file()).samples, grey);
    let words: Vec<u16> = pixels.iter().map(|&b| b.into()).collect();
    let packed = colour("RGB").fragments(uids::RLE_LOSSLESS, &[&rle(&words, 3, 1)]);
    assert_eq!(decoded(&packed.file()), interleaved);
}

#[test]
fn rle_samples() {
    for (bits, depth) in [(8, 1), (12, 2), (16, 2)] {
        let stored = samples(bits);
        let codestream = rle(&stored, 1, depth);
        let dicom = Dicom::grey(8 * depth as u16, bits as u16, false);
        let file = dicom.clone().fragments(uids::RLE_LOSSLESS, &[&codestream]).file();
        assert_shown(&decoded(&file), &stored, |x| x / f64::from((1 << bits) - 1));
        let cut = &codestream[..codestream.len() - 9];
        let error = refused(&dicom.fragments(uids::RLE_LOSSLESS, &[cut]).file());
        assert_eq!(error.reason(), RejectReason::Truncated, "{error}");
    }
}

/// Codestreams of the test image made with DCMTK 3.6 (`dcmcjpeg +e1`, `+ee`) and OpenJPEG 2.5 (lossless).
const LOSSLESS_12: &[u8] = include_bytes!("data/gradient12.lossless.jpg");
const LOSSLESS_16: &[u8] = include_bytes!("data/gradient16.lossless.jpg");
const EXTENDED_12: &[u8] = include_bytes!("data/gradient12.extended.jpg");
const JPEG_2000_8: &[u8] = include_bytes!("data/gradient8.j2k");
const JPEG_2000_16: &[u8] = include_bytes!("data/gradient16.j2k");

#[test]
fn jpeg_lossless_and_jpeg_2000_samples_in_one_and_several_fragments() {
    for (bits, uid, codestream) in [
        (12, uids::JPEG_LOSSLESS_SV1, LOSSLESS_12),
        (16, uids::JPEG_LOSSLESS, LOSSLESS_16),
        (8, uids::JPEG2000_LOSSLESS, JPEG_2000_8),
        (16, uids::JPEG2000, JPEG_2000_16),
    ] {
        let stored = samples(bits);
        let white = f64::from((1 << bits) - 1);
        let dicom = Dicom::grey(if bits == 8 { 8 } else { 16 }, bits as u16, false);
        let file = dicom.clone().fragments(uid, &[codestream]).file();
        assert_shown(&decoded(&file), &stored, |x| x / white);
        let parts = [&codestream[..100], &codestream[100..300], &codestream[300..]];
        assert_shown(&decoded(&dicom.clone().fragments(uid, &parts).file()), &stored, |x| x / white);

        let error = refused(&dicom.clone().fragments(uid, &[&codestream[..codestream.len() * 2 / 3]]).file());
        assert_eq!(error.reason(), RejectReason::Truncated, "{uid}: {error}");
        let other_size = dicom.number(tags::ROWS, HEIGHT as u16 + 1).fragments(uid, &[codestream]);
        let error = refused(&other_size.file());
        assert_eq!(error.reason(), RejectReason::Corrupt, "{uid}: {error}");
    }
}

#[test]
fn jpeg_baseline_samples() {
    let smooth: Vec<u8> = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x * 2 + y) as u8)).collect();
    let mut codestream = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut codestream, 95)
        .encode(&smooth, WIDTH, HEIGHT, image::ExtendedColorType::L8)
        .unwrap();
    for uid in [uids::JPEG_BASELINE8_BIT, uids::JPEG_EXTENDED12_BIT] {
        let radiograph = decoded(&Dicom::grey(8, 8, false).fragments(uid, &[&codestream]).file());
        for (found, expected) in radiograph.samples.iter().zip(&smooth) {
            assert!((i32::from(*found) / 257 - i32::from(*expected)).abs() <= 4);
        }
    }
}

#[test]
fn colour_jpeg_means_what_its_markers_or_else_the_header_say() {
    let rgb: Vec<u8> =
        (0..HEIGHT).flat_map(|y| (0..WIDTH).flat_map(move |x| [(x * 2) as u8, (y * 3) as u8, 60])).collect();
    let luma = |p: &[u8]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
    // YCbCr with a JFIF marker.
    let mut codestream = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut codestream, 98)
        .encode(&rgb, WIDTH, HEIGHT, image::ExtendedColorType::Rgb8)
        .unwrap();
    let decode_as = |name: &str, codestream: &[u8]| {
        let dicom = Dicom::grey(8, 8, false)
            .number(tags::SAMPLES_PER_PIXEL, 3)
            .number(tags::PLANAR_CONFIGURATION, 0)
            .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, name)
            .fragments(uids::JPEG_BASELINE8_BIT, &[codestream]);
        decoded(&dicom.file())
    };
    for name in ["YBR_FULL_422", "RGB"] {
        let radiograph = decode_as(name, &codestream);
        for (found, pixel) in radiograph.samples.iter().zip(rgb.chunks(3)) {
            assert!((f64::from(*found) - luma(pixel)).abs() < 6.0, "{name}: {found} for {pixel:?}");
        }
    }
    // Without the marker an RGB image's components are red, green and blue, so its luma differs.
    let jfif = codestream.windows(4).position(|w| w == b"JFIF").unwrap() - 4;
    let unmarked = [&codestream[..jfif], &codestream[jfif + 18..]].concat();
    assert_eq!(decode_as("YBR_FULL", &unmarked), decode_as("YBR_FULL", &codestream));
    assert_ne!(decode_as("RGB", &unmarked), decode_as("RGB", &codestream));
}

#[test]
fn a_compressed_file_may_keep_the_implicit_vr_it_had() {
    let dicom = Dicom::grey(16, 12, false).fragments(uids::JPEG_LOSSLESS_SV1, &[LOSSLESS_12]);
    let implicit = dicom.clone().syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN).data_set();
    let head = dicom.file().len() - dicom.data_set().len();
    let file = [&dicom.file()[..head], &implicit].concat();
    assert_eq!(decoded(&file), decoded(&dicom.file()));
}

#[test]
fn other_transfer_syntaxes_are_named() {
    for (uid, name) in [
        (uids::JPEGLS_LOSSLESS, "JPEG-LS"),
        (uids::MPEG4HP41, "MPEG-4"),
        (uids::HTJ2K, "High-Throughput"),
        ("1.2.840.113619.5.2", "unknown"),
    ] {
        let file = Dicom::grey(16, 12, false).fragments(uid, &[&[1, 2, 3, 4]]).file();
        let error = refused(&file);
        assert_eq!(error.reason(), RejectReason::UnsupportedTransferSyntax);
        assert!(error.to_string().contains(uid) && error.to_string().contains(name), "{error}");
    }
    let twelve_bit = Dicom::grey(16, 12, false).fragments(uids::JPEG_EXTENDED12_BIT, &[EXTENDED_12]);
    let error = refused(&twelve_bit.file());
    assert_eq!(error.reason(), RejectReason::UnsupportedTransferSyntax, "{error}");
    let facts = dicom_facts(&Dicom::grey(16, 12, false).fragments(uids::JPEGLS_LOSSLESS, &[&[0, 1]]).file());
    assert_eq!(facts.unwrap().transfer_syntax, uids::JPEGLS_LOSSLESS);
}

#[test]
fn images_that_are_not_one_grey_radiograph_are_refused() {
    let dicom = Dicom::of(12, &samples(12));
    let floats = dicom.clone().without(tags::PIXEL_DATA).with(
        tags::FLOAT_PIXEL_DATA,
        VR::OF,
        PrimitiveValue::F32(samples(8).iter().map(|&s| f32::from(s)).collect()),
    );
    let palette = Dicom::grey(8, 8, false)
        .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "PALETTE COLOR")
        .bytes(&[0; (WIDTH * HEIGHT) as usize]);
    for (what, dicom) in [
        ("no pixels", dicom.clone().without(tags::PIXEL_DATA)),
        ("frames", dicom.clone().text(tags::NUMBER_OF_FRAMES, VR::IS, "3")),
        ("32 bit", dicom.clone().number(tags::BITS_ALLOCATED, 32)),
        ("float", floats),
        ("palette", palette),
    ] {
        let error = refused(&dicom.file());
        assert_eq!(error.reason(), RejectReason::UnsupportedImage, "{what}: {error}");
    }
    let one_frame = dicom.text(tags::NUMBER_OF_FRAMES, VR::IS, "1");
    decoded(&one_frame.file());
}

#[test]
fn sizes_are_refused_before_pixels_are_read() {
    let huge = Dicom::grey(16, 12, false).number(tags::ROWS, 65535).number(tags::COLUMNS, 65535);
    let error = refused(&huge.words(&[0; 16]).file());
    assert_eq!(error.reason(), RejectReason::TooLarge, "{error}");
    let small = Dicom::grey(16, 12, false).number(tags::ROWS, 63).words(&samples(12)).file();
    assert_eq!(refused(&small).reason(), RejectReason::TooSmall);
}

#[test]
fn truncated_files_are_truncated_and_never_filled_up() {
    let stored = samples(12);
    for dicom in [
        Dicom::of(12, &stored),
        Dicom::of(12, &stored).syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN),
        Dicom::of(12, &stored).syntax(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        Dicom::of(12, &stored).syntax(BIG_ENDIAN),
        Dicom::grey(16, 12, false).fragments(uids::RLE_LOSSLESS, &[&rle(&stored, 1, 2)]),
        Dicom::grey(16, 12, false).fragments(uids::JPEG_LOSSLESS_SV1, &[LOSSLESS_12]),
        Dicom::grey(8, 8, false).fragments(uids::JPEG2000, &[JPEG_2000_8]),
    ] {
        let file = dicom.file();
        for sixteenth in 0..16 {
            let error = refused(&file[..file.len() * sixteenth / 16]);
            let expected =
                [RejectReason::Truncated, RejectReason::UnsupportedImage, RejectReason::NotAnImage];
            assert!(expected.contains(&error.reason()), "{}: {sixteenth}: {error}", dicom.transfer_syntax);
            if sixteenth >= 8 {
                assert_eq!(error.reason(), RejectReason::Truncated, "{}: {error}", dicom.transfer_syntax);
            }
        }
    }
}

#[test]
fn sequences_before_the_pixels_do_not_confuse_the_walk() {
    let nested = |inner: InMemDicomObject| {
        InMemDicomObject::from_element_iter([DataElement::new(
            tags::REFERENCED_STUDY_SEQUENCE,
            VR::SQ,
            DataSetSequence::from(vec![inner]),
        )])
    };
    let icon =
        Dicom::grey(8, 8, false).fragments(uids::JPEG_BASELINE8_BIT, &[&[0xff, 0xd8, 0xff, 0xd9]]).object;
    let mut dicom = Dicom::of(12, &samples(12));
    let expected = decoded(&dicom.file());
    dicom.object.put(DataElement::new(
        tags::ICON_IMAGE_SEQUENCE,
        VR::SQ,
        DataSetSequence::from(vec![icon, nested(nested(InMemDicomObject::new_empty()))]),
    ));
    assert_eq!(decoded(&dicom.file()), expected);

    // Private data of unknown VR, which is implicit inside, and an element that is not what its VR says.
    dicom.object.remove_element(tags::PATIENT_NAME);
    let with_private = [
        b"DICM\x08\0\x05\0CS\x0a\0ISO_IR 100\x09\0\x10\x10UN\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\x0a\0\0\0",
        &b"\x08\0\x05\0\x02\0\0\0AB\xfe\xff\xdd\xe0\0\0\0\0\x09\0\x11\x10DS\x04\0\xff??\xff"[..],
    ];
    assert_eq!(decoded(&[with_private.concat(), dicom.data_set()].concat()), expected);

    let level = b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff".repeat(100_000);
    let error = refused(&[b"DICM".to_vec(), level, dicom.data_set()].concat());
    assert_eq!(error.reason(), RejectReason::Corrupt, "{error}");
}

#[test]
fn a_length_beyond_the_file_is_not_allocated() {
    let file = Dicom::of(12, &samples(12)).file();
    // The patient's name, whose explicit VR has a 16-bit length, becomes an OB of nearly 4 GiB.
    let at = file.windows(6).position(|w| w == b"\x10\x00\x10\x00PN").unwrap();
    let mut broken = file[..at + 4].to_vec();
    broken.extend(b"OB\0\0\xf0\xff\xff\xff");
    broken.extend(&file[at + 8..]);
    let error = refused(&broken);
    assert_eq!(error.reason(), RejectReason::Truncated, "{error}");
}

#[test]
fn facts_come_from_the_header_alone() {
    let file = Dicom::of(12, &samples(12)).file();
    let facts = dicom_facts(&file).unwrap();
    assert_eq!(facts.body_part.as_deref(), Some("WRIST"));
    assert_eq!(facts.study_instance_uid.as_deref(), Some("1.2.3"));
    assert_eq!(facts.transfer_syntax, uids::EXPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(dicom_facts(&file[..file.len() - 100]).as_ref(), Some(&facts), "from its start alone");
    assert_eq!(decode(&file, &Limits::default()).unwrap().dicom, Some(facts));
    assert_eq!(dicom_facts(b"P5 1 1 255\n\0"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damaged_files_never_bring_the_decoder_down(
        choice in 0usize..4,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let dicom = match choice {
            0 => Dicom::of(12, &samples(12)),
            1 => Dicom::grey(16, 12, false).fragments(uids::RLE_LOSSLESS, &[&rle(&samples(12), 1, 2)]),
            2 => Dicom::grey(16, 12, false).fragments(uids::JPEG_LOSSLESS_SV1, &[LOSSLESS_12]),
            _ => window(Dicom::of(12, &samples(12)), "100", "200").syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN),
        };
        let mut file = dicom.file();
        for (at, value) in damage {
            let at = at.index(file.len());
            file[at] = value;
        }
        match decode(&file, &Limits::default()) {
            Ok(decoded) => {
                let r = decoded.radiograph;
                prop_assert_eq!(r.samples.len(), r.width as usize * r.height as usize);
            }
            Err(error) => {
                let text = error.to_string();
                prop_assert!(!text.contains("Secret"), "{}", text);
                prop_assert!(choice == 2 || !text.contains("made the decoder fail"), "{}", text);
            }
        }
    }
}
