"""A recording and its measurements as a notebook shows them, and the pieces of that which a report shows too.

Names, ids, age, sex and the folders of a file stay out, as they do everywhere else unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from llava_ecg import display
from llava_ecg.ecg.measurement_table import device_rows, lead_rows, rows
from llava_ecg.ecg.quality import describe_quality, quality
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from llava_ecg.ecg.measurements import Measurements
    from llava_ecg.ecg.recording import Recording

DPI = 120.0
"""Of the page in a notebook: 1320 x 1020 pixels."""


def named(recording: Recording | None) -> str:
    """The name of the file, without the folders it lies in."""
    return PurePath(getattr(recording, "source", "") or "ECG").name


def facts(recording: Recording) -> str:
    """Leads, rate, length and start in one line."""
    count = len(recording.leads)
    told = f"{count} {'lead' if count == 1 else 'leads'}, {recording.rate:g} Hz, {recording.duration:.1f} s"
    return told if recording.start is None else f"{told}, recorded {recording.start:%Y-%m-%d %H:%M}"


def page_png(recording: Recording) -> bytes | None:
    """The first page of a recording as a PNG that prints at true scale; None where nothing is there to be drawn."""
    from llava_ecg.ecg.render import render

    if not recording.leads or not recording.signal.shape[1]:
        return None
    try:
        return display.png(render(recording, dpi=DPI))
    except InputError:
        return None


def recording_html(recording: Recording) -> str:
    """What was read, its page, and the remarks on it."""
    page = page_png(recording)
    alt = f"Page of {named(recording)}: {facts(recording)}"
    remarks = [f"signal: {describe_quality(quality(recording))}", *recording.notes]
    return display.fragment(
        f"<p><strong>{display.text(named(recording))}</strong> {display.text(facts(recording))}</p>",
        display.paragraph("no page can be drawn of it", "quiet") if page is None else display.picture(page, alt),
        *(display.paragraph(remark, "quiet") for remark in dict.fromkeys(remarks)),
    )


def measurements_html(measured: Measurements) -> str:
    """The values beside their references, the findings, the remarks, and the leads for those who open them."""
    counts = {
        "beats": len(measured.beats),
        "ventricular premature": measured.ventricular_premature,
        "supraventricular premature": measured.supraventricular_premature,
        "paced": measured.paced_beats,
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    notes = [*measured.notes, *([measured.lead_reversal] if measured.lead_reversal else [])]
    found, leads = findings(measured), lead_table(measured)
    return display.fragment(
        value_table(measured),
        display.paragraph(told) if told else "",
        f"{display.paragraph('Findings (facts about the signal, no diagnosis)')}\n{found}" if found else "",
        *(display.paragraph(note, "quiet") for note in notes),
        display.folded(f"{len(measured.leads)} leads", leads) if leads else "",
        display.paragraph(display.RESEARCH_USE, "quiet"),
    )


def value_table(measured: Measurements) -> str:
    """The values of a whole recording beside the reference of healthy adults."""
    shown = rows(measured)
    body = [
        (
            row.label,
            row.value + "*" * row.flagged,
            row.unit,
            row.spread.replace("+-", "\u00b1"),
            row.why or row.reference,
        )
        for row in shown
    ]
    told = "Of the whole recording. Bold with * lies beyond the reference of healthy adults, which is no diagnosis."
    heads = ("Measurement", "Value", "Unit", "Beats vary by", "Reference")
    return display.table(told, heads, body, {1}, {number for number, row in enumerate(shown) if row.flagged})


def device(measured: Measurements, metadata: Mapping[str, Any]) -> str:
    """What the device that recorded the ECG measured, beside ours, and what it stated; empty where the file has
    neither."""
    body = [(row.label, row.device, row.ours, row.unit) for row in device_rows(measured, metadata)]
    told = "As the file has it, beside what is measured here."
    values = display.table(told, ("Measurement", "Device", "Ours", "Unit"), body, {1, 2}) if body else ""
    said = display.items(metadata.get("device_statements", []))
    about = display.paragraph("Stated by the device, or by who read the ECG; none of it is checked here.", "quiet")
    return "\n".join(filter(None, (values, f"{about}\n{said}" if said else "")))


def lead_table(measured: Measurements) -> str:
    """Lead by lead; empty without leads."""
    heads, cells = lead_rows(measured)
    told = "Heights of the waves, and the ST level at the J point and 60 ms after it, in mV."
    return display.table(told, heads, cells, range(1, len(heads) - 2)) if cells else ""


def findings(measured: Measurements) -> str:
    """What is there, each with the reason; empty where nothing is."""
    there = [each for each in measured.findings.values() if each.present]
    told = [
        f"<li><strong>{display.text(each.name)}</strong>"
        f"{display.text(f' ({each.territory})' if each.territory else '')}: {display.text(each.because)}</li>"
        for each in there
    ]
    return "\n".join(["<ul>", *told, "</ul>"]) if told else ""
