"""Formats of manufacturers and standards bodies: GE MUSE XML, Philips Sierra XML, HL7 aECG, SCP-ECG, ISHNE, MFER,
Mortara ELI XML and AliveCor Kardia JSON. The one door to ecgdatakit, which parses them.

What a file is, is told from its first bytes here, without the library; where it is not installed, a sentence says how
to get it.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats import device, mfer_definitions, mfer_work
from llava_ecg.ecg.formats.reader import HEAD_BYTES, Options, assemble, looks_like, one_line
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_ROOTS = {
    "restingecgdata": "sierra_xml",
    "restingecg": "ge_muse_xml",
    "museinfo": "ge_muse_xml",
    "annotatedecg": "hl7_aecg",
    "ecg": "mortara_el250",
}
NAMES = {
    "sierra_xml": "Philips Sierra XML",
    "ge_muse_xml": "GE MUSE XML",
    "hl7_aecg": "HL7 aECG",
    "mortara_el250": "Mortara ELI XML",
    "scp_ecg": "SCP-ECG",
    "ishne_holter": "ISHNE",
    "mfer": "MFER",
    "alivecor_kardia": "AliveCor Kardia JSON",
}
"""The library's name of a format -> ours."""
_ROOT = re.compile(r"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)[\s>/]")
_INCREMENT = re.compile(rb"<(?:\w+:)?increment\s([^<>]*)>")
_ATTRIBUTE = re.compile(rb'\b(value|unit)="([^"]*)"')
_SECONDS = {b"s": Fraction(1), b"ms": Fraction(1, 1000), b"us": Fraction(1, 1_000_000)}
_MEASURED = {
    "heart_rate": "heart_rate_bpm",
    "rr_interval": "rr_ms",
    "pr_interval": "pr_ms",
    "qrs_duration": "qrs_ms",
    "qt_interval": "qt_ms",
    "qtc_bazett": "qtc_bazett_ms",
    "qtc_fridericia": "qtc_fridericia_ms",
    "p_axis": "p_axis_deg",
    "qrs_axis": "axis_deg",
    "t_axis": "t_axis_deg",
}
# The library knows fields for two formulas of QTc and notes other values under names of the formats.
_NOTED = {
    "QTCorrected": "qtc_ms",  # MUSE, which does not say by which formula
    "qtc": "qtc_ms",  # Sierra, SCP-ECG, Mortara
    "MDC_ECG_TIME_PD_P": "p_ms",
    "MDC_ECG_TIME_PD_QTc": "qtc_ms",
    "MDC_ECG_TIME_PD_QTcB": "qtc_bazett_ms",
    "MDC_ECG_TIME_PD_QTcF": "qtc_fridericia_ms",
    "MDC_ECG_TIME_PD_QTcH": "qtc_hodges_ms",
}
_IN_MS = ("QTCorrected", "qtc")  # where they come without a unit
_NOTE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?([a-z]*)(?: \(formula code (\d+)\)| \(formula not stated\))?")
_FORMULAS = {"1": "qtc_bazett_ms", "2": "qtc_hodges_ms"}  # SCP-ECG, EN 1064, 5.10.2.5
_PULSE_MV = 1.0


class Vendor:
    """The reader of what ecgdatakit parses."""

    suffixes = (".xml", ".scp", ".ecg", ".json")

    def recognises(self, head: bytes, path: Path) -> bool:
        """By the root element, the magic number or the first sections; see `kind_of`."""
        return kind_of(head) is not None

    def read(self, path: Path, options: Options) -> Recording:
        """The rhythm recording in the file, in mV.

        Raises:
            InputError: ecgdatakit is not installed, or the file is in none of these formats or damaged.
        """
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        kind = kind_of(head)
        if kind is None:
            raise InputError(f"{path} is {looks_like(head)} and none of {', '.join(NAMES.values())}")
        if find_spec("ecgdatakit") is None:
            raise InputError(
                f"{path} is {NAMES[kind]}, which needs ecgdatakit; get it with: pip install 'llava-ecg[formats]'"
            )
        if kind == "scp_ecg":
            _check_scp(path)
        elif kind == "mfer":
            mfer_work.check(path)
        record, said = _parsed(path, kind)
        return _recording(path, record, kind, said, options)


def read_as(path: Path, content: bytes, options: Options) -> Recording:
    """A recording of these bytes, a part of those of the file ``path``, by which errors name it.

    Raises:
        InputError: as of `Vendor.read`.
    """
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / f"part{path.suffix}"
        part.write_bytes(content)
        try:
            return Vendor().read(part, options)
        except InputError as error:
            raise InputError(str(error).replace(str(part), str(path))) from error


