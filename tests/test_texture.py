"""Fine spectrum and peakedness, the consistency of what is drawn with them, and Muon's steps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from myosynth.diffusion.codec import _TEXTURE_STD, SpectrogramCodec
from myosynth.diffusion.networks import ResidualUNet
from myosynth.diffusion.optimisers import (
    _N_ITERATIONS,
    _QUINTIC,
    Muon,
    _orthogonal,
    make_optimiser,
)
from myosynth.diffusion.texture import Texture, filtered
from myosynth.signal.filters import bandpass

FS, N_TIMES = 1000.0, 3000


def shots(n: int, rate_hz: float, seed: int = 0) -> torch.Tensor:
    """Bursting trains of one wavelet at random times: peaked where the rate is low."""
    rng = np.random.default_rng(seed)
    raw = (rng.random((n, 2, N_TIMES)) < rate_hz / FS) * rng.standard_normal((n, 2, N_TIMES))
    raw *= 1 + 0.8 * np.sin(2 * np.pi * 1.5 * np.arange(N_TIMES) / FS)
    noise = 1e-3 * rng.standard_normal(raw.shape)
    return torch.from_numpy(bandpass(raw + noise, FS, 10.0, 400.0).astype(np.float32))


def fitted(signals: torch.Tensor) -> tuple[SpectrogramCodec, torch.Tensor]:
    codec = SpectrogramCodec(fs=FS, n_channels=2, n_times=N_TIMES, band_hz=(10.0, 400.0))
    shape, _ = codec.split_gain(signals)
    codec.fit(lambda: iter([shape]))
    return codec, shape


@settings(max_examples=20, deadline=None)
@given(n_times=st.integers(64, 400), n_lines=st.integers(2, 40), seed=st.integers(0, 99))
def test_a_filter_is_undone_exactly(n_times: int, n_lines: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ring = torch.randn(3, 2, n_times, generator=generator)
    gain = 0.1 + torch.rand(2, n_lines, generator=generator)
    back = filtered(filtered(ring, gain, inverse=True), gain)
    assert torch.allclose(back, ring, atol=1e-4)


def test_a_signal_gets_the_spectrum_and_the_peaks_that_are_asked() -> None:
    codec, shape = fitted(shots(40, 60.0))
    texture, half = codec.texture, 20
    ring, other = (codec._flat(codec._ring(part)) for part in (shape[:half], shape[half:]))
    n = texture.n_bands
    amplitude = (1 + 0.6 * torch.linspace(0, 20, ring.shape[-1]).sin()).expand_as(ring)

    def measure(ring: torch.Tensor, coloured: torch.Tensor) -> torch.Tensor:
        return texture.measure(ring, coloured, coloured, amplitude)

    wanted, had = measure(other, other), measure(ring, ring)
    moved = texture.with_spectrum(ring, wanted)
    before = (had - wanted)[..., :n].abs().mean()
    assert (measure(moved, ring) - wanted)[..., :n].abs().mean() < 0.5 * before
    by_itself = texture.with_peaks(ring, wanted[..., -2:-1])
    both = texture.with_peaks(ring, wanted[..., -2:], amplitude)
    assert (measure(ring, by_itself) - wanted)[..., -2].abs().median() < 0.05
    left = (measure(ring, both) - wanted)[..., -2:].abs().flatten(0, 1)
    assert (left.median(0).values < 0.05).all()
    for peaked in (by_itself, both):
        assert torch.allclose(peaked.square().mean(-1), ring.square().mean(-1), rtol=1e-4)
    assert ((had - wanted)[..., -2:].abs().amax((0, 1)) > 0.2).all()


def test_loud_stretches_may_be_more_peaked_than_quiet_ones() -> None:
    """Two carriers equally peaked by themselves, one where it is loud, the other where it is quiet.

    The second is made as the first.
    """
    texture, n = Texture(512, 100, 4), 12000
    rng = np.random.default_rng(1)
    amplitude = torch.from_numpy(np.exp(np.sin(np.arange(n) / 300))).float()[None, None]
    smooth, sharp = rng.standard_normal((2, 1, 1, n))
    sharp = sharp * np.abs(sharp) ** 0.15
    sharp /= np.sqrt((sharp**2).mean())
    loud = (amplitude > amplitude.median()).numpy()
    first, second = (
        torch.from_numpy(np.where(where, sharp, smooth)).float() for where in (loud, ~loud)
    )

    def peaks(carrier: torch.Tensor) -> torch.Tensor:
        return texture.measure(carrier, carrier, carrier, amplitude)[..., -2:]

    def kurtosis(signal: torch.Tensor, where: np.ndarray) -> float:
        square = signal[torch.from_numpy(where)].square()
        return float(square.square().mean() / square.mean().square())

    by_itself, under = (peaks(first) - peaks(second))[0, 0].tolist()
    assert abs(by_itself) < 0.1
    assert under > 0.15
    moved = texture.with_peaks(second, peaks(first), amplitude)
    assert (peaks(moved) - peaks(first)).abs().max() < 0.02
    assert kurtosis(moved, loud) > kurtosis(second, loud) + 0.2
    assert kurtosis(moved, ~loud) < kurtosis(second, ~loud) - 0.2


@pytest.mark.parametrize("depth", [0.0, 0.1])
def test_where_loudness_hardly_varies_its_share_is_left_alone(depth: float) -> None:
    """Such a difference could be had only by very different powers a moment apart."""
    texture = Texture(512, 100, 4)
    carrier = torch.randn(4, 1, 6000, generator=torch.Generator().manual_seed(0))
    amplitude = (1 + depth * torch.linspace(0, 40, 6000).sin()).expand_as(carrier)
    wanted = torch.tensor([1.3, 0.1]).expand(4, 1, 2)
    peaked = texture.with_peaks(carrier, wanted, amplitude)
    found = texture.measure(peaked, peaked, peaked, amplitude)[..., -2:]
    assert (found - wanted)[..., 0].abs().max() < 0.06
    for before, after in zip(carrier[:, 0].numpy(), peaked[:, 0].numpy(), strict=True):
        size = np.log(np.abs(before))
        line = np.polyfit(size, np.log(np.abs(after)), 1)
        off = np.log(np.abs(after)) - np.polyval(line, size)
        assert off.std() < 0.01  # about one power everywhere


def test_sparse_firing_is_seen_as_peaked() -> None:
    codec, _ = fitted(shots(20, 200.0))
    low, high = (codec.split_gain(shots(20, rate, seed=3))[0] for rate in (20.0, 400.0))
    peaks = [codec.encode(each)[0][:, :, -3:-1, 0].mean((0, 1)) for each in (low, high)]
    assert ((peaks[0] - peaks[1]) * _TEXTURE_STD > 1).all()  # in standard deviations


def test_rows_of_the_texture_are_small_beside_those_of_the_map() -> None:
    codec, shape = fitted(shots(20, 100.0))
    envelope, n = codec.encode(shape)[0], codec.n_bands
    assert envelope[:, :, :n].std() == pytest.approx(1.0, abs=0.02)
    assert envelope[:, :, n:].std() == pytest.approx(1 / _TEXTURE_STD, abs=0.02)


def test_real_signals_are_left_as_they_are() -> None:
    codec, shape = fitted(shots(20, 100.0))
    envelope, planes = codec.encode(shape)
    same = codec.decode(envelope, codec.consistent(envelope, planes, 2))
    assert float((same - shape).norm() / shape.norm()) < 0.1
    assert torch.equal(codec.consistent(envelope, planes, 0), planes)


def test_what_is_drawn_gets_the_map_it_was_asked_to_have() -> None:
    codec, shape = fitted(shots(20, 100.0))
    envelope, planes = codec.encode(shape)
    drawn = torch.randn(planes.shape, generator=torch.Generator().manual_seed(0))

    def off(planes: torch.Tensor) -> torch.Tensor:
        got, _ = codec.encode(codec.decode(envelope, planes))
        return (got - envelope).abs().mean((0, 1, 3))

    before, after = off(drawn), off(codec.consistent(envelope, drawn, 8))
    n = codec.n_bands
    assert float(after[:n].mean() / before[:n].mean()) < 0.5  # power by band and frame
    assert float(after[n:-3].mean() / before[n:-3].mean()) < 0.5  # fine spectrum
    assert ((after / before)[-3:-1] < 0.5).all()  # peakedness, white and coloured
    assert after[-1] < 0.8 * before[-1]  # more in loud stretches: noise is far from that


def test_peaks_are_those_of_the_carrier_that_is_measured_afterwards() -> None:
    """A peak raises the power of its own frame, so that it is smaller under the map it makes."""
    codec, shape = fitted(shots(30, 60.0))
    envelope, planes = codec.encode(shape)
    noise = torch.randn(planes.shape, generator=torch.Generator().manual_seed(0))
    held = codec.consistent(envelope, 0.6 * planes + 0.8 * noise, 8)
    got = codec.encode(codec.decode(envelope, held))[0]
    white, *coloured = (got - envelope)[:, :, -3:].abs().mean((0, 1, 3)) * _TEXTURE_STD  # SD
    assert white < 0.4
    assert max(coloured) < 0.28  # those that are held last come closer


def test_no_bands_describe_nothing() -> None:
    assert Texture(64, 20, 0).n_rows == 0


@pytest.mark.parametrize("bf16", [False, True])
def test_muon_steps_have_equal_singular_values(bf16: bool) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv1d(6, 8, 3), torch.nn.Linear(4, 5))
    optimiser = Muon(network, lr=1e-3, matrix_lr=0.1, weight_decay=0.0, bf16=bf16)
    before = network[0].weight.detach().clone()
    network[0].weight.grad = torch.randn(8, 6, 3) * torch.logspace(-2, 2, 6)[None, :, None]
    optimiser.step()
    step = (before - network[0].weight.detach()).flatten(1) / (0.1 * 0.2 * 18**0.5)
    values = torch.linalg.svdvals(step)
    assert values.max() < 1.35
    assert values.min() > 0.55


@pytest.mark.parametrize("shape", [(3, 8, 40), (3, 40, 8)])
def test_the_short_way_by_the_gram_matrix_leads_to_the_same_steps(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    x[0, :, 3:] = 0  # of low rank
    x[1] *= torch.logspace(-3, 0, shape[2], dtype=torch.float64)
    a, b, c = _QUINTIC
    wanted = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_N_ITERATIONS):
        gram = wanted.mT @ wanted
        wanted = a * wanted + wanted @ (b * gram + c * gram @ gram)
    assert torch.allclose(_orthogonal(x), wanted, rtol=0, atol=1e-12)
    # What vanishes is multiplied by a in every iteration, and its rounding with it.
    rounding = a**_N_ITERATIONS * torch.finfo(torch.float32).eps
    assert torch.allclose(_orthogonal(x.float()).double(), wanted, rtol=0, atol=rounding)


def test_muon_is_for_the_layers_that_data_pass() -> None:
    network = ResidualUNet(in_planes=2, n_bins=4, n_extra=3, n_tasks=2, n_efforts=2, width=32)
    optimiser = Muon(network, lr=1e-3, matrix_lr=1e-2, weight_decay=0.0)
    by_muon = {id(each) for each in optimiser.param_groups[0]["params"]}
    names = {name for name, each in network.named_parameters() if id(each) in by_muon}
    assert {"down.0.0.conv1.weight", "shrink.0.weight", "attention.qkv.weight"} <= names
    assert not [n for n in names if "embed" in n or "modulate" in n or "bias" in n]
    assert "first.weight" not in names


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_optimisers_find_a_known_layer(name: str) -> None:
    torch.manual_seed(0)
    layer, truth = torch.nn.Linear(8, 8), torch.randn(8, 8)
    optimiser = make_optimiser(name, layer, lr=0.02, matrix_lr=0.05, weight_decay=0.0)
    x = torch.randn(64, 8)
    losses = []
    for _ in range(300):
        loss = (layer(x) - x @ truth).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.01 * losses[0]


def test_whitening_blows_nothing_up_where_the_end_runs_over_into_the_start() -> None:
    codec, shape = fitted(shots(20, 100.0))
    ring = codec._flat(codec._ring(shape))
    places = ring.square().mean((0, 1)).sqrt()
    assert places[N_TIMES - 8 :].mean() < 2 * places[500:-500].mean()
    assert places[:8].mean() < 2 * places[500:-500].mean()
