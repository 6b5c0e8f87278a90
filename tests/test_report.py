import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from myosynth.app.figures import figure_signals, figure_spectra, readme_picture, save_figure
from myosynth.app.report import (
    amplitude_table,
    read_audit,
    read_scores,
    write_audit,
    write_comparison,
    write_report,
)
from myosynth.app.report_words import summarise, task_verdicts
from myosynth.errors import FormatError, InputError
from myosynth.evaluation import Scores
from myosynth.evaluation.privacy import Attack, Audit, Canary, Principle, Threat
from myosynth.evaluation.scores import Finding, make_row
from myosynth.recordings import SegmentSet

FS = 500.0
HOSTILE = '<script>alert("$x^{")</script>'
ASPECTS = [("time", "w1"), ("spectral", "w1"), ("envelope", "w1"), ("higher_order", "w1")]


def noise(n, task, seed, *, gain=1e-3, n_channels=1, n_times=500, **columns):
    signals = gain * np.random.default_rng(seed).standard_normal((n, n_channels, n_times))
    return SegmentSet(signals.astype(np.float32), FS, task, **columns)


def people(tasks, split, seed, n=8, **options):
    return SegmentSet.concatenate(
        [
            noise(n, task, [seed, person, number], gain=2e-3 * (1 + number), split=split,
                  subject=f"p{person}", **options)
            for person in range(4)
            for number, task in enumerate(tasks)
        ]
    )  # fmt: skip


def real_set(tasks=("pull", "stoop"), **options):
    return SegmentSet.concatenate(
        [people(tasks, split, seed, **options) for seed, split in enumerate(("train", "holdout"))]
    )


def synthetic_set(tasks=("pull", "stoop"), n=30, **options):
    parts = [noise(n, task, 9 + i, gain=4e-3 * (1 + i), **options) for i, task in enumerate(tasks)]
    return SegmentSet.concatenate(parts)


def row(task="pull", group="time", metric="w1", **values):
    given = {
        "value": 0.3,
        "low": 0.2,
        "high": 0.5,
        "floor_same": 0.2,
        "floor_new": 0.7,
        "c3": 0.9,
        "z": 0.2,
        "z_low": 0.0,
        "z_high": 0.6,
        "c3_z": 1.4,
        "beats_c3": True,
        "unit": "SD",
    }
    return make_row(task, group, metric, **given | values)  # fmt: skip


def scores_of(rows, findings=(), **counts):
    tasks = {one["task"]: {"real": 60, "synthetic": 30} for one in rows}
    return Scores(list(rows), list(findings), {"passed": True}, {"tasks": tasks} | counts)


class Page(HTMLParser):
    """The elements, the texts of the big table and what a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.ids, self.cells = [], [], [], []
        self.open_cell = self.in_rows = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.loads.append(value)
        self.in_rows |= ("id", "rows") in attributes
        if tag == "tr" and self.in_rows:
            self.cells.append([])
        self.open_cell = tag == "td" and self.in_rows

    def handle_data(self, data):
        if self.open_cell and data.strip():
            self.cells[-1].append(data.strip())

    def handle_endtag(self, tag):
        self.open_cell &= tag != "td"
        self.in_rows &= tag != "table"


def read_page(path):
    text = path.read_text("utf-8")
    page = Page(text)
    fetched = [one for one in page.loads if not one.startswith(("#", "data:,"))]
    assert fetched == []
    assert not re.search(r"url\(\s*['\"]?(?!#)|@import", text)
    assert "script" not in page.tags
    assert len(set(page.ids)) == len(page.ids)
    return text, page


def utility_rows():
    """What `evaluate` gives of two learners and a learning curve."""
    values = {"trtr": 0.9, "tstr": 0.88, "tstr_over_trtr": 0.978, "trts": 0.8, "gain": 0.021}
    rows = [
        make_row("all", "utility", f"{what}_{learner}", unit="balanced accuracy", better="higher",
                 value=value - drop, low=value - 0.2, high=value + 0.05, c3=0.6 - drop)
        for learner, drop in (("hudgins_lda", 0.1), ("full_forest", 0.0))
        for what, value in values.items()
    ]  # fmt: skip
    curve = [
        make_row("all", "utility", f"curve_{size}_subjects", value=0.8 + 0.01 * size,
                 low=0.7, high=0.9, surrogates={"real_alone": 0.5 + 0.05 * size})
        for size in (1, 2, 4)
    ]  # fmt: skip
    return rows + curve


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A whole report of two tasks, whose names are hostile, in two channels."""
    out = tmp_path_factory.mktemp("report")
    tasks = ("pull", HOSTILE)
    options = {"n_channels": 2, "channel_names": ("<b>left</b>", "right & $")}
    real, synthetic = real_set(tasks, **options), synthetic_set(tasks, **options)
    rows = [
        row(task, group, metric, value=0.1234567 * number, round_trip=0.21, z=z, z_low=None,
            surrogates={"ar": 0.5})
        for task in tasks
        for number, ((group, metric), z) in enumerate(
            zip([*ASPECTS, ("all", "mmd2"), ("all", "c2st")], (0.1, -7.0, None, 9.0, 0.5, 1.0),
                strict=True)
        )
    ]  # fmt: skip
    rows.append(make_row("pull", "effort", "slope", value=0.9, better="value"))
    notes = [Finding("warning", "x", f"Take care of {HOSTILE}.")]
    scores = scores_of(rows + utility_rows(), notes, segments_compared={"pull": 20, HOSTILE: 30})
    write_report(scores, real, synthetic, out, provenance={"seed": 7, "<i>who": {"a": ["<u>me"]}})
    return out, scores


