"""The exceptions that a user's mistake raises.

Every message is one sentence that says what is wrong, where, and how to mend it. The command line
prints that sentence and exits with 2; a traceback shown to a user is a bug.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "FormatError",
    "InputError",
    "MissingExtraError",
    "MyosynthError",
    "NotEnoughDataError",
]


class MyosynthError(Exception):
    """Base of all errors that this package raises on purpose."""


class InputError(MyosynthError, ValueError):
    """A value, array or argument is not what the function takes."""


class NotEnoughDataError(InputError):
    """There are too few recordings, segments, subjects or tasks for what was asked."""


class FormatError(MyosynthError):
    """A file or folder cannot be read or written as what it should be."""


class ConfigError(MyosynthError):
    """A configuration or mapping file holds an unknown key or a wrong value."""


class CheckpointError(MyosynthError):
    """A model folder lacks a file, or holds one that is damaged or does not fit."""


class MissingExtraError(MyosynthError, ImportError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {library}, which is not installed; "
            f"install it with: pip install 'myosynth[{extra}]'"
        )
