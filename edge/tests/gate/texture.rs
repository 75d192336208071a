//! Surfaces as a camera sees them in grey: drawn structure under uneven light, with the camera's noise, as JPEG.

use image::{GrayImage, Luma};

use super::spoil::{Random, jpeg};

pub(crate) const WIDTH: u32 = 600;
pub(crate) const HEIGHT: u32 = 800;

/// A surface: its level at every pixel, at any scale and offset.
type Surface = Vec<f32>;
/// How one is drawn.
pub(crate) type Draw = fn(&mut Random) -> Surface;

/// Those that the thresholds were chosen on.
pub(crate) const CHOSEN_ON: [(&str, Draw); 12] = [
    ("clouds", |random| octaves(random, 0.55)),
    ("stone", |random| octaves(random, 0.8)),
    ("plaster", |random| octaves(random, 0.95)),
    ("pebbles", |random| cells(random, 14.0, |near, _, level| level * (1.0 - near))),
    ("boulders", |random| cells(random, 45.0, |near, _, level| level * (1.0 - near))),
    ("cracked earth", |random| cells(random, 30.0, |near, next, _| (next - near).min(0.3))),
    ("plain weave", |random| weave(random, 1)),
    ("twill", |random| weave(random, 2)),
    ("sand", |random| grains(random, 1.0)),
    ("grass", |random| blades(random, 5000, 40.0)),
    ("wood", wood),
    ("bricks", bricks),
];

/// Those that were drawn afterwards, to see how the thresholds do.
pub(crate) const HELD_OUT: [(&str, Draw); 12] = [
    ("fog", |random| octaves(random, 0.4)),
    ("coarse sand", |random| grains(random, 2.5)),
    ("tiles of many greys", |random| cells(random, 20.0, |_, _, level| level)),
    ("fish scales", |random| cells(random, 18.0, |near, next, _| near / next.max(0.1))),
    ("knitting", knitting),
    ("fur", |random| blades(random, 9000, 18.0)),
    ("leaves", leaves),
    ("ripples", ripples),
    ("concrete with pits", |random| sum(&octaves(random, 0.7), &grains(random, 1.5), 0.6)),
    ("corrugated card", |random| sum(&octaves(random, 0.6), &stripes(random), 0.8)),
    ("snow flakes", |random| sum(&discs(random, 700, 3.0, 9.0), &octaves(random, 0.5), 0.4)),
    ("marble", |random| octaves(random, 0.6).iter().map(|level| (6.0 * level).sin()).collect()),
];

/// The picture that a camera takes of a surface.
pub(crate) fn photographed(seed: u64, draw: Draw) -> GrayImage {
    let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let surface = normalised(&draw(&mut random));
    let mut between = |low: f32, high: f32| low + (high - low) * random.share();
    let (level, contrast) = (between(95.0, 160.0), between(25.0, 55.0));
    let (across, down, corners) = (between(-40.0, 40.0), between(-40.0, 40.0), between(0.0, 60.0));
    let mut noise = Random::new(seed);
    let picture = GrayImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let (u, v) = (x as f32 / WIDTH as f32 - 0.5, y as f32 / HEIGHT as f32 - 0.5);
        let light = across * u + down * v - corners * (u * u + v * v);
        let seen = level + contrast * surface[(y * WIDTH + x) as usize] + light + 1.5 * noise.normal();
        Luma([seen.clamp(0.0, 255.0) as u8])
    });
    jpeg(&picture, 85)
}

/// Mean 0, standard deviation 1.
fn normalised(surface: &[f32]) -> Surface {
    let count = surface.len() as f32;
    let mean = surface.iter().sum::<f32>() / count;
    let spread = (surface.iter().map(|level| (level - mean).powi(2)).sum::<f32>() / count).sqrt().max(1e-6);
    surface.iter().map(|level| (level - mean) / spread).collect()
}

fn sum(one: &[f32], other: &[f32], weight: f32) -> Surface {
    let (one, other) = (normalised(one), normalised(other));
    one.iter().zip(&other).map(|(a, b)| a + weight * b).collect()
}

fn each(mut level: impl FnMut(f32, f32) -> f32) -> Surface {
    (0..WIDTH * HEIGHT).map(|at| level((at % WIDTH) as f32, (at / WIDTH) as f32)).collect()
}