def kind_of(head: bytes) -> str | None:
    """The library's name of the format that a file's first bytes are of, or None."""
    if head.startswith(b"ISHNE1.0"):
        return "ishne_holter"
    if head[:1] == b"\x40" and head[2:6] == b"MFR ":
        return "mfer"
    if _is_scp(head):
        return "scp_ecg"
    text = _text(head).lstrip("\ufeff \t\r\n")
    if text.startswith("{") and '"recordedAt"' in text:
        return "alivecor_kardia"
    if not text.startswith("<"):
        return None
    bare = re.sub(r"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^<>\[]*(\[[^\]]*\])?[^<>]*>", "", text, flags=re.DOTALL)
    root = _ROOT.search(bare)
    kind = _ROOTS.get(root[1].lower()) if root else None
    if kind == "mortara_el250" and not re.search(r"mortara|<channel|eli", bare, re.IGNORECASE):
        return None  # any program may call its root element ECG
    return kind


def _is_scp(head: bytes) -> bool:
    """Section 0 behind the checksum and the length of the record (EN 1064, 5.3)."""
    if len(head) < 32:
        return False
    number, length = int.from_bytes(head[8:10], "little"), int.from_bytes(head[10:14], "little")
    return (
        number == 0
        and length >= 26
        and (length - 16) % 10 == 0
        and head[22:24] == b"\0\0"
        and head[28:32] == b"\7\0\0\0"
    )


