"""A report that can be handed on: one HTML file that needs nothing beside it, no script and no network.

The page with the cited waves marked, the measurements with reference values, the answer with each claim underlined by
what became of it, the signal's quality, and where everything came from. Names, ids and paths stay out; age and sex are
in it when they are asked for. On A4 the page is printed at true scale.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg import __version__
from llava_ecg.ecg.measurement_table import lead_rows, rows
from llava_ecg.ecg.quality import describe_quality, quality
from llava_ecg.ecg.trend import Stretch, trend_plot
from llava_ecg.files import printable_line
from llava_ecg.grounding.audit import Audit
from llava_ecg.grounding.picture import picture
from llava_ecg.grounding.verdicts import Status, Verdict
from llava_ecg.report import audit_summary, notes_of
from llava_ecg.terminal import RESEARCH_USE

if TYPE_CHECKING:
    from PIL.Image import Image

    from llava_ecg.assistant import Answer
    from llava_ecg.case import Case

_STYLE = Path(__file__).with_suffix(".css")
_CLASSES = {Status.SUPPORTED: "supported", Status.CONTRADICTED: "contradicted"}
_WEIGHT = {Status.SUPPORTED: 0, Status.CONTRADICTED: 2}  # of several claims in the same words the worst is shown


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
    title = f"ECG report: {_name(case)}"
    parts = [
        _head(case, title, person),
        _page(case, exchanges[0].answer if exchanges else None),
        *(_exchange(number, each, len(exchanges)) for number, each in enumerate(exchanges, 1)),
        _comparison(case, other) if other is not None else _measurements(case),
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
        f"<title>{_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body>\n</html>\n"
    )


def _text(value: Any) -> str:
    """What a file or a model said, as it may stand in HTML."""
    return escape(printable_line(str(value)))


def _head(case: Case, title: str, person: bool) -> str:
    recording: Any = case.recording
    told = [f"{len(recording.leads)} leads, {recording.rate:g} Hz, {recording.duration:.1f} s"]
    if recording.start is not None:
        told.append(f"recorded {recording.start:%Y-%m-%d %H:%M}")
    if person:
        age, sex = recording.metadata.get("age"), recording.metadata.get("sex")
        told += [f"age {age:g}"] if age is not None else []
        told += [str(sex)] if sex else []
    return (
        f"<header>\n<h1>{_text(title)}</h1>\n<p>{_text(', '.join(told))}</p>\n"
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
    about = f"Page of {_name(case)}: {len(recording.leads)} leads, the first {seconds:.0f} seconds"
    about += "" if rate is None else f", {rate:.0f} bpm"
    marked = f"; {len(drawn.marks)} places that the answer speaks of are marked" if drawn.marks else ""
    return (
        f'<figure class="sheet">\n<img src="{_data(sheet)}" alt="{_text(about + marked)}">\n'
        f"<figcaption>{_text(about + marked)}; true to scale when it is printed on A4 at 100 %.</figcaption>\n</figure>"
    )


def _exchange(number: int, each: Exchange, count: int) -> str:
    answer = each.answer
    verdicts = () if answer.audit is None else answer.audit.verdicts
    lines = [
        f"<p><strong>Question:</strong> {_text(each.question)}</p>",
        f"<blockquote>{_underlined(answer.text, verdicts, number)}</blockquote>",
        f"<p>Audit against the signal: {_text(audit_summary(answer.audit))}.</p>",
    ]
    items = []
    for place, verdict in enumerate(verdicts, 1):
        status, _, told = verdict.line().partition("  ")
        badge = f'<span class="badge {_class(verdict)}">{_text(status.strip())}</span>'
        items.append(f'<li id="claim-{number}-{place}">{badge} {_text(told.strip())}</li>')
    lines += ['<ol class="claims">', *items, "</ol>"] if items else []
    remarks = () if answer.audit is None else answer.audit.remarks
    lines += [f'<p class="quiet">{_text(remark)}</p>' for remark in (*notes_of(answer), *remarks)]
    which = f"Answer {number} of {count}, by" if count > 1 else "Answer of"
    return _section(f"answer-{number}", f"{which} {answer.model}", *lines)


def _underlined(text: str, verdicts: Sequence[Verdict], number: int) -> str:
    """The text with its claims marked, each with its verdict to hover over and the number of its line below.

    A claim inside of another's words shares their mark.
    """
    found, at = [], 0
    order = sorted(range(len(verdicts)), key=lambda index: verdicts[index].claim.span)
    while order:
        begin, end = verdicts[order[0]].claim.span
        group = [order.pop(0)]
        while order and verdicts[order[0]].claim.span[0] < end:
            end = max(end, verdicts[order[0]].claim.span[1])
            group.append(order.pop(0))
        if end > len(text) or begin < at:
            continue
        worst = max((verdicts[index] for index in group), key=lambda each: _WEIGHT.get(each.status, 1))
        told = "; ".join(" ".join(verdicts[index].line().split()) for index in group)
        links = "".join(f'<a href="#claim-{number}-{index + 1}">{index + 1}</a>' for index in group)
        found.append(_lines(text[at:begin]))
        found.append(f'<mark class="{_class(worst)}" title="{_text(told)}">{_lines(text[begin:end])}{links}</mark>')
        at = end
    return "".join([*found, _lines(text[at:])])


def _lines(text: str) -> str:
    return "\n".join(_text(line) for line in text.split("\n"))


def _class(verdict: Verdict) -> str:
    return _CLASSES.get(verdict.status, "unsure")


def _table(
    caption: str,
    heads: Sequence[str],
    body: Sequence[Sequence[str]],
    numbers: Container[int],
    flagged: Container[int] = (),
) -> str:
    """A table whose first column names the rows.

    Args:
        numbers: columns that are set to the right.
        flagged: rows that are set bold.
    """

    def kind(column: int) -> str:
        return ' class="number"' if column in numbers else ""

    top = "".join(f'<th scope="col"{kind(at)}>{_text(head)}</th>' for at, head in enumerate(heads))
    lines = ['<div class="wide" tabindex="0"><table>', f"<caption>{_text(caption)}</caption>"]
    lines += [f"<thead><tr>{top}</tr></thead>", "<tbody>"]
    for number, cells in enumerate(body):
        bold = ' class="flagged"' if number in flagged else ""
        rest = "".join(f"<td{kind(at)}>{_text(cell)}</td>" for at, cell in enumerate(cells[1:], 1))
        lines.append(f'<tr{bold}><th scope="row">{_text(cells[0])}</th>{rest}</tr>')
    return "\n".join([*lines, "</tbody></table></div>"])


def _section(name: str, heading: str, *content: str) -> str:
    return "\n".join(
        [f'<section aria-labelledby="{name}">', f'<h2 id="{name}">{_text(heading)}</h2>', *content, "</section>"]
    )


def _measurements(case: Case) -> str:
    measured: Any = case.measurements
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
    flagged = {number for number, row in enumerate(shown) if row.flagged}
    return _section("measured", "Measurements", _table(told, heads, body, {1}, flagged))


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
    heads = ("Measurement", _name(case), _name(other), "Difference", "Unit", "Reference")
    page = _page(other, None)
    return _section("compared", "Measurements of both recordings", _table(told, heads, body, {1, 2, 3}), page)


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


def _trend(stretches: Sequence[Stretch]) -> str:
    known = [each.heart_rate_bpm for each in stretches if each.heart_rate_bpm is not None]
    told = f"{min(known):.0f} to {max(known):.0f} bpm" if known else "no rate could be measured"
    alt = f"Heart rate over time, {len(stretches)} stretches: {told}"
    figure = f'<figure><img src="{_data(trend_plot(list(stretches)))}" alt="{_text(alt)}">'
    return _section("trend", "Rate over time", f"{figure}<figcaption>{_text(alt)}.</figcaption></figure>")


def _leads(case: Case) -> str:
    measured: Any = case.measurements
    heads, cells = lead_rows(measured)
    told = "Heights of the waves, and the ST level at the J point and 60 ms after it, in mV."
    return _section("leads", "Leads", _table(told, heads, cells, range(1, len(heads) - 2))) if cells else ""


def _findings(case: Case) -> str:
    measured: Any = case.measurements
    there = [each for each in measured.findings.values() if each.present]
    if not there:
        return ""
    items = "\n".join(
        f"<li><strong>{_text(each.name)}</strong>{_text(f' ({each.territory})' if each.territory else '')}: "
        f"{_text(each.because)}</li>"
        for each in there
    )
    told = '<p class="quiet">Facts about the signal, no diagnosis.</p>'
    return _section("findings", "Findings", told, f"<ul>\n{items}\n</ul>")


def _quality(case: Case) -> str:
    recording: Any = case.recording
    measured: Any = case.measurements
    told = [describe_quality(quality(recording)), *recording.notes, *measured.notes]
    told += [measured.lead_reversal] if measured.lead_reversal else []
    items = "\n".join(f"<li>{_text(each)}</li>" for each in dict.fromkeys(told))
    return _section("quality", "Signal", f"<ul>\n{items}\n</ul>")


def _provenance(case: Case, exchanges: Sequence[Exchange], other: Case | None, made: datetime) -> str:
    told = [f"made {made:%Y-%m-%d %H:%M %Z} by llava_ecg {__version__}"]
    for one in (case, other):
        if one is not None and one.recording is not None:
            digest = hashlib.sha256(one.recording.signal.tobytes()).hexdigest()[:16]
            told.append(f"{_name(one)} ({one.recording.format or 'made'}), SHA-256 of its samples begins {digest}")
    for each in exchanges:
        asked = ", ".join(f"{key} {value}" for key, value in each.answer.overrides.items())
        more = f", asked otherwise than it was filed: {asked}" if asked else ""
        told.append(f"answered by {each.answer.model}{more}")
    items = "\n".join(f"<li>{_text(line)}</li>" for line in told)
    head = "</main>\n<footer>\n<h2>Where this comes from</h2>"
    return f"{head}\n<ul>\n{items}\n</ul>\n<p>{RESEARCH_USE}</p>\n</footer>"


def _name(case: Case) -> str:
    """Of the file, without the folders it lies in."""
    return Path(getattr(case.recording, "source", "") or "ECG").name


def _data(image: Image) -> str:
    """A picture as a part of the file; few colours, so that it is small."""
    from PIL.Image import Dither

    held = io.BytesIO()
    image.convert("RGB").quantize(64, dither=Dither.NONE).save(held, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode("ascii")
