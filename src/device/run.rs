//! A compiled program: write tensors, run steps, read results.

use std::ops::Range;

use half::f16;

#[cfg(feature = "files")]
use super::data_parallel::SharedStep;
use super::profile::{OpCost, OpTime, Timing};
use super::program::Program;
use super::values::Values;
use crate::error::{Error, Result};
use crate::graph::plan::{Call, Place, Plan};
use crate::graph::{Cost, DType, Form, Graph, HISTORY, OTHER_GRAPH, Slab, Tensor, Var};
use crate::numeric::random::Clock;

/// A graph compiled for a device.
#[derive(Debug)]
pub struct Run {
    graph: Graph,
    places: Vec<Option<Place>>,
    pub(super) program: Program,
    pub(super) clock: Clock,
    /// What several processes do in a step that they share.
    #[cfg(feature = "files")]
    pub(super) shared: SharedStep,
    /// The step at which the recorded histories of scalars start.
    history_start: u32,
    pub(super) first_row: usize,
    calls: Vec<OpCost>,
    bytes: usize,
    /// The guard elements of a guarded program, which no kernel may write.
    guards: Vec<(Place, DType)>,
}

/// The bits of guard elements: a NaN, so that a kernel that reads beside a tensor computes NaN, with a payload that
/// no kernel writes.
const SENTINEL: u32 = 0x7fc5_a17e;

/// The bits of guard elements, as they are read.
fn guard_bits(dtype: DType) -> u32 {
    match dtype {
        DType::F16 => f16::from_f32(f32::from_bits(SENTINEL)).to_f32().to_bits(),
        DType::F32 | DType::U32 => SENTINEL,
    }
}

impl Run {
    pub(crate) fn new(graph: Graph, plan: &Plan, program: Program) -> Self {
        let (places, bytes) = (plan.places.clone(), plan.bytes());
        let mut times = vec![0; plan.calls.len()];
        plan.passes.iter().flat_map(|pass| pass.calls.clone()).for_each(|call| times[call] += 1);
        let cost = |(call, &times): (&Call, &u64)| OpCost::new(&*call.node.op, &call.specs, times);
        let calls = plan.calls.iter().zip(&times).map(cost).collect();
        Self {
            graph,
            places,
            program,
            #[cfg(feature = "files")]
            shared: SharedStep::default(),
            clock: Clock { seed: 0, step: 0 },
            history_start: 0,
            first_row: 0,
            calls,
            bytes,
            guards: Vec::new(),
        }
    }

    #[cfg(feature = "files")]
    pub(super) fn with_shared(self, shared: SharedStep) -> Self {
        Self { shared, ..self }
    }

    /// Sets the seed of the random numbers (0 by default).
    pub fn seed(&mut self, seed: u64) {
        self.clock.seed = seed;
    }

    /// The number of the next step, counted from 0.
    pub fn step(&self) -> u32 {
        self.clock.step
    }

    /// Continues at another step, which determines random numbers, data order and learning rate. The histories of
    /// scalars are reset.
    pub fn set_step(&mut self, step: u32) {
        (self.clock.step, self.history_start) = (step, step);
    }

    /// Sets the index of the sample in row 0 of the batch, when a larger set is processed in several batches. Random
    /// numbers depend on the index of a sample in the set, and therefore not on the batch size. It is 0 in a program that
    /// selects its batches itself ([`Data::batch`](crate::graph::Data::batch)), such as a training step: rows beyond the
    /// batch repeat its last row there.
    pub fn set_first_row(&mut self, row: usize) {
        self.first_row = row;
    }

    /// The number of dispatches per step.
    pub fn dispatches(&self) -> usize {
        self.calls.iter().map(|call| call.times as usize).sum()
    }

    /// The minimum cost of each dispatch of a step, with one entry for a dispatch that is repeated for each
    /// micro-batch.
    pub fn costs(&self) -> &[OpCost] {
        &self.calls
    }

    /// The arithmetic and the minimum memory traffic of a step.
    pub fn cost(&self) -> Cost {
        self.calls.iter().map(|c| c.cost).sum()
    }