def _check_scp(path: Path) -> None:
    """Raise where section 3 promises more samples than the file has bits: the library takes memory for all of them.

    Of several sections of a number, the library takes the last.
    """
    content = path.read_bytes()
    pointers = content[22 : 6 + int.from_bytes(content[10:14], "little")]
    sections = struct.iter_unpack("<HII", pointers[: len(pointers) // 10 * 10])
    length, place = {number: (length, place) for number, length, place in sections if length}.get(3, (0, 0))
    leads = content[place + 17 : place - 1 + length] if place else b""  # behind its header, count and flags
    ranges = struct.iter_unpack("<IIB", leads[: len(leads) // 9 * 9])
    promised = sum(max(0, last - first + 1) for first, last, _ in ranges)
    if promised > 8 * len(content):
        raise InputError(f"{path} is damaged: it promises {promised:,} samples and is {len(content):,} bytes long")


def _text(head: bytes) -> str:
    """The bytes as text, in UTF-16 where they say so."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            return head[: len(head) // 2 * 2].decode(encoding, "replace")
    if head[:1] == b"<" and head[1:2] == b"\0":
        return head[: len(head) // 2 * 2].decode("utf-16-le", "replace")
    return head.decode("utf-8", "replace")


def _parsed(path: Path, kind: str) -> tuple[Any, list[str]]:
    """What the library makes of a file, and what it warns of."""
    from ecgdatakit.parsing import parsers  # noqa: F401  (finds the parsers)
    from ecgdatakit.parsing.parser import FileParser

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            record = FileParser.parse(path)
        except Exception as error:  # its own, and whatever the bytes provoke in it
            raise InputError(f"{path} can't be read as {NAMES[kind]}: {one_line(error)}") from error
    if record.source_format != kind:
        raise InputError(f"{path} begins as {NAMES[kind]} and is read as {record.source_format}; it can't be trusted")
    return record, [one_line(each.message) for each in caught if isinstance(each.message, Warning)]


def _recording(path: Path, record: Any, kind: str, said: list[str], options: Options) -> Recording:
    leads = [lead for lead in record.leads if len(lead.samples)]
    if not leads:
        raise InputError(f"{path} holds no samples")
    rates = {lead.sampling_rate for lead in leads}
    notes = _notes(said, kind)
    if len(rates) > 1:
        most = max(rates, key=lambda rate: sum(lead.sampling_rate == rate for lead in leads))
        notes += [
            f"{lead.label} is left out: it has {lead.sampling_rate} Hz" for lead in leads if lead.sampling_rate != most
        ]
        leads = [lead for lead in leads if lead.sampling_rate == most]
    length = max(len(lead.samples) for lead in leads)
    values = np.full((len(leads), length), np.nan)
    for row, lead in zip(values, leads, strict=True):
        row[: len(lead.samples)] = lead.samples
    rate = _rate(path, kind, float(leads[0].sampling_rate))
    if kind == "sierra_xml":
        values, told = _without_pulse(values, rate)
        notes += told
    made = assemble(
        path,
        values,
        options,
        rate=rate or None,
        units=[None if lead.is_raw or not lead.units else str(lead.units) for lead in leads],
        leads=[str(lead.label) or None for lead in leads],
        start=record.recording.date,
        metadata=_metadata(record, kind),
        notes=notes,
    )
    return replace(made, format=NAMES[kind])


def _rate(path: Path, kind: str, rounded: float) -> float:
    """The sampling rate as the file has it; the library's are whole numbers, so that 62.5 Hz would be 62."""
    found = _RATES[kind](path.read_bytes()) if kind in _RATES else ()
    return next((rate for rate in found if abs(rate - rounded) < 1), rounded)


def _of_aecg(content: bytes) -> Iterator[float]:
    for tag in _INCREMENT.finditer(content):
        told = dict(_ATTRIBUTE.findall(tag[1]))
        value, unit = told.get(b"value", b"").decode("ascii", "replace"), told.get(b"unit", b"")
        try:  # as float first: a Fraction of 1e-999999999 would have a thousand million digits
            if unit in _SECONDS and 0 < float(value) < 1e9:
                yield float(1 / (Fraction(value) * _SECONDS[unit]))
        except ValueError:
            continue


def _of_kardia(content: bytes) -> Iterator[float]:
    rate = json.loads(content)["data"]["raw"]["frequency"]
    if isinstance(rate, int | float):
        yield float(rate)


_RATES: dict[str, Callable[[bytes], Iterator[float]]] = {
    "hl7_aecg": _of_aecg,
    "alivecor_kardia": _of_kardia,
    "mfer": mfer_definitions.rates,
}


def _without_pulse(values: np.ndarray, rate: float) -> tuple[np.ndarray, list[str]]:
    """Without the calibration pulse of 1 mV that a Sierra file may carry at the end of every lead.

    Args:
        values: [L, T] in mV.
        rate: Hz.
    """
    if len(values) < 2 or not rate:
        return values, []
    differ = np.flatnonzero(np.nanmax(values, axis=0) - np.nanmin(values, axis=0) > 1e-6)
    first = int(differ[-1]) + 1 if len(differ) else 0
    tail = values[0, first:]
    seconds = len(tail) / rate
    if not (0.05 <= seconds <= 1.0 and (np.abs(tail - _PULSE_MV) < 0.02).sum() >= 0.05 * rate):
        return values, []
    return values[:, :first], [f"the last {seconds:.2f} s, a calibration pulse of 1 mV in every lead, are left out"]


def _notes(said: Sequence[str], kind: str) -> list[str]:
    """The library's warnings, those that are one for each lead together, without the date that one quotes."""
    said = [re.sub(r"(birth date) .*", r"\1", text) for text in said]
    checks = [text for text in said if text.startswith("CRC32 mismatch")]
    others = [f"{NAMES[kind]}: {text}" for text in dict.fromkeys(said) if not text.startswith("CRC32 mismatch")]
    damaged = (
        [f"the checksums of {len(checks)} waveforms in the file are wrong, so it may be damaged"] if checks else []
    )
    return damaged + others


def _metadata(record: Any, kind: str) -> dict[str, Any]:
    """Age and sex, and what the device measured and said; nothing that names a person."""
    measured = {ours: getattr(record.measurements, theirs) for theirs, ours in _MEASURED.items()}
    said = [f"{text} ({reason})" if reason else str(text) for text, reason in record.interpretation.statements if text]
    if kind == "hl7_aecg" and record.annotations.get("rhythm"):
        said.insert(0, str(record.annotations["rhythm"]))
    told: dict[str, Any] = {"age": record.patient.age, "sex": record.patient.sex}
    told = {key: value for key, value in told.items() if value not in (None, "")}
    return told | device.metadata({**_noted(record), **_known(measured)}, said)


def _known(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: value for name, value in values.items() if value is not None}


def _noted(record: Any) -> dict[str, float | None]:
    """What the library has no field for, by our names. A QTc whose formula is not stated is told where it is none of
    those whose formula is."""
    found: dict[str, float | None] = {}
    for theirs, ours in _NOTED.items():
        for key in (theirs, f"{theirs}_GL"):
            note = _NOTE.fullmatch(str(record.annotations.get(key, record.raw_metadata.get(key, ""))).strip())
            if note is None:
                continue
            name = _FORMULAS.get(note[3] or "", ours)
            unit = note[2] or ("ms" if theirs in _IN_MS else "")
            found.setdefault(name, device.converted(name, float(note[1]), unit))
    known = (record.measurements.qtc_bazett, record.measurements.qtc_fridericia)
    return {name: value for name, value in found.items() if name != "qtc_ms" or value not in known}
