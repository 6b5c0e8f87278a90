"""Amplitude as a share of a maximal voluntary contraction (MVC)."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.recordings import Recording
from myosynth.signal.features import envelope

__all__ = ["MvcAmplitude", "normalise_to_mvc"]

_MVC_NAME = re.compile(r"mvi?c|max(imal|imum)?[ _-]?(voluntary|contraction|effort)", re.IGNORECASE)
_BEYOND = 1.2
_SHORTEST_S = 1.0


@dataclass(frozen=True)
class MvcAmplitude:
    """A recording's envelope in percent of the maximal voluntary contraction.

    Parameters
    ----------
    percent : array, (n_channels, n_times)
        RMS envelope, %MVC, ≥ 0.
    fs : float
        Hz.
    channel_names : tuple of str
    reference_v : array, (n_channels,)
        The MVC's amplitude, V RMS.
    mvc : str
        Name of the MVC recording.
    warnings : tuple of str
        One sentence per channel that exceeds its MVC by more than a fifth.
    """

    percent: NDArray[np.float64]
    fs: float
    channel_names: tuple[str, ...]
    reference_v: NDArray[np.float64]
    mvc: str
    warnings: tuple[str, ...]


def normalise_to_mvc(
    recording: Recording,
    mvc_recording: Recording | None,
    *,
    window_s: float = 0.1,
    mvc_window_s: float = 0.5,
) -> MvcAmplitude:
    """Envelope in percent of the maximal voluntary contraction.

    The reference is the highest RMS over `mvc_window_s` in the MVC recording, channel by channel.
    Nothing stands in for an MVC: without one amplitudes stay in volts.

    Parameters
    ----------
    recording : Recording
        In volts, filtered.
    mvc_recording : Recording
        Of the same subject, session, channels, rate and filters; its task says that it is an MVC
        (``mvc``, ``maximal contraction``, …), or its metadata do (``{"mvc": True}``).
    window_s, mvc_window_s : float
        Windows of the envelope and of the reference, s.

    Returns
    -------
    MvcAmplitude

    Raises
    ------
    InputError
        If there is no MVC recording, or it is not one of this subject, visit, electrodes and
        processing.
    NotEnoughDataError
        If the MVC recording is shorter than a second.

    Notes
    -----
    Source: Besomi et al. 2020, doi 10.1016/j.jelekin.2020.102438 (approaches 1 and 2).
    """
    if mvc_recording is None:
        raise InputError(
            f"{recording.name} cannot be given in %MVC without a recording of a maximal voluntary "
            "contraction of the same subject and visit; record one, or stay with volts"
        )
    _check_fits(recording, mvc_recording)
    reference = _highest_rms(mvc_recording, mvc_window_s)
    silent = [n for n, v in zip(recording.channel_names, reference, strict=True) if v <= 0]
    if silent:
        raise InputError(
            f"{mvc_recording.name} holds no signal in channel {', '.join(silent)}; leave the "
            "channel out of both recordings"
        )
    level = envelope(recording.load(), recording.fs, window_s)
    percent = np.asarray(100 * level / reference[:, None], dtype=np.float64)
    over = _highest_rms(recording, mvc_window_s) / reference
    return MvcAmplitude(
        percent=percent,
        fs=recording.fs,
        channel_names=tuple(recording.channel_names),
        reference_v=reference,
        mvc=mvc_recording.name,
        warnings=tuple(
            f"channel {name} reaches {100 * share:.0f} % of its MVC: that contraction was probably "
            "not maximal; repeat it, or say so"
            for name, share in zip(recording.channel_names, over, strict=True)
            if share > _BEYOND
        ),
    )


def _check_fits(recording: Recording, mvc: Recording) -> None:
    named = any(_MVC_NAME.search(task) for task in (*mvc.tasks, str(mvc.metadata.get("task", ""))))
    if not (named or mvc.metadata.get("mvc") is True):
        raise InputError(
            f"{mvc.name} does not say that it is a maximal voluntary contraction; name its task "
            'mvc or set its metadata to {"mvc": True} if it is one'
        )
    for what, one, other in (
        ("subject", recording.subject, mvc.subject),
        ("session", recording.session, mvc.session),
        ("channels", recording.channel_names, mvc.channel_names),
        ("rate", recording.fs, mvc.fs),
        ("filters", _comparable(recording), _comparable(mvc)),
    ):
        if one != other:
            raise InputError(
                f"{mvc.name} is no reference for {recording.name}: {what} differ ({one} and "
                f"{other}); an MVC counts for its own subject, visit, electrodes and filters"
            )
    if mvc.duration_s < _SHORTEST_S:
        raise NotEnoughDataError(
            f"{mvc.name} lasts {mvc.duration_s:.2g} s, too short for a maximal contraction"
        )


def _comparable(recording: Recording) -> list[dict[str, object]]:
    """Filters without what was counted in this recording only."""
    return [
        {key: value for key, value in entry.items() if not key.startswith("n_")}
        for entry in recording.filters
        if entry["name"] != "nan"
    ]


def _highest_rms(recording: Recording, window_s: float) -> NDArray[np.float64]:
    size = max(1, min(round(window_s * recording.fs), recording.n_times))
    data = np.asarray(recording.load(), dtype=np.float64)
    if not np.isfinite(data).all():
        raise InputError(
            f"{recording.name} holds samples that are not numbers; filter it with on_nan "
            "interpolate"
        )
    centred = data - data.mean(axis=1, keepdims=True)
    power = uniform_filter1d(centred**2, size, axis=1, mode="constant")
    return np.asarray(np.sqrt(np.maximum(power, 0).max(axis=1)))
