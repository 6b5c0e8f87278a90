"""What several test modules share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that need it are skipped where it is missing."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MYOSYNTH_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder}; set MYOSYNTH_DATA to their folder")
    return folder
