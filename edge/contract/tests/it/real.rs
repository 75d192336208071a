//! Real radiographs, which the repository does not contain: `../shared/data/radiographs` beside it.

use std::fs;
use std::path::PathBuf;

use contract::radiograph::{Limits, RejectReason, decode, dicom_facts};

/// The folder, or `None` after a line that says so.
fn folder(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/radiographs").join(name);
    if path.is_dir() {
        return Some(path);
    }
    println!("SKIPPED: the folder ../shared/data/radiographs/{name} beside the repository is missing");
    None
}

#[test]
fn fracatlas_complete_files_decode_and_truncated_ones_are_named() {
    let Some(folder) = folder("fracatlas") else { return };
    let labels = fs::read_to_string(folder.join("labels.csv")).unwrap();
    let mut counts = (0, 0);
    for line in labels.lines().skip(1) {
        let [file, _, jpeg] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let decoded = decode(&fs::read(folder.join(file)).unwrap(), &Limits::default());
        if jpeg == "truncated" {
            assert_eq!(decoded.unwrap_err().reason(), RejectReason::Truncated, "{file}");
            counts.1 += 1;
        } else {
            let radiograph = decoded.unwrap_or_else(|error| panic!("{file}: {error}")).radiograph;
            assert_eq!(radiograph.samples.len(), (radiograph.width * radiograph.height) as usize, "{file}");
            let (low, high) = (radiograph.samples.iter().min(), radiograph.samples.iter().max());
            assert!(high.unwrap() - low.unwrap() > 60, "{file}: {low:?} to {high:?}");
            counts.0 += 1;
        }
    }
    assert_eq!(counts, (32, 3));
}

#[test]
fn hand_radiographs_decode() {
    let Some(folder) = folder("hands") else { return };
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let decoded = decode(&fs::read(&path).unwrap(), &Limits::default());
        decoded.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        count += 1;
    }
    assert_eq!(count, 5);
}

#[test]
fn dicom_files_decode_to_what_their_headers_say() {
    let Some(folder) = folder("dicom") else { return };
    // As `dcmdump` prints them: both MONOCHROME1, JPEG 2000, with a window and no rescale.
    for (file, width, height, body_part, centre, window) in [
        ("RG1_J2KI.dcm", 1841, 1955, "CHEST", 15_000.0, 30_000.0),
        ("RG3_J2KI.dcm", 1760, 1760, "EXTREMITY", 550.0, 1024.0),
    ] {
        let bytes = fs::read(folder.join(file)).unwrap();
        let decoded = decode(&bytes, &Limits::default()).unwrap_or_else(|error| panic!("{file}: {error}"));
        let radiograph = decoded.radiograph;
        assert_eq!(
            (radiograph.width, radiograph.height, radiograph.windowed),
            (width, height, true),
            "{file}"
        );
        let facts = decoded.dicom.unwrap();
        assert_eq!(facts.body_part.as_deref(), Some(body_part));
        assert_eq!(facts.transfer_syntax, "1.2.840.10008.1.2.4.91");
        assert_eq!(dicom_facts(&bytes), Some(facts));

        // Undoing inversion and window must give whole stored values within the bits stored.
        let unshown = |shown: u16| (1.0 - f64::from(shown) / 65535.0 - 0.5) * (window - 1.0) + centre - 0.5;
        for &shown in radiograph.samples.iter().step_by(97).filter(|&&shown| shown != 0 && shown != u16::MAX)
        {
            let stored = unshown(shown);
            assert!((stored - stored.round()).abs() < 0.3, "{file}: {shown} is {stored}");
        }
    }
}
