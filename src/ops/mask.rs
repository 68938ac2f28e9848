//! Random masks of known values: what a network that fills gaps is given.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{DType, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{Clock, below};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y\[b\] = [m x | m], where m is 0 for the values of the row that a random rule hides, otherwise 1.
///
/// A row takes each of the R rules with the same probability. Its share of hidden values is uniform between two limits:
///
/// | kind | hides |
/// | --- | --- |
/// | 0 | each place with the probability of the share |
/// | 1 | a rectangle at a random position, the share of the height (1 if that is 1) and of the width |
/// | 2 | the last columns of all rows, the share of the width |
/// | 3 | the zeros of a random row of the pool |
///
/// *Shapes*: x [B, D], rules u32 [R, 3] with the kind and the limits in units of 2^-32, places u32 \[D\] with the place
/// y W + x of each value among H W, with `known` a mask [B, D] by which m is multiplied, and with `pool` masks [M, D];
/// y [B, 2 D]. *Gradient*: none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    /// The random stream of the rules; the next one is that of single places.
    pub stream: u32,
    /// H and W.
    pub size: [usize; 2],
    /// Whether there is a mask of the values that are not missing.
    pub known: bool,
    /// Whether there is a pool of masks.
    pub pool: bool,
}

/// The kinds of rules.
pub(crate) const POINT: u32 = 0;
pub(crate) const BLOCK: u32 = 1;
pub(crate) const FUTURE: u32 = 2;
pub(crate) const POOL: u32 = 3;

/// share n, rounded, from 1 to n.
fn extent(share: u32, n: usize) -> u32 {
    let product = u64::from(share) * n as u64;
    ((product >> 32) as u32 + ((product as u32) >> 31)).clamp(1, n as u32)
}

/// The mask of one row.
#[derive(Clone, Copy)]
struct Drawn {
    kind: u32,
    share: u32,
    /// Top, left, height and width of the hidden rectangle.
    hidden: [u32; 4],
    /// The row of the pool.
    entry: usize,
}

impl Mask {
    /// The mask of row `b` of the batch.
    fn draw(&self, clock: Clock, b: usize, rules: &[u32], pool: usize) -> Drawn {
        let [h, w] = self.size;
        let draw = clock.words(self.stream, b as u32);
        let rule = &rules[3 * below(draw[0], rules.len() as u32 / 3) as usize..][..3];
        let (kind, share) = (rule[0], rule[1].wrapping_add(below(draw[1], rule[2].wrapping_sub(rule[1]))));
        let height = if kind == BLOCK { extent(share, h) } else { h as u32 };
        let width = extent(share, w);
        let top = below(draw[2], h as u32 - height + 1);
        let left = if kind == BLOCK { below(draw[3], w as u32 - width + 1) } else { w as u32 - width };
        Drawn { kind, share, hidden: [top, left, height, width], entry: below(draw[1], pool as u32) as usize }
    }

    /// m = the mask of row `b` of the batch. `pool` is empty without one.
    pub(crate) fn row<S: Scalar>(
        &self,
        clock: Clock,
        b: usize,
        rules: &[u32],
        places: &[u32],
        pool: &[S],
        m: &mut [S],
    ) {
        let [h, w] = self.size.map(|n| n as u32);
        let blocks = (h * w).div_ceil(4);
        let Drawn { kind, share, hidden: [top, left, height, width], entry } =
            self.draw(clock, b, rules, pool.len() / m.len());
        let known = |hidden: bool| if hidden { S::ZERO } else { S::ONE };
        let d = m.len();
        // The random words of the current block: neighbours share it.
        let (mut block, mut words) = (None, [0; 4]);
        for (i, (m, place)) in m.iter_mut().zip(places).enumerate() {
            let place = (*place).min(h * w - 1);
            *m = match kind {
                POINT => {
                    let at = (b as u32).wrapping_mul(blocks).wrapping_add(place / 4);
                    if block != Some(at) {
                        (block, words) = (Some(at), clock.words(self.stream + 1, at));
                    }
                    known(words[place as usize % 4] < share)
                }
                POOL if !pool.is_empty() => known(pool[entry * d + i] <= S::ZERO),
                _ => {
                    let [y, x] = [(place / w).wrapping_sub(top), (place % w).wrapping_sub(left)];
                    known(y < height && x < width)
                }
            };
        }
    }
}

