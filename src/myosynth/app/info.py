"""What a path holds: recordings, segments, a model, a training, a synthetic set, a report."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from myosynth.app.config import checked
from myosynth.app.provenance import read_provenance
from myosynth.errors import FormatError, InputError, MyosynthError

if TYPE_CHECKING:
    from myosynth.recordings import SegmentSet

__all__ = ["info"]

_MODEL_FILES = ("config.json", "model.safetensors")
_REPORTS = {
    "scores.json": "evaluation report",
    "audit.json": "privacy audit",
    "compare.json": "comparison",
    "check.json": "check of recordings",
}


_COUNTED = ("recordings", "subjects", "problems")


@checked
def info(
    path: Path,
    *,
    mapping: Annotated[
        str | None, Field(description="Mapping file for delimited text, or a shipped name.")
    ] = None,
) -> dict[str, Any]:
    """Tell what a path holds.

    Returns
    -------
    dict
        JSON-able; ``kind`` says what it is, the rest depends on it.

    Raises
    ------
    InputError
        If it does not exist.
    FormatError
        If it is nothing that this package knows, or is damaged.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    facts = _facts(path, mapping)
    made = read_provenance(path)
    if made:
        facts["made_by"] = {key: made[key] for key in ("command", "myosynth", "created", "seed")}
    return {"path": str(path), **facts}


def _facts(path: Path, mapping: str | None) -> dict[str, Any]:
    if mapping is None:
        if path.is_dir() and not any(path.iterdir()):
            raise InputError(f"{path} is an empty folder")
        if path.name.endswith(".training"):
            return _training(path)
        if any((path / name).is_file() for name in _MODEL_FILES):
            return _model(path)
        if (path / "segments" / "zarr.json").is_file():
            return {"kind": "demo", "holds": sorted(each.name for each in path.iterdir())}
        for name, kind in _REPORTS.items():
            if (path / name).is_file():
                return _report(path / name, kind)
        if _is_set(path):
            return _segments(path)
    try:
        return _recordings(path, mapping)
    except MyosynthError:
        if not path.is_dir() or mapping is not None:
            raise
        return _unread(path)


def _is_set(path: Path) -> bool:
    from myosynth.formats import is_set_file

    if path.is_file():
        return is_set_file(path)
    files = [each for each in path.glob("*") if is_set_file(each)]
    is_parquet = any((path / "data").glob("*.parquet"))
    return (path / "zarr.json").is_file() or is_parquet or len(files) == 1


def _segments(path: Path) -> dict[str, Any]:
    from myosynth.formats import read_segments

    segments = read_segments(path)
    record = read_provenance(path) or {}
    stored = (path / "zarr.json").is_file()
    kind = "segment set" if stored and record.get("command") != "generate" else "synthetic set"
    facts = {"kind": kind if stored or record else "set of segments", **_of_set(segments)}
    for key in ("duplicates", "filters", "warnings", "empty_recordings"):
        if segments.metadata.get(key):
            facts[key] = segments.metadata[key]
    return facts


def _of_set(segments: "SegmentSet") -> dict[str, Any]:
    by_task = Counter(segments.task.tolist())
    facts: dict[str, Any] = {
        "n_segments": len(segments),
        "seconds": segments.duration_s,
        "fs": segments.fs,
        "channels": list(segments.channel_names),
        "muscles": [muscle for muscle in segments.muscles if muscle],
        "tasks": {name: by_task[name] for name in segments.tasks},
        "n_subjects": len(set(segments.subjects) - {""}),
        "conditions": list(segments.columns),
    }
    if any(segments.split):
        facts["splits"] = [
            {
                "split": name,
                "segments": n,
                "subjects": sorted(set(segments.subject[segments.split == name].tolist())),
            }
            for name, n in Counter(segments.split.tolist()).most_common()
        ]
    return facts


