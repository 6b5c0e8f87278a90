"""Every reader on files that independent libraries wrote: values, rates, names, lengths, units."""

import json
import struct
import warnings

import edfio
import numpy as np
import pytest
import scipy.io

from myosynth.errors import ConfigError, FormatError
from myosynth.formats import READERS, FileMapping, read_recordings

RATES = [1000.0, 1111.111, 1259.259, 1500.0, 1925.926, 2000.0, 2048.0, 2148.148, 4000.0]


def samples(n_channels=2, n_times=5003, seed=0, volts=1e-3):
    return np.random.default_rng(seed).standard_normal((n_channels, n_times)) * volts


# --- files by others; each takes a stem, volts (n_channels, n_times) and the rate -----------------


def edf(stem, data, fs, kind="edf"):
    signal, file = {"edf": (edfio.EdfSignal, edfio.Edf), "bdf": (edfio.BdfSignal, edfio.Bdf)}[kind]
    n = data.shape[1]
    seconds = float(f"{n / fs:.8g}"[:8])  # one record: what eight characters say of the rate
    signals = [
        signal(row * 1e6, n / seconds, label=f"EMG{i + 1}", physical_dimension="uV")
        for i, row in enumerate(data)
    ]
    path = stem.with_suffix(f".{kind}")
    file(signals, data_record_duration=seconds).write(path)
    return path


def c3d(stem, data, fs):
    ezc3d = pytest.importorskip("ezc3d")
    file = ezc3d.c3d()
    n_channels, n_times = data.shape
    file["parameters"]["POINT"]["RATE"]["value"] = [fs]
    file["parameters"]["ANALOG"]["RATE"]["value"] = [fs]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = [f"EMG{i + 1}" for i in range(n_channels)]
    file["parameters"]["ANALOG"]["UNITS"]["value"] = ["mV"] * n_channels
    file["data"]["points"] = np.zeros((4, 0, n_times))
    file["data"]["analogs"] = data[None] * 1e3
    path = stem.with_suffix(".c3d")
    file.write(str(path))
    return path


def hdf5(stem, data, fs, suffix=".h5"):
    h5py = pytest.importorskip("h5py")
    path = stem.with_suffix(suffix)
    with h5py.File(path, "w") as file:
        file.create_dataset("trial/emg", data=data.T * 1e6, chunks=(1000, 1), compression="gzip")
        file["trial/fs"] = fs
    return path


def matlab(stem, data, fs):
    path = stem.with_suffix(".mat")
    scipy.io.savemat(path, {"trial": {"emg": data.T * 1e6, "fs": fs}}, do_compression=True)
    return path


def matlab73(stem, data, fs):
    """As MATLAB writes it: HDF5 behind a block of 512 bytes, arrays column by column."""
    h5py = pytest.importorskip("h5py")
    path = stem.with_suffix(".mat")
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("trial").attrs["MATLAB_class"] = np.bytes_("struct")
        for name, value in (("emg", data * 1e6), ("fs", np.array([[fs]]))):
            file[f"trial/{name}"] = value
            file[f"trial/{name}"].attrs["MATLAB_class"] = np.bytes_("double")
        file["trial/name"] = np.array([[76]], dtype=np.uint16)
        file["trial/name"].attrs["MATLAB_class"] = np.bytes_("char")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def npy(stem, data, fs):
    path = stem.with_suffix(".npy")
    np.save(path, (data * 1e6).astype("<f4"))
    return path


def npz(stem, data, fs):
    path = stem.with_suffix(".npz")
    np.savez_compressed(path, EMG1=data[0] * 1e6, EMG2=data[1] * 1e6, fs=fs)
    return path


def parquet(stem, data, fs):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = stem.with_suffix(".parquet")
    columns = {f"EMG{i + 1}": row * 1e6 for i, row in enumerate(data)}
    table = pyarrow.table({"note": ["x"] * data.shape[1], **columns})
    parquet.write_table(table, path, row_group_size=777)
    return path


