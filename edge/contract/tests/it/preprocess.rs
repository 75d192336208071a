//! From radiographs to planes and inputs.

use contract::preprocess::{Aspect, PreprocessSpec, apply_window, normalise, to_plane};
use contract::radiograph::Radiograph;
use proptest::prelude::*;

fn radiograph(width: u32, height: u32, max_value: u16, sample: impl Fn(u32, u32) -> u16) -> Radiograph {
    let samples =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| sample(x, y)).collect();
    Radiograph { width, height, max_value, windowed: true, coloured_permille: 0, samples }
}

#[test]
fn a_white_radiograph_shows_the_letterbox() {
    let spec = PreprocessSpec::square(64);
    let wide = to_plane(&radiograph(200, 100, 255, |_, _| 255), &spec).unwrap();
    let rows: Vec<u8> = wide.samples.chunks(64).map(|row| row[30]).collect();
    assert!(rows[..16].iter().chain(&rows[48..]).all(|&s| s == 0) && rows[16..48].iter().all(|&s| s == 255));
    let squashed = to_plane(
        &radiograph(200, 100, 255, |_, _| 255),
        &PreprocessSpec { aspect: Aspect::Squash, ..PreprocessSpec::square(64) },
    );
    assert!(squashed.unwrap().samples.iter().all(|&s| s == 255));
}

#[test]
fn without_a_window_the_percentiles_make_one() {
    let spec = PreprocessSpec { window_low: 0.01, window_high: 0.01, ..PreprocessSpec::square(100) };
    // 12 bit; the image lies between 1000 and 1999, a few samples far outside.
    let mut image = radiograph(100, 100, 4095, |x, y| 1000 + ((x * 100 + y) % 1000) as u16);
    image.samples[..50].fill(0);
    image.samples[50..100].fill(4095);
    image.windowed = false;
    let plane = to_plane(&image, &spec).unwrap();
    let expected = |s: u16| ((f32::from(s.clamp(1000, 1999)) - 1000.0) / 999.0 * 255.0).round();
    for (found, &sample) in plane.samples.iter().zip(&image.samples) {
        assert!((f32::from(*found) - expected(sample)).abs() <= 4.0, "{sample} became {found}");
    }
    image.samples.fill(7);
    assert!(to_plane(&image, &spec).unwrap().samples.iter().all(|&s| s == 0), "a blank frame stays blank");
}

#[test]
fn every_sample_counts_when_scaling_down() {
    // Fine stripes become their mean, not a moiré of whichever rows were picked.
    let stripes = radiograph(1024, 1024, 255, |_, y| if y % 2 == 0 { 255 } else { 0 });
    let plane = to_plane(&stripes, &PreprocessSpec::square(64)).unwrap();
    assert!(plane.samples.iter().all(|&s| (120..=135).contains(&s)));
}

