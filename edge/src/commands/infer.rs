//! `edge infer`: scores files and folders without any service.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use clap::Parser;
use contract::radiograph::{self, DicomFacts, Limits, RejectReason};
use contract::result::{Outcome, Rejection, StudyResult, StudySummary, ViewResult};
use contract::study::StudyType;
use serde::Serialize;

use super::common::STATION_CONFIG;
use crate::config::Config;
use crate::exit::Exit;
use crate::inference::{Bundle, Execution, Model, compose, scored_view};
use crate::quality::{self, QualityConfig};
use crate::slots::Slots;

/// Where a bundle is looked for when none is named: the packaged demo, this repository's.
const BUNDLE_DIRS: [&str; 2] = ["/usr/share/ulna/demo/bundle", "edge/demo/bundle"];

/// Score radiographs without any service: a folder is one study, a file a study of one view.
#[derive(Debug, Parser)]
pub struct Args {
    /// Bundle directory [default: the one that the station in /etc/ulna/edge.toml uses, else the first that exists of
    /// /usr/share/ulna/demo/bundle, edge/demo/bundle]
    #[arg(long, value_name = "DIR", env = "ULNA_BUNDLE")]
    bundle: Option<PathBuf>,
    /// What was radiographed, such as XR_WRIST [default: an XR_* folder in the path, else DICOM's
    /// BodyPartExamined]
    #[arg(long, value_name = "TYPE")]
    study_type: Option<StudyType>,
    /// Print one JSON line `{"input": PATH, "result": {…}}` per study
    #[arg(long)]
    json: bool,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Files (PNG, JPEG, TIFF, PNM, DICOM) and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    input: String,
    result: &'a StudyResult,
}

/// One view still to be scored: a study of the command line, a place in it, a file.
struct Task {
    study: usize,
    view: usize,
    path: PathBuf,
}

struct Pending {
    input: PathBuf,
    views: Vec<Option<View>>,
    /// Why there is no view at all.
    empty: Option<String>,
}

struct View {
    path: PathBuf,
    dicom: Option<DicomFacts>,
    result: ViewResult,
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    let model = match load_model(args.bundle.as_deref()) {
        Ok(model) => model,
        Err(message) => {
            eprintln!("edge infer: {message}");
            return Exit::Bundle;
        }
    };
    let (mut studies, tasks) = gather(&args.paths);
    let threads = args.threads.map_or_else(default_threads, usize::from).min(tasks.len().max(1));
    let queue = Mutex::new(tasks.into_iter());
    let (sender, receiver) = crossbeam_channel::bounded(2 * threads);

