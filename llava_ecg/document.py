"""A report that can be handed on: one HTML file that needs nothing beside it, no script and no network.

The page with the cited waves marked, the measurements with reference values, the answer with each claim underlined by
what became of it, the signal's quality, and where everything came from. Names, ids and paths stay out; age and sex are
in it when they are asked for. On A4 the page is printed at true scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg import __version__, display
from llava_ecg.display import RESEARCH_USE, items, paragraph, table, text
from llava_ecg.ecg.displayed import device, facts, findings, lead_table, named, value_table
from llava_ecg.ecg.measurement_table import rows
from llava_ecg.ecg.quality import describe_quality, quality
from llava_ecg.ecg.trend import Stretch, trend_plot
from llava_ecg.grounding.audit import Audit
from llava_ecg.grounding.displayed import claim_list, underlined
from llava_ecg.grounding.picture import picture
from llava_ecg.report import audit_summary, notes_of

if TYPE_CHECKING:
    from llava_ecg.assistant import Answer
    from llava_ecg.case import Case

_STYLE = Path(__file__).with_suffix(".css")


@dataclass(frozen=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: Answer


def document(
    case: Case,
    exchanges: Sequence[Exchange] = (),
    *,
    other: Case | None = None,
    stretches: Sequence[Stretch] = (),
    person: bool = False,
    made: datetime | None = None,
) -> str:
    """The report as HTML.

    Args:
        case: the recording; it has a signal.
        exchanges: questions about it with their answers; the waves that the first one cites are marked on the page.
        other: an earlier or later recording of the same patient, to be set beside it.
        stretches: of a long recording, see `llava_ecg.ecg.trend.trend`.
        person: write age and sex.
        made: when; now by default.

    Raises:
        InputError: the recording is too short or empty to be measured.
        ValueError: a case without a signal.
    """
    if case.recording is None or case.measurements is None:
        raise ValueError("a report is about a signal")
    title = f"ECG report: {named(case.recording)}"
    parts = [
        _head(case, title, person),
        _page(case, exchanges[0].answer if exchanges else None),
        *(_exchange(number, each, len(exchanges)) for number, each in enumerate(exchanges, 1)),
        _comparison(case, other) if other is not None else _measurements(case),
        _device(case, other),
        _trend(stretches) if stretches else "",
        _leads(case),
        _findings(case),
        _quality(case),
        _provenance(case, exchanges, other, made or datetime.now().astimezone()),
    ]
    style = _STYLE.read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src "
        'data:">\n'
        f'<title>{text(title)}</title>\n<style>\n{display.style()}{style}</style>\n</head>\n<body class="llava-ecg">\n'
        + "\n".join(filter(None, parts))
        + "\n</body>\n</html>\n"
    )


def _head(case: Case, title: str, person: bool) -> str:
    recording: Any = case.recording
    told = [facts(recording)]
    if person:
        age, sex = recording.metadata.get("age"), recording.metadata.get("sex")
        told += [f"age {age:g}"] if age is not None else []
        told += [str(sex)] if sex else []
    return (
        f"<header>\n<h1>{text(title)}</h1>\n<p>{text(', '.join(told))}</p>\n"
        f'<p class="warning">{RESEARCH_USE}</p>\n</header>\n<main>'
    )


def _page(case: Case, answer: Answer | None) -> str:
    """The page as it is printed, with the marks of an answer."""
    recording: Any = case.recording
    audit = answer.audit if answer is not None and answer.audit is not None else Audit(())
    measured: Any = case.within(None if answer is None else answer.shown)
    drawn = picture(recording, measured, audit)
    sheet = drawn.image.crop((0, 0, drawn.page.image.width, round(drawn.page.px_per_mm * 204.0)))
    rate = measured.heart_rate_bpm
    seconds = min(10.0, recording.duration)
    about = f"Page of {named(case.recording)}: {len(recording.leads)} leads, the first {seconds:.0f} seconds"
    about += "" if rate is None else f", {rate:.0f} bpm"
    marked = f"; {len(drawn.marks)} places that the answer speaks of are marked" if drawn.marks else ""
    scale = "; true to scale when it is printed on A4 at 100 %."
    return display.picture(sheet, about + marked, about + marked + scale, "sheet")


def _exchange(number: int, each: Exchange, count: int) -> str:
    answer, name = each.answer, f"claim-{number}"
    verdicts = () if answer.audit is None else answer.audit.verdicts
    lines = [
        f"<p><strong>Question:</strong> {text(each.question)}</p>",
        f"<blockquote>{underlined(answer.text, verdicts, name)}</blockquote>",
        f"<p>Audit against the signal: {text(audit_summary(answer.audit))}.</p>",
    ]
    lines.append(claim_list(verdicts, f"claim-{number}"))
    remarks = () if answer.audit is None else answer.audit.remarks
    lines += [paragraph(remark, "quiet") for remark in (*notes_of(answer), *remarks)]
    which = f"Answer {number} of {count}, by" if count > 1 else "Answer of"
    return _section(f"answer-{number}", f"{which} {answer.model}", *filter(None, lines))


def _section(name: str, heading: str, *content: str) -> str:
    return "\n".join(
        [f'<section aria-labelledby="{name}">', f'<h2 id="{name}">{text(heading)}</h2>', *content, "</section>"]
    )


def _measurements(case: Case) -> str:
    measured: Any = case.measurements
    return _section("measured", "Measurements", value_table(measured))


def _comparison(case: Case, other: Case) -> str:
    """Both recordings' measurements and their differences, and the other one's page."""
    first, second = (rows(each.measurements) for each in (case, other) if each.measurements is not None)
    body = [
        (
            one.label,
            one.value + "*" * one.flagged,
            two.value + "*" * two.flagged,
            _difference(one.value, two.value, one.unit),
            one.unit,
            one.reference,
        )
        for one, two in zip(first, second, strict=True)
    ]
    told = "* lies beyond the reference of healthy adults. The difference is the second minus the first."
    heads = ("Measurement", named(case.recording), named(other.recording), "Difference", "Unit", "Reference")
    page = _page(other, None)
    return _section("compared", "Measurements of both recordings", table(told, heads, body, {1, 2, 3}), page)


def _difference(one: str, two: str, unit: str) -> str:
    """Of two values as they are shown; of angles the shorter way round."""
    try:
        change = float(two) - float(one)
    except ValueError:
        return "" if one == two else "differs"
    if unit == "deg":
        change = (change + 180) % 360 - 180
    places = len(one.partition(".")[2])
    return f"{change:+.{places}f}" if abs(change) >= 0.5 * 10.0**-places else "0"


def _device(case: Case, other: Case | None) -> str:
    """What the devices measured and stated, of each recording whose file has it."""
    told = []
    for each in (case, other):
        recording: Any = None if each is None else each.recording
        measured: Any = None if each is None else each.measurements
        found = "" if recording is None else device(measured, recording.metadata)
        if found:
            told += [f"<h3>{text(named(recording))}</h3>"] * (other is not None) + [found]
    return _section("device", "Measured and stated by the device", *told) if told else ""


def _trend(stretches: Sequence[Stretch]) -> str:
    known = [each.heart_rate_bpm for each in stretches if each.heart_rate_bpm is not None]
    told = f"{min(known):.0f} to {max(known):.0f} bpm" if known else "no rate could be measured"
    alt = f"Heart rate over time, {len(stretches)} stretches: {told}"
    return _section("trend", "Rate over time", display.picture(trend_plot(list(stretches)), alt, f"{alt}."))


def _leads(case: Case) -> str:
    measured: Any = case.measurements
    told = lead_table(measured)
    return _section("leads", "Leads", told) if told else ""


def _findings(case: Case) -> str:
    measured: Any = case.measurements
    told = findings(measured)
    return (
        _section("findings", "Findings", paragraph("Facts about the signal, no diagnosis.", "quiet"), told)
        if told
        else ""
    )


def _quality(case: Case) -> str:
    recording: Any = case.recording
    measured: Any = case.measurements
    told = [describe_quality(quality(recording)), *recording.notes, *measured.notes]
    told += [measured.lead_reversal] if measured.lead_reversal else []
    return _section("quality", "Signal", items(dict.fromkeys(told)))


def _provenance(case: Case, exchanges: Sequence[Exchange], other: Case | None, made: datetime) -> str:
    told = [f"made {made:%Y-%m-%d %H:%M %Z} by llava_ecg {__version__}"]
    for one in (case, other):
        if one is not None and one.recording is not None:
            digest = hashlib.sha256(one.recording.signal.tobytes()).hexdigest()[:16]
            told.append(
                f"{named(one.recording)} ({one.recording.format or 'made'}), SHA-256 of its samples begins {digest}"
            )
    for each in exchanges:
        asked = ", ".join(f"{key} {value}" for key, value in each.answer.overrides.items())
        more = f", asked otherwise than it was filed: {asked}" if asked else ""
        told.append(f"answered by {each.answer.model}{more}")
    head = "</main>\n<footer>\n<h2>Where this comes from</h2>"
    return f"{head}\n{items(told)}\n<p>{RESEARCH_USE}</p>\n</footer>"