def test_a_report_is_one_whole_file_that_escapes_every_name(report):
    out, _ = report
    text, page = read_page(out / "report.html")
    assert HOSTILE not in text
    assert "&lt;script&gt;alert" in text
    for raw in ("<b>left</b>", "<i>who", "<u>me"):
        assert raw not in text
    assert not [one for one in text.split("<svg")[1:] if "<script" in one]
    assert "no z · same people 0.2 · other people 0.7 · C3 0.9" in text
    assert "Only 20 segments a side" in text
    for part in ("answers", "findings", "tasks", "figures", "utility", "validity", "provenance"):
        assert part in page.ids
    assert page.tags.count("svg") == 7  # two figures of two channels, envelopes, features, curve
    assert "contains excerpts of real recordings" in text


def test_utility_is_told_in_sentences_of_the_best_learner(report):
    text = (report[0] / "report.html").read_text()
    assert "as well as real ones" in text
    assert "names 88 % of real segments right, trained on real ones 90 % (guessing: 50 %" in text
    assert "by +2.1 points" in text
    assert "more than shaped noise does (C3: 60 %)" in text


def test_the_page_holds_every_number_of_the_json(report):
    out, scores = report
    _, page = read_page(out / "report.html")
    content = json.loads((out / "scores.json").read_text())
    shown = [cells for cells in page.cells if cells]
    assert len(shown) == len(content["rows"]) == len(scores.rows)
    keys = ("value", "low", "high", "floor_same", "floor_new", "c3", "round_trip", "z", "z_low",
            "z_high", "c3_z")  # fmt: skip
    for cells, wanted in zip(shown, content["rows"], strict=True):
        assert cells[0] == wanted["task"]
        figures = cells[-13:-2]
        for key, figure in zip(keys, figures, strict=True):
            if wanted[key] is None:
                assert figure == "–"
            else:
                assert float(figure) == pytest.approx(wanted[key], rel=1e-3, abs=1e-12)


def test_the_json_gives_the_scores_back_with_verdicts_and_provenance(report):
    out, scores = report
    assert read_scores(out).to_dict() == scores.to_dict()
    content = json.loads((out / "scores.json").read_text())
    assert content["schema"] == "myosynth-scores/1"
    assert content["provenance"]["seed"] == 7
    assert [one["task"] for one in content["verdicts"]] == [HOSTILE, "pull"]
    assert content["verdict"]["level"] == summarise(scores).level
    amplitude = {one["task"]: one for one in content["amplitudes"]}["pull"]
    assert amplitude["real_rms_mv"] == pytest.approx(2.0, rel=0.02)
    assert amplitude["synthetic_rms_mv"] == pytest.approx(4.0, rel=0.02)
    assert f"{amplitude['synthetic_rms_mv']:.3g} mV" in (out / "report.html").read_text()
    worst = content["worst_features"]["pull"]
    assert worst[0]["distance_sd"] >= worst[1]["distance_sd"] > 1
    assert {one["feature"] for one in worst} <= {"rms", "mav", "wl", "peak"}
    with pytest.raises(FormatError, match="nowhere"):
        read_scores(out / "nowhere")


