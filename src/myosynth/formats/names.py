"""Names and units that files carry: BIDS entities in file names, SI-prefixed volts."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from myosynth.errors import FormatError, InputError

__all__ = [
    "bids_label",
    "entities",
    "is_counts",
    "is_normalised",
    "is_voltage",
    "natural_key",
    "plain_text",
    "unique",
    "volts_per_unit",
]

_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
_SPELLINGS = {
    **{name.lower(): name for name in _VOLTS},
    "volt": "V",
    "volts": "V",
    "millivolt": "mV",
    "millivolts": "mV",
    "microvolt": "uV",
    "microvolts": "uV",
}
_COUNTS = {
    *("", "-", "1", "n/a", "none", "unknown", "count", "counts", "adu", "adc", "raw", "lsb"),
    *("bits", "digital", "a.u.", "au", "arb", "arbitrary"),
}
_PLAIN_LETTERS = str.maketrans(
    {"ß": "ss", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "Ae", "đ": "d", "Đ": "D",
     "μ": "u"}
)  # fmt: skip
"""Letters that Unicode does not take apart."""

_ENTITY = re.compile(r"(?:^|_)([a-zA-Z]+)-([^_.]+)")


def volts_per_unit(unit: str, where: str) -> float:
    """Volts in one `unit` (V, mV, uV, µV, nV, or the word in full).

    Parameters
    ----------
    unit : str
        As written in the file. Both signs for micro (U+00B5, U+03BC) are read.
    where : str
        The file and channel, for the message.

    Raises
    ------
    FormatError
        If it is empty or is not a unit of voltage: a unit is asked for, never guessed.
    """
    name = _voltage(unit)
    if is_normalised(unit):
        raise FormatError(
            f"{where}: the unit {unit.strip()!r} is a share of a maximal contraction, which cannot "
            "be turned back into volts without its recording; export the signal in volts"
        )
    if name is None:
        said = f"unit {unit.strip()!r} is not a voltage" if unit.strip() else "no unit is given"
        raise FormatError(
            f"{where}: {said}; state V, mV, uV or nV (in channels.tsv for BIDS, as unit: under "
            "columns: in a mapping file for anything else), or leave the channel out"
        )
    return _VOLTS[name]


def _voltage(unit: str) -> str | None:
    # MV is megavolt: it cannot come from a muscle, and must not be taken for mV
    plain = unit.strip().replace("µ", "u").replace("μ", "u")
    name = _SPELLINGS.get(plain.lower())
    return None if plain[:1] == "M" and name == "mV" and plain != "MILLIVOLTS" else name


def is_voltage(unit: str) -> bool:
    """Whether `volts_per_unit` knows the unit."""
    return _voltage(unit) is not None


def is_normalised(unit: str) -> bool:
    """Whether the unit is a share of a maximal (or reference) contraction, such as %MVC."""
    return re.search(r"MVI?C|RVC|RVE", unit, re.IGNORECASE) is not None


def is_counts(unit: str) -> bool:
    """Whether the unit is missing or stands for plain numbers, so that it must be asked for."""
    return unit.strip().lower() in _COUNTS or unit.strip()[:1] == "M"


def unique(labels: Sequence[str], longest: int | None) -> list[str]:
    """`labels`, numbered where one occurs again, each at most `longest` characters."""
    seen: dict[str, None] = {}
    for label in labels:
        number, new = 1, label[:longest]
        while new in seen:
            number += 1
            end = f"-{number}"
            new = (label[: longest - len(end)] if longest else label) + end
        seen[new] = None
    return list(seen)


def entities(path: str | Path) -> dict[str, str]:
    """The BIDS entities in a file's name, for example ``{"sub": "01", "task": "pull"}``."""
    return dict(_ENTITY.findall(Path(path).name.split(".")[0]))


def bids_label(text: str, what: str) -> str:
    """`text` as a BIDS label: letters and digits only, words joined in camel case, no accents.

    Raises
    ------
    InputError
        If nothing is left.
    """
    words: list[str] = re.findall(r"[A-Za-z0-9]+", plain_text(text))
    if not words:
        raise InputError(f"{what} {text!r} holds no letter or digit, so it cannot name a BIDS file")
    return words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:])


def plain_text(text: str) -> str:
    """`text` for files that hold ASCII only: letters without their accents, ``?`` for others."""
    parts = unicodedata.normalize("NFKD", text).translate(_PLAIN_LETTERS)
    letters = "".join(each for each in parts if not unicodedata.combining(each))
    return letters.encode("ascii", "replace").decode()


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key by which ``sub2`` comes before ``sub10``."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
