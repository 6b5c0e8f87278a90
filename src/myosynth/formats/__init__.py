"""Files of recordings and of segments.

A new format is one function, one entry in `READERS` or `WRITERS`, and one row in the contract test.
"""

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
from myosynth.formats.survey import Survey, SurveyRow, survey

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
