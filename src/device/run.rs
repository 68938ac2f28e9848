//! A compiled program: write, run steps, read.

use super::profile::{OpCost, OpTime};
use super::program::Program;
use super::values::Values;
use crate::error::{Error, Result};
use crate::graph::plan::{Call, Place, Plan};
use crate::graph::{Cost, DType, FOREIGN, Form, Graph, HISTORY, Slab, Tensor, Var};
use crate::numeric::random::Clock;

/// A graph compiled for a device.
#[derive(Debug)]
pub struct Run {
    graph: Graph,
    places: Vec<Option<Place>>,
    program: Program,
    clock: Clock,
    /// The step from which on the histories of scalars are this program's.
    began: u32,
    first_row: usize,
    calls: Vec<OpCost>,
    elements: usize,
    /// Elements that no kernel should write, in a guarded program.
    guards: Vec<(Place, DType)>,
}

/// What guards hold.
const SENTINEL: f32 = -1.234e-30;

impl Run {
    pub(crate) fn new(graph: Graph, plan: &Plan, program: Program) -> Self {
        let (places, elements) = (plan.places.clone(), plan.elements());
        let mut times = vec![0; plan.calls.len()];
        plan.passes.iter().flat_map(|pass| pass.calls.clone()).for_each(|call| times[call] += 1);
        let cost = |(call, &times): (&Call, &u64)| OpCost::new(&*call.node.op, &call.specs, times);
        let calls = plan.calls.iter().zip(&times).map(cost).collect();
        Self {
            graph,
            places,
            program,
            clock: Clock { seed: 0, step: 0 },
            began: 0,
            first_row: 0,
            calls,
            elements,
            guards: Vec::new(),
        }
    }

    /// Chooses the random numbers of the run (0 by default).
    pub fn seed(&mut self, seed: u64) {
        self.clock.seed = seed;
    }

    /// The next step's number, counted from 0.
    pub fn step(&self) -> u32 {
        self.clock.step
    }

    /// Continues at another step: random numbers, data order and learning rate all follow from it. The histories of scalars
    /// begin anew.
    pub fn set_step(&mut self, step: u32) {
        (self.clock.step, self.began) = (step, step);
    }

    /// The sample of a larger set that row 0 of the program's batches is: random numbers are drawn for the samples of the
    /// set, so that they do not depend on how it is cut into batches.
    pub fn set_first_row(&mut self, row: usize) {
        self.first_row = row;
    }

    /// Dispatches in one step.
    pub fn dispatches(&self) -> usize {
        self.calls.iter().map(|call| call.times as usize).sum()
    }

    /// What the dispatches of a step cost at least: one entry for those that repeat for the parts of a batch.
    pub fn costs(&self) -> &[OpCost] {
        &self.calls
    }

    /// Arithmetic and least memory traffic of a step.
    pub fn cost(&self) -> Cost {
        self.calls.iter().map(|c| c.cost).sum()
    }

    /// Bytes of device memory in all buffers, as planned.
    pub fn bytes(&self) -> usize {
        4 * self.elements
    }

    /// Bytes in the buffers that the executor made.
    pub fn allocated(&self) -> u64 {
        self.program.allocated()
    }

