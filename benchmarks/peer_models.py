"""Generators of other designs, for comparison: plain, conditional on the task. Not a script.

All work on the raw signal. Each task is divided by its own largest amplitude in training, which
spares these networks the spread of amplitudes between tasks (a factor of ten in lifting).
"""

import importlib
import importlib.util
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Array = NDArray[np.float32]

WIDTHS = (256, 128, 64, 32)
STRIDE = 4


class MissingPeerError(RuntimeError):
    """A library that a peer needs is not installed."""


class Peer(ABC):
    """A generator of one segment length.

    Parameters
    ----------
    n_channels, n_times, n_tasks : int
        Shape of a segment, and size of the vocabulary.
    seed : int
        Of weights, batches and noise.
    """

    multiple = 1  # of which the length that the network works on is one
    batch_size = 32

    def __init__(self, n_channels: int, n_times: int, n_tasks: int, seed: int) -> None:
        self.n_channels, self.n_times, self.n_tasks, self.seed = (
            n_channels, n_times, n_tasks, seed,
        )  # fmt: skip
        self.length = -(-n_times // self.multiple) * self.multiple
        self.peak = torch.ones(n_tasks)
        self.n_steps = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the networks."""

    @abstractmethod
    def step(self, x: Tensor, task: Tensor) -> None:
        """Learn from a batch, (B, C, length) within ±1 and (B,)."""

    @abstractmethod
    def generate(self, task: Tensor) -> Tensor:
        """(B,) → (B, C, length) within about ±1."""

    @abstractmethod
    def networks(self) -> list[nn.Module]:
        """What has parameters."""

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for network in self.networks() for p in network.parameters())

    def fit(
        self,
        signals: Array,
        task: NDArray[np.intp],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Train for a time by a clock on segments (n, C, T) in volts."""
        shown = began = clock()
        for number in range(self.n_tasks):
            self.peak[number] = float(np.abs(signals[task == number]).max())
        rng = np.random.default_rng(self.seed)
        self.rate(0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for network in self.networks():
                network.train()
            while (now := clock()) < began + seconds:
                self.rate((now - began) / seconds)
                rows = rng.integers(len(signals), size=self.batch_size)
                which = torch.from_numpy(task[rows])
                x = torch.from_numpy(signals[rows]) / self.peak[which, None, None]
                self.step(functional.pad(x, (0, self.length - self.n_times)), which)
                self.n_steps += 1
                if now - shown > 30:
                    shown = now
                    print(f"  {(now - began) / seconds:4.0%} step {self.n_steps}", file=sys.stderr)

    def rate(self, share: float) -> None:
        """Set learning rates for the share of the time that is used up: a short rise, then flat."""
        for optimizer, peak in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * min(1.0, (share + 1e-3) / 0.02)

    optimizers: list[tuple[torch.optim.Optimizer, float]]

    def draw(self, task: int, n: int, seed: int) -> Array:
        """(n, C, T) in volts."""
        parts = []
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for network in self.networks():
                network.eval()
            for start in range(0, n, 16):
                which = torch.full((min(16, n - start),), task)
                made = self.generate(which)[..., : self.n_times] * self.peak[task]
                parts.append(made.float().numpy())
        return np.concatenate(parts)

    def one_hot(self, task: Tensor) -> Tensor:
        return functional.one_hot(task, self.n_tasks).float()


# -- strided convolutions, as in WaveGAN (Donahue et al. 2019, arXiv 1802.04208), for GAN and VAE


class Up(nn.Module):
    """Latent and task → signal."""

    def __init__(self, n_latent: int, n_tasks: int, n_channels: int, length: int) -> None:
        super().__init__()
        self.start = length // STRIDE ** len(WIDTHS)
        self.first = nn.Linear(n_latent + n_tasks, WIDTHS[0] * self.start)
        sizes = [*WIDTHS, n_channels]
        self.layers = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 24, stride=STRIDE, padding=10) for a, b in pairwise(sizes)
        )

    def forward(self, z: Tensor, task: Tensor) -> Tensor:
        h = self.first(torch.cat([z, task], dim=1)).reshape(len(z), WIDTHS[0], self.start)
        for layer in self.layers:
            h = layer(functional.relu(h))
        return h.tanh()


