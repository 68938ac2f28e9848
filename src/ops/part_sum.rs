//! The sum of the parts of a product whose long sums were split (split-K).

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// The sums of a second output in each part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Second {
    /// There are none.
    None,
    /// One for each row of the first output, after all of these.
    After,
    /// One after each sum of the first output.
    Between,
}

/// first and second = sum over s of parts\[s\], in the order of s.
///
/// *Shapes*: parts [S, N], first as given, second the rest.
#[derive(Clone, Debug)]
pub(crate) struct PartSum {
    pub shape: Vec<usize>,
    pub second: Second,
}

impl PartSum {
    /// The number of sums of both outputs.
    fn counts(&self) -> [usize; 2] {
        let first = self.shape.iter().product();
        let second = match self.second {
            Second::None => 0,
            Second::After => self.shape[0],
            Second::Between => first,
        };
        [first, second]
    }
}

impl Op for PartSum {
    fn name(&self) -> &'static str {
        "part_sum"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("part_sum", inputs, 1)?;
        let ((_, n), first) = (inputs[0].rows(), Spec::f32(self.shape.clone()));
        let [_, second] = self.counts();
        if first.len() + second != n {
            return Err(Error::shape("part_sum", format!("parts of {n} do not fill {first} and {second} more")));
        }
        let second = (second > 0).then(|| Spec::f32([second]));
        Ok([first].into_iter().chain(second).collect())
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (s, n) = specs.inputs[0].rows();
        kernel!("part_sum.wgsl", "sum_parts")
            .flag("SEVERAL", false)
            .flag("SECOND", self.second != Second::None)
            .flag("BETWEEN", self.second == Second::Between)
            .dim("S", s)
            .dim("N", n)
            .dim("FIRST", specs.outputs[0].len())
            .over(n)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: specs.inputs[0].len() as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ((_, n), parts) = (io.specs.inputs[0].rows(), io.input(0));
        self.first(parts, n, io.output(0));
        if self.second != Second::None {
            self.second(parts, n, io.output(1));
        }
    }
}

impl PartSum {
    /// The first output, of parts of n elements.
    fn first<S: Scalar>(&self, parts: &[S], n: usize, out: &mut [S]) {
        if self.second == Second::Between { sum(parts, n, 2, out) } else { sum(parts, n, 1, out) }
    }

    /// The second output.
    fn second<S: Scalar>(&self, parts: &[S], n: usize, out: &mut [S]) {
        match self.second {
            Second::None => {}
            Second::After => sum(&parts[self.counts()[0]..], n, 1, out),
            Second::Between => sum(&parts[1..], n, 2, out),
        }
    }
}

/// out = the sum of rows of parts, one every n elements, of every `step`th element.
fn sum<S: Scalar>(parts: &[S], n: usize, step: usize, out: &mut [S]) {
    parallel::chunks(
        out,
        #[inline(always)]
        |start, out| {
            out.fill(S::ZERO);
            for part in parts.chunks(n) {
                if step == 1 {
                    out.iter_mut().zip(&part[start..]).for_each(|(o, v)| *o += *v);
                } else {
                    out.iter_mut().zip(part[step * start..].iter().step_by(step)).for_each(|(o, v)| *o += *v);
                }
            }
        },
    );
}

/// Several [`PartSum`]s in one dispatch, whose outputs are in one slab.
///
/// *Shapes*: the parts of each; the slab is updated at the given offsets. It is added when a graph is compiled.
#[derive(Clone, Debug)]
pub(crate) struct PartSums {
    /// Each with the offsets of its outputs.
    pub sums: Vec<(PartSum, [usize; 2])>,
}

impl PartSums {
    /// The binding of the slab, after those of the parts.
    pub const MOST: usize = 7;
}

impl Op for PartSums {
    fn name(&self) -> &'static str {
        "part_sum"
    }

    trusted!();

    fn updates(&self) -> usize {
        1
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("part_sum", inputs, self.sums.len() + 1)?;
        let slab = inputs[self.sums.len()].len();
        for ((sum, at), parts) in self.sums.iter().zip(inputs) {
            sum.infer(std::slice::from_ref(parts))?;
            if at.iter().zip(sum.counts()).any(|(at, count)| at + count > slab) {
                return Err(Error::shape("part_sum", format!("{parts} is not summed to a slab of {slab} at {at:?}")));
            }
        }
        Ok(Vec::new())
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (mut sums, mut choices, mut items) = (String::new(), String::new(), 0);
        for (k, ((sum, [at, at_second]), parts)) in self.sums.iter().zip(&specs.inputs).enumerate() {
            let ((s, n), [first, _]) = (parts.rows(), sum.counts());
            let source =
                if sum.second == Second::Between { "select(2u * i, 2u * (i - first) + 1u, i >= first)" } else { "i" };
            sums += &format!(
                "@group(0) @binding({k}) var<storage, read> parts{k}: array<f32>;  // [{s}, {n}]\n\
                 fn sum{k}(i: u32) {{\n  let first = {first}u;\n  let at = {source};\n  var sum = 0.0;\n  \
                 for (var s = 0u; s < {s}u; s++) {{ sum += parts{k}[s * {n}u + at]; }}\n  \
                 slab[select({at}u + i, {at_second}u + i - first, i >= first)] = sum;\n}}\n"
            );
            choices += &format!(
                "  if (i < {}u) {{ if (i < {}u) {{ sum{k}(i - {items}u); }} return; }}\n",
                (items + n).next_multiple_of(64),
                items + n
            );
            items = (items + n).next_multiple_of(64);
        }
        let kernel = kernel!("part_sum.wgsl", "sum_several").flag("SEVERAL", true);
        kernel.part("sums", sums).part("choices", choices).over(items)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let (terms, sums) = specs.inputs.iter().fold((0, 0), |(t, s), parts| (t + parts.len(), s + parts.rows().1));
        Cost { flops: terms as u64, bytes: 4 * (terms + sums) as u64 }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let slab = io.update(0);
        for (k, (sum, at)) in self.sums.iter().enumerate() {
            let ((_, n), parts, [first, second]) = (io.specs.inputs[k].rows(), io.input(k), sum.counts());
            sum.first(parts, n, &mut slab[at[0]..][..first]);
            sum.second(parts, n, &mut slab[at[1]..][..second]);
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let op = |second| PartSum { shape: vec![3, 2, 5], second };
    let sums = vec![(op(Second::After), [0, 64]), (op(Second::None), [30, 30]), (op(Second::Between), [70, 110])];
    vec![
        Case::new(op(Second::After)).input([7, 33]).tolerance(Tolerance::terms(1.0, 7)),
        Case::new(op(Second::None)).input([4, 30]).tolerance(Tolerance::terms(1.0, 4)),
        Case::new(op(Second::Between)).input([5, 60]).tolerance(Tolerance::terms(1.0, 5)),
        Case::new(PartSums { sums })
            .input([7, 33])
            .input([4, 30])
            .input([5, 60])
            .update([150], vec![0.25; 150])
            .tolerance(Tolerance::terms(1.0, 7)),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(PartSum { shape: vec![256, 255], second: Second::After }).input([16, 256 * 256])]
}
