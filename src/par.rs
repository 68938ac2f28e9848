//! Elementwise work of the CPU twins on all cores.

use std::any::Any;
use std::cell::RefCell;

use rayon::prelude::*;

use crate::scalar::Scalar;

/// Handing a chunk to another thread costs some microseconds: smaller work stays on one.
const CHUNK: usize = 1 << 14;

/// Runs `f` with the widest vector instructions of this machine: what it inlines is compiled for each of them.
#[inline(always)]
pub fn wide(f: impl FnOnce()) {
    pulp::Arch::new().dispatch(f);
}

/// Calls `f(start, part)` for disjoint parts that cover `out`.
pub fn chunks<T: Send>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    // `f` is called in one place only, so that it is inlined into the vector code.
    let each = |(i, part): (usize, &mut [T])| {
        wide(
            #[inline(always)]
            || f(i * CHUNK, part),
        );
    };
    if out.len() <= CHUNK {
        return each((0, out));
    }
    out.par_chunks_mut(CHUNK).enumerate().for_each(each);
}

/// Calls `f(row, values)` for each row of `cols` elements.
pub fn rows<T: Send>(out: &mut [T], cols: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    rows2(out, cols, &mut vec![(); out.len() / cols][..], 1, |row, values, _| f(row, values));
}

/// Like [`rows`], for two outputs with `cols` and `cols2` elements a row.
pub fn rows2<T: Send, U: Send>(
    out: &mut [T],
    cols: usize,
    out2: &mut [U],
    cols2: usize,
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let per = if out.len() <= CHUNK { out.len() / cols } else { (CHUNK / cols).max(1) }.max(1);
    let each = |(i, (a, b)): (usize, (&mut [T], &mut [U]))| {
        wide(
            #[inline(always)]
            || {
                let rows = a.chunks_mut(cols).zip(b.chunks_mut(cols2));
                rows.enumerate().for_each(|(r, (a, b))| f(i * per + r, a, b));
            },
        );
    };
    if out.len() <= CHUNK {
        return each((0, (out, out2)));
    }
    out.par_chunks_mut(per * cols).zip(out2.par_chunks_mut(per * cols2)).enumerate().for_each(each);
}

/// Lends `f` memory of this thread, with whatever it holds; it is kept, so that no step allocates.
pub fn scratch<S: Scalar>(len: usize, f: impl FnOnce(&mut [S])) {
    struct Memory<S>(Vec<S>);
    thread_local!(static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) });
    // Taken out while it is used: `f` may come to wait for other work, which may need some too.
    let kept = KEPT.with_borrow_mut(|all| {
        let i = all.iter().position(|memory| memory.is::<Memory<S>>())?;
        all.swap_remove(i).downcast::<Memory<S>>().ok()
    });
    let mut memory = kept.unwrap_or_else(|| Box::new(Memory(Vec::new())));
    if memory.0.len() < len {
        memory.0.resize(len, S::ZERO);
    }
    f(&mut memory.0[..len]);
    KEPT.with_borrow_mut(|all| all.push(memory));
}

/// Calls `f(row, values, values2)` for each row of `cols` elements of one or two outputs, a row a task: each is much work.
pub fn tasks<T: Send>(
    out: &mut [T],
    cols: usize,
    out2: Option<&mut [T]>,
    f: impl Fn(usize, &mut [T], Option<&mut [T]>) + Sync,
) {
    let rows = out.par_chunks_mut(cols).enumerate();
    match out2 {
        Some(out2) => rows.zip(out2.par_chunks_mut(cols)).for_each(|((row, a), b)| f(row, a, Some(b))),
        None => rows.for_each(|(row, a)| f(row, a, None)),
    }
}

/// out[i] = f(i), where all of them together touch `work` elements.
pub fn each<T: Send>(out: &mut [T], work: usize, f: impl Fn(usize) -> T + Sync) {
    let one = |(i, o): (usize, &mut T)| {
        wide(
            #[inline(always)]
            || *o = f(i),
        )
    };
    if work <= CHUNK {
        return out.iter_mut().enumerate().for_each(one);
    }
    out.par_iter_mut().enumerate().for_each(one);
}

/// The sum of `term(i)` over 0..n in sixteen interleaved parts: it vectorizes, and its error grows more slowly.
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