def _model(path: Path) -> dict[str, Any]:
    from myosynth.diffusion import Synthesizer
    from myosynth.diffusion.parametric import ParametricGenerator, is_parametric

    if is_parametric(path):
        plain = ParametricGenerator.from_pretrained(path)
        return {
            "kind": "parametric model",
            "tasks": list(plain.tasks),
            "fs": plain.fs,
            "seconds": plain.seconds,
            "channels": list(plain.channel_names),
            "muscles": [muscle for muscle in plain.muscles if muscle],
            "privacy": {
                key: plain.privacy.get(key) for key in ("epsilon", "delta", "privacy_unit")
            },
            "config": plain.config,
        }
    model = Synthesizer.from_pretrained(path)
    described = model.config.get("description", {})
    settings = model.config.get("settings", {})
    return {
        "kind": "model",
        "tasks": list(model.tasks),
        "fs": model.fs,
        "seconds": model.seconds,
        "channels": list(model.channel_names),
        "muscles": [muscle for muscle in model.muscles if muscle],
        "conditions": ["task", "effort", *settings.get("conditions", [])],
        "trained_on": {
            key: value
            for key, value in described.get("facts", {}).items()
            if isinstance(value, int | float | str)
        },
        "networks": {key: settings[key] for key in ("stages", "backbone") if key in settings},
        "n_parameters": model.config.get("n_parameters"),
        "config": model.config,
    }


def _training(path: Path) -> dict[str, Any]:
    target = path.with_name(path.name.removesuffix(".training"))
    return {
        "kind": "training in progress",
        "resume_with": f"myosynth train SEGMENTS {target} --resume",
        "bytes": sum(each.stat().st_size for each in path.rglob("*") if each.is_file()),
    }


def _report(path: Path, kind: str) -> dict[str, Any]:
    from myosynth.storage import read_json

    content = read_json(path)
    if not isinstance(content, dict):
        raise FormatError(f"{path} is damaged; make it again")
    pages = sorted(each.name for each in path.parent.glob("*.html"))
    facts = {"kind": kind, "pages": pages, "findings": content.get("findings", [])}
    if "threats" in content:
        threats = content["threats"].items()
        return facts | {"verdicts": {name: threat.get("verdict") for name, threat in threats}}
    tasks = {row.get("task") for row in content.get("rows", [])} - {"all"}
    return facts | {"tasks": sorted(tasks), "n_rows": len(content.get("rows", []))}


def _unread(path: Path) -> dict[str, Any]:
    """What can be told of a folder whose files cannot all be read, and what they lack."""
    from myosynth.formats import questions, survey

    found = survey(path, check_duplicates=False)
    rows = [
        {
            "file": row.file,
            "kind": row.kind,
            "subject": row.subject,
            "task": row.task,
            "seconds": round(row.seconds, 3) if row.seconds else "",
            "fs": row.fs or "",
            "units": ", ".join(sorted(set(row.units))),
            "problems": "; ".join(row.problems),
        }
        for row in found.rows
    ]
    asked = [each.text for each in questions(found)] if not found.is_ready else []
    return {
        "kind": "files that do not say enough, or are damaged",
        **{f"n_{key}" if key in _COUNTED else key: n for key, n in found.totals.items()},
        "problems": list(found.problems),
        "to_answer": asked,
        "recordings": rows,
    }


def _recordings(path: Path, mapping: str | None) -> dict[str, Any]:
    from myosynth.formats import DuplicateFinder, read_recordings
    from myosynth.formats.bids import is_bids

    finder = DuplicateFinder()
    files: list[dict[str, Any]] = []
    synthetic = False
    for each in read_recordings(path, mapping=mapping):
        finder.add(each)
        synthetic |= bool(each.metadata.get("synthetic"))
        files.append(
            {
                "name": each.name,
                "tasks": list(each.tasks),
                "seconds": round(each.duration_s, 3),
                "fs": each.fs,
                "channels": list(each.channel_names),
                "subject": each.subject,
            }
        )
    kind = "synthetic set" if synthetic else "recordings"
    tasks = Counter(task for each in files for task in each["tasks"])
    return {
        "kind": f"{kind} (EMG-BIDS)" if path.is_dir() and is_bids(path) else kind,
        "n_recordings": len(files),
        "seconds": round(sum(each["seconds"] for each in files), 3),
        "n_subjects": len({each["subject"] for each in files}),
        "fs": sorted({each["fs"] for each in files}),
        "channels": sorted({name for each in files for name in each["channels"]}),
        "tasks": dict(sorted(tasks.items())),
        "duplicates": [list(pair) for pair in finder.pairs],
        "recordings": files,
    }
