"""The parts of the method that can be left out or exchanged, each against what it must change."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from myosynth.diffusion import Synthesizer, TrainingSettings, train
from myosynth.diffusion.codec import SpectrogramCodec
from myosynth.diffusion.denoiser import Condition, Denoiser, spectral_loss
from myosynth.diffusion.networks import ResidualUNet
from myosynth.diffusion.samplers import SAMPLERS
from myosynth.errors import CheckpointError, ConfigError, InputError
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import bandpass

FS = 500.0
SMALL: dict[str, Any] = {
    "width": 32, "envelope_width": 32, "batch_size": 4, "envelope_batch_size": 4, "threads": 1,
    "precision": "float32",
}  # fmt: skip
SWITCHES: dict[str, dict[str, Any]] = {
    "level": {"gain_shape": False},
    "unwhitened": {"whitening": False},
    "compressed": {"compression": 0.75, "backbone": "unet1d"},
    "magnitude": {"representation": "magnitude", "backbone": "unet2d"},
    "additive": {"multiplicative": False},
    "flow": {"objective": "flow"},
}


def signals(n: int = 24, seed: int = 0) -> np.ndarray:
    """Noise of falling spectrum with bursts; the second half is ten times weaker."""
    raw = bandpass(np.random.default_rng(seed).standard_normal((n, 2, 1000)), FS, 10.0, 120.0)
    raw *= np.exp(np.sin(2 * np.pi * 2.0 * np.arange(1000) / FS))
    gain = np.where(np.arange(n) < n // 2, 1e-3, 1e-4)
    return (raw * gain[:, None, None]).astype(np.float32)


def fitted(n_bands: int, **switch: Any) -> tuple[SpectrogramCodec, torch.Tensor]:
    codec = SpectrogramCodec(fs=FS, n_channels=2, n_times=1000, band_hz=(10.0, 120.0),
                             n_bands=n_bands, **switch)  # fmt: skip
    volts = torch.from_numpy(signals())
    codec.fit_level(codec.split_gain(volts)[1])
    shape, _ = codec.to_shape(volts)
    codec.fit(lambda: iter([shape]))
    return codec, volts


@pytest.mark.parametrize("n_bands", [0, 8])
@pytest.mark.parametrize("name", ["level", "unwhitened", "compressed"])
def test_signals_come_back_and_planes_have_unit_variance(name: str, n_bands: int) -> None:
    switch = {k: v for k, v in SWITCHES[name].items() if k != "backbone"}
    codec, volts = fitted(n_bands, **switch)
    shape, effort = codec.to_shape(volts)
    envelope, planes = codec.encode(shape)
    back = codec.from_shape(codec.decode(envelope, planes), effort)
    assert float((back - volts).norm() / volts.norm()) < 0.02
    assert float(planes.square().mean()) == pytest.approx(1.0, rel=0.05)


def test_without_gain_and_shape_weak_segments_stay_weak() -> None:
    codec, volts = fitted(8, gain_shape=False)
    rms = codec.to_shape(volts)[0].square().mean(-1).sqrt()
    assert float(rms[:12].mean() / rms[12:].mean()) == pytest.approx(10, rel=0.15)
    assert float(rms.square().mean()) == pytest.approx(1.0, rel=0.01)


def test_without_whitening_the_spectrum_keeps_its_slope() -> None:
    plain, volts = fitted(0)
    raw, _ = fitted(0, whitening=False)

    def spread(codec: SpectrogramCodec) -> float:
        planes = codec.encode(codec.to_shape(volts)[0])[1]
        power = planes.square().mean((0, 3)).reshape(2, 2, -1).mean((0, 1))[1:]
        return float(power.max() / power.min())

    assert spread(plain) < 1.5
    assert spread(raw) > 20


def test_compression_takes_the_power_of_the_magnitudes() -> None:
    plain, volts = fitted(0)
    pressed, _ = fitted(0, compression=0.5)
    shape = plain.to_shape(volts)[0]
    one, two = (torch.stack(c.encode(shape)[1].chunk(2, 1)).norm(dim=0) for c in (plain, pressed))
    ratio = one.sqrt() / two
    assert float((ratio / ratio.mean((0, 3), keepdim=True) - 1).abs().max()) < 1e-3


@pytest.mark.parametrize("n_bands", [0, 8])
def test_magnitudes_come_back_with_phases_of_their_own(n_bands: int) -> None:
    codec, volts = fitted(n_bands, representation="magnitude")
    shape = codec.to_shape(volts)[0]
    envelope, planes = codec.encode(shape)
    assert planes.shape[1] == 2  # one per channel
    assert float(planes.mean()) == pytest.approx(0.0, abs=0.05)
    assert float(planes.std()) == pytest.approx(1.0, abs=0.05)
    back = codec.decode(envelope, planes)

    def magnitudes(signal: torch.Tensor) -> torch.Tensor:
        return codec.whiten(signal).abs()

    wanted = magnitudes(shape)
    error = float((magnitudes(back) - wanted).norm() / wanted.norm())
    start = 2 * torch.pi * torch.rand(wanted.shape, generator=torch.Generator().manual_seed(1))
    guessed = magnitudes(codec._unwhiten(torch.polar(wanted, start)))
    assert error < 0.5 * float((guessed - wanted).norm() / wanted.norm())
    assert float((back - shape).norm() / shape.norm()) > 0.5
    other = codec.decode(envelope, planes, phase=start)
    assert float((other - back).norm() / shape.norm()) > 0.5


def test_flow_denoises_by_the_velocity_and_weighs_its_error() -> None:
    mean = 0.4

    class Exact(torch.nn.Module):
        """The velocity towards data that are all equal, with a fixed error."""

        n_tasks, error = 1, 0.0

        def project(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def forward(self, x: torch.Tensor, log_sigma: torch.Tensor, *_: Any) -> Any:
            sigma = (4 * log_sigma).exp().reshape(-1, 1, 1, 1)
            velocity = (x - mean) / (sigma / (1 + sigma))
            return velocity + self.error, torch.zeros_like(x)

    denoiser = Denoiser(Exact(), objective="flow")  # type: ignore[arg-type]
    sigma = torch.tensor([0.05, 1.0, 20.0])
    clean, noise = torch.full((3, 1, 2, 4), mean), torch.randn(3, 1, 2, 4)
    condition = Condition(torch.zeros(3, dtype=torch.long), torch.zeros(3, 1))
    x = clean + sigma.reshape(-1, 1, 1, 1) * noise
    assert torch.allclose(denoiser(x, sigma, condition), clean, atol=1e-4)
    denoiser.network.error = 0.3
    loss, _ = spectral_loss(denoiser, clean, condition, sigma, noise)
    assert torch.allclose(loss, torch.full((3,), 0.09), atol=1e-4)


def test_without_the_multiplicative_output_no_gain_is_left() -> None:
    def denoised(multiplicative: bool) -> torch.Tensor:
        torch.manual_seed(0)
        network = ResidualUNet(
            in_planes=2, n_bins=4, n_extra=0, n_tasks=1, n_efforts=1, backbone="unet1d", width=32
        )
        torch.nn.init.zeros_(network.last.weight)
        torch.nn.init.constant_(network.last.bias, 0.5)  # residual ½, gain ½
        x = torch.full((1, 2, 4, 8), 2.0)
        condition = Condition(torch.zeros(1, dtype=torch.long), torch.zeros(1, 1))
        denoiser = Denoiser(network, multiplicative=multiplicative)
        out: torch.Tensor = denoiser(x, torch.ones(1), condition)
        return out

    half = 0.5**0.5
    assert torch.allclose(denoised(False), torch.tensor(1.0 + half * 0.5))
    assert torch.allclose(denoised(True), torch.tensor(1.0 + half * (0.5 + 0.5 * half * 2.0)))


def test_planes_that_are_no_signal_need_a_network_over_planes() -> None:
    for what in ({"representation": "magnitude"}, {"compression": 0.75}):
        with pytest.raises(ConfigError, match="unet1d or unet2d"):
            TrainingSettings(**what)
    for name in ("representation", "objective"):
        with pytest.raises(ConfigError, match=f"{name} must be one of"):
            TrainingSettings(**{name: "other"})


@pytest.mark.parametrize("stages", ["one", "coarse_to_fine"])
@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_trains_is_stored_and_draws(name: str, stages: str, tmp_path: Path) -> None:
    real = SegmentSet(signals(), FS, ["lift", "carry"] * 12, subject=["a", "b"] * 12, split="train")
    settings = TrainingSettings(**SMALL, **SWITCHES[name], stages=stages)
    model = train(real, tmp_path / "m", steps=4, settings=settings)
    again = Synthesizer.from_pretrained(tmp_path / "m")
    assert again.config["settings"] == settings.to_dict()
    one, two = (each.sample("lift", 3, n_steps=2, seed=5) for each in (model, again))
    assert np.array_equal(one.read(), two.read())
    assert np.array_equal(one.read()[:2], model.sample("lift", 2, n_steps=2, seed=5).read())
    volts = real.read()
    lost = np.linalg.norm(again.round_trip(volts) - volts) / np.linalg.norm(volts)
    assert (lost > 0.5) == (name == "magnitude")
    rms = np.sqrt(np.mean(one.read() ** 2, axis=-1))
    assert 1e-6 < rms.min() < rms.max() < 1e-2


def test_a_sampler_that_does_not_settle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SegmentSet(signals(), FS, "lift", subject="a", split="train")
    model = train(real, tmp_path / "m", steps=2, settings=TrainingSettings(**SMALL))
    monkeypatch.setitem(SAMPLERS, "wild", lambda denoise, noise, n, highest: 1e20 * noise)
    with pytest.raises(InputError, match="wild did not settle in 3 steps"):
        model.sample("lift", 1, sampler="wild", n_steps=3)


def test_a_model_of_another_schema_is_refused(tmp_path: Path) -> None:
    real = SegmentSet(signals(), FS, "lift", subject="a", split="train")
    train(real, tmp_path / "m", steps=2, settings=TrainingSettings(**SMALL))
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text()) | {"schema": "myosynth-model/1"}
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"'myosynth-model/1'.*train the model again"):
        Synthesizer.from_pretrained(tmp_path / "m")


def test_models_from_before_the_switches_are_read(tmp_path: Path) -> None:
    real = SegmentSet(signals(), FS, "lift", subject="a", split="train")
    model = train(real, tmp_path / "m", steps=2, settings=TrainingSettings(**SMALL))
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    for key in ("representation", "gain_shape", "whitening", "compression", "multiplicative",
                "objective"):  # fmt: skip
        del config["settings"][key]
    path.write_text(json.dumps(config))
    old = Synthesizer.from_pretrained(tmp_path / "m")
    drawn = [each.sample("lift", 1, n_steps=2).read() for each in (model, old)]
    assert np.array_equal(*drawn)
