//! `edge support-bundle`: what an engineer far away needs, and nothing of a patient.
//!
//! Every file is put together from parts that hold nothing private (versions, figures, the configuration without its
//! secrets, doctor's findings). The log is free text, so whatever the store knows to be private is struck out of it too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{Failure, StationArgs, finish};
use crate::config::Config;
use crate::doctor;
use crate::exit::Exit;
use crate::figures;
use crate::slots::Slots;
use crate::store::{Inspection, StoreError, sync_dir};

const EXAMPLE: &str = "\
In it: versions, the configuration without passwords and names to log in with,
what `edge doctor --json` says, the model's slots, figures of the store, what
happened lately, the end of the service's log. Not in it: images, names of files, references,
numbers of studies. Run it as root, or as the service's user. Look into it
before you pass it on:
tar xzOf FILE | less

Example:
  edge support-bundle --out /media/usb/clinic-12.tar.gz";

const AUDIT_ROWS_MAX: usize = 500;
const LOG_LINES: &str = "2000";
const LOG_MAX_BYTES: u64 = 1 << 20;
const LOG_TIME_MAX: Duration = Duration::from_secs(20);
/// Shorter words are struck out of nothing: they stand in too many others.
const WORD_MIN_CHARS: usize = 4;
/// What stands in place of something private.
const STRUCK: &str = "[struck out]";

/// Gather what an engineer needs to help, without anything of a patient
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(flatten)]
    station: StationArgs,
    /// The archive to write [default: ulna-support-<station>-<time>.tar.gz in the current folder]
    #[arg(long, value_name = "FILE.tar.gz")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    finish("support-bundle", bundle(args))
}

fn bundle(args: &Args) -> Result<Exit, Failure> {
    let at = Timestamp::now();
    let report = doctor::examine(&args.station.config);
    let station = report.station.clone().unwrap_or_else(|| "unknown".to_owned());
    let folder = format!("ulna-support-{station}-{}", at.strftime("%Y%m%dT%H%M%SZ"));
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));

    let config = Config::load(&args.station.config).ok();
    let state_dir = config.as_ref().map(|config| config.state_dir.as_path());
    let mut files = BTreeMap::new();
    files.insert("doctor.json", pretty(&json!(report)));
    files.insert("versions.json", pretty(&versions(at)));
    files.insert("config.toml", configuration(&args.station.config));
    if let Some(dir) = state_dir {
        files.insert("store.json", pretty(&counted(dir)));
    }
    if let Some(slots) = config.as_ref().and_then(Slots::of) {
        let known = slots.record().map_or_else(|error| json!({ "error": error.to_string() }), |r| json!(r));
        files.insert("slots.json", pretty(&known));
    }
    files.insert("log.txt", log(state_dir));

    let written = archive(&out, &folder, &files, at).map_err(|error| {
        Failure::new(Exit::Io, format!("cannot write {}: {error}; name another with --out", out.display()))
    });
    written?;
    println!("{} written; look into it before you pass it on: tar xzOf {0} | less", out.display());
    Ok(Exit::Ok)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn versions(at: Timestamp) -> Value {
    let machine = figures::machine();
    json!({
        "edge": env!("CARGO_PKG_VERSION"),
        "at": at,
        "payload_schemas": contract::result::SCHEMAS,
        "os": machine.os,
        "kernel": machine.kernel,
        "machine": machine.machine,
        "cores": machine.cores,
    })
}

/// The configuration, written anew, so that its comments do not come along.
fn configuration(path: &Path) -> String {
    let Ok(text) = fs::read_to_string(path) else { return format!("# {} cannot be read\n", path.display()) };
    match toml::from_str::<toml::Table>(&text) {
        Ok(mut table) => {
            strike_secrets(&mut table);
            toml::to_string_pretty(&table).unwrap_or_else(|error| format!("# cannot be written: {error}\n"))
        }
        Err(_) => "# not TOML, so its secrets could not be found and it was left out\n".to_owned(),
    }
}

fn strike_secrets(table: &mut toml::Table) {
    const SECRET: [&str; 7] = ["password", "passphrase", "username", "secret", "token", "credential", "pin"];
    for (key, value) in table {
        let secret = SECRET.iter().any(|word| key.contains(word)) || key == "key";
        // Where a secret lies is none.
        let place = ["_file", "_dir", "_path"].iter().any(|end| key.ends_with(end));
        match value {
            toml::Value::Table(inner) => strike_secrets(inner),
            toml::Value::Array(items) if !secret => {
                for item in items {
                    if let toml::Value::Table(inner) = item {
                        strike_secrets(inner);
                    }
                }
            }
            value if secret && !place => *value = toml::Value::String(STRUCK.to_owned()),
            _ => {}
        }
    }
}

/// What the store holds, counted, and what happened lately.
fn counted(dir: &Path) -> Value {
    let look = || -> Result<Value, StoreError> {
        let Some(store) = Inspection::open(dir)? else { return Ok(json!({ "store": null })) };
        let (format, known) = store.format()?;
        Ok(json!({
            "format": format,
            "format_known": known,
            "rows": store.row_counts()?,
            "outbox": store.outbox()?,
            "audit": store.audit_tail(AUDIT_ROWS_MAX)?,
        }))
    };
    let mut found = look().unwrap_or_else(|error| json!({ "error": error.to_string() }));
    found["database_bytes"] = json!(figures::database_bytes(dir));
    for folder in ["images", "rejected"] {
        found[folder] = json!(figures::folder(&dir.join(folder)));
    }
    found
}