def wfdb(stem, data, fs):
    wfdb = pytest.importorskip("wfdb")
    names = [f"EMG{i + 1}" for i in range(len(data))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb uses what pandas deprecates
        wfdb.wrsamp(
            stem.name, fs=fs, units=["mV"] * len(data), sig_name=names,
            p_signal=data.T * 1e3, fmt=["24"] * len(data), write_dir=str(stem.parent),
        )  # fmt: skip
    return stem.with_suffix(".hea")


def xdf_chunk(tag, content):
    body = struct.pack("<H", tag) + content
    return b"\x04" + struct.pack("<I", len(body)) + body


def xdf(stem, data, fs, kind="EMG"):
    """Written by hand from the specification: no library here writes XDF."""
    channels = "".join(
        f"<channel><label>EMG{i + 1}</label><unit>microvolts</unit></channel>"
        for i in range(len(data))
    )
    header = (
        f"<info><name>amp</name><type>{kind}</type><channel_count>{len(data)}</channel_count>"
        f"<nominal_srate>{fs!r}</nominal_srate><channel_format>double64</channel_format>"
        f"<desc><channels>{channels}</channels></desc></info>"
    )
    content = b"XDF:" + xdf_chunk(1, b"<info><version>1.0</version></info>")
    content += xdf_chunk(2, struct.pack("<I", 1) + header.encode())
    for start in range(0, data.shape[1], 500):
        block = data[:, start : start + 500].T * 1e6
        samples = struct.pack("<IBI", 1, 4, len(block))
        for i, row in enumerate(block):
            stamp = 100 + (start + i) / fs
            samples += b"\x08" + struct.pack("<d", stamp) + row.astype("<f8").tobytes()
        content += xdf_chunk(3, samples)
    footer = f"<info><sample_count>{data.shape[1]}</sample_count></info>"
    content += xdf_chunk(6, struct.pack("<I", 1) + footer.encode())
    path = stem.with_suffix(".xdf")
    path.write_bytes(content)
    return path


def delsys(stem, data, fs):
    lines = [f"Label: S{i}: EMG1 Sampling frequency: {fs!r} Number of points: {data.shape[1]} "
             "start: 0 Unit: V Domain Units: s" for i in (1, 2)]  # fmt: skip
    lines.append("X[s],S1: EMG1 [V],X[s],S2: EMG1 [V]")
    lines += [f"{i / fs:.7f},{a:.12f},{i / fs:.7f},{b:.12f}" for i, (a, b) in enumerate(data.T)]
    path = stem.with_suffix(".csv")
    path.write_text("\n".join(lines))
    return path


def opensignals(stem, data, fs, device="biosignalsplux", resolution=(16, 16)):
    """Counts of 16 bits behind a gain of 1000: volts are (ADC / 2^16 − 1/2) · 3 V / 1000."""
    about = {"sensor": ["EMG", "EMG"], "column": ["nSeq", "DI", "EMG1", "EMG2"], "device": device,
             "channels": [1, 2], "sampling rate": fs, "resolution": list(resolution)}  # fmt: skip
    counts = np.rint((data / (3 / 1000) + 0.5) * 2**16).astype(int)
    lines = ["# OpenSignals Text File Format", "# " + json.dumps({"00:07": about}), "# EndOfHeader"]
    lines += [f"{i % 16}\t0\t{a}\t{b}\t" for i, (a, b) in enumerate(counts.T)]
    path = stem.with_suffix(".txt")
    path.write_text("\n".join(lines) + "\n")
    return path


def timed(stem, data, fs):
    rows = [f"{i / fs:.9f};{a * 1e6:.6f};{b * 1e6:.6f}" for i, (a, b) in enumerate(data.T)]
    path = stem.with_suffix(".csv")
    path.write_text("\n".join(["time;EMG1, uV;EMG2, uV", *rows]).replace(".", ","))
    return path


def text(stem, data, fs):
    path = stem.with_suffix(".tsv")
    np.savetxt(path, data.T * 1e6, delimiter="\t")
    return path


COLUMNS = [{"column": i, "channel": f"EMG{i}", "unit": "uV"} for i in (1, 2)]
NAMED = [{"column": f"EMG{i}", "unit": "uV"} for i in (1, 2)]
MATRIX = {"samples": "trial.emg", "fs_from": "trial.fs", "layout": "times x channels"}

CONTRACT = {
    # kind: writer, mapping, largest error as a share of the peak, relative error of the rate
    "edf": (edf, None, 1.01 / 65535, 1e-6),
    "bdf": (lambda *each: edf(*each, kind="bdf"), None, 1e-6, 1e-6),
    "c3d": (c3d, None, 1e-7, 0),
    "hdf5": (hdf5, {**MATRIX, "columns": COLUMNS}, 1e-15, 0),
    "matlab": (matlab, {**MATRIX, "columns": COLUMNS}, 1e-15, 0),
    "matlab73": (matlab73, {**MATRIX, "columns": COLUMNS}, 1e-15, 0),
    "npy": (npy, {"layout": "channels x times", "columns": COLUMNS}, 1e-7, None),
    "npz": (npz, {"columns": NAMED, "fs_from": "fs"}, 1e-15, 0),
    "parquet": (parquet, {"columns": NAMED}, 1e-15, None),
    "wfdb": (wfdb, None, 1e-6, 0),
    "xdf": (xdf, None, 1e-15, 0),
    "delsys": (delsys, None, 1e-8, 0),
    "opensignals": (opensignals, None, 0.51 * 3 / 1000 / 2**16 / 3e-3, 0),
    "timed": (timed, None, 1e-8, 1e-9),
    "text": (text, {"columns": COLUMNS, "delimiter": "tab"}, 1e-15, None),
}
"""A row per reader. Where the rate's error is None, the file has none and the mapping gives it."""


def test_every_reader_is_under_contract():
    assert set(CONTRACT) == set(READERS)


@pytest.mark.parametrize("kind", CONTRACT)
@pytest.mark.parametrize("fs", RATES)
def test_what_others_wrote_is_read(tmp_path, kind, fs):
    write, mapping, amplitude_error, rate_error = CONTRACT[kind]
    data = samples(n_times=round(fs) + 3)
    path = write(tmp_path / "P7_task-pull", data, fs)
    if rate_error is None:
        mapping = {**mapping, "fs": fs}
    (recording,) = read_recordings(path, mapping=FileMapping(**mapping) if mapping else None)
    assert recording.fs == pytest.approx(fs, rel=rate_error or 1e-15)
    assert recording.data.shape == data.shape
    error = amplitude_error * np.abs(data).max()
    np.testing.assert_allclose(recording.load(), data, atol=error, rtol=0)
    np.testing.assert_allclose(recording.data[1, 17:300], data[1, 17:300], atol=error, rtol=0)
    np.testing.assert_allclose(recording.data[:, -5:], data[:, -5:], atol=error, rtol=0)
    if kind != "delsys":
        assert recording.channel_names == ("EMG1", "EMG2")
    assert recording.task == "pull"


@pytest.mark.parametrize("kind", CONTRACT)
def test_a_kind_is_told_by_content_or_suffix(tmp_path, kind):
    from myosynth.formats.kinds import kind_of

    path = CONTRACT[kind][0](tmp_path / "x", samples(n_times=2000), 1000.0)
    assert kind_of(path) == kind
    if kind not in (
        "c3d",
        "wfdb",
        "text",
        "delsys",
        "timed",
        "opensignals",
    ):  # known by their first bytes
        path.rename(tmp_path / "y.dat")
        assert kind_of(tmp_path / "y.dat") == kind


# --- what a file does not say is asked for --------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "mapping", "said"),
    [
        ("hdf5", None, r"trial/emg \(5003 × 2\), trial/fs \(1\).*samples:.*columns:"),
        ("matlab", {"samples": "trial.emg", "columns": COLUMNS}, "layout: times x channels"),
        ("matlab", {"samples": "trial.egm", "columns": COLUMNS}, "no array 'trial.egm'"),
        ("matlab", {**MATRIX, "columns": [{"column": 3, "channel": "x", "unit": "V"}]},
         "has 2 channels, so there is no column 3"),
        ("matlab", {**MATRIX, "fs_from": "trial.emg"}, r"of shape \(5003, 2\), not one number"),
        ("matlab73", {**MATRIX, "fs_from": "", "columns": COLUMNS}, "no sampling rate; write fs:"),
        ("matlab73", {**MATRIX}, "'1': no unit is given.*unit: under columns:"),
        ("npz", {"columns": [{"column": "EMG3", "unit": "V"}], "fs": 1}, "no channel 'EMG3'"),
        ("parquet", None, r"columns \['EMG1', 'EMG2'\].*columns: and fs:"),
        ("text", None, "give a mapping file for delimited text"),
        ("wfdb", {"fs": 2000}, "says 1000 Hz, but fs: 2000 was asked for"),
    ],
)  # fmt: skip
def test_what_is_missing_is_asked_for(tmp_path, kind, mapping, said):
    path = CONTRACT[kind][0](tmp_path / "x", samples(), 1000.0)
    with pytest.raises((ConfigError, FormatError), match=said):
        next(read_recordings(path, mapping=FileMapping(**mapping) if mapping else None))


