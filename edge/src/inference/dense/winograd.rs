//! A 3x3 convolution by Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308).
//!
//! A tile of `T` by `T` pixels comes out of a patch of `A` by `A`, `A = T + 2`. Patches and filters are transformed, so that
//! each of the `A * A` places of a patch needs a single multiplication instead of nine for each pixel, and the products are
//! transformed back:
//!
//! ```text
//! patch  d [A][A]   V = B' d B         filter g [3][3]   U = G g G'         tile = M' (U * V) M, summed over the channels
//! ```
//!
//! For each place, the sum over the channels is a matrix product of tiles by channels, which [`Kernel`] computes. F(2x2) takes
//! 16 multiplications for 4 pixels (36 directly), F(4x4) takes 36 for 16 pixels (144 directly).

use multiversion::multiversion;

use super::kernel::{Channels, Epilogue, Kernel, Numbers, WIDEST_PANEL, Zmm};
use super::lanes::{LONGEST, Lanes, Vector, Vectors};
use super::number::Number;
use super::pixels::TileOrder;

/// The transforms of one tile size.
trait Transform<const T: usize, const A: usize> {
    /// `G`: of a filter's three taps.
    const FILTER: [[f64; 3]; A];

    /// `B' d`: of a row or column of a patch.
    fn patch<V: Vector>(d: [V; A]) -> [V; A];

    /// `M' m`: of a row or column of products.
    fn tile<V: Vector>(m: [V; A]) -> [V; T];
}

/// F(2x2, 3x3), with the points 0, 1, -1 and infinity.
struct Two;

impl Transform<2, 4> for Two {
    const FILTER: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn patch<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 4] {
        [a - c, b + c, c - b, b - d]
    }

    #[inline(always)]
    fn tile<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 2] {
        [a + b + c, b - c - d]
    }
}

/// F(4x4, 3x3), with the points 0, 1, -1, 2, -2 and infinity.
struct Four;

impl Transform<4, 6> for Four {
    const FILTER: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn patch<V: Vector>([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
        let (even, odd) = (e - c * 4.0, d - b * 4.0);
        let (half_even, half_odd) = (e - c, (d - b) * 2.0);
        [
            a * 4.0 - c * 5.0 + e,
            even + odd,
            even - odd,
            half_even + half_odd,
            half_even - half_odd,
            b * 4.0 - d * 5.0 + f,
        ]
    }

    #[inline(always)]
    fn tile<V: Vector>([a, b, c, d, e, f]: [V; 6]) -> [V; 4] {
        let (sum, difference) = (b + c, b - c);
        let (far_sum, far_difference) = (d + e, d - e);
        [
            a + sum + far_sum,
            difference + far_difference * 2.0,
            sum + far_sum * 4.0,
            difference + far_difference * 8.0 + f,
        ]
    }
}

/// A 3x3 convolution with a border of zeros.
#[derive(Debug)]
pub(super) struct Winograd<E: Number> {
    kernel: Kernel<E>,
    depth: usize,
    channels: usize,
    bias: Option<Vec<f32>>,
    /// For each place of a patch, the transformed filters, packed.
    filters: Vec<Channels<E>>,
}

/// What the convolutions of a block have in common.
#[derive(Debug)]
pub(super) struct Tiling {
    pub(super) order: TileOrder,
    /// 1 where a tile has a neighbour above, below, at its left and right, 0 where it has none; as long as if the last panel of tiles
    /// were whole.
    neighbours: [Vec<f32>; 4],
}

/// What a convolution writes in passing; kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch<E> {
    patches: Numbers<E>,
    products: Numbers<E>,
}

impl Tiling {
    pub(super) fn new(order: TileOrder) -> Self {
        let across = order.across;
        let given = |has: &dyn Fn(usize) -> bool| {
            (0..order.tiles + WIDEST_PANEL).map(|tile| f32::from(u8::from(has(tile)))).collect()
        };
        let neighbours = [
            given(&|tile| tile >= across),
            given(&|tile| tile + across < order.tiles),
            given(&|tile| tile % across > 0),
            given(&|tile| tile % across + 1 < across),
        ];
        Self { order, neighbours }
    }

