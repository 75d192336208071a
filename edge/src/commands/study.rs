//! `edge study`: the technician's work without the page, over the running service.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args as ClapArgs, Parser, Subcommand};
use contract::result::Outcome;
use contract::study::StudyType;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::common::{Failure, StationArgs, finish, print_json, wrapped};
use crate::client::{Client, encoded};
use crate::exit::Exit;
use crate::store::ImageState;
use crate::web::api::types::{Capture, OpenStudy, Overrule, Station, Studies, Study, Taken};

const EXAMPLE: &str = "\
The service must run; it is asked over the socket in its state directory. A
study is named by its number in the register book, such as ELB-0427.

Examples:
  edge study open XR_ELBOW --reference \"bed 7\"
  edge study capture ELB-0427
  edge study capture ELB-0427 --file elbow.dcm
  edge study show ELB-0427
  edge study overrule IMAGE_ID --initials AB
  edge study close ELB-0427 --wait
  edge study list --open

Exit codes: 0 done, 6 the service refused and says why, 66 there is no such
study, image or file, 69 the service does not answer, 78 the configuration is
wrong.";

/// How long `close --wait` waits for the answer.
const WAIT_MAX: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Largest file handed over; the service may take less.
const FILE_MAX_BYTES: u64 = 1 << 30;

/// Open a study, take its views, close it and see the answer
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What all have.
#[derive(Debug, ClapArgs)]
struct Common {
    #[command(flatten)]
    station: StationArgs,
    /// Print what the service answers, as JSON
    #[arg(long)]
    json: bool,
}

/// Those about one study.
#[derive(Debug, ClapArgs)]
struct Named {
    /// The study's number in the register book, such as ELB-0427
    #[arg(value_name = "NUMBER")]
    number: String,
    #[command(flatten)]
    common: Common,
}

/// Those about one view.
#[derive(Debug, ClapArgs)]
struct View {
    /// The view's image, as `edge study show` names it
    #[arg(value_name = "IMAGE_ID")]
    image_id: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open a study and print its number
    Open {
        /// What will be radiographed, such as XR_WRIST
        #[arg(value_name = "TYPE")]
        study_type: StudyType,
        /// A note to find the study by; it never leaves the station
        #[arg(long, value_name = "TEXT")]
        reference: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Add a view: a radiograph from the frame grabber, or a file
    Capture {
        #[command(flatten)]
        named: Named,
        /// Add this file (PNG, JPEG, TIFF, PNM, DICOM) instead
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The view takes the place of this image of the study
        #[arg(long, value_name = "IMAGE_ID")]
        replaces: Option<String>,
    },
    /// Drop a view; of a closed study the next result supersedes the one before
    Drop(View),
    /// Have a view scored although it was flagged; the result says that the flag was overruled
    Overrule {
        #[command(flatten)]
        view: View,
        /// Whose decision it is, up to 8 characters; they never leave the station
        #[arg(long, value_name = "INITIALS")]
        initials: String,
    },
    /// Close a study; its result is sent once its images are scored
    Close {
        #[command(flatten)]
        named: Named,
        /// Wait for the answer and print it
        #[arg(long)]
        wait: bool,
    },
    /// List studies, the newest first
    List {
        /// Only those whose number, reference or type contains this
        #[arg(long, value_name = "TEXT")]
        query: Option<String>,
        /// Only those that still take images
        #[arg(long)]
        open: bool,
        /// Most studies to list
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        #[command(flatten)]
        common: Common,
    },
    /// Show a study with its views and its answer
    Show(Named),
    /// Open a closed study again; its next result supersedes the one before
    Reopen(Named),
    /// Forget a closed study: its images, the names of its files and what is known of it
    Purge {
        #[command(flatten)]
        named: Named,
        /// Also when its result has not been acknowledged; it is then lost
        #[arg(long)]
        unsent: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    match &args.command {
        Command::Open { study_type, reference, common } => {
            finish("study open", open(common, study_type, reference.as_deref()))
        }
        Command::Capture { named, file, replaces } => {
            finish("study capture", capture(named, file.as_deref(), replaces.as_deref()))
        }
        Command::Drop(view) => finish("study drop", drop_view(view)),
        Command::Overrule { view, initials } => finish("study overrule", overrule(view, initials)),
        Command::Close { named, wait } => finish("study close", close(named, *wait)),
        Command::List { query, open, limit, common } => {
            finish("study list", list(common, query.as_deref(), *open, *limit))
        }
        Command::Show(named) => finish("study show", show(named)),
        Command::Reopen(named) => finish("study reopen", reopen(named)),
        Command::Purge { named, unsent, yes } => finish("study purge", purge(named, *unsent, *yes)),
    }
}

impl Common {
    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.station.load()?.socket())?)
    }

    /// Prints what the service answered: as it is, or for people.
    fn print<T: DeserializeOwned>(
        &self,
        answer: Value,
        human: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
    ) -> Result<Exit, Failure> {
        if self.json {
            print_json(&answer)?;
        } else {
            human(&understood(answer)?, &mut io::stdout().lock())?;
        }
        Ok(Exit::Ok)
    }
}

