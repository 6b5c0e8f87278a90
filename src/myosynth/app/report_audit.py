"""The audit page: what the data and what the model give away, with the power of every verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from myosynth.app.report_pages import flattened, page, write_text
from myosynth.errors import InputError
from myosynth.evaluation.privacy import Attack, Audit, Canary, Threat
from myosynth.evaluation.scores import plain
from myosynth.storage import read_json, write_json

__all__ = ["APPENDIX", "read_audit", "write_audit"]

APPENDIX = "private-appendix"

THREATS = {
    "data": ("Releasing the synthetic data", "An attacker has the synthetic segments."),
    "model": ("Releasing the model", "An attacker has the trained model and can ask it anything."),
}
LEVELS = {
    "leak_found": ("unfit", "Leak found"),
    "none_found": ("none", "None found"),
    "no_power": ("unknown", "No power"),
    "not_tested": ("unknown", "Not tested"),
}
ATTACKS = {
    "stft": "Fingerprint of the spectrogram",
    "periodogram": "Fingerprint of the spectrum",
    "waveform": "Waveform correlation",
    "fingerprints": "The three fingerprints together",
    "envelope": "Fingerprint of the envelope",
    "subject_membership": "Was this person in the training set?",
    "linkage": "Linking with the attacker's own recordings",
    "attribute_inference": "Inferring an attribute of a person",
    "nearest_neighbour": "Nearest-neighbour share",
    "loss": "Was this segment in the training set? (loss)",
    "loss_subject": "Was this person in the training set? (loss)",
    "lira": "Was this segment in the training set? (shadow models)",
}
FIGURES = {
    "tpr": "found at 1 % false alarms",
    "auc": "AUC",
    "excess_mass": "excess mass on members",
    "gain": "gain of the attacker",
    "share": "share",
}
DISGUISES = {
    "noise": "with noise 15 dB below",
    "shift_flip_gain": "shifted, flipped, another gain",
    "new_phase": "same magnitudes, new phases",
}
PRINCIPLES = {
    "singling_out": "Singling out",
    "linkability": "Linkability",
    "inference": "Inference",
}


def write_audit(audit: Audit, out: str | Path, *, provenance: Mapping[str, Any]) -> None:
    """Write ``audit.html`` and ``audit.json`` into `out`; the private appendix where there is one.

    Parameters
    ----------
    audit : Audit
        From `audit`. With an appendix (only on demand), ``private-appendix.html`` and ``.json``
        are written too; neither may be shared, and both say so.
    out : path
        A folder; files of these names in it are replaced, each only once it is complete.
    provenance : mapping
        Whatever is known of the run.

    Raises
    ------
    InputError
        If `out` is a file.
    """
    out = Path(out)
    if out.is_file():
        raise InputError(f"{out} is a file; name a folder to write the audit to")
    text = page(
        "audit.html",
        title="Privacy audit of a synthetic EMG set",
        threats=[
            _threat_block(name, threat) | {"but": _contradicted(audit, name)}
            for name, threat in audit.threats.items()
        ],
        principles=[
            (PRINCIPLES.get(one.name, one.name), *LEVELS[one.verdict], one.meaning)
            for one in audit.principles
        ],
        findings=audit.findings,
        warnings=audit.warnings,
        copies=audit.copies_found,
        counts=flattened(plain(audit.counts)),
        provenance=flattened(plain(provenance)),
    )
    if audit.appendix is not None:
        _write_appendix(audit, out)
    write_json(out / "audit.json", audit.to_dict() | {"provenance": plain(provenance)})
    write_text(out / "audit.html", text)


def read_audit(path: str | Path) -> Audit:
    """An audit from an ``audit.json``, or from the folder that holds one.

    Raises
    ------
    FormatError
        If it is missing, damaged or of another schema.
    """
    path = Path(path)
    return Audit.from_dict(read_json(path / "audit.json" if path.is_dir() else path))


def _write_appendix(audit: Audit, out: Path) -> None:
    content = audit.appendix_to_dict()
    columns = list(dict.fromkeys(key for pair in content["pairs"] for key in pair))
    text = page("appendix.html", title="PRIVATE: do not share", columns=columns, **content)
    write_json(out / f"{APPENDIX}.json", content)
    write_text(out / f"{APPENDIX}.html", text)


def _threat_block(name: str, threat: Threat) -> dict[str, Any]:
    title, sees = THREATS.get(name, (name, ""))
    level, word = LEVELS[threat.verdict]
    return {
        "name": name,
        "title": title,
        "sees": sees,
        "level": level,
        "badge": _with_power(word, threat),
        "threat": threat,
        "attacks": [_attack_line(attack) for attack in threat.attacks],
        "canaries": _canary_table(threat.canaries),
    }


def _contradicted(audit: Audit, name: str) -> list[str]:
    """Risks with a leak that the verdict on the data, which speaks of copies, does not show."""
    if name != "data" or audit.threats[name].verdict == "leak_found":
        return []
    return [
        PRINCIPLES.get(one.name, one.name)
        for one in audit.principles
        if one.verdict == "leak_found"
    ]


def _with_power(word: str, threat: Threat) -> str:
    if threat.verdict != "none_found" or threat.power is None:
        return word
    return f"{word} at power {threat.power:.2f}"


def attack_label(name: str) -> str:
    """What an attack is called on a page."""
    whole, _, part = name.partition("_part_")
    label = ATTACKS.get(whole, whole.replace("_", " "))
    return f"{label}, part {part} of it" if part else label


def _attack_line(attack: Attack) -> dict[str, Any]:
    def at(value: float | None) -> float | None:
        return None if value is None else min(1.0, max(0.0, value))

    return {
        "attack": attack,
        "label": attack_label(attack.name),
        "figure": FIGURES.get(attack.figure, attack.figure),
        "dot": at(attack.value),
        "start": at(attack.low),
        "end": at(attack.high),
        "best": at(attack.best),
    }


def _canary_table(canaries: Sequence[Canary]) -> list[dict[str, Any]]:
    """One line per disguise and share, for the attacks together; each attack in `each`."""
    lines: dict[tuple[str, float], dict[str, Any]] = {}
    for canary in canaries:
        line = lines.setdefault(
            (canary.disguise, canary.share),
            {"disguise": DISGUISES.get(canary.disguise, canary.disguise), "share": canary.share,
             "together": None, "each": {}},
        )  # fmt: skip
        if canary.attack == "fingerprints":
            line["together"] = canary
        else:
            line["each"][attack_label(canary.attack)] = canary
    return list(lines.values())
