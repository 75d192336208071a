use proptest::prelude::*;

use super::*;

fn radiograph(width: u32, height: u32, max_value: u16, sample: impl Fn(u32, u32) -> u16) -> Radiograph {
    let samples =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| sample(x, y)).collect();
    Radiograph { width, height, max_value, windowed: true, coloured_permille: 0, samples }
}

/// A limb down the middle: soft tissue that fades to the skin, and a bone with bright cortices. 0 to 1.
fn limb(x: u32, y: u32) -> f32 {
    let centre = 150.0 + 20.0 * (y as f32 / 400.0 - 0.5);
    let off = (x as f32 - centre).abs();
    let tissue = 0.35 * (1.0 - (off / 70.0).powi(2)).max(0.0).sqrt();
    let bone = if off < 22.0 { 0.25 + 0.25 * (off / 22.0).powi(4) } else { 0.0 };
    let joint = if (195..203).contains(&y) { 0.4 } else { 1.0 };
    // The beam is weaker at one end (the heel effect).
    0.06 + 0.08 * y as f32 / 400.0 + tissue + bone * joint
}

fn fine() -> Radiograph {
    radiograph(300, 400, 4095, |x, y| (limb(x, y) * 4095.0) as u16)
}

fn mapped(sample: impl Fn(f32) -> f32) -> Radiograph {
    radiograph(300, 400, 4095, |x, y| (sample(limb(x, y)).clamp(0.0, 1.0) * 4095.0) as u16)
}

fn reasons(radiograph: &Radiograph) -> Vec<RejectReason> {
    judge(radiograph, &QualityConfig::default()).into_iter().map(|flag| flag.reason).collect()
}

#[test]
fn a_limb_passes() {
    assert_eq!(reasons(&fine()), []);
}

#[test]
fn a_short_side_is_named_before_anything_else_and_cannot_be_overruled() {
    let flags = judge(&radiograph(127, 500, 255, |_, _| 0), &QualityConfig::default());
    assert_eq!(flags.len(), 1);
    assert_eq!((flags[0].reason, flags[0].overrulable), (RejectReason::TooSmall, false));
    assert!(flags[0].detail.contains("127 x 500"), "{}", flags[0].detail);
    let preview = radiograph(150, 200, 4095, |x, y| (limb(2 * x, 2 * y) * 4095.0) as u16);
    let flags = judge(&preview, &QualityConfig::default());
    assert_eq!((flags[0].reason, flags[0].overrulable), (RejectReason::TooSmall, true));
}

#[test]
fn a_flat_frame_is_blank_even_with_noise_and_dead_pixels() {
    for flat in [
        radiograph(300, 300, 4095, |_, _| 0),
        radiograph(300, 300, 4095, |x, y| 2000 + ((x * 7 + y * 13) % 30) as u16),
        radiograph(300, 300, 4095, |x, y| if y == 0 && x < 90 { 4095 } else { 7 }),
    ] {
        let flags = judge(&flat, &QualityConfig::default());
        assert_eq!((flags[0].reason, flags[0].overrulable), (RejectReason::Blank, false));
    }
    let ramp = radiograph(300, 300, 4095, |x, y| (1000 + 5 * x + 3 * y) as u16);
    let flags = judge(&ramp, &QualityConfig::default());
    assert_eq!((flags[0].reason, flags[0].overrulable), (RejectReason::Blank, true), "{}", flags[0].detail);
}

#[test]
fn an_unwindowed_frame_is_measured_against_its_own_brightness() {
    let mut faint = radiograph(300, 400, u16::MAX, |x, y| (limb(x, y) * 12_000.0) as u16);
    assert!(reasons(&faint).contains(&RejectReason::UnderExposed), "as displayed it is nearly black");
    faint.windowed = false;
    assert_eq!(reasons(&faint), []);
    faint.samples.iter_mut().for_each(|sample| *sample = 20_000 + *sample / 4);
    assert_eq!(reasons(&faint), [RejectReason::LowContrast]);
}

