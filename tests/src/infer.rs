//! `edge infer --json`, run and read.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use contract::result::StudyResult;

use crate::bin;

/// What a run of `edge infer --json` gave.
#[derive(Debug)]
pub struct Inferred {
    /// The exit code.
    pub code: Option<i32>,
    /// Each line's input and result, in order.
    pub studies: Vec<(String, StudyResult)>,
    /// What it complained about.
    pub stderr: String,
}

/// Runs `edge infer --json` on paths.
///
/// # Errors
/// When it cannot be started or prints something else than results.
pub fn infer<P: AsRef<Path>>(bundle: &Path, paths: &[P]) -> anyhow::Result<Inferred> {
    let mut command = Command::new(bin::edge()?);
    command.args(["infer", "--json", "--bundle"]).arg(bundle);
    command.args(paths.iter().map(|path| path.as_ref().as_os_str()));
    let output = bin::output(&mut command)?;
    let mut studies = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let mut value: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        let input = value["input"].as_str().with_context(|| format!("no input in {line}"))?.to_owned();
        studies.push((input, serde_json::from_value(value["result"].take())?));
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Inferred { code: output.status.code(), studies, stderr })
}
