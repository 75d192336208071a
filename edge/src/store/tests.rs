//! The store against a model in memory under random actions, closed and opened again between them; and its files.

mod commands;
mod daily;
mod leaving;
mod resend;

use std::collections::{BTreeMap, BTreeSet};

use contract::bundle::Purpose;
use contract::radiograph::RejectReason;
use contract::result::{ModelSummary, Outcome, Rejection, StudyResult, StudySummary, ViewResult};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const GROUPING: Grouping = Grouping { views_max: 4, reopen_max_ms: 3_600_000 };

fn origin(index: u8) -> Origin {
    let study_type = "XR_WRIST".parse().unwrap();
    // The last one is a file that is a study by itself.
    Origin { name: format!("XR_WRIST/{index}"), study_type: Some(study_type), single: index == 3 }
}

fn image(origin: &Origin) -> NewImage<'_> {
    NewImage { origin, source_name: "a.png", extension: "png", grouping: GROUPING }
}

fn facts(path: &str, content: &[u8]) -> SourceFacts {
    SourceFacts { path: path.to_owned(), size_bytes: content.len() as u64, modified_ns: 7 }
}

fn accept(store: &Store, origin: &Origin, path: &str, content: &[u8]) -> Accepted {
    let staged = store.stage(&facts(path, content), &mut &*content).unwrap();
    store.accept(staged, &image(origin)).unwrap()
}

fn view(image_id: &str, usable: bool) -> ViewResult {
    let rejection = Rejection::new(RejectReason::Blank, "blank");
    ViewResult {
        image_id: Some(image_id.to_owned()),
        probability: usable.then_some(0.5),
        logit: usable.then_some(0.0),
        activation_map: None,
        rejected: (!usable).then_some(rejection),
        overruled: Vec::new(),
        inference_ms: usable.then_some(1.0),
    }
}

pub(crate) fn result(study: StudySummary, views: Vec<ViewResult>) -> StudyResult {
    StudyResult {
        delivery: None,
        outcome: if views.iter().any(|view| view.rejected.is_none()) {
            Outcome::Scored
        } else {
            Outcome::Rejected
        },
        answer: None,
        answer_withheld: None,
        reason: None,
        study,
        views,
        operating_points: None,
        model: ModelSummary {
            name: "test".to_owned(),
            version: 1,
            bundle_sha256: "0".repeat(64),
            purpose: Purpose::Demo,
            aspect: None,
        },
        clock_synchronised: None,
        notice: "test".to_owned(),
    }
}

fn finish_next(store: &Store, usable: bool) -> Option<String> {
    let claim = store.claim().unwrap()?;
    store.finish(&claim, &view(&claim.image_id, usable)).unwrap();
    Some(claim.image_id.clone())
}

fn close(store: &Store, id: i64) -> Option<Closed> {
    store.close(StudyId(id), result).unwrap()
}

fn open(dir: &TempDir) -> Store {
    Store::open(dir.path(), LimitsConfig::default()).unwrap()
}

fn names(dir: PathBuf) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Accept(u8),
    AcceptAgain,
    Finish(bool),
    Close(u8),
    Ack(u8),
    Refuse(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..4).prop_map(Step::Accept),
        1 => Just(Step::AcceptAgain),
        5 => any::<bool>().prop_map(Step::Finish),
        4 => (0u8..8).prop_map(Step::Close),
        2 => (0u8..4).prop_map(Step::Ack),
        2 => (0u8..2).prop_map(Step::Refuse),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    studies: Vec<ModelStudy>,
    /// Studies of waiting images, in the order of acceptance.
    waiting: Vec<usize>,
    /// Study, revision and refusals by `seq`.
    outbox: BTreeMap<u64, (usize, u32, u32)>,
    last_seq: u64,
    latest: Option<u64>,
}

struct ModelStudy {
    origin: u8,
    open: bool,
    views: u32,
    revision: u32,
}

impl Model {
    fn accept(&mut self, origin: u8) {
        let newest = self.studies.iter().rposition(|study| study.origin == origin);
        let joins = newest.filter(|&study| origin != 3 && self.studies[study].views < GROUPING.views_max);
        let study = joins.unwrap_or_else(|| {
            self.studies.push(ModelStudy { origin, open: true, views: 0, revision: 0 });
            self.studies.len() - 1
        });
        self.studies[study].open = true;
        self.studies[study].views += 1;
        self.waiting.push(study);
    }

