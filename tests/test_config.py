"""Settings: one signature gives options, sections and checks; a record repeats its run."""

import json
from pathlib import Path

import pytest

from myosynth.app.commands import COMMANDS
from myosynth.app.config import load_config, option_fields, settings_of
from myosynth.app.pipeline import demo, generate, prepare, simulate, train
from myosynth.app.provenance import (
    Provenance,
    content_hash,
    mapping_input,
    provenance_file,
    read_provenance,
)
from myosynth.errors import ConfigError

FUNCTIONS = {name: command.function for name, command in COMMANDS.items()}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_section_holds_what_the_file_gives(tmp_path: Path) -> None:
    path = write(tmp_path, "prepare: {overlap: 0.75, channel: [a, b]}\ntrain: {minutes: 2}")
    assert load_config(path, FUNCTIONS) == {
        "prepare": {"overlap": 0.75, "channel": ("a", "b")},
        "train": {"minutes": 2.0},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prepare: {overlp: 0.5}", "unknown key 'prepare.overlp'; the nearest is 'overlap'"),
        ("prepar: {overlap: 0.5}", "unknown section 'prepar'; the nearest is 'prepare'"),
        ("prepare: {overlap: 1.5}", "prepare.overlap must be below 1, not 1.5"),
        ("prepare: {seconds: three}", "prepare.seconds must be a number, not 'three'"),
        ("prepare: {seed: 1.5}", "prepare.seed must be a whole number, not 1.5"),
        ("prepare: {on_nan: rise}", "not 'rise'; did you mean raise?"),
        ("prepare: {overwrite: true}", "prepare.overwrite belongs on the command line"),
        ("prepare: 3", "section prepare must hold keys and values, not 3"),
        ("prepare", "must hold one section per command"),
        ("prepare: {", "is not valid YAML"),
        ("generate: {format: hdf}", "generate.format must be one of npz, csv, edf"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_file(
    tmp_path: Path, text: str, said: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, FUNCTIONS)
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml", FUNCTIONS)


def test_text_from_the_command_line_becomes_numbers() -> None:
    full = settings_of(generate, {"n_segments": "12", "effort": "-4.5", "task": ["pull"]})
    assert (full["n_segments"], full["effort"], full["task"]) == (12, -4.5, ("pull",))
    assert full["guidance_scale"] == 1.0


def test_training_settings_are_checked_by_name(tmp_path: Path) -> None:
    from myosynth.app.config import plain_settings
    from myosynth.diffusion import TrainingSettings

    found = plain_settings(TrainingSettings, {"learning_rate": "2e-3", "width": 64}, "train")
    assert (found.learning_rate, found.width) == (2e-3, 64)
    with pytest.raises(ConfigError, match="unknown key 'widht'; the nearest is 'width'"):
        plain_settings(TrainingSettings, {"widht": 64}, "train")
    with pytest.raises(ConfigError, match="width must be a whole number, not 'wide'"):
        plain_settings(TrainingSettings, {"width": "wide"}, "train")


def test_python_calls_are_checked_like_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seconds must be above 0, not -3"):
        prepare(tmp_path, tmp_path / "out", seconds=-3)
    with pytest.raises(TypeError, match="secods"):
        prepare(tmp_path, tmp_path / "out", secods=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_option_explains_itself(name: str) -> None:
    for option, (annotation, _) in option_fields(FUNCTIONS[name]).items():
        description = annotation.__metadata__[-1].description
        assert description.endswith("."), option


@pytest.mark.parametrize("function", [demo, simulate, prepare, generate, train])
def test_what_draws_at_random_takes_a_seed(function: object) -> None:
    assert option_fields(function)["seed"][1] == 0  # type: ignore[arg-type]


def test_a_record_is_a_configuration(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("abc")
    settings = settings_of(prepare, {"overlap": 0.25, "channel": ["a"]})
    del settings["overwrite"]
    record = Provenance("prepare", {"prepare": settings}, inputs={"dataset": source}, seed=3)
    out = tmp_path / "out.npz"
    out.write_bytes(b"")
    path = record.write(out)
    assert path == tmp_path / "out.npz.provenance.json" == provenance_file(out)
    content = json.loads(path.read_text())
    assert content["seed"] == 3
    assert content["libraries"]["numpy"]
    assert content["inputs"][0]["sha256"] == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert load_config(path, FUNCTIONS)["prepare"] == settings
    assert read_provenance(out) == content


def test_a_folder_s_hash_depends_on_names_and_bytes_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "a").write_bytes(b"1" * 3_000_000)
        (tmp_path / name / "b").write_bytes(b"2")
    same = content_hash(tmp_path / "one")
    assert content_hash(tmp_path / "two") == same
    (tmp_path / "two" / "provenance.json").write_text("{}")
    assert content_hash(tmp_path / "two") == same
    (tmp_path / "two" / "b").write_bytes(b"3")
    changed = content_hash(tmp_path / "two")
    (tmp_path / "two" / "b").write_bytes(b"2")
    (tmp_path / "two" / "b").rename(tmp_path / "two" / "c")
    assert len({same, changed, content_hash(tmp_path / "two")}) == 3


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) is None
    (tmp_path / "provenance.json").write_text("{")
    assert read_provenance(tmp_path) is None


def test_only_a_mapping_of_ones_own_is_an_input() -> None:
    assert mapping_input(None) == {}
    assert mapping_input("uci-lower-limb") == {}
    assert mapping_input("mine.yaml") == {"mapping": Path("mine.yaml")}
