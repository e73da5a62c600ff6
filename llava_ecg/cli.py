"""What a person types: ``llava-ecg ask | chat | measure | render | list | fetch``.

Everything heavy is imported inside the command that needs it: ``--version``, ``--help`` and ``list`` load no numpy, ``measure`` and
``render`` no torch. Exit codes: 0 done, 2 something the person gave can't be used (one sentence on stderr), 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg import __version__
from llava_ecg.errors import InputError
from llava_ecg.plugins import SOCKETS
from llava_ecg.terminal import RESEARCH_USE

if TYPE_CHECKING:
    from PIL.Image import Image

    from llava_ecg.assistant import Answer, Assistant
    from llava_ecg.case import Case, Decoding
    from llava_ecg.ecg.recording import Recording

DEFAULT_QUESTION = "Interpret this ECG."
DEFAULT_MODEL = "gem-tiny"
PAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

Opener = Callable[..., "Assistant"]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
        prog="llava-ecg",
        description=f"Ask a language model about an ECG and have its claims checked against the signal. {RESEARCH_USE}",
        epilog='example: llava-ecg ask --ecg patient.hea "Is the rhythm regular?"',
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"llava-ecg {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_add_ask, _add_chat, _add_measure, _add_render, _add_list, _add_fetch):
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None, *, open_assistant: Opener | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the words after ``llava-ecg``; those of the process by default.
        open_assistant: what opens a model, called as ``open_assistant(model, device=, dtype=)``; `Assistant.open` by default.

    Raises:
        SystemExit: from argparse, for ``--help``, ``--version`` (0) and what it can't parse (2).
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation):  # a caller who runs this in his own process has read from it already
                stream.reconfigure(errors="replace")  # a Latin-1 terminal shows ? for what it lacks and does not end the program
    try:
        arguments = build_parser().parse_args(argv)
        code = arguments.run(arguments, open_assistant)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return 141
    except OSError as error:
        if error.strerror is None:
            raise
        return _refuse(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)


def _refuse(sentence: str) -> int:
    print(f"llava-ecg: {' '.join(sentence.split())}", file=sys.stderr)
    return 2


# -- the commands' flags ---------------------------------------------------------------------------------------------------------------


def _command(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example: {example}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )


def _add_ask(commands: Any) -> None:
    parser = _command(
        commands,
        "ask",
        "ask one question about an ECG and audit the answer",
        'llava-ecg ask --ecg patient.hea --out results "What is the QT interval?"',
    )
    parser.add_argument("question", nargs="?", default=DEFAULT_QUESTION, help="what to ask; - reads it from standard input")
    _add_case_flags(parser)
    _add_model_flags(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the page (PNG) and the answer (JSON), made if need be")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.set_defaults(run=_ask)


def _add_chat(commands: Any) -> None:
    parser = _command(
        commands, "chat", "talk about an ECG in the terminal, over several turns", "llava-ecg chat --ecg patient.hea   (then /help)"
    )
    _add_case_flags(parser)
    _add_model_flags(parser)
    parser.set_defaults(run=_chat)


def _add_measure(commands: Any) -> None:
    parser = _command(commands, "measure", "measure rate, intervals, axis and amplitudes of an ECG", "llava-ecg measure patient.hea --json")
    parser.add_argument("file", type=Path, metavar="FILE", help="the ECG: WFDB header, DICOM, npy, npz or csv")
    _add_reading_flags(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.set_defaults(run=_measure)


def _add_render(commands: Any) -> None:
    parser = _command(commands, "render", "draw an ECG as a 12-lead page at true scale", "llava-ecg render patient.hea -o page.png")
    parser.add_argument("file", type=Path, metavar="FILE", help="the ECG: WFDB header, DICOM, npy, npz or csv")
    parser.add_argument("-o", "--output", type=Path, metavar="PAGE", required=True, help=f"the image to write: {', '.join(PAGE_SUFFIXES)}")
    parser.add_argument("--dpi", type=_number("dpi", int, 50, 600), default=200, help="dots an inch, 50 to 600")
    _add_reading_flags(parser)
    parser.set_defaults(run=_render)


def _add_list(commands: Any) -> None:
    parser = _command(commands, "list", "list what is plugged in: readers, towers, projectors, templates", "llava-ecg list readers")
    parser.add_argument("socket", nargs="?", choices=sorted(SOCKETS), help="one kind only")
    parser.set_defaults(run=_list)


def _add_fetch(commands: Any) -> None:
    parser = _command(commands, "fetch", "get the language model of an embedded checkpoint, checked and cached", "llava-ecg fetch gem-tiny")
    parser.add_argument("name", nargs="?", default=DEFAULT_MODEL, metavar="NAME", help="which checkpoint")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="take it from this file and not from the network")
    parser.set_defaults(run=_fetch)


def _add_reading_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for files that do not say it themselves, such as npy and csv")
    group.add_argument("--rate", type=_number("rate", float, 1, 100_000), metavar="HZ", help="samples a second")
    group.add_argument("--unit", metavar="UNIT", help="unit of the values: mV, uV, V, nV, or the millivolts per step, such as 0.005")
    group.add_argument("--leads", metavar="I,II,...", help="lead names in the order of the file, or standard for I II III aVR ... V6")


def _add_case_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ecg", type=Path, metavar="FILE", help="the signal: WFDB header, DICOM, npy, npz or csv")
    parser.add_argument("--image", type=Path, metavar="FILE", help="an image of the page (by default it is drawn from the signal)")
    parser.add_argument(
        "--missing-leads", choices=("refuse", "zero"), default="refuse", help="what to do if some of the 12 leads are absent"
    )
    _add_reading_flags(parser)


def _add_model_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the model and how it answers")
    group.add_argument("--model", default=DEFAULT_MODEL, metavar="DIR|NAME", help="folder of a checkpoint, or a name")
    group.add_argument(
        "--temperature", type=_number("temperature", float, 0, 100), default=0.0, help="0 takes the likeliest word each time"
    )
    group.add_argument("--top-p", type=_number("top-p", float, 1e-6, 1), default=1.0, help="sample from the likeliest words of this total")
    group.add_argument("--max-new-tokens", type=_number("max-new-tokens", int, 1, 100_000), default=256, help="longest answer")
    group.add_argument("--seed", type=_number("seed", int, 0, 2**63 - 1), default=0, help="of the sampling")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ...; the GPU if there is one")
    group.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights; chosen for the device")


def _number(what: str, kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number of ``kind`` from low to high."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            whole = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{what} must be {whole} from {low:g} to {high:g}, not {text!r}")
        return value

    return parse


# -- the commands ----------------------------------------------------------------------------------------------------------------------


def _ask(arguments: argparse.Namespace, open_assistant: Opener | None) -> int:
    from llava_ecg import files, report

    if arguments.ecg is None and arguments.image is None:
        raise InputError("nothing to ask about; give --ecg FILE, --image FILE or both")
    question = files.check_question(_question(arguments.question))
    if arguments.out is not None:
        files.check_folder(arguments.out)
    result = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout):  # no library's chatter gets into the JSON
        recording, image = _inputs(arguments)
        if not arguments.json:
            _show_inputs(recording, image, arguments.image)
        case = _case(recording, image)
        if not arguments.json:
            print("" if case.measurements is None else f"\n{case.measurements.table()}\n", flush=True)
        assistant = _open(arguments, open_assistant)
        answer = _answer(assistant, question, case, _decoding(arguments), shown=not arguments.json)
        if not arguments.json:  # first shown, then written: a full disk must not take the answer with it
            print("\n".join(["", *report.audit_lines(answer.audit), *(f"note     {note}" for note in report.notes_of(answer))]), flush=True)
        found, failure = report.answer_dict(question, answer, case, None), None
        try:
            found["page"] = _write_page(arguments, case)
            written = _write_answer(arguments, found)
            if not arguments.json:
                print("\n".join([f"page     {found['page']}", f"JSON     {written}"] if written else []), end="\n" if written else "")
        except InputError as error:
            failure = error
        if not arguments.json:
            print(RESEARCH_USE)
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False, allow_nan=False), file=result)
    if failure is not None:
        raise failure
    return 0


def _chat(arguments: argparse.Namespace, open_assistant: Opener | None) -> int:
    case = _case(*_inputs(arguments))
    from llava_ecg import chat

    return chat.run(
        _open(arguments, open_assistant),
        case,
        decoding=_decoding(arguments),
        open_recording=lambda path: _recording(path, arguments),
        image_file=str(arguments.image or ""),
    )


def _measure(arguments: argparse.Namespace, _: Opener | None) -> int:
    from llava_ecg import files, report
    from llava_ecg.ecg.measure import measure

    recording = files.read_recording(arguments.file, rate=arguments.rate, unit=arguments.unit, leads=arguments.leads)
    measurements = measure(recording)
    if arguments.json:
        found = {"recording": report.recording_dict(recording), "measurements": report.plain(measurements.to_dict())}
        print(json.dumps(found, ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join([*report.recording_lines(recording), "", measurements.table(), "", RESEARCH_USE]))
    return 0


def _render(arguments: argparse.Namespace, _: Opener | None) -> int:
    from llava_ecg import files
    from llava_ecg.ecg.render import render

    files.check_target(arguments.output, PAGE_SUFFIXES)
    recording = files.read_recording(arguments.file, rate=arguments.rate, unit=arguments.unit, leads=arguments.leads)
    page = render(recording, dpi=arguments.dpi)
    files.write_image(arguments.output, page)
    print(f"{arguments.output} ({page.width} x {page.height} pixels)")
    return 0


def _list(arguments: argparse.Namespace, _: Opener | None) -> int:
    for kind in [arguments.socket] if arguments.socket else SOCKETS:
        registry = SOCKETS[kind]
        print(f"{kind}: {registry.summary}")
        width = max((len(name) for name in registry), default=0)
        for name in registry:
            print(f"  {name:{width}}  {registry.where(name)}")
    return 0


def _fetch(arguments: argparse.Namespace, _: Opener | None) -> int:
    from llava_ecg.model.fetch import fetch

    print(fetch(arguments.name, arguments.source, progress=lambda line: print(line, file=sys.stderr)))
    return 0


# -- their parts -----------------------------------------------------------------------------------------------------------------------


def _question(text: str) -> str:
    """The text itself, or all of standard input for ``-``."""
    if text != "-":
        return text
    return sys.stdin.read() if sys.stdin is not None else ""


def _recording(path: Path, arguments: argparse.Namespace) -> Recording:
    from llava_ecg import files

    recording = files.read_recording(path, rate=arguments.rate, unit=arguments.unit, leads=arguments.leads)
    return files.complete_leads(recording, arguments.missing_leads)


def _inputs(arguments: argparse.Namespace) -> tuple[Recording | None, Image | None]:
    """The files, read before the model's code is even imported, so that a mistake costs no waiting."""
    from llava_ecg.ecg.images import read_image

    recording = None if arguments.ecg is None else _recording(arguments.ecg, arguments)
    return recording, None if arguments.image is None else read_image(arguments.image)