    /// Numbers before the first plane and behind the last one that are read, but not used: of a neighbour above the first tile, and of
    /// tiles that a panel has too many. It keeps planes where vectors are aligned.
    pub(super) fn guard(&self) -> usize {
        (self.order.across + 1 + WIDEST_PANEL).next_multiple_of(16)
    }
}

impl<E: Number> Winograd<E> {
    /// From filters as `[out][in][3][3]`, for tiles of 2 or 4 pixels.
    pub(super) fn new(
        kernel: Kernel<E>,
        side: usize,
        depth: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let channels = weights.len() / (9 * depth);
        let filters = match side {
            2 => filters(kernel, depth, weights, &Two::FILTER),
            _ => filters(kernel, depth, weights, &Four::FILTER),
        };
        Self { kernel, depth, channels, bias: bias.map(<[f32]>::to_vec), filters }
    }

    /// Convolves `depth` planes, which begin behind the guard, into `out`.
    pub(super) fn run(
        &self,
        tiling: &Tiling,
        (input, pitch): (&[E], usize),
        out: &mut [f32],
        scratch: &mut Scratch<E>,
    ) {
        let run = match self.kernel.vectors() {
            Vectors::Zmm => Self::run_with::<Zmm>,
            Vectors::Sixteen => Self::run_with::<Lanes<16>>,
            Vectors::Eight => Self::run_with::<Lanes<8>>,
        };
        run(self, tiling, (input, pitch), out, scratch);
    }

    fn run_with<V: Vector>(
        &self,
        tiling: &Tiling,
        input: (&[E], usize),
        out: &mut [f32],
        scratch: &mut Scratch<E>,
    ) {
        match tiling.order.side {
            2 => self.run_as::<Two, V, 2, 4>(tiling, input, out, scratch),
            _ => self.run_as::<Four, V, 4, 6>(tiling, input, out, scratch),
        }
    }

    fn run_as<W: Transform<T, A>, V: Vector, const T: usize, const A: usize>(
        &self,
        tiling: &Tiling,
        (input, pitch): (&[E], usize),
        out: &mut [f32],
        scratch: &mut Scratch<E>,
    ) {
        let Self { kernel, depth, filters, .. } = self;
        let written = filters[0].written();
        // Each place's packed patches are one row apart from where they would be without the row that kernels read ahead: without it,
        // all places would fall on the same lines of a cache.
        let patch_len = Kernel::<E>::packed_len(*depth, kernel.mr()).next_multiple_of(Kernel::<E>::ALIGNMENT);
        let product_len = written * kernel.mr();
        scratch.patches.reserve(A * A * patch_len);
        scratch.products.reserve(A * A * product_len);
        let mut first = 0;
        while first < tiling.order.tiles {
            let panel = kernel.for_rest(tiling.order.tiles - first);
            patches::<E, W, V, T, A>(
                tiling,
                first,
                (input, pitch, *depth),
                panel.mr(),
                &mut scratch.patches,
                patch_len,
            );
            for (place, filters) in filters.iter().enumerate() {
                let patch = &scratch.patches[place * patch_len..];
                let product = &mut scratch.products[place * product_len..][..product_len];
                let epilogue = Epilogue { bias: None, relu: false };
                panel.multiply((patch, 1), filters, epilogue, (product, panel.mr()));
            }
            let bias = self.bias.as_deref();
            tiles::<E, W, V, T, A>(
                &tiling.order,
                first,
                &scratch.products,
                product_len,
                bias,
                (out, pitch, self.channels),
                panel.mr(),
            );
            first += panel.mr();
        }
    }
}

/// Transformed filters, `U = G g G'`, packed for each place of a patch.
fn filters<E: Number, const A: usize>(
    kernel: Kernel<E>,
    depth: usize,
    weights: &[f32],
    transform: &[[f64; 3]; A],
) -> Vec<Channels<E>> {
    let channels = weights.len() / (9 * depth);
    (0..A * A)
        .map(|place| {
            let (rows, columns) = (transform[place / A], transform[place % A]);
            let weight = |channel: usize, k: usize| {
                let filter = &weights[(channel * depth + k) * 9..][..9];
                let sum: f64 = (0..9).map(|i| rows[i / 3] * columns[i % 3] * f64::from(filter[i])).sum();
                sum as f32
            };
            kernel.pack_channels((channels, depth), weight)
        })
        .collect()
}

