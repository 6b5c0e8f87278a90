"""The audit as a whole, on people of known truth: what it must find and what it must not."""

import json
from zlib import crc32

import numpy as np
import pytest
from scipy.signal import lfilter

from myosynth.errors import FormatError, InputError, NotEnoughDataError
from myosynth.evaluation import Audit, audit
from myosynth.evaluation.privacy.canaries import DISGUISES
from myosynth.recordings import SegmentSet

FS, N_TIMES = 1000.0, 1500
TASKS = ("pull", "stoop")


def person(number, task, n, rng):
    """Noise in two channels whose gain, colour and rhythm are the person's own."""
    own = np.random.default_rng(number)
    gain, pole = np.exp(0.5 * own.standard_normal()), own.uniform(0.1, 0.8)
    rhythm, depth = own.uniform(0.7, 3), 0.8 if task == "pull" else 0.1
    white = rng.standard_normal((n, 2, N_TIMES))
    coloured = lfilter([1.0], [1.0, -pole], white, axis=-1)
    time = np.arange(N_TIMES) / FS
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    return 1e-4 * gain * coloured * (1 + depth * np.cos(2 * np.pi * rhythm * time + phase))


def cohort(numbers, split, seed, n=6, tasks=TASKS):
    rng = np.random.default_rng(seed)
    return SegmentSet.concatenate(
        SegmentSet(
            person(number, task, n, rng).astype(np.float32),
            FS,
            task,
            subject=f"p{number}",
            recording=f"p{number}-{task}-{split}",
            split=split,
            start_s=1.5 * np.arange(n),
        )
        for number in numbers
        for task in tasks
    )


def people(seed=0, n=6):
    return SegmentSet.concatenate(
        [
            cohort(range(10), "train", seed, n),
            cohort(range(10), "holdout", seed + 1, n),
            cohort(range(10, 16), "unseen", seed + 2, n),
        ]
    )


def nameless(segments):
    made = segments[:]
    made.subject = np.full(len(made), "")
    made.recording = np.full(len(made), "")
    made.split = np.full(len(made), "")
    return made


@pytest.fixture(scope="module")
def real():
    return people()


@pytest.fixture(scope="module")
def truth():
    """Another recording of the same people: nothing is copied."""
    return nameless(cohort(range(10), "", 3))


def planted(truth, real, rows, disguise, split="train"):
    """`truth` with its first segments replaced by disguised ones of `real`."""
    made = truth[:]
    signals = made.read().copy()
    taken = real.rows(split=split)[rows]
    hide = DISGUISES[disguise]
    signals[: len(rows)] = hide(real.read(taken).astype(float), FS, np.random.default_rng(9))
    made.signals = signals
    return made, taken


@pytest.fixture(scope="module")
def audit_of_truth(real, truth):
    return audit(real, truth, n_jobs=1)


def codes(result):
    return {finding.code for finding in result.findings}


# ---- data: what must be found, what must not ----


def test_truth_is_not_accused_and_every_canary_is_found(audit_of_truth):
    data = audit_of_truth.threats["data"]
    assert data.verdict == "none_found"
    assert data.copies_found == audit_of_truth.copies_found == 0
    assert data.power >= 0.95
    together = [c for c in data.canaries if c.attack == "fingerprints"]
    assert {(c.disguise, c.share) for c in together} == {
        (disguise, share) for disguise in DISGUISES for share in (0.01, 0.05, 0.1)
    }
    for canary in together:
        if canary.share >= 0.05:
            assert canary.tpr >= 0.95
            assert canary.detected
            assert canary.low <= canary.tpr <= canary.high
    # each attack is blind to something
    blind = {c.attack: c.tpr for c in data.canaries if c.share == 0.1 and c.disguise == "new_phase"}
    assert blind["waveform"] < 0.5 < blind["stft"]
    assert audit_of_truth.threats["model"].verdict == "not_tested"
    assert not {"copies", "identical", "holdout_copies"} & codes(audit_of_truth)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_six_disguised_copies_are_found_counted_and_named(real, truth, disguise):
    rows = np.array([0, 17, 40, 63, 90, 110])
    made, taken = planted(truth, real, rows, disguise)
    result = audit(real, made, n_jobs=1, private_appendix=True)
    data = result.threats["data"]
    assert data.verdict == "leak_found"
    assert data.copies_found == 6
    assert "6 of 120" in data.meaning
    assert "copies" in codes(result)
    found = {(pair["synthetic"], pair["real"]) for pair in result.appendix if pair["copy"]}
    assert found == set(zip(range(6), taken.tolist(), strict=True))
    assert result.principles[0].verdict == "leak_found"


