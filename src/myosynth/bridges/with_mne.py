"""MNE-Python: continuous recordings there and back."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from myosynth.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from myosynth.recordings import Recording

__all__ = ["fields_from_mne", "recording_to_mne"]

_KEY = "myosynth"
_SAME_TIME_S = 1e-6
_DESCRIBED = ("subject", "session", "task", "run", "muscles", "filters", "metadata")


def _mne() -> Any:
    try:
        import mne
    except ImportError as error:
        raise MissingExtraError("mne", "bridges", "the bridge to MNE-Python") from error
    return mne


def recording_to_mne(recording: "Recording") -> Any:
    """An `mne.io.RawArray` of EMG channels in volts.

    The task of the whole recording becomes an annotation over all of it, so that MNE shows it; what
    MNE has no field for (session, run, muscles, filters, metadata) goes as JSON into
    ``info["description"]``.
    """
    mne = _mne()
    info = mne.create_info(list(recording.channel_names), recording.fs, ch_types="emg")
    described = {name: getattr(recording, name) for name in _DESCRIBED}
    info["description"] = json.dumps({_KEY: described}, default=_plain)
    info["subject_info"] = {"his_id": recording.subject}
    with info._unlock():
        for entry in recording.filters:
            info["highpass"] = max(info["highpass"], float(entry.get("low_hz", 0.0)))
            info["lowpass"] = min(info["lowpass"], float(entry.get("high_hz", np.inf)))
    raw = mne.io.RawArray(np.asarray(recording.load(), dtype=np.float64), info, verbose="error")
    spans = [(a.onset_s, a.duration_s, a.description) for a in recording.annotations]
    if recording.task:
        spans.insert(0, (0.0, recording.duration_s, recording.task))
    if spans:
        onsets, durations, texts = zip(*spans, strict=True)
        raw.set_annotations(mne.Annotations(onsets, durations, texts), verbose="error")
    return raw


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def fields_from_mne(
    raw: Any,
    *,
    picks: str | Sequence[str] = "emg",
    subject: str | None = None,
    session: str | None = None,
    task: str | None = None,
    run: str | None = None,
) -> dict[str, Any]:
    """The fields of a `Recording` from an `mne.io.Raw`; `annotations` as (onset, duration, text).

    Raises
    ------
    InputError
        If it is not a Raw, or none of its channels is picked.
    """
    mne = _mne()
    if not isinstance(raw, mne.io.BaseRaw):
        raise InputError(f"a recording is made of an mne Raw, not of a {type(raw).__name__}")
    chosen = _picked(raw, picks)
    names = [raw.ch_names[i] for i in chosen]
    own = _described(raw)
    n_times, fs = len(raw.times), float(raw.info["sfreq"])
    task_name = own.get("task", "") if task is None else task
    spans = [
        (float(onset) - raw.first_time, float(duration), str(text))
        for onset, duration, text in zip(
            raw.annotations.onset,
            raw.annotations.duration,
            raw.annotations.description,
            strict=True,
        )
    ]
    whole = (0.0, n_times / fs, task_name)
    if task_name:
        spans = [span for span in spans if not _same(span, whole)]
    known = (raw.info["subject_info"] or {}).get("his_id") or ""
    muscles = own.get("muscles", [])
    return {
        "data": raw.get_data(picks=chosen),
        "fs": fs,
        "channel_names": names,
        "muscles": muscles if len(muscles) == len(names) else (),
        "subject": own.get("subject", known) if subject is None else subject,
        "session": own.get("session", "") if session is None else session,
        "task": task_name,
        "run": own.get("run", "") if run is None else run,
        "annotations": spans,
        "filters": own.get("filters", []) or _filters(raw, fs),
        "metadata": own.get("metadata", {}),
    }


def _picked(raw: Any, picks: str | Sequence[str]) -> list[int]:
    kinds = raw.get_channel_types()
    if isinstance(picks, str):
        chosen = [i for i, kind in enumerate(kinds) if kind == picks]
        if not chosen:
            raise InputError(
                f"none of the channels is of type {picks} (they are {', '.join(sorted(set(kinds)))}"
                '); set it with raw.set_channel_types({"name": "emg"}) or pick channels by name'
            )
        return chosen
    missing = [name for name in picks if name not in raw.ch_names]
    if missing or not picks:
        raise InputError(
            f"there is no channel {', '.join(missing)}; there are {', '.join(raw.ch_names)}"
        )
    return [raw.ch_names.index(name) for name in picks]


def _described(raw: Any) -> dict[str, Any]:
    try:
        content = json.loads(raw.info["description"] or "{}")
    except ValueError:
        return {}
    own = content.get(_KEY, {}) if isinstance(content, dict) else {}
    return own if isinstance(own, dict) else {}


def _filters(raw: Any, fs: float) -> list[dict[str, Any]]:
    """What MNE knows of filters, where this package did not write the file."""
    low, high = float(raw.info["highpass"] or 0.0), float(raw.info["lowpass"] or fs / 2)
    if low <= 0 and high >= fs / 2:
        return []
    return [{"name": "mne", "low_hz": low, "high_hz": high}]


def _same(span: tuple[float, float, str], other: tuple[float, float, str]) -> bool:
    near = all(abs(a - b) <= _SAME_TIME_S for a, b in zip(span[:2], other[:2], strict=True))
    return near and span[2] == other[2]
