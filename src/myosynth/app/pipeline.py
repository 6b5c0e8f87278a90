"""The whole job, step by step, as functions that the command line and notebooks share.

>>> from myosynth.app.pipeline import evaluate, generate, prepare, train
>>> prepare("dataset", "segments")
>>> train("segments", "model", minutes=15)
>>> generate("model", "synthetic.npz", n_segments=200)
>>> evaluate("segments", "synthetic.npz", "report", model="model")
"""

from myosynth.app.check import check
from myosynth.app.demo import DemoSummary, demo
from myosynth.app.info import info
from myosynth.app.judging import audit, card, compare
from myosynth.app.preparation import PrepareSummary, prepare
from myosynth.app.sources import ImportSummary, import_recordings, simulate
from myosynth.app.synthesis import evaluate, generate, train

__all__ = [
    "DemoSummary",
    "ImportSummary",
    "PrepareSummary",
    "audit",
    "card",
    "check",
    "compare",
    "demo",
    "evaluate",
    "generate",
    "import_recordings",
    "info",
    "prepare",
    "simulate",
    "train",
]