@pytest.mark.slow
def test_copies_of_the_holdout_are_named_apart(real, truth):
    made, _ = planted(truth, real, np.arange(0, 60, 5), "noise", split="holdout")
    result = audit(real, made, n_jobs=1)
    assert result.threats["data"].verdict == "leak_found"
    assert result.copies_found == 0
    (finding,) = [f for f in result.findings if f.code == "holdout_copies"]
    assert "12 of 120" in finding.text


@pytest.mark.slow
def test_a_set_that_copies_nothing_but_the_holdout_is_caught(real):
    holdout = nameless(real.where(split="holdout"))
    holdout.signals = 1.3 * holdout.read()
    result = audit(real, holdout, n_jobs=1)
    assert result.threats["data"].verdict == "leak_found"
    assert "120 of 120" in next(f.text for f in result.findings if f.code == "holdout_copies")


@pytest.mark.parametrize(
    "split", ["holdout", *(pytest.param(s, marks=pytest.mark.slow) for s in ("train", "unseen"))]
)
def test_real_files_handed_in_as_synthetic_are_named(real, split):
    result = audit(real, nameless(real.where(split=split)), n_jobs=1)
    assert result.threats["data"].verdict == "leak_found"
    finding = next(f for f in result.findings if f.code == "identical")
    assert "byte by byte" in finding.text
    assert result.findings[0].severity == "error"


@pytest.mark.slow
def test_sets_without_copies_are_hardly_ever_accused():
    accused = 0
    for repeat in range(40):
        real = people(100 + 10 * repeat, n=4)
        made = nameless(cohort(range(10), "", 105 + 10 * repeat, n=4))
        accused += audit(real, made, seed=repeat, n_jobs=1).threats["data"].verdict == "leak_found"
    assert accused <= 2


# ---- people ----


def test_people_who_took_part_are_recognised_and_strangers_are_not(real, truth, audit_of_truth):
    data = audit_of_truth.threats["data"]
    member, linked = data.attack("subject_membership"), data.attack("linkage")
    assert member.value > 0.7
    assert member.p < 0.05
    assert linked.value > 0.2
    assert linked.p < 0.05
    assert audit_of_truth.principles[1].verdict == "leak_found"
    assert "took part" in next(f.text for f in audit_of_truth.findings if f.code == "linkability")
    strangers = nameless(cohort(range(20, 40), "", 4, n=3))
    data = audit(real, strangers, n_jobs=1).threats["data"]
    assert data.attack("subject_membership").p > 0.05
    assert abs(data.attack("linkage").value) < 0.2
    assert data.verdict == "none_found"


def test_copies_give_properties_away_and_truth_does_not(real, audit_of_truth):
    honest = audit_of_truth.threats["data"].attack("attribute_inference")
    assert honest.low < 0 < honest.high
    assert honest.p > 0.05
    train = nameless(real.where(split="train"))
    train.signals = 1.001 * train.read()
    leaky = audit(real, train, n_jobs=1).threats["data"].attack("attribute_inference")
    assert leaky.value > 0.3
    assert leaky.low > 0
    share = audit_of_truth.threats["data"].attack("nearest_neighbour")
    assert not share.evidence
    assert 0.3 < share.value < 0.7


# ---- the model ----


def remembering(real, rows, advantage, seed=0):
    """A model whose loss follows the level of a segment and is lower where it remembers it."""
    known = {signal.tobytes() for signal in real.read(rows)}

    def loss(segments):
        signals = segments.read()
        level = np.log(np.sqrt(np.mean(np.square(signals, dtype=float), axis=(1, 2))))
        chance = [np.random.default_rng([seed, crc32(s.tobytes())]) for s in signals]
        noise = np.stack([0.1 * one.standard_normal(3) for one in chance])
        seen = np.array([signal.tobytes() in known for signal in signals])
        return np.exp(0.5 * level[:, None] + noise - advantage * seen[:, None])

    return loss


def test_a_model_that_remembers_is_caught(real, truth):
    loss = remembering(real, real.rows(split="train"), 0.3)
    model = audit(real, truth, model_loss=loss, n_jobs=1).threats["model"]
    assert model.verdict == "leak_found"
    assert model.attack("loss").auc > 0.9
    assert model.attack("loss").value > 0.3
    assert model.attack("loss").p <= 0.01
    assert {"loss_part_0", "loss_part_2", "loss_subject"} <= {a.name for a in model.attacks}


def test_a_model_that_remembers_nothing_is_not_accused(real, truth):
    model = audit(real, truth, model_loss=remembering(real, [], 0), n_jobs=1).threats["model"]
    assert model.verdict == "none_found"
    assert abs(model.attack("loss").auc - 0.5) < 0.1
    assert 0.5 < model.power <= 0.6
    assert f"{model.power:.0%}" in model.meaning