def test_a_mapping_names_muscles_tasks_and_scale_of_any_kind(tmp_path):
    data = samples()
    path = c3d(tmp_path / "S03_schub_2", data, 1000.0)
    plan = FileMapping(
        columns=[{"column": "EMG2", "channel": "ES-R", "muscle": "erector spinae", "scale": 0.001}],
        path=r"/(?P<who>S\d+)_(?P<what>\w+?)_(?P<run>\d)\.c3d$",
        subject="{who}", task="{what}", run="{run}", tasks={"schub": "push"},
    )  # fmt: skip
    (recording,) = read_recordings(path, mapping=plan)
    np.testing.assert_allclose(recording.load(), data[1:] * 1e-3, atol=1e-12)
    assert (recording.name, recording.muscles) == ("sub-S03_task-push_run-2", ("erector spinae",))


def test_c3d_leaves_force_plates_out_and_keeps_samples_per_frame(tmp_path):
    ezc3d = pytest.importorskip("ezc3d")
    data = samples(4, 10 * 300)
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [100]
    file["parameters"]["POINT"]["LABELS"]["value"] = ["LASI", "RASI"]
    file["parameters"]["ANALOG"]["RATE"]["value"] = [1000]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = ["Fz1", "ES", "ES", "Angle"]
    file["parameters"]["ANALOG"]["UNITS"]["value"] = ["V", "V", "V", "deg"]
    file["data"]["points"] = np.zeros((4, 2, 300))
    file["data"]["analogs"] = data[None]
    file.add_parameter("FORCE_PLATFORM", "CHANNEL", [1])
    file.write(str(tmp_path / "x.c3d"))
    (recording,) = read_recordings(tmp_path / "x.c3d")
    assert recording.channel_names == ("ES", "ES-2")
    assert recording.metadata["other_channels"] == ["Fz1", "Angle"]
    np.testing.assert_allclose(recording.load(), data[1:3], atol=1e-9)


