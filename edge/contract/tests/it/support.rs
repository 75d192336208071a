//! Test images, and DICOM files made from them.

use dicom_core::value::{C, DataSetSequence, PixelFragmentSequence};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

/// Sides of the test image; the files under `data` have them too.
pub(crate) const WIDTH: u32 = 72;
pub(crate) const HEIGHT: u32 = 66;

/// The test image: every row and column differs, and for 8 and 12 bits every stored value occurs.
pub(crate) fn samples(bits: u32) -> Vec<u16> {
    let sample = |x: u32, y: u32| ((x * 61 + y * 97 + x * y * 3) % (1 << bits)) as u16;
    (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| sample(x, y))).collect()
}

/// A DICOM file in the making.
#[derive(Clone)]
pub(crate) struct Dicom {
    pub(crate) object: InMemDicomObject,
    pub(crate) transfer_syntax: &'static str,
}

impl Dicom {
    /// The header of a grey image, without pixels.
    pub(crate) fn grey(bits_allocated: u16, bits_stored: u16, signed: bool) -> Self {
        let object = InMemDicomObject::from_element_iter([
            DataElement::new(tags::SOP_CLASS_UID, VR::UI, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION),
            DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4"),
            DataElement::new(tags::PATIENT_NAME, VR::PN, "Secret^Name"),
            DataElement::new(tags::BODY_PART_EXAMINED, VR::CS, "WRIST "),
            DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"),
            DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        ]);
        Self { object, transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN }
            .number(tags::SAMPLES_PER_PIXEL, 1)
            .number(tags::ROWS, HEIGHT as u16)
            .number(tags::COLUMNS, WIDTH as u16)
            .number(tags::BITS_ALLOCATED, bits_allocated)
            .number(tags::BITS_STORED, bits_stored)
            .number(tags::HIGH_BIT, bits_stored - 1)
            .number(tags::PIXEL_REPRESENTATION, u16::from(signed))
    }

    /// A grey 16-bit image of the given samples.
    pub(crate) fn of(bits_stored: u16, samples: &[u16]) -> Self {
        Self::grey(16, bits_stored, false).words(samples)
    }

    pub(crate) fn with(mut self, tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> Self {
        self.object.put(DataElement::new(tag, vr, value.into()));
        self
    }

    pub(crate) fn number(self, tag: Tag, value: u16) -> Self {
        self.with(tag, VR::US, value)
    }

    pub(crate) fn text(self, tag: Tag, vr: VR, value: &str) -> Self {
        self.with(tag, vr, value)
    }

    pub(crate) fn without(mut self, tag: Tag) -> Self {
        self.object.remove_element(tag);
        self
    }

    pub(crate) fn syntax(mut self, uid: &'static str) -> Self {
        self.transfer_syntax = uid;
        self
    }

    /// Native 16-bit samples.
    pub(crate) fn words(self, words: &[u16]) -> Self {
        self.with(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(C::from_slice(words)))
    }

    /// Native 8-bit samples.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.with(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(C::from_slice(bytes)))
    }

    /// Fragments of compressed samples; each is padded to an even length.
    pub(crate) fn fragments(mut self, uid: &'static str, fragments: &[&[u8]]) -> Self {
        let even = |bytes: &&[u8]| [bytes, &[0u8][..bytes.len() % 2]].concat();
        let fragments: Vec<Vec<u8>> = fragments.iter().map(even).collect();
        let sequence = PixelFragmentSequence::new_fragments(fragments);
        self.object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, sequence));
        self.syntax(uid)
    }

    /// A lookup table sequence of one item. `first` is written with the VR given.
    pub(crate) fn table(mut self, sequence: Tag, descriptor: [i32; 3], vr: VR, entries: &[u16]) -> Self {
        let descriptor = match vr {
            VR::SS => PrimitiveValue::I16(descriptor.iter().map(|&n| n as i16).collect()),
            _ => PrimitiveValue::U16(descriptor.iter().map(|&n| n as u16).collect()),
        };
        let item = InMemDicomObject::from_element_iter([
            DataElement::new(tags::LUT_DESCRIPTOR, vr, descriptor),
            DataElement::new(tags::LUT_DATA, VR::OW, PrimitiveValue::U16(C::from_slice(entries))),
        ]);
        self.object.put(DataElement::new(sequence, VR::SQ, DataSetSequence::from(vec![item])));
        self
    }

    /// The data set alone.
    pub(crate) fn data_set(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let uid = match self.transfer_syntax {
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => uids::EXPLICIT_VR_LITTLE_ENDIAN,
            uid => uid,
        };
        // A syntax that the registry does not know is written like nearly all that there are.
        let syntax = TransferSyntaxRegistry
            .get(uid)
            .or_else(|| TransferSyntaxRegistry.get(uids::EXPLICIT_VR_LITTLE_ENDIAN))
            .unwrap();
        self.object.write_dataset_with_ts(&mut bytes, syntax).unwrap();
        bytes
    }

    /// The file meta group and the data set, deflated where the transfer syntax says so.
    pub(crate) fn without_prefix(&self) -> Vec<u8> {
        let mut uid = self.transfer_syntax.as_bytes().to_vec();
        uid.resize(uid.len().next_multiple_of(2), 0);
        let mut elements = b"\x02\x00\x10\x00UI".to_vec();
        elements.extend((uid.len() as u16).to_le_bytes());
        elements.extend(uid);
        let mut bytes = b"\x02\x00\x00\x00UL\x04\x00".to_vec();
        bytes.extend((elements.len() as u32).to_le_bytes());
        bytes.extend(elements);
        if self.transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            let data_set = self.data_set();
            let mut encoder = flate2::read::DeflateEncoder::new(&data_set[..], flate2::Compression::fast());
            std::io::Read::read_to_end(&mut encoder, &mut bytes).unwrap();
        } else {
            bytes.extend(self.data_set());
        }
        bytes
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Vec<u8> {
        [&[0u8; 128][..], b"DICM", &self.without_prefix()].concat()
    }
}

/// RLE Lossless of 8-bit or 16-bit samples: literal runs, and a replicate run wherever bytes repeat.
pub(crate) fn rle(samples: &[u16], channels: usize, bytes_per_sample: usize) -> Vec<u8> {
    let mut segments = Vec::new();
    for channel in 0..channels {
        for byte in (0..bytes_per_sample).rev() {
            let plane: Vec<u8> =
                samples.iter().skip(channel).step_by(channels).map(|s| (s >> (8 * byte)) as u8).collect();
            segments.push(pack_bits(&plane));
        }
    }
    let mut header = vec![segments.len() as u32];
    let mut offset = 64;
    for segment in &segments {
        header.push(offset);
        offset += segment.len() as u32;
    }
    header.resize(16, 0);
    header.into_iter().flat_map(u32::to_le_bytes).chain(segments.concat()).collect()
}

fn pack_bits(mut bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    while let Some(&first) = bytes.first() {
        let run = bytes.iter().take(128).take_while(|&&b| b == first).count();
        if run > 1 {
            packed.extend([(257 - run) as u8, first]);
            bytes = &bytes[run..];
        } else {
            let literal = bytes.windows(2).take(127).take_while(|pair| pair[0] != pair[1]).count().max(1);
            packed.push((literal - 1) as u8);
            packed.extend(&bytes[..literal]);
            bytes = &bytes[literal..];
        }
    }
    packed.resize(packed.len().next_multiple_of(2), 128);
    packed
}
