"""What a user should know about a signal before trusting what is measured on it: flat, clipped, noisy, missing leads,
gaps, length.

Everything is read and noted, nothing is refused here. The thresholds are in the constants, with what they were set on.

Axes: L leads, T samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg import limbs

if TYPE_CHECKING:
    from llava_ecg.ecg.recording import Recording

FLAT_MV = 0.010  # a whole lead that moves less than this shows no beat; 0.1 mm on paper
FLAT_SECONDS = (
    1.0  # of one and the same value: longer than any pause between waves of a living lead that still carries noise
)
CLIP_SECONDS = 0.020  # at the very same extreme, again and again: a peak of a QRS stays there for a sample or two
CLIP_MV = 1.0  # a rail lies far out; small extremes repeat by quantisation
CLIP_TIMES = 2
NOISE_MV = 0.05  # robust SD of what changes within 20 ms; half a small square of paper
# from the lowest to the highest sample; the largest true lead of LUDB and CinC 2021 covers 10.6, loose electrodes up to
# 170
SWING_MV = 12.0
# how far the mean over a second moves: of LUDB, CinC 2021 and the acceptable ones of CinC 2011 6 of 299 recordings hold
# a lead that goes farther; below, the 0.5 Hz high-pass leaves ST as it was
DRIFT_MV = 2.0
STANDARD_SECONDS = 10.0
_COMPARED = {"nan", "drifting", "noisy"}  # a limb lead of which this is said is still compared with the others


@dataclass(frozen=True)
class QualityNote:
    """One remark.

    Attributes:
        lead: the lead that it is about; None for the whole recording.
        kind: ``flat``, ``partly flat``, ``empty`` (no value at all), ``clipped``, ``nan`` (gaps), ``noisy``,
            ``drifting``, ``missing``, ``derived``, ``unknown`` (names that are no leads), ``limbs`` (limb leads that
            don't fit each other) or ``short``.
        text: the remark as part of a sentence, such as ``lead V2 is flat``.
    """

    lead: str | None
    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def quality(recording: Recording) -> tuple[QualityNote, ...]:
    """The remarks on a recording, on the whole first, then lead by lead; empty where there is nothing to say."""
    notes = []
    if recording.missing:
        notes.append(QualityNote(None, "missing", f"{_list(recording.missing)} missing"))
    if recording.derived:
        names = ", ".join(name for name in recording.leads if name in recording.derived)
        notes.append(QualityNote(None, "derived", f"{names} derived from I and II"))
    if recording.duration < STANDARD_SECONDS - 0.05:
        text = (
            f"the recording is {recording.duration:.3g} s long, shorter than the {STANDARD_SECONDS:g} s of a "
            "standard ECG"
        )
        notes.append(QualityNote(None, "short", text))
    unknown = [name for name in recording.leads if not lead_names.is_known(name)]
    if unknown:
        text = f"{_list(unknown)} not known by name: what needs named leads goes by the others"
        notes.append(QualityNote(None, "unknown", text))
    of_leads = [
        note
        for name, row in zip(recording.leads, recording.signal, strict=True)
        for note in lead_quality(name, row, recording.rate)
    ]
    wrong = {note.kind for note in of_leads if note.lead in limbs.LIMBS}
    if wrong <= _COMPARED:
        text = limbs.limb_note(recording.signal, recording.leads, recording.rate, troubled=bool(wrong - {"nan"}))
        notes += [QualityNote(None, "limbs", text)] if text else []
    return (*notes, *of_leads)


def lead_quality(name: str, signal: np.ndarray, rate: float) -> list[QualityNote]:
    """The remarks on one lead.

    Args:
        signal: [T] in mV, NaN where nothing was recorded.
        rate: Hz.
    """
    there = np.isfinite(signal)
    if not there.any():
        return [QualityNote(name, "empty", f"lead {name} holds no values")]
    notes = []
    if not there.all():
        text = f"lead {name} has gaps: {(~there).sum() / rate:.2g} of {signal.size / rate:.3g} s hold no values"
        notes.append(QualityNote(name, "nan", text))
    recorded = signal[there].astype(np.float64)
    if np.ptp(recorded) < FLAT_MV:
        return [*notes, QualityNote(name, "flat", f"lead {name} is flat")]
    stays = _runs(np.diff(recorded) == 0)
    flat = stays[stays >= FLAT_SECONDS * rate].sum() / rate
    if flat:
        notes.append(
            QualityNote(name, "partly flat", f"lead {name} is flat for {flat:.2g} of {signal.size / rate:.3g} s")
        )
    if _is_clipped(recorded, rate):
        notes.append(
            QualityNote(name, "clipped", f"lead {name} is clipped at {recorded.max():.2f} or {recorded.min():.2f} mV")
        )
    noise = noise_mv(recorded, rate)
    swing = float(np.ptp(recorded))
    if noise > NOISE_MV or swing > SWING_MV:
        how = f"noise of {noise:.2f} mV" if noise > NOISE_MV else f"swings over {swing:.3g} mV"
        notes.append(QualityNote(name, "noisy", f"lead {name} is noisy ({how})"))
    wander = drift_mv(recorded, rate)
    if wander > DRIFT_MV and swing <= SWING_MV:
        notes.append(QualityNote(name, "drifting", f"lead {name} drifts: its baseline moves by {wander:.1f} mV"))
    return notes


def drift_mv(signal: np.ndarray, rate: float) -> float:
    """How far a lead's baseline moves, lowest to highest mean over one second, in mV; 0 for less than two seconds.

    Args:
        signal: finite [T] in mV.
        rate: Hz.
    """
    width = max(1, round(rate))
    if signal.size < 2 * width:
        return 0.0
    total = np.cumsum(np.concatenate([[0.0], signal]))
    return float(np.ptp(total[width:] - total[:-width])) / width


def noise_mv(signal: np.ndarray, rate: float) -> float:
    """The robust standard deviation (1.4826 x MAD) of a lead about its mean over 20 ms, which spans a period of 50 Hz,
    in mV.

    The QRS takes a tenth of the time and does not move the MAD.

    Args:
        signal: finite [T] in mV.
        rate: Hz.
    """
    width = max(3, round(0.020 * rate) | 1)
    if signal.size <= width:
        return 0.0
    smooth = np.convolve(signal, np.full(width, 1 / width), mode="valid")
    rest = signal[width // 2 : width // 2 + smooth.size] - smooth
    return float(1.4826 * np.median(np.abs(rest - np.median(rest))))


def describe_quality(notes: Iterable[QualityNote]) -> str:
    """The remarks on one line, leads with the same fault together: ``leads V1, V2 flat; V6 missing``; ``good`` without
    any."""
    notes = list(notes)
    whole = [note.text for note in notes if note.lead is None]
    kinds = dict.fromkeys(note.kind for note in notes if note.lead is not None)
    words = {"nan": "with gaps", "empty": "without values"}
    by_kind = [
        f"{_list([n.lead for n in notes if n.lead and n.kind == kind], verb=False)} {words.get(kind, kind)}"
        for kind in kinds
    ]
    return "; ".join(whole + by_kind) or "good"


def _list(names: Sequence[str], verb: bool = True) -> str:
    """``lead V2 is``, ``leads I, V1-V6 are``: three and more in standard order are a range."""
    order = {name: place for place, name in enumerate(lead_names.STANDARD)}
    groups: list[list[str]] = []
    for name in names:
        follows = groups and name.startswith("V") and order.get(name, -9) == order.get(groups[-1][-1], -9) + 1
        if follows and groups[-1][0].startswith("V"):
            groups[-1].append(name)
        else:
            groups.append([name])
    parts = [part for group in groups for part in ([f"{group[0]}-{group[-1]}"] if len(group) > 2 else group)]
    many = len(names) > 1
    return f"lead{'s'[:many]} {', '.join(parts)}" + (f" {'are' if many else 'is'}" if verb else "")


def _is_clipped(signal: np.ndarray, rate: float) -> bool:
    """Whether a lead stays at one extreme far from its middle for `CLIP_SECONDS` or longer, at least `CLIP_TIMES`
    times."""
    middle = np.median(signal)
    for extreme in (signal.max(), signal.min()):
        if abs(extreme - middle) > CLIP_MV and (_runs(signal == extreme) >= CLIP_SECONDS * rate).sum() >= CLIP_TIMES:
            return True
    return False


def _runs(there: np.ndarray) -> np.ndarray:
    """The lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    return edges[1::2] - edges[::2]
