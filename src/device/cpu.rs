//! The CPU executor: runs the CPU implementations of the ops, in f32 as the fallback and in f64 as the reference.

use std::time::Instant;

use super::profile::Timing;
use super::values::Values;
use crate::error::Result;
use crate::graph::plan::{Call, Pass, Place, Plan};
use crate::graph::{DType, Init, Io, View, ViewMut};
use crate::numeric::random::Clock;
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// One buffer of the plan.
#[derive(Debug)]
enum Buffer<S> {
    Float(Aligned<S>),
    Int(Aligned<u32>),
}

/// Memory aligned to a cache line, at a different line of the page for each buffer. Vector loads then never cross a
/// cache line, and tensors that are read together do not map to the same few cache sets. With the alignment of the
/// allocator alone, a step can be up to five times slower.
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
        // The stride is an odd number of lines, so that consecutive buffers cycle through all lines of a page.
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

impl<S: Scalar> Buffer<S> {
    fn view(&self, p: Place) -> View<'_, S> {
        match self {
            Buffer::Float(v) => View::Float(&v.all()[p.offset..p.offset + p.len]),
            Buffer::Int(v) => View::Int(&v.all()[p.offset..p.offset + p.len]),
        }
    }
}

/// A scalar type that the CPU executor supports.
pub(crate) trait CpuScalar: Scalar {
    fn run(call: &Call, io: &mut Io<Self>);
    fn values(slice: &[Self]) -> Values;
}

impl CpuScalar for f32 {
    fn run(call: &Call, io: &mut Io<f32>) {
        call.node.op.cpu_f32(io);
    }
    fn values(slice: &[f32]) -> Values {
        Values::F32(slice.to_vec())
    }
}

impl CpuScalar for f64 {
    fn run(call: &Call, io: &mut Io<f64>) {
        call.node.op.cpu_f64(io);
    }
    fn values(slice: &[f64]) -> Values {
        Values::F64(slice.to_vec())
    }
}

#[derive(Debug)]
pub(crate) struct CpuProgram<S> {
    plan: Plan,
    buffers: Vec<Buffer<S>>,
}

