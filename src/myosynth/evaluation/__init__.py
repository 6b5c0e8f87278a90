"""Figures that say how good a synthetic set is; no generator is known here."""

from myosynth.evaluation.protocol import evaluate
from myosynth.evaluation.scores import Finding, Scores

__all__ = ["Finding", "Scores", "evaluate"]
