//! Splits batches that do not fit the device: finds the largest part that fits, and adds graphs for micro-batches.

use crate::error::{Error, Result};
use crate::graph::{Graph, Parts, Slab, Var};
use crate::ops::Accumulate;

/// Calls `make` with `most` rows, and with half as many while the result is a limit that a smaller batch helps. Returns
/// the result with the number of rows.
///
/// After the first failure it tries one row, because each try compiles a program: if that fails, no other number will do.
///
/// # Errors
/// The first error that a smaller batch does not help; [`Error::Limit`] if not even one row fits.
pub(crate) fn largest<T>(most: usize, mut make: impl FnMut(usize) -> Result<T>) -> Result<(T, usize)> {
    let mut rows = most;
    loop {
        match make(rows) {
            Ok(made) => return Ok((made, rows)),
            Err(Error::Limit { smaller_batch_helps: true, .. }) if rows > 1 => {
                if rows == most {
                    let one = make(1).map_err(too_much)?;
                    if rows == 2 {
                        return Ok((one, 1));
                    }
                }
                rows = rows.div_ceil(2);
            }
            Err(e) => return Err(if rows == 1 { too_much(e) } else { e }),
        }
    }
}

/// The error of a program for one row.
fn too_much(e: Error) -> Error {
    match e {
        Error::Limit { message, .. } => {
            Error::limit(format!("even one sample at a time is too much: {message}"), false)
        }
        e => e,
    }
}

/// Splits a batch of `batch` rows into micro-batches of `rows` rows, and calls `add` to add their nodes: once for all
/// micro-batches of that size, and once more for a smaller last one. Returns the results of `add`, each with the
/// share of one micro-batch in the batch.
///
/// Micro-batches use the same random numbers as the whole batch would, and reuse the same memory. Their scalars are
/// summed per entry.
///
/// # Errors
/// Those of `add`.
pub(crate) fn in_parts<T>(
    g: &mut Graph,
    batch: usize,
    rows: usize,
    mut add: impl FnMut(&mut Graph, f64) -> Result<T>,
) -> Result<Vec<(f64, T)>> {
    let (streams, count, rest) = (g.streams, batch / rows, batch % rows);
    let equal = Parts { first: 0, rows, count };
    let last = Parts { first: count * rows, rows: rest, count: 1 };
    let mut made = Vec::new();
    for parts in [equal, last].into_iter().filter(|parts| parts.rows > 0) {
        // Every micro-batch uses the random streams that the whole batch would.
        g.streams = streams;
        g.set_parts((parts.rows < batch).then_some(parts));
        let share = parts.rows as f64 / batch as f64;
        made.push((share, add(g, share)?));
    }
    g.set_parts(None);
    Ok(made)
}

/// Adds the reverse pass of `losses` for a micro-batch. The gradients of micro-batches, weighted by their `share` of
/// the batch, are accumulated in order in a second slab, which the optimizer then uses.
///
/// # Errors
/// Those of [`Graph::backward`].
pub(crate) fn backward(g: &mut Graph, losses: &[Var], share: f64) -> Result<()> {
    g.backward(losses, &[])?;
    if share < 1.0 {
        let (gradient, sum) = (g.slab(Slab::Grads), g.slab(Slab::Sum));
        let starts = g.parts().is_some_and(|parts| parts.first == 0);
        g.apply_to(Accumulate { share, starts }, &[gradient], &[sum])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_halved_until_they_fit() {
        let fits = |most: usize| {
            move |rows| if rows <= most { Ok(rows) } else { Err(Error::limit(format!("{rows} rows"), true)) }
        };
        assert_eq!(largest(1_000, fits(1_000)).unwrap(), (1_000, 1_000));
        assert_eq!(largest(1_000, fits(130)).unwrap(), (125, 125));
        assert_eq!(largest(7, fits(1)).unwrap(), (1, 1));
        let mut tried = vec![];
        let mut never = |rows| {
            tried.push(rows);
            fits(0)(rows)
        };
        largest(1_000, &mut never).unwrap_err();
        assert_eq!(tried, [1_000, 1], "not one compilation for each halving");
        let mut tried = vec![];
        let mut one = |rows| {
            tried.push(rows);
            fits(1)(rows)
        };
        assert_eq!(largest(2, &mut one).unwrap(), (1, 1));
        assert_eq!(tried, [2, 1], "one row is compiled once");
        let e = largest(7, fits(0)).unwrap_err().to_string();
        assert!(e.contains("even one sample") && e.contains("1 rows"), "{e}");
        let mut tries = 0;
        let mut hopeless = |_| {
            tries += 1;
            Err::<(), _>(Error::limit("too many weights", false))
        };
        assert_eq!(largest(7, &mut hopeless).unwrap_err().to_string(), "too many weights");
        assert_eq!(tries, 1, "a smaller batch does not help");
    }
}
