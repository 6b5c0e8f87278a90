"""Sizes that a file claims, compared with its own before anything is allocated."""

from pathlib import Path

from myosynth.errors import FormatError

__all__ = ["check_claim"]

_MOST_COMPRESSED = 1100  # deflate reaches 1032 : 1
_ALWAYS_ALLOWED = 1 << 20


def check_claim(path: Path, n_bytes: float, what: str) -> None:
    """Refuse what cannot be in a file of this size.

    Raises
    ------
    FormatError
        If `n_bytes` is more than the best compression could hold.
    """
    size = path.stat().st_size
    if not 0 <= n_bytes <= _ALWAYS_ALLOWED + _MOST_COMPRESSED * size:
        raise FormatError(
            f"{path} is damaged: {what} claims {n_bytes:.3g} bytes, which a file of {size} bytes "
            "cannot hold"
        )
