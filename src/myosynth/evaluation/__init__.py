"""Figures that say how good and how private a synthetic set is; no generator is known here."""

from myosynth.evaluation.privacy import Audit, audit
from myosynth.evaluation.protocol import evaluate
from myosynth.evaluation.scores import Finding, Scores

__all__ = ["Audit", "Finding", "Scores", "audit", "evaluate"]