/// The transformed patches, `V = B' d B`, of a panel of tiles: `[place][channel][tile]`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn patches<E: Number, W: Transform<T, A>, V: Vector, const T: usize, const A: usize>(
    tiling: &Tiling,
    first: usize,
    (input, pitch, depth): (&[E], usize, usize),
    mr: usize,
    out: &mut [E],
    patch_len: usize,
) {
    let TileOrder { across, tiles, .. } = tiling.order;
    // Where a patch's row or column lies: in the tile before, in the tile itself, in the next one.
    let locate = |i: usize| match i {
        0 => (T - 1, 0),
        i if i <= T => (i - 1, 1),
        _ => (0, 2),
    };
    let mut places = [[0; A]; A];
    for (i, row) in places.iter_mut().enumerate() {
        for (j, place) in row.iter_mut().enumerate() {
            let ((y, down), (x, right)) = (locate(i), locate(j));
            *place = tiling.guard() + (y * T + x) * tiles + down * across + right - across - 1;
        }
    }
    for lane in (0..mr).step_by(V::LEN) {
        let tile = first + lane;
        let [above, below, left, right] = tiling.neighbours.each_ref().map(|given| V::load(&given[tile..]));
        for channel in 0..depth {
            let plane = &input[channel * pitch + tile..];
            let mut rows = [[V::all(0.0); A]; A];
            for i in 0..A {
                let mut row = [V::all(0.0); A];
                for j in 0..A {
                    row[j] = V::load(&plane[places[i][j]..]);
                }
                row[0] = row[0].keep(left);
                row[A - 1] = row[A - 1].keep(right);
                rows[i] = W::patch(row);
            }
            for j in 0..A {
                let mut column = [V::all(0.0); A];
                for i in 0..A {
                    column[i] = rows[i][j];
                }
                column[0] = column[0].keep(above);
                column[A - 1] = column[A - 1].keep(below);
                for (i, value) in W::patch(column).into_iter().enumerate() {
                    value.store(&mut out[(i * A + j) * patch_len + channel * mr + lane..]);
                }
            }
        }
    }
}

/// From products, `[place][channel][tile]`, to the pixels of a panel of tiles: `M' m M`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn tiles<E: Number, W: Transform<T, A>, V: Vector, const T: usize, const A: usize>(
    order: &TileOrder,
    first: usize,
    products: &[E],
    product_len: usize,
    bias: Option<&[f32]>,
    (out, pitch, channels): (&mut [f32], usize, usize),
    mr: usize,
) {
    for lane in (0..mr.min(order.tiles - first)).step_by(V::LEN) {
        let whole = V::LEN.min(order.tiles - first - lane);
        for channel in 0..channels {
            let bias = bias.map_or(0.0, |bias| bias[channel]);
            let products = &products[channel * mr + lane..];
            let mut rows = [[V::all(0.0); T]; A];
            for i in 0..A {
                let mut row = [V::all(0.0); A];
                for j in 0..A {
                    row[j] = V::load(&products[(i * A + j) * product_len..]);
                }
                rows[i] = W::tile(row);
            }
            let plane = &mut out[channel * pitch + first + lane..];
            for x in 0..T {
                let mut column = [V::all(0.0); A];
                for i in 0..A {
                    column[i] = rows[i][x];
                }
                for (y, pixels) in W::tile(column).into_iter().enumerate() {
                    let pixels = pixels + V::all(bias);
                    let to = &mut plane[(y * T + x) * order.tiles..];
                    if whole == V::LEN {
                        pixels.store(to);
                    } else {
                        let mut vector = [0f32; LONGEST];
                        pixels.store(&mut vector);
                        to[..whole].copy_from_slice(&vector[..whole]);
                    }
                }
            }
        }
    }
}
