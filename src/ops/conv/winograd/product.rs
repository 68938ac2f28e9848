//! The forward product, and the transposed one, which is a forward product with mirrored taps.

use std::ops::Range;

use super::transform::{Layout, POINTS, TAPS, Taps, transform};
use super::{OWN_CACHE, SHARED_CACHE, TOGETHER, Tiles, layout, mirrored};
use crate::numeric::scalar::Scalar;
use crate::ops::conv::products::Counts;
use crate::ops::conv::window::Window;
use crate::parallel;
use crate::parallel::tile::{Offsets, WIDTH};
use crate::parallel::transpose::{SIDE, columns};

/// The weights of a product.
#[derive(Clone, Copy)]
struct Weights<'a> {
    /// [outputs, terms, taps], or mirrored [terms, outputs, taps].
    values: &'a [f32],
    outputs: usize,
    terms: usize,
    mirrored: bool,
}

impl Weights<'_> {
    /// panel [points, terms, 32] = the transformed weights of output channels 32 i and following.
    fn panel(&self, tiles: &Tiles, i: usize, panel: &mut [f32]) {
        let (taps, terms) = (tiles.area(TAPS), self.terms);
        f32::with_scratch(
            (SIDE * taps + 1) * WIDTH,
            #[inline(always)]
            |block| {
                for first in (0..terms).step_by(SIDE) {
                    let n = SIDE.min(terms - first);
                    self.block(taps, i * WIDTH, first..first + n, block);
                    let mut source = layout(0, [taps, TAPS, 1], WIDTH);
                    if self.mirrored {
                        source = Layout { first: (taps - 1) * WIDTH, y: -source.y, x: -source.x, ..source };
                    }
                    let target = layout(first * WIDTH, [1, POINTS * terms, terms], WIDTH);
                    transform(Taps, tiles.shape(n, WIDTH), (block, source), (panel, target));
                }
            },
        );
    }

    /// block [terms, taps, 32] = the weights of some terms for the output channels from `channel` on.
    fn block(&self, taps: usize, channel: usize, terms: Range<usize>, block: &mut [f32]) {
        let spare = block.len() - SIDE;
        parallel::with_simd(
            #[inline(always)]
            || {
                for half in [0, SIDE] {
                    let first = channel + half;
                    let channels = self.outputs.saturating_sub(first).min(SIDE);
                    if channels == 0 {
                        block.chunks_exact_mut(WIDTH).for_each(|line| line[half..].fill(0.0));
                    } else if self.mirrored {
                        for (t, term) in terms.clone().enumerate() {
                            columns(
                                &self.values[(term * self.outputs + first) * taps..],
                                taps,
                                [taps, channels],
                                block,
                                #[inline(always)]
                                |i| (t * taps + i) * WIDTH + half,
                                spare,
                            );
                        }
                    } else {
                        columns(
                            &self.values[(first * self.terms + terms.start) * taps..],
                            self.terms * taps,
                            [terms.len() * taps, channels],
                            block,
                            #[inline(always)]
                            |i| i * WIDTH + half,
                            spare,
                        );
                    }
                }
            },
        );
    }

    fn panels(&self) -> usize {
        self.outputs.div_ceil(WIDTH)
    }
}

/// As [`products::gather`](super::super::products::gather).
pub(in crate::ops::conv) fn gather<S: Scalar>(
    window: &Window,
    [_, terms, outputs]: Counts,
    [x, w]: [&[S]; 2],
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    let weights = Weights { values: bytemuck::cast_slice(w), outputs, terms, mirrored: false };
    convolve(Tiles::new(*window), x, weights, y, z, finish);
}

/// As [`products::scatter`](super::super::products::scatter).
pub(in crate::ops::conv) fn scatter<S: Scalar>(
    window: &Window,
    [_, outputs, terms]: Counts,
    [x, w]: [&[S]; 2],
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    let weights = Weights { values: bytemuck::cast_slice(w), outputs, terms, mirrored: true };
    convolve(Tiles::new(mirrored(window)), x, weights, y, z, finish);
}

/// The product of images and weights, then `finish`. With many images, a task has some of them and all weights; with few, some
/// weights and all images.
fn convolve<S: Scalar>(
    tiles: Tiles,
    x: &[S],
    weights: Weights,
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    let x: &[f32] = bytemuck::cast_slice(x);
    let [from, to] = [weights.terms * tiles.window.pixels(), weights.outputs * tiles.window.count()];
    let samples = x.len() / from;
    let product = Product { tiles, weights };
    if samples < 2 * parallel::threads() || samples * tiles.count() < weights.outputs {
        return product.of(x, None, 0, y, z, &finish);
    }
    let each = TOGETHER.div_ceil(tiles.count()).min(samples.div_ceil(2 * parallel::threads()));
    let panel = tiles.points() * weights.terms * WIDTH;
    f32::with_scratch(weights.panels() * panel, |all| {
        parallel::pieces(parallel::cut(all, panel), |i, panel| weights.panel(&tiles, i, panel));
        let all = &*all;
        parallel::blocks(y, each * to, z, |i, y, z| {
            let x = &x[i * each * from..][..y.len() / to * from];
            product.of(x, Some(all), i * each * to, y, z, &finish);
        });
    });
}

