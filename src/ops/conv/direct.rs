//! The products of convolutions on the CPU in f32, without copies of the windows.
//!
//! The windows of an image with margins of zeros are elements at the sum of an offset of the place and an offset of the
//! tap, which is what [`multiply`] takes. Its panels hold 32 output channels, so convolutions whose
//! number of output channels is not near a multiple of that are computed in [`products`](super::products) with copies.

use super::products::Counts;
use super::window::Window;
use crate::numeric::scalar::Scalar;
use crate::parallel;
use crate::parallel::tile::{Left, Offsets, ROWS, WIDTH, multiply};
use crate::parallel::transpose::{SIDE, square, squares};

/// Whether panels of `channels` are nearly full.
pub(super) fn suits<S: Scalar>(channels: usize) -> bool {
    S::IS_F32 && 4 * channels.next_multiple_of(WIDTH) <= 5 * channels
}

/// Planes with margins of zeros.
#[derive(Clone, Copy)]
struct Frame {
    plane: [usize; 2],
    before: [usize; 2],
    size: [usize; 2],
}

impl Frame {
    fn len(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// The offset of a pixel of the frame.
    fn at(&self, y: usize, x: usize) -> usize {
        y * self.size[1] + x
    }

    /// framed [C, size] of planes [C, plane].
    #[inline(always)]
    fn fill<S: Scalar>(&self, planes: &[S], framed: &mut [S]) {
        let ([h, w], [top, left]) = (self.plane, self.before);
        for (plane, framed) in planes.chunks_exact(h * w).zip(framed.chunks_exact_mut(self.len())) {
            framed.fill(S::ZERO);
            for (y, line) in plane.chunks_exact(w).enumerate() {
                framed[self.at(top + y, left)..][..w].copy_from_slice(line);
            }
        }
    }
}

/// The windows of images [C, H, W].
struct Windows {
    frame: Frame,
    /// The offset of each tap of each channel.
    taps: Offsets,
}

impl Windows {
    fn new(window: &Window, channels: usize) -> Self {
        let Window { image, places, kernel, stride, padding } = *window;
        let reach = |a: usize| (places[a] - 1) * stride[a] + kernel[a];
        let size = [0, 1].map(|a| reach(a).max(padding[a] + image[a]));
        let frame = Frame { plane: image, before: padding, size };
        let taps = (0..channels * window.taps()).map(|i| {
            let (channel, tap) = (i / window.taps(), i % window.taps());
            channel * frame.len() + frame.at(tap / kernel[1], tap % kernel[1])
        });
        Self { frame, taps: taps.collect() }
    }

