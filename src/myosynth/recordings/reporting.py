"""What a report on surface EMG must state: electrodes, skin, placement, amplifier, normalisation.

The vocabulary follows ISEK's standards for reporting EMG data (Merletti 1999, J Electromyogr
Kinesiol 9(1)), SENIAM (Hermens et al. 2000, doi 10.1016/S1050-6411(00)00027-4) and the CEDE
project's matrix of normalisation (Besomi et al. 2020, doi 10.1016/j.jelekin.2020.102438). Where
EMG-BIDS has a field, that field is written; the rest goes to ``EMGReporting`` in the same sidecar.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from myosynth.errors import InputError
from myosynth.recordings.recording import Recording

__all__ = [
    "CONFIGURATIONS",
    "NORMALISATIONS",
    "PLACEMENTS",
    "SHAPES",
    "ReportingItems",
    "reporting_items",
    "with_reporting",
]

CONFIGURATIONS = ("bipolar", "monopolar", "double_differential", "array")
"""How electrodes make a channel."""

SHAPES = ("circular", "rectangular", "bar")

PLACEMENTS = {
    "seniam": "by the SENIAM recommendation",
    "measured": "by measured distances from anatomical landmarks",
    "palpation": "by palpation",
    "visual": "by sight",
    "functional": "where a test contraction gave the strongest signal",
    "other": "as described",
}
"""How the site was found."""

NORMALISATIONS = {
    "mvc_task": "maximal voluntary contraction in the context of the task",
    "mvc_isometric": "standardised isometric maximal voluntary contraction",
    "submaximal": "standardised submaximal task",
    "task_peak": "peak or mean amplitude in the task itself",
    "none": "not normalised",
    "m_wave": "maximal M-wave",
}
"""The six approaches of the CEDE matrix."""

_OWN = "EMGReporting"
_BIDS = {
    "electrode_manufacturer": "ElectrodeManufacturer",
    "electrode_model": "ElectrodeManufacturersModelName",
    "electrode_material": "ElectrodeMaterial",
    "electrode_type": "ElectrodeType",
    "interelectrode_mm": "InterelectrodeDistance",
    "skin_preparation": "SkinPreparation",
    "ground": "EMGGround",
    "amplifier": "ManufacturersModelName",
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "configuration": CONFIGURATIONS,
    "electrode_shape": SHAPES,
    "placement": tuple(PLACEMENTS),
    "normalisation": tuple(NORMALISATIONS),
}
_RANGES = {
    "electrode_size_mm": (0.1, 100.0),
    "interelectrode_mm": (1.0, 200.0),
    "gain": (1e-3, 1e7),
    "input_impedance_mohm": (1e-3, 1e7),
    "cmrr_db": (20.0, 200.0),
    "noise_uv": (0.0, 1000.0),
    "hardware_low_hz": (0.0, 1000.0),
    "hardware_high_hz": (10.0, 100_000.0),
    "resolution_bits": (1.0, 64.0),
}
_REQUIRED = (
    "electrode_material",
    "electrode_shape",
    "electrode_size_mm",
    "interelectrode_mm",
    "configuration",
    "skin_preparation",
    "placement",
    "orientation",
    "ground",
    "amplifier",
    "hardware_low_hz",
    "hardware_high_hz",
    "resolution_bits",
    "normalisation",
)


@dataclass(frozen=True, kw_only=True)
class ReportingItems:
    """The reporting items of one recording; None or empty = not stated.

    Parameters
    ----------
    electrode_manufacturer, electrode_model : str
        Who made the electrodes.
    electrode_material : str
        Such as ``Ag/AgCl``.
    electrode_type : str
        Such as ``gel``, ``dry``.
    electrode_shape : {"circular", "rectangular", "bar"}
    electrode_size_mm : float
        Diameter, or length of the side along the fibres, mm (0.1–100).
    interelectrode_mm : float
        Distance between the centres of a pair, mm (1–200).
    configuration : one of `CONFIGURATIONS`
    skin_preparation : str
        Such as ``shaved, abraded, alcohol``.
    placement : one of `PLACEMENTS`
        How the site was found.
    placement_description : str
        Where it is, by landmarks.
    orientation : str
        Relative to the muscle fibres, such as ``along the fibres``.
    ground : str
        Place of the reference electrode.
    fixation : str
        How electrodes and cables were held.
    amplifier : str
        Model.
    gain : float
        V/V.
    input_impedance_mohm : float
        MΩ.
    cmrr_db : float
        Common-mode rejection, dB (20–200).
    noise_uv : float
        RMS, referred to the input, µV.
    hardware_low_hz, hardware_high_hz : float
        Band of the amplifier, Hz.
    resolution_bits : float
        Of the converter.
    normalisation : one of `NORMALISATIONS`
    normalisation_description : str
        Posture, number of trials, encouragement, how the reference value was taken.

    Raises
    ------
    InputError
        If a word is not in its vocabulary, or a number is out of its range.
    """

    electrode_manufacturer: str = ""
    electrode_model: str = ""
    electrode_material: str = ""
    electrode_type: str = ""
    electrode_shape: str = ""
    electrode_size_mm: float | None = None
    interelectrode_mm: float | None = None
    configuration: str = ""
    skin_preparation: str = ""
    placement: str = ""
    placement_description: str = ""
    orientation: str = ""
    ground: str = ""
    fixation: str = ""
    amplifier: str = ""
    gain: float | None = None
    input_impedance_mohm: float | None = None
    cmrr_db: float | None = None
    noise_uv: float | None = None
    hardware_low_hz: float | None = None
    hardware_high_hz: float | None = None
    resolution_bits: float | None = None
    normalisation: str = ""
    normalisation_description: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _RANGES:
                _check_number(each.name, value)
            elif not isinstance(value, str):
                raise InputError(f"{each.name} must be text, not {value!r}")
            elif value and value not in _CHOICES.get(each.name, (value,)):
                raise InputError(
                    f"{each.name} is one of {', '.join(_CHOICES[each.name])}, not {value!r}"
                )
        low, high = self.hardware_low_hz, self.hardware_high_hz
        if low is not None and high is not None and low >= high:
            raise InputError(
                f"hardware_low_hz must lie below hardware_high_hz, not {low} and {high}"
            )

    @property
    def missing(self) -> tuple[str, ...]:
        """The items that a report needs by ISEK's standards and that are not stated."""
        return tuple(name for name in _REQUIRED if getattr(self, name) in ("", None))

    def to_sidecar(self) -> dict[str, Any]:
        """Fields of an EMG-BIDS sidecar; what is not stated is left out."""
        stated = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) not in ("", None)
        }
        sidecar = {_BIDS[name]: stated.pop(name) for name in _BIDS if name in stated}
        if self.configuration == "bipolar":
            sidecar["EMGReference"] = "Bipolar"
        if self.placement:
            where = f": {self.placement_description}" if self.placement_description else ""
            sidecar["EMGPlacementScheme"] = "Other"
            sidecar["EMGPlacementSchemeDescription"] = PLACEMENTS[self.placement] + where
        band = {"low_hz": self.hardware_low_hz, "high_hz": self.hardware_high_hz}
        if any(value is not None for value in band.values()):
            sidecar["HardwareFilters"] = {
                "Amplifier": {key: value for key, value in band.items() if value is not None}
            }
        return {**sidecar, **({_OWN: stated} if stated else {})}

    @classmethod
    def from_dict(cls, items: Mapping[str, Any]) -> "ReportingItems":
        """The items of a mapping of name to value.

        Raises
        ------
        InputError
            If a name is unknown (the nearest is named), or a value is not what its item takes.
        """
        names = [each.name for each in fields(cls)]
        for name in items:
            if name not in names:
                near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)[0]
                raise InputError(f"there is no reporting item {name!r}; the nearest is {near!r}")
        return cls(**items)

    @classmethod
    def from_sidecar(cls, sidecar: Mapping[str, Any]) -> "ReportingItems":
        """Read the items back from a sidecar, this package's or another's.

        Raises
        ------
        InputError
            If a value is not what its item takes.
        """
        known = {each.name for each in fields(cls)}
        own = sidecar.get(_OWN, {})
        found = {name: value for name, value in dict(own).items() if name in known}
        for name, key in _BIDS.items():
            if sidecar.get(key) not in (None, "", "n/a"):
                found[name] = sidecar[key]
        if "configuration" not in found and sidecar.get("EMGReference") == "Bipolar":
            found["configuration"] = "bipolar"
        return cls(**found)


def _check_number(name: str, value: Any) -> None:
    if value is None:
        return
    low, high = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{name} must be a number of {low:g} to {high:g}, not {value!r}")


def with_reporting(recording: Recording, items: ReportingItems) -> Recording:
    """The recording with the items in ``metadata["sidecar"]``, where `write_bids` takes them."""
    kept = {k: v for k, v in recording.metadata.get("sidecar", {}).items() if k != _OWN}
    metadata = {**recording.metadata, "sidecar": {**kept, **items.to_sidecar()}}
    return recording.replace(metadata=metadata)


def reporting_items(recording: Recording) -> ReportingItems:
    """The items that a recording's sidecar states."""
    return ReportingItems.from_sidecar(recording.metadata.get("sidecar", {}))
