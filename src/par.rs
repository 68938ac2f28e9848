//! Elementwise work of the CPU twins on all cores.

use rayon::prelude::*;

/// Handing a chunk to another thread costs some microseconds: smaller work stays on one.
const CHUNK: usize = 1 << 14;

/// Calls `f(start, part)` for disjoint parts that cover `out`.
pub fn chunks<T: Send>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() <= CHUNK {
        return f(0, out);
    }
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(i, part)| f(i * CHUNK, part));
}

/// Calls `f(row, values)` for each row of `cols` elements.
pub fn rows<T: Send>(out: &mut [T], cols: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let per = (CHUNK / cols).max(1);
    if out.len() <= CHUNK {
        return out.chunks_mut(cols).enumerate().for_each(|(r, row)| f(r, row));
    }
    out.par_chunks_mut(per * cols)
        .enumerate()
        .for_each(|(i, part)| part.chunks_mut(cols).enumerate().for_each(|(r, row)| f(i * per + r, row)));
}

/// Like [`rows`], for two outputs with `cols` and `cols2` elements a row.
pub fn rows2<T: Send, U: Send>(
    out: &mut [T],
    cols: usize,
    out2: &mut [U],
    cols2: usize,
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let per = (CHUNK / cols).max(1);
    let each = |i: usize, a: &mut [T], b: &mut [U]| {
        a.chunks_mut(cols).zip(b.chunks_mut(cols2)).enumerate().for_each(|(r, (a, b))| f(i * per + r, a, b));
    };
    if out.len() <= CHUNK {
        let rows = out.chunks_mut(cols).zip(out2.chunks_mut(cols2));
        return rows.enumerate().for_each(|(r, (a, b))| f(r, a, b));
    }
    out.par_chunks_mut(per * cols)
        .zip(out2.par_chunks_mut(per * cols2))
        .enumerate()
        .for_each(|(i, (a, b))| each(i, a, b));
}