    /// The offset of a place.
    fn place(&self, window: &Window, i: usize) -> usize {
        let Window { places, stride, .. } = window;
        self.frame.at(i / places[1] * stride[0], i % places[1] * stride[1])
    }
}

/// The windows of places [O, OH, OW] that reach the pixels of one residue modulo the stride.
struct Residue {
    /// The offset of the last tap of each pixel.
    rows: Offsets,
    /// Each pixel, unless all are there.
    pixels: Option<Vec<usize>>,
    /// The offset of each tap of each channel.
    terms: Offsets,
    taps: Vec<usize>,
}

/// Along one axis, for the pixels `residue`, `residue + stride`, ...: their number, the number of taps that reach them, the
/// first of these, and the place that it joins to the first pixel.
fn reaching(window: &Window, axis: usize, residue: usize) -> [usize; 4] {
    let (k, s, p) = (window.kernel[axis], window.stride[axis], window.padding[axis]);
    let first = (residue + p) % s;
    let pixels = window.image[axis].saturating_sub(residue).div_ceil(s);
    [pixels, k.saturating_sub(first).div_ceil(s), first, (residue + p) / s]
}

/// The frame of the places that all residues share.
fn frame_of_places(window: &Window) -> Frame {
    let (mut before, mut size) = ([0; 2], window.places);
    for a in 0..2 {
        let all = || (0..window.stride[a]).map(|r| reaching(window, a, r));
        before[a] = all().map(|[_, taps, _, place]| taps.saturating_sub(place + 1)).max().unwrap_or(0);
        let end = all().map(|[pixels, _, _, place]| pixels + place).max().unwrap_or(0);
        size[a] = before[a] + size[a].max(end);
    }
    Frame { plane: window.places, before, size }
}

impl Residue {
    fn new(window: &Window, channels: usize, frame: &Frame, residue: [usize; 2]) -> Self {
        let axes = [0, 1].map(|a| reaching(window, a, residue[a]));
        let [[h, th, ..], [w, tw, ..]] = axes;
        // Taps go backwards over the places.
        let start = [0, 1].map(|a| frame.before[a] + axes[a][3] + 1 - axes[a][1].max(1));
        let rows = (0..h * w).map(|i| frame.at(start[0] + i / w, start[1] + i % w)).collect();
        let pixel = |i: usize, a: usize| i * window.stride[a] + residue[a];
        let pixels = (0..h * w).map(|i| pixel(i / w, 0) * window.image[1] + pixel(i % w, 1)).collect();
        let pixels = (window.stride != [1, 1]).then_some(pixels);
        let terms = (0..channels * th * tw).map(|i| {
            let (channel, tap) = (i / (th * tw), i % (th * tw));
            channel * frame.len() + frame.at(th - 1 - tap / tw, tw - 1 - tap % tw)
        });
        let tap = |t: usize, a: usize| axes[a][2] + t * window.stride[a];
        let taps = (0..th * tw).map(|i| tap(i / tw, 0) * window.kernel[1] + tap(i % tw, 1)).collect();
        Self { rows, pixels, terms: terms.collect(), taps }
    }

    /// The panels of w [O, C taps].
    fn fill_panels<S: Scalar>(&self, window: &Window, c: usize, w: &[S], panels: &mut [S]) {
        let (taps, all) = (self.taps.len(), window.taps());
        fill_panels(
            panels,
            self.terms.len(),
            #[inline(always)]
            |channel, panel| {
                let width = WIDTH.min(c - channel);
                for (i, line) in panel.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
                    let w = &w[(i / taps * c + channel) * all + self.taps[i % taps]..];
                    (0..WIDTH).for_each(|j| line[j] = if j < width { w[j * all] } else { S::ZERO });
                }
            },
        )
    }

    fn pixels(&self) -> Elements<'_> {
        self.pixels.as_deref().map_or(Elements::Rows, Elements::At)
    }
}

/// The number of elements of panels [channels / 32, terms, 32].
fn len_of_panels(channels: usize, terms: usize) -> usize {
    channels.next_multiple_of(WIDTH) * terms
}

/// Calls `fill(first channel, panel)` for the panels [channels / 32, terms, 32] of a weight.
fn fill_panels<S: Scalar>(panels: &mut [S], terms: usize, fill: impl Fn(usize, &mut [S]) + Sync) {
    parallel::pieces(
        parallel::cut(panels, terms * WIDTH),
        #[inline(always)]
        |i, panel| fill(i * WIDTH, panel),
    );
}

/// The number of channels of an output [B, channels, ..] that one task computes: all, which share the frame, unless
/// there are few samples.
fn channels_of_a_task(b: usize, channels: usize) -> usize {
    if b < 2 * parallel::threads() && channels.is_multiple_of(WIDTH) { WIDTH } else { channels }
}

/// The element of each row in a plane of an output: consecutive ones, or others.
#[derive(Clone, Copy)]
enum Elements<'a> {
    Rows,
    At(&'a [usize]),
}