class Down(nn.Module):
    """Signal and task → `n_out` numbers."""

    def __init__(self, n_out: int, n_tasks: int, n_channels: int, length: int) -> None:
        super().__init__()
        sizes = [n_channels + n_tasks, *reversed(WIDTHS)]
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, 24, stride=STRIDE, padding=10) for a, b in pairwise(sizes)
        )
        self.last = nn.Linear(WIDTHS[0] * (length // STRIDE ** len(WIDTHS)), n_out)

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        planes = task[:, :, None].expand(-1, -1, x.shape[-1])
        h = torch.cat([x, planes], dim=1)
        for layer in self.layers:
            h = functional.leaky_relu(layer(h), 0.2)
        out: Tensor = self.last(h.flatten(1))
        return out


class WassersteinGAN(Peer):
    """Conditional WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028)."""

    multiple = STRIDE ** len(WIDTHS)
    n_latent, n_critic, penalty = 100, 5, 10.0

    def build(self) -> None:
        shape = (self.n_tasks, self.n_channels, self.length)
        self.generator, self.critic = Up(self.n_latent, *shape), Down(1, *shape)
        self.of_generator, self.of_critic = (
            torch.optim.Adam(each.parameters(), betas=(0.5, 0.9))
            for each in (self.generator, self.critic)
        )
        self.optimizers = [(self.of_generator, 1e-4), (self.of_critic, 1e-4)]

    def networks(self) -> list[nn.Module]:
        return [self.generator, self.critic]

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.generator.parameters())

    def step(self, x: Tensor, task: Tensor) -> None:
        label = self.one_hot(task)
        with torch.no_grad():
            made = self._made(label)
        share = torch.rand(len(x), 1, 1)
        between = (share * x + (1 - share) * made).requires_grad_()
        slope = torch.autograd.grad(self.critic(between, label).sum(), between, create_graph=True)
        penalty = (slope[0].flatten(1).norm(dim=1) - 1).square().mean()
        loss = (self.critic(made, label) - self.critic(x, label)).mean() + self.penalty * penalty
        self._update(self.of_critic, loss)
        if self.n_steps % self.n_critic == self.n_critic - 1:
            self._update(self.of_generator, -self.critic(self._made(label), label).mean())

    def _made(self, label: Tensor) -> Tensor:
        made: Tensor = self.generator(torch.randn(len(label), self.n_latent), label)
        return made

    @staticmethod
    def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    def generate(self, task: Tensor) -> Tensor:
        return self._made(self.one_hot(task))


class VariationalAutoencoder(Peer):
    """Conditional VAE whose decoder gives a normal distribution of learned variance.

    Segments are drawn from that distribution, not taken as its mean, which would be near zero.
    Source: Kingma & Welling 2013 (arXiv 1312.6114); Rybkin et al. 2021 (arXiv 2006.13202) for the
    variance.
    """

    multiple = STRIDE ** len(WIDTHS)
    n_latent = 64

    def build(self) -> None:
        shape = (self.n_tasks, self.n_channels, self.length)
        self.encoder, self.decoder = Down(2 * self.n_latent, *shape), Up(self.n_latent, *shape)
        self.spread = nn.Embedding(self.n_tasks, 1)
        parameters = [p for each in self.networks() for p in each.parameters()]
        self.optimizer = torch.optim.Adam(parameters)
        self.optimizers = [(self.optimizer, 5e-4)]

    def networks(self) -> list[nn.Module]:
        return [self.encoder, self.decoder, self.spread]

    def step(self, x: Tensor, task: Tensor) -> None:
        label, log_std = self.one_hot(task), self._log_std(task)
        mean, log_var = self.encoder(x, label).chunk(2, dim=1)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        error = (x - self.decoder(z, label)) / log_std.exp()
        likelihood = (0.5 * error.square() + log_std).sum((1, 2)).mean()
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
        self.optimizer.zero_grad()
        torch.autograd.backward((likelihood + divergence) / x[0].numel())
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
        self.optimizer.step()

    def _log_std(self, task: Tensor) -> Tensor:
        log_std: Tensor = self.spread(task)[:, :, None] - 3.0
        return log_std

    def generate(self, task: Tensor) -> Tensor:
        made = self.decoder(torch.randn(len(task), self.n_latent), self.one_hot(task))
        drawn: Tensor = made + self._log_std(task).exp() * torch.randn_like(made)
        return drawn


# -- denoising-diffusion-pytorch


class _TaskPlanes(nn.Module):
    """A Unet1D that sees the task as further channels."""

    self_condition = False

    def __init__(self, library: Any, n_channels: int, n_tasks: int, width: int) -> None:
        super().__init__()
        self.channels, self.n_tasks = n_channels, n_tasks
        self.unet = library.Unet1D(
            dim=width, dim_mults=(1, 2, 4, 8), channels=n_channels + n_tasks, out_dim=n_channels
        )

    def forward(self, x: Tensor, t: Tensor, task: Tensor) -> Tensor:
        planes = functional.one_hot(task, self.n_tasks).float()[:, :, None]
        given = torch.cat([x, planes.expand(-1, -1, x.shape[-1])], dim=1)
        out: Tensor = self.unet(given, t)
        return out


class RawDiffusion(Peer):
    """Unet1D and GaussianDiffusion1D of ``denoising-diffusion-pytorch`` on the raw signal.

    1000 levels of noise, velocity as in its own example for signals, drawn by DDIM. Narrower than
    its example (16, not 64) and with few steps, since at the full rate of the signal an evaluation
    of width 32 takes a quarter of a second for one segment of 3 s.
    """

    multiple = 8
    batch_size = 8
    width, n_draw, decay = 16, 25, 0.995

    def build(self) -> None:
        library = diffusion_library()
        network = _TaskPlanes(library, self.n_channels, self.n_tasks, self.width)
        self.diffusion = self._diffusion(library, network)
        self.optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
        self.optimizers = [(self.optimizer, 3e-4)]
        self.average = [p.detach().clone() for p in network.parameters()]

    def _diffusion(self, library: Any, network: nn.Module) -> Any:
        return library.GaussianDiffusion1D(
            network, seq_length=self.length, timesteps=1000, sampling_timesteps=self.n_draw,
            objective="pred_v",
        )  # fmt: skip

    def networks(self) -> list[nn.Module]:
        return [self.diffusion.model]

    def step(self, x: Tensor, task: Tensor) -> None:
        loss = self.diffusion((x + 1) / 2, model_forward_kwargs={"task": task})
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        parameters = list(self.diffusion.model.parameters())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        # early on a long average would still be the first weights
        decay = min(self.decay, self.n_steps / (self.n_steps + 10))
        with torch.no_grad():
            for average, parameter in zip(self.average, parameters, strict=True):
                average.lerp_(parameter, 1 - decay)

    def draw(self, task: int, n: int, seed: int) -> Array:
        with torch.no_grad():
            parameters = self.diffusion.model.parameters()
            for parameter, average in zip(parameters, self.average, strict=True):
                parameter.copy_(average)
        return super().draw(task, n, seed)

    def generate(self, task: Tensor) -> Tensor:
        made: Tensor = self.diffusion.sample(len(task), model_forward_kwargs={"task": task})
        return 2 * made - 1


def diffusion_library() -> ModuleType:
    """The module for signals alone: the package itself also imports what only images need.

    Raises
    ------
    MissingPeerError
        If the library, or what this module of it needs, is not installed.
    """
    name = "denoising_diffusion_pytorch"
    found = importlib.util.find_spec(name)
    if found is None or found.submodule_search_locations is None:
        raise MissingPeerError("denoising-diffusion-pytorch is not installed")
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = list(found.submodule_search_locations)
        sys.modules[name] = package
    try:
        return importlib.import_module(f"{name}.{name}_1d")
    except ImportError as error:
        raise MissingPeerError(f"denoising-diffusion-pytorch needs {error.name}") from error


PEERS: dict[str, type[Peer]] = {
    "unet1d-ddpm": RawDiffusion,
    "wgan-gp": WassersteinGAN,
    "vae": VariationalAutoencoder,
}


def seconds_text(value: float) -> str:
    """Seconds with as many digits as matter."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(max(value, 1e-4))))}f}"
