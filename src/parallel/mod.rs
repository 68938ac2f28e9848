//! Data-parallel loops of the CPU executor.
//!
//! Closures passed to these functions are marked `#[inline(always)]`, so that they are compiled for the vector
//! instructions of [`with_simd`]; one that is not is still correct, but several times slower.

pub mod matmul;
mod pool;
pub mod tile;
pub mod transpose;

#[cfg(feature = "cli")]
pub use pool::share_cores;
pub use pool::{tasks, threads};

use std::marker::PhantomData;

use crate::numeric::scalar::Scalar;

/// Elements in a piece of elementwise work: some microseconds, many times the dispatch latency.
const CHUNK: usize = 1 << 12;

/// Runs `f` with the widest vector instructions of this machine; everything inlined into `f` is compiled for each of
/// them.
#[inline(always)]
pub fn with_simd(f: impl FnOnce()) {
    pulp::Arch::new().dispatch(f);
}

/// A slice split into pieces of equal length, of which the last may be shorter.
pub struct Cut<'a, T> {
    start: *mut T,
    len: usize,
    size: usize,
    slice: PhantomData<&'a mut [T]>,
}

/// `slice` in pieces of `size` elements.
pub fn cut<T>(slice: &mut [T], size: usize) -> Cut<'_, T> {
    Cut { start: slice.as_mut_ptr(), len: slice.len(), size: size.max(1), slice: PhantomData }
}

// SAFETY: a `Cut` stands for the mutable slice it borrows; `Pieces` hands each of its pieces to one thread only.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Cut<'_, T> {}

/// One or several slices that are split alike.
pub trait Pieces: Sync {
    /// A piece of each.
    type Piece;

    /// The number of pieces.
    fn count(&self) -> usize;

    /// Piece `i` of each.
    ///
    /// # Safety
    /// Each `i < count` must be taken at most once.
    #[allow(unsafe_code)]
    unsafe fn piece(&self, i: usize) -> Self::Piece;
}

impl<'a, T: Send> Pieces for Cut<'a, T> {
    type Piece = &'a mut [T];

    fn count(&self) -> usize {
        self.len.div_ceil(self.size)
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn piece(&self, i: usize) -> &'a mut [T] {
        let at = i * self.size;
        assert!(at <= self.len);
        // SAFETY: the range lies in the borrowed slice, and ranges of different `i` are disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), self.size.min(self.len - at)) }
    }
}

macro_rules! tuple_of_pieces {
    ($($name:ident)*) => {
        impl<$($name: Pieces),*> Pieces for ($($name,)*) {
            type Piece = ($($name::Piece,)*);

            fn count(&self) -> usize {
                #[allow(non_snake_case)] // a tuple's parts are named by their types
                let ($($name,)*) = self;
                let counts = [$($name.count()),*];
                assert!(counts.iter().all(|&c| c == counts[0]), "slices cut into {counts:?} pieces");
                counts[0]
            }

            #[inline(always)]
            #[allow(unsafe_code)]
            unsafe fn piece(&self, i: usize) -> Self::Piece {
                #[allow(non_snake_case)]
                let ($($name,)*) = self;
                // SAFETY: the caller takes each `i` once.
                unsafe { ($($name.piece(i),)*) }
            }
        }
    };
}
tuple_of_pieces!(A B);
tuple_of_pieces!(A B C);
tuple_of_pieces!(A B C D);

/// The pieces of a slice that may be missing.
pub struct Maybe<'a, T> {
    slice: Option<Cut<'a, T>>,
    count: usize,
}

/// `slice` in `count` pieces of `size` elements, if it is there.
pub fn maybe<T: Send>(slice: Option<&mut [T]>, size: usize, count: usize) -> Maybe<'_, T> {
    let slice = slice.map(|slice| cut(slice, size));
    assert!(slice.as_ref().is_none_or(|cut| cut.count() == count), "a slice that is not cut into {count} pieces");
    Maybe { slice, count }
}