/// What [`convolve`] computes.
struct Product<'a> {
    tiles: Tiles,
    weights: Weights<'a>,
}

/// The planes of some channels of an image, and where they start in the output.
struct Planes<'a, S> {
    offset: usize,
    y: &'a mut [S],
    z: Option<&'a mut [S]>,
}

/// For each panel of channels, its planes in each sample of an output of `channels`.
fn planes_of_panels<'a, S>(
    offset: usize,
    y: &'a mut [S],
    z: Option<&'a mut [S]>,
    [channels, size]: [usize; 2],
) -> Vec<Vec<Planes<'a, S>>> {
    let mut panels = Vec::from_iter((0..channels.div_ceil(WIDTH)).map(|_| Vec::new()));
    let mut z = z.map(|z| z.chunks_mut(channels * size));
    for (sample, y) in y.chunks_mut(channels * size).enumerate() {
        let mut z = z.as_mut().and_then(Iterator::next).map(|z| z.chunks_mut(WIDTH * size));
        for (panel, y) in y.chunks_mut(WIDTH * size).enumerate() {
            let z = z.as_mut().and_then(Iterator::next);
            panels[panel].push(Planes { offset: offset + (sample * channels + panel * WIDTH) * size, y, z });
        }
    }
    panels
}

impl Product<'_> {
    /// Of some images, with all panels of transformed weights if these are there.
    fn of<S: Scalar>(
        &self,
        x: &[f32],
        ready: Option<&[f32]>,
        offset: usize,
        y: &mut [S],
        z: Option<&mut [S]>,
        finish: &(impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync),
    ) {
        let Self { tiles, weights } = self;
        let (c, pixels) = (weights.terms, tiles.window.pixels());
        let mut panels = planes_of_panels(offset, y, z, [weights.outputs, tiles.window.count()]);
        let (rows, line) = (x.len() / (c * pixels) * tiles.grid[0], tiles.line(c));
        let cache = if ready.is_some() { OWN_CACHE } else { SHARED_CACHE };
        let wave = (cache / line).clamp(1, rows);
        let offsets = tiles.offsets(wave, c);
        f32::with_scratch(wave * line, |v| {
            for first in (0..rows).step_by(wave) {
                let some = first..rows.min(first + wave);
                parallel::pieces(
                    parallel::cut(&mut v[..some.len() * line], line),
                    #[inline(always)]
                    |i, out| {
                        let (sample, row) = ((first + i) / tiles.grid[0], (first + i) % tiles.grid[0]);
                        tiles.image_row(&x[sample * c * pixels..][..c * pixels], c, row, out);
                    },
                );
                let v = &*v;
                parallel::pieces(parallel::cut(&mut panels, 1), |i, panel| {
                    self.with_panel(ready, i, |u| self.rows([v, u], &offsets, some.clone(), &mut panel[0]));
                    if some.end == rows {
                        panel[0].iter_mut().for_each(|p| finish(p.offset, p.y, p.z.as_deref_mut()));
                    }
                });
            }
        });
    }

    /// Calls `f` with a panel of transformed weights.
    fn with_panel(&self, ready: Option<&[f32]>, i: usize, f: impl FnOnce(&[f32])) {
        let len = self.tiles.points() * self.weights.terms * WIDTH;
        match ready {
            Some(all) => f(&all[i * len..][..len]),
            None => f32::with_scratch(len, |panel| {
                self.weights.panel(&self.tiles, i, panel);
                f(panel);
            }),
        }
    }

    /// Rows of outputs of a panel, from transformed tiles of these rows and the transformed weights.
    fn rows<S: Scalar>(&self, data: [&[f32]; 2], offsets: &Offsets, rows: Range<usize>, planes: &mut [Planes<S>]) {
        let Self { tiles, weights } = self;
        let (c, [lines, across]) = (weights.terms, tiles.grid);
        let terms = Offsets::from_iter(0..c);
        let together = TOGETHER.div_ceil(across);
        f32::with_scratch(tiles.points() * together * across * WIDTH, |sums| {
            for first in rows.clone().step_by(together) {
                let n = together.min(rows.end - first);
                let start = (first - rows.start) * across;
                let sums = &mut sums[..tiles.points() * n * across * WIDTH];
                tiles.products(data, c, offsets, start..start + n * across, &terms, sums);
                for row in first..first + n {
                    let y = bytemuck::cast_slice_mut(planes[row / lines].y);
                    tiles.output_row(sums, (row - first) * across, row % lines, y);
                }
            }
        });
    }
}
