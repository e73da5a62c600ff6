"""The waveforms of a DICOM file, the multiplex groups of the standard: which make a recording, and their samples.

Source: DICOM PS3.3 C.10.9 (Waveform Module): value = sample x sensitivity x correction factor + baseline, in the
channel's unit. Lead codes are those of SCP-ECG (EN 1064, ``5.6.3-9-n``) and MDC (ISO 11073-10101, ``2:n``), which share
n.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.errors import InputError

_LEAD_BY_CODE = {1: "I", 2: "II", **{n + 2: f"V{n}" for n in range(1, 7)}, 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
_LEAD_CODE = re.compile(r"^(?:5\.6\.3-9-|2:)(\d+)$")
_NEAR_S = 2.0  # a pause between the columns of a page; what was recorded later is another recording
_PAGE_S = 10.0
# by Waveform Bits Allocated and Waveform Sample Interpretation; without MB and AB, mu-law and A-law, which are sound
_DTYPES = {
    (8, "SB"): "i1",
    (8, "UB"): "u1",
    (16, "SS"): "i2",
    (16, "US"): "u2",
    (32, "SL"): "i4",
    (32, "UL"): "u4",
    (64, "SV"): "i8",
    (64, "UV"): "u8",
}


def is_original(group: Any) -> bool:
    """Whether the waveform was recorded, not computed as a median beat is."""
    return str(group.get("WaveformOriginality", "ORIGINAL")).upper() != "DERIVED"


def seconds_of(group: Any) -> float:
    """How long a group is."""
    return int(group.NumberOfWaveformSamples) / (float(group.SamplingFrequency) or 1.0)


def begin_s(group: Any) -> float:
    """Multiplex Group Time Offset, which the standard gives in ms."""
    return float(group.get("MultiplexGroupTimeOffset") or 0.0) / 1000


def choose(groups: Sequence[Any]) -> int:
    """The index of the multiplex group to begin with: recorded before computed, then the most standard leads, then the
    longest."""

    def worth(index: int) -> tuple[bool, int, float]:
        group = groups[index]
        names = {_lead(channel) for channel in group.ChannelDefinitionSequence}
        return is_original(group), len(names.intersection(lead_names.STANDARD)), seconds_of(group)

    return max(range(len(groups)), key=worth)


def chosen_of(groups: Sequence[Any]) -> list[int]:
    """The indices of the groups that make the recording."""
    return _together(groups, choose(groups))


def _together(groups: Sequence[Any], first: int) -> list[int]:
    """The indices of the groups that make one recording with the first: all at once, or the columns of a page in turn.

    A group belongs to it if it brings a lead that is not there yet and follows or overlaps what is there; then, where
    the leads were recorded in turn, or for less than 10 s, also one that has a lead for longer (the rhythm strip).
    """
    spans: dict[str, float] = {}  # lead -> s recorded
    chosen: list[int] = []
    begin, end = begin_s(groups[first]), begin_s(groups[first]) + seconds_of(groups[first])

    def take(index: int) -> None:
        nonlocal begin, end
        chosen.append(index)
        begin, end = min(begin, begin_s(groups[index])), max(end, begin_s(groups[index]) + seconds_of(groups[index]))
        for channel in groups[index].ChannelDefinitionSequence:
            name = _lead(channel) or ""
            spans[name] = max(spans.get(name, 0.0), seconds_of(groups[index]))

    take(first)
    if "" in spans:  # without names nothing can be put together
        return chosen
    rest = [index for index, group in enumerate(groups) if index != first and _joinable(group, groups[first])]
    found = True
    while found:  # one that was taken may bring the next one near
        found = False
        for index in sorted(
            set(rest) - set(chosen), key=lambda index: (begin_s(groups[index]), seconds_of(groups[index]))
        ):
            group, names = groups[index], {_lead(channel) or "" for channel in groups[index].ChannelDefinitionSequence}
            near = begin_s(group) <= end + _NEAR_S and begin_s(group) + seconds_of(group) >= begin - _NEAR_S
            if near and "" not in names and names - set(spans):
                take(index)
                found = True
    for index in rest:
        group = groups[index]
        longer = all(
            seconds_of(group) > 1.2 * spans.get(_lead(channel) or "", math.inf)
            for channel in group.ChannelDefinitionSequence
        )
        within = (
            begin_s(group) >= begin - _NEAR_S
            and begin_s(group) + seconds_of(group) <= max(end, begin + _PAGE_S) + _NEAR_S
        )
        if index not in chosen and longer and within:
            take(index)
    return sorted(chosen)


def _joinable(group: Any, first: Any) -> bool:
    return (
        is_original(group) == is_original(first)
        and int(group.NumberOfWaveformSamples) > 0
        and float(group.SamplingFrequency) > 0
    )


@dataclass(frozen=True)
class _Samples:
    """The samples of a multiplex group; which bytes they are is known, and those that are wanted are read."""

    data: Any  # bytes, or a Stretch of the file
    dtype: np.dtype
    count: int  # T
    scales: list[tuple[float, float]]  # L times sensitivity and baseline
    empty: Any  # the value of padding, None where there is none

    def between(self, first: int, last: int) -> np.ndarray:
        """float64 [L, T] in each channel's unit from one sample to another, NaN where the samples are padding."""
        width = len(self.scales) * self.dtype.itemsize
        raw = np.frombuffer(self.data[first * width : last * width], self.dtype)
        raw = raw.reshape(last - first, len(self.scales)).T
        values = raw.astype(np.float64)
        for row, (gain, baseline) in enumerate(self.scales):
            values[row] = values[row] * gain + baseline
        if self.empty is not None:
            values[raw == self.empty] = np.nan
        return values


