//! Real radiographs from beside the repository, where they exist: every complete one is scored, the truncated ones
//! are rejected by name, and the DICOM files are decoded to what their headers say.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use contract::radiograph::{Limits, Radiograph, RejectReason, decode};
use contract::result::Outcome;
use e2e::infer::infer;
use e2e::{demo_bundle, name, real_radiographs, sorted_entries};

/// The image files of a folder, and those of them that are listed as truncated.
fn images(dir: &Path) -> anyhow::Result<(Vec<PathBuf>, Vec<String>)> {
    let labels = fs::read_to_string(dir.join("labels.csv")).unwrap_or_default();
    let truncated = labels
        .lines()
        .filter(|line| line.ends_with(",truncated"))
        .filter_map(|line| line.split(',').next())
        .map(str::to_owned)
        .collect();
    let images = sorted_entries(dir)?.into_iter().filter(|path| !path.ends_with("labels.csv")).collect();
    Ok((images, truncated))
}

#[test]
fn complete_images_are_scored_and_truncated_ones_rejected() -> anyhow::Result<()> {
    let Some(root) = real_radiographs() else { return Ok(()) };
    let (mut files, truncated) = images(&root.join("fracatlas"))?;
    assert_eq!((files.len(), truncated.len()), (35, 3));
    files.extend(images(&root.join("hands"))?.0);
    files.extend(images(&root.join("dicom"))?.0);

    let inferred = infer(&demo_bundle(), &files)?;
    assert_eq!(inferred.studies.len(), files.len(), "{}", inferred.stderr);
    let mut scored = 0;
    for (file, (input, result)) in files.iter().zip(&inferred.studies) {
        assert_eq!(input, &file.display().to_string());
        assert_eq!(result.views.len(), 1, "{input}");
        if truncated.contains(&name(file)) {
            assert_eq!(result.outcome, Outcome::Rejected, "{input}");
            let rejected = result.views[0].rejected.as_ref().context("no reason")?;
            assert_eq!(rejected.reason, RejectReason::Truncated, "{input}: {}", rejected.detail);
            let said = |line: &str| line.contains(&name(file)) && line.contains("ends before its image does");
            assert!(
                inferred.stderr.lines().any(said),
                "{input} is not complained about: {}",
                inferred.stderr
            );
        } else {
            assert_eq!(result.outcome, Outcome::Scored, "{input}: {:?}", result.reason);
            let probability = result.study.probability.context("no probability")?;
            assert!((0.0..=1.0).contains(&probability), "{input}: {probability}");
            assert_eq!(result.views[0].probability, Some(probability), "{input}");
            scored += 1;
        }
    }
    println!("{scored} real radiographs scored, {} rejected as truncated", truncated.len());
    assert_eq!(inferred.code, Some(3), "three studies could not be scored");
    Ok(())
}

#[test]
fn a_folder_is_one_study_with_the_mean_of_its_views() -> anyhow::Result<()> {
    let Some(root) = real_radiographs() else { return Ok(()) };
    let hands = root.join("hands");
    let inferred = infer(&demo_bundle(), &[&hands])?;
    assert_eq!((inferred.code, inferred.studies.len()), (Some(0), 1), "{}", inferred.stderr);
    let result = &inferred.studies[0].1;
    let views: Vec<f64> = result.views.iter().filter_map(|view| view.probability).collect();
    assert_eq!(views.len(), sorted_entries(&hands)?.len());
    let mean = views.iter().sum::<f64>() / views.len() as f64;
    let study = result.study.probability.context("no probability")?;
    assert!((study - mean).abs() < 1e-9, "{study} is not the mean {mean}");
    Ok(())
}

/// A DICOM file's window and how to ask for the whole range of its stored values instead, in as many bytes.
struct Window {
    file: &'static str,
    /// Rows and columns, as the header says.
    size: (u16, u16),
    bits: u32,
    /// Window Center and Window Width elements as they stand in the file.
    centre: &'static [u8],
    width: &'static [u8],
    /// The same elements for a window over all stored values.
    full_centre: &'static [u8],
    full_width: &'static [u8],
}

const WINDOWS: [Window; 2] = [
    Window {
        file: "RG1_J2KI.dcm",
        size: (1955, 1841),
        bits: 15,
        centre: b"\x28\x00\x50\x10DS\x06\x0015000 ",
        width: b"\x28\x00\x51\x10DS\x06\x0030000 ",
        full_centre: b"\x28\x00\x50\x10DS\x06\x0016384 ",
        full_width: b"\x28\x00\x51\x10DS\x06\x0032768 ",
    },
    Window {
        file: "RG3_J2KI.dcm",
        size: (1760, 1760),
        bits: 10,
        centre: b"\x28\x00\x50\x10DS\x04\x00550 ",
        width: b"\x28\x00\x51\x10DS\x04\x001024",
        full_centre: b"\x28\x00\x50\x10DS\x04\x00512 ",
        full_width: b"\x28\x00\x51\x10DS\x04\x001024",
    },
];

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(from.len() == to.len());
    let at = bytes.windows(from.len()).position(|window| window == from).context("not in the header")?;
    let mut bytes = bytes.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    Ok(bytes)
}

fn decoded(bytes: &[u8]) -> anyhow::Result<Radiograph> {
    Ok(decode(bytes, &Limits::default())?.radiograph)
}

/// The stored values are recovered from the file with its window widened to their whole range; then PS3.3
/// C.11.2.1.2.1 applied to them by hand must give what the file itself is decoded to.
#[test]
fn dicom_files_are_decoded_to_what_their_headers_say() -> anyhow::Result<()> {
    let Some(root) = real_radiographs() else { return Ok(()) };
    for Window { file, size, bits, centre, width, full_centre, full_width } in WINDOWS {
        let bytes = fs::read(root.join("dicom").join(file))?;
        let shown = decoded(&bytes)?;
        assert_eq!((shown.height, shown.width), (u32::from(size.0), u32::from(size.1)), "{file}");
        assert!(shown.windowed, "{file} has a VOI window");

        let other = decoded(&replaced(&bytes, b"MONOCHROME1 ", b"MONOCHROME2 ")?)?;
        let inverted = |(a, b): (&u16, &u16)| u32::from(*a) + u32::from(*b) == u32::from(shown.max_value);
        assert!(shown.samples.iter().zip(&other.samples).all(inverted), "{file}: polarity is not obeyed");

        let full = replaced(&replaced(&bytes, centre, full_centre)?, width, full_width)?;
        let full = decoded(&full)?;
        let white = f64::from(shown.max_value);
        let stored_max = f64::from((1u32 << bits) - 1);
        let number = |element: &[u8]| -> anyhow::Result<f64> {
            Ok(std::str::from_utf8(&element[8..])?.trim().parse()?)
        };
        let (centre, width) = (number(centre)?, number(width)?);
        let mut distinct = std::collections::BTreeSet::new();
        for (full, shown) in full.samples.iter().zip(&shown.samples) {
            let stored = ((white - f64::from(*full)) * stored_max / white).round();
            let share = (stored - (centre - 0.5)) / (width - 1.0) + 0.5;
            let expected = white - share.clamp(0.0, 1.0) * white;
            assert!(
                (expected - f64::from(*shown)).abs() <= 1.0,
                "{file}: {stored} -> {shown}, not {expected}"
            );
            distinct.insert(stored as u32);
        }
        assert!(distinct.len() > 200, "{file}: only {} stored values", distinct.len());
    }
    Ok(())
}
