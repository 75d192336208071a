//! `trainer index`: the CSV lists of a data set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use contract::study::StudyType;

use crate::dataset::{Index, Split, Study, write_lists};

/// Arguments of `index`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data set in the MURA layout
    #[arg(long)]
    pub data: PathBuf,
    /// Directory for the CSV files; created when missing
    #[arg(long)]
    pub out: PathBuf,
}

/// Writes the lists and prints how many studies and images each split has.
///
/// # Errors
/// When the data set breaks the layout, or a file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let index = Index::scan(&args.data)?;
    for (path, reason) in &index.skipped {
        log::warn!("skipped {path}: {reason}");
    }
    write_lists(&index, &args.out)?;
    for split in Split::ALL {
        print_split(split, index.split(split));
    }
    println!("wrote the lists to {}; {} entries skipped", args.out.display(), index.skipped.len());
    Ok(())
}

fn print_split(split: Split, studies: &[Study]) {
    let mut by_type: BTreeMap<&StudyType, [usize; 3]> = BTreeMap::new();
    for study in studies {
        let [all, abnormal, images] = by_type.entry(&study.study_type).or_default();
        *all += 1;
        *abnormal += usize::from(study.abnormal);
        *images += study.images.len();
    }
    let patients: BTreeSet<&str> = studies.iter().map(|study| study.patient.as_str()).collect();
    println!("{split}: {} studies of {} patients", studies.len(), patients.len());
    for (study_type, [all, abnormal, images]) in by_type {
        println!("  {study_type:<14} {all:>6} studies  {abnormal:>6} abnormal  {images:>6} images");
    }
}
