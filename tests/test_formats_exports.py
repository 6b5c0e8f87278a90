"""Text exports of recording software: a time column per sensor, rates that differ, locales."""

import numpy as np
import pytest

from myosynth.errors import FormatError
from myosynth.formats import FileMapping, read_recordings
from myosynth.formats.exports import rate_from_times


def signal(n, seed=0, volts=1e-3):
    return np.random.default_rng(seed).standard_normal(n) * volts


def number(value, decimal, digits=9):
    return f"{value:.{digits}f}".replace(".", decimal)


def rows(columns, delimiter, decimal):
    """Lines of a table; columns are (numbers, digits) and end when they end."""
    for i in range(max(len(numbers) for numbers, _ in columns)):
        yield delimiter.join(
            number(numbers[i], decimal, digits) if i < len(numbers) else ""
            for numbers, digits in columns
        )


def emgworks(path, sensors, *, delimiter=",", decimal=".", labels=True, shared=False):
    """`sensors`: name -> (fs, unit, samples). One line a channel, then X[s] columns."""
    lines = []
    if labels:
        lines = [
            f"Label: {name} Sampling frequency: {number(fs, decimal, 3)} Number of points: "
            f"{len(samples)} start: 0 Unit: {unit} Domain Units: s"
            for name, (fs, unit, samples) in sensors.items()
        ]
    header, columns = [], []
    for index, (name, (fs, unit, samples)) in enumerate(sensors.items()):
        if not shared or index == 0:
            header.append("X [s]" if shared else "X[s]")
            columns.append((np.arange(len(samples)) / fs, 6))
        header.append(f'"{name} [{unit}]"')
        columns.append((samples, 9))
    lines += [delimiter.join(header), *rows(columns, delimiter, decimal)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def discover(path, sensors, *, delimiter=",", decimal=".", events=True):
    """`sensors`: name -> list of (signal name, unit, fs, samples); as Trigno Discover lays it."""
    names, modes, header, rates, periods, columns = [], [], [], [], [], []
    for sensor, signals in sensors.items():
        for index, (name, unit, fs, samples) in enumerate(signals):
            names += [f"{sensor} (7592{index})" if index == 0 else "", ""]
            modes += ["sensor mode: 65" if index == 0 else "", ""]
            header += [f"{name} Time Series (s)", f"{name} ({unit})"]
            rates += ["", f"{number(fs, decimal, 4)} Hz"]
            periods += ["", f"{number(1 / fs, decimal, 6)} s"]
            columns += [(np.arange(len(samples)) / fs, 6), (samples, 9)]
    marks = ["Type", "Name", "Label", "Time (s)"] if events else []
    lines = [
        f"Application:{delimiter}Trigno Discover (1.7.0)",
        f"Date/Time:{delimiter}1/30/2024 10:11:12 AM",
        f"Collection Length (seconds):{delimiter}{number(2, decimal, 2)}",
        *(delimiter.join(cells) for cells in (names, modes, header, rates, periods + marks)),
    ]
    body = list(rows(columns, delimiter, decimal))
    if events:
        body[0] += delimiter + delimiter.join(["General", "Start", "", number(0.5, decimal, 1)])
    path.write_text("\ufeff" + "\r\n".join(lines + body) + "\r\n", encoding="utf-8")
    return path


LOCALES = [(",", "."), (";", ","), ("\t", ".")]


@pytest.mark.parametrize(("delimiter", "decimal"), LOCALES)
def test_emgworks_with_a_time_column_each(tmp_path, delimiter, decimal):
    left, right = signal(3001, 1), signal(2999, 2)
    sensors = {
        "L ERECTOR SPINAE: EMG 1": (1925.926, "V", left),
        "L ERECTOR SPINAE: ACC.X 1": (148.148, "g", signal(231, 3, 1.0)),
        "R ERECTOR SPINAE: EMG 2": (1925.926, "V", right),
    }
    path = emgworks(tmp_path / "S1_task-pull.csv", sensors, delimiter=delimiter, decimal=decimal)
    (recording,) = read_recordings(path)
    assert recording.fs == 1925.926
    assert recording.channel_names == ("L ERECTOR SPINAE: EMG 1", "R ERECTOR SPINAE: EMG 2")
    np.testing.assert_allclose(recording.load(), np.stack([left[:2999], right]), atol=1e-9)
    assert recording.metadata["other_channels"] == ["L ERECTOR SPINAE: ACC.X 1"]
    assert (recording.subject, recording.task) == ("S1_task-pull", "pull")


def test_emgworks_without_labels_is_timed_by_its_times(tmp_path):
    sensors = {f"Avanti sensor {i}: EMG {i}": (1259.259, "V", signal(6000, i)) for i in (1, 2)}
    path = emgworks(tmp_path / "x.csv", sensors, labels=False, shared=True)
    (recording,) = read_recordings(path)
    assert recording.fs == pytest.approx(1259.259, rel=4e-7)
    assert recording.n_times == 6000


@pytest.mark.parametrize(("delimiter", "decimal"), LOCALES)
def test_discover_with_rates_that_differ(tmp_path, delimiter, decimal):
    emg, other = signal(2519, 1, 1.0), signal(4296, 2, 1.0)
    sensors = {
        "Avanti Sensor 1": [
            ("EMG 1", "mV", 1259.2593, emg),
            ("ACC X", "G", 148.1481, signal(296, 4, 1.0)),
            ("GYRO X", "deg/s", 148.1481, signal(296, 5, 1.0)),
        ],
        "Quattro 2": [("EMG 1", "mV", 2148.1481, other), ("EMG 2", "mV", 2148.1481, other[::-1])],
    }
    path = discover(tmp_path / "x.csv", sensors, delimiter=delimiter, decimal=decimal)
    with pytest.raises(FormatError, match=r"different rates .*1259\.26 Hz, .*2148\.15 Hz"):
        next(read_recordings(path))
    columns = [{"column": f"Quattro 2: EMG {i}", "channel": f"ES{i}"} for i in (1, 2)]
    (recording,) = read_recordings(path, mapping=FileMapping(columns=columns))
    assert (recording.fs, recording.channel_names) == (2148.1481, ("ES1", "ES2"))
    np.testing.assert_allclose(recording.load(), np.stack([other, other[::-1]]) * 1e-3, atol=1e-12)
    (same,) = read_recordings(path, mapping=FileMapping(fs=2148.148))
    assert same.channel_names == ("Quattro 2: EMG 1", "Quattro 2: EMG 2")
    assert np.array_equal(same.load(), recording.load())
    assert "Avanti Sensor 1: EMG 1" in same.metadata["other_channels"]
    columns = [{"column": "Avanti Sensor 1: EMG 1", "muscle": "erector spinae"}]
    (recording,) = read_recordings(path, mapping=FileMapping(columns=columns, task="pull"))
    assert (recording.fs, recording.muscles, recording.task) == (
        1259.2593, ("erector spinae",), "pull"
    )  # fmt: skip
    np.testing.assert_allclose(recording.load()[0], emg * 1e-3, atol=1e-12)


def noraxon(path, columns, *, fs=2000, quote='"', above=True, style="{}, {}", time="time,s"):
    lines = ["Noraxon.MR3,Lifting 01", f"Frequency,{fs} Hz", ""] if above else []
    names = [style.format(name, unit) for name, unit, _ in columns]
    header = [time, "Activity", "Marker", *names]
    lines.append(",".join(f"{quote}{name}{quote}" for name in header))
    for i in range(len(columns[0][2])):
        cells = [f"{i / fs:.4f}", "Normal", "", *(f"{c[2][i]:.4f}" for c in columns)]
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n", encoding="latin-1")
    return path


@pytest.mark.parametrize("above", [True, False])
def test_noraxon(tmp_path, above):
    left, right = signal(4001, 1, 300), signal(4001, 2, 300)
    columns = [
        ("LT ERECTOR SPINAE", "uV", left),
        ("Knie º", "deg", right),
        ("RT ERECTOR SPINAE", "µV", right),
    ]
    path = noraxon(tmp_path / "push.csv", columns, above=above)
    (recording,) = read_recordings(path)
    assert recording.fs == 2000
    assert recording.channel_names == ("LT ERECTOR SPINAE", "RT ERECTOR SPINAE")
    np.testing.assert_allclose(recording.load(), np.stack([left, right]) * 1e-6, atol=1e-10)
    assert recording.metadata["other_channels"] == ["Activity", "Marker", "Knie º"]


def test_noraxon_with_units_in_brackets(tmp_path):
    columns = [(f"Ultium EMG.EMG {i}", "uV", signal(3000, i, 300)) for i in (1, 2)]
    path = noraxon(tmp_path / "x.csv", columns, style="{} ({})", quote="", time="time")
    (recording,) = read_recordings(path)
    assert (recording.fs, recording.n_times) == (2000, 3000)
    assert recording.metadata["sidecar"] == {"Manufacturer": "Noraxon"}


def patched(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1925.926", "1111.111", r"header says 1111\.11 Hz and the times run at 1925\.9"),
        ("\n0.000519,", "\n,", "line 4, column 1: the cell is empty here, but not below"),
        ("\n0.000519,", "\n0.0005l9,", r"line 4, column 1: '0\.0005l9' is not a number"),
        ("\n0.005192,", "\n0.105192,", r"not evenly spaced \(near 0\.105192 s\)"),
        ("[V]", "[g]", "without a channel in volts"),
    ],
)
def test_what_a_delsys_export_cannot_mean_is_named(tmp_path, old, new, said):
    sensors = {"ES: EMG 1": (1925.926, "V", signal(500))}
    path = emgworks(tmp_path / "x.csv", sensors)
    patched(path, old, new)
    with pytest.raises(FormatError, match=said):
        next(read_recordings(path))


