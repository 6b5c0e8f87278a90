"""Damaged, truncated and lying files: our error, soon and in little memory; never a crash or hang.

Time is counted as processor time, so that a busy machine does not fail the test.
"""

import contextlib
import os
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from myosynth.errors import FormatError, MyosynthError
from myosynth.formats import (
    WRITERS,
    FileMapping,
    hdf5_mapped,
    read_recordings,
    read_segments,
)
from myosynth.recordings import SegmentSet
from test_formats_readers import CONTRACT, samples

GIB = 1 << 30


def opensignals_hdf5(stem, data, fs):
    h5py = pytest.importorskip("h5py")
    path = stem.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        device = file.create_group("00:07")
        device.attrs.update({"sampling rate": int(fs), "channels": [1, 2], "resolution": [16, 16],
                             "device": "biosignalsplux"})  # fmt: skip
        for port in (1, 2):
            device[f"raw/channel_{port}"] = (data[port - 1] * 1e7 + 32768).astype("u2")[:, None]
            device[f"raw/channel_{port}"].attrs["sensor"] = "EMG"
    return path


def matlab_plain(stem, data, fs):
    path = stem.with_suffix(".mat")
    scipy.io.savemat(path, {"trial": {"emg": data.T * 1e6, "fs": fs}})
    return path


def hdf5_plain(stem, data, fs):
    """Not packed, so that its numbers are mapped."""
    h5py = pytest.importorskip("h5py")
    path = stem.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        file.create_dataset("trial/emg", data=data.T * 1e6, chunks=(1100, 2))
        file["trial/fs"] = fs
    return path


FILES = {
    **{kind: row[:2] for kind, row in CONTRACT.items() if kind not in ("text", "npy", "parquet")},
    "npy": (CONTRACT["npy"][0], {**CONTRACT["npy"][1], "fs": 1000}),
    "parquet": (CONTRACT["parquet"][0], {**CONTRACT["parquet"][1], "fs": 1000}),
    "hdf5_plain": (hdf5_plain, CONTRACT["hdf5"][1]),
    "opensignals_hdf5": (opensignals_hdf5, None),
    "matlab_plain": (matlab_plain, CONTRACT["matlab"][1]),
}
SETS = ["npz", "hdf5", "mat", "parquet", "csv"]
SUFFIXES = {"npz": ".npz", "hdf5": ".h5", "mat": ".mat", "parquet": ".parquet", "csv": ".csv"}


@st.composite
def damage(draw):
    """A function that damages bytes: cuts them, or changes some, most often near the beginning."""
    how = draw(st.sampled_from(["cut", "bytes", "bits", "runs", "copies"]))
    within = draw(st.sampled_from([0.02, 0.2, 1.0]))
    spots = draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8))
    run = draw(st.sampled_from([b"\xff", b"\x00", b"\x7f", b"9"])) * draw(
        st.sampled_from([1, 4, 8])
    )

    def damaged(content):
        if how == "cut":
            return content[: int(spots[0][0] * len(content))]
        changed = bytearray(content)
        most = max(64, int(within * len(content))) - 1
        for share, value in spots:
            at = min(int(share * most), len(changed) - 1)
            if how == "bytes":
                changed[at] = value
            elif how == "bits":
                changed[at] ^= 1 << value % 8
            elif how == "runs":
                changed[at : at + len(run)] = run
            else:
                changed[at : at + 16] = changed[value : value + 16]
        return bytes(changed)

    return damaged


def workers():
    """The readers' processes that run; other children of the tests are none of their business."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("isolated_jobs" in word for word in child.cmdline()):
                yield child


def spent():
    """Processor seconds of this process and its children, those that ended and those that run.

    A reader's worker serves many files: were only ended ones counted, the file that ends it would
    be charged with the seconds of all before.
    """
    running = 0.0
    for child in workers():
        with contextlib.suppress(psutil.Error):
            running += sum(child.cpu_times()[:2])
    return sum(psutil.Process().cpu_times()[:4]) + running


def memory(process, field):
    """VmRSS or VmHWM of a process in bytes, where the system tells."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
    return 0


