//! PNG, JPEG, TIFF, PNM and raw frames.

use std::io::Cursor;

use contract::radiograph::frame::{FourCc, FrameError, FrameLayout, unpack};
use contract::radiograph::{DecodeError, Format, Limits, Radiograph, RejectReason, decode};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageFormat};
use proptest::prelude::*;

use crate::support::{HEIGHT, WIDTH, samples};

fn decoded(bytes: &[u8], format: Format) -> Radiograph {
    let decoded = decode(bytes, &Limits::default()).unwrap_or_else(|error| panic!("{format}: {error}"));
    assert_eq!((decoded.format, decoded.dicom), (format, None));
    let radiograph = decoded.radiograph;
    assert_eq!((radiograph.width, radiograph.height), (WIDTH, HEIGHT));
    assert!(radiograph.windowed);
    radiograph
}

fn refused(bytes: &[u8]) -> DecodeError {
    decode(bytes, &Limits::default()).expect_err("it must be refused")
}

fn grey8() -> DynamicImage {
    let bytes = samples(8).iter().map(|&s| s as u8).collect();
    image::GrayImage::from_raw(WIDTH, HEIGHT, bytes).unwrap().into()
}

fn grey16(bits: u32) -> DynamicImage {
    image::ImageBuffer::<image::Luma<u16>, _>::from_raw(WIDTH, HEIGHT, samples(bits)).unwrap().into()
}

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

const LOSSLESS: [(ImageFormat, Format); 3] =
    [(ImageFormat::Png, Format::Png), (ImageFormat::Tiff, Format::Tiff), (ImageFormat::Pnm, Format::Pnm)];

#[test]
fn grey_samples_are_kept() {
    for (encoder, format) in LOSSLESS {
        let eight = decoded(&encode(&grey8(), encoder), format);
        assert_eq!((eight.max_value, &eight.samples), (255, &samples(8)), "{format}");
        let sixteen = decoded(&encode(&grey16(16), encoder), format);
        assert_eq!(sixteen.samples, samples(16), "{format}");
    }
}

#[test]
fn white_is_by_the_bits_that_sixteen_bit_samples_use() {
    for (bits, max_value) in [(8, 255), (10, 1023), (12, 4095)] {
        let radiograph = decoded(&encode(&grey16(bits), ImageFormat::Png), Format::Png);
        assert_eq!((radiograph.max_value, &radiograph.samples), (max_value, &samples(bits)));
    }
    let full = image::ImageBuffer::<image::Luma<u16>, _>::from_pixel(WIDTH, HEIGHT, image::Luma([u16::MAX]));
    assert_eq!(decoded(&encode(&full.into(), ImageFormat::Png), Format::Png).max_value, u16::MAX);
}

#[test]
fn colour_becomes_luma_and_alpha_is_ignored() {
    let rgb = image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| image::Rgb([x as u8 * 3, y as u8 * 2, 90]));
    let luma: Vec<u16> = rgb
        .pixels()
        .map(|p| (0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2])).round() as u16)
        .collect();
    let within_one = |found: &Radiograph, what: &str| {
        let close = found.samples.iter().zip(&luma).all(|(a, b)| a.abs_diff(*b) <= 1);
        assert!(close && found.max_value == 255, "{what}");
    };
    let rgb = DynamicImage::from(rgb);
    let mut rgba = rgb.to_rgba8();
    rgba.pixels_mut().enumerate().for_each(|(i, p)| p[3] = i as u8);
    for (encoder, format) in LOSSLESS {
        within_one(&decoded(&encode(&rgb, encoder), format), "RGB");
        within_one(&decoded(&encode(&rgba.clone().into(), encoder), format), "RGBA");
    }
    // A grey image saved as RGB keeps its values exactly.
    for image in [grey8().to_rgb8().into(), DynamicImage::from(grey8().to_luma_alpha8())] {
        assert_eq!(decoded(&encode(&image, ImageFormat::Png), Format::Png).samples, samples(8));
    }
    let deep = DynamicImage::from(grey16(16).to_rgb16());
    assert_eq!(decoded(&encode(&deep, ImageFormat::Png), Format::Png).samples, samples(16));
}

