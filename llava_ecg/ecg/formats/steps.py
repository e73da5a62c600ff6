"""Voltages as whole steps of 16 bits, as most formats file them.

Axes: L leads, T samples.
"""

from __future__ import annotations

import numpy as np

MISSING = -32768
"""Stands for a sample that was not recorded, in WFDB and in the DICOM files that are written here."""
_STEP_UV = 1.0
_MOST = 32_767


def steps_of(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """16-bit steps, and how many microvolts one is.

    Args:
        signal: [L, T] in mV; NaN where nothing was recorded.

    Returns:
        int16 [L, T], `MISSING` where nothing was recorded; float64 [L] in uV: 1, or what a lead beyond 32 mV needs.
    """
    microvolts = signal.astype(np.float64) * 1000
    peaks = np.nanmax(np.abs(np.nan_to_num(microvolts)), axis=1)
    size = np.maximum(_STEP_UV, np.ceil(peaks / _MOST * 100) / 100)
    steps = np.rint(microvolts / size[:, None])
    return np.where(np.isnan(steps), MISSING, steps).astype(np.int16), size
