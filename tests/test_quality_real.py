"""What the quality report must find in real recordings, and what it must not say about them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from myosynth.formats import read_recordings
from myosynth.formats.duplicates import DuplicateFinder
from myosynth.recordings import Recording
from myosynth.signal.quality import SetReport, check_recording, check_recordings


def checked(folder: Path, name: str) -> SetReport:
    finder = DuplicateFinder()

    def recordings() -> Iterator[Recording]:
        for recording in read_recordings(folder / name, mapping=name):
            finder.add(recording)
            yield recording

    return check_recordings(recordings(), duplicates=finder.pairs)


@pytest.fixture(scope="module")
def lower_limb(shared_data: Path) -> SetReport:
    return checked(shared_data, "uci-lower-limb")


@pytest.fixture(scope="module")
def actions(shared_data: Path) -> SetReport:
    return checked(shared_data, "uci-physical-action")


def test_copies_are_found_and_nothing_else_is_wrong_with_the_set(lower_limb: SetReport) -> None:
    found = lower_limb.set_problems
    assert {p.recording for p in found} == {
        "sub-N2_task-standingFlexion",
        "sub-N2_task-seatedExtension",
    }
    assert {p.code for p in found} == {"duplicate"}
    assert all("of another subject (N1 and N2)" in p.text for p in found)


def test_the_lower_limb_set_is_not_clipped_and_has_plausible_units(lower_limb: SetReport) -> None:
    assert not {"clipped", "unit", "flat", "dead", "nan", "rate"} & lower_limb.codes


def test_clipping_is_found_where_the_reader_marked_it(
    actions: SetReport, shared_data: Path
) -> None:
    recordings = read_recordings(shared_data / "uci-physical-action", mapping="uci-physical-action")
    for recording, report in zip(recordings, actions.reports, strict=True):
        limit = 4000 * 0.75e-6
        share = np.mean(np.abs(recording.load()) >= limit * 0.9999, axis=1).max()
        found = next((p.value for p in report.problems if p.code == "clipped"), 0.0)
        assert found is not None
        if share > 5e-4:
            assert found == pytest.approx(share, rel=0.05)


def test_the_unfiltered_subject_is_named(actions: SetReport) -> None:
    assert [p.code for p in actions.set_problems] == ["unfiltered"]
    assert actions.set_problems[0].text.startswith("subject 02: ")
    hum = {r.subject for r in actions.reports if "mains" in r.codes}
    assert hum == {"02"}


def test_no_heart_is_claimed_in_limbs(actions: SetReport, lower_limb: SetReport) -> None:
    found = [p for each in (actions, lower_limb) for p in each.problems if p.code == "ecg"]
    assert {p.severity for p in found} <= {"note"}
    assert sum(len(p.channels) for p in found) <= 6  # of 636 channels: movements with a rhythm


def test_fatigue_is_found(shared_data: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(shared_data / "biosignalsnotebooks" / "emg_fatigue.h5") as file:
        device = file["00:07:80:4C:01:B1"]
        counts = device["raw"]["channel_2"][:, 0].astype(float)
        fs = float(device.attrs["sampling rate"])
    volts = (counts / 2**12 - 0.5) * 3.0 / 1000.0
    report = check_recording(Recording(volts[None], fs, ["biceps"], "01", task="fatigue"))
    problem = next(p for p in report.problems if p.code == "fatigue")
    assert -0.2 < problem.value < -0.08
    assert "clipped" in report.codes  # 32 samples at 0 or 4095
    assert "unit" not in report.codes
