"""What stands at the top of a page: when it was recorded, what was measured and, only if asked for, the patient's age
and sex."""

from __future__ import annotations

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording

_VALUES = (
    ("heart_rate_bpm", "", "bpm"),
    ("pr_ms", "PR", "ms"),
    ("qrs_ms", "QRS", "ms"),
    ("qt_ms", "QT", "ms"),
    ("qtc_bazett_ms", "QTc", "ms"),
)


def heading(recording: Recording, measurements: Measurements | None = None, *, person: bool = False) -> tuple[str, str]:
    """Two lines for `llava_ecg.ecg.render.draw_page`.

    Args:
        recording: says when it was recorded, and who by age and sex.
        measurements: for the second line; without them it is empty.
        person: whether age and sex are written.

    Returns:
        Date, age, sex, and that no filter is drawn; rate, PR, QRS, QT, QTc and axis, ``-`` for what could not be
        measured.
    """
    age, sex = recording.metadata.get("age"), recording.metadata.get("sex")
    first = [
        *([f"{recording.start:%Y-%m-%d %H:%M}"] if recording.start else []),
        *([f"{age:g} years"] if person and age is not None else []),
        *([str(sex)] if person and sex else []),
        f"{recording.rate:g} Hz, unfiltered",
    ]
    second = []
    if measurements is not None:
        for name, word, unit in _VALUES:
            value = getattr(measurements, name)
            second.append(f"{word} {'-' if value is None else f'{value:.0f}'} {unit}".strip())
        axis = measurements.axis_deg
        second.append(f"axis {'-' if axis is None else f'{axis:.0f}'} deg")
    return "   ".join(first), "   ".join(second)
