"""What must hold before anything is scored, and what a look at the samples alone reveals."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import InputError, NotEnoughDataError
from myosynth.evaluation.scores import Finding
from myosynth.recordings import SegmentSet
from myosynth.signal.features import mean_psd

__all__ = ["Scan", "check_comparable", "gate", "near_copies", "scan", "unit_finding"]

_BLOCK_BYTES = 1 << 24
_CLIPPED_SHARE = 0.01
_COPY_CORRELATION = 0.9
_FACTORS = {1e3: "1000", 1e6: "1,000,000"}


@dataclass(frozen=True)
class Scan:
    """One pass over a set of segments.

    Parameters
    ----------
    finite, constant : array of bool, (n_segments,)
        All samples are numbers; some channel never changes.
    clipped : array, (n_segments,)
        Largest share, over channels, of samples that lie at the extremes in runs of two or more.
    log_rms : array, (n_segments,)
        ln V over all channels; NaN where a sample is.
    digest : array of bytes, (n_segments,)
        Of the samples as float32: equal for byte-identical segments.
    """

    finite: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    clipped: NDArray[np.float64]
    log_rms: NDArray[np.float64]
    digest: NDArray[np.bytes_]


def check_comparable(real: SegmentSet, synthetic: SegmentSet) -> None:
    """Refuse what cannot be compared at all.

    Raises
    ------
    InputError
        If rates, channels or lengths differ, or a set is empty.
    NotEnoughDataError
        If the real set has no train or no holdout segments.
    """
    for name, segments in (("real", real), ("synthetic", synthetic)):
        if len(segments) == 0:
            raise NotEnoughDataError(f"the {name} set holds no segments; nothing can be compared")
    for what, one, two, mend in (
        ("sampling rates in Hz", real.fs, synthetic.fs, "resample one of them"),
        ("numbers of channels", real.n_channels, synthetic.n_channels, "choose the same channels"),
        ("lengths in samples", real.n_times, synthetic.n_times, "cut both to the same seconds"),
    ):
        if abs(one - two) > 1e-6 * one:
            raise InputError(
                f"the real and the synthetic set have different {what} ({one:g} and {two:g}); "
                f"{mend} first"
            )
    for split, meaning in (
        ("train", "what the generator learned from"),
        ("holdout", "other recordings of the same subjects, to compare with"),
    ):
        if not (real.split == split).any():
            raise NotEnoughDataError(
                f"the real set has no {split} segments ({meaning}); "
                "make them with: myosynth prepare (it splits by subject)"
            )


def scan(segments: SegmentSet) -> Scan:
    """Look at every sample once, a block of segments at a time."""
    n = len(segments)
    finite, constant = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    clipped, log_rms = np.zeros(n), np.full(n, np.nan)
    digest = np.empty(n, dtype="S16")
    step = max(1, _BLOCK_BYTES // (8 * segments.n_channels * segments.n_times))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        block = np.ascontiguousarray(segments.read(rows), dtype=np.float32)
        digest[rows] = [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in block]
        finite[rows] = np.isfinite(block).all(axis=(1, 2))
        block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        top, bottom = block.max(axis=-1, keepdims=True), block.min(axis=-1, keepdims=True)
        constant[rows] = (top == bottom).any(axis=(1, 2)) & finite[rows]
        extreme = ((block == top) | (block == bottom)) & (top != bottom)
        runs = extreme[..., 1:] & extreme[..., :-1] & (block[..., 1:] == block[..., :-1])
        clipped[rows] = runs.mean(axis=-1).max(axis=-1)
        power = np.mean(np.square(block, dtype=np.float64), axis=(1, 2))
        log_rms[rows] = np.where(finite[rows], 0.5 * np.log(np.maximum(power, 1e-24)), np.nan)
    return Scan(finite, constant, clipped, log_rms, digest)


def gate(
    real: SegmentSet, synthetic: SegmentSet, seen_real: Scan, seen: Scan
) -> tuple[dict[str, Any], list[Finding]]:
    """The validity gate of the synthetic set and what it says in words."""
    duplicates = len(seen.digest) - len(np.unique(seen.digest))
    copies = int(np.isin(seen.digest, seen_real.digest).sum())
    beyond = _power_beyond_band(real, synthetic, seen_real, seen)
    checks: dict[str, Any] = {
        "nan_segments": int((~seen.finite).sum()),
        "constant_segments": int(seen.constant.sum()),
        "clipped_segments": int((seen.clipped > _CLIPPED_SHARE).sum()),
        "duplicate_segments": duplicates,
        "copies_of_real": copies,
        "power_beyond_band": beyond,
        "fs": synthetic.fs,
    }
    n = len(synthetic)
    findings = [
        Finding("error", code, text)
        for code, count, text in (
            ("nan", checks["nan_segments"], "hold NaN or infinite samples and were left out"),
            ("constant", checks["constant_segments"], "have a channel that never changes"),
            ("clipped", checks["clipped_segments"], "are clipped (1 % or more at the limits)"),
            ("duplicates", duplicates, "repeat another synthetic segment exactly"),
            ("copies", copies, "are real segments, byte by byte: do not share this set"),
        )
        if count
        for text in [f"{count} of {n} synthetic segments {text}."]
    ]
    if beyond is not None and beyond > 0.05:
        text = (
            f"{beyond:.0%} of the synthetic power lies where the real set has next to none; "
            "filter both sets to the same band."
        )
        findings.append(Finding("error", "band", text))
    checks["passed"] = not findings
    return checks, findings + _real_findings(real, seen_real)


def _power_beyond_band(
    real: SegmentSet, synthetic: SegmentSet, seen_real: Scan, seen: Scan
) -> float | None:
    """Share of synthetic power at frequencies where the real density is 40 dB below its peak."""
    spectra = []
    for segments, look in ((real, seen_real), (synthetic, seen)):
        rows = np.flatnonzero(look.finite & ~look.constant)
        if len(rows) == 0:
            return None
        few = rows[np.linspace(0, len(rows) - 1, min(len(rows), 100)).astype(int)]
        spectra.append(mean_psd(segments.read(few), segments.fs)[1].sum(axis=0))
    empty = spectra[0] < 1e-4 * spectra[0].max()
    return float(spectra[1][empty].sum() / spectra[1].sum())


def _real_findings(real: SegmentSet, seen: Scan) -> list[Finding]:
    findings = []
    if not seen.finite.all():
        text = f"{int((~seen.finite).sum())} real segments hold NaN and were left out."
        findings.append(Finding("warning", "real_nan", text))
    if seen.constant.any():
        text = f"{int(seen.constant.sum())} real segments have a channel that never changes."
        findings.append(Finding("warning", "real_constant", text))
    usable = ~seen.constant
    _, group = np.unique(seen.digest[usable], return_inverse=True)
    owners = np.unique(np.stack([group.astype(str), real.subject[usable]]), axis=1)
    names, counts = np.unique(owners[0], return_counts=True)
    shared = names[counts > 1]
    if len(shared):
        people = sorted(set(owners[1][np.isin(owners[0], shared)]))
        text = (
            f"The real subjects {', '.join(people)} share identical segments: one recording is "
            "filed under two names; remove one before trusting any figure."
        )
        findings.append(Finding("warning", "real_duplicates", text))
    return findings


def unit_finding(real_log_rms: float, synthetic_log_rms: float) -> Finding | None:
    """Name an amplitude that is off by 1e3 or 1e6: a unit that was not converted."""
    ratio = np.exp(synthetic_log_rms - real_log_rms)
    for factor, words in _FACTORS.items():
        for expected, direction in ((factor, "larger"), (1 / factor, "smaller")):
            if 0.2 < ratio / expected < 5:
                text = (
                    f"The synthetic amplitudes are about {words} times {direction} than the real "
                    "ones: a unit (V, mV, µV) was not converted; convert it and evaluate again."
                )
                return Finding("error", "unit", text)
    return None


def near_copies(real: NDArray[np.floating[Any]], synthetic: NDArray[np.floating[Any]]) -> int:
    """How many synthetic segments correlate with a real one above 0.9 (at no lag).

    Parameters
    ----------
    real, synthetic : array, (n, n_channels, n_times)
        Volts. It finds plain copies with noise or gain only; disguises need `audit`.
    """
    one, two = _unit_rows(real), _unit_rows(synthetic)
    best = [np.abs(two[i : i + 256] @ one.T).max(axis=1) for i in range(0, len(two), 256)]
    return int((np.concatenate(best) > _COPY_CORRELATION).sum())


def _unit_rows(signals: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    flat = signals.reshape(len(signals), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    scale = np.abs(flat).max(axis=1, keepdims=True)
    flat /= np.where(scale > 0, scale, 1)  # squares of microvolts underflow in float32
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(norm > 0, norm, 1)
    unit: NDArray[np.float32] = flat
    return unit
