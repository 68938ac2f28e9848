//! The CPU executor: runs the twins over the plan, in f32 as the fallback and in f64 as the reference.

use std::time::{Duration, Instant};

use super::values::Values;
use crate::error::Result;
use crate::graph::plan::{Call, Pass, Place, Plan};
use crate::graph::{DType, Init, Io, View, ViewMut};
use crate::numeric::random::Clock;
use crate::numeric::scalar::Scalar;

/// One buffer of the plan.
#[derive(Debug)]
enum Bank<S> {
    Float(Aligned<S>),
    Int(Aligned<u32>),
}

/// Memory that starts on a cache line, on another line of its page for each buffer. Loads of whole vectors then cross
/// no line, and tensors that are walked side by side do not compete for the same few sets of the cache: where the
/// allocator happens to put them makes a step up to five times slower.
#[derive(Debug, Default)]
struct Aligned<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy> Aligned<T> {
    const LINE: usize = 64;
    const PAGE: usize = 4096;

    fn new(len: usize, zero: T, index: usize) -> Self {
        let memory = vec![zero; len + 2 * Self::PAGE / size_of::<T>()];
        // An odd number of lines, so that all lines of a page are taken in turn.
        let line = (index * 13 * Self::LINE) % Self::PAGE;
        let start = memory.as_ptr().align_offset(Self::PAGE) + line / size_of::<T>();
        Self { memory, start, len }
    }

    fn all(&self) -> &[T] {
        &self.memory[self.start..][..self.len]
    }

    fn all_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..][..self.len]
    }
}

impl<S: Scalar> Bank<S> {
    fn view(&self, p: Place) -> View<'_, S> {
        match self {
            Bank::Float(v) => View::Float(&v.all()[p.offset..p.offset + p.len]),
            Bank::Int(v) => View::Int(&v.all()[p.offset..p.offset + p.len]),
        }
    }
}

/// A twin of the scalar `S`.
pub(crate) trait RunTwin: Scalar {
    fn run(call: &Call, io: &mut Io<Self>);
    fn values(slice: &[Self]) -> Values;
}

impl RunTwin for f32 {
    fn run(call: &Call, io: &mut Io<f32>) {
        call.node.op.twin_f32(io);
    }
    fn values(slice: &[f32]) -> Values {
        Values::F32(slice.to_vec())
    }
}

impl RunTwin for f64 {
    fn run(call: &Call, io: &mut Io<f64>) {
        call.node.op.twin_f64(io);
    }
    fn values(slice: &[f64]) -> Values {
        Values::F64(slice.to_vec())
    }
}

#[derive(Debug)]
pub(crate) struct CpuProgram<S> {
    plan: Plan,
    banks: Vec<Bank<S>>,
}

impl<S: RunTwin> CpuProgram<S> {
    pub fn new(plan: Plan) -> Self {
        let banks = plan
            .buffers
            .iter()
            .enumerate()
            .map(|(i, b)| match b.dtype {
                DType::F32 => Bank::Float(Aligned::new(b.len, S::ZERO, i)),
                DType::U32 => Bank::Int(Aligned::new(b.len, 0, i)),
            })
            .collect();
        let mut program = Self { banks, plan };
        for (place, init) in program.plan.inits.clone() {
            match init {
                Init::Zero | Init::Parameters => {}
                Init::Drawn(draw) => program.write(place, &draw.values(place.len)),
                Init::F32(values) => program.write(place, &values),
                Init::U32(values) => program.write_u32(place, &values),
            }
        }
        program
    }

    /// Bytes in the buffers that were made.
    pub fn allocated(&self) -> u64 {
        let bytes = |bank: &Bank<S>| match bank {
            Bank::Float(values) => size_of_val(values.all()),
            Bank::Int(values) => size_of_val(values.all()),
        };
        self.banks.iter().map(bytes).sum::<usize>() as u64
    }

    pub fn write(&mut self, place: Place, values: &[f32]) {
        self.fill(place, values.iter().map(|&v| v as f64));
    }

    pub fn write_f64(&mut self, place: Place, values: &[f64]) {
        self.fill(place, values.iter().copied());
    }

