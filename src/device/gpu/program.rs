//! A compiled plan on an adapter: buffers, and dispatches that are created once and encoded in each step.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_intrusive::channel::shared::oneshot_channel;

use super::autotune::Autotune;
use super::buffer::Buffer;
use super::pace::{Load, Pace};
use super::position::{MAX_POSITIONS, Position, Words};
use super::stopwatch::Stopwatch;
use super::timestamps::Timestamps;
use super::{Gpu, Pipeline};
use crate::device::profile::Timing;
use crate::error::{Error, Result};
use crate::graph::Init;
use crate::graph::plan::{Call, Pass, Place, Plan};
use crate::kernel::{Kernel, MAX_GROUPS, Target, grid};
use crate::numeric::random::Clock;

/// The maximum number of submissions in flight.
const IN_FLIGHT: usize = 3;
/// The maximum size of one upload.
const UPLOAD: usize = 16 << 20;
/// The size of uploads after which to wait for the device, so that it frees its staging buffers.
const MAX_STAGED: usize = 64 << 20;
/// The intended time of a kernel measurement for autotuning.
const TIMING: Duration = Duration::from_millis(4);

#[derive(Debug)]
struct Dispatch {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    /// The number of workgroups, which can be divided among several dispatches.
    groups: usize,
}

/// A dispatch of a submission, or a part of one.
#[derive(Clone, Copy, Debug)]
struct Piece {
    call: usize,
    groups: usize,
    /// The index of its position.
    slot: usize,
}

/// The work that is not submitted yet.
#[derive(Debug, Default)]
struct Pending {
    pieces: Vec<Piece>,
    positions: Vec<Words>,
    load: Load,
}

impl Dispatch {
    /// Encodes some of its workgroups at the position `words`, which is in slot `slot`.
    fn encode(
        &self,
        groups: usize,
        encoding: &mut wgpu::ComputePass,
        position: &Position,
        (slot, words): (usize, &Words),
    ) {
        encoding.set_pipeline(&self.pipeline.pipeline);
        encoding.set_bind_group(0, &self.bind_group, &[]);
        position.set(encoding, slot, words);
        let [x, y] = grid(groups);
        encoding.dispatch_workgroups(x, y, 1);
    }

    /// Measures the time of one dispatch, from a submission of many.
    fn time(&self, gpu: &Gpu) -> Result<Duration> {
        let position = Position::new(gpu);
        let run = |count: u32| -> Result<Duration> {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            (0..count).for_each(|_| self.encode(self.groups, &mut pass, &position, (0, &Words::default())));
            drop(pass);
            let commands = encoder.finish();
            let started = Stopwatch::start();
            gpu.wait(gpu.queue.submit([commands]))?;
            Ok(started.elapsed())
        };
        // Some drivers compile the pipeline at the first dispatch.
        run(1)?;
        let mut count = 1;
        loop {
            let time = run(count)?;
            if time >= TIMING || count >= 4096 {
                return Ok(time / count);
            }
            count *= 4;
        }
    }
}

impl Pending {
    fn add(&mut self, call: usize, groups: usize, position: Words, seconds: f64) {
        if self.positions.last() != Some(&position) {
            self.positions.push(position);
        }
        self.pieces.push(Piece { call, groups, slot: self.positions.len() - 1 });
        self.load.add(call, seconds);
    }
}

/// A compiled plan on an adapter.
#[derive(Debug)]
pub(crate) struct GpuProgram {
    gpu: Arc<Gpu>,
    buffers: Vec<Buffer>,
    dispatches: Vec<Dispatch>,
    position: Position,
    /// The passes of a step.
    passes: Vec<Pass>,
    /// Submissions in flight, with what they do.
    in_flight: VecDeque<(wgpu::SubmissionIndex, Load)>,
    pending: Pending,
    pace: Pace,
    /// The time since the last submission was completed.
    since: Stopwatch,
    staging: Mutex<Option<wgpu::Buffer>>,
    /// The bytes written since the last wait for uploads.
    staged: usize,
}

impl GpuProgram {
    pub async fn new(gpu: Arc<Gpu>, plan: &Plan) -> Result<Self> {
        // Whatever fails on a lost device fails because of the loss.
        Self::build(gpu.clone(), plan).await.map_err(|e| gpu.check().err().unwrap_or(e))
    }

