"""The rules of the quality report: from figures to problems, each one plain sentence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from myosynth.recordings import Recording
from myosynth.signal.measurements import ChannelFigures

__all__ = ["SEVERITIES", "Problem", "channel_problems", "recording_problems", "volts"]

SEVERITIES = ("error", "warning", "note")
"""error: not usable as it is; warning: repair it, or leave it out, or know why not; note: a fact
that an analysis must know."""

_LEVEL_V = (
    1e-6,
    5e-2,
)  # 250-ms RMS of a contraction: a whisper on the skin to an amplifier's output
_USUAL_V = 2e-4
_SHORTEST_S = 3.0
_LOWEST_FS = 1000.0
_CLIPPED = {"note": 0.0, "warning": 1e-3, "error": 0.05}
_FLAT = {"warning": 0.02, "error": 0.9}
_NAN = {"warning": 0.0, "error": 0.1}
_HUM_DB = 6.0
_HUM_SIGMAS = 4.5  # of the roughness: ten lines are looked at
_HUM_RMS = 0.03
_MOTION = {"warning": 0.3, "error": 0.7}
_UNFILTERED = 0.14
_DRIFT = 0.2
_OFFSET = 20.0
_SNR_DB = 6.0
_LONE_SHARE = 0.25
_DEAD_RATIO = 0.02
_FATIGUE_PER_MIN, _FATIGUE_SURE, _FATIGUE_TOTAL = -0.03, -0.01, -0.05


@dataclass(frozen=True)
class Problem:
    """Something a user should know.

    Parameters
    ----------
    severity : {"error", "warning", "note"}
    code : str
        Stable, one word: ``clipped``, ``flat``, ``dead``, ``nan``, ``unit``, ``rate``, ``short``,
        ``mains``, ``motion``, ``unfiltered``, ``drift``, ``ecg``, ``snr``, ``fatigue``, ``bad``;
        of a set also ``duplicate``, ``missing``, ``channels``, ``empty``.
    text : str
        One sentence: what, where, how much, what to do.
    channels : tuple of str
        The channels concerned; empty = all.
    value : float or None
        The worst figure, in the unit that the text names.
    recording : str
        The recording concerned, or empty.
    """

    severity: str
    code: str
    text: str
    channels: tuple[str, ...] = ()
    value: float | None = None
    recording: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "severity": self.severity,
            "code": self.code,
            "recording": self.recording,
            "channels": list(self.channels),
            "value": self.value,
            "text": self.text,
        }


def recording_problems(recording: Recording) -> list[Problem]:
    """What its length and rate alone tell."""
    found = []
    if recording.duration_s < _SHORTEST_S:
        found.append(Problem(
            "error", "short",
            f"it lasts {recording.duration_s:.2g} s, less than one segment of {_SHORTEST_S:g} s; "
            "leave it out or cut shorter segments", value=recording.duration_s,
        ))  # fmt: skip
    if recording.fs < _LOWEST_FS:
        found.append(Problem(
            "warning", "rate",
            f"it was sampled at {recording.fs:.7g} Hz, but surface EMG reaches 400–500 Hz and "
            "needs 1000 Hz or more; amplitudes and median frequencies come out too low",
            value=recording.fs,
        ))  # fmt: skip
    if marked := recording.bad_channels:
        found.append(Problem(
            "warning", "bad",
            f"{_names(marked)}: marked as bad where it was recorded; leave it out (prepare "
            "--channel), or take the mark away if it is wrong", marked,
        ))  # fmt: skip
    return found


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    prefix = "" if shown.lower().startswith("channel") else "channel "
    return f"channels {shown}" if len(names) > 1 else f"{prefix}{shown}"


def _list(channels: Sequence[ChannelFigures]) -> tuple[str, tuple[str, ...]]:
    names = tuple(channel.name for channel in channels)
    return _names(names), names


def _graded(
    channels: Sequence[ChannelFigures],
    figure: Callable[[ChannelFigures], float],
    limits: dict[str, float],
    code: str,
    text: str,
) -> list[Problem]:
    """One problem of the worst severity, naming all channels above its lowest limit."""
    found = [c for c in channels if figure(c) > min(limits.values())]
    if not found:
        return []
    worst = max(figure(c) for c in found)
    severity = next(s for s in SEVERITIES if s in limits and worst > limits[s])
    where, names = _list(found)
    return [Problem(severity, code, text.format(where=where, worst=worst), names, worst)]


def _nan_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    return _graded(
        channels, lambda c: c.nan_share, _NAN, "nan",
        "{where}: up to {worst:.2%} of the samples are not numbers; mend the file, or filter with "
        "on_nan interpolate or keep",
    )  # fmt: skip


def _flat_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    return _graded(
        channels, lambda c: c.flat_share, _FLAT, "flat",
        "{where}: the signal does not move for up to {worst:.1%} of the time; leave the channel or "
        "those spans out, and check the cable",
    )  # fmt: skip


def _clip_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    return _graded(
        channels, lambda c: c.rails.share, _CLIPPED, "clipped",
        "{where}: up to {worst:.2%} of the samples are stuck at the limits of the range; leave "
        "those spans out (mark them BAD_clipped) and record with a lower gain",
    )  # fmt: skip


def _unit_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    found = [c for c in channels if not _LEVEL_V[0] <= c.level_v <= _LEVEL_V[1]]
    if not found or len(found) < len(channels) / 2:
        return []
    level = float(np.median([c.level_v for c in found]))
    if level <= 0:
        return []
    where, names = _list(found)
    return [Problem(
        "error", "unit",
        f"{where}: contractions of {volts(level)} RMS are not plausible for surface EMG; "
        f"{_factor_text(level)}", names, level,
    )]  # fmt: skip


def _factor_text(level: float) -> str:
    fitting = [f for f in (1e3, 1e-3, 1e6, 1e-6) if _LEVEL_V[0] <= level * f <= _LEVEL_V[1]]
    if not fitting:
        return "check the unit and the gain"
    factor = min(fitting, key=lambda f: abs(math.log(level * f / _USUAL_V)))
    size = "1e3" if factor in (1e3, 1e-3) else "1e6"
    way = "small" if factor > 1 else "large"
    return (
        f"they look {size} too {way} ({volts(level * factor)} would be usual): correct the "
        "unit in the mapping file or the sidecar"
    )


def volts(value: float) -> str:
    """An amplitude with its unit's prefix and three digits."""
    for unit, size in (("V", 1.0), ("mV", 1e-3), ("µV", 1e-6), ("nV", 1e-9)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-12:.3g} pV"


