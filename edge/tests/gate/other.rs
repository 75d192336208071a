//! What is no radiograph: pages, screens, photographs' textures, ramps and noise, drawn here.

use contract::radiograph::Radiograph;
use image::{GrayImage, Luma};

use super::spoil::{Random, radiograph};

const WIDTH: u32 = 600;
const HEIGHT: u32 = 800;

/// Pictures by name; `seed` makes each its own.
pub(crate) fn pictures(seed: u64) -> Vec<(&'static str, Radiograph)> {
    let mut coloured = radiograph(&texture(seed, 0.5));
    coloured.coloured_permille = 700;
    vec![
        ("page", radiograph(&page(seed, false))),
        ("scanned page", radiograph(&super::spoil::jpeg(&page(seed, true), 80))),
        ("screen", radiograph(&screen(seed))),
        ("dark screen", radiograph(&negative(&screen(seed)))),
        ("coarse texture", radiograph(&texture(seed, 0.9))),
        ("fine texture", radiograph(&texture(seed, 0.3))),
        ("scene", radiograph(&scene(seed))),
        ("colour photograph", coloured),
        ("noise", radiograph(&noise(seed))),
    ]
}

fn negative(image: &GrayImage) -> GrayImage {
    let mut turned = image.clone();
    turned.iter_mut().for_each(|sample| *sample = 255 - *sample);
    turned
}

fn rectangle(image: &mut GrayImage, [x, y, width, height]: [u32; 4], level: u8) {
    for row in y..(y + height).min(image.height()) {
        for column in x..(x + width).min(image.width()) {
            image.put_pixel(column, row, Luma([level]));
        }
    }
}

/// Lines of letters, each of a few strokes; a scanned one on grey paper with noise.
fn page(seed: u64, scanned: bool) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = GrayImage::from_pixel(WIDTH, HEIGHT, Luma([if scanned { 235 } else { 255 }]));
    for line in 3..HEIGHT / 22 - 2 {
        let end = WIDTH - 50 - (random.share() * 200.0) as u32;
        let mut x = 50;
        while x < end {
            if random.share() > 0.18 {
                let y = line * 22;
                rectangle(&mut image, [x, y, 2, 12], 20);
                for stroke in [0, 5, 10] {
                    if random.share() > 0.4 {
                        rectangle(&mut image, [x, y + stroke, 7, 2], 20);
                    }
                }
            }
            x += 10;
        }
    }
    if scanned {
        image.iter_mut().for_each(|s| *s = (f32::from(*s) + 3.0 * random.normal()).clamp(0.0, 255.0) as u8);
    }
    image
}

/// Windows, bars and buttons of even levels, with rows of letters.
fn screen(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = GrayImage::from_pixel(WIDTH, HEIGHT, Luma([215]));
    rectangle(&mut image, [0, 0, WIDTH, 30], 60);
    for _ in 0..8 {
        let (x, y) = ((random.share() * 400.0) as u32, 40 + (random.share() * 600.0) as u32);
        rectangle(&mut image, [x, y, 200, 130], 250);
        rectangle(&mut image, [x, y, 200, 16], 90 + (random.share() * 80.0) as u8);
        for row in 0..6 {
            let length = 60 + (random.share() * 100.0) as u32;
            for letter in 0..length / 9 {
                rectangle(&mut image, [x + 10 + 9 * letter, y + 26 + 16 * row, 5, 8], 30);
            }
        }
    }
    image
}

/// Noise summed over octaves, each `persistence` as strong as the coarser one, as in photographs of stone or leaves.
fn texture(seed: u64, persistence: f32) -> GrayImage {
    let mut random = Random::new(seed);
    let mut sum = vec![0f32; (WIDTH * HEIGHT) as usize];
    let mut strength = 60.0;
    for octave in 2..8u32 {
        let cells = 1usize << octave;
        let grid: Vec<f32> = (0..(cells + 1) * (cells + 1)).map(|_| random.normal()).collect();
        for (at, value) in sum.iter_mut().enumerate() {
            let (x, y) = (at as u32 % WIDTH, at as u32 / WIDTH);
            let (u, v) = (x as f32 / WIDTH as f32 * cells as f32, y as f32 / HEIGHT as f32 * cells as f32);
            let (left, top) = (u as usize, v as usize);
            let (right, down) = (u.fract(), v.fract());
            let node = |x: usize, y: usize| grid[y * (cells + 1) + x];
            let upper = node(left, top) * (1.0 - right) + node(left + 1, top) * right;
            let lower = node(left, top + 1) * (1.0 - right) + node(left + 1, top + 1) * right;
            *value += strength * (upper * (1.0 - down) + lower * down);
        }
        strength *= persistence.max(0.55);
    }
    GrayImage::from_fn(WIDTH, HEIGHT, |x, y| {
        Luma([(128.0 + sum[(y * WIDTH + x) as usize]).clamp(0.0, 255.0) as u8])
    })
}

/// A bright sky over a textured ground with dark upright shapes.
fn scene(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = texture(seed, 0.8);
    for (_, y, pixel) in image.enumerate_pixels_mut() {
        if y < HEIGHT * 2 / 5 {
            pixel.0 = [(170.0 + y as f32 / 10.0 + random.normal()) as u8];
        }
    }
    for _ in 0..14 {
        let (x, height) = ((random.share() * 560.0) as u32, 100 + (random.share() * 200.0) as u32);
        let level = 30 + (random.share() * 120.0) as u8;
        rectangle(&mut image, [x, HEIGHT / 2 - height / 2, 25, height], level);
    }
    image
}

fn noise(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    GrayImage::from_fn(WIDTH, HEIGHT, |_, _| Luma([(random.share() * 255.0) as u8]))
}
