"""EDF and BDF: exact rates and lengths, small errors, and other software's view of the files."""

from contextlib import suppress
from pathlib import Path

import edfio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myosynth.errors import FormatError, InputError
from myosynth.formats import read_recordings
from myosynth.formats.edf import read_edf
from myosynth.formats.edf_writing import write_edf
from myosynth.formats.lazy import scaled
from myosynth.recordings import Annotation, Recording

RATES = [1000, 1111.111, 1259.259, 1500, 1925.926, 52000 / 27, 2000, 2048, 2148.148, 4000]
STEPS = {"edf": 32767, "bdf": 8388607}


def make(n_times=3001, fs=2000.0, amplitudes=(1e-3, 2e-5), **fields):
    rng = np.random.default_rng(n_times)
    data = rng.standard_normal((len(amplitudes), n_times)) * np.array(amplitudes)[:, None]
    names = [f"EMG{i}" for i in range(len(amplitudes))]
    return Recording(data, fs, names, fields.pop("subject", "01"), **fields)


@settings(max_examples=60, deadline=None)
@given(
    fs=st.sampled_from(RATES),
    n_times=st.integers(1, 40_000),
    amplitudes=st.lists(st.floats(-9, 1), min_size=1, max_size=5),
    suffix=st.sampled_from(["edf", "bdf"]),
    annotated=st.booleans(),
)
def test_round_trip_keeps_rate_length_and_amplitude(
    tmp_path_factory, fs, n_times, amplitudes, suffix, annotated
):
    spans = [Annotation(0.0, n_times / fs, "pull"), Annotation(n_times / fs / 2, 0.01, "BAD_µ")]
    recording = make(
        n_times, fs, [10**a for a in amplitudes], annotations=spans if annotated else ()
    )
    path = tmp_path_factory.mktemp("edf") / f"x.{suffix}"
    write_edf(recording, path)
    back = read_edf(path)
    assert (back.fs, back.n_times) == (fs, n_times)
    error = np.abs(back.load() - recording.data).max(axis=1)
    step = np.abs(recording.data).max(axis=1) / STEPS[suffix]
    # six significant digits of the range, at least 1e-5 µV
    assert np.all(error <= np.maximum(0.51 * step, 1e-11 / STEPS[suffix]))
    assert [a.description for a in back.annotations] == [
        a.description for a in spans[: 2 * annotated]
    ]
    for one, two in zip(back.annotations, spans, strict=False):
        assert one.onset_s == pytest.approx(two.onset_s, abs=1e-8)
        assert one.duration_s == pytest.approx(two.duration_s, abs=1e-8)


@pytest.mark.parametrize("fs", RATES)
@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_other_software_reads_the_same_values(tmp_path, fs, suffix):
    mne = pytest.importorskip("mne")
    recording = make(60_007, fs, (1e-3, 2.0, 0.0), annotations=[Annotation(1.5, 2.0, "pull")])
    path = tmp_path / f"x.{suffix}"
    write_edf(recording, path)
    ours = read_edf(path).load()
    reader = mne.io.read_raw_edf if suffix == "edf" else mne.io.read_raw_bdf
    raw = reader(path, verbose="error")
    assert raw.info["sfreq"] == pytest.approx(fs, rel=1.1e-7)
    assert 0 <= raw.n_times - 60_007 <= 32
    np.testing.assert_allclose(raw.get_data()[:, :60_007], ours, atol=1e-12, rtol=1e-9)
    assert list(raw.annotations.description) == ["pull"]
    other = edfio.read_edf(path) if suffix == "edf" else edfio.read_bdf(path)
    assert other.annotations[0].onset == pytest.approx(1.5)
    np.testing.assert_allclose(other.signals[1].data[:60_007], ours[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("unit", "volts"), [("uV", 1e-6), ("mV", 1e-3), ("V", 1.0), ("nV", 1e-9)])
@pytest.mark.parametrize("kind", ["edf", "bdf"])
def test_a_file_of_another_writer_is_read_in_volts(tmp_path, unit, volts, kind):
    data = np.sin(np.arange(4000) / 7) * 5
    signal = edfio.EdfSignal if kind == "edf" else edfio.BdfSignal
    digital = (-32768, 32767) if kind == "edf" else (-8388608, 8388607)
    signals = [
        signal(data * k, 1000, label=f"ch{k}", physical_dimension=unit, digital_range=digital)
        for k in (1, 2)
    ]
    file = (edfio.Edf if kind == "edf" else edfio.Bdf)(
        signals,
        annotations=[edfio.EdfAnnotation(0.5, 1.0, "lift"), edfio.EdfAnnotation(2, None, "go")],
    )
    path = tmp_path / f"sub-7_ses-2_task-pull_run-3.{kind}"
    file.write(path)
    back = read_edf(path)
    np.testing.assert_allclose(back.load(), np.stack([data, 2 * data]) * volts, atol=4e-4 * volts)
    assert (back.subject, back.session, back.task, back.run) == ("7", "2", "pull", "3")
    assert back.annotations == (Annotation(0.5, 1.0, "lift"),)
    assert back.metadata["events"] == [[2.0, "go"]]


def test_slices_read_what_the_whole_holds(tmp_path):
    recording = make(5003, 1925.926, (1e-3, 1e-4, 1e-5))
    write_edf(recording, tmp_path / "x.bdf")
    data = read_edf(tmp_path / "x.bdf").data
    whole = data[:, :]
    assert np.array_equal(data[1:, 777:2345:3], whole[1:, 777:2345:3])
    assert np.array_equal(data[0, -10:], whole[0, -10:])
    assert np.array_equal(data[[2, 0], [5000, 3]].shape, (2, 2))
    assert data[:, 9:9].shape == (3, 0)
    assert np.array_equal(data[:, ::-1], whole[:, ::-1])


def unitless(path: Path, unit: str) -> None:
    data = np.linspace(-1, 1, 2000)
    edfio.Edf([edfio.EdfSignal(data, 1000, label="a", physical_dimension=unit)]).write(path)


@pytest.mark.parametrize("unit", ["", "counts", "MV"])
def test_a_unit_that_is_not_known_is_asked_for(tmp_path, unit):
    path = tmp_path / "x.edf"
    unitless(path, unit)
    with pytest.raises(FormatError, match=r"x\.edf, channel 'a'.*unit"):
        read_edf(path)
    assert np.abs(read_edf(path, unit="mV").load()).max() == pytest.approx(1e-3)


def header_patch(path: Path, at: int, text: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(text)] = text
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), "truncated"),
        (lambda p: p.write_bytes(p.read_bytes()[:300]), "cut off"),
        (lambda p: p.write_bytes(b""), "cut off"),
        (lambda p: header_patch(p, 0, b"RIFFxxxx"), "begins with"),
        (lambda p: header_patch(p, 192, b"EDF+D"), "discontinuous"),
        (lambda p: header_patch(p, 236, b"99999999"), "truncated"),
        (lambda p: header_patch(p, 244, b"0       "), "lasts"),
        (lambda p: header_patch(p, 252, b"9999"), "cut off"),
        (lambda p: header_patch(p, 252, b"abcd"), "not a sound"),
        (lambda p: p.unlink(), "does not exist"),
    ],
)
def test_damage_is_named(tmp_path, damage, said):
    path = tmp_path / "x.edf"
    write_edf(make(), path)
    damage(path)
    with pytest.raises(FormatError, match=said):
        read_edf(path)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 1023), octet=st.integers(0, 255))