def _dead_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    if len(channels) < 2:
        return []
    usual = float(np.median([c.level_v for c in channels]))
    found = [c for c in channels if c.level_v < _DEAD_RATIO * usual and c.snr_db < 2 * _SNR_DB]
    if not found:
        return []
    where, names = _list(found)
    lowest = min(c.level_v for c in found)
    return [Problem(
        "error", "dead",
        f"{where}: hardly anything but noise ({volts(lowest)} RMS against {volts(usual)} in the "
        "other channels); leave the channel out, the electrode was probably off", names, lowest,
    )]  # fmt: skip


def _mains_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    def loud(c: ChannelFigures) -> bool:
        return c.hum.height_db > max(_HUM_DB, _HUM_SIGMAS * c.hum.chance_db) and (
            c.hum.rms_v > _HUM_RMS * c.rms_v
        )

    found = [c for c in channels if loud(c)]
    if not found:
        return []
    where, names = _list(found)
    worst = max(found, key=lambda c: c.hum.rms_v / max(c.rms_v, 1e-30))
    share = worst.hum.rms_v / max(worst.rms_v, 1e-30)
    return [Problem(
        "warning", "mains",
        f"{where}: {worst.hum.hz:.0f}-Hz mains hum stands up to {worst.hum.height_db:.0f} dB above "
        f"the spectrum around it, {share:.0%} of the signal's RMS; filter with notch_hz "
        f"{worst.hum.hz:.0f}", names, share,
    )]  # fmt: skip