impl Named {
    fn path(&self) -> String {
        format!("/studies/{}", encoded(&self.number))
    }
}

impl View {
    fn path(&self, verb: &str) -> String {
        format!("/images/{}/{verb}", encoded(&self.image_id))
    }
}

fn understood<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        let message = format!(
            "the service's answer cannot be understood: {error}; restart it if edge has been upgraded"
        );
        Failure::new(Exit::Internal, message)
    })
}

fn open(common: &Common, study_type: &StudyType, reference: Option<&str>) -> Result<Exit, Failure> {
    let asked = OpenStudy { study_type: study_type.clone(), reference: reference.map(str::to_owned) };
    let client = common.client()?;
    let answer = client.post("/studies", &asked)?;
    if let Ok(station) = client.get::<Station>("/station")
        && !station.study_types.contains(study_type)
    {
        eprintln!("edge study open: the model is not meant for {study_type}, so its answer will be withheld");
    }
    common.print::<Study>(answer, |study, out| writeln!(out, "{}", study.number))
}

fn capture(named: &Named, file: Option<&Path>, replaces: Option<&str>) -> Result<Exit, Failure> {
    let client = named.common.client()?;
    let answer = match file {
        None => client
            .post(&format!("{}/capture", named.path()), &Capture { replaces: replaces.map(str::to_owned) })?,
        Some(file) => {
            let unreadable = |error: io::Error| {
                Failure::new(Exit::Input, format!("cannot read {}: {error}; check the path", file.display()))
            };
            if fs::metadata(file).map_err(unreadable)?.len() > FILE_MAX_BYTES {
                return Err(unreadable(io::Error::other("it is larger than 1 GiB")));
            }
            let bytes = fs::read(file).map_err(unreadable)?;
            let query = replaces.map_or(String::new(), |image| format!("?replaces={}", encoded(image)));
            client.upload(&format!("{}/images{query}", named.path()), bytes)?
        }
    };
    named.common.print::<Taken>(answer, |captured, out| {
        writeln!(out, "{}: image {} accepted", captured.study_number, captured.image_id)
    })
}

fn drop_view(view: &View) -> Result<Exit, Failure> {
    let answer = view.common.client()?.post(&view.path("drop"), &json!({}))?;
    view.common.print::<Study>(answer, |study, out| {
        writeln!(out, "{}: image {} dropped; {}", study.number, view.image_id, next_step(study))
    })
}

fn overrule(view: &View, initials: &str) -> Result<Exit, Failure> {
    let asked = Overrule { initials: initials.to_owned() };
    let answer = view.common.client()?.post(&view.path("overrule"), &asked)?;
    view.common.print::<Study>(answer, |study, out| {
        writeln!(out, "{}: image {} waits to be scored; {}", study.number, view.image_id, next_step(study))
    })
}

/// What is to be done after a change to a study's views.
fn next_step(study: &Study) -> String {
    match (study.open, study.closing, study.by_hand) {
        (true, false, true) => format!("`edge study close {}` closes the study", study.number),
        _ => "the study closes by itself".to_owned(),
    }
}

