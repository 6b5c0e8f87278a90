"""Sets of segments as Parquet, laid out as the datasets library and the Hugging Face hub have it.

A row per segment: ``signals`` (n_channels lists of n_times float32, volts), ``task``, ``fs``,
``channel_names``, ``subject``, ``session``, ``recording``, ``split``, ``start_s`` and further
columns. A folder holds ``data/train-00000-of-00001.parquet`` and a card, ``README.md``.

Source
------
https://huggingface.co/docs/hub/datasets-manual-configuration
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from myosynth.errors import FormatError, InputError, MissingExtraError
from myosynth.formats.claims import check_claim
from myosynth.formats.parquet import open_parquet
from myosynth.formats.segment_arrays import set_of
from myosynth.formats.targets import target_file
from myosynth.recordings import FloatArray, SegmentSet
from myosynth.storage import atomic_directory, atomic_file

__all__ = ["parquet_parts", "read_parquet_set", "write_parquet"]

_SHARD_BYTES = 400 << 20
_GROUP_BYTES = 16 << 20
_TEXTS = ("task", "subject", "session", "recording", "split")
_OWN = b"myosynth"


def write_parquet(segments: SegmentSet, out: Path, *, overwrite: bool = False) -> Path:
    """Write one Parquet file where `out` ends in .parquet, else a folder with data and card.

    The samples come back bit by bit.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "writing Parquet") from error
    out = Path(out)
    if out.suffix.lower() == ".parquet":
        path = target_file(out, ".parquet", overwrite)
        _write_file(segments, path, 0, len(segments))
        return path
    n_shards = max(1, -(-len(segments) * _bytes_each(segments) // _SHARD_BYTES))
    edges = np.linspace(0, len(segments), n_shards + 1).astype(int)
    with atomic_directory(out, overwrite=overwrite) as folder:
        for shard in range(n_shards):
            name = f"train-{shard:05d}-of-{n_shards:05d}.parquet"
            _write_file(segments, folder / "data" / name, int(edges[shard]), int(edges[shard + 1]))
        (folder / "README.md").write_text(_card(segments), encoding="utf-8")
    return out


def _bytes_each(segments: SegmentSet) -> int:
    return 4 * segments.n_channels * segments.n_times


def _write_file(segments: SegmentSet, path: Path, first: int, last: int) -> None:
    import pyarrow
    import pyarrow.parquet

    step = max(1, _GROUP_BYTES // _bytes_each(segments))
    own = json.dumps({"muscles": list(segments.muscles), "metadata": segments.metadata})
    with atomic_file(path) as partial:
        writer = None
        for start in range(first, max(last, first + 1), step):
            table = _table(segments, start, min(start + step, last))
            if writer is None:
                metadata = {**(table.schema.metadata or {}), _OWN: own.encode()}
                schema = table.schema.with_metadata(metadata)
                writer = pyarrow.parquet.ParquetWriter(partial, schema)
            writer.write_table(table.cast(writer.schema), row_group_size=step)
        if writer is not None:
            writer.close()


def _table(segments: SegmentSet, start: int, stop: int) -> Any:
    import pyarrow

    signals = np.asarray(segments.read(slice(start, stop)), dtype=np.float32)
    n, n_channels, n_times = signals.shape
    lines = pyarrow.ListArray.from_arrays(
        np.arange(0, signals.size + 1, n_times, dtype=np.int32), pyarrow.array(signals.ravel())
    )
    nested = pyarrow.ListArray.from_arrays(
        np.arange(0, n * n_channels + 1, n_channels, dtype=np.int32), lines
    )
    columns: dict[str, Any] = {
        "signals": nested,
        **{name: getattr(segments, name)[start:stop] for name in _TEXTS},
        "start_s": segments.start_s[start:stop],
        "fs": np.full(n, segments.fs),
        "channel_names": [list(segments.channel_names)] * n,
    }
    for name, values in segments.columns.items():
        if name in columns:
            raise InputError(f"column {name!r} has the name of one that every set has; rename it")
        columns[name] = values[start:stop]
    return pyarrow.table(columns)


def _card(segments: SegmentSet) -> str:
    synthetic = bool(segments.metadata.get("synthetic"))
    front = {
        "pretty_name": "Synthetic surface EMG" if synthetic else "Surface EMG",
        "tags": ["emg", "electromyography", "biosignals", *(["synthetic"] if synthetic else [])],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
    }
    origin = (
        "This dataset is synthetic. No person was recorded for it: a generative model (myosynth) "
        "made every signal."
        if synthetic
        else "Segments of surface electromyography."
    )
    counts = "".join(f"- {task}: {np.sum(segments.task == task)}\n" for task in segments.tasks)
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n"
        f"# {front['pretty_name']}\n\n{origin}\n"
        f"\n{len(segments)} segments of {segments.duration_s:g} s at {segments.fs:.7g} Hz, "
        f"channels {', '.join(segments.channel_names)}, in volts.\n\n"
        f"## Segments by task\n\n{counts}\n"
        "## Reading it\n\n```python\nfrom datasets import load_dataset\n"
        'data = load_dataset("parquet", data_files="data/*.parquet", split="train")\n'
        'signals = data.with_format("numpy")[0]["signals"]  # (n_channels, n_times), volts\n```\n'
    )


def parquet_parts(folder: Path) -> list[Path]:
    """The files of a set in the folder layout, in order."""
    return sorted((folder / "data").glob("*.parquet"))


def read_parquet_set(path: Path, fs: float | None) -> SegmentSet:
    """Read a set from a Parquet file, or from every file of a folder's ``data``.

    Raises
    ------
    FormatError
        If a file is damaged or has no column ``signals`` of lists of equal length.
    """
    parts = parquet_parts(path) if path.is_dir() else [path]
    return SegmentSet.concatenate(_read_file(part, fs) for part in parts)


def _read_file(path: Path, fs: float | None) -> SegmentSet:
    content: dict[str, Any] = {}
    with open_parquet(path) as file:
        metadata = file.metadata
        n_bytes = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        check_claim(path, float(n_bytes), "its table")
        held = file.schema_arrow.names
        if missing := [name for name in ("signals", "task") if name not in held]:
            raise FormatError(
                f"{path} lacks the column {missing[0]!r}, so it is no set of segments; read a "
                "table of samples through a mapping file"
            )
        content["signals"] = np.concatenate(list(_signals(path, file)))
        table = file.read([name for name in held if name != "signals"])
        own = json.loads((file.schema_arrow.metadata or {}).get(_OWN, b"{}"))
    rates = {float(value) for value in table["fs"].to_pylist()} if "fs" in held else set()
    if len(rates) > 1:
        raise FormatError(f"{path} holds segments of several sampling rates: {sorted(rates)}")
    for name in set(held) - {"signals", "fs", "channel_names"}:
        key = name if name in (*_TEXTS, "start_s") else f"column_{name}"
        values = table[name].to_pylist()
        is_text = any(isinstance(value, str) for value in values)
        content[key] = np.array(
            [value or "" for value in values]
            if is_text
            else [np.nan if value is None else value for value in values]
        )
    if rates:
        content["fs"] = np.array(rates.pop())
    if "channel_names" in held and table.num_rows:
        content["channel_names"] = np.array(table["channel_names"][0].as_py())
    if own.get("muscles"):
        content["muscles"] = np.array(own["muscles"])
    content["metadata"] = np.array(json.dumps(own.get("metadata", {})))
    return set_of(path, content, fs)


def _signals(path: Path, file: Any) -> Iterator[FloatArray]:
    for batch in file.iter_batches(batch_size=256, columns=["signals"]):
        outer = batch.column(0)
        try:
            inner = outer.flatten()
            values = inner.flatten().to_numpy(zero_copy_only=False)
            per_segment = set(np.diff(outer.offsets.to_numpy()))
            per_channel = set(np.diff(inner.offsets.to_numpy()))
        except AttributeError as error:
            raise FormatError(
                f"{path}: signals must be lists of channels, each a list of numbers"
            ) from error
        if len(per_segment) != 1 or len(per_channel) != 1:
            raise FormatError(f"{path}: segments differ in channels or length")
        shape = (len(outer), int(per_segment.pop()), int(per_channel.pop()))
        yield np.asarray(values, dtype=np.float32).reshape(shape)
