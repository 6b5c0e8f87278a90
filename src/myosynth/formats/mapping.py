"""Mapping files: what a file does not say about itself, said once in YAML."""

import difflib
from collections.abc import Mapping as AnyMapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from myosynth.errors import ConfigError
from myosynth.recordings import ReportingItems

__all__ = ["Column", "FileMapping", "load_mapping", "parse_mapping", "shipped_mappings"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """One column or channel that holds EMG; those that are not listed are ignored.

    Parameters
    ----------
    column : int or str
        Position, counted from 1, or the name in the file (of a text column, of a C3D, EDF or WFDB
        channel, or of a MATLAB, HDF5 or npz variable).
    channel, muscle : str
        Channel name (the column's by default) and the muscle below it.
    unit : str
        V, mV, uV or nV. May be left out where the file states it; where it states another, this
        counts.
    missing_unit : str
        The unit where a file states none; where it does, its word counts.
    scale : float
        Units per number in the file, for example 0.75 where a count is 0.75 µV.
    """

    column: int | str
    channel: str = ""
    muscle: str = ""
    unit: str = ""
    missing_unit: str = ""
    scale: float = 1.0


class FileMapping(_Strict):
    """How to read the files of one source.

    All keys are optional, except that text needs `delimiter` and `columns`, and what a file does
    not state must be stated here.

    Parameters
    ----------
    name, licence, authors, source_datasets
        For the dataset that an import makes.
    files : str
        Which files below the folder are recordings, as a glob pattern. Without it, every file of
        a kind that is read; text only where `delimiter` is given.
    delimiter : {"tab", "comma", "semicolon", "space"}, optional
        Makes a text file a plain table. ``space`` is any run of white space.
    encoding : str
        Python's name of the text encoding.
    decimal : {".", ","}
        The decimal sign.
    header_lines : int, optional
        Lines above the first line of samples. Without it, that is the first line with a number in
        every listed column.
    fs : float, optional
        Sampling rate in Hz; may be given on reading instead.
    fs_from : str
        MATLAB, HDF5, npz: the variable that holds the sampling rate in Hz.
    samples : str
        MATLAB, HDF5, npz: the variable that holds the samples, such as ``data/emg`` or
        ``data.emg``. Columns are then positions in it. Without it, each column names a variable.
    layout : {"times x channels", "channels x times"}, optional
        How a two-dimensional array of samples lies.
    columns : list of Column
        The EMG columns. Without them, every channel whose unit is a voltage.
    clip_limit : float, optional
        Absolute number in the file at which the device saturates; samples there are marked
        ``BAD_clipped``.
    path : str
        Regular expression searched in the file's path (with ``/``). Its named groups fill
        `subject`, `session`, `task` and `run`; all of them go to the metadata. Without it, those
        come from BIDS entities in the name, else from the file.
    subject, session, task, run : str
        Texts in which ``{name}`` stands for the named group.
    tasks : mapping of str to str
        Names of tasks by what the pattern found; where given, a task not in it is an error.
    values : mapping of str to mapping
        By group name, the meaning of what the pattern found, for the metadata.
    sidecar : mapping
        BIDS fields that are known of every recording (``Manufacturer``, …).
    reporting : mapping
        Reporting items (`ReportingItems`) that are known of every recording; they join `sidecar`.
    """

    name: str = ""
    licence: str = "n/a"
    authors: list[str] = []
    source_datasets: list[dict[str, str]] = []
    files: str = ""
    delimiter: Literal["tab", "comma", "semicolon", "space"] | None = None
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    header_lines: int | None = Field(default=None, ge=0)
    fs: float | None = Field(default=None, gt=0)
    fs_from: str = ""
    samples: str = ""
    layout: Literal["times x channels", "channels x times"] | None = None
    columns: list[Column] = []
    clip_limit: float | None = Field(default=None, gt=0)
    path: str = ""
    subject: str = "{subject}"
    session: str = ""
    task: str = "{task}"
    run: str = ""
    tasks: dict[str, str] = {}
    values: dict[str, dict[str, str]] = {}
    sidecar: dict[str, Any] = {}
    reporting: dict[str, Any] = {}

    @field_validator("reporting")
    @classmethod
    def _known_items(cls, reporting: dict[str, Any]) -> dict[str, Any]:
        ReportingItems.from_dict(reporting)
        return reporting

    @property
    def known_fields(self) -> dict[str, Any]:
        """`sidecar` and `reporting` as fields of a sidecar."""
        return {**ReportingItems.from_dict(self.reporting).to_sidecar(), **self.sidecar}

    @model_validator(mode="after")
    def _unique_channels(self) -> Self:
        names = [column.channel or str(column.column) for column in self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"channel names must be unique, got {names}")
        if any(isinstance(c.column, int) and c.column < 1 for c in self.columns):
            raise ValueError("columns are counted from 1")
        if self.delimiter and not self.columns:
            raise ValueError("text needs columns: list the EMG columns")
        return self


def shipped_mappings() -> list[str]:
    """Names of the mappings that come with the package."""
    folder = files("myosynth.formats") / "mappings"
    return sorted(each.name[:-5] for each in folder.iterdir() if each.name.endswith(".yaml"))


def load_mapping(mapping: "str | Path | FileMapping") -> FileMapping:
    """Read a mapping file.

    Parameters
    ----------
    mapping : str or path
        Name of a shipped mapping (`shipped_mappings`) or a YAML file.

    Raises
    ------
    ConfigError
        If it does not exist, is not YAML, or holds an unknown key or a wrong value.
    """
    if isinstance(mapping, FileMapping):
        return mapping
    if str(mapping) in shipped_mappings():
        text = (files("myosynth.formats") / "mappings" / f"{mapping}.yaml").read_text("utf-8")
    else:
        try:
            text = Path(mapping).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"mapping {str(mapping)!r} is neither a readable YAML file nor one of those "
                f"shipped: {', '.join(shipped_mappings())}"
            ) from error
    return parse_mapping(text, str(mapping))


def parse_mapping(text: str, name: str) -> FileMapping:
    """The mapping that a YAML text holds; `name` is for messages.

    Raises
    ------
    ConfigError
        As `load_mapping`.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"mapping {name} is not valid YAML: {error}") from error
    if not isinstance(content, AnyMapping):
        raise ConfigError(f"mapping {name} must hold keys and values, such as 'fs: 1000'")
    try:
        return FileMapping.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"mapping {name}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where or 'mapping'}: {first['msg']}"
    model = Column if first["loc"][0] == "columns" else FileMapping
    near = difflib.get_close_matches(str(first["loc"][-1]), model.model_fields, n=1, cutoff=0.0)
    return f"unknown key {where!r}; the nearest is {near[0]!r}"
