"""A continuous recording of one subject, and spans of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import InputError

__all__ = [
    "Annotation",
    "FloatArray",
    "Recording",
    "SignalArray",
    "checked_channels",
    "checked_fs",
    "checked_muscles",
]

FloatArray = NDArray[np.floating[Any]]


class SignalArray(Protocol):
    """What stores samples: a numpy array, a memory map, a zarr array or a lazy file reader."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True)
class Annotation:
    """A span of a recording: a task, or a bad span (`description` starts with ``BAD``, as in MNE).

    Parameters
    ----------
    onset_s : float
        Start in seconds from the first sample, ≥ 0.
    duration_s : float
        Length in seconds, ≥ 0.
    description : str
        The task's name, or ``BAD_…`` for a span that must not be used.
    """

    onset_s: float
    duration_s: float
    description: str

    @property
    def is_bad(self) -> bool:
        return self.description.upper().startswith("BAD")


@dataclass(frozen=True)
class Recording:
    """A continuous recording of one subject.

    Parameters
    ----------
    data : array, (n_channels, n_times)
        Samples in volts; any array that is read by slicing (`load` brings it into memory).
    fs : float
        Sampling rate in Hz, > 0.
    channel_names : sequence of str
        One per channel, unique.
    subject : str
        Identifier of the person, as in BIDS without ``sub-``.
    muscles : sequence of str
        The muscle below each channel; empty strings where it is not known.
    session : str
        Identifier of the visit, or empty.
    task : str
        The task of the whole recording, or empty where `annotations` name timed tasks.
    run : str
        Identifier that tells recordings of the same subject, session and task apart, or empty.
    annotations : sequence of Annotation
        Timed tasks and bad spans.
    filters : sequence of dict
        Every filter or repair applied so far, in order: ``{"name": …, parameters…}``.
    metadata : mapping
        Whatever else is known (electrodes, device, source file, unit of the source).

    Raises
    ------
    InputError
        If shapes, names or the rate do not fit together.
    """

    data: SignalArray
    fs: float
    channel_names: Sequence[str]
    subject: str
    muscles: Sequence[str] = ()
    session: str = ""
    task: str = ""
    run: str = ""
    annotations: Sequence[Annotation] = ()
    filters: Sequence[Mapping[str, Any]] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.data.shape) != 2:
            raise InputError(
                f"a recording's data must be (n_channels, n_times), not of shape {self.data.shape}"
            )
        object.__setattr__(self, "fs", checked_fs(self.fs))
        names = checked_channels(self.channel_names, self.data.shape[0])
        object.__setattr__(self, "channel_names", names)
        object.__setattr__(self, "muscles", checked_muscles(self.muscles, len(names)))
        object.__setattr__(self, "annotations", tuple(self.annotations))
        object.__setattr__(self, "filters", tuple(self.filters))

    @property
    def n_channels(self) -> int:
        return self.data.shape[0]

    @property
    def n_times(self) -> int:
        return self.data.shape[1]

    @property
    def duration_s(self) -> float:
        return self.n_times / self.fs

    @property
    def name(self) -> str:
        """The BIDS-like name, for example ``sub-01_ses-1_task-pull_run-2``."""
        parts = {"sub": self.subject, "ses": self.session, "task": self.task, "run": self.run}
        return "_".join(f"{key}-{value}" for key, value in parts.items() if value)

    @property
    def bad_channels(self) -> tuple[str, ...]:
        """Its channels that whoever recorded it marked as bad."""
        marked = self.metadata.get("bad_channels", ())
        return tuple(name for name in self.channel_names if name in marked)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task in it, sorted."""
        timed = {a.description for a in self.annotations if not a.is_bad}
        return tuple(sorted(timed | {self.task} - {""}))

    def load(self) -> FloatArray:
        """The samples in memory, (n_channels, n_times) in volts."""
        return np.asarray(self.data[:, :])

    def replace(self, **changes: Any) -> "Recording":
        """A copy with the named fields changed; the checks run again."""
        return replace(self, **changes)

    def to_mne(self) -> Any:
        """An `mne.io.RawArray`: channels of type emg in volts, tasks and bad spans as annotations.

        The rate is exact; session, run, muscles, filters and metadata survive `from_mne`.
        """
        from myosynth.bridges import recording_to_mne

        return recording_to_mne(self)

    @classmethod
    def from_mne(
        cls,
        raw: Any,
        *,
        picks: str | Sequence[str] = "emg",
        subject: str | None = None,
        session: str | None = None,
        task: str | None = None,
        run: str | None = None,
    ) -> "Recording":
        """Make a recording of an `mne.io.Raw`.

        Parameters
        ----------
        raw : mne.io.BaseRaw
            Its annotations become timed tasks and bad spans, with onsets from its first sample.
        picks : str or sequence of str
            A channel type, or channel names.
        subject, session, task, run : str, optional
            Where the Raw does not say, or to say otherwise.

        Raises
        ------
        InputError
            If `raw` is something else, or no channel is picked.
        """
        from myosynth.bridges import fields_from_mne

        given = {"subject": subject, "session": session, "task": task, "run": run}
        fields = fields_from_mne(raw, picks=picks, **given)
        spans = [
            Annotation(max(0.0, onset), duration + min(0.0, onset), text)
            for onset, duration, text in fields.pop("annotations")
            if onset + duration >= 0
        ]
        return cls(**fields, annotations=spans)

    def to_pandas(self) -> Any:
        """A DataFrame: rows by ``time_s``, a column per channel in volts, facts in ``attrs``."""
        from myosynth.bridges import recording_to_pandas

        return recording_to_pandas(self)

    def to_xarray(self) -> Any:
        """A DataArray (channel, time) in volts, with the muscle of each channel."""
        from myosynth.bridges import recording_to_xarray

        return recording_to_xarray(self)


def checked_fs(fs: float) -> float:
    try:
        value = float(fs)
    except (TypeError, ValueError):
        value = float("nan")
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"the sampling rate must be a positive number of hertz, not {fs!r}")
    return value


def checked_channels(names: Sequence[str], n_channels: int) -> tuple[str, ...]:
    if isinstance(names, str) or len(names) != n_channels:
        raise InputError(f"{n_channels} channels need {n_channels} channel names, got {names!r}")
    if len(set(names)) != n_channels:
        raise InputError(f"channel names must be unique, got {list(names)}")
    return tuple(str(name) for name in names)


def checked_muscles(muscles: Sequence[str], n_channels: int) -> tuple[str, ...]:
    if not muscles:
        return ("",) * n_channels
    if isinstance(muscles, str) or len(muscles) != n_channels:
        raise InputError(f"{n_channels} channels need {n_channels} muscles, got {muscles!r}")
    return tuple(str(muscle) for muscle in muscles)