@pytest.mark.parametrize("processor", ["intel", "dec", "mips"])
@pytest.mark.parametrize("sign", ["SIGNED", "UNSIGNED"])
def test_c3d_integers_of_any_processor(tmp_path, processor, sign):
    """A file of integers built from the specification; ezc3d reads the same values from it."""
    rng = np.random.default_rng(0)
    counts = rng.integers(-2000, 2000, (50, 2)) + (32768 if sign == "UNSIGNED" else 0)
    offset = 32768 if sign == "UNSIGNED" else 5
    path = tmp_path / "x.c3d"
    path.write_bytes(c3d_of_integers(counts, processor, sign, offset))
    (recording,) = read_recordings(path)
    expected = (counts.T - offset) * np.float32(1e-4) * 2.0
    np.testing.assert_allclose(recording.load(), expected, rtol=1e-6)
    assert recording.fs == np.float64("500.0")
    ezc3d = pytest.importorskip("ezc3d")
    if processor != "mips" and sign == "SIGNED":  # ezc3d does not read the others right everywhere
        other = ezc3d.c3d(str(path))["data"]["analogs"][0]
        np.testing.assert_allclose(other, expected, rtol=1e-6)


def c3d_of_integers(counts, processor, sign, offset):
    order = ">" if processor == "mips" else "<"

    def parameter(group, name, kind, shape, data):
        body = struct.pack("bB", kind, len(shape)) + bytes(shape) + data + b"\x00"
        head = struct.pack("bb", len(name), group) + name.encode()
        return head + struct.pack(f"{order}h", len(body) + 2) + body

    def group(number, name):
        head = struct.pack("bb", len(name), -number) + name.encode()
        return head + struct.pack(f"{order}h", 3) + b"\x00"

    def floats(*values):
        if processor == "dec":  # VAX: the exponent two higher, the words swapped
            words = (np.array(values, "<f4") * 4).view("<u2").reshape(-1, 2)
            return words[:, ::-1].tobytes()
        return struct.pack(f"{order}{len(values)}f", *values)

    def integers(*values):
        return struct.pack(f"{order}{len(values)}H", *(value % 65536 for value in values))

    n_times, n = counts.shape
    parameters = b"".join(
        [
            group(1, "POINT"), parameter(1, "SCALE", 4, [], floats(0.1)),
            parameter(1, "RATE", 4, [], floats(500.0)), parameter(1, "USED", 2, [], integers(0)),
            parameter(1, "FRAMES", 2, [], integers(n_times)),
            parameter(1, "DATA_START", 2, [], integers(4)),
            group(2, "ANALOG"), parameter(2, "USED", 2, [], integers(n)),
            parameter(2, "RATE", 4, [], floats(500.0)),
            parameter(2, "LABELS", -1, [4, n], b"ES1 ES2 "),
            parameter(2, "UNITS", -1, [1, n], b"VV"),
            parameter(2, "GEN_SCALE", 4, [], floats(2.0)),
            parameter(2, "SCALE", 4, [n], floats(*[1e-4] * n)),
            parameter(2, "OFFSET", 2, [n], integers(*[offset] * n)),
            parameter(2, "FORMAT", -1, [8], sign.ljust(8).encode()),
            group(3, "FORCE_PLATFORM"), parameter(3, "USED", 2, [], integers(0)),
        ]
    )  # fmt: skip
    number = {"intel": 84, "dec": 85, "mips": 86}[processor]
    section = (bytes([1, 80, 2, number]) + parameters).ljust(1024, b"\x00")
    head = struct.pack(f"{order}5H", 0, n, 1, n_times, 0)
    header = b"\x02\x50" + head + floats(0.1) + struct.pack(f"{order}2H", 4, 1) + floats(500.0)
    return header.ljust(512, b"\x00") + section + counts.astype(f"{order}u2").tobytes()


