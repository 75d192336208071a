//! The exposed field: what the collimator's shutters (or a mask in their place) leave of the image.

use super::grid::{Grid, Levels, Rect, share_of};

/// How much cells of a shutter may differ, of the image's range.
const SHUTTER_TOLERANCE: f32 = 0.045;
/// Share of a line's cells that must be alike for it to lie under a shutter.
const SHUTTER_ALIKE_SHARE: f32 = 0.97;
/// Anatomy must end at a shutter over more of the side's length than a fingertip or a label takes.
pub(super) const CUT_MIN_SHARE: f32 = 0.16;
/// A narrower margin is a film's rim, not a shutter; of the image's side.
const MARGIN_MIN_SHARE: f32 = 0.03;

/// What lies behind one side of the field.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Side {
    /// Depth of the margin, of the image's side.
    pub(super) margin: f32,
    /// Its level, of the image's range.
    pub(super) level: f32,
    /// Share of the side's length where the field ends in a step.
    pub(super) edge: f32,
    /// Share of the side's length where it is anatomy that ends there, in a step.
    pub(super) cut: f32,
}

/// The part of the image that is not uniform margin.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) rect: Rect,
    /// Left, right, top, bottom.
    pub(super) sides: [Side; 4],
}

impl Field {
    /// Finds it on a copy stretched to the image's range.
    pub(super) fn find(grid: &Grid) -> Self {
        let mut rect = Rect { left: 0, top: 0, right: grid.width, bottom: grid.height };
        let mut levels = [0f32; 4];
        // A white film rim may lie around black shutters, and a side's cells are alike only between the others.
        for _ in 0..3 {
            for (side, level) in levels.iter_mut().enumerate() {
                while let Some(found) = outer_level(grid, rect, side) {
                    let before = rect;
                    *level = found;
                    while outer_level_near(grid, rect, side, found) {
                        rect = shrunk(rect, side);
                    }
                    if rect == before {
                        break;
                    }
                }
            }
        }
        let mut field = Self { rect, sides: [Side::default(); 4] };
        let mut inside = Levels::of(grid.cut(rect).values);
        let (dark, bright) = (inside.at(0.02), inside.at(0.98));
        for (side, level) in levels.into_iter().enumerate() {
            let margin = match side {
                0 => rect.left as f32 / grid.width as f32,
                1 => (grid.width - rect.right) as f32 / grid.width as f32,
                2 => rect.top as f32 / grid.height as f32,
                _ => (grid.height - rect.bottom) as f32 / grid.height as f32,
            };
            field.sides[side] = Side { margin, level, edge: 0.0, cut: 0.0 };
            if margin >= MARGIN_MIN_SHARE {
                let (edge, cut) = steps(grid, rect, side, level, dark, bright);
                field.sides[side].edge = edge;
                field.sides[side].cut = cut;
            }
        }
        field
    }

    /// The field with those dark margins that no shutter ends: they are background.
    pub(super) fn lit(&self, grid: &Grid) -> Rect {
        let is_background = |side: Side| side.level < 0.5 && side.edge < 0.6 && side.cut < CUT_MIN_SHARE;
        let [left, right, top, bottom] = self.sides.map(is_background);
        Rect {
            left: if left { 0 } else { self.rect.left },
            right: if right { grid.width } else { self.rect.right },
            top: if top { 0 } else { self.rect.top },
            bottom: if bottom { grid.height } else { self.rect.bottom },
        }
    }

    /// Share of the image that the shutters leave. A margin without a visible edge is only background.
    pub(super) fn share(&self) -> f32 {
        let kept = |a: Side, b: Side| {
            let behind =
                |side: Side| if side.edge >= 0.6 || side.cut >= CUT_MIN_SHARE { side.margin } else { 0.0 };
            1.0 - behind(a) - behind(b)
        };
        kept(self.sides[0], self.sides[1]) * kept(self.sides[2], self.sides[3])
    }
}

fn shrunk(rect: Rect, side: usize) -> Rect {
    match side {
        0 => Rect { left: rect.left + 1, ..rect },
        1 => Rect { right: rect.right - 1, ..rect },
        2 => Rect { top: rect.top + 1, ..rect },
        _ => Rect { bottom: rect.bottom - 1, ..rect },
    }
}

/// The cells of a side's line, `depth` cells inside the rectangle.
fn line(grid: &Grid, rect: Rect, side: usize, depth: usize) -> Vec<f32> {
    match side {
        0 | 1 => {
            let x = if side == 0 { rect.left + depth } else { rect.right - 1 - depth };
            (rect.top..rect.bottom).map(|y| grid.at(x, y)).collect()
        }
        _ => {
            let y = if side == 2 { rect.top + depth } else { rect.bottom - 1 - depth };
            (rect.left..rect.right).map(|x| grid.at(x, y)).collect()
        }
    }
}

/// A field is never trimmed below this many cells.
const CELLS_MIN: usize = 16;

/// The level of a side's outermost line, where its cells are alike.
fn outer_level(grid: &Grid, rect: Rect, side: usize) -> Option<f32> {
    if rect.width() <= CELLS_MIN || rect.height() <= CELLS_MIN {
        return None;
    }
    let cells = line(grid, rect, side, 0);
    let level = Levels::of(cells.iter().copied()).at(0.5);
    alike(&cells, level).then_some(level)
}

fn outer_level_near(grid: &Grid, rect: Rect, side: usize, level: f32) -> bool {
    rect.width() > CELLS_MIN && rect.height() > CELLS_MIN && alike(&line(grid, rect, side, 0), level)
}

fn alike(cells: &[f32], level: f32) -> bool {
    share_of(cells, |cell| (cell - level).abs() <= SHUTTER_TOLERANCE) >= SHUTTER_ALIKE_SHARE
}

/// Shares of a side's length at which the field, and at which anatomy, ends in a step. Skin fades out over many
/// cells; a shutter ends within one, and so do what lies just inside it and deeper hardly differ.
fn steps(grid: &Grid, rect: Rect, side: usize, level: f32, dark: f32, bright: f32) -> (f32, f32) {
    let depths = if matches!(side, 0 | 1) { rect.width() } else { rect.height() };
    let near = [1, 2].map(|depth| line(grid, rect, side, depth.min(depths - 1)));
    let deep = [6, 7].map(|depth| line(grid, rect, side, depth.min(depths - 1)));
    let (mut edges, mut cuts) = (0usize, 0usize);
    for at in 0..near[0].len() {
        let inside = (near[0][at] + near[1][at]) / 2.0;
        let deeper = (deep[0][at] + deep[1][at]) / 2.0;
        let step = (inside - level).abs();
        let abrupt = step >= 0.6 * (deeper - level).abs();
        edges += usize::from(step >= 0.06 && abrupt);
        let anatomy = inside >= dark + 0.15 * (bright - dark);
        cuts += usize::from(step >= 0.08 && abrupt && anatomy);
    }
    let length = near[0].len().max(1) as f32;
    (edges as f32 / length, cuts as f32 / length)
}