def test_figures_lie_beside_the_page_as_png_and_svg(report):
    folder = report[0] / "figures"
    names = {path.stem for path in folder.iterdir()}
    assert {"scores", "figure1-spectra-channel2", "figure2-signals-channel1"} <= names
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            assert image.width > 600
            assert len(np.unique(np.asarray(image.convert("L")))) > 20  # not blank
        assert "</svg>" in (folder / f"{name}.svg").read_text()


def test_real_signals_can_be_left_out(tmp_path):
    real, synthetic = real_set(("pull",)), synthetic_set(("pull",))
    scores = scores_of([row()])
    write_report(scores, real, synthetic, tmp_path, provenance={}, include_real_signals=False)
    text, _ = read_page(tmp_path / "report.html")
    assert "contains excerpts of real recordings" not in text
    with_real = figure_signals(real, synthetic).axes
    without = figure_signals(real, synthetic, include_real_signals=False).axes
    assert [len(axes.lines) for axes in with_real] == [1, 1]
    assert [len(axes.lines) for axes in without] == [0, 1]


def test_what_is_missing_is_a_dash_and_never_a_crash(tmp_path, monkeypatch):
    """None everywhere, one segment, three channels, a task on one side only, NaN, no rows."""
    monkeypatch.setattr("myosynth.app.report.MAX_CHANNELS", 1)  # drawing takes its time
    real = SegmentSet.concatenate(
        [noise(1, "pull", 0, n_channels=3, subject="a"), noise(2, "lift", 1, n_channels=3)]
    )
    made = SegmentSet.concatenate(
        [noise(1, "pull", 2, n_channels=3), noise(2, "new", 3, n_channels=3)]
    )
    made.signals[2] = np.nan
    empty = scores_of([make_row("pull", group, metric) for group, metric in ASPECTS])
    write_report(empty, real, made, tmp_path / "a", provenance={"seed": None})
    text, page = read_page(tmp_path / "a" / "report.html")
    assert all(cells[-12:] == ["–"] * 12 for cells in page.cells if cells)
    assert "Not judged" in text
    assert "channels EMG2, EMG3." in text  # not drawn here, and said so
    lift = real.where(task="lift")
    write_report(Scores(), lift, lift, tmp_path / "b", provenance={})
    assert "Nothing could be judged" in (tmp_path / "b" / "report.html").read_text()
    assert [one["ratio"] is None for one in amplitude_table(real, made)] == [True, True, False]


def test_the_real_side_is_the_holdout():
    loud = noise(20, "pull", 0, gain=9e-3, split="train")
    quiet = noise(20, "pull", 1, gain=2e-3, split="holdout")
    (both,) = amplitude_table(SegmentSet.concatenate([loud, quiet]), loud)
    assert both["real_rms_mv"] == pytest.approx(2.0, rel=0.05)
    assert both["ratio"] == pytest.approx(4.5, rel=0.05)


def test_a_report_names_what_it_cannot_draw(tmp_path):
    real = real_set(("pull",))
    with pytest.raises(InputError, match="2 at 500 Hz"):
        figure_spectra(real, synthetic_set(("pull",), n_channels=2))
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        write_report(scores_of([row()]), real, real, tmp_path / "file", provenance={})


