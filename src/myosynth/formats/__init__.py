"""Files of recordings and of segments.

A new format is one function, one entry in `READERS` or `WRITERS`, and one row in the contract test.
"""

from myosynth.formats.bids import BidsSummary, write_bids
from myosynth.formats.duplicates import DuplicateFinder, find_duplicates
from myosynth.formats.mapping import FileMapping, load_mapping, shipped_mappings
from myosynth.formats.readers import READERS, read_recordings
from myosynth.formats.segment_files import SET_READERS, WRITERS
from myosynth.formats.segments import read_segments

__all__ = [
    "READERS",
    "SET_READERS",
    "WRITERS",
    "BidsSummary",
    "DuplicateFinder",
    "FileMapping",
    "find_duplicates",
    "load_mapping",
    "read_recordings",
    "read_segments",
    "shipped_mappings",
    "write_bids",
]
