//! DICOM as DCMTK speaks it: `storescu` and `echoscu` are the digitiser.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use contract::result::{Outcome, StudyResult};
use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::dcmtk::{self, BASIC_TEXT_SR, Made, make, said, storescu};
use e2e::station::{Setup, Station};
use e2e::{bin, port, real_radiographs, sorted_entries, wait};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

/// A station that receives DICOM.
struct Receiver {
    dir: TempDir,
    _broker: Broker,
    collector: Collector,
    station: Station,
    port: u16,
}

impl Receiver {
    /// Not started yet; `extra` is further TOML of `[dicom]`, and of sections after it.
    fn new(extra: &str) -> anyhow::Result<Self> {
        let broker = Broker::start()?;
        let collector = Collector::start(broker.port())?;
        let port = port::claim()?;
        let mut setup = Setup::new(broker.port());
        setup.extra = format!(
            "\n[dicom]\nlisten = \"127.0.0.1:{port}\"\ncalling_ae_titles = [\"{}\"]\n{extra}",
            dcmtk::SENDER
        );
        let station = Station::new(&setup)?;
        Ok(Self { dir: tempfile::tempdir()?, _broker: broker, collector, station, port })
    }

    fn started(extra: &str) -> anyhow::Result<Self> {
        let mut receiver = Self::new(extra)?;
        receiver.station.start()?;
        receiver.wait_until_ready()?;
        Ok(receiver)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        self.station.wait_for_line("ready", LONG).map(drop)
    }

    fn make(&self, name: &str, made: Made<'_>) -> anyhow::Result<PathBuf> {
        make(self.dir.path(), name, made)
    }

    fn send(&self, arguments: &[&str], files: &[PathBuf]) -> anyhow::Result<Output> {
        bin::output(&mut storescu(self.port, arguments, files))
    }

    fn send_well(&self, arguments: &[&str], files: &[PathBuf]) -> anyhow::Result<()> {
        let output = self.send(arguments, files)?;
        anyhow::ensure!(output.status.success(), "{}\n{}", said(&output), self.station.tail());
        Ok(())
    }

    fn results(&self, count: usize) -> anyhow::Result<Vec<StudyResult>> {
        self.collector.wait_for_results(count, LONG).context(self.station.tail())
    }

    /// Files of images in the store, whole or not.
    fn files(&self) -> anyhow::Result<usize> {
        Ok(sorted_entries(&self.station.state_dir().join("images"))?.len())
    }

