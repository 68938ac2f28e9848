//! Passes the position of the run to a dispatch: step, seed, and rows of the batch (`shaders/shared/clock.wgsl`).
//!
//! Immediates (push constants) need no buffer. On adapters and browsers without immediates, shaders read a uniform
//! buffer ([`Kernel::without_immediates`](crate::kernel::Kernel::without_immediates)) with one slot per position of a
//! submission, written before the submission.

use super::{Gpu, POSITION_BYTES};

/// The words of `Clock` in `clock.wgsl`.
pub(super) type Words = [u32; 6];

/// The size of a slot in bytes: the largest alignment that an adapter may require.
const SLOT: u32 = 256;
/// The maximum number of positions in a submission.
pub(super) const MAX_POSITIONS: usize = 1000;

/// The bind group layout of the uniform buffer.
pub(super) fn layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("langevin.position"),
        entries: &[wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: true,
                min_binding_size: wgpu::BufferSize::new(POSITION_BYTES.into()),
            },
            count: None,
        }],
    })
}

/// The uniform buffer of a program, if immediates are not supported.
#[derive(Debug)]
pub(super) struct Position(Option<(wgpu::Buffer, wgpu::BindGroup)>);

impl Position {
    /// Creates the buffer, if the adapter needs it.
    pub fn new(gpu: &Gpu) -> Self {
        let uniform = gpu.position_layout.as_ref().map(|layout| {
            let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("langevin.position"),
                size: u64::from(SLOT) * MAX_POSITIONS as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let binding =
                wgpu::BufferBinding { buffer: &buffer, offset: 0, size: wgpu::BufferSize::new(POSITION_BYTES.into()) };
            let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("langevin.position"),
                layout,
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }],
            });
            (buffer, group)
        });
        Self(uniform)
    }

    /// Writes the positions of a submission.
    pub fn prepare(&self, gpu: &Gpu, positions: &[Words]) {
        let Some((buffer, _)) = &self.0 else { return };
        let mut bytes = vec![0; SLOT as usize * positions.len()];
        for (slot, words) in bytes.chunks_exact_mut(SLOT as usize).zip(positions) {
            slot[..POSITION_BYTES as usize].copy_from_slice(bytemuck::cast_slice(words));
        }
        gpu.queue.write_buffer(buffer, 0, &bytes);
    }

    /// Sets the position of the next dispatch to `words`, which were prepared in slot `slot`.
    pub fn set(&self, encoding: &mut wgpu::ComputePass, slot: usize, words: &Words) {
        match &self.0 {
            // For each dispatch, because wgpu zeroes immediates when the pipeline layout changes.
            None => encoding.set_immediates(0, bytemuck::cast_slice(words)),
            Some((_, group)) => encoding.set_bind_group(1, group, &[SLOT * slot as u32]),
        }
    }
}
