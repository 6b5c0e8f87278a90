import hashlib
import json
import re

import numpy as np
import pytest
import yaml

from myosynth.app.cards import write_card
from myosynth.app.provenance import Provenance, content_hash
from myosynth.errors import InputError
from myosynth.evaluation import Scores
from myosynth.evaluation.privacy import Attack, Audit, Canary, Threat
from myosynth.evaluation.scores import Finding, make_row
from myosynth.formats import WRITERS
from myosynth.recordings import SegmentSet
from myosynth.storage import write_json

HOSTILE = "set | <b>x</b> *y*"


@pytest.fixture
def synthetic():
    signals = 1e-3 * np.random.default_rng(0).standard_normal((5, 2, 300))
    return SegmentSet(
        signals.astype(np.float32),
        500.0,
        ["pull", "pull", "stoop", "stoop", "stoop"],
        channel_names=("left", "right"),
    )


def scores():
    near = {"value": 0.2, "z": 0.1, "z_low": -0.1, "z_high": 0.4, "beats_c3": True, "c3": 0.9}
    far = near | {"z": 2.0, "z_low": 1.5, "z_high": 2.5}
    rows = [make_row("pull", "time", "w1", **near), make_row("stoop", "spectral", "w1", **far)]
    named = Finding("warning", "real_duplicates", "The real subjects anna, bert share segments.")
    tasks = {"pull": {"real": 9, "synthetic": 2}, "stoop": {"real": 9, "synthetic": 3}}
    counts = {"tasks": tasks, "real_segments": 18, "real_subjects": 6}
    return Scores(rows, [named], {"passed": True}, counts)


def audit(verdict="none_found", power=0.97):
    attack = Attack("stft", "segment", "tpr", 0.015, 0.01, "Chance.", low=0.004, high=0.04)
    diagnostic = Attack("nearest_neighbour", "segment", "share", 0.77, 0.5, "x", evidence=False)
    canary = Canary("noise", 0.05, "fingerprints", 15, 0.93, 0.7, 1.0, 14, True)
    data = Threat(verdict, "These attacks see nothing.", "Go on.", power, "Smallest share.", 0,
                  [attack, diagnostic], [canary])  # fmt: skip
    return Audit({"data": data, "model": Threat("not_tested", "No model.", "Give one.")})


def parts(path):
    """Front matter and body of a card."""
    _, front, body = path.read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def test_a_card_is_filled_from_set_scores_and_audit(synthetic, tmp_path):
    path = WRITERS["npz"](synthetic, tmp_path / "made.npz", overwrite=False)
    written = write_card(path, scores=scores(), audit=audit(), authors=["A. B."], license="cc0-1.0")
    assert [one.relative_to(tmp_path).as_posix() for one in written] == [
        "made-card/README.md",
        "made-card/croissant.json",
    ]
    front, body = parts(written[0])
    assert front["license"] == "cc0-1.0"
    assert front["size_categories"] == ["n<1K"]
    for words in ("| pull | 2 |", "| stoop | 3 |", "| pull | Good |", "| stoop | Weak |",
                  "18 real segments of 6 people", "## What it is not for", "By A. B.",
                  "**None found** (power 0.97: Smallest", "0.004 to 0.04", "93 %"):  # fmt: skip
        assert words in body
    assert "0.77" not in body  # a diagnostic is no evidence
    assert not re.search("anonym|GDPR", body, re.IGNORECASE)


def test_a_card_names_no_person(synthetic, tmp_path):
    path = WRITERS["csv"](synthetic, tmp_path / "made.csv", overwrite=False)
    record = Provenance("generate", {}, inputs={"model": path}, seed=3)
    record.write(path)
    for one in write_card(path, scores=scores()):
        text = one.read_text()
        assert "anna" not in text
        assert str(tmp_path) not in text
    _, body = parts(tmp_path / "made-card" / "README.md")
    assert record.content["inputs"][0]["sha256"] in body
    assert "drawn from a generative model" in body
    assert "seed 3" in body


def test_what_was_not_measured_is_said(synthetic, tmp_path):
    path = WRITERS["npz"](synthetic, tmp_path / "made.npz", overwrite=False)
    _, body = parts(write_card(path)[0])
    assert "Not measured." in body
    assert "No privacy audit was made" in body
    assert "no record of how they were drawn" in body
    _, body = parts(write_card(path, audit=audit("no_power", None), overwrite=True)[0])
    assert "**No power**" in body
    assert "None found**" not in body


def test_figures_of_another_set_are_called_so(synthetic, tmp_path):
    path = WRITERS["npz"](synthetic, tmp_path / "made.npz", overwrite=False)
    for name in ("own", "other"):
        record = Provenance("evaluate", {}, inputs={"synthetic": path}, seed=0).finished()
        if name == "other":
            record["inputs"][0]["sha256"] = "0" * 64
        write_json(tmp_path / name / "scores.json", scores().to_dict() | {"provenance": record})
        _, body = parts(write_card(path, scores=tmp_path / name, overwrite=True)[0])
        assert ("scorecard was made of another set" in body) == (name == "other")


