//! The gradient of the weights: the transposed transforms around a product over the tiles at each point.

use super::transform::{Gradients, OUTPUTS, POINTS, TAPS, TapGradients, transform};
use super::{Frame, TOGETHER, Tiles, layout};
use crate::numeric::scalar::Scalar;
use crate::ops::conv::products::Counts;
use crate::ops::conv::window::Window;
use crate::parallel;
use crate::parallel::tile::{Left, Offsets, WIDTH, multiply};
use crate::parallel::transpose::{SIDE, square, squares};

/// The elements of transformed images of which the products are summed before the transform of the result.
const BLOCK: usize = 3 << 17;

/// As [`products::weight`](super::super::products::weight).
pub(in crate::ops::conv) fn weight<S: Scalar>(window: &Window, [b, c, o]: Counts, [x, dz]: [&[S]; 2], dw: &mut [S]) {
    let [x, dz]: [&[f32]; 2] = [x, dz].map(bytemuck::cast_slice);
    let dw: &mut [f32] = bytemuck::cast_slice_mut(dw);
    let tiles = Tiles::new(*window);
    let (rows, line, across) = (b * tiles.grid[0], tiles.line(c), tiles.grid[1]);
    let block = (BLOCK / line).max(TOGETHER.div_ceil(across)).min(rows);
    let (offsets, channels) = (tiles.offsets(block, c), Offsets::from_iter(0..c));
    let (pixels, count) = (c * window.pixels(), o * window.count());
    f32::with_scratch(block * line, |v| {
        for first in (0..rows).step_by(block) {
            let n = block.min(rows - first);
            let place = |i: usize| ((first + i) / tiles.grid[0], (first + i) % tiles.grid[0]);
            parallel::pieces(
                parallel::cut(&mut v[..n * line], line),
                #[inline(always)]
                |i, out| {
                    let (sample, row) = place(i);
                    tiles.image_row(&x[sample * pixels..][..pixels], c, row, out);
                },
            );
            let v = &*v;
            parallel::pieces(
                parallel::cut(dw, WIDTH * c * window.taps()),
                #[inline(always)]
                |panel, dw| {
                    f32::with_scratch(
                        tiles.points() * n * across * WIDTH,
                        #[inline(always)]
                        |d| {
                            for i in 0..n {
                                let (sample, row) = place(i);
                                let dz = &dz[sample * count..][..count];
                                let planes = dz.chunks(WIDTH * window.count()).nth(panel).expect("one for each panel");
                                tiles.gradient_row(planes, row, i * across, d);
                            }
                            let sums = Sums { tiles, v, d, offsets: &offsets, channels: &channels };
                            sums.add_to(dw, first > 0);
                        },
                    );
                },
            );
        }
    });
}

impl Tiles {
    /// Row `row` of the gradients of up to 32 planes of outputs, transformed, from tile `first` of out [points, tiles, 32] on.
    #[inline(always)]
    fn gradient_row(&self, planes: &[f32], row: usize, first: usize, out: &mut [f32]) {
        let (across, all) = (self.grid[1], out.len() / self.points() / WIDTH);
        let lines = self.lines(OUTPUTS);
        let frame = Frame::new(self.window.places, [(row * lines) as isize, 0], [lines, across * OUTPUTS]);
        frame.with_memory(
            #[inline(always)]
            |memory| {
                for half in 0..2 {
                    frame.fill(&planes[(half * SIDE * frame.area).min(planes.len())..], memory);
                    let source = layout(0, [OUTPUTS, frame.width, 1], SIDE);
                    let target = layout(first * WIDTH + half * SIDE, [1, POINTS * all, all], WIDTH);
                    transform(Gradients, self.shape(across, SIDE), (memory, source), (out, target));
                }
            },
        );
    }
}

/// The products over some tiles for a panel of output channels.
struct Sums<'a> {
    tiles: Tiles,
    /// The transformed images.
    v: &'a [f32],
    /// The transformed gradients [points, tiles, 32].
    d: &'a [f32],
    /// The offsets of the tiles in v, and those of the channels in a tile.
    offsets: &'a Offsets,
    channels: &'a Offsets,
}

impl Sums<'_> {
    /// dw [up to 32, C taps] = the transformed sums, or += these.
    fn add_to(&self, dw: &mut [f32], add: bool) {
        let Self { tiles, channels, .. } = self;
        let (c, taps, points) = (channels.len(), tiles.area(TAPS), tiles.points());
        f32::with_scratch((points + taps) * WIDTH * WIDTH, |scratch| {
            let (sums, block) = scratch.split_at_mut(points * WIDTH * WIDTH);
            for first in (0..c).step_by(WIDTH) {
                let n = WIDTH.min(c - first);
                self.at_points(first..first + n, sums);
                let source = layout(0, [1, POINTS * WIDTH, WIDTH], WIDTH);
                let target = layout(0, [taps, TAPS, 1], WIDTH);
                transform(TapGradients, tiles.shape(n, WIDTH), (sums, source), (block, target));
                put(&block[..n * taps * WIDTH], dw, [c * taps, first * taps], add);
            }
        });
    }

    /// sums [points, 32 input channels, 32 output channels].
    fn at_points(&self, channels: std::ops::Range<usize>, sums: &mut [f32]) {
        let Self { tiles, v, d, offsets, .. } = *self;
        let c = self.channels.len();
        let each = d.len() / tiles.points();
        for (point, (d, sums)) in d.chunks_exact(each).zip(sums.chunks_exact_mut(WIDTH * WIDTH)).enumerate() {
            let rows = self.channels.part(channels.clone());
            let left = Left { data: &v[tiles.at_point(point, c)..], rows, terms: offsets.part(0..each / WIDTH) };
            let sums = sums.as_chunks_mut::<WIDTH>().0;
            multiply(
                left,
                d,
                #[inline(always)]
                |first, tile| sums[first..first + tile.len()].copy_from_slice(tile),
            );
        }
    }
}

/// dw [up to 32, size] from `start` on = the transpose of block [n, 32], or += it.
fn put(block: &[f32], dw: &mut [f32], [size, start]: [usize; 2], add: bool) {
    let n = block.len() / WIDTH;
    parallel::with_simd(
        #[inline(always)]
        || {
            for (half, dw) in dw.chunks_mut(SIDE * size).enumerate() {
                let at = half * SIDE;
                if dw.len() == SIDE * size && n >= SIDE && !add {
                    for i in squares(n) {
                        square(
                            &block[i * WIDTH + at..],
                            WIDTH,
                            dw,
                            #[inline(always)]
                            |j| j * size + start + i,
                        );
                    }
                    continue;
                }
                // Rows of dw that are not whole squares, and sums.
                for (j, dw) in dw.chunks_exact_mut(size).enumerate() {
                    let dw = &mut dw[start..start + n];
                    for (i, dw) in dw.iter_mut().enumerate() {
                        let value = block[i * WIDTH + at + j];
                        *dw = if add { *dw + value } else { value };
                    }
                }
            }
        },
    );
}
