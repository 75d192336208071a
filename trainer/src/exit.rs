//! Expected failures and the exit codes they end in (`trainer --help` lists them).

use std::io;

use crate::{dataset, phantom};

/// An expected failure. Whatever else comes out of a command is a bug and exits with 1.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The data cannot be used (65).
    #[error("{0}")]
    BadData(String),
    /// An input is missing (66).
    #[error("{0}")]
    InputMissing(String),
    /// Reading or writing failed (74).
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to which file.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Told to stop before the end, with everything saved (75): not done, and not wrong.
    #[error("{0}")]
    Stopped(String),
}

/// The exit code for an error: that of the first cause in its chain that is an expected failure.
pub fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return match fault {
                Fault::BadData(_) => 65,
                Fault::InputMissing(_) => 66,
                Fault::Io { source, .. } => io_code(source),
                Fault::Stopped(_) => 75,
            };
        }
        if let Some(error) = cause.downcast_ref::<dataset::Error>() {
            return match error {
                dataset::Error::Missing { .. } | dataset::Error::NoFiles { .. } => 66,
                dataset::Error::Io { source, .. } => io_code(source),
                _ => 65,
            };
        }
        if cause.is::<phantom::Error>() {
            return 74;
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return io_code(error);
        }
    }
    1
}

fn io_code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { 66 } else { 74 }
}

/// What a command that did not end well says last.
pub fn last_words(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Fault>() {
        Some(Fault::Stopped(words)) => words.clone(),
        _ => format!("error: {}", describe(error)),
    }
}

/// An error and its causes in one line. A cause whose words the line already ends with is not repeated.
pub fn describe(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn an_expected_failure_keeps_its_code_under_context() {
        let fault = Err::<(), _>(Fault::BadData("a broken run".into())).context("evaluating");
        assert_eq!(fault.map_err(|e| code(&e)), Err(65));
        let full = io::Error::other("no space left");
        let fault = anyhow::Error::from(Fault::Io { doing: "writing a file".into(), source: full });
        assert_eq!(describe(&fault.context("training")), "training: writing a file: no space left");
        let missing = std::fs::read("/nonexistent/file").context("reading the manifest");
        assert_eq!(missing.map(drop).map_err(|e| code(&e)), Err(66));
        assert_eq!(code(&anyhow::anyhow!("a bug")), 1);
        let stopped = anyhow::Error::from(Fault::Stopped("stopped after step 7".into()));
        assert_eq!((code(&stopped), last_words(&stopped).as_str()), (75, "stopped after step 7"));
    }
}
