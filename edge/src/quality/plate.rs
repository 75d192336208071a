//! The signature of a plate, by which it is known when it is sent again.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | the version, 1 |
//! | 1, 2 | width over height in 1/4096, little-endian, at most 65535 |
//! | 3 to 2306 | the image reduced to 48 x 48 means, row by row, 0 to 255 of its range |

use contract::radiograph::{Radiograph, RejectReason};

use super::grid::{Grid, Levels};
use super::{Flag, QualityConfig, enabled, share};

const VERSION: u8 = 1;
const SIDE: usize = 48;
/// Levels between which the one plate's samples are put to compare them with the other's.
const BINS: usize = 24;
/// How far a plate may have been cut at each edge, of its side.
const CUTS: [f32; 5] = [0.0, 0.005, 0.01, 0.015, 0.02];
/// Aspect ratios further apart than this are not compared.
const ASPECT_MAX_RATIO: f32 = 1.06;

/// A plate's signature: it outlives another encoding, scale or window and narrow cuts at the edges.
#[derive(Clone, PartialEq, Eq)]
pub struct Plate {
    aspect: u16,
    cells: Box<[u8; SIDE * SIDE]>,
}

impl std::fmt::Debug for Plate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plate({}/4096)", self.aspect)
    }
}

impl Plate {
    /// Length of [`Plate::to_bytes`].
    pub const BYTES: usize = 3 + SIDE * SIDE;

    /// A radiograph's signature.
    pub fn of(radiograph: &Radiograph) -> Self {
        let grid = Grid::reduce(radiograph);
        let mut levels = Levels::of(grid.values.iter().copied());
        let stretched = grid.stretched(levels.at(0.005), levels.at(0.995));
        let mut cells = Box::new([0u8; SIDE * SIDE]);
        for (index, cell) in cells.iter_mut().enumerate() {
            let mean = area_mean(&stretched, index % SIDE, index / SIDE);
            *cell = (mean.clamp(0.0, 1.0) * 255.0).round() as u8;
        }
        let aspect = f64::from(radiograph.width) / f64::from(radiograph.height.max(1)) * 4096.0;
        Self { aspect: aspect.round().clamp(1.0, f64::from(u16::MAX)) as u16, cells }
    }

    /// The signature as it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.aspect.to_le_bytes());
        bytes.extend_from_slice(&self.cells[..]);
        bytes
    }

    /// A stored signature; `None` when the bytes are of another version or length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [VERSION, low, high, cells @ ..] = bytes else { return None };
        let cells: &[u8; SIDE * SIDE] = cells.try_into().ok()?;
        let aspect = u16::from_le_bytes([*low, *high]);
        (aspect > 0).then(|| Self { aspect, cells: Box::new(*cells) })
    }

    /// Whether both are the same exposure, not merely of the same part.
    pub fn same(&self, other: &Self, config: &QualityConfig) -> bool {
        let limit = f32::from(config.duplicate_min_permille) / 1000.0;
        self.agreement(other) >= limit
    }

    /// How much of one plate's variance the other explains, 0 to 1, at the best of the allowed cuts.
    pub fn agreement(&self, other: &Self) -> f32 {
        let ratio = f32::from(self.aspect) / f32::from(other.aspect);
        if !(1.0 / ASPECT_MAX_RATIO..=ASPECT_MAX_RATIO).contains(&ratio) {
            return 0.0;
        }
        // Most pairs are of different plates; a first look spares them the search.
        if explained(&self.cells[..], &other.cells[..]) < 0.6 {
            return 0.0;
        }
        self.best_cut(other).max(other.best_cut(self))
    }

    /// The best agreement of this plate, cut at its edges, with the other: columns first, then rows, then again.
    fn best_cut(&self, cut: &Self) -> f32 {
        let mut best = [0f32; 4];
        let mut agreement = 0f32;
        for _ in 0..2 {
            for axis in [0, 2] {
                let mut chosen = best;
                for low in CUTS {
                    for high in CUTS {
                        let mut cuts = best;
                        (cuts[axis], cuts[axis + 1]) = (low, high);
                        let window = self.window(cuts);
                        let found =
                            explained(&window, &cut.cells[..]).max(explained(&cut.cells[..], &window));
                        if found > agreement {
                            (agreement, chosen) = (found, cuts);
                        }
                    }
                }
                best = chosen;
            }
        }
        agreement
    }

    /// The cells of this plate without `cuts` (left, right, top, bottom) of its sides, at the same number of cells.
    fn window(&self, [left, right, top, bottom]: [f32; 4]) -> Vec<u8> {
        let places = |low: f32, high: f32| -> Vec<(usize, f32)> {
            let (from, span) = (low * SIDE as f32, (1.0 - low - high) * SIDE as f32);
            (0..SIDE)
                .map(|at| {
                    let centre = from + (at as f32 + 0.5) / SIDE as f32 * span - 0.5;
                    let centre = centre.clamp(0.0, (SIDE - 1) as f32 - 1e-3);
                    (centre as usize, centre.fract())
                })
                .collect()
        };
        let (columns, rows) = (places(left, right), places(top, bottom));
        let mut cells = Vec::with_capacity(SIDE * SIDE);
        for (y, down) in rows {
            for (x, across) in &columns {
                let at = |x: usize, y: usize| f32::from(self.cells[y * SIDE + x]);
                let upper = at(*x, y) * (1.0 - across) + at(x + 1, y) * across;
                let lower = at(*x, y + 1) * (1.0 - across) + at(x + 1, y + 1) * across;
                cells.push((upper * (1.0 - down) + lower * down).round() as u8);
            }
        }
        cells
    }
}

