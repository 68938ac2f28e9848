//! Guidance: moves a prediction away from a second, negative one.

use super::case::{Case, STEPS, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{Cost, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// g = n + w (p - n) for the positive prediction p and the negative one n, then y = r s g + (1 - r) g with the ratio s of
/// the standard deviations of p and g over the row. w is the scale of the current step; where it is 1, y is p.
///
/// *Shapes*: pairs [B, 2 D] with rows \[p | n\], scales \[K\], one per step of the run; y [B, D]. *Gradient*: none.
/// *Source*: Ho and Salimans 2022, "Classifier-free diffusion guidance", eq. 6, with w counted as in Imagen (1 is no
/// guidance); the rescaling is that of Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed",
/// section 3.4; scales that differ between steps as in Kynkaanniemi et al. 2024, "Applying guidance in a limited interval".
#[derive(Clone, Copy, Debug)]
pub struct Guide {
    /// r, from 0 for no rescaling to 1.
    pub rescale: f64,
}

impl Op for Guide {
    fn name(&self) -> &'static str {
        "guide"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("guide", inputs, 2)?;
        let (rows, width) = inputs[0].rows();
        if inputs[0].shape.len() != 2 || width % 2 != 0 {
            return Err(Error::shape("guide", format!("expected pairs [B, 2 D]; got {:?}", inputs[0].shape)));
        }
        expect_shape("guide", "scales", &inputs[1], &[inputs[1].len()])?;
        Ok(vec![Spec::f32([rows, width / 2])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let (rows, d) = specs.outputs[0].rows();
        let kernel = kernel!("guide.wgsl", "guide")
            .flag("RESCALED", self.rescale > 0.0)
            .dim("B", rows)
            .dim("D", d)
            .dim("STEPS", specs.inputs[1].len())
            .tune("WG", if target.software { 8 } else { 64 })
            .groups(rows);
        if self.rescale > 0.0 { kernel.hyper("RESCALE", self.rescale) } else { kernel }
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost::of(specs).reading(specs, 1, 1)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (pairs, scales) = (io.input(0), io.input(1));
        let d = io.specs.outputs[0].rows().1;
        let scale = scales[(io.clock.step as usize).min(scales.len() - 1)];
        let rescale = S::of(self.rescale);
        parallel::rows(
            io.output(0),
            d,
            #[inline(always)]
            |row, y| {
                let (positive, negative) = pairs[2 * row * d..][..2 * d].split_at(d);
                if scale == S::ONE {
                    return y.copy_from_slice(positive);
                }
                for i in 0..d {
                    y[i] = negative[i] + scale * (positive[i] - negative[i]);
                }
                if self.rescale > 0.0 {
                    let (of_p, of_g) = (squares(positive), squares(y));
                    let ratio = if of_g > S::ZERO { (of_p / of_g).sqrt() } else { S::ONE };
                    let factor = rescale * ratio + (S::ONE - rescale);
                    y.iter_mut().for_each(|y| *y *= factor);
                }
            },
        );
    }
}

/// The sum of the squared differences from the mean.
#[inline(always)]
fn squares<S: Scalar>(x: &[S]) -> S {
    let mean = parallel::sum(x.len(), |i| x[i]) / S::of(x.len() as f64);
    parallel::sum(x.len(), |i| (x[i] - mean) * (x[i] - mean))
}

pub(super) fn cases() -> Vec<Case> {
    let case = |rescale: f64, [rows, d]: [usize; 2], step: u32| {
        let case = Case::new(Guide { rescale }).input([rows, 2 * d]).values([3], vec![2.5, 1.0, -0.75]);
        case.clock(3, step).tolerance(Tolerance::absolute(16.0))
    };
    vec![
        case(0.0, [1, 1], 0),
        case(0.0, [7, 13], 1).tolerance(Tolerance::exact()),
        case(0.0, [70, 3], 2),
        case(0.7, [5, 130], 0),
        // A row of one value has no deviation.
        case(0.7, [3, 1], 0),
        case(1.0, [9, 24], 5),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Guide { rescale: 0.7 }).input([1024, 2 * 784]).input([STEPS])]
}
