//! The parameters of a graph, and their slabs.

use super::{Graph, Init, Parameter, Slab, Spec, Storage, Var};
use crate::error::{Error, Result};
use crate::numeric::random::Draw;

/// Parameters start at multiples of 256 bytes, a binding offset that every adapter supports.
pub(super) const ALIGN: usize = 64;

/// The maximum number of parameters of a network: with gradients and moments they take 16 GB.
const MAX_PARAMETERS: usize = 1_000_000_000;

impl Graph {
    /// Adds a trainable tensor with its initial values.
    ///
    /// # Errors
    /// If the name is taken, the number of values differs from the number of elements, or the optimizer was added
    /// before.
    pub fn parameter(&mut self, name: &str, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Var> {
        let spec = Spec::f32(shape);
        self.check_len(name, &spec, values.len())?;
        self.add_parameter(name, spec, Init::F32(values.into()))
    }

    /// [`Graph::parameter`] with random initial values, which are generated when the graph is compiled.
    ///
    /// # Errors
    /// Those of [`Graph::parameter`], and if the network becomes too large.
    pub(crate) fn drawn_parameter(&mut self, name: &str, shape: impl Into<Vec<usize>>, draw: Draw) -> Result<Var> {
        self.add_parameter(name, Spec::f32(shape), Init::Drawn(draw))
    }

    fn add_parameter(&mut self, name: &str, spec: Spec, init: Init) -> Result<Var> {
        if self.optimized {
            return Err(Error::setting(format!("parameter {name:?} must be added before `minimize`")));
        }
        let slab = self.slab(Slab::Params);
        let offset = self.tensors[slab].spec.shape[0].next_multiple_of(ALIGN);
        let shape = spec.shape.clone();
        let len = shape.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim)).unwrap_or(usize::MAX);
        if len > MAX_PARAMETERS - offset.min(MAX_PARAMETERS) {
            return Err(Error::setting(format!(
                "with {name} {shape:?} the network has more than {MAX_PARAMETERS:.0e} parameters, which take {:.0} GB to \
                 train; make the network smaller",
                MAX_PARAMETERS as f64 * 16e-9
            )));
        }
        let var = self.named(name, spec, Storage::Part { of: slab, offset }, init)?;
        let scope = self.scope.clone();
        self.parameters.push(Parameter { name: format!("{scope}{name}"), scope, shape, var, offset });
        for &slab in self.slabs.values() {
            self.tensors[slab].spec.shape[0] = (offset + len).next_multiple_of(ALIGN);
        }
        Ok(var)
    }

    /// The tensor that contains the values, gradients or moments of all parameters; adds it on first use.
    pub fn slab(&mut self, slab: Slab) -> Var {
        if let Some(&var) = self.slabs.get(&slab) {
            return var;
        }
        let len = self.slabs.get(&Slab::Params).map_or(0, |v| self.tensors[*v].spec.shape[0]);
        let var = self.tensor(slab.name().to_string(), Spec::f32([len]), Storage::State, Init::Zero);
        self.tensors[var].fixed = true;
        self.slabs.insert(slab, var);
        var
    }

    /// The tensor of a slab, if the graph has it.
    pub fn slab_if_used(&self, slab: Slab) -> Option<Var> {
        self.slabs.get(&slab).copied()
    }

    /// All parameters, in the order in which they were added.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The number of elements of all parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// The handle of a parameter, by name.
    pub fn find_parameter(&self, name: &str) -> Option<Var> {
        self.parameters.iter().find(|p| p.name == name).map(|p| p.var)
    }

    /// Adds the slab of the moving average, which starts with the initial values of the parameters.
    pub(crate) fn start_ema(&mut self) -> Var {
        let slab = self.slab(Slab::Ema);
        self.tensors[slab].init = Init::Parameters;
        slab
    }

    /// Whether the graph has an optimizer.
    pub(crate) fn is_optimized(&self) -> bool {
        self.optimized
    }

    pub(crate) fn mark_optimized(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.optimized, true) {
            return Err(Error::setting("the graph already has an optimizer; call `minimize` once"));
        }
        Ok(())
    }
}
