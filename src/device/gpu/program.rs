//! A compiled plan on an adapter: buffers, and dispatches that are created once and encoded in each step.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_intrusive::channel::shared::oneshot_channel;

use super::autotune::Autotune;
use super::position::{MAX_PASSES, Position, Words};
use super::stopwatch::Stopwatch;
use super::timestamps::Timestamps;
use super::{Gpu, Pipeline};
use crate::error::{Error, Result};
use crate::graph::Init;
use crate::graph::plan::{Call, Pass, Place, Plan};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::Clock;

/// The intended time of a submission: short enough for watchdogs and for a responsive desktop.
const SUBMISSION: Duration = Duration::from_millis(50);
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
    groups: [u32; 3],
}

impl Dispatch {
    /// Encodes the dispatch in pass `pass` of a submission, at the position `words`.
    fn encode(&self, encoding: &mut wgpu::ComputePass, position: &Position, pass: usize, words: &Words) {
        encoding.set_pipeline(&self.pipeline.pipeline);
        encoding.set_bind_group(0, &self.bind_group, &[]);
        position.set(encoding, pass, words);
        encoding.dispatch_workgroups(self.groups[0], self.groups[1], self.groups[2]);
    }

    /// Measures the time of one dispatch, from a submission of many.
    fn time(&self, gpu: &Gpu) -> Result<Duration> {
        let position = Position::new(gpu);
        let run = |count: u32| -> Result<Duration> {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            (0..count).for_each(|_| self.encode(&mut pass, &position, 0, &[0; 5]));
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

/// A compiled plan on an adapter.
#[derive(Debug)]
pub(crate) struct GpuProgram {
    gpu: Arc<Gpu>,
    buffers: Vec<wgpu::Buffer>,
    dispatches: Vec<Dispatch>,
    position: Position,
    /// The passes of a step.
    passes: Vec<Pass>,
    /// Submissions in flight, with their number of passes.
    in_flight: VecDeque<(wgpu::SubmissionIndex, usize)>,
    /// The number of passes per submission, from the measured time of a pass.
    per_submission: usize,
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
            buffers.push(gpu.buffer(planned).await?);
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
            per_submission: 1,
            since: Stopwatch::start(),
            staging: Mutex::default(),
            staged: 0,
        };
        for (place, init) in &plan.inits {
            match init {
                Init::Zero | Init::Parameters => {}
                Init::Drawn(draw) => program.write(*place, bytemuck::cast_slice(&draw.values(place.len)))?,
                Init::F32(values) => program.write(*place, bytemuck::cast_slice(values))?,
                Init::U32(values) => program.write(*place, bytemuck::cast_slice(values))?,
            }
        }
        Ok(program)
    }

    /// The allocated bytes.
    pub fn allocated(&self) -> u64 {
        self.buffers.iter().map(wgpu::Buffer::size).sum()
    }

    pub fn write(&mut self, place: Place, bytes: &[u8]) -> Result<()> {
        // In pieces, because each write allocates a staging buffer of its size, which is freed after a submission.
        for (i, piece) in bytes.chunks(UPLOAD).enumerate() {
            let offset = place.offset as u64 * 4 + (i * UPLOAD) as u64;
            self.gpu.queue.write_buffer(&self.buffers[place.buffer], offset, piece);
            self.staged += piece.len();
            if self.staged >= MAX_STAGED {
                self.gpu.wait(self.gpu.queue.submit([]))?;
                self.staged = 0;
            }
        }
        self.gpu.check()
    }

    pub async fn read(&self, place: Place) -> Result<Vec<u8>> {
        let bytes = place.len as u64 * 4;
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
        encoder.copy_buffer_to_buffer(&self.buffers[place.buffer], place.offset as u64 * 4, &staging, 0, bytes);
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
        if self.in_flight.is_empty() {
            self.since = Stopwatch::start();
        }
        let (mut done, all) = (0, count as usize * self.passes.len());
        while done < all {
            let n = self.per_submission.min(all - done);
            let per_step = self.passes.len();
            let clock = |i: usize| Clock { step: first.step + (i / per_step) as u32, ..first };
            let passes = (done..done + n).map(|i| (clock(i), self.passes[i % per_step].clone()));
            self.submit(row, &passes.collect::<Vec<_>>())?;
            done += n;
        }
        self.gpu.check()
    }

    /// Runs one pass of a step.
    #[cfg(feature = "files")]
    pub fn pass(&mut self, clock: Clock, row: usize, pass: &Pass) -> Result<()> {
        if self.in_flight.is_empty() {
            self.since = Stopwatch::start();
        }
        self.submit(row, &[(clock, pass.clone())])?;
        self.gpu.check()
    }

    /// Submits passes, each of its step, and waits for an earlier submission if there are too many in flight.
    fn submit(&mut self, row: usize, passes: &[(Clock, Pass)]) -> Result<()> {
        let positions: Vec<Words> = passes.iter().map(|(clock, pass)| words(*clock, row, pass)).collect();
        self.position.prepare(&self.gpu, &positions);
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let mut encoding = encoder.begin_compute_pass(&Default::default());
        for (slot, (_, pass)) in passes.iter().enumerate() {
            for d in &self.dispatches[pass.calls.clone()] {
                d.encode(&mut encoding, &self.position, slot, &positions[slot]);
            }
        }
        drop(encoding);
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.in_flight.push_back((submission, passes.len()));
        if self.in_flight.len() >= IN_FLIGHT { self.retire() } else { Ok(()) }
    }

    /// Waits for the oldest submission, and adapts the number of passes per submission to its time.
    fn retire(&mut self) -> Result<()> {
        let Some((submission, n)) = self.in_flight.pop_front() else { return Ok(()) };
        self.gpu.wait(submission)?;
        let per_pass = self.since.restart().as_secs_f64() / n as f64;
        let ideal = (SUBMISSION.as_secs_f64() / per_pass.max(1e-6)) as usize;
        // At most four times more, because a single measurement is inaccurate.
        self.per_submission = ideal.clamp(1, self.per_submission * 4).min(MAX_PASSES);
        Ok(())
    }

    /// The device time of each dispatch of a step, averaged over `n` steps on the rows from `row` on.
    pub fn profile(&mut self, first: Clock, row: usize, n: u32) -> Result<Vec<Duration>> {
        self.finish()?;
        let clock = Timestamps::new(&self.gpu, self.dispatches.len())?;
        let mut total = vec![0.0; self.dispatches.len()];
        for step in first.step..first.step + n {
            for pass in &self.passes {
                let words = words(Clock { step, ..first }, row, pass);
                self.position.prepare(&self.gpu, &[words]);
                let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                for (i, d) in self.dispatches[pass.calls.clone()].iter().enumerate() {
                    let timestamp_writes = Some(clock.around(i));
                    let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                    d.encode(&mut encoder.begin_compute_pass(&descriptor), &self.position, 0, &words);
                }
                clock.read(&self.gpu, encoder, &mut total[pass.calls.clone()])?;
            }
        }
        Ok(total.iter().map(|t| Duration::from_secs_f64(t / n.max(1) as f64)).collect())
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
    [clock.step, clock.seed as u32, (clock.seed >> 32) as u32, first_row, pass.part as u32]
}

/// The kernels of the calls of a plan, autotuned where there are several candidates. This runs before the buffers are
/// initialised, because it overwrites them.
fn kernels(gpu: &Gpu, buffers: &[wgpu::Buffer], plan: &Plan) -> Result<Vec<Kernel>> {
    let mut kernels: Vec<Kernel> = plan.calls.iter().map(|c| c.node.op.kernel(&c.specs, &gpu.target)).collect();
    // Before the pipelines are built, which takes longer.
    kernels.iter().try_for_each(|kernel| check_groups(gpu, kernel))?;
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
            check_groups(gpu, &kernel)?;
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
/// [`Error::Limit`] if it exceeds that of the adapter in one dimension.
fn check_groups(gpu: &Gpu, kernel: &Kernel) -> Result<()> {
    let (groups, most) = (kernel.groups, gpu.limits.max_compute_workgroups_per_dimension);
    if groups.iter().all(|&count| count <= most) {
        return Ok(());
    }
    let message = format!(
        "{} needs {groups:?} workgroups, but at most {most} are allowed per dimension; use a smaller batch",
        kernel.label()
    );
    Err(Error::limit(message, true))
}

/// Creates the bind group of a call: inputs are bound to `read` variables, outputs and then updates to `read_write`.
async fn dispatch(
    gpu: &Gpu,
    buffers: &[wgpu::Buffer],
    call: &Call,
    kernel: &Kernel,
    pipeline: Arc<Pipeline>,
) -> Result<Dispatch> {
    let mut reads = call.inputs.iter();
    let mut writes = call.outputs.iter().flatten().chain(&call.updates);
    let label = kernel.label();
    let mismatch =
        || Error::Shader(format!("{label}: the bindings of the shader do not match the inputs and outputs of the op"));
    let mut entries = Vec::new();
    for binding in &pipeline.bindings {
        let place = if binding.writable { writes.next() } else { reads.next() }.ok_or_else(mismatch)?;
        entries.push(wgpu::BindGroupEntry {
            binding: binding.slot,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &buffers[place.buffer],
                offset: place.offset as u64 * 4,
                size: std::num::NonZeroU64::new(place.len as u64 * 4),
            }),
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