    fn close(&mut self, study: usize) -> Option<(u32, u64)> {
        if self.waiting.contains(&study) || !self.studies.get(study)?.open {
            return None;
        }
        self.last_seq += 1;
        let row = &mut self.studies[study];
        row.open = false;
        row.revision += 1;
        self.outbox.insert(self.last_seq, (study, row.revision, 0));
        Some((row.revision, self.last_seq))
    }

    fn alive(&self) -> Vec<u64> {
        self.outbox.iter().filter(|(_, (_, _, refusals))| *refusals < 5).map(|(seq, _)| *seq).collect()
    }

    fn check(&self, store: &Store) {
        let open = store.open_studies().unwrap();
        let expected: Vec<_> = (1..)
            .zip(&self.studies)
            .filter(|(_, study)| study.open)
            .map(|(id, study)| {
                let waiting = self.waiting.iter().filter(|&&waiting| waiting as i64 == id - 1).count();
                (StudyId(id), origin(study.origin).name, study.views, waiting as u32)
            })
            .collect();
        let found: Vec<_> =
            open.into_iter().map(|study| (study.id, study.origin, study.views, study.waiting)).collect();
        assert_eq!(found, expected);
        assert_eq!(store.images_waiting().unwrap(), self.waiting.len() as u64);

        let alive = self.alive();
        let unsent = store.unsent(0, 1000).unwrap();
        assert_eq!(unsent.iter().map(|row| row.seq).collect::<Vec<_>>(), alive);
        for row in unsent {
            let payload: StudyResult = serde_json::from_str(&row.payload_json).unwrap();
            let (study, revision, _) = self.outbox[&row.seq];
            assert_eq!(payload.study.number, Some(format!("WRI-{:04}", study + 1)));
            assert_eq!(payload.study.revision, revision);
        }
        // Rows that were set aside count by their tombstones.
        assert_eq!(store.oldest_unsent_seq().unwrap(), self.outbox.keys().next().copied());
        assert_eq!(store.depth().unwrap(), alive.len() as u64);
        assert_eq!(store.oldest_age().unwrap().is_some(), !alive.is_empty());
        assert_eq!(store.dead_count().unwrap(), (self.outbox.len() - alive.len()) as u64);
        assert_eq!(store.latest().unwrap().map(|row| row.seq), self.latest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_the_model_does(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir);
        let outbox_id = store.outbox_id().unwrap();
        let mut model = Model::default();
        let mut last_accepted = None;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Accept(index) => {
                    let path = format!("{index}/{number}");
                    let accepted = accept(&store, &origin(index), &path, path.as_bytes());
                    prop_assert!(!accepted.again);
                    model.accept(index);
                    last_accepted = Some((index, path));
                }
                Step::AcceptAgain => {
                    let Some((index, path)) = &last_accepted else { continue };
                    prop_assert!(accept(&store, &origin(*index), path, path.as_bytes()).again);
                }
                Step::Finish(usable) => {
                    let expected = !model.waiting.is_empty();
                    prop_assert_eq!(finish_next(&store, usable).is_some(), expected);
                    if expected {
                        model.waiting.remove(0);
                    }
                }
                Step::Close(study) => {
                    let closed = close(&store, i64::from(study) + 1).map(|closed| (closed.revision, closed.seq));
                    prop_assert_eq!(closed, model.close(usize::from(study)));
                }
                Step::Ack(index) => {
                    let Some(&seq) = model.alive().get(usize::from(index)) else { continue };
                    store.acked(&[seq]).unwrap();
                    store.acked(&[seq]).unwrap();
                    model.outbox.remove(&seq);
                    // Results are closed in the order of their `seq`, so the newest acknowledged is the latest.
                    model.latest = model.latest.max(Some(seq));
                }
                Step::Refuse(index) => {
                    let Some(&seq) = model.alive().get(usize::from(index)) else { continue };
                    let refusals = &mut model.outbox.get_mut(&seq).unwrap().2;
                    *refusals += 1;
                    prop_assert_eq!(store.failed(seq, "not authorized").unwrap(), *refusals == 5);
                }
                Step::Reopen => {
                    drop(store);
                    store = open(&dir);
                    prop_assert_eq!(store.outbox_id().unwrap(), outbox_id.clone());
                }
            }
            model.check(&store);
        }
    }
}

