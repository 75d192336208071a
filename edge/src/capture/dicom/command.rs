//! DIMSE command sets (PS3.7 annex E): what is asked, and the answers.
//!
//! Requests are read by hand: a command set is a flat list of short elements, and dicom-rs allocates whatever a length
//! field says.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use dicom_transfer_syntax_registry::entries::IMPLICIT_VR_LITTLE_ENDIAN;

/// Largest command set read, in bytes.
pub(super) const LENGTH_MAX: usize = 16 << 10;
const C_STORE_RQ: u16 = 0x0001;
const C_ECHO_RQ: u16 = 0x0030;
const C_CANCEL_RQ: u16 = 0x0fff;
/// Marks an answer to a request.
const RESPONSE: u16 = 0x8000;
/// Command Data Set Type: no data set follows.
const NO_DATA_SET: u16 = 0x0101;
/// Error Comment is a Long String.
const COMMENT_MAX: usize = 64;

/// What a peer may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Store the object that follows.
    Store,
    /// Say that you are there.
    Echo,
    /// Stop what was asked before; nothing that is offered can be stopped.
    Cancel,
    /// Something else.
    Other(u16),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What is asked.
    pub(super) operation: Operation,
    /// Its number, repeated in the answer.
    pub(super) message_id: u16,
    /// Whether a data set follows.
    pub(super) has_data_set: bool,
    /// Affected SOP Class UID.
    pub(super) sop_class_uid: String,
    /// Affected SOP Instance UID.
    pub(super) sop_instance_uid: String,
}

impl Request {
    /// Reads a command set; `None` when it is broken or no request.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let (mut operation, mut message_id, mut data_set_type) = (None, None, None);
        let (mut sop_class_uid, mut sop_instance_uid) = (String::new(), String::new());
        while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
            let [group_low, group_high, low, high, length @ ..] = *header;
            let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
            let (value, after) = rest.split_at_checked(length)?;
            bytes = after;
            let number = || value.first_chunk::<2>().map(|two| u16::from_le_bytes(*two));
            let tag = Tag(u16::from_le_bytes([group_low, group_high]), u16::from_le_bytes([low, high]));
            match tag {
                tags::COMMAND_FIELD => operation = number(),
                tags::MESSAGE_ID => message_id = number(),
                tags::COMMAND_DATA_SET_TYPE => data_set_type = number(),
                tags::AFFECTED_SOP_CLASS_UID => sop_class_uid = text(value),
                tags::AFFECTED_SOP_INSTANCE_UID => sop_instance_uid = text(value),
                _ => {}
            }
        }
        let operation = match operation? {
            C_STORE_RQ => Operation::Store,
            C_ECHO_RQ => Operation::Echo,
            C_CANCEL_RQ => Operation::Cancel,
            other if other & RESPONSE == 0 => Operation::Other(other),
            _ => return None,
        };
        Some(Self {
            operation,
            message_id: message_id.or((operation == Operation::Cancel).then_some(0))?,
            has_data_set: data_set_type? != NO_DATA_SET,
            sop_class_uid,
            sop_instance_uid,
        })
    }

    /// The command set that answers it; `None` when it cannot be written.
    pub(super) fn answer(&self, status: Status) -> Option<Vec<u8>> {
        let field = match self.operation {
            Operation::Store => C_STORE_RQ,
            Operation::Echo => C_ECHO_RQ,
            Operation::Cancel => C_CANCEL_RQ,
            Operation::Other(field) => field,
        };
        let mut elements = vec![
            text_element(tags::AFFECTED_SOP_CLASS_UID, VR::UI, &self.sop_class_uid),
            number_element(tags::COMMAND_FIELD, field | RESPONSE),
            number_element(tags::MESSAGE_ID_BEING_RESPONDED_TO, self.message_id),
            number_element(tags::COMMAND_DATA_SET_TYPE, NO_DATA_SET),
            number_element(tags::STATUS, status.code),
        ];
        if let Some(mut comment) = status.comment {
            comment.retain(|c| c.is_ascii() && c != '\\');
            comment.truncate(COMMENT_MAX);
            elements.push(text_element(tags::ERROR_COMMENT, VR::LO, &comment));
        }
        if !self.sop_instance_uid.is_empty() {
            elements.push(text_element(tags::AFFECTED_SOP_INSTANCE_UID, VR::UI, &self.sop_instance_uid));
        }
        write(elements)
    }
}

/// The command set of a C-ECHO request; `None` when it cannot be written.
pub(super) fn echo_request() -> Option<Vec<u8>> {
    write(vec![
        text_element(tags::AFFECTED_SOP_CLASS_UID, VR::UI, uids::VERIFICATION),
        number_element(tags::COMMAND_FIELD, C_ECHO_RQ),
        number_element(tags::MESSAGE_ID, 1),
        number_element(tags::COMMAND_DATA_SET_TYPE, NO_DATA_SET),
    ])
}