#[test]
fn a_narrow_window_has_steps_between_its_samples() {
    // Eight levels that become a ramp of many when a frame of 512 columns is reduced and stretched.
    let mut frame = radiograph(512, 64, 255, |x, y| 100 + ((x + y % 64) / 64).min(8) as u16);
    frame.windowed = false;
    let plane =
        to_plane(&frame, &PreprocessSpec { aspect: Aspect::Squash, ..PreprocessSpec::square(64) }).unwrap();
    let levels: std::collections::BTreeSet<u8> = plane.samples.iter().copied().collect();
    assert!(levels.len() > 40, "{levels:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn eight_bits_and_their_sixteen_bit_copy_give_the_same_plane(
        width in 32u32..200,
        height in 32u32..200,
        seed in any::<u32>(),
        letterbox in any::<bool>(),
        windowed in any::<bool>(),
    ) {
        let noise = |x: u32, y: u32| ((x * 7 + y * 13) ^ (x * y).wrapping_mul(seed | 1) >> 9) as u16 & 0xff;
        let mut eight = radiograph(width, height, 255, noise);
        let mut sixteen = radiograph(width, height, u16::MAX, |x, y| noise(x, y) * 257);
        eight.windowed = windowed;
        sixteen.windowed = windowed;
        let aspect = if letterbox { Aspect::Letterbox } else { Aspect::Squash };
        let spec = PreprocessSpec { aspect, ..PreprocessSpec::square(96) };
        let (a, b) = (to_plane(&eight, &spec).unwrap(), to_plane(&sixteen, &spec).unwrap());
        prop_assert_eq!((a.width_px, a.height_px, a.samples.len()), (96, 96, 96 * 96));
        for (a, b) in a.samples.iter().zip(&b.samples) {
            prop_assert!(a.abs_diff(*b) <= 1, "{} and {}", a, b);
        }
    }

    #[test]
    fn a_window_lies_between_the_samples_that_so_many_others_are_below_and_above(
        samples in prop::collection::vec(any::<u16>(), 70 * 70),
        (width, height) in (50u32..=70, 50u32..=70),
        // Of all values, or of few that many samples share.
        mask in prop_oneof![Just(u16::MAX), Just(0xc003)],
        depth in 8u32..17,
        low in 0.0..0.49,
        high in 0.0..0.49,
    ) {
        let spec = PreprocessSpec { window_low: low, window_high: high, ..PreprocessSpec::square(64) };
        let mut frame = radiograph(width, height, (1u32 << depth).wrapping_sub(1) as u16, |_, _| 0);
        let samples = &samples[..frame.samples.len()];
        frame.samples = samples.iter().map(|sample| (sample & mask) >> (16 - depth)).collect();
        frame.windowed = false;
        let mut sorted = frame.samples.clone();
        sorted.sort_unstable();
        let rank = |share: f64| (share * sorted.len() as f64) as usize;
        let (black, white) = (sorted[rank(low)], sorted[sorted.len() - 1 - rank(high)]);
        let windowed = apply_window(frame.clone(), &spec);
        for (from, to) in frame.samples.iter().zip(&windowed.samples) {
            prop_assert_eq!(*to == 0, *from <= black, "{} of {} to {}", from, black, white);
            prop_assert_eq!(*to == u16::MAX, *from >= white && white > black);
        }
    }

    #[test]
    fn a_letterbox_keeps_the_aspect_ratio(width in 64u32..600, height in 64u32..600) {
        let white = radiograph(width, height, 255, |_, _| 255);
        let spec = PreprocessSpec { width_px: 120, height_px: 80, ..PreprocessSpec::square(64) };
        let plane = to_plane(&white, &spec).unwrap();
        let columns = (0..120).filter(|&x| plane.samples[40 * 120 + x] == 255).count() as f64;
        let rows = (0..80).filter(|&y| plane.samples[y * 120 + 60] == 255).count() as f64;
        let scale = (120.0 / f64::from(width)).min(80.0 / f64::from(height));
        prop_assert!((columns - f64::from(width) * scale).abs() <= 1.0, "{} columns", columns);
        prop_assert!((rows - f64::from(height) * scale).abs() <= 1.0, "{} rows", rows);
        prop_assert_eq!(plane.samples.iter().filter(|&&s| s == 255).count() as f64, columns * rows);
    }

    #[test]
    fn normalising_follows_the_formula(side in 32u32..64, seed in any::<u8>()) {
        let spec = PreprocessSpec::square(side);
        let image = radiograph(side, side, 255, |x, y| u16::from((x * 5 + y * 3) as u8 ^ seed));
        let plane = to_plane(&image, &spec).unwrap();
        prop_assert!(plane.samples.iter().zip(&image.samples).all(|(a, b)| u16::from(*a) == *b), "same size, same samples");
        let input = normalise(&plane, &spec);
        prop_assert_eq!(input.len(), spec.input_len());
        for (channel, values) in input.chunks(spec.plane_len()).enumerate() {
            for (value, &sample) in values.iter().zip(&plane.samples) {
                let expected = (f32::from(sample) / 255.0 - spec.mean[channel]) / spec.std[channel];
                prop_assert!((value - expected).abs() < 1e-6);
            }
        }
    }
}
