"""What a synthetic set, or the model behind it, gives away about the people it was learned from."""

from myosynth.evaluation.privacy.results import Attack, Audit, Canary, Principle, Threat

__all__ = ["Attack", "Audit", "Canary", "Principle", "Threat"]
