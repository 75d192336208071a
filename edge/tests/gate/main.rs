//! The quality gate on real radiographs from beside the repository, spoilt in every way it knows, and unspoilt.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod other;
mod spoil;
mod texture;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use contract::radiograph::{Limits, Radiograph, RejectReason, decode};
use edge::quality::{Plate, QualityConfig, judge};
use image::GrayImage;
use image::imageops::{self, FilterType};

use spoil::{COPIES, FAULTS, HARMLESS, exposed_again, radiograph};

/// Each fault must be named of this share of the radiographs it was done to, all its strengths together.
const NAMED_MIN_SHARE: f64 = 0.95;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The radiographs of a folder that can be decoded; the truncated ones of the shared set cannot.
fn decoded(dir: &Path) -> Vec<(String, Radiograph)> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files(dir)
        .iter()
        .filter_map(|path| {
            Some((name(path), decode(&fs::read(path).unwrap(), &Limits::default()).ok()?.radiograph))
        })
        .collect()
}

/// The 37 complete radiographs, or nothing where there are none.
fn real() -> Option<Vec<(String, Radiograph)>> {
    let dir = repository().parent()?.join("shared/data/radiographs");
    if !dir.is_dir() {
        println!("SKIPPED: there are no real radiographs in {}", dir.display());
        return None;
    }
    let mut found = decoded(&dir.join("fracatlas"));
    found.extend(decoded(&dir.join("hands")));
    assert_eq!(found.len(), 37);
    Some(found)
}

/// The 8-bit image of a radiograph, at most 800 pixels high or wide, so that the test is quick.
fn image_of(radiograph: &Radiograph) -> GrayImage {
    let samples = radiograph.samples.iter().map(|sample| *sample as u8).collect();
    let image = GrayImage::from_raw(radiograph.width, radiograph.height, samples).unwrap();
    let factor = radiograph.width.max(radiograph.height).div_ceil(800);
    match factor {
        1 => image,
        _ => imageops::resize(&image, image.width() / factor, image.height() / factor, FilterType::Triangle),
    }
}

fn reasons(radiograph: &Radiograph) -> Vec<RejectReason> {
    judge(radiograph, None, &QualityConfig::default()).into_iter().map(|flag| flag.reason).collect()
}

#[derive(Clone, Copy, Default)]
struct Count {
    all: usize,
    named: usize,
    first: usize,
}

impl Count {
    fn add(&mut self, named: bool, first: bool) {
        self.all += 1;
        self.named += usize::from(named);
        self.first += usize::from(first);
    }

    fn line(self, name: &str) -> String {
        let pct = |part: usize| 100.0 * part as f64 / self.all as f64;
        format!("| {name} | {} | {:.1} % | {:.1} % |", self.all, pct(self.named), pct(self.first))
    }

    fn take(&mut self, other: Self) {
        self.all += other.all;
        self.named += other.named;
        self.first += other.first;
    }
}

/// The head of a table as `scripts/bench-gate.py` takes it into BENCHMARKS.md.
fn heading(of: &str) {
    println!("\n| {of} | n | named | first |\n|---|---|---|---|");
}

/// Does `work` to every item on two threads.
fn each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for half in items.chunks(items.len().div_ceil(2)) {
            let work = &work;
            scope.spawn(move || half.iter().for_each(work));
        }
    });
}

#[test]
fn spoilt_radiographs_are_named_and_unspoilt_ones_pass() {
    let Some(real) = real() else { return };
    let images: Vec<(String, GrayImage)> = real.iter().map(|(name, r)| (name.clone(), image_of(r))).collect();

    let counts = Mutex::new(vec![Count::default(); FAULTS.len()]);
    each(&images, |(_, image)| {
        for (index, fault) in FAULTS.iter().enumerate() {
            let found = reasons(&radiograph(&(fault.spoil)(image)));
            let named = found.contains(&fault.reason);
            counts.lock().unwrap()[index].add(named, found.first() == Some(&fault.reason));
        }
    });
    let mut totals: BTreeMap<String, Count> = BTreeMap::new();
    heading("fault");
    for (fault, count) in FAULTS.iter().zip(counts.into_inner().unwrap()) {
        totals.entry(format!("{:?}", fault.reason)).or_default().take(count);
        println!("{}", count.line(&format!("{:?}: {}", fault.reason, fault.name)));
    }
    totals.insert("Duplicate".to_owned(), duplicates(&images));

    heading("reason");
    for (reason, count) in &totals {
        println!("{}", count.line(reason));
    }
    let flagged: Vec<_> =
        real.iter().map(|(name, r)| (name, reasons(r))).filter(|(_, r)| !r.is_empty()).collect();
    println!("unspoilt radiographs flagged: {} of {} {flagged:?}", flagged.len(), real.len());
    assert!(flagged.len() <= 1, "{flagged:?}");
    for (reason, count) in &totals {
        assert!(count.named as f64 >= NAMED_MIN_SHARE * count.all as f64, "{}", count.line(reason));
    }
}

