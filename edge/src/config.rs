//! The station's configuration: one TOML file, read as it is written, then checked as a whole.
//!
//! Each section's type lives in the module it configures. Unknown keys are errors: a misspelt limit that is
//! silently ignored is worse than a station that does not start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use contract::radiograph::Limits;
use contract::result::check_station_name;
use serde::Deserialize;

use crate::capture::dicom::DicomConfig;
use crate::capture::replay::ReplayConfig;
use crate::capture::spool::SpoolConfig;
use crate::capture::v4l2::V4l2Config;
use crate::control::CommandsConfig;
use crate::publish::MqttConfig;
use crate::quality::QualityConfig;
use crate::slots::ModelConfig;
use crate::store::LimitsConfig;
use crate::study::StudyConfig;
use crate::trust::TrustConfig;
use crate::web::WebConfig;

/// Largest configuration file read, in bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The station's name: a level of its topics.
    pub station: String,
    /// Where the store, the images and the site key lie.
    pub state_dir: PathBuf,
    /// The model's bundle, where the configuration names one; else the slots hold it.
    pub bundle_dir: Option<PathBuf>,
    /// Whether a bundle with `purpose: demo` may run.
    pub allow_demo_model: bool,
    /// Scoring threads, at least one.
    pub workers: usize,
    /// `[model]`
    pub model: ModelConfig,
    /// `[study]`
    pub study: StudyConfig,
    /// `[image]`
    pub image: ImageConfig,
    /// `[quality]`
    pub quality: QualityConfig,
    /// `[spool]`, where there is one.
    pub spool: Option<SpoolConfig>,
    /// `[v4l2]`, where there is one.
    pub v4l2: Option<V4l2Config>,
    /// `[dicom]`, where there is one.
    pub dicom: Option<DicomConfig>,
    /// `[replay]`, where there is one.
    pub replay: Option<ReplayConfig>,
    /// `[mqtt]`
    pub mqtt: MqttConfig,
    /// `[commands]`
    pub commands: CommandsConfig,
    /// `[trust]`
    pub trust: TrustConfig,
    /// `[web]`
    pub web: WebConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// The file's content, to be shown: secrets lie in files of their own.
    pub shown: serde_json::Value,
}

/// `[image]`: what is taken for a radiograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// Largest file in MiB; a larger one is rejected unread.
    pub file_max_mib: u64,
    /// Most pixels, in millions.
    pub pixels_max_mpx: u64,
    /// Shortest side in pixels.
    pub side_min_px: u32,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self { file_max_mib: 64, pixels_max_mpx: 60, side_min_px: 64 }
    }
}

impl ImageConfig {
    /// The decoder's limits.
    pub fn limits(&self) -> Limits {
        Limits {
            file_max_bytes: self.file_max_mib << 20,
            pixels_max: self.pixels_max_mpx * 1_000_000,
            side_min_px: self.side_min_px,
        }
    }

    fn check(&self) -> Result<(), String> {
        within("image.file_max_mib", self.file_max_mib, 1, 1024)?;
        within("image.pixels_max_mpx", self.pixels_max_mpx, 1, 400)?;
        within("image.side_min_px", u64::from(self.side_min_px), 16, 4096)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {source}; name it with --config FILE")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not TOML, an unknown key, or a value of another type; the text names the line.
    #[error("the configuration {path} cannot be understood: line {line}: {message}; correct or remove it")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1; of a missing key, where it should be.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A value that cannot be right.
    #[error("the configuration {path} is wrong: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which key, why, and what to do.
        problem: String,
    },
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    station: String,
    state_dir: PathBuf,
    bundle_dir: Option<PathBuf>,
    #[serde(default)]
    allow_demo_model: bool,
    #[serde(default)]
    workers: usize,
    #[serde(default)]
    model: ModelConfig,
    #[serde(default)]
    study: StudyConfig,
    #[serde(default)]
    image: ImageConfig,
    #[serde(default)]
    quality: QualityConfig,
    spool: Option<SpoolConfig>,
    v4l2: Option<V4l2Config>,
    dicom: Option<DicomConfig>,
    replay: Option<ReplayConfig>,
    #[serde(default)]
    mqtt: MqttConfig,
    #[serde(default)]
    commands: CommandsConfig,
    #[serde(default)]
    trust: TrustConfig,
    #[serde(default)]
    web: WebConfig,
    #[serde(default)]
    limits: LimitsConfig,
}

