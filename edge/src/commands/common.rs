//! What several commands share.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use clap::Parser;

use crate::config::{Config, ConfigError};
use crate::exit::Exit;

/// Widest line of a text for people.
const WIDTH: usize = 80;

/// Where a station's configuration lies unless it is named.
pub(super) const STATION_CONFIG: &str = "/etc/ulna/edge.toml";

/// Which station: the one whose configuration this is.
#[derive(Clone, Debug, Parser)]
pub(super) struct StationArgs {
    /// Configuration file of the station
    #[arg(long, value_name = "FILE", env = "ULNA_CONFIG", default_value = STATION_CONFIG)]
    pub(super) config: PathBuf,
}

/// Why a command ended, and its exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl ToString) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit = match error {
            ConfigError::Read { .. } => Exit::Input,
            ConfigError::Parse { .. } | ConfigError::Invalid { .. } => Exit::Config,
        };
        Self::new(exit, error)
    }
}

impl From<crate::client::ClientError> for Failure {
    fn from(error: crate::client::ClientError) -> Self {
        Self::new(error.exit(), error)
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(Exit::Io, error)
    }
}

/// A reader of our output that goes away, as `head` does, is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Ok } else { Exit::Io };
        Self::new(exit, format!("cannot print: {error}"))
    }
}

impl StationArgs {
    /// Reads and checks the configuration.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config)?)
    }
}

/// Files that root makes in the state directory could not be used by the service any more. `command` is told to be run again
/// as its user.
pub(super) fn refuse_other_user(config: &Config, command: &str) -> Result<(), Failure> {
    let dir = &config.state_dir;
    let owner = match fs::metadata(dir) {
        Ok(facts) => facts.uid(),
        // It will belong to whoever makes it; systemd gives it to the service's user.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let message =
                format!("{} may not be looked at: {error}; run this as the service's user", dir.display());
            return Err(Failure::new(Exit::Io, message));
        }
    };
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let message = format!(
        "{} belongs to another user; run this as that user: sudo -u '#{owner}' edge {command}",
        dir.display()
    );
    Err(Failure::new(Exit::Io, message))
}

/// Says how a command ended, where that was not well.
pub(super) fn finish(command: &str, ended: Result<Exit, Failure>) -> Exit {
    match ended {
        Ok(exit) => exit,
        Err(failure) => {
            if failure.exit != Exit::Ok {
                eprintln!("edge {command}: {}", failure.message);
            }
            failure.exit
        }
    }
}

/// Prints a value as JSON, indented.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(Exit::Internal, error))?;
    Ok(writeln!(out, "{text}")?)
}

/// A text broken into lines that fit a terminal, every one but the first indented. Words longer than a line stay whole.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > WIDTH {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_indented() {
        let text = "word ".repeat(30);
        let lines = wrapped(&text, 20);
        for (index, line) in lines.lines().enumerate() {
            let shown = if index == 0 { 20 + line.len() } else { line.len() };
            assert!(shown <= 80, "{line}");
            assert!(index == 0 || line.starts_with(&" ".repeat(20)) && !line.ends_with(' '), "{line:?}");
        }
        assert_eq!(lines.split_whitespace().count(), 30);
        let long = "x".repeat(100);
        assert_eq!(wrapped(&long, 4), long);
        assert_eq!(wrapped("", 4), "");
    }
}
