//! What is no radiograph: pages, screens, drawings, scenes, surfaces and noise, drawn here.

use contract::radiograph::Radiograph;
use image::{GrayImage, Luma};

use super::spoil::{Random, jpeg, radiograph};
use super::texture::{self, CHOSEN_ON, HEIGHT, HELD_OUT, WIDTH, octaves};

/// Pictures by name: those that the thresholds were chosen on, or those that were drawn afterwards. `seed` makes each
/// its own.
pub(crate) fn pictures(seed: u64, held_out: bool) -> Vec<(&'static str, Radiograph)> {
    let (drawn, surfaces) = if held_out {
        let drawn = vec![
            ("table", table(seed)),
            ("newspaper", newspaper(seed)),
            ("photographed page", lit(&page(seed, true))),
            ("street", street(seed)),
            ("crowd", crowd(seed)),
            ("map", map(seed)),
            ("portrait", portrait(seed)),
        ];
        (drawn, HELD_OUT)
    } else {
        let drawn = vec![
            ("page", page(seed, false)),
            ("scanned page", jpeg(&page(seed, true), 80)),
            ("screen", screen(seed)),
            ("dark screen", negative(&screen(seed))),
            ("scene", scene(seed)),
            ("noise", noise(seed)),
            ("chart", chart(seed)),
        ];
        (drawn, CHOSEN_ON)
    };
    let surfaces = surfaces.map(|(name, draw)| (name, texture::photographed(seed, draw)));
    let mut pictures: Vec<_> =
        drawn.into_iter().chain(surfaces).map(|(name, image)| (name, radiograph(&image))).collect();
    if !held_out {
        let mut coloured = radiograph(&scene(seed));
        coloured.coloured_permille = 700;
        pictures.push(("colour photograph", coloured));
    }
    pictures
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

fn texture(random: &mut Random, persistence: f32) -> GrayImage {
    let levels = octaves(random, persistence);
    GrayImage::from_fn(WIDTH, HEIGHT, |x, y| {
        Luma([(128.0 + 60.0 * levels[(y * WIDTH + x) as usize]).clamp(0.0, 255.0) as u8])
    })
}

/// A bright sky over a textured ground with dark upright shapes.
fn scene(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = texture(&mut random, 0.8);
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

/// Ruled lines with words and numbers between them.
fn table(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = GrayImage::from_pixel(WIDTH, HEIGHT, Luma([248]));
    for row in 0..=24 {
        rectangle(&mut image, [40, 60 + 28 * row, 520, 2], 90);
    }
    for column in 0..=5 {
        rectangle(&mut image, [40 + 104 * column, 60, 2, 672], 90);
        for row in 0..24 {
            for letter in 0..(2.0 + 6.0 * random.share()) as u32 {
                rectangle(&mut image, [50 + 104 * column + 10 * letter, 70 + 28 * row, 6, 9], 40);
            }
        }
    }
    image
}

/// Curves over a grid.
fn chart(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = GrayImage::from_pixel(WIDTH, HEIGHT, Luma([252]));
    for line in 0..12 {
        rectangle(&mut image, [60, 50 + 60 * line, 500, 1], 205);
        rectangle(&mut image, [60 + 45 * line, 50, 1, 660], 205);
    }
    rectangle(&mut image, [60, 50, 2, 660], 20);
    rectangle(&mut image, [60, 710, 500, 2], 20);
    for curve in 0..4u8 {
        let mut y = 200.0 + 400.0 * random.share();
        for x in 62..560 {
            y = (y + 3.0 * random.normal()).clamp(60.0, 700.0);
            rectangle(&mut image, [x, y as u32, 3, 3], 40 * curve);
        }
    }
    image
}

/// Columns of words around a picture of printed dots.
fn newspaper(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = page(seed, true);
    let picture = texture(&mut random, 0.5);
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        if (150..650).contains(&y) && (60..540).contains(&x) {
            let from_centre = ((x % 5) as f32 - 2.0).hypot((y % 5) as f32 - 2.0);
            let ink = f32::from(picture.get_pixel(x, y).0[0]) / 255.0 * 3.2 < from_centre;
            pixel.0 = [if ink { 225 } else { 50 }];
        }
    }
    jpeg(&image, 80)
}

/// The picture that a camera takes of it: softer, and brighter on one side.
fn lit(image: &GrayImage) -> GrayImage {
    let soft = image::imageops::blur(image, 0.8);
    jpeg(
        &GrayImage::from_fn(image.width(), image.height(), |x, y| {
            let light = 0.6 + 0.35 * x as f32 / WIDTH as f32 - 0.1 * y as f32 / HEIGHT as f32;
            Luma([(f32::from(soft.get_pixel(x, y).0[0]) * light) as u8])
        }),
        85,
    )
}

/// Fronts of houses with windows under a sky, a road before them.
fn street(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = texture(&mut random, 0.6);
    for (_, y, pixel) in image.enumerate_pixels_mut() {
        pixel.0 = [if y < 500 { 190 + (y / 12) as u8 } else { 70 + pixel.0[0] / 5 }];
    }
    let mut x = 0;
    while x < WIDTH {
        let (width, height) = (70 + (random.share() * 90.0) as u32, 200 + (random.share() * 250.0) as u32);
        let wall = 70 + (random.share() * 110.0) as u8;
        rectangle(&mut image, [x, 540 - height, width, height], wall);
        for row in 0..height / 42 {
            for column in 0..width / 28 {
                let pane = if random.share() < 0.3 { 225 } else { 30 + (random.share() * 40.0) as u8 };
                rectangle(&mut image, [x + 8 + 28 * column, 552 - height + 42 * row, 14, 24], pane);
            }
        }
        x += width;
    }
    jpeg(&image::imageops::blur(&image, 0.7), 85)
}

/// Heads and shoulders, row behind row.
fn crowd(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let mut image = texture(&mut random, 0.7);
    for row in 0..9u32 {
        for _ in 0..12 {
            let (x, y) = (random.share() * WIDTH as f32, 60.0 + 85.0 * row as f32 + 20.0 * random.share());
            let (skin, coat) = (120.0 + 90.0 * random.share(), 20.0 + 150.0 * random.share());
            let columns = (x - 40.0).max(0.0) as u32..((x + 40.0) as u32).min(WIDTH);
            for (column, line) in columns.flat_map(|column| (0..HEIGHT).map(move |line| (column, line))) {
                let (dx, dy) = (column as f32 - x, line as f32 - y);
                if (dx / 17.0).powi(2) + (dy / 22.0).powi(2) < 1.0 {
                    let level = if dy < -8.0 { 35.0 } else { skin - 1.5 * dx };
                    image.put_pixel(column, line, Luma([level as u8]));
                } else if (dx / 38.0).powi(2) + ((dy - 65.0) / 45.0).powi(2) < 1.0 {
                    image.put_pixel(column, line, Luma([(coat + 0.4 * dx) as u8]));
                }
            }
        }
    }
    jpeg(&image::imageops::blur(&image, 0.7), 85)
}

/// Lines of equal height with roads and names.
fn map(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let heights = octaves(&mut random, 0.5);
    let mut image = GrayImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let height =
            |x: u32, y: u32| (4.0 * heights[(y.min(HEIGHT - 1) * WIDTH + x.min(WIDTH - 1)) as usize]).floor();
        let line = height(x, y) != height(x + 1, y) || height(x, y) != height(x, y + 1);
        Luma([if line { 150 } else { 238 }])
    });
    for _ in 0..5 {
        let (mut x, mut turn) = (random.share() * WIDTH as f32, 0.0);
        for y in 0..HEIGHT {
            turn = (turn + 0.03 * random.normal()).clamp(-0.8, 0.8);
            x += turn;
            if x >= 0.0 {
                rectangle(&mut image, [x as u32, y, 5, 1], 90);
            }
        }
    }
    for _ in 0..25 {
        let (x, y) = ((random.share() * 520.0) as u32, (random.share() * 780.0) as u32);
        for letter in 0..(4.0 + 6.0 * random.share()) as u32 {
            rectangle(&mut image, [x + 9 * letter, y, 6, 9], 30);
        }
    }
    image
}

