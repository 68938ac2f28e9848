"""The workloads of `langevin bench` in PyTorch, eager by default."""

import torch
from torch import nn

import common
from common import CONV, DATA, ENCODING, NOISE, ROWS, WIDTHS, T


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


class Peer:
    def __init__(self, args):
        self.device, self.compiled = args.device, args.compile
        self.noising = torch.tensor(common.noising_table(), device=self.device)
        self.encoding = torch.tensor(common.encoding_table(), device=self.device)

    def compile(self, f):
        return torch.compile(f) if self.compiled else f

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def network(self, kind):
        if kind == "conv":
            return Conv().to(self.device, memory_format=torch.channels_last)  # 1.7 times faster on a CPU
        return Mlp(WIDTHS[kind]).to(self.device)

    def training(self, kind, batch):
        """advance(n) and the list of losses it appends to."""
        net = self.network(kind)
        data = torch.from_numpy(common.sine_waves(DATA[kind])).to(self.device)
        adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

        @self.compile
        def loss_of_batch():
            x0 = data[torch.randint(ROWS, (batch,), device=self.device)]
            t = torch.randint(T, (batch,), device=self.device)
            eps, scale = torch.randn_like(x0), self.noising[t]
            x_t = torch.addcmul(scale[:, :1] * x0, scale[:, 1:], eps)
            return nn.functional.mse_loss(net(x_t, self.encoding[t]), eps)

        losses = []

        def advance(n):
            for i in range(n):
                adam.zero_grad(set_to_none=True)
                loss = loss_of_batch()
                loss.backward()
                adam.step()
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
        def advance(count):
            for _ in range(count):
                x = torch.randn(batch, WIDTHS[kind][-1], device=self.device)
                for t, *coefficients in table:
                    x = step(x, self.encoding[t], *coefficients)
                x.cpu()

        return advance


def main():
    args = common.arguments()
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    name = f"{args.threads} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    library = f"pytorch {torch.__version__} {'compiled' if args.compile else 'eager'}"
    common.measure(args, Peer(args), dict(library=library, device=name, backend=args.device))


if __name__ == "__main__":
    main()
