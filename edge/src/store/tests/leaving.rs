//! What leaves the store: by its limits, with its age, by hand.

use super::*;

#[test]
fn limits_drop_the_oldest_and_never_what_was_not_acknowledged() {
    const HALF_MIB: usize = 600 << 10;
    let dir = tempfile::tempdir().unwrap();
    let limits = LimitsConfig { rejected_max_mib: 1, images_max_mib: 1, ..LimitsConfig::default() };
    let store = Store::open(dir.path(), limits).unwrap();
    let ids: Vec<String> =
        (0..3u8).map(|index| accept(&store, &origin(index), "x", &vec![index; HALF_MIB]).image_id).collect();
    for _ in 0..3 {
        finish_next(&store, true).unwrap();
    }
    for id in 1..=3 {
        close(&store, id).unwrap();
    }
    assert_eq!(store.bound_images().unwrap(), 0, "nothing was acknowledged");
    store.acked(&[2]).unwrap();
    assert_eq!(store.bound_images().unwrap(), 1);
    assert_eq!(store.image_path(&ids[1]).unwrap(), None);
    store.acked(&[3]).unwrap();
    assert_eq!(store.bound_images().unwrap(), 1, "the first is older but not acknowledged");
    assert_eq!(names(dir.path().join("images")), BTreeSet::from([ids[0].clone()]));

    let rejected: Vec<String> = (0..3u8)
        .map(|index| {
            let id = accept(&store, &origin(index), "y", &vec![9 + index; HALF_MIB]).image_id;
            finish_next(&store, false).unwrap();
            id
        })
        .collect();
    let newest = [format!("{}.png", rejected[2]), format!("{}.reason.json", rejected[2])];
    assert_eq!(names(dir.path().join("rejected")), BTreeSet::from(newest));
}

#[test]
fn a_file_too_large_is_rejected_unread_and_kept_only_where_it_fits() {
    let dir = tempfile::tempdir().unwrap();
    let limits = LimitsConfig { rejected_max_mib: 2, ..LimitsConfig::default() };
    let store = Store::open(&dir.path().join("state"), limits).unwrap();
    let rejection = Rejection::new(RejectReason::TooLarge, "too large");
    for (name, mib, kept) in [("fits", 1u64, true), ("does not", 3, false)] {
        let path = dir.path().join(name);
        File::create(&path).unwrap().set_len(mib << 20).unwrap();
        let facts = SourceFacts { path: name.to_owned(), size_bytes: mib << 20, modified_ns: 1 };
        let accepted = store.accept_too_large(&facts, &path, &image(&origin(0)), rejection.clone()).unwrap();
        assert!(!path.exists(), "{name}");
        let files = names(dir.path().join("state/rejected"));
        assert_eq!(files.contains(&format!("{}.png", accepted.image_id)), kept, "{name}");
        assert!(files.contains(&format!("{}.reason.json", accepted.image_id)), "{name}");
    }
    assert_eq!(store.images_waiting().unwrap(), 0);
    assert_eq!(close(&store, 1).unwrap().outcome, Outcome::Rejected);
}

#[test]
fn old_acknowledged_studies_are_forgotten_with_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for index in 0..3 {
        accept(&store, &origin(index), "x", &[index]);
        finish_next(&store, true).unwrap();
    }
    close(&store, 1).unwrap();
    close(&store, 2).unwrap();
    store.acked(&[1]).unwrap();
    let months_ago_ms = store.now_ms() - 100 * 86_400_000;
    store.connection().execute("UPDATE studies SET closed_at_ms = ?1", [months_ago_ms]).unwrap();
    assert_eq!(store.upkeep().unwrap(), 1);
    let left: Vec<String> = store.newest_studies(10).unwrap().into_iter().map(|study| study.number).collect();
    assert_eq!(left, ["WRI-0003", "WRI-0002"]);
    assert_eq!(names(dir.path().join("images")).len(), 2);
    // Its number is not used again.
    assert_eq!(accept(&store, &origin(0), "y", b"y").study_number, "WRI-0004");
}

/// Results carried by hand: all are listed and given out, dead ones too; delivered ones leave as if acknowledged.
#[test]
fn results_carried_by_hand_leave_as_if_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for index in 0..3 {
        accept(&store, &origin(index), &format!("/spool/{index}.png"), b"x");
        finish_next(&store, true);
        close(&store, i64::from(index) + 1).unwrap();
    }
    for _ in 0..5 {
        store.failed(2, "NotAuthorized").unwrap();
    }

    let rows = store.outbox_rows(0, 10).unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3]);
    let dead = &rows[1];
    assert!(
        dead.dead && dead.attempts == 5 && dead.last_error.as_deref() == Some("NotAuthorized"),
        "{dead:?}"
    );
    assert_eq!((dead.revision, rows[0].dead), (1, false));
    let numbers: BTreeSet<_> = rows.iter().filter_map(|row| row.number.clone()).collect();
    assert_eq!(numbers.len(), 3, "each study has a number of its own: {rows:?}");
    assert_eq!(store.outbox_rows(1, 1).unwrap(), rows[1..2]);

    let exported = store.export(0, 10).unwrap();
    assert_eq!(exported.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(exported[0], store.unsent(0, 1).unwrap()[0]);

    assert_eq!(store.delivered(&[1, 2, 9]).unwrap(), 2);
    assert_eq!(store.delivered(&[1, 2]).unwrap(), 0);
    assert_eq!((store.depth().unwrap(), store.dead_count().unwrap()), (1, 0));
    assert_eq!(store.latest().unwrap().unwrap().seq, 2, "it is the newest that the centre has");
    let sent: Vec<bool> = store
        .studies(&StudyFilter { limit: 3, ..StudyFilter::default() })
        .unwrap()
        .iter()
        .rev()
        .map(|study| study.acknowledged_revision == study.revision)
        .collect();
    assert_eq!(sent, [true, true, false]);
}