#[test]
fn a_late_image_makes_a_second_revision_with_all_views() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    accept(&store, &origin(0), "a", b"a");
    finish_next(&store, true).unwrap();
    assert_eq!(close(&store, 1).unwrap().revision, 1);
    assert!(store.is_closed("XR_WRIST/0").unwrap());
    accept(&store, &origin(0), "b", b"b");
    assert!(!store.is_closed("XR_WRIST/0").unwrap());
    assert_eq!(close(&store, 1), None, "an image waits");
    finish_next(&store, false).unwrap();
    assert_eq!(close(&store, 1).unwrap().revision, 2);

    let rows = store.unsent(0, 10).unwrap();
    let payloads: Vec<StudyResult> =
        rows.iter().map(|row| serde_json::from_str(&row.payload_json).unwrap()).collect();
    assert_eq!(payloads[1].views.len(), 2);
    assert_eq!(payloads[0].study.key, payloads[1].study.key);
    assert!(payloads[0].study.closed_at < payloads[1].study.closed_at);
    assert_eq!(store.unsent(1, 10).unwrap().len(), 1);
}

#[test]
fn an_old_folder_name_is_another_study() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let first = accept(&store, &origin(0), "a", b"a");
    finish_next(&store, true).unwrap();
    close(&store, 1).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    let staged = store.stage(&facts("b", b"b"), &mut &b"b"[..]).unwrap();
    let grouping = Grouping { reopen_max_ms: 1, ..GROUPING };
    let second = store.accept(staged, &NewImage { grouping, ..image(&origin(0)) }).unwrap();
    assert_eq!((first.study_number.as_str(), second.study_number.as_str()), ("WRI-0001", "WRI-0002"));
    assert_eq!(store.newest_studies(10).unwrap().len(), 2);
}

#[test]
fn a_claimed_image_is_not_given_twice_and_comes_back_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    accept(&store, &origin(0), "a", b"a");
    accept(&store, &origin(0), "b", b"b");
    let first = store.claim().unwrap().unwrap();
    let second = store.claim().unwrap().unwrap();
    assert_ne!(first.image_id, second.image_id);
    assert!(store.claim().unwrap().is_none());
    let image_id = first.image_id.clone();
    drop(first);
    assert_eq!(store.claim().unwrap().unwrap().image_id, image_id);
}

#[test]
fn what_a_crash_left_behind_is_put_right_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let kept = accept(&store, &origin(0), "a", b"a").image_id;
    let rejected = accept(&store, &origin(0), "b", b"b").image_id;
    finish_next(&store, true).unwrap();
    finish_next(&store, false).unwrap();
    drop(store);
    let (images, rejects) = (dir.path().join("images"), dir.path().join("rejected"));
    // Renamed but not committed; half written; committed as rejected but not moved.
    fs::write(images.join("0123456789abcdef"), "orphan").unwrap();
    fs::write(images.join("fedcba9876543210.tmp"), "half").unwrap();
    fs::rename(rejects.join(format!("{rejected}.png")), images.join(&rejected)).unwrap();
    fs::remove_file(rejects.join(format!("{rejected}.reason.json"))).unwrap();

    drop(open(&dir));
    assert_eq!(names(images), BTreeSet::from([kept]));
    let expected = [format!("{rejected}.png"), format!("{rejected}.reason.json")];
    assert_eq!(names(rejects.clone()), BTreeSet::from(expected));
    let reason: serde_json::Value =
        serde_json::from_slice(&fs::read(rejects.join(format!("{rejected}.reason.json"))).unwrap()).unwrap();
    assert_eq!(reason["reason"], "blank");
    assert_eq!(reason["study_number"], "WRI-0001");
}

#[test]
fn a_source_that_changes_while_it_is_read_is_not_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for claimed_len in [2, 4] {
        let facts = SourceFacts { size_bytes: claimed_len, ..facts("a", b"abc") };
        let error = store.stage(&facts, &mut &b"abc"[..]).unwrap_err();
        assert!(matches!(error, StageError::Changed), "{error}");
    }
    assert!(names(dir.path().join("images")).is_empty());
}

