"""The workloads of `langevin bench` in PyTorch, eager by default."""

import torch
from torch import nn

import common
from common import CONV, DATA, ENCODING, GROUPS, HEADS, LEVELS, NOISE, ROWS, SAMPLES, STEP, TIME, WIDTHS, T
from common import SMALL_GROUPS, SMALL_LEVELS, SMALL_SAMPLE


class Mlp(nn.Sequential):
    """[x_t | encoding] -> Linear ReLU ... -> Linear."""

    def __init__(self, widths):
        layers = [nn.Linear(a, b) for a, b in zip(widths, widths[1:])]
        super().__init__(*[m for layer in layers[:-1] for m in (layer, nn.ReLU())], layers[-1])

    def forward(self, x, enc):
        return super().forward(torch.cat([x, enc], 1))


class Conv(nn.Module):
    """conv-32: the encoding enters as a bias per channel at the middle."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in CONV)
        self.time = nn.Linear(ENCODING, CONV[2][1])

    def forward(self, x, enc):
        h, relu, double = x.view(-1, 1, 28, 28), nn.functional.relu, nn.Upsample(scale_factor=2)
        h = relu(self.layers[1](relu(self.layers[0](h))))
        h = relu(self.layers[2](h) + self.time(enc)[:, :, None, None])
        h = relu(self.layers[4](double(relu(self.layers[3](double(h))))))
        return self.layers[5](h).view(x.shape)


class Residual(nn.Module):
    def __init__(self, conv, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, inputs), conv(inputs, outputs, 3, 1, 1)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, outputs), conv(outputs, outputs, 3, 1, 1)
        self.time = nn.Linear(TIME, outputs)
        self.skip = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1)

    def forward(self, x, time):
        silu = nn.functional.silu
        bias = self.time(time).view(*x.shape[:1], -1, *[1] * (x.ndim - 2))
        h = self.conv1(silu(self.norm1(x))) + bias
        return self.skip(x) + self.conv2(silu(self.norm2(h)))


class SelfAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv, self.out = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        h = self.qkv(self.norm(x).flatten(2))
        return x + self.out(attend(h, HEADS)).view(x.shape)


def attend(qkv, heads):
    """[B, 3 C, N] to [B, C, N]."""
    b, c, n = qkv.shape
    q, k, v = qkv.view(b, 3, heads, c // 3 // heads, n).transpose(3, 4).unbind(1)
    return nn.functional.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c // 3, n)


class UNet(nn.Module):
    """The default U-Net: a residual block per level and direction, one with attention on the coarsest."""

    def __init__(self, kind):
        super().__init__()
        self.sample, levels = SAMPLES[kind], LEVELS[kind]
        conv = nn.Conv1d if len(self.sample) == 2 else nn.Conv2d
        self.time = nn.Sequential(nn.Linear(STEP, TIME), nn.SiLU(), nn.Linear(TIME, TIME), nn.SiLU())
        self.conv_in = conv(1, levels[0], 3, 1, 1)
        pairs = list(zip(levels, levels[1:]))
        self.down = nn.ModuleList(Residual(conv, a, a) for a, _ in pairs)
        self.smaller = nn.ModuleList(conv(a, b, 3, 2, 1) for a, b in pairs)
        self.middle, self.attention = Residual(conv, levels[-1], levels[-1]), SelfAttention(levels[-1])
        self.larger = nn.ModuleList(conv(b, a, 3, 1, 1) for a, b in pairs)
        self.up = nn.ModuleList(Residual(conv, 2 * a, a) for a, _ in pairs)
        self.norm_out, self.conv_out = nn.GroupNorm(GROUPS, levels[0]), conv(levels[0], 1, 3, 1, 1)

    def forward(self, x, enc):
        time, skips = self.time(enc[:, :STEP]), []
        h = self.conv_in(x.view(-1, *self.sample))
        for block, smaller in zip(self.down, self.smaller):
            h = block(h, time)
            skips.append(h)
            h = smaller(h)
        h = self.attention(self.middle(h, time))
        for block, larger, skip in reversed(list(zip(self.up, self.larger, skips))):
            h = larger(nn.functional.interpolate(h, scale_factor=2))
            h = block(torch.cat([h, skip], 1), time)
        return self.conv_out(nn.functional.silu(self.norm_out(h))).view(x.shape)


class SmallResidual(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(SMALL_GROUPS, inputs), plain(inputs, outputs, 3)
        self.norm2, self.conv2 = nn.GroupNorm(SMALL_GROUPS, outputs), plain(outputs, outputs, 3)
        self.skip = nn.Identity() if inputs == outputs else plain(inputs, outputs, 1)

    def forward(self, x):
        silu = nn.functional.silu
        return self.skip(x) + self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(x))))))


def plain(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class SmallUNet(nn.Module):
    """unet-32: a residual block per level and direction and one in the middle, without step and biases."""

    def __init__(self):
        super().__init__()
        levels = SMALL_LEVELS
        self.conv_in, self.middle = plain(SMALL_SAMPLE[0], levels[0], 3), SmallResidual(levels[-1], levels[-1])
        self.smaller = nn.ModuleList(plain(c, c, 3, 2) for c in levels[:-1])
        self.down = nn.ModuleList(SmallResidual(a, b) for a, b in zip(levels[:1] + levels, levels))
        self.up = nn.ModuleList(SmallResidual(a + b, b) for a, b in zip(levels[1:] + levels[-1:], levels))
        self.norm_out, self.conv_out = nn.GroupNorm(SMALL_GROUPS, levels[0]), plain(levels[0], SMALL_SAMPLE[0], 3)

    def forward(self, x):
        h, skips = self.conv_in(x), []
        for level, block in enumerate(self.down):
            h = block(self.smaller[level - 1](h) if level else h)
            skips.append(h)
        h = self.middle(h)
        for level in reversed(range(len(skips))):
            h = self.up[level](torch.cat([h, skips[level]], 1))
            h = nn.functional.interpolate(h, scale_factor=2) if level else h
        return self.conv_out(nn.functional.silu(self.norm_out(h)))


class Peer:
    def __init__(self, args):
        self.device, self.compiled, self.graphs = args.device, args.compile, args.graphs
        self.contiguous = args.contiguous
        self.noising = torch.tensor(common.noising_table(), device=self.device)
        self.encoding = torch.tensor(common.encoding_table(), device=self.device)

    def compile(self, f):
        return torch.compile(f) if self.compiled else f

    def captured(self, f):
        """`f` as a CUDA graph with `--graphs`: its kernels are recorded once and launched together."""
        if not self.graphs:
            return f
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):  # what is allocated or tuned at the first calls must not be recorded
            for _ in range(3):
                f()
        side.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = f()

        def replay():
            graph.replay()
            return result

        return replay

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def network(self, kind):
        if kind in WIDTHS:
            return Mlp(WIDTHS[kind]).to(self.device)
        net = Conv() if kind == "conv" else UNet(kind)
        layout = torch.channels_last if kind != "unet1d" and not self.contiguous else torch.contiguous_format
        return net.to(self.device, memory_format=layout)  # conv: 1.7 times faster on a CPU with channels last

    def training(self, kind, batch):
        """advance(n) and the list of losses it appends to."""
        net = self.network(kind)
        data = torch.from_numpy(common.sine_waves(DATA[kind])).to(self.device)
        adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True, capturable=self.graphs)

        @self.compile
        def loss_of_batch():
            x0 = data[torch.randint(ROWS, (batch,), device=self.device)]
            t = torch.randint(T, (batch,), device=self.device)
            eps, scale = torch.randn_like(x0), self.noising[t]
            x_t = torch.addcmul(scale[:, :1] * x0, scale[:, 1:], eps)
            return nn.functional.mse_loss(net(x_t, self.encoding[t]), eps)

        def step():
            adam.zero_grad(set_to_none=True)
            loss = loss_of_batch()
            loss.backward()
            adam.step()
            return loss

        step, losses = self.captured(step), []

        def advance(n):
            for i in range(n):
                loss = step()
                if i % 100 == 99 or i == n - 1:
                    losses.append(loss.item())
            self.wait()

        return advance, losses

    def gemm(self, n):
        a = torch.randn(n, n, device=self.device)
        b = torch.randn(n, n, device=self.device) / n**0.5
        c, d = torch.empty_like(a), torch.empty_like(a)

        @torch.inference_mode()
        def advance(count):
            for _ in range(count):
                torch.mm(a, b, out=c)
                torch.mm(c, b, out=d)
            self.wait()

        return advance

    def small_unet(self, batch):
        layout = torch.contiguous_format if self.contiguous else torch.channels_last
        net = SmallUNet().to(self.device, memory_format=layout)
        x, target = (torch.randn(batch, *SMALL_SAMPLE, device=self.device) for _ in range(2))
        x, weights = x.to(memory_format=layout), list(net.parameters())

        @self.compile
        def loss():
            return nn.functional.mse_loss(net(x), target)

        step = self.captured(lambda: torch.autograd.grad(loss(), weights))

        def advance(count):
            for _ in range(count):
                step()
            self.wait()

        return advance

    def attention(self, channels, heads, places):
        qkv = torch.randn(1, 3 * channels, places, device=self.device, requires_grad=True)
        dy = torch.randn(1, channels, places, device=self.device)

        def step():
            return torch.autograd.grad(attend(qkv, heads), qkv, dy)

        step = self.captured(self.compile(step))

        def advance(count):
            for _ in range(count):
                step()
            self.wait()

        return advance

    def noise(self):
        """Into buffers that exist: new ones of this size cost more than the arithmetic."""
        x0 = torch.randn(NOISE, device=self.device)
        eps, x_t = torch.empty_like(x0), torch.empty_like(x0)

        @torch.inference_mode()
        def advance(count):
            for _ in range(count):
                scale = self.noising[torch.randint(T, (NOISE[0],), device=self.device)]
                torch.randn(NOISE, out=eps)
                torch.mul(x0, scale[:, :1], out=x_t).addcmul_(eps, scale[:, 1:])
            self.wait()

        return advance

    def sampling(self, kind, batch, steps):
        net, table = self.network(kind), common.reverse_table(steps)

        @self.compile
        def step(x, enc, a, b, s):
            eps = net(x, enc.expand(batch, ENCODING))
            x = (a * x).add_(eps, alpha=b)
            return x.add_(torch.randn_like(x), alpha=s) if s else x

        @torch.inference_mode()
        def draw():
            x = torch.randn(batch, DATA[kind], device=self.device)
            for t, *coefficients in table:
                x = step(x, self.encoding[t], *coefficients)
            return x

        draw = self.captured(draw)

        def advance(count):
            for _ in range(count):
                draw().cpu()

        return advance


def main():
    args = common.arguments()
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    name = f"{args.threads} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    library = f"pytorch {torch.__version__} {'graphs' if args.graphs else 'compiled' if args.compile else 'eager'}"
    common.measure(args, Peer(args), dict(library=library, device=name, backend=args.device))


if __name__ == "__main__":
    main()