def test_loud_holdout_alone_is_no_leak(real, truth):
    """Its loss is higher because its level is; the calibration takes that away."""
    louder = real[:]
    signals = louder.read().copy()
    signals[louder.split == "holdout"] *= 1.1
    louder.signals = signals
    model = audit(louder, truth, model_loss=remembering(louder, [], 0), n_jobs=1).threats["model"]
    assert model.verdict != "leak_found"


def test_few_segments_have_no_power_against_a_model(real, truth):
    few = real[np.r_[real.rows(split="train"), real.rows(split="holdout")[::4]]]
    model = audit(few, truth, model_loss=remembering(few, [], 0), n_jobs=1).threats["model"]
    assert model.verdict == "no_power"
    assert "would not be noticed" in model.meaning


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda segments: np.ones(len(segments)), "n_segments, n_parts"),
        (lambda segments: np.full((len(segments), 2), np.nan), "NaN"),
        (lambda segments: -np.ones((len(segments), 2)), "negative"),
    ],
)
def test_losses_that_are_none_are_refused(real, truth, loss, said):
    with pytest.raises(InputError, match=said):
        audit(real, truth, model_loss=loss, n_jobs=1)


@pytest.mark.slow
def test_shadow_models_find_what_one_threshold_misses(real, truth):
    """Each segment has its own difficulty, which only models without it reveal."""

    def fitted(known_rows, source, seed):
        known = {signal.tobytes() for signal in source.read(known_rows)}

        def loss(segments):
            signals = segments.read()
            own = [np.random.default_rng(crc32(s.tobytes())) for s in signals]
            hard = np.stack([one.standard_normal(2) for one in own])
            run = np.random.default_rng(seed).standard_normal(hard.shape) * 0.1
            seen = np.array([signal.tobytes() in known for signal in signals])
            return np.exp(hard + run - 0.3 * seen[:, None])

        return loss

    asked = []

    def shadow(segments, seed):
        asked.append(len(segments))
        assert set(segments.split) == {"train"}
        return fitted(np.arange(len(segments)), segments, seed)

    target = fitted(real.rows(split="train"), real, 99)
    model = audit(real, truth, model_loss=target, shadow=shadow, n_jobs=1).threats["model"]
    assert model.verdict == "leak_found"
    assert model.attack("lira").auc > 0.9 > 0.75 > model.attack("loss").auc
    assert len(asked) == 8
    assert all(60 <= n <= 180 for n in asked)
    assert "own shadow models" in model.power_meaning
    honest = fitted([], real, 99)
    model = audit(real, truth, model_loss=honest, shadow=shadow, n_jobs=1).threats["model"]
    assert abs(model.attack("lira").auc - 0.5) < 0.1
    assert model.verdict != "leak_found"
    with pytest.raises(InputError, match="needs the model"):
        audit(real, truth, shadow=shadow)


@pytest.mark.slow
def test_shadow_models_of_another_build_are_refused(real, truth):
    def losses(n):
        return lambda segments: np.ones((len(segments), n))

    with pytest.raises(InputError, match="built like the model"):
        audit(real, truth, model_loss=losses(6), shadow=lambda *_: losses(3), n_jobs=1)


# ---- what is handed back ----


def test_an_audit_survives_json_and_never_says_more_than_it_knows(real, truth, audit_of_truth):
    text = json.dumps(audit_of_truth.to_dict(), allow_nan=False)
    again = Audit.from_dict(json.loads(text))
    assert again.to_dict() == audit_of_truth.to_dict()
    content = json.loads(text)
    assert content["schema"] == "myosynth-audit/1"
    assert content["copies_found"] == 0
    assert content["threats"]["data"]["verdict"] == "none_found"
    assert "anonym" not in text.lower()
    assert "compliant" not in text.lower()
    assert audit_of_truth.appendix is None
    with pytest.raises(FormatError, match="schema"):
        Audit.from_dict({"schema": "other"})
    with pytest.raises(FormatError, match="damaged"):
        Audit.from_dict({**content, "threats": {"data": {"verdict": "fine"}}})


def test_the_appendix_comes_on_demand_and_warns_on_its_face(real, truth):
    result = audit(real, truth, n_jobs=1, private_appendix=True)
    assert len(result.appendix) == 20
    assert not any(pair["copy"] for pair in result.appendix)
    pair = result.appendix[0]
    assert real.subject[pair["real"]] == pair["subject"]
    assert real.split[pair["real"]] == "train"
    assert 0 < pair["similarity"] < 0.5
    assert "must not be shared" in result.appendix_to_dict()["warning"]
    assert "p0" not in json.dumps(result.to_dict())