/// planes [channels, size] = tile at the elements of the rows from `first` on, or += tile.
#[inline(always)]
fn put<S: Scalar>(planes: &mut [S], size: usize, to: Elements, first: usize, tile: &[[S; WIDTH]], add: bool) {
    for (j, plane) in planes.chunks_exact_mut(size).enumerate() {
        match (to, <&[[S; WIDTH]; ROWS]>::try_from(tile)) {
            (Elements::Rows, Ok(tile)) => {
                let line = &mut plane[first..first + ROWS];
                let mut sums = [S::ZERO; ROWS];
                if add {
                    sums.copy_from_slice(line);
                }
                for i in 0..ROWS {
                    sums[i] += tile[i][j];
                }
                line.copy_from_slice(&sums);
            }
            _ => {
                for (i, values) in tile.iter().enumerate() {
                    let at = if let Elements::At(elements) = to { elements[first + i] } else { first + i };
                    plane[at] = if add { plane[at] + values[j] } else { values[j] };
                }
            }
        }
    }
}

/// As [`products::gather`](super::products::gather).
pub(super) fn gather<S: Scalar>(
    window: &Window,
    [b, c, o]: Counts,
    [x, w]: [&[S]; 2],
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    let (count, k) = (window.count(), c * window.taps());
    let windows = Windows::new(window, c);
    let places: Offsets = (0..count).map(|i| windows.place(window, i)).collect();
    let Windows { frame, taps } = windows;
    let each = channels_of_a_task(b, o);
    S::with_scratch(len_of_panels(o, k), |weights| {
        fill_panels(
            weights,
            k,
            #[inline(always)]
            |channel, panel| interleave(&w[channel * k..(channel + WIDTH).min(o) * k], k, panel),
        );
        parallel::blocks(
            y,
            each * count,
            z,
            #[inline(always)]
            |task, y, z| {
                let (sample, channel) = (task * each / o, task * each % o);
                S::with_scratch(c * frame.len(), |framed| {
                    frame.fill(&x[sample * c * window.pixels()..][..c * window.pixels()], framed);
                    let left = Left { data: &*framed, rows: places.all(), terms: taps.all() };
                    let panels = weights[channel * k..].chunks_exact(k * WIDTH);
                    for (panel, y) in panels.zip(y.chunks_mut(WIDTH * count)) {
                        multiply(
                            left,
                            panel,
                            #[inline(always)]
                            |first, tile| put(y, count, Elements::Rows, first, tile, false),
                        );
                    }
                });
                finish(task * each * count, y, z);
            },
        );
    });
}

/// As [`products::scatter`](super::products::scatter).
pub(super) fn scatter<S: Scalar>(
    window: &Window,
    [b, c, o]: Counts,
    [x, w]: [&[S]; 2],
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    let (count, pixels, [sh, sw]) = (window.count(), window.pixels(), window.stride);
    let frame = frame_of_places(window);
    let parts = Vec::from_iter((0..sh * sw).map(|i| Residue::new(window, o, &frame, [i / sw, i % sw])));
    let each = channels_of_a_task(b, c);
    S::with_scratch(len_of_panels(c, parts.iter().map(|part| part.terms.len()).sum()), |weights| {
        let mut rest = &mut *weights;
        for part in &parts {
            let (panels, others) = rest.split_at_mut(len_of_panels(c, part.terms.len()));
            part.fill_panels(window, c, w, panels);
            rest = others;
        }
        parallel::blocks(
            y,
            each * pixels,
            z,
            #[inline(always)]
            |task, y, z| {
                let (sample, channel) = (task * each / c, task * each % c);
                S::with_scratch(o * frame.len(), |framed| {
                    frame.fill(&x[sample * o * count..][..o * count], framed);
                    let mut weights = &*weights;
                    for part in &parts {
                        let terms = part.terms.len();
                        let left = Left { data: &*framed, rows: part.rows.all(), terms: part.terms.all() };
                        for (i, y) in y.chunks_mut(WIDTH * pixels).enumerate() {
                            multiply(
                                left,
                                &weights[(channel + i * WIDTH) * terms..][..WIDTH * terms],
                                #[inline(always)]
                                |first, tile| put(y, pixels, part.pixels(), first, tile, false),
                            );
                        }
                        weights = &weights[len_of_panels(c, terms)..];
                    }
                });
                finish(task * each * pixels, y, z);
            },
        );
    });
}

