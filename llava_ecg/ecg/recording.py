"""`Recording`: an ECG as it was filed, with its unit, rate and lead names in the type.

Axes: L leads, T samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.given import check_recording as check_recording
from llava_ecg.errors import InputError

_NEARLY = 1e-4  # one sample in 10,000


@dataclass(frozen=True, eq=False)
class Recording:
    """An ECG.

    Attributes:
        signal: float32 [L, T] in millivolts; NaN where nothing was recorded.
        rate: samples a second, Hz.
        leads: L canonical lead names, in the order of the rows.
        derived: those of `leads` that were computed from I and II and not recorded.
        source: the file it was read from, as a path; empty for a made one.
        format: the name of the reader, such as ``wfdb``.
        start: when the recording began, where the file says so.
        metadata: what else the file says that is not about the patient's identity (``age`` in years as a float, ``sex``
            as ``male`` or ``female``, each only where it is known; codes, device, what it measured and stated, see
            `llava_ecg.ecg.formats.device`). `llava_ecg.ecg.person` types what readers find.
        notes: sentences about the reading that a user should see.
    """

    signal: np.ndarray
    rate: float
    leads: tuple[str, ...]
    derived: frozenset[str] = frozenset()
    source: str = ""
    format: str = ""
    start: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.signal.ndim != 2 or self.signal.shape[0] != len(self.leads):
            leads = f"{len(self.leads)} lead{'s'[: len(self.leads) != 1]}"
            raise InputError(f"a signal of shape {self.signal.shape} does not fit {leads}; it must be [lead, sample]")
        if len(set(self.leads)) != len(self.leads):
            raise InputError(f"lead names occur twice: {', '.join(self.leads)}")
        if not self.rate > 0:
            raise InputError(f"a sampling rate of {self.rate} Hz is impossible")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.signal.shape[1] / self.rate

    @property
    def missing(self) -> tuple[str, ...]:
        """The standard leads that are not here."""
        return tuple(name for name in lead_names.STANDARD if name not in self.leads)

    def lead(self, name: str) -> np.ndarray:
        """One lead, float32 [T] in mV.

        Raises:
            InputError: no such lead.
        """
        name = lead_names.canonical(name)
        if name not in self.leads:
            raise InputError(f"{self.source or 'the recording'} has no lead {name}; it has {', '.join(self.leads)}")
        return self.signal[self.leads.index(name)]

    def with_derived(self) -> Recording:
        """The same recording with every limb lead that I and II imply."""
        extra = lead_names.derive(self.signal, self.leads)
        if not extra:
            return self
        return replace(
            self,
            signal=np.concatenate([self.signal, np.stack(list(extra.values()))]).astype(np.float32),
            leads=self.leads + tuple(extra),
            derived=self.derived | frozenset(extra),
        )

    def select(self, names: Sequence[str] = lead_names.STANDARD) -> Recording:
        """The named leads in this order, limb leads derived where I and II imply them.

        Raises:
            InputError: a lead is neither recorded nor derivable.
        """
        whole = self.with_derived()
        absent = [name for name in names if name not in whole.leads]
        if absent:
            raise InputError(
                f"{self.source or 'the recording'} lacks {', '.join(absent)}; it has {', '.join(self.leads)}"
            )
        rows = [whole.leads.index(name) for name in names]
        return replace(whole, signal=whole.signal[rows], leads=tuple(names), derived=whole.derived & frozenset(names))

    def window(self, start: float, seconds: float) -> Recording:
        """The part from ``start`` s that is ``seconds`` long (shorter where the recording ends)."""
        first = max(0, round(start * self.rate))
        return replace(self, signal=self.signal[:, first : first + round(seconds * self.rate)])

    def resample(self, rate: float) -> Recording:
        """The same recording at another rate (polyphase; see `llava_ecg.ecg.filters.resample`).

        Of a rate within `_NEARLY` of the new one, such as 499.99 for 500 Hz, the nearest samples are taken: no filter
        can be made for so small a difference, and half a sample is the most that any of them is moved.
        """
        if rate == self.rate:
            return self
        if abs(rate / self.rate - 1) < _NEARLY and self.signal.shape[1]:
            length = round(self.signal.shape[1] * rate / self.rate)
            nearest = np.minimum(np.rint(np.arange(length) * (self.rate / rate)).astype(int), self.signal.shape[1] - 1)
            return replace(self, signal=self.signal[:, nearest], rate=float(rate))
        from llava_ecg.ecg.filters import resample

        return replace(self, signal=resample(self.signal, self.rate, rate), rate=float(rate))

    def _repr_html_(self) -> str:
        """As a notebook shows it: what was read, its page, and the remarks on it."""
        from llava_ecg.ecg.displayed import recording_html

        return recording_html(self)

    def _repr_png_(self) -> bytes | None:
        """The first page, for what shows no HTML; None where nothing can be drawn."""
        from llava_ecg.ecg.displayed import page_png

        return page_png(self)
