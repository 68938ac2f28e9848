"""The workloads of `langevin bench` in PyTorch, eager by default."""

import torch
from torch import nn

import common
from common import ENCODING, GEMM, NOISE, ROWS, SAMPLE, TRAIN, WIDTHS, T


def network(widths):
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers += ([nn.ReLU()] if i else []) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


class Conv(nn.Module):
    """conv-32: the encoding enters as a bias per channel at the middle."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()
        )
        self.middle = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        self.time = nn.Linear(ENCODING, 128)
        self.up = nn.Sequential(
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 3, padding=1),
        )

    def forward(self, x, enc):
        h = self.middle(self.down(x.view(-1, 1, 28, 28))) + self.time(enc)[:, :, None, None]
        return self.up(h).view(x.shape)


class Bench:
    def __init__(self, args):
        self.device, self.compile = args.device, args.compile
        bar = torch.tensor(common.alpha_bar(), dtype=torch.float64)
        self.bar = bar
        self.scale = torch.stack([bar.sqrt(), (1 - bar).sqrt()], 1).float().to(self.device)
        self.encoding = torch.tensor(common.encoding_table()).float().to(self.device)

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def training(self, kind, batch):
        """advance(n) and the list of losses it appends to."""
        net = Conv() if kind == "conv" else network(WIDTHS[kind])
        net = net.to(self.device)
        width = 100 if kind == "seed" else 784
        data = torch.from_numpy(common.sine_waves(width)).to(self.device)
        adam = torch.optim.Adam(net.parameters(), lr=1e-3)

        def forward():
            x0 = data[torch.randint(ROWS, (batch,), device=self.device)]
            t = torch.randint(T, (batch,), device=self.device)
            eps = torch.randn_like(x0)
            scale = self.scale[t]
            x_t, enc = scale[:, :1] * x0 + scale[:, 1:] * eps, self.encoding[t]
            out = net(x_t, enc) if kind == "conv" else net(torch.cat([x_t, enc], 1))
            return nn.functional.mse_loss(out, eps)

        forward = torch.compile(forward) if self.compile else forward
        losses = []

        def advance(n):
            for i in range(n):
                adam.zero_grad(set_to_none=True)
                loss = forward()
                loss.backward()
                adam.step()
                if not losses or i % 100 == 99 or i == n - 1:
                    losses.append(loss.item())
            self.wait()

        return advance, losses

    def gemm(self, n):
        a = torch.randn(n, n, device=self.device)
        b = torch.randn(n, n, device=self.device) / n**0.5

        @torch.no_grad()
        def advance(count):
            for _ in range(count):
                (a @ b) @ b
            self.wait()

        return advance

    def noise(self):
        x0 = torch.randn(NOISE, device=self.device)

        @torch.no_grad()
        def advance(count):
            for _ in range(count):
                t = torch.randint(T, (NOISE[0],), device=self.device)
                eps, scale = torch.randn_like(x0), self.scale[t]
                scale[:, :1] * x0 + scale[:, 1:] * eps
            self.wait()

        return advance

    def sampling(self, kind, batch, steps):
        net = network(WIDTHS[kind]).to(self.device)
        net = torch.compile(net) if self.compile else net
        width = WIDTHS[kind][-1]
        times = list(range(0, T, T // steps))[::-1]

        @torch.no_grad()
        def advance(count):
            for _ in range(count):
                x = torch.randn(batch, width, device=self.device)
                for t in times:
                    at = self.bar[t].item()
                    before = t - T // steps
                    ap = self.bar[before].item() if before >= 0 else 1.0
                    enc = self.encoding[t].expand(batch, ENCODING)
                    eps = net(torch.cat([x, enc], 1))
                    x0 = (x - (1 - at) ** 0.5 * eps) / at**0.5
                    if steps < T:
                        x = ap**0.5 * x0 + (1 - ap) ** 0.5 * eps
                        continue
                    beta = 1 - at / ap
                    x = ap**0.5 * beta / (1 - at) * x0 + (at / ap) ** 0.5 * (1 - ap) / (1 - at) * x
                    if t > 0:
                        x = x + (beta * (1 - ap) / (1 - at)) ** 0.5 * torch.randn_like(x)
                x.cpu()

        return advance


def main():
    args = common.arguments()
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    bench = Bench(args)
    if args.child:
        advance, losses = bench.training(*TRAIN["seed-256"])
        advance(1)
        print("loss", losses[-1], flush=True)
        return
    name = "cpu" if args.device == "cpu" else torch.cuda.get_device_name()
    backend = f"pytorch {torch.__version__} {'compiled' if args.compile else 'eager'} ({args.threads} threads)"
    train = TRAIN | {common.CONV: ("conv", 32)}
    for work in args.workload or common.NAMES:
        if work in train:
            advance, losses = bench.training(*train[work])
            value, chunks = common.rate(advance)
            tail = losses[len(losses) // 2 :]
            ends = losses[0], sum(tail) / len(tail)
            common.row(work, name, backend, value, "steps/s", train[work][1], ends, chunks=chunks)
        elif work in GEMM:
            value, _ = common.rate(bench.gemm(GEMM[work]))
            common.row(work, name, backend, value * 4 * GEMM[work] ** 3 / 1e9, "GFLOP/s")
        elif work == "noise":
            value, _ = common.rate(bench.noise())
            common.row(work, name, backend, value * NOISE[0] * NOISE[1], "elements/s", NOISE[0])
        elif work in SAMPLE:
            value, _ = common.rate(bench.sampling(*SAMPLE[work]))
            common.row(work, name, backend, value * SAMPLE[work][1], "samples/s", SAMPLE[work][1])
        else:
            common.row(work, name, backend, common.first_step(__file__, args.device), "s", 256)


if __name__ == "__main__":
    main()
