"""DICOM ECG waveforms (12-Lead, General and Ambulatory ECG Waveform Storage). The one door to pydicom.

Source: DICOM PS3.3 C.10.9 (Waveform Module): value = sample x sensitivity x correction factor + baseline, in the
channel's unit. Lead codes are those of SCP-ECG (EN 1064, ``5.6.3-9-n``) and MDC (ISO 11073-10101, ``2:n``), which share
n.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.formats.reader import HEAD_BYTES, Options, assemble, looks_like, most_numbers, one_line
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_LEAD_BY_CODE = {1: "I", 2: "II", **{n + 2: f"V{n}" for n in range(1, 7)}, 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
_FIRST_VRS = (b"CS", b"DA", b"LO", b"OB", b"SH", b"TM", b"UI", b"UL")  # of what groups 0002 and 0008 begin with
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EMPTY = bytes(128)  # a preamble without the mark behind it
_NEAR_S = 2.0  # a pause between the columns of a page; what was recorded later is another recording
_PAGE_S = 10.0
_LEAD_CODE = re.compile(r"^(?:5\.6\.3-9-|2:)(\d+)$")


class Dicom:
    """The reader of DICOM waveforms."""

    suffixes = (".dcm", ".dicom")

    def recognises(self, head: bytes, path: Path) -> bool:
        """The mark ``DICM`` after 128 bytes; or, in a file without this preamble, a first element of group 0002 or
        0008."""
        return head[128:132] == b"DICM" or _starts_bare(head.removeprefix(_EMPTY))

    def read(self, path: Path, options: Options) -> Recording:
        """The recorded waveforms that belong together (see `_together`), else the longest with the most standard leads.

        Raises:
            InputError: no DICOM file, no waveform in it, a cut or inconsistent one.
        """
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not self.recognises(head, path):
            raise InputError(f"{path} is not a DICOM file but {looks_like(head)}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns about values outside the standard that don't matter here
            try:
                return _read(path, options)
            except InputError:
                raise
            except (
                Exception
            ) as error:  # pydicom raises whatever the bytes provoke: AttributeError, EOFError, struct.error, ...
                raise InputError(f"{path} can't be read as a DICOM waveform: {one_line(error)}") from error


def _starts_bare(head: bytes) -> bool:
    """Whether the bytes begin with a data element as data sets do: group 0002 or 0008, then a VR or a short even
    length."""
    if head.startswith(b"DICM"):
        head = head[4:]
    if len(head) < 12:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group in (0x0002, 0x0008) and element <= 0x0070:
            (length,) = struct.unpack(f"{order}L", head[4:8])
            # implicit VR has the length in place of the VR; as text, it would be two control characters
            return head[4:6] in _FIRST_VRS or (
                group == 0x0008 and length % 2 == 0 and length <= 256 and len(head) > 8 + length
            )
    return False


def _dataset(path: Path) -> tuple[Any, bool]:
    """(data set, whether its numbers are little endian)."""
    import pydicom  # a third of a second to import

    content = path.read_bytes()
    if content[128:132] != b"DICM":
        content = content.removeprefix(_EMPTY).removeprefix(b"DICM")
    _check_deflated(path, content)
    found = pydicom.dcmread(BytesIO(content), force=True)  # without force it wants the preamble
    return found, found.original_encoding[1] is not False


def _check_deflated(path: Path, content: bytes) -> None:
    """A compressed data set may be of any length once pydicom has unpacked it.

    Raises:
        InputError: of more than a file of this size holds.
    """
    if _DEFLATED not in content:
        return
    from pydicom.filereader import read_dataset

    file = BytesIO(content)
    file.seek(132 if content[128:132] == b"DICM" else 0)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if str(meta.get("TransferSyntaxUID", "")).encode() != _DEFLATED:
        return
    most = 8 * most_numbers(len(content))
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflate.decompress(content[file.tell() :], most)
    if inflate.unconsumed_tail:
        raise InputError(f"{path} is compressed and unpacks to more than {most:,} bytes; it is damaged, or no ECG")


def _read(path: Path, options: Options) -> Recording:
    file, little_endian = _dataset(path)
    if not file.get("WaveformSequence"):
        raise InputError(
            f"{path} is a DICOM file without a waveform ({file.get('Modality') or 'no modality'}); export the ECG "
            "as a waveform"
        )
    sequence = list(file.WaveformSequence)
    first = _choose(sequence)
    chosen = _together(sequence, first)
    put = _put_together([_group(path, sequence[index], little_endian) for index in chosen])
    if len(chosen) > 1 and options.leads is not None and len(options.leads) != len(put.leads):
        chosen = [first]  # the names given are those of one group's channels
        put = _group(path, sequence[first], little_endian)
    others = [other for index, other in enumerate(sequence) if index not in chosen and _is_original(other)]
    notes = [f"{len(others)} more recorded waveform{'s'[: len(others) > 1]} of the file left out"] if others else []
    if len({_begin_s(sequence[index]) for index in chosen}) > 1:
        notes.insert(0, f"the leads were recorded in turn, in {len(chosen)} waveforms of the file")
    elif len({round(_seconds(sequence[index]), 1) for index in chosen}) > 1:
        notes.insert(0, f"the leads were recorded for different times, in {len(chosen)} waveforms of the file")
    start = _start(file)
    return assemble(
        path,
        put.values,
        options,
        rate=put.rate,
        units=put.units,
        leads=put.leads,
        start=None if start is None else start + timedelta(seconds=put.begin_s),
        metadata=_metadata(file),
        notes=notes,
    )


# -- which of the waveforms, the multiplex groups of the standard ------------------------------------------------------


def _is_original(group: Any) -> bool:
    return str(group.get("WaveformOriginality", "ORIGINAL")).upper() != "DERIVED"


def _seconds(group: Any) -> float:
    return int(group.NumberOfWaveformSamples) / (float(group.SamplingFrequency) or 1.0)


def _begin_s(group: Any) -> float:
    """Multiplex Group Time Offset, which the standard gives in ms."""
    return float(group.get("MultiplexGroupTimeOffset") or 0.0) / 1000


def _choose(groups: Sequence[Any]) -> int:
    """The index of the multiplex group to begin with: recorded before computed, then the most standard leads, then the
    longest."""

    def worth(index: int) -> tuple[bool, int, float]:
        group = groups[index]
        names = {_lead(channel) for channel in group.ChannelDefinitionSequence}
        return _is_original(group), len(names.intersection(lead_names.STANDARD)), _seconds(group)

    return max(range(len(groups)), key=worth)


def _together(groups: Sequence[Any], first: int) -> list[int]:
    """The indices of the groups that make one recording with the first: all at once, or the columns of a page in turn.

    A group belongs to it if it brings a lead that is not there yet and follows or overlaps what is there; then, where
    the leads were recorded in turn, or for less than 10 s, also one that has a lead for longer (the rhythm strip).
    """
    spans: dict[str, float] = {}  # lead -> s recorded
    chosen: list[int] = []
    begin, end = _begin_s(groups[first]), _begin_s(groups[first]) + _seconds(groups[first])

    def take(index: int) -> None:
        nonlocal begin, end
        chosen.append(index)
        begin, end = min(begin, _begin_s(groups[index])), max(end, _begin_s(groups[index]) + _seconds(groups[index]))
        for channel in groups[index].ChannelDefinitionSequence:
            name = _lead(channel) or ""
            spans[name] = max(spans.get(name, 0.0), _seconds(groups[index]))

    take(first)
    if "" in spans:  # without names nothing can be put together
        return chosen
    rest = [index for index, group in enumerate(groups) if index != first and _joinable(group, groups[first])]
    found = True
    while found:  # one that was taken may bring the next one near
        found = False
        for index in sorted(
            set(rest) - set(chosen), key=lambda index: (_begin_s(groups[index]), _seconds(groups[index]))
        ):
            group, names = groups[index], {_lead(channel) or "" for channel in groups[index].ChannelDefinitionSequence}
            near = _begin_s(group) <= end + _NEAR_S and _begin_s(group) + _seconds(group) >= begin - _NEAR_S
            if near and "" not in names and names - set(spans):
                take(index)
                found = True
    for index in rest:
        group = groups[index]
        longer = all(
            _seconds(group) > 1.2 * spans.get(_lead(channel) or "", math.inf)
            for channel in group.ChannelDefinitionSequence
        )
        within = (
            _begin_s(group) >= begin - _NEAR_S
            and _begin_s(group) + _seconds(group) <= max(end, begin + _PAGE_S) + _NEAR_S
        )
        if index not in chosen and longer and within:
            take(index)
    return sorted(chosen)


def _joinable(group: Any, first: Any) -> bool:
    return (
        _is_original(group) == _is_original(first)
        and int(group.NumberOfWaveformSamples) > 0
        and float(group.SamplingFrequency) > 0
    )


@dataclass(frozen=True)
class _Group:
    values: np.ndarray  # float64 [L, T] in `units`
    rate: float
    units: list[str | None]
    leads: list[str | None]
    begin_s: float


def _group(path: Path, group: Any, little_endian: bool) -> _Group:
    channels = group.ChannelDefinitionSequence
    return _Group(
        _values(path, group, little_endian=little_endian),
        float(group.SamplingFrequency),
        [_unit(channel) for channel in channels],
        [_lead(channel) for channel in channels],
        _begin_s(group),
    )


def _put_together(groups: Sequence[_Group]) -> _Group:
    """One row a lead, NaN where it was not recorded; of two recordings of a lead the longer one."""
    if len(groups) == 1:
        return groups[0]
    begin, rate = min(group.begin_s for group in groups), max(group.rate for group in groups)
    length = max(
        round((group.begin_s - begin) * rate) + round(group.values.shape[1] * rate / group.rate) for group in groups
    )
    rows: dict[str, tuple[np.ndarray, str | None]] = {}
    recorded: dict[str, float] = {}
    for group in groups:
        at, values = round((group.begin_s - begin) * rate), group.values
        if not math.isclose(group.rate, rate, rel_tol=1e-4):
            from llava_ecg.ecg.filters import resample

            values = resample(values, group.rate, rate)
        for row, lead in enumerate(group.leads):
            if group.values.shape[1] / group.rate > recorded.get(str(lead), 0.0):
                canvas = np.full(length, np.nan)
                canvas[at : at + values.shape[1]] = values[row]
                rows[str(lead)], recorded[str(lead)] = (canvas, group.units[row]), group.values.shape[1] / group.rate
    signal = np.stack([values for values, _ in rows.values()])
    return _Group(signal, rate, [unit for _, unit in rows.values()], list(rows), begin)


# -- one waveform ------------------------------------------------------------------------------------------------------


def _values(path: Path, group: Any, *, little_endian: bool) -> np.ndarray:
    """float64 [L, T] in each channel's unit, NaN where the samples are padding."""
    from pydicom.waveforms.numpy_handler import WAVEFORM_DTYPES

    count, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind = (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation))
    if kind not in WAVEFORM_DTYPES or kind[1] in ("MB", "AB"):  # mu-law and A-law, which are sound
        raise InputError(
            f"{path} keeps its waveform as {kind[0]} bit {kind[1]}, which is not read; export it as 16 bit SS"
        )
    dtype = np.dtype(WAVEFORM_DTYPES[kind]).newbyteorder("<" if little_endian else ">")
    held = len(group.WaveformData) // dtype.itemsize // max(1, count)
    if held < samples:
        raise InputError(f"{path} is cut short: it holds {held} of {samples} samples a lead")
    if len(group.ChannelDefinitionSequence) != count:
        raise InputError(f"{path} holds {count} channels, but describes {len(group.ChannelDefinitionSequence)}")
    raw = np.frombuffer(group.WaveformData, dtype, count * samples).reshape(samples, count).T
    values = raw.astype(np.float64)
    for row, channel in enumerate(group.ChannelDefinitionSequence):
        gain = float(channel.get("ChannelSensitivity", 1.0)) * float(
            channel.get("ChannelSensitivityCorrectionFactor", 1.0)
        )
        values[row] = values[row] * gain + float(channel.get("ChannelBaseline", 0.0))
    padding = group.get("WaveformPaddingValue")
    if padding is not None:
        empty = np.frombuffer(padding, dtype, 1)[0] if isinstance(padding, bytes) else padding
        values[raw == empty] = np.nan
    return values


