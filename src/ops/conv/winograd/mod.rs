//! Convolutions of stride 1 with three taps along each axis on the CPU in f32, with fewer multiplications.
//!
//! The image is divided into tiles of 4 (along two axes 4 x 4) outputs. At each of the points of their
//! [transforms](transform), the transformed tiles and weights are a matrix product over the channels, which the kernel of
//! direct convolutions computes. A panel of 32 output channels is computed at a time, and a few rows of tiles, so that what is
//! between the transforms stays in the cache. What an element is summed from, and in which order, depends on the shapes only.

mod product;
mod transform;
mod weight;

pub(super) use product::{gather, scatter};
pub(super) use weight::weight;

use std::ops::Range;

use super::window::Window;
use crate::numeric::scalar::Scalar;
use crate::parallel;
use crate::parallel::tile::{Left, Offsets, WIDTH, multiply};
use crate::parallel::transpose::{SIDE, columns, square, squares};
use transform::{Inputs, Layout, OUTPUTS, Outputs, POINTS, Shape, TAPS, transform};

/// Tiles whose products at a point are computed together: enough that the weights are read from a cache seldom.
const TOGETHER: usize = 32;
/// Transformed images in a core's cache, and in one that is shared, in elements.
const OWN_CACHE: usize = 1 << 17;
const SHARED_CACHE: usize = 1 << 21;

/// Whether the products of a window are computed here, for images of `c` channels: where this saves a third of the
/// multiplications at least, and there are channels enough that the transforms take little of the time (measured).
pub(super) fn suits(window: &Window, c: usize) -> bool {
    let two = window.kernel == [TAPS; 2];
    let three = two || window.kernel == [1, TAPS];
    if !three || window.stride != [1, 1] || window.padding.iter().any(|p| *p >= TAPS) {
        return false;
    }
    let (tiles, channels) = (Tiles::new(*window), if two { 2 * SIDE } else { 4 * SIDE });
    let multiplications = tiles.count() * tiles.points();
    c >= channels && window.places[1] >= OUTPUTS && 3 * multiplications <= 2 * window.count() * window.taps()
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

    /// out [points, tiles, c] = row `row` of the tiles of an image [c, H, W], transformed.
    #[inline(always)]
    fn image_row(&self, image: &[f32], c: usize, row: usize, out: &mut [f32]) {
        let ([top, left], size) = (self.window.padding, self.window.image);
        let (tiles, each) = (self.grid[1], c.next_multiple_of(SIDE));
        let top = (row * self.lines(OUTPUTS)) as isize - top as isize;
        let frame = Frame::new(size, [top, left as isize], [self.lines(POINTS), tiles * OUTPUTS + TAPS - 1]);
        frame.with_memory(
            #[inline(always)]
            |memory| {
                for (block, planes) in image.chunks(SIDE * size[0] * size[1]).enumerate() {
                    frame.fill(planes, memory);
                    let source = layout(0, [OUTPUTS, frame.width, 1], SIDE);
                    let target = layout(block * SIDE, [1, POINTS * tiles, tiles], each);
                    transform(Inputs, self.shape(tiles, SIDE), (memory, source), (out, target));
                }
            },
        );
    }

    /// Adds up the products of a panel of transformed weights and of transformed tiles at each point: sums [points, tiles, 32].
    fn products(
        &self,
        [v, u]: [&[f32]; 2],
        c: usize,
        tiles: &Offsets,
        some: Range<usize>,
        terms: &Offsets,
        sums: &mut [f32],
    ) {
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
                let source = layout(first * WIDTH, [1, POINTS * tiles, tiles], WIDTH);
                let target = layout(0, [OUTPUTS, w, 1], WIDTH);
                transform(Outputs, self.shape(self.grid[1], WIDTH), (sums, source), (pixels, target));
                put(&pixels[..n * WIDTH], planes, h * w, start);
            },
        );
    }
}

/// Some lines of planes with margins of zeros, [lines, width, 16] for 16 planes, and memory for one more pixel.
struct Frame {
    /// The elements of a plane.
    area: usize,
    /// The first element of a plane that is in the frame, and where it and the following ones are.
    first: usize,
    places: Vec<usize>,
    lines: usize,
    width: usize,
}

impl Frame {
    /// The frame of lines of planes [h, w] from line `top` on, with `left` zeros before each.
    fn new([h, w]: [usize; 2], [top, left]: [isize; 2], [lines, width]: [usize; 2]) -> Self {
        let [first, end] = [top, top + lines as isize].map(|line| line.clamp(0, h as isize) as usize);
        let start = (first as isize - top) as usize * width + left as usize;
        let places = (0..end - first).flat_map(|y| (0..w).map(move |x| (start + y * width + x) * SIDE));
        Self { area: h * w, first: first * w, places: places.collect(), lines, width }
    }

    /// Calls `f` with memory for the frame.
    #[inline(always)]
    fn with_memory(&self, f: impl FnOnce(&mut [f32])) {
        f32::with_scratch(
            (self.lines * self.width + 1) * SIDE,
            #[inline(always)]
            |memory| {
                memory.fill(0.0);
                f(memory);
            },
        );
    }

    /// Fills the frame from up to 16 planes.
    #[inline(always)]
    fn fill(&self, planes: &[f32], memory: &mut [f32]) {
        let (n, channels) = (self.places.len(), (planes.len() / self.area).min(SIDE));
        if n > 0 {
            let spare = memory.len() - SIDE;
            columns(
                &planes[self.first.min(planes.len())..],
                self.area,
                [n, channels],
                memory,
                #[inline(always)]
                |i| self.places[i],
                spare,
            );
        }
    }
}

/// The layout from an element on with steps of a tile, of y and of x in units of `each` elements.
fn layout(first: usize, steps: [usize; 3], each: usize) -> Layout {
    let [tile, y, x] = steps.map(|step| (step * each) as isize);
    Layout { first, tile, y, x }
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