/// The end of the service's log, with everything private struck out.
fn log(state_dir: Option<&Path>) -> String {
    let words = match state_dir.map(Inspection::open) {
        Some(Ok(Some(store))) => match store.private_words() {
            Ok(words) => words,
            Err(error) => return format!("left out, because what is private in it is not known: {error}\n"),
        },
        Some(Ok(None)) => BTreeSet::new(),
        Some(Err(error)) => {
            return format!("left out, because what is private in it is not known: {error}\n");
        }
        None => {
            return "left out, because what is private in it is not known: the configuration\n".to_owned();
        }
    };
    match journal() {
        Ok(text) => strike_private(&text, &words),
        Err(error) => format!("no journal: {error}\n"),
    }
}

fn journal() -> io::Result<String> {
    let mut file = tempfile::tempfile()?;
    let mut process = Command::new("journalctl")
        .args(["--unit=ulna-edge", "--no-pager", "--utc", "--output=short-iso", "--lines", LOG_LINES])
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + LOG_TIME_MAX;
    while process.try_wait()?.is_none() {
        if Instant::now() > deadline {
            process.kill()?;
            process.wait()?;
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    // The newest lines are at the end.
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(LOG_MAX_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Strikes out what the store knows to be private, its parts, and everything that looks like a study's number.
fn strike_private(text: &str, private: &BTreeSet<String>) -> String {
    let mut words: BTreeSet<&str> = BTreeSet::new();
    for word in private {
        let parts =
            word.split('/').flat_map(|part| [part, part.rsplit_once('.').map_or(part, |(stem, _)| stem)]);
        words.extend([word.as_str()].into_iter().chain(parts));
    }
    // The longest first, so that no half of one is left standing.
    let mut words: Vec<&str> = words
        .into_iter()
        .filter(|word| word.chars().count() >= WORD_MIN_CHARS && !word.starts_with("XR_"))
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut text = text.to_owned();
    for word in words {
        if text.contains(word) {
            text = text.replace(word, STRUCK);
        }
    }
    let separator = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    let numbers: BTreeSet<String> =
        text.split(separator).filter(|word| is_study_number(word)).map(str::to_owned).collect();
    numbers.iter().fold(text, |text, number| text.replace(number.as_str(), STRUCK))
}

/// Such as `ELB-0427`.
fn is_study_number(word: &str) -> bool {
    word.split_once('-').is_some_and(|(letters, digits)| {
        (2..=4).contains(&letters.len())
            && letters.bytes().all(|byte| byte.is_ascii_uppercase())
            && (3..=9).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Written beside it and renamed, so that half an archive never has its name.
fn archive(out: &Path, folder: &str, files: &BTreeMap<&str, String>, at: Timestamp) -> io::Result<()> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = tempfile::NamedTempFile::new_in(parent)?;
    let mut archive = tar::Builder::new(GzEncoder::new(draft, Compression::default()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(at.as_second()).unwrap_or(0));
        archive.append_data(&mut header, format!("{folder}/{name}"), content.as_bytes())?;
    }
    let mut draft = archive.into_inner()?.finish()?;
    draft.flush()?;
    draft.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    draft.as_file().sync_all()?;
    draft.persist(out).map_err(|error| error.error)?;
    sync_dir(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_struck_out_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.toml");
        let text = "station = \"clinic-12\" # Dr Secret's\n[mqtt]\nusername = \"anna\"\npassword_file = \"/etc/pw\"\n\
             [web]\ntoken = \"abcdef\"\npin = 1234\n[[users]]\npassword = \"hunter2\"\n";
        fs::write(&path, text).unwrap();
        let kept = configuration(&path);
        for secret in ["anna", "abcdef", "1234", "hunter2", "Dr Secret"] {
            assert!(!kept.contains(secret), "{kept}");
        }
        assert!(kept.contains("/etc/pw") && kept.contains("clinic-12"), "{kept}");
        assert_eq!(kept.matches(STRUCK).count(), 4, "{kept}");
        fs::write(&path, "password = ").unwrap();
        assert!(configuration(&path).starts_with("# not TOML"));
    }

    #[test]
    fn what_is_private_is_struck_out_of_the_log() {
        let words = ["XR_WRIST/meyer_anna_1971", "meyer-left.png", "bed", "Frau Meyer"].map(str::to_owned);
        let text = "accepted meyer-left.png of XR_WRIST/meyer_anna_1971 as ELB-0427\nmeyer-left bed Frau Meyer \
             image_id=ab12 2026-11-23T08:15:00+00:00\n";
        let kept = strike_private(text, &words.into_iter().collect());
        for secret in ["meyer", "Meyer", "ELB-0427"] {
            assert!(!kept.contains(secret), "{kept}");
        }
        assert!(kept.contains("image_id=ab12 2026-11-23T08:15:00+00:00"), "{kept}");
    }

    #[test]
    fn study_numbers_are_recognised() {
        assert!(is_study_number("ELB-0427") && is_study_number("WRI-12345"));
        for word in ["ulna-edge", "UTF-8", "2026-11", "ELB-", "TLSv1-3", "-0427"] {
            assert!(!is_study_number(word), "{word}");
        }
    }
}
