"""The generator: a conditional diffusion model on STFT planes, coarse to fine."""

from myosynth.diffusion.progress import Progress
from myosynth.diffusion.settings import TrainingSettings
from myosynth.diffusion.synthesizer import Synthesizer
from myosynth.diffusion.training import train

__all__ = ["Progress", "Synthesizer", "TrainingSettings", "train"]
