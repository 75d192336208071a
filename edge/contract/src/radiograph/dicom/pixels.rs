//! From pixel data in any of the transfer syntaxes to stored samples in 16-bit words.

use std::borrow::Cow;

use dicom_dictionary_std::uids;
use jpeg_decoder::ColorTransform;

use super::attributes::{Attributes, Photometric};
use super::structure::{EXPLICIT_VR_BIG_ENDIAN, PixelData};
use super::{broken, cut_off, unsupported};
use crate::radiograph::jpeg::{self, FrameHeader};
use crate::radiograph::{DecodeError, Format};

/// How pixel data is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// Not at all.
    Native { big_endian: bool },
    /// RLE Lossless (PS3.5 annex G).
    Rle,
    /// JPEG baseline, extended and lossless (ITU-T T.81).
    Jpeg,
    /// JPEG 2000 part 1 (ITU-T T.800).
    Jpeg2000,
}

impl Codec {
    /// The codec of a transfer syntax, if it is one of those read here.
    pub(super) fn of(transfer_syntax: &str) -> Option<Self> {
        Some(match transfer_syntax {
            uids::IMPLICIT_VR_LITTLE_ENDIAN
            | uids::EXPLICIT_VR_LITTLE_ENDIAN
            | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
            | uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => Self::Native { big_endian: false },
            EXPLICIT_VR_BIG_ENDIAN => Self::Native { big_endian: true },
            uids::RLE_LOSSLESS => Self::Rle,
            uids::JPEG_BASELINE8_BIT
            | uids::JPEG_EXTENDED12_BIT
            | uids::JPEG_LOSSLESS
            | uids::JPEG_LOSSLESS_SV1 => Self::Jpeg,
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 => Self::Jpeg2000,
            _ => return None,
        })
    }
}

/// Stored samples, `channels` of them a pixel, as words whose unused high bits are not cleared.
pub(super) struct Stored {
    /// `rows * columns * channels` words.
    pub words: Vec<u16>,
    /// 1 or 3: of a colour image in JPEG the decoder gives the luma alone where it can.
    pub channels: usize,
    /// What three channels mean once decoded.
    pub photometric: Photometric,
}

/// Decodes one frame. The sizes in `attributes` have passed the limits.
pub(super) fn decode(
    data: &PixelData<'_>,
    codec: Codec,
    attributes: &Attributes,
) -> Result<Stored, DecodeError> {
    let mut channels = usize::from(attributes.samples_per_pixel);
    let mut photometric = attributes.photometric;
    let words = match (codec, data) {
        (_, PixelData::Float) => return Err(unsupported("its samples are floating point numbers")),
        (Codec::Native { big_endian }, PixelData::Native { bytes, swapped }) => {
            native(bytes, big_endian, *swapped, attributes)?
        }
        (Codec::Native { .. }, PixelData::Encapsulated(fragments)) => {
            native(&concatenate(fragments), false, false, attributes)?
        }
        (_, PixelData::Native { .. }) => {
            return Err(broken("its pixel data is not in the fragments that its transfer syntax asks for"));
        }
        (Codec::Rle, PixelData::Encapsulated(fragments)) => rle(&concatenate(fragments), attributes)?,
        (Codec::Jpeg, PixelData::Encapsulated(fragments)) => {
            let (words, found) = jpeg_codestream(&concatenate(fragments), attributes)?;
            channels = found;
            words
        }
        (Codec::Jpeg2000, PixelData::Encapsulated(fragments)) => {
            if photometric == Photometric::YbrReversible {
                // The decoder undoes the component transform.
                photometric = Photometric::Rgb;
            }
            jpeg2000_codestream(&concatenate(fragments), attributes)?
        }
    };
    Ok(Stored { words, channels, photometric })
}

/// The one frame's fragments as one codestream.
fn concatenate<'a>(fragments: &[&'a [u8]]) -> Cow<'a, [u8]> {
    match fragments {
        [one] => Cow::Borrowed(one),
        _ => Cow::Owned(fragments.concat()),
    }
}

