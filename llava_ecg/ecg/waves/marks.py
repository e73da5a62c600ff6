"""Waves marked by hand, as the Lobachevsky University Database (LUDB) has them: an annotation file a lead.

Axes: N waves, T samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llava_ecg.ecg.filters import bridge, highpass
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.formats.physionet import read_annotations
from llava_ecg.ecg.leads import STANDARD

NAMES = {"p": "p", "N": "qrs", "t": "t"}  # annotation symbol -> wave
FOLDS = 5

Waves = Mapping[str, np.ndarray]  # "p", "qrs", "t" -> [N, 3] onset, peak, end in s, in order


@dataclass(frozen=True, eq=False)
class Marked:
    """One record with its marks by hand.

    Attributes:
        name: of the record.
        signal: float64 [12, T] in mV at `rate` Hz in standard order, high-passed at 0.5 Hz.
        leads: a `Waves` a lead; `spans`: its first and last mark, s.
        rhythm: as its header calls it, in small letters, such as ``sinus rhythm``; empty where it does not.
    """

    name: str
    signal: np.ndarray
    rate: float
    leads: tuple[Waves, ...]
    spans: tuple[tuple[float, float], ...]
    rhythm: str = ""

    @property
    def p_unmarked(self) -> bool:
        """Whether no P is marked though the rhythm is a sinus rhythm: so it is in four paced records, whose P waves
        were left unmarked."""
        return "sinus" in self.rhythm and not any(len(lead["p"]) for lead in self.leads)


def record_names(folder: Path) -> list[str]:
    """The records of LUDB by number."""
    return sorted((path.stem for path in folder.glob("*.hea")), key=int)


def fold_of(names: Sequence[str]) -> dict[str, int]:
    """Record -> its fold, 0 to 4: its place, modulo 5, in the list that is shuffled with a fixed seed."""
    order = np.random.default_rng(2020).permutation(len(names))
    return {names[at]: place % FOLDS for place, at in enumerate(order)}


def waves_of(samples: Sequence[int], symbols: Sequence[str]) -> Iterator[tuple[str, int, int, int]]:
    """(symbol, onset, peak, end) of each wave of a lead's annotations.

    A wave is what stands up to its ``)``. LUDB writes an onset that falls on the peak just after it, or drops it: the
    peak is the onset. A wave without an end is left out.
    """
    peak = onset = None
    kind = ""
    for at, symbol in zip(samples, symbols, strict=True):
        if symbol == "(":
            onset = at
        elif symbol == ")":
            if kind and peak is not None:
                yield kind, min(peak, onset if onset is not None else peak), peak, at
            peak, onset, kind = None, None, ""
        else:
            peak, kind = at, symbol


def read_marked(path: Path) -> Marked:
    """One record of LUDB; ``path`` without suffix.

    Raises:
        InputError: a file is missing, or is no such record.
    """
    recording = read(path.with_suffix(".hea")).select(STANDARD)
    leads, spans = [], []
    for name in STANDARD:
        samples, symbols = read_annotations(path, name.lower())
        found: dict[str, list[tuple[float, float, float]]] = {wave: [] for wave in NAMES.values()}
        for kind, onset, peak, end in waves_of(samples, symbols):
            if kind in NAMES:
                found[NAMES[kind]].append((onset / recording.rate, peak / recording.rate, end / recording.rate))
        leads.append({wave: np.array(rows).reshape(-1, 3) for wave, rows in found.items()})
        spans.append((samples[0] / recording.rate, samples[-1] / recording.rate))
    signal = highpass(bridge(recording.signal).astype(np.float32), recording.rate)
    return Marked(
        path.name, np.asarray(signal, dtype=np.float64), recording.rate, tuple(leads), tuple(spans), _rhythm(path)
    )


def _rhythm(path: Path) -> str:
    """The rhythm that a comment of the header names."""
    text = path.with_suffix(".hea").read_text(encoding="utf-8", errors="replace")
    return next(
        (line.partition(":")[2].strip(" .").lower() for line in text.splitlines() if line.startswith("#Rhythm:")), ""
    )
