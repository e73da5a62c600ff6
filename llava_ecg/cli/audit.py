"""``llava-ecg audit``: what any text says of an ECG, held against the signal; no model is loaded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags
from llava_ecg.cli.flags import Opener
from llava_ecg.errors import InputError
from llava_ecg.terminal import RESEARCH_USE, show, show_json

if TYPE_CHECKING:
    from llava_ecg.grounding.audit import Audit

PAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
WORDS = 32
"""So many characters of a claim's words are printed."""
LARGEST = 20_000_000
"""A text has at most so many bytes."""


def add(commands: Any) -> None:
    """Declare ``audit``."""
    audit = flags.command(
        commands,
        "audit",
        "check what a text says of an ECG against its signal",
        "llava-ecg audit --ecg patient.hea --text answer.txt --page audit.png",
    )
    audit.add_argument(
        "--ecg", type=Path, metavar="FILE", required=True, help="the ECG: WFDB header, DICOM, npy, npz or csv"
    )
    audit.add_argument(
        "--text",
        metavar="FILE",
        required=True,
        help="the text, such as a model's answer or a report (UTF-8); - reads it",
    )
    audit.add_argument(
        "--question", metavar="TEXT", default="", help="what the text answers: what it leaves unanswered is then said"
    )
    audit.add_argument(
        "--fix",
        action="store_true",
        help="print the text too, each contradicted value struck, the measured one beside it",
    )
    audit.add_argument(
        "--sex",
        choices=("male", "female"),
        help="for the thresholds that depend on it (default: what the ECG's file says)",
    )
    audit.add_argument(
        "--age",
        type=flags.number("age", float, 0, 125),
        metavar="YEARS",
        help="for the threshold of ST elevation in V2 and V3 (default: what the ECG's file says)",
    )
    audit.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    audit.add_argument(
        "--page",
        type=Path,
        metavar="PAGE",
        help=f"draw the page with the cited waves marked: {', '.join(PAGE_SUFFIXES)}",
    )
    flags.add_part(audit)
    flags.add_reading(audit)
    audit.set_defaults(run=run_audit)


def run_audit(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print the verdict on each claim; with ``--page``, draw them."""
    from llava_ecg import files, report
    from llava_ecg.ecg.measure import measure
    from llava_ecg.grounding.answer import audit_answer, corrected

    if arguments.page is not None:
        files.check_target(arguments.page, PAGE_SUFFIXES)
    text = _text(arguments.text)
    recording = files.read_recording(arguments.ecg, **flags.reading(arguments))
    sex = arguments.sex or recording.metadata.get("sex")
    age = arguments.age if arguments.age is not None else recording.metadata.get("age")
    measurements = measure(recording, sex=sex, age=age)
    question = files.check_question(arguments.question) if arguments.question else ""
    found = audit_answer(question, text, measurements, sex=sex, age=age)
    if arguments.page is not None:
        from llava_ecg.grounding.picture import picture

        files.write_image(arguments.page, picture(recording, measurements, found).image)
    if arguments.json:
        values = {
            "recording": report.recording_dict(recording),
            "measurements": measurements.to_dict(per_beat=False),
            "audit": found.to_dict(),
            "fixed": corrected(text, found) if arguments.fix else None,
            "page": None if arguments.page is None else str(arguments.page),
        }
        show_json(report.plain(values))
        return 0
    page = [] if arguments.page is None else [f"page     {arguments.page}"]
    fixed = ["", *corrected(text, found).splitlines()] if arguments.fix else []
    notes = [f"note     {note}" for note in (*measurements.notes, measurements.lead_reversal) if note]
    summary = f"audit    {report.audit_summary(found)}"
    show(*report.recording_lines(recording), *notes, "", summary, *_rows(found), *fixed, *page, "", RESEARCH_USE)
    return 0


def _rows(found: Audit) -> list[str]:
    """A row a claim: the verdict, the words of the text, and what was claimed, measured and allowed."""
    from llava_ecg.files import printable_line
    from llava_ecg.grounding.verdicts import Status

    rows = []
    for verdict in found.verdicts:
        words = printable_line(" ".join(verdict.claim.text.split()))
        status = verdict.status.value
        told = verdict.line().removeprefix(status).lstrip()
        rows.append((status, f'"{words if len(words) <= WORDS else words[: WORDS - 3] + "..."}"', told))
    wide = max((len(words) for _, words, _ in rows), default=0)
    unchecked = [f"  {Status.NOT_CHECKED.value:<13}  {printable_line(words)}" for words in found.unchecked]
    return [
        *(f"  {status:<13}  {words:<{wide}}  {told}" for status, words, told in rows),
        *unchecked,
        *(f"  {line}" for line in found.remarks),
    ]


def _text(name: str) -> str:
    """The text of a file, or all of standard input for ``-``.

    Raises:
        InputError: no such file, not UTF-8, empty, or larger than `LARGEST`.
    """
    if name == "-":
        raw = sys.stdin.buffer.read(LARGEST + 1) if sys.stdin is not None else b""
        source = "standard input"
    else:
        source = name
        try:
            with Path(name).open("rb") as file:
                raw = file.read(LARGEST + 1)
        except OSError as error:
            raise InputError(
                f"can't read the text {name} ({error.strerror}); give a text file, or - for standard input"
            ) from error
    if len(raw) > LARGEST:
        raise InputError(
            f"{source} is larger than {LARGEST // 10**6} MB, which is no answer about an ECG; give a shorter text"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source} is not UTF-8 text (byte {error.start}); convert it, or check that it is a text file"
        ) from error
    if not text.strip():
        raise InputError(f"{source} is empty; there is nothing to audit")
    return text