    /// Everything that left the station or was logged.
    fn told(&self) -> String {
        let published = self.collector.messages();
        let published = published
            .iter()
            .map(|message| format!("{} {}", message.topic, String::from_utf8_lossy(&message.payload)));
        self.station.log().join("\n") + &published.collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn associations_side_by_side_bring_their_studies_and_may_send_them_again() -> anyhow::Result<()> {
    const STUDIES: u32 = 6;
    let mut receiver = Receiver::started("")?;
    let echo = dcmtk::echo(receiver.port, dcmtk::SENDER, "ULNA")?;
    assert!(echo.status.success(), "{}", said(&echo));

    let mut batches = Vec::new();
    for study in 0..STUDIES {
        let uid = format!("1.2.826.0.1.{}", 77_000 + study);
        let mut files = Vec::new();
        for view in 0..3 {
            let body_part = if view == 2 { "HAND" } else { "WRIST" };
            let made = Made { body_part, ..Made::wrist(&uid, study * 10 + view) };
            files.push(receiver.make(&format!("patient-{study}-{view}"), made)?);
        }
        batches.push(files);
    }
    let send_all = |arguments: &[&str]| -> anyhow::Result<()> {
        let senders: Vec<_> = batches
            .iter()
            .map(|files| dcmtk::send_meanwhile(receiver.port, arguments, files))
            .collect::<anyhow::Result<_>>()?;
        for sender in senders {
            let output = sender.wait_with_output()?;
            anyhow::ensure!(output.status.success(), "{}\n{}", said(&output), receiver.station.tail());
        }
        Ok(())
    };
    send_all(&[])?;
    // Two body parts of one DICOM study are two studies.
    let results = receiver.results(2 * STUDIES as usize)?;
    for result in &results {
        let study_type = result.study.study_type.as_ref().context("study type")?.as_str();
        let views = if study_type == "XR_WRIST" { 2 } else { 1 };
        assert_eq!((result.views.len(), result.study.revision), (views, 1), "{study_type}");
        assert_eq!(result.outcome, Outcome::Scored, "{:?}", result.reason);
    }
    assert_eq!(results.iter().filter(|result| result.views.len() == 1).count(), STUDIES as usize);

    // The same objects again, and in another transfer syntax: success, and nothing new.
    send_all(&[])?;
    send_all(&["-xi"])?;
    receiver.station.wait_for_count("had been accepted before", 2 * 3 * STUDIES as usize, LONG)?;
    thread::sleep(Duration::from_secs(2));
    assert_eq!(receiver.collector.results_by_key()?.len(), results.len());
    assert_eq!(receiver.files()?, 3 * STUDIES as usize);

    let told = receiver.told();
    for secret in ["1.2.826.0.1", dcmtk::PATIENT, "Miller", "patient-"] {
        assert!(!told.contains(secret), "`{secret}` left the station or was logged");
    }
    assert!(receiver.station.stop()?.success());
    Ok(())
}

#[test]
fn a_late_image_opens_its_study_again() -> anyhow::Result<()> {
    let receiver = Receiver::started("")?;
    for view in 1..=2 {
        let file = receiver.make(&format!("{view}"), Made::wrist("1.2.3", view))?;
        receiver.send_well(&[], &[file])?;
        let results = receiver.results(view as usize)?;
        let last = results.last().context("no result")?;
        assert_eq!((last.study.revision, last.views.len()), (view, view as usize));
    }
    Ok(())
}

#[test]
fn strangers_and_reports_are_refused() -> anyhow::Result<()> {
    let receiver = Receiver::started("")?;
    let stranger = dcmtk::echo(receiver.port, "STRANGER", "ULNA")?;
    assert!(!stranger.status.success());
    assert!(said(&stranger).contains("Calling AE Title Not Recognized"), "{}", said(&stranger));
    let misdirected = dcmtk::echo(receiver.port, dcmtk::SENDER, "PACS")?;
    assert!(!misdirected.status.success());
    assert!(said(&misdirected).contains("Called AE Title Not Recognized"), "{}", said(&misdirected));

    let report = receiver.make("report", Made { class: BASIC_TEXT_SR, ..Made::wrist("1.2.3", 1) })?;
    let refused = receiver.send(&["-R"], &[report])?;
    assert!(!refused.status.success());
    assert!(said(&refused).contains("No Acceptable Presentation Contexts"), "{}", said(&refused));

    // JPEG-LS cannot be decoded, so it is not agreed on; storescu then has nothing to send a file in.
    let good = receiver.make("good", Made::wrist("1.2.3", 2))?;
    receiver.send_well(&["-xt"], &[good])?;
    assert_eq!(receiver.results(1)?[0].outcome, Outcome::Scored);
    assert_eq!(receiver.files()?, 1);
    Ok(())
}

/// Encapsulated PDF, made by DCMTK's own tool.
fn document(receiver: &Receiver) -> anyhow::Result<PathBuf> {
    let (pdf, file) = (receiver.dir.path().join("letter.pdf"), receiver.dir.path().join("letter.dcm"));
    fs::write(&pdf, "%PDF-1.4\n%%EOF\n")?;
    bin::succeed(Command::new("pdf2dcm").args(["-q"]).arg(&pdf).arg(&file))?;
    Ok(file)
}

#[test]
fn a_report_and_a_document_among_radiographs_are_refused_and_the_radiographs_taken() -> anyhow::Result<()> {
    let receiver = Receiver::started("")?;
    let report = receiver.make("report", Made { class: BASIC_TEXT_SR, ..Made::wrist("1.2.3", 1) })?;
    let files = [
        report,
        receiver.make("first", Made::wrist("1.2.3", 2))?,
        document(&receiver)?,
        receiver.make("second", Made::wrist("1.2.3", 3))?,
    ];
    let output = receiver.send(&["--no-halt", "-R"], &files)?;
    let said = said(&output);
    assert_eq!(said.matches("No presentation context for").count(), 2, "{said}");
    let result = &receiver.results(1)?[0];
    assert_eq!((result.outcome, result.views.len()), (Outcome::Scored, 2), "{:?}", result.reason);
    assert_eq!(receiver.files()?, 2);
    Ok(())
}

#[test]
fn a_report_and_a_document_in_the_spool_become_rejected_views_that_say_why() -> anyhow::Result<()> {
    let receiver = Receiver::started("")?;
    let report = receiver.make("report", Made { class: BASIC_TEXT_SR, ..Made::wrist("1.2.3", 1) })?;
    bin::succeed(Command::new("dcmodify").args(["-nb", "-ea", "(7fe0,0010)"]).arg(&report))?;
    let files = [report, document(&receiver)?];
    for (index, file) in files.iter().enumerate() {
        fs::rename(file, receiver.station.spool().join(format!("{index}.dcm")))?;
        let results = receiver.results(index + 1)?;
        let last = results.last().context("no result")?;
        assert_eq!(last.outcome, Outcome::Rejected, "{last:?}");
        let rejected = last.views[0].rejected.as_ref().context("no reason")?;
        assert!(rejected.detail.contains("it holds no pixel data"), "{rejected:?}");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_answered_with_out_of_resources() -> anyhow::Result<()> {
    // A tebibyte is more than a test machine has free.
    let receiver = Receiver::started("[limits]\ndisk_free_min_mib = 1048576\n")?;
    let file = receiver.make("view", Made::wrist("1.2.3", 1))?;
    let refused = receiver.send(&[], &[file])?;
    let text = said(&refused);
    assert!(text.to_lowercase().contains("0xa700") || text.contains("OutOfResources"), "{text}");
    assert_eq!(receiver.files()?, 0);
    receiver.station.wait_for_line("disk_free_min_mib", LONG)?;
    Ok(())
}

#[test]
fn two_hundred_megapixels_are_answered_clearly_and_not_held_in_memory() -> anyhow::Result<()> {
    let receiver = Receiver::started("")?;
    let before_kib = receiver.station.memory_peak_kib()?;
    let made = Made { size_px: (14_286, 14_000), seed: None, ..Made::wrist("1.2.3", 0) };
    let huge = receiver.make("huge", made)?;
    let output = receiver.send(&["-d"], std::slice::from_ref(&huge))?;
    assert!(said(&output).contains("0xc001"), "{}", receiver.station.tail());

    // Small on the way, large once decoded.
    let packed = receiver.dir.path().join("packed.dcm");
    bin::succeed(Command::new("dcmcrle").arg(&huge).arg(&packed))?;
    assert!(fs::metadata(&packed)?.len() < 16 << 20);
    let output = receiver.send(&["-d", "-xr"], &[packed])?;
    assert!(said(&output).contains("0xc002"), "{}", receiver.station.tail());
    receiver.station.wait_for_line("14286x14000 px are more than the", LONG)?;

    let grown_kib = receiver.station.memory_peak_kib()? - before_kib;
    assert!(grown_kib < 40 << 10, "the station grew by {grown_kib} KiB");
    assert_eq!(receiver.files()?, 0);
    let good = receiver.make("good", Made::wrist("1.2.3", 2))?;
    receiver.send_well(&[], &[good])?;
    assert_eq!(receiver.results(1)?[0].outcome, Outcome::Scored);
    Ok(())
}

#[test]
fn killed_in_mid_transfer_nothing_is_lost_or_doubled() -> anyhow::Result<()> {
    let mut receiver = Receiver::new("")?;
    let mut files = Vec::new();
    for seed in 0..3 {
        files.push(
            receiver.make(&format!("{seed}"), Made { size_px: (1200, 900), ..Made::wrist("1.2.3", seed) })?,
        );
    }
    // In mid-object, before and after the image is accepted but before the sender hears of it.
    for point in ["accept.writing", "accept.renamed", "accept.committed", "dicom.before_answer"] {
        receiver.station.start_halting_at(point)?;
        receiver.wait_until_ready()?;
        let sender = dcmtk::send_meanwhile(receiver.port, &[], &files)?;
        receiver.station.wait_for_line(&format!("edge::transition {point}"), LONG)?;
        receiver.station.kill();
        let output = sender.wait_with_output()?;
        assert!(!output.status.success(), "{point}: {}", said(&output));
    }
    receiver.station.start()?;
    receiver.wait_until_ready()?;
    receiver.send_well(&[], &files)?;
    let results = receiver.results(1)?;
    let last = results.last().context("no result")?;
    assert_eq!(last.views.len(), files.len(), "{last:?}");
    assert_eq!(receiver.files()?, files.len(), "something is left of a broken transfer");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(receiver.collector.results_by_key()?.len(), 1);
    Ok(())
}

#[test]
fn peers_that_say_nothing_or_nonsense_keep_nobody_out() -> anyhow::Result<()> {
    let receiver =
        Receiver::started("associations_max = 2\nassociation_timeout_s = 2\nidle_timeout_s = 2\n")?;
    let connect = || TcpStream::connect(("127.0.0.1", receiver.port));
    let mut crowd = Vec::new();
    for index in 0..100 {
        let mut socket = connect()?;
        match index % 3 {
            0 => {}
            1 => socket.write_all(b"GET / HTTP/1.0\r\n\r\n")?,
            // The start of a request that does not come.
            _ => socket.write_all(&[1, 0, 0, 0, 0, 200, 0, 1])?,
        }
        crowd.push(socket);
    }
    let file = receiver.make("view", Made::wrist("1.2.3", 1))?;
    let began = Instant::now();
    receiver.send_well(&[], &[file])?;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(receiver.results(1)?[0].outcome, Outcome::Scored);
    let log = receiver.station.log();
    let complaints: Vec<&String> =
        log.iter().filter(|line| line.contains("came to no association")).collect();
    assert!((1..4).contains(&complaints.len()), "{complaints:?}");
    Ok(())
}

#[test]
fn real_radiographs_come_in_as_they_are() -> anyhow::Result<()> {
    let Some(dir) = real_radiographs() else { return Ok(()) };
    let files: Vec<PathBuf> = sorted_entries(&dir.join("dicom"))?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "dcm"))
        .collect();
    anyhow::ensure!(!files.is_empty(), "there are no DICOM files in {}", dir.display());
    let receiver = Receiver::started("")?;
    for file in &files {
        // JPEG 2000, as they are.
        receiver.send_well(&["-xw", "-R"], std::slice::from_ref(file))?;
    }
    let views = || -> anyhow::Result<usize> {
        Ok(receiver.collector.results()?.iter().map(|result| result.views.len()).sum())
    };
    wait::until("every view to be published", LONG, || (views().ok()? >= files.len()).then_some(()))
        .context(receiver.station.tail())?;
    for result in receiver.collector.results()? {
        assert_eq!(result.outcome, Outcome::Scored, "{:?}", result.reason);
    }
    Ok(())
}
