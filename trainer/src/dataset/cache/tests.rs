use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::run::DataFacts;

const SPLITS: [Split; 2] = Split::ALL;

/// A data set of six studies with two images each, of which one is unreadable.
fn data_set() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in 0..6u32 {
        let split = if number < 4 { "train" } else { "valid" };
        let label = if number % 2 == 0 { "negative" } else { "positive" };
        let folder = root.path().join(format!("{split}/XR_WRIST/patient{number}/study1_{label}"));
        fs::create_dir_all(&folder).unwrap();
        for view in 1..=2 {
            let grey = |x: u32, y: u32| image::Luma([(x * (number + 1) + y * view) as u8]);
            image::GrayImage::from_fn(80, 64, grey).save(folder.join(format!("image{view}.png"))).unwrap();
        }
    }
    fs::write(root.path().join("train/XR_WRIST/patient1/study1_positive/image1.png"), b"none").unwrap();
    fs::write(root.path().join("truth.csv"), b"image\n").unwrap();
    root
}

fn spec() -> PreprocessSpec {
    PreprocessSpec::square(64)
}

struct Fixture {
    data: TempDir,
    out: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { data: data_set(), out: tempfile::tempdir().unwrap() }
    }

    fn dir(&self) -> PathBuf {
        self.out.path().join("cache")
    }

    fn index(&self) -> Index {
        Index::scan(self.data.path()).unwrap()
    }

    fn pack(&self) -> Result<Packed> {
        pack(&self.index(), &spec(), &self.dir())
    }

    fn error(&self) -> String {
        let opened = Index::open(&self.dir());
        let planes = opened.and_then(|index| index.planes(index.split(Split::Train), &spec()));
        planes.unwrap_err().to_string()
    }
}

fn flip_a_bit(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_cache_gives_what_the_files_give_bit_for_bit() {
    let fixture = Fixture::new();
    let packed = fixture.pack().unwrap();
    assert_eq!((packed.images, packed.kept, packed.unreadable.len()), (11, 0, 1));
    assert_eq!(packed.bytes, 12 * 64 * 64);
    let (files, cache) = (fixture.index(), Index::open(&fixture.dir()).unwrap());
    assert_eq!((&cache.name, &cache.skipped), (&files.name, &files.skipped));
    let both = SPLITS.map(|split| {
        let from_files = files.planes(files.split(split), &spec()).unwrap();
        let mapped = cache.planes(cache.split(split), &spec()).unwrap();
        assert!(matches!(mapped.samples, Samples::Mapped { .. }));
        assert_eq!(mapped.study, from_files.study);
        assert_eq!(mapped.abnormal, from_files.abnormal);
        assert_eq!(mapped.unreadable, from_files.unreadable);
        assert_eq!(mapped.len(), from_files.len());
        for image in 0..mapped.len() {
            assert_eq!(mapped.plane(image), from_files.plane(image));
        }
        for (a, b) in mapped.studies.iter().zip(&from_files.studies) {
            assert_eq!((&a.path, &a.patient, a.abnormal), (&b.path, &b.patient, b.abnormal));
            let names = |study: &Study| study.images.iter().map(|i| study.path_of(i)).collect::<Vec<_>>();
            assert_eq!(names(a), names(b));
        }
        (from_files, mapped)
    });
    let [train, valid] = &both;
    assert_eq!(DataFacts::of(&train.0, &valid.0), DataFacts::of(&train.1, &valid.1));

    // Some studies, in another order, with other statistics for the normalisation.
    let some = [files.train[3].clone(), files.train[1].clone()];
    let other = PreprocessSpec { mean: [0.5; 3], ..spec() };
    let mapped = cache.planes(&[cache.train[3].clone(), cache.train[1].clone()], &other).unwrap();
    let from_files = files.planes(&some, &other).unwrap();
    assert_eq!((mapped.len(), &mapped.spec), (3, &other));
    assert!((0..3).all(|image| mapped.plane(image) == from_files.plane(image)));
    assert!(fixture.dir().join("truth.csv").is_file());
    assert!(matches!(Index::scan(&fixture.dir()), Err(Error::NoFiles { .. })));
}

#[test]
fn packing_goes_on_with_the_planes_that_are_whole() {
    let fixture = Fixture::new();
    fixture.pack().unwrap();
    let dir = fixture.dir();
    let whole = fs::read(dir.join(PLANES_FILE)).unwrap();
    let index = fs::read(dir.join(INDEX_FILE)).unwrap();
    let contents: Contents = serde_json::from_slice(&index).unwrap();

    // As after a kill: no header; a log with two good entries, one of a torn plane, one of no plane and half
    // an entry.
    let log = |entries: &[(u32, u32)]| -> Vec<u8> {
        entries.iter().flat_map(|(n, sum)| [n.to_le_bytes(), sum.to_le_bytes()]).flatten().collect()
    };
    let sum = |number: usize| crc32c::crc32c(&whole[number * 4096..(number + 1) * 4096]);
    let mut entries = log(&[(5, sum(5)), (0, sum(0)), (7, sum(7)), (99, 1)]);
    entries.extend([3, 0, 0]);
    fs::remove_file(dir.join(HEADER_FILE)).unwrap();
    fs::remove_file(dir.join(INDEX_FILE)).unwrap();
    fs::write(dir.join("packing.log"), entries).unwrap();
    let begun = serde_json::json!({"data_set": "x", "planes": "y", "fingerprint": contents.fingerprint});
    fs::write(dir.join("packing.json"), begun.to_string()).unwrap();
    let mut torn = whole.clone();
    torn[7 * 4096 + 17] ^= 1;
    torn.truncate(11 * 4096);
    fs::write(dir.join(PLANES_FILE), torn).unwrap();
    assert!(!Cache::is_at(&dir) && matches!(Index::open(&dir), Err(Error::Missing { .. })));

    let packed = fixture.pack().unwrap();
    assert_eq!((packed.images, packed.kept, packed.already), (11, 2, false));
    assert_eq!(fs::read(dir.join(PLANES_FILE)).unwrap(), whole);
    assert_eq!(fs::read(dir.join(INDEX_FILE)).unwrap(), index);
    let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["cache.json", "index.json", "planes.u8", "truth.csv"]);
    assert!(fixture.pack().unwrap().already);
}

