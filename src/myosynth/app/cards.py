"""Cards to publish beside a synthetic set or a model: what it is for, its limits, its privacy."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from myosynth.app.provenance import (
    CARD_FILES,
    content_hash,
    provenance_file,
    read_provenance,
)
from myosynth.app.report import read_audit, read_scores, utility_of
from myosynth.app.report_audit import DISGUISES, FIGURES, LEVELS, PRINCIPLES, attack_label
from myosynth.app.report_pages import page, write_text
from myosynth.app.report_words import TITLES, summarise, task_verdicts
from myosynth.errors import InputError
from myosynth.evaluation.privacy import Audit
from myosynth.evaluation.scores import Finding, Scores
from myosynth.recordings import SegmentSet
from myosynth.storage import read_json, write_json

__all__ = ["write_card"]

_MODEL_FILES = ("config.json", "model.safetensors")
_NAMES_PEOPLE = ("real_duplicates",)
"""Findings that name subjects of the real set, which a card must not."""
_FORMATS = {
    ".npz": "application/x-npz",
    ".csv": "text/csv",
    ".edf": "application/edf",
    ".bdf": "application/bdf",
    ".json": "application/json",
    ".tsv": "text/tab-separated-values",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(
    path: str | Path,
    *,
    scores: Scores | str | Path | None = None,
    audit: Audit | str | Path | None = None,
    out: str | Path | None = None,
    name: str | None = None,
    license: str = "other",
    authors: Sequence[str] = (),
    url: str = "",
    overwrite: bool = False,
) -> list[Path]:
    """Write the card of a synthetic set (README.md and croissant.json) or a model (README.md).

    Parameters
    ----------
    path : path
        A model folder, or any set of segments.
    scores, audit : Scores and Audit, or paths, optional
        What was measured; the card says so where nothing was.
    out : path, optional
        The folder to write to. Without it the folder `path` itself, or ``<name>-card`` beside it
        where `path` is a file or an EMG-BIDS dataset.
    name : str, optional
        The name to show; that of `path` without it.
    license : str
        An SPDX identifier in lower case as Hugging Face lists them, or ``other``.
    authors : sequence of str
        Who answers for it.
    url : str
        Where it will be found.
    overwrite : bool
        Replace a card that is already there.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InputError
        If there is nothing at `path`, or a card is already there.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    is_model = any((path / each).is_file() for each in _MODEL_FILES)
    folder = Path(out) if out is not None else _beside(path)
    targets = [folder / each for each in (CARD_FILES[:1] if is_model else CARD_FILES)]
    for target in targets:
        if target.exists() and not overwrite:
            raise InputError(f"{target} already exists; name another folder or pass --overwrite")
    facts = _of_model(path) if is_model else _of_set(path)
    facts |= {
        "name": name or path.stem,
        "license": license,
        "authors": list(authors),
        "url": url,
        "made": _made(path),
        "private": _differential_privacy(read_provenance(path), facts.get("config")),
    }
    given = {"scorecard": (scores, "scores.json"), "audit": (audit, "audit.json")}
    facts["foreign"] = [
        what for what, (one, file) in given.items() if _is_foreign(path, is_model, one, file)
    ]
    facts |= _of_scores(_scores(scores)) | _of_audit(_audit(audit), is_model)
    written = page("card.md", front=_front_matter(facts, is_model), is_model=is_model, **facts)
    croissant = None if is_model else _croissant(path, facts)
    write_text(targets[0], written)
    if croissant is not None:
        write_json(targets[1], croissant)
    return targets


def _beside(path: Path) -> Path:
    loose = path.is_file() or (path / "dataset_description.json").is_file()
    return path.with_name(f"{path.stem}-card") if loose else path


def _scores(given: Scores | str | Path | None) -> Scores | None:
    return given if given is None or isinstance(given, Scores) else read_scores(given)


def _audit(given: Audit | str | Path | None) -> Audit | None:
    return given if given is None or isinstance(given, Audit) else read_audit(given)


def _is_foreign(path: Path, is_model: bool, given: Any, file: str) -> bool:
    """Whether figures were made of something else than `path`, as far as their record tells."""
    if not isinstance(given, str | Path):
        return False
    at = Path(given)
    content = read_json(at / file if at.is_dir() else at)
    inputs = (content.get("provenance") or {}).get("inputs") or []
    role = "model" if is_model else "synthetic"
    recorded = {one.get("sha256") for one in inputs if one.get("role") == role}
    if not recorded:
        return False
    here = [path, *(each for each in path.glob("*") if each.is_file() and each.suffix in _FORMATS)]
    return not any(content_hash(each) in recorded for each in here)