def _lead(channel: Any) -> str | None:
    """The standard name by code, else the code's meaning or the channel's label, None where there is neither."""
    sources = channel.get("ChannelSourceSequence")
    if not sources:
        return channel.get("ChannelLabel") or None
    match = _LEAD_CODE.match(str(sources[0].get("CodeValue", "")))
    if match and int(match[1]) in _LEAD_BY_CODE:
        return _LEAD_BY_CODE[int(match[1])]
    meaning = re.sub(r"\(.*?\)", "", str(sources[0].get("CodeMeaning", ""))).strip()
    return lead_names.canonical(meaning or str(channel.get("ChannelLabel", ""))) or None


def _unit(channel: Any) -> str | None:
    units = channel.get("ChannelSensitivityUnitsSequence")
    return str(units[0].CodeValue) if units and "ChannelSensitivity" in channel else None


def _start(file: Any) -> datetime | None:
    digits = re.match(r"\d{14}", str(file.get("AcquisitionDateTime", "")))
    try:
        return datetime.strptime(digits[0], "%Y%m%d%H%M%S") if digits else None
    except ValueError:
        return None


def _metadata(file: Any) -> dict[str, Any]:
    """Age in years, sex and device; nothing that says who the patient is."""
    found = person({"age": str(file.get("PatientAge", "")), "sex": str(file.get("PatientSex", ""))})
    device = " ".join(str(file[name].value) for name in ("Manufacturer", "ManufacturerModelName") if file.get(name))
    if device:
        found["device"] = device
    return found
