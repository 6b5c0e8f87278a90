"""What an evaluation hands back: rows, findings, the validity gate and where it came from."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from myosynth.errors import FormatError

__all__ = ["ROW_KEYS", "SCHEMA", "Finding", "Scores", "make_row", "plain", "stored"]

SCHEMA = "myosynth-scores/1"

ROW_KEYS = (
    "task",
    "group",
    "metric",
    "unit",
    "better",
    "value",
    "low",
    "high",
    "floor_same",
    "floor_new",
    "c3",
    "round_trip",
    "z",
    "z_low",
    "z_high",
    "c3_z",
    "beats_c3",
    "p",
    "surrogates",
    "surrogates_z",
)


@dataclass(frozen=True)
class Finding:
    """One plain sentence about the synthetic or the real set.

    Parameters
    ----------
    severity : str
        ``error`` (the synthetic set must not be used as it is), ``warning`` or ``note``.
    code : str
        A short fixed name, for programs.
    text : str
        What was found and what to do next.
    """

    severity: str
    code: str
    text: str


@dataclass
class Scores:
    """Result of `evaluate`.

    Parameters
    ----------
    rows : list of dict
        One per task, group and metric, with the keys `ROW_KEYS`; what does not apply is None.
    findings : list of Finding
        In order of severity.
    validity : dict
        The gate: ``passed`` and the counts behind it.
    provenance_counts : dict
        Segments and subjects per split and task, sizes compared, seed and repeats.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    validity: dict[str, Any] = field(default_factory=dict)
    provenance_counts: dict[str, Any] = field(default_factory=dict)

    def select(self, **wanted: str) -> list[dict[str, Any]]:
        """Rows whose keys have the given values: ``select(task="pull", metric="w1")``."""
        return [row for row in self.rows if all(row[key] == wanted[key] for key in wanted)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without NaN: a value that is not a finite number becomes None."""
        content = {
            "schema": SCHEMA,
            "rows": self.rows,
            "findings": [asdict(finding) for finding in self.findings],
            "validity": self.validity,
            "provenance_counts": self.provenance_counts,
        }
        cleaned: dict[str, Any] = plain(content)
        return cleaned

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scores":
        """The inverse of `to_dict`.

        Raises
        ------
        FormatError
            If the schema is another one or a part is missing.
        """
        with stored(content, SCHEMA, "evaluate"):
            return cls(
                rows=[{key: row[key] for key in ROW_KEYS} for row in content["rows"]],
                findings=[Finding(**finding) for finding in content["findings"]],
                validity=dict(content["validity"]),
                provenance_counts=dict(content["provenance_counts"]),
            )


@contextmanager
def stored(content: Mapping[str, Any], schema: str, command: str) -> Iterator[None]:
    """While what `command` wrote is taken apart: one sentence for another schema or a missing part.

    Raises
    ------
    FormatError
        If the schema is another one, or the block meets a KeyError or TypeError.
    """
    again = f"make it again with: myosynth {command}"
    if content.get("schema") != schema:
        raise FormatError(
            f"this result has the schema {content.get('schema')!r}, not {schema!r}; {again}"
        )
    try:
        yield
    except (KeyError, TypeError) as error:
        raise FormatError(f"this result is damaged ({error}); {again}") from error


def make_row(task: str, group: str, metric: str, **values: Any) -> dict[str, Any]:
    """A row with every key of `ROW_KEYS`; those not given are None (or empty).

    Raises
    ------
    TypeError
        If a key is not one of `ROW_KEYS`.
    """
    unknown = set(values) - set(ROW_KEYS)
    if unknown:
        raise TypeError(f"unknown row keys {sorted(unknown)}")
    row: dict[str, Any] = dict.fromkeys(ROW_KEYS)
    row.update(task=task, group=group, metric=metric, unit="", better="lower")
    row.update(surrogates={}, surrogates_z={})
    row.update(values)
    return row


def plain(value: Any) -> Any:
    """`value` with mappings, lists and numbers as JSON knows them; no NaN, no infinities."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