def forget_peak(process):
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/clear_refs").write_text("5")


@contextlib.contextmanager
def peak_of_workers(every_s=0.01):
    """What the readers' processes took at most, in bytes, in a list.

    They are watched while they run: what the system tells of an ended child includes the memory
    that its parent held when it began.
    """
    peaks, done = [0], threading.Event()

    def watch():
        while True:
            ended = done.wait(every_s)
            peaks.extend(memory(worker.pid, "VmHWM") for worker in workers())
            if ended:
                return

    for worker in workers():
        forget_peak(worker.pid)
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peaks
    finally:
        done.set()
        watching.join()


def refused_or_read(read):
    """What reading took in bytes: of this process beyond what it held, or of one of its own."""
    before, held = spent(), memory("self", "VmRSS")
    forget_peak("self")
    with peak_of_workers() as peaks, contextlib.suppress(MyosynthError):
        read()
    assert spent() - before < 2
    return max(memory("self", "VmHWM") - held, *peaks)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Sound files, written once; small ones are read as large ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5_mapped, "_SMALL_BYTES", 0)
        yield _files(tmp_path_factory)


def _files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    files = {}
    for kind, (write, mapping) in FILES.items():
        (folder / kind).mkdir()
        path = write(folder / kind / "x_task-pull", samples(n_times=1200), 1000.0)
        files[kind] = (path, path.read_bytes(), FileMapping(**mapping) if mapping else None)
    signals = np.random.default_rng(0).standard_normal((4, 2, 100)).astype("f4") * 1e-3
    for kind in SETS:
        segments = SegmentSet(signals, 1000.0, ["pull", "push"] * 2)
        path = WRITERS[kind](segments, folder / f"set{SUFFIXES[kind]}")
        files[f"set {kind}"] = (path, path.read_bytes(), None)
    return files


def read_all(path, plan):
    for recording in read_recordings(path, mapping=plan):
        assert recording.data[:, :50].shape[0] == recording.n_channels
        recording.data[:, -50:]
        if recording.n_times * recording.n_channels < 1 << 20:
            recording.load()


def attack(whole, kind, damaged):
    path, content, plan = whole[kind]
    path.write_bytes(damaged(content))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind.startswith("set "):
                return refused_or_read(lambda: read_segments(path).read())
            return refused_or_read(lambda: read_all(path, plan))
    finally:
        path.write_bytes(content)


FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
KINDS = [*FILES, *(f"set {kind}" for kind in SETS)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, derandomize=True, **FUZZ)
@given(damaged=damage())
def test_damage_is_refused_or_harmless(whole, kind, damaged):
    assert attack(whole, kind, damaged) < GIB


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, derandomize="MYOSYNTH_FUZZ" not in os.environ, **FUZZ)
@given(damaged=damage())
def test_more_damage_is_refused_or_harmless(whole, kind, damaged):
    assert attack(whole, kind, damaged) < GIB


def replaced(old, new):
    def damaged(content):
        assert old in content
        return content.replace(old, new)

    return damaged


def u64(number):
    return struct.pack("<Q", number)


