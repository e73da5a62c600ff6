"""What a DICOM file says that its device measured and stated: the waveform annotations of the whole recording.

Source: DICOM PS3.3 C.10.10 (Waveform Annotation Module); codes of PS3.16 CID 3227 to 3229 (MDC, ISO 11073-10101), and
those of SCP-ECG (EN 1064), which number a section of its and the byte in it. What is annotated at a place in time, such
as the onset of a wave or the kind of a beat, and what holds of one lead, is left alone.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from llava_ecg.ecg.formats import device
from llava_ecg.ecg.formats.statements import may_name

_BY_CODE = {
    "2:16770": "heart_rate_bpm",
    "8867-4": "heart_rate_bpm",  # LOINC
    "5.10.2.5-1": "heart_rate_bpm",
    "2:16168": "rr_ms",
    "2:16000": "rr_ms",
    "5.10.2.1-3": "rr_ms",
    "2:15872": "pr_ms",
    "5.13.5-7": "pr_ms",
    "2:16156": "qrs_ms",
    "5.13.5-9": "qrs_ms",
    "2:16160": "qt_ms",
    "5.13.5-11": "qt_ms",
    "2:15876": "qtc_ms",
    "5.10.2.5-5": "qtc_ms",
    "2:15880": "qtc_bazett_ms",
    "2:15892": "qtc_fridericia_ms",
    "2:16128": "p_axis_deg",
    "5.10.3-11": "p_axis_deg",
    "2:16132": "axis_deg",
    "5.10.3-13": "axis_deg",
    "2:16136": "t_axis_deg",
    "5.10.3-15": "t_axis_deg",
    "MDC_ECG_HEART_RATE": "heart_rate_bpm",
    "MDC_ECG_TIME_PD_RR": "rr_ms",
    "MDC_ECG_TIME_PD_P": "p_ms",
    "MDC_ECG_TIME_PD_PR": "pr_ms",
    "MDC_ECG_TIME_PD_QRS": "qrs_ms",
    "MDC_ECG_TIME_PD_QT": "qt_ms",
    "MDC_ECG_TIME_PD_QTc": "qtc_ms",
    "MDC_ECG_TIME_PD_QTcB": "qtc_bazett_ms",
    "MDC_ECG_TIME_PD_QTcF": "qtc_fridericia_ms",
    "MDC_ECG_ANGLE_P_FRONT": "p_axis_deg",
    "MDC_ECG_ANGLE_QRS_FRONT": "axis_deg",
    "MDC_ECG_ANGLE_T_FRONT": "t_axis_deg",
}
# for codes of a manufacturer's own
_BY_MEANING = {
    "heart rate": "heart_rate_bpm",
    "ventricular rate": "heart_rate_bpm",
    "ventricular heart rate": "heart_rate_bpm",
    "rr interval": "rr_ms",
    "p duration": "p_ms",
    "pr interval": "pr_ms",
    "pq interval": "pr_ms",
    "qrs duration": "qrs_ms",
    "qt interval": "qt_ms",
    "qtc interval": "qtc_ms",
    "qtc": "qtc_ms",
    "p axis": "p_axis_deg",
    "qrs axis": "axis_deg",
    "t axis": "t_axis_deg",
}
_FORMULAS = {
    "bazett": "qtc_bazett_ms",
    "fridericia": "qtc_fridericia_ms",
    "fredericia": "qtc_fridericia_ms",  # so in the standard
    "framingham": "qtc_framingham_ms",
    "hodges": "qtc_hodges_ms",
}
_PLACES = ("ReferencedSamplePositions", "ReferencedTimeOffsets", "ReferencedDateTime")


def annotated(file: Any, others: Container[int]) -> dict[str, Any]:
    """The metadata of `device.metadata`; of two values of one kind the first.

    Args:
        file: the data set.
        others: numbers, from 1 on, of multiplex groups that are another recording than the one that is read. What is
            said of a median beat, which is computed from it, holds.
    """
    measured: dict[str, float | None] = {}
    statements: list[str] = []
    for item in file.get("WaveformAnnotationSequence") or ():
        try:
            if any(item.get(place) is not None for place in _PLACES) or _of_another(item, others):
                continue
            if item.get("NumericValue") is None:
                statements += _lines(item)
            elif _of_all_leads(item) and (found := _value(item)) is not None:
                measured.setdefault(*found)
        except (AttributeError, TypeError, ValueError, NotImplementedError):
            continue  # a damaged annotation is no reason not to read the signal
    return device.metadata(measured, statements)


def _references(item: Any) -> list[tuple[int, int]]:
    """(multiplex group, channel), each from 1 on; channel 0 is all of the group."""
    numbers = item.get("ReferencedWaveformChannels") or ()
    return list(zip(map(int, numbers[::2]), map(int, numbers[1::2]), strict=True))


def _of_another(item: Any, others: Container[int]) -> bool:
    return any(group in others for group, _ in _references(item))


def _of_all_leads(item: Any) -> bool:
    return all(channel == 0 for _, channel in _references(item))


def _code(item: Any, sequence: str) -> tuple[str, str]:
    """(code, meaning) of the first code of a sequence, empty where there is none."""
    codes: Sequence[Any] = item.get(sequence) or ()
    return (str(codes[0].get("CodeValue", "")), str(codes[0].get("CodeMeaning", ""))) if codes else ("", "")


def _value(item: Any) -> tuple[str, float | None] | None:
    """(our name, value in its unit), None for what is not known, or not in a unit of its kind."""
    code, meaning = _code(item, "ConceptNameCodeSequence")
    words = " ".join(meaning.lower().split())
    name = _BY_CODE.get(code.removesuffix("_GL")) or _BY_MEANING.get(words.removesuffix(" global"))
    if "qt" in words:  # the formula is in the meaning where the code leaves it open
        name = next((told for formula, told in _FORMULAS.items() if formula in words), name)
    unit, _ = _code(item, "MeasurementUnitsCodeSequence")
    value = None if name is None else device.converted(name, float(item.NumericValue), unit)
    return None if name is None or value is None else (name, value)


def _lines(item: Any) -> list[str]:
    """The lines of a statement, as text or as the meaning of a code; none of one that may name a person, by its text or
    by what it is said to be."""
    _, about = _code(item, "ConceptNameCodeSequence")
    text = str(item.get("UnformattedTextValue") or "") or _code(item, "ConceptCodeSequence")[1]
    return [] if may_name(f"{about}: {text}") else text.splitlines()