def test_drawn_spectra_are_those_of_the_sets(tmp_path):
    real, synthetic = real_set(("pull",)), synthetic_set(("pull",))
    left, right = figure_spectra(real, synthetic).axes
    inside = slice(10, -10)
    drawn = {line.get_label(): line.get_ydata()[inside] for line in right.lines}
    flat = {name: gain**2 * 1e6 / (FS / 2) for name, gain in (("Real", 2e-3), ("Synthetic", 4e-3))}
    for name, level in flat.items():
        assert np.mean(drawn[f"{name}, mean"]) == pytest.approx(level, rel=0.05)
    assert left.get_ylim() == right.get_ylim()
    picture = readme_picture(real, synthetic)
    save_figure(picture, tmp_path / "one.png")
    save_figure(readme_picture(real, synthetic), tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


# ---- words ----


def all_aspects(**changes):
    """One row per aspect, each changed where `changes` names its group."""
    return [row(group=group, metric=metric, **changes.get(group, {})) for group, metric in ASPECTS]


OFF = {"z": 2.0, "z_low": 1.2, "z_high": 3.0}
UNSURE = {"z": 0.8, "z_low": 0.1, "z_high": 1.4}
NO_Z = {"z": None, "z_low": None, "z_high": None, "c3_z": None}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, "good", "all 4 respects"),
        ({"envelope": UNSURE}, "fair", "may be farther off in bursts and rhythm"),
        ({"spectral": OFF}, "weak", "1 of 4 respects: frequency content"),
        ({"spectral": OFF, "time": OFF | {"z": 2.5}}, "weak", "amplitude and waveform and freq"),
        ({"higher_order": {"beats_c3": False, "z": 0.7}}, "weak", "plain noise"),
        ({"higher_order": {"beats_c3": False, "z": 0.3}}, "good", "all 4"),
        ({"spectral": NO_Z | {"low": 0.8, "high": 0.9}}, "weak", "frequency content"),
        ({"spectral": NO_Z}, "good", "every measurable one of 3"),
    ],
)
def test_a_verdict_follows_the_intervals(changes, level, words):
    (verdict,) = task_verdicts(scores_of(all_aspects(**changes)))
    assert verdict.level == level
    assert words in verdict.meaning
    assert verdict.next.endswith(".")


def test_higher_is_better_turns_the_fallback_round():
    low_recall = row(group="all", metric="recall", better="higher", value=0.1, low=0.05, high=0.15,
                     floor_same=0.8, floor_new=0.2, **NO_Z)  # fmt: skip
    (verdict,) = task_verdicts(scores_of([*all_aspects(), low_recall]))
    assert (verdict.level, "variety" in verdict.meaning) == ("weak", True)


def test_the_head_names_noise_where_noise_ties():
    rows = all_aspects(higher_order={"beats_c3": False, "z": 0.7}, spectral=UNSURE)
    summary = summarise(scores_of(rows))
    assert summary.weak == "pull: fine structure (no better than shaped noise)."


def test_errors_outweigh_good_scores():
    copied = Finding("error", "near_copies", "7 segments follow a train segment.")
    scores = scores_of(all_aspects(), [copied])
    assert task_verdicts(scores)[0].level == "unfit"
    summary = summarise(scores)
    assert summary.level == "unfit"
    assert summary.next[0] == copied.text
    assert "Do not" not in summary.good
    missing = scores_of(all_aspects())
    missing.provenance_counts["tasks"]["stoop"] = {"real": 50, "synthetic": 0}
    levels = {one.task: one.level for one in task_verdicts(missing)}
    assert levels == {"pull": "good", "stoop": "unfit"}
    assert "pull" in summarise(missing).good
    assert "--task stoop" in summarise(missing).next[0]


def test_the_head_says_where_it_is_weak_and_sends_to_the_audit():
    rows = all_aspects() + [one | {"task": "push"} for one in all_aspects(spectral=OFF)]
    summary = summarise(scores_of(rows))
    assert summary.level == "weak"
    assert "Yes for pull (1 of 2 tasks)" in summary.good
    assert summary.weak == "push: frequency content."
    assert summary.next[0].startswith("push: See in Figure 1")
    assert "myosynth audit" in summary.next[-1]


# ---- audit and comparison ----