    async fn build(gpu: Arc<Gpu>, plan: &Plan) -> Result<Self> {
        let mut buffers = Vec::new();
        for planned in &plan.buffers {
            buffers.push(Buffer { buffer: gpu.buffer(planned).await?, dtype: planned.dtype });
        }
        let kernels = kernels(&gpu, &buffers, plan)?;
        let trusted = plan.calls.iter().map(|call| call.node.trusted);
        let pipelines = gpu.pipelines(&kernels.iter().zip(trusted).collect::<Vec<_>>()).await?;
        if let Some(driver_cache) = &gpu.driver_cache {
            driver_cache.save(&gpu.cache);
        }
        let mut dispatches = Vec::new();
        for (call, (kernel, pipeline)) in plan.calls.iter().zip(kernels.iter().zip(pipelines)) {
            dispatches.push(dispatch(&gpu, &buffers, call, kernel, pipeline).await?);
        }
        let mut program = Self {
            position: Position::new(&gpu),
            gpu,
            buffers,
            dispatches,
            passes: plan.passes.clone(),
            in_flight: VecDeque::new(),
            pending: Pending::default(),
            pace: Pace::new(plan.calls.iter().map(|call| call.node.op.cost(&call.specs))),
            since: Stopwatch::start(),
            staging: Mutex::default(),
            staged: 0,
        };
        for (place, init) in &plan.inits {
            match init {
                Init::Zero | Init::Parameters => {}
                Init::Drawn(draw) => program.write_floats(*place, &draw.values(place.len))?,
                Init::F32(values) => program.write_floats(*place, values)?,
                Init::U32(values) => program.write(*place, bytemuck::cast_slice(values))?,
            }
        }
        Ok(program)
    }

    /// The allocated bytes.
    pub fn allocated(&self) -> u64 {
        self.buffers.iter().map(|b| b.buffer.size()).sum()
    }

    /// Writes floats, rounded to the element type of the buffer.
    pub fn write_floats(&mut self, place: Place, values: &[f32]) -> Result<()> {
        let bytes = self.buffers[place.buffer].of_floats(values);
        self.write(place, &bytes)
    }

    /// The floats of [`GpuProgram::read`].
    pub fn floats(&self, place: Place, bytes: &[u8]) -> Vec<f32> {
        self.buffers[place.buffer].floats(place, bytes)
    }

    pub fn write(&mut self, place: Place, bytes: &[u8]) -> Result<()> {
        let Buffer { buffer, .. } = &self.buffers[place.buffer];
        let (start, _) = self.buffers[place.buffer].bytes(place);
        // In pieces, because each write allocates a staging buffer of its size, which is freed after a submission.
        for (i, piece) in bytes.chunks(UPLOAD).enumerate() {
            self.gpu.queue.write_buffer(buffer, start + (i * UPLOAD) as u64, piece);
            self.staged += piece.len();
            if self.staged >= MAX_STAGED {
                self.gpu.wait(self.gpu.queue.submit([]))?;
                self.staged = 0;
            }
        }
        self.gpu.check()
    }