def test_a_lying_header_never_crashes(tmp_path_factory, at, octet):
    path = tmp_path_factory.getbasetemp() / "lying.edf"
    write_edf(make(300, annotations=[Annotation(0.01, 0.02, "pull")]), path)
    header_patch(path, at, bytes([octet]))
    with suppress(FormatError, InputError):
        read_edf(path).load()


def test_channels_of_different_rates_are_named(tmp_path):
    signals = [
        edfio.EdfSignal(np.linspace(-1, 1, fs), fs, label=f"c{fs}", physical_dimension="mV")
        for fs in (1000, 500)
    ]
    path = tmp_path / "x.edf"
    edfio.Edf(signals).write(path)
    with pytest.raises(FormatError, match="different rates"):
        read_edf(path)
    assert read_edf(path, channels=["c500"]).fs == 500


def test_nan_is_not_written(tmp_path):
    recording = make()
    recording.data[1, 5] = np.nan
    with pytest.raises(InputError, match="'EMG1' holds NaN"):
        write_edf(recording, tmp_path / "x.edf")
    assert not list(tmp_path.iterdir())


def test_long_names_stay_apart(tmp_path):
    names = ["left erector spinae L3", "left erector spinae L5", "ü" * 20]
    write_edf(Recording(np.ones((3, 100)), 1000, names, "1"), tmp_path / "x.edf")
    labels = read_edf(tmp_path / "x.edf").channel_names
    assert len(set(labels)) == 3
    assert labels[0] == names[0][:16]


@pytest.mark.parametrize("kind", ["edf", "bdf"])
def test_a_file_is_taken_over_to_the_last_bit(tmp_path, kind):
    rng = np.random.default_rng(3)
    signal = edfio.EdfSignal if kind == "edf" else edfio.BdfSignal
    bits = {"edf": (-32768, 32767), "bdf": (-8388608, 8388607)}[kind]
    file = (edfio.Edf if kind == "edf" else edfio.Bdf)(
        [
            signal(rng.uniform(-4, 4, 5000), 1000, label=f"c{i}", physical_dimension="mV",
                   physical_range=(-5, 5.1), digital_range=bits)
            for i in range(2)
        ]
    )  # fmt: skip
    file.write(tmp_path / f"x.{kind}")
    (source,) = read_recordings(tmp_path / f"x.{kind}")
    for suffix in {"edf": ["edf", "bdf"], "bdf": ["bdf"]}[kind]:
        assert write_edf(source, tmp_path / f"y.{suffix}") == ["mV", "mV"]
        back = read_edf(tmp_path / f"y.{suffix}")
        assert np.array_equal(back.data.digital(0, 5000), source.data.digital(0, 5000))
        np.testing.assert_allclose(back.load(), source.load(), rtol=1e-12)
    # another scale has no unit in the header: it is quantised anew
    tenth = source.replace(data=scaled(source.data, [0.1, 0.1]))
    write_edf(tenth, tmp_path / f"z.{kind}")
    step = np.abs(tenth.load()).max() / STEPS[kind]
    found = read_edf(tmp_path / f"z.{kind}").load()
    np.testing.assert_allclose(found, tenth.load(), atol=0.51 * step)
    assert np.abs(found).max() == pytest.approx(np.abs(source.load()).max() / 10, rel=1e-4)


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_samples_may_lie_column_by_column(tmp_path, suffix):
    recording = make(5003)
    turned = recording.replace(data=np.asfortranarray(recording.data))
    write_edf(recording, tmp_path / f"a.{suffix}")
    write_edf(turned, tmp_path / f"b.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