#[test]
fn palette_and_bilevel_png() {
    // Written chunk by chunk: the encoder at hand writes neither.
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
    };
    let png = |depth: u8, colour: u8, palette: &[u8], rows: &[u8]| {
        let mut header = [WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()].concat();
        header.extend([depth, colour, 0, 0, 0]);
        let mut packed = Vec::new();
        let mut encoder = flate2::read::ZlibEncoder::new(rows, flate2::Compression::fast());
        std::io::Read::read_to_end(&mut encoder, &mut packed).unwrap();
        let palette = if palette.is_empty() { Vec::new() } else { chunk(b"PLTE", palette) };
        [
            &b"\x89PNG\r\n\x1a\n"[..],
            &chunk(b"IHDR", &header),
            &palette,
            &chunk(b"IDAT", &packed),
            &chunk(b"IEND", &[]),
        ]
        .concat()
    };
    let palette: Vec<u8> = (0..=255u8).flat_map(|i| [255 - i; 3]).collect();
    let rows: Vec<u8> = samples(8)
        .chunks(WIDTH as usize)
        .flat_map(|row| [0].into_iter().chain(row.iter().map(|&s| s as u8)))
        .collect();
    let inverted: Vec<u16> = samples(8).iter().map(|s| 255 - s).collect();
    assert_eq!(decoded(&png(8, 3, &palette, &rows), Format::Png).samples, inverted);

    let bilevel = vec![[&[0u8][..], &[0b1010_1010; WIDTH as usize / 8]].concat(); HEIGHT as usize].concat();
    let radiograph = decoded(&png(1, 0, &[], &bilevel), Format::Png);
    assert_eq!(&radiograph.samples[..4], [255, 0, 255, 0]);
}

/// A TIFF of one uncompressed strip, its directory first as in a file that is cut off at its end.
fn tiff(bits: u16, photometric: u16, orientation: u16, data: &[u8]) -> Vec<u8> {
    let entries: [(u16, u16, u32); 10] = [
        (256, 4, WIDTH),
        (257, 4, HEIGHT),
        (258, 3, bits.into()),
        (259, 3, 1),
        (262, 3, photometric.into()),
        (273, 4, 8 + 2 + 10 * 12 + 4),
        (274, 3, orientation.into()),
        (277, 3, 1),
        (278, 4, HEIGHT),
        (279, 4, data.len() as u32),
    ];
    let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
    for (tag, kind, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    bytes.extend(data);
    bytes
}

#[test]
fn min_is_white_tiff_is_inverted() {
    let eight: Vec<u8> = samples(8).iter().map(|&s| s as u8).collect();
    let inverted: Vec<u16> = samples(8).iter().map(|s| 255 - s).collect();
    assert_eq!(decoded(&tiff(8, 0, 1, &eight), Format::Tiff).samples, inverted);
    assert_eq!(decoded(&tiff(8, 1, 1, &eight), Format::Tiff).samples, samples(8));
    let sixteen: Vec<u8> = samples(16).iter().flat_map(|s| s.to_le_bytes()).collect();
    let inverted: Vec<u16> = samples(16).iter().map(|s| u16::MAX - s).collect();
    assert_eq!(decoded(&tiff(16, 0, 1, &sixteen), Format::Tiff).samples, inverted);
    let upside_down = decoded(&tiff(8, 1, 3, &eight), Format::Tiff).samples;
    assert!(upside_down.iter().eq(samples(8).iter().rev()), "orientation 3 is half a turn");
}

fn jpeg(quality: u8) -> (Vec<u8>, Vec<u8>) {
    let smooth: Vec<u8> = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x * 2 + y) as u8)).collect();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(&smooth, WIDTH, HEIGHT, ExtendedColorType::L8)
        .unwrap();
    (smooth, bytes)
}