def test_names_cannot_break_the_markdown(synthetic, tmp_path):
    synthetic.task[:] = "a|<b>"
    path = WRITERS["npz"](synthetic, tmp_path / "made.npz", overwrite=False)
    front, body = parts(write_card(path, name=HOSTILE)[0])
    assert front["pretty_name"] == HOSTILE
    assert r"# set \| \<b\>x\</b\> \*y\*" in body
    assert r"| a\|\<b\> | 5 |" in body


@pytest.mark.parametrize("kind", ["npz", "edf", "bids"])
def test_croissant_lists_every_file_with_its_hash(kind, synthetic, tmp_path):
    out = WRITERS[kind](synthetic, tmp_path / "made", overwrite=False)
    folder = out if out.is_dir() else out.parent
    before = {one for one in folder.rglob("*") if one.is_file()}
    path = out if kind != "npz" else folder
    record = json.loads(write_card(path, scores=scores(), audit=audit())[-1].read_text())
    listed = {one["contentUrl"]: one["sha256"] for one in record["distribution"]}
    assert set(listed) == {one.relative_to(path).as_posix() for one in before}
    for name, digest in listed.items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest
    assert record["conformsTo"].endswith("croissant/1.0")
    assert {one["tasks/task"]: one["tasks/segments"] for one in record["recordSet"][0]["data"]} == {
        "pull": 2,
        "stoop": 3,
    }
    assert "none found (power 0.97)" in record["rai:personalSensitiveInformation"]
    assert "stoop: weak" in record["rai:dataLimitations"]
    assert "url" not in record  # nothing empty is stated


def test_a_set_with_a_card_in_its_folder_can_still_be_read(synthetic, tmp_path):
    from myosynth.formats import read_segments

    out = WRITERS["edf"](synthetic, tmp_path / "made", overwrite=False)
    write_card(out)
    assert (out / "README.md").is_file()
    assert len(read_segments(out)) == 5


def test_a_card_is_not_overwritten_unasked(synthetic, tmp_path):
    path = WRITERS["npz"](synthetic, tmp_path / "made.npz", overwrite=False)
    readme = tmp_path / "README.md"
    readme.write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        write_card(path, out=tmp_path)
    assert readme.read_text() == "mine"
    assert not (tmp_path / "croissant.json").exists()
    with pytest.raises(InputError, match="does not exist"):
        write_card(tmp_path / "nothing")


class FakeModel:
    """What a card asks of a `Synthesizer`."""

    tasks = ("pull", "stoop")
    fs, seconds = 2000.0, 3.0
    channel_names, muscles = ("ES-L", "ES-R"), ("erector spinae", "")
    config = {  # noqa: RUF012
        "description": {
            "facts": {
                "n_subjects": 12,
                "n_segments": 90,
                "segments_by_task": {"pull": 50, "stoop": 40},
                "split": {"train": ["anna"]},
                "filters": [{"name": "bandpass", "low_hz": 10.0}],
            }
        }
    }


def test_a_model_card_says_what_it_learned_from(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "myosynth.diffusion.Synthesizer.from_pretrained", lambda path: FakeModel(), raising=True
    )
    (tmp_path / "config.json").write_text("{}")
    before = content_hash(tmp_path)
    (card,) = write_card(tmp_path, scores=scores(), audit=audit())
    front, body = parts(card)
    assert front["library_name"] == "myosynth"
    for words in ("| pull | 50 |", "recordings of 12 people", "ES-L (erector spinae), ES-R",
                  r"bandpass (low\_hz 10.0)", "Releasing the data: **None found**",
                  "Releasing the model: **Not tested**"):  # fmt: skip
        assert words in body
    assert "anna" not in body
    assert "averages by person" not in body
    assert content_hash(tmp_path) == before  # a card does not make it another model


def test_a_model_card_says_that_the_model_holds_averages_by_person(tmp_path, monkeypatch):
    class Describing(FakeModel):
        config = {**FakeModel.config, "n_groups": 7}  # noqa: RUF012

    monkeypatch.setattr(
        "myosynth.diffusion.Synthesizer.from_pretrained", lambda path: Describing(), raising=True
    )
    (tmp_path / "config.json").write_text("{}")
    attacked = audit()
    part = Attack("loss_part_2", "segment", "tpr", 0.03, 0.01, "x")
    attacked.threats["model"] = Threat("leak_found", "It remembers.", "No.", attacks=[part])
    (card,) = write_card(tmp_path, scores=scores(), audit=attacked)
    body = parts(card)[1]
    assert "This model holds averages by person" in body
    assert "Was this segment in the training set? (loss), part 2 of it" in body


def test_differential_privacy_is_stated_with_its_unit(synthetic, tmp_path):
    path = WRITERS["npz"](synthetic, tmp_path / "made.npz", overwrite=False)
    Provenance("generate", {"train": {"epsilon": 8.0, "delta": 1e-5}}, seed=0).write(path)
    _, body = parts(write_card(path)[0])
    assert "epsilon = 8, delta = 1e-05; the unit is one **segment**, not a person" in body


def test_croissant_holds_to_the_format(synthetic, tmp_path):
    """Checked by the format's own library where it is installed."""
    croissant = pytest.importorskip("mlcroissant")
    path = WRITERS["npz"](synthetic, tmp_path / "made.npz", overwrite=False)
    card = write_card(path, authors=["A. B."], url="https://example.org/set", license="cc0-1.0")[-1]
    dataset = croissant.Dataset(jsonld=card)
    assert len(list(dataset.records("tasks"))) == 2
