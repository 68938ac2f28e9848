//! Batches that are larger than a device: the largest part that fits, and graphs that work through a batch part by part.

use crate::error::{Error, Result};
use crate::graph::{Graph, Parts, Slab, Var};
use crate::ops::Accumulate;

/// What `make` gives for the largest number of rows that fits the device, and that number: `most`, else its half, its
/// quarter and so on.
///
/// # Errors
/// The first that fewer rows would not cure; when not even one row fits, [`Error::Limit`].
pub(crate) fn largest<T>(most: usize, mut make: impl FnMut(usize) -> Result<T>) -> Result<(T, usize)> {
    let mut rows = most;
    loop {
        match make(rows) {
            Ok(made) => return Ok((made, rows)),
            Err(Error::Limit { smaller_batch_helps: true, .. }) if rows > 1 => rows = rows.div_ceil(2),
            Err(Error::Limit { message, smaller_batch_helps: true }) => {
                return Err(Error::limit(format!("even one sample at a time is too much: {message}"), false));
            }
            Err(e) => return Err(e),
        }
    }
}

/// Adds what `add` adds for a batch of `batch` rows that is computed in parts of `rows`, and gives what it gives, each with
/// the share of one part in the batch: one entry for the parts of that size, and one more for a smaller last part.
///
/// The parts draw the random numbers that a whole batch would. A part runs in the memory of the part before; its scalars add up
/// over the parts of one entry.
///
/// # Errors
/// Those of `add`.
pub(crate) fn in_parts<T>(
    g: &mut Graph,
    batch: usize,
    rows: usize,
    mut add: impl FnMut(&mut Graph, f64) -> Result<T>,
) -> Result<Vec<(f64, T)>> {
    let (streams, count, rest) = (g.streams(), batch / rows, batch % rows);
    let equal = Parts { first: 0, rows, count };
    let last = Parts { first: count * rows, rows: rest, count: 1 };
    let mut made = Vec::new();
    for parts in [equal, last].into_iter().filter(|parts| parts.rows > 0) {
        g.rewind_streams(streams);
        g.set_parts((parts.rows < batch).then_some(parts));
        let share = parts.rows as f64 / batch as f64;
        made.push((share, add(g, share)?));
    }
    g.set_parts(None);
    Ok(made)
}

/// Adds the reverse pass of `losses` over a part of the batch. The gradients of parts, weighted by their `share` of the batch,
/// are added up in their order in a second slab, which the optimizer then takes.
///
/// # Errors
/// As [`Graph::backward`].
pub(crate) fn backward(g: &mut Graph, losses: &[Var], share: f64) -> Result<()> {
    g.backward(losses, &[])?;
    if share < 1.0 {
        let (gradient, sum) = (g.slab(Slab::Grads), g.slab(Slab::Sum));
        g.apply_to(Accumulate { share }, &[gradient], &[sum])?;
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