#[test]
fn jpeg_grey_and_colour() {
    let (smooth, bytes) = jpeg(95);
    let rgb: Vec<u8> = smooth.iter().flat_map(|&s| [s, s, s]).collect();
    let mut colour = Vec::new();
    JpegEncoder::new_with_quality(&mut colour, 95)
        .encode(&rgb, WIDTH, HEIGHT, ExtendedColorType::Rgb8)
        .unwrap();
    for file in [bytes, colour] {
        let radiograph = decoded(&file, Format::Jpeg);
        assert_eq!(radiograph.max_value, 255);
        for (found, expected) in radiograph.samples.iter().zip(&smooth) {
            assert!(found.abs_diff(u16::from(*expected)) <= 4);
        }
    }
}

#[test]
fn an_exif_orientation_is_applied_and_its_thumbnail_not_taken_for_the_end() {
    let (_, bytes) = jpeg(95);
    let upright = decoded(&bytes, Format::Jpeg).samples;
    // Orientation 3, and a thumbnail's EOI within the segment.
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0\xff\xd8\xff\xd9";
    let mut file = bytes[..2].to_vec();
    file.extend([0xff, 0xe1]);
    file.extend((exif.len() as u16 + 2).to_be_bytes());
    file.extend(exif);
    file.extend(&bytes[2..]);
    assert!(decoded(&file, Format::Jpeg).samples.iter().eq(upright.iter().rev()));
    assert_eq!(refused(&file[..file.len() / 2]).reason(), RejectReason::Truncated);
}

#[test]
fn truncated_files_are_truncated_and_never_filled_up() {
    // Its directory comes first; those of the encoder come last.
    let directory_first = tiff(8, 1, 1, &samples(8).iter().map(|&s| s as u8).collect::<Vec<_>>());
    let files = [
        encode(&grey8(), ImageFormat::Png),
        encode(&grey16(16), ImageFormat::Png),
        encode(&grey8(), ImageFormat::Tiff),
        encode(&grey16(16), ImageFormat::Pnm),
        encode(&grey8().to_rgb8().into(), ImageFormat::Pnm),
        directory_first,
        jpeg(90).1,
    ];
    for file in files {
        let format = Format::detect(&file).unwrap();
        for sixteenth in 0..16 {
            let error = refused(&file[..file.len() * sixteenth / 16]);
            if sixteenth >= 1 {
                assert_eq!(error.reason(), RejectReason::Truncated, "{format} {sixteenth}/16: {error}");
            }
        }
        assert_eq!(refused(&file[..file.len() - 1]).reason(), RejectReason::Truncated, "{format}");
    }
}

#[test]
fn what_is_not_an_image_says_so() {
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"Patient,Finding\nnone,normal\n", "text"),
        (b"%PDF-1.7\n%\xb5\xb5\xb5\xb5\n1 0 obj", "first bytes"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "first bytes"),
    ] {
        let error = refused(bytes);
        assert_eq!(error.reason(), RejectReason::NotAnImage);
        assert!(error.to_string().contains(words) || words == "first bytes", "{error}");
    }
}