#[test]
fn each_fault_is_named() {
    let named = |radiograph: &Radiograph, reason| {
        let found = reasons(radiograph);
        assert!(found.contains(&reason), "{reason:?} is not among {found:?}");
    };
    named(&mapped(|v| 0.25 * v), RejectReason::UnderExposed);
    named(&mapped(|v| 3.0 * v), RejectReason::OverExposed);
    named(&mapped(|v| (v - 0.3) * 3.0), RejectReason::Clipped);
    named(&mapped(|v| 1.0 - v), RejectReason::Inverted);
    named(&mapped(|v| 0.4 + 0.2 * v), RejectReason::LowContrast);
    let shut = |x, y| (75..225).contains(&x) && (100..300).contains(&y);
    let cropped =
        radiograph(300, 400, 4095, |x, y| if shut(x, y) { (limb(x, y) * 4095.0) as u16 } else { 0 });
    named(&cropped, RejectReason::Cropped);
    let mut coloured = fine();
    coloured.coloured_permille = 400;
    named(&coloured, RejectReason::NotARadiograph);
}

#[test]
fn what_is_switched_off_is_not_looked_for() {
    let config = QualityConfig { off: vec![RejectReason::Inverted], ..QualityConfig::default() };
    let inverted = mapped(|v| 1.0 - v);
    assert!(reasons(&inverted).contains(&RejectReason::Inverted));
    assert!(judge(&inverted, &config).iter().all(|flag| flag.reason != RejectReason::Inverted));
    let wrong = QualityConfig { off: vec![RejectReason::Corrupt], ..QualityConfig::default() };
    assert!(wrong.check().unwrap_err().contains("Corrupt"));
    let wrong = QualityConfig { dark_max_pct: 101, ..QualityConfig::default() };
    assert_eq!(wrong.check().unwrap_err(), "quality.dark_max_pct is 101; expected 0 to 100");
}

#[test]
fn the_same_plate_is_known_in_another_window_and_another_limb_is_not() {
    let config = QualityConfig::default();
    let plate = Plate::of(&fine());
    assert!(plate.same(&Plate::of(&mapped(|v| v.powf(0.7) * 0.9)), &config));
    let moved = radiograph(300, 400, 4095, |x, y| (limb(x + 25, y + 15) * 4095.0) as u16);
    assert!(!plate.same(&Plate::of(&moved), &config));
    let earlier = [("ELB-0001".to_owned(), Plate::of(&moved)), ("ELB-0002".to_owned(), plate.clone())];
    let flag = duplicate(&plate, earlier.into_iter(), &config).unwrap();
    assert_eq!((flag.reason, flag.overrulable), (RejectReason::Duplicate, true));
    assert!(flag.detail.contains("ELB-0002"), "{}", flag.detail);
    let blank = Plate::of(&radiograph(300, 400, 255, |_, _| 9));
    assert!(!blank.same(&blank, &config), "blank plates have nothing in common");
}

proptest! {
    #[test]
    fn any_plane_is_judged_and_any_signature_is_read_back(
        width in 1u32..40,
        height in 1u32..400,
        windowed: bool,
        bits in 8u32..=16,
        seed: u32,
    ) {
        let max_value = (u32::MAX >> (32 - bits)) as u16;
        let mut plane = radiograph(width * 12, height, max_value, |x, y| {
            let mixed = ((x * y) ^ seed).wrapping_mul(0x9e37_79b9) >> 16;
            (mixed as u16) & max_value
        });
        plane.windowed = windowed;
        let flags = judge(&plane, &QualityConfig { side_min_px: 16, ..QualityConfig::default() });
        prop_assert!(flags.iter().all(|flag| !flag.detail.is_empty()));
        let plate = Plate::of(&plane);
        let bytes = plate.to_bytes();
        prop_assert_eq!(bytes.len(), Plate::BYTES);
        prop_assert_eq!(Plate::from_bytes(&bytes), Some(plate));
    }

    #[test]
    fn bytes_of_another_length_or_version_are_no_signature(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(Plate::from_bytes(&bytes), None);
    }

    #[test]
    fn a_judgement_does_not_depend_on_the_number_of_bits(bits in 10u32..=16) {
        let max_value = (u32::MAX >> (32 - bits)) as u16;
        let plane = radiograph(300, 400, max_value, |x, y| (limb(x, y) * f32::from(max_value)) as u16);
        prop_assert_eq!(reasons(&plane), vec![]);
    }
}
