//! DCMTK's tools as the digitiser: they make DICOM files and send them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::Context;

use crate::bin;
use crate::made::pgm;

/// Digital X-ray, for presentation.
pub const DX: &str = "1.2.840.10008.5.1.4.1.1.1.1";
/// A report.
pub const BASIC_TEXT_SR: &str = "1.2.840.10008.5.1.4.1.1.88.11";
/// The AE title that the stations of the tests know.
pub const SENDER: &str = "DIGITISER";
/// The name of the patient in every made file.
pub const PATIENT: &str = "Miller^Anna";

/// A radiograph to be made.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// Its SOP class.
    pub class: &'a str,
    /// Its study's UID.
    pub study: &'a str,
    /// Body Part Examined.
    pub body_part: &'a str,
    /// Columns and rows.
    pub size_px: (u32, u32),
    /// Makes its pixels its own; its SOP Instance UID is the study's and this. `None`: all pixels are zero.
    pub seed: Option<u32>,
}

impl<'a> Made<'a> {
    /// A small radiograph of a wrist.
    pub fn wrist(study: &'a str, seed: u32) -> Self {
        Self { class: DX, study, body_part: "WRIST", size_px: (160, 128), seed: Some(seed) }
    }
}

/// Writes a radiograph as an uncompressed DICOM file.
///
/// # Errors
/// When dump2dcm is not there or fails.
pub fn make(dir: &Path, name: &str, made: Made<'_>) -> anyhow::Result<PathBuf> {
    let (raw, dump, file) =
        (dir.join(format!("{name}.raw")), dir.join(format!("{name}.dump")), dir.join(format!("{name}.dcm")));
    let (columns, rows) = made.size_px;
    match made.seed {
        Some(seed) => {
            let pgm = pgm(columns, rows, seed);
            fs::write(&raw, &pgm[pgm.len() - (columns * rows) as usize..])?;
        }
        None => File::create(&raw)?.set_len(u64::from(columns) * u64::from(rows))?,
    }
    let text = format!(
        "(0008,0016) UI [{class}]\n(0008,0018) UI [{study}.{instance}]\n(0010,0010) PN [{PATIENT}]\n\
         (0018,0015) CS [{body_part}]\n(0020,000d) UI [{study}]\n(0020,000e) UI [{study}.0]\n\
         (0028,0002) US 1\n(0028,0004) CS [MONOCHROME2]\n(0028,0010) US {rows}\n(0028,0011) US {columns}\n\
         (0028,0100) US 8\n(0028,0101) US 8\n(0028,0102) US 7\n(0028,0103) US 0\n(7fe0,0010) OW ={raw}\n",
        class = made.class,
        study = made.study,
        instance = made.seed.unwrap_or(0) + 1,
        body_part = made.body_part,
        raw = raw.display(),
    );
    fs::write(&dump, text)?;
    bin::succeed(Command::new("dump2dcm").args(["-q", "+te"]).arg(&dump).arg(&file))
        .context("dump2dcm is of the Debian package dcmtk; scripts/test-deps.sh fetches it")?;
    fs::remove_file(&raw)?;
    fs::remove_file(&dump)?;
    Ok(file)
}

/// A sender's command line.
pub fn storescu(port: u16, arguments: &[&str], files: &[PathBuf]) -> Command {
    let mut command = tool("storescu", SENDER, "ULNA", arguments, port);
    command.args(files);
    command
}

/// Asks whether a receiver is there.
///
/// # Errors
/// When echoscu cannot be run; what it says is in its output.
pub fn echo(port: u16, calling: &str, called: &str) -> anyhow::Result<Output> {
    bin::output(&mut tool("echoscu", calling, called, &[], port))
}

fn tool(name: &str, calling: &str, called: &str, arguments: &[&str], port: u16) -> Command {
    let mut command = Command::new(name);
    command.args(["-v", "-aet", calling, "-aec", called]).args(arguments);
    command.args(["127.0.0.1", &port.to_string()]);
    command
}

/// Starts a sender and does not wait for it.
///
/// # Errors
/// When it cannot be started.
pub fn send_meanwhile(port: u16, arguments: &[&str], files: &[PathBuf]) -> anyhow::Result<Child> {
    let mut command = storescu(port, arguments, files);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("storescu is of the Debian package dcmtk")
}

/// Everything a tool said.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
