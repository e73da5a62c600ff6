"""An ECG on its own: read, filtered, measured, drawn. No torch in here."""

from __future__ import annotations

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.recording import Recording

__all__ = ["Recording", "read"]
