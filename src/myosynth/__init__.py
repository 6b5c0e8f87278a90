"""myosynth: synthetic surface EMG of manual-material-handling work.

The public names are imported lazily, so that ``import myosynth`` costs milliseconds and no torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from myosynth.diffusion import Synthesizer, train
    from myosynth.evaluation import audit, evaluate
    from myosynth.formats import read_recordings, read_segments
    from myosynth.recordings import Annotation, Recording, SegmentSet
    from myosynth.signal.quality import check_recordings
    from myosynth.signal.repairs import remove_ecg
    from myosynth.simulation import simulate_dataset

try:
    __version__ = version("myosynth")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "Annotation": "myosynth.recordings",
    "Recording": "myosynth.recordings",
    "SegmentSet": "myosynth.recordings",
    "Synthesizer": "myosynth.diffusion",
    "audit": "myosynth.evaluation",
    "check_recordings": "myosynth.signal.quality",
    "evaluate": "myosynth.evaluation",
    "read_recordings": "myosynth.formats",
    "read_segments": "myosynth.formats",
    "remove_ecg": "myosynth.signal.repairs",
    "simulate_dataset": "myosynth.simulation",
    "train": "myosynth.diffusion",
}

__all__ = [
    "Annotation",
    "Recording",
    "SegmentSet",
    "Synthesizer",
    "__version__",
    "audit",
    "check_recordings",
    "evaluate",
    "read_recordings",
    "read_segments",
    "remove_ecg",
    "simulate_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'myosynth' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
