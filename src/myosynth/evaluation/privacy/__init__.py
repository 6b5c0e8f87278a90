"""What a synthetic set, or the model behind it, gives away about the people it was learned from."""

from myosynth.evaluation.privacy.protocol import audit
from myosynth.evaluation.privacy.results import (
    VERDICTS,
    Attack,
    Audit,
    Canary,
    Principle,
    Threat,
)

__all__ = ["VERDICTS", "Attack", "Audit", "Canary", "Principle", "Threat", "audit"]