/// As [`products::weight`](super::products::weight): rows are taps, and terms are the places of a group of samples, which
/// together are enough to be summed in registers.
pub(super) fn weight<S: Scalar>(window: &Window, [b, c, o]: Counts, [x, dz]: [&[S]; 2], dw: &mut [S]) {
    let windows = Windows::new(window, c);
    let (frame, count, k) = (windows.frame, window.count(), c * window.taps());
    let (group, framed) = ((1024 / count).clamp(1, b), c * frame.len());
    let places: Offsets = (0..group * count).map(|i| i / count * framed + windows.place(window, i % count)).collect();
    let groups = x.chunks(group * c * window.pixels()).zip(dz.chunks(group * o * count)).enumerate();
    S::with_scratch(group * framed, |framed| {
        for (i, (x, dz)) in groups {
            frame.fill(x, framed);
            let terms = dz.len() / o;
            let left = Left { data: &*framed, rows: windows.taps.all(), terms: places.part(0..terms) };
            parallel::pieces(
                parallel::cut(dw, WIDTH * k),
                #[inline(always)]
                |panel, dw| {
                    let channel = panel * WIDTH;
                    S::with_scratch(
                        terms * WIDTH,
                        #[inline(always)]
                        |panel| {
                            for (dz, panel) in dz.chunks_exact(o * count).zip(panel.chunks_exact_mut(count * WIDTH)) {
                                interleave(&dz[channel * count..(channel + WIDTH).min(o) * count], count, panel);
                            }
                            multiply(
                                left,
                                panel,
                                #[inline(always)]
                                |first, tile| put(dw, k, Elements::Rows, first, tile, i > 0),
                            );
                        },
                    );
                },
            );
        }
    });
}