/// Noise summed over octaves, each `persistence` as strong as the coarser one.
pub(crate) fn octaves(random: &mut Random, persistence: f32) -> Surface {
    let mut sum = vec![0f32; (WIDTH * HEIGHT) as usize];
    let mut strength = 1.0;
    for octave in 2..8u32 {
        let cells = 1usize << octave;
        let grid: Vec<f32> = (0..(cells + 1) * (cells + 1)).map(|_| random.normal()).collect();
        let layer = each(|x, y| {
            let (u, v) = (x / WIDTH as f32 * cells as f32, y / HEIGHT as f32 * cells as f32);
            let (left, top, right, down) = (u as usize, v as usize, u.fract(), v.fract());
            let node = |x: usize, y: usize| grid[y * (cells + 1) + x];
            let upper = node(left, top) * (1.0 - right) + node(left + 1, top) * right;
            let lower = node(left, top + 1) * (1.0 - right) + node(left + 1, top + 1) * right;
            strength * (upper * (1.0 - down) + lower * down)
        });
        sum.iter_mut().zip(&layer).for_each(|(sum, level)| *sum += level);
        strength *= persistence;
    }
    sum
}

/// Cells around scattered points (Worley, A Cellular Texture Basis Function, 1996): `level` of the distances to the
/// nearest and the next point, in cells, and of the nearest one's own level.
fn cells(random: &mut Random, size: f32, level: fn(f32, f32, f32) -> f32) -> Surface {
    let columns = (WIDTH as f32 / size) as usize + 3;
    let rows = (HEIGHT as f32 / size) as usize + 3;
    let points: Vec<[f32; 3]> =
        (0..columns * rows).map(|_| [random.share(), random.share(), 0.4 + 0.6 * random.share()]).collect();
    each(|x, y| {
        let (u, v) = (x / size + 1.0, y / size + 1.0);
        let (mut near, mut next, mut own) = (f32::MAX, f32::MAX, 0.0);
        for row in v as usize - 1..=v as usize + 1 {
            for column in u as usize - 1..=u as usize + 1 {
                let [dx, dy, its] = points[row * columns + column];
                let far = (column as f32 + dx - u).hypot(row as f32 + dy - v);
                if far < near {
                    (near, next, own) = (far, near, its);
                } else {
                    next = next.min(far);
                }
            }
        }
        level(near, next, own)
    })
}

/// Threads over and under each other, `float` at a time, in a cloth that is not quite flat.
fn weave(random: &mut Random, float: i32) -> Surface {
    let (pitch, turn) = (3.5 + 5.0 * random.share(), 0.3 * (random.share() - 0.5));
    let bend = normalised(&octaves(random, 0.5));
    each(|x, y| {
        let bend = 0.15 * bend[y as usize * WIDTH as usize + x as usize];
        let u = (x * turn.cos() + y * turn.sin()) / pitch + bend;
        let v = (y * turn.cos() - x * turn.sin()) / pitch + bend;
        let over = ((u.floor() + v.floor()) as i32).div_euclid(float).rem_euclid(2) == 0;
        let thread = |along: f32| (std::f32::consts::PI * along.rem_euclid(1.0)).sin();
        if over { thread(u) } else { 0.7 * thread(v) }
    })
}

/// Noise averaged over about `radius` pixels.
fn grains(random: &mut Random, radius: f32) -> Surface {
    let raw: Surface = (0..WIDTH * HEIGHT).map(|_| random.normal()).collect();
    let reach = radius.ceil() as i32;
    each(|x, y| {
        let mut sum = 0.0;
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let weight = (-((dx * dx + dy * dy) as f32) / (2.0 * radius * radius)).exp();
                let column = (x as i32 + dx).rem_euclid(WIDTH as i32);
                let row = (y as i32 + dy).rem_euclid(HEIGHT as i32);
                sum += weight * raw[(row * WIDTH as i32 + column) as usize];
            }
        }
        sum
    })
}

/// Blades or hairs that grow upwards, each of its own level.
fn blades(random: &mut Random, count: usize, length: f32) -> Surface {
    let mut surface = vec![0f32; (WIDTH * HEIGHT) as usize];
    for _ in 0..count {
        let (mut x, mut y) = (random.share() * WIDTH as f32, random.share() * (HEIGHT as f32 + length));
        let (mut turn, bend, level) = (0.35 * random.normal(), 0.01 * random.normal(), random.share());
        for _ in 0..(length * (0.5 + random.share())) as usize {
            (x, y, turn) = (x + turn.sin(), y - turn.cos(), turn + bend);
            if (1.0..WIDTH as f32 - 1.0).contains(&x) && (0.0..HEIGHT as f32).contains(&y) {
                let at = y as usize * WIDTH as usize + x as usize;
                surface[at] = level;
                surface[at - 1] = 0.8 * level;
            }
        }
    }
    surface
}

