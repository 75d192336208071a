//! `trainer index`: the CSV lists of a data set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use contract::study::StudyType;

use crate::dataset::{Index, Split, Study, write_left_out, write_lists};

/// Entries of a list that are also said in the log.
const SAID_MAX: usize = 20;

/// Arguments of `index`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data set in the MURA layout
    #[arg(long)]
    pub data: PathBuf,
    /// Directory for the CSV files; created when missing
    #[arg(long)]
    pub out: PathBuf,
    /// List every image without opening it; a file that cannot be read is then among them
    #[arg(long)]
    pub no_check: bool,
}

/// Opens every image unless told not to, writes `{train,valid}_{studies,images}.csv`, `skipped.csv` and
/// `unreadable.csv`, and prints how many studies and images each split has. Images that cannot be read are
/// in `unreadable.csv` only.
///
/// # Errors
/// When the data set breaks the layout, or a file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut index = Index::scan(&args.data)?;
    let unreadable = if args.no_check { Vec::new() } else { index.check_images()? };
    write_lists(&index, &args.out)?;
    let lists = [("skipped", &index.skipped), ("unreadable", &unreadable)];
    for (what, entries) in lists {
        for (path, reason) in entries.iter().take(SAID_MAX) {
            log::warn!("{what} {path}: {reason}");
        }
        if let Some(more) = entries.len().checked_sub(SAID_MAX).filter(|more| *more > 0) {
            log::warn!("{what}: {more} more in {what}.csv");
        }
        write_left_out(&args.out.join(format!("{what}.csv")), entries)?;
    }
    for sentence in index.one_sided() {
        log::warn!("{sentence}");
    }
    for split in Split::ALL {
        print_split(split, index.split(split));
    }
    let found = if args.no_check { "images not checked" } else { "unreadable images" };
    let count = if args.no_check { String::new() } else { format!("{} ", unreadable.len()) };
    println!(
        "wrote the lists to {}; {} entries skipped, {count}{found}",
        args.out.display(),
        index.skipped.len()
    );
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
        println!(
            "  {:<14} {all:>6} studies  {abnormal:>6} abnormal  {images:>6} images",
            study_type.as_str()
        );
    }
}