def _case(recording: Recording | None, image: Image | None) -> Case:
    """What is asked about, measured before a model is loaded: a recording that is too short is refused here."""
    from llava_ecg.case import Case

    case = Case(recording, image)
    _ = case.measurements
    return case


def _decoding(arguments: argparse.Namespace) -> Decoding:
    from llava_ecg.case import Decoding

    return Decoding(arguments.temperature, arguments.top_p, arguments.max_new_tokens, arguments.seed)


def _open(arguments: argparse.Namespace, open_assistant: Opener | None) -> Assistant:
    print(f"loading {arguments.model} ...", file=sys.stderr)
    if open_assistant is None:
        from transformers.utils import logging

        from llava_ecg.assistant import Assistant

        logging.disable_progress_bar()  # a person waits for the answer, not for the library's bars and remarks
        logging.set_verbosity_error()
        open_assistant = Assistant.open
    return open_assistant(arguments.model, device=arguments.device, dtype=arguments.dtype)


def _show_inputs(recording: Recording | None, image: Image | None, image_file: Path | None) -> None:
    from llava_ecg import report

    lines = [] if recording is None else report.recording_lines(recording)
    if image is not None:
        lines.append(f"image    {image_file} ({image.width} x {image.height} pixels)")
    print("\n".join(lines), flush=True)