fn native(
    bytes: &[u8],
    big_endian: bool,
    swapped: bool,
    attributes: &Attributes,
) -> Result<Vec<u16>, DecodeError> {
    if attributes.photometric == Photometric::Ybr && attributes.subsampled {
        return Err(unsupported("its uncompressed colour samples are subsampled"));
    }
    let needed = attributes.samples() * attributes.bytes_per_sample();
    // In swapped pairs the last of an odd number of bytes stands where the padding should be.
    let with_padding = if swapped { needed.next_multiple_of(2) } else { needed };
    let bytes = bytes
        .get(..with_padding)
        .ok_or_else(|| cut_off("its pixel data is shorter than its rows and columns"))?;
    let words: Vec<u16> = match (attributes.bytes_per_sample(), big_endian) {
        (1, _) if swapped => {
            bytes.chunks(2).flat_map(|pair| pair.iter().rev()).take(needed).map(|&b| b.into()).collect()
        }
        (1, _) => bytes.iter().map(|&byte| byte.into()).collect(),
        (_, false) => bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
        (_, true) => bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect(),
    };
    if !attributes.planar {
        return Ok(words);
    }
    let plane = attributes.pixels();
    Ok((0..words.len()).map(|i| words[i % 3 * plane + i / 3]).collect())
}

/// RLE Lossless: a segment for each byte of each sample, the most significant first.
fn rle(bytes: &[u8], attributes: &Attributes) -> Result<Vec<u16>, DecodeError> {
    let header = bytes.get(..64).ok_or_else(|| cut_off("its RLE header is incomplete"))?;
    let field = |index: usize| {
        let at = 4 * index;
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
    };
    let (channels, depth) = (usize::from(attributes.samples_per_pixel), attributes.bytes_per_sample());
    let count = field(0);
    if count != channels * depth {
        return Err(broken("its RLE segments do not match its sample format"));
    }
    let mut words = vec![0u16; attributes.samples()];
    for segment in 0..count {
        let start = field(1 + segment);
        let end = if segment + 1 < count { field(2 + segment) } else { bytes.len() };
        let packed = bytes.get(start..end).ok_or_else(|| cut_off("an RLE segment lies outside its data"))?;
        let shift = 8 * (depth - 1 - segment % depth);
        let targets = words.iter_mut().skip(segment / depth).step_by(channels);
        unpack_bits(packed, targets, |word, byte| *word |= u16::from(byte) << shift)?;
    }
    Ok(words)
}

/// PackBits (PS3.5 section G.3.1); fills every target or says that the segment ends early.
fn unpack_bits<'w>(
    packed: &[u8],
    mut targets: impl ExactSizeIterator<Item = &'w mut u16>,
    put: impl Fn(&mut u16, u8),
) -> Result<(), DecodeError> {
    let mut rest = packed;
    while targets.len() > 0 {
        let ends = || cut_off("an RLE segment ends early");
        let (&control, after) = rest.split_first().ok_or_else(ends)?;
        rest = after;
        match control {
            0..=127 => {
                let literal = rest.get(..=usize::from(control)).ok_or_else(ends)?;
                literal.iter().zip(targets.by_ref()).for_each(|(&byte, word)| put(word, byte));
                rest = &rest[literal.len()..];
            }
            128 => {}
            129..=255 => {
                let (&byte, after) = rest.split_first().ok_or_else(ends)?;
                targets.by_ref().take(257 - usize::from(control)).for_each(|word| put(word, byte));
                rest = after;
            }
        }
    }
    Ok(())
}