/// The flag of a plate that is one of the earlier ones, each with its study's number.
pub fn duplicate(
    plate: &Plate,
    earlier: impl Iterator<Item = (String, Plate)>,
    config: &QualityConfig,
) -> Option<Flag> {
    if !enabled(config, RejectReason::Duplicate) {
        return None;
    }
    let limit = f32::from(config.duplicate_min_permille) / 1000.0;
    let (number, agreement) = earlier
        .map(|(number, other)| (number, plate.agreement(&other)))
        .find(|(_, agreement)| *agreement >= limit)?;
    Some(Flag {
        reason: RejectReason::Duplicate,
        detail: format!(
            "this plate was taken before, in study {number} (they agree in {}); check that the new plate was read, \
             and drop this view or overrule",
            share(agreement)
        ),
        overrulable: true,
    })
}

/// The mean of what of a grid lies in a cell of a signature.
fn area_mean(grid: &Grid, column: usize, row: usize) -> f32 {
    let span = |at: usize, length: usize| {
        let size = length as f32 / SIDE as f32;
        (at as f32 * size, (at + 1) as f32 * size)
    };
    let ((left, right), (top, bottom)) = (span(column, grid.width), span(row, grid.height));
    let (mut sum, mut weight) = (0f32, 0f32);
    for y in top as usize..(bottom.ceil() as usize).min(grid.height) {
        let high = bottom.min((y + 1) as f32) - top.max(y as f32);
        for x in left as usize..(right.ceil() as usize).min(grid.width) {
            let wide = right.min((x + 1) as f32) - left.max(x as f32);
            sum += grid.at(x, y) * high * wide;
            weight += high * wide;
        }
    }
    sum / weight.max(1e-6)
}

/// The correlation ratio: the share of `to`'s variance that a function of `from`'s level explains. Whatever window
/// was applied to one of two copies, it is such a function.
fn explained(from: &[u8], to: &[u8]) -> f32 {
    let mut bins = [(0f64, 0f64); BINS];
    let (mut sum, mut squares) = (0f64, 0f64);
    for (from, to) in from.iter().zip(to) {
        let bin = &mut bins[usize::from(*from) * BINS / 256];
        let value = f64::from(*to);
        bin.0 += 1.0;
        bin.1 += value;
        sum += value;
        squares += value * value;
    }
    let count = from.len().max(1) as f64;
    let total = squares - sum * sum / count;
    // Two blank plates have nothing in common.
    if total < count {
        return 0.0;
    }
    let between: f64 = bins.iter().filter(|bin| bin.0 > 0.0).map(|bin| bin.1 * bin.1 / bin.0).sum();
    ((between - sum * sum / count) / total) as f32
}
