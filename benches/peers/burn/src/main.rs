//! The workloads of `langevin bench` in burn: `cargo run --release -- --workload seed-256 --backend wgpu`.

#[path = "../../common.rs"]
mod common;
mod network;

use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::Distribution;
use common::{ENCODING, Job, Kind, NOISE, Net, Peer, ROWS, T, alpha_bar, encoding_table, reverse_table};
use network::Network;

const NORMAL: Distribution = Distribution::Normal(0.0, 1.0);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let backend = arguments.windows(2).find(|w| w[0] == "--backend").map_or("wgpu", |w| &w[1]);
    let (library, backend, device) = match backend {
        "wgpu" => ("burn 0.22.1 wgpu", "vulkan", Device::wgpu(Default::default())),
        "cpu" => ("burn 0.22.1 flex", "cpu", Device::flex()),
        other => panic!("backend {other:?}: there are wgpu and cpu"),
    };
    Peer { library, backend, job: Box::new(move |kind| job(kind, &device)) }.run(&arguments);
}

fn job(kind: Kind, device: &Device) -> Job {
    match kind {
        Kind::Train { net, batch } => training(net, batch, device),
        Kind::Sample { net, batch, steps } => sampling(net, batch, steps, device),
        Kind::Gemm { n } => {
            let a: Tensor<2> = Tensor::random([n, n], NORMAL, device);
            let b = Tensor::random([n, n], NORMAL, device) / (n as f64).sqrt();
            repeat(device, move || drop(a.clone().matmul(b.clone()).matmul(b.clone())))
        }
        Kind::Noise => {
            let (x0, tables): (Tensor<2>, _) = (Tensor::random(NOISE, NORMAL, device), Tables::new(device));
            repeat(device, move || drop(tables.noise(x0.clone())))
        }
        Kind::FirstStep => unreachable!("measured by starts"),
    }
}

/// `advance` for what has no loss.
fn repeat(device: &Device, mut once: impl FnMut() + 'static) -> Job {
    let device = device.clone();
    Box::new(move |n, _| {
        (0..n).for_each(|_| once());
        device.sync().expect("the device finishes");
    })
}

/// The tables that a step looks things up in.
struct Tables {
    signal: Tensor<2>,
    noise: Tensor<2>,
    encoding: Tensor<2>,
}

impl Tables {
    fn new(device: &Device) -> Self {
        let table = |values, width| Tensor::from_data(TensorData::new(values, [T, width]), device);
        let of = |f: fn(f64) -> f64| table(alpha_bar().into_iter().map(|a| f(a) as f32).collect(), 1);
        let encoding = table(encoding_table(), ENCODING);
        Self { signal: of(f64::sqrt), noise: of(|a| (1.0 - a).sqrt()), encoding }
    }

    /// x_t and eps, and the t that was drawn.
    fn noise(&self, x0: Tensor<2>) -> (Tensor<2>, Tensor<2>, Tensor<1, Int>) {
        let t = draw(x0.dims()[0], T, &x0.device());
        let eps = x0.random_like(NORMAL);
        let x_t = self.signal.clone().select(0, t.clone()) * x0 + self.noise.clone().select(0, t.clone()) * eps.clone();
        (x_t, eps, t)
    }
}

/// `n` integers below `end`.
fn draw(n: usize, end: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::random([n], Distribution::Uniform(0.0, end as f64), device)
}

/// Rows of a sin(2 pi f s + phi), like the crate's toy.
fn sine_waves(length: usize, device: &Device) -> Tensor<2> {
    let of = |low: f64, high: f64| Tensor::<2>::random([ROWS, 1], Distribution::Uniform(low, high), device);
    let s = Tensor::<1, Int>::arange(0..length as i64, device).float().reshape([1, length]) / length as f32;
    let tau = std::f64::consts::TAU;
    of(0.5, 1.0) * (of(1.0, 5.0) * tau * s + of(0.0, tau)).sin()
}

fn training(net: Net, batch: usize, device: &Device) -> Job {
    let (data, tables, device) = (sine_waves(net.data(), device), Tables::new(device), device.clone());
    let mut network = Some(Network::new(net, &device.clone().autodiff()));
    let mut adam: ModuleOptimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let mut step = move || {
        let x0 = data.clone().select(0, draw(batch, ROWS, &data.device()));
        let (x_t, eps, t) = tables.noise(x0);
        let net = network.take().expect("put back below");
        let out = net.forward(x_t, tables.encoding.clone().select(0, t));
        let loss = (out - eps).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &net);
        network = Some(adam.step(1e-3, net, grads));
        loss.inner()
    };
    Box::new(move |n, losses| {
        for i in 0..n {
            let loss = step();
            if i % 100 == 99 || i == n - 1 {
                losses.push(loss.into_scalar());
            }
        }
        device.sync().expect("the device finishes");
    })
}

fn sampling(net: Net, batch: usize, steps: usize, device: &Device) -> Job {
    let (network, encoding, table) = (Network::new(net, device), Tables::new(device).encoding, reverse_table(steps));
    repeat(device, move || {
        let mut x = Tensor::random([batch, net.data()], NORMAL, &encoding.device());
        for &(t, [a, b, s]) in &table {
            let enc = encoding.clone().slice([t..t + 1]).expand([batch, ENCODING]);
            x = x.clone() * a + network.forward(x, enc) * b;
            if s > 0.0 {
                x = x.clone() + x.random_like(NORMAL) * s;
            }
        }
        drop(x.into_data());
    })
}
