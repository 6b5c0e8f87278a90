"""Long recordings: read in stretches, handed over through files, and never whole in memory."""

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from myosynth.errors import FormatError, InputError
from myosynth.formats import FileMapping, hdf5_mapped, read_recordings
from myosynth.formats.arrays import Part, stack_parts
from myosynth.formats.edf import read_edf
from myosynth.formats.edf_writing import write_edf
from myosynth.formats.handover import Handover, left_array, left_copy
from myosynth.recordings import Recording

h5py = pytest.importorskip("h5py")

COLUMNS = [{"column": i + 1, "channel": f"E{i + 1}", "unit": "V"} for i in range(3)]
PLAN = FileMapping(samples="emg", layout="times x channels", columns=COLUMNS, fs=2000, task="pull")
LENGTHS = (500_003, 3)


def numbers(dtype="f4"):
    values = np.random.default_rng(0).standard_normal(LENGTHS) * 1000
    return values.astype(dtype)


def hdf5(path, values, **layout):
    with h5py.File(path, "w", userblock_size=layout.pop("userblock_size", 0)) as file:
        file.create_dataset("emg", data=values, **layout)
    return next(read_recordings(path, mapping=PLAN)).data


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, empty at first."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


LAYOUTS = {
    "packed": ("f4", {"chunks": (7001, 3), "compression": "gzip"}),
    "packed columns": ("i2", {"chunks": (100_000, 1), "compression": "gzip", "shuffle": True}),
    "one packed chunk": ("f8", {"chunks": LENGTHS, "compression": "gzip"}),
    "summed": ("f4", {"chunks": (20_000, 3), "fletcher32": True}),
    "plain": ("f4", {}),
    "plain of the other order": (">f8", {}),
    "chunks": ("f4", {"chunks": (16_384, 3)}),
    "chunks of columns": ("i2", {"chunks": (30_001, 2)}),
    "small chunks": ("f4", {"chunks": (500, 3)}),
    "behind a block": ("f4", {"userblock_size": 512}),
}
MAPPED = {"plain", "plain of the other order", "chunks", "chunks of columns"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_hdf5_of_any_layout_is_read_in_any_order(tmp_path, name):
    dtype, layout = LAYOUTS[name]
    values = numbers(dtype)
    samples = hdf5(tmp_path / "x.h5", values, **layout)
    assert isinstance(samples, hdf5_mapped._MappedSamples) == (name in MAPPED)
    expected = values.T.astype(float)
    np.testing.assert_array_equal(samples[:, :], expected)
    for low, high in [(499_990, 500_003), (0, 10), (123_456, 260_000), (29_999, 30_003), (7, 7)]:
        np.testing.assert_array_equal(samples[:, low:high], expected[:, low:high])
        np.testing.assert_array_equal(samples[2, low:high], expected[2, low:high])
    np.testing.assert_array_equal(samples[[2, 0], 1000:1100], expected[[2, 0], 1000:1100])


def test_vectors_and_missing_chunks(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = np.arange(2_000_000.0)
        sparse = file.create_dataset("b", (2_000_000, 1), "f8", chunks=(100_000, 1))
        sparse[1_500_000:] = np.full((500_000, 1), 3.0)
    columns = [{"column": name, "unit": "V"} for name in "ab"]
    plan = FileMapping(columns=columns, fs=2000, task="pull")
    (recording,) = read_recordings(tmp_path / "x.h5", mapping=plan)
    assert recording.data[0, 1_234_567:1_234_569].tolist() == [1_234_567, 1_234_568]
    assert recording.data[1, 1_499_999:1_500_001].tolist() == [0, 3]
    plan = FileMapping(columns=columns[:1], fs=2000, task="pull")
    (recording,) = read_recordings(tmp_path / "x.h5", mapping=plan)
    assert isinstance(recording.data, hdf5_mapped._MappedSamples)
    assert recording.data[0, 1_234_567:1_234_569].tolist() == [1_234_567, 1_234_568]


def test_hdf5_files_read_in_turns_and_by_threads(tmp_path):
    values = numbers()
    ours = [
        hdf5(tmp_path / f"{i}.h5", values + i, chunks=(9000, 3), compression="gzip")
        for i in range(3)
    ]
    wrong = []

    def work(i):
        for low in range(0, 400_000, 40_000):
            block = ours[i][:, low : low + 1000]
            if not np.array_equal(block, (values + i).T[:, low : low + 1000]):
                wrong.append((i, low))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_matlab_variables_are_mapped_and_their_file_goes(tmp_path, temporary, order):
    values = np.asarray(numbers(), order=order)
    scipy.io.savemat(tmp_path / "x.mat", {"emg": values, "fs": 2000.0})
    (recording,) = read_recordings(tmp_path / "x.mat", mapping=PLAN)
    gc.collect()
    assert [*temporary.iterdir()] == []
    np.testing.assert_array_equal(recording.data[:, :], values.T)
    np.testing.assert_array_equal(recording.data[1, 77:99], values[77:99, 1])


def test_an_array_is_read_once_for_all_its_channels():
    asked = []

    def read(name):
        asked.append(name)
        return np.zeros((100, 8))

    stack_parts([Part("emg", i) for i in range(8)], read)
    assert asked == ["emg"]


def test_a_process_that_ends_by_force_leaves_no_file(tmp_path):
    path = tmp_path / "x.h5"
    hdf5(path, numbers(), compression="gzip")
    folder = tmp_path / "temporary"
    folder.mkdir()
    script = (
        "import os, signal\n"
        "from myosynth.formats import FileMapping, read_recordings\n"
        f"plan = FileMapping.model_validate({PLAN.model_dump()!r})\n"
        f"(recording,) = read_recordings({str(path)!r}, mapping=plan)\n"
        "recording.data[:, :10]\n"
        "print(len(os.listdir(os.environ['TMPDIR'])), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1\n"), done.stderr
    limit = time.monotonic() + 20
    while [*folder.iterdir()] and time.monotonic() < limit:
        time.sleep(0.02)
    assert [*folder.iterdir()] == []


def test_a_child_process_has_a_window_of_its_own(tmp_path):
    values = numbers()
    samples = hdf5(tmp_path / "x.h5", values, chunks=(9000, 3), compression="gzip")
    samples[:, :100]
    child = os.fork()
    if child == 0:
        block = samples[:, 300_000:300_100]
        os._exit(0 if np.array_equal(block, values.T[:, 300_000:300_100]) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(samples[:, 50:200], values.T[:, 50:200])


def test_a_full_disk_is_told(temporary, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    handover = Handover()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"has no room for 8 MiB.*set TMPDIR"):
        left_array(handover.path, np.dtype("f8"), (1 << 20,))


def test_arrays_are_handed_over_as_they_are(temporary):
    handover = Handover()
    first, told_first, after = left_array(handover.path, np.dtype(">i2"), (3, 5))
    first[...] = np.arange(15).reshape(3, 5)
    told_second, after = left_copy(handover.path, np.arange(7.0), after)
    _, told_empty, _ = left_array(handover.path, np.dtype("f4"), (0, 4), after)
    assert handover.array(told_first).tolist() == first.tolist()
    assert handover.array(told_second).tolist() == [*range(7)]
    assert handover.array(told_empty).shape == (0, 4)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_a_mapped_file_does_not_fill_memory(tmp_path):
    array = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (30_000_000, 3))
    array[::1000] = 1
    del array
    plan = PLAN.model_copy(update={"samples": ""})
    (recording,) = read_recordings(tmp_path / "x.npy", mapping=plan)
    Path("/proc/self/clear_refs").write_text("5")
    held, _ = memory()
    write_edf(recording, tmp_path / "x.edf")
    _, peak = memory()
    assert peak - held < 120 << 20  # of 343 MiB


def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
    return 1024 * found["VmRSS"], 1024 * found["VmHWM"]


@pytest.mark.parametrize(("suffix", "steps"), [(".edf", 32767), (".bdf", 8388607)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
def test_numbers_of_any_type_are_quantised_to_half_a_step(tmp_path, suffix, steps, dtype):
    values = numbers(dtype)
    values[5] = 3000, -2500, 0
    np.save(tmp_path / "x.npy", values)
    columns = [{**column, "unit": "uV", "scale": 1.7} for column in COLUMNS]
    plan = PLAN.model_copy(update={"samples": "", "columns": []}).model_dump()
    plan = FileMapping.model_validate({**plan, "columns": columns})
    (recording,) = read_recordings(tmp_path / "x.npy", mapping=plan)
    write_edf(recording, tmp_path / f"x{suffix}")
    expected = values.T.astype(float) * 1.7e-6
    peaks = np.abs(expected).max(axis=1, keepdims=True)
    error = np.abs(read_edf(tmp_path / f"x{suffix}").load() - expected) / (peaks / steps)
    rounding = 1 / 128 if (suffix, dtype) == (".edf", "f4") else 1e-4  # that of float32
    assert error.max() < 0.5 * 1.0001 + rounding


def test_the_range_holds_the_peak_to_the_last_step(tmp_path):
    """Peaks that a header's eight characters can only just, or not quite, express."""
    rng = np.random.default_rng(1)
    peaks = np.concatenate([10 ** rng.uniform(-9, 0, 300), [1.0000004e-11, 0.3, 1e-6]])
    data = np.outer(peaks, [1, -1, 0.5, 1])
    for start in range(0, len(data), 101):
        rows = data[start : start + 101]
        names = [f"E{i}" for i in range(len(rows))]
        write_edf(Recording(rows, 1000, names, "1", task="pull"), tmp_path / "x.bdf")
        read = read_edf(tmp_path / "x.bdf").load()
        assert np.all(np.sign(read[:, :2]) == [1, -1])  # too high a number turns its sign
        np.testing.assert_allclose(read[:, :2], rows[:, :2], rtol=1e-5)


def test_wfdb_counts_are_mapped_and_missing_ones_are_nan(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    counts = np.random.default_rng(0).integers(-30000, 30000, (70_000, 3))
    counts[69_000, 1] = -32768
    for kind, dtype in (("16", "<i2"), ("61", ">i2")):
        counts.astype(dtype).tofile(tmp_path / "x.dat")
        lines = [f"x.dat {kind} {g}({b})/mV 16 0 0 0 0 E{g}" for g, b in ((1, 0), (2, 7), (4, -9))]
        (tmp_path / "x.hea").write_text("\n".join(["x 3 1000 70000", *lines]) + "\n")
        (recording,) = read_recordings(tmp_path / "x.hea")
        other = wfdb.rdrecord(str(tmp_path / "x")).p_signal.T * 1e-3
        np.testing.assert_allclose(recording.load(), other, rtol=1e-12)
        assert np.isnan(recording.data[1, 69_000])
    (tmp_path / "x.dat").write_bytes((tmp_path / "x.dat").read_bytes()[:-6])
    with pytest.raises(FormatError, match=r"holds fewer|not a sound WFDB record"):
        next(read_recordings(tmp_path / "x.hea"))


def test_wfdb_signals_that_begin_later_are_read_by_their_package(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    counts = np.arange(200, dtype="<i2").reshape(100, 2)
    (tmp_path / "x.dat").write_bytes(b"head" + counts.tobytes())
    lines = [f"x.dat 16+4 200/mV 16 0 0 0 0 E{i}" for i in range(2)]
    (tmp_path / "x.hea").write_text("\n".join(["x 2 1000 100", *lines]) + "\n")
    (recording,) = read_recordings(tmp_path / "x.hea")
    other = wfdb.rdrecord(str(tmp_path / "x")).p_signal.T * 1e-3
    np.testing.assert_allclose(recording.load(), other, rtol=1e-12)
    assert recording.data[1, 0] == pytest.approx(1 / 200 * 1e-3)