# ---- facts ----


def _of_set(path: Path) -> dict[str, Any]:
    from myosynth.formats import read_segments

    segments = read_segments(path)
    return {
        "tasks": {task: len(segments.rows(task=task)) for task in segments.tasks},
        "n_segments": len(segments),
        "people": _people(segments),
        "filters": [],
        "averages": False,
        "config": None,
        **_of_signals(segments.fs, segments.duration_s, segments.channel_names, segments.muscles),
    }


def _people(segments: SegmentSet) -> str:
    named = len(set(segments.subjects) - {""})
    return f"{named} named subjects" if named else "no subject is named"


def _of_model(path: Path) -> dict[str, Any]:
    from myosynth.diffusion import Synthesizer
    from myosynth.diffusion.parametric import ParametricGenerator, is_parametric

    model: Synthesizer | ParametricGenerator
    kind = ParametricGenerator if is_parametric(path) else Synthesizer
    model = kind.from_pretrained(path)
    learned = model.config.get("description", {}).get("facts", {})
    counts = learned.get("segments_by_task", {})
    people = learned.get("n_subjects")
    return {
        "tasks": {task: counts.get(task) for task in model.tasks},
        "n_segments": learned.get("n_segments"),
        "people": f"{people} people" if people else "an unknown number of people",
        "filters": [_filter_words(one) for one in learned.get("filters", [])],
        "averages": bool(model.config.get("n_groups")),
        "config": model.config,
        **_of_signals(model.fs, model.seconds, model.channel_names, model.muscles),
    }


def _filter_words(step: Mapping[str, Any]) -> str:
    details = [f"{key} {value}" for key, value in step.items() if key != "name"]
    return f"{step.get('name', 'filter')} ({', '.join(details)})"


def _of_signals(
    fs: float, seconds: float, names: Sequence[str], muscles: Sequence[str]
) -> dict[str, Any]:
    channels = [
        f"{name} ({muscle})" if muscle else name
        for name, muscle in zip(names, muscles, strict=True)
    ]
    return {"fs": fs, "seconds": seconds, "channels": channels}


def _made(path: Path) -> dict[str, Any]:
    """What is known of the run, without paths and machines: a card is published."""
    record = read_provenance(path)
    if record is None:
        return {}
    kept = {key: record.get(key) for key in ("command", "myosynth", "created", "seed")}
    kept["inputs"] = [
        {"role": each.get("role"), "sha256": each.get("sha256")} for each in record["inputs"]
    ]
    return kept


def _differential_privacy(*sources: Any) -> dict[str, Any]:
    """Epsilon, delta and unit, wherever a record or a configuration states them."""
    found: dict[str, Any] = {}
    waiting = [source for source in sources if source is not None]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, Mapping):
            for key, value in item.items():
                if key in ("epsilon", "delta", "privacy_unit") and value is not None:
                    found.setdefault(key, value)
            waiting += list(item.values())
        elif isinstance(item, list):
            waiting += item
    return found if "epsilon" in found else {}


def _of_scores(scores: Scores | None) -> dict[str, Any]:
    if scores is None:
        return {"verdicts": [], "summary": None, "findings": [], "real": {}, "useful": []}
    shown: list[Finding] = [
        finding
        for finding in scores.findings
        if finding.severity != "note" and finding.code not in _NAMES_PEOPLE
    ]
    return {
        "verdicts": task_verdicts(scores),
        "summary": summarise(scores),
        "findings": shown,
        "real": scores.provenance_counts,
        "useful": utility_of(scores)["sentences"],
    }


def _of_audit(audit: Audit | None, is_model: bool) -> dict[str, Any]:
    if audit is None:
        return {"threats": [], "warnings": [], "risks": []}
    wanted = ("data", "model") if is_model else ("data",)
    threats = []
    for name in wanted:
        threat = audit.threats[name]
        canaries = [one for one in threat.canaries if one.attack == "fingerprints"]
        threats.append(
            {
                "release": "the data" if name == "data" else "the model",
                "verdict": LEVELS[threat.verdict][1],
                "threat": threat,
                "canaries": [(DISGUISES.get(one.disguise, one.disguise), one) for one in canaries],
                "attacks": [
                    (attack_label(one.name), FIGURES.get(one.figure, one.figure), one)
                    for one in threat.attacks
                    if one.evidence and one.value is not None
                ],
            }
        )
    risks = [
        (PRINCIPLES.get(one.name, one.name), LEVELS[one.verdict][1]) for one in audit.principles
    ]
    return {"threats": threats, "warnings": audit.warnings, "risks": risks}