impl<'a, T: Send> Pieces for Maybe<'a, T> {
    type Piece = Option<&'a mut [T]>;

    fn count(&self) -> usize {
        self.count
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn piece(&self, i: usize) -> Self::Piece {
        // SAFETY: the caller takes each `i` once.
        self.slice.as_ref().map(|cut| unsafe { cut.piece(i) })
    }
}

/// The pieces of one or two slices in turns.
pub struct Turns<'a, T> {
    slices: [Cut<'a, T>; 2],
    each: [usize; 2],
}

/// The pieces of two slices in turns: `each[0]` of the first, then `each[1]` of the second, and so on.
pub fn turns<'a, T: Send>(slices: [&'a mut [T]; 2], size: usize, each: [usize; 2]) -> Turns<'a, T> {
    let slices = slices.map(|slice| cut(slice, size));
    assert!(slices[0].count() * each[1] == slices[1].count() * each[0], "slices without equal turns");
    Turns { slices, each }
}

impl<'a, T: Send> Pieces for Turns<'a, T> {
    type Piece = &'a mut [T];

    fn count(&self) -> usize {
        self.slices[0].count() + self.slices[1].count()
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn piece(&self, i: usize) -> &'a mut [T] {
        let [first, second] = self.each;
        let (turn, at) = (i / (first + second), i % (first + second));
        // SAFETY: different `i` are different pieces of one of the slices, and the caller takes each `i` once.
        match at < first {
            true => unsafe { self.slices[0].piece(turn * first + at) },
            false => unsafe { self.slices[1].piece(turn * second + at - first) },
        }
    }
}

/// Calls `f(i, pieces)` for each piece, on all cores and with the widest vector instructions.
pub fn pieces<P: Pieces>(of: P, f: impl Fn(usize, P::Piece) + Sync) {
    tasks(of.count(), |i| {
        // SAFETY: `tasks` calls this once for each `i`.
        #[allow(unsafe_code)]
        let piece = unsafe { of.piece(i) };
        with_simd(
            #[inline(always)]
            || f(i, piece),
        );
    });
}

/// Calls `f(start, part)` for disjoint parts that cover `out`.
pub fn chunks<T: Send>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    pieces(
        cut(out, CHUNK),
        #[inline(always)]
        |i, part| f(i * CHUNK, part),
    );
}

/// [`chunks`] for two slices of equal length.
pub fn chunks2<T: Send, U: Send>(a: &mut [T], b: &mut [U], f: impl Fn(usize, &mut [T], &mut [U]) + Sync) {
    assert_eq!(a.len(), b.len());
    pieces(
        (cut(a, CHUNK), cut(b, CHUNK)),
        #[inline(always)]
        |i, (a, b)| f(i * CHUNK, a, b),
    );
}

/// [`chunks`] for three slices of equal length.
pub fn chunks3<T: Send>(a: &mut [T], b: &mut [T], c: &mut [T], f: impl Fn(usize, &mut [T], &mut [T], &mut [T]) + Sync) {
    assert!(a.len() == b.len() && a.len() == c.len());
    pieces(
        (cut(a, CHUNK), cut(b, CHUNK), cut(c, CHUNK)),
        #[inline(always)]
        |i, (a, b, c)| f(i * CHUNK, a, b, c),
    );
}

/// The rows of `cols` elements that one task computes.
pub fn rows_of_task(cols: usize) -> usize {
    (CHUNK / cols).max(1)
}

/// Calls `f(row, values)` for each row of `cols` elements.
pub fn rows<T: Send>(out: &mut [T], cols: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let per = rows_of_task(cols);
    pieces(
        cut(out, per * cols),
        #[inline(always)]
        |i, part| {
            // A loop, because an iterator's `for_each` would not be compiled with SIMD instructions.
            for (r, row) in part.chunks_mut(cols).enumerate() {
                f(i * per + r, row);
            }
        },
    );
}

