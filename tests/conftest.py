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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that are slow as a whole come first: or one process would end with them alone."""

    def is_quick(item: pytest.Item) -> bool:
        module = item.getparent(pytest.Module)
        return module is None or module.get_closest_marker("slow") is None

    items.sort(key=is_quick)
