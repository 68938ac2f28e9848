"""A denoising network, its diffusion process, and DDIM sampling, in plain PyTorch.

    python model.py                        checks the network against check.npz and draws 16 samples
    python model.py --count 64 --out s.npy

The folder of this file contains `config.json`, the settings; `model.safetensors`, the weights, a state dict; and
`check.npz`, inputs of the network with its outputs. It needs torch, numpy and safetensors, and nothing else:

    from model import load
    model = load()                         # a torch.nn.Module, in evaluation mode
    prediction = model(x_t, t)             # in the units of the network
    clean = model.estimate(noisy, t)       # in the units of the data
    samples = model.sample(count=16)       # in the units of the data

B is the batch size, C the channels and `places` the length of a signal or the height and width of an image. The noisy data
are x_t = a x0 + s eps for clean data x0 and standard normal noise eps, where a and s depend on the time t. The network predicts
p x0 + q eps.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

HERE = Path(__file__).resolve().parent

ACTIVATIONS = {
    "none": lambda x: x,
    "relu": F.relu,
    "silu": F.silu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_erf": F.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.01),
}


def activation(name):
    """The function of a name; `leaky_relu:0.2` has the slope 0.2."""
    if name.startswith("leaky_relu:"):
        slope = float(name.split(":")[1])
        return lambda x: F.leaky_relu(x, slope)
    return ACTIVATIONS[name]


def channels_and_places(shape):
    """[L] is one channel; otherwise the first dimension has the channels."""
    return (1, list(shape)) if len(shape) == 1 else (shape[0], list(shape[1:]))


# Encodings of the time


def waves(t, width, interleaved=False, flip=False, shift=0.0, turns=None):
    """Sines and cosines of t [B] in `width` columns: sine and cosine in turn, or all sines and then all cosines (the reverse
    with `flip`). The frequencies fall from 1 to 1/10000 radians per step, or are `turns` per step. An odd width ends with a
    sine if they alternate, otherwise with a zero. Computed in float64: t reaches 1000 and more."""
    half = width // 2
    if turns is None:
        if interleaved:
            exponents = 2 * torch.arange((width + 1) // 2, dtype=torch.float64) / width
        else:
            exponents = torch.arange(half, dtype=torch.float64) / (half - shift)
        turns = torch.exp(-math.log(10_000) * exponents) / (2 * math.pi)
    else:
        turns = torch.tensor(turns, dtype=torch.float64)
    phase = 2 * math.pi * ((t.double()[:, None] * turns.to(t.device)) % 1.0)
    sines, cosines = phase.sin().float(), phase.cos().float()
    if interleaved:
        return torch.stack([sines, cosines], dim=2).flatten(1)[:, :width]
    return F.pad(torch.cat([cosines, sines] if flip else [sines, cosines], dim=1), (0, width % 2))


class StepEncoding(nn.Module):
    """From t [B] to [B, encoding]. A learned one has the table `embedding` [steps, encoding]."""

    def __init__(self, net):
        super().__init__()
        self.kind, self.width = net["step_encoding"], net["encoding"]
        self.flip, self.shift, self.turns = net["flip_sin_to_cos"], net["frequency_shift"], net.get("fourier_turns")
        if self.kind == "learned":
            self.embedding = nn.Embedding(net["learned_steps"], self.width)

    def forward(self, t):
        if self.kind == "learned":
            rows = self.embedding.num_embeddings
            return self.embedding((t + 0.5).floor().long().clamp(0, rows - 1))
        if self.kind == "sinusoidal":
            return waves(t, self.width, interleaved=True)
        if self.kind == "fourier":
            return waves(t, self.width, turns=self.turns)
        return waves(t, self.width, flip=self.flip, shift=self.shift)


class Conditions(nn.Module):
    """The embedding [B, width] of the time and of the other conditions:

    time.2(silu(time.0(encoding(t)))) + class[c] + vector.2(silu(vector.0(v)))

    It is a base class of the networks, so that its parameters are named `time.0.weight` and so on.
    """

    def __init__(self, net, width):
        super().__init__()
        conditions = net["conditions"]
        time = StepEncoding(net)
        time.add_module("0", nn.Linear(net["encoding"], width))
        time.add_module("2", nn.Linear(width, width))
        self.time = time
        # The name `class` is a keyword of Python.
        self.add_module("class", nn.Embedding(conditions["classes"] + 1, width) if conditions["classes"] else None)
        size = conditions["vector"]
        self.vector = nn.ModuleDict({"0": nn.Linear(size, width), "2": nn.Linear(width, width)}) if size else None

    def embed(self, t, label, vector):
        time = self.time
        embedding = getattr(time, "2")(F.silu(getattr(time, "0")(time(t))))
        table = getattr(self, "class")
        if table is not None:
            embedding = embedding + table(label)
        if self.vector is not None:
            embedding = embedding + self.vector["2"](F.silu(self.vector["0"](vector)))
        return embedding


# The networks: x [B, C, *places] and t [B], with known values already concatenated to x; the result is [B, C, *places]


class Mlp(Conditions):
    """h = input(x) + waves(x_t); per block h += dense(act(norm(h + time))); output(act(norm(h)))."""

    def __init__(self, net, shape):
        super().__init__(net, net["width"])
        self.shape, self.data, width = shape, math.prod(shape), net["width"]
        given = net["conditions"]["given"] * math.prod(channels_and_places(shape)[1])
        self.act, self.residual, self.input_encoding = activation(net["activation"]), net["residual"], net["input_encoding"]
        self.input = nn.Linear(self.data + given, width)
        if self.input_encoding:
            self.waves = nn.Linear(self.data * self.input_encoding, width)

        def norm():
            return nn.LayerNorm(width, eps=1e-5) if net["layer_norm"] else nn.Identity()

        self.blocks = nn.ModuleList(
            nn.ModuleDict({"norm": norm(), "dense": nn.Linear(width, width)}) for _ in range(net["depth"])
        )
        self.norm = norm()
        self.output = nn.Linear(width, self.data)

    def forward(self, x, t, label=None, vector=None):
        x, time = x.flatten(1), self.embed(t, label, vector)
        h = self.input(x)
        if self.input_encoding:
            # The shortest wavelength is 2 pi / 16; the shift makes the arguments positive.
            arguments = 16.0 * x[:, : self.data] + 16_384.0
            h = h + self.waves(waves(arguments.flatten(), self.input_encoding).reshape(len(x), -1))
        for block in self.blocks:
            change = block["dense"](self.act(block["norm"](h + time)))
            h = h + change if self.residual else change
        return self.output(self.act(self.norm(h)))


class Chapter(nn.Module):
    """fc2(relu(fc1([x | encoding(t)])))."""

    def __init__(self, net, shape):
        super().__init__()
        data = math.prod(shape)
        self.time = StepEncoding(net)
        self.fc1 = nn.Linear(data + net["encoding"], net["width"])
        self.fc2 = nn.Linear(net["width"], data)

    def forward(self, x, t, label=None, vector=None):
        return self.fc2(F.relu(self.fc1(torch.cat([x.flatten(1), self.time(t)], dim=1))))


class Simple(nn.Module):
    """fc2(relu(fc1(x))): it ignores the time."""

    def __init__(self, net, shape):
        super().__init__()
        data = math.prod(shape)
        self.fc1, self.fc2 = nn.Linear(data, net["width"]), nn.Linear(net["width"], data)

    def forward(self, x, t, label=None, vector=None):
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class AutoEncoder(nn.Module):
    """[x | encoding(t) at every place] -> enc1, enc2 (each halves the size) -> latent -> dec1, dec2 (each doubles it)."""

    def __init__(self, net, shape):
        super().__init__()
        channels, places = channels_and_places(shape)
        conv, transposed = [(nn.Conv1d, nn.ConvTranspose1d), (nn.Conv2d, nn.ConvTranspose2d)][len(places) - 1]
        width = net["width"]
        self.time = StepEncoding(net)
        self.enc1 = conv(channels + net["encoding"], width, 3, stride=2, padding=1)
        self.enc2 = conv(width, 2 * width, 3, stride=2, padding=1)
        self.dec1 = transposed(2 * width, width, 4, stride=2, padding=1)
        self.dec2 = transposed(width, channels, 4, stride=2, padding=1)

    def latent(self, x, t):
        code = self.time(t).reshape(len(x), -1, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
        return F.relu(self.enc2(F.relu(self.enc1(torch.cat([x, code], dim=1)))))

    def forward(self, x, t, label=None, vector=None):
        return self.dec2(F.relu(self.dec1(self.latent(x, t))))


class Attention(nn.Module):
    """x + out(attention(qkv(norm(x)))) over all places. The channels of qkv are those of q, of k and of v, in this order, and
    within each of them those of head 0, head 1 and so on."""

    def __init__(self, channels, heads, groups):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels, eps=1e-5)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        h = self.qkv(self.norm(x).flatten(2))  # [B, 3 channels, places]
        q, k, v = h.reshape(len(x), 3, self.heads, -1, h.shape[2]).transpose(3, 4).unbind(1)
        h = F.scaled_dot_product_attention(q, k, v)  # [B, heads, places, channels / heads]
        return x + self.out(h.transpose(2, 3).reshape(len(x), -1, h.shape[2])).reshape(x.shape)


class Block(nn.Module):
    """skip(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time(embedding)))), and then attention if the level has it."""

    def __init__(self, conv, inputs, outputs, time, groups, heads):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-5)
        self.conv1 = conv(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-5)
        self.conv2 = conv(outputs, outputs, 3, padding=1)
        self.skip = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs, heads, groups) if heads else nn.Identity()

    def forward(self, x, embedding):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(embedding).reshape(len(x), -1, *[1] * (x.dim() - 2))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.attention(self.skip(x) + h)


class UNet(Conditions):
    """conv_in; per level blocks, then `downsample` by 2; `middle` blocks; per level upsampling by 2 (nearest) and `upsample`,
    concatenation with the output of the blocks on the way down, and blocks; conv_out(silu(norm_out)). With patches, conv_in
    turns each into a place, and conv_out, a transposed convolution, turns it back."""

    def __init__(self, net, shape):
        levels, width = net["unet"], net["width"]
        time = levels["time"] or 4 * width
        super().__init__(net, time)
        data, places = channels_and_places(shape)
        conv, transposed = [(nn.Conv1d, nn.ConvTranspose1d), (nn.Conv2d, nn.ConvTranspose2d)][len(places) - 1]
        channels = [m * width for m in levels["multipliers"]]
        groups, patch, inputs = levels["groups"], levels["patch"], data + net["conditions"]["given"]

        def blocks(level, first, outputs):
            heads = levels["heads"] if level in levels["attention"] else 0
            sizes = [first] + [outputs] * (net["depth"] - 1)
            return {str(i): Block(conv, size, outputs, time, groups, heads) for i, size in enumerate(sizes)}

        kernel = {"kernel_size": 3, "padding": 1} if patch == 1 else {"kernel_size": patch, "stride": patch}
        self.conv_in = conv(inputs, channels[0], **kernel)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (c, below) in enumerate(zip(channels, channels[1:])):
            downsample = conv(c, below, 3, stride=2, padding=1)
            self.down.append(nn.ModuleDict(blocks(level, c, c) | {"downsample": downsample}))
            self.up.append(nn.ModuleDict(blocks(level, 2 * c, c) | {"upsample": conv(below, c, 3, padding=1)}))
        self.middle = nn.ModuleDict(blocks(len(channels) - 1, channels[-1], channels[-1]))
        self.norm_out = nn.GroupNorm(groups, channels[0], eps=1e-5)
        self.conv_out = (conv if patch == 1 else transposed)(channels[0], data, **kernel)

    def forward(self, x, t, label=None, vector=None):
        embedding = F.silu(self.embed(t, label, vector))

        def through(level, h):
            for name, block in level.items():
                if name.isdigit():
                    h = block(h, embedding)
            return h

        h, known = self.conv_in(x), []
        for level in self.down:
            known.append(through(level, h))
            h = level["downsample"](known[-1])
        h = through(self.middle, h)
        for level, skip in zip(reversed(self.up), reversed(known)):
            h = level["upsample"](F.interpolate(h, scale_factor=2, mode="nearest"))
            h = through(level, torch.cat([h, skip], dim=1))
        return self.conv_out(F.silu(self.norm_out(h)))


NETWORKS = {"mlp": Mlp, "chapter": Chapter, "simple": Simple, "autoencoder": AutoEncoder, "unet": UNet}


# The diffusion process


class Process:
    """The noise levels (a, s) of the times t, and what the network predicts: (p, q)."""

    def __init__(self, process):
        self.path, self.prediction, self.steps = process["path"], process["prediction"], process["steps"]
        self.alpha_bar, self.sigma_range = process.get("alpha_bar"), process.get("sigma_range")

    def level(self, t):
        """(a, s) at time t."""
        if self.path == "steps":
            alpha_bar = self.alpha_bar[round(t)]
            return math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar)
        share = min(max(t / self.steps, 0.0), 1.0)
        if self.path == "flow":
            return 1.0 - share, share
        # EDM: x = x0 + sigma eps, scaled to a standard deviation of 1.
        low, high, sigma_data = self.sigma_range
        sigma = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return 1.0 / math.hypot(sigma, sigma_data), sigma / math.hypot(sigma, sigma_data)

    def target(self, a, s):
        """(p, q) of the prediction p x0 + q eps."""
        r = math.sqrt((1.0 - s) * (1.0 + s))
        return {
            "epsilon": (0.0, 1.0),
            "x0": (1.0, 0.0),
            "v": (-s, a),
            "flow": (-1.0, 1.0),
            "edm": (a * s / r if r else 0.0, -r),
        }[self.prediction]

    def estimate(self, x_t, prediction, t):
        """x0 = (q x_t - s prediction) / (a q - s p)."""
        a, s = self.level(t)
        p, q = self.target(a, s)
        # Without q there is no x_t in the estimate, and s, which may be 0, cancels.
        if q == 0.0:
            return prediction / p
        d = a * q - s * p
        return (q / d) * x_t - (s / d) * prediction

    def times(self, n):
        """The times of n DDIM steps, noisiest first: "trailing" spacing."""
        if self.path == "steps":
            if not 1 <= n <= self.steps:
                raise ValueError(f"{n} steps; use 1 to {self.steps}")
            return [round(self.steps - i * (self.steps / n)) - 1 for i in range(n)]
        return [(n - k) / n * self.steps for k in range(n)]


# Units


class Units(nn.Module):
    """value = scale * normalised + shift, for samples of a shape."""

    def __init__(self, units, shape):
        super().__init__()
        for name in ("shift", "scale"):
            values = torch.tensor(units[name], dtype=torch.float64).repeat_interleave(units["repeat"])
            values = values.expand(math.prod(shape)) if len(values) == 1 else values
            self.register_buffer(name, values.reshape(shape), persistent=False)

    def normalise(self, x):
        return ((x.double() - self.shift) / self.scale).float()

    def restore(self, x):
        return (x.double() * self.scale + self.shift).float()


class Model(nn.Module):
    """A network with the units of its data and of its conditions, and its diffusion process.

    Conditions are given by name, those that the model has: `label` [B], whole numbers, the number of classes for an unknown
    one; `vector` [B, K]; `given` [B, ...]; and `known` [B, *shape], samples in which NaN marks the values to fill in.
    """

    def __init__(self, config):
        super().__init__()
        self.config, self.shape = config, config["shape"]
        self.network = NETWORKS[config["network"]["name"]](config["network"], self.shape)
        self.process = Process(config["process"])
        self.units = Units(config["units"], self.shape)
        conditions = config["conditions"]
        self.classes, self.gaps = conditions["classes"], conditions["gaps"]
        self.vector_units = Units(conditions["vector"], conditions["vector"]["shape"]) if conditions["vector"] else None
        self.given_units = Units(conditions["given"], conditions["given"]["shape"]) if conditions["given"] else None
        for name in ("low", "high"):
            limits = torch.tensor(config["limits"][name]).repeat_interleave(config["limits"]["repeat"])
            self.register_buffer(name, limits.expand(math.prod(self.shape)).reshape(self.shape), persistent=False)

    def forward(self, x_t, t, label=None, vector=None, given=None):
        """The prediction [B, *shape] of x_t [B, *shape] at t [B], in the units of the network. `given` has the channels of the
        known values of all kinds, [B, G, *places]."""
        channels, places = channels_and_places(self.shape)
        x = x_t.reshape(-1, channels, *places)
        if given is not None:
            x = torch.cat([x, given.reshape(len(x), -1, *places)], dim=1)
        return self.network(x, t, label, vector).reshape(-1, *self.shape)

    def conditions(self, count, label=None, vector=None, given=None, known=None):
        """The conditions in the units of the network, as arguments of `forward`; those that are None are unknown ones, but
        labels are then the classes in turn."""
        made, device, places = {}, self.low.device, channels_and_places(self.shape)[1]
        taken = {"label": self.classes, "vector": self.vector_units, "given": self.given_units, "known": self.gaps}
        for name, value in {"label": label, "vector": vector, "given": given, "known": known}.items():
            if value is not None and not taken[name]:
                raise ValueError(f"this model has no condition {name!r}; it has: {[n for n in taken if taken[n]]}")
        if self.classes:
            label = torch.arange(count, device=device) % self.classes if label is None else label
            if not 0 <= int(torch.as_tensor(label).min()) <= int(torch.as_tensor(label).max()) <= self.classes:
                raise ValueError(f"label {label}: use 0 to {self.classes - 1}, or {self.classes} for an unknown class")
            made["label"] = torch.as_tensor(label, device=device).expand(count)
        if self.vector_units:
            size = math.prod(self.vector_units.shift.shape)
            zeros = torch.zeros(count, size, device=device)
            made["vector"] = zeros if vector is None else self.vector_units.normalise(vector).reshape(count, size)
        parts = []
        if self.given_units:
            channels = channels_and_places(self.given_units.shift.shape)[0]
            zeros = torch.zeros(count, channels, *places, device=device)
            parts.append(zeros if given is None else self.given_units.normalise(given).reshape(zeros.shape))
        if self.gaps:
            known = torch.full((count, *self.shape), math.nan, device=device) if known is None else known
            mask = (~known.isnan()).float()
            values = self.units.normalise(known).nan_to_num(nan=0.0)
            parts += [part.reshape(count, -1, *places) for part in (values, mask)]
        if parts:
            made["given"] = torch.cat(parts, dim=1)
        return made

    @torch.no_grad()
    def estimate(self, noisy, t=0, **conditions):
        """The clean data, all in the units of the data. `noisy` is shift + scale x_t: for a denoiser the noisy data
        themselves."""
        x_t = self.units.normalise(noisy)
        times = torch.full((len(x_t),), float(t), device=x_t.device)
        prediction = self(x_t, times, **self.conditions(len(x_t), **conditions))
        if self.config["task"] != "denoise":
            prediction = self.process.estimate(x_t, prediction, t)
        return self.units.restore(prediction)

    @torch.no_grad()
    def sample(self, count=16, steps=100, noise=None, generator=None, guidance=1.0, clip=True, **conditions):
        """Samples in the units of the data, by DDIM (Song et al. 2021). `noise` [count, *shape] is standard normal. A guidance
        above 1 moves the prediction away from that without conditions (Ho and Salimans 2022)."""
        if self.config["no_samples"]:
            raise ValueError(self.config["no_samples"])
        device = self.low.device
        if noise is None:
            noise = torch.randn(count, *self.shape, generator=generator, device=device)
        x, count = noise.to(device), len(noise)
        given = self.conditions(count, **conditions)
        if guidance != 1.0 and not given:
            raise ValueError(f"guidance {guidance}: this model has no conditions")
        unknown = {name: torch.zeros_like(value) for name, value in given.items()}
        if self.classes:
            unknown["label"] = torch.full_like(given["label"], self.classes)
        times = self.process.times(steps)
        levels = [self.process.level(t) for t in times] + [(1.0, 0.0)]
        for t, (a, s), (a_to, s_to) in zip(times, levels, levels[1:]):
            at = torch.full((count,), float(t), device=device)
            prediction = self(x, at, **given)
            if guidance != 1.0:
                without = self(x, at, **unknown)
                prediction = without + guidance * (prediction - without)
            x0 = self.process.estimate(x, prediction, t)
            if clip:
                x0 = x0.clamp(self.low, self.high)
            # eps from the clipped estimate
            x = a_to * x0 + (s_to / s) * (x - a * x0)
        x = self.units.restore(x)
        known = conditions.get("known")
        return x if known is None else torch.where(known.isnan(), x, known)


def load(folder=HERE):
    """The model of a folder, with its weights, in evaluation mode."""
    folder = Path(folder)
    model = Model(json.loads((folder / "config.json").read_text()))
    model.network.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def check(model, path):
    """The largest errors of the prediction and of the estimate of the clean data, relative to the largest value."""
    arrays = {name: torch.from_numpy(values) for name, values in np.load(path).items()}
    conditions = {name: arrays[name] for name in ("label", "vector", "given", "known") if name in arrays}

    def error(got, want):
        return ((got - want).abs().max() / want.abs().max().clamp(min=1.0)).item()

    with torch.no_grad():
        prediction = model(arrays["x_t"], arrays["t"], **model.conditions(len(arrays["t"]), **conditions))
    errors = {"prediction": error(prediction, arrays["prediction"])}
    rows = range(len(arrays["t"]))
    noisy, times = model.units.restore(arrays["x_t"]), arrays["t"].tolist()
    row = {name: [values[i : i + 1] for i in rows] for name, values in conditions.items()}
    clean = [model.estimate(noisy[i : i + 1], times[i], **{n: v[i] for n, v in row.items()}) for i in rows]
    errors["clean data"] = error(torch.cat(clean), arrays["clean"])
    return errors


def main():
    parser = argparse.ArgumentParser(description="Checks the model and draws samples.")
    parser.add_argument("--count", type=int, default=16, help="number of samples")
    parser.add_argument("--steps", type=int, default=100, help="steps of DDIM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", type=int, help="class of the samples")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("samples.npy"))
    args = parser.parse_args()
    model = load()
    errors = check(model, HERE / "check.npz")
    for name, error in errors.items():
        print(f"{name}: largest relative error {error:.1e}")
    if not max(errors.values()) <= 1e-5:
        raise SystemExit("the network does not compute what it should: an error is above 1e-5")
    if model.config["no_samples"]:
        print(model.config["no_samples"])
        return
    generator = torch.Generator().manual_seed(args.seed)
    label = {} if args.label is None else {"label": args.label}
    samples = model.sample(args.count, args.steps, generator=generator, guidance=args.guidance, **label)
    np.save(args.out, samples.numpy())
    print(f"{len(samples)} samples of shape {list(samples.shape[1:])}: {args.out}")


if __name__ == "__main__":
    main()
