"""Recordings and segments as other libraries know them.

This room stands below `recordings`: it takes any object with the fields of a `Recording` or a
`SegmentSet` and gives back plain fields, so that the nouns can call it and no import ring appears.
Every library is imported when it is asked for.
"""

from myosynth.bridges.tables import (
    recording_to_pandas,
    recording_to_xarray,
    segments_to_pandas,
    segments_to_xarray,
)
from myosynth.bridges.with_mne import fields_from_mne, recording_to_mne

__all__ = [
    "fields_from_mne",
    "recording_to_mne",
    "recording_to_pandas",
    "recording_to_xarray",
    "segments_to_pandas",
    "segments_to_xarray",
]