fn close(named: &Named, wait: bool) -> Result<Exit, Failure> {
    let client = named.common.client()?;
    let mut answer: Value = client.post(&format!("{}/close", named.path()), &json!({}))?;
    let deadline = Instant::now() + WAIT_MAX;
    while wait && understood::<Study>(answer.clone())?.open {
        if Instant::now() > deadline {
            let message = format!("{} is not closed yet after {} s", named.number, WAIT_MAX.as_secs());
            return Err(Failure::new(
                Exit::Unavailable,
                format!("{message}; `edge study show {}` says what it waits for", named.number),
            ));
        }
        thread::sleep(LOOK_AGAIN);
        answer = client.get(&named.path())?;
    }
    named.common.print::<Study>(answer, |study, out| match (&study.result, study.open) {
        (_, true) => writeln!(out, "{} closes as soon as its images are scored", study.number),
        (Some(_), false) => writeln!(out, "{}: {}", study.number, answer_text(study)),
        (None, false) => writeln!(out, "{} is closed", study.number),
    })
}

fn list(common: &Common, query: Option<&str>, open: bool, limit: u16) -> Result<Exit, Failure> {
    let mut path = format!("/studies?limit={limit}");
    if let Some(query) = query {
        path.push_str(&format!("&query={}", encoded(query)));
    }
    if open {
        path.push_str("&open=true");
    }
    let answer = common.client()?.get(&path)?;
    common.print::<Studies>(answer, |page, out| {
        if page.studies.is_empty() {
            return writeln!(out, "no study");
        }
        writeln!(
            out,
            "{:<10}  {:<12}  {:<20}  {:>5}  {:<7}  {:<9}  SENT",
            "NUMBER", "TYPE", "OPENED", "VIEWS", "STATE", "ANSWER"
        )?;
        page.studies.iter().try_for_each(|study| row(study, out))
    })
}

fn row(study: &Study, out: &mut dyn Write) -> io::Result<()> {
    let study_type = study.study_type.as_ref().map_or("?", StudyType::as_str);
    let opened = format!("{:.0}", study.opened_at);
    let views = study.images.iter().filter(|image| image.state != ImageState::Dropped).count();
    let sent = match (study.revision, study.sent) {
        (0, _) => "-",
        (_, true) => "yes",
        (_, false) => "no",
    };
    let number = &study.number;
    writeln!(
        out,
        "{number:<10}  {study_type:<12}  {opened:<20}  {views:>5}  {:<7}  {:<9}  {sent}",
        state(study),
        answer_word(study)
    )
}

fn state(study: &Study) -> &'static str {
    match (study.open, study.closing) {
        (true, true) => "closing",
        (true, false) => "open",
        (false, _) => "closed",
    }
}

fn answer_word(study: &Study) -> String {
    match &study.result {
        None => "-".to_owned(),
        Some(result) => match (result.outcome, result.answer) {
            (Outcome::Scored, Some(answer)) => super::infer::word(&answer),
            (outcome, _) => super::infer::word(&outcome),
        },
    }
}

/// Such as `abnormal (probability 0.713); decision support only`.
fn answer_text(study: &Study) -> String {
    let Some(result) = &study.result else { return "no answer yet".to_owned() };
    match (result.answer, result.probability) {
        (Some(_), Some(probability)) => {
            format!("{} (probability {probability:.3}); {}", answer_word(study), result.notice)
        }
        _ => format!("not scored: {}", result.reason.as_deref().unwrap_or("no reason given")),
    }
}

fn show(named: &Named) -> Result<Exit, Failure> {
    let answer = named.common.client()?.get(&named.path())?;
    named.common.print::<Study>(answer, whole)
}

fn whole(study: &Study, out: &mut dyn Write) -> io::Result<()> {
    let study_type = study.study_type.as_ref().map_or("not said", StudyType::as_str);
    writeln!(out, "study      {} {study_type}, {}", study.number, state(study))?;
    if let Some(reference) = &study.reference {
        writeln!(out, "reference  {}", wrapped(reference, 11))?;
    }
    writeln!(out, "opened     {:.0}", study.opened_at)?;
    if let Some(closed_at) = study.closed_at {
        let sent = if study.sent { "sent" } else { "not sent yet" };
        writeln!(out, "closed     {closed_at:.0}, revision {}, {sent}", study.revision)?;
    }
    writeln!(out, "answer     {}", wrapped(&answer_text(study), 11))?;
    for (index, image) in study.images.iter().enumerate() {
        let found = match (&image.probability, &image.rejected) {
            (Some(probability), _) => format!("probability {probability:.3}"),
            (None, Some(rejection)) => rejection.detail.clone(),
            (None, None) => String::new(),
        };
        let state = super::infer::word(&image.state);
        let head = format!("{}, {state} {found}", image.image_id);
        writeln!(out, "view {:<5} {}", index + 1, wrapped(&head, 11))?;
    }
    Ok(())
}