def test_opensignals_counts_become_volts(shared_data):
    """(ADC / 2^n − 1/2) · 3 V / 1000, with the resolution that the file states."""
    h5py = pytest.importorskip("h5py")
    folder = shared_data / "biosignalsnotebooks"
    found = {r.subject: r for r in read_recordings(folder)}
    for name, bits, device, port, n_times in (
        ("emg_fatigue", 12, "00:07:80:4C:01:B1", 2, 126_900),
        ("emg_bursts", 16, "00:07:80:3B:46:61", 3, 28_519),
    ):
        recording = found[name]
        with h5py.File(folder / f"{name}.h5") as file:
            counts = file[f"{device}/raw/channel_{port}"][:, 0].astype(float)
        expected = (counts / 2**bits - 0.5) * 3 / 1000
        assert (recording.fs, recording.n_times) == (1000, n_times)
        np.testing.assert_allclose(recording.load()[0], expected, atol=1e-15)
        assert 1e-4 < np.abs(recording.load()).max() <= 1.5e-3


def test_opensignals_of_an_unknown_device_asks_for_the_unit(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        device = file.create_group("AA")
        device.attrs.update({"sampling rate": 1000, "channels": [1, 2], "resolution": [10, 10],
                             "device": "newplux"})  # fmt: skip
        for port, sensor in ((1, "EMG"), (2, "ACC")):
            device[f"raw/channel_{port}"] = np.arange(500).reshape(-1, 1)
            device[f"raw/channel_{port}"].attrs["sensor"] = sensor
    with pytest.raises(FormatError, match="'channel 1': no unit is given"):
        next(read_recordings(tmp_path / "x.h5"))
    plan = FileMapping(columns=[{"column": "channel 1", "unit": "uV", "scale": 2.0}])
    (recording,) = read_recordings(tmp_path / "x.h5", mapping=plan)
    np.testing.assert_allclose(recording.load()[0], np.arange(500) * 2e-6)


def test_xdf_that_lost_samples_or_has_no_emg_is_refused(tmp_path):
    pytest.importorskip("pyxdf")
    path = xdf(tmp_path / "x", samples(), 1000.0)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"<nominal_srate>1000.0<", b"<nominal_srate>1100.0<"))
    with pytest.raises(FormatError, match="states 1100 Hz and its time stamps run at 1000 Hz"):
        next(read_recordings(path))
    path.write_bytes(content.replace(b"<type>EMG<", b"<type>EEG<"))
    with pytest.raises(FormatError, match=r"0 streams of type EMG \(streams: amp \(EEG\)\)"):
        next(read_recordings(path))