    fn fill(&mut self, place: Place, values: impl Iterator<Item = f64>) {
        if let Bank::Float(bank) = &mut self.banks[place.buffer] {
            let target = &mut bank.all_mut()[place.offset..place.offset + place.len];
            target.iter_mut().zip(values).for_each(|(t, v)| *t = S::of(v));
        }
    }

    pub fn write_u32(&mut self, place: Place, values: &[u32]) {
        if let Bank::Int(bank) = &mut self.banks[place.buffer] {
            bank.all_mut()[place.offset..place.offset + place.len].copy_from_slice(values);
        }
    }

    pub fn read(&self, place: Place) -> Values {
        match self.banks[place.buffer].view(place) {
            View::Float(values) => S::values(values),
            View::Int(values) => Values::U32(values.to_vec()),
        }
    }

    pub fn step(&mut self, clock: Clock, row: usize) -> Result<()> {
        let Self { plan, banks } = self;
        for pass in &plan.passes {
            for call in &plan.calls[pass.calls.clone()] {
                run_call(call, clock, row, pass, banks);
            }
        }
        Ok(())
    }

    /// The time of each call, the mean of `n` steps.
    pub fn profile(&mut self, first: Clock, n: u32) -> Vec<Duration> {
        let mut times = vec![Duration::ZERO; self.plan.calls.len()];
        for step in first.step..first.step + n {
            for pass in &self.plan.passes {
                for i in pass.calls.clone() {
                    let start = Instant::now();
                    run_call(&self.plan.calls[i], Clock { step, ..first }, 0, pass, &mut self.banks);
                    times[i] += start.elapsed();
                }
            }
        }
        times.iter().map(|t| *t / n.max(1)).collect()
    }
}

/// Lends the call its tensors: written buffers are taken out of the list while the others are shared.
fn run_call<S: RunTwin>(call: &Call, clock: Clock, row: usize, pass: &Pass, banks: &mut [Bank<S>]) {
    let mut written: Vec<(usize, Place)> = call
        .outputs
        .iter()
        .chain(call.updates.iter().map(|p| Some(*p)).collect::<Vec<_>>().iter())
        .copied()
        .enumerate()
        .filter_map(|(slot, place)| Some((slot, place?)))
        .collect();
    written.sort_by_key(|(_, p)| (p.buffer, p.offset));
    let mut taken: Vec<(usize, Bank<S>)> = Vec::new();
    for (_, place) in &written {
        if taken.last().is_none_or(|(b, _)| *b != place.buffer) {
            let bank = std::mem::replace(&mut banks[place.buffer], Bank::Int(Aligned::default()));
            taken.push((place.buffer, bank));
        }
    }
    let slots = call.outputs.len() + call.updates.len();
    let mut views: Vec<ViewMut<S>> = (0..slots).map(|_| ViewMut::Nothing).collect();
    for (buffer, bank) in &mut taken {
        let ranges: Vec<_> = written.iter().filter(|(_, p)| p.buffer == *buffer).collect();
        match bank {
            Bank::Float(all) => split(all.all_mut(), &ranges, |slot, part| views[slot] = ViewMut::Float(part)),
            Bank::Int(all) => split(all.all_mut(), &ranges, |slot, part| views[slot] = ViewMut::Int(part)),
        }
    }
    let updates = views.split_off(call.outputs.len());
    let inputs = call.inputs.iter().map(|p| banks[p.buffer].view(*p)).collect();
    let (first_row, part) = (row + pass.first_row, pass.part);
    S::run(call, &mut Io { specs: &call.specs, clock, first_row, part, inputs, outputs: views, updates });
    for (buffer, bank) in taken {
        banks[buffer] = bank;
    }
}

/// Cuts the sorted, disjoint ranges out of one buffer.
fn split<'a, T>(all: &'a mut [T], ranges: &[&(usize, Place)], mut give: impl FnMut(usize, &'a mut [T])) {
    let (mut rest, mut start) = (all, 0);
    for (slot, place) in ranges {
        let (_, tail) = rest.split_at_mut(place.offset - start);
        let (part, tail) = tail.split_at_mut(place.len);
        give(*slot, part);
        (rest, start) = (tail, place.offset + place.len);
    }
}