#[test]
fn a_directory_with_something_else_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    fixture.pack().unwrap();
    let other_size = pack(&fixture.index(), &PreprocessSpec::square(96), &fixture.dir()).unwrap_err();
    assert!(other_size.to_string().contains("at 64x64 letterbox: choose another directory"), "{other_size}");
    let image = fixture.data.path().join("valid/XR_WRIST/patient4/study1_negative/image2.png");
    fs::remove_file(image).unwrap();
    assert!(matches!(fixture.pack(), Err(Error::Occupied { .. })));
    assert!(Index::open(&fixture.dir()).is_ok());

    let occupied = fixture.out.path().join("occupied");
    fs::create_dir(&occupied).unwrap();
    fs::write(occupied.join("notes.txt"), b"mine").unwrap();
    let error = pack(&fixture.index(), &spec(), &occupied).unwrap_err().to_string();
    assert!(error.contains("`notes.txt`"), "{error}");
    fs::remove_file(occupied.join("notes.txt")).unwrap();
    fs::write(occupied.join("packing.json"), br#"{"data_set":"a","planes":"b","fingerprint":"c"}"#).unwrap();
    let error = pack(&fixture.index(), &spec(), &occupied).unwrap_err().to_string();
    assert!(error.contains("an unfinished cache of a at b"), "{error}");
}

#[test]
fn damage_is_found_and_says_what_to_do() {
    let fixture = Fixture::new();
    fixture.pack().unwrap();
    let dir = fixture.dir();
    let planes = fs::read(dir.join(PLANES_FILE)).unwrap();
    let expect = |words: &str| {
        let error = fixture.error();
        assert!(error.contains(words) && error.contains("pack the data set again"), "{error}");
    };
    flip_a_bit(&dir.join(PLANES_FILE), 5 * 4096 + 3);
    expect("plane 5 in planes.u8 is damaged");
    fs::write(dir.join(PLANES_FILE), &planes[..planes.len() - 1]).unwrap();
    expect("planes.u8 has 49151 bytes, but 12 images of 64x64 px make 49152");
    fs::write(dir.join(PLANES_FILE), b"").unwrap();
    expect("planes.u8 has 0 bytes");
    fs::write(dir.join(PLANES_FILE), &planes).unwrap();

    let header = fs::read(dir.join(HEADER_FILE)).unwrap();
    fs::write(dir.join(HEADER_FILE), &header[..header.len() / 2]).unwrap();
    expect("cache.json is damaged");
    let newer = String::from_utf8(header.clone()).unwrap().replace("\"format\":1", "\"format\":2");
    fs::write(dir.join(HEADER_FILE), newer).unwrap();
    expect("its format is 2, this trainer reads 1");
    fs::write(dir.join(HEADER_FILE), &header).unwrap();
    let index = fs::read(dir.join(INDEX_FILE)).unwrap();
    flip_a_bit(&dir.join(INDEX_FILE), index.len() / 2);
    expect("index.json is damaged");

    let mut contents: Contents = serde_json::from_slice(&index).unwrap();
    contents.probe ^= 1;
    let index = serde_json::to_vec(&contents).unwrap();
    fs::write(dir.join(INDEX_FILE), &index).unwrap();
    let header = Header { format: FORMAT, index_sha256: sha256(&index) };
    fs::write(dir.join(HEADER_FILE), serde_json::to_vec(&header).unwrap()).unwrap();
    expect("preprocesses radiographs otherwise");
}

#[test]
fn a_cache_of_another_size_says_so() {
    let fixture = Fixture::new();
    fixture.pack().unwrap();
    let index = Index::open(&fixture.dir()).unwrap();
    let error = index.planes(&index.train, &PreprocessSpec::square(96)).unwrap_err().to_string();
    assert!(error.contains("are 64x64 px (letterbox), asked for are 96x96 px (letterbox)"), "{error}");
    let squash = PreprocessSpec { aspect: Aspect::Squash, ..spec() };
    assert!(index.planes(&index.train, &squash).is_err());
}

#[test]
fn nothing_readable_leaves_no_cache() {
    let fixture = Fixture::new();
    let mut index = fixture.index();
    index.train.truncate(2);
    index.train.remove(0);
    index.train[0].images.truncate(1);
    index.valid.clear();
    assert!(matches!(pack(&index, &spec(), &fixture.dir()), Err(Error::Empty { .. })));
    assert!(!Cache::is_at(&fixture.dir()));
}
