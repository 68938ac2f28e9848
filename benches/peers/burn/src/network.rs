//! The networks of the workloads.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::interpolate::{Interpolate2d, Interpolate2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::common::{ENCODING, Net};

#[derive(Module, Debug)]
pub enum Network {
    Mlp(Mlp),
    Conv(Conv),
}

/// [x_t | encoding] -> Dense ReLU ... -> Dense.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

/// The encoding enters as a bias per channel at the middle; the width doubles before the fourth and the fifth.
#[derive(Module, Debug)]
pub struct Conv {
    layers: Vec<Conv2d>,
    time: Linear,
    double: Interpolate2d,
}

impl Network {
    pub fn new(net: Net, device: &Device) -> Self {
        match net {
            Net::Conv => Network::Conv(Conv::new(device)),
            Net::Seed | Net::Mlp => Network::Mlp(Mlp::new(net.widths(), device)),
        }
    }

    pub fn forward(&self, x: Tensor<2>, enc: Tensor<2>) -> Tensor<2> {
        match self {
            Network::Mlp(net) => net.forward(x, enc),
            Network::Conv(net) => net.forward(x, enc),
        }
    }
}

impl Mlp {
    fn new(widths: &[usize], device: &Device) -> Self {
        Self { layers: widths.windows(2).map(|w| LinearConfig::new(w[0], w[1]).init(device)).collect() }
    }

    fn forward(&self, x: Tensor<2>, enc: Tensor<2>) -> Tensor<2> {
        let (last, first) = self.layers.split_last().expect("a network has layers");
        last.forward(first.iter().fold(Tensor::cat(vec![x, enc], 1), |x, layer| relu(layer.forward(x))))
    }
}

impl Conv {
    fn new(device: &Device) -> Self {
        let layers = [(1, 32, 1), (32, 64, 2), (64, 128, 2), (128, 64, 1), (64, 32, 1), (32, 1, 1)];
        let layers = layers.map(|(from, to, stride)| {
            let config = Conv2dConfig::new([from, to], [3, 3]).with_stride([stride, stride]);
            config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        });
        let double = Interpolate2dConfig::new().with_scale_factor(Some([2.0, 2.0])).init();
        Self { layers: layers.into(), time: LinearConfig::new(ENCODING, 128).init(device), double }
    }

    fn forward(&self, x: Tensor<2>, enc: Tensor<2>) -> Tensor<2> {
        let [batch, width] = x.dims();
        let conv = |i: usize, x| self.layers[i].forward(x);
        let h = relu(conv(1, relu(conv(0, x.reshape([batch, 1, 28, 28])))));
        let h = relu(conv(2, h) + self.time.forward(enc).reshape([batch, 128, 1, 1]));
        let h = relu(conv(3, self.double.forward(h)));
        let h = relu(conv(4, self.double.forward(h)));
        conv(5, h).reshape([batch, width])
    }
}
