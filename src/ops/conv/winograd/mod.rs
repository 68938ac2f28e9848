//! Convolutions of stride 1 with three taps along each axis on the CPU in f32, with fewer multiplications.
//!
//! The image is divided into tiles of 4 (along two axes 4 x 4) outputs. At each of the points of their
//! [transforms](transform), the transformed tiles and weights are a matrix product over the channels, which the kernel of
//! direct convolutions computes. A panel of 32 output channels is computed at a time, and a few rows of tiles, so that what is
//! between the transforms stays in the cache. What an element is summed from, and in which order, depends on the shapes only.

mod transform;
mod weight;

pub(super) use weight::weight;

use std::ops::Range;

use super::products::Counts;
use super::window::Window;
use crate::numeric::scalar::Scalar;
use crate::parallel;
use crate::parallel::tile::{Left, Offsets, WIDTH, multiply};
use crate::parallel::transpose::{SIDE, columns, square, squares};
use transform::{Inputs, OUTPUTS, Outputs, POINTS, Shape, TAPS, Taps, transform};

/// Tiles whose products at a point are computed together: enough that the weights are read from a cache seldom.
const TOGETHER: usize = 32;
/// Transformed images in a core's cache, and in one that is shared, in elements.
const OWN_CACHE: usize = 1 << 17;
const SHARED_CACHE: usize = 1 << 21;

/// Whether the products of a window are computed here, for images of `c` channels: where this saves a third of the multiplications
/// at least, and there are channels enough that the transforms take little of the time.
pub(super) fn suits(window: &Window, c: usize) -> bool {
    let two = window.kernel == [TAPS; 2];
    let fits = (two || window.kernel == [1, TAPS]) && window.stride == [1, 1] && window.padding.iter().all(|p| *p < TAPS);
    let tiles = Tiles::new(*window);
    let multiplications = tiles.count() * tiles.points();
    fits && c >= SIDE && window.places[1] >= OUTPUTS && 3 * multiplications <= 2 * window.count() * window.taps()
}

/// The window whose forward product with mirrored taps is the transposed product of a window.
fn mirrored(window: &Window) -> Window {
    let padding = [0, 1].map(|a| window.kernel[a] - 1 - window.padding[a]);
    Window { image: window.places, places: window.image, padding, ..*window }
}

/// [`suits`] for the transposed product of a window, of `o` channels.
pub(super) fn suits_transposed(window: &Window, o: usize) -> bool {
    let fits = (0..2).all(|a| window.padding[a] < window.kernel[a]);
    fits && suits(&mirrored(window), o)
}

/// The division of the places of a window into tiles.
#[derive(Clone, Copy)]
struct Tiles {
    window: Window,
    two: bool,
    /// The number of tiles along each axis.
    grid: [usize; 2],
}

impl Tiles {
    fn new(window: Window) -> Self {
        let (two, [h, w]) = (window.kernel[0] > 1, window.places);
        Self { window, two, grid: [if two { h.div_ceil(OUTPUTS) } else { h }, w.div_ceil(OUTPUTS)] }
    }

