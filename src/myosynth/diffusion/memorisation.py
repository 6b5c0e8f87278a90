"""Whether a training began to learn its segments by heart, from what it noted on the way."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["memorisation_warning"]

_N_RISES = 3
_LEAST_RISE = 0.1


def memorisation_warning(log: Sequence[Mapping[str, Any]]) -> str | None:
    """One sentence if the loss on other segments falls behind that on training segments.

    The gap alone says little, since other people are harder from the start; what counts is that it
    rises at three audits running, to a tenth of the loss or more above its least. It is a sign of
    memory, not a proof, and its absence is none either: `myosynth.evaluation.audit` looks closer.

    Parameters
    ----------
    log : sequence of mapping
        Rows of training.json; those with ``memorisation`` (the gap) count, stage by stage.

    Returns
    -------
    str or None
        None where nothing was found, or fewer than four audits of a stage were made.
    """
    audits = [row for row in log if "memorisation" in row]
    for stage in dict.fromkeys(str(row["stage"]) for row in audits):
        rows = [row for row in audits if row["stage"] == stage]
        gaps = [float(row["memorisation"]) for row in rows]
        last = gaps[-_N_RISES - 1 :]
        rises = len(last) > _N_RISES and all(b > a for a, b in pairwise(last))
        share = (gaps[-1] - min(gaps)) / max(float(rows[-1]["validation"]), 1e-9)
        if rises and share >= _LEAST_RISE:
            since = rows[gaps.index(min(gaps))]["step"]
            return (
                f"the {stage} network may be learning its segments by heart: since step {since} "
                f"its loss on other segments has fallen behind by {share:.0%}; train for less time "
                "or on more segments, and run myosynth audit before you share anything"
            )
    return None