impl Config {
    /// The unix socket over which the command line asks the service.
    pub fn socket(&self) -> PathBuf {
        self.web.socket.clone().unwrap_or_else(|| self.state_dir.join("api.sock"))
    }

    /// Reads and checks a configuration file. Nothing it names is opened.
    ///
    /// # Errors
    /// When the file cannot be read, holds an unknown key or a value of another type, or a value cannot be
    /// right.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
        let size_bytes = fs::metadata(path).map_err(unreadable)?.len();
        if size_bytes > FILE_MAX_BYTES {
            return Err(unreadable(io::Error::other(format!("it is larger than {FILE_MAX_BYTES} bytes"))));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, path)
    }

    /// Checks a configuration's text; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Config::load`], but for reading.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
            ConfigError::Parse { path: path.to_owned(), line, message: error.message().replace('\n', " ") }
        })?;
        let shown = toml::from_str(text).unwrap_or_default();
        Self::check(raw, shown).map_err(|problem| ConfigError::Invalid { path: path.to_owned(), problem })
    }

    fn check(raw: RawConfig, shown: serde_json::Value) -> Result<Self, String> {
        check_station_name(&raw.station).map_err(|problem| format!("station: {problem}"))?;
        within("workers", raw.workers as u64, 0, 256)?;
        raw.model.check()?;
        raw.study.check()?;
        raw.image.check()?;
        raw.quality.check()?;
        raw.limits.check()?;
        raw.mqtt.check()?;
        raw.trust.check()?;
        raw.commands.check(&raw.trust)?;
        raw.web.check()?;
        if let Some(spool) = &raw.spool {
            spool.check()?;
            if spool.dir.starts_with(&raw.state_dir) || raw.state_dir.starts_with(&spool.dir) {
                return Err("spool.dir and state_dir lie within each other; keep them apart".to_owned());
            }
        }
        if let Some(v4l2) = &raw.v4l2 {
            v4l2.check()?;
        }
        if let Some(dicom) = &raw.dicom {
            dicom.check()?;
        }
        if let Some(replay) = &raw.replay {
            replay.check()?;
        }
        if raw.spool.is_none() && raw.v4l2.is_none() && raw.dicom.is_none() && raw.replay.is_none() {
            return Err(
                "there is no source of images; add a [spool], [dicom], [v4l2] or [replay] section".to_owned()
            );
        }
        let workers = match raw.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            named => named,
        };
        Ok(Self {
            station: raw.station,
            bundle_dir: raw.bundle_dir,
            state_dir: raw.state_dir,
            allow_demo_model: raw.allow_demo_model,
            workers,
            model: raw.model,
            study: raw.study,
            image: raw.image,
            quality: raw.quality,
            spool: raw.spool,
            v4l2: raw.v4l2,
            dicom: raw.dicom,
            replay: raw.replay,
            mqtt: raw.mqtt,
            commands: raw.commands,
            trust: raw.trust,
            web: raw.web,
            limits: raw.limits,
            shown,
        })
    }
}

