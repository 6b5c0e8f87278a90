"""XDF (Lab Streaming Layer): the EMG stream of a file, through the pyxdf package.

Source
------
https://github.com/sccn/xdf/wiki/Specifications
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from myosynth.errors import FormatError, MissingExtraError
from myosynth.formats.mapping import FileMapping
from myosynth.formats.names import unique
from myosynth.formats.sources import Signals
from myosynth.recordings import FloatArray

__all__ = ["read_xdf"]

_DISAGREE = 0.01
_DAMAGE = re.compile(r"corrupt|error reading|zero-length|truncat|unexpected", re.IGNORECASE)


def read_xdf(path: Path, plan: FileMapping | None = None) -> Signals:
    """Open the one stream of type EMG of an XDF file; marker streams go to the events.

    Raises
    ------
    MissingExtraError
        If pyxdf is not installed.
    FormatError
        If the file is damaged, has no EMG stream or several, or samples were lost.
    """
    try:
        import pyxdf
    except ImportError as error:
        raise MissingExtraError("pyxdf", "xdf", f"reading {path}") from error
    try:
        with _complaints() as complaints:
            streams, _ = pyxdf.load_xdf(str(path), dejitter_timestamps=False)
        if complaints:
            raise FormatError(f"{path} is damaged ({complaints[0]}); record or export it again")
        emg = [stream for stream in streams if _info(stream, "type").upper() == "EMG"]
        held = [f"{_info(stream, 'name')} ({_info(stream, 'type')})" for stream in streams]
        if len(emg) != 1:
            raise FormatError(
                f"{path} holds {len(emg)} streams of type EMG (streams: {', '.join(held)}); "
                "export the one that is wanted"
            )
        return _signals(path, emg[0], _markers(streams))
    except FormatError:
        raise
    except Exception as error:
        # pyxdf lets errors of many kinds through for damaged files
        said = str(error) or type(error).__name__
        raise FormatError(f"{path} is not a sound XDF file ({said}); record it again") from error


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What pyxdf only logs although samples are lost: it reads on past damage."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if _DAMAGE.search(text):
                found.append(text.rstrip("."))

    logger, collector = logging.getLogger("pyxdf"), Collector(logging.INFO)
    before = (logger.level, logger.propagate)
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(collector)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _signals(path: Path, stream: Any, markers: list[tuple[float, str]]) -> Signals:
    samples: FloatArray = np.asarray(stream["time_series"], dtype=np.float64).T
    times = np.asarray(stream["time_stamps"])
    if samples.ndim != 2 or samples.shape[1] < 2:
        raise FormatError(f"{path}: its EMG stream holds no samples")
    counted = _first((stream.get("footer") or {}).get("info") or {}, "sample_count")
    if counted and int(counted) != samples.shape[1]:
        raise FormatError(
            f"{path} is damaged: its EMG stream counts {counted} samples and holds "
            f"{samples.shape[1]}"
        )
    rate = float(_info(stream, "nominal_srate") or 0)
    shown = (len(times) - 1) / (times[-1] - times[0])
    if not rate > 0:
        raise FormatError(f"{path}: its EMG stream has no fixed rate")
    if not abs(shown / rate - 1) <= _DISAGREE:
        raise FormatError(
            f"{path}: its EMG stream states {rate:.7g} Hz and its time stamps run at "
            f"{shown:.7g} Hz; samples were lost"
        )
    described = _channels(stream)
    names = [label or f"channel {i + 1}" for i, (label, _) in enumerate(described)]
    events = [[float(at - times[0]), text] for at, text in markers]
    return Signals(
        names=unique(names, longest=None),
        units=[unit for _, unit in described],
        rates=[rate] * len(samples),
        pick=lambda rows: samples[list(rows)],
        metadata={"events": events} if events else {},
    )


def _channels(stream: Any) -> list[tuple[str, str]]:
    n_channels = int(_info(stream, "channel_count"))
    try:
        channels = stream["info"]["desc"][0]["channels"][0]["channel"]
    except (KeyError, IndexError, TypeError):
        channels = []
    described = [(_first(each, "label"), _first(each, "unit")) for each in channels]
    return (described + [("", "")] * n_channels)[:n_channels]


def _markers(streams: Sequence[Any]) -> list[tuple[float, str]]:
    return [
        (float(at), str(row[0]))
        for stream in streams
        if _info(stream, "type").lower() == "markers"
        for at, row in zip(stream["time_stamps"], stream["time_series"], strict=False)
    ]


def _info(stream: Any, key: str) -> str:
    return _first(stream["info"], key)


def _first(content: Any, key: str) -> str:
    value = content.get(key) or [""]
    return str(value[0] or "")
