//! The workloads of `langevin bench` in candle, on its CPU device: `cargo run --release -- --workload seed-256`.

#[path = "../../common.rs"]
mod common;
mod network;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use common::{ENCODING, Job, Kind, NOISE, Net, Peer, ROWS, T, alpha_bar, encoding_table, reverse_table};
use network::Network;

const CPU: &Device = &Device::Cpu;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let job = |kind| unwrap(job(kind).expect("the tensors fit"));
    Peer { library: "candle 0.11.1", backend: "cpu", job: Box::new(job) }.run(&arguments);
}

/// `advance(n, losses)` that may fail.
type Fallible = Box<dyn FnMut(usize, &mut Vec<f32>) -> Result<()>>;

fn unwrap(mut job: Fallible) -> Job {
    Box::new(move |n, losses| job(n, losses).expect("the shapes fit"))
}

fn job(kind: Kind) -> Result<Fallible> {
    Ok(match kind {
        Kind::Train { net, batch } => training(net, batch)?,
        Kind::Sample { net, batch, steps } => sampling(net, batch, steps)?,
        Kind::Gemm { n } => {
            let normal = |deviation: f64| Tensor::randn(0.0, deviation, (n, n), CPU)?.to_dtype(DType::F32);
            let (a, b) = (normal(1.0)?, normal((n as f64).powf(-0.5))?);
            Box::new(move |n, _| (0..n).try_for_each(|_| a.matmul(&b)?.matmul(&b).map(drop)))
        }
        Kind::Noise => {
            let (x0, noising) = (Tensor::randn(0f32, 1.0, (NOISE[0], NOISE[1]), CPU)?, Noising::new()?);
            Box::new(move |n, _| (0..n).try_for_each(|_| noising.apply(&x0).map(drop)))
        }
        Kind::FirstStep => unreachable!("measured by starts"),
    })
}

fn encoding() -> Result<Tensor> {
    Tensor::from_vec(encoding_table(), (T, ENCODING), CPU)
}

/// `n` integers below `end`.
fn draw(n: usize, end: usize) -> Result<Tensor> {
    Tensor::rand(0f32, end as f32, n, CPU)?.to_dtype(DType::U32)
}

/// sqrt(alpha bar) and sqrt(1 - alpha bar) of each t.
struct Noising(Tensor, Tensor);

impl Noising {
    fn new() -> Result<Self> {
        let of =
            |f: fn(f64) -> f64| Tensor::from_iter(alpha_bar().into_iter().map(|a| f(a) as f32), CPU)?.reshape((T, 1));
        Ok(Self(of(f64::sqrt)?, of(|a| (1.0 - a).sqrt())?))
    }

    /// x_t and eps, and the t that was drawn.
    fn apply(&self, x0: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let (t, eps) = (draw(x0.dim(0)?, T)?, x0.randn_like(0.0, 1.0)?);
        let (signal, noise) = (self.0.index_select(&t, 0)?, self.1.index_select(&t, 0)?);
        Ok(((x0.broadcast_mul(&signal)? + eps.broadcast_mul(&noise)?)?, eps, t))
    }
}

/// Rows of a sin(2 pi f s + phi), like the crate's toy.
fn sine_waves(length: usize) -> Result<Tensor> {
    let tau = std::f32::consts::TAU;
    let s = Tensor::from_iter((0..length).map(|i| tau * i as f32 / length as f32), CPU)?.reshape((1, length))?;
    let of = |low: f32, high: f32| Tensor::rand(low, high, (ROWS, 1), CPU);
    of(1.0, 5.0)?.broadcast_mul(&s)?.broadcast_add(&of(0.0, tau)?)?.sin()?.broadcast_mul(&of(0.5, 1.0)?)
}

fn training(net: Net, batch: usize) -> Result<Fallible> {
    let mut vars = Vec::new();
    let network = Network::new(net, &mut |shape, bound| {
        vars.push(Var::rand_f64(-bound, bound, shape, DType::F32, CPU)?);
        Ok(vars[vars.len() - 1].as_tensor().clone())
    })?;
    let (data, encoding, noising) = (sine_waves(net.data())?, encoding()?, Noising::new()?);
    let mut adam = AdamW::new(vars, ParamsAdamW { lr: 1e-3, weight_decay: 0.0, ..Default::default() })?;
    Ok(Box::new(move |n, losses| {
        for i in 0..n {
            let (x_t, eps, t) = noising.apply(&data.index_select(&draw(batch, ROWS)?, 0)?)?;
            let loss = (network.forward(&x_t, &encoding.index_select(&t, 0)?)? - eps)?.sqr()?.mean_all()?;
            adam.backward_step(&loss)?;
            if i % 100 == 99 || i == n - 1 {
                losses.push(loss.to_scalar()?);
            }
        }
        Ok(())
    }))
}

fn sampling(net: Net, batch: usize, steps: usize) -> Result<Fallible> {
    let mut uniform = |shape: &[usize], bound: f64| Tensor::rand(-bound as f32, bound as f32, shape, CPU);
    let (network, encoding, table) = (Network::new(net, &mut uniform)?, encoding()?, reverse_table(steps));
    Ok(Box::new(move |n, _| {
        for _ in 0..n {
            let mut x = Tensor::randn(0f32, 1.0, (batch, net.data()), CPU)?;
            for &(t, [a, b, s]) in &table {
                let enc = encoding.narrow(0, t, 1)?.broadcast_as((batch, ENCODING))?;
                x = ((&x * a)? + (network.forward(&x, &enc)? * b)?)?;
                if s > 0.0 {
                    x = (&x + (x.randn_like(0.0, 1.0)? * s)?)?;
                }
            }
            x.to_vec2::<f32>()?;
        }
        Ok(())
    }))
}