/// JPEG baseline and extended (8 bit) and lossless (2 to 16 bit); the words, and the channels they are in.
fn jpeg_codestream(bytes: &[u8], attributes: &Attributes) -> Result<(Vec<u16>, usize), DecodeError> {
    if !jpeg::is_complete(bytes) {
        return Err(cut_off("its JPEG codestream has no end-of-image marker"));
    }
    let header = FrameHeader::read(bytes).ok_or_else(|| broken("its JPEG codestream has no frame header"))?;
    check_codestream((header.width, header.height), header.components.into(), attributes)?;
    if header.is_lossless() {
        return Ok((jpeg_lossless(bytes, attributes)?, usize::from(attributes.samples_per_pixel)));
    }
    if header.precision != 8 {
        return Err(DecodeError::UnsupportedTransferSyntax {
            uid: uids::JPEG_EXTENDED12_BIT.to_owned(),
            name: format!("JPEG Extended with {}-bit samples", header.precision),
        });
    }
    let unmarked_is_rgb = attributes.photometric == Photometric::Rgb && !header.marked;
    let pixels = jpeg::decode_pixels(bytes, Format::Dicom, unmarked_is_rgb)?;
    Ok((pixels.bytes.into_iter().map(u16::from).collect(), pixels.channels))
}

fn jpeg_lossless(bytes: &[u8], attributes: &Attributes) -> Result<Vec<u16>, DecodeError> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.set_color_transform(ColorTransform::None);
    let decoded = decoder.decode().map_err(|error| match error {
        jpeg_decoder::Error::Io(_) => cut_off("its JPEG codestream ends early"),
        other => broken(format!("its JPEG codestream: {other}")),
    })?;
    // Samples of any precision but eight bits come as words in native byte order.
    let words: Vec<u16> = if decoded.len() == 2 * attributes.samples() {
        decoded.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect()
    } else {
        decoded.into_iter().map(u16::from).collect()
    };
    if words.len() != attributes.samples() {
        return Err(broken("its JPEG codestream does not hold its rows and columns"));
    }
    Ok(words)
}

fn jpeg2000_codestream(bytes: &[u8], attributes: &Attributes) -> Result<Vec<u16>, DecodeError> {
    let siz = SizeMarker::read(bytes)?;
    check_codestream((siz.width, siz.height), siz.components, attributes)?;
    let parameters = jpeg2k::DecodeParameters::new().strict(true);
    let image = jpeg2k::Image::from_bytes_with(bytes, parameters)
        .map_err(|_| cut_off("its JPEG 2000 codestream is incomplete or broken"))?;
    let channels = usize::from(attributes.samples_per_pixel);
    let mut words = vec![0u16; attributes.samples()];
    for (channel, component) in image.components().iter().take(channels).enumerate() {
        if (component.width(), component.height()) != (attributes.columns, attributes.rows) {
            return Err(unsupported("its JPEG 2000 components are subsampled"));
        }
        for (word, &sample) in words.iter_mut().skip(channel).step_by(channels).zip(component.data()) {
            // The low bits of two's complement; the sign is extended by what the header says.
            *word = sample as u16;
        }
    }
    Ok(words)
}

/// What a codestream says of itself must be what the header says: the limits were checked on that.
fn check_codestream(size: (u32, u32), channels: u32, attributes: &Attributes) -> Result<(), DecodeError> {
    let (width, height) = size;
    if size != (attributes.columns, attributes.rows) || channels != u32::from(attributes.samples_per_pixel) {
        return Err(broken(format!(
            "its codestream has {width}x{height} px in {channels} channels, its header says {}x{} in {}",
            attributes.columns, attributes.rows, attributes.samples_per_pixel
        )));
    }
    Ok(())
}

/// The SIZ marker segment of a JPEG 2000 codestream (ITU-T T.800 annex A.5.1).
struct SizeMarker {
    width: u32,
    height: u32,
    components: u32,
}

impl SizeMarker {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        // SOC and SIZ; in a JP2 file, which some writers embed, they follow a few boxes.
        let start = bytes.windows(4).take(4096).position(|w| w == [0xff, 0x4f, 0xff, 0x51]);
        let segment = start.and_then(|start| bytes.get(start + 4..start + 42));
        let segment = segment.ok_or_else(|| cut_off("its JPEG 2000 codestream has no header"))?;
        let field =
            |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
        Ok(Self {
            width: field(4).saturating_sub(field(12)),
            height: field(8).saturating_sub(field(16)),
            components: u32::from(u16::from_be_bytes([segment[36], segment[37]])),
        })
    }
}