def audit_of(verdict="none_found", **options):
    attack = Attack("fingerprints", "segment", "tpr", 0.02, 0.01, "Nearly none.", low=0.01,
                    high=0.06, auc=0.5, p=0.4, copies=0, n_members=300)  # fmt: skip
    model_attack = Attack("loss_part_2", "segment", "auc", None, 0.5, "Not run.")
    canaries = [
        Canary(disguise, 0.05, name, 15, tpr, 0.7, 1.0, 14, True)
        for disguise in ("noise", "new_phase")
        for name, tpr in (("stft", 0.93), ("fingerprints", 0.97))
    ]
    data = Threat(verdict, "Nothing was <found>.", "Share with care.", 0.97, "Smallest share.", 0,
                  [attack], canaries)  # fmt: skip
    model = Threat("no_power", "Too few people.", "Record more.", attacks=[model_attack])
    return Audit(
        {"data": data, "model": model},
        [Principle("singling_out", verdict, "No one stands out.", ["fingerprints"])],
        [Finding("note", "x", "Look at <this>.")],
        ["Only 5 people."],
        {"seed": 3},
        **options,
    )


def test_an_audit_page_shows_verdicts_with_their_power(tmp_path):
    audit = audit_of()
    write_audit(audit, tmp_path, provenance={"seed": 3})
    text, page = read_page(tmp_path / "audit.html")
    for words in ("None found at power 0.97", "No power", "Nothing was &lt;found&gt;.", "97 %",
                  "Only 5 people.", "Share with care.", "part 2 of it"):  # fmt: skip
        assert words in text
    assert {"answers", "principles", "data", "model", "limits"} <= set(page.ids)
    assert not re.search("anonym|GDPR", text, re.IGNORECASE)
    assert read_audit(tmp_path).to_dict() == audit.to_dict()
    content = json.loads((tmp_path / "audit.json").read_text())
    assert content["threats"]["data"]["verdict"] == "none_found"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.html", "audit.json"]


def test_a_leak_about_people_stands_beside_the_verdict_about_copies(tmp_path):
    audit = audit_of()
    audit.principles[:] = [Principle("linkability", "leak_found", "Linked.", [])]
    write_audit(audit, tmp_path, provenance={})
    head = (tmp_path / "audit.html").read_text().split('id="answers"')[1].split("</section>")[0]
    assert "But:</b> linkability: leak found" in head


def test_no_power_is_never_shown_as_none_found(tmp_path):
    write_audit(audit_of("no_power"), tmp_path, provenance={})
    text = (tmp_path / "audit.html").read_text()
    assert text.count('<span class="badge unknown">No power</span>') >= 4
    assert 'class="badge none"' not in text


def test_the_private_appendix_comes_on_demand_and_says_so_on_its_face(tmp_path):
    pair = {"synthetic": 3, "real": 17, "subject": "<p1>", "similarity": 0.98}
    write_audit(audit_of(appendix=[pair]), tmp_path, provenance={})
    text, _ = read_page(tmp_path / "private-appendix.html")
    assert "must not be shared" in text.split("<table")[0]
    assert "&lt;p1&gt;" in text
    assert json.loads((tmp_path / "private-appendix.json").read_text())["pairs"] == [pair]
    for public in ("audit.html", "audit.json"):
        assert "p1" not in (tmp_path / public).read_text()


def test_a_comparison_names_a_leader_only_where_intervals_allow(tmp_path):
    near = scores_of([row(), row(group="spectral", z=0.2, z_low=-0.1, z_high=0.5)], fs=500.0)
    far = scores_of([row(z=0.5), row(group="spectral", **OFF)], fs=500.0)
    write_comparison({"A<1>": near, "B": far}, tmp_path)
    text, page = read_page(tmp_path / "compare.html")
    assert "A<1>" not in text
    assert text.count("a tie") == 1
    assert text.count("ahead: <b>A&lt;1&gt;</b>") == 1
    assert "different real sets" not in text
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content["names"] == ["A<1>", "B"]
    assert content["rows"][1]["sets"]["B"]["z"] == 2.0
    assert Scores.from_dict(content["sets"]["B"]).to_dict() == far.to_dict()
    assert [cells[-2:] for cells in page.cells if cells] == [["0.3", "0.5"], ["0.3", "2"]]


def test_a_comparison_across_real_sets_says_so(tmp_path):
    one, two = scores_of([row()], real_subjects=12), scores_of([row()], real_subjects=5)
    write_comparison({"one": one, "two": two}, tmp_path)
    assert "real subjects differ" in (tmp_path / "compare.html").read_text()
    with pytest.raises(InputError, match="2 to 8 sets"):
        write_comparison({"one": one}, tmp_path)