def _motion_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    channels = [c for c in channels if not c.heart.are_heart_beats]  # a heart beats below 20 Hz
    if channels and len(channels) > 1 and min(c.low_share for c in channels) > _UNFILTERED:
        least = min(c.low_share for c in channels)
        return [Problem(
            "warning", "unfiltered",
            f"every channel has {least:.0%} or more of its power below 20 Hz: motion, or a "
            "recording that was not high-passed like others; high-pass at 20 Hz",
            tuple(c.name for c in channels), least,
        )]  # fmt: skip
    return _graded(
        channels,
        lambda c: c.low_share - c.drift_share,
        _MOTION,
        "motion",
        "{where}: up to {worst:.0%} of the power lies within 5–20 Hz, where motion is and EMG "
        "hardly; high-pass at 20 Hz, or leave the channel out",
    )


def _drift_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    found = [
        c for c in channels
        if c.drift_share > _DRIFT or abs(c.mean_v) > _OFFSET * max(c.rms_v, 1e-30)
    ]  # fmt: skip
    if not found:
        return []
    where, names = _list(found)
    worst = max(c.drift_share for c in found)
    return [Problem(
        "warning", "drift",
        f"{where}: an offset or a slow drift (up to {worst:.0%} of the power below 5 Hz) shows "
        "that the recording is not high-passed; band-pass it before anything is measured",
        names, worst,
    )]  # fmt: skip


def _ecg_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    """A heart is seen by many electrodes; a rhythm in one of many may be a movement."""
    found = [c for c in channels if c.heart.are_heart_beats]
    if not found:
        return []
    where, names = _list(found)
    worst = max(found, key=lambda c: c.heart.height_v / max(c.rms_v, 1e-30))
    what = f"{worst.heart.rate_bpm:.0f} per minute and {volts(worst.heart.height_v)} high"
    if len(found) <= _LONE_SHARE * len(channels):
        text = (
            f"{where}: a rhythm like a heart's, {what}, but not in the other channels; a movement "
            "can look so, see whether it is one"
        )
        return [Problem("note", "ecg", text, names, worst.heart.height_v)]
    text = (
        f"{where}: heart beats, {what}; remove them (prepare --ecg template, remove_ecg), or "
        "high-pass at 30 Hz"
    )
    return [Problem("warning", "ecg", text, names, worst.heart.height_v)]


def _snr_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    found = [c for c in channels if c.snr_db < _SNR_DB]
    if not found:
        return []
    where, names = _list(found)
    worst = min(c.snr_db for c in found)
    return [Problem(
        "warning", "snr",
        f"{where}: the signal stands only {worst:.0f} dB above the noise; check the electrodes, or "
        "leave it out", names, worst,
    )]  # fmt: skip


def _fatigue_rule(channels: Sequence[ChannelFigures]) -> list[Problem]:
    found = [
        c for c in channels
        if c.trend.slope < _FATIGUE_PER_MIN
        and c.trend.high < _FATIGUE_SURE
        and c.trend.slope * float(np.ptp(c.trend.minutes)) < _FATIGUE_TOTAL
    ]  # fmt: skip
    if not found:
        return []
    where, names = _list(found)
    worst = min(found, key=lambda c: c.trend.slope).trend
    return [Problem(
        "note", "fatigue",
        f"{where}: the median frequency falls by {-worst.slope:.0%} per minute (95 % interval "
        f"{-worst.high:.0%} to {-worst.low:.0%}), a sign of fatigue; early and late segments "
        "differ, so split by time or keep the trend in mind", names, worst.slope,
    )]  # fmt: skip


_RULES = (
    _clip_rule,
    _unit_rule,
    _dead_rule,
    _mains_rule,
    _motion_rule,
    _drift_rule,
    _ecg_rule,
    _snr_rule,
    _fatigue_rule,
)


def channel_problems(channels: Sequence[ChannelFigures]) -> list[Problem]:
    """What the channels' figures tell, by every rule in turn.

    Channels that are flat or hold no numbers are named as such and not judged further.
    """
    living = [c for c in channels if c.flat_share < _FLAT["error"] and c.nan_share < 1]
    problems = _nan_rule(channels) + _flat_rule(channels)
    for rule in _RULES:
        problems += rule(living)
    return problems