/// Checks a number's range.
pub(crate) fn within(key: &str, value: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(format!("{key} is {value}; expected {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        "station = \"clinic-12\"\nstate_dir = \"/var/lib/ulna\"\n[spool]\ndir = \"/srv/spool\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("edge.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shortest_configuration_has_the_documented_defaults() {
        let config = parse(MINIMAL).unwrap();
        assert_eq!(config.bundle_dir, None);
        assert!(!config.allow_demo_model);
        assert!(config.workers >= 1);
        assert_eq!(config.image.limits(), Limits::default());
        assert_eq!(config.study.idle_close_s, 20);
        assert_eq!(config.web.listen.to_string(), "127.0.0.1:8460");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse(&format!("{MINIMAL}rescan_msec = 5\n")).unwrap_err();
        assert!(error.starts_with("the configuration edge.toml cannot be understood: "), "{error}");
        assert!(error.contains("line 5") && error.contains("unknown field `rescan_msec`"), "{error}");
        assert!(error.contains("rescan_ms"), "{error}");
        let error = parse(&format!("{MINIMAL}[mqqt]\n")).unwrap_err();
        assert!(error.contains("line 5") && error.contains("unknown field `mqqt`"), "{error}");
    }

    #[test]
    fn a_missing_or_mistyped_value_is_named() {
        let error = parse("state_dir = \"/x\"\n[spool]\ndir = \"/srv/spool\"\n").unwrap_err();
        assert!(error.contains("missing field `station`"), "{error}");
        let error = parse(&MINIMAL.replace("\"clinic-12\"", "12")).unwrap_err();
        assert!(error.contains("line 1") && error.contains("expected a string"), "{error}");
    }

    #[test]
    fn plain_text_to_another_machine_is_refused() {
        let error = parse(&format!("{MINIMAL}[mqtt]\nhost = \"broker.example\"\n")).unwrap_err();
        assert!(error.starts_with("the configuration edge.toml is wrong: mqtt.host"), "{error}");
        assert!(error.contains("plain text") && error.contains("mqtt.ca_file"), "{error}");
        assert!(parse(&format!("{MINIMAL}[mqtt]\nhost = \"b.example\"\nallow_plaintext = true\n")).is_ok());
    }

    #[test]
    fn a_bad_station_name_is_refused_with_an_example() {
        let error = parse(&MINIMAL.replace("clinic-12", "Clinic/12")).unwrap_err();
        assert!(error.contains("station: `Clinic/12` is not a station name"), "{error}");
        assert!(error.contains("such as clinic-12"), "{error}");
    }

    #[test]
    fn limits_have_ranges_and_a_source_is_needed() {
        let error = parse(&format!("{MINIMAL}[image]\nfile_max_mib = 0\n")).unwrap_err();
        assert!(error.ends_with("image.file_max_mib is 0; expected 1 to 1024"), "{error}");
        let error = parse("station = \"a\"\nstate_dir = \"/x\"\n").unwrap_err();
        assert!(
            error.ends_with(
                "there is no source of images; add a [spool], [dicom], [v4l2] or [replay] section"
            ),
            "{error}"
        );
        let error = parse(&MINIMAL.replace("/srv/spool", "/var/lib/ulna/spool")).unwrap_err();
        assert!(error.contains("spool.dir and state_dir lie within each other"), "{error}");
    }

    #[test]
    fn a_receiver_needs_to_know_who_may_send() {
        const STATION: &str = "station = \"a\"\nstate_dir = \"/x\"\n[dicom]\n";
        let dicom = parse(&format!("{STATION}calling_ae_titles = [\"DIGITISER\"]\n")).unwrap().dicom.unwrap();
        assert_eq!(dicom.listen.to_string(), "127.0.0.1:11112");
        assert_eq!((dicom.ae_title.as_str(), dicom.storage_classes.len()), ("ULNA", 3));
        let error = parse(STATION).unwrap_err();
        assert!(error.contains("missing field `calling_ae_titles`"), "{error}");
        for (line, problem) in [
            ("calling_ae_titles = []", "dicom.calling_ae_titles is empty"),
            ("calling_ae_titles = [\"A NAME MUCH TOO LONG\"]", "is not an AE title"),
            ("calling_ae_titles = [\"A\"]\nstorage_classes = []", "dicom.storage_classes is empty"),
            ("calling_ae_titles = [\"A\"]\nstorage_classes = [\"sr\"]", "unknown variant `sr`"),
            ("calling_ae_titles = [\"A\"]\npdu_max_bytes = 100", "dicom.pdu_max_bytes is 100; expected 4096"),
        ] {
            let error = parse(&format!("{STATION}{line}\n")).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
