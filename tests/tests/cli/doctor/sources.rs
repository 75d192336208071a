//! What it says of the sources, of the clock and of the disk.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};

use e2e::{dcmtk, port};

use super::*;

/// The user that the service is taken to run as where the tests run as root: the state directory's owner.
const NOBODY: u32 = 65_534;

impl Idle {
    /// Without a model, whose self-test takes longer than all the rest.
    fn without_a_model(mqtt: &str, more: &str) -> anyhow::Result<Self> {
        let idle = Self::new(mqtt, more)?;
        let config = idle.dir.path().join("edge.toml");
        let text = fs::read_to_string(&config)?;
        fs::write(&config, text.replace(&demo_bundle().display().to_string(), "/nowhere"))?;
        Ok(idle)
    }

    /// The tests may run as root, who may do everything: then the service is somebody else's.
    fn of_an_ordinary_user(&self) -> anyhow::Result<()> {
        if fs::metadata("/proc/self")?.uid() == 0 {
            let state = self.dir.path().join("state");
            chown(&state, Some(NOBODY), Some(NOBODY))?;
            fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    fn mode(&self, name: &str, mode: u32) -> anyhow::Result<()> {
        Ok(fs::set_permissions(self.dir.path().join(name), Permissions::from_mode(mode))?)
    }

    /// The report of a namespace with mounts of its own, made by a script; `None`, after a line that says so, where
    /// that is not allowed.
    fn report_within(&self, script: &str) -> anyhow::Result<Option<Report>> {
        let as_root = fs::metadata("/proc/self")?.uid() == 0;
        let mut doctor = Command::new("unshare");
        doctor.arg(if as_root { "-m" } else { "-rm" }).args(["sh", "-c"]);
        doctor.arg(format!("{{ {script} ; }} || exit 99; exec \"$@\"")).arg("sh").arg(bin::edge()?);
        doctor.args(["doctor", "--json", "--config"]).arg(self.dir.path().join("edge.toml"));
        let output = bin::output(doctor.env_remove("JOURNAL_STREAM").current_dir(self.dir.path()));
        match output {
            Ok(output) if !output.stdout.is_empty() => Report::read(&output).map(Some),
            refused => {
                println!("SKIPPED: file systems cannot be mounted here ({refused:?})");
                Ok(None)
            }
        }
    }
}

#[test]
fn a_dicom_receiver_is_asked_as_the_digitiser_would() -> anyhow::Result<()> {
    let port = port::claim()?;
    let section = |more: &str| format!("[dicom]\nlisten = \"127.0.0.1:{port}\"\n{more}");
    let allowed = section(&format!("calling_ae_titles = [\"{}\"]\n", dcmtk::SENDER));
    let idle = Idle::without_a_model("port = 1", &allowed)?;
    idle.report()?.assert("source.dicom", "ok", "is free for the service")?;
    let taken = TcpListener::bind(("127.0.0.1", port))?;
    idle.report()?.assert("source.dicom", "fail", "another program listens on")?;
    drop(taken);
    let nobody = Idle::without_a_model("port = 1", &section("calling_ae_titles = []\n"))?.report()?;
    nobody.assert("config", "fail", "dicom.calling_ae_titles is empty; name the AE titles")?;
    let low = Idle::without_a_model("port = 1", &allowed.replace(&port.to_string(), "104"))?;
    low.of_an_ordinary_user()?;
    low.report()?.assert("source.dicom", "fail", "may not listen on 127.0.0.1:104")?;

    let mut setup = Setup::new(1);
    setup.extra = format!("\n{allowed}");
    let mut station = Station::new(&setup)?;
    station.start()?;
    station.wait_for_line("ready;", Duration::from_secs(60))?;
    let answers = format!("answers an echo from {}", dcmtk::SENDER);
    Report::of(station.config())?.assert("source.dicom", "ok", &answers)?;
    let echo = dcmtk::echo(port, dcmtk::SENDER, "ULNA")?;
    assert!(echo.status.success(), "{}", dcmtk::said(&echo));
    assert!(station.log().iter().all(|line| !line.contains("DICOM: ")), "{}", station.tail());
    // The configuration was changed under the running service.
    let text = fs::read_to_string(station.config())?;
    fs::write(station.config(), text.replace("[dicom]\n", "[dicom]\nae_title = \"RADIOLOGY\"\n"))?;
    let report = Report::of(station.config())?;
    report.assert("source.dicom", "fail", "does not know one of the two AE titles")?;
    let remedy = report.check("source.dicom")?["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains("systemctl restart ulna-edge"), "{remedy}");
    Ok(())
}

#[test]
fn a_spool_is_judged_with_what_lies_in_it() -> anyhow::Result<()> {
    let idle = Idle::without_a_model("port = 1", "")?;
    idle.of_an_ordinary_user()?;
    let said = |verdict: &str, found: &str| idle.report()?.assert("source.spool", verdict, found);
    idle.mode("spool", 0o777)?;
    said("ok", "readable and writable")?;
    let spool = idle.dir.path().join("spool");
    for folder in ["XR_HAND/one", "Miller^Anna"] {
        fs::create_dir_all(spool.join(folder))?;
    }
    idle.mode("spool/XR_HAND", 0o777)?;
    fs::write(spool.join("Miller^Anna/1.png"), "")?;
    said("warn", "lie 1 folders that are no study type, which are not taken")?;
    fs::remove_dir_all(spool.join("Miller^Anna"))?;
    idle.mode("spool/XR_HAND", 0o555)?;
    said("fail", "may not read and write")?;
    said("fail", "spool/XR_HAND")?;
    fs::remove_dir_all(spool.join("XR_HAND"))?;
    for mode in [0o555, 0o333, 0o000] {
        idle.mode("spool", mode)?;
        said("fail", "may not read and write")?;
    }
    fs::remove_dir(&spool)?;
    said("fail", "cannot be looked at")?;
    fs::write(&spool, "")?;
    said("fail", "is not a folder")
}

#[test]
fn a_replayed_folder_is_judged_with_what_lies_in_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let played = folder.path().join("played");
    let idle = Idle::without_a_model("port = 1", &format!("[replay]\ndir = \"{}\"\n", played.display()))?;
    idle.of_an_ordinary_user()?;
    let said = |verdict: &str, found: &str| idle.report()?.assert("source.replay", verdict, found);
    said("fail", "cannot be looked at")?;
    fs::write(&played, "")?;
    said("fail", "is not a folder")?;
    fs::remove_file(&played)?;
    fs::create_dir(&played)?;
    said("warn", "holds no studies to play")?;
    for study in ["XR_HAND/one", "XR_HAND/two", "XR_WRIST/one"] {
        fs::create_dir_all(played.join(study))?;
        fs::write(played.join(study).join("1.png"), "")?;
    }
    said("ok", "3 studies, readable for")?;
    fs::set_permissions(&played, Permissions::from_mode(0o700))?;
    if fs::metadata(&played)?.uid() != NOBODY && fs::metadata("/proc/self")?.uid() == 0 {
        said("fail", "may not read")?;
    }
    fs::set_permissions(&played, Permissions::from_mode(0o000))?;
    said("fail", "may not read")?;
    fs::set_permissions(&played, Permissions::from_mode(0o755))?;
    Ok(())
}

#[test]
fn a_clock_that_nobody_keeps_is_a_warning() -> anyhow::Result<()> {
    let idle = Idle::without_a_model("port = 1", "")?;
    let run = "mount -t tmpfs none /run && mkdir -p /run/systemd/timesync";
    let Some(report) = idle.report_within(run)? else { return Ok(()) };
    report.assert("clock", "warn", "not synchronised")?;
    let Some(report) = idle.report_within(&format!("{run} && touch /run/systemd/timesync/synchronized"))?
    else {
        return Ok(());
    };
    report.assert("clock", "ok", ", synchronised")
}

#[test]
fn a_disk_that_runs_full_is_a_warning_and_then_a_failure() -> anyhow::Result<()> {
    let idle = Idle::without_a_model("port = 1", "[limits]\ndisk_free_min_mib = 50\n")?;
    for (size, verdict) in [("30m", "fail"), ("80m", "warn"), ("300m", "ok")] {
        let mount = format!("mount -t tmpfs -o mode=0700,size={size} none state");
        let Some(report) = idle.report_within(&mount)? else { return Ok(()) };
        let free = size.trim_end_matches('m');
        report.assert(
            "state.disk",
            verdict,
            &format!("{free} MiB free, images are accepted down to 50 MiB"),
        )?;
    }
    Ok(())
}
