//! The sum of the parts of a product whose long sums were split (split-K).

use super::case::{Case, Tolerance};
use super::upsample::Narrow;
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

/// A sum of parts that is written to a slab.
#[derive(Clone, Debug)]
pub(crate) struct SlabSum {
    pub sum: PartSum,
    /// The offsets of the outputs.
    pub at: [usize; 2],
    /// What is applied to the first output, without a second one, before it is written.
    pub narrow: Option<Narrow>,
}

impl SlabSum {
    /// The numbers of elements that are written.
    fn counts(&self) -> [usize; 2] {
        let narrowed = self.narrow.as_ref().map(|narrow| [narrow.len(), 0]);
        narrowed.unwrap_or(self.sum.counts())
    }

    /// The function `put` of the shader that writes element i.
    fn text(&self, k: usize, [s, n]: [usize; 2]) -> String {
        let ([first, _], [at, second]) = (self.counts(), self.at);
        let put = match (&self.narrow, self.sum.second) {
            (Some(narrow), _) => format!(
                "{}  var sum = 0.0;\n  for (var f = 0u; f < copies; f++) {{ sum += sum{k}(at + f / across * pitch + f % \
                 across); }}\n  slab[{at}u + i] = sum;\n",
                narrow.text()
            ),
            (None, Second::Between) => format!(
                "  let rest = i >= {first}u;\n  slab[select({at}u + i, {second}u + i - {first}u, rest)] = \
                 sum{k}(select(2u * i, 2u * (i - {first}u) + 1u, rest));\n"
            ),
            (None, _) => format!("  slab[select({at}u + i, {second}u + i - {first}u, i >= {first}u)] = sum{k}(i);\n"),
        };
        format!(
            "@group(0) @binding({k}) var<storage, read> parts{k}: array<f32>;  // [{s}, {n}]\nfn sum{k}(at: u32) -> f32 \
             {{\n  var sum = 0.0;\n  for (var s = 0u; s < {s}u; s++) {{ sum += parts{k}[s * {n}u + at]; }}\n  return \
             sum;\n}}\nfn put{k}(i: u32) {{\n{put}}}\n"
        )
    }

    fn cpu<S: Scalar>(&self, parts: &[S], n: usize, slab: &mut [S]) {
        let [first, second] = self.counts();
        if let Some(narrow) = &self.narrow {
            return S::with_scratch(n, |wide| {
                self.sum.first(parts, n, wide);
                narrow.apply(wide, &mut slab[self.at[0]..][..first]);
            });
        }
        self.sum.first(parts, n, &mut slab[self.at[0]..][..first]);
        self.sum.second(parts, n, &mut slab[self.at[1]..][..second]);
    }
}

/// Several [`PartSum`]s in one dispatch, whose outputs are in one slab.
///
/// *Shapes*: the parts of each; the slab is updated at the given offsets. It is added when a graph is compiled.
#[derive(Clone, Debug)]
pub(crate) struct PartSums {
    pub sums: Vec<SlabSum>,
}

impl PartSums {
    /// The most sums: the slab has the binding after theirs.
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
        for (sum, parts) in self.sums.iter().zip(inputs) {
            let outputs = Op::infer(&sum.sum, std::slice::from_ref(parts))?;
            if let Some(narrow) = &sum.narrow {
                Op::infer(narrow, &outputs)?;
            }
            if sum.at.iter().zip(sum.counts()).any(|(at, count)| at + count > slab) {
                return Err(Error::shape("part_sum", format!("{sum:?} does not fit a slab of {slab}")));
            }
        }
        Ok(Vec::new())
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (mut sums, mut choices, mut start) = (String::new(), String::new(), 0);
        for (k, (sum, parts)) in self.sums.iter().zip(&specs.inputs).enumerate() {
            sums += &sum.text(k, parts.rows().into());
            // A workgroup has the elements of one sum.
            let end = start + sum.counts().iter().sum::<usize>();
            let next = end.next_multiple_of(64);
            choices +=
                &format!("  if (i < {end}u) {{ put{k}(i - {start}u); return; }}\n  if (i < {next}u) {{ return; }}\n");
            start = next;
        }
        let kernel = kernel!("part_sum.wgsl", "sum_several").flag("SEVERAL", true);
        kernel.part("sums", sums).part("choices", choices).over(start)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let terms: usize = specs.inputs.iter().map(Spec::len).sum();
        let written: usize = self.sums.iter().flat_map(SlabSum::counts).sum();
        Cost { flops: terms as u64, bytes: 4 * (terms + written) as u64 }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let slab = io.update(0);
        for (k, sum) in self.sums.iter().enumerate() {
            sum.cpu(io.input(k), io.specs.inputs[k].rows().1, slab);
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let op = |second| PartSum { shape: vec![3, 2, 5], second };
    let plain = |second, at| SlabSum { sum: op(second), at, narrow: None };
    let wide = PartSum { shape: vec![3, 2, 4, 5], second: Second::None };
    let narrowed = SlabSum { sum: wide, at: [150, 150], narrow: Some(Narrow::new(2, vec![2, 3, 3, 4])) };
    let sums =
        vec![plain(Second::After, [0, 64]), plain(Second::None, [30, 30]), narrowed, plain(Second::Between, [70, 110])];
    vec![
        Case::new(op(Second::After)).input([7, 33]).tolerance(Tolerance::terms(1.0, 7)),
        Case::new(op(Second::None)).input([4, 30]).tolerance(Tolerance::terms(1.0, 4)),
        Case::new(op(Second::Between)).input([5, 60]).tolerance(Tolerance::terms(1.0, 5)),
        Case::new(PartSums { sums })
            .input([7, 33])
            .input([4, 30])
            .input([5, 120])
            .input([5, 60])
            .update([250], vec![0.25; 250])
            .tolerance(Tolerance::terms(1.0, 20)),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(PartSum { shape: vec![256, 255], second: Second::After }).input([16, 256 * 256])]
}