#[test]
fn sizes_are_refused_from_the_header() {
    let limits = Limits { file_max_bytes: 1 << 20, pixels_max: 10_000, side_min_px: 64 };
    let image = encode(&image::GrayImage::new(200, 100).into(), ImageFormat::Png);
    assert_eq!(decode(&image, &limits).unwrap_err().reason(), RejectReason::TooLarge);
    let small = encode(&image::GrayImage::new(200, 63).into(), ImageFormat::Png);
    assert_eq!(refused(&small).reason(), RejectReason::TooSmall);
    let file = vec![b'P'; (1 << 20) + 1];
    assert_eq!(
        decode(&file, &limits).unwrap_err(),
        DecodeError::FileTooLarge { found: (1 << 20) + 1, max: 1 << 20 }
    );
    // Headers that promise more than any memory holds.
    let pgm = b"P5 100000 100000 65535\n1234".to_vec();
    let mut png = encode(&grey8(), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let (_, mut jpeg) = jpeg(90);
    let sof = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[sof + 5..sof + 9].copy_from_slice(&[0xff; 4]);
    for file in [pgm, png, jpeg] {
        let error = refused(&file);
        assert_eq!(error.reason(), RejectReason::TooLarge, "{error}");
    }
}

#[test]
fn frames_are_unpacked() {
    let layout =
        |fourcc, stride_bytes| FrameLayout { fourcc, width: 3, height: 2, stride_bytes, sample_bits: None };
    let grey = [1, 2, 3, 99, 4, 5, 6];
    let radiograph = unpack(&grey, &layout(FourCc::Grey, 4), false).unwrap();
    assert_eq!((radiograph.max_value, radiograph.windowed), (255, false));
    assert_eq!(radiograph.samples, [1, 2, 3, 4, 5, 6]);
    assert_eq!(unpack(&grey, &layout(FourCc::Grey, 4), true).unwrap().samples[..2], [254, 253]);
    let yuyv = [10, 128, 20, 128, 30, 128, 40, 128, 50, 128, 60, 128];
    assert_eq!(unpack(&yuyv, &layout(FourCc::Yuyv, 6), false).unwrap().samples, [10, 20, 30, 40, 50, 60]);
    assert!(matches!(unpack(&grey, &layout(FourCc::Grey, 2), false), Err(FrameError::Layout { .. })));
    let error = unpack(&grey, &layout(FourCc::Y16, 6), false).unwrap_err();
    assert_eq!(error, FrameError::Short { found: 7, needed: 12 });
    assert_eq!("Y10 ".parse::<FourCc>().unwrap(), FourCc::Y10);
    assert!("NV12".parse::<FourCc>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn sixteen_bit_frames_come_back_whatever_their_stride(
        (fourcc, bits) in prop::sample::select(vec![(FourCc::Y10, 10), (FourCc::Y12, 12), (FourCc::Y16, 16)]),
        fewer_bits in prop::option::of(8u32..=16),
        width in 1u32..40,
        height in 1u32..20,
        padding in 0u32..9,
        seed in any::<u32>(),
        invert in any::<bool>(),
    ) {
        let mask = ((1u32 << bits) - 1) as u16;
        let white = mask.min(((1u32 << fewer_bits.unwrap_or(16)) - 1) as u16);
        let word = |i: u32| (i.wrapping_mul(seed | 1) >> 7) as u16;
        let words: Vec<u16> = (0..width * height).map(word).collect();
        let stride_bytes = 2 * width + padding;
        let mut bytes = Vec::new();
        for row in words.chunks(width as usize) {
            bytes.extend(row.iter().flat_map(|w| w.to_le_bytes()));
            bytes.extend(std::iter::repeat_n(0xaa, padding as usize));
        }
        let layout = FrameLayout { fourcc, width, height, stride_bytes, sample_bits: fewer_bits };
        let radiograph = unpack(&bytes, &layout, invert).unwrap();
        prop_assert_eq!(radiograph.max_value, white);
        for (found, word) in radiograph.samples.iter().zip(&words) {
            let level = (word & mask).min(white);
            let expected = if invert { white - level } else { level };
            prop_assert_eq!(*found, expected);
        }
        let needed = bytes.len() - padding as usize;
        prop_assert!(unpack(&bytes[..needed], &layout, invert).is_ok());
        prop_assert!(unpack(&bytes[..needed - 1], &layout, invert).is_err());
    }

    #[test]
    fn damaged_files_never_bring_the_decoder_down(
        choice in 0usize..4,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = match choice {
            0 => encode(&grey16(16), ImageFormat::Png),
            1 => encode(&grey8(), ImageFormat::Tiff),
            2 => encode(&grey8(), ImageFormat::Pnm),
            _ => jpeg(90).1,
        };
        for (at, value) in damage {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Ok(decoded) = decode(&file, &Limits::default()) {
            let r = decoded.radiograph;
            prop_assert_eq!(r.samples.len(), r.width as usize * r.height as usize);
            prop_assert!(r.samples.iter().all(|&s| s <= r.max_value));
        }
    }
}
