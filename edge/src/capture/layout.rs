//! Which study an image belongs to, by where it lies or what its DICOM header says.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use contract::radiograph::DicomFacts;
use contract::study::StudyType;

use crate::store::Origin;

/// Origins of files that lie in the spool folder itself.
pub(super) const ROOT_PREFIX: &str = "./";

/// How the name of every study type, and so of every origin in a type's folder, begins.
pub(super) const TYPE_PREFIX: &str = "XR_";

/// Where a file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a study type's folder: its study is known from its path.
    In(Origin),
    /// In the folder of all studies itself.
    Root,
}

impl Place {
    /// The place of a file by its path relative to the folder of all studies. Folders above were checked by the scan.
    pub(super) fn of(relative: &Path) -> Self {
        let parts: Vec<String> = relative.iter().map(text).collect();
        match parts.as_slice() {
            [folder, name] => Self::In(Origin {
                name: format!("{folder}/{name}"),
                study_type: folder.parse().ok(),
                single: true,
            }),
            [folder, study, _, ..] => Self::In(Origin {
                name: format!("{folder}/{study}/"),
                study_type: folder.parse().ok(),
                single: false,
            }),
            _ => Self::Root,
        }
    }
}

/// A name as text. Bytes that are not UTF-8 are written out, as in `M\xFCller`: were they only marked, two names could
/// become one, and so two patients one study.
pub(super) fn text(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
    text
}

/// The origin of an image that lies in no study's folder; its name begins with `prefix`. Two body parts of one DICOM
/// study are two studies; what is not DICOM, or names no study, is a study of one view, called `name`.
pub(super) fn dicom_origin(
    prefix: &str,
    name: &str,
    facts: Option<&DicomFacts>,
    default: Option<&StudyType>,
) -> Origin {
    let body_part = facts.and_then(|facts| facts.body_part.as_deref()).and_then(StudyType::from_body_part);
    let study_type = body_part.or_else(|| default.cloned());
    let shown = study_type.as_ref().map_or("-", StudyType::as_str);
    match facts.and_then(|facts| facts.study_instance_uid.as_deref()) {
        Some(uid) => Origin {
            name: format!("{prefix}{shown}/{}", uid.trim_end_matches(['\0', ' '])),
            study_type,
            single: false,
        },
        None => Origin { name: format!("{prefix}{name}"), study_type, single: true },
    }
}

/// The folder a warning may name.
pub(super) fn study_type_folder(relative: &Path) -> String {
    let first = relative.iter().next().map(text).unwrap_or_default();
    if first.parse::<StudyType>().is_ok() { first } else { "the spool folder".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_study() {
        let place = |path: &str| match Place::of(Path::new(path)) {
            Place::In(origin) => (origin.name, origin.study_type.map(String::from), origin.single),
            Place::Root => ("root".to_owned(), None, true),
        };
        let wrist = Some("XR_WRIST".to_owned());
        assert_eq!(place("XR_WRIST/a.png"), ("XR_WRIST/a.png".to_owned(), wrist.clone(), true));
        assert_eq!(place("XR_WRIST/s/a.png"), ("XR_WRIST/s/".to_owned(), wrist.clone(), false));
        assert_eq!(place("XR_WRIST/s/t/a.png"), ("XR_WRIST/s/".to_owned(), wrist, false));
        assert_eq!(place("a.png").0, "root");
    }

    #[test]
    fn names_that_are_not_utf8_stay_apart() {
        let name = |bytes: &[u8]| text(OsStr::from_bytes(bytes));
        assert_eq!(name("Müller".as_bytes()), "Müller");
        // Latin-1, as older digitisers write it.
        assert_eq!(name(b"M\xfcller"), "M\\xFCller");
        assert_ne!(name(b"M\xfcller"), name(b"M\xf6ller"));
    }

    #[test]
    fn dicom_files_of_one_study_meet_unless_their_body_parts_differ() {
        let facts = |part: Option<&str>, uid: Option<&str>| DicomFacts {
            study_instance_uid: uid.map(str::to_owned),
            body_part: part.map(str::to_owned),
            transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
        };
        let origin = |name: &str, facts: Option<&DicomFacts>, default: Option<&StudyType>| {
            dicom_origin(ROOT_PREFIX, name, facts, default)
        };
        let hand = origin("1.dcm", Some(&facts(Some("HAND"), Some("1.2.3\0"))), None);
        assert_eq!(hand, origin("2.dcm", Some(&facts(Some("HAND"), Some("1.2.3"))), None));
        assert_eq!((hand.single, hand.name.as_str()), (false, "./XR_HAND/1.2.3"));
        let wrist = origin("3.dcm", Some(&facts(Some("WRIST"), Some("1.2.3"))), None);
        assert_ne!(hand.name, wrist.name);
        let default: StudyType = "XR_ELBOW".parse().unwrap();
        let nameless = origin("4.dcm", Some(&facts(None, None)), Some(&default));
        assert_eq!((nameless.single, nameless.study_type), (true, Some(default)));
        assert_eq!(origin("5.png", None, None).study_type, None);
    }
}
