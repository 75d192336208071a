//! `edge` is killed with SIGKILL while studies arrive: once at every named transition and then at random moments,
//! twenty times in all. After the last start every study that was put into the spool has exactly one
//! `(outbox_id, seq)`, none is missing, and each says what `edge infer` says of the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use contract::result::{Outcome, StudyResult};
use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::infer::infer;
use e2e::made::{MadeStudy, Random, study};
use e2e::station::{Setup, Station};

const TRANSITIONS: [&str; 14] = [
    "accept.begin",
    "accept.written",
    "accept.renamed",
    "accept.committed",
    "accept.spool_removed",
    "score.begin",
    "score.before_commit",
    "score.committed",
    "close.before_commit",
    "close.committed",
    "publish.before_send",
    "publish.sent",
    "publish.puback",
    "publish.committed",
];
const KILLS: usize = 20;
const SEED: u64 = 20;
const LONG: Duration = Duration::from_secs(60);

/// One life of the station.
struct Life {
    killed_at: String,
    study: String,
    log_lines: usize,
}

#[test]
fn killed_at_every_transition_nothing_is_lost_or_doubled() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    let mut random = Random::new(SEED);
    let mut studies: Vec<MadeStudy> = Vec::new();
    let mut lives: Vec<Life> = Vec::new();

    while lives.len() < KILLS {
        let index = lives.len();
        let halt = TRANSITIONS.get(index).copied();
        match halt {
            Some(point) => station.start_halting_at(point)?,
            None => station.start()?,
        }
        let made = study(dir.path(), "XR_WRIST", &format!("study{index:02}"), 2, index as u32)?;
        station.drop_study(made.study_type, &made.name, &made.files)?;
        let killed_at = match halt {
            Some(point) => {
                station.wait_for_line(&format!("edge::transition {point}"), LONG)?;
                point.to_owned()
            }
            None => {
                let ms = 50 + (2500.0 * random.share()) as u64;
                thread::sleep(Duration::from_millis(ms));
                format!("{ms} ms after its start")
            }
        };
        station.kill();
        lives.push(Life { killed_at, study: made.name.clone(), log_lines: station.log().len() });
        studies.push(made);
    }

    println!("{:>4}  {:<28} {:<10} log lines of that life", "kill", "killed at", "new study");
    for (number, life) in (1..).zip(&lives) {
        println!("{number:>4}  {:<28} {:<10} {}", life.killed_at, life.study, life.log_lines);
    }

    station.start()?;
    let results =
        collector.wait_for_results(studies.len(), Duration::from_secs(120)).context(station.tail())?;
    // Anything doubled would come now: the outbox drains in order.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(collector.results_by_key()?.len(), results.len(), "results came after the last one");
    assert!(station.stop()?.success());

    let by_key = collector.results_by_key()?;
    println!("{} studies, {} results, {} messages", studies.len(), by_key.len(), collector.results()?.len());
    assert_one_result_each(&by_key, studies.len());
    assert_same_as_infer(by_key.values(), &studies)
}

fn assert_one_result_each(by_key: &BTreeMap<(String, u64), StudyResult>, studies: usize) {
    let sequences: Vec<u64> = by_key.keys().map(|(_, seq)| *seq).collect();
    assert_eq!(sequences, (1..=studies as u64).collect::<Vec<_>>(), "sequence numbers");
    assert_eq!(by_key.keys().map(|(outbox, _)| outbox).collect::<BTreeSet<_>>().len(), 1, "outboxes");
    let distinct = |what: &str, of: &dyn Fn(&StudyResult) -> Option<String>| {
        let found: BTreeSet<Option<String>> = by_key.values().map(of).collect();
        assert!(!found.contains(&None), "a result without {what}");
        assert_eq!(found.len(), studies, "distinct {what}s");
    };
    distinct("study.key", &|result| result.study.key.clone());
    distinct("study.number", &|result| result.study.number.clone());
    for result in by_key.values() {
        assert_eq!(result.study.revision, 1, "{:?}", result.study.number);
        assert_eq!(result.views.len(), 2, "{:?}", result.study.number);
        let images: BTreeSet<_> = result.views.iter().map(|view| view.image_id.clone()).collect();
        assert_eq!(images.len(), 2, "{:?}: one image twice", result.study.number);
    }
}

/// Nothing that leaves the station says which folder a study came from, so the studies are told apart by their
/// scores, which all differ.
fn assert_same_as_infer<'a>(
    results: impl Iterator<Item = &'a StudyResult>,
    studies: &[MadeStudy],
) -> anyhow::Result<()> {
    let folders: Vec<_> = studies.iter().map(|study| &study.dir).collect();
    let inferred = infer(&e2e::demo_bundle(), &folders)?;
    assert_eq!(inferred.code, Some(0), "{}", inferred.stderr);
    let mut expected = Vec::new();
    for (input, result) in &inferred.studies {
        expected.push(logits(result).with_context(|| input.clone())?);
    }
    let mut found = results.map(logits).collect::<anyhow::Result<Vec<_>>>()?;
    for all in [&mut expected, &mut found] {
        all.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    }
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "two studies have the same scores");
    assert_eq!(found, expected, "the scores are not those of edge infer");
    Ok(())
}

fn logits(result: &StudyResult) -> anyhow::Result<Vec<f64>> {
    anyhow::ensure!(result.outcome == Outcome::Scored, "not scored: {:?}", result.reason);
    let mut logits: Vec<f64> = result.views.iter().filter_map(|view| view.logit).collect();
    anyhow::ensure!(logits.len() == result.views.len(), "a view without a logit");
    // A kill may change the order in which the views of a study are accepted.
    logits.sort_by(f64::total_cmp);
    Ok(logits)
}