/// One head and its shoulders before a wall.
fn portrait(seed: u64) -> GrayImage {
    let mut random = Random::new(seed);
    let rough = octaves(&mut random, 0.6);
    let (wall, coat, side) =
        (110.0 + 90.0 * random.share(), 30.0 + 60.0 * random.share(), random.share() - 0.5);
    let (x, y) = (260.0 + 80.0 * random.share(), 300.0 + 60.0 * random.share());
    let picture = GrayImage::from_fn(WIDTH, HEIGHT, |column, row| {
        let (dx, dy) = (column as f32 - x, row as f32 - y);
        let oval = |wide: f32, high: f32, down: f32| (dx / wide).powi(2) + ((dy - down) / high).powi(2) < 1.0;
        let grain = 6.0 * rough[(row * WIDTH + column) as usize];
        let level = if oval(16.0, 8.0, -20.0) || (oval(60.0, 7.0, 75.0) && dy > 70.0) {
            60.0
        } else if oval(110.0, 150.0, 0.0) && dy > -85.0 {
            170.0 + 0.4 * side * dx
        } else if oval(125.0, 170.0, -15.0) {
            40.0 + grain
        } else if oval(260.0, 260.0, 400.0) || (dx.abs() < 50.0 && (100.0..220.0).contains(&dy)) {
            coat + grain
        } else {
            wall + 0.08 * side * dx + 0.5 * grain
        };
        Luma([level.clamp(0.0, 255.0) as u8])
    });
    jpeg(&image::imageops::blur(&picture, 1.0), 85)
}