def test_a_sensor_that_dropped_out_is_named(tmp_path):
    sensors = {f"S{i}: EMG {i}": (2000.0, "V", signal(n)) for i, n in enumerate([2000, 1500])}
    path = emgworks(tmp_path / "x.csv", sensors)
    with pytest.raises(FormatError, match=r"'S1: EMG 1' ends after 1500 samples .* 2000"):
        next(read_recordings(path))


@pytest.mark.parametrize("fs", [1000, 1111.111, 1259.259, 1500, 1925.926, 2000, 2148.148, 4000])
@pytest.mark.parametrize("digits", [4, 6, 9])
def test_times_tell_the_rate_as_exactly_as_they_are_written(fs, digits):
    n = 40_000
    times = np.round(np.arange(n) / fs + 0.25, digits)
    found = rate_from_times(times, "x")
    assert found == pytest.approx(fs, rel=1.1 * 10.0**-digits * fs / n)
    if float(fs).is_integer():
        assert found == fs


@pytest.mark.parametrize("kind", ["emgworks", "discover", "noraxon", "text"])
def test_long_text_goes_on_outside_memory(tmp_path, monkeypatch, kind):
    data = np.stack([signal(5000, i, 1e-3) for i in range(2)])
    path, plan = tmp_path / "x.csv", None
    if kind == "emgworks":
        emgworks(path, {f"S{i}: EMG {i}": (2000.0, "V", row) for i, row in enumerate(data)})
    elif kind == "discover":
        signals = [(f"EMG {i}", "mV", 2000.0, row * 1e3) for i, row in enumerate(data)]
        discover(path, {"Sensor 1": signals})
    elif kind == "noraxon":
        noraxon(path, [(f"S{i}", "uV", row * 1e6) for i, row in enumerate(data)])
    else:
        np.savetxt(path, data.T, delimiter=",")
        columns = [{"column": i, "channel": f"S{i}", "unit": "V"} for i in (1, 2)]
        plan = FileMapping(columns=columns, delimiter="comma", fs=2000)
    (inside,) = read_recordings(path, mapping=plan)
    assert isinstance(inside.data, np.ndarray)
    monkeypatch.setattr("myosynth.formats.spool._IN_MEMORY_BYTES", 20_000)
    monkeypatch.setattr("myosynth.formats.exports._LINES_AT_ONCE", 700)
    monkeypatch.setattr("myosynth.formats.delimited._ROWS_AT_ONCE", 700)
    (outside,) = read_recordings(path, mapping=plan)
    assert not isinstance(outside.data, np.ndarray)
    assert outside.fs == inside.fs == 2000
    assert np.array_equal(outside.load(), inside.load())
    assert np.array_equal(outside.data[1, 600:2345], inside.data[1, 600:2345])
    np.testing.assert_allclose(inside.load(), data, atol=1e-9)