fn reopen(named: &Named) -> Result<Exit, Failure> {
    let answer = named.common.client()?.post(&format!("{}/reopen", named.path()), &json!({}))?;
    named.common.print::<Study>(answer, |study, out| writeln!(out, "{} is open again", study.number))
}

fn purge(named: &Named, unsent: bool, yes: bool) -> Result<Exit, Failure> {
    let client = named.common.client()?;
    if !yes && !confirmed(&named.number)? {
        return Err(Failure::new(Exit::Refused, "nothing was removed"));
    }
    let query = if unsent { "?unsent=true" } else { "" };
    client.delete(&format!("{}{query}", named.path()))?;
    if named.common.json {
        print_json(&json!({ "purged": named.number }))?;
    } else {
        println!("{} is forgotten", named.number);
    }
    Ok(Exit::Ok)
}

fn confirmed(number: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let message = format!("{number} would be lost for good; say --yes where nobody can be asked");
        return Err(Failure::new(Exit::Refused, message));
    }
    let mut out = io::stdout().lock();
    write!(out, "Forget {number} with all its images, for good? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study() -> Study {
        let image = |state: &str| {
            json!({"image_id": "ab12", "source_name": "x.png", "accepted_at": "2026-11-23T08:00:00Z",
            "state": state, "kept": true, "probability": 0.7134, "activation_map": null, "inference_ms": 1.0,
            "rejected": null, "overrulable": false, "overruled": []})
        };
        let blank =
            json!({"reason": "blank", "detail": "the image is blank; check the exposure and take it again"});
        let mut refused = image("rejected");
        refused["rejected"] = blank;
        refused["probability"] = Value::Null;
        serde_json::from_value(json!({"number": "ELB-0427", "study_type": "XR_ELBOW", "reference": "bed 7",
            "origin": null, "open": false, "closing": false, "by_hand": true, "opened_at": "2026-11-23T08:00:00Z",
            "closed_at": "2026-11-23T08:01:00.5Z", "revision": 2, "sent": false, "later": "ignored",
            "result": {"outcome": "scored", "answer": "abnormal", "answer_withheld": null, "reason": null,
                "probability": 0.7134, "revision": 2, "operating_points": null, "inference_ms": 900.0,
                "model": {"name": "m", "version": 1, "bundle_sha256": "", "purpose": "clinical-evaluation"},
                "notice": "decision support only"},
            "images": [image("scored"), refused, image("dropped")]}))
        .unwrap()
    }

    fn printed(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_fits_a_terminal() {
        let line = printed(|out| row(&study(), out));
        assert_eq!(line, "ELB-0427    XR_ELBOW      2026-11-23T08:00:00Z      2  closed   abnormal   no\n");
        assert!(line.len() <= 81);
    }

    #[test]
    fn a_study_is_shown_whole() {
        let text = printed(|out| whole(&study(), out));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("answer     abnormal (probability 0.713); decision support only\n"), "{text}");
        assert!(text.contains("closed     2026-11-23T08:01:00Z, revision 2, not sent yet\n"), "{text}");
        assert!(text.contains("view 2     ab12, rejected the image is blank"), "{text}");
        assert!(text.contains("reference  bed 7\n"), "{text}");
    }

    #[test]
    fn a_study_without_an_answer_says_why() {
        let mut rejected = study();
        let result = rejected.result.as_mut().unwrap();
        (result.outcome, result.answer, result.probability) = (Outcome::Rejected, None, None);
        result.reason = Some("no usable view".to_owned());
        assert_eq!(answer_text(&rejected), "not scored: no usable view");
        assert_eq!(answer_word(&rejected), "rejected");
        rejected.result = None;
        assert_eq!(
            (answer_word(&rejected).as_str(), answer_text(&rejected).as_str()),
            ("-", "no answer yet")
        );
    }
}