impl Op for Mask {
    fn name(&self) -> &'static str {
        "mask"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("mask", inputs, 3 + self.known as usize + self.pool as usize)?;
        let (rows, d) = inputs[0].rows();
        expect_shape("mask", "rules", &inputs[1], &[inputs[1].rows().0, 3])?;
        expect_shape("mask", "places", &inputs[2], &[d])?;
        if self.known {
            expect_shape("mask", "known", &inputs[3], &[rows, d])?;
        }
        if self.pool {
            let pool = &inputs[inputs.len() - 1];
            expect_shape("mask", "pool", pool, &[pool.rows().0, d])?;
        }
        let [h, w] = self.size;
        if h.checked_mul(w).is_none_or(|places| places == 0 || places > 1 << 31) {
            return Err(Error::shape("mask", format!("{h} x {w} places; use 1 to 2^31")));
        }
        Ok(vec![Spec::f32([rows, 2 * d])])
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        if i == 1 || i == 2 { &[DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (rows, d) = specs.inputs[0].rows();
        let lanes = d.next_power_of_two().min(64);
        let kernel = kernel!("mask.wgsl", "mask")
            .flag("KNOWN", self.known)
            .flag("POOL", self.pool)
            .dim("B", rows)
            .dim("D", d)
            .dim("R", specs.inputs[1].rows().0)
            .dim("H", self.size[0])
            .dim("W", self.size[1])
            .hyper("STREAM", self.stream as f64)
            .tune("LANES", lanes as u32)
            .over(rows * lanes);
        if self.pool { kernel.dim("M", specs.inputs[specs.inputs.len() - 1].rows().0) } else { kernel }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let d = io.specs.inputs[0].rows().1;
        let (x, rules, places) = (io.input(0), io.input_u32(1), io.input_u32(2));
        let known = self.known.then(|| io.input(3));
        let pool = if self.pool { io.input(3 + self.known as usize) } else { &[] };
        let (clock, first) = (io.clock, io.first_row);
        parallel::rows(
            io.output(0),
            2 * d,
            #[inline(always)]
            |row, y| {
                let (masked, m) = y.split_at_mut(d);
                self.row(clock, first + row, rules, places, pool, m);
                if let Some(known) = known {
                    m.iter_mut().zip(&known[row * d..]).for_each(|(m, known)| *m *= *known);
                }
                masked.iter_mut().zip(m).zip(&x[row * d..]).for_each(|((y, m), x)| *y = *m * *x);
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    const HALF: u32 = 1 << 31;
    let mask = Mask { stream: 4, size: [1, 37], known: false, pool: false };
    let all = [POINT, HALF / 2, HALF, BLOCK, HALF / 3, HALF, FUTURE, HALF, HALF, BLOCK, u32::MAX, u32::MAX];
    let case = |op: Mask, [rows, d]: [usize; 2], rules: &[u32]| {
        let places = (0..d).map(|i| (i % (op.size[0] * op.size[1])) as u32).collect();
        let mut case = Case::new(op).input([rows, d]).integers([rules.len() / 3, 3], rules.to_vec());
        case = case.integers([d], places);
        if op.known {
            case = case.values([rows, d], (0..rows * d).map(|i| f32::from(u8::from(i % 5 > 0))).collect());
        }
        if op.pool {
            case = case.values([3, d], (0..3 * d).map(|i| f32::from(u8::from(i % 7 > 2))).collect());
        }
        case.clock(3, 9).tolerance(Tolerance::exact())
    };
    vec![
        case(mask, [70, 37], &all).first_row(5),
        case(Mask { size: [1, 1], ..mask }, [3, 1], &all),
        // Two channels of images.
        case(Mask { size: [7, 9], known: true, ..mask }, [33, 126], &all).first_row(2),
        case(Mask { size: [1, 13], pool: true, ..mask }, [41, 13], &[&all[..], &[POOL, 0, 0]].concat()),
        case(Mask { size: [3, 5], known: true, pool: true, ..mask }, [19, 15], &[POOL, 0, 0, POINT, 0, u32::MAX]),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    let (rules, places) = (vec![POINT, 0, u32::MAX, BLOCK, 0, u32::MAX], (0..1024).collect());
    let op = Mask { stream: 4, size: [32, 32], known: false, pool: false };
    vec![Case::new(op).input([1024, 1024]).integers([2, 3], rules).integers([1024], places)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of hidden places of each row.
    fn hidden(op: Mask, rules: &[u32], rows: usize) -> Vec<usize> {
        let places: Vec<u32> = (0..(op.size[0] * op.size[1]) as u32).collect();
        let of_row = |b: usize| {
            let mut m = vec![7.0; places.len()];
            op.row::<f64>(Clock { seed: 1, step: 2 }, b, rules, &places, &[], &mut m);
            assert!(m.iter().all(|m| [0.0, 1.0].contains(m)));
            m.iter().filter(|m| **m == 0.0).count()
        };
        (0..rows).map(of_row).collect()
    }

    #[test]
    fn rules_hide_their_share() {
        const HALF: u32 = 1 << 31;
        let line = Mask { stream: 0, size: [1, 40], known: false, pool: false };
        let image = Mask { size: [8, 10], ..line };
        assert_eq!(hidden(line, &[BLOCK, HALF, HALF], 50), [20; 50]);
        assert_eq!(hidden(line, &[FUTURE, HALF / 2, HALF / 2], 50), [10; 50]);
        assert_eq!(hidden(image, &[BLOCK, HALF, HALF], 50), [20; 50], "half of each side");
        assert_eq!(hidden(image, &[FUTURE, HALF, HALF], 50), [40; 50]);
        assert_eq!(hidden(line, &[BLOCK, u32::MAX, u32::MAX], 3), [40; 3]);
        let points = hidden(image, &[POINT, HALF / 2, HALF / 2], 500).iter().sum::<usize>() as f64 / 40_000.0;
        // Five standard deviations of a binomial.
        assert!((points - 0.25).abs() < 5.0 * (0.25f64 * 0.75 / 40_000.0).sqrt(), "{points}");
        let shares = hidden(line, &[FUTURE, 0, u32::MAX], 2_000);
        let mean = shares.iter().sum::<usize>() as f64 / 2_000.0;
        assert!((mean - 20.0).abs() < 1.5 && shares.contains(&1) && shares.contains(&40), "{mean}");
    }
}
