"""Reading damaged files in a process of its own, so that nothing they do reaches this one.

h5py and scipy's MATLAB reader call compiled code that can loop or crash on files with lying
headers. What they do runs in one worker process, which is started on first use, told by processor
time when a reading hangs, and replaced when it ends. Numbers come back as raw bytes and the rest as
JSON; nothing is unpickled.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosynth import errors
from myosynth.errors import FormatError, MyosynthError

__all__ = ["decoded", "encoded", "end_worker", "isolated", "receive", "send"]

_CPU_S = 0.8
_WALL_S = 300.0  # a slow disk is no damage
_WALL_WITHOUT_CPU_CLOCK_S = 20.0
_BYTES_PER_CPU_S = 2e7


def isolated(job: str, path: Path, *, n_bytes: float = 0.0, **arguments: Any) -> Any:
    """Run one of `isolated_jobs.JOBS` on a file in the worker process.

    Parameters
    ----------
    job : str
    path : path
    n_bytes : float
        How much will be read: more takes longer.
    arguments
        JSON-able.

    Returns
    -------
    What the job returned: dicts, lists, texts, numbers and arrays.

    Raises
    ------
    MyosynthError
        What the job raised.
    FormatError
        If the worker crashed, or took too long over the file.
    """
    request = {
        "job": job,
        "path": str(path),
        "arguments": arguments,
        "seconds": _CPU_S + n_bytes / _BYTES_PER_CPU_S,
        "n_bytes": n_bytes,
    }
    with _LOCK:
        worker = _Worker.running()
        try:
            answer = worker.ask(request)
        except (OSError, EOFError, ValueError) as error:
            worker.end()
            raise FormatError(
                f"{path} is damaged: reading it did not come to an end; save it again"
            ) from error
        except BaseException:
            worker.end()  # Ctrl-C: the answer would be taken for that of the next request
            raise
    if "error" in answer:
        kind = getattr(errors, answer["error"])
        failure: MyosynthError = kind.__new__(kind)
        failure.args = (answer["message"],)
        raise failure
    return answer["value"]


def end_worker() -> None:
    """End the worker process, if there is one; the next reading starts another."""
    with _LOCK:
        if _Worker._current is not None:
            _Worker._current.end()


_LOCK = threading.Lock()


class _Worker:
    """The process; there is one at most."""

    _current: "_Worker | None" = None

    def __init__(self) -> None:
        self._owner = os.getpid()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "myosynth.formats.isolated_jobs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        atexit.register(self.end)

    @classmethod
    def running(cls) -> "_Worker":
        worker = cls._current
        if worker is None or worker._owner != os.getpid() or worker._process.poll() is not None:
            worker = cls._current = cls()
        return worker

    def ask(self, request: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        limit = _WALL_S if hasattr(os, "fork") else _WALL_WITHOUT_CPU_CLOCK_S
        clock = threading.Timer(limit + request["seconds"], self._process.kill)
        clock.start()
        try:
            send(self._process.stdin, request)
            return receive(self._process.stdout)
        finally:
            clock.cancel()

    def end(self) -> None:
        if self._owner != os.getpid():
            return
        atexit.unregister(self.end)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue


def send(stream: Any, value: Any) -> None:
    """Write one message."""
    arrays: list[NDArray[Any]] = []
    text = json.dumps(encoded(value, arrays)).encode()
    stream.write(len(text).to_bytes(8, "little") + text)
    for array in arrays:
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: Any) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        If the other side ended.
    """
    value = json.loads(_exactly(stream, int.from_bytes(_exactly(stream, 8), "little")))
    return decoded(value, stream)


def encoded(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """`value` with each array of numbers replaced by its type and shape, and kept in `arrays`."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        plain = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        arrays.append(plain)
        return {"__array__": [plain.dtype.str, list(plain.shape)]}
    if isinstance(value, np.ndarray):
        return {"__texts__": [str(each) for each in value.ravel()]}
    if isinstance(value, Mapping):
        return {str(key): encoded(each, arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(each, arrays) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def decoded(value: Any, stream: Any) -> Any:
    """The inverse of `encoded`; arrays are read from `stream` in order."""
    if isinstance(value, list):
        return [decoded(each, stream) for each in value]
    if not isinstance(value, dict):
        return value
    if "__array__" in value:
        kind, shape = value["__array__"]
        array = np.empty(shape, dtype=np.dtype(kind))
        _fill(stream, array.reshape(-1).view(np.uint8).data)
        return array
    if "__texts__" in value:
        return np.array(value["__texts__"], dtype=str)
    return {key: decoded(each, stream) for key, each in value.items()}


def _exactly(stream: Any, n_bytes: int) -> bytes:
    content = bytearray(n_bytes)
    _fill(stream, memoryview(content))
    return bytes(content)


def _fill(stream: Any, view: memoryview) -> None:
    at = 0
    while at < len(view):
        count = stream.readinto(view[at:])
        if not count:
            raise EOFError("the other side ended")
        at += count