#[test]
fn images_go_before_names_and_names_before_the_study() {
    let dir = tempfile::tempdir().unwrap();
    let limits =
        LimitsConfig { image_retention_days: 1, identifier_retention_days: 2, ..LimitsConfig::default() };
    let store = Store::open(dir.path(), limits).unwrap();
    let number = store.open_by_hand(&"XR_HAND".parse().unwrap(), Some("Doe")).unwrap();
    accept(&store, &origin(0), "x", b"x");
    finish_next(&store, true).unwrap();
    close(&store, 1).unwrap();
    close(&store, 2).unwrap();
    store.acked(&[1]).unwrap();
    store.acked(&[2]).unwrap();
    let older = |days: i64| {
        let at_ms = store.now_ms() - days * 86_400_000 - 1000;
        store.connection().execute("UPDATE studies SET closed_at_ms = ?1", [at_ms]).unwrap();
        store.upkeep().unwrap()
    };
    let key = |store: &Store| -> Vec<String> {
        let connection = store.connection();
        let mut keys = connection.prepare("SELECT study_key FROM studies ORDER BY id").unwrap();
        keys.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let keys = key(&store);
    assert_eq!(older(1), 1);
    let mine = store.study(&number).unwrap().unwrap();
    assert_eq!(mine.reference.as_deref(), Some("Doe"));
    older(2);
    let all = store.newest_studies(10).unwrap();
    assert_eq!(all.len(), 2);
    for study in &all {
        assert!(study.reference.is_none() && study.origin.starts_with("forgotten/"), "{study:?}");
        assert!(study.images.iter().all(|image| image.source_name.is_empty() && !image.kept), "{study:?}");
    }
    assert_eq!(key(&store), keys, "what was published stays");
    older(90);
    assert!(store.study(&number).unwrap().is_none());
}

#[test]
fn a_refusal_takes_back_the_dropped_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let number = store.open_by_hand(&"XR_HAND".parse().unwrap(), None).unwrap();
    let add = |content: &[u8], replaces: Option<&str>, views_max| {
        let staged = store.stage(&facts("by hand", content), &mut &*content).unwrap();
        let image = ByHand { source_name: "camera", extension: "png", exposure: None, views_max };
        store.accept_by_hand(staged, &number, replaces, &image)
    };
    let first = add(b"1", None, 2).unwrap().image_id;
    add(b"2", None, 2).unwrap();
    assert!(matches!(add(b"3", None, 2), Err(DeskError::Refused(Refused::Full { .. }))));
    assert!(matches!(add(b"4", Some(&first), 1), Err(DeskError::Refused(Refused::Full { .. }))));
    let states = |store: &Store| -> Vec<ImageState> {
        store.study(&number).unwrap().unwrap().images.iter().map(|image| image.state).collect()
    };
    assert_eq!(states(&store), [ImageState::Waiting; 2]);
    assert_eq!(names(dir.path().join("images")).len(), 2, "what was refused is not kept");
    add(b"5", Some(&first), 2).unwrap();
    assert_eq!(states(&store), [ImageState::Dropped, ImageState::Waiting, ImageState::Waiting]);
}

#[test]
fn a_crash_while_overruling_leaves_the_image_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let image_id = accept(&store, &origin(0), "x", b"x").image_id;
    finish_next(&store, false).unwrap();
    let (back, kept) = (store.image_file(&image_id), store.rejected_file(&image_id, "png"));
    fs::rename(&kept, &back).unwrap();
    drop(store);
    let store = open(&dir);
    assert!(kept.exists() && !back.exists());
    let number = store.overrule(&image_id, "AB", |reason| reason == RejectReason::Blank).unwrap();
    assert!(back.exists() && !kept.exists());
    assert_eq!(store.images_waiting().unwrap(), 1);
    assert!(store.claim().unwrap().unwrap().overruled);
    let again = store.overrule(&image_id, "AB", |_| true);
    assert!(matches!(again, Err(DeskError::Refused(Refused::NotOverrulable(_)))));
    assert_eq!(store.study(&number).unwrap().unwrap().images[0].state, ImageState::Waiting);
}

#[test]
fn one_process_holds_a_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let error = Store::open(dir.path(), LimitsConfig::default()).unwrap_err();
    assert!(error.to_string().contains("is in use by another `edge run`"), "{error}");
    drop(store);
    drop(open(&dir));
}

#[test]
fn a_newer_file_is_refused_and_an_old_clock_does_not_turn_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let future_ms = store.now_ms() + 86_400_000;
    set_meta(&store.connection(), "wall_ms", &future_ms.to_string()).unwrap();
    drop(store);
    let store = open(&dir);
    assert!(store.now_ms() >= future_ms);
    store.connection().pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = Store::open(dir.path(), LimitsConfig::default()).unwrap_err();
    let known = format!("newer version (format 99, this one knows {})", schema::VERSION);
    assert!(error.to_string().contains(&known), "{error}");
}

#[test]
fn an_older_file_becomes_a_current_one_with_all_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    connection.execute_batch(schema::STEPS[0]).unwrap();
    connection
        .execute(
            "INSERT INTO studies (origin, reference, study_key, key_id, number, single, open, opened_at_ms, last_image_at_ms)
             VALUES ('XR_HAND/a', 'XR_HAND/a', 'k', 'i', 'HAN-0001', 0, 1, 5, 5)",
            [],
        )
        .unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let store = open(&dir);
    let study = store.study("HAN-0001").unwrap().unwrap();
    assert!(study.open && !study.by_hand && study.origin == "XR_HAND/a", "{study:?}");
}