    /// The tiles of an image.
    fn count(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// `n` along two axes: squared, else as it is.
    fn area(&self, n: usize) -> usize {
        if self.two { n * n } else { n }
    }

    fn points(&self) -> usize {
        self.area(POINTS)
    }

    /// Lines of a tile with `n` elements along each axis.
    fn lines(&self, n: usize) -> usize {
        if self.two { n } else { 1 }
    }

    fn shape(&self, tiles: usize, lanes: usize) -> Shape {
        Shape { two: self.two, tiles, lanes }
    }

    /// The elements of a row of transformed tiles [points, tiles, c], with c filled up to whole vectors.
    fn line(&self, c: usize) -> usize {
        self.points() * self.grid[1] * c.next_multiple_of(SIDE)
    }

    /// The offset of each tile of rows of transformed tiles [rows, points, tiles, c].
    fn offsets(&self, rows: usize, c: usize) -> Offsets {
        let (tiles, line, each) = (self.grid[1], self.line(c), c.next_multiple_of(SIDE));
        (0..rows * tiles).map(|i| i / tiles * line + i % tiles * each).collect()
    }

    /// The first element at a point of rows of transformed tiles.
    fn at_point(&self, point: usize, c: usize) -> usize {
        point * self.grid[1] * c.next_multiple_of(SIDE)
    }

    /// frame [lines, width, 16] = lines of up to 16 planes from line `top` on, with `left` zeros before them, and zeros outside.
    #[inline(always)]
    fn frame(&self, planes: &[f32], [h, w]: [usize; 2], [top, left]: [isize; 2], width: usize, frame: &mut [f32]) {
        let (lines, spare) = (frame.len() / SIDE / width, frame.len() - SIDE);
        frame.fill(0.0);
        let [first, end] = [top, top + lines as isize].map(|line| line.clamp(0, h as isize) as usize);
        if planes.is_empty() || first == end {
            return;
        }
        let start = (first as isize - top) as usize * width + left as usize;
        let run = Vec::from_iter((0..end - first).flat_map(|y| (0..w).map(move |x| (start + y * width + x) * SIDE)));
        let channels = (planes.len() / (h * w)).min(SIDE);
        columns(
            &planes[first * w..],
            h * w,
            [run.len(), channels],
            frame,
            #[inline(always)]
            |i| run[i],
            spare,
        );
        frame[spare..].fill(0.0);
    }

    /// out [points, tiles, c] = row `row` of the tiles of an image [c, H, W], transformed.
    fn image_row(&self, image: &[f32], c: usize, row: usize, out: &mut [f32]) {
        let ([top, left], size) = (self.window.padding, self.window.image);
        let (tiles, each) = (self.grid[1], c.next_multiple_of(SIDE));
        let width = tiles * OUTPUTS + TAPS - 1;
        let first = row * self.lines(OUTPUTS);
        f32::with_scratch(
            (self.lines(POINTS) * width + 1) * SIDE,
            #[inline(always)]
            |frame| {
                for (block, planes) in image.chunks(SIDE * size[0] * size[1]).enumerate() {
                    let start = [first as isize - top as isize, left as isize];
                    self.frame(planes, size, start, width, frame);
                    transform(
                        Inputs,
                        self.shape(tiles, SIDE),
                        frame,
                        #[inline(always)]
                        |t, y, x| (y * width + t * OUTPUTS + x) * SIDE,
                        out,
                        #[inline(always)]
                        |t, y, x| ((y * POINTS + x) * tiles + t) * each + block * SIDE,
                    );
                }
            },
        );
    }

    /// Adds up the products of a panel of transformed weights and of transformed tiles at each point: sums [points, tiles, 32].
    fn products(&self, [v, u]: [&[f32]; 2], c: usize, tiles: &Offsets, some: Range<usize>, terms: &Offsets, sums: &mut [f32]) {
        for (point, sums) in sums.chunks_exact_mut(some.len() * WIDTH).enumerate() {
            let left = Left { data: &v[self.at_point(point, c)..], rows: tiles.part(some.clone()), terms: terms.all() };
            let sums = sums.as_chunks_mut::<WIDTH>().0;
            multiply(
                left,
                &u[point * c * WIDTH..][..c * WIDTH],
                #[inline(always)]
                |first, tile| sums[first..first + tile.len()].copy_from_slice(tile),
            );
        }
    }

    /// Writes row `row` of the outputs to up to 32 planes, from tile `first` of sums [points, tiles, 32] on.
    fn output_row(&self, sums: &[f32], first: usize, row: usize, planes: &mut [f32]) {
        let ([h, w], tiles) = (self.window.places, sums.len() / self.points() / WIDTH);
        let lines = self.lines(OUTPUTS);
        let start = row * lines * w;
        let n = (h * w - start).min(lines * w);
        f32::with_scratch(
            // The last tile may reach beyond its line; what is there is overwritten by the first one of the next line.
            (lines * w + OUTPUTS) * WIDTH,
            #[inline(always)]
            |pixels| {
                transform(
                    Outputs,
                    self.shape(self.grid[1], WIDTH),
                    sums,
                    #[inline(always)]
                    |t, y, x| ((y * POINTS + x) * tiles + first + t) * WIDTH,
                    pixels,
                    #[inline(always)]
                    |t, y, x| (y * w + t * OUTPUTS + x) * WIDTH,
                );
                put(&pixels[..n * WIDTH], planes, h * w, start);
            },
        );
    }
}

/// planes [up to 32, size] from `start` on = the transpose of pixels [n, 32].
fn put(pixels: &[f32], planes: &mut [f32], size: usize, start: usize) {
    let n = pixels.len() / WIDTH;
    parallel::with_simd(
        #[inline(always)]
        || {
            for (half, planes) in planes.chunks_mut(SIDE * size).enumerate() {
                let channels = planes.len() / size;
                if channels == SIDE && n >= SIDE {
                    for i in squares(n) {
                        square(
                            &pixels[i * WIDTH + half * SIDE..],
                            WIDTH,
                            planes,
                            #[inline(always)]
                            |j| j * size + start + i,
                        );
                    }
                } else {
                    for (j, plane) in planes.chunks_exact_mut(size).enumerate() {
                        (0..n).for_each(|i| plane[start + i] = pixels[i * WIDTH + half * SIDE + j]);
                    }
                }
            }
        },
    );
}

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
        let (taps, lines, terms) = (tiles.area(TAPS), tiles.lines(TAPS), self.terms);
        let last = taps - 1;
        f32::with_scratch(
            (SIDE * taps + 1) * WIDTH,
            #[inline(always)]
            |block| {
                for first in (0..terms).step_by(SIDE) {
                    let n = SIDE.min(terms - first);
                    self.block(taps, i * WIDTH, first..first + n, block);
                    transform(
                        Taps,
                        tiles.shape(n, WIDTH),
                        block,
                        #[inline(always)]
                        |t, y, x| {
                            let tap = if lines == 1 { x } else { y * TAPS + x };
                            (t * taps + if self.mirrored { last - tap } else { tap }) * WIDTH
                        },
                        panel,
                        #[inline(always)]
                        |t, y, x| ((y * POINTS + x) * terms + first + t) * WIDTH,
                    );
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

/// As [`products::gather`](super::products::gather).
pub(super) fn gather<S: Scalar>(
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

/// As [`products::scatter`](super::products::scatter).
pub(super) fn scatter<S: Scalar>(
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
                parallel::pieces(parallel::cut(&mut v[..some.len() * line], line), |i, out| {
                    let (sample, row) = ((first + i) / tiles.grid[0], (first + i) % tiles.grid[0]);
                    tiles.image_row(&x[sample * c * pixels..][..c * pixels], c, row, out);
                });
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
