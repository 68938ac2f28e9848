//! The executors of a plan: a GPU through wgpu, and the CPU in f32 or f64.

use super::cpu::CpuProgram;
use super::gpu::program::GpuProgram;
use super::profile::Timing;
use super::values::Values;
use crate::error::Result;
#[cfg(feature = "files")]
use crate::graph::plan::Pass;
use crate::graph::plan::Place;
use crate::numeric::random::Clock;
#[cfg(feature = "files")]
use crate::parallel;

/// A compiled program on one device.
#[derive(Debug)]
pub(crate) enum Program {
    Gpu(GpuProgram),
    Cpu(CpuProgram<f32>),
    Reference(CpuProgram<f64>),
}

impl Program {
    /// The allocated bytes.
    pub fn allocated(&self) -> u64 {
        match self {
            Program::Gpu(p) => p.allocated(),
            Program::Cpu(p) => p.allocated(),
            Program::Reference(p) => p.allocated(),
        }
    }

    pub fn write(&mut self, place: Place, values: &[f32]) -> Result<()> {
        match self {
            Program::Gpu(p) => p.write_floats(place, values)?,
            Program::Cpu(p) => p.write(place, values),
            Program::Reference(p) => p.write(place, values),
        }
        Ok(())
    }

    /// Fills a tensor in pieces of `size` values, on all cores.
    #[cfg(feature = "files")]
    pub fn fill(&mut self, place: Place, size: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Result<()> {
        let fill = |all: &mut [f32]| {
            parallel::pieces(
                parallel::cut(all, size),
                #[inline(always)]
                |i, piece| fill(i * size, piece),
            );
        };
        if let Program::Cpu(p) = self {
            fill(p.floats(place));
            return Ok(());
        }
        let mut values = vec![0.0; place.len];
        fill(&mut values);
        self.write(place, &values)
    }

    pub fn write_u32(&mut self, place: Place, values: &[u32]) -> Result<()> {
        match self {
            Program::Gpu(p) => p.write(place, bytemuck::cast_slice(values))?,
            Program::Cpu(p) => p.write_u32(place, values),
            Program::Reference(p) => p.write_u32(place, values),
        }
        Ok(())
    }

    pub async fn read(&self, place: Place, integers: bool) -> Result<Values> {
        match self {
            Program::Gpu(p) => {
                let bytes = p.read(place).await?;
                Ok(match integers {
                    true => Values::U32(bytemuck::pod_collect_to_vec(&bytes)),
                    false => Values::F32(p.floats(place, &bytes)),
                })
            }
            Program::Cpu(p) => Ok(p.read(place)),
            Program::Reference(p) => Ok(p.read(place)),
        }
    }

    /// Runs steps `first .. first + count` on the rows from `row` on; on a GPU some may still be in flight on return.
    pub fn steps(&mut self, first: Clock, row: usize, count: u32) -> Result<()> {
        match self {
            Program::Gpu(p) => p.steps(first, row, count),
            Program::Cpu(p) => each(first, count, |clock| p.step(clock, row)),
            Program::Reference(p) => each(first, count, |clock| p.step(clock, row)),
        }
    }

    /// Calls `f` with the values of a tensor, which are not copied on the CPU executor.
    #[cfg(feature = "files")]
    pub fn look<T>(&mut self, place: Place, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
        match self {
            Program::Cpu(p) => f(p.floats(place)),
            _ => f(&pollster::block_on(self.read(place, false))?.f32s()),
        }
    }

    /// Lets `f` write all values of a tensor, in place on the CPU executor.
    #[cfg(feature = "files")]
    pub fn overwrite(&mut self, place: Place, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
        if let Program::Cpu(p) = self {
            return f(p.floats(place));
        }
        let mut values = vec![0.0; place.len];
        f(&mut values)?;
        self.write(place, &values)
    }

    /// Copies the tensor `own` to element `start` of the tensor `whole`, which may contain it, and lets `f` write the other elements.
    #[cfg(feature = "files")]
    pub fn complete(
        &mut self,
        whole: Place,
        own: Place,
        start: usize,
        f: impl FnOnce(&mut [f32]) -> Result<()>,
    ) -> Result<()> {
        if let (Program::Cpu(p), true) = (&mut *self, whole.offset + start == own.offset) {
            return f(p.floats(whole));
        }
        let own = self.look(own, |own| Ok(own.to_vec()))?;
        self.overwrite(whole, |all| {
            all[start..start + own.len()].copy_from_slice(&own);
            f(all)
        })
    }

    /// Runs one pass of a step.
    #[cfg(feature = "files")]
    pub fn pass(&mut self, clock: Clock, row: usize, pass: &Pass) -> Result<()> {
        match self {
            Program::Gpu(p) => p.pass(clock, row, pass)?,
            Program::Cpu(p) => p.pass(clock, row, pass),
            Program::Reference(p) => p.pass(clock, row, pass),
        }
        Ok(())
    }

    /// Runs `n` steps on the rows from `row` on, and returns the times of each dispatch.
    pub fn profile(&mut self, first: Clock, row: usize, n: u32) -> Result<Vec<Timing>> {
        match self {
            Program::Gpu(p) => p.profile(first, row, n),
            Program::Cpu(p) => Ok(p.profile(first, row, n)),
            Program::Reference(p) => Ok(p.profile(first, row, n)),
        }
    }

    /// Waits for all submitted work.
    pub fn finish(&mut self) -> Result<()> {
        match self {
            Program::Gpu(p) => p.finish(),
            _ => Ok(()),
        }
    }
}

fn each(first: Clock, count: u32, mut step: impl FnMut(Clock) -> Result<()>) -> Result<()> {
    (0..count).try_for_each(|i| step(Clock { step: first.step + i, ..first }))
}