/// panel [count, 32] = the transpose of up to 32 planes of `count` elements, with zeros after the last one.
#[inline(always)]
fn interleave<S: Scalar>(planes: &[S], count: usize, panel: &mut [S]) {
    if planes.len() == WIDTH * count && count >= SIDE {
        for place in squares(count) {
            for half in [0, SIDE] {
                square(
                    &planes[half * count + place..],
                    count,
                    panel,
                    #[inline(always)]
                    |i| (place + i) * WIDTH + half,
                );
            }
        }
        return;
    }
    panel.fill(S::ZERO);
    for (j, plane) in planes.chunks_exact(count).enumerate() {
        for (line, value) in panel.chunks_exact_mut(WIDTH).zip(plane) {
            line[j] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::products;
    use super::*;

    /// B, C, O, image, kernel, stride and padding.
    type Shape = (Counts, &'static [usize], &'static [usize], usize, usize);

    /// Windows that reach beyond the image or leave elements out, strides
    /// above the kernel, signals, panels that are not full, and single places.
    const SHAPES: [Shape; 17] = [
        ([2, 32, 32], &[9, 7], &[3, 3], 1, 1),
        ([5, 31, 64], &[8, 11], &[3, 3], 2, 1),
        ([1, 61, 29], &[10, 6], &[4, 4], 2, 1),
        ([3, 32, 96], &[7, 7], &[2, 5], 3, 2),
        ([2, 64, 32], &[6, 5], &[2, 2], 3, 0),
        ([20, 32, 31], &[13], &[3], 1, 1),
        ([3, 30, 32], &[12], &[5], 2, 4),
        ([2, 32, 32], &[3, 3], &[3, 3], 1, 0),
        ([9, 32, 32], &[5, 4], &[1, 1], 1, 0),
        // With tiles: odd sizes, all paddings, single samples, panels and vectors that are not full, and many samples.
        ([1, 29, 61], &[8, 11], &[3, 3], 1, 0),
        ([2, 64, 31], &[7, 10], &[3, 3], 1, 2),
        ([3, 61, 96], &[9, 13], &[3, 3], 1, 1),
        ([40, 64, 32], &[7, 7], &[3, 3], 1, 1),
        ([1, 64, 64], &[130, 127], &[3, 3], 1, 1),
        ([1, 128, 61], &[30], &[3], 1, 0),
        ([5, 61, 128], &[32], &[3], 1, 1),
        ([40, 96, 93], &[19], &[3], 1, 2),
    ];

    fn sines<S: Scalar>(n: usize, by: f64) -> Vec<S> {
        (0..n).map(|i| S::of(((i as f64 * by).sin() as f32).into())).collect()
    }

    /// y, dx and dw of a shape.
    fn products<S: Scalar>(window: &Window, [b, c, o]: Counts) -> [Vec<S>; 3] {
        let (image, places) = (b * c * window.pixels(), b * o * window.count());
        let (x, w, dz) = (sines::<S>(image, 0.7), sines::<S>(o * c * window.taps(), 1.3), sines::<S>(places, 0.9));
        let mut all = [places, image, w.len()].map(|n| vec![S::of(f64::NAN); n]);
        let [y, dx, dw] = &mut all;
        let visits = [places, image].map(|n| Vec::from_iter((0..n).map(|_| AtomicUsize::new(0))));
        let visit = |to: usize| {
            let of = &visits[to];
            move |offset: usize, y: &mut [S], _: Option<&mut [S]>| {
                of[offset..][..y.len()].iter().for_each(|n| {
                    n.fetch_add(1, Ordering::Relaxed);
                });
            }
        };
        products::gather(window, [b, c, o], &x, &w, y, None, visit(0));
        products::scatter(window, [b, c, o], &dz, &w, dx, None, visit(1));
        products::weight(window, [b, c, o], &x, &dz, dw);
        assert!(visits.iter().flatten().all(|n| n.load(Ordering::Relaxed) == 1), "each element is finished once");
        all
    }

    #[test]
    fn products_match_the_reference() {
        for (counts, image, kernel, stride, padding) in SHAPES {
            let window = Window::over("test", image, kernel, stride, padding).unwrap();
            assert!(suits::<f32>(counts[2]) && suits::<f32>(counts[1]) && !suits::<f64>(counts[2]));
            let (got, want) = (products::<f32>(&window, counts), products::<f64>(&window, counts));
            let [b, c, o] = counts;
            let terms = [c * window.taps(), o * window.taps(), b * window.count()];
            for (i, name) in ["y", "dx", "dw"].into_iter().enumerate() {
                // Every term is at most 1; as for the cases of the ops.
                let terms = terms[i] as f64;
                let allowed = (3.0 + terms.sqrt()) * 0.5f64.powi(24) * terms;
                for (i, (got, want)) in got[i].iter().zip(&want[i]).enumerate() {
                    let error = (*got as f64 - want).abs();
                    assert!(error <= allowed, "{name}[{i}] of {counts:?} {window:?}: {got}, expected {want}");
                }
            }
        }
    }

    #[test]
    fn panels_are_used_when_they_are_nearly_full() {
        assert_eq!(
            [1, 16, 24, 26, 32, 40, 52, 64, 104].map(suits::<f32>),
            [false, false, false, true, true, false, true, true, true]
        );
    }

    /// With few samples the work is divided in another way than with many, or on one thread.
    #[test]
    fn a_batch_gives_the_bits_of_its_samples() {
        for (image, kernel, stride) in
            [(&[6, 5][..], &[3, 3][..], 1), (&[6, 5], &[2, 3], 1), (&[6, 5], &[3, 3], 2), (&[70], &[3], 1)]
        {
            let window = Window::over("test", image, kernel, stride, 1).unwrap();
            let ([b, c, o], pixels, count) = ([40, 128, 64], window.pixels(), window.count());
            let (x, w) = (sines::<f32>(b * c * pixels, 0.7), sines::<f32>(o * c * window.taps(), 1.3));
            let (mut all, mut one) = (vec![0.0; b * o * count], vec![0.0; o * count]);
            products::gather(&window, [b, c, o], &x, &w, &mut all, None, |_, _, _| {});
            for (x, want) in x.chunks(c * pixels).zip(all.chunks(o * count)) {
                products::gather(&window, [1, c, o], x, &w, &mut one, None, |_, _, _| {});
                assert!(one == want, "{window:?}");
            }
        }
    }
}
