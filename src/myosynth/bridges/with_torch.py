"""torch: segments as a map-style dataset, item by item as braindecode's windows."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from myosynth.recordings import SegmentSet

__all__ = ["SegmentDataset"]


class SegmentDataset(Dataset[tuple[NDArray[np.float32], int, list[int]]]):
    """Segments for a `torch.utils.data.DataLoader`.

    An item is ``(X, y, metainfo)`` as in braindecode's windows datasets: X float32
    (n_channels, n_times) in V; y the position of the task in `tasks`; metainfo the segment's
    position within its recording, its first sample there, and the sample after its last.

    Parameters
    ----------
    segments : SegmentSet
        In memory or on disk; an item is read when it is asked for.
    """

    def __init__(self, segments: "SegmentSet") -> None:
        self.segments = segments
        self.tasks = segments.tasks
        self.targets = np.searchsorted(np.array(self.tasks), segments.task).astype(np.int64)
        self.starts = np.rint(segments.start_s * segments.fs).astype(np.int64)
        self.positions = _positions(segments.recording, self.starts)

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], int, list[int]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} segments, none has the position {index}")
        samples = np.array(self.segments.read([index])[0], dtype=np.float32)
        start = int(self.starts[index])
        metainfo = [int(self.positions[index]), start, start + self.segments.n_times]
        return samples, int(self.targets[index]), metainfo

    def get_metadata(self) -> Any:
        """What is known about each segment, as a DataFrame with a ``target`` column."""
        return self.segments.to_pandas().assign(target=self.targets)


def _positions(recordings: NDArray[np.str_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The how-manieth segment of its recording each one is."""
    order = np.lexsort((starts, recordings))
    positions = np.empty(len(starts), dtype=np.int64)
    position = 0
    for before, row in zip([-1, *order[:-1].tolist()], order.tolist(), strict=False):
        same = before >= 0 and recordings[before] == recordings[row]
        position = position + 1 if same else 0
        positions[row] = position
    return positions