    /// The program's graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Fills a named f32 tensor: a data set, a state or a parameter.
    ///
    /// # Errors
    /// When there is no such tensor or the length differs.
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let vars = self.graph.vars_named(name)?.to_vec();
        let total: usize = vars.iter().map(|&v| self.graph.spec(v).len()).sum();
        self.expect(name, &vars, DType::F32, total, values.len())?;
        self.write_from(name, 0, values)
    }

    /// Fills a part of a named f32 tensor: its elements from `first` on.
    ///
    /// # Errors
    /// When there is no such tensor, or the values go beyond its end.
    pub fn write_from(&mut self, name: &str, first: usize, values: &[f32]) -> Result<()> {
        let vars = self.graph.vars_named(name)?.to_vec();
        let total: usize = vars.iter().map(|&v| self.graph.spec(v).len()).sum();
        let end = first.saturating_add(values.len());
        self.expect(name, &vars, DType::F32, total, end.max(total))?;
        let mut start = 0;
        for var in vars {
            let place = self.place(var)?;
            let (from, to) = (first.max(start), end.min(start + place.len));
            if from < to {
                let part = Place { offset: place.offset + from - start, len: to - from, ..place };
                self.program.write(part, &values[from - first..to - first])?;
            }
            start += place.len;
        }
        Ok(())
    }

    /// Fills a named u32 tensor.
    pub fn write_u32(&mut self, name: &str, values: &[u32]) -> Result<()> {
        let vars = self.graph.vars_named(name)?.to_vec();
        self.expect(name, &vars, DType::U32, self.graph.spec(vars[0]).len(), values.len())?;
        self.program.write_u32(self.place(vars[0])?, values)
    }

    /// Fills a whole slab, as [`Run::read_slab`] gave it.
    pub fn write_slab(&mut self, slab: Slab, values: &[f32]) -> Result<()> {
        let var = self.slab_var(slab)?;
        self.expect(slab.name(), &[var], DType::F32, self.graph.spec(var).len(), values.len())?;
        self.program.write(self.place(var)?, values)
    }

    /// Fills a tensor with NaN (all bits set for integers), so that an element that is never written shows.
    pub(crate) fn poison(&mut self, var: Var) -> Result<()> {
        let (place, integers) = (self.place(var)?, self.graph.spec(var).dtype == DType::U32);
        match integers {
            true => self.program.write_u32(place, &vec![u32::MAX; place.len]),
            false => self.program.write(place, &vec![f32::NAN; place.len]),
        }
    }

    /// Fills elements that no kernel should write.
    pub(crate) fn set_guards(&mut self, guards: Vec<(Place, DType)>) -> Result<()> {
        self.guards = guards;
        for &(place, dtype) in &self.guards {
            match dtype {
                DType::F32 => self.program.write(place, &vec![SENTINEL; place.len])?,
                DType::U32 => self.program.write_u32(place, &vec![SENTINEL.to_bits(); place.len])?,
            }
        }
        Ok(())
    }

    /// How many runs of elements around the tensors of a guarded program no kernel should write.
    #[doc(hidden)]
    pub fn guards(&self) -> usize {
        self.guards.len()
    }

    /// Writes the element of guard `i` that is next to a tensor, for tests of [`Run::check_guards`].
    #[doc(hidden)]
    pub fn damage_guard(&mut self, i: usize) -> Result<()> {
        let (mut place, _) = self.guards[i];
        // The last element before the tensors of a buffer, or the first behind them.
        (place.offset, place.len) = (if place.offset == 0 { place.len - 1 } else { place.offset }, 1);
        self.program.write(place, &[7.0])
    }

    /// That nothing was written around the tensors of a guarded program.
    ///
    /// # Errors
    /// [`Error::Shader`] otherwise.
    #[doc(hidden)]
    pub fn check_guards(&self) -> Result<()> {
        for &(place, dtype) in &self.guards {
            let held = pollster::block_on(self.program.read(place, dtype == DType::U32))?;
            let intact = match &held {
                Values::F32(v) => v.iter().all(|v| v.to_bits() == SENTINEL.to_bits()),
                Values::F64(v) => v.iter().all(|v| *v == f64::from(SENTINEL)),
                Values::U32(v) => v.iter().all(|v| *v == SENTINEL.to_bits()),
            };
            if !intact {
                return Err(Error::Shader(format!("something was written beside a tensor: {held:?}")));
            }
        }
        Ok(())
    }

    /// Fills a tensor of the reference without rounding.
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
        if spec.dtype != dtype {
            return Err(Error::shape(name, format!("holds {spec}, which is another element type than was written")));
        }
        if want != got {
            return Err(Error::shape(name, format!("holds {want} elements, got {got}")));
        }
        Ok(())
    }

    fn slab_var(&self, slab: Slab) -> Result<Var> {
        let missing = || Error::setting(format!("the program has no {}", slab.name()));
        self.graph.slab_if_used(slab).ok_or_else(missing)
    }

    fn place(&self, var: Var) -> Result<Place> {
        let tensor = self.tensor(var)?;
        self.places[self.graph.root(var).index()]
            .ok_or_else(|| Error::setting(format!("{} is not part of the compiled program", tensor.name)))
    }

    /// What a handle of the compiled graph means.
    fn tensor(&self, var: Var) -> Result<&Tensor> {
        self.graph.tensors.get(var).ok_or_else(|| Error::setting(FOREIGN))
    }

    /// Runs `n` steps. Nothing is uploaded or read; on a GPU the last of them may still be in flight afterwards.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] only.
    pub fn steps(&mut self, n: u32) -> Result<()> {
        self.program.steps(self.clock, self.first_row, n)?;
        self.clock.step += n;
        Ok(())
    }

    /// Runs `n` steps and gives the time that each entry of [`Run::costs`] takes in a step, the mean of them: on a GPU by its timestamps.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the adapter offers no timestamp queries.
    pub fn profile(&mut self, n: u32) -> Result<Vec<OpTime>> {
        let times = self.program.profile(self.clock, n)?;
        self.clock.step += n;
        Ok(self.calls.iter().cloned().zip(times).map(|(of, time)| OpTime { of, time }).collect())
    }

    /// Waits until all steps are done.
    pub fn finish(&mut self) -> Result<()> {
        self.program.finish()
    }

    /// Reads a tensor: persistent, or kept by [`Graph::keep`].
    ///
    /// # Errors
    /// When the tensor's memory is shared with others, so that its values are gone.
    pub async fn read_async(&self, var: Var) -> Result<Values> {
        let t = self.tensor(var)?;
        if self.graph.is_transient(var) {
            return Err(Error::setting(format!("{} is not kept: call `graph.keep` before compiling", t.name)));
        }
        self.program.read(self.place(var)?, t.spec.dtype == DType::U32).await
    }

    /// [`Run::read_async`], waiting, as f32.
    pub fn read(&self, var: Var) -> Result<Vec<f32>> {
        Ok(pollster::block_on(self.read_async(var))?.f32s())
    }

    /// [`Run::read_async`], waiting, as f64 without rounding.
    pub fn read_f64(&self, var: Var) -> Result<Vec<f64>> {
        Ok(pollster::block_on(self.read_async(var))?.f64s())
    }

    /// Reads integers.
    pub fn read_u32(&self, var: Var) -> Result<Vec<u32>> {
        match pollster::block_on(self.read_async(var))? {
            Values::U32(values) => Ok(values),
            _ => Err(Error::setting("the tensor holds floats; use `read`")),
        }
    }

    /// Reads a whole slab.
    pub fn read_slab(&self, slab: Slab) -> Result<Vec<f32>> {
        self.read(self.slab_var(slab)?)
    }

    /// The values of one parameter in `slab`, in its own shape.
    pub fn read_parameter(&self, slab: Slab, name: &str) -> Result<Vec<f64>> {
        let p = self.graph.parameters().iter().find(|p| p.name == name);
        let p = p.ok_or_else(|| Error::setting(format!("no parameter {name:?}")))?;
        let whole = self.read_f64(self.slab_var(slab)?)?;
        Ok(whole[p.offset..p.offset + p.shape.iter().product::<usize>()].to_vec())
    }

    /// The value of a scalar at the last step.
    ///
    /// # Errors
    /// When no step ran since the program was compiled or set to another step.
    pub fn scalar(&self, scalar: Var) -> Result<f64> {
        Ok(self.history(scalar, 1)?[0])
    }

    /// The values of a scalar at the last `n` steps, oldest first; `n` is at most [`HISTORY`].
    ///
    /// # Errors
    /// When fewer steps ran since the program was compiled or set to another step.
    pub fn history(&self, scalar: Var, n: usize) -> Result<Vec<f64>> {
        let Tensor { name, spec, .. } = self.tensor(scalar)?;
        if spec.form != Form::History {
            return Err(Error::setting(format!("{name} is no scalar of each step; use `read`")));
        }
        let (done, ran) = (self.clock.step as usize, (self.clock.step - self.began) as usize);
        if n > ran.min(HISTORY) {
            return Err(Error::setting(format!(
                "{name}: the last {n} values were asked for, and this program ran {ran} steps since it was compiled or set to \
                 step {}; {HISTORY} are kept",
                self.began
            )));
        }
        let ring = self.read_f64(scalar)?;
        Ok((done - n..done).map(|step| ring[step % HISTORY]).collect())
    }
}
