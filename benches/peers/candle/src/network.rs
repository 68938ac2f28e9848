//! The networks of the workloads.

use candle_core::{D, Result, Tensor};

use crate::common::{ENCODING, Net};

/// Makes a tensor of this shape, uniform in +-bound.
pub type Make<'a> = &'a mut dyn FnMut(&[usize], f64) -> Result<Tensor>;

pub enum Network {
    /// [x_t | encoding] -> Dense ReLU ... -> Dense.
    Mlp(Vec<Layer>),
    /// The encoding enters as a bias per channel at the middle; the width doubles before the fourth and the fifth.
    Conv { layers: Vec<Layer>, time: Layer },
}

pub struct Layer {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
}

/// Inputs, outputs and stride.
const CONVOLUTIONS: [(usize, usize, usize); 6] =
    [(1, 32, 1), (32, 64, 2), (64, 128, 2), (128, 64, 1), (64, 32, 1), (32, 1, 1)];

impl Network {
    pub fn new(net: Net, make: Make) -> Result<Self> {
        if net == Net::Conv {
            let layers = CONVOLUTIONS.map(|(from, to, stride)| Layer::new(&[to, from, 3, 3], 9 * from, stride, make));
            let layers = layers.into_iter().collect::<Result<_>>()?;
            return Ok(Network::Conv { layers, time: Layer::new(&[ENCODING, 128], ENCODING, 1, make)? });
        }
        let layers = net.widths().windows(2).map(|w| Layer::new(w, w[0], 1, make));
        Ok(Network::Mlp(layers.collect::<Result<_>>()?))
    }

    pub fn forward(&self, x: &Tensor, enc: &Tensor) -> Result<Tensor> {
        match self {
            Network::Mlp(layers) => {
                let (last, first) = layers.split_last().expect("a network has layers");
                let x = Tensor::cat(&[x, enc], D::Minus1)?;
                last.dense(&first.iter().try_fold(x, |x, layer| layer.dense(&x)?.relu())?)
            }
            Network::Conv { layers, time } => {
                let (batch, width) = x.dims2()?;
                let conv = |i: usize, x: &Tensor| layers[i].convolve(x);
                let h = conv(1, &conv(0, &x.reshape((batch, 1, 28, 28))?)?.relu()?)?.relu()?;
                let step = time.dense(enc)?.reshape((batch, 128, 1, 1))?;
                let h = conv(2, &h)?.broadcast_add(&step)?.relu()?;
                let h = conv(3, &h.upsample_nearest2d(14, 14)?)?.relu()?;
                let h = conv(4, &h.upsample_nearest2d(28, 28)?)?.relu()?;
                conv(5, &h)?.reshape((batch, width))
            }
        }
    }
}

impl Layer {
    /// Weights and biases uniform in +-1/sqrt(in). A weight is [in, out], or [out, in, 3, 3].
    fn new(shape: &[usize], inputs: usize, stride: usize, make: Make) -> Result<Self> {
        let bound = (inputs as f64).powf(-0.5);
        let outputs = if shape.len() == 2 { shape[1] } else { shape[0] };
        Ok(Self { weight: make(shape, bound)?, bias: make(&[outputs], bound)?, stride })
    }

    fn dense(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }

    fn convolve(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.reshape((1, (), 1, 1))?;
        x.conv2d(&self.weight, 1, self.stride, 1, 1)?.broadcast_add(&bias)
    }
}
