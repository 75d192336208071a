//! DICOM files as DCMTK encodes them, where its tools are installed (Debian package dcmtk).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use contract::radiograph::{Limits, decode};

use crate::support::{Dicom, samples};

/// An own folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dcmtk-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool; `None`, after a line that says so, when it is not installed.
fn run(tool: &str, arguments: &[&str], from: &Path, to: &Path) -> Option<()> {
    match Command::new(tool).args(arguments).arg(from).arg(to).output() {
        Ok(output) => {
            assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
            Some(())
        }
        Err(_) => {
            println!("SKIPPED: {tool} is not installed (Debian package dcmtk)");
            None
        }
    }
}

#[test]
fn files_encoded_by_dcmtk_decode_to_the_same_samples() {
    let folder = Folder::new("encodings");
    let (original, encoded) = (folder.0.join("original.dcm"), folder.0.join("encoded.dcm"));
    for bits in [8u16, 12, 16] {
        let stored = samples(bits.into());
        let dicom = match bits {
            8 => Dicom::grey(8, 8, false).bytes(&stored.iter().map(|&s| s as u8).collect::<Vec<_>>()),
            _ => Dicom::of(bits, &stored),
        };
        fs::write(&original, dicom.file()).unwrap();
        let expected = decode(&dicom.file(), &Limits::default()).unwrap().radiograph;
        for (tool, arguments) in [
            ("dcmcrle", &[][..]),
            ("dcmcjpeg", &["+e1"][..]),
            ("dcmcjpeg", &["+el", "+sv", "6"][..]),
            ("dcmconv", &["+te"][..]),
            ("dcmconv", &["+tb"][..]),
            ("dcmconv", &["+ti"][..]),
            ("dcmconv", &["+td"][..]),
            ("dcmconv", &["+te", "-F"][..]),
            ("dcmconv", &["+te", "-e"][..]),
        ] {
            let Some(()) = run(tool, arguments, &original, &encoded) else { continue };
            let decoded = decode(&fs::read(&encoded).unwrap(), &Limits::default());
            let decoded =
                decoded.unwrap_or_else(|error| panic!("{tool} {arguments:?} at {bits} bits: {error}"));
            assert!(decoded.radiograph == expected, "{tool} {arguments:?} at {bits} bits");
        }
    }
}

#[test]
fn baseline_jpeg_of_dcmtk_is_close_to_its_original() {
    let folder = Folder::new("baseline");
    let (original, encoded) = (folder.0.join("original.dcm"), folder.0.join("encoded.dcm"));
    let smooth: Vec<u8> = (0..66).flat_map(|y| (0..72).map(move |x| x * 2 + y)).collect();
    fs::write(&original, Dicom::grey(8, 8, false).bytes(&smooth).file()).unwrap();
    let Some(()) = run("dcmcjpeg", &["+eb", "+q", "95"], &original, &encoded) else { return };
    let radiograph = decode(&fs::read(&encoded).unwrap(), &Limits::default()).unwrap().radiograph;
    // dcmcjpeg may write a window over the range it found; shown samples stay in order all the same.
    let first = radiograph.samples.iter().zip(&smooth).filter(|(_, s)| **s < 20).map(|(f, _)| *f).max();
    let last = radiograph.samples.iter().zip(&smooth).filter(|(_, s)| **s > 190).map(|(f, _)| *f).min();
    assert!(first.unwrap() < last.unwrap());
}