@dataclass(frozen=True)
class _Group:
    samples: _Samples
    rate: float
    units: list[str | None]
    leads: list[str | None]
    begin_s: float


@dataclass(frozen=True)
class _Page:
    """What groups are together, or a part of it."""

    values: np.ndarray  # float64 [L, T] in `units`
    rate: float
    units: list[str | None]
    leads: list[str | None]
    begin_s: float  # of the whole


def group_of(path: Path, group: Any, little_endian: bool) -> _Group:
    """A multiplex group of a data set, of whose samples none is made into a number yet.

    Raises:
        InputError: they are no numbers, or the file does not hold them all.
    """
    channels = group.ChannelDefinitionSequence
    return _Group(
        _samples(path, group, little_endian=little_endian),
        float(group.SamplingFrequency),
        [_unit(channel) for channel in channels],
        [_lead(channel) for channel in channels],
        begin_s(group),
    )


def put_together(groups: Sequence[_Group], span: Callable[[float, int], tuple[int, int]]) -> _Page:
    """One row a lead, NaN where it was not recorded; of two recordings of a lead the longer one.

    Args:
        span: from which sample to which, by the rate and the number of samples.
    """
    if len(groups) == 1:
        only = groups[0]
        values = only.samples.between(*span(only.rate, only.samples.count))
        return _Page(values, only.rate, only.units, only.leads, only.begin_s)
    begin, rate = min(group.begin_s for group in groups), max(group.rate for group in groups)
    length = max(
        round((group.begin_s - begin) * rate) + round(group.samples.count * rate / group.rate) for group in groups
    )
    first, last = span(rate, length)
    rows: dict[str, tuple[np.ndarray, str | None]] = {}
    recorded: dict[str, float] = {}
    for group in groups:
        at, count, seconds = (
            round((group.begin_s - begin) * rate),
            group.samples.count,
            group.samples.count / group.rate,
        )
        if not math.isclose(group.rate, rate, rel_tol=1e-4):
            from llava_ecg.ecg.filters import resample

            whole = resample(group.samples.between(0, count), group.rate, rate)
            count = whole.shape[1]
            early, late = _overlap(first, last, at, at + count)
            values = whole[:, early - at : late - at]
        else:
            early, late = _overlap(first, last, at, at + count)
            values = group.samples.between(early - at, late - at)
        for row, lead in enumerate(group.leads):
            if seconds > recorded.get(str(lead), 0.0):
                canvas = np.full(last - first, np.nan)
                canvas[early - first : late - first] = values[row]
                rows[str(lead)], recorded[str(lead)] = (canvas, group.units[row]), seconds
    signal = np.stack([values for values, _ in rows.values()])
    return _Page(signal, rate, [unit for _, unit in rows.values()], list(rows), begin)


def _overlap(first: int, last: int, begin: int, end: int) -> tuple[int, int]:
    """What two stretches have in common, empty at ``begin`` where that is nothing."""
    early, late = max(first, begin), min(last, end)
    return (early, late) if early < late else (begin, begin)


# -- one waveform ------------------------------------------------------------------------------------------------------


def _samples(path: Path, group: Any, *, little_endian: bool) -> _Samples:
    """The samples of a group, once the file is known to hold them.

    Raises:
        InputError: they are no numbers, or it does not.
    """
    count, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind = (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation))
    if kind not in _DTYPES:
        raise InputError(
            f"{path} keeps its waveform as {kind[0]} bit {kind[1]}, which is not read; export it as 16 bit SS"
        )
    dtype = np.dtype(_DTYPES[kind]).newbyteorder("<" if little_endian else ">")
    held = len(group.WaveformData) // dtype.itemsize // max(1, count)
    if held < samples:
        raise InputError(f"{path} is cut short: it holds {held} of {samples} samples a lead")
    if len(group.ChannelDefinitionSequence) != count:
        raise InputError(f"{path} holds {count} channels, but describes {len(group.ChannelDefinitionSequence)}")
    scales = [
        (
            float(channel.get("ChannelSensitivity", 1.0))
            * float(channel.get("ChannelSensitivityCorrectionFactor", 1.0)),
            float(channel.get("ChannelBaseline", 0.0)),
        )
        for channel in group.ChannelDefinitionSequence
    ]
    padding = group.get("WaveformPaddingValue")
    empty = np.frombuffer(padding, dtype, 1)[0] if isinstance(padding, bytes) else padding
    return _Samples(group.WaveformData, dtype, samples, scales, empty)


def _lead(channel: Any) -> str | None:
    """The standard name by code, else the code's meaning or the channel's label, None where there is neither."""
    sources = channel.get("ChannelSourceSequence")
    if not sources:
        return channel.get("ChannelLabel") or None
    match = _LEAD_CODE.match(str(sources[0].get("CodeValue", "")))
    if match and int(match[1]) in _LEAD_BY_CODE:
        return _LEAD_BY_CODE[int(match[1])]
    meaning = re.sub(r"\([^()]*\)", "", str(sources[0].get("CodeMeaning", ""))).strip()
    return lead_names.canonical(meaning or str(channel.get("ChannelLabel", ""))) or None


def _unit(channel: Any) -> str | None:
    units = channel.get("ChannelSensitivityUnitsSequence")
    return str(units[0].CodeValue) if units and "ChannelSensitivity" in channel else None
