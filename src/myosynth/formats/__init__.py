"""Files of recordings and of segments; the public names are imported lazily.

A new format is one function, one entry in `READERS` or `WRITERS`, and one row in the contract test.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from myosynth.formats.bids_writing import BidsSummary, write_bids
    from myosynth.formats.drafting import Question, draft_mapping, questions
    from myosynth.formats.duplicates import DuplicateFinder, find_duplicates
    from myosynth.formats.mapping import (
        FileMapping,
        load_mapping,
        parse_mapping,
        shipped_mappings,
    )
    from myosynth.formats.readers import READERS, read_recordings
    from myosynth.formats.segment_files import SET_READERS, WRITERS, is_set_file
    from myosynth.formats.segments import read_segments
    from myosynth.formats.surveying import Survey, SurveyRow, survey

_HOMES = {
    "READERS": "readers",
    "SET_READERS": "segment_files",
    "WRITERS": "segment_files",
    "BidsSummary": "bids_writing",
    "DuplicateFinder": "duplicates",
    "FileMapping": "mapping",
    "Question": "drafting",
    "Survey": "surveying",
    "SurveyRow": "surveying",
    "draft_mapping": "drafting",
    "find_duplicates": "duplicates",
    "is_set_file": "segment_files",
    "load_mapping": "mapping",
    "parse_mapping": "mapping",
    "questions": "drafting",
    "read_recordings": "readers",
    "read_segments": "segments",
    "shipped_mappings": "mapping",
    "survey": "surveying",
    "write_bids": "bids_writing",
}
"""By name, the module; the worker process of `isolation` needs few of them and starts sooner."""

__all__ = [
    "READERS",
    "SET_READERS",
    "WRITERS",
    "BidsSummary",
    "DuplicateFinder",
    "FileMapping",
    "Question",
    "Survey",
    "SurveyRow",
    "draft_mapping",
    "find_duplicates",
    "is_set_file",
    "load_mapping",
    "parse_mapping",
    "questions",
    "read_recordings",
    "read_segments",
    "shipped_mappings",
    "survey",
    "write_bids",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'myosynth.formats' has no attribute {name!r}")
    return getattr(import_module(f"myosynth.formats.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
