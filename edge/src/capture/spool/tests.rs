//! The spool step by step: no thread, no sleep; boot time comes in as an argument.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use super::*;
use crate::config::Config;
use crate::store::Store;

struct Bench {
    dir: tempfile::TempDir,
    spool: Spool,
    store: Store,
    health: Arc<Health>,
}

impl Bench {
    fn new(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        let text = format!(
            "station = \"t\"\nstate_dir = \"{root}/state\"\n[spool]\ndir = \"{root}/spool\"\n{extra}"
        );
        let config = Config::parse(&text, Path::new("t.toml")).unwrap();
        let store = Store::open(&config.state_dir, config.limits).unwrap();
        let health = Arc::new(Health::default());
        let intake = Intake::new(&config, store.clone(), Arc::clone(&health), Arc::new(|| {}));
        let spool = Spool::new(config.spool.unwrap(), intake, Arc::clone(&health));
        Self { dir, spool, store, health }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("spool").join(name)
    }

    fn write(&self, name: impl AsRef<Path>, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// As a file that was written elsewhere an hour ago and then renamed into place.
    fn write_old(&self, name: impl AsRef<Path>, content: &[u8]) {
        let name = name.as_ref();
        self.write(name, content);
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(self.path(name)).unwrap().set_modified(hour_ago).unwrap();
    }

    fn poll(&mut self, ms: u64) -> Report {
        self.spool.poll(Duration::from_millis(1_000_000 + ms))
    }

    fn accepted(&self) -> Vec<String> {
        let studies = self.store.newest_studies(100).unwrap();
        let mut names: Vec<String> = studies
            .iter()
            .flat_map(|study| {
                study.images.iter().map(move |image| format!("{}: {}", study.origin, image.source_name))
            })
            .collect();
        names.sort();
        names
    }
}

fn held(report: &Report) -> Vec<&str> {
    report.held.iter().map(String::as_str).collect()
}

#[test]
fn a_file_is_taken_once_it_has_settled_and_holds_its_study_until_then() {
    let mut bench = Bench::new("");
    bench.write("XR_HAND/s/1.png", b"half");
    let report = bench.poll(0);
    assert_eq!(held(&report), ["XR_HAND/s/"]);
    assert!(report.next <= Duration::from_millis(500));
    bench.write("XR_HAND/s/1.png", b"half and the rest");
    assert_eq!(held(&bench.poll(490)), ["XR_HAND/s/"]);
    assert_eq!(held(&bench.poll(980)), ["XR_HAND/s/"], "it grew 490 ms ago");
    let report = bench.poll(990);
    assert!(report.held.is_empty());
    assert_eq!(report.began, Duration::from_millis(1_000_990));
    assert_eq!(bench.accepted(), ["XR_HAND/s/: 1.png"]);
    assert!(!bench.path("XR_HAND/s/1.png").exists());
}

#[test]
fn a_renamed_file_is_taken_at_first_sight_in_the_order_of_names() {
    let mut bench = Bench::new("");
    bench.write_old("XR_HAND/s/2.png", b"2");
    bench.write_old("XR_HAND/s/deeper/1.png", b"1");
    bench.write_old("XR_HAND/single.png", b"3");
    bench.write_old("plain.png", b"4");
    assert!(bench.poll(0).held.is_empty());
    let expected = [
        "./plain.png: plain.png",
        "XR_HAND/s/: 1.png",
        "XR_HAND/s/: 2.png",
        "XR_HAND/single.png: single.png",
    ];
    assert_eq!(bench.accepted(), expected);
}

#[test]
fn unfinished_names_are_left_alone_and_hold_their_study_for_a_minute() {
    let mut bench = Bench::new("");
    for name in ["XR_HAND/s/.hidden", "XR_HAND/s/a.png.part", "XR_HAND/s/b.TMP", "XR_HAND/s/.new/c.png"] {
        bench.write_old(name, b"x");
    }
    assert_eq!(held(&bench.poll(0)), ["XR_HAND/s/"]);
    assert_eq!(held(&bench.poll(59_000)), ["XR_HAND/s/"]);
    assert!(bench.poll(60_000).held.is_empty());
    assert!(bench.accepted().is_empty());
    assert!(bench.path("XR_HAND/s/a.png.part").exists());
    // A whole study is written under such a name and then renamed.
    bench.write_old("XR_HAND/.t/1.png", b"1");
    bench.poll(60_100);
    assert!(bench.accepted().is_empty());
    fs::rename(bench.path("XR_HAND/.t"), bench.path("XR_HAND/t")).unwrap();
    bench.poll(60_200);
    assert_eq!(bench.accepted(), ["XR_HAND/t/: 1.png"]);
}

#[test]
fn a_file_left_by_a_crash_after_its_acceptance_makes_no_second_image() {
    let mut bench = Bench::new("");
    bench.write_old("XR_HAND/s/1.png", b"1");
    let modified = fs::metadata(bench.path("XR_HAND/s/1.png")).unwrap().modified().unwrap();
    bench.poll(0);
    bench.write("XR_HAND/s/1.png", b"1");
    File::options().write(true).open(bench.path("XR_HAND/s/1.png")).unwrap().set_modified(modified).unwrap();
    bench.poll(1000);
    assert_eq!(bench.accepted(), ["XR_HAND/s/: 1.png"]);
    assert!(!bench.path("XR_HAND/s/1.png").exists());
    // The same name and content written later is another file.
    bench.write("XR_HAND/s/1.png", b"1");
    bench.poll(2000);
    bench.poll(3000);
    assert_eq!(bench.accepted().len(), 2);
}

#[test]
fn a_full_disk_leaves_the_file_where_it_is_and_says_so() {
    // A tebibyte is more than a test machine has free.
    let mut bench = Bench::new("[limits]\ndisk_free_min_mib = 1048576\n");
    bench.write_old("XR_HAND/s/1.png", b"1");
    bench.write_old("XR_HAND/t/1.png", b"2");
    assert_eq!(held(&bench.poll(0)), ["XR_HAND/s/", "XR_HAND/t/"]);
    assert_eq!(bench.health.gravest(), Some(Trouble::DiskFull));
    assert!(bench.accepted().is_empty());
    assert!(bench.path("XR_HAND/s/1.png").exists());
}

#[test]
fn a_file_too_large_becomes_a_rejected_view_beside_the_others() {
    let mut bench = Bench::new("[image]\nfile_max_mib = 1\n");
    bench.write_old("XR_HAND/s/1.png", b"1");
    bench.write("XR_HAND/s/2.dcm", b"");
    File::options().write(true).open(bench.path("XR_HAND/s/2.dcm")).unwrap().set_len(5 << 20).unwrap();
    bench.poll(0);
    bench.poll(600);
    let study = bench.store.newest_studies(1).unwrap().remove(0);
    let rejection = study.images[1].view.clone().unwrap().rejected.unwrap();
    assert!(rejection.detail.contains("5 MiB, more than the 1 MiB"), "{}", rejection.detail);
    assert_eq!(study.images[0].view, None);
    let id = &study.images[1].image_id;
    assert!(bench.dir.path().join(format!("state/rejected/{id}.dcm")).exists());
    assert!(!bench.path("XR_HAND/s/2.dcm").exists());
}

#[test]
fn only_empty_folders_of_closed_studies_go() {
    let mut bench = Bench::new("");
    fs::create_dir_all(bench.path("XR_HAND/never used")).unwrap();
    bench.write_old("XR_HAND/s/deeper/1.png", b"1");
    bench.poll(0);
    bench.poll(1);
    bench.poll(20_000);
    assert!(bench.path("XR_HAND/s").exists(), "its study is open");
    let claim = bench.store.claim().unwrap().unwrap();
    let rejection = contract::result::Rejection::new(contract::radiograph::RejectReason::Blank, "blank");
    let view = contract::result::ViewResult::refused(Some(claim.image_id.clone()), rejection);
    bench.store.finish(&claim, &view).unwrap();
    let open = bench.store.open_studies().unwrap();
    bench.store.close(open[0].id, crate::store::test_result).unwrap().unwrap();
    bench.poll(40_000);
    assert!(!bench.path("XR_HAND/s").exists());
    assert!(bench.path("XR_HAND/never used").exists());
}

#[test]
fn strangers_are_counted_and_not_taken() {
    let mut bench = Bench::new("");
    bench.write_old("wrist/1.png", b"1");
    bench.write_old("XR_HAND/s/real.png", b"2");
    let outside = bench.dir.path().join("outside.png");
    fs::write(&outside, b"3").unwrap();
    for name in ["link.png", "XR_HAND/link.png", "XR_HAND/s/link.png"] {
        std::os::unix::fs::symlink(&outside, bench.path(name)).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("XR_HAND/s/socket.png")).unwrap();
    bench.write_old("XR_HAND/s/1/2/3/4/5/6/7/8/deep.png", b"4");
    let scan = scan::scan(&bench.path("")).unwrap();
    assert_eq!((scan.files.len(), scan.strangers, scan.odd), (1, 1, 5));
    assert!(bench.poll(0).held.is_empty());
    assert_eq!(bench.health.gravest(), Some(Trouble::FilesUnreadable));
    assert_eq!(bench.accepted(), ["XR_HAND/s/: real.png"]);
    assert!(outside.exists());
    for folder in ["wrist", "XR_HAND"] {
        fs::remove_dir_all(bench.path(folder)).unwrap();
    }
    fs::remove_file(bench.path("link.png")).unwrap();
    bench.poll(1000);
    assert_eq!(bench.health.gravest(), None);
}

#[test]
fn names_in_another_encoding_are_studies_of_their_own() {
    let mut bench = Bench::new("");
    let latin_1 = |name: &[u8]| PathBuf::from(OsStr::from_bytes(name));
    for name in [&b"XR_HAND/M\xfcller/1.png"[..], b"XR_HAND/M\xf6ller/1.png", b"XR_HAND/\xff.png", b"\xfe"] {
        bench.write_old(latin_1(name), b"the same bytes");
    }
    bench.poll(0);
    let expected = [
        "./\\xFE: \\xFE",
        "XR_HAND/M\\xF6ller/: 1.png",
        "XR_HAND/M\\xFCller/: 1.png",
        "XR_HAND/\\xFF.png: \\xFF.png",
    ];
    assert_eq!(bench.accepted(), expected);
    assert_eq!(bench.store.newest_studies(10).unwrap().len(), 4);
}

#[test]
fn files_of_the_folder_itself_are_opened_in_turns_and_the_rest_is_held() {
    let mut bench = Bench::new("");
    let count = OPENS_PER_POLL_MAX + 10;
    for index in 0..count {
        bench.write_old(format!("{index:03}.png"), format!("{index}").as_bytes());
    }
    let report = bench.poll(0);
    assert!(report.holds("./any study of the folder itself"), "{report:?}");
    assert_eq!((report.held.len(), report.next), (OPENS_PER_POLL_MAX - ACCEPTS_PER_POLL_MAX, Duration::ZERO));
    for ms in 1..=(count / ACCEPTS_PER_POLL_MAX) as u64 {
        bench.poll(ms);
    }
    assert_eq!(bench.poll(100).held_prefix, None);
    let mut studies = 0;
    while let Some(claim) = bench.store.claim().unwrap() {
        let rejection =
            contract::result::Rejection::new(contract::radiograph::RejectReason::NotAnImage, "text");
        let view = contract::result::ViewResult::refused(Some(claim.image_id.clone()), rejection);
        bench.store.finish(&claim, &view).unwrap();
        studies += 1;
    }
    assert_eq!(studies, count);
}

#[test]
fn many_files_are_taken_in_turns_and_the_rest_is_held() {
    let mut bench = Bench::new("");
    for index in 0..40 {
        bench.write_old(format!("XR_HAND/s{index:02}/1.png"), format!("{index}").as_bytes());
    }
    let report = bench.poll(0);
    assert_eq!(report.held.len(), 8);
    assert_eq!(report.next, Duration::ZERO);
    assert!(bench.poll(1).held.is_empty());
    assert_eq!(bench.accepted().len(), 40);
}

#[test]
fn a_spool_that_cannot_be_read_holds_everything() {
    let mut bench = Bench::new("");
    fs::remove_dir(bench.path("")).unwrap();
    let report = bench.poll(0);
    assert!(report.holds("XR_HAND/s/"));
    assert_eq!(bench.health.gravest(), Some(Trouble::SpoolUnreadable));
    fs::create_dir(bench.path("")).unwrap();
    assert!(!bench.poll(1000).holds("XR_HAND/s/"));
    assert_eq!(bench.health.gravest(), None);
}

#[test]
fn a_folder_that_comes_back_is_watched_again() {
    let mut bench = Bench::new("");
    bench.poll(0);
    fs::rename(bench.path(""), bench.dir.path().join("gone")).unwrap();
    assert!(bench.poll(1000).holds("XR_HAND/s/"));
    fs::create_dir(bench.path("")).unwrap();
    bench.poll(2000);
    // What the old folder's end said is not what is waited for.
    while bench.spool.watch.wait(Duration::from_millis(20)) {}
    bench.write_old("XR_HAND/s/1.png", b"1");
    let said = bench.spool.watch.wait(Duration::from_secs(10));
    assert!(said, "nobody said that a file came into the new folder");
    bench.poll(3000);
    assert_eq!(bench.accepted(), ["XR_HAND/s/: 1.png"]);
}

/// A file system in memory, mounted on a folder; `None`, after a line that says so, where that is not allowed.
struct Mounted(PathBuf);

impl Mounted {
    fn on(dir: &Path, size: &str) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(dir);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(dir.to_owned()));
        }
        println!("SKIPPED: file systems cannot be mounted here");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_vanished_mount_holds_everything_until_it_is_back() {
    let mut bench = Bench::new("");
    let Some(mounted) = Mounted::on(&bench.path(""), "1m") else { return };
    bench.write_old("XR_HAND/s/1.png", b"1");
    assert!(bench.poll(0).held.is_empty());
    drop(mounted);
    // The folder is there, and empty.
    let report = bench.poll(1000);
    assert!(report.holds("XR_HAND/s/"), "{report:?}");
    assert_eq!(bench.health.gravest(), Some(Trouble::SpoolUnreadable));
    let Some(_mounted) = Mounted::on(&bench.path(""), "1m") else { return };
    bench.write_old("XR_HAND/s/2.png", b"2");
    assert!(!bench.poll(2000).holds("XR_HAND/s/"));
    assert_eq!(bench.health.gravest(), None);
    assert_eq!(bench.accepted(), ["XR_HAND/s/: 1.png", "XR_HAND/s/: 2.png"]);
}

