"""A recording as a DICOM waveform, through pydicom: 12-Lead ECG Waveform Storage where it has these leads, else General
ECG Waveform Storage."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    GeneralECGWaveformStorage,
    TwelveLeadECGWaveformStorage,
    generate_uid,
)

from llava_ecg.ecg.formats.steps import MISSING, steps_of
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording

_SHORT = 16  # letters of a short string (SH)
_CODES = {"I": 1, "II": 2, **{f"V{n}": n + 2 for n in range(1, 7)}, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64}


def dicom_bytes(recording: Recording, path: Path) -> dict[Path, bytes]:
    """One multiplex group of 16-bit samples; a gap is Waveform Padding Value."""
    steps, size = steps_of(recording.signal)
    group = Dataset()
    group.WaveformOriginality, group.SamplingFrequency = "ORIGINAL", f"{recording.rate:.10g}"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = steps.shape
    group.ChannelDefinitionSequence = [
        _channel(name, each, number) for number, (name, each) in enumerate(zip(recording.leads, size, strict=True), 1)
    ]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformPaddingValue = np.array([MISSING], "<i2").tobytes()
    group.WaveformData = np.ascontiguousarray(steps.T).astype("<i2").tobytes()
    file = _file(recording)
    file.WaveformSequence = [group]
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return {path: buffer.getvalue()}


def _file(recording: Recording) -> Any:
    twelve = set(recording.leads) == set(STANDARD) and len(recording.leads) == len(STANDARD)
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if not "".join(recording.leads).isascii():
        file.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    file.SOPClassUID = TwelveLeadECGWaveformStorage if twelve else GeneralECGWaveformStorage
    file.SOPInstanceUID, file.StudyInstanceUID, file.SeriesInstanceUID = (generate_uid() for _ in range(3))
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
        setattr(file, name, "")
    file.ReferringPhysicianName, file.Manufacturer = "", ""
    file.Modality, file.SeriesNumber, file.InstanceNumber = "ECG", 1, 1
    start = recording.start
    file.StudyDate = file.ContentDate = "" if start is None else f"{start:%Y%m%d}"
    file.StudyTime = file.ContentTime = "" if start is None else f"{start:%H%M%S}"
    part = "" if start is None or not start.microsecond else f".{start:%f}"
    file.AcquisitionDateTime = "" if start is None else f"{start:%Y%m%d%H%M%S}{part}"
    file.AcquisitionContextSequence = []
    return file


def _channel(name: str, step_uv: float, row: int) -> Any:
    channel = Dataset()
    number = _CODES.get(name)
    short = len(name) <= _SHORT  # a code or a label that is cut might be another channel's too
    value, scheme = (f"2:{number}", "MDC") if number else (name if short else f"channel {row}", "99LOCAL")
    channel.ChannelSourceSequence = [_code(value, scheme, f"Lead {name}" if number else name)]
    if short:
        channel.ChannelLabel = name
    channel.ChannelSensitivity = f"{step_uv:.10g}"
    channel.ChannelSensitivityUnitsSequence = [_code("uV", "UCUM", "microvolt")]
    channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = "1", "0"
    channel.ChannelSampleSkew, channel.WaveformBitsStored = "0", 16
    return channel


def _code(value: str, scheme: str, meaning: str) -> Any:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