/// Like [`rows`], for two outputs with `cols` and `cols2` elements per row.
pub fn rows2<T: Send, U: Send>(
    out: &mut [T],
    cols: usize,
    out2: &mut [U],
    cols2: usize,
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let per = rows_of_task(cols);
    pieces(
        (cut(out, per * cols), cut(out2, per * cols2)),
        #[inline(always)]
        |i, (a, b)| {
            for (r, (a, b)) in a.chunks_mut(cols).zip(b.chunks_mut(cols2)).enumerate() {
                f(i * per + r, a, b);
            }
        },
    );
}

/// Calls `f(i, part, part2)` for parts of `size` elements of one or two outputs, each of which is expensive.
pub fn blocks<T: Send>(
    out: &mut [T],
    size: usize,
    out2: Option<&mut [T]>,
    f: impl Fn(usize, &mut [T], Option<&mut [T]>) + Sync,
) {
    match out2 {
        Some(out2) => pieces(
            (cut(out, size), cut(out2, size)),
            #[inline(always)]
            |i, (a, b)| f(i, a, Some(b)),
        ),
        None => pieces(
            cut(out, size),
            #[inline(always)]
            |i, a| f(i, a, None),
        ),
    }
}

/// out[i] = f(i), where all calls together touch `work` elements.
pub fn each<T: Send>(out: &mut [T], work: usize, f: impl Fn(usize) -> T + Sync) {
    let per = (CHUNK * out.len()).div_ceil(work.max(1)).max(1);
    pieces(
        cut(out, per),
        #[inline(always)]
        |i, part| {
            for (j, o) in part.iter_mut().enumerate() {
                *o = f(i * per + j);
            }
        },
    );
}

/// Returns `f(0)`, ..., `f(count - 1)` in this order; each call is expensive.
pub fn map<T: Send>(count: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let mut out: Vec<Option<T>> = (0..count).map(|_| None).collect();
    each(&mut out, usize::MAX, |i| Some(f(i)));
    out.into_iter().flatten().collect()
}

/// The sum of `term(i)` over 0..n in sixteen interleaved partial sums: it vectorizes, and its error grows more slowly.
#[inline(always)]
pub fn sum<S: Scalar>(n: usize, term: impl Fn(usize) -> S) -> S {
    let mut parts = [S::ZERO; 16];
    for block in 0..n / 16 {
        for (j, part) in parts.iter_mut().enumerate() {
            *part += term(16 * block + j);
        }
    }
    for i in n - n % 16..n {
        parts[i % 16] += term(i);
    }
    parts.into_iter().sum()
}

/// [`sum`] of `term(a[i], b[i])` over slices of equal length: nothing in the loop checks an index.
#[inline(always)]
pub fn sum_pairs<S: Scalar>(a: &[S], b: &[S], term: impl Fn(S, S) -> S) -> S {
    let mut parts = [S::ZERO; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for (part, (a, b)) in parts.iter_mut().zip(a.iter().zip(b)) {
            *part += term(*a, *b);
        }
    }
    for (part, (a, b)) in parts.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *part += term(*a, *b);
    }
    parts.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_slices_are_those_of_indices() {
        let [a, b] = [0.37, 0.71].map(|by: f32| (0..100).map(|i| (i as f32 * by).sin()).collect::<Vec<f32>>());
        for n in [0, 1, 15, 16, 17, 100] {
            assert_eq!(sum_pairs(&a[..n], &b[..n], |a, b| a * b), sum(n, |i| a[i] * b[i]), "{n}");
        }
    }

    #[test]
    fn map_keeps_the_order_and_returns_errors() {
        assert_eq!(map(1000, |i| i.to_string()), (0..1000).map(|i| i.to_string()).collect::<Vec<_>>());
        assert!(map(0, |i| i).is_empty());
        let odd = map(9, |i| if i % 2 == 0 { Ok(i) } else { Err(i) });
        assert_eq!(odd.iter().filter(|result| result.is_err()).count(), 4);
        assert_eq!(odd.into_iter().collect::<Result<Vec<_>, _>>(), Err(1));
    }
}