#[test]
fn a_disk_that_fills_up_while_an_image_is_copied_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let Some(_mounted) = Mounted::on(&small, "2m") else { return };
    let root = dir.path().display();
    let text = format!(
        "station = \"t\"\nstate_dir = \"{root}/small/state\"\n[spool]\ndir = \"{root}/spool\"\n\
         [limits]\ndisk_free_min_mib = 0\n"
    );
    let config = Config::parse(&text, Path::new("t.toml")).unwrap();
    let store = Store::open(&config.state_dir, config.limits).unwrap();
    let health = Arc::new(Health::default());
    let intake = Intake::new(&config, store.clone(), Arc::clone(&health), Arc::new(|| {}));
    let spool = Spool::new(config.spool.unwrap(), intake, Arc::clone(&health));
    let mut bench = Bench { dir, spool, store, health };

    let images = bench.dir.path().join("small/state/images");
    let filler = bench.dir.path().join("small/filler");
    fs::write(&filler, vec![7; 1 << 20]).unwrap();
    bench.write_old("XR_HAND/s/1.png", &vec![1; 1 << 20]);
    let report = bench.poll(0);
    assert!(report.holds("XR_HAND/s/"), "{report:?}");
    assert_eq!(bench.health.gravest(), Some(Trouble::DiskFull));
    assert!(bench.path("XR_HAND/s/1.png").exists());
    assert_eq!(fs::read_dir(&images).unwrap().count(), 0, "half an image was left");
    fs::remove_file(&filler).unwrap();
    assert!(bench.poll(1000).held.is_empty());
    assert_eq!(bench.health.gravest(), None);
    assert_eq!(bench.accepted(), ["XR_HAND/s/: 1.png"]);
}