    let mut unscored = 0usize;
    let printed = thread::scope(|scope| {
        for _ in 0..threads {
            let (queue, sender, model) = (&queue, sender.clone(), &model);
            scope.spawn(move || {
                while let Some(task) = next(queue) {
                    let scored = score_file(model, task.path);
                    if sender.send((task.study, task.view, scored)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);

        // Studies leave in the order they were named, each as soon as it and all before it are whole.
        let mut first_open = 0;
        let mut arrived = receiver.iter();
        loop {
            while studies.get(first_open).is_some_and(|study| study.views.iter().all(Option::is_some)) {
                let scored = finish(&mut studies[first_open], &model, args)?;
                unscored += usize::from(!scored);
                first_open += 1;
            }
            match arrived.next() {
                Some((study, view, scored)) => studies[study].views[view] = Some(scored),
                None => return Ok::<(), io::Error>(()),
            }
        }
    });
    match printed {
        Ok(()) if unscored == 0 => Exit::Ok,
        Ok(()) => {
            eprintln!("edge infer: {unscored} of {} studies could not be scored", studies.len());
            Exit::Unscored
        }
        // The reader of our output went away, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            eprintln!("edge infer: cannot print results: {error}");
            Exit::Io
        }
    }
}

fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn next(queue: &Mutex<std::vec::IntoIter<Task>>) -> Option<Task> {
    queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next()
}

fn load_model(named: Option<&Path>) -> Result<Model, String> {
    let dir = bundle_dir(named)?;
    let bundle = Bundle::load(&dir).map_err(|error| error.to_string())?;
    Model::load(&bundle, Execution::default()).map_err(|error| format!("{}: {error}", dir.display()))
}

/// The bundle that was named, else the one that the station here uses, else the first that is shipped.
pub(super) fn bundle_dir(named: Option<&Path>) -> Result<PathBuf, String> {
    let own = || Slots::bundle_dir(&Config::load(Path::new(STATION_CONFIG)).ok()?).ok();
    let shipped = || BUNDLE_DIRS.iter().map(PathBuf::from).find(|dir| dir.is_dir());
    named.map(Path::to_owned).or_else(own).or_else(shipped).ok_or_else(|| {
        let places = BUNDLE_DIRS.join(", ");
        format!("no bundle in use by {STATION_CONFIG}, and none in {places}; name one with --bundle DIR")
    })
}

/// The studies of the command line, and every file in them as a task.
fn gather(paths: &[PathBuf]) -> (Vec<Pending>, Vec<Task>) {
    let (mut studies, mut tasks) = (Vec::new(), Vec::new());
    for input in paths {
        let (files, empty) = match study_files(input) {
            Ok(files) => (files, None),
            Err(message) => (Vec::new(), Some(message)),
        };
        let study = studies.len();
        tasks.extend(files.iter().enumerate().map(|(view, path)| Task { study, view, path: path.clone() }));
        studies.push(Pending { input: input.clone(), views: files.iter().map(|_| None).collect(), empty });
    }
    (studies, tasks)
}

/// The files of one study: the path itself, or the folder's files by name, hidden ones left out.
fn study_files(input: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable =
        |error: io::Error| format!("cannot read it: {error}; check the path and its permissions");
    if !fs::metadata(input).map_err(unreadable)?.is_dir() {
        return Ok(vec![input.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = 0;
    for entry in fs::read_dir(input).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() {
            folders += 1;
        } else if !hidden {
            files.push(path);
        }
    }
    if files.is_empty() {
        let hint = if folders > 0 { "; it holds folders: name each study's folder" } else { "" };
        return Err(format!("the folder holds no image{hint}"));
    }
    files.sort();
    Ok(files)
}

fn score_file(model: &Model, path: PathBuf) -> View {
    let limits = Limits::default();
    let rejected = |reason, detail: String| ViewResult::refused(None, Rejection::new(reason, detail));
    let bytes = match read_file(&path, limits.file_max_bytes) {
        Ok(bytes) => bytes,
        Err((reason, detail)) => return View { path, dicom: None, result: rejected(reason, detail) },
    };
    let decoded = match radiograph::decode(&bytes, &limits) {
        Ok(decoded) => decoded,
        Err(error) => {
            let dicom = radiograph::dicom_facts(&bytes);
            return View { path, dicom, result: rejected(error.reason(), error.to_string()) };
        }
    };
    let flags = quality::judge(&decoded.radiograph, None, &QualityConfig::default());
    let result = match quality::rejection(&flags) {
        Some(rejection) => ViewResult::refused(None, rejection),
        None => match model.score(&decoded.radiograph) {
            Ok(score) => scored_view(None, score),
            Err(error) => rejected(RejectReason::ModelOutput, error.to_string()),
        },
    };
    View { path, dicom: decoded.dicom, result }
}

fn read_file(path: &Path, max_bytes: u64) -> Result<Vec<u8>, (RejectReason, String)> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes))
        .map_err(|error| (RejectReason::Corrupt, format!("the file cannot be read: {error}")))?;
    if bytes.len() as u64 > max_bytes {
        let detail =
            format!("the file is larger than {} MiB; export the radiograph without extras", max_bytes >> 20);
        return Err((RejectReason::TooLarge, detail));
    }
    Ok(bytes)
}

/// Prints a study whose views are all in; says whether it was scored.
fn finish(study: &mut Pending, model: &Model, args: &Args) -> io::Result<bool> {
    let input = study.input.display().to_string();
    let views: Vec<View> = study.views.drain(..).flatten().collect();
    for view in &views {
        if let Some(rejection) = &view.result.rejected {
            eprintln!("edge infer: {}: {}", view.path.display(), rejection.detail);
        }
    }
    let study_type = args
        .study_type
        .clone()
        .or_else(|| type_of_path(&study.input))
        .or_else(|| views.iter().find_map(|view| type_of_dicom(view.dicom.as_ref())));
    let summary = StudySummary {
        key: None,
        key_id: None,
        number: None,
        study_type,
        revision: 1,
        opened_at: None,
        closed_at: None,
        probability: None,
    };
    let views = views.into_iter().map(|view| view.result).collect();
    let mut result = compose(model.manifest(), None, model.summary(), summary, views, None);
    if let Some(message) = study.empty.take() {
        eprintln!("edge infer: {input}: {message}");
        result.reason = Some(message);
    }

    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &Line { input, result: &result })?;
        writeln!(out)?;
    } else {
        writeln!(out, "{input}: {}", sentence(&result))?;
    }
    out.flush()?;
    Ok(result.outcome == Outcome::Scored)
}

/// The study type a path names, as the spool's folders do: `…/XR_WRIST/…`.
fn type_of_path(path: &Path) -> Option<StudyType> {
    path.components().rev().find_map(|part| part.as_os_str().to_str()?.parse().ok())
}

fn type_of_dicom(dicom: Option<&DicomFacts>) -> Option<StudyType> {
    StudyType::from_body_part(dicom?.body_part.as_deref()?)
}

/// A result for people.
pub(super) fn sentence(result: &StudyResult) -> String {
    let (Some(answer), Some(probability)) = (result.answer, result.study.probability) else {
        let reason = result.reason.as_deref().unwrap_or("no reason given");
        return format!("not scored: {reason}");
    };
    let mut text = format!("{} (probability {probability:.3}", word(&answer));
    let scored = result.views.iter().filter(|view| view.probability.is_some()).count();
    text.push_str(&format!(", {scored} of {} views", result.views.len()));
    if let Some(withheld) = result.answer_withheld {
        text.push_str(&format!(", answer withheld: {}", word(&withheld)));
    }
    format!("{text}); {}", result.notice)
}

/// An enum's name as the JSON has it.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
