"""Segments of the real set that occur twice: under two subjects, or on both sides of the split."""

import numpy as np
from numpy.typing import NDArray

from myosynth.evaluation.privacy.fingerprints import block_similarity, fingerprints
from myosynth.evaluation.scores import Finding
from myosynth.evaluation.validity import Scan
from myosynth.recordings import SegmentSet

__all__ = ["about_repeats", "held_out_apart"]

Index = NDArray[np.intp]

_ALIKE = 0.5
"""Correlation of periodogram fingerprints: 1 for copies, 0.6 with noise 15 dB below, 0 ± 0.1 for
different recordings."""
_CHUNK = 512


def about_repeats(real: SegmentSet, seen: Scan) -> list[Finding]:
    """Pairs of subjects that share segments, exactly or nearly."""
    usable = np.flatnonzero(seen.finite & ~seen.constant)
    pairs: dict[tuple[str, str], int] = {}
    for a, b in _alike(real, usable, usable):
        one, two = real.subject[a], real.subject[b]
        for first, second in zip(one[one < two], two[one < two], strict=True):
            key = (str(first), str(second))
            pairs[key] = pairs.get(key, 0) + 1
    return [
        Finding(
            "warning",
            "real_duplicates",
            f"The real subjects {first} and {second} share {count} segments (exactly or nearly): "
            "one recording is filed under two names; remove one before trusting any figure.",
        )
        for (first, second), count in sorted(pairs.items())
    ]


def held_out_apart(
    real: SegmentSet,
    seen: Scan,
    train: Index,
    holdout: Index,
    others: Index,
    found: list[Finding],
    warnings: list[str],
) -> tuple[Index, Index]:
    """Holdout and other subjects' segments without those that repeat or overlap train segments."""
    kept = []
    for name, rows in (("holdout", holdout), ("validation or unseen", others)):
        repeated = np.zeros(len(real), dtype=bool)
        for _, b in _alike(real, train, rows):
            repeated[b] = True
        repeated[rows] |= _overlaps(real, train, rows)
        n = int(repeated[rows].sum())
        if n:
            text = (
                f"{n} {name} segments repeat or overlap train segments and were left out: they are "
                "no non-members. Split by recording before segmenting (myosynth prepare does)."
            )
            found.append(Finding("warning", "not_held_out", text))
            warnings.append(text)
        kept.append(rows[~repeated[rows]])
    return kept[0], kept[1]


def _alike(real: SegmentSet, one: Index, two: Index) -> list[tuple[Index, Index]]:
    """Positions of pairs that are alike; memory is that of a block."""
    pairs = []
    for i in range(0, len(one), _CHUNK):
        a = one[i : i + _CHUNK]
        (left,) = fingerprints("periodogram", real.read(a), real.fs)
        for j in range(0, len(two), _CHUNK):
            b = two[j : j + _CHUNK]
            (right,) = fingerprints("periodogram", real.read(b), real.fs)
            here = np.argwhere(block_similarity(left, right) > _ALIKE)
            different = a[here[:, 0]] != b[here[:, 1]]
            pairs.append((a[here[different, 0]], b[here[different, 1]]))
    return pairs


def _overlaps(real: SegmentSet, train: Index, rows: Index) -> NDArray[np.bool_]:
    """Whether a segment shares time with a train segment of the same named recording."""
    result = np.zeros(len(rows), dtype=bool)
    for name in np.unique(real.recording[rows]):
        own = (real.recording[rows] == name) & (name != "")
        starts = np.sort(real.start_s[train[real.recording[train] == name]])
        if not own.any() or len(starts) == 0:
            continue
        start = real.start_s[rows[own]]
        after = np.searchsorted(starts, start).clip(0, len(starts) - 1)
        before = (after - 1).clip(0)
        gap = np.minimum(np.abs(starts[after] - start), np.abs(starts[before] - start))
        result[own] = gap < real.duration_s - 0.5 / real.fs
    return result
