"""What others ask before they trust or publish a set: its privacy, its rivals, its card."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from myosynth.app.config import Overwrite, Progress, Seed, checked, taken
from myosynth.app.provenance import PROVENANCE, Provenance
from myosynth.errors import InputError

if TYPE_CHECKING:
    from myosynth.diffusion import Synthesizer
    from myosynth.diffusion.parametric import ParametricGenerator
    from myosynth.evaluation.privacy import Audit
    from myosynth.evaluation.privacy.model import ModelLoss
    from myosynth.recordings import SegmentSet

__all__ = ["audit", "card", "compare"]

_SHADOW_WIDTH = {"width": 64, "envelope_width": 32}
"""Shadow models are many: each is small."""


@checked
def audit(
    segments: Path,
    synthetic: Path,
    out: Path,
    *,
    model: Annotated[Path | None, Field(description="The generator, to attack it as well.")] = None,
    deep: Annotated[
        bool, Field(description="Train eight shadow models for the strongest attack (slow).")
    ] = False,
    shadow_steps: Annotated[int, Field(ge=2, description="Steps of each shadow model.")] = 300,
    private_appendix: Annotated[
        bool, Field(description="Keep the nearest pairs too; the appendix must not be shared.")
    ] = False,
    mapping: Annotated[
        str | None, Field(description="Mapping file, where SYNTHETIC is delimited text.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> "Audit":
    """Attack a synthetic set, and its model, and report what they give away.

    Parameters
    ----------
    segments : path
        What `prepare` wrote: the people to protect.
    synthetic : path
        Any set of segments.
    out : path
        The folder to write: audit.html, audit.json.

    Returns
    -------
    Audit
    """
    from myosynth.app.report import write_audit
    from myosynth.evaluation import privacy
    from myosynth.formats import read_segments
    from myosynth.recordings import SegmentSet
    from myosynth.storage import atomic_directory, write_json

    if deep and model is None:
        raise InputError("the shadow-model attack needs the model too; pass --model")
    generator = None if model is None else _generator(model)
    real = SegmentSet.open(segments)
    made = read_segments(synthetic, seconds=real.duration_s, mapping=mapping)
    report = on_progress or (lambda share, what: None)
    with atomic_directory(out, overwrite=overwrite) as folder:
        inputs = {"segments": segments, "synthetic": synthetic}
        recorded = Provenance(
            "audit",
            {"audit": taken(audit, locals())},
            inputs=inputs | ({"model": model} if model else {}),
            seed=seed,
        )
        found = privacy.audit(
            real,
            made,
            model_loss=generator.loss if generator else None,
            shadow=_shadows(generator, shadow_steps) if deep and generator else None,
            private_appendix=private_appendix,
            seed=seed,
            on_progress=lambda share, what: report(0.99 * share, what),
        )
        provenance = recorded.finished()
        write_audit(found, folder, provenance=provenance)
        write_json(folder / PROVENANCE, provenance)
    report(1.0, "done")
    return found


def _generator(folder: Path) -> "Synthesizer | ParametricGenerator":
    from myosynth.diffusion import Synthesizer
    from myosynth.diffusion.parametric import ParametricGenerator, is_parametric

    kind = ParametricGenerator if is_parametric(folder) else Synthesizer
    return kind.from_pretrained(folder)


def _shadows(
    model: "Synthesizer | ParametricGenerator", steps: int
) -> "Callable[[SegmentSet, int], ModelLoss]":
    """From (segments, seed) to the loss of a small model of the same kind trained on them."""

    def trained(segments: "SegmentSet", seed: int) -> "ModelLoss":
        from myosynth import diffusion
        from myosynth.diffusion.parametric import ParametricGenerator, fit_parametric

        if isinstance(model, ParametricGenerator):
            budget = {name: float(model.privacy[name]) for name in ("epsilon", "delta")}
            return fit_parametric(segments, seed=seed, **budget).loss
        own = model.config["settings"]
        small = {name: min(width, int(own[name])) for name, width in _SHADOW_WIDTH.items()}
        # of the same make, so that they give as many losses
        describes = bool(own["descriptors"]) and not own.get("private", False)
        settings = diffusion.TrainingSettings.from_dict(
            {**own, **small, "private": False, "descriptors": describes}
        )
        with tempfile.TemporaryDirectory() as folder:
            shadow = diffusion.train(
                segments, Path(folder) / "model", steps=steps, seed=seed, settings=settings
            )
        return shadow.loss

    return trained


@checked
def compare(
    reports: Sequence[Path],
    out: Path,
    *,
    name: Annotated[
        tuple[str, ...], Field(description="Name to show, once for each report in order.")
    ] = (),
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> list[str]:
    """Set the scores of several synthetic sets side by side.

    Parameters
    ----------
    reports : sequence of path
        Two to eight folders that `evaluate` wrote, or their scores.json.
    out : path
        The folder to write: compare.html, compare.json.

    Returns
    -------
    list of str
        The names shown.
    """
    from myosynth.app.report import read_scores, write_comparison
    from myosynth.storage import atomic_directory, write_json

    if name and len(name) != len(reports):
        raise InputError(f"{len(reports)} reports need {len(reports)} names, not {len(name)}")
    names = list(name) or _names(reports)
    if len(set(names)) < len(names):
        raise InputError(f"the names {', '.join(names)} are not unique; give other ones (--name)")
    recorded = Provenance(
        "compare",
        {"compare": taken(compare, locals())},
        inputs=dict(zip(names, reports, strict=True)),
    )
    with atomic_directory(out, overwrite=overwrite) as folder:
        scores = {each: read_scores(path) for each, path in zip(names, reports, strict=True)}
        write_comparison(scores, folder)
        write_json(folder / PROVENANCE, recorded.finished())
    return names


def _names(reports: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of the folders above as it takes to tell them apart."""
    folders = [path.parent if path.suffix == ".json" else path for path in map(Path, reports)]
    parts = [folder.absolute().parts for folder in folders]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [folder.name for folder in folders]  # the same folder twice


@checked
def card(
    path: Path,
    *,
    scores: Annotated[Path | None, Field(description="Folder that evaluate wrote.")] = None,
    audit: Annotated[Path | None, Field(description="Folder that audit wrote.")] = None,
    out: Annotated[
        Path | None, Field(description="Folder to write to; PATH, or one beside it, without it.")
    ] = None,
    name: Annotated[str | None, Field(description="Name to show; that of PATH without it.")] = None,
    license: Annotated[
        str, Field(description="SPDX identifier in lower case, such as cc-by-4.0.")
    ] = "other",
    author: Annotated[
        tuple[str, ...], Field(description="Who answers for it, once for each.")
    ] = (),
    url: Annotated[str, Field(description="Where it will be found.")] = "",
    overwrite: Overwrite = False,
    on_progress: Progress | None = None,
) -> list[Path]:
    """Write the card to publish beside a synthetic set or a model.

    Parameters
    ----------
    path : path
        A model folder, or any set of segments.

    Returns
    -------
    list of Path
        What was written.
    """
    from myosynth.app.cards import write_card

    return write_card(
        path,
        scores=scores,
        audit=audit,
        out=out,
        name=name,
        license=license,
        authors=author,
        url=url,
        overwrite=overwrite,
    )
