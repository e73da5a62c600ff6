"""``llava-ecg report``: one HTML file about an ECG that can be handed on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags
from llava_ecg.cli.ask import decoding_of, open_model
from llava_ecg.cli.flags import Opener
from llava_ecg.terminal import RESEARCH_USE, show

if TYPE_CHECKING:
    from llava_ecg.case import Case
    from llava_ecg.document import Exchange
    from llava_ecg.ecg.trend import Stretch

SUFFIXES = (".html", ".htm")
LONG_S = 120.0  # of what is longer the rate over time is drawn
STRETCHES = 60


def add(commands: Any) -> None:
    """Declare ``report``."""
    parser = flags.command(
        commands,
        "report",
        "write a report about an ECG: page, measurements, answers with their audit, as one HTML file",
        'llava-ecg report patient.hea --ask "Interpret this ECG." -o report.html',
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the ECG, in any format that measure reads")
    parser.add_argument("-o", "--output", type=Path, metavar="HTML", required=True, help="the file to write")
    parser.add_argument(
        "--ask",
        action="append",
        default=[],
        metavar="QUESTION",
        help="ask a model, and write its answer with what became of each claim; may be given several times",
    )
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="set another recording of the same patient beside it"
    )
    parser.add_argument("--person", action="store_true", help="write age and sex")
    parser.add_argument(
        "--missing-leads",
        choices=("refuse", "zero"),
        default="refuse",
        help="with --ask: what to do if some of the 12 leads are absent (default: %(default)s)",
    )
    flags.add_part(parser)
    flags.add_reading(parser)
    flags.add_model(parser)
    parser.set_defaults(run=run_report)


def run_report(arguments: argparse.Namespace, open_assistant: Opener | None) -> int:
    """Read, measure, ask, and write."""
    from llava_ecg import files
    from llava_ecg.document import document

    target = files.check_target(arguments.output, SUFFIXES)
    questions = [files.check_question(text) for text in arguments.ask]
    case = _case(arguments.file, arguments)
    other = None if arguments.compare is None else _case(arguments.compare, arguments)
    exchanges = _asked(arguments, open_assistant, case, questions) if questions else []
    text = document(case, exchanges, other=other, stretches=_stretches(case), person=arguments.person)
    files.write_bytes(target, text.encode("utf-8"))
    show(f"{target} ({target.stat().st_size / 1000:.0f} kB)", RESEARCH_USE)
    return 0


def _case(path: Path, arguments: argparse.Namespace) -> Case:
    """The recording, measured before a model is loaded: one that is too short is refused here."""
    from llava_ecg import files
    from llava_ecg.case import Case

    recording = files.read_recording(path, **flags.reading(arguments))
    if arguments.ask and path == arguments.file:
        recording = files.complete_leads(recording, arguments.missing_leads)
    case = Case(recording)
    _ = case.measurements
    return case


def _stretches(case: Case) -> list[Stretch]:
    """Of a long recording."""
    from llava_ecg.ecg.trend import SHORTEST_S, trend

    recording: Any = case.recording
    if recording.duration < LONG_S:
        return []
    return list(trend(recording.window, recording.duration, max(SHORTEST_S, recording.duration / STRETCHES)))


def _asked(
    arguments: argparse.Namespace, open_assistant: Opener | None, case: Case, questions: list[str]
) -> list[Exchange]:
    """The answers, one after the other; what was read of the ECG is read once."""
    from llava_ecg.data.conversation import Turn
    from llava_ecg.document import Exchange

    decoding = decoding_of(arguments)
    assistant = open_model(arguments, open_assistant)
    return [Exchange(text, assistant.ask((Turn("user", text),), case, decoding)) for text in questions]
