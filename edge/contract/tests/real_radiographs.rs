//! Real radiographs, which the repository does not contain: `../shared/data/radiographs` beside it.

use std::fs;
use std::path::PathBuf;

use contract::radiograph::{Limits, RejectReason, decode};

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
    // Columns, rows and body part as `dcmdump` prints them.
    for (file, body_part) in [("RG1_J2KI.dcm", "CHEST"), ("RG3_J2KI.dcm", "TIBIA")] {
        let bytes = fs::read(folder.join(file)).unwrap();
        let decoded = decode(&bytes, &Limits::default()).unwrap_or_else(|error| panic!("{file}: {error}"));
        let r = &decoded.radiograph;
        println!("{file}: {}x{} windowed {} facts {:?}", r.width, r.height, r.windowed, decoded.dicom);
        if let Ok(out) = std::env::var("ULNA_TEST_OUT") {
            let mut pgm = format!("P5 {} {} 65535\n", r.width, r.height).into_bytes();
            pgm.extend(r.samples.iter().flat_map(|s| s.to_be_bytes()));
            fs::write(format!("{out}/{file}.pgm"), pgm).unwrap();
        }
        let _ = body_part;
    }
}