    pub async fn read(&self, place: Place) -> Result<Vec<u8>> {
        let planned = &self.buffers[place.buffer];
        let (start, bytes) = planned.bytes(place);
        let staging = self.staging.lock().unwrap_or_else(|e| e.into_inner()).take();
        let staging = match staging.filter(|b| b.size() >= bytes) {
            Some(buffer) => buffer,
            None => self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("langevin.staging"),
                size: bytes.next_power_of_two().max(4096),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }),
        };
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&planned.buffer, start, &staging, 0, bytes);
        let (sender, receiver) = oneshot_channel();
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, 0..bytes, move |r| drop(sender.send(r)));
        let submission = self.gpu.queue.submit([encoder.finish()]);
        // `wait` runs the callback; in a browser, the event loop does.
        self.gpu.wait(submission)?;
        let lost = || Error::DeviceLost(format!("{}: a read did not complete", self.gpu.info.name));
        receiver.receive().await.ok_or_else(lost)?.map_err(|_| lost())?;
        let data = staging.get_mapped_range(0..bytes).map_err(|_| lost())?.to_vec();
        staging.unmap();
        *self.staging.lock().unwrap_or_else(|e| e.into_inner()) = Some(staging);
        Ok(data)
    }

    pub fn steps(&mut self, first: Clock, row: usize, count: u32) -> Result<()> {
        for step in first.step..first.step + count {
            for i in 0..self.passes.len() {
                let pass = self.passes[i].clone();
                self.add(Clock { step, ..first }, row, &pass)?;
            }
        }
        self.submit()?;
        self.gpu.check()
    }

    /// Runs one pass of a step.
    #[cfg(feature = "files")]
    pub fn pass(&mut self, clock: Clock, row: usize, pass: &Pass) -> Result<()> {
        self.add(clock, row, pass)?;
        self.submit()?;
        self.gpu.check()
    }

    /// Adds the dispatches of a pass to the pending submission, and submits it whenever it is long enough.
    fn add(&mut self, clock: Clock, row: usize, pass: &Pass) -> Result<()> {
        let words = words(clock, row, pass);
        for call in pass.calls.clone() {
            for (groups, first, seconds) in self.parts(call) {
                let mut position = words;
                position[FIRST_GROUP] = first;
                if !self.pending.load.has_room(seconds) || self.pending.positions.len() == MAX_POSITIONS {
                    self.submit()?;
                }
                self.pending.add(call, groups, position, seconds);
            }
        }
        Ok(())
    }

    /// The parts of a dispatch: workgroups, the first of them, and the expected time.
    fn parts(&self, call: usize) -> impl Iterator<Item = (usize, u32, f64)> + use<> {
        let (count, seconds) = (self.dispatches[call].groups, self.pace.of(call));
        let parts = self.pace.parts(call, count).max(self.gpu.parts.min(count));
        // A part is one row of workgroups, so it has none beyond its last.
        let each = if parts > 1 { count.div_ceil(parts).min(MAX_GROUPS) } else { count };
        (0..count).step_by(each).map(move |first| {
            let groups = each.min(count - first);
            (groups, first as u32, seconds * groups as f64 / count as f64)
        })
    }

    /// Submits the pending dispatches, and waits for an earlier submission if there are too many in flight.
    fn submit(&mut self) -> Result<()> {
        if self.pending.pieces.is_empty() {
            return Ok(());
        }
        if self.in_flight.is_empty() {
            self.since = Stopwatch::start();
        }
        let Pending { pieces, positions, load } = &mut self.pending;
        self.position.prepare(&self.gpu, positions);
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let mut encoding = encoder.begin_compute_pass(&Default::default());
        for Piece { call, groups, slot } in pieces.drain(..) {
            self.dispatches[call].encode(groups, &mut encoding, &self.position, (slot, &positions[slot]));
        }
        drop(encoding);
        positions.clear();
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.in_flight.push_back((submission, std::mem::take(load)));
        if self.in_flight.len() >= IN_FLIGHT { self.retire() } else { Ok(()) }
    }

    /// Waits for the oldest submission, and corrects the expected times by its own.
    fn retire(&mut self) -> Result<()> {
        let Some((submission, load)) = self.in_flight.pop_front() else { return Ok(()) };
        self.gpu.wait(submission)?;
        self.pace.learn(&load, self.since.restart());
        Ok(())
    }

    /// The device time of each dispatch of a step, averaged over `n` steps on the rows from `row` on, and the longest time of
    /// a part of it in the last of them.
    pub fn profile(&mut self, first: Clock, row: usize, n: u32) -> Result<Vec<Timing>> {
        self.finish()?;
        let clock = Timestamps::new(&self.gpu)?;
        let mut timings = vec![Timing::default(); self.dispatches.len()];
        for step in first.step..first.step + n {
            timings.iter_mut().for_each(|timing| timing.longest = Duration::ZERO);
            for i in 0..self.passes.len() {
                let pass = self.passes[i].clone();
                self.profile_pass(&clock, Clock { step, ..first }, row, &pass, &mut timings)?;
            }
        }
        timings.iter_mut().for_each(|timing| timing.time /= n.max(1));
        Ok(timings)
    }

    /// Adds the times of the dispatches of a pass.
    fn profile_pass(
        &mut self,
        clock: &Timestamps,
        at: Clock,
        row: usize,
        pass: &Pass,
        timings: &mut [Timing],
    ) -> Result<()> {
        let words = words(at, row, pass);
        for call in pass.calls.clone() {
            let mut whole = Duration::ZERO;
            for (groups, first, _) in self.parts(call) {
                let mut position = words;
                position[FIRST_GROUP] = first;
                self.position.prepare(&self.gpu, &[position]);
                let time = clock.time(&self.gpu, |encoding| {
                    self.dispatches[call].encode(groups, encoding, &self.position, (0, &position));
                })?;
                whole += time;
                timings[call].longest = timings[call].longest.max(time);
            }
            timings[call].time += whole;
            self.pace.set(call, whole);
        }
        Ok(())
    }

    pub fn finish(&mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.retire()?;
        }
        self.gpu.check()
    }
}

