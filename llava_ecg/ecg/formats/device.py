"""What the device that recorded an ECG measured and stated itself, whatever the format, by our names: the metadata
``device_measurements`` (the fields of `Measurements`, in the unit that each name ends with, and ``qtc_ms`` where the
file does not say by which formula) and ``device_statements``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from llava_ecg.ecg.formats.statements import impersonal

NAMES = (
    "heart_rate_bpm",
    "rr_ms",
    "p_ms",
    "pr_ms",
    "qrs_ms",
    "qt_ms",
    "qtc_ms",
    "qtc_bazett_ms",
    "qtc_fridericia_ms",
    "qtc_framingham_ms",
    "qtc_hodges_ms",
    "axis_deg",
    "p_axis_deg",
    "t_axis_deg",
)
_PER_MINUTE = ("bpm", "/min", "1/min", "{beats}/min", "{beat}/min", "{h.b.}/min", "beats/min")
_UNITS = {
    "ms": {"ms": 1.0, "s": 1000.0, "us": 0.001},
    "bpm": dict.fromkeys(_PER_MINUTE, 1.0),
    "deg": {"deg": 1.0, "rad": 180.0 / math.pi},
}
# Beyond these no heart beats: 0 is what a device writes that measured nothing, 29999 what SCP-ECG prescribes for it.
_BOUNDS = {"ms": (1.0, 10_000.0), "bpm": (1.0, 600.0), "deg": (-360.0, 360.0)}


def converted(name: str, value: float, unit: str) -> float | None:
    """A value in the unit that our name of it ends with; None where its own is none of that kind, or not known."""
    factor = _UNITS[_unit_of(name)].get(unit.strip().lower())
    return None if factor is None else round(value * factor, 3)


def metadata(measured: Mapping[str, float | None], statements: Iterable[str]) -> dict[str, Any]:
    """The metadata, without a key for what the file has nothing of, and without what may name a person.

    Args:
        measured: values by our names, in the unit that the name ends with; None and what no heart does are left out.
        statements: of the device, in its order.
    """
    values = {
        name: float(value) for name in NAMES if (value := measured.get(name)) is not None and _can_be(name, value)
    }
    said = impersonal(statements)
    return ({"device_measurements": values} if values else {}) | ({"device_statements": said} if said else {})


def _can_be(name: str, value: float) -> bool:
    low, high = _BOUNDS[_unit_of(name)]
    return low <= value <= high


def _unit_of(name: str) -> str:
    return name.rpartition("_")[2]
