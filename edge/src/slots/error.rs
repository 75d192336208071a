//! What can go wrong with the slots, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::download::DownloadError;
use crate::exit::Exit;
use crate::inference::{BundleError, ModelError};
use crate::store::StoreError;
use crate::trust::TrustError;

/// Why a slot could not be filled, used or read. What was in use before still is.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// A file or folder of the state directory.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The record of the slots is not one.
    #[error(
        "{path} cannot be understood: {problem}; where a newer version wrote it, install that version again, else remove \
         the file and install the bundle again"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The configuration names a bundle.
    #[error(
        "the configuration names the bundle to use, {0}, so the slots are not used; remove bundle_dir from it to have \
         models installed"
    )]
    Named(PathBuf),
    /// There is nothing to run.
    #[error(
        "no model is in use in {0}; install one with `edge model install BUNDLE --activate`, or name a bundle with bundle_dir"
    )]
    NoModel(PathBuf),
    /// The slot that is to be used holds nothing.
    #[error("the slot that is not in use is empty; install a bundle with `edge model install` first")]
    Empty,
    /// The slot that is to be used holds something else.
    #[error("the slot that is not in use does not hold bundle {0}; `edge model list` shows what it holds")]
    NotThere(String),
    /// A step in the wrong direction.
    #[error("{0}")]
    Direction(String),
    /// Both slots are needed.
    #[error(
        "a bundle is on trial until the service is ready with it; start the service, or go back with `edge model rollback`"
    )]
    OnTrial,
    /// Somebody else installs.
    #[error("another installation is going on in {0}; wait until it has ended")]
    Busy(PathBuf),
    /// There is no room.
    #[error("the bundle needs {needed_mib} MiB and {free_mib} MiB are free in {path}; make room there")]
    Space {
        /// The bundle's size.
        needed_mib: u64,
        /// What is free.
        free_mib: u64,
        /// Where.
        path: PathBuf,
    },
    /// The source cannot be read.
    #[error("cannot read {place}: {source}; is this a whole bundle?")]
    Source {
        /// The file.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The source cannot be reached.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The bundle may not be used here.
    #[error("the bundle is not used: {0}")]
    Refused(#[from] Refusal),
    /// The bundle is not whole.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle fails its self-test.
    #[error("the bundle is not used: {0}")]
    Model(#[from] ModelError),
    /// The test never came to an end.
    #[error(
        "the bundle is not used: its test was begun three times on this machine and never came to an end, which is what happens \
         when memory does not suffice; export a smaller network"
    )]
    Deadly,
    /// The bundle is too slow for this machine.
    #[error(
        "the bundle is not used: one view takes {found_ms:.0} ms on this machine, and model.view_max_ms is {max_ms}; \
         export a smaller network, or allow it more time"
    )]
    Slow {
        /// The shortest over the golden images.
        found_ms: f64,
        /// What the configuration allows.
        max_ms: u64,
    },
}

impl SlotsError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::State(_) | Self::Space { .. } => Exit::Io,
            Self::Named(_) => Exit::Config,
            Self::Empty | Self::NotThere(_) | Self::Direction(_) | Self::OnTrial | Self::Busy(_) => {
                Exit::Refused
            }
            Self::Source { .. } => Exit::Input,
            Self::Download(
                DownloadError::Address(_) | DownloadError::Status { .. } | DownloadError::Shorter { .. },
            ) => Exit::Input,
            Self::Download(DownloadError::Authorities { .. }) => Exit::Config,
            Self::Download(_) => Exit::Unavailable,
            Self::Record { .. }
            | Self::NoModel(_)
            | Self::Refused(_)
            | Self::Bundle(_)
            | Self::Model(_)
            | Self::Deadly
            | Self::Slow { .. } => Exit::Bundle,
        }
    }

    /// Whether the bundle itself is at fault, so that fetching the same again changes nothing.
    pub fn is_of_the_bundle(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Bundle(_) | Self::Model(_) | Self::Deadly | Self::Slow { .. })
    }
}

/// Why a whole bundle may not be used on this station.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody may sign bundles.
    #[error(
        "trust.bundle_keys is empty, so nobody's bundles are trusted; add the public key of whoever signs bundles"
    )]
    NoKeys,
    /// It carries no signature.
    #[error(
        "it is not signed; whoever exported it signs it with `minisign -S -s KEY -m manifest.json` in its folder"
    )]
    Unsigned,
    /// Its signature does not count.
    #[error("its signature does not count: {0}")]
    Signature(TrustError),
    /// It is another one than was asked for.
    #[error("its manifest's SHA-256 is {found}, and {wanted} was asked for")]
    Another {
        /// What was found.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// It is older than what was installed before.
    #[error(
        "its version is {found}, and version {newest} was installed here before; only a higher version may follow"
    )]
    Older {
        /// Its version.
        found: u32,
        /// The highest so far.
        newest: u32,
    },
    /// This program is too old for it.
    #[error("it needs edge {needed} or later, and this is {own}; update edge first")]
    Edge {
        /// What it needs.
        needed: String,
        /// This version.
        own: &'static str,
    },
    /// It is for demonstration.
    #[error(
        "it is for demonstration only; install a bundle for clinical evaluation, or set allow_demo_model = true, which \
         marks every result as DEMONSTRATION MODEL"
    )]
    Demo,
}
