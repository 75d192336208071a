use std::collections::BTreeSet;

use contract::preprocess::{PreprocessSpec, apply_window};
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
    judge(radiograph, None, &QualityConfig::default()).into_iter().map(|flag| flag.reason).collect()
}

#[test]
fn a_limb_passes() {
    assert_eq!(reasons(&fine()), []);
}

#[test]
fn a_short_side_is_named_before_anything_else_and_cannot_be_overruled() {
    let flags = judge(&radiograph(127, 500, 255, |_, _| 0), None, &QualityConfig::default());
    assert_eq!(flags.len(), 1);
    assert_eq!((flags[0].reason, flags[0].overrulable), (RejectReason::TooSmall, false));
    assert!(flags[0].detail.contains("127 x 500"), "{}", flags[0].detail);
    let preview = radiograph(150, 200, 4095, |x, y| (limb(2 * x, 2 * y) * 4095.0) as u16);
    let flags = judge(&preview, None, &QualityConfig::default());
    assert_eq!((flags[0].reason, flags[0].overrulable), (RejectReason::TooSmall, true));
}

#[test]
fn a_flat_frame_is_blank_even_with_noise_and_dead_pixels() {
    for flat in [
        radiograph(300, 300, 4095, |_, _| 0),
        radiograph(300, 300, 4095, |x, y| 2000 + ((x * 7 + y * 13) % 30) as u16),
        radiograph(300, 300, 4095, |x, y| if y == 0 && x < 90 { 4095 } else { 7 }),
    ] {
        let flags = judge(&flat, None, &QualityConfig::default());
        assert_eq!((flags[0].reason, flags[0].overrulable), (RejectReason::Blank, false));
    }
    let ramp = radiograph(300, 300, 4095, |x, y| (1000 + 5 * x + 3 * y) as u16);
    let flags = judge(&ramp, None, &QualityConfig::default());
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

/// The frame of a device, and what is named of the image made of it with and without the frame's exposure.
fn captured(sample: impl Fn(f32) -> f32, inverted: bool) -> (Vec<RejectReason>, Vec<RejectReason>) {
    let mut frame = mapped(sample);
    frame.windowed = false;
    if inverted {
        frame.samples.iter_mut().for_each(|sample| *sample = 4095 - *sample);
    }
    let raw = RawExposure::of(&frame, inverted);
    let raw = RawExposure::from_json(&raw.to_json().unwrap()).unwrap();
    let stored = apply_window(frame, &PreprocessSpec::square(320));
    let with = judge(&stored, Some(&raw), &QualityConfig::default());
    (with.into_iter().map(|flag| flag.reason).collect(), reasons(&stored))
}

#[test]
fn a_windowed_frame_is_still_judged_by_what_was_delivered() {
    for (sample, named) in [
        ((|v| v) as fn(f32) -> f32, None),
        (|v| 0.6 * v, None),
        (|v| 0.05 * v, Some(RejectReason::UnderExposed)),
        (|v| 0.92 + 0.08 * v, Some(RejectReason::OverExposed)),
        (|v| 0.5 + 0.05 * v, Some(RejectReason::LowContrast)),
    ] {
        let (with, without) = captured(sample, false);
        assert_eq!(without, [], "windowing hides it");
        assert_eq!(with.first().copied(), named);
    }
    let (with, _) = captured(|v| 3.0 * v, false);
    assert!(with.contains(&RejectReason::Clipped) && with.contains(&RejectReason::OverExposed), "{with:?}");
    let once: BTreeSet<String> = with.iter().map(|reason| format!("{reason:?}")).collect();
    assert_eq!(once.len(), with.len(), "each reason is named once: {with:?}");
}

/// Most signal of a detector lies where there is no anatomy.
#[test]
fn a_frame_that_was_delivered_inverted_is_judged_in_its_own_sense() {
    let delivered = |sample: fn(f32) -> f32| captured(sample, true).0;
    assert_eq!(delivered(|v| 1.0 - v), []);
    assert_eq!(delivered(|v| 0.05 * (1.0 - v)).first(), Some(&RejectReason::UnderExposed));
    assert_eq!(delivered(|v| 0.93 + 0.07 * (1.0 - v)).first(), Some(&RejectReason::OverExposed));
    // Saturated where nothing lies in the beam.
    assert_eq!(delivered(|v| 1.15 - v), []);
}

#[test]
fn a_frame_with_the_same_signal_everywhere_is_blank_whatever_its_window_makes_of_it() {
    let (with, without) = captured(|v| 0.5 + 0.002 * v, false);
    assert!(!without.contains(&RejectReason::Blank), "the window makes an image of it: {without:?}");
    assert_eq!(with.first(), Some(&RejectReason::Blank), "{with:?}");
    assert_eq!(RawExposure::from_json("{}"), None);
}

#[test]
fn surfaces_are_alike_all_over_and_a_limb_is_not() {
    let noise = |x: u32, y: u32| ((x ^ y.rotate_left(16)).wrapping_mul(0x9e37_79b9) >> 20) as u16;
    let coarse = |x: u32, y: u32| 1500 + (noise(x / 9, y / 9) + noise(x / 5, y / 5)) / 8;
    let wall = radiograph(300, 400, 4095, coarse);
    let alike = |radiograph: &Radiograph| Facts::of(radiograph).alike;
    assert!(alike(&wall) > 0.7 && alike(&fine()) < 0.45, "{} {}", alike(&wall), alike(&fine()));
    assert!(reasons(&wall).contains(&RejectReason::NotARadiograph));
    assert!(alike(&radiograph(300, 400, 4095, |_, _| 9)) <= 1.0, "a flat one has no parts to compare");
}

#[test]
fn what_is_switched_off_is_not_looked_for() {
    let config = QualityConfig { off: vec![RejectReason::Inverted], ..QualityConfig::default() };
    let inverted = mapped(|v| 1.0 - v);
    assert!(reasons(&inverted).contains(&RejectReason::Inverted));
    assert!(judge(&inverted, None, &config).iter().all(|flag| flag.reason != RejectReason::Inverted));
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
    fn the_least_and_greatest_nearby_are_found_at_the_rims_too(
        width in 1usize..40,
        radius in 1usize..9,
        seed: u32,
    ) {
        let value = |at: usize| ((at as u32 ^ seed).wrapping_mul(0x9e37_79b9) >> 8) as f32;
        let grid = grid::Grid { width, height: 7, values: (0..7 * width).map(value).collect() };
        let near = |x: usize, y: usize| {
            let columns = x.saturating_sub(radius)..(x + radius + 1).min(width);
            let rows = y.saturating_sub(radius)..(y + radius + 1).min(7);
            rows.flat_map(move |y| columns.clone().map(move |x| (x, y))).map(|(x, y)| grid.at(x, y))
        };
        let (least, greatest) = (grid.eroded(radius), grid.dilated(radius));
        for (x, y) in (0..7).flat_map(|y| (0..width).map(move |x| (x, y))) {
            prop_assert_eq!(least.at(x, y), near(x, y).fold(f32::MAX, f32::min));
            prop_assert_eq!(greatest.at(x, y), near(x, y).fold(f32::MIN, f32::max));
        }
    }

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
        let flags = judge(&plane, None, &QualityConfig { side_min_px: 16, ..QualityConfig::default() });
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