/// Every copy of each plate must be known among all the others, and nothing else be taken for it.
fn duplicates(images: &[(String, GrayImage)]) -> Count {
    let config = QualityConfig::default();
    let plates: Vec<Plate> = images.iter().map(|(_, image)| Plate::of(&radiograph(image))).collect();
    let copies = Mutex::new([Count::default(); COPIES.len()]);
    let taken_for_copies = Mutex::new(0);
    let indexed: Vec<(usize, &GrayImage)> = images.iter().map(|(_, image)| image).enumerate().collect();
    each(&indexed, |(index, image)| {
        for (kind, (_, copy)) in COPIES.iter().enumerate() {
            let plate = Plate::of(&radiograph(&copy(image)));
            let known = plates[*index].same(&plate, &config);
            copies.lock().unwrap()[kind].add(known, known);
        }
        let again = Plate::of(&radiograph(&exposed_again(image)));
        let mistaken = usize::from(plates[*index].same(&again, &config));
        let others = plates[..*index].iter().filter(|other| other.same(&plates[*index], &config)).count();
        *taken_for_copies.lock().unwrap() += mistaken + others;
    });
    let mut total = Count::default();
    for ((name, _), count) in COPIES.iter().zip(copies.into_inner().unwrap()) {
        println!("{}", count.line(&format!("Duplicate: {name}")));
        total.take(count);
    }
    assert_eq!(taken_for_copies.into_inner().unwrap(), 0, "other exposures are taken for copies");
    total
}

#[test]
fn what_is_no_radiograph_is_named() {
    for held_out in [false, true] {
        let kinds = Mutex::new(BTreeMap::<&str, Count>::new());
        let seeds: Vec<u64> = if held_out { (100..104).collect() } else { (0..4).collect() };
        each(&seeds, |seed| {
            for (name, picture) in other::pictures(*seed, held_out) {
                let found = reasons(&picture);
                let named = found.contains(&RejectReason::NotARadiograph);
                let first = found.first() == Some(&RejectReason::NotARadiograph);
                kinds.lock().unwrap().entry(name).or_default().add(named, first);
            }
        });
        let kinds = kinds.into_inner().unwrap();
        let half = if held_out { "drawn afterwards" } else { "thresholds chosen on these" };
        heading(&format!("no radiograph, {half}"));
        let mut total = Count::default();
        for (name, count) in &kinds {
            println!("{}", count.line(name));
            total.take(*count);
        }
        println!("{}", total.line("all of them"));
        assert!(total.named as f64 >= NAMED_MIN_SHARE * total.all as f64, "{}", total.line(half));
    }
}

/// Radiographs that may be flagged after [`HARMLESS`] changes although they were not before, of all eight times 37: two
/// are nearly too dark as they are.
const HARMED_MAX: usize = 2;

/// The same exposure handed on in other ways; none of them is a reason to take it again.
#[test]
fn what_does_no_harm_is_not_flagged() {
    let Some(real) = real() else { return };
    let images: Vec<GrayImage> = real.iter().map(|(_, radiograph)| image_of(radiograph)).collect();
    let plain: Vec<bool> = images.iter().map(|image| !reasons(&radiograph(image)).is_empty()).collect();
    let indexed: Vec<(usize, &GrayImage)> = images.iter().enumerate().collect();
    let harmed = Mutex::new(Vec::new());
    heading("harmless change: flagged for any reason, as no radiograph");
    for (name, change) in HARMLESS {
        let count = Mutex::new(Count::default());
        each(&indexed, |(index, image)| {
            let found = reasons(&radiograph(&change(image)));
            let no_radiograph = found.contains(&RejectReason::NotARadiograph);
            count.lock().unwrap().add(!found.is_empty(), no_radiograph);
            if no_radiograph || !(found.is_empty() || plain[*index]) {
                harmed.lock().unwrap().push((name, real[*index].0.clone(), found));
            }
        });
        println!("{}", count.into_inner().unwrap().line(name));
    }
    let harmed = harmed.into_inner().unwrap();
    let as_none = harmed.iter().any(|(_, _, found)| found.contains(&RejectReason::NotARadiograph));
    assert!(harmed.len() <= HARMED_MAX && !as_none, "{harmed:?}");
}

#[test]
fn phantoms_and_dicom_files_pass() {
    let mut fine = decoded(&repository().join("edge/demo/studies"));
    assert!(fine.len() >= 15);
    if let Some(dir) =
        repository().parent().map(|dir| dir.join("shared/data/radiographs/dicom")).filter(|d| d.is_dir())
    {
        fine.extend(decoded(&dir));
    }
    for (name, radiograph) in fine {
        assert_eq!(reasons(&radiograph), [], "{name}");
    }
}
