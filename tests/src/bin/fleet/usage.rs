//! What a process takes of the machine, from `/proc`.

use std::fs;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A look at one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory now.
    pub(crate) memory_mib: f64,
    /// The most it has had.
    pub(crate) peak_mib: f64,
    /// Processor time so far.
    pub(crate) cpu_s: f64,
}

impl Usage {
    /// This process.
    pub(crate) fn own() -> anyhow::Result<Self> {
        Self::of(std::process::id())
    }

    /// Another process.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        /// Clock ticks in a second, on every Linux (`USER_HZ`).
        const TICKS_PER_S: f64 = 100.0;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |field: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold anything; the fields after it are numbers. utime and stime are 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Ok(Self {
            memory_mib: mib("VmRSS:")?,
            peak_mib: mib("VmHWM:")?,
            cpu_s: (ticks(11) + ticks(12)) / TICKS_PER_S,
        })
    }
}

/// Raises the number of files that may be open, here and in the broker, to what the stations need: store, lock, write-ahead log,
/// connection and the thread's own.
pub(crate) fn allow_open_files(stations: usize) -> anyhow::Result<()> {
    const PER_STATION: usize = 12;
    const BESIDE: usize = 256;
    let needed = (stations * PER_STATION + BESIDE) as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        anyhow::bail!(
            "{stations} stations need {needed} open files, and the system allows {} (ulimit -Hn); raise that, or take fewer",
            limit.maximum.unwrap_or_default()
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .with_context(|| format!("cannot raise the number of open files to {needed}"))
}
