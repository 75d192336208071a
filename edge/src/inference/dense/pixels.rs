//! The order of pixels inside a dense block.
//!
//! A 1x1 convolution does not care in which order pixels stand, and a Winograd convolution works on square tiles. So a block
//! keeps each channel's pixels as tiles need them: the image is cut into tiles of `side` by `side` pixels, and first come the
//! top left pixels of all tiles, in the tiles' order, then the pixels to the right of these, and so on. The same pixel of
//! neighbouring tiles then stands side by side, and vector instructions take many tiles at once without rearranging anything.
//!
//! ```text
//! image      1 2 3 4        in tiles of side 2      1 3 9 11   2 4 10 12   5 7 13 15   6 8 14 16
//!            5 6 7 8
//!            9 ...
//! ```

use super::number::Number;

/// How the pixels of an image of `height` by `width` are ordered.
#[derive(Clone, Debug)]
pub(super) struct TileOrder {
    pub(super) height: usize,
    pub(super) width: usize,
    /// Pixels of a tile's side.
    pub(super) side: usize,
    /// Tiles beside each other.
    pub(super) across: usize,
    /// All tiles. Those at the right and lower edge may hang over.
    pub(super) tiles: usize,
}

impl TileOrder {
    pub(super) fn new(height: usize, width: usize, side: usize) -> Self {
        let across = width.div_ceil(side);
        Self { height, width, side, across, tiles: across * height.div_ceil(side) }
    }

    /// Pixels, those that hang over included.
    pub(super) fn len(&self) -> usize {
        self.side * self.side * self.tiles
    }

    /// Where the pixel of a row and a column stands.
    fn position(&self, y: usize, x: usize) -> usize {
        let within = y % self.side * self.side + x % self.side;
        within * self.tiles + y / self.side * self.across + x / self.side
    }

    /// From rows of pixels to this order. What hangs over is left alone.
    pub(super) fn import(&self, image: &[f32], plane: &mut [f32]) {
        for (y, row) in image.chunks_exact(self.width).enumerate() {
            for first in 0..self.side.min(self.width) {
                let from = row[first..].iter().step_by(self.side);
                for (to, pixel) in plane[self.position(y, first)..].iter_mut().zip(from) {
                    *to = *pixel;
                }
            }
        }
    }

    /// From this order to rows of pixels.
    pub(super) fn export<E: Number>(&self, plane: &[E], image: &mut [f32]) {
        for (y, row) in image.chunks_exact_mut(self.width).enumerate() {
            for first in 0..self.side.min(self.width) {
                let to = row[first..].iter_mut().step_by(self.side);
                for (pixel, from) in to.zip(&plane[self.position(y, first)..]) {
                    *pixel = from.to_f32();
                }
            }
        }
    }

    /// The places that hang over the image, which a convolution has to take for zeros.
    pub(super) fn outside(&self) -> Vec<usize> {
        let hangs_over = |at: &usize| {
            let (within, tile) = (at / self.tiles, at % self.tiles);
            let y = tile / self.across * self.side + within / self.side;
            let x = tile % self.across * self.side + within % self.side;
            y >= self.height || x >= self.width
        };
        (0..self.len()).filter(hangs_over).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_come_back_where_they_were_and_the_rest_hangs_over() {
        for (height, width, side) in [(4, 4, 2), (7, 10, 4), (1, 3, 2), (5, 2, 4)] {
            let order = TileOrder::new(height, width, side);
            let image: Vec<f32> = (1..=height * width).map(|pixel| pixel as f32).collect();
            let mut plane = vec![0.0; order.len()];
            order.import(&image, &mut plane);
            let mut back = vec![0.0; image.len()];
            order.export(&plane, &mut back);
            assert_eq!(back, image);
            let empty: Vec<usize> = (0..plane.len()).filter(|&at| plane[at] == 0.0).collect();
            assert_eq!(order.outside(), empty);
        }
        let order = TileOrder::new(4, 4, 2);
        let mut plane = [0.0; 16];
        order.import(&std::array::from_fn::<f32, 16, _>(|pixel| pixel as f32 + 1.0), &mut plane);
        assert_eq!(plane, [1., 3., 9., 11., 2., 4., 10., 12., 5., 7., 13., 15., 6., 8., 14., 16.]);
    }
}
