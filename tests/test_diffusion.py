"""The representation, the samplers and the network, each against what is known exactly."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from myosynth.diffusion.codec import _TEXTURE_STD, SpectrogramCodec
from myosynth.diffusion.conditions import Conditions, EffortDensity, overall_effort
from myosynth.diffusion.denoiser import Condition, Denoiser
from myosynth.diffusion.drawing import _ENVELOPE_STEPS, _LEVELS_OF_A_MAP
from myosynth.diffusion.networks import ResidualUNet
from myosynth.diffusion.places import even_places
from myosynth.diffusion.samplers import SAMPLERS, draw
from myosynth.diffusion.synthesizer import DEFAULT_SAMPLER, DEFAULT_STEPS
from myosynth.diffusion.windows import window_starts, windowed
from myosynth.errors import ConfigError, InputError
from myosynth.recordings import SegmentSet
from myosynth.signal.filters import bandpass


def noise(n: int, n_channels: int, n_times: int, fs: float, seed: int = 0) -> torch.Tensor:
    raw = np.random.default_rng(seed).standard_normal((n, n_channels, n_times))
    return torch.from_numpy(bandpass(raw, fs, 10.0, min(450.0, 0.4 * fs)).astype(np.float32))


def fitted(fs: float = 2000.0, n_times: int = 3000, n_channels: int = 2, **more: object):
    codec = SpectrogramCodec(fs=fs, n_channels=n_channels, n_times=n_times, **more)  # type: ignore[arg-type]
    shape, _ = codec.split_gain(noise(20, n_channels, n_times, fs))
    codec.fit(lambda: iter([shape[:10], shape[10:]]))
    return codec, shape


@settings(max_examples=12, deadline=None)
@given(
    fs=st.sampled_from([1000.0, 1259.259, 1925.926, 2000.0, 2148.148, 4000.0]),
    seconds=st.floats(0.5, 4.0),
    n_channels=st.integers(1, 3),
    stride=st.sampled_from([2, 4, 6]),
    window_s=st.sampled_from([0.016, 0.032, 0.064, 0.128]),
)
@example(fs=1000.0, seconds=0.9375, n_channels=1, stride=4, window_s=0.128)
def test_decode_inverts_encode(fs, seconds, n_channels, stride, window_s) -> None:
    n_times = round(seconds * fs)
    codec, shape = fitted(fs, n_times, n_channels, envelope_stride=stride, window_s=window_s)
    envelope, planes = codec.encode(shape)
    through_planes = codec.decode(envelope, planes)
    assert torch.allclose(through_planes, codec.round_trip(shape), atol=2e-4)
    low = torch.from_numpy(bandpass(shape.numpy(), fs, 10.0, 100.0).astype(np.float32))
    lost = (codec.decode(*codec.encode(low)) - low).square().mean() / low.square().mean()
    assert lost < 1e-3  # far from the bins that are left out, nothing is lost
    assert planes.shape[-1] == envelope.shape[-1] * stride


def test_the_round_trip_loses_next_to_nothing_of_the_band() -> None:
    codec, shape = fitted()
    lost = (codec.round_trip(shape) - shape).square().mean() / shape.square().mean()
    assert lost < 1e-3


def test_carrier_is_white_and_the_envelope_standardised() -> None:
    codec, shape = fitted()
    envelope, planes = codec.encode(shape)
    # bin 0 is real: one of its planes is empty and the other holds both shares; above the noise's
    # 450 Hz there is little but the place where the end runs over into the start
    assert planes[:, :, 1:29].square().mean((0, 3)).sub(1).abs().max() < 0.15
    assert envelope.mean().abs() < 1e-3
    spread = envelope.std((0, 3))
    spread[:, codec.n_bands :] *= _TEXTURE_STD
    assert spread.sub(1).abs().max() < 1e-2


def test_envelope_map_follows_a_burst() -> None:
    codec, shape = fitted(n_times=6000)
    burst = shape.clone()
    burst[..., :3000] *= 0.05
    envelope = codec.log_envelope(codec.whiten(codec.split_gain(burst)[0]))
    middle = envelope.shape[-1] // 2
    step = envelope[..., middle + 4 : -6].mean() - envelope[..., 4 : middle - 4].mean()
    assert float(step) == pytest.approx(2 * np.log(20), rel=0.1)


def test_gain_is_split_and_joined_exactly() -> None:
    signals = 1e-3 * noise(4, 2, 2000, 2000.0)
    shape, effort = SpectrogramCodec.split_gain(signals)
    assert torch.allclose(SpectrogramCodec.join_gain(shape * 7, effort), signals, rtol=1e-4)
    with pytest.raises(InputError, match="zero throughout"):
        SpectrogramCodec.split_gain(signals * torch.tensor([[[1.0], [0.0]]]))


def test_too_short_segments_are_refused() -> None:
    with pytest.raises(InputError, match="too short"):
        SpectrogramCodec(fs=2000.0, n_channels=1, n_times=100)


@pytest.mark.parametrize("levels", [(0.02, 40.0), (0.1, 4.0)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_reach_the_distribution_of_a_known_denoiser(
    sampler: str, levels: tuple[float, float]
) -> None:
    std = 0.7  # the ideal denoiser of N(0, std²) is a Wiener gain

    def ideal(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        gain = std**2 / (std**2 + sigma.square())
        return gain.reshape(-1, 1, 1, 1) * x

    start = torch.randn((64, 2, 8, 16), generator=torch.Generator().manual_seed(0))
    seen: list[float] = []

    def watched(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.append(float(sigma[0]))
        return ideal(x, sigma)

    n_steps = 100 if sampler in ("euler", "flow") else 24
    made = draw(sampler, watched, start, n_steps, levels)
    assert max(seen) == pytest.approx(levels[1])
    if sampler != "flow":
        assert min(seen) == pytest.approx(levels[0])
    assert float(made.std()) == pytest.approx(std, rel=0.06)
    assert abs(float(made.mean())) < 0.02


@pytest.mark.parametrize("variance", [1.0, 0.5, 0.25])
def test_the_steps_of_a_map_keep_how_much_it_varies(variance: float) -> None:
    """Twelve steps from noise of 40 down to 0.02 gave 14 % too much (ADR 0021)."""
    start = torch.randn((64, 2, 8, 48), generator=torch.Generator().manual_seed(0))
    n_steps = _ENVELOPE_STEPS * DEFAULT_STEPS

    def ideal(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return variance / (variance + sigma.square()).reshape(-1, 1, 1, 1) * x

    made = draw(DEFAULT_SAMPLER, ideal, start, n_steps, _LEVELS_OF_A_MAP)
    assert float(made.var()) == pytest.approx(variance, rel=0.07)


def test_unknown_samplers_and_too_few_steps_are_refused() -> None:
    with pytest.raises(InputError, match="heun"):
        draw("magic", lambda x, s: x, torch.zeros(1, 1, 1, 1), 8)
    with pytest.raises(InputError, match="2 steps"):
        draw("heun", lambda x, s: x, torch.zeros(1, 1, 1, 1), 1)


@pytest.mark.parametrize("backbone", ["unet1d", "unet2d"])
def test_networks_see_task_effort_noise_level_and_envelope(backbone: str) -> None:
    torch.manual_seed(0)
    network = ResidualUNet(
        in_planes=4, n_bins=6, n_extra=3, n_tasks=2, n_efforts=2, backbone=backbone, width=32
    )
    for parameter in network.parameters():  # the last layer starts at zero
        torch.nn.init.normal_(parameter, std=0.1)
    x, extra = torch.randn(1, 4, 6, 16), torch.randn(1, 3, 16)
    base = (torch.zeros(1), torch.tensor([0]), torch.zeros(1, 2), extra)

    def out(level=base[0], task=base[1], effort=base[2], known=base[3]) -> torch.Tensor:
        return network(x, level, task, effort, known)[0]

    for changed in (
        {"level": torch.ones(1)},
        {"task": torch.tensor([2])},
        {"effort": torch.ones(1, 2)},
        {"known": extra + 1},
    ):
        assert (out(**changed) - out()).abs().max() > 1e-4


def test_along_time_a_map_modulates_every_block_position_by_position() -> None:
    torch.manual_seed(0)
    network = ResidualUNet(in_planes=2, n_bins=4, n_extra=3, n_tasks=1, n_efforts=1, width=32)
    blocks = {
        name: parameter
        for name, parameter in network.named_parameters()
        if name.endswith("modulate_here.weight")
    }
    for name, parameter in network.named_parameters():
        if "modulate_here" not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    torch.nn.init.zeros_(network.first.weight[:, -3:])  # the map as planes of the input
    x, extra = torch.randn(1, 2, 4, 16), torch.randn(1, 3, 16)
    turned = extra.flip(-1)  # as strong as a whole: what blocks are told of the mean stays

    def out(known: torch.Tensor) -> torch.Tensor:
        return network(x, torch.zeros(1), torch.tensor([0]), torch.zeros(1, 1), known)[0]

    assert torch.allclose(out(turned), out(extra), atol=1e-5)  # modulation starts at zero
    assert len(blocks) == 11  # two in each of three levels down, two up, and the middle
    for parameter in blocks.values():
        torch.nn.init.normal_(parameter, std=0.1)
        assert (out(turned) - out(extra)).abs().max() > 1e-3
        torch.nn.init.zeros_(parameter)


def test_along_time_a_map_may_be_coarser_than_the_planes() -> None:
    torch.manual_seed(0)
    network = ResidualUNet(in_planes=2, n_bins=4, n_extra=3, n_tasks=1, n_efforts=1, width=32)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, level = torch.randn(1, 2, 4, 16), torch.randn(1, 3, 1)
    known = torch.zeros(1), torch.tensor([0]), torch.zeros(1, 1)
    coarse, fine = (network(x, *known, level.expand(-1, -1, n))[0] for n in (4, 16))
    assert torch.allclose(coarse, fine, atol=1e-5)
    # a ramp stays one at the same times, but for half a coarse frame at the ends
    ramp = (torch.arange(4.0)[None, None] + 0.5) * 4
    finer = network._known(ramp, x.flatten(1, 2))
    assert torch.allclose(finer[..., 2:-2], torch.arange(16.0)[2:-2] + 0.5)


def test_patches_come_back_where_they_were() -> None:
    network = ResidualUNet(
        in_planes=2, n_bins=6, n_extra=0, n_tasks=1, n_efforts=1, backbone="unet2d", width=32
    )
    x = torch.arange(2 * 6 * 8.0).reshape(1, 2, 6, 8)
    assert torch.equal(network._restore(network._arrange(x, None), 2, x.shape), x)


def test_unknown_backbone() -> None:
    with pytest.raises(ConfigError, match="unet1d"):
        ResidualUNet(
            in_planes=2, n_bins=6, n_extra=0, n_tasks=1, n_efforts=1, backbone="resnet", width=32
        )


def test_an_untrained_denoiser_keeps_little_noise_and_guidance_extrapolates() -> None:
    network = ResidualUNet(
        in_planes=2, n_bins=6, n_extra=0, n_tasks=2, n_efforts=1, backbone="unet2d", width=32
    )
    denoiser = Denoiser(network)
    x, condition = torch.randn(3, 2, 6, 8), Condition(torch.tensor([0, 1, 0]), torch.zeros(3, 1))
    assert torch.allclose(denoiser(x, torch.full((3,), 1e-3), condition), x, atol=1e-4)
    torch.nn.init.normal_(network.last.weight)
    plain = denoiser.guided(x, torch.ones(3), condition.unconditional(2))
    once = denoiser.guided(x, torch.ones(3), condition)
    twice = denoiser.guided(x, torch.ones(3), condition, 2.0)
    assert torch.allclose(twice, 2 * once - plain, atol=1e-5)


def test_windows_cover_and_overlap() -> None:
    for n_frames in (20, 33, 48, 100):
        starts = window_starts(n_frames, 16)
        assert starts[0] == 0
        assert starts[-1] == n_frames - 16
        assert max(np.diff(starts)) <= 8


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_windows_leave_a_linear_denoiser_unchanged_however_many_at_once(at_once: int) -> None:
    n, n_frames, size = 2, 48, 16
    condition = Condition(torch.tensor([1, 3]), torch.randn(n, 1), torch.randn(n, 3, n_frames))
    x, sigma = torch.randn(n, 1, 1, n_frames), torch.tensor([0.5, 2.0])
    sizes = []

    def denoise(x: torch.Tensor, sigma: torch.Tensor, c: Condition) -> torch.Tensor:
        sizes.append(len(x))
        assert c.extra is not None
        of_each = sigma + 10 * c.task_id + 100 * c.effort[:, 0]
        return 3 * x + c.extra[:, None, :1] + of_each[:, None, None, None]

    view = windowed(denoise, condition, n_frames, size, at_once=at_once)
    assert torch.allclose(view(x, sigma), denoise(x, sigma, condition), atol=1e-4)
    n_windows = len(window_starts(n_frames, size))
    assert sum(sizes[:-1]) == n * n_windows
    assert sizes[0] == n * min(at_once, n_windows)

    def edges(x: torch.Tensor, sigma: torch.Tensor, c: Condition) -> torch.Tensor:
        return torch.zeros_like(x).index_fill(-1, torch.tensor([0, size - 1]), 1.0)

    # the ends of windows hardly count, but for those of the whole
    seen = windowed(edges, condition, n_frames, size, at_once=at_once)(x, sigma)[0, 0, 0]
    assert seen[0] == seen[-1] == 1.0
    assert seen[1:-1].max() < 0.05


def test_effort_density_recovers_a_mixture_and_stays_in_its_range() -> None:
    rng = np.random.default_rng(0)
    people = np.array([[-6.0, -5.5], [-5.0, -5.2], [-4.0, -4.6]])
    efforts = people[rng.integers(3, size=900)] + 0.1 * rng.standard_normal((900, 2))
    density = EffortDensity.fit(efforts, seed=0)
    drawn = np.stack([density.draw(rng) for _ in range(900)])
    nearest = np.abs(drawn[:, None] - people).sum(-1).argmin(1)
    assert np.bincount(nearest, minlength=3).min() > 230
    assert np.abs(drawn - people[nearest]).max() < 0.6
    assert overall_effort(drawn).min() >= density.low
    assert overall_effort(drawn).max() <= density.high
    asked = density.draw_at(-4.8, rng)
    assert overall_effort(asked) == pytest.approx(-4.8, abs=1e-9)
    assert EffortDensity.from_dict(density.to_dict()).draw(np.random.default_rng(1)) == (
        pytest.approx(density.draw(np.random.default_rng(1)))
    )


def test_even_places_keep_the_shares_of_people() -> None:
    rng = np.random.default_rng(0)
    people = np.array([[-6.0, -5.5], [-5.0, -5.2], [-4.0, -4.6]])
    which = rng.choice(3, size=900, p=[0.5, 0.3, 0.2])
    density = EffortDensity.fit(people[which] + 0.1 * rng.standard_normal((900, 2)), seed=0)
    power = []
    for seed in range(20):
        places = even_places(0, 150, 3, seed)
        assert np.array_equal(places[7:20], even_places(7, 13, 3, seed))
        drawn = np.stack([density.draw(np.random.default_rng(seed), place) for place in places])
        power.append(np.exp(2 * drawn).mean())
    at_random = [
        np.mean([np.exp(2 * density.draw(rng)).mean() for _ in range(150)]) for _ in range(20)
    ]
    assert np.std(power) < 0.5 * np.std(at_random)
    assert np.mean(power) == pytest.approx(np.mean(at_random), rel=0.1)


def test_further_conditions_are_one_hot_or_standardised_and_may_be_missing() -> None:
    segments = SegmentSet(
        np.zeros((4, 1, 10)),
        100.0,
        ["a", "a", "b", "b"],
        columns={"load": [5.0, 15.0, np.nan, 10.0], "grip": ["wide", "", "narrow", "wide"]},
    )
    efforts = np.array([[-1.0], [0.0], [1.0], [2.0]])
    conditions = Conditions.fit(segments, np.arange(4), efforts, ("load", "grip"), 0)
    table = conditions.features(efforts, segments.columns)
    assert table[:, 1:].tolist() == [
        pytest.approx([-5 / np.std([5, 15, 10]), 1, 0, 1]),
        pytest.approx([5 / np.std([5, 15, 10]), 1, 0, 0]),
        [0, 0, 1, 0],
        [0, 1, 0, 1],
    ]
    assert Conditions.from_dict(conditions.to_dict()).features(efforts) == pytest.approx(
        conditions.features(efforts)
    )
    with pytest.raises(InputError, match=r"grip: 'hook'.*narrow, wide"):
        conditions.features(efforts, {"grip": np.full(4, "hook")})
    with pytest.raises(InputError, match="no column 'age'"):
        Conditions.fit(segments, np.arange(4), efforts, ("age",), 0)


@pytest.mark.parametrize("fs", [500.0, 800.0, 1111.11, 1259.259, 1925.926, 2148.148, 4000.0])
def test_a_hop_is_cut_into_whole_patches_at_any_rate(fs: float) -> None:
    from myosynth.diffusion.model import _patch_times

    hop = SpectrogramCodec(fs=fs, n_channels=1, n_times=round(3 * fs)).hop_length
    assert abs(hop - 0.032 * fs) <= 4
    for wanted in (1, 3, 4, 8):
        assert hop % _patch_times(hop, wanted) == 0
    assert _patch_times(hop, 4) == hop // 4