    /// The planned device memory of all buffers, in bytes. On the reference, floats take twice as many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes that the executor allocated for buffers.
    pub fn allocated(&self) -> u64 {
        self.program.allocated()
    }

    /// The compiled graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Writes a named f32 tensor: a data set, a state or a parameter.
    ///
    /// # Errors
    /// If there is no such tensor, or its length differs.
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let vars = self.graph.vars_named(name)?.to_vec();
        let total: usize = vars.iter().map(|&v| self.graph.spec(v).len()).sum();
        self.expect(name, &vars, DType::F32, total, values.len())?;
        self.write_from(name, 0, values)
    }

    /// Writes a part of a named f32 tensor: the elements from `first` on.
    ///
    /// # Errors
    /// If there is no such tensor, or the values exceed its length.
    pub fn write_from(&mut self, name: &str, first: usize, values: &[f32]) -> Result<()> {
        let parts = self.parts(name, first, values.len())?;
        parts.into_iter().try_for_each(|(place, range)| self.program.write(place, &values[range]))
    }

    /// Fills `len` elements of a named f32 tensor from `first` on, on all cores: `fill` is called with the index, counted from
    /// `first`, and the memory of each piece of `size` elements.
    ///
    /// # Errors
    /// As [`Run::write_from`].
    #[cfg(feature = "files")]
    pub(crate) fn fill_from(
        &mut self,
        name: &str,
        [first, len]: [usize; 2],
        size: usize,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<()> {
        let parts = self.parts(name, first, len)?;
        parts.into_iter().try_for_each(|(place, range)| {
            self.program.fill(
                place,
                size,
                #[inline(always)]
                |at, piece| fill(range.start + at, piece),
            )
        })
    }

    /// Where the elements of a named f32 tensor from `first` on are, and which of `len` they are.
    fn parts(&self, name: &str, first: usize, len: usize) -> Result<Vec<(Place, Range<usize>)>> {
        let vars = self.graph.vars_named(name)?;
        let total: usize = vars.iter().map(|&v| self.graph.spec(v).len()).sum();
        let end = first.saturating_add(len);
        self.expect(name, vars, DType::F32, total, end.max(total))?;
        let (mut start, mut parts) = (0, Vec::new());
        for &var in vars {
            let place = self.place(var)?;
            let (from, to) = (first.max(start), end.min(start + place.len));
            if from < to {
                let part = Place { offset: place.offset + from - start, len: to - from, ..place };
                parts.push((part, from - first..to - first));
            }
            start += place.len;
        }
        Ok(parts)
    }

    /// Writes a named u32 tensor.
    ///
    /// # Errors
    /// If there is no such tensor, or its length or element type differs.
    pub fn write_u32(&mut self, name: &str, values: &[u32]) -> Result<()> {
        let vars = self.graph.vars_named(name)?.to_vec();
        self.expect(name, &vars, DType::U32, self.graph.spec(vars[0]).len(), values.len())?;
        self.program.write_u32(self.place(vars[0])?, values)
    }

    /// Writes a whole slab, in the layout of [`Run::read_slab`].
    ///
    /// # Errors
    /// If the program has no such slab, or its length differs.
    pub fn write_slab(&mut self, slab: Slab, values: &[f32]) -> Result<()> {
        let var = self.slab_var(slab)?;
        self.expect(slab.name(), &[var], DType::F32, self.graph.spec(var).len(), values.len())?;
        self.program.write(self.place(var)?, values)
    }

    /// Fills a tensor with NaN (all bits set for integers), to detect elements that are never written.
    pub(crate) fn poison(&mut self, var: Var) -> Result<()> {
        let (place, integers) = (self.place(var)?, self.graph.spec(var).dtype == DType::U32);
        match integers {
            true => self.program.write_u32(place, &vec![u32::MAX; place.len]),
            false => self.program.write(place, &vec![f32::NAN; place.len]),
        }
    }

    /// Fills the guard elements, which no kernel may read or write.
    pub(crate) fn set_guards(&mut self, guards: Vec<(Place, DType)>) -> Result<()> {
        self.guards = guards;
        for &(place, dtype) in &self.guards {
            match dtype {
                DType::U32 => self.program.write_u32(place, &vec![SENTINEL; place.len])?,
                DType::F32 | DType::F16 => self.program.write(place, &vec![f32::from_bits(SENTINEL); place.len])?,
            }
        }
        Ok(())
    }

    /// The number of guards: ranges of elements around the tensors of a guarded program that no kernel may write.
    #[doc(hidden)]
    pub fn guards(&self) -> usize {
        self.guards.len()
    }

    /// Overwrites the element of guard `i` that is adjacent to a tensor, to test [`Run::check_guards`].
    #[doc(hidden)]
    pub fn damage_guard(&mut self, i: usize) -> Result<()> {
        let (mut place, _) = self.guards[i];
        // The last element before the tensors of a buffer, or the first after them.
        (place.offset, place.len) = (if place.offset == 0 { place.len - 1 } else { place.offset }, 1);
        self.program.write(place, &[7.0])
    }

    /// Checks that no kernel wrote outside the tensors of a guarded program.
    ///
    /// # Errors
    /// [`Error::Shader`] if a guard was overwritten.
    #[doc(hidden)]
    pub fn check_guards(&self) -> Result<()> {
        for &(place, dtype) in &self.guards {
            let held = pollster::block_on(self.program.read(place, dtype == DType::U32))?;
            let intact = match &held {
                Values::F32(v) => v.iter().all(|v| v.to_bits() == guard_bits(dtype)),
                Values::F64(v) => v.iter().all(|v| v.is_nan()),
                Values::U32(v) => v.iter().all(|v| *v == SENTINEL),
            };
            if !intact {
                return Err(Error::Shader(format!("a kernel wrote outside its tensors: {held:?}")));
            }
        }
        Ok(())
    }

    /// Writes a tensor; the reference stores the values without rounding.
    pub(crate) fn write_f64(&mut self, var: Var, values: &[f64]) -> Result<()> {
        let place = self.place(var)?;
        match &mut self.program {
            Program::Reference(p) => p.write_f64(place, values),
            _ => self.program.write(place, &values.iter().map(|&v| v as f32).collect::<Vec<_>>())?,
        }
        Ok(())
    }

    fn expect(&self, name: &str, vars: &[Var], dtype: DType, want: usize, got: usize) -> Result<()> {
        let spec = self.graph.spec(vars[0]);
        if (spec.dtype == DType::U32) != (dtype == DType::U32) {
            return Err(Error::shape(name, format!("holds {spec}, which differs from the element type of the values")));
        }
        if want != got {
            return Err(Error::shape(name, format!("holds {want} elements, got {got}")));
        }
        Ok(())
    }

    pub(super) fn slab_var(&self, slab: Slab) -> Result<Var> {
        let missing = || Error::setting(format!("the program has no {}", slab.name()));
        self.graph.slab_if_used(slab).ok_or_else(missing)
    }

    pub(super) fn place(&self, var: Var) -> Result<Place> {
        let tensor = self.tensor(var)?;
        self.places[self.graph.root(var).index()]
            .ok_or_else(|| Error::setting(format!("{} is not part of the compiled program", tensor.name)))
    }

    /// The tensor of a handle of the compiled graph.
    fn tensor(&self, var: Var) -> Result<&Tensor> {
        self.graph.tensors.get(var).ok_or_else(|| Error::setting(OTHER_GRAPH))
    }

    /// Runs `n` steps without any transfer between host and device. On a GPU, the last steps may still be in flight on
    /// return.
    ///
    /// # Errors
    /// Only [`Error::DeviceLost`].
    pub fn steps(&mut self, n: u32) -> Result<()> {
        self.program.steps(self.clock, self.first_row, n)?;
        self.clock.step += n;
        Ok(())
    }

    /// Runs `n` steps and returns the average time per step of each entry of [`Run::costs`], on a GPU measured with
    /// timestamp queries.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the adapter does not support timestamp queries, [`Error::DeviceLost`].
    pub fn profile(&mut self, n: u32) -> Result<Vec<OpTime>> {
        let times = self.program.profile(self.clock, self.first_row, n)?;
        self.clock.step += n;
        Ok(self
            .calls
            .iter()
            .cloned()
            .zip(times)
            .map(|(of, Timing { time, longest })| OpTime { of, time, longest })
            .collect())
    }

    /// Waits for all steps to complete.
    ///
    /// # Errors
    /// Only [`Error::DeviceLost`].
    pub fn finish(&mut self) -> Result<()> {
        self.program.finish()
    }

    /// Reads a tensor that is persistent, or was passed to [`Graph::keep`].
    ///
    /// # Errors
    /// If the memory of the tensor is reused within a step, so that its values are not available; if it is not a
    /// tensor of the compiled graph; [`Error::DeviceLost`].
    pub async fn read_async(&self, var: Var) -> Result<Values> {
        let t = self.tensor(var)?;
        if self.graph.is_transient(var) {
            return Err(Error::setting(format!("{} is not kept: call `graph.keep` before compiling", t.name)));
        }
        self.program.read(self.place(var)?, t.spec.dtype == DType::U32).await
    }

    /// [`Run::read_async`], blocking, as f32.
    ///
    /// # Errors
    /// Those of [`Run::read_async`].
    pub fn read(&self, var: Var) -> Result<Vec<f32>> {
        Ok(pollster::block_on(self.read_async(var))?.f32s())
    }

    /// [`Run::read_async`], blocking, as f64 without rounding.
    ///
    /// # Errors
    /// Those of [`Run::read_async`].
    pub fn read_f64(&self, var: Var) -> Result<Vec<f64>> {
        Ok(pollster::block_on(self.read_async(var))?.f64s())
    }

    /// [`Run::read_async`] of a u32 tensor, blocking.
    ///
    /// # Errors
    /// Those of [`Run::read_async`]; [`Error::Setting`] if the tensor holds floats.
    pub fn read_u32(&self, var: Var) -> Result<Vec<u32>> {
        match pollster::block_on(self.read_async(var))? {
            Values::U32(values) => Ok(values),
            _ => Err(Error::setting("the tensor holds floats; use `read`")),
        }
    }

    /// Reads a whole slab.
    ///
    /// # Errors
    /// If the program has no such slab; [`Error::DeviceLost`].
    pub fn read_slab(&self, slab: Slab) -> Result<Vec<f32>> {
        self.read(self.slab_var(slab)?)
    }

    /// Reads the part of `slab` that belongs to a parameter, in row-major order of its shape.
    ///
    /// # Errors
    /// If there is no such parameter or slab; [`Error::DeviceLost`].
    pub fn read_parameter(&self, slab: Slab, name: &str) -> Result<Vec<f64>> {
        let p = self.graph.parameters().iter().find(|p| p.name == name);
        let p = p.ok_or_else(|| Error::setting(format!("no parameter {name:?}")))?;
        let whole = self.read_f64(self.slab_var(slab)?)?;
        Ok(whole[p.offset..p.offset + p.shape.iter().product::<usize>()].to_vec())
    }

    /// The value of a scalar at the last step.
    ///
    /// # Errors
    /// If no step ran since the program was compiled or set to another step.
    pub fn scalar(&self, scalar: Var) -> Result<f64> {
        Ok(self.history(scalar, 1)?[0])
    }

    /// The values of a scalar at the last `n` steps, oldest first; `n` is at most [`HISTORY`].
    ///
    /// # Errors
    /// If fewer steps ran since the program was compiled or set to another step.
    pub fn history(&self, scalar: Var, n: usize) -> Result<Vec<f64>> {
        let Tensor { name, spec, .. } = self.tensor(scalar)?;
        if spec.form != Form::History {
            return Err(Error::setting(format!("{name} is not a scalar with a history; use `read`")));
        }
        let (done, ran) = (self.clock.step as usize, (self.clock.step - self.history_start) as usize);
        if n > ran.min(HISTORY) {
            return Err(Error::setting(format!(
                "{name}: the last {n} values were requested, but the program ran {ran} steps since it was compiled or set to \
                 step {}, and keeps {HISTORY}",
                self.history_start
            )));
        }
        let ring = self.read_f64(scalar)?;
        Ok((done - n..done).map(|step| ring[step % HISTORY]).collect())
    }
}