@pytest.mark.slow
def test_same_seed_same_audit_and_progress_ends_at_one(real, truth, audit_of_truth):
    shares = []
    again = audit(real, truth, n_jobs=2, on_progress=lambda share, what: shares.append(share))
    assert again.to_dict() == audit_of_truth.to_dict()
    assert shares == sorted(shares)
    assert shares[-1] == 1


# ---- bad input ----


def changed(segments, signals=None, **columns):
    result = segments[:]
    if signals is not None:
        result.signals = np.asarray(signals, dtype=np.float32)
    for name, values in columns.items():
        setattr(result, name, values)
    return result


def test_what_cannot_be_audited_is_refused(real, truth):
    with pytest.raises(NotEnoughDataError, match="no holdout"):
        audit(real.where(split="train"), truth)
    with pytest.raises(NotEnoughDataError, match="no segments"):
        audit(real, truth[:0])
    with pytest.raises(InputError, match="sampling rates"):
        audit(real, SegmentSet(truth.read(), 2000.0, truth.task))
    with pytest.raises(InputError, match="channels"):
        audit(real, SegmentSet(truth.read()[:, :1], FS, truth.task))
    with pytest.raises(InputError, match="lengths"):
        audit(real, SegmentSet(truth.read()[..., :1000], FS, truth.task))
    broken = real.read().copy()
    broken[real.split == "holdout", 0, 0] = np.nan
    with pytest.raises(NotEnoughDataError, match="NaN"):
        audit(changed(real, broken), truth)


def test_two_names_for_one_recording_come_first(real, truth):
    signals = real.read().copy()
    signals[real.subject == "p11"] = 1.2 * signals[real.subject == "p10"]
    result = audit(changed(real, signals), truth, n_jobs=1)
    assert result.findings[0].code == "real_duplicates"
    assert "p10 and p11 share 12 segments" in result.findings[0].text
    assert result.warnings[0] == result.findings[0].text


def test_a_holdout_that_is_none_is_left_out(real, truth):
    copied = real.read().copy()
    copied[real.rows(split="holdout")[:30]] = copied[real.rows(split="train")[:30]]
    result = audit(changed(real, copied), truth, n_jobs=1)
    assert result.counts["used"]["holdout"]["segments"] == 90
    assert "30 holdout segments" in next(w for w in result.warnings if "left out" in w)
    names = np.array([name.replace("holdout", "train") for name in real.recording])
    shifted = real.start_s + 0.5 * (real.split == "holdout")
    with pytest.raises(NotEnoughDataError, match="overlaps"):
        audit(changed(real, recording=names, start_s=shifted), truth)


def test_few_people_one_task_and_no_strangers_weaken_every_verdict(real, truth):
    rows = np.flatnonzero(np.isin(real.subject, ["p0", "p1"]) & (real.task == "pull"))
    result = audit(real[rows], truth, n_jobs=1)
    assert result.threats["data"].verdict == "no_power"
    said = " ".join(result.warnings)
    for words in ("Only 2 real subjects", "no other subjects", "12 holdout", "12 train"):
        assert words in said
    assert result.principles[1].verdict == "not_tested"
    one = audit(real[real.subject == "p0"], truth, n_jobs=1)
    assert "Only 1 real subject:" in " ".join(one.warnings)


def test_broken_segments_are_counted_and_the_rest_is_attacked(real, truth):
    signals = truth.read().copy()
    signals[3, 0, 5] = np.nan
    signals[10] = 2e-3
    signals[11] = 0
    task = truth.task.copy()
    task[:3] = "squat"
    result = audit(real, changed(truth, signals, task=task), n_jobs=1)
    assert result.threats["data"].verdict == "none_found"
    said = " ".join(result.warnings)
    assert "1 synthetic segments hold NaN" in said
    assert "2 synthetic segments have a channel that never changes" in said
    assert result.counts["synthetic_searched"] == 119


@pytest.mark.slow
def test_units_are_named_and_copies_are_found_all_the_same(real, truth):
    made, _ = planted(truth, real, np.arange(10), "noise")
    result = audit(real, changed(made, 1e6 * made.read()), n_jobs=1)
    assert "1,000,000 times larger" in next(f.text for f in result.findings if f.code == "unit")
    assert result.copies_found == 10


@pytest.mark.slow
def test_silence_everywhere_is_no_crash(real, truth):
    result = audit(changed(real, 0 * real.read()), changed(truth, 0 * truth.read()), n_jobs=1)
    assert result.threats["data"].verdict != "none_found"