/// The position that is passed to a kernel.
fn words(clock: Clock, row: usize, pass: &Pass) -> Words {
    let first_row = (row + pass.first_row) as u32;
    [clock.step, clock.seed as u32, (clock.seed >> 32) as u32, first_row, pass.part as u32, 0]
}

/// The index of the first workgroup in a position.
const FIRST_GROUP: usize = 5;

/// The kernels of the calls of a plan, autotuned where there are several candidates. This runs before the buffers are
/// initialised, because it overwrites them.
fn kernels(gpu: &Gpu, buffers: &[Buffer], plan: &Plan) -> Result<Vec<Kernel>> {
    let mut kernels: Vec<Kernel> = plan.calls.iter().map(|c| c.node.op.kernel(&c.specs, &gpu.target)).collect();
    // Before the pipelines are built, which takes longer.
    kernels.iter().try_for_each(check_groups)?;
    if gpu.autotune.is_zero() || kernels.iter().all(|k| k.candidates().is_empty()) {
        return Ok(kernels);
    }
    let mut autotune = Autotune::load(&gpu.cache, gpu.autotune);
    for (call, kernel) in plan.calls.iter().zip(&mut kernels).filter(|(_, k)| !k.candidates().is_empty()) {
        let forced = |variant| Target { gemm: Some(variant), ..gpu.target };
        let make = |variant| call.node.op.kernel(&call.specs, &forced(variant));
        let variant = autotune.fastest(&kernel.summary(), kernel.candidates(), |variant| {
            let started = Stopwatch::start();
            let kernel = make(variant);
            check_groups(&kernel)?;
            // There is no autotuning in browsers, which have no cache; so blocking is allowed.
            let dispatch = pollster::block_on(async {
                let pipeline = gpu.pipelines(&[(&kernel, call.node.trusted)]).await?.remove(0);
                dispatch(gpu, buffers, call, &kernel, pipeline).await
            })?;
            let time = dispatch.time(gpu)?;
            Ok([started.elapsed(), time])
        })?;
        *kernel = make(variant);
    }
    autotune.save(&gpu.cache);
    Ok(kernels)
}

/// Checks the number of workgroups of a kernel.
///
/// # Errors
/// [`Error::Limit`] if it exceeds that of two dimensions, [`Error::Shader`] if it is 0.
fn check_groups(kernel: &Kernel) -> Result<()> {
    let (groups, most) = (kernel.groups, MAX_GROUPS * MAX_GROUPS);
    if groups == 0 {
        return Err(Error::Shader(format!("{} has no workgroups; at least one is needed", kernel.label())));
    }
    if groups <= most {
        return Ok(());
    }
    let message =
        format!("{} needs {groups} workgroups, but at most {most} are possible; use a smaller batch", kernel.label());
    Err(Error::limit(message, true))
}

/// Creates the bind group of a call: inputs are bound to `read` variables, outputs and then updates to `read_write`.
async fn dispatch(
    gpu: &Gpu,
    buffers: &[Buffer],
    call: &Call,
    kernel: &Kernel,
    pipeline: Arc<Pipeline>,
) -> Result<Dispatch> {
    // Where an output has the memory of an input, the shader reads the binding of the output.
    let mut reads =
        call.inputs.iter().enumerate().filter(|(i, _)| !call.specs.is_overwritten(*i)).map(|(_, place)| place);
    let mut writes = call.outputs.iter().flatten().chain(&call.updates);
    let label = kernel.label();
    let mismatch =
        || Error::Shader(format!("{label}: the bindings of the shader do not match the inputs and outputs of the op"));
    let mut entries = Vec::new();
    for binding in &pipeline.bindings {
        let place = if binding.writable { writes.next() } else { reads.next() }.ok_or_else(mismatch)?;
        let of = &buffers[place.buffer];
        let (offset, size) = of.bytes(*place);
        let size = std::num::NonZeroU64::new(size);
        entries.push(wgpu::BindGroupEntry {
            binding: binding.slot,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &of.buffer, offset, size }),
        });
    }
    if reads.next().is_some() || writes.next().is_some() {
        return Err(mismatch());
    }
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&label),
        layout: &pipeline.layout,
        entries: &entries,
    });
    if let Some(e) = scope.pop().await {
        return Err(Error::Shader(format!("{label}: {e}")));
    }
    Ok(Dispatch { pipeline, bind_group, groups: kernel.groups })
}