fn wood(random: &mut Random) -> Surface {
    let (ring, bend) = (4.0 + 8.0 * random.share(), normalised(&octaves(random, 0.4)));
    each(|x, y| {
        let bend = 12.0 * bend[y as usize * WIDTH as usize + x as usize];
        ((x + 0.05 * y + bend) / ring).sin()
    })
}

fn bricks(random: &mut Random) -> Surface {
    let height = 30.0 + 30.0 * random.share();
    let levels: Vec<f32> = (0..997).map(|_| random.share()).collect();
    let rough = normalised(&octaves(random, 0.8));
    each(|x, y| {
        let row = (y / height) as usize;
        let along = x / (2.0 * height) + 0.5 * (row % 2) as f32;
        let mortar = y % height < 4.0 || (along * 2.0 * height) % (2.0 * height) < 4.0;
        let level = if mortar { 1.3 } else { levels[(row * 31 + along as usize * 7) % 997] };
        level + 0.12 * rough[y as usize * WIDTH as usize + x as usize]
    })
}

/// Rows of loops.
fn knitting(random: &mut Random) -> Surface {
    let (pitch, bend) = (8.0 + 6.0 * random.share(), normalised(&octaves(random, 0.5)));
    each(|x, y| {
        let bend = 0.2 * bend[y as usize * WIDTH as usize + x as usize];
        let (u, v) = (x / pitch + bend, y / (0.7 * pitch) + bend);
        let leg = (u.rem_euclid(1.0) - 0.5).abs();
        (std::f32::consts::TAU * (v + leg)).sin() * (std::f32::consts::PI * leg * 2.0).sin()
    })
}

/// Pointed ovals on top of each other, each lit along its rib.
fn leaves(random: &mut Random) -> Surface {
    let mut surface = vec![0f32; (WIDTH * HEIGHT) as usize];
    for _ in 0..1400 {
        let (x, y) = (random.share() * WIDTH as f32, random.share() * HEIGHT as f32);
        let (length, turn) = (20.0 + 25.0 * random.share(), std::f32::consts::TAU * random.share());
        let level = random.share();
        for dy in -45..=45 {
            for dx in -45..=45 {
                let (dx, dy) = (dx as f32, dy as f32);
                let (u, v) = (dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin());
                let inside = (u / length).powi(2) + (3.0 * v.abs() / length + 0.2).powi(2) < 1.0;
                let (x, y) = (x + dx, y + dy);
                if inside && (0.0..WIDTH as f32).contains(&x) && (0.0..HEIGHT as f32).contains(&y) {
                    surface[y as usize * WIDTH as usize + x as usize] = level + 0.02 * v.abs();
                }
            }
        }
    }
    surface
}

/// Waves that run in several directions.
fn ripples(random: &mut Random) -> Surface {
    let waves: Vec<[f32; 3]> =
        (0..14).map(|_| [random.normal() / 12.0, random.normal() / 7.0, 6.3 * random.share()]).collect();
    each(|x, y| waves.iter().map(|[u, v, phase]| (u * x + v * y + phase).sin()).sum())
}

fn stripes(random: &mut Random) -> Surface {
    let (pitch, turn) = (1.5 + 2.0 * random.share(), random.share());
    each(|x, y| ((x * turn.cos() + y * turn.sin()) / pitch).sin())
}

fn discs(random: &mut Random, count: usize, smallest: f32, largest: f32) -> Surface {
    let mut surface = vec![0f32; (WIDTH * HEIGHT) as usize];
    for _ in 0..count {
        let (x, y) = (random.share() * WIDTH as f32, random.share() * HEIGHT as f32);
        let radius = smallest + (largest - smallest) * random.share();
        for row in (y - radius).max(0.0) as u32..((y + radius) as u32).min(HEIGHT) {
            for column in (x - radius).max(0.0) as u32..((x + radius) as u32).min(WIDTH) {
                if (column as f32 - x).hypot(row as f32 - y) < radius {
                    surface[(row * WIDTH + column) as usize] = 1.0;
                }
            }
        }
    }
    surface
}