impl<S: CpuScalar> CpuProgram<S> {
    pub fn new(plan: Plan) -> Self {
        let buffers = plan
            .buffers
            .iter()
            .enumerate()
            .map(|(i, b)| match b.dtype {
                // Only a GPU stores in f16.
                DType::F32 | DType::F16 => Buffer::Float(Aligned::new(b.len, S::ZERO, i)),
                DType::U32 => Buffer::Int(Aligned::new(b.len, 0, i)),
            })
            .collect();
        let mut program = Self { buffers, plan };
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

    /// The allocated bytes.
    pub fn allocated(&self) -> u64 {
        let bytes = |buffer: &Buffer<S>| match buffer {
            Buffer::Float(values) => size_of_val(values.all()),
            Buffer::Int(values) => size_of_val(values.all()),
        };
        self.buffers.iter().map(bytes).sum::<usize>() as u64
    }

    pub fn write(&mut self, place: Place, values: &[f32]) {
        self.fill(place, values);
    }

    pub fn write_f64(&mut self, place: Place, values: &[f64]) {
        self.fill(place, values);
    }

    fn fill<T: Copy + Into<f64> + Sync>(&mut self, place: Place, values: &[T]) {
        if let Buffer::Float(buffer) = &mut self.buffers[place.buffer] {
            let target = &mut buffer.all_mut()[place.offset..place.offset + place.len];
            parallel::chunks(
                target,
                #[inline(always)]
                |start, target| target.iter_mut().zip(&values[start..]).for_each(|(t, v)| *t = S::of((*v).into())),
            );
        }
    }

    pub fn write_u32(&mut self, place: Place, values: &[u32]) {
        if let Buffer::Int(buffer) = &mut self.buffers[place.buffer] {
            buffer.all_mut()[place.offset..place.offset + place.len].copy_from_slice(values);
        }
    }

    pub fn read(&self, place: Place) -> Values {
        match self.buffers[place.buffer].view(place) {
            View::Float(values) => S::values(values),
            View::Int(values) => Values::U32(values.to_vec()),
        }
    }

    pub fn step(&mut self, clock: Clock, row: usize) -> Result<()> {
        let Self { plan, buffers } = self;
        plan.passes.iter().for_each(|pass| run_pass(plan, clock, row, pass, buffers));
        Ok(())
    }

    /// The memory of a tensor of floats.
    #[cfg(feature = "files")]
    pub fn floats(&mut self, place: Place) -> &mut [S] {
        match &mut self.buffers[place.buffer] {
            Buffer::Float(all) => &mut all.all_mut()[place.offset..place.offset + place.len],
            Buffer::Int(_) => &mut [],
        }
    }

    /// Runs one pass of a step.
    #[cfg(feature = "files")]
    pub fn pass(&mut self, clock: Clock, row: usize, pass: &Pass) {
        run_pass(&self.plan, clock, row, pass, &mut self.buffers);
    }

    /// The time of each call, averaged over `n` steps on the rows from `row` on.
    pub fn profile(&mut self, first: Clock, row: usize, n: u32) -> Vec<Timing> {
        let mut times = vec![Timing::default(); self.plan.calls.len()];
        for step in first.step..first.step + n {
            for pass in &self.plan.passes {
                for i in pass.calls.clone() {
                    let start = Instant::now();
                    run_call(&self.plan.calls[i], Clock { step, ..first }, row, pass, &mut self.buffers);
                    times[i] = Timing { time: times[i].time + start.elapsed(), longest: start.elapsed() };
                }
            }
        }
        times.iter().map(|t| Timing { time: t.time / n.max(1), ..*t }).collect()
    }
}

fn run_pass<S: CpuScalar>(plan: &Plan, clock: Clock, row: usize, pass: &Pass, buffers: &mut [Buffer<S>]) {
    plan.calls[pass.calls.clone()].iter().for_each(|call| run_call(call, clock, row, pass, buffers));
}

/// Runs one call. Written buffers are moved out of the list during the call, so that the others can be borrowed.
fn run_call<S: CpuScalar>(call: &Call, clock: Clock, row: usize, pass: &Pass, buffers: &mut [Buffer<S>]) {
    let mut written: Vec<(usize, Place)> = call
        .outputs
        .iter()
        .chain(call.updates.iter().map(|p| Some(*p)).collect::<Vec<_>>().iter())
        .copied()
        .enumerate()
        .filter_map(|(slot, place)| Some((slot, place?)))
        .collect();
    written.sort_by_key(|(_, p)| (p.buffer, p.offset));
    let mut taken: Vec<(usize, Buffer<S>)> = Vec::new();
    for (_, place) in &written {
        if taken.last().is_none_or(|(b, _)| *b != place.buffer) {
            let buffer = std::mem::replace(&mut buffers[place.buffer], Buffer::Int(Aligned::default()));
            taken.push((place.buffer, buffer));
        }
    }
    let slots = call.outputs.len() + call.updates.len();
    let mut views: Vec<ViewMut<S>> = (0..slots).map(|_| ViewMut::Nothing).collect();
    for (index, buffer) in &mut taken {
        let ranges: Vec<_> = written.iter().filter(|(_, p)| p.buffer == *index).collect();
        match buffer {
            Buffer::Float(all) => split(all.all_mut(), &ranges, |slot, part| views[slot] = ViewMut::Float(part)),
            Buffer::Int(all) => split(all.all_mut(), &ranges, |slot, part| views[slot] = ViewMut::Int(part)),
        }
    }
    let updates = views.split_off(call.outputs.len());
    let input = |(i, p): (usize, &Place)| match call.specs.is_overwritten(i) {
        true => View::Float(&[]),
        false => buffers[p.buffer].view(*p),
    };
    let inputs = call.inputs.iter().enumerate().map(input).collect();
    let (first_row, part) = (row + pass.first_row, pass.part);
    S::run(call, &mut Io { specs: &call.specs, clock, first_row, part, inputs, outputs: views, updates });
    for (index, buffer) in taken {
        buffers[index] = buffer;
    }
}

/// Splits a buffer into the sorted, disjoint ranges.
fn split<'a, T>(all: &'a mut [T], ranges: &[&(usize, Place)], mut assign: impl FnMut(usize, &'a mut [T])) {
    let (mut rest, mut start) = (all, 0);
    for (slot, place) in ranges {
        let (_, tail) = rest.split_at_mut(place.offset - start);
        let (part, tail) = tail.split_at_mut(place.len);
        assign(*slot, part);
        (rest, start) = (tail, place.offset + place.len);
    }
}