LIES = {
    "edf records": ("edf", lambda c: c[:236] + b"99999999" + c[244:]),
    "edf signals": ("edf", lambda c: c[:252] + b"9999" + c[256:]),
    "c3d frames": ("c3d", lambda c: c[:8] + b"\xfe\xff" + c[10:]),
    "c3d channels": ("c3d", lambda c: c[:4] + b"\xff\xff" + c[6:]),
    "npy shape": ("npy", replaced(b"(2, 1200), }", b"(9, 99999), ")),
    "npz shape": ("npz", replaced(b"PK\x01\x02", b"PK\x01\x03")),
    "hdf5 shape": ("hdf5", replaced(u64(1200), u64(1 << 40))),
    "hdf5 chunk": ("hdf5", replaced(struct.pack("<I", 1000), struct.pack("<I", 1 << 31))),
    "opensignals shape": ("opensignals_hdf5", replaced(u64(1200), u64(1 << 40))),
    "matlab shape": ("matlab_plain",
                     replaced(struct.pack("<ii", 1200, 2), struct.pack("<ii", 1 << 30, 2))),
    "wfdb length": ("wfdb", replaced(b" 1200\n", b" 999999999999\n")),
    "wfdb signals": ("wfdb", replaced(b" 2 1000 ", b" 99999999 1000 ")),
    "wfdb elsewhere": ("wfdb", replaced(b"x_task-pull.dat", b"/etc/hostname   ")),
    "xdf samples": ("xdf", replaced(struct.pack("<BI", 4, 500), struct.pack("<BI", 4, 1 << 31))),
    "parquet footer": ("parquet", lambda c: c[:-8] + struct.pack("<I", 1 << 31) + b"PAR1"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_lies_about_size_are_refused_before_memory_is_taken(whole, lie):
    kind, damaged = LIES[lie]
    path, content, plan = whole[kind]
    path.write_bytes(damaged(content))
    try:

        def refused():
            with pytest.raises(FormatError):
                read_all(path, plan)

        assert refused_or_read(refused) < GIB // 4
    finally:
        path.write_bytes(content)


def test_the_worker_is_replaced_and_goes_on(whole, tmp_path, monkeypatch):
    """A reading that crashes or does not end costs one error; the next file is read."""
    from myosynth.formats import isolation

    sound, _, plan = whole["hdf5"]
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 500)
    with pytest.raises(FormatError, match="not a sound HDF5 file"):
        isolation.isolated("hdf5_inventory", tmp_path / "x.h5")
    crashed = isolation._Worker.running()
    crashed._process.kill()
    crashed._process.wait()
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "long.h5", "w") as file:
        file.create_dataset("x", data=np.zeros(1 << 24), chunks=(1 << 18,), compression="gzip")
    monkeypatch.setattr(isolation, "_CPU_S", 0.02)
    with pytest.raises(FormatError, match="did not come to an end"):
        isolation.isolated("hdf5_content", tmp_path / "long.h5", texts=())
    monkeypatch.undo()
    (recording,) = read_recordings(sound, mapping=plan)
    assert recording.load().shape == (2, 1200)


def test_hostile_text_takes_no_time(tmp_path):
    """What makes careless patterns and endless lines costly."""
    labels = "Label: x" * 100_000
    cells = ",".join(["a" * 50_000 + ", " * 5000, "uV"])
    texts = {
        "labels.csv": f"{labels}\nX[s],a [V]\n0,1\n0.001,2\n",
        "names.csv": f'time,"{cells}","ES, uV"\n0,1,1\n0.001,2,2\n',
        "endless.csv": "X[s],a [V]" + "," * (3 << 20),
        "endless.txt": "7" * (3 << 20),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        refused_or_read(lambda path=tmp_path / name: read_all(path, None))
    plan = FileMapping(columns=[{"column": 1, "unit": "V"}], delimiter="comma", fs=1000)
    with pytest.raises(FormatError, match="a line of a million characters"):
        read_all(tmp_path / "endless.txt", plan)


def test_hostile_annotations_take_no_time(tmp_path):
    import edfio

    signal = edfio.EdfSignal(np.linspace(-1, 1, 1000), 1000, physical_dimension="mV")
    notes = [edfio.EdfAnnotation(0.1, 0.2, "x" * 100_000)]
    edfio.Edf([signal], annotations=notes).write(tmp_path / "x.edf")
    content = (tmp_path / "x.edf").read_bytes()
    (tmp_path / "x.edf").write_bytes(content.replace(b"x" * 3, b"+1\x14"))
    refused_or_read(lambda: read_all(tmp_path / "x.edf", None))
