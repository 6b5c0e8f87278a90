"""What the simulator knows beside the signal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from myosynth.errors import FormatError
from myosynth.recordings import Recording
from myosynth.storage import atomic_directory, atomic_file

__all__ = ["Truth", "write_truth"]


@dataclass(frozen=True)
class Truth:
    """What the simulator knows beside the signal.

    Parameters
    ----------
    task : str
    cadence_hz : float
        Mean rate of the bursts, Hz; 0 for a sustained task.
    activation : array, (n_channels, n_frames)
        Excitation as a share of the maximum, in [0, 1].
    activation_fs : float
        Frames per second, Hz.
    threshold : array, (n_channels, n_units)
        Recruitment threshold of each motor unit, share of the maximal excitation.
    spike_times_s : array, (n_spikes,)
        Time of each discharge, s, by channel, then unit, then time.
    spike_units, spike_channels : arrays of int, (n_spikes,)
        Which unit of which channel fired.
    heart_beats_s : array, (n_beats,)
        Times of the R peaks, s; empty where no ECG was added.
    """

    task: str
    cadence_hz: float
    activation: NDArray[np.float64]
    activation_fs: float
    threshold: NDArray[np.float64]
    spike_times_s: NDArray[np.float64]
    spike_units: NDArray[np.int64]
    spike_channels: NDArray[np.int64]
    heart_beats_s: NDArray[np.float64]

    @property
    def n_recruited(self) -> NDArray[np.int64]:
        """Motor units above their threshold, (n_channels, n_frames)."""
        return np.stack(
            [
                np.searchsorted(threshold, activation, side="right")
                for threshold, activation in zip(self.threshold, self.activation, strict=True)
            ]
        )

    def save(self, path: str | Path) -> None:
        """Write all fields to an ``.npz`` file, atomically; nothing in it is pickled."""
        with atomic_file(path) as partial, partial.open("wb") as file:
            values: dict[str, Any] = {
                field.name: np.asarray(getattr(self, field.name)) for field in fields(self)
            }
            np.savez_compressed(file, allow_pickle=False, **values)

    @classmethod
    def load(cls, path: str | Path) -> "Truth":
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            If the file is missing, damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                values: dict[str, Any] = {field.name: stored[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise FormatError(f"{path} does not hold a simulation's truth ({error})") from error
        for name in ("cadence_hz", "activation_fs"):
            values[name] = float(values[name])
        values["task"] = str(values["task"])
        return cls(**values)


def write_truth(
    pairs: Iterable[tuple[Recording, Truth]], folder: str | Path, *, overwrite: bool = False
) -> Iterator[Recording]:
    """Pass recordings on to a writer and keep the truth about each in ``NAME_truth.npz``.

    >>> pairs = simulate_dataset(with_truth=True)
    >>> write_bids(write_truth(pairs, "simulated_truth"), "simulated", name="Simulated")

    Parameters
    ----------
    pairs : iterable of (Recording, Truth)
        From `simulate_dataset`; consumed one at a time.
    folder : path
        Appears when the last recording has been taken, and not at all if the writer fails.
    overwrite : bool
        Replace an existing folder.

    Yields
    ------
    Recording

    Raises
    ------
    InputError
        If the folder exists and is not empty.
    """
    with atomic_directory(folder, overwrite=overwrite) as partial:
        for recording, truth in pairs:
            truth.save(partial / f"{recording.name}_truth.npz")
            yield recording
