"""OpenSignals (PLUX) HDF5 files: counts of a converter, and what turns them into volts.

Source
------
biosignalsplux EMG sensor datasheet, transfer function EMG = (ADC / 2^n − 1/2) · VCC / G with
VCC = 3 V and G = 1000, as quoted in
http://notebooks.pluxbiosignals.com/notebooks/Categories/Pre-Process/unit_conversion_emg_rev.html;
the numbers of other PLUX devices from ``raw_to_phy`` of biosignalsnotebooks 0.6
(https://github.com/pluxbiosignals/biosignalsnotebooks).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from myosynth.errors import FormatError

__all__ = ["OpenSignalsChannel", "is_opensignals", "opensignals_channels", "transfer"]

_PLUX = ("bioplux", "bioplux_exp", "biosignalsplux", "rachimeter", "channeller", "swifter",
         "ddme_openbanplux")  # fmt: skip
_TRANSFER = {
    **dict.fromkeys(_PLUX, (3.0, 1000.0)),
    "bitalino": (3.3, 1008.0),
    **dict.fromkeys(("bitalino_rev", "bitalino_riot"), (3.3, 1009.0)),
}
"""By device: supply in volts and gain of its EMG sensor."""


@dataclass(frozen=True)
class OpenSignalsChannel:
    """A channel whose samples in volts are (count + offset) · gain, if the unit is V."""

    name: str
    array: str
    unit: str
    fs: float
    is_emg: bool
    offset: float = 0.0
    gain: float = 1.0


def is_opensignals(file: Any) -> bool:
    """Whether an open HDF5 file holds devices as OpenSignals writes them."""
    devices = list(file.values())
    return bool(devices) and all("sampling rate" in device.attrs for device in devices)


def opensignals_channels(path: Path, file: Any) -> list[OpenSignalsChannel]:
    """Every sensor of every device; those of type EMG in volts, by the device's transfer function.

    Raises
    ------
    FormatError
        If the file lacks what OpenSignals writes.
    """
    found: list[OpenSignalsChannel] = []
    several = len(file) > 1
    for device_name, device in file.items():
        kind = _text(device.attrs.get("device", ""))
        fs = float(np.ravel(device.attrs["sampling rate"])[0])
        ports = [int(port) for port in np.ravel(device.attrs["channels"])]
        bits = [int(n) for n in np.ravel(device.attrs["resolution"])]
        if len(bits) != len(ports):
            raise FormatError(f"{path} states {len(bits)} resolutions for {len(ports)} channels")
        for port, n in zip(ports, bits, strict=True):
            array = f"{device_name}/raw/channel_{port}"
            sensor = _text(file[array].attrs.get("sensor", ""))
            is_emg = "EMG" in sensor.upper()
            name = f"{kind} channel {port}" if several else f"channel {port}"
            unit, offset, gain = transfer(kind, n) if is_emg else (sensor, 0.0, 1.0)
            channel = OpenSignalsChannel(name, array, unit, fs, is_emg, offset, gain)
            found.append(channel)
    return found


def transfer(device: str, n_bits: int) -> tuple[str, float, float]:
    """Unit, offset and gain of a device's EMG sensor: (count + offset) · gain is in that unit.

    The unit is empty, and counts stay counts, where the device is not known.
    """
    if device not in _TRANSFER or not 1 <= n_bits <= 24:
        return "", 0.0, 1.0
    vcc, gain = _TRANSFER[device]
    # (ADC / 2^n − 1/2) · VCC / G
    return "V", -(2.0 ** (n_bits - 1)), vcc / gain / 2.0**n_bits


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
