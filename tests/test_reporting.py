"""Reporting items: a fixed vocabulary, into the sidecar and back; %MVC only with an MVC."""

from pathlib import Path

import numpy as np
import pytest

from myosynth.errors import ConfigError, InputError, NotEnoughDataError
from myosynth.formats import read_recordings, write_bids
from myosynth.recordings import Recording, ReportingItems, reporting_items, with_reporting
from myosynth.signal.filters import filter_recording
from myosynth.signal.normalisation import normalise_to_mvc
from myosynth.simulation import simulate_recording
from myosynth.storage import read_json

ITEMS = ReportingItems(
    electrode_manufacturer="Ambu",
    electrode_material="Ag/AgCl",
    electrode_type="gel",
    electrode_shape="circular",
    electrode_size_mm=10.0,
    interelectrode_mm=20.0,
    configuration="bipolar",
    skin_preparation="shaved, abraded, alcohol",
    placement="seniam",
    placement_description="two finger widths lateral of L1",
    orientation="along the fibres",
    ground="sacrum",
    amplifier="Model X",
    hardware_low_hz=10.0,
    hardware_high_hz=500.0,
    resolution_bits=16,
    normalisation="mvc_isometric",
    normalisation_description="three trials, prone, highest 0.5 s",
)


# Vocabulary -------------------------------------------------------------------------------------


