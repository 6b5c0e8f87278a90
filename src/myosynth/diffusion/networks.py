"""The residual U-Net: `unet1d` along time with bins as channels, `unet2d` over the planes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from myosynth.errors import ConfigError

__all__ = ["BACKBONES", "ResidualUNet", "TemporalUNet"]


BACKBONES = ("temporal", "unet1d", "unet2d")


class _Block(nn.Module):
    """GroupNorm–SiLU–convolution twice, modulated by the condition, with a residual path.

    `n_known` is the number of planes that modulate position by position, or 0.
    """

    def __init__(self, conv: Any, n_in: int, n_out: int, n_embed: int, n_known: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(n_in), _norm(n_out)
        self.conv1 = conv(n_in, n_out, 3, padding=1)
        self.conv2 = conv(n_out, n_out, 3, padding=1)
        self.modulate = nn.Linear(n_embed, 2 * n_out)
        self.modulate_here = conv(n_known, 2 * n_out, 1) if n_known else None
        self.skip = conv(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)
        if self.modulate_here is not None:
            nn.init.zeros_(self.modulate_here.weight)
            nn.init.zeros_(self.modulate_here.bias)

    def forward(self, x: Tensor, embedding: Tensor, known: Tensor | None) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        change = self.modulate(embedding)
        change = change.reshape(*change.shape, *(1,) * (x.ndim - 2))
        if self.modulate_here is not None:
            change = change + self.modulate_here(known)
        scale, shift = change.chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.conv2(functional.silu(h))
        return out


class _Attention(nn.Module):
    """Self-attention over all positions of the coarsest level."""

    def __init__(self, width: int, n_heads: int = 4) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.n_heads = n_heads
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, width = x.shape[:2]
        flat = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            part.reshape(batch, -1, self.n_heads, width // self.n_heads).transpose(1, 2)
            for part in self.qkv(flat).chunk(3, dim=-1)
        )
        # few positions: torch's fused kernel takes four times as long backwards on a CPU
        likeness = q @ k.transpose(-2, -1) * (width // self.n_heads) ** -0.5
        mixed = (likeness.softmax(-1).to(v.dtype) @ v).transpose(1, 2)
        change: Tensor = self.out(mixed.reshape(batch, -1, width)).transpose(1, 2)
        return x + change.reshape(x.shape)


class ResidualUNet(nn.Module):
    """Noisy planes and their conditions → a residual and a gain map on the input.

    Parameters
    ----------
    in_planes : int
        Planes of the noisy input (B, in_planes, F, N); the gain map is shared by `n_parts` of them.
    n_bins : int
        F.
    n_extra : int
        Planes (B, n_extra, N) of a condition that is known by frame (the envelope map), or 0. They
        are planes of the input, and their means modulate every block; along time they themselves do
        as well, position by position.
    n_tasks, n_efforts : int
        Size of the task vocabulary without the null task; length of the effort vector.
    backbone : {"unet1d", "unet2d"}
        Convolve along time with bins as channels, or over patches of bins × frames.
    patch : (int, int)
        Bins and frames of a patch of `unet2d`; they divide F and N.
    width : int
        Channels of each of three levels, a multiple of 32; the coarsest has half as many again.
    n_fine_levels : int
        Finer levels in front of them, of half as many channels.
    n_parts : int
        2 for real and imaginary planes, which share one gain; 1 for an envelope map.
    """

    def __init__(
        self,
        *,
        in_planes: int,
        n_bins: int,
        n_extra: int,
        n_tasks: int,
        n_efforts: int,
        backbone: str = "unet1d",
        width: int = 256,
        patch: tuple[int, int] = (2, 4),
        n_parts: int = 2,
        n_blocks: int = 2,
        n_fine_levels: int = 0,
    ) -> None:
        super().__init__()
        if backbone not in ("unet1d", "unet2d"):
            raise ConfigError(f"unknown backbone {backbone!r}; take one of {', '.join(BACKBONES)}")
        self.in_planes, self.n_bins, self.n_parts = in_planes, n_bins, n_parts
        self.n_tasks = n_tasks
        self.patch = patch if backbone == "unet2d" else None
        self.flat = self.patch is None
        conv: Any = nn.Conv1d if self.flat else nn.Conv2d
        patch_f, patch_n = self.patch or (n_bins, 1)
        n_gain = in_planes // n_parts
        n_in = in_planes * patch_f * patch_n + n_extra * patch_n
        self.out_sizes = [in_planes * patch_f * patch_n, n_gain * patch_f * patch_n]
        n_embed, n_known = 2 * width, n_extra if self.flat else 0
        self.register_buffer("frequencies", torch.exp(torch.linspace(-2.5, 3.5, width // 4)))
        self.embed_sigma = nn.Linear(2 * (width // 4), n_embed)
        self.embed_task = nn.Embedding(n_tasks + 1, n_embed)
        self.embed_effort = nn.Sequential(
            nn.Linear(n_efforts, width), nn.SiLU(), nn.Linear(width, n_embed)
        )
        self.embed_extra = nn.Linear(n_extra, n_embed) if n_extra else None
        self.embed = nn.Sequential(nn.SiLU(), nn.Linear(n_embed, n_embed), nn.SiLU())
        widths = [*n_fine_levels * [width // 2], width, width, width + width // 2]
        self.first = conv(n_in, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        previous = widths[0]
        for level, w in enumerate(widths):
            self.down.append(
                nn.ModuleList(
                    _Block(conv, previous if i == 0 else w, w, n_embed, n_known)
                    for i in range(n_blocks)
                )
            )
            previous = w
            if level < len(widths) - 1:
                self.shrink.append(conv(w, w, 3, stride=2, padding=1))
        self.attention = _Attention(widths[-1])
        self.middle = _Block(conv, widths[-1], widths[-1], n_embed, n_known)
        for w in reversed(widths[:-1]):
            self.grow.append(conv(previous, w, 1))
            self.up.append(
                nn.ModuleList(
                    _Block(conv, 2 * w if i == 0 else w, w, n_embed, n_known)
                    for i in range(n_blocks)
                )
            )
            previous = w
        self.norm = _norm(widths[0])
        self.last = conv(widths[0], sum(self.out_sizes), 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    frequencies: Tensor

    def forward(
        self, x: Tensor, log_sigma: Tensor, task_id: Tensor, effort: Tensor, extra: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """x (B, P, F, N), log_sigma (B,), task_id (B,), effort (B, E), extra (B, X, N) or None.

        Along time `extra` may have any number of frames over the same time.

        Returns
        -------
        residual : Tensor, (B, P, F, N)
        gain : Tensor, (B, P, F, N)
        """
        phase = log_sigma[:, None] * self.frequencies
        embedding = (
            self.embed_sigma(torch.cat([phase.cos(), phase.sin()], dim=1))
            + self.embed_task(task_id)
            + self.embed_effort(effort)
        )
        if self.embed_extra is not None and extra is not None:
            embedding = embedding + self.embed_extra(extra.mean(-1))
        embedding = self.embed(embedding)
        h = self.first(self._arrange(x, extra))
        kept = []
        for level, blocks in enumerate(self.down):
            known = self._known(extra, h)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding, known)
            if level < len(self.shrink):
                kept.append((h, known))
                h = self.shrink[level](h)
        h = self.middle(self.attention(h), embedding, known)
        for level, blocks in enumerate(self.up):
            finer, known = kept.pop()
            h = functional.interpolate(self.grow[level](h), size=finer.shape[2:])
            h = torch.cat([h, finer], dim=1)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding, known)
        out = self.last(functional.silu(self.norm(h)))
        residual, gain = out.split(self.out_sizes, dim=1)
        gain = self._restore(gain, self.in_planes // self.n_parts, x.shape)
        return self._restore(residual, self.in_planes, x.shape), gain.repeat(1, self.n_parts, 1, 1)

    def project(self, x: Tensor) -> Tensor:
        """Planes as they are; see `TemporalUNet.project`."""
        return x

    def _known(self, extra: Tensor | None, h: Tensor) -> Tensor | None:
        """What is known by frame, at the positions of h (B, W, N') and in the precision of h."""
        if extra is None or not self.flat:
            return None
        known: Tensor = functional.interpolate(extra, size=h.shape[-1], mode="linear")
        return known.to(h.dtype)

    def _arrange(self, x: Tensor, extra: Tensor | None) -> Tensor:
        batch, planes, bins, frames = x.shape
        if self.flat:
            h = x.reshape(batch, planes * bins, frames)
            known = self._known(extra, h)
            return h if known is None else torch.cat([h, known], dim=1)
        assert self.patch is not None
        pf, pn = self.patch
        h = x.reshape(batch, planes, bins // pf, pf, frames // pn, pn)
        h = h.permute(0, 1, 3, 5, 2, 4).reshape(batch, -1, bins // pf, frames // pn)
        if extra is None:
            return h
        e = extra.reshape(batch, -1, frames // pn, pn).transpose(2, 3)
        e = e.reshape(batch, -1, 1, frames // pn).expand(-1, -1, bins // pf, -1)
        return torch.cat([h, e], dim=1)

    def _restore(self, h: Tensor, planes: int, shape: torch.Size) -> Tensor:
        batch, _, bins, frames = shape
        if self.flat:
            return h.reshape(batch, planes, bins, frames)
        assert self.patch is not None
        pf, pn = self.patch
        h = h.reshape(batch, planes, pf, pn, bins // pf, frames // pn)
        return h.permute(0, 1, 4, 2, 5, 3).reshape(batch, planes, bins, frames)


class TemporalUNet(nn.Module):
    """The residual U-Net along time, between an inverse STFT and an STFT.

    An action potential keeps its shape wherever it falls, which a convolution along time knows
    from the start, while its planes turn with its place within the frame. Takes and gives what
    `ResidualUNet` does; the gain acts on the signal.

    Parameters
    ----------
    to_signal, to_planes : callable
        (B, 2C, F, N) → (B, C, T) and back: inverse STFT and STFT, T a multiple of `patch_times`.
    scale : float
        Brings the signal of white planes of unit variance to unit variance.
    patch_times : int
        Samples of one position.
    n_channels, n_extra, n_tasks, n_efforts, width, n_blocks, n_fine_levels
        As in `ResidualUNet`.
    """

    def __init__(
        self,
        *,
        to_signal: Callable[[Tensor], Tensor],
        to_planes: Callable[[Tensor], Tensor],
        scale: float,
        n_channels: int,
        in_planes: int,
        n_bins: int,
        n_extra: int,
        n_tasks: int,
        n_efforts: int,
        patch_times: int = 4,
        width: int = 64,
        n_blocks: int = 1,
        n_fine_levels: int = 1,
    ) -> None:
        super().__init__()
        self.to_signal, self.to_planes, self.scale = to_signal, to_planes, scale
        self.in_planes, self.n_bins, self.n_tasks = in_planes, n_bins, n_tasks
        self.patch_times = patch_times
        self.inner = ResidualUNet(
            in_planes=n_channels,
            n_bins=patch_times,
            n_extra=n_extra,
            n_tasks=n_tasks,
            n_efforts=n_efforts,
            backbone="unet1d",
            width=width,
            n_parts=1,
            n_blocks=n_blocks,
            n_fine_levels=n_fine_levels,
        )

    def project(self, x: Tensor) -> Tensor:
        """The nearest planes that are the STFT of a signal: what is not cannot be data."""
        with torch.autocast(x.device.type, enabled=False):
            return self.to_planes(self.to_signal(x))

    def forward(
        self, x: Tensor, log_sigma: Tensor, task_id: Tensor, effort: Tensor, extra: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As `ResidualUNet.forward`; the gain map is zero, since it is already in the residual."""
        with torch.autocast(x.device.type, enabled=False):
            signal = self.scale * self.to_signal(x)
        folded = signal.reshape(*signal.shape[:2], -1, self.patch_times).transpose(2, 3)
        residual, gain = self.inner(folded, log_sigma, task_id, effort, extra)
        out = (residual.float() + gain.float() * folded).transpose(2, 3).reshape(signal.shape)
        with torch.autocast(x.device.type, enabled=False):
            planes = self.to_planes(out / self.scale)
        return planes, torch.zeros_like(planes)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(16, width // 4), width)