# ---- machine-readable parts ----


def _front_matter(facts: Mapping[str, Any], is_model: bool) -> str:
    import yaml

    front: dict[str, Any] = {"license": facts["license"]}
    tags = ["electromyography", "emg", "synthetic", "time-series", "biosignals", "ergonomics"]
    if is_model:
        front |= {"library_name": "myosynth", "tags": [*tags, "diffusion"]}
    else:
        n = facts["n_segments"]
        size = next((label for limit, label in _SIZES if n < limit), "n>1M")
        front |= {"pretty_name": facts["name"], "size_categories": [size], "tags": tags}
    text: str = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return text


def _croissant(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Croissant 1.0 with its responsible-AI fields.

    Source: the Croissant format specification 1.0, https://docs.mlcommons.org/croissant/.
    """
    record: dict[str, Any] = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts["name"],
        "citeAs": "Method after doi:10.1177/10711813241276462.",
        "description": (
            f"{facts['n_segments']} synthetic surface-EMG segments of {facts['seconds']:g} s at "
            f"{facts['fs']:.7g} Hz, in volts; tasks: {', '.join(facts['tasks'])}."
        ),
        "license": facts["license"],
        "keywords": ["electromyography", "synthetic", "ergonomics"],
        "creator": [{"@type": "sc:Person", "name": author} for author in facts["authors"]],
        "url": facts["url"],
        "datePublished": facts["made"].get("created"),
        "version": "1.0.0",
        "rai:dataCollection": "Drawn from a generative model; no segment was recorded.",
        "rai:dataUseCases": "Development, teaching and training data for EMG methods.",
        "rai:dataLimitations": _limitations(facts),
        "rai:personalSensitiveInformation": _privacy_sentence(facts),
        "distribution": _distribution(path),
        "recordSet": [_task_records(facts["tasks"])],
    }
    return {key: value for key, value in record.items() if value not in (None, "", [])}


def _limitations(facts: Mapping[str, Any]) -> str:
    if not facts["verdicts"]:
        return "Likeness to real recordings was not measured."
    levels = ", ".join(f"{one.task}: {TITLES[one.level].lower()}" for one in facts["verdicts"])
    return f"Likeness to real recordings by task: {levels}. Where not: {facts['summary'].weak}"


def _privacy_sentence(facts: Mapping[str, Any]) -> str:
    if not facts["threats"]:
        return "No privacy audit was made; treat the set as if it gave away the people behind it."
    one = facts["threats"][0]
    power = one["threat"].power
    stated = "power unknown" if power is None else f"power {power:.2f}"
    verdict = one["verdict"].lower()
    return f"Audit of the released data: {verdict} ({stated}). {one['threat'].meaning}"


def _distribution(path: Path) -> list[dict[str, Any]]:
    record = provenance_file(path).name
    aside = {record, *CARD_FILES}
    if path.is_file():
        files = [path]
    else:
        files = sorted(
            each for each in path.rglob("*") if each.is_file() and each.name not in aside
        )
    root = path.parent if path.is_file() else path
    return [
        {
            "@type": "cr:FileObject",
            "@id": each.relative_to(root).as_posix(),
            "name": each.name,
            "contentUrl": each.relative_to(root).as_posix(),
            "encodingFormat": _FORMATS.get(each.suffix.lower(), "application/octet-stream"),
            "sha256": _sha256(each),
        }
        for each in files
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest: str = hashlib.file_digest(file, "sha256").hexdigest()
    return digest


def _task_records(tasks: Mapping[str, int]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "tasks",
        "name": "tasks",
        "description": "The tasks and how many segments each has.",
        "field": [
            {"@type": "cr:Field", "@id": f"tasks/{name}", "name": name, "dataType": kind}
            for name, kind in (("task", "sc:Text"), ("segments", "sc:Integer"))
        ],
        "data": [{"tasks/task": task, "tasks/segments": count} for task, count in tasks.items()],
    }


def _context() -> dict[str, Any]:
    terms = (
        "citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
        "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
        "references", "regex", "repeated", "replace", "separator", "source", "subField",
        "transform",
    )  # fmt: skip
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        **{term: f"cr:{term}" for term in terms},
    }