def test_wfdb_of_another_format_with_missing_samples_and_without_a_gain(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    counts = np.random.default_rng(0).integers(-2000, 2000, (501, 2))
    counts[7, 1] = -2048  # marks a missing sample in format 212
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(
            "x", fs=1111.111, units=["mV", "uV"], sig_name=["a", "b"], d_signal=counts,
            fmt=["212"] * 2, adc_gain=[500.5, 20.0], baseline=[10, -3], write_dir=str(tmp_path),
        )  # fmt: skip
    (recording,) = read_recordings(tmp_path / "x.hea")
    other = wfdb.rdrecord(str(tmp_path / "x"), return_res=64).p_signal.T * [[1e-3], [1e-6]]
    assert np.isnan(recording.load()[1, 7])
    np.testing.assert_allclose(recording.load(), other, rtol=1e-12)
    np.testing.assert_allclose(recording.data[1, 3:9], other[1, 3:9], rtol=1e-12)
    header = (tmp_path / "x.hea").read_text()
    (tmp_path / "x.hea").write_text(header.replace("20.0(-3)/uV", "0(-3)/uV"))
    with pytest.raises(FormatError, match="'b': no unit is given"):
        next(read_recordings(tmp_path / "x.hea"))


def test_xdf_that_pyxdf_reads_past_is_refused(tmp_path):
    """Without a footer nothing but pyxdf's own complaint tells that a chunk was skipped."""
    pytest.importorskip("pyxdf")
    path = xdf(tmp_path / "x", samples(), 1000.0)
    content = path.read_bytes()
    content = content[: content.rindex(b"<info><sample_count>") - 11]
    path.write_bytes(content)
    assert next(read_recordings(path)).n_times == 5003
    last = content.rindex(struct.pack("<IB", 1, 4))  # the last chunk of samples counts 3
    path.write_bytes(content[: last + 5] + struct.pack("<I", 3000) + content[last + 9 :])
    with pytest.raises(FormatError, match="is damaged"):
        next(read_recordings(path))


def test_opensignals_text_of_bitalino_and_of_an_unknown_device(tmp_path):
    data = samples(volts=1e-4)
    counts = np.rint((data / (3 / 1000) + 0.5) * 2**16)
    path = opensignals(tmp_path / "x", data, 1000.0, "bitalino_rev", (4, 1, 16, 16))
    (recording,) = read_recordings(path)
    np.testing.assert_allclose(recording.load(), (counts / 2**16 - 0.5) * 3.3 / 1009, atol=1e-15)
    path = opensignals(tmp_path / "x", data, 1000.0, "newplux")
    with pytest.raises(FormatError, match="'EMG1': no unit is given"):
        next(read_recordings(path))
    path.write_text(path.read_text().replace("EndOfHeader", "End"))
    with pytest.raises(FormatError, match="not a sound OpenSignals file"):
        next(read_recordings(path))
