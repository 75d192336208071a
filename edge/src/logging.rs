//! Where log records go: journald when the service is connected to it, else one line each on standard error,
//!
//! ```text
//! 2026-03-01T08:15:30.123Z INFO edge::publish connected to the broker host=127.0.0.1 port=1883
//! ```
//!
//! In the journal a record's values are fields (`HOST`, `PORT`, …). Two are added to each: `STATION` and `STAGE`, the room
//! of the program that speaks.
//!
//! The level asked for holds for Ulna's own records. What its dependencies say is held to warnings, and the
//! MQTT client's to errors, because the session reports every refusal and loss itself, once.
//!
//! Records name studies and images by the station's own numbers and ids, never by a file or a patient.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::OnceLock;

use jiff::Timestamp;
use log::kv::{self, Key, Source, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// The targets whose records follow the level asked for.
const OWN_TARGETS: [&str; 2] = ["edge", "contract"];
/// Values that the message says too: fields to search the journal by, left out of a line.
const SAID: [&str; 2] = ["study_number", "image_id"];

static STATION: OnceLock<String> = OnceLock::new();

/// Starts logging at `level`, for the whole process.
///
/// # Errors
/// When a logger is installed already.
pub fn init(level: LevelFilter) -> Result<(), log::SetLoggerError> {
    log::set_boxed_logger(Box::new(Filtered { level, sink: Sink::choose() }))?;
    log::set_max_level(level);
    Ok(())
}

/// From now on records in the journal bear the station's name.
pub fn name_station(station: &str) {
    // A name is given once in a process; another configuration means another process.
    let _ = STATION.set(station.to_owned());
}

enum Sink {
    Journal(JournalLog),
    Stderr,
}

impl Sink {
    fn choose() -> Self {
        if connected_to_journal()
            && let Ok(journal) = JournalLog::new()
        {
            return Self::Journal(journal);
        }
        Self::Stderr
    }
}

struct Filtered {
    level: LevelFilter,
    sink: Sink,
}

impl Log for Filtered {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= level_of(metadata.target(), self.level)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match &self.sink {
            Sink::Journal(journal) => to_journal(journal, record),
            Sink::Stderr => {
                // One write for the whole line, so that lines of several threads never mix. There is nowhere
                // to report a failure to.
                let _ = io::stderr().lock().write_all(line(Timestamp::now(), record).as_bytes());
            }
        }
    }

    fn flush(&self) {}
}

fn to_journal(journal: &JournalLog, record: &Record<'_>) {
    let fields = Fields { own: record.key_values(), stage: stage(record.target()), station: STATION.get() };
    // The journal's logger puts each level one priority too high: `Info` becomes a notice.
    let level = match record.level() {
        Level::Info => Level::Debug,
        Level::Debug => Level::Trace,
        level => level,
    };
    journal.log(&record.to_builder().level(level).key_values(&fields).build());
}

/// A record's own values and what all have.
struct Fields<'a> {
    own: &'a dyn Source,
    stage: &'a str,
    station: Option<&'a String>,
}

impl Source for Fields<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        self.own.visit(visitor)?;
        visitor.visit_pair(Key::from_str("stage"), Value::from(self.stage))?;
        if let Some(station) = self.station {
            visitor.visit_pair(Key::from_str("station"), Value::from(station.as_str()))?;
        }
        Ok(())
    }
}

/// The room of the program: `publish` of `edge::publish::session`; another crate's name as it is.
fn stage(target: &str) -> &str {
    let own = target.strip_prefix("edge::").unwrap_or(target);
    own.split("::").next().unwrap_or(own)
}

/// The level that holds for a target when `asked` holds for Ulna's own.
fn level_of(target: &str, asked: LevelFilter) -> LevelFilter {
    let root = target.split("::").next().unwrap_or(target);
    if OWN_TARGETS.contains(&root) {
        asked
    } else if root == "rumqttd" {
        // The demo's broker writes every span of its tracing as an error.
        LevelFilter::Off
    } else if root == "rumqttc" {
        asked.min(LevelFilter::Error)
    } else {
        asked.min(LevelFilter::Warn)
    }
}

/// One record as one line, its line breaks and other control characters escaped.
fn line(at: Timestamp, record: &Record<'_>) -> String {
    let mut text = format!("{} {}", record.target(), record.args());
    let _ = record.key_values().visit(&mut KeyValues(&mut text));
    let mut line = format!("{at:.3} {} ", record.level());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

struct KeyValues<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for KeyValues<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        if SAID.contains(&key.as_str()) {
            return Ok(());
        }
        let value = value.to_string();
        if value.contains([' ', '"']) {
            write!(self.0, " {key}={value:?}")?;
        } else {
            write!(self.0, " {key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_it_holds() {
        let at: Timestamp = "2026-03-01T08:15:30.123456Z".parse().unwrap();
        let pairs = [("image_id", "said already"), ("code", "a1b2"), ("why", "two\nlines")];
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("edge::capture")
            .args(format_args!("refused\nan image"))
            .key_values(&pairs)
            .build();
        assert_eq!(
            line(at, &record),
            "2026-03-01T08:15:30.123Z WARN edge::capture refused\\nan image code=a1b2 why=two\\nlines\n"
        );
    }

    #[test]
    fn the_journal_gets_the_station_and_the_stage_beside_a_records_own_values() {
        let (own, station) = ([("study_number", "WRI-0001")], "clinic-12".to_owned());
        let fields = Fields { own: &own, stage: stage("edge::publish::session"), station: Some(&station) };
        let pairs = ["study_number", "stage", "station"]
            .map(|key| fields.get(Key::from_str(key)).unwrap().to_string());
        assert_eq!(pairs, ["WRI-0001", "publish", "clinic-12"]);
        assert_eq!(fields.count(), 3);
        assert_eq!(
            (stage("edge::keeper"), stage("tract_core::model"), stage("edge")),
            ("keeper", "tract_core", "edge")
        );
    }

    #[test]
    fn dependencies_are_held_to_warnings() {
        assert_eq!(level_of("edge::transition", LevelFilter::Trace), LevelFilter::Trace);
        assert_eq!(level_of("tract_core::model", LevelFilter::Trace), LevelFilter::Warn);
        assert_eq!(level_of("rumqttc::v5::state", LevelFilter::Info), LevelFilter::Error);
        assert_eq!(level_of("tract_core", LevelFilter::Error), LevelFilter::Error);
        assert_eq!(level_of("edgeless", LevelFilter::Trace), LevelFilter::Warn);
    }
}