def _answer(assistant: Assistant, question: str, case: Case, decoding: Decoding, shown: bool) -> Answer:
    from llava_ecg.data.conversation import Turn
    from llava_ecg.terminal import Stream, width, write

    turns = (Turn("user", question),)
    if not shown:
        return assistant.ask(turns, case, decoding)
    write(f"question {question}\n\n")
    stream = Stream(write, width())
    try:
        return assistant.ask(turns, case, decoding, on_text=stream.feed)
    finally:
        stream.close()


def _stem(arguments: argparse.Namespace) -> str:
    return (arguments.ecg or arguments.image).stem or "ecg"


def _write_answer(arguments: argparse.Namespace, found: dict[str, Any]) -> Path | None:
    """Write the JSON under ``--out`` and return its path; None without ``--out``."""
    from llava_ecg.files import write_json

    if arguments.out is None:
        return None
    target: Path = arguments.out / f"{_stem(arguments)}_answer.json"
    write_json(target, found)
    return target


def _write_page(arguments: argparse.Namespace, case: Case) -> str | None:
    """Write the page under ``--out`` and return its path; None without ``--out``."""
    from llava_ecg.files import write_image

    if arguments.out is None or case.page is None:
        return None
    target = arguments.out / f"{_stem(arguments)}_page.png"
    if arguments.image is None or not (target.exists() and target.samefile(arguments.image)):
        write_image(target, case.page)
    return str(target)
