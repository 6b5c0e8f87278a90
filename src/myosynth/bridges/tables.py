"""pandas and xarray: the samples with their names, times and units."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from myosynth.errors import MissingExtraError

if TYPE_CHECKING:
    from myosynth.recordings import Recording, SegmentSet

__all__ = [
    "recording_to_pandas",
    "recording_to_xarray",
    "segments_to_pandas",
    "segments_to_xarray",
]

_TEXTS = ("task", "subject", "session", "recording", "split")


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("pandas", "bridges", "the bridge to pandas") from error
    return pandas


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise MissingExtraError("xarray", "bridges", "the bridge to xarray") from error
    return xarray


def _facts(recording: "Recording") -> dict[str, Any]:
    """Attributes that NetCDF can hold: numbers and text only."""
    spans = [[a.onset_s, a.duration_s, a.description] for a in recording.annotations]
    return {
        "units": "V",
        "fs_hz": recording.fs,
        "subject": recording.subject,
        "session": recording.session,
        "task": recording.task,
        "run": recording.run,
        "annotations": json.dumps(spans),
        "filters": json.dumps([dict(entry) for entry in recording.filters]),
    }


def recording_to_pandas(recording: "Recording") -> Any:
    """A DataFrame: one row per sample, one column per channel in V, index ``time_s``."""
    pandas = _pandas()
    times = np.arange(recording.n_times) / recording.fs
    frame = pandas.DataFrame(
        np.asarray(recording.load()).T,
        columns=list(recording.channel_names),
        index=pandas.Index(times, name="time_s"),
    )
    muscles = dict(zip(recording.channel_names, recording.muscles, strict=True))
    frame.attrs = {**_facts(recording), "muscles": json.dumps(muscles)}
    return frame


def recording_to_xarray(recording: "Recording") -> Any:
    """A DataArray (channel, time) in V, with the muscle of each channel as a coordinate."""
    return _xarray().DataArray(
        np.asarray(recording.load()),
        dims=("channel", "time"),
        coords={
            "channel": list(recording.channel_names),
            "time": ("time", np.arange(recording.n_times) / recording.fs, {"units": "s"}),
            "muscle": ("channel", list(recording.muscles)),
        },
        name="emg",
        attrs=_facts(recording),
    )


def segments_to_pandas(segments: "SegmentSet") -> Any:
    """A DataFrame of what is known about each segment, one row each; no samples."""
    columns = {name: getattr(segments, name) for name in _TEXTS}
    return _pandas().DataFrame({**columns, "start_s": segments.start_s, **segments.columns})


def segments_to_xarray(segments: "SegmentSet") -> Any:
    """A DataArray (segment, channel, time) in V; what is known of each segment as coordinates."""
    about = {name: ("segment", getattr(segments, name)) for name in _TEXTS}
    further = {name: ("segment", values) for name, values in segments.columns.items()}
    return _xarray().DataArray(
        segments.read(),
        dims=("segment", "channel", "time"),
        coords={
            **about,
            "start_s": ("segment", segments.start_s),
            **further,
            "channel": list(segments.channel_names),
            "time": ("time", np.arange(segments.n_times) / segments.fs, {"units": "s"}),
            "muscle": ("channel", list(segments.muscles)),
        },
        name="emg",
        attrs={"units": "V", "fs_hz": segments.fs},
    )
