"""DICOM ECG waveforms (12-Lead, General and Ambulatory ECG Waveform Storage). The one door to pydicom.

Source: DICOM PS3.3 C.10.9 (Waveform Module): value = sample x sensitivity x correction factor + baseline, in the channel's unit.
Lead codes are those of SCP-ECG (EN 1064, ``5.6.3-9-n``) and MDC (ISO 11073-10101, ``2:n``), which share n.
"""

from __future__ import annotations

import re
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.formats.reader import HEAD_BYTES, Options, assemble, looks_like, one_line
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_LEAD_BY_CODE = {1: "I", 2: "II", **{n + 2: f"V{n}" for n in range(1, 7)}, 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
_LEAD_CODE = re.compile(r"^(?:5\.6\.3-9-|2:)(\d+)$")


class Dicom:
    """The reader of DICOM waveforms."""

    suffixes = (".dcm", ".dicom")

    def recognises(self, head: bytes, path: Path) -> bool:
        """The mark ``DICM`` after 128 bytes."""
        return head[128:132] == b"DICM"

    def read(self, path: Path, options: Options) -> Recording:
        """The original waveform with the most standard leads, the longest of those.

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
            except Exception as error:  # pydicom raises whatever the bytes provoke: AttributeError, EOFError, struct.error, ...
                raise InputError(f"{path} can't be read as a DICOM waveform: {one_line(error)}") from error


def _read(path: Path, options: Options) -> Recording:
    import pydicom  # a third of a second to import

    file = pydicom.dcmread(path)
    if not file.get("WaveformSequence"):
        raise InputError(
            f"{path} is a DICOM file without a waveform ({file.get('Modality') or 'no modality'}); export the ECG as a waveform"
        )
    index = _choose(file.WaveformSequence)
    group = file.WaveformSequence[index]
    channels = group.ChannelDefinitionSequence
    others = [other for number, other in enumerate(file.WaveformSequence) if number != index and _is_original(other)]
    notes = [f"{len(others)} more recorded waveform{'s'[: len(others) > 1]} of the file left out"] if others else []
    return assemble(
        path,
        _values(path, group, little_endian=file.file_meta.TransferSyntaxUID.is_little_endian),
        options,
        rate=float(group.SamplingFrequency),
        units=[_unit(channel) for channel in channels],
        leads=[_lead(channel) for channel in channels],
        start=_start(file),
        metadata=_metadata(file),
        notes=notes,
    )


def _is_original(group: Any) -> bool:
    return str(group.get("WaveformOriginality", "ORIGINAL")).upper() != "DERIVED"


def _choose(groups: Any) -> int:
    """The index of the multiplex group to read: recorded before computed, then the most standard leads, then the longest."""

    def worth(index: int) -> tuple[bool, int, float]:
        group = groups[index]
        names = {_lead(channel) for channel in group.ChannelDefinitionSequence}
        seconds = int(group.NumberOfWaveformSamples) / (float(group.SamplingFrequency) or 1.0)
        return _is_original(group), len(names.intersection(lead_names.STANDARD)), seconds

    return max(range(len(groups)), key=worth)


def _values(path: Path, group: Any, *, little_endian: bool) -> np.ndarray:
    """float64 [L, T] in each channel's unit, NaN where the samples are padding."""
    from pydicom.waveforms.numpy_handler import WAVEFORM_DTYPES

    count, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind = (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation))
    if kind not in WAVEFORM_DTYPES or kind[1] in ("MB", "AB"):  # mu-law and A-law, which are sound
        raise InputError(f"{path} keeps its waveform as {kind[0]} bit {kind[1]}, which is not read; export it as 16 bit SS")
    dtype = np.dtype(WAVEFORM_DTYPES[kind]).newbyteorder("<" if little_endian else ">")
    held = len(group.WaveformData) // dtype.itemsize // max(1, count)
    if held < samples:
        raise InputError(f"{path} is cut short: it holds {held} of {samples} samples a lead")
    if len(group.ChannelDefinitionSequence) != count:
        raise InputError(f"{path} holds {count} channels, but describes {len(group.ChannelDefinitionSequence)}")
    raw = np.frombuffer(group.WaveformData, dtype, count * samples).reshape(samples, count).T
    values = raw.astype(np.float64)
    for row, channel in enumerate(group.ChannelDefinitionSequence):
        gain = float(channel.get("ChannelSensitivity", 1.0)) * float(channel.get("ChannelSensitivityCorrectionFactor", 1.0))
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
