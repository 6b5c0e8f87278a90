"""The nouns that everything else passes on: `Recording` and `SegmentSet`."""

from myosynth.recordings.recording import Annotation, FloatArray, Recording, SignalArray
from myosynth.recordings.reporting import ReportingItems, reporting_items, with_reporting
from myosynth.recordings.segments import SPLITS, SegmentSet, SegmentWriter

__all__ = [
    "SPLITS",
    "Annotation",
    "FloatArray",
    "Recording",
    "ReportingItems",
    "SegmentSet",
    "SegmentWriter",
    "SignalArray",
    "reporting_items",
    "with_reporting",
]