def test_a_full_report_misses_nothing_and_an_empty_one_says_what() -> None:
    assert ITEMS.missing == ()
    assert len(ReportingItems().missing) == 14
    assert "skin_preparation" in ReportingItems(placement="visual").missing
    assert "placement" not in ReportingItems(placement="visual").missing


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"normalisation": "%MVC"}, "normalisation is one of mvc_task, .* not '%MVC'"),
        ({"placement": "SENIAM"}, "placement is one of seniam, "),
        ({"configuration": "differential"}, "configuration is one of bipolar, "),
        ({"electrode_shape": "round"}, "electrode_shape is one of circular, "),
        ({"interelectrode_mm": 0.02}, "interelectrode_mm must be a number of 1 to 200, not 0.02"),
        ({"interelectrode_mm": "20"}, "interelectrode_mm must be a number"),
        ({"cmrr_db": float("nan")}, "cmrr_db must be a number"),
        ({"skin_preparation": True}, "skin_preparation must be text"),
        ({"hardware_low_hz": 500.0, "hardware_high_hz": 10.0}, "must lie below"),
    ],
)
def test_wrong_words_and_numbers_are_refused(item: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReportingItems(**item)  # type: ignore[arg-type]


# Sidecar ----------------------------------------------------------------------------------------


def test_items_go_where_bids_has_a_place_for_them() -> None:
    sidecar = ITEMS.to_sidecar()
    assert sidecar["ElectrodeMaterial"] == "Ag/AgCl"
    assert sidecar["InterelectrodeDistance"] == 20.0
    assert sidecar["SkinPreparation"] == "shaved, abraded, alcohol"
    assert sidecar["EMGReference"] == "Bipolar"
    assert sidecar["EMGGround"] == "sacrum"
    assert sidecar["EMGPlacementScheme"] == "Other"
    assert "SENIAM" in sidecar["EMGPlacementSchemeDescription"]
    assert sidecar["HardwareFilters"] == {"Amplifier": {"low_hz": 10.0, "high_hz": 500.0}}
    assert sidecar["EMGReporting"]["normalisation"] == "mvc_isometric"
    assert ReportingItems.from_sidecar(sidecar) == ITEMS
    assert ReportingItems().to_sidecar() == {}


def test_items_of_other_software_are_read() -> None:
    found = ReportingItems.from_sidecar(
        {"ElectrodeMaterial": "n/a", "InterelectrodeDistance": 10, "EMGReference": "Bipolar"}
    )
    assert found == ReportingItems(interelectrode_mm=10, configuration="bipolar")


def test_items_survive_bids(tmp_path: Path) -> None:
    recording = simulate_recording("pull", duration_s=2.0)
    recording = recording.replace(
        metadata={**recording.metadata, "sidecar": {"PowerLineFrequency": 50}}
    )
    write_bids([with_reporting(recording, ITEMS)], tmp_path / "set", name="Set")
    stored = read_json(next((tmp_path / "set").rglob("*_emg.json")))
    assert stored["ElectrodeMaterial"] == "Ag/AgCl"
    assert stored["PowerLineFrequency"] == 50
    back = next(iter(read_recordings(tmp_path / "set")))
    assert reporting_items(back) == ITEMS
    lighter = with_reporting(back, ReportingItems(gain=500.0))
    assert reporting_items(lighter).normalisation == ""
    assert reporting_items(lighter).gain == 500.0


def test_a_mapping_file_holds_items(tmp_path: Path) -> None:
    (tmp_path / "sub-1_task-lift.csv").write_text("\n".join(["1,2"] * 500))
    lines = [
        "delimiter: comma", "fs: 1000", "sidecar: {PowerLineFrequency: 60}",
        "columns: [{column: 1, channel: a, unit: uV}]",
        "reporting: {electrode_material: Ag/AgCl, placement: seniam, gain: 500}",
    ]  # fmt: skip
    (tmp_path / "lab.yaml").write_text("\n".join(lines))
    found = next(
        iter(read_recordings(tmp_path / "sub-1_task-lift.csv", mapping=tmp_path / "lab.yaml"))
    )
    assert reporting_items(found) == ReportingItems(
        electrode_material="Ag/AgCl", placement="seniam",
        placement_description="", gain=500,
    )  # fmt: skip
    assert found.metadata["sidecar"]["PowerLineFrequency"] == 60
    for wrong, message in (
        ("{electrode_materiall: x}", "nearest is 'electrode_material'"),
        ("{placement: somewhere}", "placement is one of seniam"),
    ):
        (tmp_path / "bad.yaml").write_text("\n".join([*lines[:-1], f"reporting: {wrong}"]))
        with pytest.raises(ConfigError, match=message):
            read_recordings(tmp_path / "sub-1_task-lift.csv", mapping=tmp_path / "bad.yaml")


def test_the_official_validator_has_nothing_to_say(tmp_path: Path) -> None:
    validator = pytest.importorskip("bids_validator_deno")
    assert validator
    import json
    import subprocess
    import sys

    recording = with_reporting(simulate_recording("pull", duration_s=2.0), ITEMS)
    write_bids([recording], tmp_path / "set", name="Set")
    command = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run(
        [str(command), str(tmp_path / "set"), "--json"], capture_output=True, text=True
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [(one["code"], one.get("subCode")) for one in issues] == []


# %MVC -------------------------------------------------------------------------------------------


def contraction(level_v: float, task: str, seconds: float = 4.0, **fields: object) -> Recording:
    """Noise of a known RMS on two channels, the second twice as strong."""
    rng = np.random.default_rng(len(task))
    data = level_v * np.array([[1.0], [2.0]]) * rng.standard_normal((2, round(seconds * 1000)))
    recording = filter_recording(Recording(data, 1000.0, ["left", "right"], "S1", task=task))
    return recording.replace(**fields) if fields else recording


def test_percent_of_mvc_is_the_ratio_of_amplitudes() -> None:
    mvc = contraction(1e-3, "mvc")
    task = contraction(2.5e-4, "lift", seconds=20.0)
    found = normalise_to_mvc(task, mvc)
    assert found.percent.shape == (2, 20000)
    assert found.percent.mean(axis=1) == pytest.approx([25.0, 25.0], rel=0.1)
    assert found.reference_v[1] / found.reference_v[0] == pytest.approx(2.0, rel=0.1)
    assert found.mvc == "sub-S1_task-mvc"
    assert found.warnings == ()


def test_a_task_above_its_mvc_is_told() -> None:
    found = normalise_to_mvc(contraction(2e-3, "lift"), contraction(1e-3, "mvc"))
    assert len(found.warnings) == 2
    assert "probably not maximal" in found.warnings[0]


def test_mvc_is_refused_without_an_mvc_recording() -> None:
    task = contraction(1e-4, "lift")
    with pytest.raises(InputError, match="cannot be given in %MVC without"):
        normalise_to_mvc(task, None)
    with pytest.raises(InputError, match="does not say that it is a maximal"):
        normalise_to_mvc(task, contraction(1e-3, "walk"))
    marked = contraction(1e-3, "hold", metadata={"mvc": True})
    assert normalise_to_mvc(task, marked).percent.mean() == pytest.approx(10, rel=0.15)
    for name in ("MVC", "MVIC trunk", "maximal contraction", "maxEffort"):
        assert normalise_to_mvc(task, contraction(1e-3, name)).mvc.endswith(name)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"subject": "S2"}, "subject"),
        ({"session": "2"}, "session"),
        ({"channel_names": ["left", "other"]}, "channels"),
        ({"fs": 2000.0}, "rate"),
        ({"filters": ()}, "filters"),
    ],
)
def test_another_mvc_is_no_reference(changes: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=f"is no reference for sub-S1_task-lift: {what} differ"):
        normalise_to_mvc(contraction(1e-4, "lift"), contraction(1e-3, "mvc", **changes))


def test_useless_mvcs_are_refused() -> None:
    task = contraction(1e-4, "lift")
    with pytest.raises(NotEnoughDataError, match="too short"):
        normalise_to_mvc(task, contraction(1e-3, "mvc", seconds=0.5))
    silent = contraction(1e-3, "mvc")
    data = silent.load().copy()
    data[1] = 0.0
    with pytest.raises(InputError, match="holds no signal in channel right"):
        normalise_to_mvc(task, silent.replace(data=data))
    data[1, 0] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        normalise_to_mvc(task, silent.replace(data=data))