fn number_element(tag: Tag, value: u16) -> InMemElement {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

fn text_element(tag: Tag, vr: VR, value: &str) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

fn write(elements: Vec<InMemElement>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    InMemDicomObject::command_from_element_iter(elements)
        .write_dataset_with_ts(&mut bytes, &IMPLICIT_VR_LITTLE_ENDIAN.erased())
        .ok()?;
    Some(bytes)
}

/// The characters that a UID can have, and no more than it can have.
fn text(value: &[u8]) -> String {
    let text = value.iter().take(64).take_while(|byte| **byte != 0).map(|&byte| char::from(byte));
    text.collect::<String>().trim().to_owned()
}

/// Whether a text is a UID.
pub(super) fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What came of a request: a status code (PS3.7 annex C, PS3.4 annex B.2.3) and a comment of at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) comment: Option<String>,
}

impl Status {
    pub(super) const SUCCESS: Self = Self { code: 0x0000, comment: None };

    pub(super) fn new(code: u16, comment: impl Into<String>) -> Self {
        Self { code, comment: Some(comment.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(elements: &[(Tag, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, value) in elements {
            bytes.extend(tag.group().to_le_bytes());
            bytes.extend(tag.element().to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(*value);
        }
        bytes
    }

    fn store() -> Vec<u8> {
        request(&[
            (tags::COMMAND_GROUP_LENGTH, &[0, 0, 0, 0]),
            (tags::AFFECTED_SOP_CLASS_UID, b"1.2.840.10008.5.1.4.1.1.1\0"),
            (tags::COMMAND_FIELD, &[1, 0]),
            (tags::MESSAGE_ID, &[7, 0]),
            (tags::PRIORITY, &[0, 0]),
            (tags::COMMAND_DATA_SET_TYPE, &[1, 0]),
            (tags::AFFECTED_SOP_INSTANCE_UID, b"1.2.3\0"),
        ])
    }

    #[test]
    fn a_request_is_read_and_answered() {
        let request = Request::read(&store()).unwrap();
        assert_eq!(
            (request.operation, request.message_id, request.has_data_set),
            (Operation::Store, 7, true)
        );
        assert_eq!(request.sop_class_uid, "1.2.840.10008.5.1.4.1.1.1");
        assert_eq!(request.sop_instance_uid, "1.2.3");

        let long = format!("{}\\{}", "no room ".repeat(8), "left");
        let answer = request.answer(Status::new(0xa700, long)).unwrap();
        let answer =
            InMemDicomObject::read_dataset_with_ts(answer.as_slice(), &IMPLICIT_VR_LITTLE_ENDIAN.erased())
                .unwrap();
        let number = |tag| answer.element(tag).unwrap().to_int::<u16>().unwrap();
        assert_eq!(number(tags::COMMAND_FIELD), 0x8001);
        assert_eq!(number(tags::MESSAGE_ID_BEING_RESPONDED_TO), 7);
        assert_eq!(number(tags::STATUS), 0xa700);
        assert_eq!(number(tags::COMMAND_DATA_SET_TYPE), 0x0101);
        assert!(answer.element(tags::ERROR_COMMENT).unwrap().to_str().unwrap().len() <= 64);
    }

    #[test]
    fn a_broken_command_set_is_no_request() {
        let whole = store();
        for length in 0..whole.len() {
            // Cut at the end of an element it lacks one that must be there, but for the last, which an echo lacks too.
            let read = Request::read(&whole[..length]);
            assert!(read.is_none_or(|request| request.sop_instance_uid.is_empty()), "{length}");
        }
        let mut endless = whole.clone();
        endless[4..8].copy_from_slice(&[0xff; 4]);
        assert_eq!(Request::read(&endless), None);
        let answer = request(&[
            (tags::COMMAND_FIELD, &[0x01, 0x80]),
            (tags::MESSAGE_ID, &[1, 0]),
            (tags::COMMAND_DATA_SET_TYPE, &[1, 1]),
        ]);
        assert_eq!(Request::read(&answer), None, "an answer to nothing");
    }

    #[test]
    fn a_uid_is_digits_between_dots() {
        for uid in ["1", "1.2.840.10008.1.1", "2.25.104503327730095591942881038612997718873"] {
            assert!(is_uid(uid), "{uid}");
        }
        let long = "1.".repeat(32) + "1";
        for text in ["", ".", "1..2", "1.2.", "1.2/../3", "1.2 ", "a", long.as_str()] {
            assert!(!is_uid(text), "{text}");
        }
    }
}
